/*
 * p9.c - tests of the 9P server: a client in C, one that looks for ways out, and one that is mad.
 *
 * SPDX-License-Identifier: MIT
 */
#include "backend/p9.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/cmocka.h"

enum {
	STATFS = 8,
	LOPEN = 12,
	LCREATE = 14,
	SYMLINK = 16,
	MKNOD = 18,
	RENAME = 20,
	READLINK = 22,
	GETATTR = 24,
	SETATTR = 26,
	XATTRWALK = 30,
	READDIR = 40,
	FSYNC = 50,
	LOCK = 52,
	GETLOCK = 54,
	LINK = 70,
	MKDIR = 72,
	RENAMEAT = 74,
	UNLINKAT = 76,
	VERSION = 100,
	ATTACH = 104,
	FLUSH = 108,
	WALK = 110,
	READ = 116,
	WRITE = 118,
	CLUNK = 120,
	REMOVE = 122
};

static char top[] = "/tmp/trapeze-p9-XXXXXX", share[64], words[80], file[128];
static uint8_t out[65536], in[65536];
static atomic_bool answered;

struct client {
	struct p9 *p9;
	struct p9_backend b;
};

static void done(struct p9_request *r)
{
	(void)r;
	atomic_store(&answered, true);
}

/* Sends out[0 .. bytes - 1]; the answer's bytes are in `in`. */
static size_t exchange(struct client *c, size_t bytes)
{
	struct p9_request r = {
		.in = out, .in_bytes = bytes, .out = in, .out_room = sizeof(in), .done = done
	};

	atomic_store(&answered, false);
	c->b.submit(c->b.arg, &r);
	c->b.drain(c->b.arg);
	assert_true(atomic_load(&answered));
	assert_true(r.out_bytes >= 7 && r.out_bytes <= sizeof(in));
	return r.out_bytes;
}

static size_t put(size_t at, uint64_t v, unsigned n)
{
	memcpy(out + at, &v, n);
	return at + n;
}

static uint64_t get(size_t at, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, in + at, n);
	return v;
}

/* One message: b, w, d, q are 1, 2, 4, 8 bytes, s is a string. 0, or -E* as the server says. */
static int ask(struct client *c, unsigned type, const char *form, ...)
{
	size_t at = 7, bytes;
	va_list list;

	va_start(list, form);
	for (; *form; form++) {
		if (*form == 's') {
			const char *text = va_arg(list, const char *);

			at = put(at, strlen(text), 2);
			memcpy(out + at, text, strlen(text));
			at += strlen(text);
		} else if (*form == 'q') {
			at = put(at, va_arg(list, uint64_t), 8);
		} else {
			at = put(at, va_arg(list, unsigned),
				 *form == 'b'   ? 1
				 : *form == 'w' ? 2
						: 4);
		}
	}
	va_end(list);
	put(0, at, 4);
	put(4, type, 1);
	put(5, 77, 2);
	bytes = exchange(c, at);
	assert_int_equal(bytes, get(0, 4));
	assert_int_equal(get(5, 2), 77);
	if (get(4, 1) == 7)
		return -(int)get(7, 4);
	assert_int_equal(get(4, 1), type + 1);
	return 0;
}

static void open_share(struct client *c, const char *option)
{
	struct fail why;

	snprintf(words, sizeof(words), "%s:tag%s", share, option);
	c->p9 = p9_open(words, &why);
	assert_non_null(c->p9);
	assert_string_equal(p9_tag(c->p9), "tag");
	c->b = p9_backend(c->p9);
	assert_int_equal(ask(c, VERSION, "ds", 65536, "9P2000.L"), 0);
	assert_int_equal(ask(c, ATTACH, "ddssd", 0, ~0u, "root", "", 0), 0);
}

static void close_share(struct client *c)
{
	p9_close(c->p9);
}

static const char *path_of(const char *name)
{
	snprintf(file, sizeof(file), "%s/%s", share, name);
	return file;
}

static int walk1(struct client *c, unsigned from, unsigned to, const char *name)
{
	return ask(c, WALK, "ddws", from, to, 1, name);
}

