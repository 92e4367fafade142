/*
 * code.h - writing x86-64 instructions into memory: the few forms that a translation needs beside
 * the guest's own.
 *
 * Registers are numbers in encoding order (enum gpr). Every function writes at e->at and moves it.
 * "State" operands are gs:[offset into struct interp].
 *
 * Spec: SDM vol. 2 ch. 2. Tested by test/unit/bt.c. SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_CODE_H
#define ENGINE_BT_CODE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct code {
	uint8_t *at;
};

static inline void code_put(struct code *e, const void *bytes, unsigned n)
{
	memcpy(e->at, bytes, n);
	e->at += n;
}
static inline void code8(struct code *e, uint8_t v)
{
	*e->at++ = v;
}
static inline void code32(struct code *e, uint32_t v)
{
	code_put(e, &v, sizeof(v));
}
static inline void code64(struct code *e, uint64_t v)
{
	code_put(e, &v, sizeof(v));
}
#define CODE(e, ...)                                                                               \
	code_put(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* REX with W, and bit 3 of the ModRM.reg, SIB.index and ModRM.rm registers. */
static inline uint8_t code_rex(bool w, unsigned reg, unsigned index, unsigned rm)
{
	return (uint8_t)(0x40 | w << 3 | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 |
			 (rm >> 3 & 1));
}

/* ModRM, SIB and displacement of [base + disp]. */
static inline void code_modrm_mem(struct code *e, unsigned reg, unsigned base, int32_t disp)
{
	bool none = disp == 0 && (base & 7) != 5, small = disp == (int8_t)disp;
	uint8_t mod = none ? 0 : small ? 0x40 : 0x80;

	code8(e, (uint8_t)(mod | (reg & 7) << 3 | (base & 7)));
	if ((base & 7) == 4)
		code8(e, 0x24);
	if (none)
		return;
	if (small)
		code8(e, (uint8_t)disp);
	else
		code32(e, (uint32_t)disp);
}

#define OP_LOAD  0x8b
#define OP_STORE 0x89
#define OP_ADD   0x03 /* reg += memory */
#define OP_SUB   0x2b
#define OP_XOR   0x33
#define OP_CMP   0x3b

/* op reg, [base + disp] or the other way round, 64 bits, by a one-byte opcode. */
static inline void code_mem(struct code *e, uint8_t opcode, unsigned reg, unsigned base,
			    int32_t disp)
{
	code8(e, code_rex(true, reg, 0, base));
	code8(e, opcode);
	code_modrm_mem(e, reg, base, disp);
}

/* The same, of 32 bits unless `wide`. */
static inline void code_mem_of(struct code *e, bool wide, uint8_t opcode, unsigned reg,
			       unsigned base, int32_t disp)
{
	CODE(e, code_rex(wide, reg, 0, base), opcode);
	code_modrm_mem(e, reg, base, disp);
}

/* ModRM, SIB and displacement of gs:[at]; the GS prefix goes before REX. */
static inline void code_modrm_state(struct code *e, unsigned reg, uint32_t at)
{
	code8(e, (uint8_t)((reg & 7) << 3 | 4));
	code8(e, 0x25);
	code32(e, at);
}
#define PREFIX_GS 0x65

/* op reg, gs:[at]: 64 bits. */
static inline void code_state(struct code *e, uint8_t opcode, unsigned reg, uint32_t at)
{
	CODE(e, PREFIX_GS, code_rex(true, reg, 0, 0), opcode);
	code_modrm_state(e, reg, at);
}
/* The same, 32 bits. */
static inline void code_state32(struct code *e, uint8_t opcode, unsigned reg, uint32_t at)
{
	code8(e, PREFIX_GS);
	if (reg >= 8)
		code8(e, code_rex(false, reg, 0, 0));
	code8(e, opcode);
	code_modrm_state(e, reg, at);
}
/* mov dword gs:[at], v */
static inline void code_state_set32(struct code *e, uint32_t at, uint32_t v)
{
	CODE(e, PREFIX_GS, 0xc7);
	code_modrm_state(e, 0, at);
	code32(e, v);
}
/* mov byte gs:[at], v */
static inline void code_state_set8(struct code *e, uint32_t at, uint8_t v)
{
	CODE(e, PREFIX_GS, 0xc6);
	code_modrm_state(e, 0, at);
	code8(e, v);
}
/* cmp byte gs:[at], v */
static inline void code_state_cmp8(struct code *e, uint32_t at, uint8_t v)
{
	CODE(e, PREFIX_GS, 0x80);
	code_modrm_state(e, 7, at);
	code8(e, v);
}

