/*
 * power_loss.c - the order in which a qcow2 image is written, against a disk that loses power.
 *
 * This program stands between the disk code and the file: every write, hole and sync is noted. Then
 * it builds what a medium could hold had the power failed at some moment: all that was written
 * before the last sync, and of what came after any of its sectors or none. Each such image must
 * have no error but leaks, and hold every flushed sector.
 *
 * A sync that fails, whoever asked for it, is a flush that fails, and each one after it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "backend/qcow2.h"
#include "test/unit/disk_model.h"

#define BLOCK   2048u
#define BLOCKS  512u
#define EVENTS  20000u
#define CRASHES 100

enum what { WROTE, PUNCHED, SYNCED, SUBMITTED, FLUSHED };

static struct event {
	enum what what;
	uint64_t at, bytes;
	uint8_t *data;             /* WROTE */
	uint64_t versions[BLOCKS]; /* SUBMITTED, FLUSHED: of each block; odd: zero */
} * events;
static unsigned event_count;
static struct host_mutex *events_lock;
static bool noting;
static _Atomic unsigned fail_at; /* the sync that fails; 1: the next, 0: none */
static int sync_errno = EIO;

static struct event *note(enum what what, uint64_t at, const void *data, uint64_t bytes)
{
	struct event *e = NULL;

	host_mutex_lock(events_lock);
	if (noting && event_count < EVENTS) {
		e = &events[event_count++];
		e->what = what;
		e->at = at;
		e->bytes = bytes;
		if (data) {
			e->data = malloc(bytes);
			memcpy(e->data, data, bytes);
		}
	}
	host_mutex_unlock(events_lock);
	return e;
}

/* These take the place of the C library's. */
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
	note(WROTE, (uint64_t)at, data, bytes);
	return syscall(SYS_pwrite64, fd, data, bytes, at);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t all = 0;

	for (int i = 0; i < n; i++) {
		assert_int_equal(pwrite(fd, iov[i].iov_base, iov[i].iov_len, at + all),
				 iov[i].iov_len);
		all += (ssize_t)iov[i].iov_len;
	}
	return all;
}

