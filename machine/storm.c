/*
 * storm.c - what the machine does about a storm (see storm.h).
 *
 * Tested by test/unit/storm.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/storm.h"

#include "machine/vm.h"

uint64_t storm_events(const struct vcpu *vcpu)
{
	return vcpu->storm.at == *vcpu->retired ? vcpu->storm.events : 0;
}

void storm_set(struct vcpu *vcpu, uint64_t events)
{
	vcpu->storm.at = *vcpu->retired;
	vcpu->storm.events = events;
	vcpu->storm.due = false;
	atomic_store(&vcpu->storm.on, events >= STORM_EVENTS);
}

/* For ever, that is; `quiet`: no alarm and nothing else from outside comes. wake_lock held if each
 * has a thread of its own. */
static bool idles(struct vcpu *vcpu, bool quiet)
{
	if (atomic_load(&vcpu->notice)) /* a SIPI, it may be */
		return false;
	if (vcpu->vm->crew.used)
		return atomic_load(&vcpu->sleeping) && (quiet || vcpu->deaf);
	return (vcpu->halted || vcpu->wait_sipi) && (quiet || vcpu_deaf(vcpu));
}

/* On threads of their own others may have come out of theirs since they last looked. */
static void ask_again(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < vcpu->vm->vcpus; i++)
		if (i != vcpu->index)
			atomic_store(&vcpu->vm->vcpu[i]->storm.on, false);
}

static bool all_stuck(const struct vm *vm)
{
	bool quiet = vm_quiet(vm);

	for (unsigned i = 0; i < vm->vcpus; i++)
		if (!atomic_load(&vm->vcpu[i]->storm.on) && !idles(vm->vcpu[i], quiet))
			return false;
	return true;
}

static bool nobody_gets_on(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool stuck;

	if (!vm->crew.used)
		return all_stuck(vm);
	if (vcpu->storm.events == STORM_EVENTS)
		ask_again(vcpu);
	host_mutex_lock(vm->wake_lock);
	stuck = all_stuck(vm);
	host_mutex_unlock(vm->wake_lock);
	return stuck;
}

uint64_t storm_look(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool on = storm_events(vcpu) >= STORM_EVENTS;

	if (on != atomic_load_explicit(&vcpu->storm.on, memory_order_relaxed))
		atomic_store(&vcpu->storm.on, on);
	if (!vcpu->storm.due)
		return 0;
	vcpu->storm.due = false;
	clock_skip_to(&vm->clock, clock_now(&vm->clock) + STORM_EVENTS);
	if (vm->storm_ends && nobody_gets_on(vcpu))
		vm_request(vm, VM_STORM, 0);
	return STORM_EVENTS;
}
