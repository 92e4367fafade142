/*
 * cache.c - blocks of decoded instructions, and exact invalidation.
 *
 * Each page with code has a bitmap of the bytes that some block was decoded from, so
 * that a write of data beside code is told from a write of code by one look. Blocks may
 * overlap (a jump into the middle of another makes its own).
 *
 * Killed blocks keep their memory, because one of them may be running. The arena is filled region
 * by region and then from the first on again, whose blocks go at once, between two blocks. So
 * memory is bounded, and a guest with more code than that decodes again only what is old.
 *
 * Tested by test/unit/cache.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/cache.h"

#include <string.h>

#define REGION_BYTES (UINT64_C(5) << 20)
#define ARENA_BYTES  (CACHE_REGIONS * REGION_BYTES)
#define PAGES        (1u << 13) /* with code, at one time */
#define BUCKETS      (1u << 16)
#define PAGE_BUCKETS (1u << 13)
#define STRADDLES    512
#define MAPPED       (ARENA_BYTES + STRADDLES * sizeof(struct straddle))

struct code_page {
	uint64_t number; /* guest-physical page number */
	struct mem_slot *slot;
	struct block *first; /* sorted by offset */
	struct code_page *chain;
	uint64_t
		covered[PAGE_SIZE / 64]; /* bytes of blocks; may claim too much, never too little */
};

struct block_cache *cache_new(struct interp *c)
{
	struct block_cache *k = host_alloc(sizeof(*k));

	if (!k)
		return NULL;
	k->c = c;
	k->bucket = host_map(BUCKETS * sizeof(*k->bucket));
	k->pages = host_map(PAGE_BUCKETS * sizeof(*k->pages));
	k->page_room = host_map(PAGES * sizeof(*k->page_room));
	k->arena = host_map(MAPPED);
	if (k->bucket && k->pages && k->page_room && k->arena) {
		k->straddle = (struct straddle *)(void *)(k->arena + ARENA_BYTES);
		return k;
	}
	cache_free(k);
	return NULL;
}

void cache_free(struct block_cache *k)
{
	if (!k)
		return;
	if (k->bucket)
		host_unmap(k->bucket, BUCKETS * sizeof(*k->bucket));
	if (k->pages)
		host_unmap(k->pages, PAGE_BUCKETS * sizeof(*k->pages));
	if (k->page_room)
		host_unmap(k->page_room, PAGES * sizeof(*k->page_room));
	if (k->arena)
		host_unmap(k->arena, MAPPED);
	host_free(k);
}

static size_t block_bytes(unsigned count)
{
	return (sizeof(struct block) + (count + 1) * sizeof(struct insn) + 15) & ~(size_t)15;
}

/* A zero block of `count` instructions in the arena; has_room() was asked. */
static struct block *block_make(struct block_cache *k, unsigned count)
{
	struct block *b =
		(struct block *)(void *)(k->arena + k->region * REGION_BYTES + k->used[k->region]);

	k->used[k->region] += block_bytes(count);
	memset(b, 0, block_bytes(count));
	b->insn = (struct insn *)(b + 1);
	b->count = (uint16_t)count;
	return b;
}

/* Is there room for one more block, and its page? */
static bool has_room(const struct block_cache *k)
{
	return REGION_BYTES - k->used[k->region] >= block_bytes(BLOCK_INSNS) &&
	       (k->page_free || k->pages_used < PAGES);
}

static struct block **bucket_of(struct block_cache *k, uint64_t key)
{
	return &k->bucket[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 48];
}

static struct code_page **page_bucket(struct block_cache *k, uint64_t number)
{
	return &k->pages[number & (PAGE_BUCKETS - 1)];
}

static struct code_page *page_find(struct block_cache *k, uint64_t number)
{
	struct code_page *p = k->recent;

	if (p && p->number == number)
		return p;
	p = *page_bucket(k, number);
	while (p && p->number != number)
		p = p->chain;
	if (p)
		k->recent = p;
	return p;
}

static struct code_page *page_make(struct block_cache *k, gpa_t at)
{
	struct code_page *p = page_find(k, at.v >> PAGE_SHIFT);

