/*
 * memory.c - guest memory from translated code: the TLB's hit inline, all else aside.
 *
 * The idea: what is written behind the block for a failed check does not do the access, it
 * has the interpreter's handler do the whole instruction, and comes back after it. So faults,
 * devices, watched pages and crossings are the interpreter's, and a check may fail whenever it
 * likes. That allows a guess: data of high code lies in the high half, of low code in the low half.
 *
 * Where a register alone is the base, a cell holds how far the host's memory is from the guest's,
 * and the host adds that to the register as it accesses memory: the address need not wait for the
 * check.
 *
 * Spec: engine/mmu/tlb.h. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#define ENTRY_MASK ((TLB_ENTRIES - 1) * (uint32_t)sizeof(struct tlb_entry))
_Static_assert(sizeof(struct tlb_entry) == 1u << 5, "the index is made by one shift");

/* By CS in 32-bit code, only reads are right. */
bool bt_address_known(const struct insn *i)
{
	if (i->asz == 4 && i->base != R_RIP)
		return i->seg != CS;
	return i->asz >= 4 && i->disp == (int32_t)i->disp &&
	       i->disp < INT32_MAX - (int32_t)PAGE_SIZE;
}

/* R11 += the segment's base; in 32-bit code the handler does it if the segment has limits. */
static void add_base(struct translation *x, unsigned seg)
{
	uint32_t base = AT(s.seg) + seg * (uint32_t)sizeof(struct x86_seg) +
			(uint32_t)offsetof(struct x86_seg, base);
	struct code *e = &x->e;

	if (x->wide) {
		code_state(e, OP_ADD, SCRATCH_A, base);
		return;
	}
	CODE(e, PREFIX_GS, 0xf6); /* test byte [unlimited], bit */
	code_modrm_state(e, 0, AT(unlimited));
	code8(e, (uint8_t)(1u << seg));
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_E));
	code_state32(e, OP_ADD, SCRATCH_A, base);
}

void bt_address(struct translation *x)
{
	bt_address_at(x, 0);
}

void bt_address_at(struct translation *x, int32_t further)
{
	const struct insn *i = x->i;
	unsigned base = NO_REGISTER, index = NO_REGISTER;
	int32_t disp = (int32_t)i->disp + further;

	bt_flags_lose(x);
	if (i->index != R_ZERO) {
		index = bt_home(i->index);
		if (index == NO_REGISTER)
			bt_read(&x->e, index = SCRATCH_T, i->index);
	}
	if (i->base == R_RIP) {
		code_state(&x->e, OP_LOAD, base = SCRATCH_A, AT(x.code_va));
		disp += x->b->offset;
	} else if (i->base != R_ZERO) {
		base = bt_home(i->base);
		if (base == NO_REGISTER)
			bt_read(&x->e, base = SCRATCH_A, i->base);
	}
	code_lea(&x->e, i->asz == 8, SCRATCH_A, base, index, i->scale, disp);
	if (i->seg >= FS)
		add_base(x, i->seg);
}

struct cold *bt_cold(struct translation *x, enum cold_kind kind, uint8_t *from)
{
	struct cold *k = &x->cold[x->colds++];

	*k = (struct cold){ .from = from,
			    .kind = kind,
			    .i = x->i,
			    .row = x->row,
			    .extent = x->row && x->group.end ? bt_group_extent(x) : 0,
			    .name = bt_name(x, x->i),
			    .again = x->flags == FLAGS_AGAIN,
			    .maker = (uint8_t)x->maker,
			    .fip = x->fip };
	return k;
}

static void check_table(struct translation *x, unsigned size, enum access access)
{
	struct code *e = &x->e;
	struct cold *k;

	code_move(e, SCRATCH_T, SCRATCH_A);
	CODE(e, 0x48, 0xc1, 0xe9, 7, 0x81, 0xe1); /* shr rcx, 7; and ecx, mask */
	code32(e, ENTRY_MASK);
	code_state(e, OP_ADD, SCRATCH_T, AT(tlb.now) + x->half * 8);
	code_mem(e, OP_XOR, SCRATCH_A, SCRATCH_T, (int32_t)access * 8);
	CODE(e, 0x49, 0x81, 0xfb); /* cmp r11, 4096 - size */
	code32(e, PAGE_SIZE - size);
	k = bt_cold(x, COLD_TABLE, code_jump_if(e, CC_A));
	k->access = access;
	k->limit = (unsigned)(PAGE_SIZE - size + 1);
	code_mem(e, OP_ADD, SCRATCH_A, SCRATCH_T, (int32_t)offsetof(struct tlb_entry, host));
	k->join = e->at;
	bt_cold(x, COLD_SLOW, NULL);
}

