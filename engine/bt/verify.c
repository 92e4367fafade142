/*
 * verify.c - decodes emitted code once more and refuses whatever could reach the monitor or the
 * host (see verify.h).
 *
 * The idea: a list of what may be there, not of what may not. Mnemonics are those that the
 * translator knows as plain, those of its own code, and vector instructions; registers are the
 * guest's (x87 and MMX too) and the scratch ones, RSP only where the hint stack moves, R15 only
 * where the budget does; memory is
 * struct interp by GS, cells by RIP, the hint stack, and [R11] and [RCX], and R11 plus a
 * guest's register; branches lead to an
 * instruction of the block or to a stub that names.c knows.
 *
 * Not checked: that R11 and RCX are what a TLB check or a cell made them; and stubs, which are
 * written once.
 *
 * Spec: engine/bt/bt.h. Tested by test/unit/bt_verify.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/verify.h"

#include "engine/bt/translation.h"

struct check {
	const struct bt *t;
	const struct bt_piece *piece;
	const uint8_t *at, *end;        /* the instruction; the end of its piece */
	uint8_t starts[2][BT_ROOM / 8]; /* bitmaps: an instruction begins there */
	ZydisDecoder zydis;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

/* Reached by [R11] and [RCX] without a new check: words of a row, members of what RCX points to. */
#define NEAR_BYTES 4096

static bool is_rsp(ZydisRegister reg)
{
	return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg) ==
	       ZYDIS_REGISTER_RSP;
}

/* PUSH, CALL and RET use the hint stack by themselves. */
static bool moves_rsp(const struct check *c)
{
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET: return true;
	default: return false;
	}
}

/* lea rsp, [rsp + n]; or rsp, HINT_BYTES */
static bool adjusts_rsp(const struct check *c)
{
	const ZydisDecodedOperand *op = c->op;

	if (op[0].reg.value != ZYDIS_REGISTER_RSP)
		return false;
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_LEA)
		return op[1].mem.base == ZYDIS_REGISTER_RSP &&
		       op[1].mem.index == ZYDIS_REGISTER_NONE;
	return c->zi.mnemonic == ZYDIS_MNEMONIC_OR && op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	       op[1].imm.value.u == HINT_BYTES;
}

/* sub r15, n; lea r15, [r15 + n]; a cell's stamp is the stubs' */
static bool is_payment(const struct check *c)
{
	const ZydisDecodedOperand *op = c->op;

	if (op[0].reg.value != ZYDIS_REGISTER_R15)
		return false;
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_LEA)
		return op[0].size == 64 && op[1].mem.base == ZYDIS_REGISTER_R15 &&
		       op[1].mem.index == ZYDIS_REGISTER_NONE && op[1].mem.disp.value > 0;
	return c->zi.mnemonic == ZYDIS_MNEMONIC_SUB && op[0].size == 64 &&
	       op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op[1].imm.value.u <= BLOCK_INSNS;
}

static bool is_budget(ZydisRegister reg)
{
	return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg) ==
	       ZYDIS_REGISTER_R15;
}

static const char *check_register(const struct check *c, const ZydisDecodedOperand *o)
{
	if (is_budget(o->reg.value) && !is_payment(c))
		return "the budget as an operand";
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		if (!is_rsp(o->reg.value) || adjusts_rsp(c) ||
		    (moves_rsp(c) && o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN))
			return NULL;
		return "RSP as an operand";
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_FLAGS:
	case ZYDIS_REGCLASS_IP: return NULL;
	default: break;
	}
	switch (o->reg.value) {
	case ZYDIS_REGISTER_MXCSR:
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG: return NULL;
	default: return "a system register";
	}
}

static bool within(const void *begin, uint64_t room, uint64_t at, unsigned bytes)
{
	uint64_t in = at - (uintptr_t)begin;

	return in <= room && room - in >= bytes;
}

static const char *check_cell(const struct check *c, const ZydisDecodedOperand *o, unsigned bytes)
{
	const struct host_code *code = &c->t->code;
	ZyanU64 to;

	if (ZYAN_FAILED(ZydisCalcAbsoluteAddress(&c->zi, o, (uintptr_t)bt_exec(c->t, c->at), &to)))
		return "an address that cannot be";
	if (within(code->data, code->data_bytes, to, bytes))
		return NULL;
	return "memory by RIP that is no cell";
}

