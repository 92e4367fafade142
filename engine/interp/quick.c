/*
 * quick.c - events and IRET as a 64-bit kernel has them, when nothing is out of the ordinary.
 *
 * The idea: what exception.c and iret.c find out step by step, each with its fault, is here asked
 * at once: all memory that is needed is in the TLB, the gate and the segments are the usual ones.
 * If anything is otherwise, nothing has changed, and those files do it. So nothing here faults,
 * fills the TLB or sets an accessed bit.
 *
 * Spec: SDM vol. 3 6.14; vol. 2 IRET. Tested by test/unit/exception.c, test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

#define ATTR_CODE64 (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED | SEG_L)
#define ATTR_DATA   (SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED)

/* What the CPU itself reads of a table or a TSS; NULL: it has to be looked for. */
static const uint64_t *system_words(struct interp *c, uint64_t linear, unsigned bytes)
{
	return tlb_hit_as(&c->tlb, TLB_SUPERVISOR, linear, bytes, ACCESS_READ);
}

/* The descriptor of a selector in the GDT. */
static bool segment_at(struct interp *c, uint16_t selector, struct x86_seg *seg)
{
	const uint64_t *raw;

	if (is_null(selector) || selector & 4 || (selector | 7u) > c->s.gdtr.limit)
		return false;
	raw = system_words(c, c->s.gdtr.base + (selector & 0xfff8u), 8);
	if (raw)
		*seg = segment_unpack(selector, guest_load64(raw));
	return raw;
}

/* 64-bit code of one level. */
static bool is_code64(const struct x86_seg *cs, unsigned dpl)
{
	return (cs->attr & (ATTR_CODE64 | SEG_DB | SEG_DOWN)) == ATTR_CODE64 &&
	       SEG_DPL(cs->attr) == dpl;
}

static bool is_stack(const struct x86_seg *ss, unsigned dpl)
{
	return (ss->attr & (ATTR_DATA | SEG_CODE)) == ATTR_DATA && SEG_DPL(ss->attr) == dpl;
}

/* The memory of a stack frame of the supervisor's. */
static uint64_t *frame_at(struct interp *c, uint64_t sp, unsigned bytes, enum access access)
{
	bool ac = c->s.cr4 & CR4_SMAP && c->s.rflags & FLAG_AC;

	return tlb_hit_as(&c->tlb, ac ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR, sp, bytes, access);
}

/* ---- Delivery ---- */

struct entry {
	uint64_t rip, sp;
	struct x86_seg cs;
	bool interrupt_gate;
};

static bool stack_for(struct interp *c, unsigned ist, uint64_t *sp)
{
	unsigned slot = ist ? ist * 8u + 28u : 4u;
	const uint64_t *word;

	*sp = c->r[RSP];
	if (!ist && c->cpl == 0)
		return true;
	if (c->s.tr.attr & SEG_UNUSABLE || slot + 7 > c->s.tr.limit)
		return false;
	word = system_words(c, c->s.tr.base + slot, 8);
	if (word)
		*sp = guest_load64(word);
	return word;
}

/* Where the vector's gate leads. */
static bool entry_of(struct interp *c, unsigned vector, struct entry *to)
{
	const uint64_t *gate = vector * 16u + 15u > c->s.idtr.limit
				       ? NULL
				       : system_words(c, c->s.idtr.base + vector * 16u, 16);
	uint64_t low, type;

	if (!gate)
		return false;
	low = guest_load64(gate);
	type = low >> 40 & 0x9f; /* P, S and type */
	if (type != (0x80 | TYPE_INT32) && type != (0x80 | TYPE_TRAP32))
		return false;
	to->interrupt_gate = type == (0x80 | TYPE_INT32);
	to->rip = (low & 0xffff) | (low >> 32 & 0xffff0000) | guest_load64(gate + 1) << 32;
	return gva_canonical(to->rip) && segment_at(c, (uint16_t)(low >> 16), &to->cs) &&
	       is_code64(&to->cs, 0) && stack_for(c, low >> 32 & 7, &to->sp);
}

static void push_all(uint64_t *frame, const struct interp *c, const struct delivery *e)
{
	if (e->has_error)
		guest_store64(frame++, e->error);
	guest_store64(frame, e->rip);
	guest_store64(frame + 1, c->s.seg[CS].selector);
	guest_store64(frame + 2, e->rflags);
	guest_store64(frame + 3, c->r[RSP]);
	guest_store64(frame + 4, c->s.seg[SS].selector);
}

bool event_quick(struct interp *c, const struct delivery *e)
{
	unsigned bytes = e->has_error ? 48 : 40;
	struct entry to;
	uint64_t *frame;

	if (!x86_long_mode(&c->s) || e->soft || !entry_of(c, e->vector, &to))
		return false;
	to.sp = (to.sp & ~UINT64_C(15)) - bytes;
	frame = frame_at(c, to.sp, bytes, ACCESS_WRITE);
	if (!frame)
		return false;
	push_all(frame, c, e);
	c->r[RSP] = to.sp;
	if (c->cpl != 0)
		c->s.seg[SS] = stack_null_segment(0);
	to.cs.selector &= (uint16_t)~3u;
	event_enter(c, &to.cs, to.rip, to.interrupt_gate);
	return true;
}

/* ---- IRET ---- */

static bool return_stack(struct interp *c, uint16_t selector, unsigned cpl, struct x86_seg *ss)
{
	if (is_null(selector)) {
		*ss = stack_null_segment(cpl);
		return cpl != 3 && selector == cpl;
	}
	return (selector & 3u) == cpl && segment_at(c, selector, ss) && is_stack(ss, cpl);
}

bool iret_quick(struct interp *c, const struct insn *i, struct iret_frame *f)
{
	const uint64_t *frame;
	unsigned cpl;

	if (c->code_bits != 64 || i->osz != 8 || c->cpl != 0 || c->s.rflags & FLAG_NT)
		return false;
	frame = frame_at(c, c->r[RSP], 40, ACCESS_READ);
	if (!frame)
		return false;
	f->rip = guest_load64(frame);
	f->rflags = guest_load64(frame + 2);
	f->sp = guest_load64(frame + 3);
	cpl = guest_load64(frame + 1) & 3;
	return gva_canonical(f->rip) && segment_at(c, (uint16_t)guest_load64(frame + 1), &f->cs) &&
	       is_code64(&f->cs, cpl) &&
	       return_stack(c, (uint16_t)guest_load64(frame + 4), cpl, &f->ss);
}
