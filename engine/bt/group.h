/*
 * group.h - several accesses near each other, one check (see group.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_GROUP_H
#define ENGINE_BT_GROUP_H

#include <stdbool.h>
#include <stdint.h>

struct code;
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
	unsigned base; /* R11 is that less this host register; NO_REGISTER: not so */
	bool stack;    /* by RSP, which PUSH and POP move: */
	int32_t moved; /* RSP before the instruction at hand, less RSP before the first one, */
	int32_t owed;  /* of which its host register has yet to be moved by so much */
};

/* What an instruction does to the stack, relative to RSP before it. */
struct bt_stack_use {
	int32_t at;
	unsigned size;    /* 0: no access */
	int32_t moves;    /* RSP */
	bool write, ends; /* ends: it is a branch */
};

/* Before the memory operand of the instruction at hand is looked for: x->group is the one that it
 * belongs to, or none. */
void bt_group_begin(struct translation *x);
/* The same for a PUSH, POP, CALL or RET at hand; the check is emitted, too. Is it in one? */
bool bt_group_stack(struct translation *x);
/* Where the word at RSP + `at` lies, relative to R11. */
int32_t bt_group_at(const struct translation *x, int32_t at);
/* RSP is what it should be: before an instruction at hand that sees it. */
void bt_group_settle(struct translation *x);
/* Before each instruction. */
void bt_group_pass(struct translation *x);
/* After an instruction with memory operand: the slow ways of all come back behind the last one. */
void bt_group_join(struct translation *x);

/* Where the range lies, relative to the first member's operand, and whether one writes, in 32 bits.
 */
uint32_t bt_group_extent(const struct translation *x);
/* Does it go over the end of a page now? c's registers are those before instruction i. */
bool bt_group_crosses(const struct interp *c, const struct insn *i, uint32_t extent);
/* The same of one that does not: has the TLB its page now, for all members, and had not before?
 * Then x.target is where it begins. */
bool bt_group_find(struct interp *c, const struct insn *i, uint32_t extent);

#endif
