/*
 * crew.c - tests of vCPUs on threads of their own, on an engine that executes nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "host/order.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define VCPUS 3

static struct engine_ops threaded;
static atomic_uint at_once;           /* vCPUs in the engine */
static atomic_bool meet;              /* run() returns only when all are there */
static atomic_uint reset_at, fail_at; /* index of the vCPU that asks for a reset, or fails */

/* Who is inside the gate takes no lock. */
static void ask(struct vcpu *vcpu, enum vm_request what)
{
	bool inside = gate_step_out(vcpu);

	vm_request(vcpu->vm, what, (int)vcpu->index);
	gate_step_back(vcpu, inside);
}

static int run(struct vcpu *vcpu, struct exit *exit)
{
	atomic_fetch_add(&at_once, 1);
	while (atomic_load(&meet) && atomic_load(&at_once) < VCPUS)
		;
	atomic_store(&meet, false);
	atomic_fetch_sub(&at_once, 1);
	if (atomic_load(&fail_at) == vcpu->index)
		return -EIO;
	if (atomic_load(&reset_at) == vcpu->index)
		ask(vcpu, VM_RESET);
	return fake_run(vcpu, exit);
}

/* The NMI has arrived. */
static int inject(struct vcpu *vcpu, const struct event *event)
{
	ask(vcpu, VM_QUIT);
	return fake_inject(vcpu, event);
}

static struct vm *open_vm(void)
{
	struct vm_config config = { .engine = &threaded, .vcpus = VCPUS, .slice = 100 };
	struct vm *vm;

	threaded = fake_engine_ops;
	threaded.caps |= ENGINE_THREADS;
	threaded.run = run;
	threaded.inject = inject;
	atomic_store(&reset_at, VCPUS);
	atomic_store(&fail_at, VCPUS);
	atomic_store(&at_once, 0);
	vm = vm_open(&config, NULL);
	assert_non_null(vm);
	for (unsigned i = 1; i < VCPUS; i++)
		vm->vcpu[i]->wait_sipi = false;
	return vm;
}

static enum vm_request go(struct vm *vm, uint64_t instructions, int *status)
{
	struct fail why;

	return vm_run(vm, instructions, status, &why);
}

/* All are in the engine at the same time; the limit is the machine's, and seen within slices. */
static void test_together(void **state)
{
	struct vm *vm = open_vm();
	int status;

	(void)state;
	atomic_store(&meet, true);
	assert_int_equal(go(vm, 100000, &status), VM_NONE);
	assert_false(meet);
	assert_true(vm_retired(vm) >= 100000);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_null(vm->vcpu[i]->thread);
	vm->stop_at = vm_retired(vm) + 5000;
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_STOP_AT);
	vm_close(vm);
}

static int boots;
static int booted(void *arg, struct fail *why)
{
	struct vm *vm = arg;

	(void)why;
	/* Whoever asked, everybody stands still. */
	assert_int_equal(atomic_load(&at_once), 0);
	for (unsigned i = 1; i < VCPUS; i++) {
		assert_true(vm->vcpu[i]->wait_sipi);
		vm->vcpu[i]->wait_sipi = false;
	}
	if (++boots == 50)
		vm_request(vm, VM_QUIT, 5);
	return 0;
}

static void test_reset_parks_all(void **state)
{
	struct vm *vm = open_vm();
	int status;

	(void)state;
	vm->booted = booted;
	vm->booted_arg = vm;
	atomic_store(&reset_at, 2);
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_QUIT);
	assert_int_equal(status, 5);
	assert_int_equal(boots, 50);
	vm_close(vm);
}

static void test_failure_of_one_ends_the_run(void **state)
{
	struct vm *vm = open_vm();
	struct fail why = { 0, "" };
	int status;

	(void)state;
	atomic_store(&fail_at, 1);
	assert_int_equal(vm_run(vm, UINT64_MAX, &status, &why), VM_STUCK);
	assert_int_equal(status, -EIO);
	assert_non_null(strstr(why.text, "engine fake failed: vCPU 1"));
	assert_int_equal(vm->blamed, 1);
	vm_close(vm);
}

/* One sleeps, another wakes it by an NMI. */
static void test_sleep_and_wake(void **state)
{
	struct vm *vm = open_vm();
	struct fake *f = vm->vcpu[2]->engine;
	int status;

	(void)state;
	vm->vcpu[2]->halted = true;
	assert_int_equal(go(vm, 100000, &status), VM_NONE);
	assert_int_equal(*vm->vcpu[2]->retired, 0);
	irq_nmi(vm, 2);
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_QUIT);
	assert_int_equal(status, 2);
	assert_int_equal(f->injected, VEC_NMI);
	assert_false(vm->vcpu[2]->halted);
	vm_close(vm);
}

static void test_all_halted(void **state)
{
	struct vm *vm = open_vm();
	int status;

	(void)state;
	vm->halt_ends = true;
	for (unsigned i = 0; i < VCPUS; i++) {
		((struct fake *)vm->vcpu[i]->engine)->interruptible = false;
		vm->vcpu[i]->halted = true;
	}
	vm->vcpu[1]->halted = false;
	vm->vcpu[1]->wait_sipi = true; /* nor does this one come back by itself */
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_HALTED);
	vm_close(vm);
}

static void quit(void *arg, uint64_t now)
{
	(void)now;
	vm_request(arg, VM_QUIT, 0);
}

/* An alarm goes off while all sleep. */
static void test_alarm(void **state)
{
	struct vm *vm = open_vm();
	struct alarm alarm = { .at = ALARM_NONE, .fn = quit, .arg = vm };
	int status;

	(void)state;
	for (unsigned i = 0; i < VCPUS; i++)
		vm->vcpu[i]->halted = true;
	clock_set_alarm(&vm->clock, &alarm, clock_now(&vm->clock) + 20000000);
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_QUIT);
	vm_close(vm);
}

static void resume_later(void *arg)
{
	uint64_t until = host_monotonic_ns() + 20000000;

	while (host_monotonic_ns() < until)
		;
	vm_resume(arg);
}

static void test_pause(void **state)
{
	struct vm *vm = open_vm();
	struct host_thread *thread;
	int status;

	(void)state;
	vm_pause(vm);
	thread = host_thread_start(resume_later, vm, "resume");
	assert_int_equal(go(vm, 1000, &status), VM_NONE);
	host_thread_join(thread);
	vm_pause(vm);
	vm_request(vm, VM_QUIT, 0); /* ends a paused machine, too */
	assert_int_equal(go(vm, UINT64_MAX, &status), VM_QUIT);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_reset_parks_all),
		cmocka_unit_test(test_failure_of_one_ends_the_run),
		cmocka_unit_test(test_sleep_and_wake),
		cmocka_unit_test(test_all_halted),
		cmocka_unit_test(test_alarm),
		cmocka_unit_test(test_pause),
	};

	host_order_checked = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
