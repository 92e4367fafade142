/*
 * tlb.c - filling and flushing the software TLB.
 *
 * Linux flushes at every context switch, while a set of arrays is half a megabyte. So
 * each array keeps bitmaps of the entries in use, and a flush touches only those. Of a set
 * that no PCID ever had nothing is touched, and of one that has few entries few pages.
 *
 * The high half is shared by all PCIDs: its local (not global) entries belong to the
 * current one and are dropped when CR3 names another. Pages larger than 4 KiB are
 * entered 4 KiB at a time; invalidating one address drops every such piece
 * in the same GiB, since no page is larger.
 *
 * Not modelled: paging-structure caches (each miss walks from the root), and global
 * entries of the low half surviving a CR3 load, which no processor promises.
 *
 * Spec: SDM vol. 3 4.10. Tested by test/unit/tlb.c, tlb_fresh.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/mmu/tlb.h"

#include <errno.h>
#include <stddef.h>

#include "host/host.h"

#define GIB_SHIFT 30

static unsigned index_of(uint64_t linear)
{
	return (linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

static void set_bit(uint64_t *map, unsigned i, bool on)
{
	uint64_t bit = UINT64_C(1) << (i % 64);

	map[i / 64] = on ? map[i / 64] | bit : map[i / 64] & ~bit;
}

static void set_large(struct tlb_array *a, unsigned i, bool on)
{
	a->large_pieces += on;
	a->large_pieces -= a->large[i / 64] >> (i % 64) & 1;
	set_bit(a->large, i, on);
}

static void new_generation(struct tlb *t, struct tlb_array *a)
{
	a->code_generation = ++t->generations;
	a->gone_first = UINT64_MAX;
	a->gone_last = 0;
	a->gone_local = false;
	for (unsigned half = 0; half < 2; half++)
		if (t->code_now[half] == a->entry)
			t->generation_now[half] = a->code_generation;
}

/* Of an entry of data. */
static void kill_cells(struct tlb *t, struct tlb_array *a, unsigned i)
{
	if (!a->code && a->entry[i].tag[ACCESS_EXEC])
		t->cells_of(t, &a->entry[i]);
}

static void untag(struct tlb *t, struct tlb_array *a, unsigned i)
{
	struct tlb_entry *e = &a->entry[i];

	if (a->code) {
		if (e->tag[ACCESS_EXEC] != TLB_NEVER(i))
			new_generation(t, a);
		e->tag[ACCESS_EXEC] = TLB_NEVER(i);
	} else {
		kill_cells(t, a, i);
	}
	e->tag[ACCESS_READ] = e->tag[ACCESS_WRITE] = TLB_NEVER(i);
}

/* Drops the entries of `which`, a part of word `w` of the bitmaps. */
static void drop_word(struct tlb *t, struct tlb_array *a, unsigned w, uint64_t which)
{
	if (!which)
		return;
	for (uint64_t left = which; left; left &= left - 1) {
		unsigned bit = (unsigned)__builtin_ctzll(left);

		untag(t, a, w * 64 + bit);
		a->large_pieces -= a->large[w] >> bit & 1;
	}
	a->used[w] &= ~which;
	a->local[w] &= ~which;
	set_bit(&a->locals, w, a->local[w]);
	a->large[w] &= ~which;
	a->write[w] &= ~which;
}

static void drop(struct tlb *t, struct tlb_array *a, unsigned i)
{
	drop_word(t, a, i / 64, UINT64_C(1) << (i % 64));
}

/* Some of what made room for others may be flushed. */
static void drop_gone(struct tlb *t, struct tlb_array *a)
{
	if (a->gone_first <= a->gone_last)
		new_generation(t, a);
}

static void drop_mapped(struct tlb *t, struct tlb_array *a, const uint64_t *which)
{
	for (unsigned w = 0; w < TLB_WORDS; w++)
		drop_word(t, a, w, which[w]);
}

static void drop_low(struct tlb *t, unsigned slot)
{
	if (!(t->filled >> slot & 1))
		return;
	t->filled &= (uint8_t) ~(1u << slot);
	for (unsigned c = 0; c < TLB_KINDS; c++) {
		drop_mapped(t, &t->low[slot][c], t->low[slot][c].used);
		drop_gone(t, &t->low[slot][c]);
	}
}

