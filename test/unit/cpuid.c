/*
 * cpuid.c - tests of cpu/cpuid.c: the leaves of trapeze-v1, bit by bit where software depends
 * on them, and the check of the host.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include "cpu/cpuid.h"
#include "cpu/paging.h"
#include "test/cmocka.h"

static struct x86_state s;
static struct cpuid_topology topology = { .apic_id = 0, .vcpus = 1, .tsc_khz = 1000000 };

static struct cpuid_answer ask(uint32_t leaf, uint32_t sub)
{
	return cpuid_query(cpu_models[0], &s, &topology, leaf, sub);
}

static int setup(void **state)
{
	(void)state;
	x86_state_reset(&s, true);
	topology = (struct cpuid_topology){ .apic_id = 0, .vcpus = 1, .tsc_khz = 1000000 };
	return 0;
}

static void test_names(void **state)
{
	struct cpuid_answer v = ask(0, 0), h = ask(0x40000000, 0);
	char vendor[13] = "", hypervisor[13] = "", brand[49] = "";

	(void)state;
	memcpy(vendor, &v.ebx, 4);
	memcpy(vendor + 4, &v.edx, 4);
	memcpy(vendor + 8, &v.ecx, 4);
	assert_string_equal(vendor, "GenuineIntel");
	assert_int_equal(v.eax, 0x16);
	memcpy(hypervisor, &h.ebx, 12);
	assert_string_equal(hypervisor, "KVMKVMKVM");
	assert_int_equal(h.eax, 0x40000010);
	for (unsigned i = 0; i < 3; i++) {
		struct cpuid_answer b = ask(0x80000002 + i, 0);

		memcpy(brand + 16 * i, &b, 16);
	}
	assert_string_equal(brand, "Trapeze Virtual CPU v1");
	assert_string_equal(cpu_model_name(cpu_models[0]), "trapeze-v1");
}

/* The whole words: a feature cannot appear or go without this test being told. */
static void test_feature_words(void **state)
{
	struct cpuid_answer one = ask(1, 0), seven = ask(7, 0), ext = ask(0x80000001, 0);

	(void)state;
	assert_int_equal(one.eax, 0x000f0601);
	assert_int_equal(one.ebx, 0x00010800);
	assert_int_equal(one.ecx, 0xf7fa3203);
	assert_int_equal(one.edx, 0x078bfbfd);
	assert_int_equal(seven.eax, 0);
	assert_int_equal(ask(7, 2).edx, 0);
	assert_int_equal(seven.ebx, 0x219c27eb);
	assert_int_equal(seven.ecx, 0x0040000c);
	assert_int_equal(seven.edx, 0x24000010);
	assert_int_equal(ext.ecx, 0x00000121);
	assert_int_equal(ext.edx, 0x2c100800);
	assert_int_equal(ask(0x80000007, 0).edx, 1 << 8);
	assert_int_equal(ask(0x80000008, 0).eax, 48 << 8 | PAGING_PHYS_BITS);
}

static void test_dynamic_bits(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx >> 27 & 1, 0);
	assert_int_equal(ask(7, 0).ecx >> 4 & 1, 0);
	s.cr4 = CR4_OSXSAVE | CR4_PKE;
	assert_int_equal(ask(1, 0).ecx >> 27 & 1, 1);
	assert_int_equal(ask(7, 0).ecx >> 4 & 1, 1);
	s.misc_enable |= MISC_ENABLE_LIMIT_CPUID;
	assert_int_equal(ask(0, 0).eax, 2);
}

static void test_bhi_control(void **state)
{
	(void)state;
	topology.bhi_control = true;
	assert_int_equal(ask(7, 0).eax, 2);
	assert_int_equal(ask(7, 1).edx, 0);
	assert_int_equal(ask(7, 2).edx, 1 << 4);
	assert_int_equal(ask(7, 3).edx, 0);
}

static void test_xsave(void **state)
{
	(void)state;
	assert_int_equal(ask(0xd, 0).eax, 0x207);
	assert_int_equal(ask(0xd, 0).ebx, 576);
	assert_int_equal(ask(0xd, 0).ecx, 2696);
	s.xcr0 = 7;
	assert_int_equal(ask(0xd, 0).ebx, 832);
	assert_int_equal(ask(0xd, 1).ebx, 832);
	s.xcr0 = 0x207;
	assert_int_equal(ask(0xd, 0).ebx, 2696);
	assert_int_equal(ask(0xd, 1).ebx, 840);
	s.xcr0 = 0x203;
	assert_int_equal(ask(0xd, 0).ebx, 2696);
	assert_int_equal(ask(0xd, 1).ebx, 584);
	assert_int_equal(ask(0xd, 1).eax, 7); /* XSAVEOPT, XSAVEC, XGETBV1; no XSAVES */
	assert_int_equal(ask(0xd, 2).eax, 256);
	assert_int_equal(ask(0xd, 2).ebx, 576);
	assert_int_equal(ask(0xd, 9).eax, 8);
	assert_int_equal(ask(0xd, 9).ebx, 2688);
	for (uint32_t sub = 3; sub < 70; sub++)
		if (sub != 9)
			assert_int_equal(ask(0xd, sub).eax, 0);
	assert_int_equal(ask(0xd, UINT32_MAX).eax, 0);
}

