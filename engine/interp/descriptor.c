/*
 * descriptor.c - descriptor fetches, and stacks that are not the current one.
 *
 * A far transfer or an event delivery looks at descriptors and builds a stack frame
 * before the CPU is committed to either. Nothing here assigns a register but
 * stack_commit() and segments_drop_inner().
 *
 * Spec: SDM vol. 3 3.4.5, 3.5, 5.8, 8.7. Tested by test/unit/exception.c and test/unit/far.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/place.h"
#include "engine/interp/system.h"

bool descriptor_peek(struct interp *c, uint16_t selector, struct descriptor *d, bool *found)
{
	const struct x86_state *s = &c->s;
	uint64_t base = s->gdtr.base;
	uint64_t limit = s->gdtr.limit;

	*found = false;
	if (selector & 4) {
		if (s->ldtr.attr & SEG_UNUSABLE)
			return true;
		base = s->ldtr.base;
		limit = s->ldtr.limit;
	}
	if ((selector | 7u) > limit)
		return true;
	d->linear = linear_of(c, base + (selector & 0xfff8u));
	if (!mem_read_system(c, d->linear, &d->raw, sizeof(d->raw)))
		return false;
	d->seg = segment_unpack(selector, d->raw);
	*found = true;
	return true;
}

bool descriptor_read(struct interp *c, uint16_t selector, enum vector v, uint32_t ext,
		     struct descriptor *d)
{
	bool found;

	if (!descriptor_peek(c, selector, d, &found))
		return false;
	if (!found)
		raise_error(c, v, selector_error(selector, ext));
	return found;
}

bool descriptor_upper(struct interp *c, struct descriptor *d, enum vector v, uint32_t ext,
		      uint64_t *upper)
{
	uint16_t selector = d->seg.selector;
	uint64_t limit = selector & 4 ? c->s.ldtr.limit : c->s.gdtr.limit;

	if ((selector | 7u) + 8u > limit) {
		raise_error(c, v, selector_error(selector, ext));
		return false;
	}
	if (!mem_read_system(c, d->linear + 8, upper, sizeof(*upper)))
		return false;
	if (*upper >> 40 & 0x1f) { /* the type of the upper half */
		raise_error(c, v, selector_error(selector, ext));
		return false;
	}
	return true;
}

bool descriptor_set_accessed(struct interp *c, struct descriptor *d)
{
	uint8_t access;

	if (d->seg.attr & SEG_ACCESSED)
		return true;
	access = (uint8_t)(d->raw >> 40) | SEG_ACCESSED;
	if (!mem_write_system(c, linear_of(c, d->linear + 5), &access, 1))
		return false;
	d->seg.attr |= SEG_ACCESSED;
	return true;
}

bool descriptor_set_busy(struct interp *c, uint64_t linear, bool busy)
{
	uint64_t at = linear_of(c, linear + 5);
	uint8_t access;

	if (!mem_read_system(c, at, &access, 1))
		return false;
	access = busy ? access | TYPE_BUSY : access & (uint8_t)~TYPE_BUSY;
	return mem_write_system(c, at, &access, 1);
}

bool code_check_target(struct interp *c, const struct x86_seg *cs, uint64_t rip, uint32_t ext)
{
	bool ok;

	if (x86_long_mode(&c->s) && (cs->attr & SEG_L))
		ok = gva_canonical(rip);
	else
		ok = rip <= cs->limit;
	if (!ok)
		raise_gp(c, ext);
	return ok;
}

bool code_read_return(struct interp *c, uint16_t selector, struct descriptor *d)
{
	unsigned rpl = selector & 3u;
	unsigned dpl;

	if (is_null(selector)) {
		raise_gp(c, 0);
		return false;
	}
	if (!descriptor_read(c, selector, VEC_GP, 0, d))
		return false;
	dpl = SEG_DPL(d->seg.attr);
	if (!is_code(&d->seg) || rpl < c->cpl ||
	    (is_conforming(&d->seg) ? dpl > rpl : dpl != rpl) ||
	    (x86_long_mode(&c->s) && (d->seg.attr & SEG_L) && (d->seg.attr & SEG_DB))) {
		raise_gp(c, selector_error(selector, 0));
		return false;
	}
	if (!(d->seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(selector, 0));
		return false;
	}
	return true;
}

bool stack_read_segment(struct interp *c, uint16_t selector, unsigned cpl, enum vector v,
			uint32_t ext, struct descriptor *d)
{
	if (is_null(selector)) {
		raise_error(c, v, ext);
		return false;
	}
	if (!descriptor_read(c, selector, v, ext, d))
		return false;
	if ((selector & 3u) != cpl || SEG_DPL(d->seg.attr) != cpl || is_system(&d->seg) ||
	    is_code(&d->seg) || !(d->seg.attr & SEG_WRITE)) {
		raise_error(c, v, selector_error(selector, ext));
		return false;
	}
	if (!(d->seg.attr & SEG_P)) {
		raise_error(c, VEC_SS, selector_error(selector, ext));
		return false;
	}
	return true;
}

struct x86_seg stack_null_segment(unsigned cpl)
{
	struct x86_seg ss = { .selector = (uint16_t)cpl };

