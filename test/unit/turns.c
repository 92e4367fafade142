/*
 * turns.c - several vCPUs on one thread: whose turn it is, and what time it is.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "save/save.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"
#include "test/unit/save_copy.h"

#define SLICE 100

static struct vm *open_vm(unsigned vcpus, bool all_run)
{
	struct vm_config config = {
		.engine = &fake_engine_ops, .vcpus = vcpus, .counted = true, .slice = SLICE
	};
	struct vm *vm = vm_open(&config, NULL);

	assert_non_null(vm);
	for (unsigned i = 1; i < vcpus; i++) {
		assert_true(vm->vcpu[i]->wait_sipi);
		vm->vcpu[i]->wait_sipi = !all_run;
	}
	return vm;
}

static void run(struct vm *vm, uint64_t instructions, enum vm_request expected)
{
	int status;

	assert_int_equal(vm_run(vm, instructions, &status, NULL), expected);
}

#define ASSERT_RETIRED(vm, a, b, c)                                                                \
	do {                                                                                       \
		assert_int_equal(*(vm)->vcpu[0]->retired, a);                                      \
		assert_int_equal(*(vm)->vcpu[1]->retired, b);                                      \
		assert_int_equal(*(vm)->vcpu[2]->retired, c);                                      \
		assert_int_equal(clock_now(&(vm)->clock), (a) + (b) + (c));                        \
	} while (0)

static void test_round_robin(void **state)
{
	struct vm *vm = open_vm(3, true);

	(void)state;
	run(vm, 250, VM_NONE);
	ASSERT_RETIRED(vm, 100, 100, 50);
	run(vm, 70, VM_NONE); /* the turn goes on where it was */
	ASSERT_RETIRED(vm, 120, 100, 100);
	vm->stop_at = 1000; /* the machine's */
	run(vm, UINT64_MAX, VM_STOP_AT);
	ASSERT_RETIRED(vm, 400, 300, 300);
	vm_close(vm);
}

static void test_idle_vcpus_are_passed_over(void **state)
{
	struct vm *vm = open_vm(3, false);
	struct fake *f = vm->vcpu[1]->engine;

	(void)state;
	run(vm, 350, VM_NONE);
	ASSERT_RETIRED(vm, 350, 0, 0);
	vm->vcpu[1]->wait_sipi = false;
	vm->vcpu[1]->halted = true;
	irq_nmi(vm, 2); /* waits as long as the CPU waits for a SIPI */
	irq_nmi(vm, 1);
	run(vm, 200, VM_NONE);
	ASSERT_RETIRED(vm, 450, 100, 0);
	assert_int_equal(f->injected, VEC_NMI);
	irq_init(vm, 2); /* forgets the NMI */
	irq_sipi(vm, 2, 0x12);
	run(vm, 200, VM_NONE);
	ASSERT_RETIRED(vm, 500, 200, 50);
	assert_int_equal(((struct fake *)vm->vcpu[2]->engine)->injected, -1);
	vm_close(vm);
}

static void note(void *arg, uint64_t now)
{
	*(uint64_t *)arg = now;
}

static void test_alarm_in_the_middle_of_a_turn(void **state)
{
	struct vm *vm = open_vm(3, true);
	uint64_t fired = 0;
	struct alarm alarm = { .at = ALARM_NONE, .fn = note, .arg = &fired };

	(void)state;
	clock_set_alarm(&vm->clock, &alarm, 133);
	run(vm, 300, VM_NONE);
	assert_int_equal(fired, 133);
	ASSERT_RETIRED(vm, 100, 100, 100);
	clock_set_alarm(&vm->clock, &alarm, 5000); /* all idle: time skips to it */
	for (unsigned i = 0; i < 3; i++)
		vm->vcpu[i]->halted = true;
	vm_request(vm, VM_QUIT, 0);
	run(vm, 10, VM_QUIT);
	assert_int_equal(clock_now(&vm->clock), 300);
	vm->halt_ends = true;
	vm_input_ended(vm);
	run(vm, 10, VM_HALTED); /* after the alarm nothing more comes */
	assert_int_equal(fired, 5000);
	vm_close(vm);
}

static void test_halted_for_ever(void **state)
{
	struct vm *vm = open_vm(2, true);

	(void)state;
	vm->halt_ends = true;
	for (unsigned i = 0; i < 2; i++) {
		vm->vcpu[i]->halted = true;
		((struct fake *)vm->vcpu[i]->engine)->interruptible = false;
	}
	run(vm, 10, VM_HALTED);
	vm->vcpu[1]->halted = false; /* one that runs may yet wake the other */
	run(vm, 10, VM_NONE);
	vm_close(vm);
}

