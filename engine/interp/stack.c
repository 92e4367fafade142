/*
 * stack.c - PUSH, POP, PUSHA, POPA, ENTER, LEAVE.
 *
 * The idea: everything is loaded, stored or probed before RSP moves. PUSH rSP stores the old
 * value; POP to memory computes its address with RSP already incremented.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/stack.h"

#include "engine/interp/integer.h"

/* 64-bit code, 64-bit operand: the common case. */
static enum step push_r64(struct interp *c, const struct insn *i)
{
	if (UNLIKELY(!mem_store64(c, SS, c->r[RSP] - 8, reg_get64(c, i->a))))
		return STEP_FAULT;
	c->r[RSP] -= 8;
	return STEP_NEXT;
}

static enum step pop_r64(struct interp *c, const struct insn *i)
{
	uint64_t v;

	if (UNLIKELY(!mem_load64(c, SS, c->r[RSP], &v)))
		return STEP_FAULT;
	c->r[RSP] += 8;
	reg_set64(c, i->a, v);
	return STEP_NEXT;
}

static enum step push_r(struct interp *c, const struct insn *i)
{
	return stack_push(c, i->osz, reg_get(c, i->a, i->osz)) ? STEP_NEXT : STEP_FAULT;
}

static enum step push_i(struct interp *c, const struct insn *i)
{
	return stack_push(c, i->osz, i->imm) ? STEP_NEXT : STEP_FAULT;
}

static enum step push_m(struct interp *c, const struct insn *i)
{
	uint64_t v;

	if (!operand_load(c, i->seg, insn_ea(c, i), i->osz, &v) || !stack_push(c, i->osz, v))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step pop_r(struct interp *c, const struct insn *i)
{
	uint64_t v;

	if (!stack_top(c, i->osz, &v))
		return STEP_FAULT;
	stack_drop(c, i->osz);
	reg_set(c, i->a, i->osz, v);
	return STEP_NEXT;
}

static enum step pop_m(struct interp *c, const struct insn *i)
{
	uint64_t v, before = c->r[RSP];

	if (!stack_top(c, i->osz, &v))
		return STEP_FAULT;
	stack_drop(c, i->osz);
	if (!operand_store(c, i->seg, insn_ea(c, i), i->osz, v)) {
		c->r[RSP] = before;
		return STEP_FAULT;
	}
	return STEP_NEXT;
}

bool bind_push(const struct decoding *d, struct insn *i)
{
	if (bind_is_system(d))
		return bind_system(d, i);
	if (form_is_imm(&d->op[0])) {
		i->imm = d->op[0].imm.value.u;
		i->fn = push_i;
	} else if (form_is_mem(&d->op[0])) {
		i->fn = push_m;
	} else {
		i->a = bind_gpr(d->op[0].reg.value);
		i->fn = i->osz == 8 ? push_r64 : push_r;
	}
	return true;
}

bool bind_pop(const struct decoding *d, struct insn *i)
{
	if (bind_is_system(d))
		return bind_system(d, i);
	if (form_is_mem(&d->op[0])) {
		i->fn = pop_m;
	} else {
		i->a = bind_gpr(d->op[0].reg.value);
		i->fn = i->osz == 8 ? pop_r64 : pop_r;
	}
	return true;
}

/* rSP changes last: what a fault leaves below it is as on CPUs, and of no consequence. */
static enum step push_all(struct interp *c, const struct insn *i)
{
	uint8_t ssz = stack_size(c), n;
	uint64_t mask = asz_mask(ssz), sp = c->r[RSP];

	for (n = 0; n < 8; n++)
		if (!stack_store(c, (sp - (n + 1u) * i->osz) & mask, i->osz, c->r[n]))
			return STEP_FAULT;
	stack_set(c, ssz, sp - 8u * i->osz);
	return STEP_NEXT;
}

/* The slot of rSP is read but not used. As on CPUs, registers popped before a fault keep their new
 * values: rSP is still the old one, so the instruction can be restarted all the same. */
static enum step pop_all(struct interp *c, const struct insn *i)
{
	uint8_t ssz = stack_size(c);
	uint64_t mask = asz_mask(ssz), sp = c->r[RSP], v;

	for (uint8_t n = 8; n-- > 0;) {
		if (!stack_load(c, (sp + (7u - n) * i->osz) & mask, i->osz, &v))
			return STEP_FAULT;
		if (n != RSP)
			reg_set(c, n * 8, i->osz, v);
	}
	stack_set(c, ssz, sp + 8u * i->osz);
	return STEP_NEXT;
}

bool bind_push_all(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = push_all;
	return true;
}

bool bind_pop_all(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = pop_all;
	return true;
}

/*
 * imm: bytes of locals; c: nesting level. The frame pointers of the outer levels are copied
 * one by one, in order, because the frames may overlap; registers change last, so a fault
 * leaves at most words below RSP behind, as on the processor. The last word of the new
 * frame must be writable.
 */
static enum step enter(struct interp *c, const struct insn *i)
{
	uint8_t ssz = stack_size(c), osz = i->osz;
	uint64_t mask = asz_mask(ssz), sp = (c->r[RSP] - osz) & mask, bp = c->r[RBP];
	uint64_t frame = (c->r[RSP] & ~mask) | sp, v;

	if (!stack_store(c, sp, osz, bp))
		return STEP_FAULT;
	for (unsigned level = 1; level < i->c; level++) {
		bp -= osz;
		sp = (sp - osz) & mask;
		if (!stack_load(c, bp & mask, osz, &v) || !stack_store(c, sp, osz, v))
			return STEP_FAULT;
	}
	if (i->c) {
		sp = (sp - osz) & mask;
		if (!stack_store(c, sp, osz, frame))
			return STEP_FAULT;
	}
	sp = (sp - i->imm) & mask;
	if (!mem_probe_write(c, SS, sp, osz))
		return STEP_FAULT;
	reg_set(c, RBP * 8, osz, frame);
	stack_set(c, ssz, sp);
	return STEP_NEXT;
}

bool bind_enter(const struct decoding *d, struct insn *i)
{
	i->imm = (uint16_t)d->op[0].imm.value.u;
	i->c = d->op[1].imm.value.u & 31;
	i->fn = enter;
	return true;
}

static enum step leave(struct interp *c, const struct insn *i)
{
	uint8_t ssz = stack_size(c);
	uint64_t sp = c->r[RBP] & asz_mask(ssz), v;

	if (!stack_load(c, sp, i->osz, &v))
		return STEP_FAULT;
	stack_set(c, ssz, sp + i->osz);
	reg_set(c, RBP * 8, i->osz, v);
	return STEP_NEXT;
}

bool bind_leave(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = leave;
	return true;
}
