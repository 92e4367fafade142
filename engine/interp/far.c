/*
 * far.c - far JMP, CALL and RET: to code segments, through call gates, to tasks.
 *
 * A transfer to an inner ring goes through a call gate onto the stack that the TSS
 * names; a far RET goes the way back. Frames are built and checked before CS, SS and
 * the registers change.
 *
 * Not modelled: shadow stacks and indirect branch tracking, which the CPU model lacks.
 *
 * Spec: SDM vol. 2 JMP, CALL, RET; vol. 3 5.8. Tested by test/unit/far.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

bool far_pointer(struct interp *c, const struct insn *i, uint16_t *selector, uint64_t *offset)
{
	uint64_t ea = insn_ea(c, i);

	*offset = 0;
	return mem_read_slow(c, i->seg, ea, offset, i->osz) &&
	       mem_read_slow(c, i->seg, (ea + i->osz) & asz_mask(i->asz), selector, 2);
}

/* The operand: ptr16:16, ptr16:32 in imm (selector at bit 32), or m16:16, m16:32, m16:64. */
static bool far_target(struct interp *c, const struct insn *i, uint16_t *selector, uint64_t *offset)
{
	if (!(i->flags & INSN_MEM)) {
		*offset = i->imm & 0xffffffff;
		*selector = (uint16_t)(i->imm >> 32);
		return true;
	}
	return far_pointer(c, i, selector, offset);
}

static enum step enter_code(struct interp *c, const struct x86_seg *cs, unsigned cpl, uint64_t rip)
{
	c->s.seg[CS] = *cs;
	c->s.seg[CS].selector = (uint16_t)((cs->selector & ~3u) | cpl);
	c->r[R_RIP] = rip;
	interp_mode_changed(c);
	return STEP_JUMP;
}

/* Real mode and v86: a selector is a paragraph number. */
static enum step enter_paragraph(struct interp *c, uint16_t selector, uint64_t offset)
{
	if (x86_v86(&c->s))
		segment_load_v86(&c->s.seg[CS], selector);
	else
		segment_load_real(&c->s.seg[CS], selector);
	c->r[R_RIP] = offset;
	interp_mode_changed(c);
	return STEP_JUMP;
}

static bool bad_code_mode(const struct interp *c, const struct x86_seg *cs)
{
	return x86_long_mode(&c->s) && (cs->attr & SEG_L) && (cs->attr & SEG_DB);
}

/* A direct transfer to a code segment keeps the CPL. */
static bool check_direct(struct interp *c, uint16_t selector, struct descriptor *d, uint64_t rip)
{
	unsigned dpl = SEG_DPL(d->seg.attr);
	bool allowed =
		is_conforming(&d->seg) ? dpl <= c->cpl : dpl == c->cpl && (selector & 3u) <= c->cpl;

	if (!allowed || bad_code_mode(c, &d->seg)) {
		raise_gp(c, selector_error(selector, 0));
		return false;
	}
	if (!(d->seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(selector, 0));
		return false;
	}
	return code_check_target(c, &d->seg, rip, 0) && descriptor_set_accessed(c, d);
}

/* Gate or TSS: DPL against CPL and RPL, present. */
static bool check_gate(struct interp *c, uint16_t selector, const struct descriptor *d)
{
	unsigned dpl = SEG_DPL(d->seg.attr);

	if (dpl < c->cpl || dpl < (selector & 3u)) {
		raise_gp(c, selector_error(selector, 0));
		return false;
	}
	if (!(d->seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(selector, 0));
		return false;
	}
	return true;
}

struct call_gate {
	uint64_t offset;
	uint16_t selector;
	uint8_t width; /* bytes pushed at a time */
	uint8_t params;
	struct descriptor cs;
};

/* Reads the gate `d` and the code segment behind it. `call`: an inner ring is allowed. */
static bool gate_target(struct interp *c, struct descriptor *d, bool call, struct call_gate *g)
{
	bool lm = x86_long_mode(&c->s);
	uint64_t upper;
	unsigned dpl;

	g->offset = (d->raw & 0xffff) | ((d->raw >> 32) & 0xffff0000);
	g->selector = (uint16_t)(d->raw >> 16);
	g->params = (d->raw >> 32) & 31;
	g->width = SEG_TYPE(d->seg.attr) == TYPE_CALL16 ? 2 : 4;
	if (g->width == 2)
		g->offset &= 0xffff;
	if (lm) {
		if (!descriptor_upper(c, d, VEC_GP, 0, &upper))
			return false;
		g->offset |= upper << 32;
		g->width = 8;
		g->params = 0;
	}
	if (is_null(g->selector)) {
		raise_gp(c, 0);
		return false;
	}
	if (!descriptor_read(c, g->selector, VEC_GP, 0, &g->cs))
		return false;
	dpl = SEG_DPL(g->cs.seg.attr);
	if (!is_code(&g->cs.seg) || dpl > c->cpl ||
	    (!call && !is_conforming(&g->cs.seg) && dpl != c->cpl) ||
	    (lm && (g->cs.seg.attr & (SEG_L | SEG_DB)) != SEG_L)) {
		raise_gp(c, selector_error(g->selector, 0));
		return false;
	}
	if (!(g->cs.seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(g->selector, 0));
		return false;
	}
	return code_check_target(c, &g->cs.seg, g->offset, 0) && descriptor_set_accessed(c, &g->cs);
}

