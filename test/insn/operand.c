/*
 * operand.c - gives a case registers with which its first instruction finds its operands.
 *
 * Random registers would make every memory access a page fault. So the address of each memory
 * operand is chosen first - mostly inside the data, sometimes across a page end, in the
 * read-only page, in a hole, not canonical - and then base, index or displacement solved for it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "test/insn/insn.h"

#define FAR_AWAY UINT64_C(0x0000900000000000) /* not canonical */

/* Where segment `s` begins for code of this case. */
static uint64_t segment_base(const struct insn_case *c, ZydisRegister s)
{
	unsigned n;
	uint16_t selector;
	uint64_t d;

	if (s < ZYDIS_REGISTER_ES || s > ZYDIS_REGISTER_GS)
		return 0;
	n = (unsigned)(s - ZYDIS_REGISTER_ES);
	if (c->bits == 64)
		return n == FS ? c->in.fs_base : n == GS ? c->in.gs_base : 0;
	selector = c->in.selector[n];
	if ((selector & 7) != 7)
		return 0;
	d = ldt_descriptor((selector >> 3) % LDT_COUNT);
	return (d >> 16 & 0xffffff) | (d >> 56) << 24;
}

/* Linear address of the first code byte. */
static uint64_t code_at(const struct insn_case *c)
{
	return c->in.selector[CS] & 4 ? CODE_AT + c->in.rip : c->in.rip;
}

static uint64_t choose_address(struct rng *r, const struct insn_case *c, unsigned bytes)
{
	unsigned align = bytes ? bytes : 1, kind = rng_below(r, 100);
	uint64_t at;

	if (c->count > 1 && rng_chance(r, 12)) /* bytes that are about to run */
		return code_at(c) + 4 + rng_below(r, 36);
	while (align & (align - 1))
		align &= align - 1;
	if (align > 64)
		align = 64;
	if (kind < 62) {
		at = DATA_AT + rng_below(r, DATA_BYTES);
		return at & ~(uint64_t)(align - 1);
	}
	if (kind < 78)
		return DATA_AT + rng_below(r, DATA_BYTES);
	if (kind < 82)
		return DATA_AT + PAGE_BYTES - rng_below(r, bytes + 1);
	if (kind < 88)
		return DATA_AT + DATA_BYTES - rng_below(r, 2 * bytes + 1);
	if (kind < 92)
		return DATA_AT - rng_below(r, 2 * bytes + 1);
	if (kind < 95)
		return RO_AT + rng_below(r, PAGE_BYTES);
	if (kind < 97)
		return STACK_AT + rng_below(r, PAGE_BYTES);
	if (kind < 98)
		return CODE_AT + rng_below(r, CODE_BYTES);
	if (c->bits == 64 && kind < 99)
		return FAR_AWAY + rng_below(r, DATA_BYTES);
	return rng_next(r);
}

static void fill_operand(struct rng *r, struct insn_case *c, unsigned slot, uint64_t at,
			 unsigned bytes)
{
	struct patch *p = &c->patch[slot];

	if (bytes == 0 || bytes > PATCH_MOST || at < DATA_AT || at + bytes > DATA_AT + DATA_BYTES ||
	    slot >= PATCHES)
		return;
	p->at = (uint32_t)at;
	p->bytes = bytes;
	rng_elements(r, p->byte, bytes);
	/* 80-bit numbers and FXSAVE images need their own forms. */
	if (bytes == 10 && rng_chance(r, 80)) {
		struct x86_fpu f;

		rng_fpu(r, &f);
		memcpy(p->byte, &f.st[0].mant, 8);
		memcpy(p->byte + 8, &f.st[0].exp, 2);
	}
}

static unsigned general(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return (unsigned)ZydisRegisterGetId(reg);
	default: return GPR_COUNT;
	}
}

/* Puts a displacement into the code bytes. */
static void patch_displacement(struct encoding *e, uint64_t value)
{
	memcpy(e->byte + e->z.raw.disp.offset, &value, e->z.raw.disp.size / 8);
}

