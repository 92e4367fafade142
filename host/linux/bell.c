/*
 * bell.c - bells on Linux: an eventfd each, and one epoll set to wait for all of them.
 *
 * Spec: eventfd(2), epoll(7). Tested by test/unit/bells.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host/host.h"

int host_bells_open(struct fail *why)
{
	int set = epoll_create1(EPOLL_CLOEXEC);

	return set < 0 ? fail(why, -errno, "cannot wait for bells: %s", strerror(errno)) : set;
}

int host_bell_open(int set, uint64_t name, struct fail *why)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = name };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;

	if (fd >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0)
		return fd;
	err = fail(why, -errno, "cannot make a bell: %s", strerror(errno));
	host_bell_close(fd);
	return err;
}

uint64_t host_bells_wait(int set)
{
	struct epoll_event e;

	while (epoll_wait(set, &e, 1, -1) != 1)
		;
	return e.data.u64;
}

void host_bell_ring(int fd)
{
	const uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n; /* refused only when it has been rung 2^64 times */
}

bool host_bell_take(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

void host_bell_close(int fd)
{
	if (fd >= 0)
		close(fd);
}
