/*
 * task.c - the hardware task switch: JMP, CALL, IRET and task gates to a TSS.
 *
 * The switch has a commit point. Before it (both TSSs and both descriptors reachable)
 * nothing has changed and a fault is the old task's. After it the selectors are the new
 * task's and each segment is still to be loaded: a fault there belongs to the new task
 * (OUTCOME_LATE). Not available in long mode.
 *
 * Spec: SDM vol. 3 ch. 8. Tested by test/unit/far.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/system.h"

#define TSS32_BYTES 104u
#define TSS16_BYTES 44u
#define DR6_BT      (UINT64_C(1) << 15)

/* Offsets of the fields that are saved and loaded. */
struct tss_layout {
	uint8_t width;              /* bytes of a register */
	uint8_t ip, flags, gpr, es; /* gpr, es: first of a run */
	uint8_t segs;               /* how many segment registers */
	uint8_t ldt;
	uint32_t bytes;
};
static const struct tss_layout tss16 = { 2, 14, 16, 18, 34, 4, 42, TSS16_BYTES };
static const struct tss_layout tss32 = { 4, 32, 36, 40, 72, 6, 96, TSS32_BYTES };
#define TSS32_CR3  28
#define TSS32_TRAP 100

static const struct tss_layout *tss_layout(const struct x86_seg *tss)
{
	return SEG_TYPE(tss->attr) & 8 ? &tss32 : &tss16;
}

struct task {
	uint64_t ip, flags, gpr[8], cr3, pdpte[4];
	uint16_t sel[SEG_COUNT], ldt;
	bool trap;
};

static void put(uint8_t *image, unsigned at, unsigned width, uint64_t value)
{
	memcpy(image + at, &value, width);
}

static uint64_t get(const uint8_t *image, unsigned at, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, image + at, width);
	return value;
}

static void task_parse(const uint8_t *image, const struct tss_layout *l, struct task *t)
{
	memset(t, 0, sizeof(*t));
	t->ip = get(image, l->ip, l->width);
	t->flags = get(image, l->flags, l->width);
	for (unsigned n = 0; n < 8; n++)
		t->gpr[n] = get(image, l->gpr + n * l->width, l->width);
	for (unsigned n = 0; n < l->segs; n++)
		t->sel[n] = (uint16_t)get(image, l->es + n * l->width, 2);
	t->ldt = (uint16_t)get(image, l->ldt, 2);
	if (l == &tss32) {
		t->cr3 = get(image, TSS32_CR3, 4);
		t->trap = image[TSS32_TRAP] & 1;
	}
}

bool task_find(struct interp *c, uint16_t selector, enum vector v, uint32_t ext, bool busy,
	       struct descriptor *d)
{
	unsigned type;

	if (is_null(selector) || (selector & 4)) {
		raise_error(c, v, selector_error(selector, ext));
		return false;
	}
	if (!descriptor_read(c, selector, v, ext, d))
		return false;
	type = SEG_TYPE(d->seg.attr);
	if (!is_system(&d->seg) || (busy ? type != TYPE_TSS16_BUSY && type != TYPE_TSS32_BUSY
					 : type != TYPE_TSS16 && type != TYPE_TSS32)) {
		raise_error(c, v, selector_error(selector, ext));
		return false;
	}
	if (!(d->seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(selector, ext));
		return false;
	}
	return true;
}

/* Writes the running task into its TSS, flags as given. Both pages were probed. */
static bool task_save(struct interp *c, uint64_t rip, uint64_t flags)
{
	const struct tss_layout *l = tss_layout(&c->s.tr);
	unsigned last = l->es + l->segs * l->width;
	uint8_t image[TSS32_BYTES];
	uint64_t at = linear_of(c, c->s.tr.base + l->ip);

	memset(image, 0, sizeof(image));
	put(image, l->ip, l->width, rip);
	put(image, l->flags, l->width, flags);
	for (unsigned n = 0; n < 8; n++)
		put(image, l->gpr + n * l->width, l->width, c->r[n]);
	for (unsigned n = 0; n < l->segs; n++)
		put(image, l->es + n * l->width, l->width, c->s.seg[n].selector);
	return mem_write_system(c, at, image + l->ip, last - l->ip);
}

