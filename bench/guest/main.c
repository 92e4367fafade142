/*
 * main.c - the benchmark program, the same file on the host and in every guest.
 *
 * The idea: each row first finds out, unmeasured, how many units take about the wanted time here,
 * and then prints a line, does them, and prints another. Whoever watches the output from outside
 * takes the host's time and CPU time at the two lines: what the guest believes about time decides
 * the number of units only.
 *
 * Not measured: the first milliseconds of each row (a translator's first meeting with the code),
 * which are the boot row's. Its test: every run on every monitor returns the same values
 * (bench/compare checks).
 *
 * usage: work MILLISECONDS [ROW]...     prints, for each row:
 *     @row NAME begin
 *     @row NAME end UNITS OPERATIONS-PER-UNIT VALUE
 *
 *        work parallel WORKERS MILLISECONDS     the same from parallel.c
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "work.h"

static const struct work *const groups[] = { integer_works, float_works, kernel_works, tool_works,
					     lock_works };

_Noreturn void work_failed(const char *what)
{
	printf("@failed %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Does `units` of them; returns seconds. */
static double repeat(const struct work *w, unsigned long units, uint64_t *value)
{
	double start = now();

	while (units-- > 0)
		*value = w->unit();
	return now() - start;
}

static void row(const struct work *w, double wanted)
{
	unsigned long units = 1;
	uint64_t value;
	double took;

	if (w->setup)
		w->setup();
	while ((took = repeat(w, units, &value)) < wanted / 8 && units < 1ul << 40)
		units *= took < wanted / 64 ? 8 : 2;
	if (took < wanted) {
		double again = repeat(w, units,
				      &value); /* the host may have been away during one of them */

		took = again < took ? again : took;
	}
	units = (unsigned long)((double)units * wanted / took) + 1;
	printf("@row %s begin\n", w->name);
	repeat(w, units, &value);
	printf("@row %s end %lu %u %016llx\n", w->name, units, w->per, (unsigned long long)value);
}

static bool chosen(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return count == 0;
}

int main(int argc, char **argv)
{
	double wanted = argc > 1 ? atof(argv[1]) / 1000 : 0;

	if (argc == 2 && strcmp(argv[1], "exit") == 0) /* what the row exec starts */
		return 3;
	if (argc == 3 && strcmp(argv[1], "job") == 0)
		return parallel_job(argv[2]);
	if (argc == 4 && strcmp(argv[1], "parallel") == 0) {
		setvbuf(stdout, NULL, _IOLBF, 0);
		return parallel_main((unsigned)atoi(argv[2]), atof(argv[3]) / 1000);
	}
	if (wanted <= 0) {
		fprintf(stderr, "usage: work MILLISECONDS [ROW]...\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
		for (const struct work *w = groups[g]; w->name; w++) {
			if (chosen(w->name, argc - 2, argv + 2))
				row(w, wanted);
		}
	}
	return 0;
}
