/*
 * mem.c - guest memory as an instruction sees it: everything beyond a TLB hit.
 *
 * Three layers. Segment and offset become a linear address (limits, rights, canonical form,
 * alignment); a linear address becomes a place (the walk, then the machine map), which fills
 * the TLB when the page is plain memory; a place is read or written: memory, ROM, or a
 * device in naturally aligned pieces, as a chipset would. An access that crosses a page finds
 * both places before it touches either.
 *
 * Not modelled: alignment checks of operands larger than 10 bytes.
 *
 * Spec: SDM vol. 3 ch. 3-5, 6.15 (#AC), 17.2.4 (DR7). Tested by test/unit/interp_mem.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/mem.h"

#include <string.h>

#include "engine/interp/cache.h"
#include "engine/interp/place.h"

/* --- segment and offset to linear address --- */

static bool bad_address(struct interp *c, enum seg seg)
{
	raise_error(c, seg == SS ? VEC_SS : VEC_GP, 0);
	return false;
}

/* CR0.AM and EFLAGS.AC at CPL 3. */
bool mem_misaligned(const struct interp *c, uint64_t linear, unsigned size)
{
	if (!c->user || !(c->s.cr0 & CR0_AM) || !(c->s.rflags & FLAG_AC))
		return false;
	if (size == 10) /* x87 extended and BCD */
		size = 8;
	return (size == 2 || size == 4 || size == 8) && (linear & (size - 1));
}

bool mem_linear(struct interp *c, enum seg seg, uint64_t off, unsigned size, bool write,
		uint64_t *linear)
{
	const struct x86_seg *s = &c->s.seg[seg];

	if (c->code_bits == 64) {
		*linear = seg >= FS ? off + s->base : off;
		/* On CPUs a first byte that is not canonical comes before #AC, a later one after.
		 */
		if (!gva_canonical(*linear) ||
		    (!gva_canonical(*linear + size - 1) && !mem_misaligned(c, *linear, size)))
			return bad_address(c, seg);
	} else {
		if (!segment_allows(s, off, size, write))
			return bad_address(c, seg);
		*linear = (s->base + off) & UINT64_C(0xffffffff);
	}
	if (UNLIKELY(mem_misaligned(c, *linear, size))) {
		raise_error(c, VEC_AC, 0);
		return false;
	}
	return true;
}

/* --- reading and writing with segment --- */

/* Splits [linear, +size) at the page end. The second part of a 32-bit address may wrap to 0. */
struct span {
	uint64_t linear[2];
	unsigned size[2];
};

static unsigned span_of(const struct interp *c, uint64_t linear, unsigned size, struct span *s)
{
	unsigned room = (unsigned)(PAGE_SIZE - (linear & PAGE_MASK));

	s->linear[0] = linear;
	s->size[0] = size < room ? size : room;
	if (size <= room)
		return 1;
	s->linear[1] = linear + room;
	if (c->code_bits != 64)
		s->linear[1] &= UINT64_C(0xffffffff);
	s->size[1] = size - room;
	return 2;
}

static bool places(struct interp *c, const struct span *s, unsigned n, enum access access,
		   struct place *p)
{
	for (unsigned i = 0; i < n; i++)
		if (!place_find(c, s->linear[i], s->size[i], access, &p[i]))
			return false;
	return true;
}

static bool read_linear(struct interp *c, uint64_t linear, void *to, unsigned size)
{
	struct place p[2];
	struct span s;
	unsigned n = span_of(c, linear, size, &s);

	if (!places(c, &s, n, ACCESS_READ, p))
		return false;
	place_read(c, &p[0], to, s.size[0]);
	if (n == 2)
		place_read(c, &p[1], (uint8_t *)to + s.size[0], s.size[1]);
	return true;
}

static bool write_linear(struct interp *c, uint64_t linear, const void *from, unsigned size)
{
	struct place p[2];
	struct span s;
	unsigned n = span_of(c, linear, size, &s);

	if (!places(c, &s, n, ACCESS_WRITE, p))
		return false;
	place_write(c, &p[0], from, s.size[0]);
	if (n == 2)
		place_write(c, &p[1], (const uint8_t *)from + s.size[0], s.size[1]);
	return true;
}

static bool probe_linear(struct interp *c, uint64_t linear, unsigned size)
{
	struct place p[2];
	struct span s;
	unsigned n = span_of(c, linear, size, &s);

	return places(c, &s, n, ACCESS_WRITE, p);
}

bool mem_read_slow(struct interp *c, enum seg seg, uint64_t off, void *to, unsigned size)
{
	uint64_t linear;

	if (!mem_linear(c, seg, off, size, false, &linear) || !read_linear(c, linear, to, size))
		return false;
	if (UNLIKELY(c->has_breakpoints))
		place_watchpoints(c, linear, size, false);
	return true;
}

