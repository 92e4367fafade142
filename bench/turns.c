/*
 * turns.c - runs several commands by turns on one processor's worth of time, a few milliseconds
 * each, and says when chosen lines appeared on their standard outputs, in host CPU time.
 *
 * The idea: on a shared host the speed of a processor changes by half from one second to the next
 * (the other hardware thread of its core, its clock), and a monitor measured in a bad second looks
 * slow. So nobody is measured after anybody: all stand still (SIGSTOP) but one, for a slice at a
 * time, and where a row begins each waits for all. What disturbs one then disturbs all.
 *
 * What is measured is the time to the line "@init", and from "@row NAME begin" to "@row NAME end".
 * Between these a runner is left alone: there the benchmark finds out by its own clock, which runs
 * on while it stands still, how often to do the next row. It does not know lines that a monitor
 * holds back, and processes that leave their process group. Its test is the benchmark itself
 * (bench/compare checks the rows' values).
 *
 * usage: turns -d DIRECTORY [-t SECONDS] [-w SLICE-MILLISECONDS] NAME COMMAND [ARGUMENT]...
 *              [-- NAME COMMAND [ARGUMENT]...]...
 *
 * DIRECTORY gets NAME.output, the command's standard output, NAME.err, its standard error, and
 * NAME.stamps: for each line of the output that begins with '@', wall and CPU seconds when its end
 * was seen, then the line. For each command a line is printed: NAME, wall and CPU seconds at its
 * end, and its exit status ("late" when it was killed after SECONDS, 900 unless told).
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

#define RUNNERS_MAX 16
#define LINE_CAP    256 /* what a longer line has beyond is not stamped */

struct runner {
	const char *name;
	char **command;
	pid_t pid; /* and its process group */
	int out;   /* its standard output's read end */
	FILE *output, *stamps;
	size_t length;
	char line[LINE_CAP];
	bool done;     /* has closed its output */
	bool waits;    /* has begun a row that others have not begun */
	bool measured; /* is before its first line or in a row */
};

struct turns {
	const char *directory;
	int seconds, slice, runners;
	double start;
	struct runner runner[RUNNERS_MAX];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "turns: %s: %s\n", what, strerror(errno));
	exit(1);
}

static FILE *open_result(const struct turns *t, const struct runner *r, const char *kind)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.%s", t->directory, r->name, kind);
	f = fopen(path, "we");
	if (!f)
		die(path);
	return f;
}

