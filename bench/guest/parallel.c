/*
 * parallel.c - the same work by one worker and by several: what more CPUs are worth.
 *
 * The idea: a number of jobs is found that takes one worker about the wanted time here, and exactly
 * those are done again by N workers; who watches from outside divides the two times.
 *
 *   integer  a process for each worker, which does its share of the whole integer set
 *   build    as make does: at most so many processes at a time, each a program of its own that
 *            reads a source, computes (sort, lz, digest, on fresh memory), writes an object, ends
 *
 * Its test: every job ends with the same value everywhere (main.c's rows have them, too).
 *
 * usage: work parallel WORKERS MILLISECONDS     prints, for each load and 1 and WORKERS workers:
 *     @row LOAD/WORKERS begin
 *     @row LOAD/WORKERS end JOBS 1 VALUE
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define SOURCE_BYTES 65536u

static uint64_t mix(uint64_t value, uint64_t more)
{
	return (value ^ more) * UINT64_C(0x9e3779b97f4a7c15) + (value >> 29);
}

/* --- integer --- */

static uint64_t integer_job(void)
{
	uint64_t value = 0;

	for (const struct work *w = integer_works; w->name; w++)
		value = mix(value, w->unit());
	return value;
}

static void integer_setup(void)
{
	for (const struct work *w = integer_works; w->name; w++)
		if (w->setup)
			w->setup();
}

static void integer_worker(unsigned long jobs, uint64_t expected)
{
	while (jobs-- > 0)
		if (integer_job() != expected)
			_exit(1);
	_exit(0);
}

static void integer_run(unsigned long jobs, unsigned workers, uint64_t expected)
{
	int status;

	for (unsigned i = 0; i < workers; i++) {
		unsigned long share = jobs / workers + (i < jobs % workers);
		pid_t child = fork();

		if (child < 0)
			work_failed("fork");
		if (child == 0)
			integer_worker(share, expected);
	}
	for (unsigned i = 0; i < workers; i++)
		if (wait(&status) < 0 || status != 0)
			work_failed("a worker of integer");
}

/* --- build --- */

static void name_of(char *name, size_t room, unsigned long number, const char *kind)
{
	snprintf(name, room, "work-%lu.%s", number, kind);
}

static void transfer(const char *name, int flags, void *data, size_t bytes)
{
	int fd = open(name, flags | O_CLOEXEC, 0600);
	ssize_t n = fd < 0 ? -1 : flags & O_CREAT ? write(fd, data, bytes) : read(fd, data, bytes);

	if (n != (ssize_t)bytes)
		work_failed(name);
	close(fd);
}

static uint64_t compile(void)
{
	uint64_t value;

	lz_setup();
	digest_setup();
	value = mix(work_sort(), work_lz());
	return mix(value, work_digest());
}

/* The program that a job is: `work job NUMBER`. */
int parallel_job(const char *number)
{
	unsigned long n = strtoul(number, NULL, 10);
	char source[32], object[32];
	uint8_t *text = malloc(SOURCE_BYTES);
	uint64_t value;

	name_of(source, sizeof(source), n, "c");
	name_of(object, sizeof(object), n, "o");
	memset(text, 'x', SOURCE_BYTES);
	transfer(source, O_WRONLY | O_CREAT | O_TRUNC, text, SOURCE_BYTES);
	transfer(source, O_RDONLY, text, SOURCE_BYTES);
	value = compile();
	memcpy(text, &value, sizeof(value));
	transfer(object, O_WRONLY | O_CREAT | O_TRUNC, text, SOURCE_BYTES / 4);
	unlink(source);
	free(text);
	return 0;
}

static void build_start(unsigned long number)
{
	char text[24];
	pid_t child;

	snprintf(text, sizeof(text), "%lu", number);
	child = vfork();
	if (child == 0) {
		execl("/proc/self/exe", "work", "job", text, (char *)NULL);
		_exit(127);
	}
	if (child < 0)
		work_failed("vfork");
}

/* The parent is the linker: it reads each object and takes it away. */
static void build_end(unsigned long jobs, uint64_t expected)
{
	for (unsigned long n = 0; n < jobs; n++) {
		char object[32];
		uint64_t value;

		name_of(object, sizeof(object), n, "o");
		transfer(object, O_RDONLY, &value, sizeof(value));
		if (value != expected)
			work_failed("an object of build");
		unlink(object);
	}
}

static void build_run(unsigned long jobs, unsigned workers, uint64_t expected)
{
	unsigned long started = 0, ended = 0;

	while (ended < jobs) {
		int status;

		if (started < jobs && started - ended < workers) {
			build_start(started++);
			continue;
		}
		if (wait(&status) < 0 || status != 0)
			work_failed("a job of build");
		ended++;
	}
	build_end(jobs, expected);
}

/* --- both --- */

static const struct load {
	const char *name;
	void (*setup)(void);
	uint64_t (*value)(void); /* of a job */
	void (*run)(unsigned long jobs, unsigned workers, uint64_t expected);
} loads[] = {
	{"integer", integer_setup, integer_job, integer_run},
	{ "build",  NULL,          compile,     build_run  },
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double timed(const struct load *l, unsigned long jobs, uint64_t expected)
{
	double start = now();

	l->run(jobs, 1, expected);
	return now() - start;
}

static void measured(const struct load *l, unsigned long jobs, unsigned workers, uint64_t expected)
{
	printf("@row %s/%u begin\n", l->name, workers);
	l->run(jobs, workers, expected);
	printf("@row %s/%u end %lu 1 %016llx\n", l->name, workers, jobs,
	       (unsigned long long)expected);
}

int parallel_main(unsigned workers, double wanted)
{
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
		const struct load *l = &loads[i];
		unsigned long jobs = workers;
		uint64_t expected;
		double took;

		if (l->setup)
			l->setup();
		expected = l->value();
		while ((took = timed(l, jobs, expected)) < wanted / 4)
			jobs *= 2;
		jobs = (unsigned long)((double)jobs * wanted / took / workers + 1) * workers;
		measured(l, jobs, 1, expected);
		measured(l, jobs, workers, expected);
	}
	return 0;
}
