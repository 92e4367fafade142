/*
 * p9_confined.c - the 9P server and its directory: a client that looks for ways out, hosts that put
 * them there at any moment, and directories that are gone.
 *
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>

#include "host/host.h"
#include "test/unit/p9_client.h"

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

/* --- The directory is gone --- */

/* Every fstat() of the process fails so, which is how a lost file system looks; 0: none does. */
static atomic_int lost;

int fstat(int fd, struct stat *st)
{
	errno = atomic_load(&lost);
	return errno ? -1 : fstatat(fd, "", st, AT_EMPTY_PATH);
}

/* What the monitor says to its user comes here. */
static char said[1000];
static unsigned times_said;

void host_warn(const char *fmt, ...)
{
	va_list list;

	va_start(list, fmt);
	vsnprintf(said, sizeof(said), fmt, list);
	va_end(list);
	times_said++;
}

void host_log(const char *text, size_t bytes)
{
	(void)text;
	(void)bytes;
}

static void expect_said_once(const char *what)
{
	char line[200];

	snprintf(line, sizeof(line), "--share %s: %s: the guest gets errors there", share, what);
	assert_int_equal(times_said, 1);
	assert_string_equal(said, line);
	times_said = 0;
}

static void test_directory_disappears(void **state)
{
	struct client c;

	(void)state;
	open_share(&c, "");
	assert_int_equal(create(&c, 1, "f"), 0);
	assert_int_equal(walk1(&c, 0, 2, "none"), -ENOENT);
	assert_int_equal(times_said, 0); /* nothing that the user need know */
	remove_all();
	assert_int_equal(walk1(&c, 0, 2, "f"), -ENOENT);
	assert_int_equal(create(&c, 3, "g"), -ENOENT);
	assert_int_equal(ask(&c, MKDIR, "dsdd", 0, "d", 0755, 0), -ENOENT);
	assert_int_equal(ask(&c, GETATTR, "dq", 0, UINT64_C(1)), 0);
	assert_int_equal(ask(&c, WRITE, "dqdd", 1, UINT64_C(0), 4, 0), 0); /* it is open */
	expect_said_once("the directory was removed");
	close_share(&c);
}

static void lose(int error)
{
	struct client c;

	open_share(&c, "");
	assert_int_equal(create(&c, 1, "f"), 0);
	assert_int_equal(ask(&c, WALK, "ddw", 0, 2, 0), 0);
	assert_int_equal(ask(&c, LOPEN, "dd", 2, O_RDONLY), 0);
	atomic_store(&lost, error);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ask(&c, GETATTR, "dq", 0, UINT64_C(0x7ff)), -error);
		assert_int_equal(walk1(&c, 0, 3, "f"), -error);
		assert_int_equal(ask(&c, LOPEN, "dd", 0, O_RDONLY), -error);
		assert_int_equal(ask(&c, READDIR, "dqd", 2, UINT64_C(0), 300), -error);
		assert_int_equal(ask(&c, ATTACH, "ddssd", 9, ~0u, "root", "", 0), -error);
	}
	atomic_store(&lost, 0); /* it comes back, as a server may: so does the guest's share */
	assert_int_equal(walk1(&c, 0, 3, "f"), 0);
	expect_said_once(strerror(error));
	close_share(&c);
}

static void test_file_system_is_lost(void **state)
{
	static const int errors[] = { ESTALE, EIO, ENOTCONN, ENOENT };

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		lose(errors[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_escapes),
		TEST(test_races),
		TEST(test_directory_disappears),
		TEST(test_file_system_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
