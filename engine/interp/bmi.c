/*
 * bmi.c - BMI1, BMI2 (but MULX) and ADX.
 *
 * The idea: rare enough that one function an operation serves register and memory
 * forms; the host's instruction gives result and flags (cpu_model_usable() has seen to it
 * that the host has what the model shows).
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* The r/m operand: memory or register b. */
static bool source(struct interp *c, const struct insn *i, uint64_t *y)
{
	if (i->flags & INSN_MEM)
		return operand_load(c, i->seg, insn_ea(c, i), i->osz, y);
	*y = reg_get(c, i->b, i->osz);
	return true;
}

/* a = op(x, y). One source is the r/m operand, the other the register in VEX.vvvv (insn.c);
 * `rm_first`: x is the r/m operand. */
#define THREE(name, bits, rm_first)                                                                \
	static enum step name##_three##bits(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint32_t ax = alu_pack(c->arith);                                                  \
		uint64_t rm;                                                                       \
		uint##bits##_t x, y, v;                                                            \
		if (!source(c, i, &rm))                                                            \
			return STEP_FAULT;                                                         \
		x = rm_first ? (uint##bits##_t)rm : reg_get##bits(c, i->c);                        \
		y = rm_first ? reg_get##bits(c, i->c) : (uint##bits##_t)rm;                        \
		__asm__(ALU_LOAD #name " %[y], %[x], %[v]" ALU_SAVE                                \
			: [v] "=&r"(v), "+&a"(ax)                                                  \
			: [x] "r"(x), [y] "r"(y)                                                   \
			: "cc");                                                                   \
		c->arith = alu_unpack(ax);                                                         \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}
#define TWO(name, bits)                                                                            \
	static enum step name##_two##bits(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		uint32_t ax = alu_pack(c->arith);                                                  \
		uint64_t rm;                                                                       \
		uint##bits##_t v;                                                                  \
		if (!source(c, i, &rm))                                                            \
			return STEP_FAULT;                                                         \
		__asm__(ALU_LOAD #name " %[x], %[v]" ALU_SAVE                                      \
			: [v] "=&r"(v), "+&a"(ax)                                                  \
			: [x] "r"((uint##bits##_t)rm)                                              \
			: "cc");                                                                   \
		c->arith = alu_unpack(ax);                                                         \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}
/* a = a + source + one flag, which alone is changed. */
#define ADX(name, bits)                                                                            \
	static enum step name##_adx##bits(struct interp *c, const struct insn *i)                  \
	{                                                                                          \
		uint32_t ax = alu_pack(c->arith);                                                  \
		uint64_t rm;                                                                       \
		uint##bits##_t v = reg_get##bits(c, i->a);                                         \
		if (!source(c, i, &rm))                                                            \
			return STEP_FAULT;                                                         \
		__asm__(ALU_LOAD #name " %[x], %[v]" ALU_SAVE                                      \
			: [v] "+&r"(v), "+&a"(ax)                                                  \
			: [x] "r"((uint##bits##_t)rm)                                              \
			: "cc");                                                                   \
		c->arith = alu_unpack(ax);                                                         \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}

/* X(name, MNEMONIC, rm_first) */
/* clang-format off */
#define THREES(X)                                                                                  \
	X(andn, ANDN, false) X(pdep, PDEP, false) X(pext, PEXT, false)                             \
	X(bextr, BEXTR, true) X(bzhi, BZHI, true)                                                  \
	X(sarx, SARX, true) X(shlx, SHLX, true) X(shrx, SHRX, true)
#define TWOS(X) X(blsi, BLSI) X(blsmsk, BLSMSK) X(blsr, BLSR)
#define ADXS(X) X(adcx, ADCX) X(adox, ADOX)
#define X(name, mnemonic, rm_first) THREE(name, 32, rm_first) THREE(name, 64, rm_first)
THREES(X)
#undef X
#define X(name, mnemonic) TWO(name, 32) TWO(name, 64)
TWOS(X)
#undef X
#define X(name, mnemonic) ADX(name, 32) ADX(name, 64)
ADXS(X)
#undef X
/* clang-format on */

bool bind_bmi_three(const struct decoding *d, struct insn *i)
{
	bool wide = d->op[0].size == 64, rm_first;

	switch (d->zi.mnemonic) {
#define X(name, mnemonic, first)                                                                   \
	case ZYDIS_MNEMONIC_##mnemonic:                                                            \
		i->fn = wide ? name##_three64 : name##_three32;                                    \
		rm_first = first;                                                                  \
		break;
		THREES(X)
#undef X
	default: return false;
	}
	const ZydisDecodedOperand *rm = &d->op[rm_first ? 1 : 2];
	const ZydisDecodedOperand *other = &d->op[rm_first ? 2 : 1];

	i->osz = wide ? 8 : 4;
	i->a = bind_gpr(d->op[0].reg.value);
	i->c = bind_gpr(other->reg.value);
	if (form_is_reg(rm))
		i->b = bind_gpr(rm->reg.value);
	return true;
}

#define RORX(bits)                                                                                 \
	static enum step rorx_two##bits(struct interp *c, const struct insn *i)                    \
	{                                                                                          \
		uint64_t rm;                                                                       \
		uint##bits##_t x;                                                                  \
		if (!source(c, i, &rm))                                                            \
			return STEP_FAULT;                                                         \
		x = (uint##bits##_t)rm;                                                            \
		x = x >> (i->c & (bits - 1)) | x << (-i->c & (bits - 1));                          \
		reg_set##bits(c, i->a, x);                                                         \
		return STEP_NEXT;                                                                  \
	}
RORX(32)
RORX(64)

bool bind_bmi_two(const struct decoding *d, struct insn *i)
{
	bool wide = d->op[0].size == 64;

	form_bind2(d, i);
	switch (d->zi.mnemonic) {
#define X(name, mnemonic)                                                                          \
	case ZYDIS_MNEMONIC_##mnemonic: i->fn = wide ? name##_two64 : name##_two32; return true;
		TWOS(X)
#undef X
	case ZYDIS_MNEMONIC_RORX:
		i->c = (uint8_t)d->op[2].imm.value.u;
		i->fn = wide ? rorx_two64 : rorx_two32;
		return true;
	default: return false;
	}
}

bool bind_adx(const struct decoding *d, struct insn *i)
{
	bool wide = d->op[0].size == 64;

	form_bind2(d, i);
	switch (d->zi.mnemonic) {
#define X(name, mnemonic)                                                                          \
	case ZYDIS_MNEMONIC_##mnemonic: i->fn = wide ? name##_adx64 : name##_adx32; return true;
		ADXS(X)
#undef X
	default: return false;
	}
}
