/*
 * p9_save.c - what a guest has open in a share, saved and loaded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/p9_client.h"

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_save),
		TEST(test_save_without_room),
		TEST(test_hostile_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