static int create(struct client *c, unsigned fid, const char *name)
{
	assert_int_equal(ask(c, WALK, "ddw", 0, fid, 0), 0);
	return ask(c, LCREATE, "dsddd", fid, name, O_RDWR, 0640, 0);
}

static void remove_all(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(top, "/tmp/trapeze-p9-XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(share, sizeof(share), "%s/share", top);
	assert_int_equal(mkdir(share, 0755), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	remove_all();
	return 0;
}

static void test_words(void **state)
{
	static const char *const wrong[] = {
		"", "dir", ":tag", "dir:", "dir:tag,rw", "dir:0123456789012345678901234567890123"
	};
	struct fail why;

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(p9_check(wrong[i], &why), -EINVAL);
	assert_int_equal(p9_check("a:b:tag,readonly", &why), 0);
	assert_null(p9_open("/nonexistent/x:tag", &why));
	assert_non_null(strstr(why.text, "/nonexistent/x"));
}

static void test_contents(void **state)
{
	struct client c;
	struct stat st;

	(void)state;
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "file"), 0);
	assert_int_equal(stat(path_of("file"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(3), 4, 0x64636261), 0);
	assert_int_equal(get(7, 4), 4);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(0), 5, 0), -EINVAL); /* 4 came */
	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 100), 0);
	assert_int_equal(get(7, 4), 7);
	assert_memory_equal(in + 11, "\0\0\0abcd", 7);
	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), ~0u), 0);
	assert_int_equal(get(7, 4), 7);
	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_MAX, 10), -EINVAL);
	assert_int_equal(ask(&c, FSYNC, "dd", 1, 0), 0);
	assert_int_equal(ask(&c, GETATTR, "dq", 1, UINT64_C(0x7ff)), 0);
	assert_int_equal(get(7 + 8 + 13 + 4 + 4 + 4 + 8 + 8, 8), 7);
	/* Unlinked while open, it is still what the fid is. */
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "file", 0), 0);
	assert_int_equal(ask(&c, SETATTR, "dddddqqqqq", 1, 8, 0, 0, 0, UINT64_C(2), UINT64_C(0),
			     UINT64_C(0), UINT64_C(0), UINT64_C(0)),
			 0);
	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 100), 0);
	assert_int_equal(get(7, 4), 2);
	assert_int_equal(ask(&c, LOCK, "dbdqqds", 1, 1, 0, UINT64_C(0), UINT64_C(0), 1, "me"), 0);
	assert_int_equal(get(7, 1), 0);
	assert_int_equal(ask(&c, XATTRWALK, "dds", 1, 9, ""), -EOPNOTSUPP);
	assert_int_equal(ask(&c, FLUSH, "w", 3), 0);
	assert_int_equal(ask(&c, CLUNK, "d", 1), 0);
	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 1), -EBADF);
	assert_int_equal(ask(&c, STATFS, "d", 0), 0);
	close_share(&c);
}

/* Two owners of one file, and who is told what. */
static void test_locks(void **state)
{
	struct client c;

	(void)state;
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "f"), 0);
	assert_int_equal(walk1(&c, 0, 2, "f"), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, O_RDWR), 0);
	assert_int_equal(ask(&c, LOCK, "dbdqqds", 1, 1, 0, UINT64_C(5), UINT64_C(5), 1, "a"), 0);
	assert_int_equal(get(7, 1), 0);
	assert_int_equal(ask(&c, LOCK, "dbdqqds", 2, 0, 1, UINT64_C(0), UINT64_C(6), 2, "b"), 0);
	assert_int_equal(get(7, 1), 1);
	assert_int_equal(ask(&c, GETLOCK, "dbqqds", 2, 0, UINT64_C(0), UINT64_C(0), 2, "b"), 0);
	assert_int_equal(get(7, 1), 1);
	assert_int_equal(get(8, 8), 5);
	assert_int_equal(ask(&c, CLUNK, "d", 1), 0);
	assert_int_equal(ask(&c, LOCK, "dbdqqds", 2, 0, 1, UINT64_C(0), UINT64_C(6), 2, "b"), 0);
	assert_int_equal(get(7, 1), 0);
	assert_int_equal(ask(&c, LOCK, "dbdqqds", 2, 9, 1, UINT64_C(0), UINT64_C(6), 2, "b"),
			 -EINVAL);
	close_share(&c);
}

