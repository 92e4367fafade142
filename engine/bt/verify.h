/*
 * verify.h - does a block's host code do only what translated code may?
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_VERIFY_H
#define ENGINE_BT_VERIFY_H

#include <stdint.h>

struct bt;
struct translation;

struct bt_piece {
	const uint8_t *begin, *end; /* write addresses */
};

/*
 * One block's code, in two pieces, the second perhaps empty, before it is linked. NULL: it is as
 * it has to be. Else what is wrong, and *at is the instruction.
 */
const char *bt_verify(const struct bt *t, const struct bt_piece piece[2], const uint8_t **at);

/* The block just made, in a debug build; what is wrong ends the program, since nobody may run it.
 */
void bt_verify_block(const struct translation *x);

#endif
