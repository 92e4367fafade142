/*
 * vector.c - MMX, SSE and AVX instructions: may they execute, their memory, their thunk.
 *
 * Order of checks as in the SDM's exception tables: #UD (CR0.EM, CR4, XCR0), #NM (CR0.TS),
 * a pending x87 exception for MMX, then the memory operand (#GP for alignment before #PF),
 * then the thunk, whose own fault is a SIMD floating-point exception (#XM). A store to
 * anything but plain guest RAM goes to a bounce buffer first and, where the instruction could raise
 * #XM, is probed before it executes.
 *
 * Does not model: #AC for misaligned operands beyond what mem.h checks.
 *
 * Spec: SDM vol. 2 ch. 2.4 (exception classes), vol. 3 ch. 13. Tested by test/unit/vector.c.
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <string.h>

#include "engine/interp/vector.h"
#include "host/host.h"

/* --- may it execute --------------------------------------------------------------------- */

enum step vector_refuse_sse(struct interp *c)
{
	if ((c->s.cr0 & CR0_EM) || !(c->s.cr4 & CR4_OSFXSR))
		return raise_ud(c);
	return raise_vector(c, VEC_NM);
}

enum step vector_refuse_vex(struct interp *c)
{
	if (!(c->s.cr0 & CR0_PE) || (c->s.rflags & FLAG_VM) || !(c->s.cr4 & CR4_OSXSAVE) ||
	    (c->s.xcr0 & 6) != 6)
		return raise_ud(c);
	return raise_vector(c, VEC_NM);
}

enum step vector_refuse_mmx(struct interp *c)
{
	if (c->s.cr0 & CR0_EM)
		return raise_ud(c);
	return raise_vector(c, c->s.cr0 & CR0_TS ? VEC_NM : VEC_MF);
}

enum step vector_refuse_x87(struct interp *c)
{
	return raise_vector(c, c->s.cr0 & (CR0_EM | CR0_TS) ? VEC_NM : VEC_MF);
}

enum step vector_thunk_fault(struct interp *c)
{
	switch (host_code_caught()) {
	case SIGFPE:
		c->s.fpu.mxcsr = vector_of(c)->call.mxcsr;
		return raise_vector(c, c->s.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
	case SIGILL: return raise_ud(c);
	default: return raise_gp(c, 0);
	}
}

/* --- memory ----------------------------------------------------------------------------- */

bool vector_aligned(struct interp *c, const struct insn *i, uint64_t off, unsigned size,
		    unsigned align, bool write)
{
	bool based = c->code_bits != 64 || i->seg >= FS;
	uint64_t linear = off + (based ? c->s.seg[i->seg].base : 0);

	if (align == 1)
		return true;
	/* #GP although the limit may say #SS. */
	if (linear & (align - 1)) {
		raise_gp(c, 0);
		return false;
	}
	return mem_linear(c, (enum seg)i->seg, off, size, write, &linear);
}

void *vector_load_slow(struct interp *c, const struct insn *i, uint64_t off, unsigned size,
		       unsigned align)
{
	struct vector_unit *v = vector_of(c);

	if (!vector_aligned(c, i, off, size, align, false) ||
	    !mem_read_slow(c, (enum seg)i->seg, off, v->bounce, size))
		return NULL;
	return v->bounce;
}

bool vector_store_slow(struct interp *c, const struct insn *i, uint64_t off, const void *from,
		       unsigned size, unsigned align)
{
	return vector_aligned(c, i, off, size, align, true) &&
	       mem_write_slow(c, (enum seg)i->seg, off, from, size);
}

/* Guest RAM that holds all n bytes and may be accessed at once, or NULL. */
static void *vector_hit(struct interp *c, const struct insn *i, uint64_t at, unsigned n,
			enum access access)
{
	uint64_t linear, off = at & asz_mask(i->asz);

