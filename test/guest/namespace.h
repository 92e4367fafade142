/*
 * namespace.h - a test makes itself root of name spaces of its own, where it may mount, or make
 * networks.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_NAMESPACE_H
#define TEST_NAMESPACE_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static inline void namespace_map(const char *file, const char *format, unsigned id)
{
	char text[64];
	int fd = open(file, O_WRONLY);

	snprintf(text, sizeof(text), format, id);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "%s: %s\n", file, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* CLONE_NEW*, beside the users where those are needed first. false: it is not permitted here. */
static inline bool namespace_enter(int flags)
{
	unsigned uid = getuid(), gid = getgid();

	if (unshare(flags) == 0)
		return true;
	if (unshare(CLONE_NEWUSER | flags) != 0)
		return false;
	namespace_map("/proc/self/setgroups", "deny", 0);
	namespace_map("/proc/self/uid_map", "0 %u 1", uid);
	namespace_map("/proc/self/gid_map", "0 %u 1", gid);
	return true;
}

#endif
