/*
 * move.c - MOV MOVNTI MOVZX MOVSX MOVSXD MOVBE LEA BSWAP XLAT, CBW and its family, CMOVcc, SETcc.
 *
 * The idea: nothing here touches a flag. CMOVcc reads its source whatever the condition, and
 * clears the upper half of a 32-bit destination even if it does not hold.
 *
 * MOV to and from segment, control and debug registers is in the system files.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

#define MOV(bits, s)                                                                               \
	static enum step mov_rr##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		reg_set##bits(c, i->a, reg_get##bits(c, i->b));                                    \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step mov_ri##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		reg_set##bits(c, i->a, (uint##bits##_t)i->imm);                                    \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step mov_rm##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &v)))                       \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->a, v);                                                         \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step mov_mr##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		if (UNLIKELY(!mem_store##bits(c, i->seg, insn_ea(c, i), reg_get##bits(c, i->b))))  \
			return STEP_FAULT;                                                         \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step mov_mi##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		if (UNLIKELY(!mem_store##bits(c, i->seg, insn_ea(c, i), (uint##bits##_t)i->imm)))  \
			return STEP_FAULT;                                                         \
		return STEP_NEXT;                                                                  \
	}
ALU_SIZES(MOV)

bool bind_mov(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[FORM_COUNT][4] = {
		[FORM_RR] = FORM_ROW(mov_rr), [FORM_RM] = FORM_ROW(mov_rm),
		[FORM_MR] = FORM_ROW(mov_mr), [FORM_RI] = FORM_ROW(mov_ri),
		[FORM_MI] = FORM_ROW(mov_mi),
	};
	enum form form;

	if (bind_is_system(d))
		return bind_system(d, i);
	form = form_bind2(d, i);
	i->fn = rows[form][form_size(&d->op[0])];
	return i->fn;
}

/* to <- from, narrower or as wide */
#define EXTEND(name, to, from, type)                                                               \
	static enum step name##from##_r##to(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		reg_set##to(c, i->a, (uint##to##_t)(type)reg_get##from(c, i->b));                  \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step name##from##_m##to(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##from##_t v;                                                                  \
		if (UNLIKELY(!mem_load##from(c, i->seg, insn_ea(c, i), &v)))                       \
			return STEP_FAULT;                                                         \
		reg_set##to(c, i->a, (uint##to##_t)(type)v);                                       \
		return STEP_NEXT;                                                                  \
	}
/* clang-format off */
EXTEND(zx, 16, 8, uint8_t) EXTEND(zx, 32, 8, uint8_t) EXTEND(zx, 64, 8, uint8_t)
EXTEND(zx, 16, 16, uint16_t) EXTEND(zx, 32, 16, uint16_t) EXTEND(zx, 64, 16, uint16_t)
EXTEND(sx, 16, 8, int8_t) EXTEND(sx, 32, 8, int8_t) EXTEND(sx, 64, 8, int8_t)
EXTEND(sx, 16, 16, int16_t) EXTEND(sx, 32, 16, int16_t) EXTEND(sx, 64, 16, int16_t)
EXTEND(sx, 32, 32, int32_t) EXTEND(sx, 64, 32, int32_t)
/* clang-format on */

bool bind_extend(const struct decoding *d, struct insn *i)
{
	/* clang-format off */
	/* [signed][memory][source size][destination size] */
	static const insn_fn rows[2][2][3][4] = {
		{ { FORM_ROW_WIDE(zx8_r), FORM_ROW_WIDE(zx16_r) },
		  { FORM_ROW_WIDE(zx8_m), FORM_ROW_WIDE(zx16_m) } },
		{ { FORM_ROW_WIDE(sx8_r),
		    FORM_ROW_WIDE(sx16_r),
		    { NULL, NULL, sx32_r32, sx32_r64 } },
		  { FORM_ROW_WIDE(sx8_m),
		    FORM_ROW_WIDE(sx16_m),
		    { NULL, NULL, sx32_m32, sx32_m64 } } },
	};
	/* clang-format on */
	bool memory = form_bind2(d, i) == FORM_RM;
	bool is_signed = d->zi.mnemonic != ZYDIS_MNEMONIC_MOVZX;
	unsigned to = form_size(&d->op[0]), from = form_size(&d->op[1]);

	/* MOVSXD of 16 bits reads only 16. */
	i->fn = rows[is_signed][memory][from < to ? from : to][to];
	return i->fn;
}

#define LEA(bits, s)                                                                               \
	static enum step lea##bits(struct interp *c, const struct insn *i)                         \
	{                                                                                          \
		reg_set##bits(c, i->a, (uint##bits##_t)insn_ea(c, i));                             \
		return STEP_NEXT;                                                                  \
	}
ALU_WIDE(LEA)

bool bind_lea(const struct decoding *d, struct insn *i)
{
	static const insn_fn row[4] = FORM_ROW_WIDE(lea);

	form_bind2(d, i);
	i->fn = row[form_size(&d->op[0])];
	return i->fn;
}

static uint64_t swapped(uint64_t v, unsigned size)
{
	return __builtin_bswap64(v) >> (64 - 8 * size);
}

static enum step movbe_load(struct interp *c, const struct insn *i)
{
	uint64_t v;

	if (!operand_load(c, i->seg, insn_ea(c, i), i->osz, &v))
		return STEP_FAULT;
	reg_set(c, i->a, i->osz, swapped(v, i->osz));
	return STEP_NEXT;
}

static enum step movbe_store(struct interp *c, const struct insn *i)
{
	uint64_t v = swapped(reg_get(c, i->b, i->osz), i->osz);

	return operand_store(c, i->seg, insn_ea(c, i), i->osz, v) ? STEP_NEXT : STEP_FAULT;
}

bool bind_movbe(const struct decoding *d, struct insn *i)
{
	i->fn = form_bind2(d, i) == FORM_RM ? movbe_load : movbe_store;
	return true;
}

/* With 16 bits the result is undefined: whatever the host makes of it. */
static enum step bswap16(struct interp *c, const struct insn *i)
{
	uint64_t v = reg_get64(c, i->a);

	__asm__(".byte 0x66, 0x0f, 0xc8" : "+a"(v)); /* BSWAP AX */
	reg_set64(c, i->a, v);
	return STEP_NEXT;
}
static enum step bswap32(struct interp *c, const struct insn *i)
{
	reg_set32(c, i->a, __builtin_bswap32(reg_get32(c, i->a)));
	return STEP_NEXT;
}
static enum step bswap64(struct interp *c, const struct insn *i)
{
	reg_set64(c, i->a, __builtin_bswap64(reg_get64(c, i->a)));
	return STEP_NEXT;
}

bool bind_bswap(const struct decoding *d, struct insn *i)
{
	static const insn_fn row[4] = FORM_ROW_WIDE(bswap);

	form_bind1(d, i);
	i->fn = row[form_size(&d->op[0])];
	return i->fn;
}

/* AL = seg:[rBX + AL] */
static enum step xlat(struct interp *c, const struct insn *i)
{
	uint64_t off = (c->r[RBX] + (uint8_t)c->r[RAX]) & asz_mask(i->asz);
	uint8_t v;

	if (!mem_load8(c, i->seg, off, &v))
		return STEP_FAULT;
	reg_set8(c, RAX * 8, v);
	return STEP_NEXT;
}

bool bind_xlat(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = xlat;
	return true;
}

static enum step cbw(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set16(c, RAX * 8, (uint16_t)(int8_t)c->r[RAX]);
	return STEP_NEXT;
}
static enum step cwde(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set32(c, RAX * 8, (uint32_t)(int16_t)c->r[RAX]);
	return STEP_NEXT;
}
static enum step cdqe(struct interp *c, const struct insn *i)
{
	(void)i;
	c->r[RAX] = (uint64_t)(int32_t)c->r[RAX];
	return STEP_NEXT;
}
static enum step cwd(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set16(c, RDX * 8, (uint16_t)((int16_t)c->r[RAX] >> 15));
	return STEP_NEXT;
}
static enum step cdq(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set32(c, RDX * 8, (uint32_t)((int32_t)c->r[RAX] >> 31));
	return STEP_NEXT;
}
static enum step cqo(struct interp *c, const struct insn *i)
{
	(void)i;
	c->r[RDX] = (uint64_t)((int64_t)c->r[RAX] >> 63);
	return STEP_NEXT;
}

bool bind_widen(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_CBW: i->fn = cbw; return true;
	case ZYDIS_MNEMONIC_CWDE: i->fn = cwde; return true;
	case ZYDIS_MNEMONIC_CDQE: i->fn = cdqe; return true;
	case ZYDIS_MNEMONIC_CWD: i->fn = cwd; return true;
	case ZYDIS_MNEMONIC_CDQ: i->fn = cdq; return true;
	default: i->fn = cqo; return true;
	}
}

