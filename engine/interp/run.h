/*
 * run.h - the interpreter's run loop and what it is made of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_RUN_H
#define ENGINE_INTERP_RUN_H

#include "engine/interp/cache.h"

/* engine_ops.run, see machine/engine.h. */
int interp_run(struct vcpu *vcpu, struct exit *exit);
bool interp_can_inject(struct vcpu *vcpu, const struct event *event);

/* No instruction is being executed: current and the count say so. */
void interp_idle(struct interp *c);

/*
 * fetch.c: the block at r[R_RIP], which it truncates to 32 bits outside 64-bit mode.
 * NULL: the fetch faults; c->fault is recorded, RIP is at the instruction.
 */
struct block *fetch_block(struct interp *c);

/* check.c: 0, or -EINVAL and which combination no CPU of the model can be in. */
int interp_check_state(const struct cpu_model *m, const struct x86_state *s, struct fail *why);

#endif