	ss.attr = SEG_UNUSABLE | (cpl << 5);
	return ss;
}

/* ---- Stacks ---- */

struct stack stack_new(const struct x86_seg *ss, uint64_t sp, unsigned cpl, uint32_t error)
{
	struct stack st = { .seg = *ss, .sp = sp, .error = error, .user = cpl == 3 };

	st.mask = ss->attr & SEG_DB ? 0xffffffff : 0xffff;
	return st;
}

struct stack stack_flat(const struct interp *c, uint64_t sp, unsigned cpl, uint32_t error)
{
	struct stack st = { .seg = c->s.seg[SS], .sp = sp, .error = error, .user = cpl == 3 };

	st.mask = ~UINT64_C(0);
	st.flat = true;
	return st;
}

struct stack stack_current(const struct interp *c)
{
	if (c->code_bits == 64)
		return stack_flat(c, c->r[RSP], c->cpl, 0);
	return stack_new(&c->s.seg[SS], c->r[RSP], c->cpl, 0);
}

static bool stack_linear(struct interp *c, const struct stack *st, uint64_t sp, unsigned size,
			 bool write, uint64_t *linear)
{
	uint64_t off = sp & st->mask;
	bool ok;

	if (st->flat) {
		*linear = off;
		ok = gva_canonical(off) && gva_canonical(off + size - 1);
	} else {
		*linear = (uint32_t)(st->seg.base + off);
		ok = !(st->seg.attr & SEG_UNUSABLE) && segment_allows(&st->seg, off, size, write);
	}
	if (!ok) {
		raise_error(c, VEC_SS, st->error);
		return false;
	}
	return true;
}

static void stack_watched(struct interp *c, const struct stack *st, uint64_t linear, unsigned size,
			  bool write)
{
	if (UNLIKELY(c->has_breakpoints) && !st->event)
		place_watchpoints(c, linear, size, write);
}

/* A system's own stack is never checked; nor are events, whose #AC would raise the next. */
static bool stack_aligned(struct interp *c, const struct stack *st, uint64_t linear, unsigned size)
{
	if (LIKELY(!st->user || st->event || !mem_misaligned(c, linear, size)))
		return true;
	raise_error(c, VEC_AC, 0);
	return false;
}

bool stack_push(struct interp *c, struct stack *st, unsigned size, uint64_t value)
{
	uint64_t sp = (st->sp & ~st->mask) | ((st->sp - size) & st->mask);
	uint64_t linear;

	if (!stack_linear(c, st, sp, size, true, &linear) || !stack_aligned(c, st, linear, size) ||
	    !mem_write_as(c, linear, &value, size, st->user))
		return false;
	stack_watched(c, st, linear, size, true);
	st->sp = sp;
	return true;
}

bool stack_pop(struct interp *c, struct stack *st, unsigned size, uint64_t *value)
{
	uint64_t linear;

	*value = 0;
	if (!stack_linear(c, st, st->sp, size, false, &linear) ||
	    !stack_aligned(c, st, linear, size) || !mem_read_as(c, linear, value, size, st->user))
		return false;
	stack_watched(c, st, linear, size, false);
	stack_skip(st, size);
	return true;
}

void stack_commit(struct interp *c, const struct stack *st)
{
	if (st->mask == 0xffff)
		set_reg(c, RSP * 8, 2, st->sp);
	else
		c->r[RSP] = st->sp & st->mask;
}

bool stack_from_tss(struct interp *c, unsigned cpl, uint32_t ext, uint16_t *ss, uint64_t *sp)
{
	const struct x86_seg *tr = &c->s.tr;
	bool wide = SEG_TYPE(tr->attr) & 8;
	unsigned size = wide ? 4 : 2;
	unsigned at = cpl * 2 * size + size;
	uint64_t base = tr->base + at;

	*sp = 0;
	if ((tr->attr & SEG_UNUSABLE) || at + size + 1 > tr->limit) {
		raise_error(c, VEC_TS, selector_error(tr->selector, ext));
		return false;
	}
	return mem_read_system(c, linear_of(c, base), sp, size) &&
	       mem_read_system(c, linear_of(c, base + size), ss, sizeof(*ss));
}

bool stack_from_tss64(struct interp *c, unsigned slot_offset, uint32_t ext, uint64_t *sp)
{
	const struct x86_seg *tr = &c->s.tr;

	if ((tr->attr & SEG_UNUSABLE) || slot_offset + 7 > tr->limit) {
		raise_error(c, VEC_TS, selector_error(tr->selector, ext));
		return false;
	}
	return mem_read_system(c, tr->base + slot_offset, sp, sizeof(*sp));
}

void segments_drop_inner(struct interp *c, unsigned cpl)
{
	static const enum seg data[] = { ES, DS, FS, GS };

	for (unsigned n = 0; n < 4; n++) {
		struct x86_seg *seg = &c->s.seg[data[n]];

		if (seg->attr & SEG_UNUSABLE) { /* null stays null, without its RPL; a base stays */
			seg->selector = 0;
			seg->attr = SEG_UNUSABLE;
		} else if (!is_conforming(seg) && SEG_DPL(seg->attr) < cpl) {
			segment_load_null(seg, 0);
		}
	}
}
