/*
 * mode.c - what follows from the control registers and segments: the mode.
 *
 * Rights and decoding depend on a dozen bits all over the state. They are folded here, once
 * for each change, into the few fields that every instruction looks at.
 *
 * Spec: SDM vol. 3 2.2, 4.6, 5.3. Tested by test/unit/interp_run.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/decode.h"

#include <string.h>

/* Data accesses at CPL 3 must be aligned: no access may bypass the check. */
static bool checks_alignment(const struct interp *c)
{
	return c->cpl == 3 && c->s.cr0 & CR0_AM && c->s.rflags & FLAG_AC;
}

static void derive_segment(struct interp *c, enum seg seg)
{
	uint8_t bit = (uint8_t)(1u << seg);
	const struct x86_seg *s = &c->s.seg[seg];
	bool read, write, all = false;

	if (checks_alignment(c)) {
		read = write = false;
	} else if (c->code_bits == 64) {
		read = write = seg < FS;
	} else {
		read = segment_flat(s, false);
		write = segment_flat(s, true);
		all = segment_unlimited(s, true);
	}
	c->unlimited = all ? c->unlimited | bit : c->unlimited & (uint8_t)~bit;
	c->flat_read = read ? c->flat_read | bit : c->flat_read & (uint8_t)~bit;
	c->flat_write = write ? c->flat_write | bit : c->flat_write & (uint8_t)~bit;
}

static void derive_flat32(struct interp *c)
{
	const uint8_t data = 1u << ES | 1u << SS | 1u << DS;

	c->flat32 = c->code_bits == 32 && (c->flat_write & data) == data &&
		    c->flat_read & 1u << CS && c->s.seg[SS].attr & SEG_DB &&
		    !x86_real_mode(&c->s) && !x86_v86(&c->s);
}

void interp_segment_changed(struct interp *c, enum seg seg)
{
	derive_segment(c, seg);
	derive_flat32(c);
}

static void derive_code(struct interp *c)
{
	bool big = c->s.seg[CS].attr & SEG_DB;

	if (x86_code64(&c->s)) {
		c->code_bits = 64;
		c->mode = DECODE_64;
		return;
	}
	c->code_bits = big ? 32 : 16;
	if (big)
		c->mode = DECODE_32;
	else
		c->mode = x86_real_mode(&c->s) || x86_v86(&c->s) ? DECODE_REAL16 : DECODE_16;
}

static enum tlb_context derive_context(const struct interp *c)
{
	if (c->user)
		return TLB_USER;
	return c->s.cr4 & CR4_SMAP && c->s.rflags & FLAG_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

/* Tags of the TLB were withheld according to the debug registers as they were. */
static void derive_breakpoints(struct interp *c)
{
	bool had = c->has_breakpoints;

	c->has_breakpoints = false;
	for (unsigned n = 0; n < 4; n++)
		if (c->s.dr7 >> (2 * n) & 3 && c->s.dr7 >> (16 + 4 * n) & 3)
			c->has_breakpoints = true;
	if (!had && !c->has_breakpoints)
		return;
	if (c->dr_seen[4] == c->s.dr7 && memcmp(c->dr_seen, c->s.dr, sizeof(c->s.dr)) == 0)
		return;
	memcpy(c->dr_seen, c->s.dr, sizeof(c->s.dr));
	c->dr_seen[4] = c->s.dr7;
	tlb_flush_all(&c->tlb);
}

static void derive_segments(struct interp *c)
{
	if (LIKELY(c->code_bits == 64)) {
		c->flat_read = c->flat_write =
			checks_alignment(c) ? 0 : 1u << ES | 1u << CS | 1u << SS | 1u << DS;
		c->flat32 = false;
		return;
	}
	for (unsigned seg = 0; seg < SEG_COUNT; seg++)
		derive_segment(c, (enum seg)seg);
	derive_flat32(c);
}

void interp_mode_changed(struct interp *c)
{
	c->cpl = (uint8_t)x86_cpl(&c->s);
	c->user = c->cpl == 3;
	derive_code(c);
	derive_segments(c);
	c->based = c->code_bits == 64 && !checks_alignment(c) ? 1u << FS | 1u << GS : 0;
	tlb_set_context(&c->tlb, derive_context(c));
	if (UNLIKELY(c->s.dr7 & 0xff) || UNLIKELY(c->has_breakpoints))
		derive_breakpoints(c);
	c->single = interp_debug_single(c) || c->has_breakpoints;
}
