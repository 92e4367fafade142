/*
 * each_engine.h - main() of a soak test that does the same on each software engine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SOAK_EACH_ENGINE_H
#define TEST_SOAK_EACH_ENGINE_H

#include "test/cmocka.h"

/* use(): static void (const char *engine). */
#define ON_EACH_ENGINE(use)                                                                        \
	static void test_bt(void **state)                                                          \
	{                                                                                          \
		(void)state;                                                                       \
		use("bt");                                                                         \
	}                                                                                          \
	static void test_interp(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		use("interp");                                                                     \
	}                                                                                          \
	int main(void)                                                                             \
	{                                                                                          \
		static const struct CMUnitTest tests[] = {                                         \
			cmocka_unit_test(test_bt),                                                 \
			cmocka_unit_test(test_interp),                                             \
		};                                                                                 \
		return cmocka_run_group_tests(tests, NULL, NULL);                                  \
	}

#endif
