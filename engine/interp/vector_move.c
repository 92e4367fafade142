/*
 * vector_move.c - the vector instructions that programs execute all day, without a thunk.
 *
 * Copies, logic, and the compares of string functions: what a C library's memcpy and strlen
 * consist of. A TLB hit goes straight between guest memory and the register array. Each
 * handler is one of a few templates with constants; everything else is vector.c's.
 *
 * Spec: SDM vol. 2 MOVAPS, MOVDQU, MOVQ, MOVD, MOVSS, PXOR, PCMPEQB, PMOVMSKB, ...
 * Tested by test/unit/vector.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/vector.h"

/* a: vector register, b: ModRM.rm's vector or general register, c: VEX.vvvv */

static ALWAYS_INLINE bool allowed(struct interp *c, bool vex)
{
	return vex ? vector_vex_ok(c) : vector_sse_ok(c);
}

static enum step refuse(struct interp *c, bool vex)
{
	return vex ? vector_refuse_vex(c) : vector_refuse_sse(c);
}

/* Writes n low bytes of register r. VEX zeroes what is above; legacy keeps it. */
static ALWAYS_INLINE void set(struct interp *c, unsigned r, const void *from, unsigned n, bool vex)
{
	memmove(c->s.fpu.ymm[r], from, n);
	if (vex && n < 32)
		memset((uint8_t *)c->s.fpu.ymm[r] + n, 0, 32 - n);
}

/* --- whole registers -------------------------------------------------------------------- */

static ALWAYS_INLINE enum step copy(struct interp *c, const struct insn *i, unsigned n, bool vex)
{
	if (!allowed(c, vex))
		return refuse(c, vex);
	set(c, i->a, c->s.fpu.ymm[i->b], n, vex);
	return STEP_NEXT;
}

static ALWAYS_INLINE enum step load(struct interp *c, const struct insn *i, unsigned n, bool vex,
				    unsigned align)
{
	const void *from;

	if (!allowed(c, vex))
		return refuse(c, vex);
	from = vector_load(c, i, n, align);
	if (UNLIKELY(from == NULL))
		return STEP_FAULT;
	set(c, i->a, from, n, vex);
	return STEP_NEXT;
}

static ALWAYS_INLINE enum step store(struct interp *c, const struct insn *i, unsigned n, bool vex,
				     unsigned align)
{
	uint64_t off;
	void *to;

	if (!allowed(c, vex))
		return refuse(c, vex);
	to = vector_store_at(c, i, n, align, &off);
	if (UNLIKELY(to == NULL))
		return vector_store_slow(c, i, off, c->s.fpu.ymm[i->a], n, align) ? STEP_NEXT
										  : STEP_FAULT;
	guest_write(to, c->s.fpu.ymm[i->a], n);
	return STEP_NEXT;
}

/* name, bytes, VEX */
#define WHOLE(X)                                                                                   \
	X(sse, 16, false)                                                                          \
	X(vex128, 16, true)                                                                        \
	X(vex256, 32, true)
enum form { FORM_sse, FORM_vex128, FORM_vex256, FORM_COUNT };

#define X(name, n, vex)                                                                            \
	static enum step copy_##name(struct interp *c, const struct insn *i)                       \
	{                                                                                          \
		return copy(c, i, n, vex);                                                         \
	}                                                                                          \
	static enum step load_##name(struct interp *c, const struct insn *i)                       \
	{                                                                                          \
		return load(c, i, n, vex, 1);                                                      \
	}                                                                                          \
	static enum step load_aligned_##name(struct interp *c, const struct insn *i)               \
	{                                                                                          \
		return load(c, i, n, vex, n);                                                      \
	}                                                                                          \
	static enum step store_##name(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		return store(c, i, n, vex, 1);                                                     \
	}                                                                                          \
	static enum step store_aligned_##name(struct interp *c, const struct insn *i)              \
	{                                                                                          \
		return store(c, i, n, vex, n);                                                     \
	}
WHOLE(X)
#undef X

