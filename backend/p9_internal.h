/*
 * p9_internal.h - between the parts of the 9P server: messages, fids, operations.
 *
 * Confinement. Nothing is ever opened by a path that the guest wrote. A fid holds an O_PATH
 * descriptor; a walk goes on from it one name at a time without following links, so there is no
 * moment at which somebody could put a link in the way. Contents are opened through /proc/self/fd,
 * which means the very file the descriptor is, after it was seen to be a plain file. Where a parent
 * is needed, the place's path is resolved beneath the root again (openat2).
 *
 * Everything here runs on the share's thread.
 *
 * Spec: 9P2000.L. SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_P9_INTERNAL_H
#define BACKEND_P9_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backend/p9.h"

#define P9_BUCKETS    1024u
#define P9_FIDS_MOST  65536u
#define P9_PATHS_MOST (8u << 20) /* bytes of all fids' paths: of 2048, at 4 KiB each */
#define P9_NOFID      UINT32_MAX
#define P9_WALK_MOST  16u   /* names in one walk */
#define P9_SIZE_LEAST 4096u /* of a message, as the guest may choose it */

/* An object in the share. */
struct p9_place {
	int at;     /* O_PATH */
	char *path; /* from the root, where it was when it was walked to: "", "a/b" */
};

struct p9_fid {
	struct p9_fid *next;
	uint32_t number;
	struct p9_place place; /* at: -1: it is there no more, since a load */
	int open;              /* -1: not */
	int flags;             /* of its open */
	bool writable;         /* `open` is */
};

struct p9 {
	char *words, *tag;
	bool readonly;
	int root;        /* O_PATH */
	bool gone;       /* the user has been told that the directory is, or fails */
	int proc;        /* /proc/self/fd */
	uint64_t device; /* the root's st_dev */

	/* Shared with the vCPU's thread. */
	struct host_mutex *lock;
	struct host_cond *change;
	struct p9_request *first, **tail;
	unsigned pending; /* submitted, and `done` has not returned */
	bool stop;
	struct host_thread *thread;

	/* The session. */
	uint32_t size; /* of a message at most; 0: no session */
	struct p9_fid *bucket[P9_BUCKETS];
	unsigned fids, fids_most;
	size_t path_bytes; /* of all fids, with their ends */
};

/* --- Messages (p9_message.c): little-endian fields; a string is its length [2] and bytes --- */

struct p9_in {
	const uint8_t *data;
	size_t at, end;
	bool bad; /* it was read beyond its end */
};
struct p9_out {
	uint8_t *data;
	size_t at, end;
	bool bad; /* there was no room */
};

uint64_t p9_get(struct p9_in *in, unsigned bytes);
/* A string of the message, in place. */
const char *p9_get_text(struct p9_in *in, size_t *bytes);
/* As a C string of at most room - 1 bytes. -EINVAL: truncated, or zeros in it; -ENAMETOOLONG. */
int p9_get_string(struct p9_in *in, char *to, size_t room);
/* The name of a directory's entry: also -EINVAL for the empty name, slashes, "." and "..". */
int p9_get_name(struct p9_in *in, char name[NAME_MAX + 1]);
void p9_put(struct p9_out *out, uint64_t value, unsigned bytes);
void p9_put_text(struct p9_out *out, const void *text, size_t bytes);
void p9_put_qid(struct p9_out *out, const struct p9 *s, const struct stat *st);
uint64_t p9_qid_path(const struct p9 *s, uint64_t dev, uint64_t ino);

/* One message; the answer is always at least an Rlerror. Returns its bytes. */
size_t p9_answer(struct p9 *s, const uint8_t *in, size_t in_bytes, uint8_t *out, size_t room);

/* An operation has failed so: tells the user, once, if it is for want of the whole directory
 * (p9.c). */
void p9_look_at_root(struct p9 *s, int err);

/* --- Fids and places (p9_fid.c) --- */

