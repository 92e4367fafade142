/*
 * exception.c - exceptions, interrupts and INT n: from a vector to its handler.
 *
 * One path serves all events and all modes: event_deliver() reads the vector's gate, checks
 * everything the gate names, pushes the frame, and only then assigns registers. When
 * any of that faults, the fault takes the event's place by the rules of SDM table 6-5.
 *
 * Not modelled: VME's interrupt redirection, PVI, shadow stacks: the CPU model has none.
 *
 * Spec: SDM vol. 3 ch. 6, 20.1.4, 20.3; vol. 2 INT n. Tested by test/unit/exception.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

enum step raise_vector(struct interp *c, enum vector v)
{
	c->fault = (struct fault){ .vector = v };
	return STEP_FAULT;
}

enum step raise_error(struct interp *c, enum vector v, uint32_t error)
{
	c->fault = (struct fault){ .vector = v, .has_error = true, .error = error };
	return STEP_FAULT;
}

enum step raise_pf(struct interp *c, uint64_t linear, uint32_t error)
{
	c->fault = (struct fault){
		.vector = VEC_PF, .has_error = true, .error = error, .cr2 = linear
	};
	return STEP_FAULT;
}

/* ---- Gates ---- */

struct gate {
	uint64_t offset;
	uint32_t error; /* code for faults that blame the gate */
	uint16_t selector;
	uint8_t type, ist;
};

static uint32_t gate_error(const struct delivery *e)
{
	return e->vector * 8u + 2u + e->ext;
}

/* The gate of e->vector, present and with sufficient DPL. Protected and long mode. */
static bool gate_read(struct interp *c, const struct delivery *e, struct gate *g)
{
	bool lm = x86_long_mode(&c->s);
	unsigned size = lm ? 16 : 8;
	unsigned at = e->vector * size;
	uint64_t raw[2] = { 0, 0 };
	bool valid;

	g->error = gate_error(e);
	if (at + size - 1 > c->s.idtr.limit) {
		raise_gp(c, g->error);
		return false;
	}
	if (!mem_read_system(c, linear_of(c, c->s.idtr.base + at), raw, size))
		return false;
	g->type = (raw[0] >> 40) & 0x1f; /* with S: must be clear */
	g->ist = (raw[0] >> 32) & 7;
	g->selector = (uint16_t)(raw[0] >> 16);
	g->offset = (raw[0] & 0xffff) | ((raw[0] >> 32) & 0xffff0000);
	if (lm) {
		g->offset |= raw[1] << 32;
		valid = g->type == TYPE_INT32 || g->type == TYPE_TRAP32;
	} else {
		valid = g->type == TYPE_INT32 || g->type == TYPE_TRAP32 || g->type == TYPE_INT16 ||
			g->type == TYPE_TRAP16 || g->type == TYPE_TASK_GATE;
	}
	if (g->type == TYPE_INT16 || g->type == TYPE_TRAP16)
		g->offset &= 0xffff;
	if (!valid || (e->soft && ((raw[0] >> 45) & 3) < c->cpl)) {
		raise_gp(c, g->error);
		return false;
	}
	if (!((raw[0] >> 47) & 1)) {
		raise_error(c, VEC_NP, g->error);
		return false;
	}
	return true;
}

/* The code segment of an interrupt or trap gate; *cpl: the level it runs at. */
static bool gate_code(struct interp *c, const struct gate *g, uint32_t ext, struct descriptor *cs,
		      unsigned *cpl)
{
	unsigned dpl;

	if (is_null(g->selector)) {
		raise_gp(c, ext);
		return false;
	}
	if (!descriptor_read(c, g->selector, VEC_GP, ext, cs))
		return false;
	dpl = SEG_DPL(cs->seg.attr);
	if (!is_code(&cs->seg) || dpl > c->cpl ||
	    (x86_long_mode(&c->s) && (cs->seg.attr & (SEG_L | SEG_DB)) != SEG_L)) {
		raise_gp(c, selector_error(g->selector, ext));
		return false;
	}
	if (!(cs->seg.attr & SEG_P)) {
		raise_error(c, VEC_NP, selector_error(g->selector, ext));
		return false;
	}
	*cpl = is_conforming(&cs->seg) ? c->cpl : dpl;
	if (x86_v86(&c->s) && *cpl != 0) {
		raise_gp(c, selector_error(g->selector, ext));
		return false;
	}
	return true;
}

/* The gate's offset is looked at after the stack was. */
static bool gate_entry(struct interp *c, const struct gate *g, uint32_t ext, struct descriptor *cs)
{
	return code_check_target(c, &cs->seg, g->offset, ext) && descriptor_set_accessed(c, cs);
}

