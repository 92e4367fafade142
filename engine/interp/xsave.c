/*
 * xsave.c - FXSAVE, XSAVE and their family, MXCSR, VZEROALL: vector state to memory and back.
 *
 * Components: x87 (0), SSE (1), AVX (2: upper halves), PKRU (9). "In use" (XINUSE) is computed
 * from the state itself: a component that holds its initial values is not in use, so what
 * XSAVEOPT and XSAVEC leave out, and XSTATE_BV, depend on the guest's state alone. The "modified"
 * optimisation of XSAVEOPT is not used, which the specification permits.
 *
 * Does not model: XSAVES and XRSTORS (no supervisor components in any CPU model).
 *
 * Spec: SDM vol. 1 ch. 10.5, 13; vol. 2. Tested by test/unit/xsave.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/vector.h"

#define MXCSR_MASK    0xffffu
#define MXCSR_INIT    0x1f80u
#define X87           (UINT64_C(1) << 0)
#define SSE           (UINT64_C(1) << 1)
#define AVX           (UINT64_C(1) << 2)
#define PKRU          (UINT64_C(1) << 9)
#define XCOMP_COMPACT (UINT64_C(1) << 63)

#define AT_MXCSR  24
#define AT_ST     32
#define AT_XMM    160
#define AT_HEADER 512
#define AT_EXTRA  576 /* the first component after the header, SDM 13.4.3 */
#define AVX_BYTES 256

/* One instruction's save area: where, and which pass over it. */
struct area {
	struct interp *c;
	const struct insn *i;
	uint64_t at;
	bool wide;  /* 64-bit FIP and FDP: REX.W */
	bool probe; /* first pass: nothing is written */
};

static bool put(const struct area *a, unsigned off, const void *from, unsigned n)
{
	return vector_put(a->c, a->i, a->at + off, from, n, a->probe);
}

static bool get(const struct area *a, unsigned off, void *to, unsigned n)
{
	return vector_read_bytes(a->c, a->i, a->at + off, to, n);
}

static unsigned xmm_count(const struct interp *c)
{
	return c->code_bits == 64 ? 16 : 8;
}

/* --- components ------------------------------------------------------------------------- */

static void x87_pack(const struct area *a, uint8_t head[24], uint8_t st[128])
{
	const struct x86_fpu *f = &a->c->s.fpu;
	unsigned n = a->wide ? 8 : 4;

	memset(head, 0, 24);
	memcpy(head, &f->fcw, 2);
	memcpy(head + 2, &f->fsw, 2);
	head[4] = f->ftw;
	memcpy(head + 6, &f->fop, 2);
	memcpy(head + 8, &f->fip, n);
	memcpy(head + 16, &f->fdp, n);
	memset(st, 0, 128);
	for (unsigned k = 0; k < 8; k++) {
		memcpy(st + 16 * k, &f->st[k].mant, 8);
		memcpy(st + 16 * k + 8, &f->st[k].exp, 2);
	}
}

/* CPUs keep as many bits of FIP as linear addresses have, but all of FDP. */
static uint64_t canonical(uint64_t pointer)
{
	return (uint64_t)((int64_t)(pointer << 16) >> 16);
}

static void x87_unpack(const struct area *a, const uint8_t head[24], const uint8_t st[128])
{
	struct x86_fpu *f = &a->c->s.fpu;
	unsigned n = a->wide ? 8 : 4;

	memcpy(&f->fcw, head, 2);
	f->fcw = (f->fcw & 0x1f3f) | 0x40;
	memcpy(&f->fsw, head + 2, 2);
	f->ftw = head[4];
	memcpy(&f->fop, head + 6, 2);
	f->fop &= 0x7ff;
	f->fip = f->fdp = 0;
	memcpy(&f->fip, head + 8, n);
	memcpy(&f->fdp, head + 16, n);
	f->fip = canonical(f->fip);
	for (unsigned k = 0; k < 8; k++) {
		uint16_t exp;

		memcpy(&f->st[k].mant, st + 16 * k, 8);
		memcpy(&exp, st + 16 * k + 8, 2);
		f->st[k].exp = exp;
	}
	x87_summary(f);
}

static bool x87_save(const struct area *a)
{
	uint8_t head[24], st[128];

	x87_pack(a, head, st);
	return put(a, 0, head, sizeof(head)) && put(a, AT_ST, st, sizeof(st));
}

static bool mxcsr_save(const struct area *a)
{
	uint32_t word[2] = { a->c->s.fpu.mxcsr, MXCSR_MASK };

	return put(a, AT_MXCSR, word, sizeof(word));
}

