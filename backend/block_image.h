/*
 * block_image.h - an image and its backing chain: where a guest offset lies, and how it gets a
 * place to be written to.
 *
 * A format answers questions and changes its tables; it moves no guest data. So the same format
 * code serves the disk's thread, which moves data asynchronously, and the tools, which wait.
 *
 * Nothing here locks: one thread at a time uses an image. Errors are -E*.
 *
 * Tested by test/unit/block.c and test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_BLOCK_IMAGE_H
#define BACKEND_BLOCK_IMAGE_H

#include "backend/block.h"

struct image;

enum extent_kind {
	EXTENT_HOLE,   /* not in this image: ask its backing file; without one, zero */
	EXTENT_ZERO,   /* reads as zero */
	EXTENT_DATA,   /* in the file, from `host` on */
	EXTENT_PACKED, /* compressed: image_ops.unpack */
};

struct extent {
	enum extent_kind kind;
	uint64_t bytes;  /* how much of what was asked, from its start */
	uint64_t host;   /* DATA, PACKED: offset in the file */
	uint32_t packed; /* PACKED: at most so many bytes there */
};

/*
 * A place for guest data that is about to be written. When `fresh`, it is newly allocated, the
 * guest cannot see it until link(), and all of [cover, cover + cover_bytes) must be in it by then.
 */
struct placement {
	uint64_t offset, bytes; /* guest range; bytes: of what was asked, from its start */
	uint64_t host;          /* in the file, of `offset` (fresh: of `cover`) */
	bool fresh;
	bool blank; /* fresh: the file reads as zero there already */
	uint64_t cover, cover_bytes;
};

enum erase {
	ERASE_DISCARD,   /* contents no longer matter */
	ERASE_ZERO,      /* reads as zero, space kept */
	ERASE_ZERO_FREE, /* reads as zero, space may go */
};

struct image_ops {
	const char *name;
	void (*close)(struct image *image);
	/* Ranges lie inside the image. */
	int (*map)(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e);
	/* The cluster a PACKED extent at guest `offset` is part of: valid until the next call. */
	int (*unpack)(struct image *image, const struct extent *e, uint64_t offset,
		      const uint8_t **cluster);
	/* True when writing this range changes no table. */
	bool (*in_place)(struct image *image, uint64_t offset, uint64_t bytes);
	int (*place)(struct image *image, uint64_t offset, uint64_t bytes, struct placement *p);
	int (*link)(struct image *image, const struct placement *p);
	void (*unplace)(struct image *image, const struct placement *p);
	/* Whole clusters (or up to the image's end); *done: how much was. -ENOTSUP: write zeroes.
	 * NULL: the file itself is told. */
	int (*erase)(struct image *image, uint64_t offset, uint64_t bytes, enum erase how,
		     uint64_t *done);
	/* Brings everything to the medium, step 0, 1, ...: 1: sync the file, then call with the
	 * next step; 0: it is there; -E*: it is not, start again with step 0. */
	int (*commit)(struct image *image, unsigned step);
};

struct image {
	const struct image_ops *ops;
	struct image *backing; /* NULL: none */
	char *path;
	int fd;
	int fd_direct;  /* O_DIRECT, for transfers that are aligned; -1: none */
	uint32_t align; /* what fd_direct wants */
	uint64_t bytes; /* virtual size */
	uint64_t file_bytes;
	uint32_t cluster; /* unit in which tables change; 0: there are none */
	bool writable;
	bool unsafe;    /* no syncs */
	int sync_error; /* a sync failed: what was written before may be gone, for good */
	bool probed; /* raw because nothing else was recognised: its guest must not make it another
		      */
	bool linking_waits; /* a commit is half way: no link() or erase() until its next step */
	bool seek_holes;    /* raw: map() tells the file's holes (convert) */
};

struct image_options {
	const char *path;
	enum blk_format format;
	bool writable;
	bool direct, unsafe;
	bool alone; /* do not open its backing file */
	bool no_lock;
	bool for_check; /* open damaged and dirty images too */
};

/* Opens the file, recognises it, opens its backing chain. NULL and a sentence. */
struct image *image_open(const struct image_options *options, struct fail *why);
/* An unlinked temporary qcow2 image on top of `base`, which it owns on success. */
struct image *image_overlay(struct image *base, struct fail *why);
/* Closes the chain. Nothing is written: image_flush() before. */
void image_close(struct image *image);

/* Opens one level; called by image_open(). They own the file from success on. */
struct image *raw_open(int fd, uint64_t file_bytes, struct fail *why);
struct image *qcow2_open(int fd, uint64_t file_bytes, const struct image_options *options,
			 struct fail *why);
/* The backing file as the image names it; NULL: none. *format: NULL when it does not say. */
const char *qcow2_backing(const struct image *image, const char **format);

/* Where the chain has [offset, ...): never HOLE. `e` refers to *where. */
int image_find(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e,
	       struct image **where);
bool image_reads_zero(struct image *image, uint64_t offset, uint64_t bytes);
/* These wait. */
int image_read(struct image *image, uint64_t offset, void *to, uint64_t bytes);
int image_write(struct image *image, uint64_t offset, const void *from, uint64_t bytes);
int image_flush(struct image *image);
/* Syncs the file; fails from the first failure on. */
int image_sync(struct image *image);
/* A sync ended with `err`: it is remembered. Returns what every flush answers from now on. */
int image_sync_failed(struct image *image, int err);
/* Before closing: what the last flush made unused is counted so in the file, too. */
int image_settle(struct image *image);

/* What a file's first bytes say: BLK_RAW when nothing is recognised, BLK_QCOW2, or -ENOTSUP and a
 * sentence with the name of a format that is known and not supported. */
int image_probe(const uint8_t *head, size_t bytes, const char *path, struct fail *why);

#endif
