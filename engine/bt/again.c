/*
 * again.c - flags that are made again from the registers they came from.
 *
 * The idea: most flags that nobody reads before the block ends are not read behind it either; but
 * that is only known of the block that is linked there. So where the registers that a comparison or
 * an addition had (or what it left there) stay as they are until the block ends, the flags are not
 * saved when something else takes the host's: every way that is seldom taken makes them again,
 * and saves them then.
 *
 * Not in a counted machine, where whoever can fault counts as a reader (flow.c).
 *
 * Spec: SDM vol. 1 app. A. Tested by test/unit/bt_random.c, test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#define OPCODE_ADD_TO  0x01 /* op rm, reg */
#define OPCODE_SUB_OF  0x29
#define OPCODE_CMP_OF  0x39
#define OPCODE_TEST_OF 0x85
#define GROUP_ADD      0 /* 81 /n */
#define GROUP_SUB      5
#define GROUP_CMP      7

/* op rm, reg */
static void two(struct code *e, bool wide, uint8_t opcode, unsigned rm, unsigned reg)
{
	CODE(e, code_rex(wide, reg, 0, rm), opcode, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

/* op rm, constant */
static void with_constant(struct code *e, bool wide, uint8_t opcode, unsigned n, unsigned rm,
			  int32_t v)
{
	CODE(e, code_rex(wide, 0, 0, rm), opcode, (uint8_t)(0xc0 | n << 3 | (rm & 7)));
	code32(e, (uint32_t)v);
}

/* Is the operand a whole register of the host's, and no stack pointer? */
static bool is_register(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && bt_is_gpr(o->reg.value) && o->size >= 32 &&
	       !bt_in_memory(bt_guest_of(o->reg.value)) && bt_guest_of(o->reg.value) != RSP;
}

static bool same_register(const ZydisDecodedOperand *a, const ZydisDecodedOperand *b)
{
	return b->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       bt_guest_of(a->reg.value) == bt_guest_of(b->reg.value);
}

/* Which registers have to stay; 0: they are of no use. */
static unsigned sources(const struct translation *x, unsigned n)
{
	const ZydisDecodedOperand *op = x->all_op[n];
	unsigned mask = 0;

	if (!is_register(&op[0]))
		return 0;
	mask = 1u << bt_guest_of(op[0].reg.value);
	switch (x->all_zi[n].mnemonic) {
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR: return mask;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		if (same_register(&op[0], &op[1]))
			return 0;
		break;
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST: break;
	default: return 0;
	}
	if (op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return (int32_t)x->b->insn[n].imm == INT32_MIN ? 0 : mask;
	return is_register(&op[1]) ? mask | 1u << bt_guest_of(op[1].reg.value) : 0;
}

/* Does instruction n leave those registers alone, and is it one that needs no flags in memory? */
static bool leaves(const struct translation *x, unsigned n, unsigned mask)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];
	unsigned rule = bt_rule(zi->mnemonic);

	if (!x->known[n])
		return false;
	for (unsigned k = 0; k < zi->operand_count; k++) {
		const ZydisDecodedOperand *o = &x->all_op[n][k];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE && bt_is_gpr(o->reg.value) &&
		    mask >> bt_guest_of(o->reg.value) & 1)
			return false;
	}
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_COND_BR: return true;
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_UNCOND_BR:
		return x->all_op[n][0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE || bt_page_jump(x, n);
	default: break;
	}
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_LEAVE: return true;
	default: return rule & RULE_PLAIN;
	}
}

bool bt_again_can(const struct translation *x)
{
	unsigned mask;

	if (x->exact)
		return false;
	mask = sources(x, x->maker);
	for (unsigned n = x->maker + 1u; n < x->b->count && mask; n++)
		if (!leaves(x, n, mask))
			return false;
	return mask;
}

/* RCX = what the first operand was before `by`, a register or a constant, was added or taken. */
static void undo(struct code *e, bool wide, bool added, unsigned a, unsigned by, int32_t v)
{
	if (by == NO_REGISTER) {
		code_lea(e, wide, RCX, a, NO_REGISTER, 0, added ? -v : v);
		return;
	}
	code_move_of(e, wide, RCX, a);
	two(e, wide, added ? OPCODE_SUB_OF : OPCODE_ADD_TO, RCX, by);
}

void bt_again(struct translation *x)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[x->maker];
	const ZydisDecodedOperand *op = x->all_op[x->maker];
	unsigned a = bt_home(bt_guest_of(op[0].reg.value)), by = NO_REGISTER;
	int32_t v = (int32_t)x->b->insn[x->maker].imm;
	bool wide = op[0].size == 64, add = zi->mnemonic == ZYDIS_MNEMONIC_ADD;
	struct code *e = &x->e;

	if (op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		by = bt_home(bt_guest_of(op[1].reg.value));
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_CMP:
		if (by == NO_REGISTER)
			with_constant(e, wide, 0x81, GROUP_CMP, a, v);
		else
			two(e, wide, OPCODE_CMP_OF, a, by);
		break;
	case ZYDIS_MNEMONIC_TEST:
		if (by == NO_REGISTER)
			with_constant(e, wide, 0xf7, 0, a, v);
		else
			two(e, wide, OPCODE_TEST_OF, a, by);
		break;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		undo(e, wide, add, a, by, v);
		if (by == NO_REGISTER)
			with_constant(e, wide, 0x81, add ? GROUP_ADD : GROUP_SUB, RCX, v);
		else
			two(e, wide, add ? OPCODE_ADD_TO : OPCODE_SUB_OF, RCX, by);
		break;
	default: two(e, wide, OPCODE_TEST_OF, a, a); break; /* logic: what it left */
	}
}
