/*
 * p9_file.c - 9P operations on what is open: contents, directories' entries, locks.
 *
 * Locks are the host's, one owner for each open fid (F_OFD_SETLK): machines that share a directory
 * and programs of the host see each other's. A client that may wait asks again; nobody waits here.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9.c.
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/p9_internal.h"

/* Flags of an open as the protocol has them: Linux's own numbers on x86. */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC)
_Static_assert(O_TRUNC == 01000 && O_APPEND == 02000 && O_SYNC == 04010000 && O_EXCL == 0200,
	       "9P2000.L, Tlopen");

enum { LOCK_SUCCESS, LOCK_BLOCKED, LOCK_ERROR };
_Static_assert(F_RDLCK == 0 && F_WRLCK == 1 && F_UNLCK == 2, "9P2000.L, Tlock");

/* --- Opening --- */

static bool wants_writing(uint64_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static int checked(const struct p9 *s, uint64_t flags)
{
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	return s->readonly && wants_writing(flags) ? -EROFS : 0;
}

static int opened(struct p9 *s, struct p9_fid *fid, int fd, uint64_t flags, struct p9_out *out)
{
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) != 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	fid->open = fd;
	fid->flags = (int)flags & OPEN_FLAGS;
	fid->writable = (flags & O_ACCMODE) != O_RDONLY;
	p9_put_qid(out, s, &st);
	p9_put(out, 0, 4); /* iounit: as much as fits a message */
	return 0;
}

int p9_do_lopen(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint64_t flags = p9_get(in, 4);
	int err = checked(s, flags);

	if (in->bad || (fid && fid->open >= 0))
		return -EINVAL;
	if (!fid || err)
		return fid ? err : -EBADF;
	return opened(s, fid, p9_contents(s, fid->place.at, (int)flags & OPEN_FLAGS), flags, out);
}

/* Somebody has made the file meanwhile: fine, unless it was to be new. */
static int open_existing(struct p9 *s, struct p9_fid *fid, const char *name, uint64_t flags,
			 struct p9_place *place)
{
	int err = flags & O_EXCL ? -EEXIST : p9_step(s, &fid->place, name, place);
	int fd;

	if (err)
		return err;
	fd = p9_contents(s, place->at, (int)flags & OPEN_FLAGS);
	if (fd < 0)
		p9_place_close(place);
	return fd;
}

static int create(struct p9 *s, struct p9_fid *fid, const char *name, uint64_t flags, uint64_t mode,
		  struct p9_place *place)
{
	int fd = openat(fid->place.at, name,
			((int)flags & OPEN_FLAGS) | O_CREAT | O_EXCL | O_CLOEXEC, mode & P9_MODE);
	char link[16];

	if (fd < 0)
		return errno == EEXIST ? open_existing(s, fid, name, flags, place) : -errno;
	/* The guest's umask has been applied; this process's is nothing to it. */
	(void)fchmod(fd, mode & P9_MODE);
	p9_proc_name(fd, link);
	place->path = p9_path(fid->place.path, name);
	place->at = place->path ? openat(s->proc, link, O_PATH | O_CLOEXEC) : -1;
	if (place->at < 0) {
		int err = -errno;

		close(fd);
		p9_place_close(place);
		return err;
	}
	return fd;
}

int p9_do_lcreate(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct p9_place place = { .at = -1 };
	char name[NAME_MAX + 1];
	int err = p9_get_name(in, name), fd;
	uint64_t flags = p9_get(in, 4), mode = p9_get(in, 4);

	p9_get(in, 4); /* the group */
	if (in->bad || err || (fid && fid->open >= 0))
		return err ? err : -EINVAL;
	err = checked(s, flags);
	if (!fid || err)
		return fid ? err : -EBADF;
	fd = create(s, fid, name, flags, mode, &place);
	if (fd < 0)
		return fd;
	err = p9_fid_move(s, fid, &place);
	if (err) {
		close(fd);
		return err;
	}
	return opened(s, fid, fd, flags, out);
}

/* --- Contents --- */

int p9_do_read(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint64_t offset = p9_get(in, 8), count = p9_get(in, 4);
	size_t at = out->at + 4;
	ssize_t n;

	if (in->bad || offset > INT64_MAX)
		return -EINVAL;
	if (!fid || fid->open < 0)
		return -EBADF;
	if (count > out->end - at)
		count = out->end - at;
	n = pread(fid->open, out->data + at, count, (off_t)offset);
	if (n < 0)
		return -errno;
	p9_put(out, (uint64_t)n, 4);
	out->at += (size_t)n;
	return 0;
}

