/*
 * segment_ops.c - loading, storing, pushing and popping segment registers.
 *
 * segment_load() is the one way into DS, ES, FS, GS and SS: in real and v86 mode the
 * selector is a paragraph number, in protected mode it names a descriptor that is checked,
 * marked accessed and cached.
 *
 * Spec: SDM vol. 2 MOV, POP, LDS; vol. 3 3.4.3, 5.6, 5.7. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

/* Null is allowed in data segment registers, and in SS in 64-bit mode below CPL 3. */
static bool load_null(struct interp *c, enum seg seg, uint16_t selector)
{
	if (seg == SS) {
		if (c->code_bits != 64 || c->cpl == 3 || (selector & 3u) != c->cpl) {
			raise_gp(c, 0);
			return false;
		}
		c->s.seg[SS] = stack_null_segment(c->cpl);
		return true;
	}
	segment_load_null(&c->s.seg[seg], selector);
	return true;
}

static bool load_descriptor(struct interp *c, enum seg seg, uint16_t selector)
{
	struct descriptor d;
	int v;

	if (!descriptor_read(c, selector, VEC_GP, 0, &d))
		return false;
	v = seg == SS ? segment_check_stack(&d.seg, selector, c->cpl)
		      : segment_check_data(&d.seg, selector, c->cpl);
	if (v) {
		raise_error(c, (enum vector)v, selector_error(selector, 0));
		return false;
	}
	if (!descriptor_set_accessed(c, &d))
		return false;
	c->s.seg[seg] = d.seg;
	return true;
}

bool segment_load(struct interp *c, enum seg seg, uint16_t selector)
{
	if (x86_real_mode(&c->s))
		segment_load_real(&c->s.seg[seg], selector);
	else if (x86_v86(&c->s))
		segment_load_v86(&c->s.seg[seg], selector);
	else if (!(is_null(selector) ? load_null(c, seg, selector)
				     : load_descriptor(c, seg, selector)))
		return false;
	if (seg == SS)
		interp_mode_changed(c);
	else
		interp_segment_changed(c, seg);
	return true;
}

/* After SS: interrupts and debug traps wait for the next instruction, which loads SP. Only the
 * first of two such loads does that (SDM vol. 3 6.8.3). */
static enum step loaded(struct interp *c, enum seg seg)
{
	if (seg != SS)
		return STEP_NEXT;
	if (!(c->shadow_before & SHADOW_MOVSS))
		c->s.shadow |= SHADOW_MOVSS;
	return STEP_LEAVE;
}

enum step mov_to_seg(struct interp *c, const struct insn *i)
{
	uint16_t selector;

	if (!(i->flags & INSN_MEM))
		selector = (uint16_t)get_reg(c, i->a, 2);
	else if (!mem_load16(c, i->seg, insn_ea(c, i), &selector))
		return STEP_FAULT;
	return segment_load(c, i->op, selector) ? loaded(c, i->op) : STEP_FAULT;
}

enum step mov_from_seg(struct interp *c, const struct insn *i)
{
	uint16_t selector = c->s.seg[i->op].selector;

	if (!(i->flags & INSN_MEM)) {
		set_reg(c, i->a, i->osz, selector);
		return STEP_NEXT;
	}
	return mem_store16(c, i->seg, insn_ea(c, i), selector) ? STEP_NEXT : STEP_FAULT;
}

/* With a 32-bit operand only the low half of the slot is written, as on current processors. */
enum step push_seg(struct interp *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	unsigned write = i->osz == 4 ? 2 : i->osz;

	stack_skip(&st, (uint64_t)0 - (i->osz - write));
	if (!stack_push(c, &st, write, c->s.seg[i->op].selector))
		return STEP_FAULT;
	stack_commit(c, &st);
	return STEP_NEXT;
}

enum step pop_seg(struct interp *c, const struct insn *i)
{
	struct stack st = stack_current(c);
	uint64_t selector;

	if (!stack_pop(c, &st, 2, &selector))
		return STEP_FAULT;
	stack_skip(&st, i->osz - 2u);
	if (i->op == SS) {
		/* The new SS may be of another width: RSP moves by the old one's. */
		uint64_t rsp = c->r[RSP];

		stack_commit(c, &st);
		if (segment_load(c, SS, (uint16_t)selector))
			return loaded(c, SS);
		c->r[RSP] = rsp;
		return STEP_FAULT;
	}
	if (!segment_load(c, i->op, (uint16_t)selector))
		return STEP_FAULT;
	stack_commit(c, &st);
	return STEP_NEXT;
}

/* LDS, LES, LSS, LFS, LGS */
enum step load_far_pointer(struct interp *c, const struct insn *i)
{
	uint64_t offset;
	uint16_t selector;

	if (!far_pointer(c, i, &selector, &offset) || !segment_load(c, i->op, selector))
		return STEP_FAULT;
	set_reg(c, i->a, i->osz, offset);
	return STEP_LEAVE;
}
