/*
 * each_engine.h - main() of a soak test that does the same on each software engine; called as
 * NAME-kvm, on that one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SOAK_EACH_ENGINE_H
#define TEST_SOAK_EACH_ENGINE_H

#include "test/guest/session.h"

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
	static void test_kvm(void **state)                                                         \
	{                                                                                          \
		(void)state;                                                                       \
		use("kvm");                                                                        \
	}                                                                                          \
	int main(void)                                                                             \
	{                                                                                          \
		static const struct CMUnitTest tests[] = {                                         \
			cmocka_unit_test(test_bt),                                                 \
			cmocka_unit_test(test_interp),                                             \
		};                                                                                 \
		static const struct CMUnitTest tests_kvm[] = { cmocka_unit_test(test_kvm) };       \
		if (strcmp(session_engine, "kvm") == 0)                                            \
			return cmocka_run_group_tests(tests_kvm, NULL, NULL);                      \
		return cmocka_run_group_tests(tests, NULL, NULL);                                  \
	}

#endif
