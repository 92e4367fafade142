/*
 * steal.c - tests of steal time and of the flag that a vCPU does not run, read as a guest reads
 * them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/steal.h"

#include "cpu/msr.h"
#include "save/save.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"
#include "test/unit/save_copy.h"

#define SLICE   100
#define AT(n)   (0x3000 + 64 * (uint64_t)(n))
#define ON(n)   (AT(n) | 1)
#define PENDING 3 /* preempted, and the guest wants its TLB flushed */

struct steal_time {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
};

static unsigned flushes[4];
static struct engine_ops engine;
static uint64_t told; /* to the engine, of MSR_KVM_STEAL_TIME */

static void flush_tlb(struct vcpu *vcpu)
{
	flushes[vcpu->index]++;
}

static bool takes(struct vcpu *vcpu, uint64_t msr)
{
	(void)vcpu;
	told = msr;
	return true;
}

static struct vm *open_config(struct vm_config config)
{
	struct vm *vm;

	config.engine = &engine;
	config.slice = SLICE;
	memset(flushes, 0, sizeof(flushes));
	vm = vm_open(&config, NULL);
	assert_non_null(vm);
	assert_int_equal(mem_add(vm, gpa(0), 0x10000, NULL, false, NULL), 0);
	for (unsigned i = 1; i < config.vcpus; i++) {
		((struct fake *)vm->vcpu[i]->engine)->s.activity = ACTIVITY_RUN;
		vm->vcpu[i]->wait_sipi = false;
	}
	return vm;
}

static struct vm *open_vm(unsigned vcpus)
{
	struct vm_config config = { .vcpus = vcpus, .counted = true };

	engine = fake_engine_ops;
	engine.flush_tlb = flush_tlb;
	return open_config(config);
}

static struct steal_time look(struct vm *vm, unsigned n)
{
	struct steal_time t;

	assert_int_equal(mem_read(&vm->mem, gpa(AT(n)), &t, sizeof(t)), 0);
	assert_int_equal(t.version & 1, 0);
	return t;
}

static void set_flag(struct vm *vm, unsigned n, uint8_t value)
{
	uint64_t at = AT(n) + offsetof(struct steal_time, preempted);

	assert_int_equal(mem_write(&vm->mem, gpa(at), &value, 1), 0);
}

static void turn_on(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		assert_true(steal_wrmsr(vm->vcpu[i], MSR_KVM_STEAL_TIME, ON(i)));
}

static void run(struct vm *vm, uint64_t instructions)
{
	int status;

	assert_int_equal(vm_run(vm, instructions, &status, NULL), VM_NONE);
}

static void test_msr(void **state)
{
	struct vm *one = open_vm(1), *vm = open_vm(2);
	uint64_t value = 1;

	(void)state;
	assert_false(steal_rdmsr(one->vcpu[0], MSR_KVM_STEAL_TIME, &value)); /* not offered */
	assert_false(steal_wrmsr(one->vcpu[0], MSR_KVM_STEAL_TIME, ON(0)));
	assert_true(steal_rdmsr(vm->vcpu[1], MSR_KVM_STEAL_TIME, &value));
	assert_int_equal(value, 0);
	assert_false(steal_wrmsr(vm->vcpu[1], 0x4b564d02, 0));
	for (unsigned bit = 1; bit < 6; bit++)
		assert_false(steal_wrmsr(vm->vcpu[1], MSR_KVM_STEAL_TIME, ON(1) | 1u << bit));
	assert_true(steal_wrmsr(vm->vcpu[1], MSR_KVM_STEAL_TIME, ON(1)));
	assert_true(steal_rdmsr(vm->vcpu[1], MSR_KVM_STEAL_TIME, &value));
	assert_int_equal(value, ON(1));
	vm_reset(vm);
	assert_true(steal_rdmsr(vm->vcpu[1], MSR_KVM_STEAL_TIME, &value));
	assert_int_equal(value, 0);
	vm_close(one);
	vm_close(vm);
}

static void test_turns(void **state)
{
	struct vm *vm = open_vm(3);

	(void)state;
	set_flag(vm, 0, 0xff); /* rubbish */
	turn_on(vm);
	run(vm, 50);
	assert_int_equal(look(vm, 0).preempted, 0);
	run(vm, 100); /* in the middle of vCPU 1's */
	assert_int_equal(look(vm, 0).preempted, 1);
	assert_int_equal(look(vm, 1).preempted, 0);
	assert_int_equal(look(vm, 1).steal, 0); /* it had not run before */
	run(vm, 200);                           /* vCPU 0's second */
	assert_int_equal(look(vm, 0).steal, 2 * SLICE);
	assert_int_equal(look(vm, 0).preempted, 0);
	assert_int_equal(look(vm, 1).preempted, 1);
	vm->vcpu[1]->halted = true;
	run(vm, 300);
	assert_int_equal(look(vm, 0).steal, 3 * SLICE);
	assert_int_equal(look(vm, 0).version, 4);
	/* It could run all the time until it halted; then not. */
	irq_nmi(vm, 1);
	run(vm, 300);
	assert_int_equal(look(vm, 1).steal, 4 * SLICE + 2 * SLICE);
	vm_close(vm);
}

static void test_flush_when_it_runs_again(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	turn_on(vm);
	run(vm, 150);
	set_flag(vm, 0, PENDING);
	run(vm, 50);
	assert_int_equal(flushes[0], 0); /* has not its turn yet */
	run(vm, 1);
	assert_int_equal(flushes[0], 1);
	assert_int_equal(look(vm, 0).preempted, 0);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_TLB_FLUSH], 1);
	run(vm, 500);
	assert_int_equal(flushes[0], 1);
	assert_int_equal(flushes[1], 0);
	vm_close(vm);
}

