/*
 * vector.c - vector and x87 instructions against this CPU: random encodings, random state.
 *
 * Every comparison is with the same bytes executed natively on the same state, so there is no
 * second description of the instruction set to keep right.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <time.h>

#include "test/unit/vector_rig.h"

static struct rig rig;

/* --- random input ------------------------------------------------------------------------- */

static uint64_t interesting(void)
{
	static const uint64_t value[] = {
		0,
		1,
		UINT64_MAX,
		UINT64_C(0x3ff0000000000000),
		UINT64_C(0x7ff0000000000000),
		UINT64_C(0xfff8000000000000),
		UINT64_C(0x7ff0000000000001),
		UINT64_C(0x0000000000000001),
		UINT64_C(0x3f8000003f800000),
		UINT64_C(0x7f8000007f800001),
		UINT64_C(0x00000001ff800000),
		UINT64_C(0x8000000000000000),
		UINT64_C(0x7f7fffff00800000),
		UINT64_C(0x4330000000000001),
		UINT64_C(0x41dfffffffc00000),
		UINT64_C(0x8080808080808080),
		UINT64_C(0x0010000000000000),
	};

	switch (rig_random() & 3) {
	case 0: return value[rig_random() % (sizeof(value) / sizeof(value[0]))];
	case 1: /* moderate doubles */
		return (rig_random() & UINT64_C(0x800fffffffffffff)) |
		       (UINT64_C(0x3e0) + rig_random() % 64) << 52;
	case 2: /* moderate floats */
		return (rig_random() & UINT64_C(0x807fffff807fffff)) |
		       (UINT64_C(0x70) + rig_random() % 32) << 23 |
		       (UINT64_C(0x70) + rig_random() % 32) << 55;
	default: return rig_random();
	}
}

static void random_x87(uint8_t *fx)
{
	uint16_t fcw = 0x37f, fsw = (uint16_t)(rig_random() & 0x7f00);
	uint8_t ftw = (uint8_t)(rig_random() | (rig_random() & 1 ? 0xff : 0));

	fcw ^= (uint16_t)(rig_random() & 0xf00);
	if (!(rig_random() & 7))
		fcw ^= (uint16_t)(rig_random() & 0x3f);
	if (!(rig_random() & 3))
		fsw |= (uint16_t)(rig_random() & 0x3f & fcw); /* masked: nothing pending */
	if (!(rig_random() & 31))
		fsw |= (uint16_t)(rig_random() & 0x3f);
	memset(fx, 0, 512);
	memcpy(fx, &fcw, 2);
	memcpy(fx + 2, &fsw, 2);
	fx[4] = ftw;
	memcpy(fx + 6, &(uint16_t){ rig_random() & 0x7ff }, 2);
	memcpy(fx + 8, &(uint64_t){ rig_random() >> 17 }, 8);
	memcpy(fx + 16, &(uint64_t){ rig_random() >> 17 }, 8);
	for (unsigned n = 0; n < 8; n++) {
		uint64_t mant = interesting(), exp = 0x3fe0 + rig_random() % 64;

		if (rig_random() & 7)
			mant |= UINT64_C(1) << 63;
		if (!(rig_random() & 7))
			exp = rig_random() & 1 ? 0x7fff : 0;
		exp |= rig_random() & 0x8000;
		memcpy(fx + 32 + 16 * n, &mant, 8);
		memcpy(fx + 40 + 16 * n, &exp, 2);
	}
}

static void random_state(struct machine_state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned n = 0; n < 64; n++)
		s->ymm[n / 4][n % 4] = interesting();
	random_x87(s->fx);
	for (unsigned n = 0; n < 16; n++)
		s->gpr[n] = interesting();
	s->flags = (rig_random() & FLAG_ARITH) | FLAG_FIXED | FLAG_IF;
	s->mxcsr = 0x1f80 ^ (uint32_t)(rig_random() & 0xe040);
	if (!(rig_random() & 7))
		s->mxcsr ^= (uint32_t)(rig_random() & 0x1f80);
	if (rig_random() & 1)
		s->mxcsr |= (uint32_t)(rig_random() & 0x3f);
}

