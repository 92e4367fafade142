/*
 * p9_tree.c - 9P operations on names and attributes.
 *
 * Each is one system call on a descriptor of the directory and a name without slashes.
 *
 * Spec: 9P2000.L. Tested by test/unit/p9.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "backend/p9_internal.h"

#define V9FS_MAGIC    0x01021997u
#define GETATTR_BASIC 0x7ffu

enum {
	SET_MODE = 1,
	SET_UID = 2,
	SET_GID = 4,
	SET_SIZE = 8,
	SET_ATIME = 0x10,
	SET_MTIME = 0x20,
	SET_ATIME_GIVEN = 0x80,
	SET_MTIME_GIVEN = 0x100,
};

/* --- Walking --- */

static int walk_name(struct p9_in *in, char name[NAME_MAX + 1])
{
	int err = p9_get_string(in, name, NAME_MAX + 1);

	if (err)
		return err;
	return !*name || strchr(name, '/') || strcmp(name, ".") == 0 ? -EINVAL : 0;
}

/* Goes on from *place as far as the names lead; *done: how many. An error only at the first. */
static int walk(struct p9 *s, struct p9_in *in, struct p9_out *out, unsigned names,
		struct p9_place *place, unsigned *done)
{
	for (*done = 0; *done < names; ++*done) {
		struct p9_place next = { .at = -1 };
		char name[NAME_MAX + 1];
		struct stat st;
		int err = walk_name(in, name);

		if (in->bad)
			return -EINVAL;
		if (!err)
			err = p9_step(s, place, name, &next);
		if (!err && fstat(next.at, &st) != 0) {
			err = -errno;
			p9_place_close(&next);
		}
		if (err)
			return *done ? 0 : err;
		p9_place_close(place);
		*place = next;
		p9_put_qid(out, s, &st);
	}
	return 0;
}

int p9_do_walk(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint32_t number = (uint32_t)p9_get(in, 4);
	unsigned names = (unsigned)p9_get(in, 2), done;
	struct p9_place place;
	int err;

	if (in->bad || names > P9_WALK_MOST)
		return -EINVAL;
	if (!fid)
		return -EBADF;
	if (fid->number == number ? fid->open >= 0 : p9_fid(s, number) != NULL)
		return -EEXIST;
	err = p9_place_copy(&fid->place, &place);
	if (err)
		return err;
	p9_put(out, 0, 2);
	err = walk(s, in, out, names, &place, &done);
	if (err || done < names) {
		p9_place_close(&place);
	} else if (fid->number == number) {
		err = p9_fid_move(s, fid, &place);
	} else {
		err = p9_fid_add(s, number, &place);
	}
	memcpy(out->data + P9_HEADER, &(uint16_t){ (uint16_t)done }, 2);
	return err;
}

int p9_do_clunk(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);

	(void)out;
	if (in->bad || !fid)
		return -EBADF;
	p9_fid_drop(s, fid);
	return 0;
}

/* --- Making --- */

/* Directory and name, as many messages begin. */
static int get_entry(struct p9 *s, struct p9_in *in, struct p9_fid **fid, char name[NAME_MAX + 1])
{
	int err;

	*fid = p9_get_fid(s, in);
	err = p9_get_name(in, name);
	if (err)
		return err;
	return *fid ? 0 : -EBADF;
}

/* Answers with what is at the name now, and gives it its mode. */
static int made(struct p9 *s, const struct p9_fid *in, const char *name, const uint64_t *mode,
		struct p9_out *out)
{
	struct p9_place place;
	struct stat st;
	int err = p9_step(s, &in->place, name, &place);

	if (err)
		return err;
	if (mode)
		err = p9_chmod(s, place.at, *mode);
	if (!err && fstat(place.at, &st) != 0)
		err = -errno;
	if (!err)
		p9_put_qid(out, s, &st);
	p9_place_close(&place);
	return err;
}

int p9_do_mkdir(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid;
	char name[NAME_MAX + 1];
	int err = get_entry(s, in, &fid, name);
	uint64_t mode = p9_get(in, 4);

	p9_get(in, 4); /* the group */
	if (err || in->bad)
		return err ? err : -EINVAL;
	if (mkdirat(fid->place.at, name, mode & P9_MODE) != 0)
		return -errno;
	return made(s, fid, name, &mode, out);
}