/* Half 0: XMM registers; half 1: the upper halves of the YMM registers. */
static void half_pack(const struct interp *c, unsigned half, uint8_t to[256])
{
	for (unsigned n = 0; n < 16; n++)
		memcpy(to + 16 * n, &c->s.fpu.ymm[n][2 * half], 16);
}

static void half_unpack(struct interp *c, unsigned half, const uint8_t from[256])
{
	for (unsigned n = 0; n < xmm_count(c); n++)
		memcpy(&c->s.fpu.ymm[n][2 * half], from + 16 * n, 16);
}

static bool half_save(const struct area *a, unsigned half, unsigned at)
{
	uint8_t bytes[AVX_BYTES];

	half_pack(a->c, half, bytes);
	return put(a, at, bytes, 16 * xmm_count(a->c));
}

static bool half_in_use(const struct interp *c, unsigned half)
{
	uint64_t any = 0;

	for (unsigned n = 0; n < 16; n++)
		any |= c->s.fpu.ymm[n][2 * half] | c->s.fpu.ymm[n][2 * half + 1];
	return any != 0;
}

static bool x87_in_use(const struct x86_fpu *f)
{
	uint64_t any = f->fsw | f->ftw | f->fop | f->fip | f->fdp | (f->fcw ^ 0x37fu);

	for (unsigned n = 0; n < 8; n++)
		any |= f->st[n].mant | f->st[n].exp;
	return any != 0;
}

uint64_t xsave_in_use(const struct interp *c)
{
	return (x87_in_use(&c->s.fpu) ? X87 : 0) | (half_in_use(c, 0) ? SSE : 0) |
	       (half_in_use(c, 1) ? AVX : 0) | (c->s.pkru ? PKRU : 0);
}

/* Where PKRU lies in the standard format: what CPUID leaf 0xd tells the guest. */
static unsigned pkru_offset(const struct interp *c)
{
	const struct cpuid_topology t = { .vcpus = 1, .tsc_khz = 1 };

	return cpuid_query(c->vcpu->vm->cpu_model, &c->s, &t, 0xd, 9).ebx;
}

static unsigned pkru_compact_offset(uint64_t xcomp)
{
	return AT_EXTRA + (xcomp & AVX ? AVX_BYTES : 0);
}

/* --- FXSAVE, FXRSTOR -------------------------------------------------------------------- */

static bool area_init(struct interp *c, const struct insn *i, unsigned align, bool write,
		      struct area *a)
{
	uint64_t linear;

	*a = (struct area){ c, i, insn_ea(c, i), i->op, false };
	/* #SS and #AC of a doubleword come before #GP for alignment. */
	if (!mem_linear(c, (enum seg)i->seg, a->at, 4, write, &linear))
		return false;
	if (!(linear & (align - 1)))
		return true;
	raise_gp(c, 0);
	return false;
}

static enum step fxsave(struct interp *c, const struct insn *i)
{
	struct area a;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return raise_vector(c, VEC_NM);
	if (!area_init(c, i, 16, true, &a))
		return STEP_FAULT;
	for (unsigned pass = 0; pass < 2; pass++) {
		a.probe = pass == 0;
		if (!x87_save(&a) || !mxcsr_save(&a) || !half_save(&a, 0, AT_XMM))
			return STEP_FAULT;
	}
	return STEP_NEXT;
}

static enum step fxrstor(struct interp *c, const struct insn *i)
{
	uint8_t legacy[AT_XMM + 256];
	uint32_t mxcsr;
	struct area a;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		return raise_vector(c, VEC_NM);
	if (!area_init(c, i, 16, false, &a) || !get(&a, 0, legacy, AT_XMM + 16 * xmm_count(c)))
		return STEP_FAULT;
	memcpy(&mxcsr, legacy + AT_MXCSR, 4);
	if (mxcsr & ~MXCSR_MASK)
		return raise_gp(c, 0);
	c->s.fpu.mxcsr = mxcsr;
	x87_unpack(&a, legacy, legacy + AT_ST);
	half_unpack(c, 0, legacy + AT_XMM);
	return STEP_NEXT;
}

/* --- XSAVE, XSAVEOPT, XSAVEC ------------------------------------------------------------ */

static enum step xsave_refused(struct interp *c)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		return raise_ud(c);
	return c->s.cr0 & CR0_TS ? raise_vector(c, VEC_NM) : STEP_NEXT;
}

static uint64_t requested(const struct interp *c)
{
	uint64_t mask = (c->r[RDX] & 0xffffffff) << 32 | (c->r[RAX] & 0xffffffff);

	return mask & c->s.xcr0;
}

