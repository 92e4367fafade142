/*
 * session.h - runs trapeze on a pseudo-terminal, as a person would, and talks to it.
 *
 * $TRAPEZE names the program.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SESSION_H
#define TEST_SESSION_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

#include "test/cmocka.h"

#define SESSION_TEXT (1u << 20)

struct session {
	pid_t pid;
	int pty, keep; /* master; and a slave end kept open, to read the attributes from */
	struct termios before;
	char *text; /* everything the program has said */
	size_t bytes, seen;
	bool ended;
};

static inline const char *session_need(const char *name)
{
	const char *value = getenv(name);

	if (!value) {
		fprintf(stderr, "set %s (make test does)\n", name);
		exit(2);
	}
	return value;
}

/* Called as NAME-ENGINE (make test does): what the machine runs on; else as --engine auto. */
static const char *session_engine = "auto";

/* Ends the program as skipped where KVM is missing, or too slow to boot anything. */
static inline void session_need_kvm(void)
{
	char command[4200], line[400] = "";
	const char *reason;
	FILE *engines;

	snprintf(command, sizeof(command), "'%s' engines", session_need("TRAPEZE"));
	engines = popen(command, "r");
	while (engines && fgets(line, sizeof(line), engines) && strncmp(line, "kvm", 3) != 0)
		;
	if (engines)
		pclose(engines);
	if (strstr(line, "usable: ring 0 runs"))
		return;
	line[strcspn(line, "\n")] = 0;
	reason = strstr(line, "usable: ");
	printf("skip - %s: KVM here: %s\n", program_invocation_short_name,
	       reason ? reason + strlen("usable: ") : line + strspn(line, "kvm "));
	exit(77);
}

__attribute__((constructor)) static void session_engine_of_name(void)
{
	const char *at = strrchr(program_invocation_short_name, '-');

	if (at)
		session_engine = at + 1;
	if (strcmp(session_engine, "kvm") == 0)
		session_need_kvm();
}

/* In a test that runs a counted machine. */
static inline void session_need_counting(void)
{
	if (strcmp(session_engine, "kvm") != 0)
		return;
	print_message("skip - counted: nothing counts the guest's instructions on KVM\n");
	skip();
}

static inline void session_start(struct session *s, char *const argv[])
{
	memset(s, 0, sizeof(*s));
	s->text = calloc(1, SESSION_TEXT);
	assert_non_null(s->text);
	assert_int_equal(openpty(&s->pty, &s->keep, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(s->keep, &s->before), 0);
	s->pid = fork();
	if (s->pid == 0) {
		close(s->pty);
		login_tty(s->keep);
		execv(argv[0], argv);
		_exit(127);
	}
}

/* Reads what there is, waiting at most `ms`. false: the other end closed. */
static inline bool session_read(struct session *s, int ms)
{
	struct pollfd p = { .fd = s->pty, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return true;
	n = read(s->pty, s->text + s->bytes, SESSION_TEXT - 1 - s->bytes);
	if (n > 0)
		s->bytes += (size_t)n;
	return n > 0;
}

static inline double session_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* When to give up what takes so long at most; TEST_PATIENCE times that in an emulated machine on a
 * busy host. */
static inline double session_limit(double seconds)
{
	const char *patience = getenv("TEST_PATIENCE");

	return session_now() + seconds * (patience ? atof(patience) : 1);
}

/* Its status can still be asked for. */
static inline bool session_has_ended(const struct session *s)
{
	siginfo_t info = { 0 };

	waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid == s->pid;
}

/* After its end: what it said last may still be on its way through the terminal, whose own end does
 * not close it. A mark follows it. */
static inline void session_last_words(struct session *s)
{
	const size_t room = SESSION_TEXT - 1;

	fcntl(s->keep, F_SETFL, O_RDWR | O_NONBLOCK); /* it may be full */
	while (write(s->keep, "", 1) != 1 && s->bytes < room)
		session_read(s, 100);
	do
		session_read(s, 100);
	while (s->bytes < room && (s->bytes == 0 || s->text[s->bytes - 1]));
	s->bytes -= s->text[s->bytes - 1] == '\0';
}

/* Waits until `what` appears after the last thing expected; prints the text and fails if not, or if
 * the program ends before. */
static inline void session_expect(struct session *s, const char *what, double seconds)
{
	double end = session_limit(seconds);
	bool ended = false;

	for (;;) {
		char *at = memmem(s->text + s->seen, s->bytes - s->seen, what, strlen(what));

		if (at) {
			s->seen = (size_t)(at - s->text) + strlen(what);
			return;
		}
		if (ended || session_now() > end || s->bytes == SESSION_TEXT - 1)
			break;
		session_read(s, 200);
		ended = session_has_ended(s);
		if (ended)
			session_last_words(s);
	}
	fprintf(stderr, "never saw \"%s\"; the session so far:\n%.*s\n", what, (int)s->bytes,
		s->text);
	kill(s->pid, SIGKILL);
	assert_true(false);
}

static inline void session_type(struct session *s, const char *keys)
{
	assert_int_equal(write(s->pty, keys, strlen(keys)), strlen(keys));
}

/* Waits for the end; returns the wait status. */
static inline int session_end(struct session *s, double seconds)
{
	double end = session_limit(seconds);
	int status = -1;

	while (waitpid(s->pid, &status, WNOHANG) == 0) {
		if (session_now() > end) {
			fprintf(stderr, "did not end; the session so far:\n%.*s\n", (int)s->bytes,
				s->text);
			kill(s->pid, SIGKILL);
			assert_true(false);
		}
		session_read(s, 100);
	}
	session_last_words(s);
	return status;
}

/* Seconds of host CPU that the program has used. */
static inline double session_cpu_seconds(const struct session *s)
{
	unsigned long user, system;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)s->pid);
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

/* The terminal is as it was before the program ran. */
static inline void session_check_terminal(struct session *s)
{
	struct termios now;

	assert_int_equal(tcgetattr(s->keep, &now), 0);
	assert_int_equal(now.c_iflag, s->before.c_iflag);
	assert_int_equal(now.c_oflag, s->before.c_oflag);
	assert_int_equal(now.c_cflag, s->before.c_cflag);
	assert_int_equal(now.c_lflag, s->before.c_lflag);
	assert_memory_equal(now.c_cc, s->before.c_cc, sizeof(now.c_cc));
}

static inline void session_close(struct session *s)
{
	close(s->pty);
	close(s->keep);
	free(s->text);
}

#endif