static enum step to_task(struct interp *c, const struct insn *i, uint16_t selector, bool call)
{
	struct delivery e = { .rip = rip_after(c, i),
			      .rflags = interp_rflags(c) & ~(uint64_t)FLAG_RF };
	struct descriptor tss;

	if (!task_find(c, selector, VEC_GP, 0, false, &tss))
		return STEP_FAULT;
	return outcome_step(c, task_switch(c, &tss, call ? TASK_CALL : TASK_JMP, &e));
}

/* ---- Call through a gate ---- */

static bool push_return(struct interp *c, const struct insn *i, struct stack *st, unsigned width)
{
	return stack_push(c, st, width, c->s.seg[CS].selector) &&
	       stack_push(c, st, width, rip_after(c, i));
}

static bool copy_params(struct interp *c, struct stack *to, const struct call_gate *g)
{
	struct stack from = stack_current(c);
	uint64_t value[31];

	for (unsigned n = 0; n < g->params; n++) {
		if (!stack_pop(c, &from, g->width, &value[n]))
			return false;
	}
	for (unsigned n = g->params; n-- > 0;) {
		if (!stack_push(c, to, g->width, value[n]))
			return false;
	}
	return true;
}

/* The inner ring's stack. *ss: what SS becomes. */
static bool inner_stack(struct interp *c, unsigned cpl, struct stack *st, struct x86_seg *ss)
{
	struct descriptor d;
	uint16_t selector;
	uint64_t sp;

	if (x86_long_mode(&c->s)) {
		if (!stack_from_tss64(c, cpl * 8 + 4, 0, &sp))
			return false;
		*ss = stack_null_segment(cpl);
		*st = stack_flat(c, sp, cpl, 0);
		return true;
	}
	if (!stack_from_tss(c, cpl, 0, &selector, &sp) ||
	    !stack_read_segment(c, selector, cpl, VEC_TS, 0, &d) || !descriptor_set_accessed(c, &d))
		return false;
	*ss = d.seg;
	*st = stack_new(ss, sp, cpl, selector_error(selector, 0));
	return true;
}

static enum step call_inner(struct interp *c, const struct insn *i, const struct call_gate *g)
{
	unsigned cpl = SEG_DPL(g->cs.seg.attr);
	struct x86_seg ss;
	struct stack st;

	if (!inner_stack(c, cpl, &st, &ss) ||
	    !stack_push(c, &st, g->width, c->s.seg[SS].selector) ||
	    !stack_push(c, &st, g->width, c->r[RSP]) || !copy_params(c, &st, g) ||
	    !push_return(c, i, &st, g->width))
		return STEP_FAULT;
	c->s.seg[SS] = ss;
	c->r[RSP] = st.sp;
	return enter_code(c, &g->cs.seg, cpl, g->offset);
}

static enum step through_gate(struct interp *c, const struct insn *i, struct descriptor *d,
			      bool call)
{
	struct call_gate g;
	struct stack st;

	if (!gate_target(c, d, call, &g))
		return STEP_FAULT;
	if (!call)
		return enter_code(c, &g.cs.seg, c->cpl, g.offset);
	if (!is_conforming(&g.cs.seg) && SEG_DPL(g.cs.seg.attr) < c->cpl)
		return call_inner(c, i, &g);
	st = g.width == 8 ? stack_flat(c, c->r[RSP], c->cpl, 0) : stack_current(c);
	if (!push_return(c, i, &st, g.width))
		return STEP_FAULT;
	stack_commit(c, &st);
	return enter_code(c, &g.cs.seg, c->cpl, g.offset);
}

/* ---- JMP and CALL ---- */

static enum step far_system(struct interp *c, const struct insn *i, uint16_t selector,
			    struct descriptor *d, bool call)
{
	bool lm = x86_long_mode(&c->s);
	unsigned type = SEG_TYPE(d->seg.attr);
	bool gate = type == TYPE_CALL32 || (!lm && type == TYPE_CALL16);
	bool task = !lm && (type == TYPE_TSS16 || type == TYPE_TSS32);
	bool task_gate = !lm && type == TYPE_TASK_GATE;

