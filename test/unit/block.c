/*
 * block.c - tests backend/block.h on raw images: requests, locks, what a file is taken for.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "test/unit/disk_model.h"

static struct blk *open_disk(struct blk_options o, const char *name)
{
	struct fail why = { 0, "" };
	struct blk *blk;

	o.path = model_path(name);
	blk = blk_open(&o, &why);
	if (!blk)
		print_message("%s\n", why.text);
	assert_non_null(blk);
	return blk;
}

/* Opening fails, and the sentence holds `text`. */
static void refused(struct blk_options o, const char *name, const char *text)
{
	struct fail why = { 0, "" };

	o.path = model_path(name);
	assert_null(blk_open(&o, &why));
	if (!strstr(why.text, text))
		print_message("'%s' does not say '%s'\n", why.text, text);
	assert_non_null(strstr(why.text, text));
	assert_true(why.code < 0);
}

static void make_raw(const char *name, uint64_t bytes)
{
	assert_int_equal(
		model_shell("rm -f %s; truncate -s %llu %s", name, (unsigned long long)bytes, name),
		0);
}

static void make_head(const char *name, const void *head, size_t bytes)
{
	int fd;

	make_raw(name, 65536);
	fd = open(model_path(name), O_WRONLY);
	assert_int_equal(pwrite(fd, head, bytes, 0), bytes);
	close(fd);
}

static void random_requests(enum blk_aio aio, enum blk_cache cache)
{
	struct blk *blk;
	struct model m;

	make_raw("random.img", 4 << 20);
	blk = open_disk((struct blk_options){ .format = BLK_RAW, .aio = aio, .cache = cache },
			"random.img");
	model_init(&m, blk);
	model_run(&m, 3000);
	assert_int_equal(blk_close(blk, NULL), 0);
	blk = open_disk((struct blk_options){ .readonly = true, .format = BLK_RAW }, "random.img");
	m.blk = blk;
	model_check(&m);
	blk_close(blk, NULL);
	model_free(&m);
}

static void random_by_threads(void **state)
{
	(void)state;
	random_requests(BLK_AIO_THREADS, BLK_CACHE_WRITEBACK);
}

static void random_by_ring(void **state)
{
	struct fail why;
	struct blk_options o = { .path = model_path("ring.img"), .aio = BLK_AIO_URING };
	struct blk *blk;

	(void)state;
	make_raw("ring.img", 4096);
	blk = blk_open(&o, &why);
	if (!blk) {
		assert_non_null(strstr(why.text, "io_uring"));
		skip();
	}
	assert_string_equal(blk_info(blk)->aio, "io_uring");
	blk_close(blk, NULL);
	random_requests(BLK_AIO_URING, BLK_CACHE_UNSAFE);
}

static void wrong_requests(void **state)
{
	static uint8_t data[4096];
	struct iovec iov = { data, 1024 };
	struct blk *blk;
	struct model_slot s = {
		.request = {.op = BLK_READ,
                            .bytes = 512,
                            .iov = &iov,
                            .iovs = 1,
                            .done = model_done,
                            .arg = &s}
	};

	(void)state;
	make_raw("wrong.img", 65536);
	blk = open_disk((struct blk_options){ 0 }, "wrong.img");
	assert_int_equal(blk_run(blk, BLK_READ, 65536, data, 512), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_READ, UINT64_MAX - 511, data, 512), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_WRITE, 65536 - 512, data, 1024), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_WRITE, 1, data, 512), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, data, 511), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_DISCARD, 512, NULL, 65536), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_ZERO, 0, NULL, UINT64_MAX), -EINVAL);
	assert_int_equal(blk_run(blk, (enum blk_op)99, 0, data, 512), -EINVAL);
	assert_int_equal(blk_run(blk, BLK_READ, 65536, data, 0), 0);
	/* More buffer than range. */
	blk_submit(blk, &s.request);
	blk_wait(blk, &s.request);
	assert_int_equal(s.err, -EINVAL);
	blk_close(blk, NULL);
	blk = open_disk((struct blk_options){ .readonly = true }, "wrong.img");
	assert_true(blk_info(blk)->readonly);
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, data, 512), -EROFS);
	assert_int_equal(blk_run(blk, BLK_DISCARD, 0, NULL, 512), -EROFS);
	assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(blk_run(blk, BLK_READ, 0, data, 512), 0);
	blk_close(blk, NULL);
}

static void odd_size(void **state)
{
	uint8_t data[512], back[512];
	struct stat st;
	struct blk *blk;

	(void)state;
	make_raw("odd.img", 1000);
	blk = open_disk((struct blk_options){ .format = BLK_RAW }, "odd.img");
	assert_int_equal(blk_info(blk)->bytes, 1024);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(blk_run(blk, BLK_READ, 512, back, 512), 0);
	assert_int_equal(back[511], 0);
	assert_int_equal(blk_run(blk, BLK_WRITE, 512, data, 512), 0);
	assert_int_equal(blk_run(blk, BLK_READ, 512, back, 512), 0);
	assert_memory_equal(data, back, 512);
	blk_close(blk, NULL);
	assert_int_equal(stat(model_path("odd.img"), &st), 0);
	assert_int_equal(st.st_size, 1024);
}

