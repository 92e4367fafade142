/*
 * string.c - LODS, STOS, SCAS and MOVS without a repeat prefix, and CLD.
 *
 * The idea: upwards they are a move or a compare and a sum; i386 kernels have them in strlen() and
 * strcpy(), and compilers in copies of structures. DF is hardly ever set: then the
 * handler does it, as it does all that is repeated, in runs.
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
	x->flags = x->wanted[x->i->n] ? FLAGS_HOST : FLAGS_MEMORY;
}

/* Bytes of an element; 0: not one of these. */
static unsigned size_of(const struct translation *x)
{
	switch (x->zi.mnemonic) {
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

bool bt_string(struct translation *x)
{
	unsigned first = x->colds, size = size_of(x);

	if (x->zi.mnemonic != ZYDIS_MNEMONIC_CLD &&
	    (x->zi.meta.category != ZYDIS_CATEGORY_STRINGOP || !size || x->i->asz < 4 ||
	     x->i->flags & (INSN_REP | INSN_REPNE) || x->i->seg >= FS || x->i->seg == CS))
		return false;
	upwards(x);
	switch (x->zi.opcode & 0xfe) {
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
