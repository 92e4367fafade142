/*
 * boot.c - the stock Debian kernel boots to a shell, and a person can use it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/guest.h"

#ifndef BOOT_SECONDS
#define BOOT_SECONDS 300 /* a sanitizer build on a busy machine; a release build takes seconds */
#endif

static void start_boot(struct session *s)
{
	session_start(s, guest_command("console=ttyS0", (const char *const[]){ NULL }));
}

/* A guest that waits at its prompt costs next to nothing. */
static void check_idle(struct session *s)
{
	double before = session_cpu_seconds(s), start = session_now(), part;

	while (session_now() < start + 2)
		session_read(s, 100);
	part = (session_cpu_seconds(s) - before) / (session_now() - start);
	if (part >= 0.2)
		print_error("an idle guest uses %.0f %% of a CPU\n", part * 100);
	assert_true(part < 0.2);
}

static void test_shell_session(void **state)
{
	struct session s;

	(void)state;
	start_boot(&s);
	session_expect(&s, "Linux version 6.", BOOT_SECONDS);
	session_expect(&s, "This is Linux 6.", BOOT_SECONDS);
	session_expect(&s, "Hypervisor: yes", BOOT_SECONDS);
	session_expect(&s, "/root # ", BOOT_SECONDS);
	session_type(&s, "echo $((6 * 7))-is-it\r");
	session_expect(&s, "42-is-it", BOOT_SECONDS);
	session_type(&s, "dmesg | grep -c 'Kernel panic'\r");
	session_expect(&s, "\n0\r", BOOT_SECONDS);
	session_type(&s, "seq 1 1000 | sha256sum\r");
	session_expect(&s, "67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f",
		       BOOT_SECONDS);
	/* Ctrl-C reaches the guest, not trapeze. busybox's shell gives each process group the
	 * terminal a moment after it has made it, and does not hear what comes between; who says
	 * "asleep" here has the terminal. */
	session_type(&s, "sh -c 'echo asleep; exec sleep 100000'\r");
	session_expect(&s, "\nasleep", BOOT_SECONDS);
	session_type(&s, "\003");
	session_expect(&s, "/root # ", BOOT_SECONDS);
	session_type(&s, "echo rc=$?\r");
	session_expect(&s, "rc=130", BOOT_SECONDS);
	check_idle(&s);
	guest_poweroff(&s);
}

static void test_help_and_quit_keys(void **state)
{
	struct session s;
	int status;

	(void)state;
	start_boot(&s);
	session_expect(&s, "Linux version", BOOT_SECONDS);
	session_type(&s, "\001h");
	session_expect(&s, "Ctrl-A x", BOOT_SECONDS);
	session_type(&s, "\001x");
	status = session_end(&s, 60);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_check_terminal(&s);
	session_close(&s);
}

static void end_by_signal(int signo, bool exits)
{
	struct session s;
	int status;

	start_boot(&s);
	session_expect(&s, "Linux version", BOOT_SECONDS);
	kill(s.pid, signo);
	status = session_end(&s, 60);
	if (exits)
		assert_int_equal(WEXITSTATUS(status), 1);
	else
		assert_true(WIFSIGNALED(status));
	session_check_terminal(&s);
	session_close(&s);
}

static void test_signals_restore_the_terminal(void **state)
{
	(void)state;
	end_by_signal(SIGTERM, true);
	end_by_signal(SIGHUP, true);
}

static void test_crashes_restore_the_terminal(void **state)
{
	(void)state;
	if (strstr(session_need("TRAPEZE"), "san")) {
		print_message("skip - crash signals: a sanitizer takes them\n");
		return;
	}
	end_by_signal(SIGABRT, false);
	end_by_signal(SIGSEGV, false);
}

static void test_reboot_ends_under_no_reboot(void **state)
{
	struct session s;
	int status;

	(void)state;
	guest_boot(&s, GUEST_WORDS("--no-reboot"));
	session_type(&s, "reboot -f\r");
	status = session_end(&s, BOOT_SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_close(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shell_session),
		cmocka_unit_test(test_help_and_quit_keys),
		cmocka_unit_test(test_signals_restore_the_terminal),
		cmocka_unit_test(test_crashes_restore_the_terminal),
		cmocka_unit_test(test_reboot_ends_under_no_reboot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