	if (p)
		return p;
	p = k->page_free;
	if (p)
		k->page_free = p->chain;
	else
		p = &k->page_room[k->pages_used++];
	*p = (struct code_page){ .number = at.v >> PAGE_SHIFT,
				 .slot = mem_find(&k->c->vcpu->vm->mem, at) };
	p->chain = *page_bucket(k, p->number);
	*page_bucket(k, p->number) = p;
	return p;
}

/* Does some vCPU's cache hold code of the page? */
static bool page_in_use(struct vm *vm, uint64_t number)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct interp *c = vm->vcpu[i]->engine;
		struct code_page *p = page_find(c->cache, number);

		if (p && p->first)
			return true;
	}
	return false;
}

static void unwatch(struct block_cache *k, struct code_page *p)
{
	gpa_t at = gpa(p->number << PAGE_SHIFT);

	if (p->slot && !page_in_use(k->c->vcpu->vm, p->number))
		__atomic_and_fetch(mem_mark(p->slot, at), (uint8_t)~MARK_CODE, __ATOMIC_RELAXED);
}

/* The page's last block is gone. */
static void page_end(struct block_cache *k, struct code_page *p)
{
	struct code_page **at = page_bucket(k, p->number);

	unwatch(k, p);
	while (*at != p)
		at = &(*at)->chain;
	*at = p->chain;
	if (k->recent == p)
		k->recent = NULL;
	p->chain = k->page_free;
	k->page_free = p;
}

/* From now on every write to the page is told to cache_written(). */
static void watch(struct block_cache *k, struct code_page *p)
{
	struct vm *vm = k->c->vcpu->vm;
	gpa_t at = gpa(p->number << PAGE_SHIFT);
	uint8_t *mark = p->slot ? mem_mark(p->slot, at) : NULL;

	if (!mark || *mark & MARK_CODE)
		return;
	__atomic_or_fetch(mark, MARK_CODE, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct interp *c = vm->vcpu[i]->engine;

		tlb_protect_host(&c->tlb, p->slot->host + (at.v - p->slot->start.v));
	}
}

/* Bits of word `w` that stand for the bytes [from, to) of a page. */
static uint64_t word_mask(unsigned w, unsigned from, unsigned to)
{
	unsigned first = w * 64, last = first + 64;

	from = from > first ? from : first;
	to = to < last ? to : last;
	if (from >= to)
		return 0;
	return (to - from == 64 ? ~UINT64_C(0) : (UINT64_C(1) << (to - from)) - 1)
	       << (from - first);
}

static bool covers(const struct code_page *p, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		if (p->covered[w] & word_mask(w, from, to))
			return true;
	return false;
}

static void cover(struct code_page *p, const struct block *b)
{
	unsigned from = b->offset, to = from + b->bytes;

	for (unsigned w = from / 64; w * 64 < to; w++)
		p->covered[w] |= word_mask(w, from, to);
}

static void link_block(struct block_cache *k, struct code_page *p, struct block *b)
{
	struct block **at = &p->first;

	while (*at && (*at)->offset < b->offset)
		at = &(*at)->next;
	b->next = *at;
	*at = b;
	b->page = p;
	b->live = true;
	b->chain = *bucket_of(k, b->key);
	*bucket_of(k, b->key) = b;
	cover(p, b);
	watch(k, p);
}

/* Its memory stays: it may be running. */
static void kill_block(struct block_cache *k, struct block *b)
{
	struct block **at = bucket_of(k, b->key);
	struct cache_fast *f = &k->fast[cache_fast_index(b->key)];

	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	if (f->block == b)
		*f = (struct cache_fast){ 0 };
	for (unsigned i = 0; i <= b->count; i++)
		b->insn[i].fn = op_stale;
	b->live = false;
	b->generation = 0;
	if (b->native)
		k->c->killed(k->c, b);
	k->killed++;
}

void cache_written(struct block_cache *k, gpa_t at, uint64_t bytes)
{
	struct code_page *p = page_find(k, at.v >> PAGE_SHIFT);
	unsigned from = at.v & PAGE_MASK, to = from + (unsigned)bytes;
	struct block **link;

	if (!p || !p->first || !covers(p, from, to))
		return;
	memset(p->covered, 0, sizeof(p->covered));
	for (link = &p->first; *link;) {
		struct block *b = *link;

		if (b->offset < to && b->offset + b->bytes > from) {
			*link = b->next;
			kill_block(k, b);
		} else {
			cover(p, b);
			link = &b->next;
		}
	}
	if (!p->first)
		page_end(k, p);
}

