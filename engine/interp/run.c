/*
 * run.c - the run loop: block after block, and what can end one.
 *
 * A block's instructions are called one after the other with nothing between them
 * but a store of where we are. All that may happen between two instructions - a
 * fault, the end of the budget, an interrupt shadow, a breakpoint - either comes back as the
 * step of an instruction or was known before the block was entered. A block with more
 * instructions than the budget has left is executed in part.
 *
 * From block to block: the instruction that left one remembers where that led (aux). The block
 * it names says for which RIP, and for how long the TLB is known to lead there, so a
 * successor is taken exactly when the look-up would have hit and found the same.
 *
 * Spec: SDM vol. 3 6.8, 6.9 (priority at an instruction boundary). Tested by
 * test/unit/interp_run.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/run.h"

/* Where `current` points while no instruction is being executed. */
static const struct insn between;

void interp_idle(struct interp *c)
{
	c->current = &between;
	c->retired_before = c->s.instructions;
}

/* Of a block that several vCPUs may share, others may be stopping or going on just here: who loses
 * stops at the block's end, or comes back for nothing. */
static insn_fn fn_of(const struct insn *i)
{
	return __atomic_load_n(&i->fn, __ATOMIC_RELAXED);
}

static void set_fn(struct insn *i, insn_fn fn)
{
	__atomic_store_n(&i->fn, fn, __ATOMIC_RELAXED);
}

void interp_exit(struct interp *c, struct exit *exit)
{
	struct insn *next = (struct insn *)c->current + 1;
	insn_fn fn;

	interp_sync(c);
	exit_handle(c->vcpu, exit);
	if (!atomic_load_explicit(&c->vcpu->notice, memory_order_relaxed) || c->current == &between)
		return;
	/* The sentinel ends the block anyway. */
	fn = fn_of(next);
	if (c->cut == next || fn == op_end || fn == op_stale)
		return;
	if (c->cut && c->cut_block->live)
		set_fn(c->cut, c->cut_fn);
	c->cut = next;
	c->cut_fn = fn;
	c->cut_block = c->block;
	set_fn(next, op_stale);
}

/* The instruction that was made stale only to stop before it is good again. */
static void uncut(struct interp *c)
{
	if (c->cut && c->cut == c->current) {
		if (c->cut_block->live)
			set_fn(c->cut, c->cut_fn);
		c->cut = NULL;
	}
}

static inline enum step run_block(struct interp *c, const struct insn *i)
{
	enum step step;

	do {
		c->current = i;
		step = i->fn(c, i);
		i++;
	} while (LIKELY(step == STEP_NEXT));
	return step;
}

enum step interp_run_block(struct interp *c, const struct block *b)
{
	return run_block(c, b->insn);
}

/* At most `most` instructions (fewer than the block has). */
static enum step run_part(struct interp *c, const struct insn *i, uint64_t most)
{
	enum step step;

	do {
		c->current = i;
		step = i->fn(c, i);
		i++;
	} while (step == STEP_NEXT && --most > 0);
	return step;
}

static inline void enter(struct interp *c, struct block *b)
{
	c->block = b;
	c->current = b->insn;
	c->retired_before = c->s.instructions;
}

/*
 * Accounts for the instruction that ended a run: moves RIP to where the guest goes on, and
 * counts. true: the guest may be in another mode, or a fault waits: settle().
 */
static inline bool leave(struct interp *c, enum step step)
{
	const struct insn *i = c->current;
	uint64_t done = c->retired_before + i->n;

	switch (step) {
	case STEP_BRANCH: c->s.instructions = done + 1; return false;
	case STEP_END:
		c->r[R_RIP] += i->at;
		c->s.instructions = done;
		return false;
	case STEP_NEXT:
	case STEP_LEAVE:
	case STEP_TRAP:
	case STEP_HALT:
		c->r[R_RIP] += (uint64_t)i->at + i->len;
		c->s.instructions = done + 1;
		return step != STEP_NEXT;
	case STEP_JUMP: c->s.instructions = done + 1; return true;
	case STEP_STALE: uncut(c); /* fall through */
	case STEP_FAULT:
	case STEP_AGAIN:
		c->r[R_RIP] += i->at;
		c->s.instructions = done;
		return step != STEP_STALE;
	}
	return true;
}

static void derive_single(struct interp *c)
{
	c->single = interp_debug_single(c) || c->has_breakpoints;
}

/* Delivers c->fault. false: shutdown. */
static bool deliver(struct interp *c)
{
	bool alive;

	/* The count is whole now; interp_sync() must find it so. */
	c->retired_before = c->s.instructions - c->current->n;
	storm_event(&c->vcpu->storm, c->s.instructions);
	alive = interp_deliver_fault(c);
	if (!alive)
		c->s.activity = ACTIVITY_SHUTDOWN;
	derive_single(c);
	return alive;
}

bool interp_can_inject(struct vcpu *vcpu, const struct event *event)
{
	const struct interp *c = vcpu->engine;

	if (c->s.event_pending || c->s.activity == ACTIVITY_SHUTDOWN)
		return false;
	if (event->kind == EVENT_NMI)
		return !c->s.nmi_blocked && !(c->s.shadow & SHADOW_MOVSS);
	return c->s.rflags & FLAG_IF && !(c->s.shadow & (SHADOW_STI | SHADOW_MOVSS));
}

static bool window_open(struct vcpu *vcpu)
{
	static const struct event irq = { .kind = EVENT_IRQ }, nmi = { .kind = EVENT_NMI };

	if (!vcpu->want_window)
		return false;
	return (vcpu->nmi_waiting && interp_can_inject(vcpu, &nmi)) ||
	       interp_can_inject(vcpu, &irq);
}

