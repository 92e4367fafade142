/*
 * control.c - near JMP, CALL and RET, Jcc, LOOPcc, JrCXZ.
 *
 * The idea: the target is checked before anything changes - canonical in 64-bit code, within
 * the CS limit elsewhere - so the #GP belongs to the branch itself. A conditional branch
 * that is not taken does not end its block.
 *
 * In 64-bit code the operand-size prefix is ignored, as on Intel's processors.
 *
 * Spec: SDM vol. 2 "CALL", "JMP", "RET", "Jcc", "LOOP/LOOPcc".
 * Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/decode.h"
#include "engine/interp/integer.h"
#include "engine/interp/stack.h"

/* May execution go on at `to`, already masked to the operand size? */
static inline bool target_ok(struct interp *c, uint64_t to)
{
	if (LIKELY(c->code_bits == 64))
		return gva_canonical(to);
	return to <= c->s.seg[CS].limit;
}

static inline enum step go(struct interp *c, uint64_t to)
{
	if (UNLIKELY(!target_ok(c, to)))
		return raise_gp(c, 0);
	c->r[R_RIP] = to;
	return STEP_BRANCH;
}

static inline uint64_t relative(const struct interp *c, const struct insn *i)
{
	return (c->r[R_RIP] + i->imm) & asz_mask(i->osz);
}

static enum step jmp_relative(struct interp *c, const struct insn *i)
{
	return go(c, relative(c, i));
}

bool insn_is_jump(const struct insn *i)
{
	return i->fn == jmp_relative;
}

/* The target of an indirect branch: register a or memory. */
static inline bool indirect(struct interp *c, const struct insn *i, uint64_t *to)
{
	if (!(i->flags & INSN_MEM)) {
		*to = reg_get(c, i->a, i->osz);
		return true;
	}
	if (LIKELY(i->osz == 8))
		return mem_load64(c, i->seg, insn_ea(c, i), to);
	return operand_load(c, i->seg, insn_ea(c, i), i->osz, to);
}

static enum step jmp_indirect(struct interp *c, const struct insn *i)
{
	uint64_t to;

	return indirect(c, i, &to) ? go(c, to) : STEP_FAULT;
}

static inline enum step call(struct interp *c, const struct insn *i, uint64_t to)
{
	uint64_t rsp = c->r[RSP];

	if (UNLIKELY(!stack_push(c, i->osz, insn_next_rip(c, i))))
		return STEP_FAULT;
	/* CPUs, too, leave the return address behind when they find the target bad. */
	if (UNLIKELY(!target_ok(c, to))) {
		c->r[RSP] = rsp;
		return raise_gp(c, 0);
	}
	c->r[R_RIP] = to;
	return STEP_BRANCH;
}

static enum step call_relative(struct interp *c, const struct insn *i)
{
	return call(c, i, relative(c, i));
}

static enum step call_indirect(struct interp *c, const struct insn *i)
{
	uint64_t to;

	return indirect(c, i, &to) ? call(c, i, to) : STEP_FAULT;
}

/* imm: bytes of arguments to drop. */
static enum step ret(struct interp *c, const struct insn *i)
{
	uint64_t to;

	if (UNLIKELY(!stack_top(c, i->osz, &to)))
		return STEP_FAULT;
	if (UNLIKELY(!target_ok(c, to)))
		return raise_gp(c, 0);
	stack_drop(c, i->osz + i->imm);
	c->r[R_RIP] = to;
	return STEP_BRANCH;
}

#define X(cc)                                                                                      \
	static enum step jcc##cc(struct interp *c, const struct insn *i)                           \
	{                                                                                          \
		return alu_condition(c->arith, cc) ? go(c, relative(c, i)) : STEP_NEXT;            \
	}
ALU_CONDITIONS(X)
#undef X

/* LOOP, LOOPE, LOOPNE. op: 0 ZF must be clear, 1 ZF must be set, 2 either. The count is
 * written only if the branch does not fault. */
static enum step loop(struct interp *c, const struct insn *i)
{
	uint64_t count = (c->r[RCX] - 1) & asz_mask(i->asz);
	enum step step = STEP_NEXT;

	if (count && (i->op == 2 || i->op == alu_condition(c->arith, 4)))
		step = go(c, relative(c, i));
	if (step != STEP_FAULT)
		reg_set(c, RCX * 8, i->asz, count);
	return step;
}

static enum step jump_if_zero_count(struct interp *c, const struct insn *i)
{
	return c->r[RCX] & asz_mask(i->asz) ? STEP_NEXT : go(c, relative(c, i));
}

/* What every near branch has. */
static bool bind_branch(const struct decoding *d, struct insn *i, insn_fn fn)
{
	i->osz = d->code_bits == 64 ? 8 : d->zi.operand_width / 8;
	i->fn = fn;
	bind_last(i);
	return true;
}

static bool bind_target(const struct decoding *d, struct insn *i, insn_fn near, insn_fn indirectly)
{
	if (bind_is_system(d))
		return bind_system(d, i);
	if (form_is_imm(&d->op[0]))
		return bind_branch(d, i, near);
	if (form_is_reg(&d->op[0]))
		i->a = bind_gpr(d->op[0].reg.value);
	return bind_branch(d, i, indirectly);
}

static bool bind_jmp(const struct decoding *d, struct insn *i)
{
	return bind_target(d, i, jmp_relative, jmp_indirect);
}

static bool bind_call(const struct decoding *d, struct insn *i)
{
	return bind_target(d, i, call_relative, call_indirect);
}

static bool bind_ret(const struct decoding *d, struct insn *i)
{
	if (bind_is_system(d))
		return bind_system(d, i);
	i->imm = d->zi.operand_count_visible ? (uint16_t)d->op[0].imm.value.u : 0;
	return bind_branch(d, i, ret);
}

static bool bind_jcc(const struct decoding *d, struct insn *i)
{
	static const insn_fn row[16] = {
#define X(cc) jcc##cc,
		ALU_CONDITIONS(X)
#undef X
	};

	bind_branch(d, i, row[d->zi.opcode & 15]);
	i->flags &= (uint8_t)~INSN_LAST; /* not taken, the block goes on */
	return true;
}

static bool bind_loop(const struct decoding *d, struct insn *i)
{
	i->op = d->zi.mnemonic == ZYDIS_MNEMONIC_LOOP    ? 2
		: d->zi.mnemonic == ZYDIS_MNEMONIC_LOOPE ? 1
							 : 0;
	return bind_branch(d, i, loop);
}

static bool bind_jrcxz(const struct decoding *d, struct insn *i)
{
	return bind_branch(d, i, jump_if_zero_count);
}

/* clang-format off */
#define CONTROL_BINDS(X)                                                                           \
	X(JMP, bind_jmp, ALWAYS) X(CALL, bind_call, ALWAYS) X(RET, bind_ret, ALWAYS)               \
	INTEGER_CONDITIONAL(X, J, bind_jcc, ALWAYS)                                                \
	X(LOOP, bind_loop, ALWAYS) X(LOOPE, bind_loop, ALWAYS) X(LOOPNE, bind_loop, ALWAYS)        \
	X(JCXZ, bind_jrcxz, ALWAYS) X(JECXZ, bind_jrcxz, ALWAYS) X(JRCXZ, bind_jrcxz, ALWAYS)

const struct bind_row interp_binds_control[] = {
#define X(name, binder, needs) { ZYDIS_MNEMONIC_##name, binder, needs },
	CONTROL_BINDS(X)
#undef X
	{ ZYDIS_MNEMONIC_INVALID, NULL, 0 },
};
/* clang-format on */