static void random_buffer(void)
{
	for (unsigned n = 0; n < BUFFER_BYTES; n += 8) {
		uint64_t v = interesting();

		memcpy(rig.buffer + n, &v, 8);
	}
	memcpy(rig.guest, rig.buffer, BUFFER_BYTES);
}

/* A random instruction word: register form, or [rbx + disp8]. */
static unsigned random_insn(uint8_t *b)
{
	static const uint8_t prefix[] = { 0x66, 0xf2, 0xf3 };
	unsigned n = 0, kind = (unsigned)(rig_random() % 8);

	if (kind == 0) { /* x87 */
		if (!(rig_random() & 7))
			b[n++] = 0x66; /* 16-bit environments */
		b[n++] = (uint8_t)(0xd8 | (rig_random() & 7));
	} else if (kind < 4) {
		if (rig_random() & 3)
			b[n++] = prefix[rig_random() % 3];
		if (rig_random() & 1)
			b[n++] = (uint8_t)(0x40 | (rig_random() & 0xc)); /* no B: rbx stays */
		b[n++] = 0x0f;
		if (rig_random() & 1)
			b[n++] = rig_random() & 1 ? 0x38 : 0x3a;
		b[n++] = (uint8_t)rig_random();
	} else {
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(0x60 | (rig_random() & 0x80) | (1 + rig_random() % 3));
		b[n++] = (uint8_t)(rig_random() | (rig_random() & 1 ? 0x78 : 0));
		b[n++] = (uint8_t)rig_random();
	}
	if (rig_random() & 1)
		b[n++] = (uint8_t)(0xc0 | rig_random());
	else
		b[n++] = (uint8_t)(0x43 | (rig_random() & 0x38));
	for (unsigned k = 0; k < 6; k++)
		b[n + k] = (uint8_t)rig_random();
	if (rig_random() & 3)
		b[n] &= 0xe0;
	return n;
}

/* --- comparison ----------------------------------------------------------------------------- */

static const char *described(const uint8_t *b, const struct decoding *d)
{
	static char text[100];
	int n = snprintf(text, sizeof(text), "%s:", ZydisMnemonicGetString(d->zi.mnemonic));

	for (unsigned k = 0; k < d->zi.length; k++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " %02x", b[k]);
	return text;
}

static const char *difference(struct machine_state *native, struct machine_state *guest)
{
	uint64_t fip, native_buffer = (uint64_t)(uintptr_t)rig.buffer, fdp;

	if (native->fault == VEC_XM && guest->fault == VEC_MF)
		guest->fault = VEC_XM; /* both are SIGFPE on the host */
	if (native->fault != guest->fault)
		return "fault";
	if (memcmp(native->ymm, guest->ymm, sizeof(native->ymm)) != 0)
		return "ymm";
	if (native->mxcsr != guest->mxcsr)
		return "mxcsr";
	if ((native->flags ^ guest->flags) & FLAG_ARITH)
		return "flags";
	for (unsigned n = 0; n < 16; n++)
		if (n != RSP && n != RBX && n != RDI && native->gpr[n] != guest->gpr[n])
			return "gpr";
	/* Pointers: this CPU's and the guest's are to mean the same. */
	memcpy(&fip, native->fx + 8, 8);
	if (fip == rig.insn_at)
		memcpy(native->fx + 8, &(uint64_t){ GUEST_RIP }, 8);
	memcpy(&fdp, native->fx + 16, 8);
	if (fdp - native_buffer < BUFFER_BYTES) {
		fdp += GUEST_BUFFER - native_buffer;
		memcpy(native->fx + 16, &fdp, 8);
	}
	if (memcmp(native->fx, guest->fx, 24) != 0)
		return "x87 control";
	if (memcmp(native->fx + 32, guest->fx + 32, 128) != 0)
		return "x87 stack";
	if (memcmp(rig.buffer, rig.guest, BUFFER_BYTES) != 0)
		return "memory";
	return NULL;
}