int p9_do_symlink(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid;
	char name[NAME_MAX + 1], target[PATH_MAX];
	int err = get_entry(s, in, &fid, name);

	if (!err)
		err = p9_get_string(in, target, sizeof(target));
	p9_get(in, 4); /* the group */
	if (err || in->bad)
		return err ? err : -EINVAL;
	if (symlinkat(target, fid->place.at, name) != 0)
		return -errno;
	return made(s, fid, name, NULL, out);
}

int p9_do_mknod(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid;
	char name[NAME_MAX + 1];
	int err = get_entry(s, in, &fid, name), fd;
	uint64_t mode = p9_get(in, 4);

	p9_get(in, 4); /* major, minor, the group */
	p9_get(in, 8);
	if (err || in->bad)
		return err ? err : -EINVAL;
	if ((mode & S_IFMT) != 0 && !S_ISREG(mode))
		return -EPERM;
	fd = openat(fid->place.at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & P9_MODE);
	if (fd < 0)
		return -errno;
	close(fd);
	return made(s, fid, name, &mode, out);
}

int p9_do_link(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *directory = p9_get_fid(s, in), *fid = p9_get_fid(s, in);
	char name[NAME_MAX + 1], link[16];
	int err = p9_get_name(in, name);

	(void)out;
	if (err)
		return err;
	if (!directory || !fid)
		return -EBADF;
	p9_proc_name(fid->place.at, link);
	err = linkat(s->proc, link, directory->place.at, name, AT_SYMLINK_FOLLOW);
	return err == 0 ? 0 : -errno;
}

/* --- Moving and removing --- */

static int move(struct p9 *s, const struct p9_place *from, const char *old,
		const struct p9_place *to, const char *name)
{
	char *before = p9_path(from->path, old), *after = p9_path(to->path, name);
	int err = before && after ? 0 : -errno;

	if (!err && renameat(from->at, old, to->at, name) != 0)
		err = -errno;
	if (!err)
		p9_fids_moved(s, before, after);
	free(before);
	free(after);
	return err;
}

int p9_do_renameat(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *from, *to;
	char old[NAME_MAX + 1], name[NAME_MAX + 1];
	int err = get_entry(s, in, &from, old);

	(void)out;
	if (!err)
		err = get_entry(s, in, &to, name);
	return err ? err : move(s, &from->place, old, &to->place, name);
}

int p9_do_rename(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in), *to;
	char name[NAME_MAX + 1];
	struct p9_place parent;
	const char *old;
	int err = get_entry(s, in, &to, name);

	(void)out;
	if (err || !fid)
		return err ? err : -EBADF;
	err = p9_parent(s, &fid->place, &parent, &old);
	if (err)
		return err;
	err = move(s, &parent, old, &to->place, name);
	p9_place_close(&parent);
	return err;
}

int p9_do_unlinkat(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid;
	char name[NAME_MAX + 1];
	int err = get_entry(s, in, &fid, name);
	uint64_t flags = p9_get(in, 4);

	(void)out;
	if (err || in->bad || flags & ~(uint64_t)AT_REMOVEDIR)
		return err ? err : -EINVAL;
	return unlinkat(fid->place.at, name, (int)flags) == 0 ? 0 : -errno;
}

/* The fid is gone afterwards, whatever becomes of the file. */
int p9_do_remove(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct p9_place parent;
	struct stat st;
	const char *name;
	int err;

	(void)out;
	if (in->bad || !fid)
		return -EBADF;
	err = s->readonly ? -EROFS : p9_parent(s, &fid->place, &parent, &name);
	if (!err) {
		if (fstat(fid->place.at, &st) != 0 ||
		    unlinkat(parent.at, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) != 0)
			err = -errno;
		p9_place_close(&parent);
	}
	p9_fid_drop(s, fid);
	return err;
}

/* --- Attributes --- */

int p9_do_getattr(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	uint64_t mask = p9_get(in, 8);
	struct stat st;

	if (in->bad)
		return -EINVAL;
	if (!fid)
		return -EBADF;
	if (fstat(fid->place.at, &st) != 0)
		return -errno;
	p9_put(out, mask & GETATTR_BASIC, 8);
	p9_put_qid(out, s, &st);
	p9_put(out, st.st_mode, 4);
	p9_put(out, st.st_uid, 4);
	p9_put(out, st.st_gid, 4);
	p9_put(out, st.st_nlink, 8);
	p9_put(out, st.st_rdev, 8);
	p9_put(out, (uint64_t)st.st_size, 8);
	p9_put(out, (uint64_t)st.st_blksize, 8);
	p9_put(out, (uint64_t)st.st_blocks, 8);
	p9_put(out, (uint64_t)st.st_atim.tv_sec, 8);
	p9_put(out, (uint64_t)st.st_atim.tv_nsec, 8);
	p9_put(out, (uint64_t)st.st_mtim.tv_sec, 8);
	p9_put(out, (uint64_t)st.st_mtim.tv_nsec, 8);
	p9_put(out, (uint64_t)st.st_ctim.tv_sec, 8);
	p9_put(out, (uint64_t)st.st_ctim.tv_nsec, 8);
	for (unsigned i = 0; i < 4; i++) /* birth, generation, data version: not told */
		p9_put(out, 0, 8);
	return 0;
}

