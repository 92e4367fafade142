/*
 * vector_mask.c - loads and stores that touch only some elements: masked moves and gathers.
 *
 * Elements that the mask leaves out are not accessed, so they cannot fault; that is why these
 * go element by element in C. A masked store probes every element it will write before the
 * first, so it faults as one. A gather is the exception the architecture makes: elements
 * completed before a fault stay loaded and are taken out of the mask register, and the
 * instruction is executed again for the rest.
 *
 * Spec: SDM vol. 2 VMASKMOV, VPMASKMOV, MASKMOVDQU, MASKMOVQ, VGATHERDPS and its family.
 * Tested by test/unit/vector.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/vector.h"

#define OP_WIDE 1u /* 8-byte elements, not 4 */
#define OP_YMM  2u /* 256-bit form */
#define OP_QUAD 4u /* gather: 8-byte indices */

static unsigned element_bytes(const struct insn *i)
{
	return i->op & OP_WIDE ? 8 : 4;
}

static unsigned vector_bytes(const struct insn *i)
{
	return i->op & OP_YMM ? 32 : 16;
}

/* The sign bit of element n selects it. */
static bool selected(const void *mask, unsigned n, unsigned size)
{
	return ((const uint8_t *)mask)[n * size + size - 1] >> 7;
}

/* a: destination, c: mask */
static enum step masked_load(struct interp *c, const struct insn *i)
{
	unsigned size = element_bytes(i), bytes = vector_bytes(i);
	const void *mask = c->s.fpu.ymm[i->c];
	uint64_t at = insn_ea(c, i);
	uint8_t to[32] = { 0 };

	if (!vector_vex_ok(c))
		return vector_refuse_vex(c);
	for (unsigned n = 0; n * size < bytes; n++)
		if (selected(mask, n, size) &&
		    !mem_read_slow(c, (enum seg)i->seg, (at + n * size) & asz_mask(i->asz),
				   to + n * size, size))
			return STEP_FAULT;
	memcpy(c->s.fpu.ymm[i->a], to, 32);
	return STEP_NEXT;
}

/* Stores the selected elements of `from`: all or none. */
static bool store_selected(struct interp *c, const struct insn *i, uint64_t at, const void *from,
			   const void *mask, unsigned size, unsigned bytes)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned n = 0; n * size < bytes; n++) {
			uint64_t off = (at + n * size) & asz_mask(i->asz);
			const uint8_t *value = (const uint8_t *)from + n * size;

			if (!selected(mask, n, size))
				continue;
			if (pass == 0 ? !mem_probe_write(c, (enum seg)i->seg, off, size)
				      : !mem_write_slow(c, (enum seg)i->seg, off, value, size))
				return false;
		}
	return true;
}

static enum step masked_store(struct interp *c, const struct insn *i)
{
	if (!vector_vex_ok(c))
		return vector_refuse_vex(c);
	return store_selected(c, i, insn_ea(c, i), c->s.fpu.ymm[i->a], c->s.fpu.ymm[i->c],
			      element_bytes(i), vector_bytes(i))
		       ? STEP_NEXT
		       : STEP_FAULT;
}

/* MASKMOVDQU, VMASKMOVDQU: a data, b mask, op THUNK_VEX or 0; memory at DS:rDI. */
static enum step maskmovdqu(struct interp *c, const struct insn *i)
{
	uint64_t at = c->r[RDI] & asz_mask(i->asz);

	if (i->op & THUNK_VEX ? !vector_vex_ok(c) : !vector_sse_ok(c))
		return i->op & THUNK_VEX ? vector_refuse_vex(c) : vector_refuse_sse(c);
	return store_selected(c, i, at, c->s.fpu.ymm[i->a], c->s.fpu.ymm[i->b], 1, 16) ? STEP_NEXT
										       : STEP_FAULT;
}

static enum step maskmovq(struct interp *c, const struct insn *i)
{
	unsigned top = c->s.fpu.fsw >> 11;
	const void *data = &c->s.fpu.st[(i->a - top) & 7].mant;
	const void *mask = &c->s.fpu.st[(i->b - top) & 7].mant;

	bool done;

	if (!vector_mmx_ok(c))
		return vector_refuse_mmx(c);
	done = store_selected(c, i, c->r[RDI] & asz_mask(i->asz), data, mask, 1, 8);
	x87_enter_mmx(&c->s.fpu);
	return done ? STEP_NEXT : STEP_FAULT;
}

