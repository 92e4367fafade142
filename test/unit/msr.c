/*
 * msr.c - tests of cpu/msr.c: what may be written where, and that a refused write changes nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/msr.h"

#include <cmocka.h>

#define NON_CANONICAL UINT64_C(0x0000800000000000)

static struct x86_state s;
static const struct cpu_model *model;

static int setup(void **state)
{
	(void)state;
	model = cpu_models[0];
	x86_state_reset(&s, true);
	return 0;
}

static void expect_write(uint32_t index, uint64_t value)
{
	uint64_t got = ~value;

	assert_int_equal(msr_write(model, &s, index, value), MSR_OK);
	assert_int_equal(msr_read(model, &s, index, &got), MSR_OK);
	assert_int_equal(got, value);
}

static void expect_gp(uint32_t index, uint64_t value)
{
	static struct x86_state before;

	before = s;
	assert_int_equal(msr_write(model, &s, index, value), MSR_GP);
	assert_memory_equal(&s, &before, sizeof s);
}

static uint64_t value_of(uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(msr_read(model, &s, index, &value), MSR_OK);
	return value;
}

static void test_addresses_are_canonical(void **state)
{
	static const uint32_t msrs[] = { MSR_LSTAR,       MSR_CSTAR,          MSR_FS_BASE,
					 MSR_GS_BASE,     MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP,
					 MSR_SYSENTER_EIP };

	(void)state;
	for (unsigned i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
		expect_write(msrs[i], UINT64_C(0xffff800012345678));
		expect_write(msrs[i], UINT64_C(0x00007fffffffffff));
		expect_gp(msrs[i], NON_CANONICAL);
		expect_gp(msrs[i], UINT64_C(0x8000000000000000));
	}
	assert_int_equal(s.seg[FS].base, UINT64_C(0x00007fffffffffff));
}

static void test_plain(void **state)
{
	(void)state;
	expect_write(MSR_STAR, UINT64_C(0x0023001000000000));
	expect_write(MSR_SYSENTER_CS, 0x10);
	expect_write(MSR_FMASK, 0x47700);
	expect_gp(MSR_FMASK, UINT64_C(1) << 32);
	expect_write(MSR_TSC_AUX, 0xffffffff);
	expect_gp(MSR_TSC_AUX, UINT64_C(1) << 32);
	expect_write(MSR_DEBUGCTL, 3);
	expect_gp(MSR_DEBUGCTL, 4);
}

static void test_efer(void **state)
{
	(void)state;
	expect_write(MSR_EFER, EFER_SCE | EFER_NX | EFER_LME);
	expect_gp(MSR_EFER, UINT64_C(1) << 1);
	expect_gp(MSR_EFER, UINT64_C(1) << 12); /* SVME */
	expect_gp(MSR_EFER, UINT64_C(1) << 63);
	assert_int_equal(msr_write(model, &s, MSR_EFER, EFER_LME | EFER_LMA), MSR_OK);
	assert_int_equal(s.efer, EFER_LME); /* LMA is read-only */
	s.cr0 |= CR0_PG | CR0_PE;
	s.efer |= EFER_LMA;
	expect_gp(MSR_EFER, EFER_SCE);
	assert_int_equal(msr_write(model, &s, MSR_EFER, EFER_LME | EFER_SCE), MSR_OK);
	assert_int_equal(s.efer, EFER_LME | EFER_LMA | EFER_SCE);
}

/* Every value of every byte: SDM vol. 3 table 12-10 (PAT), 12-8 (MTRR). */
static void test_memory_types(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < 8; byte++) {
		for (uint64_t type = 0; type < 256; type++) {
			bool mtrr = type == 0 || type == 1 || (type >= 4 && type <= 6);
			uint64_t value = type << (8 * byte);

			assert_int_equal(msr_write(model, &s, MSR_PAT, value),
					 mtrr || type == 7 ? MSR_OK : MSR_GP);
			assert_int_equal(msr_write(model, &s, MSR_MTRR_FIX4K_C0000, value),
					 mtrr ? MSR_OK : MSR_GP);
			if (byte == 0)
				assert_int_equal(msr_write(model, &s, MSR_MTRR_PHYSBASE0, value),
						 mtrr ? MSR_OK : MSR_GP);
		}
	}
}

