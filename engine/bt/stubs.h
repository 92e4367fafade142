/*
 * stubs.h - what the stubs of stubs.c and slow.c have in common.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_STUBS_H
#define ENGINE_BT_STUBS_H

#include "engine/bt/code.h"

/* Write addresses. Subroutines: the guest's vectors (NULL: the host has none) and x87 unit in and
 * out of the host's. Where enter() returns from; where x.kind says why. */
struct bt_common {
	const uint8_t *in, *out, *x87_in, *x87_out, *back, *leave;
};

/* The guest's general registers go to memory, the host's stack comes. */
void bt_to_host_stack(struct code *e);
/* The units go there if they are live. */
void bt_units_out(struct code *e, const struct bt_common *s);

/* `slow` (bt_slow() or the like) for the instruction that R11D names; a subroutine. */
const uint8_t *bt_put_slow(struct code *e, const struct bt_common *s, uintptr_t slow);
/* bt_group_slow(), with ECX. R11 becomes the address for which the group shall be tried again, or
 * 0, and flags are as TEST makes them. */
const uint8_t *bt_put_group_slow(struct code *e, const struct bt_common *s);

#endif