/* After a step that is more than "go on". true: run() ends with *reason. */
static bool settle(struct interp *c, enum step step, enum exit_reason *reason)
{
	*reason = EXIT_SHUTDOWN;
	if (step == STEP_FAULT || step == STEP_TRAP) {
		if (!deliver(c))
			return true;
	} else {
		derive_single(c);
		if (UNLIKELY(c->s.activity == ACTIVITY_SHUTDOWN)) /* a task switch went wrong */
			return true;
	}
	if (step == STEP_AGAIN && !c->single && interp_debug_after(c, true) && !deliver(c))
		return true;
	if (step == STEP_HALT) {
		*reason = EXIT_HLT;
		return true;
	}
	*reason = EXIT_KICK;
	if (UNLIKELY(c->s.event_pending) || UNLIKELY(c->vcpu->storm.due))
		return true;
	*reason = EXIT_IRQ_WINDOW;
	return window_open(c->vcpu);
}

bool interp_take_fault(struct interp *c)
{
	return deliver(c) && !c->s.event_pending && !c->vcpu->storm.due && !c->single &&
	       !window_open(c->vcpu);
}

/* Executes one instruction with everything that debugging and shadows need. true: as settle(). */
static bool run_single(struct interp *c, struct block *b, enum exit_reason *reason)
{
	enum step step;
	bool halted;

	*reason = EXIT_SHUTDOWN;
	if (interp_debug_before(c))
		return settle(c, STEP_FAULT, reason);
	step = run_part(c, b->insn, 1);
	leave(c, step);
	halted = step == STEP_HALT;
	if (step == STEP_FAULT)
		return settle(c, step, reason);
	if (step == STEP_STALE)
		return false;
	if (step == STEP_TRAP && !deliver(c))
		return true;
	if (interp_debug_after(c, step == STEP_AGAIN)) {
		halted = false;
		if (!deliver(c))
			return true;
	}
	return settle(c, halted ? STEP_HALT : STEP_LEAVE, reason);
}

/* What set_state() left to be delivered. false: shutdown. */
static bool deliver_pending(struct interp *c)
{
	c->s.event_pending = 0;
	if (c->s.event_external)
		return interp_deliver_interrupt(c, c->s.event_vector, c->s.event_vector == VEC_NMI);
	c->fault = (struct fault){ .vector = c->s.event_vector,
				   .has_error = c->s.event_has_error,
				   .error = c->s.event_error,
				   .cr2 = c->s.cr2 };
	return deliver(c);
}

static bool attention(struct interp *c)
{
	if (LIKELY(!atomic_load_explicit(&c->kicked, memory_order_relaxed) &&
		   !atomic_load_explicit(&c->vcpu->notice, memory_order_relaxed)))
		return false;
	atomic_store(&c->kicked, false);
	return true;
}

/* The block at RIP after *from ended its block (NULL: not known); as fetch_block(). */
static inline struct block *successor(struct interp *c, struct insn *from)
{
	struct block *b = from ? from->aux : NULL;
	uint64_t rip = c->r[R_RIP];

	if (LIKELY(b != NULL) && LIKELY(b->rip == rip) &&
	    LIKELY(b->generation == tlb_code_generation(&c->tlb, rip)))
		return b;
	b = fetch_recent(c);
	if (UNLIKELY(!b))
		return fetch_block(c);
	if (from && c->code_bits == 64) {
		b->rip = rip;
		b->generation = tlb_code_generation(&c->tlb, rip);
		from->aux = b;
	}
	return b;
}

/* The instruction that ended its block by `step`, if the mode is the same as in the block. */
static inline struct insn *leaving(struct interp *c, enum step step)
{
	return LIKELY(step == STEP_BRANCH || step == STEP_END) ? (struct insn *)c->current : NULL;
}

/* Runs until something ends it. */
static enum exit_reason run_until(struct interp *c, uint64_t end)
{
	enum exit_reason reason;
	struct insn *from = NULL; /* what ended the block before */

	for (;;) {
		uint64_t left = end - c->s.instructions;
		struct block *b;
		enum step step;

		if (UNLIKELY(attention(c)))
			return EXIT_KICK;
		if (UNLIKELY(left == 0))
			return EXIT_BUDGET;
		b = successor(c, from);
		from = NULL;
		if (UNLIKELY(!b)) {
			interp_idle(c);
			if (UNLIKELY(c->single))
				(void)interp_debug_before(c); /* goes before a fault of the fetch */
			if (settle(c, STEP_FAULT, &reason))
				return reason;
			continue;
		}
		enter(c, b);
		if (UNLIKELY(c->single)) {
			if (run_single(c, b, &reason))
				return reason;
			continue;
		}
		if (UNLIKELY(left < b->most))
			step = run_part(c, b->insn, left);
		else if (c->execute)
			step = c->execute(c, b);
		else
			step = run_block(c, b->insn);
		if (UNLIKELY(leave(c, step)) && settle(c, step, &reason))
			return reason;
		from = leaving(c, step);
	}
}

int interp_run(struct vcpu *vcpu, struct exit *exit)
{
	struct interp *c = vcpu->engine;
	uint64_t end = c->s.instructions + vcpu->budget;

	if (end < c->s.instructions)
		end = UINT64_MAX;
	if (c->s.activity == ACTIVITY_SHUTDOWN || (c->s.event_pending && !deliver_pending(c))) {
		exit->reason = EXIT_SHUTDOWN;
		return 0;
	}
	derive_single(c);
	c->end = end;
	exit->reason = vcpu->storm.due ? EXIT_KICK : run_until(c, end);
	if (c->code_bits != 64) /* a block that ends at 4 GiB leaves it there */
		c->r[R_RIP] = (uint32_t)c->r[R_RIP];
	interp_idle(c);
	return 0;
}