bool mem_write_slow(struct interp *c, enum seg seg, uint64_t off, const void *from, unsigned size)
{
	uint64_t linear;

	if (!mem_linear(c, seg, off, size, true, &linear) || !write_linear(c, linear, from, size))
		return false;
	if (UNLIKELY(c->has_breakpoints))
		place_watchpoints(c, linear, size, true);
	return true;
}

bool mem_probe_write(struct interp *c, enum seg seg, uint64_t off, unsigned size)
{
	uint64_t linear;

	return mem_linear(c, seg, off, size, true, &linear) && probe_linear(c, linear, size);
}

/* --- with explicit rights, by linear address --- */

/* Other rights, for as long as an access lasts. */
static enum tlb_context borrow(struct interp *c, enum tlb_context context)
{
	enum tlb_context before = c->tlb.context;

	tlb_set_context(&c->tlb, context);
	return before;
}

static enum tlb_context explicit_context(const struct interp *c, bool user)
{
	if (user)
		return TLB_USER;
	return c->s.cr4 & CR4_SMAP && c->s.rflags & FLAG_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

static bool system_linear(struct interp *c, uint64_t *linear, unsigned size)
{
	if (!x86_long_mode(&c->s))
		*linear &= UINT64_C(0xffffffff);
	else if (!gva_canonical(*linear) || !gva_canonical(*linear + size - 1))
		return bad_address(c, DS);
	return true;
}

/* `access` is a constant in each of the two below. */
static inline __attribute__((always_inline)) bool access_with(struct interp *c, uint64_t linear,
							      void *data, unsigned size,
							      enum tlb_context context,
							      enum access access)
{
	enum tlb_context before;
	void *host;
	bool ok;

	if (!system_linear(c, &linear, size))
		return false;
	host = tlb_hit_as(&c->tlb, context, linear, size, access);
	if (LIKELY(host != NULL)) {
		if (access == ACCESS_WRITE)
			guest_write(host, data, size);
		else
			guest_read(data, host, size);
		return true;
	}
	before = borrow(c, context);
	ok = access == ACCESS_WRITE ? write_linear(c, linear, data, size)
				    : read_linear(c, linear, data, size);
	tlb_set_context(&c->tlb, before);
	return ok;
}

static bool read_with(struct interp *c, uint64_t linear, void *to, unsigned size,
		      enum tlb_context context)
{
	return access_with(c, linear, to, size, context, ACCESS_READ);
}

static bool write_with(struct interp *c, uint64_t linear, const void *from, unsigned size,
		       enum tlb_context context)
{
	return access_with(c, linear, (void *)(uintptr_t)from, size, context, ACCESS_WRITE);
}

bool mem_read_as(struct interp *c, uint64_t linear, void *to, unsigned size, bool user)
{
	return read_with(c, linear, to, size, explicit_context(c, user));
}

bool mem_write_as(struct interp *c, uint64_t linear, const void *from, unsigned size, bool user)
{
	return write_with(c, linear, from, size, explicit_context(c, user));
}

bool mem_probe_write_system(struct interp *c, uint64_t linear, unsigned size)
{
	enum tlb_context before = borrow(c, TLB_SUPERVISOR);
	bool ok = system_linear(c, &linear, size) && probe_linear(c, linear, size);

	tlb_set_context(&c->tlb, before);
	return ok;
}

bool mem_read_system(struct interp *c, uint64_t linear, void *to, unsigned size)
{
	return read_with(c, linear, to, size, TLB_SUPERVISOR);
}

bool mem_write_system(struct interp *c, uint64_t linear, const void *from, unsigned size)
{
	return write_with(c, linear, from, size, TLB_SUPERVISOR);
}

/* --- read-modify-write --- */

static bool some_memory(const struct place *p, unsigned n)
{
	return p[0].host || (n == 2 && p[1].host);
}

static bool some_device(const struct place *p, unsigned n)
{
	return !p[0].host || (n == 2 && !p[1].host);
}

/* Those pieces of the bounce that lie in memory, or those that lie in a device. */
static void bounce_in(struct interp *c, const struct place *p, const struct span *s, unsigned n,
		      bool memory, struct rmw *m)
{
	for (unsigned i = 0; i < n; i++)
		if ((p[i].host != NULL) == memory)
			place_read(c, &p[i], m->bounce + (i ? s->size[0] : 0), s->size[i]);
}

static void bounce_out(struct interp *c, const struct place *p, const struct span *s, unsigned n,
		       bool memory, const struct rmw *m)
{
	for (unsigned i = 0; i < n; i++)
		if ((p[i].host != NULL) == memory)
			place_write(c, &p[i], m->bounce + (i ? s->size[0] : 0), s->size[i]);
}

/*
 * No locked instruction of the host does it in one piece. In memory, nobody else may be at all; in
 * a device, no other locked instruction. With both, memory is read last and written first: who has
 * closed the gate cannot wait for a device.
 */
static void bounce_begin(struct interp *c, const struct place *p, const struct span *s, unsigned n,
			 struct rmw *m)
{
	bool locked = c->vcpu->vm->gate.used && c->current->flags & INSN_LOCK;

