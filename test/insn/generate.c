/*
 * generate.c - random instruction encodings over the opcode maps.
 *
 * An encoding is drawn as a processor reads one - prefixes, REX or VEX, map, opcode, ModRM, SIB,
 * displacement, immediate - with each map weighted by how much is in it, and only then decoded,
 * so redundant prefixes, ignored bits and undefined opcodes come by themselves.
 *
 * Instructions that the CPU model does not have, or that tell of the machine instead of computing
 * something, are marked: the native CPU is not asked about them.
 *
 * Spec: SDM vol. 2 ch. 2, app. A.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "test/insn/insn.h"

static ZydisDecoder decoder[3];

static unsigned decoder_of(unsigned bits)
{
	return bits == 64 ? 2 : bits == 32 ? 1 : 0;
}

void generate_init(void)
{
	ZydisDecoderInit(&decoder[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&decoder[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&decoder[2], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned i = 0; i < 3; i++) {
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoder[i], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	}
}

bool decode_bytes(unsigned bits, struct encoding *e, unsigned bytes)
{
	e->valid = ZYAN_SUCCESS(
		ZydisDecoderDecodeFull(&decoder[decoder_of(bits)], e->byte, bytes, &e->z, e->op));
	if (e->valid)
		e->length = e->z.length;
	return e->valid;
}

static void put(struct encoding *e, uint8_t byte)
{
	if (e->length < INSN_BYTES)
		e->byte[e->length++] = byte;
}

static void put_prefixes(struct rng *r, struct encoding *e, unsigned bits)
{
	static const uint8_t segment[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

	if (rng_chance(r, 22))
		put(e, 0x66);
	if (rng_chance(r, 20))
		put(e, rng_chance(r, 50) ? 0xf2 : 0xf3);
	if (rng_chance(r, bits == 64 ? 4 : 15))
		put(e, 0x67);
	if (rng_chance(r, 10))
		put(e, segment[rng_below(r, 6)]);
	if (rng_chance(r, 2))
		put(e, 0xf0);
	if (rng_chance(r, 1)) /* repeated, reordered */
		put(e, rng_chance(r, 50) ? 0x66 : 0xf3);
	if (bits == 64 && rng_chance(r, 55))
		put(e, (uint8_t)(0x40 | rng_below(r, 16)));
}

static void put_vex(struct rng *r, struct encoding *e, unsigned bits)
{
	uint8_t b = (uint8_t)rng_next(r);

	if (rng_chance(r, 8))
		put(e, rng_chance(r, 50) ? 0x67 : 0x64);
	/* vvvv is unused by many: all ones then. L is mostly ignored or one bit of length. */
	if (rng_chance(r, 50))
		b |= 0x78;
	if (rng_chance(r, 30)) {
		put(e, 0xc5);
		put(e, bits == 64 ? b : b | 0xc0);
		return;
	}
	put(e, 0xc4);
	if (bits == 64)
		put(e, (uint8_t)((rng_next(r) & 0xe0) |
				 (rng_chance(r, 98) ? 1 + rng_below(r, 3) : rng_below(r, 32))));
	else
		put(e, (uint8_t)(0xe0 | (1 + rng_below(r, 3))));
	put(e, b);
}

static bool is_prefix(uint8_t b, unsigned bits)
{
	switch (b) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
	case 0x0f: return true;
	case 0x62:
	case 0xc4:
	case 0xc5: return bits == 64; /* BOUND, LES, LDS elsewhere */
	default: return bits == 64 && (b & 0xf0) == 0x40;
	}
}

static void put_opcode(struct rng *r, struct encoding *e, unsigned bits)
{
	unsigned map = rng_below(r, 100);
	uint8_t b;

	if (map < 22) {
		put_vex(r, e, bits);
		put(e, (uint8_t)rng_next(r));
		return;
	}
	put_prefixes(r, e, bits);
	if (map < 56) {
		do
			b = (uint8_t)rng_next(r);
		while (is_prefix(b, bits));
		put(e, b);
	} else if (map < 63) {
		put(e, (uint8_t)(0xd8 | rng_below(r, 8)));
	} else if (map < 99) {
		put(e, 0x0f);
		if (map >= 94)
			put(e, 0x3a);
		else if (map >= 86)
			put(e, 0x38);
		put(e, (uint8_t)rng_next(r));
	}
}

