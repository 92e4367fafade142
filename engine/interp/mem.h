/*
 * mem.h - how an instruction reaches guest memory.
 *
 * Every function takes a segment and an offset in it, checks the segment,
 * the canonical form, the page tables, alignment (CR0.AM) and debug registers, and
 * either succeeds or records the fault and returns false: the handler then
 * returns STEP_FAULT having changed nothing. Values beyond RAM go to the bus.
 *
 * Order inside one instruction: loads first, then mem_probe_write() for
 * every store but the last, then stores. A store that succeeded cannot be taken back.
 *
 * Tested by test/unit/interp_mem.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_MEM_H
#define ENGINE_INTERP_MEM_H

#include "engine/interp/interp.h"
#include "engine/mmu/guest.h"

/* Any size from 1 to 64 bytes; may cross pages; device memory is read in naturally aligned pieces.
 */
bool mem_read_slow(struct interp *c, enum seg seg, uint64_t off, void *to, unsigned size);
bool mem_write_slow(struct interp *c, enum seg seg, uint64_t off, const void *from, unsigned size);
/* Would a write of this range fault? Records the fault and returns false if so. */
bool mem_probe_write(struct interp *c, enum seg seg, uint64_t off, unsigned size);

/* Linear address of off in seg for an access that passed no check yet, or false: #GP / #SS. */
bool mem_linear(struct interp *c, enum seg seg, uint64_t off, unsigned size, bool write,
		uint64_t *linear);

/* Is an access of `size` bytes there #AC? CR0.AM and EFLAGS.AC at CPL 3. */
bool mem_misaligned(const struct interp *c, uint64_t linear, unsigned size);

/*
 * Implicit supervisor accesses to linear addresses: descriptor tables, TSS, the
 * stack of an inner ring while it is being built. Rights are those of `user`, SMAP as an
 * implicit access. Faults are recorded as usual.
 */
bool mem_read_system(struct interp *c, uint64_t linear, void *to, unsigned size);
bool mem_write_system(struct interp *c, uint64_t linear, const void *from, unsigned size);
bool mem_probe_write_system(struct interp *c, uint64_t linear, unsigned size);
/* Explicit accesses with a privilege that need not be the CPL's: a new stack is pushed onto with
 * the new CPL. EFLAGS.AC counts as it does for any explicit access. */
bool mem_read_as(struct interp *c, uint64_t linear, void *to, unsigned size, bool user);
bool mem_write_as(struct interp *c, uint64_t linear, const void *from, unsigned size, bool user);

/*
 * Read-modify-write in one piece. begin() makes the range readable and writable and returns
 * where to operate: host memory itself (so that a LOCK prefix can use a real host
 * atomic), or c->bounce when it lies in a device or crosses pages. end() completes the
 * store (bounce copied out, code pages told). NULL: fault recorded.
 */
struct rmw {
	void *host; /* operate here */
	bool bounced;
	bool watched; /* a code or clean page: end() has to tell */
	bool alone;   /* the gate is closed until end() */
	bool bus_locked;
	enum seg seg;
	uint8_t size;
	uint64_t off;
	gpa_t gpa;
	uint8_t bounce[16];
};
void *mem_rmw_begin(struct interp *c, enum seg seg, uint64_t off, unsigned size, struct rmw *m);
bool mem_rmw_end(struct interp *c, struct rmw *m);

/* For block operations (rep movs, rep stos): host address and how many bytes up to the page
 * end, or NULL when the access has to go byte by byte (device, no right yet: do one element with
 * the ordinary functions, which fault or fill the TLB, and ask again). told: NULL to read; to
 * write, *told is false before, and may be true then: mem_run_written() when it is done. */
void *mem_run(struct interp *c, enum seg seg, uint64_t off, uint64_t *bytes, bool *told);
/* The same downwards: *bytes of the page lie below. NULL for segments with a limit, too. */
void *mem_run_down(struct interp *c, enum seg seg, uint64_t off, uint64_t *bytes, bool *told);
/* The bytes from `host` on, within a page, were written. */
void mem_run_written(struct interp *c, const void *host, uint64_t bytes);

/* Applies segment base for the common cases without a call. true: *linear is right. */
static inline bool mem_fast_linear(const struct interp *c, enum seg seg, uint64_t off, bool write,
				   uint64_t *linear)
{
	uint8_t flat = write ? c->flat_write : c->flat_read;

	if (LIKELY(flat & (1u << seg))) {
		*linear = off;
		return true;
	}
	if (c->based & (1u << seg)) {
		*linear = off + c->s.seg[seg].base;
		return true;
	}
	return false;
}

#define MEM_ACCESSORS(bits)                                                                        \
	static inline bool mem_load##bits(struct interp *c, enum seg seg, uint64_t off,            \
					  uint##bits##_t *value)                                   \
	{                                                                                          \
		uint64_t linear;                                                                   \
		if (LIKELY(mem_fast_linear(c, seg, off, false, &linear))) {                        \
			void *p = tlb_hit(&c->tlb, linear, bits / 8, ACCESS_READ);                 \
			if (LIKELY(p != NULL)) {                                                   \
				*value = guest_load##bits(p);                                      \
				return true;                                                       \
			}                                                                          \
		}                                                                                  \
		return mem_read_slow(c, seg, off, value, bits / 8);                                \
	}                                                                                          \
	static inline bool mem_store##bits(struct interp *c, enum seg seg, uint64_t off,           \
					   uint##bits##_t value)                                   \
	{                                                                                          \
		uint64_t linear;                                                                   \
		if (LIKELY(mem_fast_linear(c, seg, off, true, &linear))) {                         \
			void *p = tlb_hit(&c->tlb, linear, bits / 8, ACCESS_WRITE);                \
			if (LIKELY(p != NULL)) {                                                   \
				guest_store##bits(p, value);                                       \
				return true;                                                       \
			}                                                                          \
		}                                                                                  \
		return mem_write_slow(c, seg, off, &value, bits / 8);                              \
	}
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)
#undef MEM_ACCESSORS

/* Port and MSR exits from inside an instruction. */
void interp_port(struct interp *c, uint16_t port, unsigned size, bool write, uint64_t *value);

#endif
