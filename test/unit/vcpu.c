/*
 * vcpu.c - tests of the run loop and the input gate, on an engine that executes nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <unistd.h>

#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

struct listener {
	struct device dev;
	uint64_t fired_at;
	uint8_t got[64];
	size_t bytes;
	unsigned rings;
};

static void listener_reset(struct device *dev)
{
	((struct listener *)dev)->bytes = 0;
}

static void listener_alarm(struct device *dev, unsigned which, uint64_t now)
{
	assert_int_equal(which, 1);
	((struct listener *)dev)->fired_at = now;
}

static void listener_input(struct device *dev, const void *data, size_t bytes)
{
	struct listener *l = (struct listener *)dev;

	if (!data) {
		l->rings++;
		if (atomic_load(&dev->vm->expected))
			device_expect(dev, -1);
		return;
	}
	memcpy(l->got + l->bytes, data, bytes);
	l->bytes += bytes;
}

static const struct device_ops listener_ops = {
	.type = "listener",
	.reset = listener_reset,
	.alarm = listener_alarm,
	.input = listener_input,
};

static struct listener *add(struct vm *vm)
{
	struct listener *l = host_alloc(sizeof(*l));

	device_add(vm, &l->dev, &listener_ops, "listener0");
	return l;
}

static void test_budget_is_exact(void **state)
{
	struct vm *vm = fake_vm(true);
	struct fail why;
	int status;

	(void)state;
	assert_int_equal(vm_run(vm, 12345, &status, &why), VM_NONE);
	assert_int_equal(*vm->vcpu[0]->retired, 12345);
	vm->stop_at = 20000;
	assert_int_equal(vm_run(vm, UINT64_MAX, &status, &why), VM_STOP_AT);
	assert_int_equal(*vm->vcpu[0]->retired, 20000);
	vm_close(vm);
}

static void test_alarm_fires_at_its_instruction(void **state)
{
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	struct fail why;
	int status;

	(void)state;
	device_alarm(&l->dev, 1, 777);
	assert_int_equal(vm_run(vm, 5000, &status, &why), VM_NONE);
	assert_int_equal(l->fired_at, 777);
	vm_close(vm);
}

static void test_halt_skips_to_the_alarm(void **state)
{
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	struct fail why;
	int status;

	(void)state;
	device_alarm(&l->dev, 1, UINT64_C(3600000000000)); /* an hour: no host time passes */
	vm->vcpu[0]->halted = true;
	/* Nothing wakes the vCPU, so end the run from the alarm's side effect: a request. */
	vm_request(vm, VM_POWEROFF, 7);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_POWEROFF);
	assert_int_equal(status, 7);
	vm_close(vm);
}

static bool routed(void *arg)
{
	(void)arg;
	return true;
}

static void test_halted_for_ever(void **state)
{
	const uint64_t hour = UINT64_C(3600000000000);
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	struct fake *f = vm->vcpu[0]->engine;
	struct fail why;
	int status;

	(void)state;
	vm->halt_ends = true;
	vm->vcpu[0]->halted = true;
	device_alarm(&l->dev, 1, hour);
	f->interruptible = false; /* what the alarm raises is not taken */
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_HALTED);
	assert_int_equal(l->fired_at, 0);
	vm->irq.nmi_routed = routed; /* now it may be; but after it nothing more comes */
	vm_input_ended(vm);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_HALTED);
	assert_int_equal(l->fired_at, hour);
	/* Posted before the input ended: it is looked at first. */
	assert_int_equal(device_post(&l->dev, "a", 1), 0);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_HALTED);
	assert_int_equal(l->bytes, 1);
	vm_close(vm);
}

static void test_posted_input_arrives_in_order(void **state)
{
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	struct fail why;
	int status;

	(void)state;
	assert_int_equal(device_post(&l->dev, "ab", 2), 0);
	assert_int_equal(device_post(&l->dev, "c", 1), 0);
	assert_int_equal(l->bytes, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_NONE);
	assert_int_equal(l->bytes, 3);
	assert_memory_equal(l->got, "abc", 3);
	vm_close(vm);
}

static atomic_bool slept;

/* A backend's thread: rings when the guest sleeps. */
static void ring_when_asleep(void *arg)
{
	struct device *dev = arg;

	while (!atomic_load(&slept)) {
		if (atomic_load(&dev->vm->vcpu[0]->sleeping)) {
			atomic_store(&slept, true);
			device_ring(dev);
		}
	}
}

/* Rings are never refused, several before one is taken are one, and a guest that sleeps for one
 * does not sleep for ever. */
static void test_rings(void **state)
{
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	struct host_thread *thread;
	struct fail why;
	int status;

	(void)state;
	device_ring(&l->dev);
	device_ring(&l->dev);
	assert_int_equal(l->rings, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_NONE);
	assert_int_equal(l->rings, 1);
	vm->halt_ends = true;
	vm->vcpu[0]->halted = true;
	vm_input_ended(vm);
	device_expect(&l->dev, +1);
	atomic_store(&slept, false);
	thread = host_thread_start(ring_when_asleep, &l->dev, "ring");
	assert_non_null(thread);
	assert_int_equal(vm_run(vm, 10, &status, &why), VM_HALTED);
	assert_true(atomic_exchange(&slept, true));
	host_thread_join(thread);
	assert_int_equal(l->rings, 2);
	vm_close(vm);
}

static void test_posting_is_bounded(void **state)
{
	static uint8_t big[70000];
	struct vm *vm = fake_vm(true);
	struct listener *l = add(vm);
	unsigned n = 0;

	(void)state;
	assert_int_equal(device_post(&l->dev, big, sizeof(big)), -EINVAL);
	while (device_post(&l->dev, big, 4096) == 0)
		assert_true(++n < 10000);
	assert_true(n > 4);
	vm_close(vm);
}

