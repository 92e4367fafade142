/*
 * sysenter.c - tests of SYSENTER and SYSEXIT where 16-bit code meets them: real mode and v86.
 *
 * Spec: SDM vol. 2 SYSENTER, SYSEXIT: "Operation".
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

#define ENTRY    0x12000
#define V86_CODE 0x10100

CODE(sysenter_16, 16, "sysenter");
CODE(sysexit_16, 16, "sysexit");
CODE(lock_sysenter_16, 16, "lock\nsysenter");
CODE(lar_16, 16, "larw %ax, %bx");
/* IRETD to 1010:0000 in v86 */
CODE(to_v86, 32,
     "pushl $0x5006\npushl $0x4005\npushl $0x3004\npushl $0x2003\npushl $0x0900\npushl $0x800\n"
     "pushl $0x20202\npushl $0x1010\npushl $0\niretl");

/* The vector that `code` raises in real mode, where each has its HLT at 0500:VECTOR. */
static int real(const uint8_t *begin, const uint8_t *end, uint64_t *rsp)
{
	struct rig r = rig_open(MODE_REAL, 0);
	int vector;

	for (unsigned v = 0; v < 32; v++) {
		rig_put(&r, v * 4, 0x05000000 | v, 4);
		r.ram[0x5000 + v] = 0xf4;
	}
	r.s.sysenter_cs = SEL(CODE32);
	r.s.sysenter_eip = ENTRY;
	assert_int_equal(rig_run_bytes(&r, begin, end), EXIT_HLT);
	assert_int_equal(r.s.seg[CS].selector, 0x500);
	vector = (int)r.s.rip - 1;
	*rsp = r.s.gpr[RSP];
	assert_int_equal(rig_stack(&r, 0, 2), 0); /* IP of the instruction itself */
	rig_close(&r);
	return vector;
}
#define REAL(code, rsp) real(code##_begin, code##_end, rsp)

static void test_real_mode(void **state)
{
	uint64_t rsp;

	(void)state;
	assert_int_equal(REAL(sysenter_16, &rsp), VEC_GP);
	assert_int_equal(rsp, STACK_NOW - 6); /* no error code in real mode */
	assert_int_equal(REAL(sysexit_16, &rsp), VEC_GP);
	assert_int_equal(REAL(lock_sysenter_16, &rsp), VEC_UD);
	assert_int_equal(REAL(lar_16, &rsp), VEC_UD);
}

/* Runs `code` at 1010:0000 in v86. */
static void v86(struct rig *r, const uint8_t *begin, const uint8_t *end, uint16_t cs)
{
	*r = rig_open(MODE_32, 0);
	memcpy(r->ram + V86_CODE, begin, (size_t)(end - begin));
	r->ram[ENTRY] = 0xf4;
	r->s.sysenter_cs = cs;
	r->s.sysenter_esp = STACK1;
	r->s.sysenter_eip = ENTRY;
	assert_int_equal(rig_run(r, to_v86), EXIT_HLT);
}
#define V86(r, code, cs) v86(r, code##_begin, code##_end, cs)

static void test_v86(void **state)
{
	struct rig r;

	(void)state;
	V86(&r, sysenter_16, SEL(CODE32));
	assert_int_equal(r.s.rip, ENTRY + 1);
	assert_int_equal(r.s.gpr[RSP], STACK1);
	assert_false(r.s.rflags & (FLAG_VM | FLAG_IF));
	assert_int_equal(r.s.seg[CS].selector, SEL(CODE32));
	assert_int_equal(r.s.seg[SS].selector, SEL(DATA32));
	assert_true(r.s.seg[CS].attr & SEG_DB);
	assert_int_equal(r.s.seg[DS].selector, 0x3004); /* as v86 left it */
	rig_close(&r);

	V86(&r, sysenter_16, 3);
	assert_int_equal(rig_vector(&r), VEC_GP);
	assert_int_equal(rig_stack(&r, 0, 4), 0);
	assert_int_equal(rig_stack(&r, 2, 4), 0x1010);
	rig_close(&r);

	V86(&r, sysexit_16, SEL(CODE32));
	assert_int_equal(rig_vector(&r), VEC_GP);
	rig_close(&r);
	V86(&r, lar_16, SEL(CODE32));
	assert_int_equal(rig_vector(&r), VEC_UD);
	rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_mode),
		cmocka_unit_test(test_v86),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
