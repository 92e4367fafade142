/*
 * names.h - what people call the things that translated code refers to, for traces and profilers.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_NAMES_H
#define ENGINE_BT_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct bt;
struct interp;
struct translation;

#define BT_NAME_BYTES 40u

/* The stub at this executable address, or NULL. */
const char *bt_stub_name(const struct bt *t, uint64_t address);
/* gs:[at], "x.left" or "x.flags+1", into name[BT_NAME_BYTES]; NULL: it has none. */
const char *bt_field_name(char *name, uint64_t at);

/* Tell `code_made` of struct engine_options of the stubs, of a block; cheap if nobody listens. */
void bt_name_stubs(const struct bt *t, const struct interp *c);
void bt_name_block(const struct translation *x);

/* show.c: --trace translate. The block's guest and host code, side by side. */
void bt_show(const struct translation *x);

#endif