enum way { WAY_COPY, WAY_LOAD, WAY_LOAD_ALIGNED, WAY_STORE, WAY_STORE_ALIGNED, WAY_COUNT };
static const insn_fn whole[FORM_COUNT][WAY_COUNT] = {
#define X(name, n, vex)                                                                            \
	[FORM_##name] = { copy_##name, load_##name, load_aligned_##name, store_##name,             \
			  store_aligned_##name },
	WHOLE(X)
#undef X
};

/* --- parts: 4 or 8 bytes, the rest of the 16 zeroed ------------------------------------------ */

static ALWAYS_INLINE enum step part_load(struct interp *c, const struct insn *i, unsigned n,
					 bool vex)
{
	uint64_t value[2] = { 0 };

	if (!allowed(c, vex))
		return refuse(c, vex);
	if (n == 8) {
		if (!mem_load64(c, (enum seg)i->seg, insn_ea(c, i), &value[0]))
			return STEP_FAULT;
	} else {
		uint32_t word;

		if (!mem_load32(c, (enum seg)i->seg, insn_ea(c, i), &word))
			return STEP_FAULT;
		value[0] = word;
	}
	set(c, i->a, value, 16, vex);
	return STEP_NEXT;
}

static ALWAYS_INLINE enum step part_store(struct interp *c, const struct insn *i, unsigned n,
					  bool vex)
{
	uint64_t value = c->s.fpu.ymm[i->a][0];

	if (!allowed(c, vex))
		return refuse(c, vex);
	if (n == 8 ? !mem_store64(c, (enum seg)i->seg, insn_ea(c, i), value)
		   : !mem_store32(c, (enum seg)i->seg, insn_ea(c, i), (uint32_t)value))
		return STEP_FAULT;
	return STEP_NEXT;
}

/* MOVQ xmm, xmm */
static ALWAYS_INLINE enum step part_copy(struct interp *c, const struct insn *i, bool vex)
{
	uint64_t value[2] = { c->s.fpu.ymm[i->b][0], 0 };

	if (!allowed(c, vex))
		return refuse(c, vex);
	set(c, i->a, value, 16, vex);
	return STEP_NEXT;
}

static ALWAYS_INLINE enum step from_gpr(struct interp *c, const struct insn *i, unsigned n,
					bool vex)
{
	uint64_t value[2] = { n == 8 ? c->r[i->b] : (uint32_t)c->r[i->b], 0 };

	if (!allowed(c, vex))
		return refuse(c, vex);
	set(c, i->a, value, 16, vex);
	return STEP_NEXT;
}

static ALWAYS_INLINE enum step to_gpr(struct interp *c, const struct insn *i, unsigned n, bool vex)
{
	uint64_t value = c->s.fpu.ymm[i->a][0];

	if (!allowed(c, vex))
		return refuse(c, vex);
	c->r[i->b] = n == 8 ? value : (uint32_t)value;
	return STEP_NEXT;
}

#define PARTS(X)                                                                                   \
	X(sse4, 4, false)                                                                          \
	X(sse8, 8, false)                                                                          \
	X(vex4, 4, true)                                                                           \
	X(vex8, 8, true)
#define X(name, n, vex)                                                                            \
	static enum step part_load_##name(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		return part_load(c, i, n, vex);                                                    \
	}                                                                                          \
	static enum step part_store_##name(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		return part_store(c, i, n, vex);                                                   \
	}                                                                                          \
	static enum step part_copy_##name(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		return part_copy(c, i, vex);                                                       \
	}                                                                                          \
	static enum step from_gpr_##name(struct interp *c, const struct insn *i)                   \
	{                                                                                          \
		return from_gpr(c, i, n, vex);                                                     \
	}                                                                                          \
	static enum step to_gpr_##name(struct interp *c, const struct insn *i)                     \
	{                                                                                          \
		return to_gpr(c, i, n, vex);                                                       \
	}
PARTS(X)
#undef X

