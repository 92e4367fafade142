/*
 * image_make.c - `trapeze image create` and `convert`: images that appear whole (see output.h).
 *
 * Convert asks the source where there is something, and writes only that: what reads as zero is
 * left out of the new image.
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "control/options.h"
#include "control/output.h"
#include "control/progress.h"
#include "host/host.h"

#define PIECE_BYTES (UINT64_C(2) << 20)

static unsigned log2_of(uint64_t n)
{
	return n ? (unsigned)__builtin_ctzll(n) : 0;
}

/* Writes an empty image of this shape into the output, and opens it. */
static struct image *make(struct output *out, enum blk_format format,
			  const struct qcow2_shape *shape, struct fail *why)
{
	struct image_options o = { .path = out->path, .writable = true, .unsafe = true };
	struct image *image = NULL;
	struct fail reason;
	struct stat st;
	int fd;

	if (format == BLK_RAW && ftruncate(out->fd, (off_t)shape->bytes) != 0)
		fail(why, -errno, "%s: %s", out->path, strerror(errno));
	else if (format != BLK_RAW && qcow2_create(out->fd, shape, &reason))
		fail(why, reason.code, "%s: %s", out->path, reason.text);
	else {
		fd = fcntl(out->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0 || fstat(fd, &st) != 0)
			fail(why, -errno, "%s: %s", out->path, strerror(errno));
		else
			image = format == BLK_RAW ? raw_open(fd, (uint64_t)st.st_size, why)
						  : qcow2_open(fd, (uint64_t)st.st_size, &o, why);
		if (!image && fd >= 0)
			close(fd);
	}
	if (image) {
		image->path = strdup(out->path);
		image->fd_direct = -1;
		image->writable = image->unsafe = true;
	}
	return image;
}

/* The backing file of a new image: its size is the new one's unless that is given. */
static int look_at_backing(const struct image_words *w, struct qcow2_shape *shape, bool sized,
			   struct fail *why)
{
	char path[PATH_MAX];
	const char *slash = strrchr(w->names[0], '/');
	struct image_options o = { .path = path };
	struct image *image;

	/* Its name is seen from the new image's directory. */
	if (w->backing[0] == '/' || !slash)
		snprintf(path, sizeof(path), "%s", w->backing);
	else
		snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - w->names[0]), w->names[0],
			 w->backing);
	image = image_open(&o, why);
	if (!image)
		return why->code;
	shape->backing = w->backing;
	shape->backing_format = image->ops->name;
	if (!sized)
		shape->bytes = image->bytes;
	image_close(image);
	return 0;
}

int image_create(const struct image_words *w, struct fail *why)
{
	struct qcow2_shape shape = { .cluster_bits = log2_of(w->cluster) };
	enum blk_format format = w->format == BLK_PROBE ? BLK_QCOW2 : w->format;
	struct image *image = NULL;
	struct output out;
	int err;

	if (format == BLK_RAW && (w->backing || w->cluster))
		return fail(why, -EINVAL, "a raw image has no backing file and no clusters");
	if (w->count < 2 && !w->backing)
		return fail(why, -EINVAL, "image create: how large? give SIZE: 512M, 20G");
	if (w->count == 2 && (options_parse_size(w->names[1], &shape.bytes) || shape.bytes == 0))
		return fail(why, -EINVAL, "'%s' is not a size: 512M, 20G", w->names[1]);
	if (shape.bytes % BLK_SECTOR)
		return fail(why, -EINVAL, "'%s' is not a whole number of sectors of 512 bytes",
			    w->names[1]);
	if (w->backing && look_at_backing(w, &shape, w->count == 2, why))
		return why->code;
	err = output_open(&out, w->names[0], w->force, why);
	if (!err) {
		image = make(&out, format, &shape, why);
		err = image ? output_finish(&out, why) : why->code;
	}
	image_close(image);
	output_close(&out);
	return err;
}

static bool all_zero(const uint8_t *data, uint64_t bytes)
{
	return data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0;
}

