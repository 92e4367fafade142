/*
 * crew.h - a thread of the host for each vCPU.
 *
 * vCPU 0 runs on the thread that called vm_run(), which also does what is the machine's affair: a
 * reset, a change of engines, the end. For that it parks the others: each has
 * then left the engine, between two instructions, and its state may be asked for and changed.
 * The other threads live as long as vm_run() does.
 *
 * A machine that counts, or whose engine cannot run on several threads, has no crew: its vCPUs
 * take turns (machine/turns.h).
 *
 * Tested by test/unit/crew.c, test/guest/smp.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_CREW_H
#define MACHINE_CREW_H

#include <stdatomic.h>
#include <stdbool.h>

#include "host/fail.h"

struct host_cond;
struct host_thread;
struct vm;
struct vcpu;

/* Everything but `parking` is changed with vm->wake_lock held. */
struct crew {
	bool used;           /* vCPUs have threads of their own: as long as the machine lives */
	unsigned count;      /* threads besides that of vCPU 0 */
	unsigned parked;     /* of them */
	atomic_bool parking; /* they shall, or a request waits */
	bool ending;         /* they shall end */
	struct host_cond *moved;
};

/* Set-up and end of a machine that uses it. -ENOMEM */
int crew_open(struct vm *vm);
void crew_close(struct vm *vm);

/* On the thread that called vm_run(). All vCPUs but 0 are parked before start() and after stop().
 */
int crew_start(struct vm *vm, struct fail *why);
void crew_stop(struct vm *vm);
/* Parks all vCPUs but 0, and lets them go again. */
void crew_park(struct vm *vm);
void crew_go(struct vm *vm);

#endif
