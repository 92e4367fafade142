/*
 * block_file.c - whole transfers to and from a host file (see block_file.h).
 *
 * A signal, a full pipe of requests or a file's end make the system's calls return early; here
 * they do not.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(int fd, uint64_t offset, void *to, size_t bytes)
{
	uint8_t *at = to;

	while (bytes > 0) {
		ssize_t n = pread(fd, at, bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			memset(at, 0, bytes);
			return 0;
		}
		at += n;
		offset += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}

int file_write(int fd, uint64_t offset, const void *from, size_t bytes)
{
	const uint8_t *at = from;

	while (bytes > 0) {
		ssize_t n = pwrite(fd, at, bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		offset += (uint64_t)n;
		bytes -= (size_t)n;
	}
	return 0;
}

int file_sync(int fd)
{
	while (fdatasync(fd) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int file_open(const char *path, bool writable, uint64_t *bytes, struct fail *why)
{
	/* O_NONBLOCK: a FIFO of that name must not hang us. */
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	off_t end;

	if (fd < 0 && writable && (errno == EACCES || errno == EROFS || errno == EPERM))
		return fail(why, -errno,
			    "%s: cannot be written (%s): open it read-only or with an overlay",
			    path, strerror(errno));
	if (fd < 0)
		return fail(why, -errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
		close(fd);
		return fail(why, -EINVAL, "%s: neither a file nor a block device", path);
	}
	end = lseek(fd, 0, SEEK_END);
	/* From here on it may wait: io_uring would say EAGAIN for it otherwise. */
	if (end < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) != 0) {
		close(fd);
		return fail(why, -EIO, "%s: has no size", path);
	}
	*bytes = (uint64_t)end;
	return fd;
}

int file_open_direct(int fd, bool writable, uint32_t *align)
{
	char path[64];
	struct statx st;
	int direct;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_DIRECT);
	if (direct < 0)
		return -errno;
	/* Whole pages at least: a page of the cache must not be half of one transfer and half of
	 * the other kind, or the kernel reports a collision as a failed sync. */
	*align = 4096;
#ifdef STATX_DIOALIGN
	if (statx(direct, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
	    (st.stx_mask & STATX_DIOALIGN)) {
		*align = st.stx_dio_offset_align > *align ? st.stx_dio_offset_align : *align;
		*align = st.stx_dio_mem_align > *align ? st.stx_dio_mem_align : *align;
	}
#else
	(void)st;
#endif
	return direct;
}
