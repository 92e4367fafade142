/*
 * turns.h - several vCPUs on one host thread: who runs now, and for how long.
 *
 * Round robin in turns of vm->slice retired instructions. A vCPU that halts, or waits for a SIPI,
 * gives up what is left of its turn, and is passed over until something may have woken it.
 * Whose turn it is depends on nothing but retired instructions, events that count as
 * some (machine/storm.h) and the guest's own doing, and is saved with the machine: so two counted
 * runs are the same.
 *
 * A vCPU may name who comes next: who it waits for. That is a turn between two of the round, which
 * then goes on behind who gave it; and in it no other turn is given away by name. So the round
 * comes to everybody, whoever gives turns to whom.
 *
 * Counted time is one for the machine: a nanosecond for each instruction that any vCPU retires,
 * as if one processor were shared by all. So no vCPU ever sees another's time-stamp counter ahead
 * of its own.
 *
 * A machine with one vCPU always has its turn.
 *
 * Tested by test/unit/turns.c, test/unit/spinlock.c, test/guest/smp.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_TURNS_H
#define MACHINE_TURNS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct vcpu;

struct turns {
	atomic_uint now; /* index of the vCPU whose turn it is */
	uint64_t left;   /* instructions that are left of it */
	unsigned after;  /* who comes next, and those behind it */
	int named;       /* who comes before them; below 0: nobody */
};

/* vCPU 0's, as after power-on. */
void turns_reset(struct vm *vm);
/* The turn is that of vCPU `index`, for `left` instructions: a loaded machine's. Then of who is
 * `aside` places behind the one that follows it. */
void turns_set(struct vm *vm, unsigned index, uint64_t left, unsigned aside);
unsigned turns_aside(const struct vm *vm);
/* It has retired as many. */
void turns_count(struct vm *vm, uint64_t instructions);
/* Nothing is left of it once the vCPU comes out of the engine. */
void turns_give_up(struct vm *vm);
/* The same, and vCPU `index` comes next if it can run, and if this turn was not given by name. */
void turns_give_to(struct vm *vm, unsigned index);
/* To the next vCPU that runs, or may have been woken; it may be the same. false: there is none. */
bool turns_pass(struct vm *vm);

/* Index of the vCPU whose turn it is. Any thread. */
unsigned vm_turn(const struct vm *vm);

#endif
