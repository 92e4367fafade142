/*
 * translate.c - a decoded block to host code.
 *
 * The idea: the interpreter's block is the plan. Its bytes are decoded once more for the operands'
 * places in the encoding; each instruction is emitted natively, or as a call of its handler, so
 * every block can be translated and coverage is a matter of speed only.
 *
 * In memory the blocks follow each other, and elsewhere what of them is seldom executed (region.c).
 *
 * Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

static bool decode(struct translation *x, unsigned n)
{
	const struct insn *i = &x->b->insn[n];

	return i->fn != op_invalid &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(x->wide ? &x->t->zydis : &x->t->zydis32,
						   x->bytes + i->at, i->len, &x->all_zi[n],
						   x->all_op[n]));
}

void bt_take(struct translation *x, unsigned n)
{
	x->i = &x->b->insn[n];
	x->zi = &x->all_zi[n];
	x->op = x->all_op[n];
}

static void decode_all(struct translation *x)
{
	bt_share_learnt(x->t, x->b);
	x->first_vector = x->b->count;
	for (unsigned n = 0; n < x->b->count; n++) {
		x->known[n] = decode(x, n);
		if (!x->known[n])
			continue;
		x->b->insn[n].tag = bt_tag(&x->t->room->tags, x->all_zi[n].mnemonic);
		bt_take(x, n);
		if (x->t->vectors && bt_is_vector(x) && !x->vector) {
			x->vector = true;
			x->first_vector = n;
		}
		x->x87 |= bt_is_x87(x) || bt_is_mmx(x);
	}
}

uint32_t bt_name(const struct translation *x, const struct insn *i)
{
	return (uint32_t)((const uint8_t *)i - x->t->names) | (x->segment_end - 1) << BT_PAID_SHIFT;
}

static unsigned find_segment_end(struct translation *x, unsigned n)
{
	const struct insn *i = x->i;

	for (; n < x->b->count; n++) {
		bt_take(x, n);
		if (x->known[n] && bt_ends_segment(x)) {
			n++;
			break;
		}
	}
	bt_take(x, i->n);
	return n;
}

/* The vector unit is the guest's from the segment on that has the first instruction of it. */
static void need_vectors(struct translation *x, unsigned end)
{
	if (x->first_vector < x->i->n || x->first_vector >= end)
		return;
	code_state_cmp8(&x->e, AT(x.vector_live), 0);
	bt_cold(x, COLD_VECTOR, code_jump_if(&x->e, CC_E))->join = x->e.at;
}

void bt_pay(struct translation *x)
{
	struct code *e = &x->e;
	unsigned end = find_segment_end(x, x->i->n);

	need_vectors(x, end);
	x->segment_end = end;
	CODE(e, 0x49, 0x83, 0xef, (uint8_t)(end - x->i->n)); /* sub r15, count */
	bt_cold(x, COLD_BUDGET, code_jump_if(e, CC_B))->limit = end - x->i->n;
}

/* May the block run? */
static void emit_entry(struct translation *x)
{
	const uint8_t *free_entry;

	bt_take(x, 0);
	x->segment_end = 1;
	if (block_straddles(x->b))
		bt_straddle_check(x);
	if (x->x87) {
		code_state_cmp8(&x->e, AT(x.x87_live), 0);
		bt_cold(x, COLD_X87, code_jump_if(&x->e, CC_E))->join = x->e.at;
	}
	x->price = 0;
	free_entry = x->e.at;
	bt_pay(x);
	if (free_entry != x->t->room->at || x->first_vector < x->segment_end)
		return;
	x->price = x->segment_end;
	x->skip = (unsigned)(x->e.at - free_entry);
}

static void handle(struct translation *x)
{
	bt_flags_give(x);
	bt_x87_give(x);
	bt_slow_call(x, bt_name(x, x->i));
	x->t->handled++;
	x->broken |= x->group.end != 0;
}

