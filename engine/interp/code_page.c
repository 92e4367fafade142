/*
 * code_page.c - pages with code: which of their bytes were decoded, and who is told of writes.
 *
 * The idea: each page with code has a bitmap of the bytes that some block was decoded from, so
 * that a write of data beside code is told from a write of code by one look. While it has blocks,
 * the page is marked in the machine's map, and no TLB may let a write to it pass. vCPUs on
 * several threads say who has code of a page and who writes it (machine/mem.h), so that only those
 * are stopped whom a write concerns.
 *
 * Tested by test/unit/cache.c, test/unit/bt_share.c, test/guest/smp.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/code_page.h"

#include <string.h>

static struct code_page **page_bucket(struct block_cache *k, uint64_t number)
{
	return &k->pages[number & (PAGE_BUCKETS - 1)];
}

struct code_page *page_find(struct block_cache *k, uint64_t number)
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

struct code_page *page_make(struct block_cache *k, gpa_t at)
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

/* --- watching ----------------------------------------------------------------------------- */

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

static uint64_t bit_of(const struct vcpu *vcpu)
{
	return UINT64_C(1) << vcpu->index;
}

static uint64_t page_in_slot(const struct mem_slot *slot, gpa_t at)
{
	return (at.v - slot->start.v) >> PAGE_SHIFT;
}

static uint8_t *host_of(const struct mem_slot *slot, gpa_t at)
{
	return slot->host + (at.v - slot->start.v);
}

static void unmark(struct mem_slot *slot, gpa_t at)
{
	__atomic_and_fetch(mem_mark(slot, at), (uint8_t)~MARK_CODE, __ATOMIC_RELAXED);
}

void page_unwatch(struct block_cache *k, struct code_page *p)
{
	const struct code_share *share = k->c->share;
	struct vcpu *vcpu = k->c->vcpu;
	gpa_t at = gpa(p->number << PAGE_SHIFT);

	if (!p->slot)
		return;
	if (p->slot->coders)
		atomic_fetch_and(&p->slot->coders[page_in_slot(p->slot, at)], ~bit_of(vcpu));
	else if (!page_in_use(vcpu->vm, p->number) &&
		 !(share && share->in_page(k->c, host_of(p->slot, at))))
		unmark(p->slot, at);
}

void cache_share_begin(struct interp *c, const struct block *b)
{
	const uint8_t *host = (const uint8_t *)(uintptr_t)(b->key >> 2);
	gpa_t at;
	struct mem_slot *slot = mem_find_host(&c->vcpu->vm->mem, host, &at);

	/* Of the block itself the page is watched already. */
	if (slot)
		__atomic_or_fetch(mem_mark(slot, at), MARK_CODE, __ATOMIC_SEQ_CST);
}

void cache_share_end(struct interp *c, const uint8_t *host)
{
	gpa_t at;
	struct mem_slot *slot = mem_find_host(&c->vcpu->vm->mem, host, &at);

	if (!slot)
		return;
	if (slot->coders || !page_in_use(c->vcpu->vm, at.v >> PAGE_SHIFT))
		unmark(slot, at);
}

static void protect_all(struct vm *vm, const void *host)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct interp *c = vm->vcpu[i]->engine;

		tlb_protect_host(&c->tlb, host);
	}
}

void page_watch(struct block_cache *k, struct code_page *p)
{
	gpa_t at = gpa(p->number << PAGE_SHIFT);
	uint8_t *mark = p->slot ? mem_mark(p->slot, at) : NULL;

	if (!mark || p->slot->coders || *mark & MARK_CODE)
		return;
	__atomic_or_fetch(mark, MARK_CODE, __ATOMIC_RELAXED);
	protect_all(k->c->vcpu->vm, host_of(p->slot, at));
}

/*
 * Who writes sets its bit among the writers, then looks for coders; here it is the other way
 * round, so one sees the other. While the gate was closed our own blocks may have died, and with
 * the last one our bit: then once more.
 */
