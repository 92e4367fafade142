/*
 * memtest.c - one pass of memtest86+ over a small memory: all of its default tests but the last,
 * which waits ten minutes for bits to fade.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/memtest.h"

static void test_pass(void **state)
{
	struct session s;

	(void)state;
	memtest_start(&s, "8M");
	memtest_change(&s, MEMTEST_F2, "10", "*.********.");
	memtest_pass(&s, 1800);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
