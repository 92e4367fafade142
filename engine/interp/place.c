/*
 * place.c - what lies behind a linear address: the guest's page tables, then the machine map.
 *
 * The TLB gets a tag only for what needs no second look. A page with decoded code, one that the
 * dirty log waits for, ROM and a page that a debug register points into have none
 * for writes (or at all), so that they come here every time.
 *
 * Spec: SDM vol. 3 ch. 4, 17.2. Tested by test/unit/interp_mem.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/place.h"
#include "engine/mmu/guest.h"

#include <string.h>

#include "engine/interp/cache.h"
#include "engine/interp/mem.h"

/* --- the walk --- */

/* A walk sets A and D with a compare-and-swap; in ROM it may do so to a copy. */
static void *walk_entry(void *arg, gpa_t at, unsigned size)
{
	struct walk_scratch *w = arg;
	struct mem_slot *slot = mem_find(&w->c->vcpu->vm->mem, at);
	uint8_t *host;

	if (!slot)
		return NULL;
	host = slot->host + (at.v - slot->start.v);
	if (!slot->readonly)
		return host;
	guest_read(&w->copy, host, size);
	return &w->copy;
}

static void walk_changed(void *arg, gpa_t at, unsigned size)
{
	struct walk_scratch *w = arg;

	struct mem_slot *slot = mem_find(&w->c->vcpu->vm->mem, at);

	if (!slot)
		return;
	__atomic_and_fetch(mem_mark(slot, at), (uint8_t)~MARK_CLEAN, __ATOMIC_RELAXED);
	/* The change was a locked one: what comes after it is looked at after it. */
	if (mem_marks(slot, at) & MARK_CODE)
		cache_written_all(w->c->vcpu->vm, w->c->vcpu, at, size);
}

struct walk_memory walk_memory_of(struct walk_scratch *w, struct interp *c)
{
	w->c = c;
	return (struct walk_memory){ .entry = walk_entry, .changed = walk_changed, .arg = w };
}

/* --- debug registers --- */

#define DR7_ENABLED(dr7, n) ((dr7) >> (2 * (n)) & 3)
#define DR7_RW(dr7, n)      ((dr7) >> (16 + 4 * (n)) & 3)
#define DR7_LEN(dr7, n)     ((dr7) >> (18 + 4 * (n)) & 3)
#define RW_WRITE            1
#define RW_IO               2
#define RW_READ_WRITE       3

/* The bytes that breakpoint n watches: [*first, *last]. false: not enabled for data. */
static bool watched_range(const struct interp *c, unsigned n, uint64_t *first, uint64_t *last)
{
	static const uint8_t bytes[4] = { 1, 2, 8, 4 };
	uint64_t rw = DR7_RW(c->s.dr7, n);
	unsigned size = bytes[DR7_LEN(c->s.dr7, n)];

	if (!DR7_ENABLED(c->s.dr7, n) || (rw != RW_WRITE && rw != RW_READ_WRITE))
		return false;
	*first = c->s.dr[n] & ~(uint64_t)(size - 1);
	*last = *first + size - 1;
	return true;
}

void place_watchpoints(struct interp *c, uint64_t linear, unsigned size, bool write)
{
	uint64_t first, last;

	for (unsigned n = 0; n < 4; n++) {
		if (!watched_range(c, n, &first, &last))
			continue;
		if (!write && DR7_RW(c->s.dr7, n) == RW_WRITE)
			continue;
		if (linear > last || linear + size - 1 < first)
			continue;
		c->db_hit = true;
		c->db_bits |= UINT64_C(1) << n;
	}
}

static bool page_has_watchpoint(const struct interp *c, uint64_t linear)
{
	uint64_t first, last;

	for (unsigned n = 0; n < 4; n++)
		if (watched_range(c, n, &first, &last) &&
		    first >> PAGE_SHIFT == linear >> PAGE_SHIFT)
			return true;
	return false;
}

/* --- finding --- */

/* What may bypass this file from now on. */
static unsigned allowed(const struct interp *c, uint64_t linear, const struct mem_slot *slot,
			const struct walk *w, uint8_t marks)
{
	unsigned allow = TLB_ALLOW_ALL;

	if (slot->readonly || marks)
		allow &= ~(1u << ACCESS_WRITE);
	if (!slot->readonly && marks == MARK_CODE)
		allow |= TLB_ALLOW_TOLD;
	/* AC or not, the high half's entries are the same. */
	if (linear >> 63 && w->user && c->s.cr4 & CR4_SMAP && c->tlb.context != TLB_USER)
		allow &= 1u << ACCESS_EXEC;
	if (UNLIKELY(c->has_breakpoints) && page_has_watchpoint(c, linear))
		allow = 1u << ACCESS_EXEC;
	return allow;
}

/* Says that this vCPU may write the page without asking, before it looks whether somebody has code
 * of it: who decodes does the same the other way round (cache.c). */
static void will_write(const struct interp *c, struct mem_slot *slot, gpa_t at)
{
	atomic_ullong *writers = &slot->writers[(at.v - slot->start.v) >> PAGE_SHIFT];
	uint64_t me = UINT64_C(1) << c->vcpu->index;

	if (!(atomic_load_explicit(writers, memory_order_relaxed) & me))
		atomic_fetch_or(writers, me);
}

