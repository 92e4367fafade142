/*
 * arith.c - division, and bit strings in memory: instructions with a condition of their own.
 *
 * The idea of division: the host divides when it is plain beforehand that it will not fault - an
 * unsigned quotient fits when the upper half is below the divisor; a signed dividend is that of
 * CDQ or CQO and the divisor neither 0 nor -1. All others are the handler's.
 *
 * A bit string's word is found as SDM vol. 1 3.1.1.9 has it; the bit then lies in that word.
 *
 * Spec: SDM vol. 2 "DIV", "IDIV", "BT". Tested by test/unit/bt_random.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

static uint8_t rex_of(bool wide, unsigned reg, unsigned rm)
{
	return code_rex(wide, reg, 0, rm);
}

/* op reg, rm: registers */
static void two(struct code *e, bool wide, uint8_t opcode, unsigned reg, unsigned rm)
{
	CODE(e, rex_of(wide, reg, rm), opcode, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

/* RCX or a home: the divisor. */
static unsigned divisor(struct translation *x)
{
	const ZydisDecodedOperand *o = &x->op[0];
	unsigned g, home;

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		bt_address(x);
		bt_check(x, o->size / 8u, ACCESS_READ, 1);
		CODE(&x->e, rex_of(o->size == 64, R11, R11), OP_LOAD, 0x1b); /* mov r11, [r11] */
		return R11;
	}
	bt_flags_give(x);
	g = (unsigned)ZydisRegisterGetId(o->reg.value);
	home = bt_home(g);
	if (home == NO_REGISTER)
		bt_read(&x->e, home = R11, g);
	return home;
}

static void unsigned_fits(struct translation *x, bool wide, unsigned by)
{
	two(&x->e, wide, 0x39, by, RDX); /* cmp rdx, by */
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_AE));
}

static void signed_fits(struct translation *x, bool wide, unsigned by)
{
	struct code *e = &x->e;

	two(e, wide, OP_LOAD, RCX, RAX);
	CODE(e, rex_of(wide, 0, RCX), 0xc1, 0xf9, wide ? 63 : 31); /* sar rcx, 63 */
	two(e, wide, 0x39, RCX, RDX);
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_NE));
	code_lea(e, wide, RCX, by, NO_REGISTER, 0, 1);
	CODE(e, rex_of(wide, 0, RCX), 0x83, 0xf9, 1); /* cmp rcx, 1 */
	bt_cold(x, COLD_SLOW, code_jump_if(e, 6 /* be */));
}

static bool divide(struct translation *x, bool is_signed)
{
	unsigned first = x->colds, by;
	bool wide = x->op[0].size == 64;

	if (x->op[0].size < 32 || (x->i->flags & INSN_MEM && !bt_address_known(x->i)))
		return false;
	by = divisor(x);
	if (is_signed)
		signed_fits(x, wide, by);
	else
		unsigned_fits(x, wide, by);
	if (x->need[x->i->n])
		bt_flags_need(x);
	two(&x->e, wide, 0xf7, is_signed ? 7 : 6, by);
	bt_flags_out(x);
	bt_join(x, first);
	return true;
}

/* bt, bts, btr, btc [r11], rcx: the bit number is less than the size, kept while RCX is needed. */
static void bit_in_word(struct translation *x, bool wide, uint8_t opcode)
{
	struct code *e = &x->e;

	CODE(e, 0x83, 0xe1, wide ? 63 : 31); /* and ecx, 63 */
	code_state(e, OP_STORE, RCX, AT(x.target));
	if (x->need[x->i->n])
		bt_flags_need(x);
	code_state(e, OP_LOAD, RCX, AT(x.target));
	if (x->zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		code8(e, 0xf0);
	CODE(e, rex_of(wide, RCX, R11), 0x0f, opcode, 0x0b);
}

static bool bit_string(struct translation *x, uint8_t opcode)
{
	const ZydisDecodedOperand *m = &x->op[0], *r = &x->op[1];
	unsigned first = x->colds, g, scale;
	struct code *e = &x->e;
	bool wide = r->size == 64;

	if (m->type != ZYDIS_OPERAND_TYPE_MEMORY || r->type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    r->size < 32 || x->i->asz != x->word || !bt_address_known(x->i))
		return false;
	g = (unsigned)ZydisRegisterGetId(r->reg.value);
	scale = wide ? 3 : 2;
	bt_address(x);
	bt_read(e, RCX, g);
	if (!wide)
		CODE(e, 0x48, 0x63, 0xc9);               /* movsxd rcx, ecx */
	CODE(e, 0x48, 0xc1, 0xf9, (uint8_t)(3 + scale)); /* sar rcx, 5 or 6 */
	code_lea(e, x->wide, R11, R11, RCX, scale, 0);
	bt_check(x, wide ? 8 : 4, opcode == 0xa3 ? ACCESS_READ : ACCESS_WRITE, 1);
	bt_read(e, RCX, g);
	bit_in_word(x, wide, opcode);
	bt_flags_out(x);
	bt_join(x, first);
	return true;
}

/* CMPXCHG16B and 8B: RCX comes home for it. Only ZF comes out. */
static bool exchange(struct translation *x, unsigned size)
{
	unsigned first = x->colds;
	struct code *e = &x->e;

	if (!bt_address_known(x->i))
		return false;
	bt_address(x);
	bt_check(x, size, ACCESS_WRITE, size == 16 ? 16 : 1);
	if (x->need[x->i->n])
		bt_flags_need(x);
	bt_read(e, RCX, RCX);
	if (x->zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		code8(e, 0xf0);
	CODE(e, rex_of(size == 16, 0, R11), 0x0f, 0xc7, 0x0b); /* cmpxchg16b [r11] */
	bt_flags_out(x);
	bt_join(x, first);
	return true;
}

bool bt_arith(struct translation *x)
{
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_DIV: return divide(x, false);
	case ZYDIS_MNEMONIC_IDIV: return divide(x, true);
	case ZYDIS_MNEMONIC_CMPXCHG16B: return exchange(x, 16);
	case ZYDIS_MNEMONIC_CMPXCHG8B: return exchange(x, 8);
	case ZYDIS_MNEMONIC_BT: return bit_string(x, 0xa3);
	case ZYDIS_MNEMONIC_BTS: return bit_string(x, 0xab);
	case ZYDIS_MNEMONIC_BTR: return bit_string(x, 0xb3);
	case ZYDIS_MNEMONIC_BTC: return bit_string(x, 0xbb);
	default: return false;
	}
}
