/*
 * xsave.c - FXSAVE, XSAVE, XSAVEOPT, XSAVEC, XRSTOR against this CPU and against the header rules.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/vector_rig.h"

static struct rig rig;

static void random_fpu(struct machine_state *s, bool x87, bool sse, bool avx)
{
	memset(s, 0, sizeof(*s));
	for (unsigned n = 0; n < 16; n++)
		for (unsigned k = 0; k < 4; k++)
			s->ymm[n][k] = (k < 2 ? sse : avx) ? rig_random() : 0;
	s->mxcsr = 0x1f80 | (rig_random() & 1 ? 0x6020 : 0);
	memcpy(s->fx, &(uint16_t){ 0x37f }, 2);
	if (x87) {
		for (unsigned n = 0; n < 8; n++) {
			memcpy(s->fx + 32 + 16 * n, &(uint64_t){ rig_random() }, 8);
			memcpy(s->fx + 40 + 16 * n, &(uint64_t){ rig_random() & 0xffff }, 8);
		}
		memcpy(s->fx + 2, &(uint16_t){ rig_random() & 0x7f3f }, 2);
		s->fx[4] = (uint8_t)rig_random();
		memcpy(s->fx + 6, &(uint16_t){ rig_random() & 0x7ff }, 2);
		memcpy(s->fx + 8, &(uint64_t){ rig_random() >> 17 }, 8);
		memcpy(s->fx + 16, &(uint64_t){ rig_random() >> 17 }, 8);
	}
	s->flags = FLAG_FIXED;
}

/* Both worlds execute b[] with the buffer at RBX; EDX:EAX = mask. Compares state and buffer. */
static uint8_t both(const uint8_t *b, unsigned len, uint32_t mask,
		    const struct machine_state *start, unsigned offset)
{
	static struct machine_state native __attribute__((aligned(64)));
	static struct machine_state guest __attribute__((aligned(64)));
	struct decoding d;
	struct insn i;

	native = *start;
	native.gpr[RAX] = mask;
	native.gpr[RDX] = 0;
	guest = native;
	native.gpr[RBX] = (uint64_t)(uintptr_t)rig.buffer + offset;
	guest.gpr[RBX] = GUEST_BUFFER + offset;
	assert_true(rig_bind(&rig, b, len, &d, &i));
	native_run(&rig, b, len, &native);
	guest_run(&rig, &i, &guest);
	assert_int_equal(native.fault, guest.fault);
	assert_memory_equal(native.ymm, guest.ymm, sizeof(native.ymm));
	assert_int_equal(native.mxcsr, guest.mxcsr);
	assert_memory_equal(native.fx, guest.fx, 24);
	assert_memory_equal(native.fx + 32, guest.fx + 32, 128);
	assert_memory_equal(rig.buffer, rig.guest, BUFFER_BYTES);
	return guest.fault;
}

static void fill(uint8_t byte)
{
	memset(rig.buffer, byte, BUFFER_BYTES);
	memset(rig.guest, byte, BUFFER_BYTES);
}

static void poke(unsigned at, uint64_t value, unsigned size)
{
	memcpy(rig.buffer + at, &value, size);
	memcpy(rig.guest + at, &value, size);
}

/* 0F AE and 0F C7 with [rbx] */
static const uint8_t fxsave[] = { 0x0f, 0xae, 0x03 }, fxsave64[] = { 0x48, 0x0f, 0xae, 0x03 };
static const uint8_t fxrstor[] = { 0x0f, 0xae, 0x0b }, fxrstor64[] = { 0x48, 0x0f, 0xae, 0x0b };
static const uint8_t xsave[] = { 0x0f, 0xae, 0x23 }, xsave64[] = { 0x48, 0x0f, 0xae, 0x23 };
static const uint8_t xrstor[] = { 0x0f, 0xae, 0x2b }, xrstor64[] = { 0x48, 0x0f, 0xae, 0x2b };
static const uint8_t xsaveopt64[] = { 0x48, 0x0f, 0xae, 0x33 };
static const uint8_t xsavec64[] = { 0x48, 0x0f, 0xc7, 0x23 };