	m->bounced = true;
	m->host = m->bounce;
	m->bus_locked = locked && some_device(p, n);
	m->alone = locked && some_memory(p, n);
	if (m->bus_locked)
		gate_lock_bus(c->vcpu);
	bounce_in(c, p, s, n, false, m);
	if (m->alone)
		gate_close(c->vcpu->vm, c->vcpu);
	bounce_in(c, p, s, n, true, m);
}

static bool bounce_end(struct interp *c, const struct rmw *m)
{
	struct place p[2];
	struct span s;
	uint64_t linear;
	unsigned n = 0;
	bool ok = mem_linear(c, m->seg, m->off, m->size, true, &linear);

	if (ok)
		n = span_of(c, linear, m->size, &s);
	ok = ok && places(c, &s, n, ACCESS_WRITE, p);
	if (ok)
		bounce_out(c, p, &s, n, true, m);
	if (m->alone)
		gate_open(c->vcpu->vm, c->vcpu);
	if (ok)
		bounce_out(c, p, &s, n, false, m);
	if (m->bus_locked)
		gate_unlock_bus(c->vcpu);
	return ok;
}

void *mem_rmw_begin(struct interp *c, enum seg seg, uint64_t off, unsigned size, struct rmw *m)
{
	struct place p[2];
	struct span s;
	uint64_t linear;
	unsigned n;

	*m = (struct rmw){ .seg = seg, .size = (uint8_t)size, .off = off };
	if (mem_fast_linear(c, seg, off, true, &linear)) {
		m->host = tlb_hit(&c->tlb, linear, size, ACCESS_WRITE);
		if (LIKELY(m->host != NULL))
			return m->host;
	}
	if (!mem_linear(c, seg, off, size, true, &linear))
		return NULL;
	n = span_of(c, linear, size, &s);
	if (!places(c, &s, n, ACCESS_WRITE, p))
		return NULL;
	if (UNLIKELY(c->has_breakpoints))
		place_watchpoints(c, linear, size, true);
	if (n == 1 && p[0].host && !p[0].readonly) {
		m->host = p[0].host;
		m->watched = p[0].watched;
		m->gpa = p[0].gpa;
		return m->host;
	}
	bounce_begin(c, p, &s, n, m);
	return m->host;
}

bool mem_rmw_end(struct interp *c, struct rmw *m)
{
	if (UNLIKELY(m->bounced))
		return bounce_end(c, m);
	if (UNLIKELY(m->watched))
		cache_written_all(c->vcpu->vm, c->vcpu, m->gpa, m->size);
	return true;
}

/* A segment with base and limit: how much of `room` bytes it allows. Nothing where alignment may be
 * checked. */
static bool run_in_segment(const struct interp *c, enum seg seg, uint64_t off, bool write,
			   uint64_t *linear, uint64_t *room)
{
	const struct x86_seg *s = &c->s.seg[seg];

	if (c->code_bits == 64 || c->cpl == 3)
		return false;
	*linear = (s->base + off) & UINT64_C(0xffffffff);
	*room = PAGE_SIZE - (*linear & PAGE_MASK);
	if (off <= s->limit && *room > s->limit - off)
		*room = s->limit - off + UINT64_C(1);
	return segment_allows(s, off, (unsigned)*room, write);
}

/* Host memory of a page in one piece. told: not NULL: also where a write has to be told of. */
static void *run_host(struct interp *c, uint64_t linear, enum access access, bool *told)
{
	struct place p;
	void *host = tlb_hit(&c->tlb, linear, 1, access);

	if (!told || host)
		return host;
	*told = place_told(c, linear, 1, &p);
	return *told ? p.host : NULL;
}

void *mem_run(struct interp *c, enum seg seg, uint64_t off, uint64_t *bytes, bool *told)
{
	uint64_t linear;

	if (mem_fast_linear(c, seg, off, told, &linear))
		*bytes = PAGE_SIZE - (linear & PAGE_MASK);
	else if (!run_in_segment(c, seg, off, told, &linear, bytes))
		return NULL;
	return run_host(c, linear, told ? ACCESS_WRITE : ACCESS_READ, told);
}

void *mem_run_down(struct interp *c, enum seg seg, uint64_t off, uint64_t *bytes, bool *told)
{
	uint64_t linear;

	if (!mem_fast_linear(c, seg, off, told, &linear))
		return NULL;
	*bytes = linear & PAGE_MASK;
	return run_host(c, linear, told ? ACCESS_WRITE : ACCESS_READ, told);
}

void mem_run_written(struct interp *c, const void *host, uint64_t bytes)
{
	gpa_t at;

	if (mem_find_host(&c->vcpu->vm->mem, host, &at))
		cache_written_all(c->vcpu->vm, c->vcpu, at, bytes);
}
