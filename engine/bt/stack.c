/*
 * stack.c - PUSH, POP and LEAVE; and rows of them, which are one access.
 *
 * The idea: functions begin with a row of pushes and end with a row of pops. One check of the whole
 * row will do, and RSP moves once: nobody can look in between. If the check fails, each instruction
 * is its handler's, one after the other. A CALL or RET may end the row.
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

static bool push(struct translation *x)
{
	const ZydisDecodedOperand *o = &x->op[0];
	bool reg = o->type == ZYDIS_OPERAND_TYPE_REGISTER;
	unsigned first = x->colds, from, home = bt_home(RSP);

	bool mem = o->type == ZYDIS_OPERAND_TYPE_MEMORY;

	if (x->i->osz != x->word || (mem && !bt_address_known(x->i)) || (reg && !is_word(x, o)))
		return false;
	if (mem) {
		bt_address(x);
		bt_check(x, x->word, ACCESS_READ, 1);
		code_mem_of(&x->e, x->wide, OP_LOAD, R11, R11, 0);
		code_state(&x->e, OP_STORE, R11, AT(x.target));
	}
	bt_flags_give(x);
	code_lea(&x->e, x->wide, R11, home, NO_REGISTER, 0, -(int32_t)x->word);
	bt_check(x, x->word, ACCESS_WRITE, 1);
	if (mem) {
		code_state(&x->e, OP_LOAD, RCX, AT(x.target));
		code_mem_of(&x->e, x->wide, OP_STORE, RCX, R11, 0);
	} else if (reg) {
		from = bt_home(bt_guest_of(o->reg.value));
		if (from == NO_REGISTER)
			bt_read(&x->e, from = RCX, bt_guest_of(o->reg.value));
		code_mem_of(&x->e, x->wide, OP_STORE, from, R11, 0);
	} else { /* mov [r11], imm32 */
		CODE(&x->e, code_rex(x->wide, 0, 0, R11), 0xc7);
		code_modrm_mem(&x->e, 0, R11, 0);
		code32(&x->e, (uint32_t)x->i->imm);
	}
	code_lea(&x->e, x->wide, home, home, NO_REGISTER, 0, -(int32_t)x->word);
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
	bt_flags_give(x);
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
	bt_flags_give(x);
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

/* --- rows --------------------------------------------------------------------------------- */

/* Is instruction n a PUSH or POP that a row can have? RSP itself would show where it is. */
static bool in_row(const struct translation *x, unsigned n, ZydisMnemonic m)
{
	const ZydisDecodedOperand *o = &x->all_op[n][0];

	return x->known[n] && x->all_zi[n].mnemonic == m && x->b->insn[n].osz == x->word &&
	       is_word(x, o) && bt_guest_of(o->reg.value) != RSP;
}

/* A near CALL by a relative address, or RET without an operand. */
static bool ends_row(const struct translation *x, unsigned n, ZydisMnemonic m)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];

	if (!x->known[n] || x->b->insn[n].osz != x->word ||
	    x->b->insn[n].imm != (uint64_t)(int32_t)x->b->insn[n].imm ||
	    (zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NEAR &&
	     zi->meta.branch_type != ZYDIS_BRANCH_TYPE_SHORT))
		return false;
	if (m == ZYDIS_MNEMONIC_PUSH)
		return zi->mnemonic == ZYDIS_MNEMONIC_CALL &&
		       x->all_op[n][0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	return zi->mnemonic == ZYDIS_MNEMONIC_RET && x->b->insn[n].imm == 0;
}

/* How many instructions from the one at hand on are a row; *branch: the last is a branch. */
static unsigned row_length(const struct translation *x, ZydisMnemonic m, bool *branch)
{
	unsigned n = x->i->n;

	*branch = false;
	while (n < x->segment_end && in_row(x, n, m))
		n++;
	if (n > x->i->n && n < x->segment_end && ends_row(x, n, m)) {
		*branch = true;
		n++;
	}
	return n - x->i->n;
}

/* R11 = host address of the row's lowest word. */
static void check_row(struct translation *x, unsigned count, bool push_row)
{
	int32_t bytes = (int32_t)(x->word * count);

	bt_flags_give(x);
	x->row = count - 1;
	code_lea(&x->e, x->wide, R11, bt_home(RSP), NO_REGISTER, 0, push_row ? -bytes : 0);
	bt_check(x, (unsigned)bytes, push_row ? ACCESS_WRITE : ACCESS_READ, 1);
	x->row = 0;
}

static void push_word(struct translation *x, unsigned n, int32_t at)
{
	unsigned g = bt_guest_of(x->all_op[n][0].reg.value), from = bt_home(g);

	if (from == NO_REGISTER)
		bt_read(&x->e, from = RCX, g);
	code_mem_of(&x->e, x->wide, OP_STORE, from, R11, at);
}

static void pop_word(struct translation *x, unsigned n, int32_t at)
{
	unsigned g = bt_guest_of(x->all_op[n][0].reg.value), to = bt_home(g);

	code_mem_of(&x->e, x->wide, OP_LOAD, to == NO_REGISTER ? RCX : to, R11, at);
	if (to == NO_REGISTER)
		bt_write(&x->e, g, RCX);
}

unsigned bt_row(struct translation *x, bool *ended)
{
	ZydisMnemonic m = x->zi->mnemonic;
	bool branch, is_push = m == ZYDIS_MNEMONIC_PUSH;
	unsigned first = x->colds, from = x->i->n, count, words;
	int32_t word = (int32_t)x->word;

	if (!is_push && m != ZYDIS_MNEMONIC_POP)
		return 0;
	count = row_length(x, m, &branch);
	if (count < 2)
		return 0;
	check_row(x, count, is_push);
	words = count - branch;
	for (unsigned k = 0; k < words; k++) {
		if (is_push)
			push_word(x, from + k, word * (int32_t)(count - 1 - k));
		else
			pop_word(x, from + k, word * (int32_t)k);
	}
	code_lea(&x->e, x->wide, bt_home(RSP), bt_home(RSP), NO_REGISTER, 0,
		 (is_push ? -word : word) * (int32_t)words);
	x->t->native += count;
	*ended = branch;
	if (branch) {
		bt_take(x, from + words);
		bt_row_branch(x, word * (int32_t)words);
	} else {
		bt_join(x, first);
	}
	return count;
}
