/*
 * disk_full.c - the host's file system is full: requests wait and go on, or get the error; the
 * image stays whole either way.
 *
 * Needs a file system of its own: a small tmpfs in a name space of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "backend/block_disk.h"
#include "test/unit/disk_model.h"

#define DISK_BYTES (16u << 20)

static bool mounted;
static _Atomic unsigned said_full, said_room, said_still, said_error;
static _Atomic bool waiting;

static void say(void *arg, const char *text)
{
	(void)arg;
	if (strstr(text, "wait until there is room"))
		said_full++;
	else if (strstr(text, "there is room again"))
		said_room++;
	else if (strstr(text, "there is still no room"))
		said_still++;
	else if (strstr(text, "File too large; the guest sees an I/O error"))
		said_error++;
	else
		print_message("%s\n", text);
}

static void stalled(void *arg, bool waits)
{
	(void)arg;
	assert_true(waiting != waits);
	waiting = waits;
}

static void map_id(const char *file, const char *format, unsigned id)
{
	char text[64];
	int fd = open(file, O_WRONLY);

	snprintf(text, sizeof(text), format, id);
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		print_message("%s: %s\n", file, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int enter(void **state)
{
	unsigned uid = getuid(), gid = getgid();
	int err = model_enter(state);

	if (err)
		return err;
	if (unshare(CLONE_NEWNS) != 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			return 0;
		map_id("/proc/self/setgroups", "deny", 0);
		map_id("/proc/self/uid_map", "0 %u 1", uid);
		map_id("/proc/self/gid_map", "0 %u 1", gid);
	}
	mounted = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		  mount("none", model_dir, "tmpfs", 0, "size=4m") == 0;
	return 0;
}

static int leave(void **state)
{
	if (mounted)
		umount(model_dir);
	return model_leave(state);
}

static struct blk *open_disk(const char *name, enum blk_enospc policy)
{
	struct blk_options o = {
		.path = model_path(name), .on_enospc = policy, .say = say, .stalled = stalled
	};
	struct fail why = { 0, "" };
	struct blk *blk;

	said_full = said_room = said_still = 0;
	blk = blk_open(&o, &why);
	if (!blk)
		print_message("%s\n", why.text);
	assert_non_null(blk);
	return blk;
}

static void make(const char *name, bool qcow2)
{
	assert_int_equal(model_shell("rm -f *.img ballast; head -c 1M /dev/zero >ballast"), 0);
	if (qcow2)
		assert_int_equal(
			model_shell("qemu-img create -q -f qcow2 -o cluster_size=16k %s %u", name,
				    DISK_BYTES),
			0);
	else
		assert_int_equal(model_shell("truncate -s %u %s", DISK_BYTES, name), 0);
}

static uint8_t *pattern(unsigned seed, uint64_t bytes)
{
	uint8_t *p = malloc(bytes);

	for (uint64_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(i * 7 + i / 4096 + seed);
	return p;
}

static void reported(bool qcow2)
{
	uint8_t *data = pattern(1, 1 << 20), *back = malloc(1 << 20);
	struct blk *blk;
	uint64_t at = 0;
	int err;

	if (!mounted)
		skip();
	make("r.img", qcow2);
	blk = open_disk("r.img", BLK_ENOSPC_REPORT);
	while ((err = blk_run(blk, BLK_WRITE, at, data, 1 << 20)) == 0)
		at += 1 << 20;
	assert_int_equal(err, -ENOSPC);
	assert_true(at >= 2 << 20);
	assert_int_equal(blk_run(blk, BLK_READ, at - (1 << 20), back, 1 << 20), 0);
	assert_memory_equal(data, back, 1 << 20);
	/* With room it works again. */
	unlink(model_path("ballast"));
	assert_int_equal(blk_run(blk, BLK_WRITE, at, data, 1 << 18), 0);
	assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), 0);
	blk_close(blk, NULL);
	if (qcow2)
		assert_int_equal(model_shell("qemu-img check -q r.img"), 0);
	free(data);
	free(back);
}

/* Asks again as soon as the disk's thread has taken the first question, and looks: both are
 * answered. */
