/*
 * random_runs.h - what the tests of random programs do: run them as they are, hot at once, under
 * each torture, in real time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_RANDOM_RUNS_H
#define TEST_UNIT_RANDOM_RUNS_H

#include <stdlib.h>

#include "test/unit/lockstep.h"

static struct random_runs {
	unsigned programs;
	unsigned torture_share; /* one in so many runs under a torture */
	/* Runs program n on both engines; how many instructions were translated as themselves. */
	uint64_t (*run_both)(unsigned n, unsigned torture, uint64_t code_cache);
} runs;
static unsigned first;
static bool counted = true; /* or in real time */

static void run_all(unsigned torture, uint64_t code_cache, unsigned share)
{
	uint64_t native = 0;

	for (unsigned n = first; n < first + runs.programs; n += share)
		native += runs.run_both(n, torture, code_cache);
	/* They did become hot. */
	assert_in_range(native, runs.programs / share * 10, UINT64_MAX);
}

static void test_random_programs(void **state)
{
	(void)state;
	run_all(0, 0, 1);
}

static void test_hot_at_once(void **state)
{
	(void)state;
	run_all(TORTURE(HOT), CODE_CACHE_LEAST, 3);
}

static void test_each_torture(void **state)
{
	(void)state;
	for (unsigned t = 0; t < TORTURE_COUNT; t++)
		run_all(1u << t | TORTURE(HOT), 0, runs.torture_share);
	run_all((1u << TORTURE_COUNT) - 1, CODE_CACHE_LEAST, runs.torture_share);
}

static void test_real_time(void **state)
{
	(void)state;
	counted = false;
	run_all(0, 0, 2);
	run_all(TORTURE(HOT), 0, 2);
	counted = true;
}

/* [FIRST [PROGRAMS]] */
static inline int random_main(int argc, char **argv, struct random_runs what)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_hot_at_once),
		cmocka_unit_test(test_each_torture),
		cmocka_unit_test(test_real_time),
	};

	runs = what;
	if (argc > 1)
		first = (unsigned)strtoul(argv[1], NULL, 0);
	if (argc > 2)
		runs.programs = (unsigned)strtoul(argv[2], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
