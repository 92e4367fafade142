/*
 * terminal.c - test of the program at a terminal with a KVM that fails, from the start or when a
 * planned change of engines comes to it: one sentence, status 1, and the terminal as it was.
 *
 * Ctrl-A e: test/guest/console.c.
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

/* Ends so after ten ticks of a millisecond each. */
GUEST(ticks, "\n\
	cli\n\
	xorw %ax, %ax\n\
	movw %ax, %ds\n\
	movw %ax, %ss\n\
	movw $0x7000, %sp\n\
	AT16 2f, %cx\n\
	movw %cx, 0x80\n\
	movw %ax, 0x82\n\
	movb $0x11, %al\n\
	outb %al, $0x20\n\
	movb $0x20, %al\n\
	outb %al, $0x21\n\
	movb $4, %al\n\
	outb %al, $0x21\n\
	movb $1, %al\n\
	outb %al, $0x21\n\
	movb $0xfe, %al\n\
	outb %al, $0x21\n\
	movb $0x34, %al\n\
	outb %al, $0x43\n\
	movb $0xa9, %al\n\
	outb %al, $0x40\n\
	movb $0x04, %al\n\
	outb %al, $0x40\n\
	xorw %bx, %bx\n\
	sti\n\
1:	hlt\n\
	jmp 1b\n\
2:	incw %bx\n\
	movb $0x20, %al\n\
	outb %al, $0x20\n\
	cmpw $10, %bx\n\
	jb 3f\n\
	movb $5, %al\n\
	movw $0xf4, %dx\n\
	outb %al, %dx\n\
3:	iret");

/* Echoes COM1's bytes; ends so at q. */
GUEST(echo, "\n\
	cli\n\
	movw $0x3fc, %dx\n\
	movb $3, %al\n\
	outb %al, %dx\n\
1:	movw $0x3fd, %dx\n\
	inb %dx, %al\n\
	testb $1, %al\n\
	jz 1b\n\
	movw $0x3f8, %dx\n\
	inb %dx, %al\n\
	outb %al, %dx\n\
	cmpb $'q', %al\n\
	jne 1b\n\
	movb $5, %al\n\
	movw $0xf4, %dx\n\
	outb %al, %dx\n\
	hlt");

static char image[] = "/tmp/trapeze-image-XXXXXX";

static void write_image(const uint8_t *code, const uint8_t *end)
{
	int fd;

	strcpy(image + strlen(image) - 6, "XXXXXX");
	fd = mkstemp(image);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, code, (size_t)(end - code)), end - code);
	close(fd);
}

static const char *switches; /* by time, from the interpreter on; NULL: KVM alone */

static void start(struct session *s, const char *stats)
{
	char program[512], flat[64];
	char *argv[12] = { program,
			   "run",
			   "--flat",
			   flat,
			   "--debug-exit",
			   "--engine",
			   switches ? "interp" : "kvm" };
	unsigned n = 7;

	snprintf(program, sizeof(program), "%s", session_need("TRAPEZE"));
	snprintf(flat, sizeof(flat), "%s@0x1000", image);
	if (switches) {
		argv[n++] = "--switch";
		argv[n++] = (char *)switches;
	}
	if (stats) {
		argv[n++] = "--stats";
		argv[n++] = (char *)stats;
	}
	session_start(s, argv);
}

/* Runs the program with one variable set. Returns its wait status; the session stays open. */
static int run(struct session *s, const char *name, const char *value)
{
	char preload[512];
	int status;

	snprintf(preload, sizeof(preload), "%s/test/rig/fail_ioctl.so", session_need("OBJ"));
	setenv("LD_PRELOAD", preload, 1);
	setenv(name, value, 1);
	start(s, NULL);
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
	int status;

	(void)state;
	write_image(guest_hello, guest_hello_end);
	status = run(&s, "FAIL_OPEN", "1");
	unlink(image);
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

/* Every `step`th ioctl in turn; fewer where a process takes a second to start. */
static void each_fails(unsigned step)
{
	unsigned failures = 0, all = count_calls();

	step *= rig_in_qemu() ? 11 : 1;
	assert_in_range(all, 100, 1000);
	for (unsigned n = 1; n <= all; n += step) {
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
	assert_true(failures > all / step / 2);
	unlink(image);
}

static void test_kvm_fails(void **state)
{
	(void)state;
	write_image(guest_hello, guest_hello_end);
	each_fails(1);
}

/* What the engine then does is tried with each call by test/unit/kvm_failures.c. */
static void test_kvm_fails_in_a_switch(void **state)
{
	(void)state;
	write_image(guest_ticks, guest_ticks_end);
	switches = "kvm@2ms,interp@7ms";
	each_fails(3);
	switches = NULL;
}

/* What is typed meanwhile arrives, and the terminal stays raw until the end. */
static void test_switches(void **state)
{
	char stats[] = "/tmp/trapeze-stats-XXXXXX", text[4000] = "";
	int fd = mkstemp(stats);
	struct termios now;
	struct session s;
	double end;

	(void)state;
	write_image(guest_echo, guest_echo_end);
	switches = "kvm@100ms,bt@200ms,kvm@300ms,interp@400ms,kvm@500ms";
	start(&s, stats);
	switches = NULL;
	session_type(&s, ".");
	session_expect(&s, ".", 60);
	end = session_now() + 1;
	for (unsigned i = 0; session_now() < end; i++) {
		const char key[2] = { (char)('A' + i % 26) };

		session_type(&s, key);
		session_expect(&s, key, 60);
	}
	assert_int_equal(tcgetattr(s.keep, &now), 0);
	assert_false(now.c_lflag & (ICANON | ECHO));
	session_type(&s, "q");
	assert_int_equal(WEXITSTATUS(session_end(&s, 60)), 11);
	session_check_terminal(&s);
	session_close(&s);
	assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	unlink(stats);
	unlink(image);
	assert_non_null(strstr(text, "\"engine_switches\": 5,"));
	assert_non_null(strstr(text, "\"engine\": \"kvm\""));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kvm_vanishes),
		cmocka_unit_test(test_kvm_fails),
		cmocka_unit_test(test_kvm_fails_in_a_switch),
		cmocka_unit_test(test_switches),
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
	return skip ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