static void test_mtrr(void **state)
{
	uint64_t n = 1;

	(void)state;
	assert_int_equal(value_of(MSR_MTRRCAP), 0x508);
	expect_gp(MSR_MTRRCAP, 0x508);
	expect_write(MSR_MTRR_DEF_TYPE, 0xc06);
	expect_gp(MSR_MTRR_DEF_TYPE, 0x1c06);
	expect_gp(MSR_MTRR_DEF_TYPE, 0xc02);
	for (uint32_t i = MSR_MTRR_PHYSBASE0; i <= MSR_MTRR_PHYSMASK7; i += 2, n++) {
		expect_write(i, n << 12 | 6);
		expect_write(i + 1, (n << 30) | 1 << 11);
		expect_gp(i, UINT64_C(1) << 46);
		expect_gp(i + 1, UINT64_C(1) << 46);
		expect_gp(i, 1 << 11);
		expect_gp(i + 1, 1 << 10);
	}
	assert_int_equal(s.mtrr_base[7], 8 << 12 | 6);
	assert_int_equal(s.mtrr_mask[0], 1 << 30 | 1 << 11);
	expect_write(MSR_MTRR_FIX64K_00000, UINT64_C(0x0606060606060606));
	expect_write(MSR_MTRR_FIX16K_80000, UINT64_C(0x0606060606060605));
	expect_write(MSR_MTRR_FIX16K_A0000, UINT64_C(0x0606060606060604));
	for (uint32_t i = 0; i < 8; i++)
		expect_write(MSR_MTRR_FIX4K_C0000 + i, (i & 1) << 8);
	assert_int_equal(s.mtrr_fixed[10], 0x100);
	assert_int_equal(s.mtrr_fixed[2], UINT64_C(0x0606060606060604));
	expect_gp(0x251, 0);
	expect_gp(0x270, 0);
}

static void test_speculation(void **state)
{
	uint64_t value, cap = value_of(MSR_ARCH_CAPABILITIES);

	(void)state;
	expect_write(MSR_SPEC_CTRL, 1);
	expect_write(MSR_SPEC_CTRL, 1 | SPEC_CTRL_BHI_DIS_S);
	expect_gp(MSR_SPEC_CTRL, 4);
	assert_int_equal(msr_write(model, &s, MSR_PRED_CMD, 1), MSR_OK);
	expect_gp(MSR_PRED_CMD, 2);
	assert_int_equal(msr_read(model, &s, MSR_PRED_CMD, &value), MSR_GP);
	assert_int_equal(cap & 0x1f, 0x1b); /* RDCL_NO, IBRS_ALL, not RSBA, SKIP_L1DFL, SSB_NO */
	expect_gp(MSR_ARCH_CAPABILITIES, cap);
}

static void test_misc_enable(void **state)
{
	uint64_t reset = value_of(MSR_MISC_ENABLE);

	(void)state;
	assert_true(reset & 1); /* fast strings, or Linux drops ERMS */
	assert_int_equal(msr_write(model, &s, MSR_MISC_ENABLE, 0), MSR_OK);
	assert_int_equal(value_of(MSR_MISC_ENABLE), reset & ~UINT64_C(1));
	expect_write(MSR_MISC_ENABLE, reset | 1 << 22);
	expect_write(MSR_MISC_ENABLE, reset);
	expect_gp(MSR_MISC_ENABLE, reset | UINT64_C(1) << 34); /* NX cannot be hidden */
	expect_gp(MSR_MISC_ENABLE, reset | 2);
}

/* What is added to TSC_ADJUST is added to the counter. */
static void test_tsc_adjust(void **state)
{
	(void)state;
	s.tsc_offset = 1000;
	expect_write(MSR_TSC_ADJUST, 50);
	assert_int_equal(s.tsc_offset, 1050);
	expect_write(MSR_TSC_ADJUST, UINT64_C(0) - 10);
	assert_int_equal(s.tsc_offset, 990);
}

