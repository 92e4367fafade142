/*
 * khz.c - prints how many times in a millisecond this processor's time-stamp counter counts. For
 * nested: an emulated machine's counter is this one, and a kernel that finds out by an emulated
 * timer, on a busy host, is wrong at times by a factor of six, and its clock with it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES 20

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Both at one moment: of some tries that with the least time between. */
static void look(uint64_t *ns, uint64_t *tsc)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = now(), counter = __rdtsc(), after = now();

		if (after - before < least) {
			least = after - before;
			*ns = before + least / 2;
			*tsc = counter;
		}
	}
}

int main(void)
{
	struct timespec nap = { .tv_nsec = 200000000 };
	uint64_t ns[2], tsc[2];

	look(&ns[0], &tsc[0]);
	nanosleep(&nap, NULL);
	look(&ns[1], &tsc[1]);
	printf("%.0f\n", (double)(tsc[1] - tsc[0]) * 1e6 / (double)(ns[1] - ns[0]));
	return 0;
}
