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

/* Executes a block from its first instruction on, until one says other than STEP_NEXT. */
enum step interp_run_block(struct interp *c, const struct block *b);

/* No instruction is being executed: current and the count say so. */
void interp_idle(struct interp *c);

/* Delivers c->fault; RIP and s.instructions are those of the instruction. false: the run loop has
 * to see to something else, too, before the handler runs: STEP_AGAIN. */
bool interp_take_fault(struct interp *c);

/* fetch.c: fetch_block() when its first look finds nothing that will do. */
struct block *fetch_slow(struct interp *c, uint64_t rip, uint64_t linear);

/* The usual way in 64-bit and flat 32-bit code, or NULL. */
static inline struct block *fetch_recent(struct interp *c)
{
	uint8_t *host;

	if (UNLIKELY(c->code_bits != 64)) {
		if (!c->flat32)
			return NULL;
		c->r[R_RIP] = (uint32_t)c->r[R_RIP];
	}
	host = tlb_hit(&c->tlb, c->r[R_RIP], 1, ACCESS_EXEC);
	return LIKELY(host != NULL) ? cache_recent(c->cache, host, c->mode) : NULL;
}

/*
 * The block at r[R_RIP], which it truncates to 32 bits outside 64-bit mode.
 * NULL: the fetch faults; c->fault is recorded, RIP is at the instruction.
 */
static inline struct block *fetch_block(struct interp *c)
{
	uint64_t rip = c->r[R_RIP], linear = rip;
	struct block *b = NULL;
	uint8_t *host;

	if (UNLIKELY(c->code_bits != 64)) {
		rip = c->r[R_RIP] = (uint32_t)rip;
		linear = (uint32_t)(rip + c->s.seg[CS].base);
	}
	host = tlb_hit(&c->tlb, linear, 1, ACCESS_EXEC);
	if (LIKELY(host != NULL))
		b = cache_recent(c->cache, host, c->mode);
	if (UNLIKELY(!b))
		return fetch_slow(c, rip, linear);
	if (UNLIKELY(c->code_bits != 64) && rip + b->bytes - 1 > c->s.seg[CS].limit)
		return fetch_slow(c, rip, linear);
	return b;
}

#endif