/* RSP, RBX and RDI differ between the two worlds; memory is reached as [rbx + disp8] only. */
static bool reads_pointer(const struct decoding *d)
{
	for (unsigned n = 0; n < d->zi.operand_count_visible; n++) {
		ZydisRegister reg = d->op[n].reg.value;
		ZydisRegisterClass class = ZydisRegisterGetClass(reg);
		unsigned number = (unsigned)ZydisRegisterGetId(reg);

		if (d->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (class == ZYDIS_REGCLASS_GPR32 || class == ZYDIS_REGCLASS_GPR64) &&
		    (number == RSP || number == RBX || number == RDI))
			return true;
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (d->op[n].mem.base != ZYDIS_REGISTER_RBX || d->zi.raw.disp.size != 8))
			return true;
	}
	return false;
}

/* Instructions whose operands need care of their own: tested elsewhere. */
static bool special(const struct decoding *d)
{
	switch (d->zi.meta.isa_set) {
	case ZYDIS_ISA_SET_AVX2GATHER:
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_XSAVEC:
	case ZYDIS_ISA_SET_XSAVEOPT: return true;
	default: return reads_pointer(d);
	}
}

static void point_at(struct machine_state *s, uint64_t buffer)
{
	s->gpr[RBX] = buffer + 0x200;
	s->gpr[RDI] = buffer + 0x300;
}

/* One instruction in both worlds. */
static void compare(const uint8_t *b, const struct decoding *d, const struct insn *i,
		    const struct machine_state *start)
{
	static struct machine_state native __attribute__((aligned(64)));
	static struct machine_state guest __attribute__((aligned(64)));
	const char *what;

	native = *start;
	guest = *start;
	point_at(&native, (uint64_t)(uintptr_t)rig.buffer);
	point_at(&guest, GUEST_BUFFER);
	native_run(&rig, b, d->zi.length, &native);
	guest_run(&rig, i, &guest);
	what = difference(&native, &guest);
	if (what != NULL) {
		print_message("%s differs: %s (native fault %u, guest %u)\n", described(b, d), what,
			      native.fault, guest.fault);
		print_message("mxcsr %08x, %08x; native %08x\n", start->mxcsr, guest.mxcsr,
			      native.mxcsr);
		for (unsigned n = 0; n < 24; n += 8)
			print_message("x87 %016lx  %016lx  %016lx\n",
				      *(const uint64_t *)(start->fx + n),
				      *(uint64_t *)(native.fx + n), *(uint64_t *)(guest.fx + n));
		for (unsigned n = 0; n < 64; n++)
			if (native.ymm[n / 4][n % 4] != guest.ymm[n / 4][n % 4])
				print_message("ymm%u[%u] %016lx %016lx\n", n / 4, n % 4,
					      native.ymm[n / 4][n % 4], guest.ymm[n / 4][n % 4]);
		assert_null(what);
	}
}

