/*
 * crew.c - a thread of the host for each vCPU (see crew.h).
 *
 * A vCPU's thread does one round of the run loop after the other. Between two rounds it looks
 * whether it shall park; who wants that sets the flag, wakes everybody and waits for the count.
 *
 * Tested by test/unit/crew.c, test/guest/smp.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/crew.h"

#include <errno.h>
#include <stdio.h>

#include "machine/vm.h"

int crew_open(struct vm *vm)
{
	vm->crew.moved = host_cond_new();
	vm->crew.used = vm->crew.moved != NULL;
	return vm->crew.used ? gate_open_up(vm) : -ENOMEM;
}

void crew_close(struct vm *vm)
{
	gate_take_down(vm);
	host_cond_free(vm->crew.moved);
}

/* Waits as long as it shall be parked. false: the thread ends. */
static bool park(struct vm *vm)
{
	struct crew *crew = &vm->crew;
	bool go;

	host_mutex_lock(vm->wake_lock);
	crew->parked++;
	host_cond_broadcast(crew->moved);
	while (atomic_load(&crew->parking) && !crew->ending)
		host_cond_wait(crew->moved, vm->wake_lock, UINT64_MAX);
	go = !crew->ending;
	crew->parked -= go;
	host_mutex_unlock(vm->wake_lock);
	return go;
}

/* Parked until the run loop has seen it. */
static void fail_run(struct vcpu *vcpu, int err)
{
	if (!vcpu->trouble.code)
		fail(&vcpu->trouble, err, "vCPU %u", vcpu->index);
	atomic_store(&vcpu->vm->blamed, vcpu->index);
	vm_request(vcpu->vm, VM_STUCK, err);
}

static void work(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;

	for (;;) {
		bool parking = atomic_load(&vm->crew.parking);
		/* Who parks has finished its instruction, on its own thread. */
		int err = parking ? vcpu_settle(vcpu) : vcpu_round(vcpu, UINT64_MAX);

		if (err)
			fail_run(vcpu, err);
		if (parking && !park(vm))
			return;
	}
}

static void wait_parked(struct vm *vm)
{
	for (unsigned i = 1; i < vm->vcpus; i++)
		vm_wake(vm, i);
	host_mutex_lock(vm->wake_lock);
	host_cond_broadcast(vm->resumed); /* who is paused looks, too */
	while (vm->crew.parked < vm->crew.count)
		host_cond_wait(vm->crew.moved, vm->wake_lock, UINT64_MAX);
	host_mutex_unlock(vm->wake_lock);
}

void crew_park(struct vm *vm)
{
	if (!vm->crew.used)
		return;
	atomic_store(&vm->crew.parking, true);
	wait_parked(vm);
}

void crew_go(struct vm *vm)
{
	if (!vm->crew.used)
		return;
	host_mutex_lock(vm->wake_lock);
	/* A request that came meanwhile parks them again. */
	atomic_store(&vm->crew.parking, atomic_load(&vm->request) != VM_NONE);
	host_cond_broadcast(vm->crew.moved);
	host_mutex_unlock(vm->wake_lock);
}

void crew_stop(struct vm *vm)
{
	if (!vm->crew.used)
		return;
	crew_park(vm);
	host_mutex_lock(vm->wake_lock);
	vm->crew.ending = true;
	host_cond_broadcast(vm->crew.moved);
	host_mutex_unlock(vm->wake_lock);
	for (unsigned i = 1; i < vm->vcpus; i++) {
		host_thread_join(vm->vcpu[i]->thread);
		vm->vcpu[i]->thread = NULL;
	}
	vm->crew.ending = false;
	vm->crew.parked = vm->crew.count = 0;
}

int crew_start(struct vm *vm, struct fail *why)
{
	struct crew *crew = &vm->crew;
	char name[16];

	if (!crew->used)
		return 0;
	atomic_store(&crew->parking, true);
	for (unsigned i = 0; i < vm->vcpus; i++)
		vm->vcpu[i]->steal_looked = 0; /* by another thread than now */
	for (unsigned i = 1; i < vm->vcpus; i++) {
		snprintf(name, sizeof(name), "vcpu %u", i);
		vm->vcpu[i]->thread = host_thread_start(work, vm->vcpu[i], name);
		if (!vm->vcpu[i]->thread)
			break;
		crew->count++;
	}
	if (crew->count == vm->vcpus - 1) {
		crew_go(vm);
		return 0;
	}
	crew_stop(vm);
	return fail(why, -EAGAIN, "the host has no thread for vCPU %u", crew->count + 1);
}
