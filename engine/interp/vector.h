/*
 * vector.h - inside x87, MMX, SSE and AVX: what vector*.c, x87*.c and xsave.c share.
 *
 * These instructions execute on the host's own units. A thunk is a few host instructions,
 * generated once for each distinct instruction: load the registers it names from the guest's
 * state, execute it with its operands renamed, store them back. Register numbers
 * are renamed to fixed ones (slots), so the number of thunks is bounded by opcodes times
 * immediates, not by what a guest can think of: VECTOR_ARENA_BYTES holds them all
 * (test/unit/vector.c counts).
 *
 * Everything architectural around it - may it execute at all, alignment, faults, what a
 * fault leaves behind - is C.
 *
 * Spec: SDM vol. 1 ch. 8-14, vol. 2. Tested by test/unit/vector.c, x87.c, xsave.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_VECTOR_H
#define ENGINE_INTERP_VECTOR_H

#include <stddef.h>

#include "engine/interp/bind.h"
#include "engine/interp/mem.h"

#define VECTOR_ARENA_BYTES (UINT64_C(16) << 20) /* address space; memory as it is touched */
#define ALWAYS_INLINE      inline __attribute__((always_inline))

/* Slots: how a thunk numbers its vector or MMX registers. */
enum { SLOT_XMM0, SLOT_REG, SLOT_VVVV, SLOT_RM, SLOT_IS4, SLOT_COUNT };

/* What a thunk sees, at RDI. Generated code knows the offsets: all below 128. */
struct vector_call {
	void *slot[SLOT_COUNT];
	void *mem;       /* the memory operand: guest RAM itself or a bounce buffer */
	uint64_t gpr[3]; /* RAX: explicit operand or implicit; RCX, RDX: implicit */
	uint64_t flags;  /* RFLAGS after (x87: before, too) */
	uint32_t mxcsr;  /* guest's: before and after */
	uint32_t host_mxcsr;
};

#define THUNK_LOAD     1u /* reads its memory operand */
#define THUNK_STORE    2u /* writes it */
#define THUNK_ALIGN    4u /* misaligned operand: #GP(0) */
#define THUNK_VEX      8u
#define THUNK_MXCSR    16u  /* rounds or raises SIMD exceptions */
#define THUNK_FLAGS    32u  /* writes arithmetic flags */
#define THUNK_MMX      64u  /* touches MMX registers: leaves x87 mode */
#define THUNK_XMM      128u /* touches XMM registers */
#define THUNK_GPR      256u /* explicit general register: insn->op */
#define THUNK_GPR_IN   512u
#define THUNK_IMPLICIT 1024u /* reads RAX, RDX (PCMPESTRx) */
#define THUNK_RCX      2048u /* writes RCX (PCMPxSTRI) */
#define THUNK_SLOTS    4096u /* uses slots beyond REG, VVVV, RM */

struct vector_thunk {
	int (*run)(struct vector_call *call); /* 0; 1: raised a fault, nothing stored */
	struct vector_thunk *next;            /* in its hash bucket */
	uint16_t flags;                       /* THUNK_* */
	uint8_t mem_bytes;
	uint8_t mm_written; /* slot of the MMX register it writes, or 0 */
	uint8_t key[16];    /* renamed encoding; key[15]: length */
};

#define VECTOR_BUCKETS 4096u
#define VECTOR_CHUNK   128u

struct vector_chunk {
	struct vector_chunk *next;
	struct vector_thunk thunk[VECTOR_CHUNK];
};

struct vector_unit {
	struct vector_call call;
	uint8_t image[128]
		__attribute__((aligned(64))); /* x87 unit as FRSTOR loads it: 108 bytes */
	uint8_t bounce[64] __attribute__((aligned(64)));
	struct host_code code;
	size_t used; /* bytes of code */
	struct vector_chunk *chunks;
	unsigned chunk_used;
	uint64_t thunks;
	struct vector_thunk *bucket[VECTOR_BUCKETS];
};

static inline struct vector_unit *vector_of(const struct interp *c)
{
	return c->vector;
}

/* vector_thunk.c; interp_vector_open() and _close() are declared in interp.h. NULL: no memory. */
struct vector_thunk *vector_thunk(struct interp *c, const struct decoding *d);
struct vector_thunk *vector_thunk_x87(struct interp *c, uint8_t opcode, uint8_t modrm, bool flags);

/* Binders by subject; vector_bind() in vector.c dispatches to them. False: not theirs. */
bool vector_bind_move(const struct decoding *d, struct insn *i);
bool vector_bind_mask(const struct decoding *d, struct insn *i);
bool vector_bind_x87(const struct decoding *d, struct insn *i);
bool vector_bind_x87_env(const struct decoding *d, struct insn *i);
bool vector_bind_xsave(const struct decoding *d, struct insn *i);

