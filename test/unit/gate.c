/*
 * gate.c - tests of the gate, by threads that play vCPUs: nobody is inside while it is closed,
 * whoever closes it, and nobody waits for ever.
 *
 * SPDX-License-Identifier: MIT
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/order.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define VCPUS  4
#define ROUNDS 20000

static struct engine_ops threaded; /* the fake engine, which does not mind threads */

static struct vm *open_vm(void)
{
	struct vm_config config = { .engine = &threaded, .vcpus = VCPUS };
	struct vm *vm;

	threaded = fake_engine_ops;
	threaded.caps |= ENGINE_THREADS;
	vm = vm_open(&config, NULL);
	assert_non_null(vm);
	assert_true(vm->gate.used);
	return vm;
}

static atomic_uint users;    /* inside, and using what is theirs */
static unsigned shared;      /* changed only while the gate is closed */
static atomic_uint mistakes; /* cmocka's asserts are for one thread */

static void alone(void)
{
	if (atomic_load(&users))
		atomic_fetch_add(&mistakes, 1);
	shared++;
	if (atomic_load(&users))
		atomic_fetch_add(&mistakes, 1);
}

/* A vCPU that is inside most of the time, comes out when it is noticed, and now and then closes. */
static void play(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;

	for (unsigned i = 0; i < ROUNDS; i++) {
		atomic_store(&vcpu->notice, false);
		gate_enter(vcpu);
		atomic_fetch_add(&users, 1);
		for (unsigned n = 0; n < 50 && !atomic_load(&vcpu->notice); n++)
			;
		atomic_fetch_sub(&users, 1);
		if (i % 16 == vcpu->index) {
			gate_close(vm, vcpu);
			gate_close(vm, vcpu); /* once more by the same */
			alone();
			gate_open(vm, vcpu);
			alone();
			gate_open(vm, vcpu);
			if (!atomic_load(&vcpu->inside))
				atomic_fetch_add(&mistakes, 1);
		}
		gate_leave(vcpu);
		if (i % 64 ==
		    vcpu->index) { /* from outside, as a device does, with its lock held */
			host_mutex_lock(vm->lock);
			gate_close(vm, NULL);
			alone();
			gate_open(vm, NULL);
			host_mutex_unlock(vm->lock);
		}
		if (i % 128 == 0) {
			gate_enter(vcpu);
			gate_lock_bus(vcpu);
			gate_unlock_bus(vcpu);
			gate_leave(vcpu);
		}
	}
}

static void test_alone(void **state)
{
	struct host_thread *thread[VCPUS];
	struct vm *vm = open_vm();

	(void)state;
	for (unsigned i = 0; i < VCPUS; i++) {
		thread[i] = host_thread_start(play, vm->vcpu[i], "vcpu");
		assert_non_null(thread[i]);
	}
	for (unsigned i = 0; i < VCPUS; i++)
		host_thread_join(thread[i]);
	assert_int_equal(mistakes, 0);
	assert_int_equal(shared, VCPUS * (2 * (ROUNDS / 16) + (ROUNDS + 63) / 64));
	vm_close(vm);
}

/* vCPUs in turns have none. */
static void test_no_gate(void **state)
{
	struct vm *vm = fake_vm(true);

	(void)state;
	gate_enter(vm->vcpu[0]);
	assert_false(vm->vcpu[0]->inside);
	gate_close(vm, vm->vcpu[0]);
	gate_close(vm, NULL);
	gate_leave(vm->vcpu[0]);
	vm_close(vm);
}

static void test_step_out(void **state)
{
	struct vm *vm = open_vm();
	struct vcpu *vcpu = vm->vcpu[1];

	(void)state;
	assert_false(gate_step_out(vcpu));
	gate_step_back(vcpu, false);
	assert_false(vcpu->inside);
	gate_enter(vcpu);
	assert_true(gate_step_out(vcpu));
	assert_false(vcpu->inside);
	gate_step_back(vcpu, true);
	assert_true(vcpu->inside);
	gate_leave(vcpu);
	vm_close(vm);
}

/* --- the order of locks --- */

static void take_in_order(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpu[0];

	gate_enter(vcpu);
	gate_lock_bus(vcpu);
	gate_step_out(vcpu);
	host_mutex_lock(vm->lock);
	host_mutex_lock(vm->wake_lock);
	gate_close(vm, NULL);
	gate_open(vm, NULL);
	host_mutex_unlock(vm->wake_lock);
	host_mutex_unlock(vm->lock);
	gate_enter(vcpu);
	gate_unlock_bus(vcpu);
	gate_leave(vcpu);
}

static void lock_inside(struct vm *vm)
{
	gate_enter(vm->vcpu[0]);
	host_mutex_lock(vm->lock);
}

static void lock_with_closed_gate(struct vm *vm)
{
	gate_close(vm, NULL);
	host_mutex_lock(vm->wake_lock);
}

static void lock_backwards(struct vm *vm)
{
	host_mutex_lock(vm->wake_lock);
	host_mutex_lock(vm->lock);
}

static void lock_after_the_last(struct vm *vm)
{
	host_mutex_lock(vm->gate.lock);
	host_mutex_lock(vm->wake_lock);
}

static void lock_twice(struct vm *vm)
{
	host_mutex_lock(vm->lock);
	host_mutex_lock(vm->lock);
}

/* The signal that it ends with, in a process of its own; 0: none. */
static int killed_by(void (*what)(struct vm *vm))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		signal(SIGABRT, SIG_DFL);
		alarm(10);
		what(open_vm());
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_order(void **state)
{
	(void)state;
	assert_int_equal(killed_by(take_in_order), 0);
	assert_int_equal(killed_by(lock_inside), SIGABRT);
	assert_int_equal(killed_by(lock_with_closed_gate), SIGABRT);
	assert_int_equal(killed_by(lock_backwards), SIGABRT);
	assert_int_equal(killed_by(lock_after_the_last), SIGABRT);
	assert_int_equal(killed_by(lock_twice), SIGABRT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_no_gate),
		cmocka_unit_test(test_step_out),
		cmocka_unit_test(test_order),
	};

	host_order_checked = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