static void test_fxsave(void **state)
{
	struct machine_state s, t;

	(void)state;
	rig_open(&rig);
	for (unsigned n = 0; n < 200; n++) {
		random_fpu(&s, n & 1, n & 2, n & 4);
		random_fpu(&t, true, true, true);
		fill((uint8_t)rig_random());
		/* The six bytes above each 80-bit register are the host's to choose: zero. */
		assert_int_equal(both(fxsave64, 4, 0, &s, 0), FAULT_NONE);
		assert_int_equal(both(fxrstor64, 4, 0, &t, 0), FAULT_NONE);
		assert_int_equal(both(fxsave, 3, 0, &t, 512), FAULT_NONE);
		assert_int_equal(both(fxrstor, 3, 0, &s, 512), FAULT_NONE);
	}
	assert_int_equal(both(fxsave64, 4, 0, &s, 8), VEC_GP);
	assert_int_equal(both(fxrstor64, 4, 0, &s, 8), VEC_GP);
	poke(24, 0x10000, 4); /* a reserved bit of MXCSR */
	assert_int_equal(both(fxrstor64, 4, 0, &s, 0), VEC_GP);
	rig_close(&rig);
}

static void test_fxrstor_any_image(void **state)
{
	struct machine_state s;

	(void)state;
	rig_open(&rig);
	for (unsigned n = 0; n < 200; n++) {
		random_fpu(&s, true, true, true);
		for (unsigned k = 0; k < 512; k += 8)
			poke(k, rig_random(), 8);
		poke(24, rig_random() & 0xffff, 4);
		poke(8, rig_random() >> 17, 8); /* how many bits of FIP there are varies */
		assert_int_equal(both(n & 1 ? fxrstor64 : fxrstor, n & 1 ? 4 : 3, 0, &s, 0),
				 FAULT_NONE);
	}
	rig_close(&rig);
}

/* XSTATE_BV may say "in use" for an initial component where the CPU did not notice that it went
 * back to initial values: a fresh XRSTOR of nothing makes it notice. The rig's FXRSTOR and loads
 * leave all three in use, so the comparison uses states that are not initial. */
static void test_xsave_images(void **state)
{
	struct machine_state s, t;

	(void)state;
	rig_open(&rig);
	for (unsigned n = 0; n < 400; n++) {
		uint32_t mask = (uint32_t)(rig_random() & 7);

		random_fpu(&s, true, true, true);
		random_fpu(&t, true, true, true);
		fill((uint8_t)rig_random());
		assert_int_equal(both(xsave64, 4, mask, &s, 0), FAULT_NONE);
		assert_int_equal(both(xsave, 3, mask, &s, 1024), FAULT_NONE);
		assert_int_equal(both(xsaveopt64, 4, mask, &s, 2048), FAULT_NONE);
		assert_int_equal(both(xsavec64, 4, mask, &s, 3072), FAULT_NONE);
		fill(0);
		assert_int_equal(both(xsave64, 4, mask, &s, 0), FAULT_NONE);
		assert_int_equal(both(xrstor64, 4, (uint32_t)(rig_random() & 7), &t, 0),
				 FAULT_NONE);
		assert_int_equal(both(xrstor, 3, (uint32_t)(rig_random() & 7), &t, 0), FAULT_NONE);
		fill(0);
		assert_int_equal(both(xsavec64, 4, mask, &s, 0), FAULT_NONE);
		assert_int_equal(both(xrstor64, 4, (uint32_t)(rig_random() & 7), &t, 0),
				 FAULT_NONE);
	}
	rig_close(&rig);
}

static void test_header_rules(void **state)
{
	static const struct {
		unsigned at;
		uint64_t value;
	} poison[] = {
		{512,  8			 },
		{ 512, UINT64_C(1) << 62         },
		{ 520, 1			 },
		{ 528, 1			 },
		{ 535, 1			 },
		{ 536, 1			 },
		{ 575, 1			 },
		{ 24,  0x10000                   },
		{ 520, UINT64_C(1) << 63         },
		{ 520, UINT64_C(1) << 63 | 1     },
		{ 520, UINT64_C(1) << 63 | 7     },
		{ 520, UINT64_C(1) << 63 | 0x1007}
	};
	struct machine_state s;

	(void)state;
	rig_open(&rig);
	for (unsigned n = 0; n < sizeof(poison) / sizeof(poison[0]); n++)
		for (uint32_t mask = 0; mask < 8; mask++)
			for (unsigned compact = 0; compact < 2; compact++) {
				random_fpu(&s, true, true, true);
				fill(0);
				both(compact ? xsavec64 : xsave64, 4, 7, &s, 0);
				poke(poison[n].at, poison[n].value,
				     poison[n].at % 8 || poison[n].at == 24
					     ? 1 + 3 * (poison[n].at == 24)
					     : 8);
				both(xrstor64, 4, mask, &s, 0);
			}
	fill(0);
	assert_int_equal(both(xsave64, 4, 7, &s, 32), VEC_GP);
	assert_int_equal(both(xrstor64, 4, 7, &s, 32), VEC_GP);
	rig_close(&rig);
}

