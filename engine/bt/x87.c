/*
 * x87.c - x87 instructions on the host's x87 unit.
 *
 * The idea: while every exception is masked and none is pending, an x87 instruction cannot fault,
 * so the guest's runs as it is, its memory operand replaced by [R11]. The unit is loaded when a
 * block that needs it begins (x.x87_live) and saved when C is called; in between nothing is
 * converted.
 *
 * The guest's pointers are not the unit's, which would be the host's. FIP is known when code is
 * made: it is stored where it could be seen - before branches and handlers, and in the slow ways -
 * and not for each instruction. FDP is stored by each that has an operand, if the CPU model
 * has one that follows; FOP only ever changes with an unmasked exception.
 *
 * MMX registers are the unit's; insn.c has their instructions, as it has those of YMM registers.
 *
 * Left to handlers: what touches more than memory, AX and the control word.
 *
 * Spec: SDM vol. 1 ch. 8, vol. 2. Tested by test/unit/bt_random.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#include "engine/interp/vector.h"

#define FCW_MASKS    0x3fu
#define FCW_WRITABLE 0x1f3fu
#define FCW_ONE      0x40u
#define IMAGE_ST     28 /* byte offset of ST(0) in the image */

bool bt_x87_ok(const struct interp *c)
{
	return !(c->s.cr0 & (CR0_EM | CR0_TS)) && (c->s.fpu.fcw & FCW_MASKS) == FCW_MASKS &&
	       !(c->s.fpu.fsw & (FSW_ES | FSW_B));
}

void bt_x87_take(struct interp *c)
{
	x87_image_take(&c->s.fpu, c->x.image, 0);
	c->x.x87_live = 0;
}

/* --- stubs -------------------------------------------------------------------------------- */

/* ECX |= ECX << count; ECX &= mask. Clobbers R11. */
static void spread(struct code *e, uint8_t count, uint32_t mask)
{
	code_move32(e, R11, RCX);
	CODE(e, 0xc1, 0xe1, count, 0x44, 0x09, 0xd9, 0x81, 0xe1);
	code32(e, mask);
}

/* movzx ecx, byte (b6) or word (b7) gs:[at] */
static void zero_extend(struct code *e, uint8_t opcode, uint32_t at)
{
	CODE(e, PREFIX_GS, 0x0f, opcode);
	code_modrm_state(e, RCX, at);
}

const uint8_t *bt_put_x87_in(struct code *e)
{
	const uint8_t *begin = e->at;

	zero_extend(e, 0xb7, AT(s.fpu.fcw));
	code_state32(e, OP_STORE, RCX, AT(x.image));
	zero_extend(e, 0xb7, AT(s.fpu.fsw));
	code_state32(e, OP_STORE, RCX, AT(x.image) + 4);
	zero_extend(e, 0xb6, AT(s.fpu.ftw));
	CODE(e, 0x80, 0xf1, 0xff); /* xor cl, ffh: the empty ones, two bits for each */
	spread(e, 4, 0x0f0f);
	spread(e, 2, 0x3333);
	spread(e, 1, 0x5555);
	code_lea(e, false, RCX, RCX, RCX, 1, 0);
	code_state32(e, OP_STORE, RCX, AT(x.image) + 8);
	for (unsigned n = 0; n < 8; n++) {
		uint32_t from = AT(s.fpu.st) + n * 16, to = AT(x.image) + IMAGE_ST + n * 10;

		code_state(e, OP_LOAD, RCX, from);
		code_state(e, OP_STORE, RCX, to);
		code_state32(e, OP_LOAD, RCX, from + 8);
		code8(e, 0x66);
		code_state32(e, OP_STORE, RCX, to + 8);
	}
	CODE(e, PREFIX_GS, 0xdd); /* frstor */
	code_modrm_state(e, 4, AT(x.image));
	code_state_set8(e, AT(x.x87_live), 1);
	code8(e, 0xc3);
	return begin;
}

const uint8_t *bt_put_x87_out(struct code *e)
{
	const uint8_t *begin = e->at;

	CODE(e, PREFIX_GS, 0xdd); /* fnsave */
	code_modrm_state(e, 6, AT(x.image));
	code8(e, 0xc3);
	return begin;
}

/* --- instructions ------------------------------------------------------------------------- */

static bool is_arith(const struct translation *x)
{
	return x->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       x->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && x->zi->opcode >= 0xd8 &&
	       x->zi->opcode <= 0xdf;
}

static bool has_fdp(const struct translation *x)
{
	return !cpu_model_has(x->c->vcpu->vm->cpu_model, FEATURE_FDP_EXCPTN_ONLY);
}

