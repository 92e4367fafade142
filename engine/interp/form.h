/*
 * form.h - the operand forms that integer handlers are specialised by.
 *
 * A handler is one (operation, form, size): which operand is a register, memory or an
 * immediate is decided when an instruction is decoded, never when it runs. Files build
 * their handlers with macros over ALU_SIZES and index them with enum form and form_size().
 *
 * Tested by test/unit/integer.c. SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_FORM_H
#define ENGINE_INTERP_FORM_H

#include "engine/interp/alu.h"
#include "engine/interp/bind.h"
#include "engine/interp/mem.h"

/* Destination, source: register (a, b), memory, immediate. LOCK: destination in memory. */
enum form { FORM_RR, FORM_RM, FORM_MR, FORM_RI, FORM_MI, FORM_LOCK_R, FORM_LOCK_I, FORM_COUNT };
/* One operand. */
enum form1 { FORM_R, FORM_M, FORM_LOCK, FORM1_COUNT };

/* Four handlers, by operand size. */
#define FORM_ROW(name)                                                                             \
	{                                                                                          \
		name##8, name##16, name##32, name##64                                              \
	}
/* Those of 16, 32 and 64 bits only. */
#define FORM_ROW_WIDE(name)                                                                        \
	{                                                                                          \
		NULL, name##16, name##32, name##64                                                 \
	}

#define FORM_REGISTERS(bits, suffix)                                                               \
	static inline uint##bits##_t reg_get##bits(struct interp *c, uint8_t offset)               \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		__builtin_memcpy(&v, reg_at(c, offset), sizeof(v));                                \
		return v;                                                                          \
	}
ALU_SIZES(FORM_REGISTERS)
#undef FORM_REGISTERS

static inline void reg_set8(struct interp *c, uint8_t offset, uint8_t v)
{
	*(uint8_t *)reg_at(c, offset) = v;
}
static inline void reg_set16(struct interp *c, uint8_t offset, uint16_t v)
{
	__builtin_memcpy(reg_at(c, offset), &v, sizeof(v));
}
static inline void reg_set64(struct interp *c, uint8_t offset, uint64_t v)
{
	__builtin_memcpy(reg_at(c, offset), &v, sizeof(v));
}
static inline void reg_set32(struct interp *c, uint8_t offset, uint32_t v)
{
	reg_set64(c, offset, v);
}

/* Run-time operand size in bytes, for handlers too rare to be specialised. */
static inline uint64_t reg_get(struct interp *c, uint8_t offset, unsigned size)
{
	switch (size) {
	case 1: return reg_get8(c, offset);
	case 2: return reg_get16(c, offset);
	case 4: return reg_get32(c, offset);
	default: return reg_get64(c, offset);
	}
}
static inline void reg_set(struct interp *c, uint8_t offset, unsigned size, uint64_t v)
{
	switch (size) {
	case 1: reg_set8(c, offset, (uint8_t)v); break;
	case 2: reg_set16(c, offset, (uint16_t)v); break;
	case 4: reg_set32(c, offset, (uint32_t)v); break;
	default: reg_set64(c, offset, v); break;
	}
}
static inline bool operand_load(struct interp *c, enum seg seg, uint64_t off, unsigned size,
				uint64_t *v)
{
	*v = 0;
	return mem_read_slow(c, seg, off, v, size);
}
static inline bool operand_store(struct interp *c, enum seg seg, uint64_t off, unsigned size,
				 uint64_t v)
{
	return mem_write_slow(c, seg, off, &v, size);
}

/*
 * Read-modify-write with the usual case inline: a TLB hit for writing says that the page
 * may be read too (x86 has no write-only pages) and that nobody watches it.
 */
static inline void *rmw_open_at(struct interp *c, enum seg seg, uint64_t off, unsigned size,
				struct rmw *m)
{
	uint64_t linear;

	if (LIKELY(mem_fast_linear(c, seg, off, true, &linear))) {
		void *p = tlb_hit(&c->tlb, linear, size, ACCESS_WRITE);

		if (LIKELY(p != NULL)) {
			m->size = 0; /* rmw_close() has nothing to do */
			return p;
		}
	}
	return mem_rmw_begin(c, seg, off, size, m);
}
static inline void *rmw_open(struct interp *c, const struct insn *i, unsigned size, struct rmw *m)
{
	return rmw_open_at(c, i->seg, insn_ea(c, i), size, m);
}
static inline bool rmw_close(struct interp *c, struct rmw *m)
{
	return LIKELY(m->size == 0) || mem_rmw_end(c, m);
}

/* For binders. Index of an operand size in a FORM_ROW. */
static inline unsigned form_size(const ZydisDecodedOperand *o)
{
	return (unsigned)__builtin_ctz(o->size / 8u);
}
static inline bool form_is_reg(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER;
}
static inline bool form_is_mem(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY;
}
static inline bool form_is_imm(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

/* Fills a, b, imm and osz from the first two operands. */
enum form form_bind2(const struct decoding *d, struct insn *i);
/* Fills a and osz from the first. */
enum form1 form_bind1(const struct decoding *d, struct insn *i);

#endif
