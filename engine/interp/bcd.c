/*
 * bcd.c - AAA AAS AAM AAD DAA DAS.
 *
 * The idea: 64-bit code has no such instructions, so here alone flags are made in C, those
 * that the manual leaves undefined as Intel's processors have them: OF 0, the
 * others from the result; after AAD all of the addition's.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* SF, ZF and PF of `al` with the given others. */
static void set_result(struct interp *c, uint8_t al, bool af, bool cf)
{
	uint64_t f;

	alu_test8(&f, al, al);
	c->arith = (f & (FLAG_SF | FLAG_ZF | FLAG_PF)) | (af ? FLAG_AF : 0) | (cf ? FLAG_CF : 0);
}

/* AAA: ax + 0x106; AAS: ax - 0x106, when the low digit needs it; then the digit alone in AL. */
static enum step ascii_adjust(struct interp *c, const struct insn *i)
{
	uint16_t ax = reg_get16(c, RAX * 8);
	bool adjust = (ax & 0xf) > 9 || (c->arith & FLAG_AF);

	if (adjust)
		ax = (uint16_t)(i->op ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	reg_set16(c, RAX * 8, ax);
	set_result(c, (uint8_t)ax, adjust, adjust);
	return STEP_NEXT;
}

static enum step daa(struct interp *c, const struct insn *i)
{
	uint8_t old = reg_get8(c, RAX * 8), al = old;
	bool low = (old & 0xf) > 9 || (c->arith & FLAG_AF);
	bool high = old > 0x99 || (c->arith & FLAG_CF);

	(void)i;
	al = (uint8_t)(al + (low ? 6 : 0) + (high ? 0x60 : 0));
	reg_set8(c, RAX * 8, al);
	set_result(c, al, low, high);
	return STEP_NEXT;
}

static enum step das(struct interp *c, const struct insn *i)
{
	uint8_t old = reg_get8(c, RAX * 8), al = old;
	bool low = (old & 0xf) > 9 || (c->arith & FLAG_AF);
	bool high = old > 0x99 || (c->arith & FLAG_CF);

	(void)i;
	al = (uint8_t)(al - (low ? 6 : 0) - (high ? 0x60 : 0));
	reg_set8(c, RAX * 8, al);
	set_result(c, al, low, high || (low && old < 6));
	return STEP_NEXT;
}

static enum step aam(struct interp *c, const struct insn *i)
{
	uint8_t al = reg_get8(c, RAX * 8), base = (uint8_t)i->imm;

	if (!base)
		return raise_vector(c, VEC_DE);
	reg_set16(c, RAX * 8, (uint16_t)(al / base << 8 | al % base));
	set_result(c, al % base, false, false);
	return STEP_NEXT;
}

static enum step aad(struct interp *c, const struct insn *i)
{
	uint16_t ax = reg_get16(c, RAX * 8);

	reg_set16(c, RAX * 8,
		  alu_add8(&c->arith, (uint8_t)ax, (uint8_t)((ax >> 8) * (uint8_t)i->imm)));
	return STEP_NEXT;
}

bool bind_bcd(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_AAS:
		i->op = 1;
		i->fn = ascii_adjust;
		return true;
	case ZYDIS_MNEMONIC_AAA: i->fn = ascii_adjust; return true;
	case ZYDIS_MNEMONIC_DAA: i->fn = daa; return true;
	case ZYDIS_MNEMONIC_DAS: i->fn = das; return true;
	case ZYDIS_MNEMONIC_AAM: i->fn = aam; return true;
	default: i->fn = aad; return true;
	}
}
