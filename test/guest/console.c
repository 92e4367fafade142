/*
 * console.c - the console with guests of a few bytes: pastes, full pipes, job control.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "test/guest/session.h"

#define SECONDS   600 /* where KVM runs on an emulated processor an exit takes a millisecond */
#define PIPE_FULL (15 * 4096 + 1) /* a byte in its last page is enough not to be ready */

/* Real mode at 0x7c00. Prints R, is busy for a while, then raises RTS and echoes. */
static const uint8_t echo[] = {
	0xba, 0xf8, 0x03, 0xb0, 'R',  0xee, /* mov dx, 3f8h; mov al, 'R'; out */
	0x66, 0xb9, 0x00, 0x00, 0x00, 0x01, 0x66, 0x49, 0x75, 0xfc, /* mov ecx, 2^24; dec; jnz */
	0xba, 0xfc, 0x03, 0xb0, 0x03, 0xee,             /* mov dx, 3fch; mov al, 3; out */
	0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf8, /* mov dx, 3fdh; in; test; jz */
	0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xf1,       /* mov dx, 3f8h; in; out; jmp */
};
/* Prints A without end. */
static const uint8_t flood[] = { 0xba, 0xf8, 0x03, 0xb0, 'A', 0xee, 0xeb, 0xfd };

static char image[] = "/tmp/trapeze-console-XXXXXX";

static char **command(const uint8_t *code, size_t bytes)
{
	static char *argv[] = { NULL,  "run",      "--flat", image, "--memory",
				"64K", "--engine", NULL,     NULL };
	int fd;

	strcpy(image + strlen(image) - 6, "XXXXXX");
	fd = mkstemp(image);
	assert_int_equal(write(fd, code, bytes), bytes);
	close(fd);
	argv[0] = (char *)session_need("TRAPEZE");
	argv[7] = (char *)session_engine;
	return argv;
}

static void test_a_paste_is_not_lost(void **state)
{
	static char text[5 * 4000 + 1];
	struct session s;

	(void)state;
	session_start(&s, command(echo, sizeof(echo)));
	session_expect(&s, "R", SECONDS);
	for (unsigned i = 0; i < 4000; i++)
		snprintf(text + 5 * i, 6, "%04u ", i);
	session_type(&s, text);
	session_expect(&s, text, SECONDS);
	session_type(&s, "\001x");
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
	unlink(image);
}

/* Ctrl-A e: another engine goes on with the same guest. */
static void test_next_engine(void **state)
{
	struct session s;

	(void)state;
	session_start(&s, command(echo, sizeof(echo)));
	session_expect(&s, "R", SECONDS);
	for (unsigned i = 0; i < 4; i++) {
		session_type(&s, "\001e");
		session_expect(&s, "the machine now runs on engine ", SECONDS);
		session_type(&s, i % 2 ? "odd." : "even.");
		session_expect(&s, i % 2 ? "odd." : "even.", SECONDS);
	}
	session_type(&s, "\001x");
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
	unlink(image);
}

/* What is said does not go on in the guest's line, and leaves no empty line where that had ended.
 */
static void test_messages_have_lines_of_their_own(void **state)
{
	struct session s;

	(void)state;
	session_start(&s, command(echo, sizeof(echo)));
	session_expect(&s, "R", SECONDS);
	session_type(&s, "\001e");
	session_expect(&s, "\r\ntrapeze: the machine now runs on engine ", SECONDS);
	session_type(&s, "\033[1m"); /* nothing stands in this line */
	session_expect(&s, "\033[1m", SECONDS);
	session_type(&s, "\001e");
	session_expect(&s, "trapeze: the machine now runs on engine ", SECONDS);
	session_type(&s, "a line\r\n");
	session_expect(&s, "a line\r\r\n", SECONDS);
	session_type(&s, "\001e");
	session_expect(&s, "trapeze: the machine now runs on engine ", SECONDS);
	session_type(&s, "\033[1mprompt:\033[0m ");
	session_expect(&s, "prompt:\033[0m ", SECONDS);
	session_type(&s, "\001x");
	session_expect(&s, "\r\ntrapeze: ended by Ctrl-A x", SECONDS);
	assert_int_equal(session_end(&s, SECONDS), 0);
	assert_null(strstr(s.text, "\n\r\ntrapeze: "));
	assert_null(strstr(s.text, "\n\033[1m\r\ntrapeze: "));
	session_close(&s);
	unlink(image);
}