static void check_cell(struct translation *x, unsigned size, enum access access, unsigned base,
		       int32_t disp)
{
	struct bt_memory *m = &x->t->memory[x->t->room->memories++];
	const uint8_t *at = bt_data(x->t, m);
	struct code *e = &x->e;
	struct cold *k;

	/* Those of other vCPUs are not touched: all zero, as they are, is dead. */
	if (!x->t->room->shared)
		*m = (struct bt_memory){ .full = (uint16_t)(PAGE_SIZE - size + 1),
					 .based = base != NO_REGISTER };
	code_rip(e, OP_XOR, SCRATCH_A, at + offsetof(struct bt_memory, tag));
	code_rip(e, OP_CMP, SCRATCH_A, at + offsetof(struct bt_memory, limit));
	k = bt_cold(x, COLD_CELL, code_jump_if(e, CC_AE));
	k->memory = at;
	k->limit = (unsigned)(PAGE_SIZE - size + 1);
	k->access = access;
	k->base = base;
	k->target = disp;
	code_rip(e, base == NO_REGISTER ? OP_ADD : OP_LOAD, SCRATCH_A,
		 at + offsetof(struct bt_memory, host));
	k->join = e->at;
	bt_cold(x, COLD_SLOW, NULL);
}

/*
 * Will the operand be in the page where it was? A kernel's pointers lead to another object each
 * time; its stack and what it addresses without a pointer stay.
 */
static bool stays(const struct translation *x)
{
	const struct insn *i = x->i;

	if (i->flags & INSN_HOPS)
		return false;
	if (x->variant & BT_USER || !(i->flags & INSN_MEM))
		return true;
	return i->base == RSP || (!x->wide && i->base == RBP) || i->base >= R_ZERO || i->seg >= FS;
}

static void check_align(struct translation *x, unsigned align)
{
	if (align <= 1)
		return;
	CODE(&x->e, 0x41, 0xf6, 0xc3, (uint8_t)(align - 1)); /* test r11b, align - 1 */
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
}

void bt_check(struct translation *x, unsigned size, enum access access, unsigned align)
{
	check_align(x, align);
	if (x->cells && stays(x))
		check_cell(x, size, access, NO_REGISTER, 0);
	else
		check_table(x, size, access);
}

/* A pointer just loaded is followed without waiting for the check. RSP moves within its groups. */
unsigned bt_check_base(const struct translation *x)
{
	const struct insn *i = x->i;

	if (!x->wide || i->asz != 8 || i->index != R_ZERO || i->seg >= FS || i->base >= R_ZERO ||
	    i->base == RSP || !x->cells || !stays(x))
		return NO_REGISTER;
	return bt_home(i->base);
}

void bt_check_based(struct translation *x, unsigned size, enum access access, unsigned align,
		    unsigned base, int32_t disp)
{
	check_align(x, align);
	check_cell(x, size, access, base, disp);
}

void bt_join(struct translation *x, unsigned first)
{
	for (unsigned n = first; n < x->colds; n++) {
		if (x->cold[n].kind != COLD_SLOW)
			continue;
		x->cold[n].join = x->e.at;
		x->cold[n].load = x->flags == FLAGS_HOST || x->flags == FLAGS_BOTH;
	}
}

void bt_group_call(struct translation *x, uint32_t name, uint32_t extent)
{
	code_constant(&x->e, RCX, extent);
	code_constant(&x->e, R11, name);
	code_go(&x->e, OP_CALL, x->t->group_slow);
}

void bt_slow_call(struct translation *x, uint32_t name)
{
	code_constant(&x->e, R11, name);
	code_go(&x->e, OP_CALL, x->t->slow);
}
