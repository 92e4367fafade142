/*
 * block.h - a disk image as a device sees it: sectors, asynchronously.
 *
 * A device fills in a struct blk_request it owns, submits it, and is called back on the
 * disk's own thread when the host is done. The callback does no more than device_post()
 * (or note the end where a device in counted time looks for it): guest-visible work
 * happens where that input is taken, on the vCPU's thread.
 *
 * Order. Requests in flight at the same time have no order. A flush that completes with 0 covers
 * every request whose callback had been called when the flush was submitted: their data is on
 * the medium (under BLK_CACHE_UNSAFE: with the host's kernel).
 *
 * The guest is hostile: ranges are checked here, not by the device. Overlapping requests give one
 * or the other's data and never harm the image.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_BLOCK_H
#define BACKEND_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "host/fail.h"

#define BLK_SECTOR 512u
/* Most bytes one read or write request may carry, and most buffers. */
#define BLK_BYTES_MAX (UINT64_C(1) << 30)
#define BLK_IOVS_MAX  1024u

enum blk_format { BLK_PROBE, BLK_RAW, BLK_QCOW2 };

enum blk_cache {
	BLK_CACHE_WRITEBACK, /* the host's page cache; flush is fdatasync */
	BLK_CACHE_NONE,      /* O_DIRECT; flush is fdatasync */
	BLK_CACHE_UNSAFE,    /* the host's page cache; flush goes no further */
};

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };

/* The host's file system is full. */
enum blk_enospc {
	BLK_ENOSPC_STOP,   /* requests wait, a message says so, and go on when there is room */
	BLK_ENOSPC_REPORT, /* the guest gets the I/O error */
};

struct blk_options {
	const char *path;
	enum blk_format format; /* BLK_PROBE: from the first bytes */
	enum blk_cache cache;
	enum blk_aio aio;
	enum blk_enospc on_enospc;
	bool readonly;
	bool overlay; /* writes go to a temporary layer that ends with blk_close() */
	/* A message for the user (no newline), on the disk's thread; NULL: host_warn(). */
	void (*say)(void *arg, const char *text);
	void *say_arg;
};

/* What does not change while the image is open. */
struct blk_info {
	uint64_t bytes;   /* virtual size: a multiple of BLK_SECTOR */
	uint32_t block;   /* smallest range written without read-modify-write: bytes */
	uint32_t cluster; /* unit of allocation and of discard, bytes (raw: the file's block) */
	bool readonly;
	const char *format; /* "raw", "qcow2" */
	const char *aio;    /* "io_uring", "threads" */
};

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

	/* Private to block.c. */
	struct blk_request *next;
	bool finished;
};

struct blk;

/*
 * Opens an image and its backing chain, takes the image locks and starts the disk's thread. NULL
 * and one sentence: not an image, damaged, in use (with the owner's process number), a feature that
 * is not supported (by name). Any thread; nothing of `options` is kept but say and its argument.
 */
struct blk *blk_open(const struct blk_options *options, struct fail *why);
/* Drains, flushes, unlocks, frees. 0, or the -E* of the last flush: data may be lost, and *why
 * says which. NULL is allowed. */
int blk_close(struct blk *blk, struct fail *why);

const struct blk_info *blk_info(const struct blk *blk);

/* Any thread. Always ends in `done`, wrong requests too. */
void blk_submit(struct blk *blk, struct blk_request *request);
/* Returns when `done` of this request has returned; it must not submit it anew. Not from `done`. */
void blk_wait(struct blk *blk, struct blk_request *request);
/* Returns when nothing is in flight. Requests that wait for space under BLK_ENOSPC_STOP are ended
 * with -ENOSPC. Not from `done`. */
void blk_drain(struct blk *blk);

/* Submits one operation on one buffer and waits. The same errors; for tools and tests. */
int blk_run(struct blk *blk, enum blk_op op, uint64_t offset, void *buffer, uint64_t bytes);

#endif
