/*
 * straddle.c - an instruction whose bytes lie in two pages.
 *
 * The idea: such an instruction is a block of its own (engine/interp/cache.h), and nobody watches
 * its bytes. So its code begins by comparing them with what was translated, where a cell says they
 * are: as long as code is mapped as it was when the run loop found them there. Otherwise it comes
 * out before the instruction, and the run loop, which has just found them again, renews the cell.
 *
 * Tested by test/unit/bt.c (straddling, straddled).
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#define OUTS 16u /* more than there are comparisons */

struct outs {
	uint8_t *from[OUTS];
	unsigned count;
};

static unsigned first_part(const struct block *b)
{
	return PAGE_SIZE - b->offset;
}

bool bt_straddle_known(const struct block *b)
{
	return (b->mode == DECODE_64 || b->mode == DECODE_32) && b->bytes > first_part(b);
}

bool bt_straddle_ready(struct interp *c, const struct block *b)
{
	struct bt *t = c->executor;
	const struct straddle *s = (const struct straddle *)bt_head(t, b->native)->b;
	unsigned first = first_part(b);
	uint64_t rip = c->r[R_RIP];
	struct bt_cell *cell = (struct bt_cell *)(void *)(t->code.data + s->cell);
	const void *one = tlb_hit(&c->tlb, rip, first, ACCESS_EXEC);
	const void *two = tlb_hit(&c->tlb, rip + first, b->bytes - first, ACCESS_EXEC);

	if (!one || !two || (b->mode == DECODE_32 && rip + first > UINT32_MAX))
		return false;
	*cell = (struct bt_cell){ .from = rip - b->offset,
				  .generation = tlb_code_generation(&c->tlb, rip),
				  .to = (uintptr_t)one,
				  .next = (uintptr_t)two };
	/* Its end may lie in the other half, whose mappings have another generation. */
	return rip >> 63 == (rip + first) >> 63;
}

/* Leaves unless the bytes at [RCX] are these: by fours, twos and ones. */
static void compare(struct translation *x, struct outs *o, const uint8_t *bytes, unsigned count)
{
	struct code *e = &x->e;
	unsigned n;

	for (unsigned at = 0; at < count; at += n) {
		n = count - at >= 4 ? 4 : count - at >= 2 ? 2 : 1;
		if (n == 2)
			code8(e, 0x66);
		code8(e, n == 1 ? 0x80 : 0x81); /* cmp [rcx + at], imm */
		code_modrm_mem(e, 7, RCX, (int32_t)at);
		code_put(e, bytes + at, n);
		o->from[o->count++] = code_jump_if(e, CC_NE);
	}
}

void bt_straddle_check(struct translation *x)
{
	struct straddle *s = (struct straddle *)x->b;
	struct bt_cell *cell = bt_cell_new(x->t);
	const uint8_t *at = bt_data(x->t, cell);
	unsigned first = first_part(x->b);
	struct code *e = &x->e;
	struct outs o = { 0 };

	s->cell = (uint32_t)((uint8_t *)cell - x->t->code.data);
	code_state(e, OP_LOAD, RCX, AT(x.code_va));
	code_rip(e, OP_CMP, RCX, at + offsetof(struct bt_cell, from));
	o.from[o.count++] = code_jump_if(e, CC_NE);
	code_state(e, OP_LOAD, RCX, AT(tlb.generation_now) + x->half * 8);
	code_rip(e, OP_CMP, RCX, at + offsetof(struct bt_cell, generation));
	o.from[o.count++] = code_jump_if(e, CC_NE);
	code_rip(e, OP_LOAD, RCX, at + offsetof(struct bt_cell, to));
	compare(x, &o, x->bytes, first);
	code_rip(e, OP_LOAD, RCX, at + offsetof(struct bt_cell, next));
	compare(x, &o, x->bytes + first, x->b->bytes - first);
	for (unsigned n = 0; n < o.count; n++)
		bt_cold(x, COLD_BUDGET, o.from[n]);
}
