/*
 * jumps.c - where indirect jumps lead: two tables for each vCPU, and some for one page each.
 *
 * The idea: a bytecode interpreter or a switch jumps within its page, and there a jump needs no
 * look at how code is mapped, as a direct one does not. So a page with such a jump gets a table
 * with an entry for each of its bytes, as long as there are tables: the code to go to, or the stub
 * that asks. All other indirect jumps look into a table by linear address (stubs.c).
 *
 * Such a jump saves flags only for code that needs them: a second table has that code's places lead
 * to a stub, which has the jump's block save them and takes the first table.
 *
 * A page's table is of one half of the address space, one privilege and one width of code, and
 * stays the page's until all translations go.
 *
 * Tested by test/unit/bt.c (switched), test/unit/bt_random.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"

/* Identifies page, half, privilege and width. 0: none. */
static uint64_t key_of(const struct block *b, unsigned variant)
{
	return (b->key & ~(uint64_t)(4 * PAGE_SIZE - 1)) | b->mode | (variant & BT_HIGH ? 4 : 0) |
	       (variant & BT_USER ? 8 : 0);
}

/* How many pages have a table: another vCPU may be adding one, see bt_jumps_of(). */
static unsigned tables_of(const struct bt *t)
{
	return __atomic_load_n(&t->room->page_jumps, __ATOMIC_ACQUIRE);
}

/* NULL: there is none. */
static struct bt_page_jumps *find(const struct bt *t, uint64_t key)
{
	for (unsigned n = 0; n < tables_of(t); n++)
		if (t->room->page_jump[n] == key)
			return &t->page_jump[n];
	return NULL;
}

/* Nothing is known at `offset`. */
static void forget(const struct bt *t, struct bt_page_jumps *j, unsigned offset)
{
	j->native[offset] = bt_exec(t, t->page_miss);
	j->plain[offset] = bt_exec(t, t->settle);
}

static void clear(const struct bt *t, unsigned tables)
{
	for (unsigned n = 0; n < tables; n++)
		for (unsigned k = 0; k < PAGE_SIZE; k++)
			forget(t, &t->page_jump[n], k);
}

void bt_jumps_open(struct bt *t)
{
	clear(t, t->room->page_jumps_all);
}

const struct bt_page_jumps *bt_jumps_of(const struct bt *t, const struct block *b, unsigned variant)
{
	uint64_t key = key_of(b, variant);
	struct bt_room *r = t->room;

	if (block_straddles(b))
		return NULL;
	if (!find(t, key) && r->page_jumps < r->page_jumps_all) {
		r->page_jump[r->page_jumps] = key;
		/* Another vCPU may be looking. */
		__atomic_store_n(&r->page_jumps, r->page_jumps + 1, __ATOMIC_RELEASE);
	}
	return find(t, key);
}

void bt_jumps_add(struct bt *t, struct interp *c, struct block *b)
{
	uint64_t rip = c->r[R_RIP];
	struct bt_page_jumps *j = find(t, key_of(b, bt_variant(c, rip)));

	t->jumps[b->mode == DECODE_32][(rip >> 4 ^ rip) % BT_JUMPS] =
		(struct bt_jump){ .va = rip,
				  .generation = c->tlb.generation_now[rip >> 63],
				  .native = b->native,
				  .host = (b->key >> 2 & ~PAGE_MASK) | c->user |
					  (block_straddles(b) ? 2 : 0) };
	if (j && !block_straddles(b)) {
		forget(t, j, b->offset);
		j->native[b->offset] = b->native;
		if (!(b->native_flags & BT_FLAGS))
			j->plain[b->offset] = b->native;
	}
	_Static_assert(BT_JUMPS == 1u << 12, "see bt_jumps_kill()");
	__atomic_or_fetch(&bt_head(t, b->native)->b->native_flags, BT_JUMPED, __ATOMIC_RELAXED);
	t->jumps_used = true;
}

/* It is where the lower 16 bits of its address say, of which 12 are known. */
void bt_jumps_kill(struct bt *t, const struct block *b)
{
	struct bt_jump *jumps = t->jumps[b->mode == DECODE_32];

	for (unsigned n = 0; n < 16; n++) {
		unsigned low = n << PAGE_SHIFT | b->offset;
		struct bt_jump *j = &jumps[(low >> 4 ^ low) % BT_JUMPS];

		if (j->native == b->native)
			*j = (struct bt_jump){ 0 };
	}
	for (unsigned n = 0; n < tables_of(t); n++) {
		struct bt_page_jumps *j = &t->page_jump[n];

		if (j->native[b->offset] == b->native)
			forget(t, j, b->offset);
	}
}

void bt_jumps_forget(struct bt *t)
{
	if (!t->jumps_used)
		return;
	for (unsigned narrow = 0; narrow < 2; narrow++)
		memset(t->jumps[narrow], 0, BT_JUMPS * sizeof(*t->jumps[narrow]));
	clear(t, tables_of(t));
	t->jumps_used = false;
}

void bt_jumps_drop(struct bt *t, const uint8_t *from, const uint8_t *end)
{
	for (unsigned k = 0; k < 2 * BT_JUMPS; k++) {
		struct bt_jump *jump = &t->jumps[k % 2][k / 2];

		if (jump->native >= from && jump->native < end)
			*jump = (struct bt_jump){ 0 };
	}
	for (unsigned n = 0; n < tables_of(t); n++) {
		struct bt_page_jumps *j = &t->page_jump[n];

		for (unsigned k = 0; k < PAGE_SIZE; k++)
			if (j->native[k] >= from && j->native[k] < end)
				forget(t, j, k);
	}
}
