/*
 * bits.c - BT BTS BTR BTC, BSF BSR TZCNT LZCNT POPCNT, CRC32.
 *
 * The idea: a bit test with its bit number in a register and its string in memory
 * addresses the whole string: the number, signed, first moves the address by whole operands.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

/* Address of the operand that holds bit number `b` (signed) of the string. */
#define STRING_EA(bits)                                                                            \
	static inline uint64_t string_ea##bits(struct interp *c, const struct insn *i)             \
	{                                                                                          \
		int64_t n = (int##bits##_t)reg_get##bits(c, i->b) >> __builtin_ctz(bits);          \
		return (insn_ea(c, i) + (uint64_t)n * (bits / 8)) & asz_mask(i->asz);              \
	}
STRING_EA(16)
STRING_EA(32)
STRING_EA(64)

#define EA_REGISTER(bits)   string_ea##bits(c, i)
#define EA_IMMEDIATE(bits)  insn_ea(c, i)
#define BIT_REGISTER(bits)  (reg_get##bits(c, i->b) & (bits - 1))
#define BIT_IMMEDIATE(bits) ((uint##bits##_t)i->imm & (bits - 1))

#define TO_REGISTER(op, bits, form, bit)                                                           \
	static enum step op##_##form##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		uint##bits##_t v = alu_##op##bits(&c->arith, reg_get##bits(c, i->a), bit(bits));   \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}
/* BT leaves its operand alone, the upper half of a 32-bit one too. */
#define TEST_REGISTER(op, bits, form, bit)                                                         \
	static enum step op##_##form##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		alu_##op##bits(&c->arith, reg_get##bits(c, i->a), bit(bits));                      \
		return STEP_NEXT;                                                                  \
	}
#define TEST_MEMORY(op, bits, form, ea, bit)                                                       \
	static enum step op##_##form##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, ea(bits), &v)))                            \
			return STEP_FAULT;                                                         \
		alu_##op##bits(&c->arith, v, bit(bits));                                           \
		return STEP_NEXT;                                                                  \
	}
#define TO_MEMORY(op, bits, form, ea, bit)                                                         \
	static enum step op##_##form##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		uint64_t f = c->arith;                                                             \
		struct rmw m;                                                                      \
		void *p = rmw_open_at(c, i->seg, ea(bits), sizeof(v), &m);                         \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		v = guest_load##bits(p);                                                           \
		v = alu_##op##bits(&f, v, bit(bits));                                              \
		guest_store##bits(p, v);                                                           \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		c->arith = f;                                                                      \
		return STEP_NEXT;                                                                  \
	}
#define LOCKED(op, bits, form, ea, bit)                                                            \
	static enum step op##_##form##bits(struct interp *c, const struct insn *i)                 \
	{                                                                                          \
		uint64_t f = c->arith;                                                             \
		struct rmw m;                                                                      \
		void *p = rmw_open_at(c, i->seg, ea(bits), bits / 8, &m);                          \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		alu_lock_##op##bits(&f, p, bit(bits));                                             \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		c->arith = f;                                                                      \
		return STEP_NEXT;                                                                  \
	}
#define CHANGE(op, bits)                                                                           \
	TO_REGISTER(op, bits, rr, BIT_REGISTER)                                                    \
	TO_REGISTER(op, bits, ri, BIT_IMMEDIATE)                                                   \
	TO_MEMORY(op, bits, mr, EA_REGISTER, BIT_REGISTER)                                         \
	TO_MEMORY(op, bits, mi, EA_IMMEDIATE, BIT_IMMEDIATE)                                       \
	LOCKED(op, bits, lock_r, EA_REGISTER, BIT_REGISTER)                                        \
	LOCKED(op, bits, lock_i, EA_IMMEDIATE, BIT_IMMEDIATE)

/* clang-format off */
#define X(bits, s)                                                                                 \
	CHANGE(bts, bits) CHANGE(btr, bits) CHANGE(btc, bits)                                      \
	TEST_REGISTER(bt, bits, rr, BIT_REGISTER)                                                  \
	TEST_REGISTER(bt, bits, ri, BIT_IMMEDIATE)                                                 \
	TEST_MEMORY(bt, bits, mr, EA_REGISTER, BIT_REGISTER)                                       \
	TEST_MEMORY(bt, bits, mi, EA_IMMEDIATE, BIT_IMMEDIATE)
ALU_WIDE(X)
#undef X
/* clang-format on */

