/*
 * places.h - what takes the place of an instruction's registers (see places.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_PLACES_H
#define ENGINE_BT_PLACES_H

#include "engine/bt/translation.h"

struct places {
	const ZydisDecodedOperand *mem;
	unsigned rcx, r11;      /* guest registers in scratch registers, or NO_REGISTER */
	uint16_t read, written; /* guest registers that have to be brought there, or back */
	uint8_t host[ZYDIS_MAX_OPERAND_COUNT];
	bool high;        /* a high byte register is named: no REX */
	bool count;       /* RCX holds a copy of guest RCX: CL is a shift count */
	unsigned address; /* [this + disp], */
	unsigned base;    /* plus this, or NO_REGISTER */
	int32_t disp;
	unsigned state; /* a guest register that is named in its place in memory, or NO_REGISTER, */
	bool swapped;   /* which takes ModRM.reg's place in ModRM.rm */
};

/* Finds places for the operands of the instruction at hand. false: there are not enough. */
bool bt_places(struct translation *x, struct places *p, unsigned rule);

static inline bool bt_is_vector_register(ZydisRegister reg)
{
	ZydisRegisterClass k = ZydisRegisterGetClass(reg);

	return k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM;
}

static inline bool bt_is_mmx_register(ZydisRegister reg)
{
	return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_MMX;
}

#endif