/* A kernel has hardly any, and each write of CR3 asks. */
static void drop_high_local(struct tlb *t)
{
	for (unsigned c = 0; c < TLB_KINDS; c++) {
		struct tlb_array *a = &t->high[c];

		for (uint64_t left = a->locals; left; left &= left - 1) {
			unsigned w = (unsigned)__builtin_ctzll(left);

			drop_word(t, a, w, a->local[w]);
		}
		if (a->gone_local)
			drop_gone(t, a);
	}
}

static void make_view(struct tlb *t, enum tlb_context context)
{
	unsigned code = context == TLB_USER ? TLB_CODE_USER : TLB_CODE_SUPERVISOR;
	unsigned high = context == TLB_USER ? TLB_USER : TLB_SUPERVISOR;
	struct tlb_array *low = t->low[t->slot];

	t->view[context] = (struct tlb_view){
		.now = {low[context].entry,          t->high[high].entry           },
		.code = { low[code].entry,            t->high[code].entry           },
		.generation = { &low[code].code_generation, &t->high[code].code_generation},
	};
}

/* After another slot was chosen. */
static void select_arrays(struct tlb *t)
{
	for (unsigned context = 0; context < TLB_CONTEXTS; context++)
		make_view(t, (enum tlb_context)context);
	t->low_ac[0] = t->view[TLB_SUPERVISOR].now[0];
	t->low_ac[1] = t->view[TLB_SUPERVISOR_AC].now[0];
	tlb_set_context(t, t->context);
}

#define SET_BYTES (TLB_KINDS * sizeof(struct tlb_array))

/* A set of arrays that is all 0 becomes an empty one. */
static void begin_set(struct tlb *t, struct tlb_array *set, unsigned half)
{
	for (unsigned kind = 0; kind < TLB_KINDS; kind++) {
		struct tlb_array *a = &set[kind];

		a->code = kind >= TLB_CONTEXTS;
		a->half = (uint8_t)half;
		new_generation(t, a);
		for (unsigned i = 0; i < TLB_ENTRIES && TLB_NEVER(i) != 0; i++)
			untag(t, a, i);
	}
}

_Static_assert(SET_BYTES < 2 << 20, "each in pages of 4 KiB: see host_map()");

/* Not in one piece, which the host would make of huge pages. */
static bool get_sets(struct tlb *t)
{
	t->high = host_map(SET_BYTES);
	for (unsigned s = 0; s < TLB_PCIDS; s++) {
		t->low[s] = host_map(SET_BYTES);
		if (!t->low[s])
			return false;
	}
	return t->high;
}

int tlb_init(struct tlb *t)
{
	*t = (struct tlb){ .context = TLB_SUPERVISOR };
	if (!get_sets(t)) {
		tlb_fini(t);
		return -ENOMEM;
	}
	for (unsigned s = 1; s < TLB_PCIDS; s++)
		t->slot_key[s] = TLB_NO_PCID;
	begin_set(t, t->high, 1);
	begin_set(t, t->low[0], 0);
	t->slot_used[0] = ++t->uses;
	select_arrays(t);
	return 0;
}

void tlb_fini(struct tlb *t)
{
	host_unmap(t->high, SET_BYTES);
	for (unsigned s = 0; s < TLB_PCIDS; s++)
		host_unmap(t->low[s], SET_BYTES);
	*t = (struct tlb){ 0 };
}

static struct tlb_array *array_for(struct tlb *t, uint64_t linear, enum access access)
{
	unsigned kind = t->context;

	if (linear >> 63 && kind == TLB_SUPERVISOR_AC)
		kind = TLB_SUPERVISOR;
	if (access == ACCESS_EXEC)
		kind = t->context == TLB_USER ? TLB_CODE_USER : TLB_CODE_SUPERVISOR;
	return linear >> 63 ? &t->high[kind] : &t->low[t->slot][kind];
}

