/*
 * switch.h - changing the engine of a running machine.
 *
 * A switch takes place between two turns of the run loop, with every vCPU parked: the new
 * engine is opened beside the old one and given memory and state; only when all of that has
 * worked is the old one closed. Otherwise the machine goes on as it was.
 *
 * Tested by test/unit/engine_switch.c, test/guest/counted.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_SWITCH_H
#define MACHINE_SWITCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/clock.h"

struct vm;
struct engine_ops;

/* A switch planned for an instruction, or for a virtual time. */
struct switch_point {
	const struct engine_ops *to;
	uint64_t instruction; /* retired instructions; UINT64_MAX: by time */
	uint64_t time_ns;
};

/* Which engine with all of `caps` comes after `now`? NULL: there is no other. vCPU thread. */
typedef const struct engine_ops *(*switch_choice)(const struct engine_ops *now, unsigned caps);

struct switches {
	const struct switch_point *points; /* borrowed; in the order in which they are reached */
	unsigned count, next;
	struct alarm alarm;           /* for a point by time */
	_Atomic(switch_choice) asked; /* by vm_ask_switch() */
	uint64_t done;                /* switches so far */
};

/*
 * Moves the machine to engine `to` now. vCPUs parked: not while vm_run() is on the stack.
 * -E* and *why: it goes on with the old engine, or ends there in its next run, if that one cannot
 * tell the machine's state any more. -EINVAL: a counted machine, and an engine that does not count.
 */
int vm_switch(struct vm *vm, const struct engine_ops *to, struct fail *why);

/* The points, each reached in turn by vm_run(); the array outlives the machine. vCPUs parked. */
void vm_plan_switches(struct vm *vm, const struct switch_point *points, unsigned count);

/* Asks a running machine to change engines soon; what comes of it is told on standard error. Any
 * thread. */
void vm_ask_switch(struct vm *vm, switch_choice choice);

/* For the run loop: retired instructions at which the next planned switch is due. */
uint64_t switch_due(const struct vm *vm);
/* For the run loop: is a switch due, or asked for? */
bool switch_wanted(struct vm *vm);
/* For the run loop: does what is due or was asked for. 0, or -E*: a planned switch was refused. */
int switch_take(struct vm *vm, struct fail *why);

#endif