void cache_written_all(struct vm *vm, gpa_t at, uint64_t bytes)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct interp *c = vm->vcpu[i]->engine;

		cache_written(c->cache, at, bytes);
	}
}

void cache_flush(struct block_cache *k)
{
	for (unsigned n = 0; n < PAGE_BUCKETS; n++) {
		for (struct code_page *p = k->pages[n]; p; p = p->chain) {
			if (!p->first)
				continue;
			p->first = NULL;
			unwatch(k, p);
		}
	}
	memset(k->pages, 0, PAGE_BUCKETS * sizeof(*k->pages));
	memset(k->bucket, 0, BUCKETS * sizeof(*k->bucket));
	memset(k->fast, 0, sizeof(k->fast));
	memset(k->straddle, 0, STRADDLES * sizeof(*k->straddle));
	memset(k->used, 0, sizeof(k->used));
	k->region = 0;
	k->recent = k->page_free = NULL;
	k->pages_used = 0;
	k->flushes++;
	k->c->cut = NULL;
	k->c->flush_wanted = false;
	if (k->c->flushed)
		k->c->flushed(k->c);
}

/* --- eviction ----------------------------------------------------------------------------------
 */

struct region {
	uint8_t *from, *to;
};

static struct region region_of(const struct block_cache *k, unsigned n)
{
	uint8_t *from = k->arena + n * REGION_BYTES;

	return (struct region){ from, from + k->used[n] };
}

static bool is_in(const struct region *r, const void *p)
{
	return (const uint8_t *)p >= r->from && (const uint8_t *)p < r->to;
}

/* Kills the page's blocks that lie in the region. */
static void page_evict(struct block_cache *k, struct code_page *p, const struct region *r)
{
	memset(p->covered, 0, sizeof(p->covered));
	for (struct block **link = &p->first; *link;) {
		struct block *b = *link;

		if (is_in(r, b)) {
			*link = b->next;
			kill_block(k, b);
		} else {
			cover(p, b);
			link = &b->next;
		}
	}
	if (!p->first)
		page_end(k, p);
}

/* No instruction of `in` remembers a successor that lies in the region `gone`. */
static void forget_successors(const struct region *in, const struct region *gone)
{
	for (uint8_t *at = in->from; at < in->to;) {
		struct block *b = (struct block *)(void *)at;

		for (unsigned n = 0; n <= b->count; n++)
			if (is_in(gone, b->insn[n].aux))
				b->insn[n].aux = NULL;
		at += block_bytes(b->count);
	}
}

/* The next region's blocks go, and it is filled from now on. */
static void next_region(struct block_cache *k)
{
	unsigned next = (k->region + 1) % CACHE_REGIONS;
	struct region gone = region_of(k, next), other;

	for (uint8_t *at = gone.from; at < gone.to;) {
		struct block *b = (struct block *)(void *)at;

		at += block_bytes(b->count);
		if (b->live)
			page_evict(k, b->page, &gone);
	}
	for (unsigned n = 0; n < CACHE_REGIONS && gone.to > gone.from; n++) {
		other = region_of(k, n);
		if (n != next)
			forget_successors(&other, &gone);
	}
	for (unsigned n = 0; n < STRADDLES; n++)
		for (unsigned i = 0; i < 2; i++)
			if (is_in(&gone, k->straddle[n].insn[i].aux))
				k->straddle[n].insn[i].aux = NULL;
	if (is_in(&gone, k->c->cut))
		k->c->cut = NULL;
	k->evictions += gone.to > gone.from;
	k->region = next;
	k->used[next] = 0;
}

/* Decodes up to BLOCK_INSNS instructions of the page's rest. Returns how many. */
static unsigned decode_block(struct block_cache *k, const uint8_t *host, unsigned room,
			     enum decode_mode mode, struct insn *insn, unsigned *bytes)
{
	unsigned n = 0, at = 0;

	while (n < BLOCK_INSNS && at < room) {
		struct insn *i = &insn[n];

		if (!decode_insn(k->c->decoder, k->c, mode, host + at, room - at, at, i))
			break;
		i->n = (uint8_t)n++;
		at += i->len;
		if (i->flags & INSN_LAST)
			break;
	}
	insn[n] = (struct insn){ .fn = op_end, .at = (uint16_t)at, .n = (uint8_t)n };
	*bytes = at;
	return n;
}

