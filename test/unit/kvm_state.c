/*
 * kvm_state.c - test of the KVM engine against a kernel that only plays KVM: state comes out as it
 * went in, whatever that kernel lacks, and CPUID is the model's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/kvm_rig.h"

static void assert_same_state(const struct x86_state *a, const struct x86_state *b)
{
	for (const struct field *f = x86_state_fields; f->name; f++) {
		for (uint32_t i = 0; i < f->count; i++) {
			const void *x = (const uint8_t *)a + f->offset + i * f->stride;
			const void *y = (const uint8_t *)b + f->offset + i * f->stride;

			if (strcmp(f->name, "tsc_offset") && memcmp(x, y, f->width)) {
				print_error("%s[%u] differs\n", f->name, i);
				assert_true(false);
			}
		}
	}
}

static void round_trip(struct vm *vm, const struct x86_state *in)
{
	struct x86_state out;
	struct fail why = { 0 };

	if (vcpu_set_state(vm->vcpu[0], in, &why))
		print_error("%s\n", why.text);
	assert_string_equal(why.text, "");
	((struct kvm_vcpu *)vm->vcpu[0]->engine)->s = (struct x86_state){
		/* what KVM does not keep */
		.tsc_adjust = in->tsc_adjust,       .misc_enable = in->misc_enable,
		.mtrr_def_type = in->mtrr_def_type, .instructions = in->instructions,
		.random_state = in->random_state,   .debugctl = in->debugctl,
	};
	memcpy(((struct kvm_vcpu *)vm->vcpu[0]->engine)->s.mtrr_base, in->mtrr_base,
	       sizeof(in->mtrr_base));
	memcpy(((struct kvm_vcpu *)vm->vcpu[0]->engine)->s.mtrr_mask, in->mtrr_mask,
	       sizeof(in->mtrr_mask));
	vcpu_get_state(vm->vcpu[0], &out);
	assert_same_state(in, &out);
	/* Between the two some time passed, less than a second; it never goes back. */
	assert_in_range(in->tsc_offset - out.tsc_offset + 1000000000, 0, 2000000000);
}

static void test_state_comes_back(void **state)
{
	struct vm *vm = open_whole();
	struct x86_state s = odd_state();

	(void)state;
	if (__builtin_cpu_supports("avx"))
		round_trip(vm, &s);
	s.tsc_offset = UINT64_C(1) << 40;
	s.event_pending = 1;
	s.event_vector = VEC_PF;
	s.event_has_error = 1;
	s.event_error = 7;
	round_trip(vm, &s);
	s.event_external = 1;
	s.event_vector = 0xec;
	s.event_has_error = 0;
	s.event_error = 0;
	round_trip(vm, &s);
	s.event_vector = VEC_NMI;
	round_trip(vm, &s);
	s.event_pending = s.event_external = s.event_vector = 0;
	s.nmi_pending = 1;
	s.shadow = SHADOW_MOVSS;
	round_trip(vm, &s);
	s.cr4 = CR4_PAE; /* PAE paging: the pointers are state */
	s.efer = 0;
	s.seg[CS].attr &= ~(uint32_t)SEG_L;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s.seg[i].base = 0;
	s.pdpte[0] = 0x1001;
	s.pdpte[3] = 0x4001;
	round_trip(vm, &s);
	vm_close(vm);
	assert_nothing_open();
}

static void test_old_kernels(void **state)
{
	struct x86_state s = odd_state();
	struct vm *vm;

	(void)state;
	fake.lacking = KVM_CAP_SREGS2;
	vm = open_whole();
	round_trip(vm, &s);
	vm_close(vm);
	fake_reset();
	fake.lacking = KVM_CAP_VCPU_ATTRIBUTES;
	vm = open_whole();
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	assert_in_range(*fake_msr(MSR_TSC), 1, 1000000000); /* set by its value */
	vm_close(vm);
}

static void test_impossible_state(void **state)
{
	struct vm *vm = open_whole();
	struct x86_state s = odd_state();
	struct fail why = { 0 };

	(void)state;
	s.efer = EFER_LMA;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, &why), -EINVAL);
	assert_string_equal(why.text, "CPU state: EFER.LMA does not follow from LME and paging");
	vm_close(vm);
}

static void test_cpuid(void **state)
{
	struct vm *vm = open_whole();
	bool seen = false;

	(void)state;
	assert_non_null(fake.cpuid);
	for (uint32_t i = 0; i < fake.cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &fake.cpuid->entries[i];
		struct x86_state s;
		struct cpuid_answer a;

		x86_state_reset(&s, true);
		a = vcpu_cpuid(vm->vcpu[0], &s, e->function, e->index);
		assert_int_equal(e->eax, a.eax);
		assert_int_equal(e->ebx, a.ebx);
		assert_int_equal(e->ecx, a.ecx);
		assert_int_equal(e->edx, a.edx);
		seen |= e->function == 0x40000010;
	}
	assert_true(seen);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_state_comes_back),
		T(test_old_kernels),
		T(test_impossible_state),
		T(test_cpuid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
