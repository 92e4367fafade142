/*
 * exit_time.c - loaded before the C library: where a monitor's time goes between two entries of its
 * guest.
 *
 * EXIT_TIME=FILE: at the end, a line with three numbers, nanoseconds an exit: median time outside
 * of KVM_RUN, which is the monitor's own; median time inside, which is the guest's and the
 * kernel's; and CPU time of the thread, all of both, on average. The first exits are left out: a
 * monitor's start is not what is asked for.
 *
 * Time is the processor's counter, read before and after the call: that costs every monitor the
 * same.
 *
 * Not modelled: several vCPUs.
 * SPDX-License-Identifier: MIT
 */
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <x86intrin.h>

#define SKIPPED 1000u
#define ROOM    (1u << 17)

static uint32_t inside[ROOM], outside[ROOM];
static unsigned count;
static uint64_t left; /* when the last KVM_RUN ended */
static struct timespec first_time, first_cpu, last_time, last_cpu;
static uint64_t first_tsc, last_tsc;

static void look(struct timespec *real, struct timespec *cpu, uint64_t *tsc)
{
	clock_gettime(CLOCK_MONOTONIC, real);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, cpu);
	*tsc = __rdtsc();
}

static void note(uint64_t entered, uint64_t now)
{
	unsigned n = count++;

	if (n == SKIPPED)
		look(&first_time, &first_cpu, &first_tsc);
	if (n > SKIPPED && n - SKIPPED - 1 < ROOM) {
		inside[n - SKIPPED - 1] = (uint32_t)(now - entered);
		outside[n - SKIPPED - 1] = (uint32_t)(entered - left);
		/* The last of these counts; each costs a system call. */
		if (n % 4096 == 0)
			look(&last_time, &last_cpu, &last_tsc);
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	uint64_t entered;
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!next)
		next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	if (request != KVM_RUN)
		return next(fd, request, arg);
	entered = __rdtsc();
	r = next(fd, request, arg);
	note(entered, __rdtsc());
	left = __rdtsc();
	return r;
}

static int smaller(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double nanoseconds(const struct timespec *a, const struct timespec *b)
{
	return (double)(b->tv_sec - a->tv_sec) * 1e9 + (double)(b->tv_nsec - a->tv_nsec);
}

__attribute__((destructor)) static void tell(void)
{
	const char *path = getenv("EXIT_TIME");
	unsigned n = count > SKIPPED + ROOM ? ROOM : count > SKIPPED ? count - SKIPPED - 1 : 0;
	FILE *f = path && last_tsc ? fopen(path, "w") : NULL;
	double tick;

	if (!f)
		return;
	tick = nanoseconds(&first_time, &last_time) / (double)(last_tsc - first_tsc);
	qsort(inside, n, sizeof(*inside), smaller);
	qsort(outside, n, sizeof(*outside), smaller);
	fprintf(f, "%.0f %.0f %.0f\n", outside[n / 2] * tick, inside[n / 2] * tick,
		nanoseconds(&first_cpu, &last_cpu) / (double)((count - 1) / 4096 * 4096 - SKIPPED));
	fclose(f);
}
