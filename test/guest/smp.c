/*
 * smp.c - the stock Debian kernel on several CPUs: all come up, run programs, go off-line and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"

#define SECONDS 400 /* a sanitizer build on a busy machine */

static void start(struct session *s, const char *cpus)
{
	static char kernel[4200], initrd[4200];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)session_engine,
			 "--cpus",
			 (char *)cpus,
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 "console=ttyS0",
			 NULL };

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	session_start(s, argv);
	session_expect(s, "/root # ", SECONDS);
}

static void command(struct session *s, const char *text, const char *answer)
{
	session_type(s, text);
	session_type(s, "\r");
	session_expect(s, answer, SECONDS);
	session_expect(s, "/root # ", SECONDS);
}

static void end(struct session *s)
{
	int status;

	command(s, "dmesg | grep -cE 'BUG|WARNING|stall|Call Trace'", "\n0\r");
	session_type(s, "poweroff -f\r");
	status = session_end(s, SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_close(s);
}

static void test_two_cpus(void **state)
{
	struct session s;

	(void)state;
	start(&s, "2");
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
	start(&s, "4");
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

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_cpus),
		cmocka_unit_test(test_four_cpus),
	};

	(void)argc;
	session_engine_of(argv[0]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
