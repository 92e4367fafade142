/*
 * p9_client.h - a client of the 9P server, in C: one message, one answer, in a directory of its
 * own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_P9_CLIENT_H
#define TEST_P9_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/p9.h"
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

static inline void done(struct p9_request *r)
{
	(void)r;
	atomic_store(&answered, true);
}

/* Sends out[0 .. bytes - 1]; the answer's bytes are in `in`. */
static inline size_t exchange(struct client *c, size_t bytes)
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

static inline size_t put(size_t at, uint64_t v, unsigned n)
{
	memcpy(out + at, &v, n);
	return at + n;
}

static inline uint64_t get(size_t at, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, in + at, n);
	return v;
}

/* One message: b, w, d, q are 1, 2, 4, 8 bytes, s is a string. 0, or -E* as the server says. */
static inline int ask(struct client *c, unsigned type, const char *form, ...)
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

static inline void open_share(struct client *c, const char *option)
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

static inline void close_share(struct client *c)
{
	p9_close(c->p9);
}

static inline const char *path_of(const char *name)
{
	snprintf(file, sizeof(file), "%s/%s", share, name);
	return file;
}

static inline int walk1(struct client *c, unsigned from, unsigned to, const char *name)
{
	return ask(c, WALK, "ddws", from, to, 1, name);
}

static inline int create(struct client *c, unsigned fid, const char *name)
{
	assert_int_equal(ask(c, WALK, "ddw", 0, fid, 0), 0);
	return ask(c, LCREATE, "dsddd", fid, name, O_RDWR, 0640, 0);
}

static inline void remove_all(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", top);
	assert_int_equal(system(command), 0);
}

static inline int setup(void **state)
{
	(void)state;
	strcpy(top, "/tmp/trapeze-p9-XXXXXX");
	assert_non_null(mkdtemp(top));
	snprintf(share, sizeof(share), "%s/share", top);
	assert_int_equal(mkdir(share, 0755), 0);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	remove_all();
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
