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
	const struct bt_room *r = t->room;

	if (p->jump)
		code_aim(p->jump, p->unlinked);
	if (p->refund)
		*p->refund = p->due;
	if (p->save_jump)
		code_aim(p->save_jump, p->out);
	/* No cell must fit: x.code_va would be moved, and then the target added. */
	for (unsigned n = 0; p->cell && n < r->users; n++)
		bt_cell_of(r->user[n]->executor, p)->generation = 0;
	*p->back = p->next;
	if (p->next)
		p->next->back = p->back;
	p->to = NULL;
	p->native = 0;
}

/* Where p leads in b: what it gives back may pay for b's first instructions. A vCPU that goes that
 * way just now, of several, may count a few too many or too few. */
static const uint8_t *entry_of(const struct bt *t, const struct bt_place *p, const struct block *b)
{
	const struct bt_head *head = bt_head(t, b->native);

	if (!p->refund || !head->price || head->price > p->due)
		return b->native;
	*p->refund = (uint8_t)(p->due - head->price);
	return b->native + head->skip;
}

/* It led to another block. With that its jump goes away for all vCPUs: it is linked the next time.
 */
static bool relink(struct bt *t, struct interp *c, struct bt_place *p)
{
	if (!t->room->shared) {
		bt_unlink(t, p);
		return true;
	}
	gate_close(c->vcpu->vm, c->vcpu);
	if (p->to)
		bt_unlink(t, p);
	gate_open(c->vcpu->vm, c->vcpu);
	return false;
}

/* `to` is b's translated block. */
static void lead_to(struct bt *t, struct bt_place *p, const struct block *b, struct block *to)
{
	p->to = to;
	p->host = b->key >> 2 & ~PAGE_MASK;
	p->next = to->links;
	p->back = (struct bt_place **)&to->links;
	if (p->next)
		p->next->back = &p->next;
	to->links = p;
	/* Another vCPU may be looking. */
	__atomic_store_n(&p->native,
			 block_straddles(b) ? 0 : (uint32_t)(b->native - t->code.exec_at),
			 __ATOMIC_RELEASE);
	if (p->save_jump && b->native_flags & BT_FLAGS)
		aim(t, p->save_jump, entry_of(t, p, b));
	else if (p->jump)
		aim(t, p->jump, entry_of(t, p, b));
	t->links++;
}

static void link_place(struct bt *t, struct interp *c, struct bt_place *p, struct block *b)
{
	struct block *to = bt_head(t, b->native)->b;
	uint64_t rip = c->r[R_RIP];

	if (bt_variant(c, rip) != p->variant ||
	    (!p->cell && !block_straddles(b) && p->page != (uint32_t)(b->key >> (2 + PAGE_SHIFT))))
		return;
	if (p->to && p->to != to && !relink(t, c, p))
		return;
	if (!p->to)
		lead_to(t, p, b, to);
	if (p->cell)
		*bt_cell_of(t, p) = (struct bt_cell){ .from = t->pending_va,
						      .generation = c->tlb.generation_now[p->half],
						      .to = rip & ~PAGE_MASK,
						      .next = (uintptr_t)b->native };
}

void bt_link(struct bt *t, struct interp *c, struct block *b)
{
	if (t->pending_rip != c->r[R_RIP] || t->pending_mode != b->mode)
		return;
	if (t->pending_indirect)
		bt_jumps_add(t, c, b);
	else if (t->pending && bt_share_lock(t)) {
		link_place(t, c, t->pending, b);
		bt_share_unlock(t);
	}
}

void bt_killed(struct interp *c, struct block *b)
{
	struct bt *t = c->executor;

	if (t->room->shared) { /* the translation stays, for others */
		b->native = NULL;
		return;
	}
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

/* Nothing waits to be linked, no look-up and no return is known. */
void bt_links_forget(struct bt *t, struct interp *c)
{
	t->pending = NULL;
	t->pending_indirect = false;
	bt_jumps_forget(t);
	bt_hints_reset(t, c);
}

/* No block is left, so no translation either. */
void bt_flushed(struct interp *c)
{
	struct bt *t = c->executor;

	if (t->room->shared) {
		bt_regions_drop(t, c);
		t->pending = NULL;
		t->pending_indirect = false;
		return;
	}
	for (unsigned half = 0; half < 2; half++)
		bt_cells_die(&c->tlb, half);
	bt_links_forget(t, c);
	t->room->page_jumps = 0;
	bt_regions_forget(t);
}
