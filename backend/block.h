/*
 * block.h - opens disk images: raw and qcow2, with their backing chains, behind the seam
 * of machine/blk.h.
 *
 * Each disk has one thread that does everything: it takes requests, consults the image's map, moves
 * data asynchronously (io_uring, or a pool of threads) and calls back. So a format's tables need
 * no locks.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_BLOCK_H
#define BACKEND_BLOCK_H

#include "host/fail.h"
#include "machine/blk.h"

enum blk_format { BLK_PROBE, BLK_RAW, BLK_QCOW2 };

enum blk_cache {
	BLK_CACHE_WRITEBACK, /* the host's page cache; flush is fdatasync */
	BLK_CACHE_NONE,      /* O_DIRECT; flush is fdatasync */
	BLK_CACHE_UNSAFE,    /* the host's page cache; flush goes no further */
};

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };

/* What happens when the host's file system is full. */
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
	/* BLK_ENOSPC_STOP: requests wait for room from now on, or do no longer. Disk's thread; it
	 * must not submit, wait, drain or close. May be NULL. */
	void (*stalled)(void *arg, bool waits);
	void *stalled_arg;
};

/*
 * Opens an image and its backing chain, takes the image locks and starts the disk's thread. NULL
 * and one sentence: not an image, damaged, in use (with the owner's process number), a feature that
 * is not supported (by name). Any thread; nothing of `options` is kept but the calls and their arguments.
 */
struct blk *blk_open(const struct blk_options *options, struct fail *why);
/* Drains, flushes, unlocks, frees. 0, or the -E* of the last flush and *why: data may be lost.
 * NULL is allowed. */
int blk_close(struct blk *blk, struct fail *why);

/* What waits for room is tried again at once. Any thread. */
void blk_retry(struct blk *blk);

/* Submits one operation on one buffer and waits. The same errors; for tools and tests. */
int blk_run(struct blk *blk, enum blk_op op, uint64_t offset, void *buffer, uint64_t bytes);

#endif