	if (!mem_fast_linear(c, (enum seg)i->seg, off, access == ACCESS_WRITE, &linear))
		return NULL;
	return tlb_hit(&c->tlb, linear, n, access);
}

bool vector_read_bytes(struct interp *c, const struct insn *i, uint64_t at, void *to, unsigned n)
{
	uint8_t *bytes = to;
	const void *hit = vector_hit(c, i, at, n, ACCESS_READ);

	if (hit != NULL) {
		guest_read(to, hit, n);
		return true;
	}
	for (unsigned done = 0, piece; done < n; done += piece) {
		piece = n - done < 64 ? n - done : 64;
		if (!mem_read_slow(c, (enum seg)i->seg, (at + done) & asz_mask(i->asz),
				   bytes + done, piece))
			return false;
	}
	return true;
}

bool vector_put(struct interp *c, const struct insn *i, uint64_t at, const void *from, unsigned n,
		bool probe)
{
	const uint8_t *bytes = from;
	void *hit = vector_hit(c, i, at, n, ACCESS_WRITE);

	if (hit != NULL) {
		if (!probe)
			guest_write(hit, from, n);
		return true;
	}
	for (unsigned done = 0, piece; done < n; done += piece) {
		uint64_t off = (at + done) & asz_mask(i->asz);
		enum seg seg = (enum seg)i->seg;

		piece = n - done < 64 ? n - done : 64;
		if (probe ? !mem_probe_write(c, seg, off, piece)
			  : !mem_write_slow(c, seg, off, bytes + done, piece))
			return false;
	}
	return true;
}

bool vector_write_bytes(struct interp *c, const struct insn *i, uint64_t at, const void *from,
			unsigned n)
{
	return vector_put(c, i, at, from, n, true) && vector_put(c, i, at, from, n, false);
}

/* --- SSE and AVX with at most three vector operands ----------------------------------- */

#define K_VEX   1u
#define K_LOAD  2u
#define K_STORE 4u
#define K_MXCSR 8u

/* k is a constant in every caller: each handler below is this, specialised. */
static ALWAYS_INLINE enum step vector_plain(struct interp *c, const struct insn *i, unsigned k)
{
	const struct vector_thunk *t = i->aux;
	struct vector_unit *v = vector_of(c);
	struct vector_call *call = &v->call;
	unsigned align = t->flags & THUNK_ALIGN ? t->mem_bytes : 1;
	void *direct = NULL;
	uint64_t off = 0;

	if (!(k & K_VEX ? vector_vex_ok(c) : vector_sse_ok(c)))
		return k & K_VEX ? vector_refuse_vex(c) : vector_refuse_sse(c);
	if (k & K_LOAD) {
		call->mem = vector_load(c, i, t->mem_bytes, align);
		if (UNLIKELY(call->mem == NULL))
			return STEP_FAULT;
	}
	if (k & K_STORE) {
		direct = vector_store_at(c, i, t->mem_bytes, align, &off);
		call->mem = direct != NULL ? direct : v->bounce;
	}
	call->slot[SLOT_REG] = c->s.fpu.ymm[i->a];
	call->slot[SLOT_VVVV] = c->s.fpu.ymm[i->c];
	call->slot[SLOT_RM] = c->s.fpu.ymm[i->b];
	if (k & K_MXCSR)
		call->mxcsr = c->s.fpu.mxcsr;
	if (UNLIKELY(t->run(call)))
		return vector_thunk_fault(c);
	/* As on CPUs, a conversion's own exception comes before its store's, and its flags stay set
	 * when the store faults. */
	if (k & K_MXCSR)
		c->s.fpu.mxcsr = call->mxcsr;
	if (UNLIKELY((k & K_STORE) && direct == NULL) &&
	    !vector_store_slow(c, i, off, v->bounce, t->mem_bytes, align))
		return STEP_FAULT;
	return STEP_NEXT;
}

/* clang-format off */
#define PLAIN_KINDS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(8) X(9) X(10) X(11) X(12) X(13)
/* clang-format on */
#define X(k)                                                                                       \
	static enum step vector_plain_##k(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		return vector_plain(c, i, k);                                                      \
	}
PLAIN_KINDS(X)
#undef X

/* clang-format off */
static const insn_fn plain[16] = {
#define X(k) [k] = vector_plain_##k,
	PLAIN_KINDS(X)
#undef X
};
/* clang-format on */

/* Exception class 11, conversions to and from half floats: memory is never checked for
 * alignment. Only CPL 3 is spared: at CPL 0 AC means what SMAP makes of it. */
static enum step vector_class_11(struct interp *c, const struct insn *i)
{
	const struct vector_thunk *t = i->aux;
	uint64_t ac = c->user ? c->s.rflags & FLAG_AC : 0;
	enum step step;

	c->s.rflags &= ~ac;
	step = plain[K_VEX | K_MXCSR | (t->flags & THUNK_LOAD ? K_LOAD : K_STORE)](c, i);
	c->s.rflags |= ac;
	return step;
}

/* --- everything else: general registers, flags, MMX, four operands ----------------------- */

static enum step general_refuse(struct interp *c, const struct vector_thunk *t)
{
	if (t->flags & THUNK_VEX)
		return vector_vex_ok(c) ? STEP_NEXT : vector_refuse_vex(c);
	if ((t->flags & THUNK_XMM) && !vector_sse_ok(c))
		return vector_refuse_sse(c);
	if ((t->flags & THUNK_MMX) && !vector_mmx_ok(c))
		return vector_refuse_mmx(c);
	return STEP_NEXT;
}

