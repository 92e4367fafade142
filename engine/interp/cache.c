/*
 * cache.c - blocks of decoded instructions, and exact invalidation.
 *
 * Blocks may overlap (a jump into the middle of another makes its own). Who tells of writes to
 * their pages: code_page.c.
 *
 * Killed blocks keep their memory, because one of them may be running. The arena is filled region
 * by region and then from the first on again, whose blocks go at once, between two blocks. So
 * memory is bounded, and a guest with more code than that decodes again only what is old.
 *
 * Tested by test/unit/cache.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/code_page.h"

#include <string.h>

#include "engine/mmu/guest.h"

/* Of blocks: by --code-cache, within what a name of bt.h can say. */
#define ARENA_LEAST   (UINT64_C(40) << 20)
#define ARENA_MOST    (UINT64_C(120) << 20)
#define PAGE_SHARE    (UINT64_C(5) << 10) /* of the arena, for each page with code */
#define BUCKETS       (1u << 18)
#define STRADDLE_ROOM (STRADDLES * sizeof(struct straddle))

/* What translations leave of --code-cache. */
static size_t region_bytes(const struct interp *c)
{
	uint64_t all = c->vcpu->vm->engine_options.code_cache, arena = ARENA_LEAST;

	if (all - CODE_CACHE_TRANSLATED(all) > ARENA_LEAST)
		arena = all - CODE_CACHE_TRANSLATED(all);
	if (arena > ARENA_MOST)
		arena = ARENA_MOST;
	return arena / CACHE_REGIONS & ~(uint64_t)15;
}

struct block_cache *cache_new(struct interp *c)
{
	struct block_cache *k = host_alloc(sizeof(*k));
	size_t arena;

	if (!k)
		return NULL;
	k->c = c;
	k->region_bytes = region_bytes(c);
	arena = k->region_bytes * CACHE_REGIONS;
	k->pages_all = (unsigned)(arena / PAGE_SHARE);
	k->bucket = host_map(BUCKETS * sizeof(*k->bucket));
	k->pages = host_map(PAGE_BUCKETS * sizeof(*k->pages));
	k->page_room = host_map(k->pages_all * sizeof(*k->page_room));
	k->arena = host_map(arena + STRADDLE_ROOM);
	if (k->bucket && k->pages && k->page_room && k->arena) {
		k->straddle = (struct straddle *)(void *)(k->arena + arena);
		return k;
	}
	cache_free(k);
	return NULL;
}

void cache_free(struct block_cache *k)
{
	if (!k)
		return;
	host_ahead_settle(k->c->vcpu->vm->ahead);
	if (k->bucket)
		host_unmap(k->bucket, BUCKETS * sizeof(*k->bucket));
	if (k->pages)
		host_unmap(k->pages, PAGE_BUCKETS * sizeof(*k->pages));
	if (k->page_room)
		host_unmap(k->page_room, k->pages_all * sizeof(*k->page_room));
	if (k->arena)
		host_unmap(k->arena, k->region_bytes * CACHE_REGIONS + STRADDLE_ROOM);
	host_free(k);
}

/* Most bytes of code that a block can hold. */
#define CODE_MOST (BLOCK_INSNS * INSN_BYTES_MAX)

static size_t block_room(unsigned count, unsigned code_bytes)
{
	size_t bytes = sizeof(struct block) + (count + 1) * sizeof(struct insn) + code_bytes;

	return (bytes + 15) & ~(size_t)15;
}

static size_t block_bytes(const struct block *b)
{
	return block_room(b->count, b->to - b->from);
}

/* The same of one that follows jumps: from the lowest to the highest. */
#define FOLLOW_MOST 1024
_Static_assert(FOLLOW_MOST >= CODE_MOST, "has_room() asks for one");

/* A block in the arena, of `count` instructions and their end, that lies in [from, to) of its page,
 * where `code` is; has_room() was asked. */
