/*
 * terminal.c - test of the program with a KVM that fails: one sentence, status 1, and the terminal
 * as it was.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"
#include "test/rig/rig.h"

/* At 0:1000h: says hello on COM1, ends with status 11. */
GUEST(hello, "\n\
	movw $0x3f8, %dx\n\
	movb $'h', %al\n\
	outb %al, %dx\n\
	movb $'i', %al\n\
	outb %al, %dx\n\
	movb $5, %al\n\
	movw $0xf4, %dx\n\
	outb %al, %dx\n\
	hlt");

static char image[] = "/tmp/trapeze-hello-XXXXXX";

static int write_image(void **state)
{
	int fd = mkstemp(image);
	ssize_t bytes = guest_hello_end - guest_hello;

	(void)state;
	return fd < 0 || write(fd, guest_hello, (size_t)bytes) != bytes || close(fd);
}

static int remove_image(void **state)
{
	(void)state;
	return unlink(image);
}

/* Runs the program with one variable set. Returns its wait status; the session stays open. */
static int run(struct session *s, const char *name, const char *value)
{
	char program[512], preload[512], flat[64];
	char *argv[] = { program, "run", "--engine", "kvm", "--flat", flat, "--debug-exit", NULL };
	int status;

	snprintf(program, sizeof(program), "%s", session_need("TRAPEZE"));
	snprintf(preload, sizeof(preload), "%s/test/rig/fail_ioctl.so", session_need("OBJ"));
	snprintf(flat, sizeof(flat), "%s@0x1000", image);
	setenv("LD_PRELOAD", preload, 1);
	setenv(name, value, 1);
	session_start(s, argv);
	unsetenv(name);
	unsetenv("LD_PRELOAD");
	status = session_end(s, 60);
	session_check_terminal(s);
	return status;
}

static unsigned lines_about_kvm(const struct session *s)
{
	unsigned n = 0;

	for (const char *at = s->text; (at = strstr(at, "trapeze: ")); at++)
		n++;
	return strstr(s->text, "KVM") || strstr(s->text, "kvm") ? n : 0;
}

static void test_kvm_vanishes(void **state)
{
	struct session s;
	int status = run(&s, "FAIL_OPEN", "1");

	(void)state;
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(s.text, "trapeze: there is no /dev/kvm"));
	session_close(&s);
}

/* How many ioctls there are when none fails. The trial's number depends on time, a little. */
static unsigned count_calls(void)
{
	char path[] = "/tmp/trapeze-calls-XXXXXX";
	int fd = mkstemp(path), status;
	struct session s;
	unsigned calls = 0;
	FILE *f;

	assert_true(fd >= 0);
	status = run(&s, "FAIL_COUNT", path);
	assert_int_equal(WEXITSTATUS(status), 11);
	session_close(&s);
	f = fdopen(fd, "r");
	assert_int_equal(fscanf(f, "%u", &calls), 1);
	fclose(f);
	unlink(path);
	return calls;
}

static void test_kvm_fails(void **state)
{
	unsigned failures = 0, all = count_calls();

	(void)state;
	assert_in_range(all, 100, 1000);
	for (unsigned n = 1; n <= all; n++) {
		char number[16];
		struct session s;
		int status;

		snprintf(number, sizeof(number), "%u", n);
		status = run(&s, "FAIL_IOCTL", number);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 1) {
			if (lines_about_kvm(&s) != 1)
				print_error("call %u: %s\n", n, s.text);
			assert_int_equal(lines_about_kvm(&s), 1);
			failures++;
		} else {
			/* A question about something optional, or what can be done without. */
			assert_int_equal(WEXITSTATUS(status), 11);
		}
		session_close(&s);
	}
	assert_true(failures > all / 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kvm_vanishes),
		cmocka_unit_test(test_kvm_fails),
	};
	int skip = rig_skip("terminal");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	puts("skip - terminal: a sanitizer wants to be the first library");
	return 77;
#endif
	if (!skip && (!getenv("TRAPEZE") || access(session_need("TRAPEZE"), X_OK))) {
		puts("skip - terminal: no program to run");
		return 77;
	}
	return skip ? skip : cmocka_run_group_tests(tests, write_image, remove_image);
}
