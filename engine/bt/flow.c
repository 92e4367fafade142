/*
 * flow.c - which instruction's flags does anybody look at?
 *
 * The idea: most instructions write flags and the next one writes them again. Backwards through
 * the block, keep the set of flags that may still be read; an instruction whose flags are not in
 * it need not keep them across the memory checks, which destroy RFLAGS.
 *
 * In a counted machine everything is exact: whatever can fault, and so show the flags
 * in a frame on the guest's stack, counts as a reader. In a real-time machine it does
 * not: flags that the program overwrites before it reads them may be out of date in the frame of a
 * page fault or an interrupt. At the end of a block, at calls, returns and every instruction that
 * is left to its handler all flags count as read, in both.
 *
 * Spec: SDM vol. 1 app. A. Tested by test/unit/bt.c, test/unit/bt_frames.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

static bool is_conditional(const struct translation *x, const ZydisDecodedOperand *op)
{
	if (!(bt_rule(x->zi->mnemonic) & RULE_SHIFT))
		return false;
	/* A count of 0 leaves them alone. */
	for (unsigned n = 1; n < x->zi->operand_count; n++)
		if (op[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return !(op[n].imm.value.u & (op[0].size == 64 ? 63 : 31));
	return true;
}

static bool may_fault(const struct translation *x)
{
	if (bt_rule(x->zi->mnemonic) & RULE_OWN) /* CLI without the right to it */
		return true;
	for (unsigned n = 0; n < x->zi->operand_count; n++) {
		ZydisRegisterClass k = ZydisRegisterGetClass(x->op[n].reg.value);

		if (x->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return true;
		/* A segment register, say: the handler's. */
		if (x->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (k == ZYDIS_REGCLASS_SEGMENT || k == ZYDIS_REGCLASS_CONTROL ||
		     k == ZYDIS_REGCLASS_DEBUG))
			return true;
	}
	return false;
}

static bool is_native(const struct translation *x)
{
	if (x->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || bt_pauses(x, x->zi->mnemonic))
		return false;
	/* A repeat may leave flags alone, and is its handler's. */
	if (x->zi->meta.category == ZYDIS_CATEGORY_STRINGOP &&
	    x->i->flags & (INSN_REP | INSN_REPNE))
		return false;
	return bt_rule(x->zi->mnemonic) || (x->t->vectors && bt_is_vector(x)) || bt_is_x87(x) ||
	       bt_is_mmx(x);
}

/* live: flags read after the instruction at hand, number n. Returns those read before it. */
static uint32_t before(struct translation *x, unsigned n, uint32_t live)
{
	const ZydisAccessedFlags *f = x->zi->cpu_flags;
	uint32_t may, in;
	bool conditional;

	x->wanted[n] = live != 0;
	x->need[n] = false;
	if (bt_followed(x, n))
		return live;
	if (!x->known[n] || !is_native(x))
		return FLAG_ARITH;
	if (!f)
		return may_fault(x) && x->exact ? FLAG_ARITH : live;
	may = (f->modified | f->set_0 | f->set_1 | f->undefined) & FLAG_ARITH;
	if (FLAG_ARITH & ~may) /* BT leaves ZF alone, by the manual, and in fact all but CF */
		may &= ~f->undefined;
	conditional = is_conditional(x, x->op);
	in = (f->tested & FLAG_ARITH) | (conditional && live & may ? FLAG_ARITH : 0);
	if (may && live & ~may)
		in |= live & ~may;
	if (x->exact && bt_rule(x->zi->mnemonic) & RULE_IN)
		in = FLAG_ARITH;
	if (bt_is_x87_compare(x)) /* which of them it clears differs from CPU to CPU */
		in = FLAG_ARITH;
	x->need[n] = in != 0;
	live = (conditional ? live : live & ~may) | in;
	return may_fault(x) && x->exact ? FLAG_ARITH : live;
}

void bt_flow(struct translation *x)
{
	uint32_t live = FLAG_ARITH;

	for (unsigned n = x->b->count; n-- > 0;) {
		bt_take(x, n);
		if (x->exact && x->known[n] && bt_ends_segment(x)) /* the budget may end here */
			live = FLAG_ARITH;
		live = before(x, n, live);
	}
	x->flags_in = live != 0;
}
