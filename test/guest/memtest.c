/*
 * memtest.c - memtest86+ runs a few of its tests over a small memory, chosen by keys.
 *
 * All of them: test/soak/memtest.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/memtest.h"

static void test_a_few(void **state)
{
	struct session s;

	(void)state;
	memtest_start(&s, "6M");
	session_type(&s, MEMTEST_F1); /* none */
	memtest_change(&s, MEMTEST_F3, "3", "...*.......");
	memtest_change(&s, MEMTEST_F3, "7", "...*...*...");
	memtest_pass(&s, 300);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
