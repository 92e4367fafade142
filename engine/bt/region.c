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

/* With several vCPUs: in sixteenths of what is CODE_SHARE above, so much of it all is for code, for
 * places, for shared blocks, for their pages, and for each vCPU's cells. */
#define SHARED_CODE   80u
#define SHARED_PLACES 32u
#define SHARED_BLOCKS 96u
#define SHARED_PAGES  4u
#define OWN_CELLS     21u

/* How much there is of what vCPUs share; returns what is left for the cells of one. */
static uint64_t share_out_shared(struct bt_room *r, unsigned vcpus, uint64_t bytes, uint64_t *code,
				 uint64_t *places)
{
	uint64_t part = bytes / (SHARED_CODE + SHARED_PLACES + SHARED_BLOCKS + SHARED_PAGES +
				 OWN_CELLS * vcpus);

	*code = part * SHARED_CODE;
	*places = part * SHARED_PLACES;
	r->frozen_all = whole(part * SHARED_BLOCKS);
	if (r->frozen_all > BT_FROZEN_MOST)
		r->frozen_all = BT_FROZEN_MOST;
	r->pages_all = (unsigned)(part * SHARED_PAGES / sizeof(struct bt_page));
	return part * OWN_CELLS;
}

/* How much there is of each kind. */
static uint64_t share_out(struct bt *t, unsigned vcpus, uint64_t bytes)
{
	uint64_t eighth = bytes / 8, code = eighth * CODE_SHARE, places = eighth * PLACE_SHARE,
		 memories = bytes - code - places, cells = code / CELL_SHARE;
	struct bt_room *r = t->room;

	if (r->shared) {
		memories = share_out_shared(r, vcpus, bytes, &code, &places);
		cells = memories / 4;
		memories -= cells;
		code += cells; /* they are not out of it */
	}

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

/* All of them together have what each would have alone. */
static uint64_t bytes_of(const struct vm *vm)
{
	return CODE_CACHE_TRANSLATED(vm->engine_options.code_cache) * vm->vcpus_planned;
}

/* The first vCPU's makes what all use. */
static int open_code(struct bt *t, uint64_t code, struct fail *why)
{
	struct bt_room *r = t->room;
	const struct bt *first;

	if (r->users > 1) {
		first = r->user[0]->executor;
		return host_code_again(&t->code, &first->code, why);
	}
	r->place = host_map(r->places_all * sizeof(*r->place));
	if (!r->place)
		return fail(why, -ENOMEM, "no memory for the translator");
	return host_code_open(&t->code, code, r->data_bytes, why);
}

int bt_memory_open(struct bt *t, struct interp *c, struct fail *why)
{
	uint64_t code = share_out(t, c->vcpu->vm->vcpus_planned, bytes_of(c->vcpu->vm));
	struct bt_room *r = t->room;
	int err = bt_share_open(t, c);

	if (r->regions_all == 0)
		return fail(why, -EINVAL, "--code-cache is too small for %u vCPUs",
			    c->vcpu->vm->vcpus_planned);
	for (unsigned half = 0; half < 2; half++)
		t->live[half] = host_map(t->live_all * sizeof(*t->live[half]));
	if (err || !t->live[0] || !t->live[1])
		return fail(why, -ENOMEM, "no memory for the translator");
	err = open_code(t, code, why);
	if (err)
		return err;
	t->memory = (struct bt_memory *)(void *)t->code.data;
	t->cell = (struct bt_cell *)(void *)(t->memory + r->memories_all);
	t->page_jump = (struct bt_page_jumps *)(void *)(t->cell + r->cells_all);
	return 0;
}

void bt_memory_close(struct bt *t, const struct interp *c)
{
	struct bt_room *r = t->room;

	host_ahead_settle(c->vcpu->vm->ahead);
	host_code_close(&t->code);
	for (unsigned half = 0; half < 2; half++)
		host_unmap(t->live[half], t->live_all * sizeof(*t->live[half]));
	if (!bt_share_close(t))
		return;
	host_unmap(r->place, r->places_all * sizeof(*r->place));
	host_free(r);
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

static size_t frozen_of(const struct bt_room *r, unsigned n)
{
	return part(r, n, r->frozen_all) & ~(size_t)15;
}

static void dense(const struct bt *t, unsigned n)
{
	host_code_dense(&t->code, (size_t)(code_of(t, n) - t->code.write_at),
			(size_t)(code_of(t, n + 1) - code_of(t, n)));
}

/* By another thread, while there is still room. */
void bt_region_ahead(struct bt *t, const struct interp *c)
{
	struct host_ahead *ahead = c->vcpu->vm->ahead;
	struct bt_room *r = t->room;
	unsigned n = (r->region + 1) % r->regions_all;
	size_t from = (size_t)(code_of(t, n) - t->code.write_at);
	size_t bytes = (size_t)(code_of(t, n + 1) - code_of(t, n));
	size_t memory = part(r, n, r->memories_all), cell = part(r, n, r->cells_all);
	size_t place = part(r, n, r->places_all);

	r->half = NULL;
	if (r->ready & 1u << n)
		return;
	r->ready |= 1u << n;
	for (unsigned k = 0; k < r->users; k++) {
		struct bt *user = r->user[k]->executor;

		host_ahead_dense(ahead, &user->code, from, bytes);
		host_ahead_touch(ahead, user->memory + memory,
				 (part(r, n + 1, r->memories_all) - memory) *
					 sizeof(*user->memory));
		host_ahead_touch(ahead, user->cell + cell,
				 (part(r, n + 1, r->cells_all) - cell) * sizeof(*user->cell));
	}
	host_ahead_touch(ahead, r->place + place,
			 (part(r, n + 1, r->places_all) - place) * sizeof(*r->place));
}

/* One more vCPU, that executes what is there. */
void bt_region_join(const struct bt *t)
{
	dense(t, t->room->region);
}

static void fill_from(struct bt *t, unsigned n)
{
	struct bt_room *r = t->room;

	r->region = n;
	for (unsigned k = 0; k < r->users && !(r->ready & 1u << n); k++)
		dense(r->user[k]->executor, n);
	r->ready |= 1u << n;
	r->at = code_of(t, n) + sizeof(struct bt_head);
	r->at_end = r->cold = code_of(t, n) + (code_of(t, n + 1) - code_of(t, n)) * HOT_SHARE / 100;
	r->half = r->at + (r->at_end - r->at) / 2;
	r->cold_end = code_of(t, n + 1);
	r->cells = (unsigned)part(r, n, r->cells_all);
	r->cells_end = (unsigned)part(r, n + 1, r->cells_all);
	r->places = (unsigned)part(r, n, r->places_all);
	r->places_end = (unsigned)part(r, n + 1, r->places_all);
	r->memories = (unsigned)part(r, n, r->memories_all);
	r->memories_end = (unsigned)part(r, n + 1, r->memories_all);
	r->frozen = frozen_of(r, n);
	r->frozen_end = frozen_of(r, n + 1);
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

/* all: nothing else of the region stays either, so nobody has to look for jumps to single blocks.
 */
static void drop_blocks(struct bt *t, struct interp *c, unsigned n, bool all)
{
	for (uint8_t *at = code_of(t, n); at < t->room->regions[n].end;) {
		const struct bt_head *head = (const struct bt_head *)(const void *)at;
		struct block *b = head->b;

		at += head->bytes;
		if (!b)
			continue;
		if (all)
			b->native_flags &= (uint8_t)~BT_JUMPED; /* see bt_jumps_drop() */
		b->runs = 0;                                    /* it has to be worth it again */
		if (t->room->shared)
			bt_share_drop(t, b);
		else
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
	for (unsigned k = 0; k < r->users; k++) {
		struct bt *user = r->user[k]->executor;

		if (user->pending >= first && user->pending < end)
			user->pending = NULL;
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
			/* On top, where a handler that waits returns to: frame[k] is long gone. */
			if ((uintptr_t)&frame[k + 1] != c->x.hint_rsp)
				frame[k + 1] = 0;
		}
	}
}

/* Those of shared code are zero until it runs. */
static void clear_cells(struct bt *t, unsigned n)
{
	const struct bt_room *r = t->room;
	size_t memory = part(r, n, r->memories_all), cell = part(r, n, r->cells_all);

	memset(t->memory + memory, 0,
	       (part(r, n + 1, r->memories_all) - memory) * sizeof(*t->memory));
	memset(t->cell + cell, 0, (part(r, n + 1, r->cells_all) - cell) * sizeof(*t->cell));
}

/* What a vCPU knows of the region. It is not in the midst of an instruction there. */
static void drop_known(struct interp *c, unsigned n)
{
	struct bt *t = c->executor;
	const struct bt_room *r = t->room;

	bt_jumps_drop(t, bt_exec(t, code_of(t, n)), bt_exec(t, code_of(t, n + 1)));
	drop_hints(t, c, n);
	for (unsigned half = 0; half < 2; half++) /* some may be of the region */
		bt_cells_die(&c->tlb, half);
	if (!r->shared)
		return;
	clear_cells(t, n);
	if ((uintptr_t)c->cut - (uintptr_t)r->names - frozen_of(r, n) <
	    frozen_of(r, n + 1) - frozen_of(r, n))
		c->cut = NULL;
}

static bool in_use(const struct bt *t, unsigned n)
{
	return bt_share_in_use(t, frozen_of(t->room, n), frozen_of(t->room, n + 1));
}

static void drop_region(struct bt *t, struct interp *c, unsigned n)
{
	struct bt_room *r = t->room;

	if (r->regions[n].end > code_of(t, n)) {
		drop_blocks(t, c, n, true);
		drop_places(t, n);
		for (unsigned k = 0; k < r->users; k++)
			drop_known(r->user[k], n);
		t->evictions++;
	}
	r->regions[n] = (struct bt_region){ .end = code_of(t, n) };
}

/* How far the region that is being filled is used. */
static void note_end(struct bt_room *r)
{
	r->regions[r->region] = (struct bt_region){
		.end = r->at - sizeof(struct bt_head),
		.places = r->places - (unsigned)part(r, r->region, r->places_all),
	};
}

void bt_region_next(struct bt *t, struct interp *c)
{
	struct bt_room *r = t->room;
	unsigned n;

	if (r->shared)
		gate_close(c->vcpu->vm, c->vcpu);
	for (unsigned k = 1; k <= r->regions_all; k++) {
		n = (r->region + k) % r->regions_all;
		if (in_use(t, n))
			continue;
		note_end(r);
		drop_region(t, c, n);
		fill_from(t, n);
		break;
	}
	if (r->shared)
		gate_open(c->vcpu->vm, c->vcpu);
}

static bool is_empty(const struct bt *t)
{
	bool empty = true;

	for (unsigned n = 0; n < t->room->regions_all; n++)
		empty &= t->room->regions[n].end == code_of(t, n);
	return empty;
}

/* A region in use keeps its memory; its blocks go nevertheless. */
void bt_regions_drop(struct bt *t, struct interp *c)
{
	struct vcpu *self = atomic_load(&c->vcpu->inside) ? c->vcpu : NULL;
	struct bt_room *r = t->room;

	gate_close(c->vcpu->vm, self);
	note_end(r);
	for (unsigned n = 0; !is_empty(t) && n < r->regions_all; n++) {
		if (in_use(t, n))
			drop_blocks(t, c, n, false);
		else
			drop_region(t, c, n);
	}
	if (!in_use(t, r->region))
		fill_from(t, r->region);
	if (is_empty(t))
		r->page_jumps = 0;
	gate_open(c->vcpu->vm, self);
}