struct copy {
	struct image *from, *to;
	bool packed;
	bool reading;  /* what failed was not a write */
	uint64_t unit; /* what is looked at for zeroes */
	uint8_t *data; /* PIECE_BYTES */
};

static int write_unit(const struct copy *c, uint64_t at, uint8_t *data, uint64_t bytes)
{
	int err = -E2BIG;

	if (all_zero(data, bytes))
		return 0;
	if (c->packed) {
		memset(data + bytes, 0, c->unit - bytes); /* the disk's last cluster */
		err = qcow2_write_packed(c->to, at, data);
	}
	return err == -E2BIG ? image_write(c->to, at, data, bytes) : err;
}

/* One piece: `bytes` at `at`, both in whole units but for the end of the disk. */
static int copy_piece(struct copy *c, uint64_t at, uint64_t bytes)
{
	int err = image_read(c->from, at, c->data, bytes);

	c->reading = err != 0;
	if (err)
		return err;
	for (uint64_t n = 0; !err && n < bytes; n += c->unit)
		err = write_unit(c, at + n, c->data + n, bytes - n < c->unit ? bytes - n : c->unit);
	return err;
}

static int copy_all(struct copy *c, struct progress *progress)
{
	uint64_t all = c->from->bytes, at = 0;
	int err = 0;

	while (!err && at < all) {
		struct image *where;
		struct extent e;
		uint64_t n = all - at < PIECE_BYTES ? all - at : PIECE_BYTES;

		progress_show(progress, at);
		err = image_find(c->from, at, all - at, &e, &where);
		c->reading = err != 0;
		if (err)
			break;
		if (e.kind == EXTENT_ZERO && (e.bytes >= c->unit || e.bytes == all - at)) {
			at += e.bytes == all - at ? e.bytes : e.bytes & ~(c->unit - 1);
			continue;
		}
		err = copy_piece(c, at, n);
		at += n;
	}
	return err;
}

static int convert_into(const struct image_words *w, struct image *from, struct output *out,
			struct fail *why)
{
	enum blk_format format = w->format == BLK_PROBE ? BLK_QCOW2 : w->format;
	struct qcow2_shape shape = { .bytes = from->bytes, .cluster_bits = log2_of(w->cluster) };
	struct copy c = { .from = from, .packed = w->compress, .data = host_alloc(PIECE_BYTES) };
	struct progress progress;
	int err;

	if (w->compress && strcmp(w->compress, "zstd") == 0)
		shape.compression = COMPRESSION_ZSTD;
	c.to = c.data ? make(out, format, &shape, why) : NULL;
	if (!c.to) {
		host_free(c.data);
		return c.data ? why->code : fail(why, -ENOMEM, "no memory");
	}
	c.unit = c.to->cluster ? c.to->cluster : 65536;
	progress_begin(&progress, from->bytes);
	progress.on = progress.on && !w->quiet;
	err = copy_all(&c, &progress);
	progress_end(&progress);
	if (!err)
		err = image_settle(c.to);
	/* Whole clusters: what is compressed is read by sectors, the last one too. */
	if (!err && format == BLK_QCOW2 && ftruncate(out->fd, (off_t)qcow2_of(c.to)->end) != 0)
		err = -errno;
	if (err)
		fail(why, err, "%s: %s", w->names[c.reading ? 0 : 1],
		     err == -EUCLEAN ? "the image is damaged" : strerror(-err));
	image_close(c.to);
	host_free(c.data);
	return err;
}

int image_convert(const struct image_words *w, struct fail *why)
{
	struct image_options o = { .path = w->names[0] };
	struct image *from;
	struct output out;
	int err;

	if (w->format == BLK_RAW && (w->compress || w->cluster))
		return fail(why, -EINVAL, "a raw image is not compressed and has no clusters");
	from = image_open(&o, why);
	if (!from)
		return why->code;
	for (struct image *i = from; i; i = i->backing)
		i->seek_holes = true;
	err = output_open(&out, w->names[1], w->force, why);
	if (!err)
		err = convert_into(w, from, &out, why);
	if (!err)
		err = output_finish(&out, why);
	output_close(&out);
	image_close(from);
	return err;
}