/* Linux 6.1 computes crystal kHz * EBX / EAX in 32 bits. */
static void test_tsc_frequency(void **state)
{
	static const uint64_t exact[] = { 1000000, 2500000, 2000000, 3700000, 2100000, 2400000 };

	(void)state;
	for (unsigned i = 0; i < sizeof exact / sizeof exact[0]; i++) {
		struct cpuid_answer a;

		topology.tsc_khz = exact[i];
		a = ask(0x15, 0);
		assert_int_equal(a.ecx, 1000000000);
		assert_int_equal(a.ecx / 1000 * a.ebx / a.eax, exact[i]);
		assert_int_equal(ask(0x16, 0).eax, exact[i] / 1000);
		assert_int_equal(ask(0x40000010, 0).eax, exact[i]);
		assert_int_equal(ask(0x40000010, 0).ebx, 1000000);
	}
	topology.tsc_khz = 2100123;
	assert_int_equal(ask(0x15, 0).eax, 0);
	assert_int_equal(ask(0x15, 0).ecx, 0);
	topology.tsc_khz = 0;
	assert_int_equal(ask(0x15, 0).ebx, 0);
}

static void test_topology(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).edx >> 28 & 1, 0);
	assert_int_equal(ask(0xb, 1).eax, 0);
	topology = (struct cpuid_topology){ .apic_id = 5, .vcpus = 6, .tsc_khz = 1000000 };
	assert_int_equal(ask(1, 0).ebx >> 24, 5);
	assert_int_equal(ask(1, 0).ebx >> 16 & 0xff, 6);
	assert_int_equal(ask(1, 0).edx >> 28 & 1, 1);
	assert_int_equal(ask(0xb, 0).eax, 0);
	assert_int_equal(ask(0xb, 0).ebx, 1);
	assert_int_equal(ask(0xb, 0).ecx, 0x100);
	assert_int_equal(ask(0xb, 1).eax, 3);
	assert_int_equal(ask(0xb, 1).ebx, 6);
	assert_int_equal(ask(0xb, 1).ecx, 0x201);
	assert_int_equal(ask(0xb, 1).edx, 5);
	assert_int_equal(ask(0xb, 2).ebx, 0);
	assert_int_equal(ask(0xb, 2).ecx, 2);
	assert_int_equal(ask(0xb, 2).edx, 5);
}

static void test_caches(void **state)
{
	static const unsigned kib[] = { 32, 32, 1024, 16384 };

	(void)state;
	topology.vcpus = 3;
	for (unsigned i = 0; i < 4; i++) {
		struct cpuid_answer a = ask(4, i);

		assert_int_equal(((a.ebx >> 22) + 1) * ((a.ebx & 0xfff) + 1) * (a.ecx + 1),
				 kib[i] * 1024);
		assert_int_equal(a.eax >> 26, 3);
		assert_int_equal(a.eax >> 14 & 0xfff, i == 3 ? 3 : 0);
	}
	assert_int_equal(ask(4, 4).eax & 31, 0);
}

/* Beyond the last leaf of its range: the last basic leaf. Inside, and not there: zero. */
static void test_absent_leaves(void **state)
{
	static const uint32_t beyond[] = { 0x17,       0x3fffffff, 0x40000011,
					   0x7fffffff, 0x80000009, 0xffffffff };
	static const uint32_t zero[] = { 3, 5, 9, 0xa, 0xc, 0xe, 0x14, 0x40000002, 0x80000005 };
	struct cpuid_answer last = ask(0x16, 0), none = { 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
		struct cpuid_answer a = ask(beyond[i], 0);

		assert_memory_equal(&a, &last, sizeof a);
	}
	for (unsigned i = 0; i < sizeof zero / sizeof zero[0]; i++) {
		struct cpuid_answer a = ask(zero[i], 0);

		assert_memory_equal(&a, &none, sizeof a);
	}
}