static unsigned seen[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static void random_run(unsigned cases)
{
	struct machine_state start;
	unsigned run = 0, kinds = 0;

	random_buffer();
	random_state(&start);
	while (run < cases) {
		struct decoding d;
		struct insn i;
		uint8_t b[32] = { 0 };

		random_insn(b);
		if (!rig_bind(&rig, b, 15, &d, &i) || special(&d))
			continue;
		if (seen[d.zi.mnemonic] > 40 + cases / 400)
			continue;
		if (!seen[d.zi.mnemonic]++)
			kinds++;
		if (run % 8 == 0)
			random_state(&start);
		if (run % 64 == 0)
			random_buffer();
		compare(b, &d, &i, &start);
		run++;
	}
	print_message("%u cases, %u mnemonics, %lu thunks\n", cases, kinds,
		      (unsigned long)vector_of(rig.c)->thunks);
}

static void test_random_slow_memory(void **state)
{
	(void)state;
	memset(seen, 0, sizeof(seen));
	rig_open(&rig);
	rig.c->flat_read = rig.c->flat_write = 0;
	random_run(60000);
	rig_close(&rig);
}

static void test_random_fast_memory(void **state)
{
	(void)state;
	memset(seen, 0, sizeof(seen));
	rig_open(&rig);
	random_run(60000);
	rig_close(&rig);
}

/* --- gathers and masked moves ----------------------------------------------------------------- */

/* vpgatherdd ymm1, [rbx + ymm2 * 4], ymm3 and the seven others */
static const struct {
	uint8_t w, opcode;
} gathers[] = {
	{0,  0x90},
        { 1, 0x90},
        { 0, 0x91},
        { 1, 0x91},
	{ 0, 0x92},
        { 1, 0x92},
        { 0, 0x93},
        { 1, 0x93}
};

static unsigned gather_bytes(uint8_t *b, unsigned which, bool ymm)
{
	const uint8_t text[] = { 0xc4, 0xe2, 0, gathers[which].opcode, 0x0c, 0x93 };

	memcpy(b, text, sizeof(text));
	b[2] = (uint8_t)(gathers[which].w << 7 | (~3u & 15) << 3 | (ymm ? 4 : 0) | 1);
	return sizeof(text);
}

/* Small indices; now and then one whose address is not canonical: #GP in the middle. */
static void gather_indices(struct machine_state *s, bool quad, bool faulting)
{
	for (unsigned n = 0; n < 4; n++)
		if (quad)
			s->ymm[2][n] = rig_random() % 64;
		else
			s->ymm[2][n] = rig_random() % 64 | rig_random() % 64 << 32;
	if (quad && faulting)
		s->ymm[2][rig_random() % 4] = UINT64_C(1) << 60;
}

static void test_gathers(void **state)
{
	struct machine_state start;
	unsigned faults = 0;

	(void)state;
	rig_open(&rig);
	random_buffer();
	for (unsigned n = 0; n < 4000; n++) {
		unsigned which = (unsigned)(rig_random() % 8);
		struct decoding d;
		struct insn i;
		uint8_t b[15] = { 0 };

		gather_bytes(b, which, rig_random() & 1);
		random_state(&start);
		for (unsigned k = 0; k < 4; k++)
			start.ymm[3][k] = rig_random();
		gather_indices(&start, gathers[which].opcode & 1, n & 1);
		assert_true(rig_bind(&rig, b, 15, &d, &i));
		compare(b, &d, &i, &start);
		faults += rig.c->fault.vector == VEC_GP;
		rig.c->fault.vector = FAULT_NONE;
	}
	assert_in_range(faults, 200, 2000);
	rig_close(&rig);
}

static void test_gather_needs_three_registers(void **state)
{
	uint8_t b[15] = { 0xc4, 0xe2, 0x75, 0x90, 0x0c, 0x93 }; /* destination = mask */
	struct decoding d;
	struct insn i;

	(void)state;
	rig_open(&rig);
	assert_false(rig_bind(&rig, b, 15, &d, &i));
	rig_close(&rig);
}

/* Elements that the mask leaves out do not fault; with one that faults nothing is stored. */
static void test_masked_faults(void **state)
{
	static const uint8_t store[] = { 0xc4, 0xe2, 0x65, 0x2e,
					 0x0b }; /* vmaskmovps [rbx], ymm3, ymm1 */
	static const uint8_t load[] = { 0xc4, 0xe2, 0x65, 0x2c, 0x0b };
	struct machine_state s;
	struct decoding d;
	struct insn i;

	(void)state;
	rig_open(&rig);
	random_buffer();
	memset(&s, 0, sizeof(s));
	memset(s.ymm[1], 0x5a, 32);
	s.gpr[RBX] = UINT64_C(0x7ffffffffff0); /* the upper four elements are not canonical */
	s.ymm[3][2] = UINT64_C(0x8000000000000000);
	assert_true(rig_bind(&rig, load, sizeof(load), &d, &i));
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_GP);
	assert_int_equal(s.ymm[1][0], UINT64_C(0x5a5a5a5a5a5a5a5a));
	s.ymm[3][2] = 0;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(s.ymm[1][0], 0);

	/* In 32-bit mode a limit ends the segment inside the operand. */
	rig.c->code_bits = 32;
	rig.c->flat_read = rig.c->flat_write = 0;
	rig.c->s.seg[DS].limit = GUEST_BUFFER + 15;
	s.gpr[RBX] = GUEST_BUFFER;
	s.ymm[3][0] = s.ymm[3][3] = UINT64_C(0x8000000080000000);
	assert_true(rig_bind(&rig, store, sizeof(store), &d, &i));
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_GP);
	assert_memory_equal(rig.guest, rig.buffer, 16);
	s.ymm[3][3] = 0;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_memory_equal(rig.guest, s.ymm[1], 8);
	rig_close(&rig);
}

