/*
 * kvmclock.c - tests of the paravirtual clock, read as a guest reads it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/kvmclock.h"

#include "cpu/msr.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define CLOCK_AT 0x3000
#define WALL_AT  0x3100

struct time_info {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad[2];
};

static struct vm *open_with_memory(void)
{
	struct vm *vm = fake_vm(true);

	assert_int_equal(mem_add(vm, gpa(0), 0x10000, NULL, false, NULL), 0);
	return vm;
}

/* What the guest computes: Linux Documentation/virt/kvm/x86/msr.rst. */
static uint64_t guest_time(struct vm *vm, uint64_t at)
{
	struct time_info t;
	uint64_t delta;

	assert_int_equal(mem_read(&vm->mem, gpa(at), &t, sizeof(t)), 0);
	assert_int_equal(t.version & 1, 0);
	assert_int_equal(t.flags, 1);
	assert_true(t.mul >> 31); /* as exact as 32 bits allow */
	delta = clock_tsc(&vm->clock) + vm->vcpu[0]->tsc_offset - t.tsc_timestamp;
	delta = t.shift < 0 ? delta >> -t.shift : delta << t.shift;
	return (uint64_t)(((unsigned __int128)delta * t.mul) >> 32) + t.system_time;
}

static void assert_near(uint64_t a, uint64_t b, uint64_t by)
{
	assert_in_range(a, b > by ? b - by : 0, b + by);
}

static void test_system_time(void **state)
{
	static const uint64_t khz[] = { 1000000, 2500000, 3192747, 999999, 10000, 1, 40000000 };
	struct vm *vm = open_with_memory();
	struct vcpu *vcpu = vm->vcpu[0];

	(void)state;
	for (size_t i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		uint64_t tick = 1000000 / khz[i] + 1, now;

		vm->clock.tsc_khz = khz[i];
		assert_true(kvmclock_wrmsr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 1));
		clock_skip_to(&vm->clock, clock_now(&vm->clock) + UINT64_C(3600000000123));
		now = clock_now(&vm->clock);
		assert_near(guest_time(vm, CLOCK_AT), now, tick + 1 + (now >> 31));
		vcpu_tsc_moved(vcpu, UINT64_C(0x123456789)); /* the page follows the TSC */
		assert_near(guest_time(vm, CLOCK_AT), now, tick + 1 + (now >> 31));
	}
	vm_close(vm);
}

static struct time_info look(struct vm *vm)
{
	struct time_info t;

	assert_int_equal(mem_read(&vm->mem, gpa(CLOCK_AT), &t, sizeof(t)), 0);
	return t;
}

/* A real-time machine that was paused says so, once, and to who has a clock. */
static void test_stood_still(void **state)
{
	struct vm *vm = fake_vm(false);
	struct time_info before;
	struct fail why;
	int status;

	(void)state;
	assert_int_equal(mem_add(vm, gpa(0), 0x10000, NULL, false, NULL), 0);
	vm_pause(vm);
	vm_resume(vm);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_NONE);
	assert_int_equal(look(vm).version, 0);
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 1));
	before = look(vm);
	assert_int_equal(before.flags, 1);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_NONE);
	assert_int_equal(look(vm).version, before.version);
	vm_stood_still(vm);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_NONE);
	assert_int_equal(look(vm).flags, 3);
	assert_int_equal(look(vm).version, before.version + 2);
	vm_close(vm);
	vm = open_with_memory(); /* counted */
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 1));
	vm_stood_still(vm);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_NONE);
	assert_int_equal(look(vm).flags, 1);
	vm_close(vm);
}

static void test_versions(void **state)
{
	struct vm *vm = open_with_memory();
	uint32_t first, second;
	uint64_t value;

	(void)state;
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 1));
	mem_read(&vm->mem, gpa(CLOCK_AT), &first, 4);
	vcpu_tsc_moved(vm->vcpu[0], 5);
	mem_read(&vm->mem, gpa(CLOCK_AT), &second, 4);
	assert_int_equal(second, first + 2);
	assert_true(kvmclock_rdmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, &value));
	assert_int_equal(value, CLOCK_AT | 1);
	/* Switched off: the page is left alone. */
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT));
	vcpu_tsc_moved(vm->vcpu[0], 6);
	mem_read(&vm->mem, gpa(CLOCK_AT), &first, 4);
	assert_int_equal(first, second);
	vm_close(vm);
}

static void test_wall_clock(void **state)
{
	struct vm *vm = open_with_memory();
	uint32_t w[3], first;
	uint64_t value;

	(void)state;
	vm->clock.wall_base_ns = UINT64_C(1704067200987654321);
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, WALL_AT));
	mem_read(&vm->mem, gpa(WALL_AT), w, sizeof(w));
	first = w[0];
	assert_int_equal(w[0] & 1, 0);
	assert_int_equal(w[1], 1704067200);
	assert_int_equal(w[2], 987654321);
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, WALL_AT));
	mem_read(&vm->mem, gpa(WALL_AT), w, sizeof(w));
	assert_int_equal(w[0], first + 2);
	w[0] = 77; /* odd: an update that was never finished */
	mem_write(&vm->mem, gpa(WALL_AT), w, sizeof(w));
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, WALL_AT));
	mem_read(&vm->mem, gpa(WALL_AT), w, sizeof(w));
	assert_int_equal(w[0], 80);
	assert_true(kvmclock_rdmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, &value));
	assert_int_equal(value, WALL_AT);
	vm_close(vm);
}

static void test_bad_addresses(void **state)
{
	static const uint64_t bad[] = { 0x10000,    0xfff5,         0xfee00000,
					UINT64_MAX, UINT64_MAX - 2, UINT64_C(1) << 63 };
	struct vm *vm = open_with_memory();
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, bad[i] | 1));
		assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, bad[i]));
		assert_true(kvmclock_rdmsr(vm->vcpu[0], MSR_KVM_WALL_CLOCK_NEW, &value));
		assert_int_equal(value, bad[i]);
	}
	for (uint64_t at = 0; at < 0x10000; at += 8) {
		mem_read(&vm->mem, gpa(at), &value, 8);
		assert_int_equal(value, 0);
	}
	assert_true(kvmclock_wrmsr(vm->vcpu[0], MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 1));
	assert_near(guest_time(vm, CLOCK_AT), clock_now(&vm->clock), 1);
	vm_close(vm);
}

static void test_other_msrs(void **state)
{
	struct vm *vm = open_with_memory();
	uint64_t value;

	(void)state;
	assert_false(kvmclock_wrmsr(vm->vcpu[0], 0x4b564d02, 0)); /* async page fault */
	assert_false(kvmclock_rdmsr(vm->vcpu[0], 0x4b564d02, &value));
	assert_false(kvmclock_rdmsr(vm->vcpu[0], 0x11, &value));
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_system_time),   cmocka_unit_test(test_versions),
		cmocka_unit_test(test_stood_still),   cmocka_unit_test(test_wall_clock),
		cmocka_unit_test(test_bad_addresses), cmocka_unit_test(test_other_msrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