/* The components `which` to their places. `mxcsr`: that register too. */
static bool components_save(const struct area *a, uint64_t which, bool mxcsr, unsigned pkru_at)
{
	uint64_t pkru = a->c->s.pkru;

	return (!(which & X87) || x87_save(a)) && (!mxcsr || mxcsr_save(a)) &&
	       (!(which & SSE) || half_save(a, 0, AT_XMM)) &&
	       (!(which & AVX) || half_save(a, 1, AT_EXTRA)) &&
	       (!(which & PKRU) || put(a, pkru_at, &pkru, sizeof(pkru)));
}

static enum step save_standard(struct interp *c, const struct insn *i, bool optimised)
{
	uint64_t rfbm = requested(c), used = xsave_in_use(c), xstate_bv;
	bool mxcsr = rfbm & (SSE | AVX);
	unsigned pkru_at = rfbm & PKRU ? pkru_offset(c) : 0;
	struct area a;

	if (xsave_refused(c) != STEP_NEXT || !area_init(c, i, 64, true, &a) ||
	    !get(&a, AT_HEADER, &xstate_bv, 8))
		return STEP_FAULT;
	xstate_bv = (xstate_bv & ~rfbm) | (rfbm & used);
	for (unsigned pass = 0; pass < 2; pass++) {
		a.probe = pass == 0;
		if (!put(&a, AT_HEADER, &xstate_bv, 8) ||
		    !components_save(&a, optimised ? rfbm & used : rfbm, mxcsr, pkru_at))
			return STEP_FAULT;
	}
	return STEP_NEXT;
}

static enum step xsave(struct interp *c, const struct insn *i)
{
	return save_standard(c, i, false);
}

static enum step xsaveopt(struct interp *c, const struct insn *i)
{
	return save_standard(c, i, true);
}

static enum step xsavec(struct interp *c, const struct insn *i)
{
	uint64_t rfbm = requested(c), used = xsave_in_use(c), header[2];
	struct area a;

	if (xsave_refused(c) != STEP_NEXT || !area_init(c, i, 64, true, &a))
		return STEP_FAULT;
	if (c->s.fpu.mxcsr != MXCSR_INIT)
		used |= SSE;
	header[0] = rfbm & used;
	header[1] = rfbm | XCOMP_COMPACT;
	for (unsigned pass = 0; pass < 2; pass++) {
		a.probe = pass == 0;
		if (!put(&a, AT_HEADER, header, sizeof(header)) ||
		    !components_save(&a, header[0], header[0] & SSE, pkru_compact_offset(rfbm)))
			return STEP_FAULT;
	}
	return STEP_NEXT;
}

/* --- XRSTOR ----------------------------------------------------------------------------- */

struct restored {
	uint8_t legacy[AT_XMM + 256];
	uint8_t upper[AVX_BYTES];
	uint64_t pkru;
	uint64_t header[8]; /* [0] XSTATE_BV, [1] XCOMP_BV */
};

/* SDM vol. 1 13.8.1, 13.8.2: what makes a header #GP. */
static bool header_valid(const struct interp *c, const uint64_t header[8])
{
	uint64_t rest = 0;

	if (!(header[1] & XCOMP_COMPACT))
		return !(header[0] & ~c->s.xcr0) && header[1] == 0 && header[2] == 0;
	for (unsigned n = 2; n < 8; n++)
		rest |= header[n];
	return cpu_model_has(c->vcpu->vm->cpu_model, FEATURE_XSAVEC) && rest == 0 &&
	       !(header[1] & ~XCOMP_COMPACT & ~c->s.xcr0) && !(header[0] & ~header[1]);
}

/* Reads the components `which` that the area holds, and MXCSR where it counts. */
static bool components_read(const struct area *a, uint64_t which, bool mxcsr, struct restored *r)
{
	unsigned xmm = 16 * xmm_count(a->c);
	unsigned pkru_at = 0;

	if (which & PKRU)
		pkru_at = r->header[1] & XCOMP_COMPACT ? pkru_compact_offset(r->header[1])
						       : pkru_offset(a->c);
	return (!(which & X87) || (get(a, 0, r->legacy, AT_MXCSR) &&
				   get(a, AT_ST, r->legacy + AT_ST, AT_XMM - AT_ST))) &&
	       (!mxcsr || get(a, AT_MXCSR, r->legacy + AT_MXCSR, 4)) &&
	       (!(which & SSE) || get(a, AT_XMM, r->legacy + AT_XMM, xmm)) &&
	       (!(which & AVX) || get(a, AT_EXTRA, r->upper, xmm)) &&
	       (!(which & PKRU) || get(a, pkru_at, &r->pkru, 8));
}