static void test_names(void **state)
{
	struct client c;
	struct stat st, st2;
	char target[20] = "";

	(void)state;
	open_share(&c, "");
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "d", 0750, 0), 0);
	assert_int_equal(stat(path_of("d"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(walk1(&c, 0, 1, "d"), 0);
	assert_int_equal(ask(&c, SYMLINK, "dssd", 1, "l", "../x", 0), 0);
	assert_int_equal(readlink(path_of("d/l"), target, sizeof(target)), 4);
	assert_int_equal(walk1(&c, 1, 2, "l"), 0);
	assert_int_equal(ask(&c, READLINK, "d", 2), 0);
	assert_memory_equal(in + 9, "../x", 4);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, 0), -EACCES);
	assert_int_equal(ask(&c, MKNOD, "dsdddd", 1, "n", S_IFCHR | 0666, 1, 3, 0), -EPERM);
	assert_int_equal(ask(&c, MKNOD, "dsdddd", 1, "n", S_IFREG | 04755, 0, 0, 0), 0);
	assert_int_equal(stat(path_of("d/n"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755); /* no set-user-ID file on the host */
	assert_int_equal(walk1(&c, 1, 3, "n"), 0);
	assert_int_equal(ask(&c, LINK, "dds", 0, 3, "hard"), 0);
	assert_int_equal(stat(path_of("hard"), &st2), 0);
	assert_int_equal(st.st_ino, st2.st_ino);
	/* Fids go along when a directory above them moves. */
	assert_int_equal(ask(&c, RENAMEAT, "dsds", 0, "d", 0, "e"), 0);
	assert_int_equal(ask(&c, RENAME, "dds", 3, 0, "moved"), 0);
	assert_int_equal(access(path_of("moved"), F_OK), 0);
	assert_int_equal(ask(&c, REMOVE, "d", 3), 0);
	assert_int_not_equal(access(path_of("moved"), F_OK), 0);
	assert_int_equal(ask(&c, GETATTR, "dq", 3, UINT64_C(1)), -EBADF);
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "e", 0x200), -ENOTEMPTY);
	assert_int_equal(ask(&c, REMOVE, "d", 2), 0);
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "e", 0x200), 0);
	assert_int_equal(ask(&c, REMOVE, "d", 0), -EBUSY);
	close_share(&c);
}

/* All of a large directory, in small pieces, each name once. */
static void test_readdir(void **state)
{
	bool seen[500] = { false };
	struct client c;
	uint64_t offset = 0;
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		char name[20];

		snprintf(name, sizeof(name), "name-%u", i);
		close(open(path_of(name), O_CREAT | O_WRONLY, 0600));
	}
	open_share(&c, "");
	assert_int_equal(ask(&c, WALK, "ddw", 0, 1, 0), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 1, 0), 0);
	assert_int_equal(ask(&c, READDIR, "dqd", 1, UINT64_C(0), 10), -EINVAL);
	for (;;) {
		size_t p = 11, end;

		assert_int_equal(ask(&c, READDIR, "dqd", 1, offset, 300), 0);
		end = p + get(7, 4);
		if (end == p)
			break;
		assert_true(end <= 311);
		while (p < end) {
			unsigned n = 500;
			char name[256] = "";

			memcpy(name, in + p + 24, get(p + 22, 2));
			if (sscanf(name, "name-%u", &n) == 1) {
				assert_false(seen[n]);
				seen[n] = true;
			}
			offset = get(p + 13, 8);
			p += 24 + get(p + 22, 2);
			count++;
		}
	}
	assert_int_equal(count, 502);
	close_share(&c);
}

