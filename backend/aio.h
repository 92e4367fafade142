/*
 * aio.h - asynchronous file I/O for one thread: what a disk's thread waits on.
 *
 * One thread submits and waits; completions are called inside aio_wait(), by that thread. So no
 * lock protects anything of an operation. Only aio_wake() may come from elsewhere.
 *
 * Two ways to do it, with one behaviour: io_uring, and a pool of threads for hosts whose kernel
 * (or container) has none.
 *
 * Tested by test/unit/aio.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_AIO_H
#define BACKEND_AIO_H

#include "backend/block.h"

enum aio_kind { AIO_READ, AIO_WRITE, AIO_SYNC, AIO_ALLOCATE };

/* Caller-owned until `done`. */
struct aio_op {
	enum aio_kind kind;
	int fd;
	uint64_t offset;
	struct iovec *iov; /* read, write: consumed */
	unsigned iovs;     /* at most IOV_MAX */
	int mode;          /* AIO_ALLOCATE: fallocate's */
	uint64_t bytes;    /* AIO_ALLOCATE */
	/* err: 0 or -E*. All of it is done: a short transfer is continued, what lies beyond the
	 * end of the file reads as zero. */
	void (*done)(struct aio_op *op, int err);
	void *arg;
	struct aio_op *next; /* private */
	int result;          /* private */
};

struct aio;

struct aio_ops {
	const char *name;
	struct aio *(*open)(struct fail *why);
	void (*submit)(struct aio *aio, struct aio_op *op);
	/* Collects finished operations, with what the system said in `result`. */
	struct aio_op *(*wait)(struct aio *aio, uint64_t until_ns);
	void (*wake)(struct aio *aio);
	void (*close)(struct aio *aio);
};

extern const struct aio_ops aio_uring_ops, aio_threads_ops;

/* First member of both. */
struct aio {
	const struct aio_ops *ops;
};

/* NULL and a sentence. BLK_AIO_AUTO: io_uring where the host lets us. */
struct aio *aio_open(enum blk_aio which, struct fail *why);
/* Nothing may be in flight. */
void aio_close(struct aio *aio);

void aio_submit(struct aio *aio, struct aio_op *op);
/* Waits until something ends, aio_wake() is called or host_monotonic_ns() reaches until_ns, and
 * calls what has ended. */
void aio_wait(struct aio *aio, uint64_t until_ns);
/* Any thread. */
void aio_wake(struct aio *aio);

/* The call an operation stands for, made here and now: bytes, or -E*. */
int aio_perform(const struct aio_op *op);

#endif
