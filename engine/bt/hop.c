/*
 * hop.c - from a handler on to other translated code, without the run loop.
 *
 * The idea: a handler that ended its block - IRET, a call gate - or that faulted leaves the
 * guest somewhere that is most likely translated, too. What the run loop would do between the two
 * is done here, if it is nothing out of the ordinary: the fault is delivered, and the one
 * instruction for which IRET sets RF executed. Else the run loop is told where things stand.
 * A handler that ended its block without a jump - WRMSR, INVLPG, most writes of CR3 - returns to
 * the code that called it, which goes on by its link, if code is where it was and nobody waits.
 *
 * Spec: engine/interp/run.c. Tested by test/unit/bt.c (rings, resumed).
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"
#include "engine/interp/alu.h"
#include "engine/interp/run.h"

/* Only EFLAGS.RF is set, as by IRET to where a fault was: it means nothing, but ends with one
 * instruction. */
static bool resumes(const struct interp *c)
{
	return (c->s.rflags & (FLAG_TF | FLAG_RF)) == FLAG_RF && !c->s.shadow && !(c->s.dr7 & 0xff);
}

/* Has the run loop to see to something before the next instruction? */
static bool must_ask(const struct interp *c)
{
	return bt_attention(c) || c->vcpu->want_window || c->has_breakpoints ||
	       c->s.event_pending || c->s.activity != ACTIVITY_RUN ||
	       (interp_debug_single(c) && !resumes(c));
}

bool bt_stays(const struct interp *c, uint64_t generation)
{
	return c->current[1].fn == op_end && c->mode == c->block->mode &&
	       tlb_code_generation(&c->tlb, c->x.code_va) == generation && !must_ask(c);
}

/* RIP is where the guest goes on, after `done` instructions: what to tell the run loop. */
static enum step between(struct bt *t, struct interp *c, uint64_t done)
{
	t->boundary_insn.aux = NULL;
	c->current = &t->boundary_insn;
	c->retired_before = done;
	return STEP_AGAIN;
}

/* Delivers the fault of the instruction at hand. false: as interp_take_fault(). */
static bool take_fault(struct bt *t, struct interp *c, enum step *step, uint64_t done)
{
	bool ok;

	c->r[R_RIP] += c->current->at;
	c->s.instructions = done;
	ok = interp_take_fault(c);
	*step = between(t, c, done);
	return ok;
}

/* Executes the instruction that RF is for. false: *step is the run loop's. */
static bool resume(struct bt *t, struct interp *c, enum step *step, uint64_t *done)
{
	struct block *b = fetch_recent(c);

	if (!b || *done == t->end)
		return false;
	c->s.instructions = c->retired_before = *done;
	c->block = b;
	c->current = b->insn;
	interp_debug_before(c);
	*step = b->insn->fn(c, b->insn);
	c->x.flags = (uint16_t)alu_pack(c->arith);
	if (*step == STEP_FAULT)
		return take_fault(t, c, step, *done);
	if (*step == STEP_NEXT || *step == STEP_LEAVE)
		c->r[R_RIP] += b->insn->len;
	else if (*step == STEP_HALT)
		interp_debug_after(c, false);
	if (*step != STEP_NEXT && *step != STEP_LEAVE && *step != STEP_BRANCH && *step != STEP_JUMP)
		return false;
	interp_debug_after(c, false);
	c->single = interp_debug_single(c);
	*step = between(t, c, ++*done);
	return true;
}

/* Where the guest goes on, if that is translated. */
static bool go_there(struct bt *t, struct interp *c, uint64_t done)
{
	struct block *b = fetch_recent(c);

	if (!b || !b->native || !bt_fits(c, b, c->r[R_RIP]) || t->end - done < b->most)
		return false;
	c->s.instructions = done;
	c->x.left = t->end - done;
	c->x.code_va = c->r[R_RIP] - b->offset;
	bt_units_ok(t, c);
	c->x.vector_live = false;
	c->x.target = (uintptr_t)b->native;
	bt_hints_check(t, c, 8);
	t->hops++;
	return true;
}

/*
 * After a handler that ended its block, or faulted: goes on at once where the run loop would, if
 * that is translated and nobody has to be asked. false: the run loop does it all, after *step.
 */
bool bt_hop(struct bt *t, struct interp *c, enum step *step)
{
	uint64_t done = c->retired_before + c->current->n + (*step != STEP_FAULT), was;

	if ((*step != STEP_BRANCH && *step != STEP_JUMP && *step != STEP_LEAVE &&
	     *step != STEP_FAULT) ||
	    must_ask(c))
		return false;
	if (*step == STEP_FAULT && (!take_fault(t, c, step, done) || must_ask(c)))
		return false;
	if (*step == STEP_JUMP && resumes(c) && (!resume(t, c, step, &done) || must_ask(c)))
		return false;
	if (c->single || !bt_translatable(c))
		return false;
	was = c->r[R_RIP];
	if (*step == STEP_LEAVE)
		c->r[R_RIP] += (uint64_t)c->current->at + c->current->len;
	if (go_there(t, c, done))
		return true;
	c->r[R_RIP] = was;
	return false;
}