/* vCPU 1 halts at the end of each run. */
static int halting_run(struct vcpu *vcpu, struct exit *exit)
{
	struct fake *f = vcpu->engine;

	f->runs++;
	f->s.instructions += vcpu->budget;
	exit->reason = vcpu->index == 1 ? EXIT_HLT : EXIT_BUDGET;
	return 0;
}

/* What comes to a CPU before an HLT wakes it, where the HLT is the last of its turn, too. */
static void wake_before_hlt(unsigned instructions, bool nmi)
{
	struct engine_ops ops = fake_engine_ops;
	struct vm_config config = { .engine = &ops, .vcpus = 2, .counted = true, .slice = SLICE };
	struct vm *vm;
	struct fake *f;

	ops.run = halting_run;
	vm = vm_open(&config, NULL);
	assert_non_null(vm);
	vm->vcpu[1]->wait_sipi = false;
	f = vm->vcpu[1]->engine;
	f->interruptible = !nmi;
	run(vm, SLICE, VM_NONE); /* CPU 0's turn */
	if (nmi)
		irq_nmi(vm, 1);
	else
		atomic_store(&vm->vcpu[1]->kicked, true);
	run(vm, instructions, VM_NONE);
	assert_int_equal(f->runs, 1);
	f->interruptible = true;
	run(vm, 10 * SLICE, VM_NONE);
	if (nmi)
		assert_int_equal(f->injected, VEC_NMI);
	assert_int_equal(f->runs, 2);
	vm_close(vm);
}

static void test_woken_before_the_hlt(void **state)
{
	(void)state;
	for (unsigned nmi = 0; nmi < 2; nmi++) {
		wake_before_hlt(SLICE - 1, nmi);
		wake_before_hlt(SLICE, nmi);
	}
}

/* --- saved in the middle of a turn --- */

static void test_saved_with_the_machine(void **state)
{
	struct vm *a = open_vm(3, true), *b = open_vm(3, true);
	struct save_hash x, y;

	(void)state;
	for (unsigned i = 1; i < 3; i++)
		((struct fake *)a->vcpu[i]->engine)->s.activity = ACTIVITY_RUN;
	run(a, 130, VM_NONE);
	save_copy(a, b);
	assert_int_equal(vm_turn(b), 1);
	run(a, 444, VM_NONE);
	run(b, 444, VM_NONE);
	x = save_hash(a);
	y = save_hash(b);
	assert_true(x.low == y.low && x.high == y.high);
	ASSERT_RETIRED(b, 200, 200, 174);
	vm_close(a);
	vm_close(b);
}

/* CPU 0 names CPU 2, which names CPU 0 in vain: the round goes on with CPU 1. */
static void test_turn_given_by_name(void **state)
{
	struct vm *a = open_vm(3, true), *b = open_vm(3, true);

	(void)state;
	for (unsigned i = 1; i < 3; i++)
		((struct fake *)a->vcpu[i]->engine)->s.activity = ACTIVITY_RUN;
	run(a, 30, VM_NONE);
	turns_give_to(a, 2);
	run(a, 40, VM_NONE);
	ASSERT_RETIRED(a, 30, 0, 40);
	save_copy(a, b); /* that it was given is part of the state */
	turns_give_to(a, 0);
	turns_give_to(b, 0);
	run(a, 120, VM_NONE);
	run(b, 120, VM_NONE);
	ASSERT_RETIRED(a, 30, 100, 60);
	ASSERT_RETIRED(b, 30, 100, 60);
	turns_give_to(a, 0); /* who is next anyway: a turn of the round */
	run(a, 10, VM_NONE);
	turns_give_to(a, 2);
	run(a, 10, VM_NONE);
	ASSERT_RETIRED(a, 40, 100, 70);
	vm_close(a);
	vm_close(b);
}

static void test_reset(void **state)
{
	struct vm *vm = open_vm(3, true);

	(void)state;
	run(vm, 150, VM_NONE);
	assert_int_equal(vm_turn(vm), 1);
	vm_reset(vm);
	assert_int_equal(vm_turn(vm), 0);
	assert_true(vm->vcpu[1]->wait_sipi);
	assert_int_equal(clock_now(&vm->clock), 150); /* time does not jump */
	run(vm, 150, VM_NONE);
	ASSERT_RETIRED(vm, 250, 50, 0);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_idle_vcpus_are_passed_over),
		cmocka_unit_test(test_alarm_in_the_middle_of_a_turn),
		cmocka_unit_test(test_halted_for_ever),
		cmocka_unit_test(test_woken_before_the_hlt),
		cmocka_unit_test(test_saved_with_the_machine),
		cmocka_unit_test(test_turn_given_by_name),
		cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
