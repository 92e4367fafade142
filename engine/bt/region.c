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
#define HOT_SHARE 52u

/* Eighths of the whole; the rest is for cells of memory operands and the lists of live ones. */
#define CODE_SHARE  5u
#define PLACE_SHARE 2u
/* Of code's share, one in so many is for the cells of jumps. */
#define CELL_SHARE 16u

/* Whole pages of the host, so that rounding adds nothing. */
static uint64_t whole(uint64_t bytes)
{
	return bytes & ~(uint64_t)PAGE_MASK;
}

/* How much there is of each kind. */
static uint64_t share_out(struct bt *t, uint64_t bytes)
{
	uint64_t eighth = bytes / 8, code = eighth * CODE_SHARE, places = eighth * PLACE_SHARE,
		 memories = bytes - code - places, cells = code / CELL_SHARE;
	struct bt_room *r = t->room;

	r->cells_all = (unsigned)(cells / sizeof(*t->cell));
	r->places_all = (unsigned)(places / sizeof(*r->place));
	t->live_all = (unsigned)(memories / 8 / sizeof(*t->live[0]));
	if (t->live_all > BT_LIVE)
		t->live_all = BT_LIVE;
	memories -= 2 * t->live_all * sizeof(*t->live[0]);
	r->page_jumps_all = (unsigned)(memories / 8 / sizeof(*t->page_jump));
	if (r->page_jumps_all > BT_PAGE_JUMPS)
		r->page_jumps_all = BT_PAGE_JUMPS;
	r->data_bytes = whole(memories + cells);
	r->memories_all =
		(unsigned)((r->data_bytes - cells - r->page_jumps_all * sizeof(*t->page_jump)) /
			   sizeof(*t->memory));
	code = whole(code - cells);
	r->regions_all = (unsigned)(code / REGION_LEAST);
	if (r->regions_all > BT_REGIONS)
		r->regions_all = BT_REGIONS;
	return code;
}

int bt_memory_open(struct bt *t, uint64_t bytes, struct fail *why)
{
	uint64_t code = share_out(t, bytes);
	struct bt_room *r = t->room;
	int err;

	r->place = host_map(r->places_all * sizeof(*r->place));
	for (unsigned half = 0; half < 2; half++)
		t->live[half] = host_map(t->live_all * sizeof(*t->live[half]));
	if (!r->place || !t->live[0] || !t->live[1])
		return fail(why, -ENOMEM, "no memory for the translator");
	err = host_code_open(&t->code, code, r->data_bytes, why);
	if (err)
		return err;
	t->memory = (struct bt_memory *)(void *)t->code.data;
	t->cell = (struct bt_cell *)(void *)(t->memory + r->memories_all);
	t->page_jump = (struct bt_page_jumps *)(void *)(t->cell + r->cells_all);
	return 0;
}

void bt_memory_close(struct bt *t)
{
	struct bt_room *r = t->room;

	host_code_close(&t->code);
	host_unmap(r->place, r->places_all * sizeof(*r->place));
	for (unsigned half = 0; half < 2; half++)
		host_unmap(t->live[half], t->live_all * sizeof(*t->live[half]));
}

/* --- a region's bounds ------------------------------------------------------------------------ */

/* Where the part of region n begins of a whole of `all`: its end is where that of n + 1 begins. */
static size_t part(const struct bt_room *r, unsigned n, size_t all)
{
	return all / r->regions_all * n;
}

static uint8_t *code_of(const struct bt *t, unsigned n)
{
	size_t all = (size_t)(t->code.write_at + t->code.bytes - t->room->begin);

	return t->room->begin + (part(t->room, n, all) & ~(size_t)15);
}

static void fill_from(struct bt *t, unsigned n)
{
	struct bt_room *r = t->room;

	r->region = n;
	host_code_dense(&t->code, (size_t)(code_of(t, n) - t->code.write_at),
			(size_t)(code_of(t, n + 1) - code_of(t, n)));
	r->at = code_of(t, n) + sizeof(struct bt_head);
	r->at_end = r->cold = code_of(t, n) + (code_of(t, n + 1) - code_of(t, n)) * HOT_SHARE / 100;
	r->cold_end = code_of(t, n + 1);
	r->cells = (unsigned)part(r, n, r->cells_all);
	r->cells_end = (unsigned)part(r, n + 1, r->cells_all);
	r->places = (unsigned)part(r, n, r->places_all);
	r->places_end = (unsigned)part(r, n + 1, r->places_all);
	r->memories = (unsigned)part(r, n, r->memories_all);
	r->memories_end = (unsigned)part(r, n + 1, r->memories_all);
}

void bt_regions_begin(struct bt *t)
{
	t->room->begin += -(uintptr_t)t->room->begin & 15;
	bt_regions_forget(t);
}

void bt_regions_forget(struct bt *t)
{
	struct bt_room *r = t->room;

	for (unsigned n = 0; n < r->regions_all; n++)
		r->regions[n] = (struct bt_region){ .end = code_of(t, n) };
	fill_from(t, 0);
}

/* --- eviction --------------------------------------------------------------------------------- */

static bool in_region(const struct bt *t, unsigned n, const uint8_t *exec)
{
	return exec >= bt_exec(t, code_of(t, n)) && exec < bt_exec(t, code_of(t, n + 1));
}

static void drop_blocks(struct bt *t, struct interp *c, unsigned n)
{
	for (uint8_t *at = code_of(t, n); at < t->room->regions[n].end;) {
		const struct bt_head *head = (const struct bt_head *)(const void *)at;
		struct block *b = head->b;

		at += head->bytes;
		if (!b)
			continue;
		b->native_flags &= (uint8_t)~BT_JUMPED; /* see bt_jumps_drop() */
		b->runs = 0;                            /* it has to be worth it again */
		bt_killed(c, b);
	}
}

/* What leads out of the region. */
static void drop_places(struct bt *t, unsigned n)
{
	const struct bt_room *r = t->room;
	struct bt_place *first = r->place + part(r, n, r->places_all);
	struct bt_place *end = first + r->regions[n].places;

	for (struct bt_place *p = first; p < end; p++)
		if (p->to)
			bt_unlink(t, p);
	if (t->pending >= first && t->pending < end)
		t->pending = NULL;
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
	struct bt_room *r = t->room;
	unsigned n = (r->region + 1) % r->regions_all;

	r->regions[r->region] = (struct bt_region){
		.end = r->at - sizeof(struct bt_head),
		.places = r->places - (unsigned)part(r, r->region, r->places_all),
	};
	if (r->regions[n].end > code_of(t, n)) {
		drop_blocks(t, c, n);
		drop_places(t, n);
		bt_jumps_drop(t, bt_exec(t, code_of(t, n)), bt_exec(t, code_of(t, n + 1)));
		drop_hints(t, c, n);
		for (unsigned half = 0; half < 2; half++) /* some may be of the region */
			bt_cells_die(&c->tlb, half);
		t->evictions++;
	}
	r->regions[n] = (struct bt_region){ .end = code_of(t, n) };
	fill_from(t, n);
}
