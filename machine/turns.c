/*
 * turns.c - several vCPUs on one host thread (see turns.h).
 *
 * The clock counts by the counter of whoever's turn it is, and goes on from the same time by
 * another when the turn passes: that is all it takes to make one time of several counts.
 *
 * Tested by test/unit/turns.c, test/unit/spinlock.c, test/guest/smp.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/turns.h"

#include "machine/vm.h"

unsigned vm_turn(const struct vm *vm)
{
	return atomic_load_explicit(&vm->turns.now, memory_order_relaxed);
}

void turns_set(struct vm *vm, unsigned index, uint64_t left, unsigned aside)
{
	atomic_store(&vm->turns.now, index);
	vm->turns.left = left;
	vm->turns.after = (index + 1 + aside) % vm->vcpus;
	vm->turns.named = -1;
	if (vm->clock.instructions)
		clock_count(&vm->clock, vm->vcpu[index]->retired);
}

void turns_reset(struct vm *vm)
{
	turns_set(vm, 0, vm->slice, 0);
}

unsigned turns_aside(const struct vm *vm)
{
	return (vm->turns.after + 2 * vm->vcpus - vm_turn(vm) - 1) % vm->vcpus;
}

void turns_count(struct vm *vm, uint64_t instructions)
{
	struct turns *t = &vm->turns;

	if (vm->vcpus == 1)
		return;
	t->left -= instructions < t->left ? instructions : t->left;
	if (t->left == 0)
		turns_pass(vm);
}

void turns_give_up(struct vm *vm)
{
	vm->turns.left = 0;
}

void turns_give_to(struct vm *vm, unsigned index)
{
	turns_give_up(vm);
	if (turns_aside(vm) == 0)
		vm->turns.named = (int)index;
}

static bool may_run(const struct vcpu *vcpu)
{
	return (!vcpu->halted && !vcpu->wait_sipi) || atomic_load(&vcpu->notice);
}

static void pass_to(struct vm *vm, unsigned next, unsigned aside)
{
	unsigned now = vm_turn(vm);

	if (next != now)
		steal_leave(vm->vcpu[now]);
	turns_set(vm, next, vm->slice, aside);
}

bool turns_pass(struct vm *vm)
{
	unsigned after = vm->turns.after;

	if (vm->turns.named >= 0 && may_run(vm->vcpu[vm->turns.named])) {
		unsigned next = (unsigned)vm->turns.named;

		pass_to(vm, next, next == after ? 0 : (after + vm->vcpus - next - 1) % vm->vcpus);
		return true;
	}
	for (unsigned i = 0; i < vm->vcpus; i++) {
		unsigned next = (after + i) % vm->vcpus;

		if (may_run(vm->vcpu[next])) {
			pass_to(vm, next, 0);
			return true;
		}
	}
	return false;
}

/* So many PAUSEs are worth a look whether another thread wants the processor. */
#define PAUSES 32

bool vcpu_pauses(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool inside;

	if (!vm->crew.used) {
		turns_give_up(vm);
		atomic_store(&vcpu->notice, true);
		return true;
	}
	if (++vcpu->pauses % PAUSES == 0) {
		inside = gate_step_out(vcpu);
		host_yield();
		gate_step_back(vcpu, inside);
	}
	return false;
}