/* [R11 + a guest's register + disp]: R11 is how far the host's memory is from the guest's. */
static bool is_based(const ZydisDecodedOperandMem *m)
{
	return m->base == ZYDIS_REGISTER_R11 && m->segment != ZYDIS_REGISTER_GS &&
	       m->segment != ZYDIS_REGISTER_FS && m->scale == 1 &&
	       ZydisRegisterGetClass(m->index) == ZYDIS_REGCLASS_GPR64 &&
	       m->index != ZYDIS_REGISTER_RCX && m->index != ZYDIS_REGISTER_R11 &&
	       m->index != ZYDIS_REGISTER_R15;
}

static const char *check_memory(const struct check *c, const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperandMem *m = &o->mem;
	int64_t disp = m->disp.value;
	unsigned bytes = o->size / 8u;

	if (m->type == ZYDIS_MEMOP_TYPE_AGEN)
		return NULL;
	if (m->type != ZYDIS_MEMOP_TYPE_MEM || (m->index != ZYDIS_REGISTER_NONE && !is_based(m)))
		return "memory with an index";
	if (m->segment == ZYDIS_REGISTER_FS)
		return "memory by FS";
	if (m->segment == ZYDIS_REGISTER_GS) {
		if (m->base != ZYDIS_REGISTER_NONE)
			return "memory by GS and a base";
		return within(NULL, sizeof(struct interp), (uint64_t)disp, bytes)
			       ? NULL
			       : "memory by GS beyond struct interp";
	}
	switch (m->base) {
	case ZYDIS_REGISTER_RIP: return check_cell(c, o, bytes);
	case ZYDIS_REGISTER_RSP:
		if (o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			return moves_rsp(c) ? NULL : "the stack";
		return disp >= 0 && disp <= 8 && o->actions == ZYDIS_OPERAND_ACTION_READ
			       ? NULL
			       : "the hint stack beyond a frame";
	case ZYDIS_REGISTER_R11:
	case ZYDIS_REGISTER_RCX:
		if (m->index != ZYDIS_REGISTER_NONE)
			return NULL;
		return disp >= 0 && disp + bytes <= NEAR_BYTES ? NULL : "a far displacement";
	default: return "memory by a guest's register";
	}
}

/* By a table of jumps.c. */
static bool is_page_jump(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.base == ZYDIS_REGISTER_RCX &&
	       o->mem.index == ZYDIS_REGISTER_R11 && o->mem.scale == 8 && o->mem.disp.value == 0;
}

/* jmp [next] of a cell */
static const char *check_indirect(const struct check *c)
{
	const struct bt_room *r = c->t->room;
	ZyanU64 to;
	uint64_t in;

	if (c->op[0].mem.base != ZYDIS_REGISTER_RIP ||
	    ZYAN_FAILED(ZydisCalcAbsoluteAddress(&c->zi, &c->op[0], (uintptr_t)bt_exec(c->t, c->at),
						 &to)))
		return "an indirect branch";
	in = to - (uintptr_t)c->t->cell;
	return in < r->cells_all * sizeof(struct bt_cell) &&
			       in % sizeof(struct bt_cell) == offsetof(struct bt_cell, next)
		       ? NULL
		       : "an indirect branch by no cell";
}

static const char *check_branch(const struct check *c)
{
	ZyanU64 to;

	if (c->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return "a far branch";
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_RET)
		return c->zi.operand_count_visible ? "RET with an operand" : NULL;
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_JMP && is_page_jump(&c->op[0]))
		return NULL;
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_JMP && c->t->room->shared &&
	    c->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		return check_indirect(c);
	if (c->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
	    ZYAN_FAILED(ZydisCalcAbsoluteAddress(&c->zi, &c->op[0], (uintptr_t)bt_exec(c->t, c->at),
						 &to)))
		return "an indirect branch";
	if (bt_stub_name(c->t, to))
		return NULL;
	for (unsigned n = 0; n < 2; n++) {
		const struct bt_piece *p = &c->piece[n];
		uint64_t in;

		if (p->begin == p->end)
			continue;
		in = to - (uintptr_t)bt_exec(c->t, p->begin);
		if (in < (uint64_t)(p->end - p->begin) && c->starts[n][in / 8] >> in % 8 & 1)
			return NULL;
	}
	return "a branch to where no instruction begins";
}

