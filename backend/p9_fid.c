/*
 * p9_fid.c - fids, and how the 9P server gets from one place in the share to the next.
 *
 * The only file that turns names into descriptors (the reasons: p9_internal.h).
 *
 * Spec: 9P2000.L; openat2(2). Tested by test/unit/p9_confined.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/p9_internal.h"
#include "host/host.h"

/* --- Fids --- */

static struct p9_fid **slot(struct p9 *s, uint32_t number)
{
	struct p9_fid **at = &s->bucket[number % P9_BUCKETS];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

struct p9_fid *p9_fid(struct p9 *s, uint32_t number)
{
	return *slot(s, number);
}

/* Counts a path in, in the place of one of `before` bytes (with its end; 0: none). */
static bool count_path(struct p9 *s, const char *path, size_t before)
{
	size_t bytes = s->path_bytes - before + strlen(path) + 1;

	if (bytes > P9_PATHS_MOST)
		return false;
	s->path_bytes = bytes;
	return true;
}

int p9_fid_add(struct p9 *s, uint32_t number, struct p9_place *place)
{
	struct p9_fid **at = slot(s, number), *fid = NULL;
	int err = 0;

	if (*at || number == P9_NOFID)
		err = -EEXIST;
	else if (s->fids >= s->fids_most)
		err = -EMFILE;
	else if (!(fid = host_alloc(sizeof(*fid))))
		err = -ENOMEM;
	else if (!count_path(s, place->path, 0))
		err = -EMFILE;
	if (err) {
		host_free(fid);
		p9_place_close(place);
		return err;
	}
	fid->number = number;
	fid->place = *place;
	fid->open = -1;
	*at = fid;
	s->fids++;
	return 0;
}

int p9_fid_move(struct p9 *s, struct p9_fid *fid, struct p9_place *place)
{
	if (!count_path(s, place->path, strlen(fid->place.path) + 1)) {
		p9_place_close(place);
		return -EMFILE;
	}
	p9_place_close(&fid->place);
	fid->place = *place;
	return 0;
}

void p9_fid_drop(struct p9 *s, struct p9_fid *fid)
{
	struct p9_fid **at = slot(s, fid->number);

	*at = fid->next;
	s->fids--;
	s->path_bytes -= strlen(fid->place.path) + 1;
	p9_place_close(&fid->place);
	if (fid->open >= 0)
		close(fid->open);
	host_free(fid);
}

void p9_fid_forget(struct p9_fid *fid)
{
	if (fid->place.at >= 0)
		close(fid->place.at);
	fid->place.at = -1;
}

void p9_fid_drop_all(struct p9 *s)
{
	for (unsigned i = 0; i < P9_BUCKETS && s->fids; i++) {
		while (s->bucket[i])
			p9_fid_drop(s, s->bucket[i]);
	}
}

void p9_fids_moved(struct p9 *s, const char *from, const char *to)
{
	size_t n = strlen(from);

	for (unsigned i = 0; i < P9_BUCKETS; i++) {
		for (struct p9_fid *f = s->bucket[i]; f; f = f->next) {
			const char *rest = f->place.path + n;
			size_t before;
			char *path;

			if (strncmp(f->place.path, from, n) != 0 || (*rest && *rest != '/'))
				continue;
			path = *rest ? p9_path(to, rest + 1) : strdup(to);
			before = strlen(f->place.path) + 1;
			if (!path || !count_path(s, path, before)) {
				/* It has no place that could be named any more. */
				free(path);
				path = strdup("");
				if (!path)
					continue;
				(void)count_path(s, path, before); /* it is no longer */
			}
			free(f->place.path);
			f->place.path = path;
		}
	}
}

/* --- Places --- */

char *p9_path(const char *directory, const char *name)
{
	size_t n = strlen(directory), bytes = strlen(name) + 1;
	char *path = n + bytes < PATH_MAX ? malloc(n + 1 + bytes) : NULL;

	if (!path) {
		errno = n + bytes < PATH_MAX ? ENOMEM : ENAMETOOLONG;
		return NULL;
	}
	memcpy(path, directory, n);
	if (n)
		path[n++] = '/';
	memcpy(path + n, name, bytes);
	return path;
}

void p9_place_close(struct p9_place *place)
{
	if (place->at >= 0)
		close(place->at);
	free(place->path);
	*place = (struct p9_place){ .at = -1 };
}

int p9_place_copy(const struct p9_place *from, struct p9_place *to)
{
	int err;

	to->path = strdup(from->path);
	to->at = to->path ? fcntl(from->at, F_DUPFD_CLOEXEC, 0) : -1;
	if (to->at >= 0)
		return 0;
	err = to->path ? -errno : -ENOMEM;
	p9_place_close(to);
	return err;
}

/* Resolved anew from the root; nothing on the way may be a link or lead out. */
static int beneath(struct p9 *s, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, s->root, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* Takes the path over. */
static int place_at(struct p9 *s, char *path, struct p9_place *to)
{
	to->path = path;
	to->at = -1;
	if (!path)
		return -errno;
	to->at = beneath(s, path);
	if (to->at < 0) {
		int err = to->at;

		p9_place_close(to);
		return err;
	}
	return 0;
}

int p9_root(struct p9 *s, struct p9_place *to)
{
	return place_at(s, strdup(""), to);
}

int p9_lookup(struct p9 *s, const char *path, struct p9_place *to)
{
	int err;

	to->at = -1;
	to->path = strdup(path);
	if (!to->path)
		return -ENOMEM;
	err = beneath(s, path);
	if (err < 0)
		return err;
	to->at = err;
	return 0;
}

static int up(struct p9 *s, const struct p9_place *from, struct p9_place *to)
{
	const char *last = strrchr(from->path, '/');

	return place_at(s, last ? strndup(from->path, (size_t)(last - from->path)) : strdup(""),
			to);
}

int p9_step(struct p9 *s, const struct p9_place *from, const char *name, struct p9_place *to)
{
	struct stat st;
	int err;

	if (fstat(from->at, &st) != 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (strcmp(name, "..") == 0)
		return up(s, from, to);
	to->at = -1;
	to->path = p9_path(from->path, name);
	if (to->path)
		to->at = openat(from->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (to->at >= 0)
		return 0;
	err = -errno;
	p9_place_close(to);
	return err;
}

int p9_parent(struct p9 *s, const struct p9_place *of, struct p9_place *to, const char **name)
{
	const char *last = strrchr(of->path, '/');
	struct stat there, here;
	int err;

	if (!*of->path)
		return -EBUSY; /* the root */
	*name = last ? last + 1 : of->path;
	err = up(s, of, to);
	if (err)
		return err;
	/* Somebody may have moved it, on the host. */
	if (fstatat(to->at, *name, &there, AT_SYMLINK_NOFOLLOW) != 0 || fstat(of->at, &here) != 0 ||
	    there.st_dev != here.st_dev || there.st_ino != here.st_ino)
		err = -ESTALE;
	if (err)
		p9_place_close(to);
	return err;
}

void p9_proc_name(int at, char name[16])
{
	snprintf(name, 16, "%d", at);
}

int p9_contents(struct p9 *s, int at, int flags)
{
	char name[16];
	struct stat st;
	int fd;

	if (fstat(at, &st) != 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		if ((flags & O_ACCMODE) != O_RDONLY)
			return -EISDIR;
		fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	/* To open a device or a pipe does things on the host, or waits there. */
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	p9_proc_name(at, name);
	fd = openat(s->proc, name, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int p9_chmod(struct p9 *s, int at, uint64_t mode)
{
	char name[16];
	struct stat st;

	if (fstat(at, &st) != 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	p9_proc_name(at, name);
	return fchmodat(s->proc, name, mode & P9_MODE, 0) == 0 ? 0 : -errno;
}
