/*
 * x87.c - what the comparison with the host (test/unit/vector.c) cannot show: environments of
 * real mode and v86, pointers, CR0.NE = 0, stores that an unmasked exception suppresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/vector_rig.h"

static struct rig rig;

static void blank(struct machine_state *s)
{
	memset(s, 0, sizeof(*s));
	s->mxcsr = 0x1f80;
	memcpy(s->fx, &(uint16_t){ 0x37f }, 2);
	s->gpr[RBX] = GUEST_BUFFER;
}

static void run(const uint8_t *b, unsigned len, struct machine_state *s)
{
	struct decoding d;
	struct insn i;

	assert_true(rig_bind(&rig, b, len, &d, &i));
	guest_run(&rig, &i, s);
}

static uint32_t word(unsigned at, unsigned size)
{
	uint32_t v = 0;

	memcpy(&v, rig.guest + at, size);
	return v;
}

/* FIP 0x12345, FDP 0x6789a, FOP 0x2bc: as 20-bit pointers in the real-address form. */
static void test_environment_forms(void **state)
{
	static const uint8_t fnstenv[] = { 0xd9, 0x33 }, fnstenv16[] = { 0x66, 0xd9, 0x33 };
	static const uint8_t real[] = { 0xd9, 0x37 }; /* [bx] in 16-bit code */
	struct machine_state s, start;

	(void)state;
	rig_open(&rig);
	blank(&start);
	memcpy(start.fx + 6, &(uint16_t){ 0x2bc }, 2);
	memcpy(start.fx + 8, &(uint64_t){ 0x12345 }, 8);
	memcpy(start.fx + 16, &(uint64_t){ 0x6789a }, 8);

	s = start;
	run(fnstenv, 2, &s);
	assert_int_equal(word(0, 4), 0xffff037f);
	assert_int_equal(word(8, 4), 0xffffffff); /* all empty */
	assert_int_equal(word(12, 4), 0x12345);
	assert_int_equal(word(16, 4), 0x2bc << 16);
	assert_int_equal(word(20, 4), 0x6789a);
	s = start;
	run(fnstenv16, 3, &s);
	assert_int_equal(word(6, 2), 0x2345);
	assert_int_equal(word(8, 2), 0);
	assert_int_equal(word(10, 2), 0x789a);

	rig.c->code_bits = 16;
	rig.c->s.cr0 &= ~(uint64_t)CR0_PE;
	s = start;
	run(real, 2, &s);
	assert_int_equal(word(6, 2), 0x2345);
	assert_int_equal(word(8, 2), 0x12bc);
	assert_int_equal(word(10, 2), 0x789a);
	assert_int_equal(word(12, 2), 0x6000);
	rig_close(&rig);
}

static void test_real_mode_round_trip(void **state)
{
	static const uint8_t fnsave[][3] = {
		{0xdd,  0x37},
                { 0x66, 0xdd, 0x37 }
	};
	static const uint8_t frstor[][3] = {
		{0xdd,  0x27},
                { 0x66, 0xdd, 0x27 }
	};
	struct machine_state s, start;

	(void)state;
	rig_open(&rig);
	rig.c->code_bits = 16;
	rig.c->s.cr0 &= ~(uint64_t)CR0_PE;
	for (unsigned n = 0; n < 2; n++) {
		blank(&start);
		memcpy(start.fx + 2, &(uint16_t){ 5 << 11 }, 2);
		start.fx[4] = 0x81;
		memcpy(start.fx + 6, &(uint16_t){ 0x2bc }, 2);
		memcpy(start.fx + 8, &(uint64_t){ 0x12345 }, 8);
		memcpy(start.fx + 16, &(uint64_t){ 0x6789a }, 8);
		for (unsigned k = 0; k < 8; k++)
			memcpy(start.fx + 32 + 16 * k, &(uint64_t){ (UINT64_C(1) << 63) + k }, 8);
		s = start;
		run(fnsave[n], 3, &s);
		assert_int_equal(s.fault, FAULT_NONE);
		assert_int_equal(s.fx[4], 0); /* FNINIT */
		run(frstor[n], 3, &s);
		assert_memory_equal(s.fx, start.fx, 160);
	}
	rig_close(&rig);
}

/* fistp dword [rbx] of a NaN: invalid. Unmasked: nothing stored, nothing popped, ES set. */
static void test_suppressed_store(void **state)
{
	static const uint8_t fistp[] = { 0xdb, 0x1b }, fwait[] = { 0x9b };
	struct machine_state s;

	(void)state;
	rig_open(&rig);
	blank(&s);
	memset(rig.guest, 0xee, 16);
	memcpy(s.fx, &(uint16_t){ 0x37e }, 2);
	s.fx[4] = 0xff;
	memset(s.fx + 32, 0xff, 10);
	run(fistp, 2, &s);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(word(0, 4), 0xeeeeeeee);
	assert_int_equal(s.fx[4], 0xff);
	assert_int_equal(s.fx[2] & 0x81, 0x81);
	assert_int_equal(word(0, 4), 0xeeeeeeee);
	assert_int_equal(rig.c->s.fpu.fop, 0x31b);
	assert_int_equal(rig.c->s.fpu.fip, GUEST_RIP);
	assert_int_equal(rig.c->s.fpu.fdp, GUEST_BUFFER);
	run(fwait, 1, &s);
	assert_int_equal(s.fault, VEC_MF);
	rig_close(&rig);
}

/* A pending exception that CR0.NE = 0 ignores is still there afterwards, and the work is done. */
static void test_ignored_exception_stays(void **state)
{
	static const uint8_t fld1[] = { 0xd9, 0xe8 };
	struct machine_state s;

	(void)state;
	rig_open(&rig);
	rig.c->s.cr0 &= ~(uint64_t)CR0_NE;
	blank(&s);
	memcpy(s.fx, &(uint16_t){ 0x37b }, 2); /* ZM clear */
	memcpy(s.fx + 2, &(uint16_t){ 0x8084 }, 2);
	run(fld1, 2, &s);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(rig.c->s.fpu.fsw, 0x8084 | 7 << 11);
	assert_int_equal(rig.c->s.fpu.st[0].mant, UINT64_C(1) << 63);
	assert_int_equal(rig.c->s.fpu.st[0].exp, 0x3fff);
	rig_close(&rig);
}

/* A store that faults leaves the unit as it was: fstp qword at a non-canonical address. */
static void test_faulting_store_changes_nothing(void **state)
{
	static const uint8_t fstp[] = { 0xdd, 0x1b };
	struct machine_state s, start;

	(void)state;
	rig_open(&rig);
	blank(&start);
	start.fx[4] = 0xff;
	start.gpr[RBX] = UINT64_C(1) << 62;
	s = start;
	run(fstp, 2, &s);
	assert_int_equal(s.fault, VEC_GP);
	assert_memory_equal(s.fx, start.fx, 160);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_environment_forms),
		cmocka_unit_test(test_real_mode_round_trip),
		cmocka_unit_test(test_suppressed_store),
		cmocka_unit_test(test_ignored_exception_stays),
		cmocka_unit_test(test_faulting_store_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
