/*
 * tsc.c - tests of a vCPU's time-stamp counter.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

static unsigned told;

static void tell(void *arg)
{
	(void)arg;
	told++;
}

static const struct intc_ops listening = { .tsc_moved = tell };

static void test_set(void **state)
{
	struct vm *vm = fake_vm(true);
	struct vcpu *vcpu = vm->vcpu[0];
	struct x86_state s;

	(void)state;
	told = 0;
	vcpu->intc = &listening;
	vm->clock.tsc_khz = 2000000;
	vcpu_get_state(vcpu, &s);
	clock_skip_to(&vm->clock, 1000);
	assert_int_equal(vcpu_tsc(vcpu), 2000);
	vcpu_set_tsc(vcpu, &s, 100);
	assert_int_equal(vcpu_tsc(vcpu), 100);
	assert_int_equal(s.tsc_offset, (uint64_t)-1900);
	assert_int_equal(s.tsc_adjust, (uint64_t)-1900);
	assert_int_equal(told, 1);
	clock_skip_to(&vm->clock, 2000);
	assert_int_equal(vcpu_tsc(vcpu), 2100);
	vcpu_set_tsc(vcpu, &s, 4000); /* what it would have been without the first */
	assert_int_equal(s.tsc_adjust, 0);
	assert_int_equal(vcpu_tsc(vcpu), 4000);
	vm_close(vm);
}

static void test_state_carries_it(void **state)
{
	struct vm *vm = fake_vm(true);
	struct vcpu *vcpu = vm->vcpu[0];
	struct x86_state s;

	(void)state;
	told = 0;
	vcpu->intc = &listening;
	vcpu_get_state(vcpu, &s);
	s.tsc_offset = 12345;
	assert_int_equal(vcpu_set_state(vcpu, &s, NULL), 0);
	assert_int_equal(vcpu_tsc(vcpu), 12345);
	assert_int_equal(told, 1); /* a deadline armed before the state came */
	vcpu->intc = NULL;
	vm_reset(vm);
	assert_int_equal(vcpu_tsc(vcpu), 0);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_state_carries_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