void event_enter(struct interp *c, const struct x86_seg *cs, uint64_t rip, bool interrupt_gate)
{
	c->s.seg[CS] = *cs;
	c->s.rflags &= ~(uint64_t)(FLAG_TF | FLAG_NT | FLAG_VM | FLAG_RF);
	if (interrupt_gate)
		c->s.rflags &= ~(uint64_t)FLAG_IF;
	c->r[R_RIP] = rip;
	interp_mode_changed(c);
}

static void enter_handler(struct interp *c, struct descriptor *cs, unsigned cpl, uint64_t offset,
			  bool interrupt_gate)
{
	cs->seg.selector = (uint16_t)((cs->seg.selector & ~3u) | cpl);
	event_enter(c, &cs->seg, offset, interrupt_gate);
}

/* ---- The three kinds of mode ---- */

static struct stack event_stack(struct stack st, uint32_t error)
{
	st.event = true;
	st.error = error;
	return st;
}

static enum outcome deliver_real(struct interp *c, const struct delivery *e)
{
	struct stack st = event_stack(stack_current(c), 0);
	uint32_t entry;

	if (e->vector * 4u + 3u > c->s.idtr.limit) {
		raise_gp(c, gate_error(e));
		return OUTCOME_FAULT;
	}
	if (!mem_read_system(c, (uint32_t)(c->s.idtr.base + e->vector * 4u), &entry, 4))
		return OUTCOME_FAULT;
	if ((entry & 0xffff) > c->s.seg[CS].limit) {
		raise_gp(c, 0);
		return OUTCOME_FAULT;
	}
	if (!stack_push(c, &st, 2, e->rflags) || !stack_push(c, &st, 2, c->s.seg[CS].selector) ||
	    !stack_push(c, &st, 2, e->rip))
		return OUTCOME_FAULT;
	stack_commit(c, &st);
	segment_load_real(&c->s.seg[CS], (uint16_t)(entry >> 16));
	c->s.rflags &= ~(uint64_t)(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
	c->r[R_RIP] = entry & 0xffff;
	interp_mode_changed(c);
	return OUTCOME_DONE;
}

static bool push_frame(struct interp *c, struct stack *st, unsigned size, const struct delivery *e)
{
	return stack_push(c, st, size, e->rflags) &&
	       stack_push(c, st, size, c->s.seg[CS].selector) && stack_push(c, st, size, e->rip) &&
	       (!e->has_error || stack_push(c, st, size, e->error));
}

static bool push_v86_segments(struct interp *c, struct stack *st, unsigned size)
{
	return stack_push(c, st, size, c->s.seg[GS].selector) &&
	       stack_push(c, st, size, c->s.seg[FS].selector) &&
	       stack_push(c, st, size, c->s.seg[DS].selector) &&
	       stack_push(c, st, size, c->s.seg[ES].selector);
}

static enum outcome deliver_protected(struct interp *c, const struct delivery *e,
				      const struct gate *g)
{
	unsigned size = g->type & 8 ? 4 : 2;
	bool v86 = x86_v86(&c->s);
	struct descriptor cs, ss;
	struct stack st;
	uint16_t selector;
	uint64_t sp;
	unsigned cpl;

	if (!gate_code(c, g, e->ext, &cs, &cpl))
		return OUTCOME_FAULT;
	if (cpl == c->cpl) {
		st = event_stack(stack_current(c), e->ext);
	} else {
		if (!stack_from_tss(c, cpl, e->ext, &selector, &sp) ||
		    !stack_read_segment(c, selector, cpl, VEC_TS, e->ext, &ss) ||
		    !descriptor_set_accessed(c, &ss))
			return OUTCOME_FAULT;
		st = event_stack(stack_new(&ss.seg, sp, cpl, 0), selector_error(selector, e->ext));
		if ((v86 && !push_v86_segments(c, &st, size)) ||
		    !stack_push(c, &st, size, c->s.seg[SS].selector) ||
		    !stack_push(c, &st, size, c->r[RSP]))
			return OUTCOME_FAULT;
	}
	if (!push_frame(c, &st, size, e) || !gate_entry(c, g, e->ext, &cs))
		return OUTCOME_FAULT;
	if (cpl != c->cpl) {
		c->s.seg[SS] = ss.seg;
		c->r[RSP] = st.sp;
	} else {
		stack_commit(c, &st);
	}
	if (v86) {
		segment_load_null(&c->s.seg[ES], 0);
		segment_load_null(&c->s.seg[DS], 0);
		segment_load_null(&c->s.seg[FS], 0);
		segment_load_null(&c->s.seg[GS], 0);
	}
	enter_handler(c, &cs, cpl, g->offset, !(g->type & 1));
	return OUTCOME_DONE;
}

static enum outcome deliver_long(struct interp *c, const struct delivery *e, const struct gate *g)
{
	struct descriptor cs;
	struct stack st;
	uint64_t sp = c->r[RSP];
	unsigned cpl;

