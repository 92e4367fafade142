/*
 * muldiv.c - MUL, IMUL, DIV, IDIV, MULX.
 *
 * The idea: #DE is decided in C first, so that the host's division, which supplies the
 * quotient and the undefined flags, can never trap.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* The host's one-operand instruction on rAX and rDX, or on AX alone for bytes. */
#define EXECUTE8(name, insn)                                                                       \
	static void name##8(struct interp *c, uint8_t w)                                           \
	{                                                                                          \
		uint32_t fl = alu_pack(c->arith);                                                  \
		uint16_t lo = (uint16_t)c->r[RAX];                                                 \
		__asm__(ALU_LOAD "movw %w[lo], %%ax\n\t" insn                                      \
				 "b %[w]\n\tmovw %%ax, %w[lo]" ALU_SAVE                            \
			: [lo] "+&r"(lo), "+&a"(fl)                                                \
			: [w] "r"(w)                                                               \
			: "cc");                                                                   \
		c->arith = alu_unpack(fl);                                                         \
		reg_set16(c, RAX * 8, lo);                                                         \
	}
#define EXECUTE(name, insn, bits, s, acc)                                                          \
	static void name##bits(struct interp *c, uint##bits##_t w)                                 \
	{                                                                                          \
		uint32_t fl = alu_pack(c->arith);                                                  \
		uint##bits##_t lo = (uint##bits##_t)c->r[RAX], hi = (uint##bits##_t)c->r[RDX];     \
		__asm__(ALU_LOAD "mov %[lo], " acc "\n\t" insn s " %[w]\n\tmov " acc               \
				 ", %[lo]" ALU_SAVE                                                \
			: [lo] "+&r"(lo), "+&a"(fl), "+&d"(hi)                                     \
			: [w] "r"(w)                                                               \
			: "cc");                                                                   \
		c->arith = alu_unpack(fl);                                                         \
		reg_set##bits(c, RAX * 8, lo);                                                     \
		reg_set##bits(c, RDX * 8, hi);                                                     \
	}
#define EXECUTE_ALL(name, insn)                                                                    \
	EXECUTE8(name, insn)                                                                       \
	EXECUTE(name, insn, 16, "w", "%%ax")                                                       \
	EXECUTE(name, insn, 32, "l", "%%eax")                                                      \
	EXECUTE(name, insn, 64, "q", "%%rax")

/* clang-format off */
EXECUTE_ALL(execute_mul, "mul")
EXECUTE_ALL(execute_imul, "imul")
EXECUTE_ALL(execute_div, "div")
EXECUTE_ALL(execute_idiv, "idiv")
/* clang-format on */

