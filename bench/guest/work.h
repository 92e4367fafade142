/*
 * work.h - one row of the benchmark: a unit of work that can be repeated.
 *
 * The idea: a unit does the same work, and returns the same value, every time and everywhere, so a
 * monitor that computes wrongly is seen, and a slow one simply does fewer units.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_GUEST_WORK_H
#define BENCH_GUEST_WORK_H

#include <stddef.h>
#include <stdint.h>

struct work {
	const char *name;
	void (*setup)(void); /* once, not measured; or NULL */
	uint64_t (*unit)(
		void); /* returns a value that depends on all it computed, 0 where there is none */
	unsigned per;  /* how many operations a unit is */
};

/* The rows, in the order of the table; each file of this directory defines some. */
extern const struct work integer_works[], float_works[], kernel_works[], tool_works[], lock_works[];

uint64_t work_lists(void), work_sort(void), work_lz(void), work_bytecode(void), work_digest(void),
	work_calls(void);
void lz_setup(void), sort_setup(void), digest_setup(void);

/* parallel.c: the loads with one worker and with several, each about `wanted` seconds; and the
 * program that a job of `build` is. Both return an exit status. */
int parallel_main(unsigned workers, double wanted);
int parallel_job(const char *number);

/* xorshift64*: the same numbers everywhere. *state is not 0. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* Prints why and ends the program: a benchmark that cannot do its work has no number. */
_Noreturn void work_failed(const char *what);

#endif
