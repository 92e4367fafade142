/*
 * installer.c - Debian's netboot installer, amd64 and i386, to its language menu.
 *
 * Downloads some 100 MB for each, once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/package.h"

#define SECONDS 900

static void run_installer(const char *arch)
{
	char package[80], file[200], kernel[4096], initrd[4096];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 "console=ttyS0",
			 "--memory",
			 "1G",
			 NULL };
	struct session s;

	snprintf(package, sizeof(package), "debian-installer-12-netboot-%s", arch);
	snprintf(file, sizeof(file),
		 "usr/lib/debian-installer/images/12/%s/text/debian-installer/%s/linux", arch,
		 arch);
	package_file(kernel, sizeof(kernel), package, file);
	snprintf(file, sizeof(file),
		 "usr/lib/debian-installer/images/12/%s/text/debian-installer/%s/initrd.gz", arch,
		 arch);
	package_file(initrd, sizeof(initrd), package, file);
	session_start(&s, argv);
	session_expect(&s, "Linux version 6.", SECONDS);
	session_expect(&s, "Starting system log daemon", SECONDS);
	session_expect(&s, "Select a language", SECONDS);
	session_expect(&s, "English", SECONDS);
	session_type(&s, "\001x");
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
}

static void test_amd64(void **state)
{
	(void)state;
	run_installer("amd64");
}

static void test_i386(void **state)
{
	(void)state;
	run_installer("i386");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_amd64),
		cmocka_unit_test(test_i386),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