bool bt_is_x87(const struct translation *x)
{
	bool memory = x->i->flags & INSN_MEM;

	if (memory && !bt_address_known(x->i))
		return false;
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FWAIT:
	case ZYDIS_MNEMONIC_EMMS: return true;
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: return false;
	default: return is_arith(x);
	}
}

bool bt_is_x87_compare(const struct translation *x)
{
	return is_arith(x) && x->zi->cpu_flags && x->zi->cpu_flags->modified;
}

/* R11 = host address of the operand. */
static void operand(struct translation *x, unsigned size, enum access access)
{
	bt_address(x);
	bt_check(x, size, access, 1);
}

static const ZydisDecodedOperand *memory_of(const struct translation *x)
{
	for (unsigned n = 0; n < x->zi->operand_count; n++)
		if (x->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &x->op[n];
	return NULL;
}

/* FDP is an offset within the segment. */
static void note_fdp(struct translation *x)
{
	const struct insn *i = x->i;
	struct insn flat = *i;

	flat.seg = DS;
	x->i = &flat;
	bt_address(x);
	x->i = i;
	code_state(&x->e, OP_STORE, R11, AT(s.fpu.fdp));
}

static void arith(struct translation *x)
{
	const ZydisDecodedOperand *m = memory_of(x);
	struct code *e = &x->e;
	unsigned first = x->colds;

	if (m)
		operand(x, m->size / 8u,
			m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACCESS_WRITE : ACCESS_READ);
	if (x->need[x->i->n])
		bt_flags_need(x);
	if (m)
		CODE(e, 0x41, x->zi->opcode, (uint8_t)(x->zi->raw.modrm.reg << 3 | (R11 & 7)));
	else
		CODE(e, x->zi->opcode,
		     (uint8_t)(0xc0 | x->zi->raw.modrm.reg << 3 | x->zi->raw.modrm.rm));
	if (bt_is_x87_compare(x))
		bt_flags_out(x);
	if (m && has_fdp(x))
		note_fdp(x);
	bt_join(x, first);
	x->fip = x->b->offset + x->i->at;
}

void bt_x87_fip(struct code *e, int32_t fip)
{
	if (fip < 0)
		return;
	code_state(e, OP_LOAD, RCX, AT(x.code_va));
	code_lea(e, true, RCX, RCX, NO_REGISTER, 0, fip);
	code_state(e, OP_STORE, RCX, AT(s.fpu.fip));
}

void bt_x87_give(struct translation *x)
{
	bt_x87_fip(&x->e, x->fip);
	x->fip = -1;
}

/* One that leaves an exception unmasked is the handler's. */
static void fldcw(struct translation *x)
{
	unsigned first = x->colds;
	struct code *e = &x->e;

	operand(x, 2, ACCESS_READ);
	CODE(e, 0x41, 0x0f, 0xb7, 0x0b, 0x81, 0xe1); /* movzx ecx, word [r11]; and ecx, */
	code32(e, FCW_WRITABLE);
	CODE(e, 0x83, 0xc9, FCW_ONE); /* or ecx, */
	code_move32(e, R11, RCX);
	CODE(e, 0x41, 0xf7, 0xd3, 0x41, 0xf6, 0xc3, FCW_MASKS); /* not r11d; test r11b, masks */
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_NE));
	code8(e, 0x66);
	code_state32(e, OP_STORE, RCX, AT(s.fpu.fcw));
	CODE(e, PREFIX_GS, 0xd9);
	code_modrm_state(e, 5, AT(s.fpu.fcw));
	bt_join(x, first);
}

static void fnstcw(struct translation *x)
{
	unsigned first = x->colds;

	operand(x, 2, ACCESS_WRITE);
	zero_extend(&x->e, 0xb7, AT(s.fpu.fcw));
	CODE(&x->e, 0x66, 0x41, OP_STORE, 0x0b); /* mov [r11], cx */
	bt_join(x, first);
}

static void fnstsw(struct translation *x)
{
	unsigned first = x->colds;

	if (!(x->i->flags & INSN_MEM)) {
		CODE(&x->e, 0xdf, 0xe0);
		return;
	}
	operand(x, 2, ACCESS_WRITE);
	CODE(&x->e, 0x41, 0xdd, 0x3b);
	bt_join(x, first);
}

bool bt_x87(struct translation *x)
{
	if (!bt_is_x87(x))
		return false;
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_FLDCW: fldcw(x); break;
	case ZYDIS_MNEMONIC_FNSTCW: fnstcw(x); break;
	case ZYDIS_MNEMONIC_FNSTSW: fnstsw(x); break;
	case ZYDIS_MNEMONIC_FWAIT: break;
	case ZYDIS_MNEMONIC_EMMS: CODE(&x->e, 0x0f, 0x77); break;
	default: arith(x);
	}
	return true;
}
