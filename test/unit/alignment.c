/*
 * alignment.c - which instructions of ring 3 are checked for alignment (CR0.AM, EFLAGS.AC), and
 * which of two faults of a half-float conversion comes first.
 *
 * Spec: SDM vol. 3 6.15 (#AC); vol. 2 2.4, exception classes: "no AC".
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

CODE(movq_load, 64, "vmovq (%rsi), %xmm1\nhlt");
CODE(half_load, 64, "vcvtph2ps (%rsi), %xmm1\nhlt");
CODE(half_store, 64, "vcvtps2ph $0, %xmm1, (%rsi)\nhlt");
CODE(half_load_then_mov, 64, "vcvtph2ps (%rsi), %xmm1\nmovq (%rsi), %rax\nhlt");

/* The vector that ends `code` with RSI misaligned: #GP is the HLT behind it, in ring 3. */
static int ends(const uint8_t *begin, const uint8_t *end)
{
	struct rig r = rig_open(MODE_64, 3);
	int vector;

	r.s.cr0 |= CR0_AM;
	r.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	r.s.xcr0 = 7;
	r.s.rflags |= FLAG_AC;
	r.s.gpr[RSI] = 0x12801;
	assert_int_equal(rig_run_bytes(&r, begin, end), EXIT_HLT);
	vector = rig_vector(&r);
	rig_close(&r);
	return vector;
}
#define ENDS(code) ends(code##_begin, code##_end)

static void test_half_floats_are_not_checked(void **state)
{
	(void)state;
	assert_int_equal(ENDS(movq_load), VEC_AC);
	assert_int_equal(ENDS(half_load), VEC_GP);
	assert_int_equal(ENDS(half_store), VEC_GP);
	assert_int_equal(ENDS(half_load_then_mov), VEC_AC);
}

CODE(half_store_inexact, 64, "vcvtps2ph $4, %xmm1, (%rsi)\nhlt");
static void test_conversion_before_its_store(void **state)
{
	struct rig r = rig_open(MODE_64, 3);

	(void)state;
	r.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT;
	r.s.xcr0 = 7;
	r.s.gpr[RSI] = UINT64_C(1) << 40; /* nothing there */
	r.s.fpu.ymm[1][0] = 0x3f800001;   /* needs rounding */
	r.s.fpu.mxcsr = 0x1f80;
	assert_int_equal(rig_run(&r, half_store_inexact), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_PF);
	assert_int_equal(r.s.fpu.mxcsr, 0x1fa0); /* PE stays */
	rig_close(&r);

	r = rig_open(MODE_64, 3);
	r.s.cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT;
	r.s.xcr0 = 7;
	r.s.gpr[RSI] = UINT64_C(1) << 40;
	r.s.fpu.ymm[1][0] = 0x3f800001;
	r.s.fpu.mxcsr = 0x0f80; /* PM clear */
	assert_int_equal(rig_run(&r, half_store_inexact), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_XM);
	rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_floats_are_not_checked),
		cmocka_unit_test(test_conversion_before_its_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
