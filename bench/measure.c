/*
 * measure.c - runs one command and says when chosen texts appeared on its standard output, in
 * seconds of wall clock and of host CPU time.
 *
 * The idea: every monitor that is compared puts the guest's serial line on its standard output,
 * so one stopwatch, outside all of them, serves them all, and none reports about itself.
 *
 * The CPU time is that of the command and every process it starts (tree.h).
 * Its test is the benchmark itself: a text that does not appear is reported as "-".
 *
 * usage: measure -o OUTPUT [-s STAMPS] [-t SECONDS] [-e] [-m TEXT [-k KEYS]]... COMMAND
 * [ARGUMENT]...
 *
 * OUTPUT gets the command's standard output. One line is printed: for each TEXT the wall and the
 * CPU seconds until it appeared, both again at the end of the command, then the exit status
 * ("late" when it was killed after SECONDS, 600 unless told). -e: it is ended when the last TEXT
 * was seen. KEYS are typed when the TEXT before them appears. STAMPS gets a line for each line of
 * the output that begins with '@': wall and CPU seconds when its end was seen, then the line.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/tree.h"

#define MARKS_MAX  8
#define TEXT_MAX   64        /* longer texts are refused */
#define OUTPUT_MAX (1 << 20) /* what comes later is saved, but not searched */

struct stamp {
	double wall, cpu; /* seconds since the start; wall is negative when it did not happen */
};

struct measure {
	const char *output;
	const char *text[MARKS_MAX], *keys[MARKS_MAX]; /* keys may be NULL */
	struct stamp at[MARKS_MAX];
	int marks, seconds, keyboard; /* what is written there is typed; -1: nothing will be */
	bool early;
	double start;
	pid_t child;
	FILE *stamps;   /* or NULL */
	size_t stamped; /* up to here `seen` was looked through for lines */
	size_t length;
	char seen[OUTPUT_MAX];
};

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The command's standard input: a pipe if something will be typed, else empty. */
static int open_input(struct measure *m)
{
	int ends[2], input = -1;

	m->keyboard = -1;
	for (int i = 0; i < m->marks && m->keyboard < 0; i++) {
		if (!m->keys[i])
			continue;
		if (pipe2(ends, O_CLOEXEC) != 0)
			die("pipe");
		input = ends[0];
		m->keyboard = ends[1];
	}
	if (input < 0)
		input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (input < 0)
		die("input");
	return input;
}

/* The command's standard output is a pipe. Returns the read end. */
static int start(struct measure *m, char **command)
{
	int ends[2], input = open_input(m);

	if (pipe(ends) != 0)
		die("pipe");
	m->start = seconds_of(CLOCK_MONOTONIC);
	m->child = fork();
	if (m->child < 0)
		die("fork");
	if (m->child == 0) {
		if (dup2(input, 0) < 0 || dup2(ends[1], 1) < 0)
			die("redirect");
		close(ends[0]);
		close(ends[1]);
		execvp(command[0], command);
		die(command[0]);
	}
	close(ends[1]);
	close(input);
	return ends[0];
}

/* Looks for the texts in what has arrived since `from`, and a little before: a text may be split.
 */
static void search(struct measure *m, size_t from)
{
	size_t begin = from > TEXT_MAX ? from - TEXT_MAX : 0;

	for (int i = 0; i < m->marks; i++) {
		if (m->at[i].wall >= 0 ||
		    !memmem(m->seen + begin, m->length - begin, m->text[i], strlen(m->text[i])))
			continue;
		m->at[i].wall = seconds_of(CLOCK_MONOTONIC) - m->start;
		m->at[i].cpu = tree_cpu(m->child);
		if (m->keys[i] && write(m->keyboard, m->keys[i], strlen(m->keys[i])) < 0)
			die("keyboard");
	}
}

static void end_early(const struct measure *m)
{
	if (m->marks && m->at[m->marks - 1].wall >= 0)
		kill(m->child, SIGTERM);
}

/* Stamps the whole lines among what has not been looked through; they end in CR LF or LF. */
static void stamp_lines(struct measure *m)
{
	double wall = seconds_of(CLOCK_MONOTONIC) - m->start, cpu = -1;
	char *from = m->seen + m->stamped, *end;

	while ((end = memchr(from, '\n', (size_t)(m->seen + m->length - from)))) {
		if (*from == '@') {
			if (cpu < 0)
				cpu = tree_cpu(m->child);
			fprintf(m->stamps, "%.6f %.6f %.*s\n", wall, cpu,
				(int)strcspn(from, "\r\n"), from);
		}
		from = end + 1;
	}
	m->stamped = (size_t)(from - m->seen);
}

/* Until the command closes its output. Returns false when it has not within the time. */
static bool follow(struct measure *m, int in, int out)
{
	char buffer[4096];

	for (;;) {
		double left = m->start + m->seconds - seconds_of(CLOCK_MONOTONIC);
		struct pollfd p = { .fd = in, .events = POLLIN };
		size_t room = OUTPUT_MAX - m->length, keep, from = m->length;
		ssize_t n;

		if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) == 0)
			return false;
		n = read(in, buffer, sizeof(buffer));
		if (n <= 0)
			return true;
		if (write(out, buffer, (size_t)n) != n)
			die(m->output);
		keep = (size_t)n < room ? (size_t)n : room;
		memcpy(m->seen + from, buffer, keep);
		m->length += keep;
		if (m->stamps)
			stamp_lines(m);
		search(m, from);
		if (m->early)
			end_early(m);
	}
}

static void print_stamp(struct stamp s)
{
	if (s.wall < 0)
		printf("- - ");
	else
		printf("%.3f %.3f ", s.wall, s.cpu);
}

static void finish(struct measure *m, bool in_time)
{
	struct rusage used;
	struct stamp end;
	int status;

	if (!in_time)
		kill(m->child, SIGKILL);
	if (wait4(m->child, &status, 0, &used) < 0)
		die("wait");
	end.wall = seconds_of(CLOCK_MONOTONIC) - m->start;
	end.cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		  (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	for (int i = 0; i < m->marks; i++)
		print_stamp(m->at[i]);
	print_stamp(end);
	if (!in_time)
		printf("late\n");
	else
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void options(struct measure *m, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+o:s:t:em:k:")) != -1) {
		if (c == 'o') {
			m->output = optarg;
		} else if (c == 's') {
			m->stamps = fopen(optarg, "we");
			if (!m->stamps)
				die(optarg);
		} else if (c == 'e') {
			m->early = true;
		} else if (c == 't') {
			m->seconds = atoi(optarg);
		} else if (c == 'm' && m->marks < MARKS_MAX && strlen(optarg) <= TEXT_MAX) {
			m->at[m->marks].wall = -1;
			m->text[m->marks++] = optarg;
		} else if (c == 'k' && m->marks) {
			m->keys[m->marks - 1] = optarg;
		} else {
			m->output = NULL;
			break;
		}
	}
	if (!m->output || optind == argc || m->seconds <= 0) {
		fprintf(stderr, "usage: measure -o OUTPUT [-s STAMPS] [-t SECONDS] [-e] "
				"[-m TEXT [-k KEYS]]... COMMAND...\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct measure m = { .seconds = 600 };
	int in, out;

	options(&m, argc, argv);
	out = open(m.output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (out < 0)
		die(m.output);
	in = start(&m, argv + optind);
	finish(&m, follow(&m, in, out));
	return 0;
}