static int pending_vector = -1;

static int test_pending(void *arg)
{
	(void)arg;
	return pending_vector;
}

static int test_acknowledge(void *arg)
{
	int v = pending_vector;

	(void)arg;
	pending_vector = -1;
	return v;
}

static void test_interrupt_waits_for_its_window(void **state)
{
	static const struct intc_ops intc = { .pending = test_pending,
					      .acknowledge = test_acknowledge };
	struct vm *vm = fake_vm(true);
	struct fake *f = vm->vcpu[0]->engine;
	struct fail why;
	int status;

	(void)state;
	vm->vcpu[0]->intc = &intc;
	f->interruptible = false;
	pending_vector = 0x41;
	vm_run(vm, 1, &status, &why);
	assert_int_equal(f->injected, -1);
	assert_true(vm->vcpu[0]->want_window);
	f->interruptible = true;
	vm_run(vm, 1, &status, &why);
	assert_int_equal(f->injected, 0x41);
	vm_run(vm, 1, &status, &why);
	assert_false(vm->vcpu[0]->want_window);
	vm_close(vm);
}

static void test_first_request_wins(void **state)
{
	struct vm *vm = fake_vm(true);
	struct fail why;
	int status;

	(void)state;
	vm_request(vm, VM_DEBUG_EXIT, 3);
	vm_request(vm, VM_POWEROFF, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_DEBUG_EXIT);
	assert_int_equal(status, 3);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_NONE);
	vm_close(vm);
}

static int restarts, restart_error;

static int booted(void *arg, struct fail *why)
{
	/* The guest's first act is to ask for the next reset: only the outside can end this. */
	if (!restart_error && ++restarts < 100)
		vm_request(arg, VM_RESET, 0);
	return restart_error ? fail(why, restart_error, "kernel: gone") : 0;
}

static void test_quit_wins_over_a_restart(void **state)
{
	struct vm *vm = fake_vm(true);
	struct fail why;
	int status;

	(void)state;
	restarts = restart_error = 0;
	vm->booted = booted;
	vm->booted_arg = vm;
	vm_request(vm, VM_RESET, 0);
	vm_request(vm, VM_QUIT, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_QUIT);
	assert_int_equal(restarts, 0);
	/* What ends the run anyway is not taken back. */
	vm->no_reboot = true;
	vm_request(vm, VM_CRASHED, 0);
	vm_request(vm, VM_QUIT, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_CRASHED);
	vm_close(vm);
}

struct pause {
	struct vm *vm;
	struct device *dev;
	_Atomic int resumed;
};

static void resume_twice(void *arg)
{
	struct pause *p = arg;

	device_post(p->dev, "x", 1);
	vm_resume(p->vm);
	usleep(20000);
	atomic_store(&p->resumed, 1);
	vm_resume(p->vm);
}

/* As often resumed as paused, and no input taken before; and a request ends it anyway. */
static void test_pause(void **state)
{
	struct pause p = { .vm = fake_vm(true) };
	struct listener *l = add(p.vm);
	struct host_thread *thread;
	struct fail why;
	int status;

	(void)state;
	p.dev = &l->dev;
	vm_pause(p.vm);
	vm_pause(p.vm);
	thread = host_thread_start(resume_twice, &p, "resume");
	assert_int_equal(vm_run(p.vm, 100, &status, &why), VM_NONE);
	assert_int_equal(atomic_load(&p.resumed), 1);
	assert_int_equal(l->bytes, 1);
	host_thread_join(thread);
	vm_resume(p.vm); /* once too often: nothing */
	vm_pause(p.vm);
	vm_request(p.vm, VM_QUIT, 0);
	assert_int_equal(vm_run(p.vm, 100, &status, &why), VM_QUIT);
	vm_close(p.vm);
}

static void test_failed_restart_is_the_host_s_failure(void **state)
{
	struct vm *vm = fake_vm(true);
	struct fail why;
	int status = 0;

	(void)state;
	restart_error = -ENOENT;
	vm->booted = booted;
	vm->booted_arg = vm;
	vm_request(vm, VM_RESET, 0);
	assert_int_equal(vm_run(vm, 1, &status, &why), VM_STUCK);
	assert_int_equal(status, -ENOENT);
	assert_string_equal(why.text, "kernel: gone");
	vm_close(vm);
}

static unsigned closed;

static int no_vcpu(struct vcpu *vcpu, struct fail *why)
{
	(void)vcpu;
	return fail(why, -ENOMEM, "no");
}

static void count_close(struct vm *vm)
{
	(void)vm;
	closed++;
}

static void test_what_was_opened_is_closed(void **state)
{
	struct engine_ops engine = fake_engine_ops;
	struct vm_config config = { .engine = &engine, .vcpus = 1 };
	struct fail why;

	(void)state;
	engine.vcpu_open = no_vcpu;
	engine.vm_close = count_close;
	assert_null(vm_open(&config, &why));
	assert_int_equal(closed, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget_is_exact),
		cmocka_unit_test(test_alarm_fires_at_its_instruction),
		cmocka_unit_test(test_halt_skips_to_the_alarm),
		cmocka_unit_test(test_halted_for_ever),
		cmocka_unit_test(test_posted_input_arrives_in_order),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_posting_is_bounded),
		cmocka_unit_test(test_interrupt_waits_for_its_window),
		cmocka_unit_test(test_first_request_wins),
		cmocka_unit_test(test_quit_wins_over_a_restart),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_failed_restart_is_the_host_s_failure),
		cmocka_unit_test(test_what_was_opened_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
