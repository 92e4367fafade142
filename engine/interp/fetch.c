/*
 * fetch.c - from RIP to a decoded block.
 *
 * The common way is a TLB hit for execution and a look into the cache's table. The careful way
 * reads the bytes one page at a time, with the code segment's limit: for an
 * instruction that crosses a page or the limit, or that lies outside memory. Code is not
 * fetched from devices: such bytes are all-ones, which no instruction begins with validly.
 *
 * Spec: SDM vol. 3 5.3 (limits), 4.6 (rights). Tested by test/unit/interp_run.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/place.h"
#include "engine/mmu/guest.h"
#include "engine/interp/run.h"

/* How many bytes from RIP on the code segment holds, up to `want`. */
static unsigned limit_room(const struct interp *c, uint64_t rip, unsigned want)
{
	uint64_t room;

	if (c->code_bits == 64)
		return want;
	if (rip > c->s.seg[CS].limit)
		return 0;
	room = c->s.seg[CS].limit - rip + 1;
	return room < want ? (unsigned)room : want;
}

/* Copies code bytes of one page. false: the fault is recorded. */
static bool fetch_bytes(struct interp *c, uint64_t linear, uint8_t *to, unsigned count)
{
	struct place p;

	if (c->code_bits == 64 && !gva_canonical(linear)) {
		raise_gp(c, 0);
		return false;
	}
	if (!place_find(c, linear, count, ACCESS_EXEC, &p))
		return false;
	if (p.host)
		guest_copy(to, p.host, count);
	else
		memset(to, 0xff, count);
	return true;
}

static struct block *fetch_careful(struct interp *c, uint64_t rip, uint64_t linear)
{
	unsigned want = limit_room(c, rip, INSN_BYTES_MAX);
	unsigned here = (unsigned)(PAGE_SIZE - (linear & PAGE_MASK));
	uint8_t bytes[INSN_BYTES_MAX];
	uint64_t next = linear + here;
	struct block *b;

	if (want == 0) {
		raise_gp(c, 0);
		return NULL;
	}
	here = here < want ? here : want;
	if (!fetch_bytes(c, linear, bytes, here))
		return NULL;
	b = cache_straddle(c->cache, linear, c->mode, bytes, here);
	if (b)
		return b;
	if (here < want) {
		if (c->code_bits != 64)
			next &= UINT64_C(0xffffffff);
		if (!fetch_bytes(c, next, bytes + here, want - here))
			return NULL;
		b = cache_straddle(c->cache, linear, c->mode, bytes, want);
		if (b)
			return b;
	}
	raise_gp(c, 0); /* it goes on beyond the limit */
	return NULL;
}

/* Not seen lately: translates, decodes. NULL: the careful way, or it faulted (*faulted). */
static struct block *fetch_new(struct interp *c, uint64_t linear, bool *faulted)
{
	struct place p;
	struct walk_scratch scratch;
	struct walk_memory m = walk_memory_of(&scratch, c);
	struct walk w;
	struct block *b;

	*faulted = false;
	if (!gva_canonical(linear))
		return NULL;
	if (!place_find(c, linear, 1, ACCESS_EXEC, &p)) {
		*faulted = true;
		return NULL;
	}
	if (!p.host)
		return NULL;
	b = cache_find(c->cache, p.host, c->mode);
	if (b)
		return b;
	/* A hit gives the host address only; the page's guest-physical address is walked for. */
	if (!page_walk(&c->s, &m, gva(linear), ACCESS_EXEC, c->tlb.context == TLB_USER, false, &w))
		return NULL;
	return cache_block(c->cache, w.gpa, p.host, c->mode);
}

struct block *fetch_slow(struct interp *c, uint64_t rip, uint64_t linear)
{
	bool no_limit = c->code_bits == 64 || c->flat32;
	struct block *b = no_limit ? cache_straddle_again(c->cache, linear) : NULL;
	bool faulted;

	if (b)
		return b;
	if (limit_room(c, rip, 1) == 0) {
		raise_gp(c, 0);
		return NULL;
	}
	if (cache_straddles(c->cache, linear, c->mode))
		return fetch_careful(c, rip, linear);
	b = fetch_new(c, linear, &faulted);
	if (faulted)
		return NULL;
	if (!b || limit_room(c, rip, b->bytes) < b->bytes)
		return fetch_careful(c, rip, linear);
	return b;
}
