/*
 * debian.c - Debian 12 from its own disk: SeaBIOS, GRUB's menu on the serial line, systemd, a
 * login; a file, a reboot, and the file is still there; and the same disk by --kernel. There, at
 * the login, the monitor's memory is looked at (see memory.c).
 *
 * test/soak/debian.c does it with each engine.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/debian.h"
#include "test/guest/resident.h"

#define KIB_CACHE (256u << 10) /* unless told */

static struct debian debian;

/* What `trapeze run debian.qcow2` alone is: 1 GiB, the user's network. */
static void test_disk(void **state)
{
	struct debian *d = &debian;

	(void)state;
	debian_start(d);
	debian_menu(d);
	debian_login(d);
	debian_ask(d, "free -m | awk '/^Mem/ { print ($2 > 900 && $2 < 1024) }'", "1\r");
	debian_ask(d, "echo kept >note", "");
	debian_network(d);
	debian_type(d, "reboot");
	debian_menu(d);
	debian_login(d);
	debian_ask(d, "cat note", "kept");
	debian_well(d);
	debian_poweroff(d);
}

static void test_kernel(void **state)
{
	struct debian *d = &debian;

	(void)state;
	debian_start_kernel(d);
	debian_login(d);
	if (resident_means_something())
		assert_in_range(resident_kib(d->session.pid), 1, KIB_BESIDE + KIB_CACHE);
	debian_ask(d, "cat note", "kept");
	debian_ask(d, "findmnt -n -o SOURCE /", "/dev/vda1");
	debian_ask(d, "ls /sys/class/net | xargs echo cards:", "cards: lo\r");
	debian_well(d);
	debian_poweroff(d);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk),
		cmocka_unit_test(test_kernel),
	};
	int status;

	debian_open(&debian);
	status = cmocka_run_group_tests(tests, NULL, NULL);
	debian_close(&debian);
	return status;
}
