/*
 * gate.h - when vCPUs run on several threads: one of them alone, for a moment.
 *
 * A software engine keeps a TLB and decoded code for each vCPU, and some things that one vCPU does
 * change those of the others: code is written that another has decoded, a page becomes
 * watched that another may write. And a locked access that no instruction of the host can do in one
 * piece needs the others to stand still.
 *
 * The idea: a vCPU is INSIDE while it uses its own caches, that is while its engine runs, and
 * OUTSIDE else: in the run loop, asleep, in an exit, waiting for a lock. Who closes the gate waits
 * until nobody is inside; then, until it opens the gate, everybody's caches are its to change.
 * vCPUs inside come out at their next instruction boundary, because closing sets their
 * notice. So there are no locks on the way of an instruction.
 *
 * Order (host/order.h, which checks it): the bus, of a locked access to a device; then the device
 * lock and what comes after it; then the gate. Who waits for one of those locks, or for anything
 * else, is outside; who has closed the gate takes none of them. All other locks come last, the
 * gate's own and that of the thread that takes memory ahead (host/linux/ahead.c), too: they may be
 * taken anywhere, and who has one takes none.
 *
 * A machine whose vCPUs share one thread has no gate: all of this does nothing.
 *
 * Tested by test/unit/gate.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_GATE_H
#define MACHINE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

struct host_cond;
struct host_mutex;
struct vm;
struct vcpu;

struct vcpu_gate {
	bool used; /* else there is none */
	struct host_mutex *lock;
	struct host_cond *moved;
	struct host_mutex *bus;
	atomic_bool closed; /* or somebody waits to close it */
	bool taken;         /* by somebody who has closed it, or waits for the others to come out */
	_Atomic(struct vcpu *) owner; /* who has closed it while inside, and how often */
	unsigned depth;
	atomic_ullong closings;
};

int gate_open_up(struct vm *vm); /* -ENOMEM. Once, vCPUs parked */
void gate_take_down(struct vm *vm);

/* vCPU's own thread. enter() waits while the gate is closed. */
void gate_enter(struct vcpu *vcpu);
void gate_leave(struct vcpu *vcpu);
/* From a place that may be either: before it waits for a lock. Returns what
 * gate_step_back() is told. */
bool gate_step_out(struct vcpu *vcpu);
void gate_step_back(struct vcpu *vcpu, bool was_inside);

/*
 * `self`: the vCPU on whose thread this is, which is inside; NULL: the thread is outside. Only a
 * vCPU that is inside may close the gate again that it has closed. What self had looked up in its
 * caches before gate_close() may be gone.
 */
void gate_close(struct vm *vm, struct vcpu *self);
void gate_open(struct vm *vm, struct vcpu *self);

/* Another locked access to a device waits until this one is over. vCPU inside; no lock held. */
void gate_lock_bus(struct vcpu *vcpu);
void gate_unlock_bus(struct vcpu *vcpu);

#endif