/* MMn is physical x87 register n wherever TOP is. */
static void *mm(struct interp *c, unsigned n)
{
	unsigned top = c->s.fpu.fsw >> 11;

	return &c->s.fpu.st[(n - top) & 7].mant;
}

static void general_slots(struct interp *c, const struct insn *i, const struct vector_thunk *t)
{
	struct vector_call *call = &vector_of(c)->call;

	call->slot[SLOT_XMM0] = c->s.fpu.ymm[0];
	call->slot[SLOT_IS4] = c->s.fpu.ymm[i->op & 15];
	call->slot[SLOT_REG] = i->imm & 1u << SLOT_REG ? mm(c, i->a) : c->s.fpu.ymm[i->a];
	call->slot[SLOT_RM] = i->imm & 1u << SLOT_RM ? mm(c, i->b) : c->s.fpu.ymm[i->b];
	call->slot[SLOT_VVVV] = c->s.fpu.ymm[i->c];
	call->mxcsr = c->s.fpu.mxcsr;
	if (t->flags & THUNK_GPR)
		call->gpr[0] = c->r[i->op];
	if (t->flags & THUNK_IMPLICIT) {
		call->gpr[0] = c->r[RAX];
		call->gpr[2] = c->r[RDX];
	}
}

static void general_commit(struct interp *c, const struct insn *i, const struct vector_thunk *t)
{
	const struct vector_call *call = &vector_of(c)->call;

	if (t->flags & THUNK_MXCSR)
		c->s.fpu.mxcsr = call->mxcsr;
	if ((t->flags & (THUNK_GPR | THUNK_GPR_IN)) == THUNK_GPR)
		c->r[i->op] = call->gpr[0];
	if (t->flags & THUNK_RCX)
		c->r[RCX] = call->gpr[1];
	if (t->flags & THUNK_FLAGS)
		interp_set_arith(c, call->flags);
	if (t->flags & THUNK_MMX) {
		x87_enter_mmx(&c->s.fpu);
		if (t->mm_written)
			c->s.fpu.st[t->mm_written == SLOT_REG ? i->a : i->b].exp = 0xffff;
	}
}

static enum step vector_general(struct interp *c, const struct insn *i)
{
	const struct vector_thunk *t = i->aux;
	struct vector_unit *v = vector_of(c);
	unsigned align = t->flags & THUNK_ALIGN ? t->mem_bytes : 1;
	enum step refused = general_refuse(c, t);

	if (refused != STEP_NEXT)
		return refused;
	if (t->flags & THUNK_LOAD) {
		v->call.mem = vector_load(c, i, t->mem_bytes, align);
		if (v->call.mem == NULL)
			return STEP_FAULT;
	} else if (t->flags & THUNK_STORE) {
		v->call.mem = v->bounce;
	}
	general_slots(c, i, t);
	if (UNLIKELY(t->run(&v->call))) {
		if (t->flags & THUNK_MMX) /* CPUs leave x87 mode before they find the exception */
			x87_enter_mmx(&c->s.fpu);
		return vector_thunk_fault(c);
	}
	if ((t->flags & THUNK_STORE) &&
	    !vector_store_slow(c, i, insn_ea(c, i), v->bounce, t->mem_bytes, align)) {
		if (t->flags & THUNK_MMX) /* CPUs come that far */
			x87_set_top(&c->s.fpu, 0);
		return STEP_FAULT;
	}
	general_commit(c, i, t);
	return STEP_NEXT;
}

/* --- binding ---------------------------------------------------------------------------- */