/* A halted vCPU that looks whether anything waits for it, and nothing does, has not run. */
static void test_awake_for_nothing(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	turn_on(vm);
	run(vm, 150);
	vm->vcpu[0]->halted = true;
	set_flag(vm, 0, PENDING);
	vm_wake(vm, 0);
	run(vm, 400);
	assert_int_equal(look(vm, 0).preempted, PENDING);
	assert_int_equal(flushes[0], 0);
	irq_nmi(vm, 0);
	run(vm, 400);
	assert_int_equal(look(vm, 0).preempted & 2, 0);
	assert_int_equal(flushes[0], 1);
	vm_close(vm);
}

/* A turn that comes back at once leaves no trace. */
static void test_turn_comes_back(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	turn_on(vm);
	vm->vcpu[1]->halted = true;
	atomic_store(&vm->vcpu[1]->notice, true);
	run(vm, 350);
	assert_int_equal(look(vm, 0).version, 0);
	assert_int_equal(look(vm, 0).preempted, 0);
	vm_close(vm);
}

/* Another engine takes over while the vCPU whose turn it is halts: its turn passes as always. */
static void test_changed_over_while_halted(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	turn_on(vm);
	run(vm, 250);
	vm->vcpu[0]->halted = true;
	for (unsigned i = 0; i < 2; i++)
		steal_attach(vm->vcpu[i]);
	run(vm, 100);
	assert_int_equal(look(vm, 0).preempted, 1);
	assert_int_equal(look(vm, 1).preempted, 0);
	vm_close(vm);
}

/* Nothing that a guest writes to the MSR reaches beyond its RAM. */
static void test_anywhere(void **state)
{
	static const uint64_t bad[] = { 0x10000, 0xffc0, UINT64_MAX & ~63ull, 1ull << 52, 0xa0000 };
	struct vm *vm = open_vm(2);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(steal_wrmsr(vm->vcpu[0], MSR_KVM_STEAL_TIME, bad[i] | 1));
		run(vm, 500);
	}
	assert_true(steal_wrmsr(vm->vcpu[0], MSR_KVM_STEAL_TIME, AT(0))); /* not enabled */
	run(vm, 500);
	assert_int_equal(look(vm, 0).steal, 0);
	assert_int_equal(look(vm, 0).preempted, 0);
	vm_close(vm);
}

/* An engine that cannot flush by itself: its vCPUs always seem to run. */
static void test_no_flush_no_flag(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	engine.flush_tlb = NULL;
	turn_on(vm);
	run(vm, 150);
	assert_int_equal(look(vm, 0).preempted, 0);
	vm_close(vm);
}

static void test_engine_that_does_it_itself(void **state)
{
	struct vm *vm = open_vm(2);

	(void)state;
	engine.steal_time = takes;
	assert_true(steal_wrmsr(vm->vcpu[0], MSR_KVM_STEAL_TIME, ON(0)));
	assert_int_equal(told, ON(0));
	run(vm, 350);
	assert_int_equal(look(vm, 0).steal, 0);
	assert_int_equal(look(vm, 0).preempted, 0);
	vm_close(vm);
}

/* On threads of their own: the flag is set while a vCPU sleeps. */
static void test_threads(void **state)
{
	struct vm_config config = { .vcpus = 2 };
	struct vm *vm;
	int status;

	(void)state;
	engine = fake_engine_ops;
	engine.flush_tlb = flush_tlb;
	engine.caps |= ENGINE_THREADS;
	vm = open_config(config);
	turn_on(vm);
	vm->vcpu[1]->away = false; /* as one that has run */
	vm->vcpu[1]->halted = true;
	while (!look(vm, 1).preempted)
		assert_int_equal(vm_run(vm, 1000, &status, NULL), VM_NONE);
	assert_int_equal(look(vm, 0).preempted, 0);
	set_flag(vm, 1, PENDING);
	irq_nmi(vm, 1);
	while (look(vm, 1).preempted)
		assert_int_equal(vm_run(vm, 1000, &status, NULL), VM_NONE);
	assert_int_equal(flushes[1], 1);
	vm_close(vm);
}

static void test_saved_with_the_machine(void **state)
{
	struct vm *a = open_vm(3), *b = open_vm(3);
	struct save_hash x, y;

	(void)state;
	turn_on(a);
	run(a, 130);
	atomic_store(&a->vcpu[2]->kicked, true);
	save_copy(a, b);
	assert_int_equal(b->vcpu[0]->kvm_steal_time, ON(0));
	assert_int_equal(b->vcpu[0]->steal_since, 100);
	assert_true(atomic_load(&b->vcpu[2]->kicked));
	run(a, 444);
	run(b, 444);
	x = save_hash(a);
	y = save_hash(b);
	assert_true(x.low == y.low && x.high == y.high);
	assert_int_equal(look(b, 0).steal, 2 * SLICE);
	vm_close(a);
	vm_close(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msr),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_flush_when_it_runs_again),
		cmocka_unit_test(test_awake_for_nothing),
		cmocka_unit_test(test_changed_over_while_halted),
		cmocka_unit_test(test_turn_comes_back),
		cmocka_unit_test(test_anywhere),
		cmocka_unit_test(test_no_flush_no_flag),
		cmocka_unit_test(test_engine_that_does_it_itself),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_saved_with_the_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