	if (!gate_code(c, g, e->ext, &cs, &cpl))
		return OUTCOME_FAULT;
	if (g->ist) {
		if (!stack_from_tss64(c, g->ist * 8u + 28u, e->ext, &sp))
			return OUTCOME_FAULT;
	} else if (cpl != c->cpl && !stack_from_tss64(c, cpl * 8u + 4u, e->ext, &sp)) {
		return OUTCOME_FAULT;
	}
	st = event_stack(stack_flat(c, sp & ~UINT64_C(15), cpl, 0), e->ext);
	if (!stack_push(c, &st, 8, c->s.seg[SS].selector) || !stack_push(c, &st, 8, c->r[RSP]) ||
	    !push_frame(c, &st, 8, e) || !gate_entry(c, g, e->ext, &cs))
		return OUTCOME_FAULT;
	c->r[RSP] = st.sp;
	if (cpl != c->cpl)
		c->s.seg[SS] = stack_null_segment(cpl);
	enter_handler(c, &cs, cpl, g->offset, !(g->type & 1));
	return OUTCOME_DONE;
}

static enum outcome deliver_task(struct interp *c, const struct delivery *e, const struct gate *g)
{
	struct descriptor tss;

	if (!task_find(c, g->selector, VEC_GP, e->ext, false, &tss))
		return OUTCOME_FAULT;
	return task_switch(c, &tss, TASK_EVENT, e);
}

static enum outcome event_deliver(struct interp *c, const struct delivery *e)
{
	struct gate g;

