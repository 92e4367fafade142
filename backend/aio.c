/*
 * aio.c - what both ways of asynchronous I/O share (see aio.h): short transfers go on, a
 * file's end reads as zero.
 *
 * Tested by test/unit/aio.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct aio *aio_open(enum blk_aio which, struct fail *why)
{
	struct aio *aio = NULL;

	if (which != BLK_AIO_THREADS)
		aio = aio_uring_ops.open(why);
	if (!aio && which != BLK_AIO_URING)
		aio = aio_threads_ops.open(why);
	return aio;
}

void aio_close(struct aio *aio)
{
	if (aio)
		aio->ops->close(aio);
}

void aio_submit(struct aio *aio, struct aio_op *op)
{
	aio->ops->submit(aio, op);
}

void aio_wake(struct aio *aio)
{
	aio->ops->wake(aio);
}

int aio_perform(const struct aio_op *op)
{
	ssize_t n = 0;

	switch (op->kind) {
	case AIO_READ: n = preadv(op->fd, op->iov, (int)op->iovs, (off_t)op->offset); break;
	case AIO_WRITE: n = pwritev(op->fd, op->iov, (int)op->iovs, (off_t)op->offset); break;
	case AIO_SYNC: n = fdatasync(op->fd); break;
	case AIO_ALLOCATE:
		n = fallocate(op->fd, op->mode, (off_t)op->offset, (off_t)op->bytes);
		break;
	}
	return n < 0 ? -errno : (int)n;
}

/* Takes `bytes` off the front of what is left. */
static void advance(struct aio_op *op, size_t bytes)
{
	op->offset += bytes;
	while (op->iovs > 0 && bytes >= op->iov->iov_len) {
		bytes -= op->iov->iov_len;
		op->iov++;
		op->iovs--;
	}
	if (op->iovs > 0) {
		op->iov->iov_base = (uint8_t *)op->iov->iov_base + bytes;
		op->iov->iov_len -= bytes;
	}
}

/* Handles what the system said: true when the operation has ended, with *err. */
static bool ended(struct aio_op *op, int *err)
{
	*err = op->result < 0 ? op->result : 0;
	if (op->result == -EINTR || op->result == -EAGAIN)
		return false;
	if (*err || op->kind == AIO_SYNC || op->kind == AIO_ALLOCATE)
		return true;
	if (op->result > 0) {
		advance(op, (size_t)op->result);
		return op->iovs == 0;
	}
	if (op->kind == AIO_WRITE && op->iovs > 0)
		*err = -ENOSPC; /* a write that does not go on: a block device's end */
	for (unsigned i = 0; op->kind == AIO_READ && i < op->iovs; i++)
		memset(op->iov[i].iov_base, 0, op->iov[i].iov_len);
	return true;
}

void aio_wait(struct aio *aio, uint64_t until_ns)
{
	struct aio_op *op = aio->ops->wait(aio, until_ns);

	while (op) {
		struct aio_op *next = op->next;
		int err;

		if (ended(op, &err))
			op->done(op, err);
		else
			aio->ops->submit(aio, op);
		op = next;
	}
}