static void test_readonly(void **state)
{
	struct client c;

	(void)state;
	close(open(path_of("f"), O_CREAT | O_WRONLY, 0600));
	open_share(&c, ",readonly");
	assert_int_equal(create(&c, 1, "g"), -EROFS);
	assert_int_equal(walk1(&c, 0, 2, "f"), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, O_RDWR), -EROFS);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, O_RDONLY | O_TRUNC), -EROFS);
	assert_int_equal(ask(&c, SETATTR, "dddddqqqqq", 2, 8, 0, 0, 0, UINT64_C(2), UINT64_C(0),
			     UINT64_C(0), UINT64_C(0), UINT64_C(0)),
			 -EROFS);
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "f", 0), -EROFS);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "d", 0755, 0), -EROFS);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, O_RDONLY), 0);
	assert_int_equal(ask(&c, WRITE, "dqdd", 2, UINT64_C(0), 4, 0), -EBADF);
	assert_int_equal(walk1(&c, 0, 3, "f"), 0);
	assert_int_equal(ask(&c, REMOVE, "d", 3), -EROFS);
	assert_int_equal(access(path_of("f"), F_OK), 0);
	close_share(&c);
}

static uint64_t inode_of(struct client *c, unsigned fid)
{
	assert_int_equal(ask(c, GETATTR, "dq", fid, UINT64_C(0x7ff)), 0);
	return get(7 + 8 + 5, 8);
}

static void test_escapes(void **state)
{
	struct client c;
	struct stat st;

	(void)state;
	assert_int_equal(symlink("/etc", path_of("etc")), 0);
	assert_int_equal(symlink("..", path_of("up")), 0);
	assert_int_equal(symlink("/etc/passwd", path_of("pw")), 0);
	assert_int_equal(symlink("/tmp/trapeze-p9-escaped", path_of("new")), 0);
	assert_int_equal(mkfifo(path_of("pipe"), 0666), 0);
	assert_int_equal(mkdir(path_of("d"), 0755), 0);
	open_share(&c, "");
	assert_int_equal(stat(share, &st), 0);
	/* Upwards from the root is the root, however often. */
	assert_int_equal(ask(&c, WALK, "ddwsss", 0, 1, 3, "..", "..", ".."), 0);
	assert_int_equal(inode_of(&c, 1), st.st_ino);
	assert_int_equal(ask(&c, WALK, "ddwssss", 0, 2, 4, "d", "..", "..", ".."), 0);
	assert_int_equal(inode_of(&c, 2), st.st_ino);
	/* Links are walked to, and never through. */
	assert_int_equal(ask(&c, WALK, "ddwss", 0, 3, 2, "etc", "passwd"), 0);
	assert_int_equal(get(7, 2), 1);
	assert_int_equal(ask(&c, CLUNK, "d", 3), -EBADF);
	assert_int_equal(ask(&c, WALK, "ddwss", 0, 3, 2, "up", "share"), 0);
	assert_int_equal(get(7, 2), 1);
	assert_int_equal(walk1(&c, 0, 4, "pw"), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 4, 0), -EACCES);
	assert_int_equal(walk1(&c, 0, 5, "pipe"), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 5, 0), -EACCES);
	assert_int_equal(create(&c, 6, "pw"), -EACCES);
	assert_int_equal(ask(&c, LCREATE, "dsddd", 6, "new", O_RDWR, 0644, 0), -EACCES);
	assert_int_not_equal(access("/tmp/trapeze-p9-escaped", F_OK), 0);
	assert_int_equal(ask(&c, SETATTR, "dddddqqqqq", 4, 8, 0, 0, 0, UINT64_C(0), UINT64_C(0),
			     UINT64_C(0), UINT64_C(0), UINT64_C(0)),
			 -EACCES);
	/* Names that are paths are none. */
	assert_int_equal(walk1(&c, 0, 7, "../share"), -EINVAL);
	assert_int_equal(walk1(&c, 0, 7, "d/.."), -EINVAL);
	assert_int_equal(walk1(&c, 0, 7, "/etc"), -EINVAL);
	assert_int_equal(walk1(&c, 0, 7, ""), -EINVAL);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "../out", 0755, 0), -EINVAL);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "..", 0755, 0), -EINVAL);
	assert_int_equal(ask(&c, RENAMEAT, "dsds", 0, "d", 0, "../out"), -EINVAL);
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "..", 0x200), -EINVAL);
	assert_int_equal(ask(&c, SYMLINK, "dssd", 0, "../out", "x", 0), -EINVAL);
	/* A directory that the host takes out of the share has no parent any more. */
	snprintf(words, sizeof(words), "%s/moved", top);
	assert_int_equal(mkdir(path_of("d/deep"), 0755), 0);
	assert_int_equal(ask(&c, WALK, "ddwss", 0, 8, 2, "d", "deep"), 0);
	assert_int_equal(rename(path_of("d"), words), 0);
	assert_int_equal(walk1(&c, 8, 9, ".."), -ENOENT);
	assert_int_equal(ask(&c, REMOVE, "d", 8), -ENOENT);
	close_share(&c);
}