/* The entry of code at `i` goes, but its generation stays. */
static void make_room(struct tlb_array *a, unsigned i, uint64_t for_page)
{
	uint64_t first = a->entry[i].tag[ACCESS_EXEC], last = first | PAGE_MASK;

	if (first == TLB_NEVER(i) || first == for_page)
		return;
	if (a->large[i / 64] >> (i % 64) & 1) {
		first = first >> GIB_SHIFT << GIB_SHIFT;
		last = first | ((UINT64_C(1) << GIB_SHIFT) - 1);
	}
	a->gone_first = first < a->gone_first ? first : a->gone_first;
	a->gone_last = last > a->gone_last ? last : a->gone_last;
	a->gone_local |= a->local[i / 64] >> (i % 64) & 1;
	a->entry[i].tag[ACCESS_EXEC] = TLB_NEVER(i);
}

void tlb_fill(struct tlb *t, gva_t at, void *host_page, const struct walk *w, enum access access,
	      unsigned allow)
{
	uint64_t page = at.v & ~PAGE_MASK;
	unsigned i = index_of(page);
	struct tlb_array *a = array_for(t, page, access);
	struct tlb_entry *e = &a->entry[i];
	bool code = access == ACCESS_EXEC;
	bool granted[ACCESS_COUNT] = {
		[ACCESS_READ] = w->readable && !code,
		[ACCESS_WRITE] = w->writable && !code,
		[ACCESS_EXEC] = w->executable && code,
	};

	if (code && t->lasting)
		make_room(a, i, page);
	untag(t, a, i);
	for (unsigned k = 0; k < ACCESS_COUNT; k++)
		if (granted[k] && (allow >> k & 1))
			e->tag[k] = page;
	if (granted[ACCESS_WRITE] && allow & TLB_ALLOW_TOLD)
		e->tag[ACCESS_WRITE] = TLB_TOLD(page);
	e->host = (uintptr_t)host_page;
	set_bit(a->used, i, true);
	set_bit(a->local, i, !w->global);
	set_bit(&a->locals, i / 64, a->local[i / 64]);
	set_large(a, i, w->page_bytes > PAGE_SIZE);
	set_bit(a->write, i, e->tag[ACCESS_WRITE] == page);
	t->pkru_bits |= w->pkru_bits;
	t->low_global |= w->global && !(page >> 63);
	t->filled |= (uint8_t)(!(page >> 63) << t->slot);
	t->fills++;
}

void tlb_flush_all(struct tlb *t)
{
	for (unsigned s = 0; s < TLB_PCIDS; s++)
		drop_low(t, s);
	for (unsigned c = 0; c < TLB_KINDS; c++) {
		drop_mapped(t, &t->high[c], t->high[c].used);
		drop_gone(t, &t->high[c]);
	}
	t->pkru_bits = 0;
	t->low_global = false;
	t->flushes++;
}

void tlb_flush_keys(struct tlb *t, uint32_t changed)
{
	if (t->pkru_bits & changed)
		tlb_flush_all(t);
}

void tlb_flush_local(struct tlb *t)
{
	drop_low(t, t->slot);
	drop_high_local(t);
	t->flushes++;
}

static bool is_told(uint64_t tag)
{
	return (tag >> 62 ^ tag >> 63) & 1;
}

/* The page an entry in use maps. The tags that are not TLB_NEVER agree. */
static bool linear_of(const struct tlb_array *a, unsigned i, uint64_t *page)
{
	unsigned kinds = a->code ? ACCESS_COUNT : ACCESS_EXEC;

	for (unsigned k = 0; k < kinds; k++) {
		uint64_t tag = a->entry[i].tag[k];

		if (tag != TLB_NEVER(i)) {
			*page = is_told(tag) ? TLB_TOLD(tag) : tag;
			return true;
		}
	}
	return false;
}

/* Drops `at` from one array; when large pieces are there, all that could be of its page. */
static void drop_page(struct tlb *t, struct tlb_array *a, uint64_t at)
{
	uint64_t page;

	if (at >= a->gone_first && at <= a->gone_last)
		drop_gone(t, a);
	if (linear_of(a, index_of(at), &page) && page == (at & ~PAGE_MASK))
		drop(t, a, index_of(at));
	for (unsigned w = 0; w < TLB_WORDS && a->large_pieces; w++) {
		for (uint64_t left = a->large[w]; left; left &= left - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(left);

			if (!linear_of(a, i, &page) || (page ^ at) >> GIB_SHIFT == 0)
				drop(t, a, i);
		}
	}
}

