/*
 * bells.h - writes that only say "look", heard without leaving the guest.
 *
 * A driver tells a virtio device of new buffers by a write whose place says everything. An engine
 * that can (struct engine_ops, bell) lets the guest go on and rings instead, and the machine's bell
 * thread then makes the write on the bus: the device sees the same write, a little later, on
 * another thread, with the device lock held as ever.
 *
 * The same thread takes what backends post, while the engine delivers messages to the guest's local
 * APICs by itself (vm->hands_free): then a finished request interrupts the guest without its vCPU
 * coming out.
 *
 * Never in a counted machine. Before anybody looks at the machine's state what was rung has been
 * heard: bells_rest().
 *
 * Tested by test/unit/bells.c, test/rig/bells.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_BELLS_H
#define MACHINE_BELLS_H

#include <stdbool.h>

#include "cpu/addr.h"
#include "host/fail.h"

struct vm;
struct bells;

#define BELLS_MOST 128

/* A write of any size to memory at `at` is one that only says "look": on the bus it is made with
 * two zero bytes. Again with on == false before the place means something else. Device lock held.
 * Where that cannot be, nothing changes: such writes leave the guest like others. */
void bells_place(struct vm *vm, gpa_t at, bool on);

/* For the run loop and vm.c. The vCPU runs, or what it rang is heard now and nothing more. */
void bells_run(struct vm *vm);
void bells_rest(struct vm *vm);
/* To an engine that was opened for a machine that has bells, and before one is closed. */
void bells_attach(struct vm *vm);
void bells_detach(struct vm *vm);
/* The thread ends, while there are devices; the rest goes when nobody posts any more. */
void bells_stop(struct vm *vm);
void bells_free(struct vm *vm);
/* Something was posted: true: the bell thread will take it. Any thread. */
bool bells_posted(struct vm *vm);

#endif
