/*
 * descriptor_ops.c - descriptor-table registers, and questions about descriptors.
 *
 * LGDT to STR move the table registers; LAR, LSL, VERR, VERW and ARPL ask what a selector
 * would allow, and answer in ZF without ever faulting on what they find.
 *
 * Spec: SDM vol. 2; vol. 3 5.10. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

static bool umip_forbids(const struct interp *c)
{
	return c->s.cr4 & CR4_UMIP && c->cpl > 0;
}

/* ---- GDTR, IDTR ---- */

static enum step load_table(struct interp *c, const struct insn *i, struct x86_table *t)
{
	unsigned base_bytes = c->code_bits == 64 ? 8 : 4;
	uint8_t bytes[10] = { 0 };
	struct x86_table new = { 0, 0 };

	if (c->cpl != 0)
		return raise_gp(c, 0);
	if (!mem_read_slow(c, i->seg, insn_ea(c, i), bytes, 2 + base_bytes))
		return STEP_FAULT;
	__builtin_memcpy(&new.limit, bytes, 2);
	__builtin_memcpy(&new.base, bytes + 2, base_bytes);
	if (c->code_bits != 64 && i->osz == 2)
		new.base &= 0xffffff;
	if (!gva_canonical(new.base))
		return raise_gp(c, 0);
	*t = new;
	return STEP_NEXT;
}

static enum step store_table(struct interp *c, const struct insn *i, const struct x86_table *t)
{
	unsigned base_bytes = c->code_bits == 64 ? 8 : 4;
	uint8_t bytes[10];

	if (umip_forbids(c))
		return raise_gp(c, 0);
	__builtin_memcpy(bytes, &t->limit, 2);
	__builtin_memcpy(bytes + 2, &t->base, 8);
	return mem_write_slow(c, i->seg, insn_ea(c, i), bytes, 2 + base_bytes) ? STEP_NEXT
									       : STEP_FAULT;
}

enum step lgdt(struct interp *c, const struct insn *i)
{
	return load_table(c, i, &c->s.gdtr);
}

enum step lidt(struct interp *c, const struct insn *i)
{
	return load_table(c, i, &c->s.idtr);
}

enum step sgdt(struct interp *c, const struct insn *i)
{
	return store_table(c, i, &c->s.gdtr);
}

enum step sidt(struct interp *c, const struct insn *i)
{
	return store_table(c, i, &c->s.idtr);
}

/* ---- LDTR, TR ---- */

static bool read_selector(struct interp *c, const struct insn *i, uint16_t *selector)
{
	if (i->flags & INSN_MEM)
		return mem_load16(c, i->seg, insn_ea(c, i), selector);
	*selector = (uint16_t)get_reg(c, i->a, 2);
	return true;
}

/* A system descriptor for LLDT or LTR; with its upper half in long mode. */
static bool read_system(struct interp *c, uint16_t selector, struct descriptor *d)
{
	uint64_t upper;

	if (selector & 4) { /* must be in the GDT */
		raise_gp(c, selector_error(selector, 0));
		return false;
	}
	if (!descriptor_read(c, selector, VEC_GP, 0, d))
		return false;
	if (!x86_long_mode(&c->s))
		return true;
	if (!descriptor_upper(c, d, VEC_GP, 0, &upper))
		return false;
	d->seg.base |= upper << 32;
	if (!gva_canonical(d->seg.base)) {
		raise_gp(c, selector_error(selector, 0));
		return false;
	}
	return true;
}

enum step lldt(struct interp *c, const struct insn *i)
{
	struct descriptor d;
	uint16_t selector;

	if (in_real_or_v86(c))
		return raise_ud(c);
	if (c->cpl != 0)
		return raise_gp(c, 0);
	if (!read_selector(c, i, &selector))
		return STEP_FAULT;
	if (is_null(selector)) {
		c->s.ldtr.selector = selector;
		c->s.ldtr.attr |= SEG_UNUSABLE;
		return STEP_NEXT;
	}
	if (!read_system(c, selector, &d))
		return STEP_FAULT;
	if (!is_system(&d.seg) || SEG_TYPE(d.seg.attr) != TYPE_LDT)
		return raise_gp(c, selector_error(selector, 0));
	if (!(d.seg.attr & SEG_P))
		return raise_error(c, VEC_NP, selector_error(selector, 0));
	c->s.ldtr = d.seg;
	return STEP_NEXT;
}

enum step ltr(struct interp *c, const struct insn *i)
{
	struct descriptor d;
	uint16_t selector;
	unsigned type;

	if (in_real_or_v86(c))
		return raise_ud(c);
	if (c->cpl != 0)
		return raise_gp(c, 0);
	if (!read_selector(c, i, &selector))
		return STEP_FAULT;
	if (is_null(selector))
		return raise_gp(c, 0);
	if (!read_system(c, selector, &d))
		return STEP_FAULT;
	type = SEG_TYPE(d.seg.attr);
	if (!is_system(&d.seg) ||
	    !(type == TYPE_TSS32 || (type == TYPE_TSS16 && !x86_long_mode(&c->s))))
		return raise_gp(c, selector_error(selector, 0));
	if (!(d.seg.attr & SEG_P))
		return raise_error(c, VEC_NP, selector_error(selector, 0));
	if (!descriptor_set_busy(c, d.linear, true))
		return STEP_FAULT;
	c->s.tr = d.seg;
	c->s.tr.attr |= TYPE_BUSY;
	return STEP_NEXT;
}

