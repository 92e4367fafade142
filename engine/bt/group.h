/*
 * group.h - several accesses near each other, one check (see group.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_GROUP_H
#define ENGINE_BT_GROUP_H

#include <stdbool.h>
#include <stdint.h>

struct insn;
struct interp;
struct translation;

/* Instructions [begin, end) of the block; end 0: none. R11 is the host address of displacement lo.
 */
struct group {
	unsigned begin, end;
	int32_t lo;
	unsigned size; /* bytes from lo on that are checked */
	bool write;    /* for writing */
	unsigned cold; /* number of its first cold part */
};

/* Before the memory operand of the instruction at hand is looked for: x->group is the one that it
 * belongs to, or none. */
void bt_group_begin(struct translation *x);

/* Where the range lies, relative to the first member's operand, in 32 bits. */
uint32_t bt_group_extent(const struct translation *x);
/* Does it go over the end of a page now? c's registers are those before instruction i. */
bool bt_group_crosses(const struct interp *c, const struct insn *i, uint32_t extent);

#endif