static int set_size(struct p9 *s, const struct p9_fid *fid, uint64_t size)
{
	int fd = fid->writable ? fid->open : p9_contents(s, fid->place.at, O_WRONLY), err;

	if (fd < 0)
		return fd;
	err = ftruncate(fd, (off_t)size) == 0 ? 0 : -errno;
	if (fd != fid->open)
		close(fd);
	return err;
}

static struct timespec set_time(uint64_t valid, unsigned set, unsigned given, uint64_t sec,
				uint64_t nsec)
{
	struct timespec t = { .tv_nsec = valid & set ? UTIME_NOW : UTIME_OMIT };

	if (valid & set && valid & given)
		t = (struct timespec){ (time_t)sec, (long)nsec };
	return t;
}

struct attributes {
	uint64_t valid, mode, uid, gid, size, atime[2], mtime[2];
};

static int set_attributes(struct p9 *s, const struct p9_fid *fid, const struct attributes *a)
{
	struct timespec times[2] = {
		set_time(a->valid, SET_ATIME, SET_ATIME_GIVEN, a->atime[0], a->atime[1]),
		set_time(a->valid, SET_MTIME, SET_MTIME_GIVEN, a->mtime[0], a->mtime[1]),
	};
	uid_t uid = a->valid & SET_UID ? (uid_t)a->uid : (uid_t)-1;
	gid_t gid = a->valid & SET_GID ? (gid_t)a->gid : (gid_t)-1;
	int err = a->valid & SET_SIZE ? set_size(s, fid, a->size) : 0;

	if (!err && a->valid & (SET_UID | SET_GID) &&
	    fchownat(fid->place.at, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
		err = -errno;
	if (!err && a->valid & SET_MODE)
		err = p9_chmod(s, fid->place.at, a->mode);
	if (!err && a->valid & (SET_ATIME | SET_MTIME) &&
	    utimensat(fid->place.at, "", times, AT_EMPTY_PATH) != 0)
		err = -errno;
	return err;
}

int p9_do_setattr(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct attributes a;

	(void)out;
	a.valid = p9_get(in, 4);
	a.mode = p9_get(in, 4);
	a.uid = p9_get(in, 4);
	a.gid = p9_get(in, 4);
	a.size = p9_get(in, 8);
	a.atime[0] = p9_get(in, 8);
	a.atime[1] = p9_get(in, 8);
	a.mtime[0] = p9_get(in, 8);
	a.mtime[1] = p9_get(in, 8);
	if (in->bad || a.size > INT64_MAX || a.atime[1] > 999999999 || a.mtime[1] > 999999999)
		return -EINVAL;
	return fid ? set_attributes(s, fid, &a) : -EBADF;
}

int p9_do_readlink(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	char target[PATH_MAX];
	ssize_t n;

	if (in->bad || !fid)
		return -EBADF;
	n = readlinkat(fid->place.at, "", target, sizeof(target));
	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno;
	p9_put_text(out, target, (size_t)n);
	return 0;
}

int p9_do_statfs(struct p9 *s, struct p9_in *in, struct p9_out *out)
{
	struct p9_fid *fid = p9_get_fid(s, in);
	struct statfs st;

	if (in->bad || !fid)
		return -EBADF;
	if (fstatfs(fid->place.at, &st) != 0)
		return -errno;
	p9_put(out, V9FS_MAGIC, 4);
	p9_put(out, (uint64_t)st.f_bsize, 4);
	p9_put(out, st.f_blocks, 8);
	p9_put(out, st.f_bfree, 8);
	p9_put(out, st.f_bavail, 8);
	p9_put(out, st.f_files, 8);
	p9_put(out, st.f_ffree, 8);
	p9_put(out, s->device, 8);
	p9_put(out, (uint64_t)st.f_namelen, 4);
	return 0;
}