/* Encoding number of a vector, MMX or general register. */
static inline uint8_t vector_number(ZydisRegister reg)
{
	return (uint8_t)ZydisRegisterGetId(reg);
}

/* The exception to raise when a check below failed: #UD before #NM. */
enum step vector_refuse_sse(struct interp *c);
enum step vector_refuse_vex(struct interp *c);
enum step vector_refuse_mmx(struct interp *c);
enum step vector_refuse_x87(struct interp *c);
/* #XM or #UD for the fault that a thunk caught. */
enum step vector_thunk_fault(struct interp *c);

static ALWAYS_INLINE bool vector_sse_ok(const struct interp *c)
{
	return LIKELY(!(c->s.cr0 & (CR0_EM | CR0_TS)) && (c->s.cr4 & CR4_OSFXSR));
}

static ALWAYS_INLINE bool vector_vex_ok(const struct interp *c)
{
	return LIKELY((c->s.cr0 & (CR0_PE | CR0_TS)) == CR0_PE && (c->s.cr4 & CR4_OSXSAVE) &&
		      (c->s.xcr0 & 6) == 6 && !(c->s.rflags & FLAG_VM));
}

#define FSW_ES  (1u << 7)
#define FSW_B   (1u << 15)
#define FSW_TOP (7u << 11)

/*
 * CR0.NE = 1: a pending unmasked exception is #MF. NE = 0 would assert FERR#, which this
 * machine does not wire: as on a board that keeps IGNNE# asserted, execution goes on.
 */
static ALWAYS_INLINE bool vector_x87_pending(const struct interp *c)
{
	return UNLIKELY((c->s.fpu.fsw & FSW_ES) && (c->s.cr0 & CR0_NE));
}

static ALWAYS_INLINE bool vector_mmx_ok(const struct interp *c)
{
	return LIKELY(!(c->s.cr0 & (CR0_EM | CR0_TS)) && !vector_x87_pending(c));
}

/* x87.c: st[] is in stack order, so moving TOP turns it. */
void x87_set_top(struct x86_fpu *f, unsigned top);
/* Recomputes ES and B from the flags and masks. */
void x87_summary(struct x86_fpu *f);
void x87_init(struct x86_fpu *f);
/* Status, tags and stack from an image that FNSAVE made. `hidden`: flags kept from the host. */
void x87_image_take(struct x86_fpu *f, const uint8_t *image, uint16_t hidden);
/* x87 to MMX: TOP = 0, all registers valid. */
void x87_enter_mmx(struct x86_fpu *f);

/* Ranges longer than mem.h's 64 bytes. Writes probe everything first. */
bool vector_read_bytes(struct interp *c, const struct insn *i, uint64_t at, void *to, unsigned n);
/* One write without a probe, or only the probe. */
bool vector_put(struct interp *c, const struct insn *i, uint64_t at, const void *from, unsigned n,
		bool probe);
bool vector_write_bytes(struct interp *c, const struct insn *i, uint64_t at, const void *from,
			unsigned n);

/*
 * The memory operand's bytes, readable at the returned address: guest RAM or bounce.
 * align: power of two, or 1. NULL: fault recorded. Size up to 64.
 */
void *vector_load_slow(struct interp *c, const struct insn *i, uint64_t off, unsigned size,
		       unsigned align);
/* Guest RAM that may be written at once, or NULL: try vector_store_slow(). */
bool vector_store_slow(struct interp *c, const struct insn *i, uint64_t off, const void *from,
		       unsigned size, unsigned align);
/* Checks alignment as the two above do, for handlers that come to memory later. */
bool vector_aligned(struct interp *c, const struct insn *i, uint64_t off, unsigned size,
		    unsigned align, bool write);

static ALWAYS_INLINE void *vector_load(struct interp *c, const struct insn *i, unsigned size,
				       unsigned align)
{
	uint64_t off = insn_ea(c, i), linear;

	if (LIKELY(mem_fast_linear(c, (enum seg)i->seg, off, false, &linear)) &&
	    LIKELY(!(linear & (align - 1)))) {
		void *p = tlb_hit(&c->tlb, linear, size, ACCESS_READ);

		if (LIKELY(p != NULL))
			return p;
	}
	return vector_load_slow(c, i, off, size, align);
}

/* Guest RAM to store to directly, or NULL. *off: for vector_store_slow(). */
static ALWAYS_INLINE void *vector_store_at(struct interp *c, const struct insn *i, unsigned size,
					   unsigned align, uint64_t *off)
{
	uint64_t linear;

	*off = insn_ea(c, i);
	if (LIKELY(mem_fast_linear(c, (enum seg)i->seg, *off, true, &linear)) &&
	    LIKELY(!(linear & (align - 1))))
		return tlb_hit(&c->tlb, linear, size, ACCESS_WRITE);
	return NULL;
}

/* xsave.c: XINUSE, the components that are not in their initial state. SDM vol. 1 13.6 */
uint64_t xsave_in_use(const struct interp *c);

#endif
