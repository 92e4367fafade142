/*
 * p9.c - tests of the 9P server: its operations, by a client that is right and by one that is mad.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>

#include "test/unit/p9_client.h"

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

/* Copies of fid 1 until one is refused; returns how many were made. */
static unsigned fill(struct client *c)
{
	unsigned n = 0;

	while (ask(c, WALK, "ddw", 1, 100 + n, 0) == 0)
		n++;
	assert_int_equal(ask(c, WALK, "ddw", 1, 100 + n, 0), -EMFILE);
	return n;
}

/* What a guest can make the server remember in names has an end before its fids have. */
static void test_long_paths(void **state)
{
	const unsigned most = 8 << 20, depth = 15;
	char name[256], step[] = "d";
	struct client c;
	unsigned n, path = depth * 256;
	int err = 0;

	(void)state;
	memset(name, 'n', 255);
	name[255] = '\0';
	open_share(&c, "");
	assert_int_equal(ask(&c, WALK, "ddw", 0, 1, 0), 0);
	for (unsigned i = 0; i < depth; i++) {
		assert_int_equal(ask(&c, MKDIR, "dsdd", 1, name, 0755, 0), 0);
		assert_int_equal(walk1(&c, 1, 1, name), 0);
	}
	n = fill(&c);
	if (n < most / path - 10) { /* there are not so many descriptors here */
		close_share(&c);
		skip();
	}
	assert_in_range(n, most / path - 10, most / path);
	/* Short ones still go; one that walks into it stays where it is. */
	assert_int_equal(ask(&c, WALK, "ddw", 0, 5, 0), 0);
	for (unsigned i = 0; !err && i < depth; i++)
		err = walk1(&c, 5, 5, name);
	assert_int_equal(err, -EMFILE);
	assert_int_equal(ask(&c, GETATTR, "dq", 5, UINT64_C(1)), 0);
	/* Moves that make all of them longer. */
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, step, 0755, 0), 0);
	assert_int_equal(walk1(&c, 0, 6, step), 0);
	assert_int_equal(ask(&c, RENAMEAT, "dsds", 0, name, 6, name), 0);
	assert_int_equal(ask(&c, RENAMEAT, "dsds", 6, name, 0, name), 0);
	/* All of it comes back. */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ask(&c, VERSION, "ds", 65536, "9P2000.L"), 0);
		assert_int_equal(ask(&c, ATTACH, "ddssd", 0, ~0u, "root", "", 0), 0);
		assert_int_equal(ask(&c, WALK, "ddw", 0, 1, 0), 0);
		for (unsigned k = 0; k < depth; k++)
			assert_int_equal(walk1(&c, 1, 1, name), 0);
		assert_in_range(fill(&c), most / path - 10, most / path);
	}
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_words),    TEST(test_contents),   TEST(test_locks),
		TEST(test_names),    TEST(test_long_paths), TEST(test_readdir),
		TEST(test_readonly), TEST(test_protocol),   TEST(test_hostile_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
