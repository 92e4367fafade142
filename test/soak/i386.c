/*
 * i386.c - a 32-bit kernel, counted, on interp and on bt: the same wherever it is stopped, and to
 * its end. Debian's installer's kernel for i386, with a 32-bit program as its first process.
 *
 * Downloads some 100 MB, once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/counted.h"
#include "test/guest/package.h"

#define PACKAGE "debian-installer-12-netboot-i386"
#define LINUX   "usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/linux"
#define APPEND  "console=ttyS0 rdinit=/bin/user32"

static void compare(const char *stop_at, const char *expect)
{
	const char *const *extra = GUEST_WORDS("--memory", "256M", "--stop-at", stop_at);
	struct run a, b;

	run(&a, "a", "interp", APPEND, extra);
	run(&b, "b", "bt", APPEND, extra);
	assert_string_equal(a.text, b.text);
	if (expect)
		assert_non_null(strstr(a.text, expect));
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	run_free(&a);
	run_free(&b);
}

static void test_stopped(void **state)
{
	(void)state;
	compare("5000011", NULL); /* the decompressor */
	compare("300000007", NULL);
	compare("1000000001", NULL);
	compare("2500000011", NULL);
}

static void test_to_its_end(void **state)
{
	(void)state;
	compare("20000000000", "done");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_to_its_end),
	};
	char kernel[4096];

	if (!mkdtemp(dir))
		return 1;
	package_file(kernel, sizeof(kernel), PACKAGE, LINUX);
	guest_kernel = kernel;
	return cmocka_run_group_tests(tests, NULL, remove_dir);
}