/* Address offset of gather element n: base + index << scale + displacement, address size. */
static uint64_t gather_at(struct interp *c, const struct insn *i, unsigned n)
{
	const uint8_t *index = (const uint8_t *)c->s.fpu.ymm[i->b];
	uint64_t base = c->r[i->base] + (uint64_t)i->disp, offset;

	if (i->op & OP_QUAD) {
		memcpy(&offset, index + 8 * n, 8);
	} else {
		int32_t narrow;

		memcpy(&narrow, index + 4 * n, 4);
		offset = (uint64_t)(int64_t)narrow;
	}
	return (base + (offset << i->scale)) & asz_mask(i->asz);
}

/* a: destination, b: indices, c: mask. The three differ (else #UD, at bind time). */
static enum step gather(struct interp *c, const struct insn *i)
{
	unsigned size = element_bytes(i), count, whole;
	unsigned by_index = vector_bytes(i) / (i->op & OP_QUAD ? 8 : 4);
	uint8_t *to = (uint8_t *)c->s.fpu.ymm[i->a], *mask = (uint8_t *)c->s.fpu.ymm[i->c];

	if (!vector_vex_ok(c))
		return vector_refuse_vex(c);
	count = vector_bytes(i) / size;
	count = by_index < count ? by_index : count;
	/* The mask as CPUs show it when an element faults: whole elements, no upper half. */
	whole = vector_bytes(i);
	for (unsigned n = 0; n * size < whole; n++)
		memset(mask + n * size, selected(mask, n, size) ? 0xff : 0, size);
	memset(mask + whole, 0, 32 - whole);
	for (unsigned n = 0; n < count; n++) {
		if (!selected(mask, n, size))
			continue;
		if (!mem_read_slow(c, (enum seg)i->seg, gather_at(c, i, n), to + n * size, size))
			return STEP_FAULT;
		memset(to + whole, 0, 32 - whole);
		memset(mask + n * size, 0, size);
	}
	memset(to + count * size, 0, 32 - count * size);
	memset(mask, 0, 32);
	return STEP_NEXT;
}

static uint8_t operand_number(const struct decoding *d, unsigned n)
{
	return vector_number(d->op[n].reg.value);
}

static bool bind_masked(const struct decoding *d, struct insn *i, bool wide)
{
	unsigned reg = d->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? 2 : 0;

	i->fn = reg == 0 ? masked_load : masked_store;
	i->a = operand_number(d, reg);
	i->c = operand_number(d, 1);
	i->op = (uint8_t)((wide ? OP_WIDE : 0) | (d->zi.raw.vex.L ? OP_YMM : 0));
	return true;
}

static bool bind_gather(const struct decoding *d, struct insn *i, unsigned op)
{
	const ZydisDecodedOperandMem *mem = &d->op[1].mem;

	i->fn = gather;
	i->a = operand_number(d, 0);
	i->b = vector_number(mem->index);
	i->c = operand_number(d, 2);
	i->op = (uint8_t)(op | (d->zi.raw.vex.L ? OP_YMM : 0));
	i->index = R_ZERO;
	i->scale = d->zi.raw.sib.scale;
	return i->a != i->b && i->a != i->c && i->b != i->c;
}

static bool bind_maskmov(const struct decoding *d, struct insn *i, insn_fn fn)
{
	unsigned found = 0;

	i->fn = fn;
	i->op = d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? THUNK_VEX : 0;
	for (unsigned n = 0; n < d->zi.operand_count; n++) {
		if (d->op[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && ++found)
			i->a = operand_number(d, n);
		if (d->op[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && ++found)
			i->b = operand_number(d, n);
	}
	return found == 2;
}

bool vector_bind_mask(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD: return bind_masked(d, i, false);
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ: return bind_masked(d, i, true);
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VPGATHERDD: return bind_gather(d, i, 0);
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VPGATHERDQ: return bind_gather(d, i, OP_WIDE);
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERQD: return bind_gather(d, i, OP_QUAD);
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VPGATHERQQ: return bind_gather(d, i, OP_QUAD | OP_WIDE);
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU: return bind_maskmov(d, i, maskmovdqu);
	case ZYDIS_MNEMONIC_MASKMOVQ: return bind_maskmov(d, i, maskmovq);
	default: return false;
	}
}