static struct block *block_make(struct block_cache *k, const struct insn *insn, unsigned count,
				const uint8_t *code, unsigned from, unsigned to)
{
	unsigned code_bytes = to - from;
	struct block *b = (struct block *)(void *)(k->arena + k->region * k->region_bytes +
						   k->used[k->region]);
	uint8_t *copy = (uint8_t *)(b + 1) + (count + 1) * sizeof(*insn);

	k->used[k->region] += block_room(count, code_bytes);
	host_ahead_filled(k->c->vcpu->vm->ahead, b, block_room(count, code_bytes),
			  k->arena + k->region_bytes * CACHE_REGIONS);
	memset(b, 0, sizeof(*b));
	b->insn = (struct insn *)(b + 1);
	memcpy(b->insn, insn, (count + 1) * sizeof(*insn));
	b->code = copy;
	memcpy(copy, code, code_bytes);
	b->count = b->most = (uint16_t)count;
	b->from = (uint16_t)from;
	b->to = (uint16_t)to;
	return b;
}

/* Is there room for one more block, and its page? */
static bool has_room(const struct block_cache *k)
{
	return k->region_bytes - k->used[k->region] >= block_room(BLOCK_INSNS, FOLLOW_MOST) &&
	       (k->page_free || k->pages_used < k->pages_all);
}

