/*
 * alu.h - arithmetic with its flags, computed by the host's own instruction.
 *
 * The idea: what the manuals leave undefined (AF after AND, OF after a long shift,
 * SF after MUL) real programs never use but comparisons of two engines see. Each
 * function here executes the very instruction on the host, with the guest's flags
 * loaded first wherever its output may depend on them, and takes all six flags from it.
 * So the interpreter agrees to the bit with code that runs natively on the same host.
 * One exception is known: rotates by an immediate, see shift.c.
 *
 * LAHF and SETO read the flags without touching the stack (no red zone to mind); ADD to AL
 * and SAHF write them. In this file `ax` is always that pair: AH the low five flags, AL OF.
 *
 * `f` is the guest's flags as interp.arith has them.
 *
 * Spec: SDM vol. 1 3.4.3 and app. A. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_ALU_H
#define ENGINE_INTERP_ALU_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/state.h"

#define ALU_SAVE "\n\tlahf\n\tseto %%al"
#define ALU_LOAD "addb $0x7f, %%al\n\tsahf\n\t"

/* Operands in guest memory have any alignment. */
typedef uint8_t alu_mem8;
typedef uint16_t alu_mem16 __attribute__((aligned(1), may_alias));
typedef uint32_t alu_mem32 __attribute__((aligned(1), may_alias));
typedef uint64_t alu_mem64 __attribute__((aligned(1), may_alias));

static inline uint64_t alu_unpack(uint32_t ax)
{
	return (uint8_t)(ax >> 8) | (uint64_t)(uint8_t)ax << 11;
}

static inline uint32_t alu_pack(uint64_t f)
{
	return (uint32_t)(uint8_t)f << 8 | ((uint32_t)(f >> 11) & 1);
}

/* X(bits, suffix): everything below exists for each operand size. */
#define ALU_SIZES(X)                                                                               \
	X(8, "b")                                                                                  \
	X(16, "w")                                                                                 \
	X(32, "l")                                                                                 \
	X(64, "q")
#define ALU_WIDE(X)                                                                                \
	X(16, "w")                                                                                 \
	X(32, "l")                                                                                 \
	X(64, "q")