	if (LIKELY(event_quick(c, e)))
		return OUTCOME_DONE;
	if (x86_real_mode(&c->s))
		return deliver_real(c, e);
	if (!gate_read(c, e, &g))
		return OUTCOME_FAULT;
	if (x86_long_mode(&c->s))
		return deliver_long(c, e, &g);
	if (g.type == TYPE_TASK_GATE)
		return deliver_task(c, e, &g);
	return deliver_protected(c, e, &g);
}

/* ---- Faults while delivering, SDM vol. 3 table 6-5 ---- */

static bool contributory(uint8_t vector)
{
	return vector == VEC_DE || (vector >= VEC_TS && vector <= VEC_GP);
}

static bool double_faults(uint8_t first, uint8_t second)
{
	if (first == VEC_PF)
		return second == VEC_PF || contributory(second);
	return contributory(first) && contributory(second);
}

/* Fault-class exceptions push RF set, so that the handler's IRET skips instruction
 * breakpoints; an instruction breakpoint itself does not (SDM vol. 3 17.3.1.1). */
static bool pushes_rf(const struct fault *f)
{
	switch (f->vector) {
	case VEC_DB: return f->resume || f->dr6 & (1u << 13); /* BD: general detect */
	case VEC_NMI:
	case VEC_BP:
	case VEC_OF:
	case VEC_DF:
	case VEC_MC: return false;
	default: return true;
	}
}

static void set_fault_registers(struct interp *c, const struct fault *f)
{
	if (f->vector == VEC_PF)
		c->s.cr2 = f->cr2;
	if (f->vector == VEC_DB) {
		c->s.dr6 = (c->s.dr6 & ~UINT64_C(15)) | f->dr6; /* B0-B3 are this event's only */
		c->s.dr7 &= ~UINT64_C(0x2000); /* GD: the handler may use the registers */
	}
}

static void trace_fault(struct interp *c, const struct fault *f)
{
	if (TRACE(c->vcpu->vm, exceptions))
		vm_trace(c->vcpu->vm, "vector %u error %#x at %#x:%#llx cr2 %#llx", f->vector,
			 f->error, c->s.seg[CS].selector, (unsigned long long)c->r[R_RIP],
			 (unsigned long long)f->cr2);
}

static void begin_delivery(struct interp *c)
{
	c->s.shadow = 0;
	c->stepping = c->resuming = false;
	c->shadow_before = 0;
	c->db_hit = false;
	c->db_bits = 0;
}

static bool shut_down(struct interp *c)
{
	c->s.activity = ACTIVITY_SHUTDOWN;
	return false;
}

/* Delivers *e, whose class is that of vector `first` (an interrupt: 0xff), and whatever faults
 * on the way. */
static bool deliver_with_faults(struct interp *c, struct delivery *e, uint8_t first)
{
	struct fault f;
	enum outcome o;

	while ((o = event_deliver(c, e)) != OUTCOME_DONE) {
		f = c->fault;
		set_fault_registers(c, &f);
		if (first == VEC_DF && (contributory(f.vector) || f.vector == VEC_PF))
			return shut_down(c);
		if (double_faults(first, f.vector))
			f = (struct fault){ .vector = VEC_DF, .has_error = true };
		exit_count(c->vcpu, EXIT_EXCEPTION);
		trace_fault(c, &f);
		first = f.vector;
		*e = (struct delivery){ .rip = o == OUTCOME_LATE ? c->r[R_RIP] : e->rip,
					.rflags = interp_rflags(c),
					.error = f.error,
					.ext = 1,
					.vector = f.vector,
					.has_error = f.has_error };
		if (pushes_rf(&f))
			e->rflags |= FLAG_RF;
	}
	return true;
}

bool interp_deliver_fault(struct interp *c)
{
	struct fault f = c->fault;
	struct delivery e = { .rip = c->r[R_RIP],
			      .rflags = interp_rflags(c),
			      .error = f.error,
			      .ext = !f.soft,
			      .vector = f.vector,
			      .has_error = f.has_error,
			      .soft = f.soft };

	if (pushes_rf(&f))
		e.rflags |= FLAG_RF;
	begin_delivery(c);
	set_fault_registers(c, &f);
	exit_count(c->vcpu, EXIT_EXCEPTION);
	trace_fault(c, &f);
	return deliver_with_faults(c, &e, f.vector);
}

bool interp_deliver_interrupt(struct interp *c, uint8_t vector, bool nmi)
{
	struct delivery e = { .rip = c->r[R_RIP],
			      .rflags = interp_rflags(c),
			      .ext = 1,
			      .vector = nmi ? VEC_NMI : vector };

	begin_delivery(c);
	if (nmi)
		c->s.nmi_blocked = 1;
	c->s.activity = ACTIVITY_RUN;
	exit_count(c->vcpu, EXIT_INTERRUPT);
	return deliver_with_faults(c, &e, 0xff);
}

enum step outcome_step(struct interp *c, enum outcome o)
{
	if (o == OUTCOME_FAULT)
		return STEP_FAULT;
	if (o == OUTCOME_LATE)
		interp_deliver_fault(c); /* a triple fault shows in s.activity */
	return STEP_JUMP;
}

/* ---- INT n, INT3, INTO, INT1 ---- */

/*
 * Delivered by the instruction itself, so that a fault on the way restarts it. TF is off
 * in the handler and there is no single-step trap after the instruction.
 */
static enum step software_interrupt(struct interp *c, const struct insn *i, uint8_t vector,
				    bool soft)
{
	struct delivery e = { .rip = rip_after(c, i),
			      .rflags = interp_rflags(c) & ~(uint64_t)FLAG_RF,
			      .ext = !soft,
			      .vector = vector,
			      .soft = soft };
	enum outcome o = event_deliver(c, &e);

	if (o != OUTCOME_FAULT)
		c->stepping = false;
	return outcome_step(c, o);
}

enum step int_n(struct interp *c, const struct insn *i)
{
	if (x86_v86(&c->s) && (c->s.rflags & FLAG_IOPL) != FLAG_IOPL)
		return raise_gp(c, 0);
	return software_interrupt(c, i, (uint8_t)i->imm, true);
}

enum step int_3(struct interp *c, const struct insn *i)
{
	exit_count(c->vcpu, EXIT_EXCEPTION);
	return software_interrupt(c, i, VEC_BP, true);
}

enum step int_o(struct interp *c, const struct insn *i)
{
	if (!(c->arith & FLAG_OF))
		return STEP_NEXT;
	exit_count(c->vcpu, EXIT_EXCEPTION);
	return software_interrupt(c, i, VEC_OF, true);
}

enum step int_1(struct interp *c, const struct insn *i)
{
	enum step step;

	exit_count(c->vcpu, EXIT_EXCEPTION);
	step = software_interrupt(c, i, VEC_DB, false);
	if (step == STEP_FAULT)
		return step;
	c->s.dr7 &= ~UINT64_C(0x2000);
	/* This #DB is also the one that a breakpoint hit by MOV SS waited for: no second one
	 * follows. */
	c->s.dr6 |= c->shadow_before >> SHADOW_DB_SHIFT;
	c->s.shadow = c->shadow_before = 0;
	return step;
}
