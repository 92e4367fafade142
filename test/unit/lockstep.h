/*
 * lockstep.h - one program on the interpreter and on the translator: run both as far, compare all.
 *
 * After each slice the whole CPU state and the whole memory must be equal. What the program does is
 * up to the test; the interpreter is right by other tests (test/insn).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_LOCKSTEP_H
#define TEST_UNIT_LOCKSTEP_H

#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

struct pair {
	struct guest a, b; /* interp, bt */
	uint64_t chance;   /* of the slices */
	const char *name;  /* for messages */
};

static inline uint32_t chance(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((*seed >> 33) % below);
}

/* Not counted, the translator leaves flags that the program overwrites before it reads them: such
 * a pair is the same only where it ends. */
static inline struct pair pair_open(const char *name, bool counted, unsigned torture,
				    uint64_t code_cache)
{
	struct engine_options options = { .code_cache = code_cache, .torture = torture };

	struct pair p = { .a = guest_open_on(&interp_ops, counted, options),
			  .b = guest_open_on(&bt_ops, counted, options),
			  .chance = 1,
			  .name = name };

	((struct bt *)p.b.c->executor)->verify = true;
	return p;
}

static inline void pair_close(struct pair *p)
{
	guest_close(&p->a);
	guest_close(&p->b);
}

/* The same memory and state for both: those of `a`. */
static inline void pair_set(struct pair *p, const struct x86_state *s)
{
	memcpy(p->b.ram, p->a.ram, GUEST_BYTES);
	guest_set(&p->a, s);
	guest_set(&p->b, s);
}

/* The first member in which they differ, or NULL. */
static inline const char *state_differs(const struct x86_state *a, const struct x86_state *b)
{
	for (const struct field *f = x86_state_fields; f->name; f++)
		for (uint32_t n = 0; n < f->count; n++)
			if (memcmp((const uint8_t *)a + f->offset + n * f->stride,
				   (const uint8_t *)b + f->offset + n * f->stride, f->width) != 0)
				return f->name;
	return NULL;
}

static inline void print_difference(const struct x86_state *a, const struct x86_state *b)
{
	print_error("rip %llx %llx, flags %llx %llx, instructions %llu %llu\n",
		    (unsigned long long)a->rip, (unsigned long long)b->rip,
		    (unsigned long long)a->rflags, (unsigned long long)b->rflags,
		    (unsigned long long)a->instructions, (unsigned long long)b->instructions);
	for (unsigned r = 0; r < GPR_COUNT; r++)
		if (a->gpr[r] != b->gpr[r])
			print_error("register %u: %llx %llx\n", r, (unsigned long long)a->gpr[r],
				    (unsigned long long)b->gpr[r]);
}

static inline void pair_same(struct pair *p, enum exit_reason ra, enum exit_reason rb)
{
	struct x86_state a = guest_get(&p->a), b = guest_get(&p->b);
	const char *what = state_differs(&a, &b);

	if (ra != rb)
		what = "exit";
	if (!what && memcmp(p->a.ram, p->b.ram, GUEST_BYTES) != 0)
		what = "memory";
	if (!what)
		return;
	print_error("%s: %s differs (interp, bt)\n", p->name, what);
	print_difference(&a, &b);
	for (uint64_t at = 0; at < GUEST_BYTES; at += 8)
		if (memcmp(p->a.ram + at, p->b.ram + at, 8) != 0) {
			print_error("memory %llx: %llx %llx\n", (unsigned long long)at,
				    (unsigned long long)guest_get64(&p->a, at),
				    (unsigned long long)guest_get64(&p->b, at));
			break;
		}
	assert_null(what);
}

/* Runs both by `budget` instructions, and compares. */
static inline enum exit_reason pair_step(struct pair *p, uint64_t budget)
{
	enum exit_reason a = guest_run(&p->a, budget), b = guest_run(&p->b, budget);

	pair_same(p, a, b);
	return a;
}

/* In slices of random length, `most` instructions in all, or until something ends the run. */
static inline enum exit_reason pair_run(struct pair *p, uint64_t most)
{
	enum exit_reason reason = EXIT_BUDGET;

	/* EXIT_KICK: an event waits to be delivered. */
	for (uint64_t done = 0; (reason == EXIT_BUDGET || reason == EXIT_KICK) && done < most;) {
		uint64_t budget = 1 + chance(&p->chance, chance(&p->chance, 2) ? 20 : 1200);

		reason = pair_step(p, budget);
		done += budget;
	}
	return reason;
}

/* How many instructions have been translated as themselves. */
static inline uint64_t pair_native(const struct pair *p)
{
	return ((const struct bt *)p->b.c->executor)->native;
}

#endif