int fdatasync(int fd)
{
	struct timespec moment = { 0, 300000 }; /* others write meanwhile */

	(void)fd;
	if (fail_at && --fail_at == 0) {
		errno = sync_errno;
		return -1;
	}
	nanosleep(&moment, NULL);
	note(SYNCED, 0, NULL, 0);
	return 0;
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
	assert_int_equal(mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	note(PUNCHED, (uint64_t)at, NULL, (uint64_t)bytes);
	return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
}

static void fill(uint8_t *data, uint64_t block, uint64_t version)
{
	uint64_t tag[2] = { block + 1, version };

	memset(data, 0, BLOCK);
	for (unsigned at = 0; at < BLOCK && !(version & 1); at += sizeof(tag))
		memcpy(data + at, tag, sizeof(tag));
}

struct flush {
	struct blk_request request;
	uint64_t versions[BLOCKS];
};

static void flushed(struct blk_request *r, int err)
{
	struct event *e = note(FLUSHED, 0, NULL, 0);

	assert_int_equal(err, 0);
	if (e)
		memcpy(e->versions, ((struct flush *)r->arg)->versions, sizeof(e->versions));
}

/* Starts a flush of what has been written; writing goes on beside it. */
static void start_flush(struct blk *blk, struct flush *f, const uint64_t *versions)
{
	blk_wait(blk, &f->request);
	memcpy(f->versions, versions, sizeof(f->versions));
	f->request = (struct blk_request){ .op = BLK_FLUSH, .done = flushed, .arg = f };
	blk_submit(blk, &f->request);
}

static void write_some(struct blk *blk, unsigned requests)
{
	static uint64_t versions[BLOCKS];
	static uint8_t data[16 * BLOCK];
	static struct flush flush;
	uint64_t next = 2;

	memset(versions, 0, sizeof(versions));
	for (unsigned i = 0; i < requests; i++) {
		unsigned first = model_random(BLOCKS),
			 n = 1 + model_random(model_random(4) ? 3 : 16);
		bool zero = model_random(3) == 0, discard = zero && model_random(2);
		struct event *e;

		if (zero)
			first &= ~15u, n = 16;
		n = n > BLOCKS - first ? BLOCKS - first : n;
		next += 2;
		for (unsigned b = 0; b < n; b++) {
			versions[first + b] = next | zero;
			fill(data + b * BLOCK, first + b, next);
		}
		e = note(SUBMITTED, 0, NULL, 0);
		if (e)
			memcpy(e->versions, versions, sizeof(versions));
		/* A discard of whole clusters reads as zero: there is no backing file. */
		assert_int_equal(blk_run(blk,
					 discard ? BLK_DISCARD
					 : zero  ? BLK_ZERO
						 : BLK_WRITE,
					 (uint64_t)first * BLOCK, data, (uint64_t)n * BLOCK),
				 0);
		if (model_random(8) == 0)
			start_flush(blk, &flush, versions);
	}
	blk_wait(blk, &flush.request);
}

static void apply(int fd, const struct event *e, bool whole)
{
	static const uint8_t zero[512];

	for (uint64_t n = 0, step; n < e->bytes; n += step) {
		step = 512 - ((e->at + n) & 511);
		step = step < e->bytes - n ? step : e->bytes - n;
		if (whole || model_random(2))
			pwrite(fd, e->what == PUNCHED ? zero : e->data + n, step,
			       (off_t)(e->at + n));
	}
}

/* The medium after a power failure behind event number `last`. */
static void make_medium(int fd, unsigned last)
{
	unsigned synced = 0;

	for (unsigned i = 0; i < last; i++) {
		if (events[i].what == SYNCED)
			synced = i;
	}
	for (unsigned i = 0; i < last; i++) {
		const struct event *e = &events[i];

		if (e->what == WROTE || e->what == PUNCHED) {
			if (i < synced)
				apply(fd, e, true);
			else if (model_random(3))
				apply(fd, e, model_random(2));
		}
	}
}

/* What the last flush covered, or a version submitted later. */
static bool may_hold(const uint8_t *sector, unsigned block, unsigned last)
{
	static uint8_t want[BLOCK];
	uint64_t covered = 0;

	for (unsigned i = 0; i < last; i++) {
		if (events[i].what == FLUSHED)
			covered = events[i].versions[block];
	}
	fill(want, block, covered ? covered : 1);
	if (memcmp(want, sector, 512) == 0)
		return true;
	for (unsigned i = 0; i < last; i++) {
		if (events[i].what != SUBMITTED || events[i].versions[block] <= covered)
			continue;
		fill(want, block, events[i].versions[block]);
		if (memcmp(want, sector, 512) == 0)
			return true;
	}
	return false;
}

static void verify(unsigned last)
{
	struct image_options o = { .path = model_path("medium.qcow2"), .no_lock = true };
	struct image *image = image_open(&o, NULL);
	static uint8_t data[BLOCK];
	struct qcow2_findings f;
	struct fail why;

	assert_non_null(image);
	assert_int_equal(qcow2_check(image, o.path, false, &f, &why), 0);
	if (f.errors)
		print_message("after event %u of %u: %s\n", last, event_count, f.first);
	assert_int_equal(f.errors, 0);
	for (unsigned b = 0; b < BLOCKS; b++) {
		assert_int_equal(image_read(image, (uint64_t)b * BLOCK, data, BLOCK), 0);
		for (unsigned s = 0; s < BLOCK; s += 512) {
			if (!may_hold(data + s, b, last))
				print_message("after event %u: block %u, sector %u\n", last, b,
					      s / 512);
			assert_true(may_hold(data + s, b, last));
		}
	}
	image_close(image);
}

static size_t read_empty(uint8_t *to, size_t room)
{
	int fd = open(model_path("power.qcow2"), O_RDONLY);
	ssize_t n = read(fd, to, room);

	close(fd);
	assert_true(n > 0 && (size_t)n < room);
	return (size_t)n;
}

static void one_disk(const char *shape, unsigned requests)
{
	struct blk_options o = { .path = model_path("power.qcow2"), .aio = BLK_AIO_THREADS };
	static uint8_t empty[1 << 20];
	struct fail why = { 0, "" };
	size_t empty_bytes;
	struct blk *blk;

	assert_int_equal(
		model_shell("rm -f *.qcow2; qemu-img create -q -f qcow2 -o %s power.qcow2 %u",
			    shape, BLOCK * BLOCKS),
		0);
	empty_bytes = read_empty(empty, sizeof(empty));
	for (unsigned i = 0; i < event_count; i++) {
		free(events[i].data);
		events[i].data = NULL;
	}
	event_count = 0;
	noting = true;
	blk = blk_open(&o, &why);
	assert_non_null(blk);
	write_some(blk, requests);
	blk_close(blk, NULL);
	noting = false;
	assert_true(event_count < EVENTS);
	for (unsigned i = 0; i < CRASHES; i++) {
		unsigned last = i == 0 ? event_count : model_random(event_count);
		int fd = open(model_path("medium.qcow2"), O_RDWR | O_CREAT | O_TRUNC, 0600);

		pwrite(fd, empty, empty_bytes, 0);
		make_medium(fd, last);
		close(fd);
		verify(last);
	}
}

static void power_fails(void **state)
{
	(void)state;
	events = calloc(EVENTS, sizeof(*events));
	assert_non_null(events);
	one_disk("cluster_size=4k", 400);
	one_disk("cluster_size=512,refcount_bits=64", 300);
	one_disk("cluster_size=16k,refcount_bits=1", 300);
}

static void say(void *arg, const char *text)
{
	(void)arg;
	assert_null(strstr(text, "wait until there is room"));
}

static struct blk *open_failing(void)
{
	struct blk_options o = { .path = model_path("fail.qcow2"),
				 .on_enospc = BLK_ENOSPC_STOP,
				 .aio = BLK_AIO_THREADS,
				 .say = say };
	struct fail why = { 0, "" };
	struct blk *blk;

	assert_int_equal(model_shell("rm -f fail.qcow2; qemu-img create -q -f qcow2 -o "
				     "cluster_size=512,refcount_bits=64 fail.qcow2 8M"),
			 0);
	blk = blk_open(&o, &why);
	assert_non_null(blk);
	return blk;
}

/* No room to write back is an error, too, and no reason to wait: what was lost stays lost. */
static void stays_failed(struct blk *blk)
{
	assert_int_equal(fail_at, 0);
	assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), -EIO);
	assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), -EIO);
	assert_int_equal(blk_close(blk, NULL), -EIO);
}

