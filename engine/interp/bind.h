/*
 * bind.h - from a Zydis-decoded instruction to a handler.
 *
 * decode.c fills in what every instruction has (at, len, the prefix flags, osz and asz, the
 * memory operand's base, index, scale, disp and seg; in imm the first immediate, sign-extended
 * if it is signed, the distance from the block's start if it is relative) and then calls the
 * binder of its mnemonic, which picks the handler and fills in the rest. Each subject file
 * exports one table of rows. MOVSD and CMPSD have rows in two tables (string and SSE2): those
 * are tried in the order of the declarations below until one binder says true, so a binder
 * says false to every form that is not its own. No row, or none that says true: #UD.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_BIND_H
#define ENGINE_INTERP_BIND_H

#include <Zydis/Zydis.h>

#include "engine/interp/interp.h"

struct decoding {
	struct interp *c;            /* for CPU model features; NULL in decoder tests */
	const uint8_t *bytes;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t code_bits; /* 16, 32, 64 */
};

/* false: not a form of this table's (see above). Sets i->fn at least. */
typedef bool (*bind_fn)(const struct decoding *d, struct insn *i);

struct bind_row {
	ZydisMnemonic mnemonic;
	bind_fn bind;
	uint16_t feature; /* enum cpu_feature the model must have + 1; 0: none */
};

/* Each ends with a row of mnemonic ZYDIS_MNEMONIC_INVALID. */
extern const struct bind_row interp_binds_integer[]; /* integer.c and its neighbours */
extern const struct bind_row interp_binds_string[];
extern const struct bind_row interp_binds_control[]; /* branches, calls, near and far */
extern const struct bind_row interp_binds_system[];  /* privileged and sensitive */
extern const struct bind_row interp_binds_vector[];  /* x87, MMX, SSE, AVX, XSAVE family */

/*
 * Mnemonics with both plain and system forms (MOV, PUSH, POP, CALL, JMP, RET) have one row, in
 * the plain table; its binder begins with `if (bind_is_system(d)) return bind_system(d, i);`.
 * System: a segment, control or debug register operand of MOV, PUSH, POP; far CALL, JMP, RET.
 */
bool bind_is_system(const struct decoding *d);
bool bind_system(const struct decoding *d, struct insn *i);

/* Byte offset into interp.r of a general register (AH..BH too). */
uint8_t bind_gpr(ZydisRegister reg);

/* Blocks end after instructions that set this flag: branches, and whatever can change the
 * mode, rights, IF or the code itself in a way the next instruction must see. */
static inline void bind_last(struct insn *i)
{
	i->flags |= INSN_LAST;
}

#endif