/* Does the quotient of a division by `w` fit? The dividend is AX, or rDX:rAX. */
static bool div_fits8(const struct interp *c, uint8_t w)
{
	return (uint8_t)(c->r[RAX] >> 8) < w;
}
#define DIV_FITS(bits)                                                                             \
	static bool div_fits##bits(const struct interp *c, uint##bits##_t w)                       \
	{                                                                                          \
		return (uint##bits##_t)c->r[RDX] < w;                                              \
	}
DIV_FITS(16)
DIV_FITS(32)
DIV_FITS(64)

/* `a` is at least twice as wide as the quotient, which has `bits` bits. */
static bool quotient_fits(__int128 a, int64_t w, unsigned bits)
{
	unsigned __int128 dividend = a < 0 ? -(unsigned __int128)a : (unsigned __int128)a;
	uint64_t divisor = w < 0 ? -(uint64_t)w : (uint64_t)w;
	uint64_t limit = (UINT64_C(1) << (bits - 1)) - ((a < 0) == (w < 0));

	/* |a| / |w| <= limit, without dividing */
	return divisor && dividend < ((unsigned __int128)limit + 1) * divisor;
}
static bool idiv_fits8(const struct interp *c, uint8_t w)
{
	return quotient_fits((int16_t)c->r[RAX], (int8_t)w, 8);
}
#define IDIV_FITS(bits)                                                                            \
	static bool idiv_fits##bits(const struct interp *c, uint##bits##_t w)                      \
	{                                                                                          \
		__int128 a = (__int128)(int##bits##_t)c->r[RDX] * ((__int128)1 << (bits - 1)) * 2; \
		return quotient_fits(a | (uint##bits##_t)c->r[RAX], (int##bits##_t)w, bits);       \
	}
IDIV_FITS(16)
IDIV_FITS(32)
IDIV_FITS(64)
#define ALWAYS_FITS(c, w) true

#define HANDLERS(op, bits, fits)                                                                   \
	static enum step op##_r##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t w = reg_get##bits(c, i->a);                                         \
		if (UNLIKELY(!fits(c, w)))                                                         \
			return raise_vector(c, VEC_DE);                                            \
		execute_##op##bits(c, w);                                                          \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step op##_m##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t w;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &w)))                       \
			return STEP_FAULT;                                                         \
		if (UNLIKELY(!fits(c, w)))                                                         \
			return raise_vector(c, VEC_DE);                                            \
		execute_##op##bits(c, w);                                                          \
		return STEP_NEXT;                                                                  \
	}
/* clang-format off */
#define X(bits, s)                                                                                 \
	HANDLERS(mul, bits, ALWAYS_FITS) HANDLERS(imul, bits, ALWAYS_FITS)                         \
	HANDLERS(div, bits, div_fits##bits) HANDLERS(idiv, bits, idiv_fits##bits)
ALU_SIZES(X)
#undef X
/* clang-format on */

#define BIND_ONE(name)                                                                             \
	static bool bind_one_##name(const struct decoding *d, struct insn *i)                      \
	{                                                                                          \
		static const insn_fn rows[2][4] = { FORM_ROW(name##_r), FORM_ROW(name##_m) };      \
		i->fn = rows[form_bind1(d, i) == FORM_M][form_size(&d->op[0])];                    \
		return true;                                                                       \
	}
BIND_ONE(mul)
BIND_ONE(imul)
BIND_ONE(div)
BIND_ONE(idiv)

bool bind_mul(const struct decoding *d, struct insn *i)
{
	return bind_one_mul(d, i);
}

bool bind_div(const struct decoding *d, struct insn *i)
{
	return d->zi.mnemonic == ZYDIS_MNEMONIC_DIV ? bind_one_div(d, i) : bind_one_idiv(d, i);
}

/* IMUL with two or three operands: a = first * second. */
#define PRODUCT(bits, s)                                                                           \
	static enum step product_rr##bits(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		reg_set##bits(c, i->a,                                                             \
			      alu_imul##bits(&c->arith, reg_get##bits(c, i->a),                    \
					     reg_get##bits(c, i->b)));                             \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step product_rm##bits(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		uint##bits##_t w;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &w)))                       \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->a, alu_imul##bits(&c->arith, reg_get##bits(c, i->a), w));      \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step product_rri##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		reg_set##bits(c, i->a,                                                             \
			      alu_imul##bits(&c->arith, reg_get##bits(c, i->b),                    \
					     (uint##bits##_t)i->imm));                             \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step product_rmi##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		uint##bits##_t w;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &w)))                       \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->a, alu_imul##bits(&c->arith, w, (uint##bits##_t)i->imm));      \
		return STEP_NEXT;                                                                  \
	}
ALU_WIDE(PRODUCT)

bool bind_imul(const struct decoding *d, struct insn *i)
{
	/* clang-format off */
	static const insn_fn rows[2][2][4] = {
		{ FORM_ROW_WIDE(product_rr), FORM_ROW_WIDE(product_rm) },
		{ FORM_ROW_WIDE(product_rri), FORM_ROW_WIDE(product_rmi) },
	};
	/* clang-format on */
	bool three = d->zi.operand_count_visible == 3;
	enum form form;

	if (d->zi.operand_count_visible == 1)
		return bind_one_imul(d, i);
	form = form_bind2(d, i);
	if (three)
		i->imm = d->op[2].imm.value.u;
	i->fn = rows[three][form == FORM_RM][form_size(&d->op[0])];
	return i->fn;
}

/* a:b = rDX * source. The high half wins when both are the same register. No flags. */
static enum step mulx(struct interp *c, const struct insn *i)
{
	uint64_t w;

	if (!(i->flags & INSN_MEM))
		w = reg_get(c, i->c, i->osz);
	else if (!operand_load(c, i->seg, insn_ea(c, i), i->osz, &w))
		return STEP_FAULT;
	if (i->osz == 8) {
		unsigned __int128 p = (unsigned __int128)c->r[RDX] * w;

		reg_set64(c, i->b, (uint64_t)p);
		reg_set64(c, i->a, (uint64_t)(p >> 64));
	} else {
		uint64_t p = (uint64_t)(uint32_t)c->r[RDX] * w;

		reg_set32(c, i->b, (uint32_t)p);
		reg_set32(c, i->a, (uint32_t)(p >> 32));
	}
	return STEP_NEXT;
}

bool bind_mulx(const struct decoding *d, struct insn *i)
{
	i->osz = (uint8_t)(d->op[0].size / 8);
	i->a = bind_gpr(d->op[0].reg.value);
	i->b = bind_gpr(d->op[1].reg.value);
	if (form_is_reg(&d->op[2]))
		i->c = bind_gpr(d->op[2].reg.value);
	i->fn = mulx;
	return true;
}
