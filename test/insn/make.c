/*
 * make.c - one case from (seed, number): mode, registers, code, operands.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "test/insn/insn.h"

struct mix case_mix = { .long_mode = 58, .blocks = 15 };

static void choose_mode(struct rng *r, struct insn_case *c)
{
	unsigned kind = rng_below(r, 100);

	c->bits = kind < case_mix.long_mode ? 64 : kind < 90 ? 32 : 16;
}

static uint16_t data_selector(struct rng *r, unsigned flat)
{
	if (rng_chance(r, flat))
		return SEL_DATA;
	return rng_chance(r, 8) ? 0 : (uint16_t)LDT_SEL(rng_below(r, 3));
}

static void choose_segments(struct rng *r, struct insn_case *c)
{
	uint16_t *s = c->in.selector;

	s[SS] = SEL_DATA;
	s[DS] = s[ES] = s[FS] = s[GS] = 0;
	if (c->bits == 64) {
		s[CS] = SEL_CODE64;
		if (rng_chance(r, 10))
			s[DS] = s[ES] = SEL_DATA;
		c->in.fs_base =
			rng_chance(r, 80) ? DATA_AT + rng_below(r, DATA_BYTES) : rng_next(r) >> 20;
		c->in.gs_base = rng_chance(r, 80) ? DATA_AT + rng_below(r, DATA_BYTES)
						  : (uint64_t)((int64_t)rng_next(r) >> 17);
		return;
	}
	s[CS] = (uint16_t)(c->bits == 16       ? LDT_SEL(3)
			   : rng_chance(r, 90) ? SEL_CODE32
					       : LDT_SEL(4));
	s[DS] = data_selector(r, c->bits == 16 ? 20 : 80);
	s[ES] = data_selector(r, c->bits == 16 ? 20 : 80);
	s[FS] = rng_chance(r, 40) ? 0 : data_selector(r, 20);
	s[GS] = rng_chance(r, 40) ? 0 : data_selector(r, 20);
	if (rng_chance(r, c->bits == 16 ? 70 : 8))
		s[SS] = LDT_SEL(6);
}

static uint64_t choose_flags(struct rng *r)
{
	uint64_t f = (rng_next(r) & FLAG_ARITH) | FLAG_FIXED | FLAG_IF;

	if (rng_chance(r, 20))
		f |= FLAG_DF;
	if (rng_chance(r, 4))
		f |= FLAG_AC;
	if (rng_chance(r, 2))
		f |= FLAG_TF;
	if (rng_chance(r, 3))
		f |= FLAG_NT;
	if (rng_chance(r, 10))
		f |= FLAG_ID;
	return f;
}

static void choose_registers(struct rng *r, struct insn_case *c)
{
	for (unsigned n = 0; n < GPR_COUNT; n++) {
		uint64_t v =
			rng_chance(r, 35) ? DATA_AT + rng_below(r, DATA_BYTES) : rng_integer(r, 8);

		c->in.gpr[n] = c->bits == 64 || n >= R8 ? v : (uint32_t)v;
	}
	c->in.gpr[RSP] = STACK_AT + PAGE_BYTES / 2 + rng_below(r, 64) * 8;
	if (c->in.selector[SS] != SEL_DATA)
		c->in.gpr[RSP] = (c->in.gpr[RSP] & (PAGE_BYTES - 1)) | ENTRY_AT;
	if (rng_chance(r, 5))
		c->in.gpr[RSP] += rng_below(r, 8);
	c->in.rflags = choose_flags(r);
	rng_fpu(r, &c->in.fpu);
}

/* Where the first code byte is: somewhere, across the pages, at their end, or beyond it. */
static uint32_t choose_place(struct rng *r, const struct insn_case *c, unsigned bytes)
{
	unsigned kind = rng_below(r, 100);

	if (kind < 84 || c->skip != SKIP_NONE)
		return CODE_AT + rng_below(r, PAGE_BYTES - CODE_MOST);
	if (kind < 92)
		return CODE_AT + PAGE_BYTES - rng_below(r, bytes + 1);
	if (kind < 97)
		return CODE_AT + CODE_BYTES - bytes;
	return CODE_AT + CODE_BYTES - 1 - rng_below(r, bytes);
}