/* The CPU feature a form belongs to, + 1; 0: always there; -1: never (not in any model). */
static int feature_of(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.isa_set) {
	case ZYDIS_ISA_SET_X87: return FEATURE_FPU + 1;
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_FCMOV: return FEATURE_CMOV + 1;
	case ZYDIS_ISA_SET_SSE3X87:
	case ZYDIS_ISA_SET_SSE3: return FEATURE_SSE3 + 1;
	case ZYDIS_ISA_SET_PENTIUMMMX: return FEATURE_MMX + 1;
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_SSE: return FEATURE_SSE + 1;
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSE2: return FEATURE_SSE2 + 1;
	case ZYDIS_ISA_SET_SSSE3MMX:
	case ZYDIS_ISA_SET_SSSE3: return FEATURE_SSSE3 + 1;
	case ZYDIS_ISA_SET_SSE4: return FEATURE_SSE4_1 + 1;
	case ZYDIS_ISA_SET_SSE42: return FEATURE_SSE4_2 + 1;
	case ZYDIS_ISA_SET_AES: return FEATURE_AES + 1;
	case ZYDIS_ISA_SET_PCLMULQDQ: return FEATURE_PCLMULQDQ + 1;
	case ZYDIS_ISA_SET_SHA: return FEATURE_SHA + 1;
	case ZYDIS_ISA_SET_AVXAES:
	case ZYDIS_ISA_SET_AVX: return FEATURE_AVX + 1;
	case ZYDIS_ISA_SET_AVX2GATHER:
	case ZYDIS_ISA_SET_AVX2: return FEATURE_AVX2 + 1;
	case ZYDIS_ISA_SET_FMA: return FEATURE_FMA + 1;
	case ZYDIS_ISA_SET_F16C: return FEATURE_F16C + 1;
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_FXSAVE: return FEATURE_FXSR + 1;
	case ZYDIS_ISA_SET_XSAVE: return FEATURE_XSAVE + 1;
	case ZYDIS_ISA_SET_XSAVEC: return FEATURE_XSAVEC + 1;
	case ZYDIS_ISA_SET_XSAVEOPT: return FEATURE_XSAVEOPT + 1;
	default: return -1;
	}
}

/* A VEX form of AES or PCLMULQDQ needs both features. */
static bool model_has(const struct decoding *d)
{
	const struct cpu_model *m = d->c->vcpu->vm->cpu_model;
	int feature = feature_of(&d->zi);

	if (feature < 0 || (feature > 0 && !cpu_model_has(m, (enum cpu_feature)(feature - 1))))
		return false;
	if (d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return true;
	if (d->zi.meta.isa_set == ZYDIS_ISA_SET_AVXAES && !cpu_model_has(m, FEATURE_AES))
		return false;
	return cpu_model_has(m, FEATURE_AVX);
}

static void bind_operand(const ZydisDecodedOperand *op, struct insn *i)
{
	uint8_t number = vector_number(op->reg.value);
	ZydisRegisterClass class = ZydisRegisterGetClass(op->reg.value);
	bool general = class == ZYDIS_REGCLASS_GPR32 || class == ZYDIS_REGCLASS_GPR64;
	bool is_mm = class == ZYDIS_REGCLASS_MMX;

	switch (op->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG:
		if (!general)
			i->a = number;
		if (is_mm)
			i->imm |= 1u << SLOT_REG;
		break;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM:
		if (!general)
			i->b = number;
		if (is_mm)
			i->imm |= 1u << SLOT_RM;
		break;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: i->c = number; return;
	case ZYDIS_OPERAND_ENCODING_IS4: i->op = number; return;
	default: return;
	}
	if (general)
		i->op = number;
}

static bool bind_thunk(const struct decoding *d, struct insn *i)
{
	struct vector_thunk *t = vector_thunk(d->c, d);
	unsigned kind = 0;

	if (t == NULL)
		return false;
	i->aux = t;
	i->imm = 0;
	i->a = i->b = i->c = i->op = 0;
	for (unsigned n = 0; n < d->zi.operand_count; n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
			bind_operand(&d->op[n], i);
	i->fn = vector_general;
	if (t->flags &
	    (THUNK_GPR | THUNK_IMPLICIT | THUNK_RCX | THUNK_FLAGS | THUNK_MMX | THUNK_SLOTS))
		return true;
	kind |= t->flags & THUNK_VEX ? K_VEX : 0;
	kind |= t->flags & THUNK_LOAD ? K_LOAD : 0;
	kind |= t->flags & THUNK_STORE ? K_STORE : 0;
	kind |= t->flags & THUNK_MXCSR ? K_MXCSR : 0;
	if (plain[kind] != NULL)
		i->fn = plain[kind];
	if (d->zi.meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX11 && kind & (K_LOAD | K_STORE))
		i->fn = vector_class_11;
	return true;
}

static bool bind_vector(const struct decoding *d, struct insn *i)
{
	if (d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (d->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		return false;
	if (d->c == NULL) { /* decoder tests: the form exists, nothing will execute it */
		i->fn = vector_general;
		return true;
	}
	if (!model_has(d))
		return false;
	return vector_bind_x87(d, i) || vector_bind_x87_env(d, i) || vector_bind_xsave(d, i) ||
	       vector_bind_mask(d, i) || vector_bind_move(d, i) || bind_thunk(d, i);
}

/* clang-format off */
const struct bind_row interp_binds_vector[] = {
#define V(name) { ZYDIS_MNEMONIC_##name, bind_vector, 0 },
#include "engine/interp/vector_rows.h"
#undef V
	{ ZYDIS_MNEMONIC_INVALID, NULL, 0 },
};
/* clang-format on */
