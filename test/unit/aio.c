/*
 * aio.c - tests backend/aio.h, by io_uring and by threads: both give the same answers.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test/cmocka.h"

#include "backend/aio.h"
#include "host/host.h"

#define MANY 1000u /* more than a ring holds */

struct one {
	struct aio_op op;
	struct iovec iov[3];
	uint8_t data[64];
	int err;
};

static unsigned ended;

static void done(struct aio_op *op, int err)
{
	((struct one *)op->arg)->err = err;
	ended++;
}

static struct aio *open_aio(enum blk_aio which)
{
	struct fail why;
	struct aio *aio = aio_open(which, &why);

	if (!aio && which == BLK_AIO_URING) {
		assert_non_null(strstr(why.text, "io_uring"));
		skip();
	}
	assert_non_null(aio);
	return aio;
}

static void set(struct one *o, enum aio_kind kind, int fd, uint64_t offset, size_t bytes)
{
	size_t third = bytes / 3;

	o->iov[0] = (struct iovec){ o->data, third };
	o->iov[1] = (struct iovec){ o->data + third, 0 };
	o->iov[2] = (struct iovec){ o->data + third, bytes - third };
	o->op = (struct aio_op){ .kind = kind,
				 .fd = fd,
				 .offset = offset,
				 .iov = o->iov,
				 .iovs = 3,
				 .done = done,
				 .arg = o };
	o->err = 1;
}

static void finish(struct aio *aio, unsigned count)
{
	while (ended < count)
		aio_wait(aio, UINT64_MAX);
	assert_int_equal(ended, count);
	ended = 0;
}

static void one_op(struct aio *aio, struct one *o)
{
	aio_submit(aio, &o->op);
	finish(aio, 1);
}

static void transfers(enum blk_aio which)
{
	struct aio *aio = open_aio(which);
	struct one *many = calloc(MANY, sizeof(*many));
	int fd = memfd_create("aio", 0);

	for (unsigned i = 0; i < MANY; i++) {
		memset(many[i].data, (int)i, 64);
		set(&many[i], AIO_WRITE, fd, i * 64, 64);
		aio_submit(aio, &many[i].op);
	}
	finish(aio, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(many[i].err, 0);
		memset(many[i].data, 0xee, 64);
		set(&many[i], AIO_READ, fd, i * 64 + 32, 64);
		aio_submit(aio, &many[i].op);
	}
	finish(aio, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(many[i].err, 0);
		for (unsigned b = 0; b < 64; b++)
			assert_int_equal(many[i].data[b], b < 32         ? (uint8_t)i
							  : i + 1 < MANY ? (uint8_t)(i + 1)
									 : 0);
	}
	close(fd);
	free(many);
	aio_close(aio);
}

static void answers(enum blk_aio which)
{
	struct aio *aio = open_aio(which);
	int fd = memfd_create("aio", 0), closed = dup(fd);
	struct one o = { .data = "data" };

	close(closed);
	set(&o, AIO_READ, fd, 1 << 20, 64); /* far behind the end */
	one_op(aio, &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(o.data[0], 0);
	set(&o, AIO_READ, closed, 0, 64);
	one_op(aio, &o);
	assert_int_equal(o.err, -EBADF);
	set(&o, AIO_SYNC, fd, 0, 0);
	one_op(aio, &o);
	assert_int_equal(o.err, 0);
	set(&o, AIO_ALLOCATE, fd, 0, 0);
	o.op.bytes = 8192;
	one_op(aio, &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 8192);
	set(&o, AIO_WRITE, -1, 0, 64);
	one_op(aio, &o);
	assert_int_equal(o.err, -EBADF);
	close(fd);
	aio_close(aio);
}

static void waker(void *arg)
{
	for (unsigned i = 0; i < 100; i++)
		aio_wake(arg);
}

/* A wake is not lost, before waiting nor during; a time limit is kept. */
static void waking(enum blk_aio which)
{
	struct aio *aio = open_aio(which);
	struct host_thread *thread;
	uint64_t before;

	aio_wake(aio);
	aio_wait(aio, UINT64_MAX);
	for (unsigned i = 0; i < 20; i++) {
		thread = host_thread_start(waker, aio, "waker");
		aio_wait(aio, UINT64_MAX);
		host_thread_join(thread);
		aio_wake(aio);
		aio_wait(aio, UINT64_MAX);
	}
	before = host_monotonic_ns();
	do
		aio_wait(aio, before + 20000000);
	while (host_monotonic_ns() < before + 20000000);
	aio_wait(aio, 1); /* long ago */
	aio_close(aio);
}

#define BOTH(name)                                                                                 \
	static void name##_by_ring(void **state)                                                   \
	{                                                                                          \
		(void)state;                                                                       \
		name(BLK_AIO_URING);                                                               \
	}                                                                                          \
	static void name##_by_threads(void **state)                                                \
	{                                                                                          \
		(void)state;                                                                       \
		name(BLK_AIO_THREADS);                                                             \
	}

BOTH(transfers)
BOTH(answers)
BOTH(waking)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(transfers_by_ring), cmocka_unit_test(transfers_by_threads),
	cmocka_unit_test(answers_by_ring),   cmocka_unit_test(answers_by_threads),
	cmocka_unit_test(waking_by_ring),    cmocka_unit_test(waking_by_threads),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
