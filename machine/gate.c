/*
 * gate.c - one vCPU alone, for a moment (see gate.h).
 *
 * Two flags that are set and then looked at the other way round: a vCPU sets `inside` and looks at
 * `closed`, who closes sets `closed` and looks at `inside`. One of the two sees the other.
 *
 * Tested by test/unit/gate.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/gate.h"

#include <errno.h>

#include "host/order.h"
#include "machine/vm.h"

int gate_open_up(struct vm *vm)
{
	struct vcpu_gate *g = &vm->gate;

	g->lock = host_mutex_new();
	g->moved = host_cond_new();
	g->bus = host_mutex_in_order(ORDER_BUS);
	g->used = g->lock && g->moved && g->bus;
	return g->used ? 0 : -ENOMEM;
}

void gate_take_down(struct vm *vm)
{
	host_mutex_free(vm->gate.bus);
	host_cond_free(vm->gate.moved);
	host_mutex_free(vm->gate.lock);
}

static void tell(struct vcpu_gate *g)
{
	host_mutex_lock(g->lock);
	host_cond_broadcast(g->moved);
	host_mutex_unlock(g->lock);
}

void gate_enter(struct vcpu *vcpu)
{
	struct vcpu_gate *g = &vcpu->vm->gate;

	if (!g->used)
		return;
	host_order_begin(ORDER_INSIDE);
	for (;;) {
		atomic_store(&vcpu->inside, true);
		if (!atomic_load(&g->closed))
			break;
		atomic_store(&vcpu->inside, false);
		host_mutex_lock(g->lock);
		host_cond_broadcast(g->moved);
		while (atomic_load(&g->closed))
			host_cond_wait(g->moved, g->lock, UINT64_MAX);
		host_mutex_unlock(g->lock);
	}
	/* Who closed it may have changed code that this thread is going to execute. */
	if (vcpu->gate_seen != atomic_load(&g->closings)) {
		vcpu->gate_seen = atomic_load(&g->closings);
		host_serialize();
	}
}

void gate_leave(struct vcpu *vcpu)
{
	struct vcpu_gate *g = &vcpu->vm->gate;

	if (!g->used)
		return;
	atomic_store(&vcpu->inside, false);
	if (atomic_load(&g->closed))
		tell(g);
	host_order_end(ORDER_INSIDE);
}

bool gate_step_out(struct vcpu *vcpu)
{
	bool inside = atomic_load_explicit(&vcpu->inside, memory_order_relaxed);

	if (inside)
		gate_leave(vcpu);
	return inside;
}

void gate_step_back(struct vcpu *vcpu, bool was_inside)
{
	if (was_inside)
		gate_enter(vcpu);
}

static bool somebody_inside(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		if (atomic_load(&vm->vcpu[i]->inside))
			return true;
	return false;
}

void gate_close(struct vm *vm, struct vcpu *self)
{
	struct vcpu_gate *g = &vm->gate;

	if (!g->used)
		return;
	if (self && atomic_load(&g->owner) == self) {
		g->depth++;
		return;
	}
	if (self)
		gate_leave(self);
	host_order_begin(ORDER_GATE);
	host_mutex_lock(g->lock);
	while (g->taken)
		host_cond_wait(g->moved, g->lock, UINT64_MAX);
	g->taken = true;
	atomic_store(&g->closed, true);
	for (unsigned i = 0; i < vm->vcpus; i++)
		atomic_store(&vm->vcpu[i]->notice, true);
	while (somebody_inside(vm))
		host_cond_wait(g->moved, g->lock, UINT64_MAX);
	atomic_store(&g->owner, self);
	atomic_fetch_add(&g->closings, 1);
	g->depth = 0;
	host_mutex_unlock(g->lock);
}

void gate_open(struct vm *vm, struct vcpu *self)
{
	struct vcpu_gate *g = &vm->gate;

	if (!g->used)
		return;
	if (self && g->depth > 0) {
		g->depth--;
		return;
	}
	host_mutex_lock(g->lock);
	atomic_store(&g->owner, NULL);
	g->taken = false;
	atomic_store(&g->closed, false);
	host_cond_broadcast(g->moved);
	host_mutex_unlock(g->lock);
	host_order_end(ORDER_GATE);
	if (self)
		gate_enter(self);
}

void gate_lock_bus(struct vcpu *vcpu)
{
	gate_leave(vcpu);
	host_mutex_lock(vcpu->vm->gate.bus);
	gate_enter(vcpu);
}

void gate_unlock_bus(struct vcpu *vcpu)
{
	host_mutex_unlock(vcpu->vm->gate.bus);
}