static void locks(void **state)
{
	struct blk_options rw = { 0 }, ro = { .readonly = true };
	struct blk *a, *b;
	char owner[64];

	(void)state;
	make_raw("lock.img", 65536);
	snprintf(owner, sizeof(owner), "lock.img: is in use by process %d", (int)getpid());
	a = open_disk(rw, "lock.img");
	refused(rw, "lock.img", owner);
	refused(ro, "lock.img", owner);
	blk_close(a, NULL);
	a = open_disk(ro, "lock.img");
	b = open_disk(ro, "lock.img");
	refused(rw, "lock.img", owner);
	blk_close(a, NULL);
	blk_close(b, NULL);
	a = open_disk(rw, "lock.img");
	/* QEMU keeps the same locks. */
	assert_int_not_equal(model_shell("qemu-io -f raw -c 'read 0 512' lock.img >q 2>&1"), 0);
	assert_int_equal(model_shell("grep -q lock q"), 0);
	blk_close(a, NULL);
	assert_int_equal(model_shell("qemu-io -f raw -c 'read 0 512' lock.img >q 2>&1"), 0);
}

static void what_a_file_is(void **state)
{
	struct blk_options o = { 0 };

	(void)state;
	make_head("v.vmdk", "KDMV", 4);
	refused(o, "v.vmdk", "VMDK");
	make_head("v.luks", "LUKS\xba\xbe", 6);
	refused(o, "v.luks", "LUKS");
	make_head("v.qcow", "QFI\xfb\0\0\0\1", 8);
	refused(o, "v.qcow", "qcow version 1");
	make_head("v.vhdx", "vhdxfile", 8);
	refused(o, "v.vhdx", "VHDX");
	refused(o, "missing.img", "No such file");
	assert_int_equal(model_shell("mkfifo fifo; mkdir dir"), 0);
	refused(o, "fifo", "neither a file nor a block device");
	refused(o, "dir", "");
}

/* A guest that writes a qcow2 header into its raw disk must not get another file opened next time.
 */
static void guarded_head(void **state)
{
	uint8_t head[1024] = "QFI\xfb\0\0\0\3";
	struct blk *blk;

	(void)state;
	make_raw("guard.img", 65536);
	blk = open_disk((struct blk_options){ 0 }, "guard.img");
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, head, 512), -EPERM);
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, head, 1024), -EPERM);
	assert_int_equal(blk_run(blk, BLK_WRITE, 512, head, 512), 0);
	head[0] = 'X';
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, head, 1024), 0);
	blk_close(blk, NULL);
	/* The user said it is raw: then it is the guest's. */
	blk = open_disk((struct blk_options){ .format = BLK_RAW }, "guard.img");
	head[0] = 'Q';
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, head, 1024), 0);
	blk_close(blk, NULL);
}

static void many_submitters(void *arg)
{
	struct blk *blk = arg;
	static _Atomic unsigned number;
	unsigned me = atomic_fetch_add(&number, 1);
	uint8_t data[4096], back[4096];

	memset(data, (int)me + 1, sizeof(data));
	for (unsigned i = 0; i < 50; i++) {
		uint64_t at = ((uint64_t)me * 50 + i) * 4096;

		assert_int_equal(blk_run(blk, BLK_WRITE, at, data, 4096), 0);
		assert_int_equal(blk_run(blk, BLK_READ, at, back, 4096), 0);
		assert_memory_equal(data, back, 4096);
		if (i % 10 == 0)
			assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), 0);
	}
}

static void submitters_on_threads(void **state)
{
	struct host_thread *threads[4];
	struct blk *blk;

	(void)state;
	for (int aio = BLK_AIO_AUTO; aio <= BLK_AIO_THREADS; aio += BLK_AIO_THREADS) {
		make_raw("many.img", 4 << 20);
		blk = open_disk((struct blk_options){ .aio = (enum blk_aio)aio }, "many.img");
		for (int i = 0; i < 4; i++)
			threads[i] = host_thread_start(many_submitters, blk, "submitter");
		blk_drain(blk);
		for (int i = 0; i < 4; i++)
			host_thread_join(threads[i]);
		blk_close(blk, NULL);
	}
}

/* Direct I/O, with buffers that are aligned and others that are not. */
static void direct(void **state)
{
	struct blk_options o = { .cache = BLK_CACHE_NONE, .format = BLK_RAW };
	struct fail why;
	struct blk *blk;
	struct model m;

	(void)state;
	make_raw("direct.img", 1 << 20);
	o.path = model_path("direct.img");
	blk = blk_open(&o, &why);
	if (!blk) {
		assert_non_null(strstr(why.text, "no direct I/O"));
		skip();
	}
	model_init(&m, blk);
	model_run(&m, 500);
	assert_int_equal(blk_close(blk, NULL), 0);
	model_free(&m);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(random_by_threads),
	cmocka_unit_test(random_by_ring),
	cmocka_unit_test(wrong_requests),
	cmocka_unit_test(odd_size),
	cmocka_unit_test(locks),
	cmocka_unit_test(what_a_file_is),
	cmocka_unit_test(guarded_head),
	cmocka_unit_test(submitters_on_threads),
	cmocka_unit_test(direct),
};

int main(void)
{
	return cmocka_run_group_tests(tests, model_enter, model_leave);
}