/* Everything that may fault before the commit point. */
static bool task_probe(struct interp *c, const struct descriptor *d, enum task_reason why,
		       uint32_t ext, uint8_t *image)
{
	const struct x86_seg *old = &c->s.tr;
	const struct tss_layout *l = tss_layout(&d->seg);
	const struct tss_layout *ol = tss_layout(old);
	uint64_t old_descriptor = linear_of(c, c->s.gdtr.base + (old->selector & 0xfff8u) + 5);

	if (d->seg.limit < l->bytes - 1) {
		raise_error(c, VEC_TS, selector_error(d->seg.selector, ext));
		return false;
	}
	if ((old->attr & SEG_UNUSABLE) || old->limit < ol->bytes - 1) {
		raise_error(c, VEC_TS, selector_error(old->selector, ext));
		return false;
	}
	return mem_read_system(c, d->seg.base, image, l->bytes) &&
	       mem_probe_write_system(c, linear_of(c, old->base + ol->ip), ol->bytes - ol->ip) &&
	       mem_probe_write_system(c, old_descriptor, 1) &&
	       mem_probe_write_system(c, linear_of(c, d->linear + 5), 1) &&
	       ((why != TASK_CALL && why != TASK_EVENT) ||
		mem_probe_write_system(c, d->seg.base, 2));
}

/* Busy bits, old TSS, back link. Was probed, so it does not fail half-way. */
static bool task_leave(struct interp *c, const struct descriptor *d, enum task_reason why,
		       const struct delivery *e)
{
	uint16_t link = c->s.tr.selector;
	uint64_t flags = e->rflags;

	if (why == TASK_IRET)
		flags &= ~(uint64_t)FLAG_NT;
	if (!task_save(c, e->rip, flags))
		return false;
	if ((why == TASK_JMP || why == TASK_IRET) &&
	    !descriptor_set_busy(c, c->s.gdtr.base + (link & 0xfff8u), false))
		return false;
	if (why != TASK_IRET && !descriptor_set_busy(c, d->linear, true))
		return false;
	if (why == TASK_CALL || why == TASK_EVENT)
		return mem_write_system(c, d->seg.base, &link, 2);
	return true;
}

/* PAE: the new PDPTEs are read and checked now, and used from task_load_cr3() on. */
static bool task_check_cr3(struct interp *c, const struct tss_layout *l, struct task *t)
{
	uint64_t now[4];
	bool ok;

	memcpy(now, c->s.pdpte, sizeof(now));
	memcpy(t->pdpte, now, sizeof(now));
	if (l != &tss32 || !(c->s.cr0 & CR0_PG) || !(c->s.cr4 & CR4_PAE))
		return true;
	ok = control_load_pdpte(c, &c->s, t->cr3);
	memcpy(t->pdpte, c->s.pdpte, sizeof(now));
	memcpy(c->s.pdpte, now, sizeof(now));
	return ok;
}

static void task_load_cr3(struct interp *c, const struct task *t)
{
	c->s.cr3 = t->cr3;
	memcpy(c->s.pdpte, t->pdpte, sizeof(t->pdpte));
	tlb_switch(&c->tlb, 0, true);
}

/* Registers of the new task; segment registers hold selectors but nothing usable yet. */
static void task_enter(struct interp *c, const struct descriptor *d, const struct task *t,
		       const struct tss_layout *l, enum task_reason why)
{
	bool v86 = t->flags & FLAG_VM;
	unsigned cpl = v86 ? 3 : t->sel[CS] & 3;
	uint64_t flags = (t->flags & 0x277fd7) | FLAG_FIXED;

	c->s.tr = d->seg;
	c->s.tr.attr |= TYPE_BUSY;
	c->s.cr0 |= CR0_TS;
	c->s.dr7 &= ~UINT64_C(0x155); /* L0-L3, LE */
	if (why == TASK_CALL || why == TASK_EVENT)
		flags |= FLAG_NT;
	if (l == &tss16)
		flags = (flags & 0xffff) | (c->s.rflags & 0x240000); /* AC, ID stay */
	c->s.rflags = flags;
	interp_set_arith(c, flags);
	c->resuming = false;
	for (unsigned n = 0; n < 8; n++)
		c->r[n] = t->gpr[n];
	c->r[R_RIP] = t->ip;
	segment_load_null(&c->s.ldtr, t->ldt);
	for (unsigned n = 0; n < SEG_COUNT; n++) {
		if (v86)
			segment_load_v86(&c->s.seg[n], t->sel[n]);
		else
			segment_load_null(&c->s.seg[n], t->sel[n]);
	}
	if (!v86)
		c->s.seg[SS].attr = SEG_UNUSABLE | cpl << 5;
	if (l == &tss32 && (c->s.cr0 & CR0_PG))
		task_load_cr3(c, t);
	interp_mode_changed(c);
}

