/*
 * region.c - memory for translations: code, links and cells, taken back piece by piece.
 *
 * The idea: what a block's translation takes - code, places, cells - comes from the same one of up
 * to 16 regions. They are filled one after the other, and then from the first on again: all that is
 * in the next region goes at once, whatever leads there is undone, and the rest stays as it is. A
 * block that was hot is soon translated again. Code that is seldom executed has a part of the
 * region to itself: what is left takes half as many of the host's cache lines and pages.
 *
 * Everything comes out of --code-cache, in fixed shares, so that it bounds all that a guest can
 * have the translator remember.
 *
 * Spec: engine/bt/bt.h. Tested by test/unit/bt.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"

#include <errno.h>

#define REGION_LEAST (8 * BT_ROOM) /* with fewer regions where they would be smaller */

/* Of a region, what is often executed gets this many hundredths. */
#define HOT_SHARE 42u

/* Eighths of the whole; the rest is for cells of memory operands and the lists of live ones. */
#define CODE_SHARE  5u
#define PLACE_SHARE 2u

int bt_memory_open(struct bt *t, uint64_t bytes, struct fail *why)
{
	uint64_t eighth = bytes / 8, code = eighth * CODE_SHARE, places = eighth * PLACE_SHARE,
		 memories = bytes - code - places;

	t->places_all = (unsigned)(places / sizeof(*t->place));
	t->live_all = (unsigned)(memories / 8 / sizeof(*t->live[0]));
	if (t->live_all > BT_LIVE)
		t->live_all = BT_LIVE;
	t->memories_all = (unsigned)((memories - 2 * t->live_all * sizeof(*t->live[0])) /
				     sizeof(struct bt_memory));
	t->place = host_map(t->places_all * sizeof(*t->place));
	for (unsigned half = 0; half < 2; half++)
		t->live[half] = host_map(t->live_all * sizeof(*t->live[half]));
	if (!t->place || !t->live[0] || !t->live[1])
		return fail(why, -ENOMEM, "no memory for the translator");
	t->regions_all = (unsigned)(code / REGION_LEAST);
	if (t->regions_all > BT_REGIONS)
		t->regions_all = BT_REGIONS;
	int err = host_code_open(&t->code, code, t->memories_all * sizeof(struct bt_memory), why);
	if (err)
		return err;
	t->memory = (struct bt_memory *)(void *)t->code.data;
	t->cells_end = t->code.write_at + t->code.bytes / BT_CELLS;
	return 0;
}

void bt_memory_close(struct bt *t)
{
	host_code_close(&t->code);
	host_unmap(t->place, t->places_all * sizeof(*t->place));
	for (unsigned half = 0; half < 2; half++)
		host_unmap(t->live[half], t->live_all * sizeof(*t->live[half]));
}

/* --- a region's bounds ------------------------------------------------------------------------ */

/* Where the part of region n begins of a whole of `all`: its end is where that of n + 1 begins. */
static size_t part(const struct bt *t, unsigned n, size_t all)
{
	return all / t->regions_all * n;
}

static uint8_t *code_of(const struct bt *t, unsigned n)
{
	size_t all = (size_t)(t->code.write_at + t->code.bytes - t->begin);

	return t->begin + (part(t, n, all) & ~(size_t)15);
}

static uint8_t *cells_of(const struct bt *t, unsigned n)
{
	return t->code.write_at +
	       part(t, n, (size_t)(t->cells_end - t->code.write_at) / sizeof(struct bt_cell)) *
		       sizeof(struct bt_cell);
}

static void fill_from(struct bt *t, unsigned n)
{
	t->region = n;
	t->at = code_of(t, n) + sizeof(struct bt_head);
	t->at_end = t->cold = code_of(t, n) + (code_of(t, n + 1) - code_of(t, n)) * HOT_SHARE / 100;
	t->cold_end = code_of(t, n + 1);
	t->cell = cells_of(t, n);
	t->cell_end = cells_of(t, n + 1);
	t->places = (unsigned)part(t, n, t->places_all);
	t->places_end = (unsigned)part(t, n + 1, t->places_all);
	t->memories = (unsigned)part(t, n, t->memories_all);
	t->memories_end = (unsigned)part(t, n + 1, t->memories_all);
}

void bt_regions_begin(struct bt *t)
{
	t->begin += -(uintptr_t)t->begin & 15;
	bt_regions_forget(t);
}

void bt_regions_forget(struct bt *t)
{
	for (unsigned n = 0; n < t->regions_all; n++)
		t->regions[n] = (struct bt_region){ .end = code_of(t, n) };
	fill_from(t, 0);
}

/* --- eviction --------------------------------------------------------------------------------- */

static bool in_region(const struct bt *t, unsigned n, const uint8_t *exec)
{
	return exec >= bt_exec(t, code_of(t, n)) && exec < bt_exec(t, code_of(t, n + 1));
}

static void drop_blocks(struct bt *t, struct interp *c, unsigned n)
{
	for (uint8_t *at = code_of(t, n); at < t->regions[n].end;) {
		const struct bt_head *head = (const struct bt_head *)(const void *)at;
		struct block *b = head->b;

		at += head->bytes;
		if (!b)
			continue;
		b->native_flags &= (uint8_t)~BT_JUMPED; /* see drop_jumps() */
		b->runs = 0;                            /* it has to be worth it again */
		bt_killed(c, b);
	}
}

/* What leads out of the region. */
static void drop_places(struct bt *t, unsigned n)
{
	struct bt_place *first = t->place + part(t, n, t->places_all);
	struct bt_place *end = first + t->regions[n].places;

	for (struct bt_place *p = first; p < end; p++)
		if (p->to)
			bt_unlink(p);
	if (t->pending >= first && t->pending < end)
		t->pending = NULL;
}

static void drop_jumps(struct bt *t, unsigned n)
{
	for (unsigned k = 0; k < 2 * BT_JUMPS; k++) {
		struct bt_jump *jump = &t->jumps[k % 2][k / 2];

		if (in_region(t, n, jump->native))
			*jump = (struct bt_jump){ 0 };
	}
}

/* Returns to there: as when the hint stack is empty. */
static void drop_hints(struct bt *t, const struct interp *c, unsigned n)
{
	for (unsigned user = 0; user < 2; user++) {
		/* The last one before the stack wraps lies below it. */
		uint64_t *frame = (uint64_t *)(uintptr_t)(c->x.hint_empty[user] - HINT_BYTES);

		for (unsigned k = 0; k < HINT_BYTES / 8 + 2; k += 2) {
			if (!in_region(t, n, (const uint8_t *)(uintptr_t)frame[k]))
				continue;
			frame[k] = (uintptr_t)t->underflow;
			frame[k + 1] = 0;
		}
	}
}

void bt_region_next(struct bt *t, struct interp *c)
{
	unsigned n = (t->region + 1) % t->regions_all;

	t->regions[t->region] =
		(struct bt_region){ .end = t->at - sizeof(struct bt_head),
				    .places = t->places -
					      (unsigned)part(t, t->region, t->places_all) };
	if (t->regions[n].end > code_of(t, n)) {
		drop_blocks(t, c, n);
		drop_places(t, n);
		drop_jumps(t, n);
		drop_hints(t, c, n);
		for (unsigned half = 0; half < 2; half++) /* some may be of the region */
			bt_cells_die(&c->tlb, half);
		t->evictions++;
	}
	t->regions[n] = (struct bt_region){ .end = code_of(t, n) };
	fill_from(t, n);
}