bool bind_bit_test(const struct decoding *d, struct insn *i)
{
	enum form form = form_bind2(d, i);
	unsigned size = form_size(&d->op[0]);

#define ROWS(op)                                                                                   \
	[FORM_RR] = FORM_ROW_WIDE(op##_rr), [FORM_RI] = FORM_ROW_WIDE(op##_ri),                    \
	[FORM_MR] = FORM_ROW_WIDE(op##_mr), [FORM_MI] = FORM_ROW_WIDE(op##_mi)
#define CASE(op, name)                                                                             \
	case ZYDIS_MNEMONIC_##name: {                                                              \
		static const insn_fn rows[FORM_COUNT][4] = {                                       \
			ROWS(op), [FORM_LOCK_R] = FORM_ROW_WIDE(op##_lock_r),                      \
			[FORM_LOCK_I] = FORM_ROW_WIDE(op##_lock_i)                                 \
		};                                                                                 \
		i->fn = rows[form][size];                                                          \
		return true;                                                                       \
	}
	switch (d->zi.mnemonic) {
		CASE(bts, BTS)
		CASE(btr, BTR)
		CASE(btc, BTC)
	default: break;
	}
	static const insn_fn bt_rows[FORM_COUNT][4] = { ROWS(bt) };
	i->fn = bt_rows[form][size];
	return i->fn;
#undef CASE
#undef ROWS
}

/*
 * Scans. The host gets the whole destination register: when the source is 0, BSF and BSR
 * leave it alone, all 64 bits of it, on some processors.
 */
#define SCAN(op, host, bits, modifier)                                                             \
	static void execute_##op##bits(struct interp *c, uint8_t to, uint##bits##_t w)             \
	{                                                                                          \
		uint32_t ax = alu_pack(c->arith);                                                  \
		uint64_t v = reg_get64(c, to);                                                     \
		__asm__(ALU_LOAD host " %[w], %" modifier "[v]" ALU_SAVE                           \
			: [v] "+&r"(v), "+&a"(ax)                                                  \
			: [w] "r"(w)                                                               \
			: "cc");                                                                   \
		c->arith = alu_unpack(ax);                                                         \
		reg_set64(c, to, v);                                                               \
	}                                                                                          \
	static enum step op##_rr##bits(struct interp *c, const struct insn *i)                     \
	{                                                                                          \
		execute_##op##bits(c, i->a, reg_get##bits(c, i->b));                               \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step op##_rm##bits(struct interp *c, const struct insn *i)                     \
	{                                                                                          \
		uint##bits##_t w;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &w)))                       \
			return STEP_FAULT;                                                         \
		execute_##op##bits(c, i->a, w);                                                    \
		return STEP_NEXT;                                                                  \
	}
/* clang-format off */
#define SCANS(X) X(bsf, BSF) X(bsr, BSR) X(tzcnt, TZCNT) X(lzcnt, LZCNT) X(popcnt, POPCNT)
#define X(op, name) SCAN(op, #op, 16, "w") SCAN(op, #op, 32, "k") SCAN(op, #op, 64, "q")
SCANS(X)
#undef X
/* clang-format on */

bool bind_bit_scan(const struct decoding *d, struct insn *i)
{
	bool memory = form_bind2(d, i) == FORM_RM;
	unsigned size = form_size(&d->op[0]);

	switch (d->zi.mnemonic) {
#define X(op, name)                                                                                \
	case ZYDIS_MNEMONIC_##name: {                                                              \
		static const insn_fn rows[2][4] = { FORM_ROW_WIDE(op##_rr),                        \
						    FORM_ROW_WIDE(op##_rm) };                      \
		i->fn = rows[memory][size];                                                        \
		return true;                                                                       \
	}
		SCANS(X)
#undef X
	default: return false;
	}
}

/* The accumulator is 32 bits; a 64-bit destination gets its upper half zeroed. i->osz is the
 * source's size. */
static enum step crc32(struct interp *c, const struct insn *i)
{
	uint64_t crc = reg_get32(c, i->a), w;

	if (!(i->flags & INSN_MEM))
		w = reg_get(c, i->b, i->osz);
	else if (!operand_load(c, i->seg, insn_ea(c, i), i->osz, &w))
		return STEP_FAULT;
	switch (i->osz) {
	case 1: __asm__("crc32b %b[w], %k[crc]" : [crc] "+r"(crc) : [w] "r"(w)); break;
	case 2: __asm__("crc32w %w[w], %k[crc]" : [crc] "+r"(crc) : [w] "r"(w)); break;
	case 4: __asm__("crc32l %k[w], %k[crc]" : [crc] "+r"(crc) : [w] "r"(w)); break;
	default: __asm__("crc32q %[w], %[crc]" : [crc] "+r"(crc) : [w] "r"(w)); break;
	}
	reg_set32(c, i->a, (uint32_t)crc);
	return STEP_NEXT;
}

bool bind_crc32(const struct decoding *d, struct insn *i)
{
	form_bind2(d, i);
	i->osz = (uint8_t)(d->op[1].size / 8);
	i->fn = crc32;
	return true;
}
