/*
 * debian.c - Debian 12 from its own disk, on each software engine: what test/guest/debian.c does,
 * and a reboot between.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/debian.h"

static void use(const char *engine)
{
	static struct debian d;

	session_engine = engine;
	debian_open(&d);
	debian_start(&d);
	debian_menu(&d);
	debian_login(&d);
	debian_network(&d);
	debian_ask(&d, "echo kept >note", "");
	debian_type(&d, "reboot");
	debian_menu(&d);
	debian_login(&d);
	debian_ask(&d, "cat note", "kept");
	debian_network(&d);
	debian_well(&d);
	debian_poweroff(&d);

	debian_start_kernel(&d);
	debian_login(&d);
	debian_ask(&d, "cat note", "kept");
	debian_ask(&d, "findmnt -n -o SOURCE /", "/dev/vda1");
	debian_well(&d);
	debian_poweroff(&d);
	debian_close(&d);
}

static void test_bt(void **state)
{
	(void)state;
	use("bt");
}

static void test_interp(void **state)
{
	(void)state;
	use("interp");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bt),
		cmocka_unit_test(test_interp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
