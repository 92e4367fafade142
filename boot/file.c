/*
 * file.c - reads a kernel, an initrd or a flat binary from the host.
 *
 * The size is known and bounded before a byte is read, so a wrong path (a device, a
 * disk image of a terabyte) costs nothing. A file that shrinks meanwhile is an error.
 *
 * Spec: POSIX open, fstat, read. Tested by test/unit/flat.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/host.h"

void boot_file_name(struct boot_file *f, const char *path)
{
	size_t length = strlen(path), room = sizeof(f->name) - 1;

	if (length <= room)
		snprintf(f->name, sizeof(f->name), "%s", path);
	else
		snprintf(f->name, sizeof(f->name), "...%s", path + (length - room + 3));
}

static const char *kind(mode_t mode)
{
	if (S_ISDIR(mode))
		return "a directory";
	if (S_ISFIFO(mode))
		return "a pipe";
	if (S_ISCHR(mode) || S_ISBLK(mode))
		return "a device";
	return "not a regular file";
}

static int check(const struct boot_file *f, const struct stat *st, uint64_t limit, struct fail *why)
{
	if (!S_ISREG(st->st_mode))
		return fail(why, -EINVAL, "%s: is %s", f->name, kind(st->st_mode));
	if (st->st_size <= 0)
		return fail(why, -EINVAL, "%s: is empty", f->name);
	if ((uint64_t)st->st_size > limit)
		return fail(why, -EFBIG,
			    "%s: its %llu bytes do not fit in the guest's %llu bytes of memory",
			    f->name, (unsigned long long)st->st_size, (unsigned long long)limit);
	return 0;
}

static int read_all(const struct boot_file *f, int fd, uint8_t *to, uint64_t size, struct fail *why)
{
	uint64_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, to + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(why, -errno, "%s: %s", f->name, strerror(errno));
		if (n == 0)
			return fail(why, -EIO, "%s: became shorter while it was read", f->name);
		done += (uint64_t)n;
	}
	return 0;
}

int boot_file_open(struct boot_file *f, const char *path, uint64_t limit, struct fail *why)
{
	struct stat st;
	uint8_t *bytes = NULL;
	int r, fd;

	boot_file_name(f, path);
	f->bytes = NULL;
	f->size = 0;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail(why, -errno, "%s: %s", f->name, strerror(errno));
	r = fstat(fd, &st) ? fail(why, -errno, "%s: %s", f->name, strerror(errno))
			   : check(f, &st, limit, why);
	if (r)
		goto out;
	bytes = host_map((size_t)st.st_size);
	if (!bytes) {
		r = fail(why, -ENOMEM, "%s: no memory to read it", f->name);
		goto out;
	}
	r = read_all(f, fd, bytes, (uint64_t)st.st_size, why);
	if (r) {
		host_unmap(bytes, (size_t)st.st_size);
		goto out;
	}
	f->bytes = bytes;
	f->size = (uint64_t)st.st_size;
out:
	close(fd);
	return r;
}

void boot_file_close(struct boot_file *f)
{
	if (f->bytes)
		host_unmap((void *)(uintptr_t)f->bytes, f->size);
	f->bytes = NULL;
	f->size = 0;
}