/* A component with its initial values is not in use: XSAVEC and XSAVEOPT leave it out. */
static void test_init_optimisation(void **state)
{
	struct machine_state s;
	struct decoding d;
	struct insn i;
	uint64_t header[2];

	(void)state;
	rig_open(&rig);
	random_fpu(&s, false, true, false);
	s.mxcsr = 0x1f80;
	s.gpr[RAX] = 7;
	s.gpr[RBX] = GUEST_BUFFER;
	assert_true(rig_bind(&rig, xsavec64, 4, &d, &i));
	fill(0xee);
	guest_run(&rig, &i, &s);
	memcpy(header, rig.guest + 512, 16);
	assert_int_equal(header[0], 2);
	assert_int_equal(header[1], UINT64_C(1) << 63 | 7);
	assert_int_equal(rig.guest[0], 0xee);
	assert_int_equal(rig.guest[576], 0xee);
	memset(s.ymm, 0, sizeof(s.ymm));
	guest_run(&rig, &i, &s);
	memcpy(header, rig.guest + 512, 16);
	assert_int_equal(header[0], 0);
	s.mxcsr = 0x1fa0; /* counts as SSE state for XSAVEC */
	guest_run(&rig, &i, &s);
	memcpy(header, rig.guest + 512, 16);
	assert_int_equal(header[0], 2);
	rig_close(&rig);
}

static void test_pkru(void **state)
{
	static const uint8_t *const save[] = { xsave64, xsavec64 };
	struct machine_state s;
	struct decoding d;
	struct insn i;

	(void)state;
	rig_open(&rig);
	rig.c->s.xcr0 = 0x207;
	for (unsigned n = 0; n < 2; n++) {
		random_fpu(&s, true, true, true);
		fill(0);
		rig.c->s.pkru = 0x55555554;
		s.gpr[RAX] = 0x207;
		s.gpr[RBX] = GUEST_BUFFER;
		assert_true(rig_bind(&rig, save[n], 4, &d, &i));
		guest_run(&rig, &i, &s);
		assert_int_equal(s.fault, FAULT_NONE);
		rig.c->s.pkru = 0;
		assert_true(rig_bind(&rig, xrstor64, 4, &d, &i));
		assert_int_equal(i.fn(rig.c, &i), STEP_LEAVE);
		assert_int_equal(rig.c->s.pkru, 0x55555554);
		assert_int_equal(i.fn(rig.c, &i), STEP_NEXT); /* unchanged */
	}
	rig_close(&rig);
}

static void test_refused(void **state)
{
	struct machine_state s;
	struct decoding d;
	struct insn i;

	(void)state;
	rig_open(&rig);
	random_fpu(&s, true, true, true);
	s.gpr[RBX] = GUEST_BUFFER;
	assert_true(rig_bind(&rig, xsave64, 4, &d, &i));
	rig.c->s.cr0 |= CR0_TS;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_NM);
	rig.c->s.cr4 &= ~(uint64_t)CR4_OSXSAVE;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_UD);
	assert_true(rig_bind(&rig, fxsave64, 4, &d, &i));
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_NM);
	rig.c->s.cr0 = (rig.c->s.cr0 & ~(uint64_t)CR0_TS) | CR0_EM;
	guest_run(&rig, &i, &s);
	assert_int_equal(s.fault, VEC_NM);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fxsave),
		cmocka_unit_test(test_fxrstor_any_image),
		cmocka_unit_test(test_xsave_images),
		cmocka_unit_test(test_header_rules),
		cmocka_unit_test(test_init_optimisation),
		cmocka_unit_test(test_pkru),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