static void flush_fails(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT };
	static uint8_t data[4096];

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct blk *blk = open_failing();

		assert_int_equal(blk_run(blk, BLK_WRITE, 0, data, sizeof(data)), 0);
		sync_errno = errors[i];
		fail_at = 1;
		alarm(60); /* it waited for ever once */
		assert_int_equal(blk_run(blk, BLK_FLUSH, 0, NULL, 0), -EIO);
		stays_failed(blk);
		alarm(0);
	}
}

/* Growing the refcounts syncs while a write waits: a block each time, once the table. */
static void growth_fails(void **state)
{
	static uint8_t data[4096];

	(void)state;
	sync_errno = EIO;
	for (unsigned at = 1; at < 70; at += at == 2 ? 58 : 1) {
		struct blk *blk = open_failing();
		uint64_t offset = 0;
		int err;

		fail_at = at;
		do {
			err = blk_run(blk, BLK_WRITE, offset, data, sizeof(data));
			offset += sizeof(data);
		} while (!err && offset < 8 << 20);
		assert_int_equal(err, -EIO);
		stays_failed(blk);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(power_fails),
	cmocka_unit_test(flush_fails),
	cmocka_unit_test(growth_fails),
};

int main(void)
{
	events_lock = host_mutex_new();
	return cmocka_run_group_tests(tests, model_enter, model_leave);
}