/* Index vector of a gather: elements that stay near the base, mostly. */
static void place_gather(struct rng *r, struct insn_case *c, const struct encoding *e,
			 const ZydisDecodedOperandMem *m, uint64_t at)
{
	unsigned index = (unsigned)ZydisRegisterGetId(m->index) & 15, base = general(m->base);
	bool wide = e->byte[e->z.raw.modrm.offset - 1] & 1; /* VPGATHERQx */
	uint8_t *v = (uint8_t *)c->in.fpu.ymm[index];

	for (unsigned i = 0; i < 32; i += wide ? 8 : 4) {
		int64_t n =
			rng_chance(r, 96) ? (int64_t)rng_below(r, 64) - 32 : (int64_t)rng_next(r);

		memcpy(v + i, &n, wide ? 8 : 4);
	}
	if (base < GPR_COUNT)
		c->in.gpr[base] = at - (uint64_t)m->disp.value;
}

static void solve(struct rng *r, struct insn_case *c, struct encoding *e,
		  const ZydisDecodedOperandMem *m, uint64_t offset)
{
	uint64_t disp = m->disp.has_displacement ? (uint64_t)m->disp.value : 0;
	unsigned base = general(m->base), index = general(m->index);
	unsigned scale = m->scale ? m->scale : 1;

	if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP) {
		patch_displacement(e, offset - c->in.rip - e->length);
		return;
	}
	if (base < GPR_COUNT && base == index) {
		c->in.gpr[base] = (offset - disp) / (1 + scale);
	} else if (base < GPR_COUNT) {
		if (index < GPR_COUNT && index != base && rng_chance(r, 85))
			c->in.gpr[index] = rng_integer(r, 2) - 0x8000;
		c->in.gpr[base] =
			offset - disp - (index < GPR_COUNT ? c->in.gpr[index] * scale : 0);
	} else if (index < GPR_COUNT) {
		c->in.gpr[index] = (offset - disp) / scale;
	} else if (m->disp.has_displacement) {
		patch_displacement(e, offset);
	}
}

