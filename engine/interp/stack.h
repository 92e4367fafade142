/*
 * stack.h - where the stack is, for PUSH, POP, CALL and RET.
 *
 * The width of the stack pointer is 64 bits in 64-bit code and otherwise what SS.B says; what
 * lies above it in RSP survives with 16 bits and is cleared with 32.
 *
 * Spec: SDM vol. 1 6.2. Tested by test/unit/integer.c. SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_STACK_H
#define ENGINE_INTERP_STACK_H

#include "engine/interp/form.h"

/* Stack pointer width in bytes. */
static inline uint8_t stack_size(const struct interp *c)
{
	if (LIKELY(c->code_bits == 64))
		return 8;
	return c->s.seg[SS].attr & SEG_DB ? 4 : 2;
}

static inline void stack_set(struct interp *c, uint8_t ssz, uint64_t sp)
{
	reg_set(c, RSP * 8, ssz, sp);
}

/* Run-time operand size with the usual ones inline. */
static inline bool stack_load(struct interp *c, uint64_t off, uint8_t osz, uint64_t *v)
{
	uint32_t v32;

	if (LIKELY(osz == 8))
		return mem_load64(c, SS, off, v);
	if (osz == 2)
		return operand_load(c, SS, off, 2, v);
	if (!mem_load32(c, SS, off, &v32))
		return false;
	*v = v32;
	return true;
}
static inline bool stack_store(struct interp *c, uint64_t off, uint8_t osz, uint64_t v)
{
	if (LIKELY(osz == 8))
		return mem_store64(c, SS, off, v);
	if (osz == 2)
		return mem_store16(c, SS, off, (uint16_t)v);
	return mem_store32(c, SS, off, (uint32_t)v);
}

/* false: fault recorded, RSP unchanged. */
static inline bool stack_push(struct interp *c, uint8_t osz, uint64_t v)
{
	uint8_t ssz = stack_size(c);
	uint64_t sp = (c->r[RSP] - osz) & asz_mask(ssz);

	if (UNLIKELY(!stack_store(c, sp, osz, v)))
		return false;
	stack_set(c, ssz, sp);
	return true;
}

/* Reads the top of the stack; the caller moves RSP with stack_drop(). */
static inline bool stack_top(struct interp *c, uint8_t osz, uint64_t *v)
{
	return stack_load(c, c->r[RSP] & asz_mask(stack_size(c)), osz, v);
}
static inline void stack_drop(struct interp *c, uint64_t bytes)
{
	stack_set(c, stack_size(c), c->r[RSP] + bytes);
}

#endif
