/*
 * raw.c - an image that is nothing but the disk's sectors.
 *
 * No tables, so nothing to commit and nothing to keep in order. A size that is no multiple
 * of a sector is rounded up: what the file lacks reads as zero.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_image.h"
#include "host/host.h"

static void raw_close(struct image *image)
{
	host_free(image);
}

static int raw_map(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e)
{
	off_t data;

	*e = (struct extent){ .kind = EXTENT_DATA, .bytes = bytes, .host = offset };
	if (!image->seek_holes)
		return 0;
	data = lseek(image->fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		e->kind = EXTENT_ZERO;
	else if (data >= 0 && (uint64_t)data >= offset + BLK_SECTOR) {
		e->kind = EXTENT_ZERO;
		if ((uint64_t)data - offset < bytes)
			e->bytes = ((uint64_t)data - offset) & ~(uint64_t)(BLK_SECTOR - 1);
	} else if (data >= 0) {
		off_t hole = lseek(image->fd, (off_t)offset, SEEK_HOLE);

		if (hole >= 0 && (uint64_t)hole >= offset + BLK_SECTOR &&
		    (uint64_t)hole - offset < bytes)
			e->bytes = ((uint64_t)hole - offset) & ~(uint64_t)(BLK_SECTOR - 1);
	}
	return 0;
}

static bool raw_in_place(struct image *image, uint64_t offset, uint64_t bytes)
{
	(void)image;
	(void)offset;
	(void)bytes;
	return true;
}

static int raw_place(struct image *image, uint64_t offset, uint64_t bytes, struct placement *p)
{
	(void)image;
	*p = (struct placement){ .offset = offset, .bytes = bytes, .host = offset };
	return 0;
}

/* Data is in the page cache when a write ends; the sync is all there is to do. */
static int raw_commit(struct image *image, unsigned step)
{
	(void)image;
	return step == 0;
}

static const struct image_ops raw_ops = {
	.name = "raw",
	.close = raw_close,
	.map = raw_map,
	.in_place = raw_in_place,
	.place = raw_place,
	.commit = raw_commit,
};

struct image *raw_open(int fd, uint64_t file_bytes, struct fail *why)
{
	struct image *image = host_alloc(sizeof(*image));

	if (!image) {
		fail(why, -ENOMEM, "no memory");
		return NULL;
	}
	image->ops = &raw_ops;
	image->fd = fd;
	image->file_bytes = file_bytes;
	image->bytes = (file_bytes + BLK_SECTOR - 1) & ~(uint64_t)(BLK_SECTOR - 1);
	return image;
}
