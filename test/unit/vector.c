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

	if (kind == 0) { /* x87, FWAIT and friends */
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

/* RSP, RBX and RDI differ between the two worlds. */
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_slow_memory),
		cmocka_unit_test(test_random_fast_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
