/*
 * link.c - linking blocks to one another, and undoing it.
 *
 * The idea: a link is made when translated code came out for want of one and the run loop, by
 * its own look-up, arrived at a translated block. So a link never leads where the interpreter would
 * not have gone; and it is undone when that block dies, or is ignored when mappings change.
 *
 * Spec: engine/bt/bt.h. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"

static void aim(const struct bt *t, uint8_t *jump, const uint8_t *to_exec)
{
	code_aim(jump, t->code.write_at + (to_exec - t->code.exec_at));
}

void bt_unlink(struct bt *t, struct bt_place *p)
{
	code_aim(p->jump, p->unlinked);
	if (p->refund)
		*p->refund = p->due;
	if (p->save_jump)
		code_aim(p->save_jump, p->out);
	if (p->cell) /* it must not fit: x.code_va would be moved, and then the target added */
		bt_cell_of(t, p)->generation = 0;
	*p->back = p->next;
	if (p->next)
		p->next->back = p->back;
	p->to = NULL;
	p->native = 0;
}

/* Where p leads in b: what it gives back may pay for b's first instructions. */
static const uint8_t *entry_of(const struct bt *t, const struct bt_place *p, const struct block *b)
{
	const struct bt_head *head = bt_head(t, b->native);

	if (!p->refund || !head->price || head->price > p->due)
		return b->native;
	*p->refund = (uint8_t)(p->due - head->price);
	return b->native + head->skip;
}

static void link_place(struct bt *t, struct interp *c, struct bt_place *p, struct block *b)
{
	uint64_t rip = c->r[R_RIP];

	if (bt_variant(c, rip) != p->variant ||
	    (!p->cell && !block_straddles(b) && p->page != (uint32_t)(b->key >> (2 + PAGE_SHIFT))))
		return;
	if (p->to && p->to != b)
		bt_unlink(t, p);
	if (p->cell)
		*bt_cell_of(t, p) = (struct bt_cell){ .from = t->pending_va,
						      .generation = c->tlb.generation_now[p->half],
						      .to = rip & ~PAGE_MASK };
	if (p->to == b)
		return;
	p->to = b;
	p->native = block_straddles(b) ? 0 : (uint32_t)(b->native - t->code.exec_at);
	p->host = b->key >> 2 & ~PAGE_MASK;
	p->next = b->links;
	p->back = (struct bt_place **)&b->links;
	if (p->next)
		p->next->back = &p->next;
	b->links = p;
	if (p->save_jump && b->native_flags & BT_FLAGS)
		aim(t, p->save_jump, entry_of(t, p, b));
	else
		aim(t, p->jump, entry_of(t, p, b));
	t->links++;
}

void bt_link(struct bt *t, struct interp *c, struct block *b)
{
	if (t->pending_rip != c->r[R_RIP] || t->pending_mode != b->mode)
		return;
	if (t->pending_indirect)
		bt_jumps_add(t, c, b);
	else if (t->pending)
		link_place(t, c, t->pending, b);
}

void bt_killed(struct interp *c, struct block *b)
{
	struct bt *t = c->executor;

	while (b->links)
		bt_unlink(t, b->links);
	if (b->native_flags & BT_JUMPED)
		bt_jumps_kill(t, b);
	bt_head(t, b->native)->b = NULL;
	b->native = NULL;
}

void bt_hints_reset(struct bt *t, struct interp *c)
{
	for (unsigned user = 0; user < 2; user++) {
		uint64_t *frame = (uint64_t *)(uintptr_t)(c->x.hint_empty[user] + 16 - HINT_BYTES);

		for (unsigned n = 0; n < HINT_BYTES / 8; n += 2) {
			frame[n] = (uintptr_t)t->underflow;
			frame[n + 1] = 0;
		}
	}
	c->x.hint_rsp = c->x.hint_empty[c->user];
	c->x.user_hint_rsp = c->x.hint_empty[1];
}

void bt_cells_die(struct tlb *tlb, unsigned half)
{
	struct interp *c = tlb->cells_arg;
	struct bt *t = c->executor;
	struct bt_live *end = c->x.cells[half];

	for (struct bt_live *at = t->live[half]; at < end; at++) {
		at->cell->limit = 0;
		at->entry->tag[ACCESS_EXEC] = 0;
	}
	c->x.cells[half] = t->live[half];
}

/* Those that were filled from another entry since may die too: it costs them a look-up. */
void bt_cells_of(struct tlb *tlb, struct tlb_entry *entry)
{
	struct bt_live *at = (struct bt_live *)(uintptr_t)entry->tag[ACCESS_EXEC];

	(void)tlb;
	for (; at; at = at->next)
		at->cell->limit = 0;
	entry->tag[ACCESS_EXEC] = 0;
}

/* No block is left, so no translation either. */
void bt_flushed(struct interp *c)
{
	struct bt *t = c->executor;

	for (unsigned half = 0; half < 2; half++)
		bt_cells_die(&c->tlb, half);
	bt_jumps_forget(t);
	t->room->page_jumps = 0;
	bt_regions_forget(t);
	t->pending = NULL;
	t->pending_indirect = false;
	bt_hints_reset(t, c);
}
