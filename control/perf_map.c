/*
 * perf_map.c - writes the file of --perf-map (see perf_map.h).
 *
 * The idea: /tmp is everybody's, and the name can be guessed. What lies there already is removed
 * and the file made anew, so that nobody's link is followed.
 *
 * Spec: tools/perf/Documentation/jit-interface.txt in Linux. Tested by test/api/cli.
 * SPDX-License-Identifier: MIT
 */
#include "control/perf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whole lines: perf may look while the guest runs, and a signal may end it. */
static void write_line(void *arg, const void *at, size_t bytes, const char *name)
{
	fprintf(arg, "%" PRIxPTR " %zx %s\n", (uintptr_t)at, bytes, name);
}

static int open_default(char *path, size_t bytes)
{
	snprintf(path, bytes, "/tmp/perf-%ld.map", (long)getpid());
	if (unlink(path) && errno != ENOENT)
		return -1;
	return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
}

int perf_map_open(const char *path, struct engine_options *options, struct fail *why)
{
	char made[64];
	FILE *file;
	int fd;

	if (!path)
		return 0;
	if (*path) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	} else {
		fd = open_default(made, sizeof(made));
		path = made;
	}
	file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!file) {
		fail(why, -errno, "%s: cannot write: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return why->code;
	}
	setvbuf(file, NULL, _IOLBF, BUFSIZ);
	options->code_made = write_line;
	options->code_made_arg = file;
	return 0;
}

void perf_map_close(struct engine_options *options)
{
	if (options->code_made)
		fclose(options->code_made_arg);
	options->code_made = NULL;
}