static atomic_bool racing;

/* What is a directory one moment is a link out the next. */
static void *swap(void *arg)
{
	char a[100], b[100];

	(void)arg;
	snprintf(a, sizeof(a), "%s/race", share);
	snprintf(b, sizeof(b), "%s/link", share);
	while (atomic_load(&racing)) {
		if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0)
			break;
	}
	return NULL;
}

static void test_races(void **state)
{
	struct client c;
	pthread_t thread;
	unsigned inside = 0, refused = 0;
	char secret[100];
	int fd;

	(void)state;
	snprintf(secret, sizeof(secret), "%s/secret", top);
	fd = open(secret, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "SECRET", 6), 6);
	close(fd);
	assert_int_equal(mkdir(path_of("race"), 0755), 0);
	fd = open(path_of("race/secret"), O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "public", 6), 6);
	close(fd);
	assert_int_equal(symlink(top, path_of("link")), 0);
	open_share(&c, "");
	atomic_store(&racing, true);
	assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		int err = ask(&c, WALK, "ddwss", 0, 1, 2, "race", "secret");

		if (err || get(7, 2) < 2) {
			refused++;
			continue;
		}
		assert_int_equal(ask(&c, LOPEN, "dd", 1, 0), 0);
		assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 6), 0);
		assert_memory_equal(in + 11, "public", 6);
		assert_int_equal(ask(&c, CLUNK, "d", 1), 0);
		inside++;
	}
	atomic_store(&racing, false);
	pthread_join(thread, NULL);
	assert_true(inside > 0 && refused > 0);
	close_share(&c);
}

static void test_directory_disappears(void **state)
{
	struct client c;

	(void)state;
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "f"), 0);
	remove_all();
	assert_int_equal(walk1(&c, 0, 2, "f"), -ENOENT);
	assert_int_equal(create(&c, 3, "g"), -ENOENT);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "d", 0755, 0), -ENOENT);
	assert_int_equal(ask(&c, GETATTR, "dq", 0, UINT64_C(1)), 0);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(0), 4, 0), 0); /* it is open */
	close_share(&c);
}

/* Another process, or this one later: the guest goes on with what it had. */
static size_t save(struct client *c, uint8_t *bytes, size_t room)
{
	size_t n = c->b.save(c->b.arg, bytes, room);

	close_share(c);
	return n;
}

static void load(struct client *c, const uint8_t *bytes, size_t n)
{
	struct fail why;

	snprintf(words, sizeof(words), "%s:tag", share);
	c->p9 = p9_open(words, &why);
	assert_non_null(c->p9);
	c->b = p9_backend(c->p9);
	c->b.load(c->b.arg, bytes, n);
}