/* r = alu_add32(&f, a, b); CMP and TEST return a. */
#define ALU_TWO(name, insn, bits, s)                                                               \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a,               \
						      uint##bits##_t b)                            \
	{                                                                                          \
		uint32_t ax;                                                                       \
		__asm__(insn s " %[b], %[a]" ALU_SAVE                                              \
			: [a] "+r"(a), "=&a"(ax)                                                   \
			: [b] "r"(b)                                                               \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
/* The same with CF going in. */
#define ALU_CARRY(name, insn, bits, s)                                                             \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a,               \
						      uint##bits##_t b)                            \
	{                                                                                          \
		uint32_t ax;                                                                       \
		__asm__("btl $0, %k[f]\n\t" insn s " %[b], %[a]" ALU_SAVE                          \
			: [a] "+r"(a), "=&a"(ax)                                                   \
			: [b] "r"(b), [f] "r"(*f)                                                  \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
/* One operand; INC and DEC keep CF. */
#define ALU_ONE(name, insn, bits, s)                                                               \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a)               \
	{                                                                                          \
		uint32_t ax;                                                                       \
		__asm__("btl $0, %k[f]\n\t" insn s " %[a]" ALU_SAVE                                \
			: [a] "+r"(a), "=&a"(ax)                                                   \
			: [f] "r"(*f)                                                              \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
/* Two operands, all flags going in. */
#define ALU_LOADED(name, insn, bits, s)                                                            \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a,               \
						      uint##bits##_t b)                            \
	{                                                                                          \
		uint32_t ax = alu_pack(*f);                                                        \
		__asm__(ALU_LOAD insn s " %[b], %[a]" ALU_SAVE                                     \
			: [a] "+&r"(a), "+&a"(ax)                                                  \
			: [b] "r"(b)                                                               \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
/* Shift or rotate by a count in CL; a masked count of 0 leaves the flags alone. */
#define ALU_SHIFT(name, insn, bits, s)                                                             \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a, uint8_t n)    \
	{                                                                                          \
		uint32_t ax = alu_pack(*f);                                                        \
		__asm__(ALU_LOAD insn s " %%cl, %[a]" ALU_SAVE                                     \
			: [a] "+&r"(a), "+&a"(ax)                                                  \
			: "c"(n)                                                                   \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
#define ALU_SHIFT2(name, insn, bits, s)                                                            \
	static inline uint##bits##_t alu_##name##bits(uint64_t *f, uint##bits##_t a,               \
						      uint##bits##_t b, uint8_t n)                 \
	{                                                                                          \
		uint32_t ax = alu_pack(*f);                                                        \
		__asm__(ALU_LOAD insn s " %%cl, %[b], %[a]" ALU_SAVE                               \
			: [a] "+&r"(a), "+&a"(ax)                                                  \
			: [b] "r"(b), "c"(n)                                                       \
			: "cc");                                                                   \
		*f = alu_unpack(ax);                                                               \
		return a;                                                                          \
	}
/* LOCK: the operand is where mem_rmw_begin() said. */
#define ALU_LOCK_TWO(name, insn, bits, s)                                                          \
	static inline void alu_lock_##name##bits(uint64_t *f, void *p, uint##bits##_t b)           \
	{                                                                                          \
		uint32_t ax = alu_pack(*f);                                                        \
		__asm__ volatile(ALU_LOAD "lock " insn s " %[b], %[m]" ALU_SAVE                    \
				 : [m] "+m"(*(alu_mem##bits *)p), "+&a"(ax)                        \
				 : [b] "r"(b)                                                      \
				 : "cc", "memory");                                                \
		*f = alu_unpack(ax);                                                               \
	}
#define ALU_LOCK_ONE(name, insn, bits, s)                                                          \
	static inline void alu_lock_##name##bits(uint64_t *f, void *p)                             \
	{                                                                                          \
		uint32_t ax = alu_pack(*f);                                                        \
		__asm__ volatile(ALU_LOAD "lock " insn s " %[m]" ALU_SAVE                          \
				 : [m] "+m"(*(alu_mem##bits *)p), "+&a"(ax)                        \
				 :                                                                 \
				 : "cc", "memory");                                                \
		*f = alu_unpack(ax);                                                               \
	}

/* clang-format off */
#define ALU_DEFINE(bits, s)                                                                        \
	ALU_TWO(add, "add", bits, s)                                                               \
	ALU_TWO(or, "or", bits, s)                                                                 \
	ALU_CARRY(adc, "adc", bits, s)                                                             \
	ALU_CARRY(sbb, "sbb", bits, s)                                                             \
	ALU_TWO(and, "and", bits, s)                                                               \
	ALU_TWO(sub, "sub", bits, s)                                                               \
	ALU_TWO(xor, "xor", bits, s)                                                               \
	ALU_TWO(cmp, "cmp", bits, s)                                                               \
	ALU_TWO(test, "test", bits, s)                                                             \
	ALU_ONE(inc, "inc", bits, s)                                                               \
	ALU_ONE(dec, "dec", bits, s)                                                               \
	ALU_ONE(neg, "neg", bits, s)                                                               \
	ALU_SHIFT(rol, "rol", bits, s)                                                             \
	ALU_SHIFT(ror, "ror", bits, s)                                                             \
	ALU_SHIFT(rcl, "rcl", bits, s)                                                             \
	ALU_SHIFT(rcr, "rcr", bits, s)                                                             \
	ALU_SHIFT(shl, "shl", bits, s)                                                             \
	ALU_SHIFT(shr, "shr", bits, s)                                                             \
	ALU_SHIFT(sar, "sar", bits, s)                                                             \
	ALU_LOCK_TWO(add, "add", bits, s)                                                          \
	ALU_LOCK_TWO(or, "or", bits, s)                                                            \
	ALU_LOCK_TWO(adc, "adc", bits, s)                                                          \
	ALU_LOCK_TWO(sbb, "sbb", bits, s)                                                          \
	ALU_LOCK_TWO(and, "and", bits, s)                                                          \
	ALU_LOCK_TWO(sub, "sub", bits, s)                                                          \
	ALU_LOCK_TWO(xor, "xor", bits, s)                                                          \
	ALU_LOCK_ONE(inc, "inc", bits, s)                                                          \
	ALU_LOCK_ONE(dec, "dec", bits, s)                                                          \
	ALU_LOCK_ONE(neg, "neg", bits, s)                                                          \
	ALU_LOCK_ONE(not, "not", bits, s)
#define ALU_DEFINE_WIDE(bits, s)                                                                   \
	ALU_LOADED(imul, "imul", bits, s)                                                          \
	ALU_LOADED(bt, "bt", bits, s)                                                              \
	ALU_LOADED(bts, "bts", bits, s)                                                            \
	ALU_LOADED(btr, "btr", bits, s)                                                            \
	ALU_LOADED(btc, "btc", bits, s)                                                            \
	ALU_SHIFT2(shld, "shld", bits, s)                                                          \
	ALU_SHIFT2(shrd, "shrd", bits, s)                                                          \
	ALU_LOCK_TWO(bts, "bts", bits, s)                                                          \
	ALU_LOCK_TWO(btr, "btr", bits, s)                                                          \
	ALU_LOCK_TWO(btc, "btc", bits, s)
ALU_SIZES(ALU_DEFINE)
ALU_WIDE(ALU_DEFINE_WIDE)
/* clang-format on */

/* NOT changes no flag. */
#define ALU_NOT(bits, s)                                                                           \
	static inline uint##bits##_t alu_not##bits(uint64_t *f, uint##bits##_t a)                  \
	{                                                                                          \
		(void)f;                                                                           \
		return (uint##bits##_t) ~a;                                                        \
	}
ALU_SIZES(ALU_NOT)

#undef ALU_TWO
#undef ALU_CARRY
#undef ALU_ONE
#undef ALU_LOADED
#undef ALU_SHIFT
#undef ALU_SHIFT2
#undef ALU_LOCK_TWO
#undef ALU_LOCK_ONE
#undef ALU_DEFINE
#undef ALU_DEFINE_WIDE
#undef ALU_NOT

/* Does condition `cc` (the low four bits of Jcc, SETcc and CMOVcc opcodes) hold? SDM vol. 1 app. B
 */
static inline bool alu_condition(uint64_t f, unsigned cc)
{
	bool yes;

	switch (cc >> 1) {
	case 0: yes = f & FLAG_OF; break;
	case 1: yes = f & FLAG_CF; break;
	case 2: yes = f & FLAG_ZF; break;
	case 3: yes = f & (FLAG_CF | FLAG_ZF); break;
	case 4: yes = f & FLAG_SF; break;
	case 5: yes = f & FLAG_PF; break;
	case 6: yes = (f ^ f >> 4) & FLAG_SF; break;
	default: yes = (f & FLAG_ZF) | ((f ^ f >> 4) & FLAG_SF); break;
	}
	return yes != (bool)(cc & 1);
}

/* X(cc): all sixteen, so that handlers can have the condition as a constant. */
#define ALU_CONDITIONS(X)                                                                          \
	X(0)                                                                                       \
	X(1)                                                                                       \
	X(2)                                                                                       \
	X(3)                                                                                       \
	X(4)                                                                                       \
	X(5)                                                                                       \
	X(6)                                                                                       \
	X(7)                                                                                       \
	X(8)                                                                                       \
	X(9)                                                                                       \
	X(10)                                                                                      \
	X(11)                                                                                      \
	X(12)                                                                                      \
	X(13)                                                                                      \
	X(14)                                                                                      \
	X(15)

#endif