/* A vector instruction has such a register; its other operands are checked like all. */
static bool is_vector(const struct check *c)
{
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER ||
	    c->zi.mnemonic == ZYDIS_MNEMONIC_VZEROALL)
		return true;
	for (unsigned n = 0; n < c->zi.operand_count; n++) {
		ZydisRegisterClass k = ZydisRegisterGetClass(c->op[n].reg.value);

		if (c->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM || k == ZYDIS_REGCLASS_MMX))
			return true;
	}
	return false;
}

/* Of these none loads or saves more of the unit; its control word comes from struct interp. */
static bool is_x87(const struct check *c)
{
	if (c->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	    c->zi.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || c->zi.opcode < 0xd8 ||
	    c->zi.opcode > 0xdf)
		return false;
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_FLDCW: return c->op[0].mem.segment == ZYDIS_REGISTER_GS;
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNINIT: return false;
	default: return true;
	}
}

static bool is_known(const struct check *c)
{
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_LAHF:
	case ZYDIS_MNEMONIC_SAHF:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_EMMS: return true;
	case ZYDIS_MNEMONIC_PUSH:
		return c->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && c->zi.operand_width == 64;
	default: return bt_rule(c->zi.mnemonic) & RULE_PLAIN || is_vector(c) || is_x87(c);
	}
}

static const char *check_insn(const struct check *c)
{
	const char *wrong = NULL;
	unsigned n = 0;

	if (c->zi.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return "a privileged instruction";
	switch (c->zi.meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET: wrong = check_branch(c); break;
	default:
		if (!is_known(c))
			return "an instruction that is not on the list";
	}
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_JMP)
		n = 1; /* the target was looked at */
	for (; n < c->zi.operand_count && !wrong; n++) {
		if (c->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER)
			wrong = check_register(c, &c->op[n]);
		else if (c->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			wrong = check_memory(c, &c->op[n]);
		else if (c->op[n].type == ZYDIS_OPERAND_TYPE_POINTER)
			wrong = "a far pointer";
	}
	return wrong;
}

static bool decode(struct check *c)
{
	return ZYAN_SUCCESS(
		ZydisDecoderDecodeFull(&c->zydis, c->at, (size_t)(c->end - c->at), &c->zi, c->op));
}

static const char *find_starts(struct check *c, unsigned n)
{
	const struct bt_piece *p = &c->piece[n];

	if (p->end - p->begin > (ptrdiff_t)BT_ROOM)
		return "more than a block has";
	c->end = p->end;
	for (c->at = p->begin; c->at < p->end; c->at += c->zi.length) {
		if (!decode(c))
			return "no instruction";
		c->starts[n][(c->at - p->begin) / 8] |= (uint8_t)(1u << (c->at - p->begin) % 8);
	}
	return NULL;
}

static const char *check_piece(struct check *c, unsigned n)
{
	const struct bt_piece *p = &c->piece[n];
	const char *wrong;

	c->end = p->end;
	for (c->at = p->begin; c->at < p->end; c->at += c->zi.length) {
		wrong = decode(c) ? check_insn(c) : "no instruction";
		if (wrong)
			return wrong;
	}
	return NULL;
}

/* Branches go forward, too: first where instructions begin, then what they are. */
const char *bt_verify(const struct bt *t, const struct bt_piece piece[2], const uint8_t **at)
{
	struct check c = { .t = t, .piece = piece };
	const char *wrong = NULL;

	ZydisDecoderInit(&c.zydis, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned n = 0; n < 2 && !wrong; n++)
		wrong = find_starts(&c, n);
	for (unsigned n = 0; n < 2 && !wrong; n++)
		wrong = check_piece(&c, n);
	*at = c.at;
	return wrong;
}

void bt_verify_block(const struct translation *x)
{
	const uint8_t *at;
	const char *wrong = bt_verify(x->t, x->piece, &at);

	if (!wrong)
		return;
	bt_show(x);
	host_warn("translated code at %p: %s", (const void *)bt_exec(x->t, at), wrong);
	__builtin_trap();
}