static bool task_load_ldt(struct interp *c, uint16_t selector, uint32_t ext)
{
	struct descriptor d;

	if (is_null(selector))
		return true;
	if ((selector & 4)) {
		raise_error(c, VEC_TS, selector_error(selector, ext));
		return false;
	}
	if (!descriptor_read(c, selector, VEC_TS, ext, &d))
		return false;
	if (!is_system(&d.seg) || SEG_TYPE(d.seg.attr) != TYPE_LDT || !(d.seg.attr & SEG_P)) {
		raise_error(c, VEC_TS, selector_error(selector, ext));
		return false;
	}
	c->s.ldtr = d.seg;
	return true;
}

static bool task_load_code(struct interp *c, uint16_t selector, uint32_t ext)
{
	unsigned rpl = selector & 3u;
	struct descriptor d;
	unsigned dpl;

	if (is_null(selector)) {
		raise_error(c, VEC_TS, ext);
		return false;
	}
	if (!descriptor_read(c, selector, VEC_TS, ext, &d))
		return false;
	dpl = SEG_DPL(d.seg.attr);
	if (!is_code(&d.seg) || (is_conforming(&d.seg) ? dpl > rpl : dpl != rpl)) {
		raise_error(c, VEC_TS, selector_error(selector, ext));
		return false;
	}
	if (!(d.seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(selector, ext));
		return false;
	}
	if (!descriptor_set_accessed(c, &d))
		return false;
	c->s.seg[CS] = d.seg;
	return true;
}

static bool task_load_data(struct interp *c, enum seg seg, uint16_t selector, unsigned cpl,
			   uint32_t ext)
{
	struct descriptor d;
	int v;

	if (is_null(selector))
		return true;
	if (!descriptor_read(c, selector, VEC_TS, ext, &d))
		return false;
	v = segment_check_data(&d.seg, selector, cpl);
	if (v) {
		raise_error(c, v == VEC_GP ? VEC_TS : (enum vector)v,
			    selector_error(selector, ext));
		return false;
	}
	if (!descriptor_set_accessed(c, &d))
		return false;
	c->s.seg[seg] = d.seg;
	return true;
}

static bool task_load_segments(struct interp *c, const struct task *t, uint32_t ext)
{
	static const enum seg data[] = { ES, DS, FS, GS };
	unsigned cpl = t->sel[CS] & 3u;
	struct descriptor ss;

	if (!task_load_ldt(c, t->ldt, ext))
		return false;
	if (t->flags & FLAG_VM)
		return true;
	if (!task_load_code(c, t->sel[CS], ext) ||
	    !stack_read_segment(c, t->sel[SS], cpl, VEC_TS, ext, &ss) ||
	    !descriptor_set_accessed(c, &ss))
		return false;
	c->s.seg[SS] = ss.seg;
	for (unsigned n = 0; n < 4; n++) {
		if (!task_load_data(c, data[n], t->sel[data[n]], cpl, ext))
			return false;
	}
	return true;
}

static bool task_push_error(struct interp *c, const struct delivery *e, unsigned width)
{
	struct stack st = stack_current(c);

	if (!e->has_error)
		return true;
	st.event = true;
	st.error = e->ext;
	if (!stack_push(c, &st, width, e->error))
		return false;
	stack_commit(c, &st);
	return true;
}

enum outcome task_switch(struct interp *c, const struct descriptor *d, enum task_reason why,
			 const struct delivery *e)
{
	const struct tss_layout *l = tss_layout(&d->seg);
	uint8_t image[TSS32_BYTES];
	struct task t;
	bool ok;

	if (!task_probe(c, d, why, e->ext, image))
		return OUTCOME_FAULT;
	task_parse(image, l, &t);
	if (!task_check_cr3(c, l, &t) || !task_leave(c, d, why, e))
		return OUTCOME_FAULT;
	exit_count(c->vcpu, EXIT_TASK_SWITCH);
	task_enter(c, d, &t, l, why);

	ok = task_load_segments(c, &t, e->ext);
	interp_mode_changed(c);
	if (!ok || !task_push_error(c, e, l->width))
		return OUTCOME_LATE;
	if (t.ip > c->s.seg[CS].limit) {
		raise_gp(c, e->ext);
		return OUTCOME_LATE;
	}
	if (t.trap)
		debug_pend(c, DR6_BT);
	return OUTCOME_DONE;
}