	if (!gate && !task && !task_gate)
		return raise_gp(c, selector_error(selector, 0));
	if (!check_gate(c, selector, d))
		return STEP_FAULT;
	if (gate)
		return through_gate(c, i, d, call);
	return to_task(c, i, task ? selector : (uint16_t)(d->raw >> 16), call);
}

static enum step far_transfer(struct interp *c, const struct insn *i, bool call)
{
	struct stack st = stack_current(c);
	struct descriptor d;
	uint16_t selector;
	uint64_t rip;

	if (!far_target(c, i, &selector, &rip))
		return STEP_FAULT;
	if (in_real_or_v86(c)) {
		if (rip > c->s.seg[CS].limit)
			return raise_gp(c, 0);
		if (call && !push_return(c, i, &st, i->osz))
			return STEP_FAULT;
		if (call)
			stack_commit(c, &st);
		return enter_paragraph(c, selector, rip);
	}
	if (is_null(selector))
		return raise_gp(c, 0);
	if (!descriptor_read(c, selector, VEC_GP, 0, &d))
		return STEP_FAULT;
	if (is_system(&d.seg))
		return far_system(c, i, selector, &d, call);
	if (!is_code(&d.seg))
		return raise_gp(c, selector_error(selector, 0));
	/* Into compatibility mode: the return address goes on the stack as the target sees it, an
	 * SS with base and limit, as on CPUs. */
	if (!(d.seg.attr & SEG_L)) {
		rip &= UINT64_C(0xffffffff);
		st = stack_new(&c->s.seg[SS], c->r[RSP], c->cpl, 0);
	}
	if (!check_direct(c, selector, &d, rip))
		return STEP_FAULT;
	if (call && !push_return(c, i, &st, i->osz))
		return STEP_FAULT;
	if (call)
		stack_commit(c, &st);
	return enter_code(c, &d.seg, c->cpl, rip);
}

enum step far_jmp(struct interp *c, const struct insn *i)
{
	return far_transfer(c, i, false);
}

enum step far_call(struct interp *c, const struct insn *i)
{
	return far_transfer(c, i, true);
}

/* ---- RET ---- */

static enum step ret_outer(struct interp *c, const struct insn *i, struct stack *st,
			   struct descriptor *cs, uint64_t rip)
{
	unsigned cpl = cs->seg.selector & 3u;
	struct x86_seg ss_seg = stack_null_segment(cpl);
	uint64_t sp, selector;
	struct descriptor ss;
	struct stack outer;

	stack_skip(st, i->imm);
	if (!stack_pop(c, st, i->osz, &sp) || !stack_pop(c, st, i->osz, &selector))
		return STEP_FAULT;
	if (!is_null((uint16_t)selector)) {
		if (!stack_read_segment(c, (uint16_t)selector, cpl, VEC_GP, 0, &ss) ||
		    !descriptor_set_accessed(c, &ss))
			return STEP_FAULT;
		ss_seg = ss.seg;
	} else if (!x86_long_mode(&c->s) || !(cs->seg.attr & SEG_L) || cpl == 3) {
		return raise_gp(c, 0);
	} else {
		ss_seg.selector = (uint16_t)selector;
	}
	if (!code_check_target(c, &cs->seg, rip, 0) || !descriptor_set_accessed(c, cs))
		return STEP_FAULT;
	outer = stack_new(&ss_seg, sp, cpl, 0);
	if (x86_long_mode(&c->s) && (cs->seg.attr & SEG_L))
		outer.mask = ~UINT64_C(0);
	stack_skip(&outer, i->imm);
	c->s.seg[SS] = ss_seg;
	stack_commit(c, &outer);
	segments_drop_inner(c, cpl);
	return enter_code(c, &cs->seg, cpl, rip);
}

enum step far_ret(struct interp *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	struct descriptor cs;
	struct stack above = st;
	uint64_t rip, selector;

	/* CPUs read the selector first, and no more than that. */
	stack_skip(&above, i->osz);
	if (!stack_pop(c, &above, 2, &selector) || !stack_pop(c, &st, i->osz, &rip))
		return STEP_FAULT;
	stack_skip(&st, i->osz);
	if (in_real_or_v86(c)) {
		if (rip > c->s.seg[CS].limit)
			return raise_gp(c, 0);
		stack_skip(&st, i->imm);
		stack_commit(c, &st);
		return enter_paragraph(c, (uint16_t)selector, rip);
	}
	if (!code_read_return(c, (uint16_t)selector, &cs))
		return STEP_FAULT;
	if ((selector & 3) > c->cpl)
		return ret_outer(c, i, &st, &cs, rip);
	if (!code_check_target(c, &cs.seg, rip, 0) || !descriptor_set_accessed(c, &cs))
		return STEP_FAULT;
	stack_skip(&st, i->imm);
	stack_commit(c, &st);
	return enter_code(c, &cs.seg, c->cpl, rip);
}