/* op reg, [rip: to]: 64 bits; `to` in the same memory as e->at. */
static inline void code_rip(struct code *e, uint8_t opcode, unsigned reg, const void *to)
{
	CODE(e, code_rex(true, reg, 0, 0), opcode, (uint8_t)((reg & 7) << 3 | 5));
	code32(e, (uint32_t)((const uint8_t *)to - (e->at + 4)));
}

/* mov to, from */
static inline void code_move(struct code *e, unsigned to, unsigned from)
{
	CODE(e, code_rex(true, to, 0, from), OP_LOAD, (uint8_t)(0xc0 | (to & 7) << 3 | (from & 7)));
}
static inline void code_move32(struct code *e, unsigned to, unsigned from)
{
	CODE(e, code_rex(false, to, 0, from), OP_LOAD,
	     (uint8_t)(0xc0 | (to & 7) << 3 | (from & 7)));
}
static inline void code_move_of(struct code *e, bool wide, unsigned to, unsigned from)
{
	if (wide)
		code_move(e, to, from);
	else
		code_move32(e, to, from);
}

static inline void code_constant(struct code *e, unsigned to, uint64_t v)
{
	if (v <= UINT32_MAX) {
		if (to >= 8)
			code8(e, 0x41);
		code8(e, (uint8_t)(0xb8 | (to & 7)));
		code32(e, (uint32_t)v);
		return;
	}
	CODE(e, code_rex(true, 0, 0, to), (uint8_t)(0xb8 | (to & 7)));
	code64(e, v);
}

#define NO_REGISTER 16u

/* lea to, [base + (index << scale) + disp]; index is not host RSP. w: 64 bits of address. */
static inline void code_lea(struct code *e, bool w, unsigned to, unsigned base, unsigned index,
			    unsigned scale, int32_t disp)
{
	bool has_base = base != NO_REGISTER, has_index = index != NO_REGISTER;
	bool none = has_base && disp == 0 && (base & 7) != 5;
	bool small = has_base && disp == (int8_t)disp;
	uint8_t mod = !has_base || none ? 0 : small ? 0x40 : 0x80;

	if (has_base && !has_index && disp == 0) { /* the processor only renames it */
		code_move_of(e, w, to, base);
		return;
	}
	if (has_base && !has_index) {
		CODE(e, code_rex(w, to, 0, base), 0x8d);
		code_modrm_mem(e, to, base, disp);
		return;
	}
	CODE(e, code_rex(w, to, has_index ? index : 0, has_base ? base : 0), 0x8d);
	code8(e, (uint8_t)(mod | (to & 7) << 3 | 4));
	code8(e,
	      (uint8_t)(scale << 6 | (has_index ? index & 7 : 4) << 3 | (has_base ? base & 7 : 5)));
	if (none)
		return;
	if (mod == 0x40)
		code8(e, (uint8_t)disp);
	else
		code32(e, (uint32_t)disp);
}

/* A jump whose target is not known yet: returns where code_here() or code_aim() fills it in. */
static inline uint8_t *code_jump_if(struct code *e, uint8_t cc)
{
	CODE(e, 0x0f, (uint8_t)(0x80 | cc));
	code32(e, 0);
	return e->at;
}
static inline void code_aim(uint8_t *from, const uint8_t *to)
{
	int32_t distance = (int32_t)(to - from);

	memcpy(from - 4, &distance, 4); /* one store */
}
static inline void code_here(struct code *e, uint8_t *from)
{
	code_aim(from, e->at);
}
/* jmp (e9) or call (e8); the same return value. */
static inline uint8_t *code_go(struct code *e, uint8_t opcode, const uint8_t *to)
{
	code8(e, opcode);
	code32(e, to ? (uint32_t)(to - (e->at + 4)) : 0);
	return e->at;
}
#define OP_JMP  0xe9
#define OP_CALL 0xe8
/* Condition codes */
#define CC_B  2
#define CC_AE 3
#define CC_E  4
#define CC_NE 5
#define CC_A  7

#endif
