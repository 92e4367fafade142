/*
 * smp.c - the stock Debian kernel on several CPUs: all come up, run programs, go off-line and back.
 *
 * SPDX-License-Identifier: MIT
 */
#define GUEST_SECONDS 400 /* a sanitizer build on a busy machine */
#include "test/guest/guest.h"

static void command(struct session *s, const char *text, const char *answer)
{
	guest_type(s, text);
	session_expect(s, answer, GUEST_SECONDS);
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
}

static void end(struct session *s)
{
	command(s, "dmesg | grep -cE 'BUG|WARNING|stall|Call Trace|inconsistent'", "\n0\r");
	guest_poweroff(s);
}

static void test_two_cpus(void **state)
{
	struct session s;

	(void)state;
	guest_boot(&s, GUEST_WORDS("--cpus", "2"));
	command(&s, "echo cpus=$(nproc)", "cpus=2");
	command(&s, "echo 0 >/sys/devices/system/cpu/cpu1/online; echo left=$(nproc)", "left=1");
	command(&s, "echo 1 >/sys/devices/system/cpu/cpu1/online; echo back=$(nproc)", "back=2");
	command(&s, "taskset 2 sh -c 'seq 1 1000 | sha256sum'",
		"67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f");
	end(&s);
}

static void test_four_cpus(void **state)
{
	struct session s;

	(void)state;
	guest_boot(&s, GUEST_WORDS("--cpus", "4"));
	command(&s, "echo cpus=$(nproc)", "cpus=4");
	command(&s,
		"for c in 1 2 4 8; do taskset $c sh -c 'seq 1 2000 | md5sum' & done; wait; echo "
		"all=done",
		"all=done");
	command(&s,
		"for c in 1 2 3; do echo 0 >/sys/devices/system/cpu/cpu$c/online; done; echo "
		"left=$(nproc)",
		"left=1");
	command(&s,
		"for c in 3 1 2; do echo 1 >/sys/devices/system/cpu/cpu$c/online; done; echo "
		"back=$(nproc)",
		"back=4");
	end(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_cpus),
		cmocka_unit_test(test_four_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