/* The child stands still before its first instruction. */
static void start(const struct turns *t, struct runner *r)
{
	FILE *err = open_result(t, r, "err");
	int ends[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	r->output = open_result(t, r, "output");
	r->stamps = open_result(t, r, "stamps");
	if (null < 0 || pipe2(ends, O_CLOEXEC) != 0)
		die("pipe");
	r->pid = fork();
	if (r->pid < 0)
		die("fork");
	if (r->pid == 0) {
		if (setpgid(0, 0) != 0 || dup2(null, 0) < 0 || dup2(ends[1], 1) < 0 ||
		    dup2(fileno(err), 2) < 0)
			die("redirect");
		raise(SIGSTOP);
		execvp(r->command[0], r->command);
		die(r->command[0]);
	}
	if (waitpid(r->pid, NULL, WUNTRACED) < 0)
		die("wait");
	close(ends[1]);
	close(null);
	fclose(err);
	r->out = ends[0];
}

static void stamp_line(const struct turns *t, struct runner *r)
{
	/* The time is read while it stands still: reading takes longer than a short row. */
	kill(-r->pid, SIGSTOP);
	fprintf(r->stamps, "%.6f %.6f %.*s\n", now() - t->start, tree_cpu(r->pid),
		(int)strcspn(r->line, "\r\n"), r->line);
	r->waits = r->measured = strncmp(r->line, "@row ", 5) == 0 && strstr(r->line, " begin");
	if (!r->waits)
		kill(-r->pid, SIGCONT);
}

/* Takes in what it printed, which its end closes. */
static void take_output(const struct turns *t, struct runner *r)
{
	char buffer[4096];
	ssize_t n = read(r->out, buffer, sizeof(buffer));

	if (n <= 0) {
		r->done = true;
		return;
	}
	if (fwrite(buffer, 1, (size_t)n, r->output) != (size_t)n)
		die(r->name);
	for (ssize_t i = 0; i < n; i++) {
		if (r->length < sizeof(r->line) - 1)
			r->line[r->length++] = buffer[i];
		if (buffer[i] != '\n')
			continue;
		r->line[r->length] = 0;
		if (r->line[0] == '@')
			stamp_line(t, r);
		r->length = 0;
	}
}

/* One slice of one runner, less if it comes to a row's beginning or its end; what is not measured
 * belongs to no slice. */
static void run_slice(const struct turns *t, struct runner *r)
{
	double slice = now() + t->slice / 1e3, limit = t->start + t->seconds, left;

	kill(-r->pid, SIGCONT);
	while (!r->done && !r->waits && (left = (r->measured ? slice : limit) - now()) > 0) {
		struct pollfd p = { .fd = r->out, .events = POLLIN };
		struct timespec wait = { .tv_sec = (time_t)left,
					 .tv_nsec = (long)((left - (double)(time_t)left) * 1e9) };

		if (ppoll(&p, 1, &wait, NULL) > 0)
			take_output(t, r);
	}
	if (!r->done)
		kill(-r->pid, SIGSTOP);
}

/* Until all have ended. Returns false when they have not within the time. */
static bool take_turns(struct turns *t)
{
	for (;;) {
		int live = 0, ran = 0;

		for (int i = 0; i < t->runners; i++) {
			struct runner *r = &t->runner[i];

			if (r->done)
				continue;
			live++;
			if (r->waits)
				continue;
			ran++;
			run_slice(t, r);
		}
		if (live == 0)
			return true;
		if (now() - t->start > t->seconds)
			return false;
		for (int i = 0; ran == 0 && i < t->runners; i++)
			t->runner[i].waits = false;
	}
}

static void finish(const struct turns *t, struct runner *r)
{
	struct rusage used;
	int status;

	if (!r->done)
		kill(-r->pid, SIGKILL);
	if (wait4(r->pid, &status, 0, &used) < 0)
		die("wait");
	fclose(r->stamps);
	fclose(r->output);
	printf("%s %.3f %.3f ", r->name, now() - t->start,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	if (!r->done)
		printf("late\n");
	else
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: turns -d DIRECTORY [-t SECONDS] [-w SLICE-MILLISECONDS] "
			"NAME COMMAND... [-- NAME COMMAND...]...\n");
	exit(2);
}

static void options(struct turns *t, int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+d:t:w:")) != -1) {
		if (c == 'd')
			t->directory = optarg;
		else if (c == 't')
			t->seconds = atoi(optarg);
		else if (c == 'w')
			t->slice = atoi(optarg);
		else
			usage();
	}
	for (int i = optind; i < argc; i++) {
		if (i + 1 >= argc || t->runners == RUNNERS_MAX)
			usage();
		t->runner[t->runners++] = (struct runner){ .name = argv[i],
							   .command = argv + i + 1,
							   .measured = true };
		while (i < argc && strcmp(argv[i], "--") != 0)
			i++;
		argv[i] = NULL; /* ends the command; behind the last one it is NULL already */
	}
	if (!t->directory || !t->runners || t->seconds <= 0 || t->slice <= 0 || t->slice >= 1000)
		usage();
}

int main(int argc, char **argv)
{
	static struct turns t = { .seconds = 900, .slice = 20 };

	options(&t, argc, argv);
	t.start = now();
	for (int i = 0; i < t.runners; i++)
		start(&t, &t.runner[i]);
	take_turns(&t);
	for (int i = 0; i < t.runners; i++)
		finish(&t, &t.runner[i]);
	return 0;
}
