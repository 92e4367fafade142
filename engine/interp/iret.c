/*
 * iret.c - IRET in all modes: the way back from an event handler.
 *
 * What is popped depends on what is found: the flags decide between v86 and the rest, the
 * RPL of CS decides whether a stack follows (in 64-bit mode it always does), NT turns the
 * whole instruction into a task switch. NMIs are unblocked even when IRET faults.
 *
 * Spec: SDM vol. 2 IRET; vol. 3 6.7.1, 20.2.5. Tested by test/unit/exception.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

/* Flags that IRET of `osz` bytes at `cpl` replaces. */
static uint64_t iret_flags(const struct interp *c, unsigned osz, unsigned cpl)
{
	uint64_t mask = FLAG_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (osz > 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (cpl <= ((c->s.rflags & FLAG_IOPL) >> 12))
		mask |= FLAG_IF;
	if (cpl == 0)
		mask |= FLAG_IOPL;
	if (cpl == 0 && osz > 2)
		mask |= FLAG_VIF | FLAG_VIP;
	return mask;
}

static void load_flags(struct interp *c, uint64_t flags, uint64_t mask)
{
	uint64_t now = (interp_rflags(c) & ~mask) | (flags & mask) | FLAG_FIXED;

	if (mask & FLAG_RF)
		c->resuming = false; /* a RF loaded here covers the next instruction */
	c->s.rflags = now;
	interp_set_arith(c, now);
}

static enum step finish(struct interp *c, const struct x86_seg *cs, uint64_t rip)
{
	c->s.seg[CS] = *cs;
	c->r[R_RIP] = rip;
	interp_mode_changed(c);
	return STEP_JUMP;
}

static enum step iret_real(struct interp *c, const struct insn *i, struct stack *st)
{
	uint64_t rip, selector, flags;
	uint64_t mask;
	struct x86_seg cs = c->s.seg[CS];

	if (!stack_pop(c, st, i->osz, &rip) || !stack_pop(c, st, i->osz, &selector) ||
	    !stack_pop(c, st, i->osz, &flags))
		return STEP_FAULT;
	if (rip > cs.limit)
		return raise_gp(c, 0);
	mask = iret_flags(c, i->osz, 0) & ~(uint64_t)(FLAG_VIF | FLAG_VIP);
	if (x86_v86(&c->s)) {
		mask &= ~(uint64_t)FLAG_IOPL;
		segment_load_v86(&cs, (uint16_t)selector);
	} else {
		segment_load_real(&cs, (uint16_t)selector);
	}
	stack_commit(c, st);
	load_flags(c, flags, mask);
	return finish(c, &cs, rip);
}

static enum step iret_task(struct interp *c, const struct insn *i)
{
	struct delivery e = { .rip = rip_after(c, i),
			      .rflags = interp_rflags(c) & ~(uint64_t)FLAG_RF };
	struct descriptor tss;
	uint16_t link;

	if (!mem_read_system(c, linear_of(c, c->s.tr.base), &link, sizeof(link)) ||
	    !task_find(c, link, VEC_TS, 0, true, &tss))
		return STEP_FAULT;
	return outcome_step(c, task_switch(c, &tss, TASK_IRET, &e));
}

/* ESP SS ES DS FS GS follow. */
static enum step iret_to_v86(struct interp *c, struct stack *st, uint64_t rip, uint16_t cs_selector,
			     uint64_t flags)
{
	static const enum seg order[] = { SS, ES, DS, FS, GS };
	uint64_t sp, selector[5];
	struct x86_seg cs;

	if (!stack_pop(c, st, 4, &sp))
		return STEP_FAULT;
	for (unsigned n = 0; n < 5; n++) {
		if (!stack_pop(c, st, 4, &selector[n]))
			return STEP_FAULT;
	}
	if (rip > 0xffff)
		return raise_gp(c, 0);
	for (unsigned n = 0; n < 5; n++)
		segment_load_v86(&c->s.seg[order[n]], (uint16_t)selector[n]);
	segment_load_v86(&cs, cs_selector);
	c->r[RSP] = sp;
	load_flags(c, flags, 0x3f7fd5);
	return finish(c, &cs, rip);
}

/* SS popped by IRET; *ss is what to load. */
static bool iret_stack(struct interp *c, uint16_t selector, const struct x86_seg *cs,
		       struct x86_seg *ss)
{
	unsigned cpl = cs->selector & 3u;
	struct descriptor d;

	if (is_null(selector)) {
		if (x86_long_mode(&c->s) && (cs->attr & SEG_L) && cpl != 3 &&
		    (selector & 3u) == cpl) {
			*ss = stack_null_segment(cpl);
			return true;
		}
		raise_gp(c, 0);
		return false;
	}
	if (!stack_read_segment(c, selector, cpl, VEC_GP, 0, &d) || !descriptor_set_accessed(c, &d))
		return false;
	*ss = d.seg;
	return true;
}

/* The new stack pointer, at the width of the stack it points into. */
static void load_sp(struct interp *c, const struct x86_seg *cs, const struct x86_seg *ss,
		    uint64_t sp)
{
	struct stack st = stack_new(ss, sp, 0, 0);

	if (x86_long_mode(&c->s) && (cs->attr & SEG_L))
		st.mask = ~UINT64_C(0);
	stack_commit(c, &st);
}

static enum step iret_protected(struct interp *c, const struct insn *i, struct stack *st)
{
	uint64_t rip, selector, flags, sp, ss_selector;
	unsigned old = c->cpl, cpl;
	struct descriptor cs;
	struct x86_seg ss;
	bool with_stack;
	struct stack above = *st;

	/* CPUs read the flags first. */
	stack_skip(&above, 2 * i->osz);
	if (!stack_pop(c, &above, i->osz, &flags) || !stack_pop(c, st, i->osz, &rip) ||
	    !stack_pop(c, st, i->osz, &selector))
		return STEP_FAULT;
	stack_skip(st, i->osz);
	if (i->osz == 4 && (flags & FLAG_VM) && old == 0 && !x86_long_mode(&c->s))
		return iret_to_v86(c, st, rip, (uint16_t)selector, flags);
	if (!code_read_return(c, (uint16_t)selector, &cs))
		return STEP_FAULT;
	cpl = selector & 3;
	with_stack = cpl > old || c->code_bits == 64;
	if (with_stack &&
	    (!stack_pop(c, st, i->osz, &sp) || !stack_pop(c, st, i->osz, &ss_selector) ||
	     !iret_stack(c, (uint16_t)ss_selector, &cs.seg, &ss)))
		return STEP_FAULT;
	if (!code_check_target(c, &cs.seg, rip, 0) || !descriptor_set_accessed(c, &cs))
		return STEP_FAULT;

	if (with_stack) {
		c->s.seg[SS] = ss;
		load_sp(c, &cs.seg, &ss, sp);
	} else {
		stack_commit(c, st);
	}
	load_flags(c, flags, iret_flags(c, i->osz, old));
	if (cpl > old)
		segments_drop_inner(c, cpl);
	return finish(c, &cs.seg, rip);
}

static enum step iret_found(struct interp *c, const struct insn *i, const struct iret_frame *f)
{
	unsigned cpl = f->cs.selector & 3u;

	c->s.seg[SS] = f->ss;
	c->r[RSP] = f->sp;
	load_flags(c, f->rflags, iret_flags(c, i->osz, 0));
	if (cpl > 0)
		segments_drop_inner(c, cpl);
	return finish(c, &f->cs, f->rip);
}

enum step iret(struct interp *c, const struct insn *i)
{
	struct iret_frame found;
	struct stack st;

	c->s.nmi_blocked = 0;
	if (LIKELY(iret_quick(c, i, &found)))
		return iret_found(c, i, &found);
	st = stack_current(c);
	if (x86_real_mode(&c->s))
		return iret_real(c, i, &st);
	if (x86_v86(&c->s)) {
		if ((c->s.rflags & FLAG_IOPL) != FLAG_IOPL)
			return raise_gp(c, 0);
		return iret_real(c, i, &st);
	}
	if (c->s.rflags & FLAG_NT)
		return x86_long_mode(&c->s) ? raise_gp(c, 0) : iret_task(c, i);
	return iret_protected(c, i, &st);
}
