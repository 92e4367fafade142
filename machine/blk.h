/*
 * blk.h - a disk image as a device sees it: sectors, asynchronously.
 *
 * A device fills in a struct blk_request it owns, submits it, and is called back on the
 * disk's own thread when the host is done. The callback does no more than device_post()
 * (or note the end where a device in counted time looks for it): guest-visible work
 * happens where that input is taken, on the vCPU's thread.
 *
 * This is the seam: a device knows only this header, a test can fill it with a fake, and
 * backend/block.h opens the real ones.
 *
 * Order. Requests in flight at the same time have no order. A flush that completes with 0 covers
 * every request whose callback had been called when the flush was submitted: their data is on
 * the medium (unless the user asked for an unsafe cache: then with the host's kernel).
 *
 * The guest is hostile: ranges are checked below this seam. Overlapping requests give one or the
 * other's data and never harm the image.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_BLK_H
#define MACHINE_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLK_SECTOR 512u
/* Most bytes one read or write request may carry, and most buffers. */
#define BLK_BYTES_MAX (UINT64_C(1) << 30)
#define BLK_IOVS_MAX  1000u

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,   /* no range */
	BLK_DISCARD, /* the contents no longer matter; they may read as before or as zero */
	BLK_ZERO,    /* reads as zero afterwards */
};

/*
 * One operation. Caller-owned, untouched by it from blk_submit() until `done` is called; from then
 * on free to be used again, by the callback itself too. Buffers may be guest RAM.
 */
struct blk_request {
	enum blk_op op;
	bool unmap;             /* BLK_ZERO: giving the space back is welcome */
	uint64_t offset, bytes; /* multiples of BLK_SECTOR; read, write: the sum of iov */
	const struct iovec *iov;
	unsigned iovs;
	/* err: 0, -EINVAL (range or buffers make no sense), -EROFS, -ENOSPC, -EIO or another -E*.
	 * Disk's thread. It may submit, and must not wait, drain or close. */
	void (*done)(struct blk_request *request, int err);
	void *arg; /* the caller's */

	struct blk_request *next; /* the backend's */
};

/* What does not change while the disk is open. */
struct blk_info {
	uint64_t bytes;   /* virtual size: a multiple of BLK_SECTOR */
	uint32_t block;   /* smallest range written without read-modify-write: bytes */
	uint32_t cluster; /* unit of allocation and of discard: bytes */
	bool readonly;
	const char *format; /* "raw", "qcow2" */
	const char *aio;    /* "io_uring", "threads" */
};

struct blk;

struct blk_ops {
	void (*submit)(struct blk *blk, struct blk_request *request);
	void (*wait)(struct blk *blk, struct blk_request *request);
	void (*drain)(struct blk *blk);
};

/* First member of every backend's own struct. */
struct blk {
	const struct blk_ops *ops;
	struct blk_info info;
};

static inline const struct blk_info *blk_info(const struct blk *blk)
{
	return &blk->info;
}

/* Any thread. Always ends in `done`, wrong requests too. */
static inline void blk_submit(struct blk *blk, struct blk_request *request)
{
	blk->ops->submit(blk, request);
}

/* Returns when `done` of this request has returned; it must not submit it anew. Not from `done`. */
static inline void blk_wait(struct blk *blk, struct blk_request *request)
{
	blk->ops->wait(blk, request);
}

/* Returns when nothing is in flight. Requests that wait for the host's disk to have room are ended
 * with -ENOSPC. Not from `done`. */
static inline void blk_drain(struct blk *blk)
{
	blk->ops->drain(blk);
}

#endif