bool place_told(struct interp *c, uint64_t linear, unsigned size, struct place *p)
{
	const struct mem_slot *slot;

	p->host = tlb_hit_told(&c->tlb, linear, size);
	if (!p->host)
		return false;
	slot = mem_find_host(&c->vcpu->vm->mem, p->host, &p->gpa);
	p->readonly = false;
	p->watched = true;
	return slot && mem_marks(slot, p->gpa) == MARK_CODE; /* not: a tag for writes is due */
}

bool place_find(struct interp *c, uint64_t linear, unsigned size, enum access access,
		struct place *p)
{
	struct mem *mem = &c->vcpu->vm->mem;
	struct walk_scratch scratch;
	struct walk_memory walk_memory;
	struct mem_slot *slot;
	struct walk w;
	uint8_t marks;

	p->host = tlb_hit(&c->tlb, linear, size, access);
	if (p->host) { /* a tag vouches for all the rest */
		p->readonly = p->watched = false;
		return true;
	}
	if (access == ACCESS_WRITE && place_told(c, linear, size, p))
		return true;
	p->host = NULL;
	walk_memory = walk_memory_of(&scratch, c);
	if (!page_walk(&c->s, &walk_memory, gva(linear), access, c->tlb.context == TLB_USER,
		       c->tlb.context == TLB_SUPERVISOR_AC, &w)) {
		raise_pf(c, linear, w.error);
		return false;
	}
	p->gpa = w.gpa;
	slot = mem_find(mem, w.gpa);
	p->readonly = p->watched = false;
	if (!slot)
		return true;
	p->host = slot->host + (w.gpa.v - slot->start.v);
	mem_touch(c->vcpu->vm, slot, p->host);
	p->readonly = slot->readonly;
	if (access == ACCESS_WRITE && !slot->readonly)
		__atomic_and_fetch(mem_mark(slot, w.gpa), (uint8_t)~MARK_CLEAN, __ATOMIC_RELAXED);
	if (slot->writers && (access == ACCESS_WRITE || w.writable))
		will_write(c, slot, w.gpa);
	marks = mem_marks(slot, w.gpa);
	p->watched = marks & MARK_CODE;
	tlb_fill(&c->tlb, gva(linear), p->host - (linear & PAGE_MASK), &w, access,
		 allowed(c, linear, slot, &w, marks));
	return true;
}

/* --- the access --- */

/* The largest naturally aligned piece of [at, +left). */
static unsigned piece(uint64_t at, unsigned left)
{
	unsigned n = 8;

	while (n > left || at & (n - 1))
		n /= 2;
	return n;
}

static uint64_t device_access(struct interp *c, uint64_t at, unsigned size, bool write,
			      uint64_t data)
{
	struct exit exit = { .reason = EXIT_MMIO };

	exit.io = (struct io_access){
		.addr = at, .data = data, .size = (uint8_t)size, .write = write
	};
	interp_exit(c, &exit);
	return exit.io.data;
}

void place_read(struct interp *c, const struct place *p, void *to, unsigned size)
{
	uint8_t *bytes = to;
	unsigned n;

	if (p->host) {
		guest_read(to, p->host, size);
		return;
	}
	for (unsigned done = 0; done < size; done += n) {
		uint64_t data;

		n = piece(p->gpa.v + done, size - done);
		data = device_access(c, p->gpa.v + done, n, false, 0);
		memcpy(bytes + done, &data, n);
	}
}

void place_write(struct interp *c, const struct place *p, const void *from, unsigned size)
{
	const uint8_t *bytes = from;
	unsigned n;

	if (p->host) {
		if (p->readonly)
			return;
		guest_write(p->host, from, size);
		if (UNLIKELY(p->watched))
			cache_written_all(c->vcpu->vm, c->vcpu, p->gpa, size);
		return;
	}
	for (unsigned done = 0; done < size; done += n) {
		uint64_t data = 0;

		n = piece(p->gpa.v + done, size - done);
		memcpy(&data, bytes + done, n);
		device_access(c, p->gpa.v + done, n, true, data);
	}
}

/* --- ports --- */

static void port_breakpoints(struct interp *c, uint16_t port, unsigned size)
{
	static const uint8_t bytes[4] = { 1, 2, 1, 4 };

	for (unsigned n = 0; n < 4; n++) {
		unsigned len = bytes[DR7_LEN(c->s.dr7, n)];
		uint64_t first = c->s.dr[n] & 0xffff & ~(uint64_t)(len - 1);

		if (!DR7_ENABLED(c->s.dr7, n) || DR7_RW(c->s.dr7, n) != RW_IO)
			continue;
		if (port > first + len - 1 || port + size - 1 < first)
			continue;
		c->db_hit = true;
		c->db_bits |= UINT64_C(1) << n;
	}
}

void interp_port(struct interp *c, uint16_t port, unsigned size, bool write, uint64_t *value)
{
	struct exit exit = { .reason = EXIT_PIO };

	exit.io = (struct io_access){
		.addr = port, .data = write ? *value : 0, .size = (uint8_t)size, .write = write
	};
	if (UNLIKELY(c->has_breakpoints) && c->s.cr4 & CR4_DE)
		port_breakpoints(c, port, size);
	interp_exit(c, &exit);
	if (!write)
		*value = exit.io.data;
}
