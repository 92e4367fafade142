/*
 * shift.c - ROL ROR RCL RCR SHL SHR SAR, SHLD SHRD.
 *
 * The idea: every count goes through the host's shift by CL, except that Intel's rotate of a
 * register by an immediate other than 1 leaves OF alone where the rotate by CL, or of memory,
 * computes it (both are allowed: OF is undefined then). The binder asks the host which kind it is.
 *
 * A memory operand is read and written even if the count is 0.
 *
 * Spec: SDM vol. 2 "RCL/RCR/ROL/ROR", "SAL/SAR/SHL/SHR", "SHLD", "SHRD".
 * Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* Where the count comes from; insn.c holds an immediate one. */
#define COUNT_CL(c, i)  ((uint8_t)(c)->r[RCX])
#define COUNT_IMM(c, i) ((i)->c)

#define FLAGS_AS_IS(f, before)   (f)
#define FLAGS_KEEP_OF(f, before) (((f) & ~(uint64_t)FLAG_OF) | ((before)&FLAG_OF))

#define SHIFT(op, name, bits, count, flags)                                                        \
	static enum step name##_r##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		uint64_t f = c->arith;                                                             \
		uint##bits##_t v = alu_##op##bits(&f, reg_get##bits(c, i->a), count(c, i));        \
		c->arith = flags(f, c->arith);                                                     \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step name##_m##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		uint64_t f = c->arith;                                                             \
		uint##bits##_t v;                                                                  \
		struct rmw m;                                                                      \
		void *p = rmw_open(c, i, sizeof(v), &m);                                           \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		v = guest_load##bits(p);                                                           \
		v = alu_##op##bits(&f, v, count(c, i));                                            \
		guest_store##bits(p, v);                                                           \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		c->arith = flags(f, c->arith);                                                     \
		return STEP_NEXT;                                                                  \
	}

/* clang-format off */
#define SHIFTS(X) X(rol, ROL) X(ror, ROR) X(rcl, RCL) X(rcr, RCR) X(shl, SHL) X(shr, SHR) X(sar, SAR)
#define ALL_SIZES(kind, op, name, count, flags)                                                    \
	kind(op, name, 8, count, flags) kind(op, name, 16, count, flags)                           \
	kind(op, name, 32, count, flags) kind(op, name, 64, count, flags)
#define X(op, name)                                                                                \
	ALL_SIZES(SHIFT, op, op##_cl, COUNT_CL, FLAGS_AS_IS)                                       \
	ALL_SIZES(SHIFT, op, op##_imm, COUNT_IMM, FLAGS_AS_IS)
SHIFTS(X)
#undef X
ALL_SIZES(SHIFT, rol, rol_keep, COUNT_IMM, FLAGS_KEEP_OF)
ALL_SIZES(SHIFT, ror, ror_keep, COUNT_IMM, FLAGS_KEEP_OF)
/* clang-format on */

enum count { COUNT_BY_CL, COUNT_BY_IMM, COUNT_BY_IMM_KEEP, COUNTS };

/* OF after a rotate by 2 of a value for which the rotate by CL makes it 1. */
static bool rotate_immediate_of(bool before)
{
	uint32_t v = UINT32_C(1) << 29, ax = before;

	__asm__(ALU_LOAD "roll $2, %[v]" ALU_SAVE : [v] "+&r"(v), "+&a"(ax) : : "cc");
	return alu_unpack(ax) & FLAG_OF;
}

static bool host_keeps_of(void)
{
	return rotate_immediate_of(true) && !rotate_immediate_of(false);
}

static enum count count_kind(const struct decoding *d, struct insn *i, const ZydisDecodedOperand *o)
{
	uint8_t mask = d->op[0].size == 64 ? 63 : 31;

	if (form_is_reg(o))
		return COUNT_BY_CL;
	i->c = (uint8_t)o->imm.value.u;
	if ((i->c & mask) != 1 && form_is_reg(&d->op[0]) && host_keeps_of())
		return COUNT_BY_IMM_KEEP;
	return COUNT_BY_IMM;
}

bool bind_shift(const struct decoding *d, struct insn *i)
{
	enum form1 form = form_bind1(d, i);
	enum count kind = count_kind(d, i, &d->op[1]);
	unsigned size = form_size(&d->op[0]);

#define ROWS(name)                                                                                 \
	{                                                                                          \
		FORM_ROW(name##_r), FORM_ROW(name##_m)                                             \
	}
#define CASE(op, name, keep)                                                                       \
	case ZYDIS_MNEMONIC_##name: {                                                              \
		static const insn_fn rows[COUNTS][2][4] = { ROWS(op##_cl), ROWS(op##_imm),         \
							    ROWS(keep) };                          \
		i->fn = rows[kind][form == FORM_M][size];                                          \
		return true;                                                                       \
	}
	switch (d->zi.mnemonic) {
		CASE(rol, ROL, rol_keep)
		CASE(ror, ROR, ror_keep)
		CASE(rcl, RCL, rcl_imm)
		CASE(rcr, RCR, rcr_imm)
		CASE(shl, SHL, shl_imm)
		CASE(shr, SHR, shr_imm)
		CASE(sar, SAR, sar_imm)
	default: return false;
	}
#undef CASE
#undef ROWS
}

#define DOUBLE(op, name, bits, count)                                                              \
	static enum step name##_r##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		uint##bits##_t v = alu_##op##bits(&c->arith, reg_get##bits(c, i->a),               \
						  reg_get##bits(c, i->b), count(c, i));            \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step name##_m##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		uint64_t f = c->arith;                                                             \
		uint##bits##_t v;                                                                  \
		struct rmw m;                                                                      \
		void *p = rmw_open(c, i, sizeof(v), &m);                                           \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		v = guest_load##bits(p);                                                           \
		v = alu_##op##bits(&f, v, reg_get##bits(c, i->b), count(c, i));                    \
		guest_store##bits(p, v);                                                           \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		c->arith = f;                                                                      \
		return STEP_NEXT;                                                                  \
	}

/* clang-format off */
#define WIDE_SIZES(op, name, count)                                                                \
	DOUBLE(op, name, 16, count) DOUBLE(op, name, 32, count) DOUBLE(op, name, 64, count)
WIDE_SIZES(shld, shld_cl, COUNT_CL)
WIDE_SIZES(shld, shld_imm, COUNT_IMM)
WIDE_SIZES(shrd, shrd_cl, COUNT_CL)
WIDE_SIZES(shrd, shrd_imm, COUNT_IMM)
/* clang-format on */

bool bind_shift_double(const struct decoding *d, struct insn *i)
{
	/* clang-format off */
	static const insn_fn rows[2][2][2][4] = {
		{ { FORM_ROW_WIDE(shld_imm_r), FORM_ROW_WIDE(shld_imm_m) },
		  { FORM_ROW_WIDE(shld_cl_r), FORM_ROW_WIDE(shld_cl_m) } },
		{ { FORM_ROW_WIDE(shrd_imm_r), FORM_ROW_WIDE(shrd_imm_m) },
		  { FORM_ROW_WIDE(shrd_cl_r), FORM_ROW_WIDE(shrd_cl_m) } },
	};
	/* clang-format on */
	enum form form = form_bind2(d, i);
	bool by_cl = count_kind(d, i, &d->op[2]) == COUNT_BY_CL;

	i->fn = rows[d->zi.mnemonic == ZYDIS_MNEMONIC_SHRD][by_cl][form == FORM_MR]
		    [form_size(&d->op[0])];
	return i->fn;
}
