/*
 * stack.c - PUSH, POP and LEAVE.
 *
 * The idea: functions begin with pushes and end with pops, other instructions between them. They
 * are a group (group.c): one check for all of the stack that they use, and while nobody looks RSP
 * need not move. A CALL or RET may end it.
 *
 * Spec: SDM vol. 2. Tested by test/unit/bt_random.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

/* A general register as wide as the stack's words? */
static bool is_word(const struct translation *x, const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) ==
		       (x->wide ? ZYDIS_REGCLASS_GPR64 : ZYDIS_REGCLASS_GPR32);
}

/* The checked word is stored at R11 + at. */
static void push_word(struct translation *x, const ZydisDecodedOperand *o, int32_t at)
{
	unsigned from;

	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		from = bt_home(bt_guest_of(o->reg.value));
		if (from == NO_REGISTER)
			bt_read(&x->e, from = RCX, bt_guest_of(o->reg.value));
		code_mem_of(&x->e, x->wide, OP_STORE, from, R11, at);
	} else { /* mov [r11 + at], imm32 */
		CODE(&x->e, code_rex(x->wide, 0, 0, R11), 0xc7);
		code_modrm_mem(&x->e, 0, R11, at);
		code32(&x->e, (uint32_t)x->i->imm);
	}
}

/* In a group: RSP has moved by `moves` when somebody looks. */
static void moved(struct translation *x, int32_t moves)
{
	x->group.moved += moves;
	x->group.owed += moves;
	bt_group_join(x);
}

static bool push(struct translation *x)
{
	const ZydisDecodedOperand *o = &x->op[0];
	bool reg = o->type == ZYDIS_OPERAND_TYPE_REGISTER;
	bool mem = o->type == ZYDIS_OPERAND_TYPE_MEMORY;
	unsigned first = x->colds, home = bt_home(RSP);
	int32_t word = (int32_t)x->word;

	if (x->i->osz != x->word || (mem && !bt_address_known(x->i)) || (reg && !is_word(x, o)))
		return false;
	if (!mem && bt_group_stack(x)) {
		push_word(x, o, bt_group_at(x, -word));
		moved(x, -word);
		return true;
	}
	if (mem) {
		bt_address(x);
		bt_check(x, x->word, ACCESS_READ, 1);
		code_mem_of(&x->e, x->wide, OP_LOAD, R11, R11, 0);
		code_state(&x->e, OP_STORE, R11, AT(x.target));
	}
	bt_flags_lose(x);
	code_lea(&x->e, x->wide, R11, home, NO_REGISTER, 0, -word);
	bt_check(x, x->word, ACCESS_WRITE, 1);
	if (mem) {
		code_state(&x->e, OP_LOAD, RCX, AT(x.target));
		code_mem_of(&x->e, x->wide, OP_STORE, RCX, R11, 0);
	} else {
		push_word(x, o, 0);
	}
	code_lea(&x->e, x->wide, home, home, NO_REGISTER, 0, -word);
	bt_join(x, first);
	return true;
}

/* RSP has moved when the register is written: it may be RSP. */
static bool pop(struct translation *x)
{
	const ZydisDecodedOperand *o = &x->op[0];
	unsigned first = x->colds, g, to, home = bt_home(RSP);

	if (x->i->osz != x->word || !is_word(x, o))
		return false;
	g = bt_guest_of(o->reg.value);
	to = bt_home(g);
	if (g != RSP && bt_group_stack(x)) {
		code_mem_of(&x->e, x->wide, OP_LOAD, to == NO_REGISTER ? RCX : to, R11,
			    bt_group_at(x, 0));
		if (to == NO_REGISTER)
			bt_write(&x->e, g, RCX);
		moved(x, (int32_t)x->word);
		return true;
	}
	bt_flags_lose(x);
	code_move_of(&x->e, x->wide, R11, home);
	bt_check(x, x->word, ACCESS_READ, 1);
	code_lea(&x->e, x->wide, home, home, NO_REGISTER, 0, (int32_t)x->word);
	code_mem_of(&x->e, x->wide, OP_LOAD, to == NO_REGISTER ? R11 : to, R11, 0);
	if (to == NO_REGISTER)
		bt_write(&x->e, g, R11);
	bt_join(x, first);
	return true;
}

static bool leave(struct translation *x)
{
	unsigned first = x->colds, home = bt_home(RSP);

	if (x->i->osz != x->word)
		return false;
	bt_flags_lose(x);
	code_move_of(&x->e, x->wide, R11, RBP);
	bt_check(x, x->word, ACCESS_READ, 1);
	code_lea(&x->e, x->wide, home, RBP, NO_REGISTER, 0, (int32_t)x->word);
	code_mem_of(&x->e, x->wide, OP_LOAD, RBP, R11, 0);
	bt_join(x, first);
	return true;
}

bool bt_stack(struct translation *x)
{
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH: return push(x);
	case ZYDIS_MNEMONIC_POP: return pop(x);
	case ZYDIS_MNEMONIC_LEAVE: return leave(x);
	default: return false;
	}
}

/* --- in a group ---------------------------------------------------------------------------- */

static bool is_near(const struct translation *x, unsigned n)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];

	return zi->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR ||
	       zi->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT;
}

/* An access of a word at RSP + at. */
static bool use(const struct translation *x, struct bt_stack_use *u, int32_t at, int32_t moves)
{
	*u = (struct bt_stack_use){ .at = at, .size = x->word, .moves = moves, .write = moves < 0 };
	return true;
}

/* ADD or SUB of a constant. */
static bool steps(const struct translation *x, unsigned n, struct bt_stack_use *u)
{
	const ZydisDecodedOperand *op = x->all_op[n];
	const struct insn *i = &x->b->insn[n];
	bool add = x->all_zi[n].mnemonic == ZYDIS_MNEMONIC_ADD;

	if (op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !is_word(x, &op[0]) ||
	    bt_guest_of(op[0].reg.value) != RSP || i->imm != (uint64_t)(int16_t)i->imm)
		return false;
	*u = (struct bt_stack_use){ .moves = add ? (int16_t)i->imm : -(int16_t)i->imm };
	return true;
}

bool bt_stack_uses(const struct translation *x, unsigned n, struct bt_stack_use *u)
{
	const ZydisDecodedOperand *op = x->all_op[n];
	const struct insn *i = &x->b->insn[n];
	int32_t word = (int32_t)x->word;

	if (!x->known[n] || i->osz != x->word)
		return false;
	switch (x->all_zi[n].mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		if (op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		    (!is_word(x, &op[0]) || bt_guest_of(op[0].reg.value) == RSP))
			return false;
		return use(x, u, -word, -word);
	case ZYDIS_MNEMONIC_POP:
		return is_word(x, &op[0]) && bt_guest_of(op[0].reg.value) != RSP &&
		       use(x, u, 0, word);
	case ZYDIS_MNEMONIC_CALL:
		return is_near(x, n) && op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		       i->imm == (uint64_t)(int32_t)i->imm && use(x, u, -word, -word) &&
		       (u->ends = true);
	case ZYDIS_MNEMONIC_RET:
		return is_near(x, n) && i->imm == 0 && use(x, u, 0, word) && (u->ends = true);
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB: return steps(x, n, u);
	default: return false;
	}
}