/* ModRM, SIB, displacement, immediate: whatever the opcode makes of them. */
static void put_tail(struct rng *r, struct encoding *e)
{
	static const uint8_t edge[] = { 0x00, 0x01, 0x7f, 0x80, 0xff, 0x0f, 0x10, 0x1f };
	bool edges = rng_chance(r, 25);
	bool first = true;

	while (e->length < INSN_BYTES) {
		uint8_t b = (uint8_t)rng_next(r);

		if (first && rng_chance(r, 25))
			b |= 0xc0; /* registers */
		else if (!first && edges && rng_chance(r, 70))
			b = edge[rng_below(r, sizeof(edge))];
		put(e, b);
		first = false;
	}
}

/* LOCK goes with few opcodes; without help it would hardly be seen where it is allowed. */
static void maybe_lock(struct rng *r, unsigned bits, struct encoding *e)
{
	struct encoding locked = *e;

	if (!(e->z.attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK) || !rng_chance(r, 25) ||
	    e->length == INSN_BYTES)
		return;
	memmove(locked.byte + 1, locked.byte, INSN_BYTES - 1);
	locked.byte[0] = 0xf0;
	if (decode_bytes(bits, &locked, INSN_BYTES))
		*e = locked;
}

void generate_encoding(struct rng *r, unsigned bits, struct encoding *e)
{
	for (;;) {
		unsigned drawn;

		e->length = 0;
		put_opcode(r, e, bits);
		drawn = e->length;
		put_tail(r, e);
		if (!decode_bytes(bits, e, INSN_BYTES)) {
			/* Undefined: mostly draw again. */
			if (drawn && rng_chance(r, 96))
				continue;
			return;
		}
		maybe_lock(r, bits, e);
		if (generate_skip(e, bits) == SKIP_EXPECT_UD && rng_chance(r, 90))
			continue;
		if (generate_skip(e, bits) != SKIP_ALTOGETHER)
			return;
	}
}

/* What trapeze-v1 has, as Zydis groups it. */
static bool model_has_set(ZydisISAExt ext)
{
	switch (ext) {
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_AMD3DNOW_PREFETCH:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
	case ZYDIS_ISA_EXT_CLFLUSHOPT:
	case ZYDIS_ISA_EXT_CLFSH:
	case ZYDIS_ISA_EXT_CLWB:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_INVPCID:
	case ZYDIS_ISA_EXT_LONGMODE:
	case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_MOVBE:
	case ZYDIS_ISA_EXT_PAUSE:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_PREFETCHWT1:
	case ZYDIS_ISA_EXT_RDWRFSGS:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_SMAP:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_XSAVE:
	case ZYDIS_ISA_EXT_XSAVEC: return true;
	default: return false;
	}
}

/* By mnemonic: not to be run natively whatever the set. */
static enum skip skip_mnemonic(const struct encoding *e)
{
	switch (e->z.mnemonic) {
	/* They leave for the host's kernel. */
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	/* They tell of the machine they run on. */
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_RDPKRU:
	case ZYDIS_MNEMONIC_WRPKRU:
	/* The hypervisor below may answer. */
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
	/* What was not modified since it was restored is not saved. */
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64: return SKIP_ALTOGETHER;
	/* CR4.UMIP; Linux emulates them. */
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_STR: return SKIP_EXPECT_GP;
	default: return SKIP_NONE;
	}
}

/* 0F 01 with a register: with a prefix that makes it undefined, VMCALL is still one to some. */
static bool calls_monitor(const struct encoding *e)
{
	for (unsigned n = 0; n + 2 < INSN_BYTES; n++)
		if (e->byte[n] == 0x0f)
			return e->byte[n + 1] == 0x01 && e->byte[n + 2] >= 0xc0;
	return false;
}

enum skip generate_skip(const struct encoding *e, unsigned bits)
{
	enum skip skip;

	(void)bits;
	if (!e->valid)
		return calls_monitor(e) ? SKIP_EXPECT_UD : SKIP_NONE;
	skip = skip_mnemonic(e);
	if (skip != SKIP_NONE)
		return skip;
	/* Every gate that user code may call. */
	if (e->z.mnemonic == ZYDIS_MNEMONIC_INT && (e->z.raw.imm[0].value.u & 0xff) == 0x80)
		return SKIP_ALTOGETHER;
	/* A transaction that the INT3 behind it ends: nothing to be seen, but not in the model. */
	if (e->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    e->z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return SKIP_EXPECT_UD;
	return model_has_set(e->z.meta.isa_ext) ? SKIP_NONE : SKIP_EXPECT_UD;
}