static const struct part_row {
	insn_fn load, store, copy, from_gpr, to_gpr;
} parts[4] = { /* [2 * vex + (8 bytes)] */
#define X(name, n, vex)                                                                            \
	{ part_load_##name, part_store_##name, part_copy_##name, from_gpr_##name, to_gpr_##name },
	       PARTS(X)
#undef X
};

/* --- two operands to one ---------------------------------------------------------------- */

typedef uint64_t v64 __attribute__((vector_size(16), may_alias, aligned(1)));
typedef uint32_t v32 __attribute__((vector_size(16), may_alias, aligned(1)));
typedef uint8_t v8 __attribute__((vector_size(16), may_alias, aligned(1)));

/* name, element type, result of x and y */
#define BINARY(X)                                                                                  \
	X(xor, v64, x ^ y)                                                                         \
	X(and, v64, x &y)                                                                          \
	X(or, v64, x | y)                                                                          \
	X(andn, v64, ~x &y)                                                                        \
	X(addq, v64, x + y)                                                                        \
	X(addd, v32, x + y)                                                                        \
	X(subb, v8, x - y)                                                                         \
	X(eqb, v8, (v8)(x == y))                                                                   \
	X(eqd, v32, (v32)(x == y))                                                                 \
	X(minub, v8, (x & (v8)(x < y)) | (y & ~(v8)(x < y)))

enum binary_op {
#define X(name, type, result) BINARY_##name,
	BINARY(X)
#undef X
		BINARY_COUNT
};

static ALWAYS_INLINE const uint8_t *second(struct interp *c, const struct insn *i, unsigned n,
					   bool vex, bool mem)
{
	if (!mem)
		return (const uint8_t *)c->s.fpu.ymm[i->b];
	return vector_load(c, i, n, vex ? 1 : n);
}

#define BINARY_FORM(name, type, result, form, n, vex, mem)                                         \
	static enum step name##_##form##_##mem(struct interp *c, const struct insn *i)             \
	{                                                                                          \
		const uint8_t *p, *q;                                                              \
		uint8_t to[n];                                                                     \
		if (!allowed(c, vex))                                                              \
			return refuse(c, vex);                                                     \
		q = second(c, i, n, vex, mem);                                                     \
		if (UNLIKELY(q == NULL))                                                           \
			return STEP_FAULT;                                                         \
		p = (const uint8_t *)c->s.fpu.ymm[vex ? i->c : i->a];                              \
		for (unsigned k = 0; k < n; k += 16) {                                             \
			type x, y;                                                                 \
			memcpy(&x, p + k, 16);                                                     \
			memcpy(&y, q + k, 16);                                                     \
			x = (result);                                                              \
			memcpy(to + k, &x, 16);                                                    \
		}                                                                                  \
		set(c, i->a, to, n, vex);                                                          \
		return STEP_NEXT;                                                                  \
	}
#define X(name, type, result)                                                                      \
	BINARY_FORM(name, type, result, sse, 16, false, 0)                                         \
	BINARY_FORM(name, type, result, sse, 16, false, 1)                                         \
	BINARY_FORM(name, type, result, vex128, 16, true, 0)                                       \
	BINARY_FORM(name, type, result, vex128, 16, true, 1)                                       \
	BINARY_FORM(name, type, result, vex256, 32, true, 0)                                       \
	BINARY_FORM(name, type, result, vex256, 32, true, 1)
BINARY(X)
#undef X

static const insn_fn binary[BINARY_COUNT][FORM_COUNT][2] = {
#define X(name, type, result)                                                                      \
	{                                                                                          \
		{name##_sse_0,     name##_sse_1   },                                                    \
		{ name##_vex128_0, name##_vex128_1},                                              \
		{ name##_vex256_0, name##_vex256_1}                                               \
},
	BINARY(X)
#undef X
};

/* PMOVMSKB: a general register number, b vector register */
static ALWAYS_INLINE enum step movmskb(struct interp *c, const struct insn *i, unsigned n, bool vex)
{
	uint64_t mask = 0;

	if (!allowed(c, vex))
		return refuse(c, vex);
	for (unsigned k = 0; k < n / 8; k++) {
		uint64_t signs = c->s.fpu.ymm[i->b][k] >> 7 & UINT64_C(0x0101010101010101);

		mask |= (signs * UINT64_C(0x0102040810204080) >> 56) << 8 * k;
	}
	c->r[i->a] = mask;
	return STEP_NEXT;
}

#define X(name, n, vex)                                                                            \
	static enum step movmskb_##name(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		return movmskb(c, i, n, vex);                                                      \
	}
WHOLE(X)
#undef X

/* --- binding ---------------------------------------------------------------------------- */

static ZydisRegisterClass class_of(const struct decoding *d, unsigned n)
{
	return d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER
		       ? ZydisRegisterGetClass(d->op[n].reg.value)
		       : ZYDIS_REGCLASS_INVALID;
}

static enum form form_of(const struct decoding *d)
{
	if (d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return FORM_sse;
	return d->zi.raw.vex.L ? FORM_vex256 : FORM_vex128;
}

/* Register operands by their place in ModRM and VEX. */
static void bind_registers(const struct decoding *d, struct insn *i)
{
	for (unsigned n = 0; n < d->zi.operand_count_visible; n++) {
		uint8_t number;

		if (d->op[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		number = vector_number(d->op[n].reg.value);
		if (d->op[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			i->a = number;
		else if (d->op[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
			i->b = number;
		else
			i->c = number;
	}
}

static bool bind_whole(const struct decoding *d, struct insn *i, bool aligned)
{
	enum form form = form_of(d);

	bind_registers(d, i);
	if (d->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		i->fn = whole[form][aligned ? WAY_STORE_ALIGNED : WAY_STORE];
	} else if (d->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		i->fn = whole[form][aligned ? WAY_LOAD_ALIGNED : WAY_LOAD];
	} else {
		i->fn = whole[form][WAY_COPY];
		i->a = vector_number(d->op[0].reg.value); /* either may be in ModRM.rm */
		i->b = vector_number(d->op[1].reg.value);
	}
	return true;
}

/* MOVD, MOVQ; MOVSS and MOVSD to and from memory. */
static bool bind_part(const struct decoding *d, struct insn *i, unsigned bytes, bool scalar)
{
	bool vex = d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	const struct part_row *row = &parts[2 * vex + (bytes == 8)];
	ZydisRegisterClass to = class_of(d, 0), from = class_of(d, 1);

	if (to == ZYDIS_REGCLASS_MMX || from == ZYDIS_REGCLASS_MMX)
		return false;
	bind_registers(d, i);
	if (d->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		i->fn = row->store;
	} else if (d->op[1].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		i->fn = row->load;
	} else if (scalar) {
		return false;
	} else if (to == ZYDIS_REGCLASS_XMM && from == ZYDIS_REGCLASS_XMM) {
		i->fn = row->copy;
		i->a = vector_number(d->op[0].reg.value);
		i->b = vector_number(d->op[1].reg.value);
	} else {
		i->fn = to == ZYDIS_REGCLASS_XMM ? row->from_gpr : row->to_gpr;
	}
	return true;
}

static bool bind_binary(const struct decoding *d, struct insn *i, enum binary_op op)
{
	bool mem = i->flags & INSN_MEM;

	if (class_of(d, 0) == ZYDIS_REGCLASS_MMX)
		return false;
	bind_registers(d, i);
	i->fn = binary[op][form_of(d)][mem];
	return true;
}

static bool bind_movmskb(const struct decoding *d, struct insn *i)
{
	static const insn_fn fn[FORM_COUNT] = { movmskb_sse, movmskb_vex128, movmskb_vex256 };

	if (class_of(d, 1) == ZYDIS_REGCLASS_MMX)
		return false;
	bind_registers(d, i);
	i->fn = fn[form_of(d)];
	return true;
}

/* Both the legacy and the VEX mnemonic. */
#define BOTH(name)                                                                                 \
	case ZYDIS_MNEMONIC_##name:                                                                \
	case ZYDIS_MNEMONIC_V##name

bool vector_bind_move(const struct decoding *d, struct insn *i)
{
	/* clang-format off */
	switch (d->zi.mnemonic) {
	BOTH(MOVAPS): BOTH(MOVAPD): BOTH(MOVDQA):
	BOTH(MOVNTPS): BOTH(MOVNTPD): BOTH(MOVNTDQ): BOTH(MOVNTDQA):
		return bind_whole(d, i, true);
	BOTH(MOVUPS): BOTH(MOVUPD): BOTH(MOVDQU): BOTH(LDDQU):
		return bind_whole(d, i, false);
	BOTH(MOVD): return bind_part(d, i, 4, false);
	BOTH(MOVQ): return bind_part(d, i, 8, false);
	BOTH(MOVSS): return bind_part(d, i, 4, true);
	BOTH(MOVSD): return bind_part(d, i, 8, true);
	BOTH(PXOR): BOTH(XORPS): BOTH(XORPD): return bind_binary(d, i, BINARY_xor);
	BOTH(PAND): BOTH(ANDPS): BOTH(ANDPD): return bind_binary(d, i, BINARY_and);
	BOTH(POR): BOTH(ORPS): BOTH(ORPD): return bind_binary(d, i, BINARY_or);
	BOTH(PANDN): BOTH(ANDNPS): BOTH(ANDNPD): return bind_binary(d, i, BINARY_andn);
	BOTH(PADDQ): return bind_binary(d, i, BINARY_addq);
	BOTH(PADDD): return bind_binary(d, i, BINARY_addd);
	BOTH(PSUBB): return bind_binary(d, i, BINARY_subb);
	BOTH(PCMPEQB): return bind_binary(d, i, BINARY_eqb);
	BOTH(PCMPEQD): return bind_binary(d, i, BINARY_eqd);
	BOTH(PMINUB): return bind_binary(d, i, BINARY_minub);
	BOTH(PMOVMSKB): return bind_movmskb(d, i);
	default: return false;
	}
	/* clang-format on */
}
