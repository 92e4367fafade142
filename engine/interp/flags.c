/*
 * flags.c - the instructions on flags that privilege guards: CLI, STI, CLAC, STAC, PUSHF, POPF.
 *
 * What may not be changed is mostly not a fault but simply kept. STI holds interrupts off for
 * one more instruction, so that STI; HLT and STI; RET are safe.
 *
 * Not modelled: VME and PVI, which the CPU model lacks.
 *
 * Spec: SDM vol. 2; vol. 3 2.3, 6.8. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

static unsigned iopl(const struct interp *c)
{
	return (c->s.rflags & FLAG_IOPL) >> 12;
}

enum step cli(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl > iopl(c))
		return raise_gp(c, 0);
	c->s.rflags &= ~(uint64_t)FLAG_IF;
	return STEP_NEXT;
}

enum step sti(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl > iopl(c))
		return raise_gp(c, 0);
	if (c->s.rflags & FLAG_IF)
		return STEP_NEXT;
	c->s.rflags |= FLAG_IF;
	c->s.shadow |= SHADOW_STI;
	return STEP_LEAVE;
}

/* At CPL 0 EFLAGS.AC means nothing but SMAP. */
static void set_ac(struct interp *c, bool ac)
{
	c->s.rflags = ac ? c->s.rflags | FLAG_AC : c->s.rflags & ~(uint64_t)FLAG_AC;
	if (c->s.cr4 & CR4_SMAP)
		tlb_set_context(&c->tlb, ac ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR);
}

enum step clac(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl != 0)
		return raise_ud(c);
	set_ac(c, false);
	return STEP_NEXT;
}

enum step stac(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl != 0)
		return raise_ud(c);
	set_ac(c, true);
	return STEP_NEXT;
}

enum step pushf(struct interp *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	uint64_t flags = interp_rflags(c) & ~(uint64_t)(FLAG_RF | FLAG_VM);

	if (x86_v86(&c->s) && iopl(c) < 3)
		return raise_gp(c, 0);
	if (!stack_push(c, &st, i->osz, flags))
		return STEP_FAULT;
	stack_commit(c, &st);
	return STEP_NEXT;
}

/* What POPF of `osz` bytes may change here. RF is always cleared. */
static uint64_t popf_mask(const struct interp *c, unsigned osz)
{
	uint64_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (osz > 2)
		mask |= FLAG_AC | FLAG_ID;
	if (c->cpl == 0)
		mask |= FLAG_IOPL;
	if (c->cpl <= iopl(c))
		mask |= FLAG_IF;
	return mask;
}

enum step popf(struct interp *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	uint64_t flags, mask = popf_mask(c, i->osz), before = c->s.rflags;

	if (x86_v86(&c->s) && iopl(c) < 3)
		return raise_gp(c, 0);
	if (!stack_pop(c, &st, i->osz, &flags))
		return STEP_FAULT;
	stack_commit(c, &st);
	interp_set_arith(c, flags);
	c->s.rflags = (before & ~(mask | FLAG_RF)) | (flags & mask) | FLAG_FIXED;
	if ((c->s.rflags ^ before) & FLAG_AC)
		interp_mode_changed(c);
	return STEP_LEAVE;
}