static void emit(struct translation *x)
{
	bool ended = false;

	emit_entry(x);
	for (unsigned n = 0; n < x->b->count; n++) {
		bt_take(x, n);
		x->begin[n] = x->e.at;
		if (n == x->segment_end) {
			bt_flags_lose(x);
			bt_pay(x);
		}
		bt_group_pass(x);
		if (x->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
			bt_x87_give(x);
		if (x->known[n] && (bt_branch(x, &ended) || bt_insn(x)))
			x->t->native++;
		else
			handle(x);
	}
	x->begin[x->b->count] = x->e.at;
	bt_x87_give(x);
	if (!ended)
		bt_edge(x, NULL, x->b->offset + x->b->insn[x->b->count].at, x->flags);
	x->begin[x->b->count + 1] = x->e.at;
	bt_warm_code(x);
	x->piece[0] = (struct bt_piece){ x->t->room->at, x->e.at };
	x->e.at = x->t->room->cold;
	bt_cold_code(x);
	x->piece[1] = (struct bt_piece){ x->t->room->cold, x->e.at };
}

/* Without groups, if one turned out to be none. */
static void emit_twice(struct translation *x)
{
	struct bt *t = x->t;
	struct bt_room *r = t->room;
	unsigned places = r->places, memories = r->memories, cells = r->cells;

	for (unsigned once = 0; once < 2; once++) {
		x->no_groups = once;
		x->broken = false;
		x->group.end = 0;
		x->flags = FLAGS_MEMORY;
		x->fip = -1;
		x->colds = 0;
		x->row = 0;
		x->e.at = r->at;
		emit(x);
		if (!x->broken)
			return;
		r->places = places;
		r->memories = memories;
		r->cells = cells;
	}
}

/* Whoever wants to know about it. */
static void look(const struct translation *x)
{
	if (x->t->verify)
		bt_verify_block(x);
	bt_name_block(x);
	if (TRACE(x->c->vcpu->vm, translate))
		bt_show(x);
}

/* The block's code is complete. */
static void made(const struct translation *x)
{
	struct bt *t = x->t;
	size_t bytes = sizeof(struct bt_head) + (size_t)(x->piece[0].end - t->room->at);
	struct bt_head *head = bt_head(t, x->b->native);
	uint64_t emitted = (uint64_t)(x->piece[0].end - x->piece[0].begin) +
			   (uint64_t)(x->piece[1].end - x->piece[1].begin);

	bytes = (bytes + 15) & ~(size_t)15;
	*head = (struct bt_head){
		.b = x->b,
		.bytes = (uint32_t)bytes,
		.price = (uint16_t)x->price,
		.skip = (uint16_t)x->skip,
	};
	t->room->at += bytes;
	t->room->cold = x->e.at;
	t->figures.bytes += emitted;
	if (x->b->follows) {
		t->figures.traces++;
		t->figures.trace_bytes += emitted;
	}
}

/* `b` is what the code will name, whoever has interpreted it. */
static void translate(struct bt *t, struct interp *c, struct block *b)
{
	struct translation *x = t->work;

	x->t = t;
	x->c = c;
	x->b = b;
	x->bytes = block_code(b);
	x->wide = b->mode == DECODE_64;
	x->word = x->wide ? 8 : 4;
	x->half = c->r[R_RIP] >> 63;
	x->variant = bt_variant(c, c->r[R_RIP]);
	x->exact = t->exact;
	/* A supervisor's low half has two arrays, by EFLAGS.AC, which set A bits for themselves. */
	x->cells = x->variant == BT_HIGH || x->variant == BT_USER || (!x->variant && !x->exact);
	x->vector = x->x87 = false;
	decode_all(x);
	bt_flow(x);
	emit_twice(x);
	look(x);
	b->native = bt_exec(t, t->room->at);
	b->native_flags = (uint8_t)((x->vector ? BT_VECTOR : 0) | (x->x87 ? BT_X87 : 0) |
				    x->variant | (x->flags_in ? BT_FLAGS : 0));
	made(x);
	t->blocks++;
}

void bt_translate(struct bt *t, struct interp *c, struct block *b)
{
	struct block *as;

	if (!bt_share_lock(t))
		return;
	if (bt_room_full(t->room))
		bt_region_next(t, c);
	/* Others may have been here meanwhile, or still use what was to go. */
	if (!block_is_stale(b) && !bt_room_full(t->room) && !bt_share_adopt(t, c, b)) {
		as = bt_share_copy(t, b);
		translate(t, c, as);
		bt_share_add(t, c, b, as);
	}
	if (bt_room_half_full(t->room))
		bt_region_ahead(t, c);
	bt_share_unlock(t);
}