/* --- may it execute ----------------------------------------------------------------------- */

enum { UD = VEC_UD, NM = VEC_NM, MF = VEC_MF, OK = FAULT_NONE };

static void test_refusals(void **state)
{
	static const uint8_t text[][6] = {
		{0x0f,  0x58, 0xca }, /* addps */
		{ 0x66,    0x0f,    0x6f, 0xca }, /* movdqa: without a thunk */
		{ 0xc5, 0xf4,0x58, 0xca }, /* vaddps */
		{ 0xc5, 0xfd, 0x6f, 0xca }, /* vmovdqa */
		{ 0x0f, 0xfc,    0xca }, /* paddb mm */
		{ 0xd8, 0xc1}, /* fadd */
		{ 0x9b   }, /* fwait */
		{ 0x0f, 0x77   }, /* emms */
		{ 0xdb, 0xe3}, /* fninit */
	};
	static const struct {
		uint64_t cr0_set, cr0_clear, cr4_clear, xcr0;
		uint16_t fsw;
		uint8_t expected[9];
	} row[] = {
		{0,                0,      0,           7, 0,      { OK, OK, OK, OK, OK, OK, OK, OK, OK }},
		{ CR0_TS,          0,      0,           7, 0,      { NM, NM, NM, NM, NM, NM, NM, NM, NM }},
		{ CR0_TS,          CR0_MP, 0,           7, 0,      { NM, NM, NM, NM, NM, NM, OK, NM, NM }},
		{ CR0_EM,          0,      0,           7, 0,      { UD, UD, OK, OK, UD, NM, OK, UD, NM }},
		{ CR0_EM | CR0_TS, 0,      0,           7, 0,      { UD, UD, NM, NM, UD, NM, NM, UD, NM }},
		{ CR0_TS,          0,      CR4_OSFXSR,  7, 0,      { UD, UD, NM, NM, NM, NM, NM, NM, NM }},
		{ 0,               0,      CR4_OSXSAVE, 7, 0,      { OK, OK, UD, UD, OK, OK, OK, OK, OK }},
		{ CR0_TS,          0,      0,           3, 0,      { NM, NM, UD, UD, NM, NM, NM, NM, NM }},
		{ 0,               CR0_PE, 0,           7, 0,      { OK, OK, UD, UD, OK, OK, OK, OK, OK }},
		{ 0,               0,      0,           7, 0x8081, { OK, OK, OK, OK, MF, MF, MF, MF, OK }},
		{ 0,               CR0_NE, 0,           7, 0x8081, { OK, OK, OK, OK, OK, OK, OK, OK, OK }},
	};
	struct machine_state s;

	(void)state;
	rig_open(&rig);
	for (unsigned n = 0; n < sizeof(row) / sizeof(row[0]); n++)
		for (unsigned k = 0; k < sizeof(text) / sizeof(text[0]); k++) {
			uint16_t fcw = row[n].fsw ? 0x37e : 0x37f;
			uint64_t cr0 = rig.c->s.cr0, cr4 = rig.c->s.cr4;
			struct decoding d;
			struct insn i;

			assert_true(rig_bind(&rig, text[k], sizeof(text[k]), &d, &i));
			memset(&s, 0, sizeof(s));
			s.mxcsr = 0x1f80;
			s.fx[4] = 0xff;
			memcpy(s.fx, &fcw, 2);
			memcpy(s.fx + 2, &row[n].fsw, 2);
			rig.c->s.cr0 = (cr0 & ~row[n].cr0_clear) | row[n].cr0_set;
			rig.c->s.cr4 = cr4 & ~row[n].cr4_clear;
			rig.c->s.xcr0 = row[n].xcr0;
			guest_run(&rig, &i, &s);
			if (s.fault != row[n].expected[k])
				print_message("row %u instruction %u\n", n, k);
			assert_int_equal(s.fault, row[n].expected[k]);
			rig.c->s.cr0 = cr0;
			rig.c->s.cr4 = cr4;
			rig.c->s.xcr0 = 7;
		}
	rig_close(&rig);
}

