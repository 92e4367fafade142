/*
 * time.c - the host's clocks and its random source on Linux.
 *
 * Only machine/clock.c and the command line may look at these: a guest sees
 * time through the machine's gate.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "host/host.h"

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t host_monotonic_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* The kernel, which tests it, goes by it. */
bool host_tsc_steady(void)
{
	char name[8] = "";
	int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		      O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (read(fd, name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	close(fd);
	return strcmp(name, "tsc\n") == 0;
}

uint64_t host_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint64_t host_cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t host_thread_cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void host_random(void *buf, size_t bytes)
{
	uint8_t *p = buf;

	while (bytes > 0) {
		ssize_t got = getrandom(p, bytes, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			abort(); /* no random source: nothing that needs one may go on */
		p += got;
		bytes -= (size_t)got;
	}
}