int p9_do_write(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint64_t offset = p9_get(in, 8), count = p9_get(in, 4);
	ssize_t n;

	if (in->bad || offset > INT64_MAX || count > in->end - in->at)
		return -EINVAL;
	if (!fid || !fid->writable)
		return -EBADF;
	n = pwrite(fid->open, in->data + in->at, count, (off_t)offset);
	if (n < 0)
		return -errno;
	p9_put(out, (uint64_t)n, 4);
	return 0;
}

int p9_do_fsync(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	/* Clients before Linux 3 do not say which. */
	uint64_t data_only = in->at < in->end ? p9_get(in, 4) : 0;

	(void)out;
	if (in->bad)
		return -EINVAL;
	if (!fid || fid->open < 0)
		return -EBADF;
	return (data_only ? fdatasync(fid->open) : fsync(fid->open)) == 0 ? 0 : -errno;
}

/* --- Entries --- */

struct entry { /* getdents64(2) */
	uint64_t ino;
	int64_t next;
	uint16_t bytes;
	uint8_t type;
	char name[];
};
#define ENTRY_BYTES 24u /* of an answer, without the name */

/* Entries [0, bytes) of `list`, as many as fit below `end`. */
static int put_entries(const struct p9 *s, struct p9_out *out, const uint8_t *list, long bytes,
		       size_t end, uint64_t device)
{
	const size_t first = out->at;

	for (long at = 0; at < bytes;) {
		const struct entry *e = (const struct entry *)(list + at);
		size_t name = strlen(e->name);

		if (end - out->at < ENTRY_BYTES + name)
			return out->at == first ? -EINVAL : 0; /* none would mean the end */
		p9_put(out, e->type == DT_DIR ? 0x80 : e->type == DT_LNK ? 0x02 : 0, 1);
		p9_put(out, 0, 4);
		p9_put(out, p9_qid_path(s, device, e->ino), 8);
		p9_put(out, (uint64_t)e->next, 8);
		p9_put(out, e->type, 1);
		p9_put_text(out, e->name, name);
		at += e->bytes;
	}
	return 0;
}

int p9_do_readdir(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint64_t offset = p9_get(in, 8), count = p9_get(in, 4);
	size_t start = out->at;
	_Alignas(8) uint8_t list[16384];
	struct stat st;
	long n;
	int err;

	if (in->bad)
		return -EINVAL;
	if (!fid || fid->open < 0)
		return -EBADF;
	if (fstat(fid->open, &st) != 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (lseek(fid->open, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	n = syscall(SYS_getdents64, fid->open, list, sizeof(list));
	if (n < 0)
		return -errno;
	p9_put(out, 0, 4);
	if (count > out->end - out->at)
		count = out->end - out->at;
	err = put_entries(s, out, list, n, out->at + count, st.st_dev);
	count = out->at - start - 4;
	memcpy(out->data + start, &(uint32_t){ (uint32_t)count }, 4);
	return err;
}

/* --- Locks --- */

static int get_lock(struct p9_in *in, struct flock *lock, bool flagged)
{
	uint64_t type = p9_get(in, 1), start, length;

	if (flagged)
		p9_get(in, 4);
	start = p9_get(in, 8);
	length = p9_get(in, 8);
	if (in->bad || type > F_UNLCK || start > INT64_MAX || length > INT64_MAX)
		return -EINVAL;
	*lock = (struct flock){ .l_type = (short)type,
				.l_whence = SEEK_SET,
				.l_start = (off_t)start,
				.l_len = (off_t)length };
	return 0;
}

int p9_do_lock(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct flock lock;
	int err = get_lock(in, &lock, true);

	if (err)
		return err;
	if (!fid || fid->open < 0)
		return -EBADF;
	if (fcntl(fid->open, F_OFD_SETLK, &lock) == 0)
		p9_put(out, LOCK_SUCCESS, 1);
	else
		p9_put(out, errno == EAGAIN || errno == EACCES ? LOCK_BLOCKED : LOCK_ERROR, 1);
	return 0;
}

int p9_do_getlock(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct flock lock;
	int err = get_lock(in, &lock, false);
	uint64_t process = p9_get(in, 4);
	size_t bytes;
	const char *client = p9_get_text(in, &bytes);

	if (err || in->bad)
		return -EINVAL;
	if (!fid || fid->open < 0)
		return -EBADF;
	if (lock.l_type == F_UNLCK || fcntl(fid->open, F_OFD_GETLK, &lock) != 0)
		return lock.l_type == F_UNLCK ? -EINVAL : -errno;
	p9_put(out, (uint64_t)lock.l_type, 1);
	p9_put(out, (uint64_t)lock.l_start, 8);
	p9_put(out, (uint64_t)lock.l_len, 8);
	p9_put(out, process, 4);
	p9_put_text(out, client, bytes);
	return 0;
}
