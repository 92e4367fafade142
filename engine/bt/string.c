/*
 * string.c - LODS, STOS, SCAS and MOVS, CLD, and REP STOS and REP MOVS.
 *
 * The idea: upwards they are a move or a compare and a sum; i386 kernels have them in strlen() and
 * strcpy(), and compilers in copies of structures. DF is hardly ever set: then the
 * handler does it. Repeated ones that stay within their pages are the host's own; all others are
 * the handler's, in runs.
 *
 * Spec: SDM vol. 2. Tested by test/unit/bt_random.c and bt_random32.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#define DF_BYTE 1 /* of RFLAGS, and the bit there */
#define DF_BIT  (FLAG_DF >> 8)

/* The handler does it if DF is set. Flags given. */
static void upwards(struct translation *x)
{
	bt_flags_give(x);
	CODE(&x->e, PREFIX_GS, 0xf6); /* test byte [rflags + 1], DF */
	code_modrm_state(&x->e, 0, AT(s.rflags) + DF_BYTE);
	code8(&x->e, DF_BIT);
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
}

/* R11 = host address of the element at guest register `reg`. */
static void element(struct translation *x, unsigned reg, unsigned size, enum access access)
{
	code_move_of(&x->e, x->i->asz == 8, R11, reg);
	bt_check(x, size, access, 1);
}

/* op reg, [r11] or the other way round; opcode is that of 32 bits. */
static void move(struct translation *x, uint8_t opcode, unsigned reg, unsigned size)
{
	if (size == 2)
		code8(&x->e, 0x66);
	code_mem_of(&x->e, size == 8, size == 1 ? opcode & 0xfe : opcode, reg, R11, 0);
}

static void advance(struct translation *x, unsigned reg, unsigned size)
{
	code_lea(&x->e, x->i->asz == 8, reg, reg, NO_REGISTER, 0, (int32_t)size);
}

static void movs(struct translation *x, unsigned size)
{
	element(x, RSI, size, ACCESS_READ);
	move(x, OP_LOAD, RCX, size);
	code_state(&x->e, OP_STORE, RCX, AT(x.target));
	element(x, RDI, size, ACCESS_WRITE);
	code_state(&x->e, OP_LOAD, RCX, AT(x.target));
	move(x, OP_STORE, RCX, size);
	advance(x, RSI, size);
	advance(x, RDI, size);
}

static void scas(struct translation *x, unsigned size)
{
	element(x, RDI, size, ACCESS_READ);
	move(x, OP_CMP, RAX, size);
	advance(x, RDI, size);
	bt_flags_out(x);
}

/* Bytes of an element; 0: not one of these. */
static unsigned size_of(const struct translation *x)
{
	switch (x->zi->mnemonic) {
#define X(size, letter)                                                                            \
	case ZYDIS_MNEMONIC_LODS##letter:                                                          \
	case ZYDIS_MNEMONIC_STOS##letter:                                                          \
	case ZYDIS_MNEMONIC_SCAS##letter:                                                          \
	case ZYDIS_MNEMONIC_MOVS##letter: return size;
		X(1, B)
		X(2, W)
		X(4, D)
		X(8, Q)
#undef X
	default: return 0;
	}
}

/* --- repeated ------------------------------------------------------------------------------------
 */

static unsigned log2_of(unsigned size)
{
	return size == 8 ? 3 : size / 2;
}

/* The handler does it unless as many elements at host address R11 stay in the page. */
static void check_end(struct translation *x, unsigned size)
{
	struct code *e = &x->e;

	CODE(e, 0x44, 0x89, 0xd9, 0x81, 0xe1); /* mov ecx, r11d; and ecx, 4095 */
	code32(e, PAGE_SIZE - 1);
	code_lea(e, true, RCX, RCX, bt_home(RCX), log2_of(size), 0);
	CODE(e, 0x81, 0xf9); /* cmp ecx, 4096 */
	code32(e, PAGE_SIZE);
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_A));
}