static void test_paravirtual(void **state)
{
	(void)state;
	assert_int_equal(ask(0x40000001, 0).eax, 1 << 24 | 1 << 3 | 1 << 1);
	assert_int_equal(ask(0x40000001, 0).edx, 0);
	topology.kvm_services = true; /* steal time, kicks, TLB flushes, messages, yields */
	assert_int_equal(ask(0x40000001, 0).eax, 1 << 24 | 1 << 3 | 1 << 1 | 0x2aa0);
	assert_int_equal(ask(1, 0).ecx & 1 << 3, 0); /* with MONITOR Linux would not use some */
}

static void test_masks(void **state)
{
	const struct cpu_model *m = cpu_models[0];

	(void)state;
	assert_int_equal(cpu_model_xcr0_mask(m), 0x207);
	assert_int_equal(cpu_model_efer_mask(m), 0xd01);
	assert_int_equal(cpu_model_cr4_mask(m), 0x770ffc);
	assert_int_equal(cpu_model_phys_bits(m), PAGING_PHYS_BITS);
	assert_false(cpu_model_has(m, FEATURE_VME));
	assert_true(cpu_model_has(m, FEATURE_INVARIANT_TSC));
}

static struct cpuid_answer without; /* what the pretended host lacks, in leaf 7 */
static uint32_t host_xcr0;
static unsigned times_asked;

static struct cpuid_answer pretended(uint32_t leaf, uint32_t sub)
{
	struct cpuid_answer all = { ~0u, ~0u, ~0u, ~0u };

	(void)sub;
	times_asked++;
	if (leaf == XCR0_LEAF)
		all.eax = host_xcr0;
	if (leaf == 7)
		all.ebx &= ~without.ebx;
	return all;
}

static void test_usable(void **state)
{
	struct fail why = { 0 };

	(void)state;
	host_xcr0 = 7;
	without.ebx = 0;
	times_asked = 0;
	assert_int_equal(cpu_model_usable_on(cpu_models[0], pretended, &why), 0);
	assert_int_equal(times_asked, 4); /* 1, 7, 80000001H and XCR0: each is slow in a guest */
	without.ebx = 1u << 29 | 1u << 19;
	assert_int_equal(cpu_model_usable_on(cpu_models[0], pretended, &why), -ENOTSUP);
	assert_string_equal(why.text,
			    "this processor lacks what CPU model trapeze-v1 needs: ADX, SHA");
	without.ebx = 1u << 18; /* RDSEED is not executed natively */
	assert_int_equal(cpu_model_usable_on(cpu_models[0], pretended, &why), 0);
	host_xcr0 = 3;
	assert_int_equal(cpu_model_usable_on(cpu_models[0], pretended, &why), -ENOTSUP);
	assert_non_null(strstr(why.text, "AVX"));
	assert_int_equal(cpu_model_usable_on(cpu_models[0], pretended, NULL), -ENOTSUP);
}

static struct cpuid_answer nothing(uint32_t leaf, uint32_t sub)
{
	(void)leaf;
	(void)sub;
	return (struct cpuid_answer){ 0 };
}

/* A host from before SHA runs the model without it; that the best it can. */
static void test_best(void **state)
{
	struct fail why = { 0 };
	const struct cpu_model *m;

	(void)state;
	host_xcr0 = 7;
	without.ebx = 0;
	assert_ptr_equal(cpu_model_best_on(pretended, &why), cpu_models[0]);
	without.ebx = 1u << 29;
	m = cpu_model_best_on(pretended, &why);
	assert_string_equal(cpu_model_name(m), "trapeze-v1-nosha");
	assert_false(cpu_model_has(m, FEATURE_SHA));
	assert_true(cpu_model_has(m, FEATURE_AVX2));
	assert_true(cpu_model_id(m) != cpu_model_id(cpu_models[0]));
	without.ebx = 1u << 5;
	assert_null(cpu_model_best_on(pretended, &why));
	assert_non_null(strstr(why.text, "AVX2"));
	without.ebx = 0;
}

static void test_usable_on_nothing(void **state)
{
	struct fail why = { 0 };

	(void)state;
	assert_int_equal(cpu_model_usable_on(cpu_models[0], nothing, &why), -ENOTSUP);
	assert_in_range(strlen(why.text), 40, sizeof why.text - 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	static const struct CMUnitTest tests[] = {
		T(test_names),
		T(test_feature_words),
		T(test_dynamic_bits),
		T(test_bhi_control),
		T(test_xsave),
		T(test_tsc_frequency),
		T(test_topology),
		T(test_caches),
		T(test_absent_leaves),
		T(test_paravirtual),
		T(test_masks),
		T(test_usable),
		T(test_usable_on_nothing),
		T(test_best),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
