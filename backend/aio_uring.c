/*
 * aio_uring.c - asynchronous I/O by io_uring (see aio.h).
 *
 * Only the disk's thread touches the ring. Others wake it through an eventfd, whose read is
 * always in the ring. Operations are handed to the kernel when the thread waits, many in one call.
 *
 * Specification: io_uring(7). Tested by test/unit/aio.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/aio.h"
#include "host/host.h"

#define RING_ENTRIES 128u

struct uring {
	struct aio aio;
	struct io_uring ring;
	int event;
	uint64_t event_value;
	bool event_armed;
	unsigned in_ring;                   /* operations, without the eventfd's */
	struct aio_op *later, **later_tail; /* no room in the ring yet */
};

static void uring_close(struct aio *aio)
{
	struct uring *u = (struct uring *)aio;

	io_uring_queue_exit(&u->ring);
	close(u->event);
	host_free(u);
}

static struct aio *uring_open(struct fail *why)
{
	struct uring *u = host_alloc(sizeof(*u));
	int err;

	if (!u) {
		fail(why, -ENOMEM, "no memory");
		return NULL;
	}
	u->aio.ops = &aio_uring_ops;
	u->later_tail = &u->later;
	u->event = eventfd(0, EFD_CLOEXEC);
	err = u->event < 0 ? -errno : io_uring_queue_init(RING_ENTRIES, &u->ring, 0);
	/* What came with Linux 5.11 is relied upon: waiting with a timeout. */
	if (!err && !(u->ring.features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(&u->ring);
		err = -ENOSYS;
	}
	if (err) {
		fail(why, err, "this host has no usable io_uring (%s)", strerror(-err));
		if (u->event >= 0)
			close(u->event);
		host_free(u);
		return NULL;
	}
	return &u->aio;
}

static void fill(struct io_uring_sqe *sqe, struct aio_op *op)
{
	switch (op->kind) {
	case AIO_READ: io_uring_prep_readv(sqe, op->fd, op->iov, op->iovs, op->offset); break;
	case AIO_WRITE: io_uring_prep_writev(sqe, op->fd, op->iov, op->iovs, op->offset); break;
	case AIO_SYNC: io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC); break;
	case AIO_ALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->offset, (off_t)op->bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

static void uring_submit(struct aio *aio, struct aio_op *op)
{
	struct uring *u = (struct uring *)aio;
	struct io_uring_sqe *sqe = NULL;

	op->next = NULL;
	if (u->in_ring < RING_ENTRIES - 1) /* one is the eventfd's */
		sqe = io_uring_get_sqe(&u->ring);
	if (!sqe) {
		*u->later_tail = op;
		u->later_tail = &op->next;
		return;
	}
	fill(sqe, op);
	u->in_ring++;
}

static void arm_event(struct uring *u)
{
	struct io_uring_sqe *sqe = u->event_armed ? NULL : io_uring_get_sqe(&u->ring);

	if (!sqe)
		return;
	io_uring_prep_read(sqe, u->event, &u->event_value, sizeof(u->event_value), 0);
	io_uring_sqe_set_data(sqe, NULL);
	u->event_armed = true;
}

static void submit_later(struct uring *u)
{
	struct aio_op *op = u->later;

	u->later = NULL;
	u->later_tail = &u->later;
	while (op) {
		struct aio_op *next = op->next;

		uring_submit(&u->aio, op);
		op = next;
	}
}

static struct aio_op *reap(struct uring *u)
{
	struct aio_op *first = NULL, **tail = &first;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct aio_op *op = io_uring_cqe_get_data(cqe);

		if (op) {
			op->result = cqe->res;
			op->next = NULL;
			*tail = op;
			tail = &op->next;
			u->in_ring--;
		} else {
			u->event_armed = false;
		}
		io_uring_cqe_seen(&u->ring, cqe);
	}
	return first;
}

static struct aio_op *uring_wait(struct aio *aio, uint64_t until_ns)
{
	struct uring *u = (struct uring *)aio;
	uint64_t now = until_ns == UINT64_MAX ? 0 : host_monotonic_ns();
	uint64_t left = until_ns > now ? until_ns - now : 0;
	struct __kernel_timespec ts = { (int64_t)(left / 1000000000),
					(int64_t)(left % 1000000000) };
	struct io_uring_cqe *cqe;
	struct aio_op *done;

	arm_event(u);
	io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, until_ns == UINT64_MAX ? NULL : &ts,
					 NULL);
	done = reap(u);
	submit_later(u);
	return done;
}

static void uring_wake(struct aio *aio)
{
	struct uring *u = (struct uring *)aio;
	uint64_t one = 1;

	while (write(u->event, &one, sizeof(one)) < 0 && errno == EINTR) {
	}
}

const struct aio_ops aio_uring_ops = {
	.name = "io_uring",
	.open = uring_open,
	.submit = uring_submit,
	.wait = uring_wait,
	.wake = uring_wake,
	.close = uring_close,
};