static struct block *make_block(struct block_cache *k, gpa_t at, const uint8_t *host,
				enum decode_mode mode)
{
	struct insn insn[BLOCK_INSNS + 1];
	unsigned bytes, n, room = PAGE_SIZE - (unsigned)(at.v & PAGE_MASK);
	struct block *b;

	n = decode_block(k, host, room, mode, insn, &bytes);
	if (n == 0)
		return NULL;
	b = block_make(k, n);
	memcpy(b->insn, insn, (n + 1) * sizeof(*insn));
	b->bytes = (uint16_t)bytes;
	b->offset = at.v & PAGE_MASK;
	b->mode = (uint8_t)mode;
	b->key = block_key(host, mode);
	link_block(k, page_make(k, at), b);
	k->blocks++;
	return b;
}

struct block *cache_find(struct block_cache *k, const void *host, enum decode_mode mode)
{
	uint64_t key = block_key(host, mode);
	struct block *b = *bucket_of(k, key);

	while (b && b->key != key)
		b = b->chain;
	if (b)
		k->fast[cache_fast_index(key)] = (struct cache_fast){ key, b };
	return b;
}

struct block *cache_block(struct block_cache *k, gpa_t at, uint8_t *host, enum decode_mode mode)
{
	struct block *b = cache_find(k, host, mode);

	if (b)
		return b;
	while (!has_room(k))
		next_region(k);
	b = make_block(k, at, host, mode);
	if (k->c->flush_wanted) {
		cache_flush(k);
		b = make_block(k, at, host, mode);
	}
	if (b)
		k->fast[cache_fast_index(b->key)] = (struct cache_fast){ b->key, b };
	return b;
}

static struct straddle *straddle_at(const struct block_cache *k, uint64_t linear)
{
	return &k->straddle[(linear >> 2 ^ linear >> PAGE_SHIFT) % STRADDLES];
}

bool cache_straddles(const struct block_cache *k, uint64_t linear, enum decode_mode mode)
{
	const struct straddle *s = straddle_at(k, linear);

	return s->count && s->linear == linear && s->block.mode == mode;
}

struct block *cache_straddle_again(struct block_cache *k, uint64_t linear)
{
	struct straddle *s = straddle_at(k, linear);
	unsigned here = (unsigned)(PAGE_SIZE - (linear & PAGE_MASK)), known = s->block.bytes;
	struct tlb *tlb = &k->c->tlb;
	const uint8_t *first, *second;

	if (!cache_straddles(k, linear, DECODE_64) || known <= here)
		return NULL;
	first = tlb_hit(tlb, linear, here, ACCESS_EXEC);
	second = tlb_hit(tlb, linear + here, known - here, ACCESS_EXEC);
	if (!first || !second || memcmp(s->bytes, first, here) != 0 ||
	    memcmp(s->bytes + here, second, known - here) != 0)
		return NULL;
	return &s->block;
}

struct block *cache_straddle(struct block_cache *k, uint64_t linear, enum decode_mode mode,
			     const uint8_t *bytes, unsigned count)
{
	struct straddle *s = straddle_at(k, linear);
	unsigned known = s->block.bytes;

	if (cache_straddles(k, linear, mode) &&
	    memcmp(s->bytes, bytes, known < count ? known : count) == 0)
		return known <= count ? &s->block : NULL;
	if (s->block.native)
		k->c->killed(k->c, &s->block);
	s->count = 0;
	if (!decode_insn(k->c->decoder, k->c, mode, bytes, count, 0, &s->insn[0]))
		return NULL;
	if (k->c->flush_wanted) {
		cache_flush(k);
		decode_insn(k->c->decoder, k->c, mode, bytes, count, 0, &s->insn[0]);
	}
	s->insn[1] = (struct insn){ .fn = op_end, .at = s->insn[0].len, .n = 1 };
	s->block = (struct block){ .insn = s->insn,
				   .count = 1,
				   .bytes = s->insn[0].len,
				   .offset = (uint16_t)(linear & PAGE_MASK),
				   .mode = (uint8_t)mode,
				   .live = true };
	s->linear = linear;
	s->count = (uint8_t)count;
	memcpy(s->bytes, bytes, count);
	return &s->block;
}
