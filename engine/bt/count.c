/*
 * count.c - LOOP, LOOPE, LOOPNE, JECXZ and JRCXZ.
 *
 * The idea: they neither read nor change flags, LOOPE's and LOOPNE's ZF apart. While the guest's
 * are in RFLAGS the host's JRCXZ looks at the count, which leads only as far as a byte says, so it
 * leads around a jump; else a TEST does.
 *
 * Spec: SDM vol. 2 LOOP, Jcc. Tested by test/unit/bt.c (counts, modes), test/unit/bt_random32.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

/* JRCXZ of the host to what code_near() fills in. */
static uint8_t *if_zero(struct code *e)
{
	CODE(e, 0xe3, 0);
	return e->at;
}

static void code_near(const struct code *e, uint8_t *from)
{
	from[-1] = (uint8_t)(e->at - from);
}

/* By the count, which is in RCX, without looking at RFLAGS, or changing them. `cc`: and by that. */
static void by_count(struct translation *x, bool zero, uint8_t cc)
{
	struct code *e = &x->e;
	uint8_t *is_zero = if_zero(e), *other = is_zero;

	if (zero) {
		CODE(e, 0xeb, 0); /* jmp */
		other = e->at;
		code_near(e, is_zero);
	}
	bt_lead(x, cc);
	code_near(e, other);
}

/* LOOP, LOOPE, LOOPNE, JECXZ and JRCXZ: flags stay where they are. A LOOP to where no address can
 * be must not have counted: in 64-bit code none that leaves its page is done here. */
bool bt_count(struct translation *x)
{
	ZydisMnemonic m = x->zi->mnemonic;
	bool zero = m == ZYDIS_MNEMONIC_JECXZ || m == ZYDIS_MNEMONIC_JRCXZ;
	bool tests = m == ZYDIS_MNEMONIC_LOOPE || m == ZYDIS_MNEMONIC_LOOPNE;
	bool wide = x->i->asz == 8;
	unsigned count = bt_home(RCX);

	if (x->i->asz < 4 ||
	    (!zero && x->wide && !bt_in_page(x, x->b->offset + (int32_t)x->i->imm)))
		return false;
	if (tests || x->flags == FLAGS_AGAIN)
		bt_flags_need(x);
	if (!zero)
		code_lea(&x->e, wide, count, count, NO_REGISTER, 0, -1);
	if (x->flags != FLAGS_MEMORY) {
		code_move_of(&x->e, wide, RCX, count);
		by_count(x, zero, !tests ? CC_ALWAYS : m == ZYDIS_MNEMONIC_LOOPE ? CC_E : CC_NE);
		return true;
	}
	CODE(&x->e, code_rex(wide, count, 0, count), 0x85, /* test */
	     (uint8_t)(0xc0 | (count & 7) << 3 | (count & 7)));
	bt_lead(x, zero ? CC_E : CC_NE);
	return true;
}