void page_watch_shared(struct block_cache *k, gpa_t at)
{
	struct vcpu *vcpu = k->c->vcpu;
	struct mem_slot *slot = mem_find(&vcpu->vm->mem, at);
	uint64_t page = slot ? page_in_slot(slot, at) : 0, me = bit_of(vcpu), writers;
	const void *host = slot ? slot->host + (page << PAGE_SHIFT) : NULL;

	if (!slot || !slot->coders)
		return;
	while (!(atomic_load(&slot->coders[page]) & me)) {
		atomic_fetch_or(&slot->coders[page], me);
		writers = atomic_load(&slot->writers[page]);
		if (writers & ~me) {
			gate_close(vcpu->vm, vcpu);
			protect_all(vcpu->vm, host);
			atomic_store(&slot->writers[page], 0);
			gate_open(vcpu->vm, vcpu);
		} else if (writers) {
			tlb_protect_host(&k->c->tlb, host);
			atomic_fetch_and(&slot->writers[page], ~me);
		}
	}
}

void page_unwatch_shared(struct block_cache *k, gpa_t at)
{
	struct mem_slot *slot = mem_find(&k->c->vcpu->vm->mem, at);

	const struct code_page *p = page_find(k, at.v >> PAGE_SHIFT);

	if (slot && slot->coders && !(p && p->first))
		atomic_fetch_and(&slot->coders[page_in_slot(slot, at)], ~bit_of(k->c->vcpu));
}

void page_end(struct block_cache *k, struct code_page *p)
{
	struct code_page **at = page_bucket(k, p->number);

	page_unwatch(k, p);
	while (*at != p)
		at = &(*at)->chain;
	*at = p->chain;
	if (k->recent == p)
		k->recent = NULL;
	p->chain = k->page_free;
	k->page_free = p;
}

/* --- which bytes -------------------------------------------------------------------------- */

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

bool page_covers(const struct code_page *p, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		if (p->covered[w] & word_mask(w, from, to))
			return true;
	return false;
}

static void cover(struct code_page *p, unsigned from, unsigned to)
{
	for (unsigned w = from / 64; w * 64 < to; w++)
		p->covered[w] |= word_mask(w, from, to);
}

void page_cover(struct code_page *p, const struct block *b)
{
	cover(p, b->offset, b->offset + b->bytes);
	for (unsigned n = 0; b->follows && n < b->count; n++) {
		unsigned at = (unsigned)(b->offset + b->insn[n].at);

		cover(p, at, at + b->insn[n].len);
	}
}

/* --- writes ------------------------------------------------------------------------------- */

static void written_everywhere(struct vm *vm, const struct mem_slot *slot, gpa_t at, uint64_t bytes)
{
	struct interp *c;

	for (unsigned i = 0; i < vm->vcpus; i++) {
		c = vm->vcpu[i]->engine;
		cache_written(c->cache, at, bytes);
	}
	c = vm->vcpu[0]->engine;
	if (slot && c->share)
		c->share->written(c, host_of(slot, at), (unsigned)bytes);
}

/* Was something that vCPUs share made of the bytes? Who is outside the gate cannot know. */
static bool written_share(const struct vm *vm, const struct vcpu *self, struct mem_slot *slot,
			  gpa_t at, uint64_t bytes)
{
	const struct interp *c = vm->vcpu[0]->engine;

	if (!c->share || !(__atomic_load_n(mem_mark(slot, at), __ATOMIC_RELAXED) & MARK_CODE))
		return false;
	return !self || c->share->covers(c, host_of(slot, at), (unsigned)bytes);
}

/* On several threads: those who have code of the page are told, while nobody runs. Nobody else?
 * Then nobody needs to stop. */
static void written_shared(struct vm *vm, struct vcpu *self, struct mem_slot *slot, gpa_t at,
			   uint64_t bytes)
{
	atomic_ullong *coders = &slot->coders[page_in_slot(slot, at)];
	uint64_t who;
	bool share;

	/* What was written is seen by whoever is not seen here. */
	atomic_thread_fence(memory_order_seq_cst);
	who = atomic_load(coders);
	share = written_share(vm, self, slot, at, bytes);
	if (self && !share && !(who & ~bit_of(self))) {
		cache_written(((struct interp *)self->engine)->cache, at, bytes);
		return;
	}
	if (!who && !share)
		return;
	gate_close(vm, self);
	written_everywhere(vm, slot, at, bytes);
	gate_open(vm, self);
}

void cache_written_all(struct vm *vm, struct vcpu *self, gpa_t at, uint64_t bytes)
{
	struct mem_slot *slot = mem_find(&vm->mem, at);

	if (slot && slot->coders)
		written_shared(vm, self, slot, at, bytes);
	else
		written_everywhere(vm, slot, at, bytes);
}