struct p9_fid *p9_fid(struct p9 *s, uint32_t number);
/* The fid that the message names; NULL: none. */
struct p9_fid *p9_get_fid(struct p9 *s, struct p9_in *in);
/* Takes the place over, on failure too. -EEXIST, -EMFILE (also: too much of paths), -ENOMEM. */
int p9_fid_add(struct p9 *s, uint32_t number, struct p9_place *place);
/* It is at another place from now on. Takes that over, on failure too, which leaves the fid where
 * it is: -EMFILE. */
int p9_fid_move(struct p9 *s, struct p9_fid *fid, struct p9_place *place);
void p9_fid_drop(struct p9 *s, struct p9_fid *fid);
void p9_fid_drop_all(struct p9 *s);
/* It has a place no more: every use but giving it up fails. */
void p9_fid_forget(struct p9_fid *fid);
/* What was at `from` is at `to`. */
void p9_fids_moved(struct p9 *s, const char *from, const char *to);

int p9_place_copy(const struct p9_place *from, struct p9_place *to);
void p9_place_close(struct p9_place *place);
int p9_root(struct p9 *s, struct p9_place *to);
/* The place of that path, without following links; on failure *to has the path and nothing else. */
int p9_lookup(struct p9 *s, const char *path, struct p9_place *to);
/* The entry `name` of a directory, or its parent for "..": the root's is itself. */
int p9_step(struct p9 *s, const struct p9_place *from, const char *name, struct p9_place *to);
/* The directory in which the place is, and its name there, if it still is there. -ESTALE. */
int p9_parent(struct p9 *s, const struct p9_place *of, struct p9_place *to, const char **name);
/* "a/b" of "a" and "b"; NULL: too long, or no memory. */
char *p9_path(const char *directory, const char *name);
/* Opens the very object for its contents: a plain file or a directory, or -EACCES. */
int p9_contents(struct p9 *s, int at, int flags);
/* Its name in /proc/self/fd, for calls that take no descriptor. */
void p9_proc_name(int at, char name[16]);
/* Permissions, without what would mean something on the host. */
#define P9_MODE 01777u
int p9_chmod(struct p9 *s, int at, uint64_t mode);

/* --- For a saved machine (p9_save.c); nothing is in flight --- */

/* What the guest has open, as at most `room` (8 at least) bytes; returns how many. */
size_t p9_save(struct p9 *s, void *to, size_t room);
/* The same again, in a session without fids. Returns how many are lost. */
unsigned p9_load(struct p9 *s, const void *from, size_t bytes);

/* --- Operations: 0, or -E* which becomes an Rlerror. X(number of the T-message, name, not in a
 * share that is read-only) --- */

#define P9_OPERATIONS(X)                                                                           \
	X(8, statfs, false)                                                                        \
	X(12, lopen, false)                                                                        \
	X(14, lcreate, true)                                                                       \
	X(16, symlink, true)                                                                       \
	X(18, mknod, true)                                                                         \
	X(20, rename, true)                                                                        \
	X(22, readlink, false)                                                                     \
	X(24, getattr, false)                                                                      \
	X(26, setattr, true)                                                                       \
	X(40, readdir, false)                                                                      \
	X(50, fsync, false)                                                                        \
	X(52, lock, false)                                                                         \
	X(54, getlock, false)                                                                      \
	X(70, link, true)                                                                          \
	X(72, mkdir, true)                                                                         \
	X(74, renameat, true)                                                                      \
	X(76, unlinkat, true)                                                                      \
	X(100, version, false)                                                                     \
	X(104, attach, false)                                                                      \
	X(108, flush, false)                                                                       \
	X(110, walk, false)                                                                        \
	X(116, read, false)                                                                        \
	X(118, write, false)                                                                       \
	X(120, clunk, false)                                                                       \
	X(122, remove, false)

#define X(number, name, changes)                                                                   \
	int p9_do_##name(struct p9 *s, struct p9_in *in, struct p9_out *out);
P9_OPERATIONS(X)
#undef X

#endif