/* From 1 to as many elements as a page has; else the handler. */
static void check_count(struct translation *x, unsigned size)
{
	struct code *e = &x->e;

	code_lea(e, true, RCX, bt_home(RCX), NO_REGISTER, 0, -1);
	CODE(e, 0x48, 0x81, 0xf9); /* cmp rcx, most - 1 */
	code32(e, PAGE_SIZE / size - 1);
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_A));
}

static bool repeat(struct translation *x, unsigned size)
{
	bool copies = (x->zi->opcode & 0xfe) == 0xa4;
	unsigned first = x->colds;

	if (!x->wide || x->i->asz != 8 || x->i->flags & INSN_REPNE ||
	    (!copies && (x->zi->opcode & 0xfe) != 0xaa))
		return false;
	upwards(x);
	check_count(x, size);
	if (copies) {
		element(x, RSI, size, ACCESS_READ);
		check_end(x, size);
		code_state(&x->e, OP_STORE, R11, AT(x.target));
	}
	element(x, RDI, size, ACCESS_WRITE);
	check_end(x, size);
	code_go(&x->e, OP_CALL,
		copies ? x->t->rep_movs[log2_of(size)] : x->t->rep_stos[log2_of(size)]);
	bt_join(x, first);
	return true;
}

static void rep(struct code *e, uint8_t opcode, unsigned log2)
{
	if (log2 == 1)
		code8(e, 0x66);
	code8(e, 0xf3);
	if (log2 == 3)
		code8(e, 0x48);
	code8(e, log2 ? opcode | 1 : opcode);
}

/* Subroutines: guest RCX elements, from x.target, to the host address R11. */
const uint8_t *bt_put_rep_movs(struct code *e, unsigned log2)
{
	static const unsigned reg[2] = { RSI, RDI };
	const uint8_t *begin = e->at;

	code_state(e, OP_STORE, RSI, AT_REGISTER(RSI));
	code_state(e, OP_STORE, RDI, AT_REGISTER(RDI));
	code_state(e, OP_LOAD, RSI, AT(x.target));
	code_move(e, RDI, R11);
	code_move(e, RCX, bt_home(RCX));
	rep(e, 0xa4, log2);
	for (unsigned n = 0; n < 2; n++) {
		code_state(e, OP_LOAD, reg[n], AT_REGISTER(reg[n]));
		code_lea(e, true, reg[n], reg[n], bt_home(RCX), log2, 0);
	}
	CODE(e, 0x45, 0x31, 0xc9, 0xc3); /* xor r9d, r9d; ret */
	return begin;
}

const uint8_t *bt_put_rep_stos(struct code *e, unsigned log2)
{
	const uint8_t *begin = e->at;

	CODE(e, 0x49, 0x87, 0xfb); /* xchg rdi, r11 */
	code_move(e, RCX, bt_home(RCX));
	rep(e, 0xaa, log2);
	code_lea(e, true, RDI, R11, bt_home(RCX), log2, 0);
	CODE(e, 0x45, 0x31, 0xc9, 0xc3); /* xor r9d, r9d; ret */
	return begin;
}

bool bt_string(struct translation *x)
{
	unsigned first = x->colds, size = size_of(x);

	if (size && x->zi->meta.category == ZYDIS_CATEGORY_STRINGOP && x->i->seg < FS &&
	    x->i->seg != CS && x->i->flags & INSN_REP)
		return repeat(x, size);
	if (x->zi->mnemonic != ZYDIS_MNEMONIC_CLD &&
	    (x->zi->meta.category != ZYDIS_CATEGORY_STRINGOP || !size || x->i->asz < 4 ||
	     x->i->flags & (INSN_REP | INSN_REPNE) || x->i->seg >= FS || x->i->seg == CS))
		return false;
	upwards(x);
	switch (x->zi->opcode & 0xfe) {
	case 0xa4: movs(x, size); break;
	case 0xaa:
		element(x, RDI, size, ACCESS_WRITE);
		move(x, OP_STORE, RAX, size);
		advance(x, RDI, size);
		break;
	case 0xac:
		element(x, RSI, size, ACCESS_READ);
		move(x, OP_LOAD, RAX, size);
		advance(x, RSI, size);
		break;
	case 0xae: scas(x, size); break;
	default: break; /* CLD: nothing to do */
	}
	bt_join(x, first);
	return true;
}