static void test_save(void **state)
{
	static uint8_t saved[4096];
	struct client c;
	struct stat st;
	size_t n;

	(void)state;
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "file"), 0);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(0), 4, 0x64636261), 0);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "dir", 0755, 0), 0);
	assert_int_equal(walk1(&c, 0, 2, "dir"), 0);
	assert_int_equal(walk1(&c, 0, 3, "dir"), 0);
	assert_int_equal(ask(&c, LCREATE, "dsddd", 3, "below", O_RDWR, 0640, 0), 0);
	assert_int_equal(create(&c, 4, "removed"), 0);
	assert_int_equal(ask(&c, UNLINKAT, "dsd", 0, "removed", 0), 0);
	assert_int_equal(create(&c, 5, "replaced"), 0);
	assert_int_equal(create(&c, 6, "lost"), 0);
	assert_int_equal(unlink(path_of("replaced")), 0);
	assert_int_equal(close(open(path_of("replaced"), O_CREAT | O_RDWR, 0600)), 0);
	assert_int_equal(walk1(&c, 0, 7, "file"), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 7, O_RDONLY), 0);
	n = save(&c, saved, sizeof(saved));
	assert_true(n < 200);
	assert_int_equal(unlink(path_of("lost")), 0);
	load(&c, saved, n);

	assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 100), 0);
	assert_int_equal(get(7, 4), 4);
	assert_memory_equal(in + 11, "abcd", 4);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(4), 4, 0x64636261), 0);
	assert_int_equal(ask(&c, WRITE, "dqdd", 7, UINT64_C(4), 4, 0x64636261), -EBADF);
	assert_int_equal(ask(&c, WRITE, "dqdd", 3, UINT64_C(0), 4, 0), 0);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 2, "new", 0755, 0), 0);
	assert_int_equal(stat(path_of("dir/new"), &st), 0);
	for (unsigned fid = 4; fid <= 6; fid++) {
		assert_int_equal(ask(&c, READ, "dqd", fid, UINT64_C(0), 100), -ESTALE);
		assert_int_equal(ask(&c, GETATTR, "dq", fid, UINT64_C(0x7ff)), -ESTALE);
		assert_int_equal(ask(&c, WALK, "ddw", fid, 100, 0), -ESTALE);
		assert_int_equal(ask(&c, SETATTR, "dddddqqqqq", fid, 1, 0600, 0, 0, UINT64_C(2),
				     UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)),
				 -ESTALE);
		assert_int_equal(ask(&c, CLUNK, "d", fid), 0);
		assert_int_equal(ask(&c, CLUNK, "d", fid), -EBADF);
	}
	close_share(&c);
}

/* Fids that do not fit are not there afterwards; the others are. */
static void test_save_without_room(void **state)
{
	static uint8_t saved[4096];
	struct client c;
	size_t n;

	(void)state;
	open_share(&c, "");
	for (unsigned i = 1; i < 500; i++)
		assert_int_equal(ask(&c, WALK, "ddw", 0, i, 0), 0);
	n = save(&c, saved, 40 * 13 + 8);
	load(&c, saved, n);
	assert_int_equal(ask(&c, CLUNK, "d", 39), 0);
	assert_int_equal(ask(&c, CLUNK, "d", 40), -EBADF);
	close_share(&c);
}

/* An open file at the path, as a stream could name it; its length. */
static size_t saved_as(uint8_t *saved, const char *path)
{
	const uint32_t words4[3] = { 8192, 0, 1 };
	const uint16_t lengths[2] = { 0, (uint16_t)strlen(path) };

	memcpy(saved, words4, 12);
	saved[12] = 1;
	memset(saved + 13, 0, 4);
	memcpy(saved + 17, lengths, 4);
	memcpy(saved + 21, path, lengths[1]);
	return 21u + lengths[1];
}

/* Whatever the bytes say, it stays within the directory, and there is a server. */
static void test_hostile_saved(void **state)
{
	static const char *const paths[] = { "..", "../out", "/etc/passwd", "link/passwd", "link" };
	static uint8_t saved[4096], bent[4096];
	struct client c;
	size_t n;

	(void)state;
	assert_int_equal(symlink("/etc", path_of("link")), 0);
	for (unsigned i = 0; i < 5; i++) {
		load(&c, saved, saved_as(saved, paths[i]));
		assert_int_equal(ask(&c, READ, "dqd", 1, UINT64_C(0), 100), -ESTALE);
		close_share(&c);
	}
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "file"), 0);
	assert_int_equal(walk1(&c, 0, 2, "file"), 0);
	n = save(&c, saved, sizeof(saved));
	load(&c, saved, n);
	for (unsigned i = 0; i < 2000; i++) {
		memcpy(bent, saved, n);
		for (unsigned k = (unsigned)random() % 4; k < 4; k++)
			bent[(size_t)random() % n] = (uint8_t)random();
		c.b.load(c.b.arg, bent, (size_t)random() % (n + 1));
		(void)ask(&c, READ, "dqd", 1, UINT64_C(0), 100);
		(void)ask(&c, GETATTR, "dq", 2, UINT64_C(0x7ff));
	}
	assert_int_equal(ask(&c, VERSION, "ds", 65536, "9P2000.L"), 0);
	close_share(&c);
}