/* A global page of the low half may have been entered under any PCID. */
void tlb_flush_page(struct tlb *t, gva_t at)
{
	for (unsigned c = 0; c < TLB_KINDS; c++) {
		if (at.v >> 63) {
			drop_page(t, &t->high[c], at.v);
			continue;
		}
		drop_page(t, &t->low[t->slot][c], at.v);
		for (unsigned s = 0; s < TLB_PCIDS && t->low_global; s++)
			if (t->filled >> s & 1)
				drop_page(t, &t->low[s][c], at.v);
	}
}

static unsigned find_slot(const struct tlb *t, unsigned pcid)
{
	unsigned s = 0;

	while (s < TLB_PCIDS && t->slot_key[s] != pcid)
		s++;
	return s;
}

static unsigned oldest_slot(const struct tlb *t)
{
	unsigned oldest = 0;

	for (unsigned s = 1; s < TLB_PCIDS; s++)
		if (t->slot_used[s] < t->slot_used[oldest])
			oldest = s;
	return oldest;
}

void tlb_switch(struct tlb *t, unsigned pcid, bool flush)
{
	unsigned slot = find_slot(t, pcid);
	bool other = slot != t->slot;

	if (slot == TLB_PCIDS) {
		slot = oldest_slot(t);
		if (!t->slot_used[slot])
			begin_set(t, t->low[slot], 0);
		t->slot_key[slot] = pcid;
		flush = true;
	}
	if (flush) {
		drop_low(t, slot);
		t->flushes++;
	}
	if (flush || other)
		drop_high_local(t);
	if (other && t->cells_die)
		t->cells_die(t, 0);
	t->slot = slot;
	t->slot_used[slot] = ++t->uses;
	select_arrays(t);
}

void tlb_flush_pcid(struct tlb *t, unsigned pcid)
{
	unsigned slot = find_slot(t, pcid);

	if (slot == TLB_PCIDS)
		return;
	drop_low(t, slot);
	if (slot == t->slot)
		drop_high_local(t);
	t->flushes++;
}

void tlb_flush_pcid_page(struct tlb *t, unsigned pcid, gva_t at)
{
	unsigned slot = find_slot(t, pcid);

	if (slot == TLB_PCIDS)
		return;
	for (unsigned c = 0; c < TLB_KINDS; c++) {
		if (!(at.v >> 63))
			drop_page(t, &t->low[slot][c], at.v);
		else if (slot == t->slot)
			drop_page(t, &t->high[c], at.v);
	}
}

/* Does entry `i`, which is in use, map this host page? */
static bool maps_host(const struct tlb_array *a, unsigned i, uint64_t host_page)
{
	uint64_t page;

	return linear_of(a, i, &page) && a->entry[i].host == host_page;
}

static void protect(struct tlb *t, struct tlb_array *a, uint64_t host_page)
{
	for (unsigned w = 0; w < TLB_WORDS; w++) {
		for (uint64_t left = a->write[w]; left; left &= left - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(left);

			if (!maps_host(a, i, host_page))
				continue;
			kill_cells(t, a, i);
			a->entry[i].tag[ACCESS_WRITE] = TLB_TOLD(a->entry[i].tag[ACCESS_WRITE]);
			set_bit(a->write, i, false);
		}
	}
}

static void drop_host(struct tlb *t, struct tlb_array *a, uint64_t host_page)
{
	drop_gone(t, a);
	for (unsigned w = 0; w < TLB_WORDS; w++) {
		for (uint64_t left = a->used[w]; left; left &= left - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(left);

			if (maps_host(a, i, host_page))
				drop(t, a, i);
		}
	}
}

static void everywhere(struct tlb *t, const void *host,
		       void (*fn)(struct tlb *t, struct tlb_array *a, uint64_t host_page))
{
	uint64_t page = (uintptr_t)host & ~PAGE_MASK;

	for (unsigned c = 0; c < TLB_KINDS; c++) {
		fn(t, &t->high[c], page);
		for (unsigned s = 0; s < TLB_PCIDS; s++)
			if (t->filled >> s & 1)
				fn(t, &t->low[s][c], page);
	}
}

void tlb_protect_host(struct tlb *t, const void *host)
{
	everywhere(t, host, protect);
}

void tlb_drop_host(struct tlb *t, const void *host)
{
	everywhere(t, host, drop_host);
}