static struct block **bucket_of(struct block_cache *k, uint64_t key)
{
	return &k->bucket[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 46];
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
	page_cover(p, b);
	page_watch(k, p);
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

bool block_is_stale(const struct block *b)
{
	for (unsigned n = 0; n < b->count; n++)
		if (b->insn[n].fn == op_stale)
			return true;
	return false;
}

bool block_overlaps(const struct block *b, unsigned from, unsigned to)
{
	if (b->from >= to || b->to <= from || !b->follows)
		return b->from < to && b->to > from;
	for (unsigned n = 0; n < b->count; n++) {
		unsigned at = (unsigned)(b->offset + b->insn[n].at);

		if (at < to && at + b->insn[n].len > from)
			return true;
	}
	return false;
}

void cache_written(struct block_cache *k, gpa_t at, uint64_t bytes)
{
	struct code_page *p = page_find(k, at.v >> PAGE_SHIFT);
	unsigned from = at.v & PAGE_MASK, to = from + (unsigned)bytes;
	struct block **link;

	if (!p || !p->first || !page_covers(p, from, to))
		return;
	memset(p->covered, 0, sizeof(p->covered));
	for (link = &p->first; *link;) {
		struct block *b = *link;

		if (block_overlaps(b, from, to)) {
			*link = b->next;
			kill_block(k, b);
		} else {
			page_cover(p, b);
			link = &b->next;
		}
	}
	if (!p->first)
		page_end(k, p);
}

void cache_flush(struct block_cache *k)
{
	for (unsigned n = 0; n < PAGE_BUCKETS; n++) {
		for (struct code_page *p = k->pages[n]; p; p = p->chain) {
			if (!p->first)
				continue;
			p->first = NULL;
			page_unwatch(k, p);
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
	uint8_t *from = k->arena + n * k->region_bytes;

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
			page_cover(p, b);
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
		at += block_bytes(b);
	}
}

/* The next region's blocks go, and it is filled from now on. */
static void next_region(struct block_cache *k)
{
	unsigned next = (k->region + 1) % CACHE_REGIONS;
	struct region gone = region_of(k, next), other;

	for (uint8_t *at = gone.from; at < gone.to;) {
		struct block *b = (struct block *)(void *)at;

		at += block_bytes(b);
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

/* Decodes up to BLOCK_INSNS instructions of `code`, the page's rest. Returns how many. */
static unsigned decode_block(struct block_cache *k, const uint8_t *code, unsigned room,
			     enum decode_mode mode, struct insn *insn, unsigned *bytes)
{
	unsigned n = 0, at = 0;

	while (n < BLOCK_INSNS && at < room) {
		struct insn *i = &insn[n];

		if (!decode_insn(k->c->decoder, k->c, mode, code + at, room - at, (int)at, i))
			break;
		i->n = (uint8_t)n++;
		at += i->len;
		if (i->flags & INSN_LAST)
			break;
	}
	insn[n] = (struct insn){ .fn = op_end, .at = (int16_t)at, .n = (uint8_t)n };
	*bytes = at;
	return n;
}

static struct block *make_block(struct block_cache *k, gpa_t at, const uint8_t *host,
				enum decode_mode mode)
{
	struct insn insn[BLOCK_INSNS + 1];
	unsigned bytes, n, room = PAGE_SIZE - (unsigned)(at.v & PAGE_MASK);
	uint8_t code[CODE_MOST];
	struct block *b;

	if (room > sizeof(code))
		room = sizeof(code);
	page_watch_shared(k, at);
	guest_copy(code, host, room);
	n = k->c->share ? k->c->share->decoded(k->c, block_key(host, mode), insn) : 0;
	if (n > 0)
		bytes = (unsigned)insn[n].at;
	else
		n = decode_block(k, code, room, mode, insn, &bytes);
	if (n == 0) {
		page_unwatch_shared(k, at);
		return NULL;
	}
	b = block_make(k, insn, n, code, at.v & PAGE_MASK, (at.v & PAGE_MASK) + bytes);
	b->offset = b->from;
	b->bytes = (uint16_t)bytes;
	b->mode = (uint8_t)mode;
	b->key = block_key(host, mode);
	link_block(k, page_make(k, at), b);
	k->blocks++;
	return b;
}

/* --- following jumps ----------------------------------------------------------------------------
 */

/* A block that grows: `count` instructions and their end, in [from, to) of the page. */
struct follow {
	const struct block *b;
	struct insn insn[BLOCK_INSNS + 1];
	unsigned count, from, to;
	uint8_t code[PAGE_SIZE]; /* of the page, what it has */
};

static bool has_insn_at(const struct follow *f, int at)
{
	for (unsigned n = 0; n < f->count; n++)
		if (f->insn[n].at == at)
			return true;
	return false;
}

/* Where in the page its last instruction leads; PAGE_SIZE: nowhere that it does not have yet. */
static unsigned follow_target(const struct follow *f)
{
	const struct insn *last = &f->insn[f->count - 1];
	int64_t to = f->b->offset + (int64_t)last->imm;

	if (!insn_is_jump(last) || last->osz != (f->b->mode == DECODE_64 ? 8 : 4) || to < 0 ||
	    to >= (int64_t)PAGE_SIZE || has_insn_at(f, (int)(int64_t)last->imm))
		return PAGE_SIZE;
	return (unsigned)to;
}

/* Where the jump led, if the instructions from `first` on were run in a block of their own. */
static void follow_known(const struct block_cache *k, struct follow *f, const uint8_t *page,
			 unsigned at, unsigned first)
{
	const struct block *b = cache_peek(k, block_key(page + at, f->b->mode));

	for (unsigned n = 0; b && n < b->count && first + n < f->count; n++) {
		struct insn *i = &f->insn[first + n];

		if (b->insn[n].fn != i->fn || b->offset + b->insn[n].at != f->b->offset + i->at)
			return;
		if (i->flags & INSN_LAST)
			i->aux = b->insn[n].aux;
	}
}

/* Goes on at `at`, up to what it has. false: not one instruction more. */
static bool follow_from(struct block_cache *k, struct follow *f, const uint8_t *page, unsigned at)
{
	unsigned was = f->count, begin = at, end = at + (BLOCK_INSNS - was) * INSN_BYTES_MAX;
	unsigned lowest = at < f->from ? at : f->from;

	if (end > PAGE_SIZE)
		end = PAGE_SIZE;
	if (end > lowest + FOLLOW_MOST)
		end = lowest + FOLLOW_MOST;
	if (at >= end || f->to > lowest + FOLLOW_MOST)
		return false;
	guest_copy(f->code + at, page + at, end - at);
	while (f->count < BLOCK_INSNS && at < end) {
		struct insn *i = &f->insn[f->count];
		int where = (int)at - f->b->offset;

		if (has_insn_at(f, where) ||
		    !decode_insn(k->c->decoder, k->c, f->b->mode, f->code + at, end - at, where, i))
			break;
		i->n = (uint8_t)f->count++;
		at += i->len;
		if (i->flags & INSN_LAST)
			break;
	}
	f->insn[f->count] = (struct insn){ .fn = op_end,
					   .at = (int16_t)((int)at - f->b->offset),
					   .n = (uint8_t)f->count };
	follow_known(k, f, page, begin, was);
	f->from = begin < f->from ? begin : f->from;
	f->to = at > f->to ? at : f->to;
	return f->count > was;
}

/* The block of f takes the place of the one it grew from. */
static struct block *follow_made(struct block_cache *k, const struct follow *f, struct block *was)
{
	struct block *b = block_make(k, f->insn, f->count, f->code + f->from, f->from, f->to);
	struct block **link = &was->page->first;

	b->code += was->offset - b->from;
	b->offset = was->offset;
	b->bytes = was->bytes;
	b->mode = was->mode;
	b->key = was->key;
	b->runs = was->runs;
	b->follows = true;
	while (*link != was)
		link = &(*link)->next;
	*link = was->next;
	kill_block(k, was);
	link_block(k, was->page, b);
	return b;
}

struct block *cache_follow(struct block_cache *k, struct block *b)
{
	const uint8_t *page = (const uint8_t *)(uintptr_t)(b->key >> 2 & ~(uint64_t)PAGE_MASK);
	struct follow f = { .b = b, .count = b->count, .from = b->from, .to = b->to };
	bool more = false;
	unsigned at;

	if (block_straddles(b) || b->follows || !insn_is_jump(&b->insn[b->count - 1]) ||
	    block_is_stale(b) || !has_room(k))
		return b;
	memcpy(f.insn, b->insn, (b->count + 1u) * sizeof(*f.insn));
	memcpy(f.code + b->offset, b->code, b->bytes);
	while (f.count < BLOCK_INSNS && (at = follow_target(&f)) < PAGE_SIZE &&
	       follow_from(k, &f, page, at))
		more = true;
	/* Without room for what a binder needs all blocks will go soon. */
	return more && !k->c->flush_wanted ? follow_made(k, &f, b) : b;
}

struct block *cache_peek(const struct block_cache *k, uint64_t key)
{
	struct block *b = *bucket_of((struct block_cache *)k, key);

	while (b && b->key != key)
		b = b->chain;
	return b;
}

bool cache_owns(const struct block_cache *k, const void *p)
{
	return (uintptr_t)p - (uintptr_t)k->arena < k->region_bytes * CACHE_REGIONS + STRADDLE_ROOM;
}

struct block *cache_find(struct block_cache *k, const void *host, enum decode_mode mode)
{
	uint64_t key = block_key(host, mode);
	struct block *b = cache_peek(k, key);

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

struct block *cache_peek_straddle(const struct block_cache *k, unsigned n)
{
	return &k->straddle[n].block;
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

	if (!cache_straddles(k, linear, k->c->mode) || known <= here)
		return NULL;
	first = tlb_hit(tlb, linear, here, ACCESS_EXEC);
	linear += here;
	if (k->c->mode != DECODE_64)
		linear = (uint32_t)linear;
	second = tlb_hit(tlb, linear, known - here, ACCESS_EXEC);
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
				   .most = 1,
				   .bytes = s->insn[0].len,
				   .offset = (uint16_t)(linear & PAGE_MASK),
				   .mode = (uint8_t)mode,
				   .live = true };
	s->linear = linear;
	s->count = (uint8_t)count;
	memcpy(s->bytes, bytes, count);
	return &s->block;
}
