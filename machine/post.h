/*
 * post.h - outside input on its way to a device: the input half of the gate.
 *
 * Any thread posts; the vCPU thread takes, at an instruction boundary and with
 * the device lock held. The queue is bounded: a poster that is told -ENOSPC
 * keeps its data and tries again when the guest has drained some.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_POST_H
#define MACHINE_POST_H

#include <stddef.h>

struct vm;
struct posted;

struct posted *posted_new(void);
void posted_free(struct posted *p);
/* Gives everything posted so far to the devices' input entries. vCPU thread, lock not held. */
void posted_take(struct vm *vm);
void posted_take_locked(struct vm *vm); /* device lock held */

#endif