static void ask_twice(struct blk *blk)
{
	struct disk *d = (struct disk *)blk;
	unsigned before = said_still, waited = 0;
	bool taken = false;

	blk_retry(blk);
	while (!taken) {
		host_mutex_lock(d->lock);
		taken = !d->retry;
		host_mutex_unlock(d->lock);
	}
	blk_retry(blk);
	while (said_still < before + 2 && waited++ < 20000)
		usleep(1000);
	assert_int_equal(said_still, before + 2);
}

static void waited_for(bool qcow2)
{
	uint8_t *data = pattern(2, 3 << 20), *back = malloc(3 << 20);
	struct iovec iov = { data, 3 << 20 };
	struct blk *blk;
	struct model_slot s = { .err = 1 };

	if (!mounted)
		skip();
	make("w.img", qcow2);
	assert_int_equal(model_shell("head -c 2M /dev/zero >ballast"), 0);
	blk = open_disk("w.img", BLK_ENOSPC_STOP);
	s.request = (struct blk_request){ .op = BLK_WRITE,
					  .bytes = 3 << 20,
					  .iov = &iov,
					  .iovs = 1,
					  .done = model_done,
					  .arg = &s };
	blk_submit(blk, &s.request);
	while (said_full == 0)
		usleep(1000);
	assert_int_equal(s.err, 1);
	assert_int_equal(blk_run(blk, BLK_READ, DISK_BYTES / 2, back, 4096), 0); /* reads go on */
	while (!waiting)
		usleep(1000);
	for (unsigned n = 0; n < 20; n++)
		ask_twice(blk);
	unlink(model_path("ballast"));
	blk_retry(blk);
	blk_wait(blk, &s.request);
	assert_false(waiting);
	assert_int_equal(s.err, 0);
	assert_int_equal(said_full, 1);
	assert_int_equal(said_room, 1);
	assert_int_equal(blk_run(blk, BLK_READ, 0, back, 3 << 20), 0);
	assert_memory_equal(data, back, 3 << 20);
	assert_int_equal(blk_close(blk, NULL), 0);
	if (qcow2)
		assert_int_equal(model_shell("qemu-img check -q w.img"), 0);
	free(data);
	free(back);
}

/* Who closes the disk does not wait for room. */
static void ended_while_waiting(void **state)
{
	uint8_t *data = pattern(3, 8 << 20);
	struct iovec iov = { data, 8 << 20 };
	struct model_slot s = { .err = 1 };
	struct blk *blk;

	(void)state;
	if (!mounted)
		skip();
	make("e.img", false);
	blk = open_disk("e.img", BLK_ENOSPC_STOP);
	s.request = (struct blk_request){ .op = BLK_WRITE,
					  .bytes = 8 << 20,
					  .iov = &iov,
					  .iovs = 1,
					  .done = model_done,
					  .arg = &s };
	blk_submit(blk, &s.request);
	while (said_full == 0)
		usleep(1000);
	blk_drain(blk);
	assert_false(waiting);
	assert_int_equal(s.err, -ENOSPC);
	blk_close(blk, NULL);
	free(data);
}

/* A file that may not grow (ulimit -f): there is nothing to wait for; said once. */
static void too_large(void **state)
{
	uint8_t *data = pattern(4, 1 << 16);
	struct rlimit before, limit;
	struct blk *blk;

	(void)state;
	said_error = 0;
	make("l.img", false);
	blk = open_disk("l.img", BLK_ENOSPC_STOP);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 2 << 20;
	setrlimit(RLIMIT_FSIZE, &limit);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(blk_run(blk, BLK_WRITE, (4 + i) << 20, data, 1 << 16), -EFBIG);
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, data, 1 << 16), 0);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(said_error, 1);
	assert_int_equal(said_full, 0);
	blk_close(blk, NULL);
	free(data);
}

static void raw_reported(void **state)
{
	(void)state;
	reported(false);
}

static void qcow2_reported(void **state)
{
	(void)state;
	reported(true);
}

static void raw_waited_for(void **state)
{
	(void)state;
	waited_for(false);
}

static void qcow2_waited_for(void **state)
{
	(void)state;
	waited_for(true);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(raw_reported),        cmocka_unit_test(qcow2_reported),
	cmocka_unit_test(raw_waited_for),      cmocka_unit_test(qcow2_waited_for),
	cmocka_unit_test(ended_while_waiting), cmocka_unit_test(too_large),
};

int main(void)
{
	return cmocka_run_group_tests(tests, enter, leave);
}