static void test_protocol(void **state)
{
	struct client c;

	(void)state;
	open_share(&c, "");
	assert_int_equal(ask(&c, ATTACH, "ddssd", 0, ~0u, "", "", 0), -EEXIST);
	assert_int_equal(ask(&c, ATTACH, "ddssd", ~0u, ~0u, "", "", 0), -EEXIST);
	assert_int_equal(ask(&c, WALK, "ddw", 0, 1, 17), -EINVAL);
	assert_int_equal(ask(&c, WALK, "ddw", 0, 1, 3), -EINVAL); /* names are missing */
	assert_int_equal(ask(&c, WALK, "ddw", 9, 1, 0), -EBADF);
	assert_int_equal(ask(&c, 99, ""), -EOPNOTSUPP);
	assert_int_equal(ask(&c, LOPEN, "d", 0), -EINVAL);
	assert_int_equal(ask(&c, VERSION, "ds", 100, "9P2000.L"), -EINVAL);
	assert_int_equal(ask(&c, VERSION, "ds", ~0u, "9P2000.L"), 0);
	assert_int_equal(get(7, 4), P9_MESSAGE_MOST);
	assert_int_equal(ask(&c, GETATTR, "dq", 0, UINT64_C(1)), -EBADF); /* a new session */
	assert_int_equal(ask(&c, VERSION, "ds", 8192, "9P2000.u"), 0);
	assert_int_equal(get(11, 2), 7);
	assert_int_equal(ask(&c, ATTACH, "ddssd", 0, ~0u, "", "", 0), -EPROTO);
	close_share(&c);
}

/* Messages of every type with random bytes in them; what they do, they do in the share. */
static void test_hostile_messages(void **state)
{
	static const char *const names[] = { "a", "b", "..", "c", ".", "a/b", "" };
	static const uint8_t types[] = { 8,   12,  14,  16,  18,  20,  22,  24, 26,  30,
					 40,  50,  52,  54,  70,  72,  74,  76, 104, 108,
					 110, 116, 118, 120, 122, 100, 102, 32 };
	const char *seconds = getenv("FUZZ_SECONDS");
	unsigned rounds = seconds ? 200000u * (unsigned)atoi(seconds) : 60000;
	struct client c;
	DIR *d;
	unsigned entries = 0;

	(void)state;
	open_share(&c, "");
	srandom(1);
	for (unsigned i = 0; i < rounds; i++) {
		uint8_t type = types[(size_t)random() % sizeof(types)];
		size_t bytes = 7 + (size_t)random() % 80, n;

		if (type == VERSION && random() % 50)
			type = WALK;
		for (size_t k = 7; k < bytes; k++)
			out[k] = random() % 3 ? (uint8_t)(random() % 4) : (uint8_t)random();
		put(7, (uint64_t)random() % 8, 4);
		if (random() % 2)
			put(11, (uint64_t)random() % 8, 4);
		for (unsigned k = 0; k < 3 && bytes > 20; k++) {
			const char *name = names[random() % 7];
			size_t p = 11 + (size_t)random() % (bytes - 16);

			put(p, strlen(name), 2);
			memcpy(out + p + 2, name, strlen(name));
		}
		put(0, random() % 50 ? bytes : (uint64_t)random(), 4);
		put(4, type, 1);
		n = exchange(&c, bytes);
		assert_int_equal(get(0, 4), n);
		if (i % 200 == 0) {
			ask(&c, VERSION, "ds", 65536, "9P2000.L");
			ask(&c, ATTACH, "ddssd", 0, ~0u, "", "", 0);
		}
	}
	close_share(&c);
	d = opendir(top);
	while (readdir(d))
		entries++;
	closedir(d);
	assert_int_equal(entries, 3); /* the share, and nothing beside it */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_words),
		TEST(test_contents),
		TEST(test_locks),
		TEST(test_names),
		TEST(test_readdir),
		TEST(test_readonly),
		TEST(test_escapes),
		TEST(test_races),
		TEST(test_directory_disappears),
		TEST(test_save),
		TEST(test_save_without_room),
		TEST(test_hostile_saved),
		TEST(test_protocol),
		TEST(test_hostile_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