/* Nothing is added where messages are not seen among the guest's output. */
static void test_what_is_piped_is_the_guests(void **state)
{
	char **argv = command(echo, sizeof(echo));
	int pty, tty, out[2], status;
	char text[16] = "", said[200] = "";
	pid_t pid;

	(void)state;
	assert_int_equal(openpty(&pty, &tty, NULL, NULL, NULL), 0);
	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(tty, STDERR_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	close(out[1]);
	assert_int_equal(read(out[0], text, sizeof(text)), 1);
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(read(out[0], text + 1, sizeof(text) - 2), 0);
	assert_string_equal(text, "R");
	assert_true(read(pty, said, sizeof(said) - 1) > 0);
	assert_memory_equal(said, "trapeze: ended by signal", 24);
	close(pty);
	close(tty);
	close(out[0]);
	unlink(image);
}

/* A guest turned wrapping off: the user's next program finds it on. */
static void test_the_guest_leaves_the_terminal_as_it_was(void **state)
{
	struct session s;

	(void)state;
	session_start(&s, command(echo, sizeof(echo)));
	session_expect(&s, "R", SECONDS);
	session_type(&s, "\033[?7l.");
	session_expect(&s, "\033[?7l.", SECONDS);
	session_type(&s, "\001x");
	session_expect(&s, "\033[?7h", SECONDS);
	session_expect(&s, "ended by Ctrl-A x", SECONDS);
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
	unlink(image);
}

/* Nobody reads the pipe: the guest waits, and yet a signal ends the run. */
static void test_a_full_pipe_does_not_keep_it(void **state)
{
	char **argv = command(flood, sizeof(flood));
	int out[2], status, queued = 0;
	double end = session_now() + SECONDS;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(out), 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDERR_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	while (queued < PIPE_FULL && session_now() < end) {
		usleep(10000);
		assert_int_equal(ioctl(out[0], FIONREAD, &queued), 0);
	}
	assert_true(queued >= PIPE_FULL);
	kill(pid, SIGTERM);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (session_now() > end) {
			kill(pid, SIGKILL);
			assert_true(false); /* the monitor cannot be ended */
		}
		usleep(10000);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	close(out[0]);
	close(out[1]);
	unlink(image);
}

/* A shell with job control, reduced: stops its child and lets it go on in the background. Says
 * what it saw on `report`: is the terminal raw? */
static void shell(int tty, char **argv, int report)
{
	struct termios t;
	int status;
	pid_t pid;

	login_tty(tty);
	signal(SIGTTOU, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		tcsetpgrp(STDIN_FILENO, getpid());
		signal(SIGTTOU, SIG_DFL);
		execv(argv[0], argv);
		_exit(127);
	}
	for (unsigned step = 0; step < 3; step++) {
		bool is_raw;

		/* Raw once it runs; not when it is stopped, nor when it goes on unseen. */
		for (unsigned i = 0; i < (step == 0 ? 1000 : 20); i++) {
			tcgetattr(STDIN_FILENO, &t);
			is_raw = !(t.c_lflag & ICANON);
			if (step == 0 ? is_raw : step == 2 && is_raw)
				break;
			usleep(10000);
		}
		if (write(report, &is_raw, sizeof(is_raw)) < 0)
			break;
		if (step == 0) {
			kill(pid, SIGTSTP);
			waitpid(pid, &status, WUNTRACED);
			tcsetpgrp(STDIN_FILENO, getpgrp());
		} else if (step == 1) {
			kill(pid, SIGCONT);
		}
	}
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	_exit(0);
}

static void test_the_background_leaves_the_terminal(void **state)
{
	char **argv = command(echo, sizeof(echo));
	int pty, tty, report[2];
	bool raw[3] = { false, true, true };
	pid_t pid;

	(void)state;
	assert_int_equal(openpty(&pty, &tty, NULL, NULL, NULL), 0);
	assert_int_equal(pipe(report), 0);
	pid = fork();
	if (pid == 0)
		shell(tty, argv, report[1]);
	close(report[1]);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(read(report[0], &raw[i], sizeof(raw[i])), sizeof(raw[i]));
	assert_true(raw[0]);
	assert_false(raw[1]);
	assert_false(raw[2]);
	waitpid(pid, NULL, 0);
	close(pty);
	close(tty);
	close(report[0]);
	unlink(image);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_paste_is_not_lost),
		cmocka_unit_test(test_next_engine),
		cmocka_unit_test(test_messages_have_lines_of_their_own),
		cmocka_unit_test(test_what_is_piped_is_the_guests),
		cmocka_unit_test(test_the_guest_leaves_the_terminal_as_it_was),
		cmocka_unit_test(test_a_full_pipe_does_not_keep_it),
		cmocka_unit_test(test_the_background_leaves_the_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