static void set_code(struct insn_case *c, uint32_t at, const uint8_t *byte, unsigned bytes)
{
	struct patch *p = &c->patch[0];

	if (bytes > CODE_AT + CODE_BYTES - at)
		bytes = CODE_AT + CODE_BYTES - at;
	p->at = at;
	p->bytes = bytes;
	memcpy(p->byte, byte, bytes);
}

static void place_code(struct insn_case *c, uint32_t at)
{
	c->in.rip = c->in.selector[CS] & 4 ? at - CODE_AT : at;
}

/* A relative branch goes to somewhere in the block, forward or back. */
static void aim_branch(struct rng *r, struct encoding *e)
{
	int64_t by = (int64_t)rng_below(r, 48) - 16;

	if (e->z.raw.imm[0].is_relative)
		memcpy(e->byte + e->z.raw.imm[0].offset, &by, e->z.raw.imm[0].size / 8);
}

/* Most instructions of a block should find what they need in the registers as they are. */
static bool suits_block(struct rng *r, const struct insn_case *c, const struct encoding *e)
{
	if (!e->valid || generate_skip(e, c->bits) != SKIP_NONE || peculiar(e->z.mnemonic))
		return false;
	if (e->z.meta.category == ZYDIS_CATEGORY_SYSTEM ||
	    e->z.meta.category == ZYDIS_CATEGORY_IO ||
	    e->z.meta.category == ZYDIS_CATEGORY_INTERRUPT)
		return rng_chance(r, 5);
	return !(e->z.attributes & ZYDIS_ATTRIB_HAS_MODRM) || e->z.raw.modrm.mod == 3 ||
	       rng_chance(r, 25);
}

/* Straight code with branches, and sometimes a store onto what comes next. */
static void make_block(struct insn_case *c, struct rng *r)
{
	unsigned want = 2 + rng_below(r, 7), bytes = 0;
	uint8_t code[CODE_MOST];
	uint32_t at;

	c->count = (uint8_t)want;
	at = choose_place(r, c, 40);
	if (at + CODE_MOST > CODE_AT + CODE_BYTES)
		at = CODE_AT + CODE_BYTES - CODE_MOST;
	for (unsigned k = 0; k < want && bytes + INSN_BYTES <= CODE_MOST;) {
		struct encoding e;

		generate_encoding(r, c->bits, &e);
		if (!suits_block(r, c, &e))
			continue;
		aim_branch(r, &e);
		place_code(c, at + bytes);
		if (k == 0 || rng_chance(r, 30))
			operand_place(r, c, &e);
		if (k++ == 0)
			c->mnemonic = e.z.mnemonic;
		memcpy(code + bytes, e.byte, e.length);
		bytes += e.length;
	}
	place_code(c, at);
	set_code(c, at, code, bytes);
}

static void make_single(struct insn_case *c, struct rng *r)
{
	struct encoding e;
	uint32_t at;

	c->count = 1;
	generate_encoding(r, c->bits, &e);
	c->mnemonic = e.valid ? e.z.mnemonic : ZYDIS_MNEMONIC_INVALID;
	c->skip = generate_skip(&e, c->bits);
	at = choose_place(r, c, e.length);
	place_code(c, at);
	operand_place(r, c, &e);
	set_code(c, at, e.byte, e.length);
}

/* What loading the registers cannot do otherwise. */
static void settle_registers(struct insn_case *c)
{
	if (c->in.selector[SS] == LDT_SEL(6))
		c->in.gpr[RSP] = (uint16_t)c->in.gpr[RSP] | ENTRY_AT;
	if (c->bits != 64)
		for (unsigned n = 0; n < R8; n++)
			c->in.gpr[n] = (uint32_t)c->in.gpr[n];
}

void make_case(struct insn_case *c, uint64_t seed, uint64_t number)
{
	struct rng r;

	memset(c, 0, sizeof(*c));
	rng_start(&r, seed, number);
	c->seed = seed;
	c->number = number;
	choose_mode(&r, c);
	choose_segments(&r, c);
	choose_registers(&r, c);
	if (rng_chance(&r, case_mix.blocks))
		make_block(c, &r);
	else
		make_single(c, &r);
	settle_registers(c);
}