static bool is_bit_string(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

static bool is_image(const struct encoding *e)
{
	return e->z.meta.isa_ext == ZYDIS_ISA_EXT_XSAVE ||
	       e->z.meta.isa_ext == ZYDIS_ISA_EXT_XSAVEC;
}

/* State images: the components that guest and host have in common, and mostly a good header. */
static void place_image(struct rng *r, struct insn_case *c, const struct encoding *e, uint64_t at)
{
	struct patch *header = &c->patch[2], *mxcsr = &c->patch[3];
	unsigned align = 64;

	if (!is_image(e))
		return;
	c->in.gpr[RAX] &= 7;
	c->in.gpr[RDX] = 0;
	if (at % align || at < DATA_AT || at + 832 > DATA_AT + DATA_BYTES || rng_chance(r, 10))
		return;
	*header = (struct patch){ .at = (uint32_t)at + 512, .bytes = 64 };
	header->byte[0] = (uint8_t)rng_below(r, 8);
	if (rng_chance(r, 10))
		header->byte[rng_below(r, 64)] = (uint8_t)rng_next(r);
	*mxcsr = (struct patch){ .at = (uint32_t)at + 24, .bytes = 8 };
	mxcsr->byte[0] = (uint8_t)rng_next(r);
	mxcsr->byte[1] = (uint8_t)rng_next(r);
}

static void place_memory(struct rng *r, struct insn_case *c, struct encoding *e, unsigned n,
			 unsigned slot)
{
	ZydisDecodedOperand *o = &e->op[n];
	unsigned bytes = o->size / 8;
	uint64_t at = choose_address(r, c, bytes), offset;

	/* A locked access across two cache lines stops the whole machine, or is refused. */
	if (e->z.attributes & ZYDIS_ATTRIB_HAS_LOCK || e->z.mnemonic == ZYDIS_MNEMONIC_XCHG)
		if ((at & 63) + bytes > 64)
			at -= 64 - (bytes - 1) % 64 + (at & 63) % 8;
	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		place_gather(r, c, e, &o->mem, at);
		return;
	}
	if (is_bit_string(e->z.mnemonic) && e->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		c->in.gpr[general(e->op[1].reg.value) % GPR_COUNT] =
			rng_chance(r, 80) ? rng_below(r, 4096) - UINT64_C(2048) : rng_next(r);
	if (slot == PATCHES && rng_chance(r, 90)) /* the stack */
		return;
	if (o->size > 512 * 8 && rng_chance(r, 80))
		at = (DATA_AT + rng_below(r, DATA_BYTES - 1024)) & ~UINT64_C(63);
	place_image(r, c, e, at);
	offset = at - segment_base(c, o->mem.segment);
	solve(r, c, e, &o->mem, offset);
	fill_operand(r, c, slot, at, bytes);
}

/* CMPXCHG and its like should succeed now and then. */
static void match_accumulator(struct rng *r, struct insn_case *c, const struct encoding *e)
{
	const struct patch *p = &c->patch[1];
	unsigned half = p->bytes / 2;

	if (!p->bytes || !rng_chance(r, 50))
		return;
	if (e->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG && p->bytes <= 8)
		memcpy(&c->in.gpr[RAX], p->byte, p->bytes);
	if (e->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ||
	    e->z.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B) {
		memcpy(&c->in.gpr[RAX], p->byte, half);
		memcpy(&c->in.gpr[RDX], p->byte + half, half);
	}
}

/* Mostly the quotient should fit. */
static void ease_division(struct rng *r, struct insn_case *c, const struct encoding *e)
{
	if ((e->z.mnemonic != ZYDIS_MNEMONIC_DIV && e->z.mnemonic != ZYDIS_MNEMONIC_IDIV) ||
	    !rng_chance(r, 70))
		return;
	c->in.gpr[RDX] = rng_chance(r, 50) ? 0 : (uint64_t)((int64_t)c->in.gpr[RAX] >> 63);
	if (e->z.operand_width == 8)
		c->in.gpr[RAX] &= 0x3ff;
}

/* Selectors worth loading; the others of the host's table are its own business. */
static uint16_t choose_selector(struct rng *r)
{
	static const uint16_t some[] = { 0,    3,    SEL_CODE32, SEL_DATA, SEL_CODE64,
					 0x28, 0x20, 0x10,       0x18,     0x08,
					 0x40, 0x2a, 0x63,       0xfff8,   0x80 };

	if (rng_chance(r, 45))
		return (uint16_t)LDT_SEL(rng_below(r, LDT_COUNT + 2));
	return some[rng_below(r, sizeof(some) / sizeof(some[0]))];
}

/* A value about to be loaded as a selector gets one of those. */
static void place_selectors(struct rng *r, struct insn_case *c, struct encoding *e)
{
	bool segment = e->z.mnemonic == ZYDIS_MNEMONIC_LAR || e->z.mnemonic == ZYDIS_MNEMONIC_LSL ||
		       e->z.mnemonic == ZYDIS_MNEMONIC_VERR || e->z.mnemonic == ZYDIS_MNEMONIC_VERW;
	uint16_t selector = choose_selector(r);
	struct patch *p = &c->patch[1];

	for (unsigned n = 0; n < e->z.operand_count; n++)
		if (e->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(e->op[n].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    e->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			segment = true;
	if (!segment)
		return;
	for (unsigned n = 0; n < e->z.operand_count_visible; n++)
		if (e->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    general(e->op[n].reg.value) < GPR_COUNT)
			memcpy(&c->in.gpr[general(e->op[n].reg.value)], &selector, 2);
	if (e->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		memcpy(e->byte + e->length - 2, &selector, 2);
		return;
	}
	/* Far pointer: offset, selector. POP and MOV: the selector alone. */
	if (p->bytes == 2)
		memcpy(p->byte, &selector, 2);
	else if (p->bytes > 2)
		memcpy(p->byte + p->bytes - (p->bytes % 4 == 2 ? 2 : p->bytes), &selector, 2);
}

void operand_place(struct rng *r, struct insn_case *c, struct encoding *e)
{
	unsigned slot = 1;

	if (!e->valid)
		return;
	for (unsigned n = 0; n < e->z.operand_count; n++)
		if (e->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY && general(e->op[n].mem.base) != RSP)
			place_memory(r, c, e, n, slot++);
		else if (e->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			place_memory(r, c, e, n, PATCHES);
	if (e->z.attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		c->in.gpr[RCX] = rng_chance(r, 90) ? rng_below(r, 200) : rng_integer(r, 8);
	match_accumulator(r, c, e);
	ease_division(r, c, e);
	place_selectors(r, c, e);
	/* Solving for the address may have taken the registers that choose the components. */
	if (is_image(e) && (c->in.gpr[RAX] & ~UINT64_C(7) || c->in.gpr[RDX]))
		c->skip = SKIP_ALTOGETHER;
}
