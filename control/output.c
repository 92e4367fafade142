/*
 * output.c - files that appear whole (see output.h).
 *
 * The file has no name until it is done (O_TMPFILE), so that a killed program leaves nothing. On
 * file systems without that it has a temporary name.
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"

static void directory_of(const char *path, char *dir)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(dir, PATH_MAX, ".");
	else
		snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static int temporary_name(struct output *o, struct fail *why)
{
	int n = snprintf(o->temporary, PATH_MAX, "%s.XXXXXX", o->path);

	if (n < PATH_MAX)
		return 0;
	o->temporary[0] = '\0';
	return fail(why, -ENAMETOOLONG, "%s: the name is too long", o->path);
}

/* What is there may be replaced if it is a file that nobody uses. */
static int may_replace(const struct output *o, struct fail *why)
{
	uint64_t bytes;
	int fd, err;
	struct stat st;

	if (lstat(o->path, &st) != 0)
		return 0;
	if (!o->replace)
		return fail(why, -EEXIST, "%s: exists already; --force replaces it", o->path);
	if (!S_ISREG(st.st_mode))
		return fail(why, -EINVAL, "%s: is not a regular file", o->path);
	fd = file_open(o->path, true, &bytes, why);
	if (fd < 0)
		return fd;
	err = file_lock(fd, o->path, true, why);
	close(fd);
	return err;
}

int output_open(struct output *o, const char *path, bool replace, struct fail *why)
{
	char dir[PATH_MAX];
	int err;

	*o = (struct output){ .fd = -1, .replace = replace };
	if ((size_t)snprintf(o->path, sizeof(o->path), "%s", path) >= sizeof(o->path))
		return fail(why, -ENAMETOOLONG, "%.100s: the name is too long", path);
	err = may_replace(o, why);
	if (err)
		return err;
	directory_of(path, dir);
	o->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	if (o->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return fail(why, -errno, "%s: %s", path, strerror(errno));
	err = temporary_name(o, why);
	if (err)
		return err;
	o->fd = mkostemp(o->temporary, O_CLOEXEC);
	if (o->fd < 0) {
		o->temporary[0] = '\0';
		return fail(why, -errno, "%s: %s", path, strerror(errno));
	}
	fchmod(o->fd, 0644);
	return 0;
}

/* Gives the nameless file a name: its own, or one to rename it from. */
static int name_it(struct output *o, struct fail *why)
{
	char fd[64];

	snprintf(fd, sizeof(fd), "/proc/self/fd/%d", o->fd);
	if (linkat(AT_FDCWD, fd, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EEXIST || !o->replace)
		return fail(why, -errno, "%s: %s", o->path, strerror(errno));
	for (unsigned try = 0; try < 100; try++) {
		snprintf(o->temporary, PATH_MAX, "%.*s.%ld-%u", PATH_MAX - 40, o->path,
			 (long)getpid(), try);
		if (linkat(AT_FDCWD, fd, AT_FDCWD, o->temporary, AT_SYMLINK_FOLLOW) == 0)
			return 0;
	}
	o->temporary[0] = '\0';
	return fail(why, -errno, "%s: %s", o->path, strerror(errno));
}

int output_finish(struct output *o, struct fail *why)
{
	char dir[PATH_MAX];
	int err = 0, at;

	if (fsync(o->fd) != 0)
		return fail(why, -errno, "%s: %s", o->path, strerror(errno));
	if (!o->temporary[0])
		err = name_it(o, why);
	if (!err && o->temporary[0]) {
		if (renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path,
			      o->replace ? 0 : RENAME_NOREPLACE) != 0)
			return fail(why, -errno, "%s: %s", o->path, strerror(errno));
		o->temporary[0] = '\0';
	}
	directory_of(o->path, dir);
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at >= 0) {
		(void)!fsync(at);
		close(at);
	}
	return err;
}

void output_close(struct output *o)
{
	if (o->temporary[0])
		unlink(o->temporary);
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}
