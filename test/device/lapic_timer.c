/*
 * lapic_timer.c - tests of the local APIC: its timer, also while an engine keeps it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/lapic_rig.h"

static void test_timer_one_shot(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, TIMER, 0x40);
	apic_write(vm, 0, DIVIDE, 3); /* by 16 */
	apic_write(vm, 0, INITIAL, 1000);
	assert_int_equal(apic_read(vm, 0, CURRENT), 1000);
	rig_step(vm, 15999);
	assert_int_equal(apic_read(vm, 0, CURRENT), 1);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(apic_read(vm, 0, CURRENT), 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 1000000);
	assert_int_equal(rig_take(vm, 0), -1);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	/* Writing 0 stops it. */
	apic_write(vm, 0, INITIAL, 1000);
	apic_write(vm, 0, INITIAL, 0);
	rig_step(vm, 1000000);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

static void test_timer_dividers(void **state)
{
	static const struct {
		uint32_t code;
		unsigned by;
	} rows[] = {
		{0,   2  },
                { 1,  4  },
                { 2,  8  },
                { 3,  16 },
		{ 8,  32 },
                { 9,  64 },
                { 10, 128},
                { 11, 1  }
	};
	struct vm *vm = open_enabled(1);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		apic_write(vm, 0, DIVIDE, rows[i].code);
		assert_int_equal(apic_read(vm, 0, DIVIDE), rows[i].code);
		apic_write(vm, 0, INITIAL, 100);
		rig_step(vm, 30 * rows[i].by);
		assert_int_equal(apic_read(vm, 0, CURRENT), 70);
	}
	apic_write(vm, 0, DIVIDE, 3); /* the count goes on at the new rate */
	assert_int_equal(apic_read(vm, 0, CURRENT), 70);
	rig_step(vm, 160);
	assert_int_equal(apic_read(vm, 0, CURRENT), 60);
	vm_close(vm);
}

static void test_timer_periodic(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 50000);
	for (unsigned i = 0; i < 5; i++) {
		rig_step(vm, 49999);
		assert_int_equal(rig_take(vm, 0), -1);
		rig_step(vm, 1);
		assert_int_equal(apic_read(vm, 0, CURRENT), 50000);
		assert_int_equal(rig_take(vm, 0), 0x40);
		apic_write(vm, 0, EOI, 0);
	}
	/* Masked it counts on, without alarms and without interrupts. */
	apic_write(vm, 0, TIMER, PERIODIC | MASKED | 0x40);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	rig_step(vm, 120000);
	assert_int_equal(apic_read(vm, 0, CURRENT), 30000);
	apic_write(vm, 0, TIMER, PERIODIC | 0x41);
	rig_step(vm, 29999);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x41);
	apic_write(vm, 0, EOI, 0);
	/* One-shot from now on: the running count is the last. */
	apic_write(vm, 0, TIMER, 0x42);
	rig_step(vm, 50000);
	assert_int_equal(rig_take(vm, 0), 0x42);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 500000);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

/* The shortest period there is must not keep the host busy. */
static void test_timer_short_period(void **state)
{
	struct vm *vm = open_enabled(1);
	unsigned alarms = 0;

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 1);
	while (clock_now(&vm->clock) < 1000000) {
		clock_skip_to(&vm->clock, clock_next(&vm->clock));
		alarms += clock_fire(&vm->clock);
	}
	assert_in_range(alarms, 50, 101);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

static void test_timer_deadline(void **state)
{
	struct vm *vm = open_enabled(1);
	uint64_t now;

	(void)state;
	vm->clock.tsc_khz = 2500000;
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 12345)); /* not in this mode: ignored */
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	apic_write(vm, 0, INITIAL, 100);
	apic_write(vm, 0, TIMER, DEADLINE | 0x40); /* stops the count */
	assert_int_equal(apic_read(vm, 0, INITIAL), 0);
	apic_write(vm, 0, INITIAL, 100);
	assert_int_equal(apic_read(vm, 0, CURRENT), 0);
	now = clock_tsc(&vm->clock);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, now + 2501));
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), now + 2501);
	rig_step(vm, 1000);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1); /* 2502.5 ticks */
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	/* In the past: at once. 0: disarmed. */
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 1));
	rig_step(vm, 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, clock_tsc(&vm->clock) + 1000));
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 0));
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, UINT64_MAX));
	rig_step(vm, UINT64_C(1) << 40);
	assert_int_equal(rig_take(vm, 0), -1);
	apic_write(vm, 0, TIMER, 0x40); /* leaving the mode disarms */
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	vm_close(vm);
}

/* Lent to an engine the timer stands still, and goes on from the count that comes back. */
static void test_lent(void **state)
{
	struct vm *vm = open_enabled(1);
	const struct intc_ops *ops = vm->vcpu[0]->intc;
	void *arg = vm->vcpu[0]->intc_arg;
	struct apic_state s;

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, 0x40);
	apic_write(vm, 0, INITIAL, 1000);
	apic_write(vm, 0, TPR, 0x50);
	rig_step(vm, 400);
	ops->lend(arg, &s);
	assert_int_equal(s.reg[CURRENT / 16], 600);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	rig_step(vm, 5000);
	s.reg[TPR / 16] = 0x10;
	s.reg[IRR / 16 + 3] = 1u << 5; /* vector 65h */
	ops->back(arg, &s);
	assert_int_equal(apic_read(vm, 0, TPR), 0x10);
	assert_int_equal(rig_take(vm, 0), 0x65);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 599);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	apic_write(vm, 0, TIMER, DEADLINE | 0x40);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, clock_tsc(&vm->clock) + 1000));
	ops->lend(arg, &s);
	rig_step(vm, 2000); /* past it */
	ops->back(arg, &s);
	rig_step(vm, 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

/* Whatever comes back, it is a state that could be saved and loaded. */
static void test_lent_to_anyone(void **state)
{
	struct vm *vm = open_enabled(1);
	struct vcpu *vcpu = vm->vcpu[0];
	struct device *dev = vcpu->intc_arg;
	uint64_t seed = 1;
	struct fail why;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		struct apic_state s = { .deadline = seed };

		for (unsigned i = 0; i < 64; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			s.reg[i] = (uint32_t)(seed >> 32);
		}
		if (n == 0)
			memset(&s, 0xff, sizeof(s));
		if (n == 1000)
			set_x2apic(vm, 0);
		vcpu->intc->back(dev, &s);
		assert_int_equal(dev->ops->loaded(dev, &why), 0);
		rig_step(vm, n);
	}
	vm_close(vm);
}

static void test_deadline_follows_tsc(void **state)
{
	struct vm *vm = open_enabled(1);
	uint64_t tsc = clock_tsc(&vm->clock);

	(void)state;
	apic_write(vm, 0, TIMER, DEADLINE | 0x40);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, tsc + 1000000));
	vcpu_tsc_moved(vm->vcpu[0], 900000); /* the guest's TSC jumps ahead */
	rig_step(vm, 99999);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	vcpu_tsc_moved(vm->vcpu[0], (uint64_t)-50000); /* and back */
	tsc = clock_tsc(&vm->clock) - 50000;
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, tsc + 10));
	rig_step(vm, 9);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_one_shot), cmocka_unit_test(test_timer_dividers),
		cmocka_unit_test(test_timer_periodic), cmocka_unit_test(test_timer_short_period),
		cmocka_unit_test(test_timer_deadline), cmocka_unit_test(test_lent),
		cmocka_unit_test(test_lent_to_anyone), cmocka_unit_test(test_deadline_follows_tsc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