/* An unmasked SIMD exception is #XM, or #UD when the system does not handle it. */
static void test_unmasked_simd_exception(void **state)
{
	static const uint8_t divps[] = { 0x0f, 0x5e, 0xca };
	struct machine_state s;
	struct decoding d;
	struct insn i;

	(void)state;
	rig_open(&rig);
	assert_true(rig_bind(&rig, divps, sizeof(divps), &d, &i));
	memset(&s, 0, sizeof(s));
	s.ymm[1][0] = UINT64_C(0x3f8000003f800000);
	s.mxcsr = 0x1f80 & ~(1u << 9); /* ZM clear */
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_XM);
	assert_int_equal(s.mxcsr & 0x3f, 1u << 2 | 1u); /* ZE; IE of the 0/0 elements is masked */
	assert_int_equal(s.ymm[1][0], UINT64_C(0x3f8000003f800000));
	rig.c->s.cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_UD);
	rig_close(&rig);
}

/* --- the arena holds every thunk there can be ----------------------------------------------- */

/* Binds every legacy and VEX encoding with every immediate; all get a thunk. */
static void test_arena_is_large_enough(void **state)
{
	static const uint8_t prefix[] = { 0, 0x66, 0xf2, 0xf3 };
	unsigned bound = 0;

	(void)state;
	rig_open(&rig);
	for (unsigned key = 0; key < 2 * 3 * 4 * 256 * 2 * 2; key++) {
		unsigned vex = key & 1, map = 1 + key / 2 % 3, pp = key / 6 % 4,
			 op = key / 24 % 256;
		unsigned w = key / 6144 % 2, l = key / 12288 % 2;

		if (!vex && l)
			continue;
		for (unsigned modrm = 0; modrm < 16; modrm++) { /* memory and register, each /n */
			struct decoding d;
			struct insn i;
			uint8_t b[15] = { 0 };
			unsigned n = 0;
			bool immediate;

			if (vex) {
				const uint8_t v[] = { 0xc4, (uint8_t)(0xe0 | map),
						      (uint8_t)(w << 7 | 0x70 | l << 2 | pp) };

				memcpy(b, v, 3);
				n = 3;
			} else {
				if (pp)
					b[n++] = prefix[pp];
				if (w)
					b[n++] = 0x48;
				b[n++] = 0x0f;
				if (map > 1)
					b[n++] = map == 2 ? 0x38 : 0x3a;
			}
			b[n++] = (uint8_t)op;
			b[n++] = (uint8_t)((modrm & 8 ? 0xc1 : 0x03) | (modrm & 7) << 3);
			for (unsigned vvvv = 0; vvvv < 1u + vex; vvvv++) {
				if (vvvv)
					b[2] |= 0x08; /* 1111: no such operand */
				immediate = rig_bind(&rig, b, 15, &d, &i) && d.zi.raw.imm[0].size;
				for (unsigned imm = 1; immediate && imm < 256; imm++) {
					b[n] = (uint8_t)imm;
					assert_true(rig_bind(&rig, b, 15, &d, &i));
					bound++;
				}
				b[n] = 0;
			}
		}
	}
	print_message("%lu thunks, %lu bytes\n", (unsigned long)vector_of(rig.c)->thunks,
		      (unsigned long)vector_of(rig.c)->used);
	assert_true(bound > 50000);
	assert_true(vector_of(rig.c)->used < VECTOR_ARENA_BYTES / 2);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_slow_memory),
		cmocka_unit_test(test_random_fast_memory),
		cmocka_unit_test(test_gathers),
		cmocka_unit_test(test_gather_needs_three_registers),
		cmocka_unit_test(test_masked_faults),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_unmasked_simd_exception),
		cmocka_unit_test(test_arena_is_large_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