/* Components of rfbm that are not in `which` take their initial values: *r is zero there. */
static void components_load(const struct area *a, uint64_t rfbm, uint64_t which,
			    const struct restored *r)
{
	struct interp *c = a->c;

	if (rfbm & X87) {
		if (which & X87) {
			x87_unpack(a, r->legacy, r->legacy + AT_ST);
		} else {
			x87_init(&c->s.fpu);
			memset(c->s.fpu.st, 0, sizeof(c->s.fpu.st));
		}
	}
	if (rfbm & SSE)
		half_unpack(c, 0, r->legacy + AT_XMM);
	if (rfbm & AVX)
		half_unpack(c, 1, r->upper);
}

static enum step xrstor(struct interp *c, const struct insn *i)
{
	uint64_t rfbm = requested(c), which;
	uint32_t mxcsr = MXCSR_INIT;
	struct restored r;
	struct area a;
	bool compact, read_mxcsr;

	if (xsave_refused(c) != STEP_NEXT || !area_init(c, i, 64, false, &a))
		return STEP_FAULT;
	memset(&r, 0, sizeof(r));
	if (!get(&a, AT_HEADER, r.header, sizeof(r.header)))
		return STEP_FAULT;
	if (!header_valid(c, r.header))
		return raise_gp(c, 0);
	compact = r.header[1] & XCOMP_COMPACT;
	which = rfbm & r.header[0];
	read_mxcsr = compact ? which & SSE : rfbm & (SSE | AVX);
	if (!components_read(&a, which, read_mxcsr, &r))
		return STEP_FAULT;
	if (read_mxcsr)
		memcpy(&mxcsr, r.legacy + AT_MXCSR, 4);
	if (mxcsr & ~MXCSR_MASK)
		return raise_gp(c, 0);
	if (read_mxcsr || (compact && (rfbm & SSE)))
		c->s.fpu.mxcsr = mxcsr;
	components_load(&a, rfbm, which, &r);
	if (!(rfbm & PKRU) || c->s.pkru == (uint32_t)r.pkru)
		return STEP_NEXT;
	tlb_flush_keys(&c->tlb, c->s.pkru ^ (uint32_t)r.pkru);
	c->s.pkru = (uint32_t)r.pkru;
	return STEP_LEAVE;
}

/* --- MXCSR, upper halves ---------------------------------------------------------------- */

static enum step mxcsr_refused(struct interp *c, const struct insn *i)
{
	if (i->op & THUNK_VEX)
		return vector_vex_ok(c) ? STEP_NEXT : vector_refuse_vex(c);
	return vector_sse_ok(c) ? STEP_NEXT : vector_refuse_sse(c);
}

static enum step ldmxcsr(struct interp *c, const struct insn *i)
{
	uint32_t mxcsr;

	if (mxcsr_refused(c, i) != STEP_NEXT ||
	    !mem_load32(c, (enum seg)i->seg, insn_ea(c, i), &mxcsr))
		return STEP_FAULT;
	if (mxcsr & ~MXCSR_MASK)
		return raise_gp(c, 0);
	c->s.fpu.mxcsr = mxcsr;
	return STEP_NEXT;
}

static enum step stmxcsr(struct interp *c, const struct insn *i)
{
	if (mxcsr_refused(c, i) != STEP_NEXT ||
	    !mem_store32(c, (enum seg)i->seg, insn_ea(c, i), c->s.fpu.mxcsr))
		return STEP_FAULT;
	return STEP_NEXT;
}

/* op: first quadword to clear: 2 for VZEROUPPER, 0 for VZEROALL */
static enum step vzero(struct interp *c, const struct insn *i)
{
	if (!vector_vex_ok(c))
		return vector_refuse_vex(c);
	for (unsigned n = 0; n < xmm_count(c); n++)
		memset(&c->s.fpu.ymm[n][i->op], 0, 32 - 8u * i->op);
	return STEP_NEXT;
}

bool vector_bind_xsave(const struct decoding *d, struct insn *i)
{
	bool vex = d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	i->op = !vex && d->code_bits == 64 && d->zi.raw.rex.W;
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64: i->fn = fxsave; return true;
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64: i->fn = fxrstor; return true;
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64: i->fn = xsave; return true;
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64: i->fn = xsaveopt; return true;
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64: i->fn = xsavec; return true;
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64: i->fn = xrstor; return true;
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR: i->fn = ldmxcsr; break;
	case ZYDIS_MNEMONIC_STMXCSR:
	case ZYDIS_MNEMONIC_VSTMXCSR: i->fn = stmxcsr; break;
	case ZYDIS_MNEMONIC_VZEROUPPER:
		i->fn = vzero;
		i->op = 2;
		return true;
	case ZYDIS_MNEMONIC_VZEROALL:
		i->fn = vzero;
		i->op = 0;
		return true;
	default: return false;
	}
	i->op = vex ? THUNK_VEX : 0;
	return true;
}