#define CMOV(cc, bits)                                                                             \
	static enum step cmov##cc##_r##bits(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t v = reg_get##bits(c, i->b), w = reg_get##bits(c, i->a);             \
		reg_set##bits(c, i->a, alu_condition(c->arith, cc) ? v : w);                       \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step cmov##cc##_m##bits(struct interp *c, const struct insn *i)                \
	{                                                                                          \
		uint##bits##_t v, w = reg_get##bits(c, i->a);                                      \
		if (UNLIKELY(!mem_load##bits(c, i->seg, insn_ea(c, i), &v)))                       \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->a, alu_condition(c->arith, cc) ? v : w);                       \
		return STEP_NEXT;                                                                  \
	}
#define SET(cc)                                                                                    \
	static enum step set##cc##_r(struct interp *c, const struct insn *i)                       \
	{                                                                                          \
		reg_set8(c, i->a, alu_condition(c->arith, cc));                                    \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step set##cc##_m(struct interp *c, const struct insn *i)                       \
	{                                                                                          \
		uint8_t v = alu_condition(c->arith, cc);                                           \
		return mem_store8(c, i->seg, insn_ea(c, i), v) ? STEP_NEXT : STEP_FAULT;           \
	}
/* clang-format off */
#define X(cc) CMOV(cc, 16) CMOV(cc, 32) CMOV(cc, 64) SET(cc)
ALU_CONDITIONS(X)
#undef X
/* clang-format on */

/* The condition is the low half of the last opcode byte. */
bool bind_cmov(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[16][2][4] = {
#define X(cc) { FORM_ROW_WIDE(cmov##cc##_r), FORM_ROW_WIDE(cmov##cc##_m) },
		ALU_CONDITIONS(X)
#undef X
	};
	bool memory = form_bind2(d, i) == FORM_RM;

	i->fn = rows[d->zi.opcode & 15][memory][form_size(&d->op[0])];
	return i->fn;
}

bool bind_set(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[16][2] = {
#define X(cc) { set##cc##_r, set##cc##_m },
		ALU_CONDITIONS(X)
#undef X
	};

	i->fn = rows[d->zi.opcode & 15][form_bind1(d, i) == FORM_M];
	return true;
}