static void test_fixed_values(void **state)
{
	(void)state;
	assert_int_equal(value_of(MSR_FEATURE_CONTROL), 1); /* locked: no VMX */
	expect_gp(MSR_FEATURE_CONTROL, 5);
	assert_int_equal(value_of(MSR_MCG_CAP), 0);
	assert_int_equal(value_of(MSR_MCG_STATUS), 0);
	expect_gp(MSR_MCG_STATUS, 1);
	assert_int_equal(value_of(MSR_PLATFORM_ID), 0);
	assert_int_equal(msr_write(model, &s, MSR_BIOS_SIGN_ID, 0), MSR_OK);
	assert_int_not_equal(value_of(MSR_BIOS_SIGN_ID) >> 32, 0);
}

/* What Linux 6.1 reads, and writes back, with no exception handler around it. */
static void test_linux_unguarded(void **state)
{
	static const uint32_t msrs[] = { MSR_SPEC_CTRL,
					 MSR_BIOS_SIGN_ID,
					 MSR_MTRRCAP,
					 MSR_MISC_ENABLE,
					 MSR_PAT,
					 MSR_MTRR_DEF_TYPE,
					 MSR_EFER,
					 MSR_STAR,
					 MSR_LSTAR,
					 MSR_CSTAR,
					 MSR_FMASK,
					 MSR_SYSENTER_CS,
					 MSR_SYSENTER_ESP,
					 MSR_SYSENTER_EIP,
					 MSR_FS_BASE,
					 MSR_GS_BASE,
					 MSR_KERNEL_GS_BASE,
					 MSR_TSC_AUX,
					 MSR_DEBUGCTL,
					 MSR_MCG_CAP,
					 MSR_MCG_STATUS };

	(void)state;
	for (unsigned i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
		uint64_t value = value_of(msrs[i]);

		if (msrs[i] != MSR_MTRRCAP && msrs[i] != MSR_MCG_CAP)
			assert_int_equal(msr_write(model, &s, msrs[i], value), MSR_OK);
	}
	for (uint32_t i = MSR_MTRR_PHYSBASE0; i <= MSR_MTRR_PHYSMASK7; i++)
		assert_int_equal(msr_write(model, &s, i, value_of(i)), MSR_OK);
	assert_int_equal(value_of(MSR_ARCH_CAPABILITIES) & ARCH_CAP_RDCL_NO, ARCH_CAP_RDCL_NO);
}

static void test_elsewhere(void **state)
{
	static const uint32_t msrs[] = {
		MSR_TSC,         MSR_APIC_BASE,          MSR_TSC_DEADLINE,       MSR_X2APIC_FIRST,
		MSR_X2APIC_LAST, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW
	};
	uint64_t value;

	(void)state;
	for (unsigned i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
		assert_int_equal(msr_read(model, &s, msrs[i], &value), MSR_ELSEWHERE);
		assert_int_equal(msr_write(model, &s, msrs[i], 1), MSR_ELSEWHERE);
	}
}

/* Random indices and values never leave an invalid state behind, nor crash. */
static void test_random(void **state)
{
	(void)state;
	srand(2);
	for (unsigned n = 0; n < 300000; n++) {
		uint32_t index = (uint32_t)rand() % 0x400;
		uint64_t value = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
		uint64_t got;

		if (n & 1)
			index |= 0xc0000000;
		if (n & 2)
			value >>= rand() % 64;
		msr_write(model, &s, index, value);
		msr_read(model, &s, index, &got);
		assert_int_equal(s.efer & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_NX), 0);
		assert_int_equal(s.spec_ctrl & ~(3 | SPEC_CTRL_BHI_DIS_S), 0);
		assert_int_equal((uint64_t)((int64_t)(s.lstar << 16) >> 16), s.lstar);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	static const struct CMUnitTest tests[] = {
		T(test_addresses_are_canonical),
		T(test_plain),
		T(test_efer),
		T(test_memory_types),
		T(test_mtrr),
		T(test_speculation),
		T(test_misc_enable),
		T(test_tsc_adjust),
		T(test_fixed_values),
		T(test_linux_unguarded),
		T(test_elsewhere),
		T(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
