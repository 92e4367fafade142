/*
 * boot.c - the stock Debian kernel boots to a shell, and a person can use it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"

#ifndef BOOT_SECONDS
#define BOOT_SECONDS 300 /* a sanitizer build on a busy machine; a release build takes seconds */
#endif

static char kernel[4096], initrd[4096];

static void start_boot(struct session *s, const char *append)
{
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)session_engine,
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 (char *)append,
			 NULL };

	session_start(s, argv);
}

/* Seconds of host CPU that the program has used. */
static double cpu_seconds(pid_t pid)
{
	unsigned long user, system;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	/* pid (name) state, ten numbers, utime stime: proc(5) */
	assert_int_equal(fscanf(f,
				"%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
				&user, &system),
			 2);
	fclose(f);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* A guest that waits at its prompt costs next to nothing. */
static void check_idle(struct session *s)
{
	double before = cpu_seconds(s->pid), start = session_now(), part;

	while (session_now() < start + 2)
		session_read(s, 100);
	part = (cpu_seconds(s->pid) - before) / (session_now() - start);
	if (part >= 0.2)
		print_error("an idle guest uses %.0f %% of a CPU\n", part * 100);
	assert_true(part < 0.2);
}

static void test_shell_session(void **state)
{
	struct session s;
	int status;

	(void)state;
	start_boot(&s, "console=ttyS0");
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
	/* Ctrl-C reaches the guest, not trapeze. */
	session_type(&s, "echo asleep; sleep 100000\r");
	session_expect(&s, "\nasleep", BOOT_SECONDS);
	session_type(&s, "\003");
	session_expect(&s, "/root # ", BOOT_SECONDS);
	session_type(&s, "echo rc=$?\r");
	session_expect(&s, "rc=130", BOOT_SECONDS);
	check_idle(&s);
	session_type(&s, "poweroff -f\r");
	status = session_end(&s, BOOT_SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_check_terminal(&s);
	session_close(&s);
}

static void test_help_and_quit_keys(void **state)
{
	struct session s;
	int status;

	(void)state;
	start_boot(&s, "console=ttyS0");
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

	start_boot(&s, "console=ttyS0");
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
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)session_engine,
			 "--no-reboot",
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 "console=ttyS0 quiet",
			 NULL };
	struct session s;
	int status;

	(void)state;
	session_start(&s, argv);
	session_expect(&s, "/root # ", BOOT_SECONDS);
	session_type(&s, "reboot -f\r");
	status = session_end(&s, BOOT_SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_close(&s);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shell_session),
		cmocka_unit_test(test_help_and_quit_keys),
		cmocka_unit_test(test_signals_restore_the_terminal),
		cmocka_unit_test(test_crashes_restore_the_terminal),
		cmocka_unit_test(test_reboot_ends_under_no_reboot),
	};

	session_engine_of(argc ? argv[0] : "");
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