static enum step store_selector(struct interp *c, const struct insn *i, uint16_t selector)
{
	if (in_real_or_v86(c))
		return raise_ud(c);
	if (umip_forbids(c))
		return raise_gp(c, 0);
	if (!(i->flags & INSN_MEM)) {
		set_reg(c, i->a, i->osz, selector);
		return STEP_NEXT;
	}
	return mem_store16(c, i->seg, insn_ea(c, i), selector) ? STEP_NEXT : STEP_FAULT;
}

enum step sldt(struct interp *c, const struct insn *i)
{
	return store_selector(c, i, c->s.ldtr.selector);
}

enum step str(struct interp *c, const struct insn *i)
{
	return store_selector(c, i, c->s.tr.selector);
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

static void set_zf(struct interp *c, bool zf)
{
	c->arith = zf ? c->arith | FLAG_ZF : c->arith & ~(uint64_t)FLAG_ZF;
}

/* May the CPL and RPL see the descriptor at all? Conforming code is for everyone. */
static bool visible(const struct interp *c, uint16_t selector, const struct x86_seg *seg)
{
	unsigned dpl = SEG_DPL(seg->attr);

	return is_conforming(seg) || (dpl >= c->cpl && dpl >= (selector & 3u));
}

static bool answers(const struct interp *c, const struct x86_seg *seg, bool lar)
{
	unsigned type = SEG_TYPE(seg->attr);
	bool lm = x86_long_mode(&c->s);

	if (!is_system(seg))
		return true;
	switch (type) {
	case TYPE_LDT:
	case TYPE_TSS32:
	case TYPE_TSS32_BUSY: return true;
	case TYPE_TSS16:
	case TYPE_TSS16_BUSY: return !lm;
	case TYPE_CALL32: return lar;
	case TYPE_CALL16:
	case TYPE_TASK_GATE: return lar && !lm;
	default: return false;
	}
}

static enum step ask(struct interp *c, const struct insn *i, bool lar)
{
	struct descriptor d;
	uint16_t selector;
	bool found = false;

	if (in_real_or_v86(c))
		return raise_ud(c);
	if (i->flags & INSN_MEM) {
		if (!mem_load16(c, i->seg, insn_ea(c, i), &selector))
			return STEP_FAULT;
	} else {
		selector = (uint16_t)get_reg(c, i->b, 2);
	}
	if (!is_null(selector) && !descriptor_peek(c, selector, &d, &found))
		return STEP_FAULT;
	if (found && !(visible(c, selector, &d.seg) && answers(c, &d.seg, lar)))
		found = false;
	set_zf(c, found);
	if (found)
		set_reg(c, i->a, i->osz, lar ? (d.raw >> 32) & 0xffff00 : d.seg.limit);
	return STEP_NEXT;
}

enum step lar(struct interp *c, const struct insn *i)
{
	return ask(c, i, true);
}

enum step lsl(struct interp *c, const struct insn *i)
{
	return ask(c, i, false);
}

static enum step verify(struct interp *c, const struct insn *i, bool write)
{
	struct descriptor d;
	uint16_t selector;
	bool ok = false;

	if (in_real_or_v86(c))
		return raise_ud(c);
	if (!read_selector(c, i, &selector))
		return STEP_FAULT;
	if (!is_null(selector) && !descriptor_peek(c, selector, &d, &ok))
		return STEP_FAULT;
	if (ok) {
		bool code = is_code(&d.seg), bit = d.seg.attr & SEG_WRITE;

		ok = !is_system(&d.seg) && visible(c, selector, &d.seg) &&
		     (write ? !code && bit : !code || bit);
	}
	set_zf(c, ok);
	return STEP_NEXT;
}

enum step verr(struct interp *c, const struct insn *i)
{
	return verify(c, i, false);
}

enum step verw(struct interp *c, const struct insn *i)
{
	return verify(c, i, true);
}

enum step arpl(struct interp *c, const struct insn *i)
{
	uint16_t selector, rpl = (uint16_t)get_reg(c, i->b, 2) & 3;
	struct rmw m;
	bool raises;

	if (in_real_or_v86(c))
		return raise_ud(c);
	if (!(i->flags & INSN_MEM)) {
		selector = (uint16_t)get_reg(c, i->a, 2);
		raises = (selector & 3) < rpl;
		if (raises)
			set_reg(c, i->a, 2, (selector & ~3u) | rpl);
		set_zf(c, raises);
		return STEP_NEXT;
	}
	if (!mem_load16(c, i->seg, insn_ea(c, i), &selector))
		return STEP_FAULT;
	raises = (selector & 3) < rpl;
	if (raises) {
		void *at = mem_rmw_begin(c, i->seg, insn_ea(c, i), 2, &m);

		selector = (uint16_t)((selector & ~3u) | rpl);
		if (!at)
			return STEP_FAULT;
		guest_store16(at, selector);
		if (!mem_rmw_end(c, &m))
			return STEP_FAULT;
	}
	set_zf(c, raises);
	return STEP_NEXT;
}
