/*
 * pause.c - a machine stands still until its user has put something right (see vm.h).
 *
 * Pauses are counted: two disks that are full are two reasons, and both have to go. The run loop
 * looks before it takes input, so what arrives meanwhile waits where it was posted.
 *
 * Tested by test/unit/vcpu.c and test/guest/enospc.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/kvmclock.h"
#include "machine/vm.h"

void vm_pause(struct vm *vm)
{
	host_mutex_lock(vm->wake_lock);
	atomic_fetch_add(&vm->pauses, 1);
	host_mutex_unlock(vm->wake_lock);
	for (unsigned i = 0; i < vm->vcpus; i++)
		vm_wake(vm, i);
}

void vm_resume(struct vm *vm)
{
	host_mutex_lock(vm->wake_lock);
	if (atomic_load(&vm->pauses))
		atomic_fetch_sub(&vm->pauses, 1);
	atomic_store(&vm->stood_still, true);
	host_cond_broadcast(vm->resumed);
	host_mutex_unlock(vm->wake_lock);
}

void vm_stood_still(struct vm *vm)
{
	atomic_store(&vm->stood_still, true);
	vm_wake(vm, 0);
}

/* A counted machine's time stood, too: there is nothing to tell. */
static void tell_guest(struct vm *vm)
{
	if (!atomic_exchange(&vm->stood_still, false) || vm->clock.source == CLOCK_SOURCE_COUNTED)
		return;
	host_mutex_lock(vm->lock);
	for (unsigned i = 0; i < vm->vcpus; i++)
		kvmclock_stopped(vm->vcpu[i]);
	host_mutex_unlock(vm->lock);
}

void vm_wait_resumed(struct vm *vm)
{
	if (atomic_load(&vm->pauses)) {
		host_mutex_lock(vm->wake_lock);
		while (atomic_load(&vm->pauses) && atomic_load(&vm->request) == VM_NONE &&
		       !atomic_load(&vm->crew.parking))
			host_cond_wait(vm->resumed, vm->wake_lock, UINT64_MAX);
		host_mutex_unlock(vm->wake_lock);
	}
	if (atomic_load(&vm->stood_still))
		tell_guest(vm);
}
