/*
 * block_image.c - opens images with their backing chains, and reads and writes them
 * while the caller waits (see block_image.h).
 *
 * What a file is. When nobody says, its first bytes do; but bytes are what a guest can write.
 * So (1) an image taken as raw without having been told refuses writes that would make its first
 * sector look like another format; (2) a backing file whose format its overlay does not name may
 * be raw, or a qcow2 image without a backing file of its own: no file that nobody named is
 * ever opened because of what a guest once wrote.
 *
 * Tested by test/unit/block.c and test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/block_image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

#define CHAIN_MAX  64u /* images in a chain */
#define HEAD_BYTES 512u

/* clang-format off */
static const struct magic {
	unsigned at, bytes;
	const char *magic;
	const char *name; /* NULL: qcow2 */
} magics[] = {
	{ 0, 4, "QFI\xfb", NULL },
	{ 0, 4, "QED\0", "QED" },
	{ 0, 4, "KDMV", "VMDK" },
	{ 0, 4, "COWD", "VMDK" },
	{ 0, 8, "vhdxfile", "VHDX" },
	{ 0, 8, "conectix", "VHD" },
	{ 64, 4, "\x7f\x10\xda\xbe", "VDI" },
	{ 0, 16, "WithoutFreeSpace", "Parallels" },
	{ 0, 16, "WithouFreSpacExt", "Parallels" },
	{ 0, 6, "LUKS\xba\xbe", "LUKS" },
	{ 0, 20, "# Disk DescriptorFil", "VMDK" },
};
/* clang-format on */

int image_probe(const uint8_t *head, size_t bytes, const char *path, struct fail *why)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *m = &magics[i];

		if (bytes < m->at + m->bytes || memcmp(head + m->at, m->magic, m->bytes) != 0)
			continue;
		if (m->name)
			return fail(why, -ENOTSUP,
				    "%s: %s images are not supported, only raw and qcow2", path,
				    m->name);
		if (bytes >= 8 && head[7] == 1) /* its first version shares the magic number */
			return fail(why, -ENOTSUP,
				    "%s: qcow version 1 images are not supported, only raw "
				    "and qcow2",
				    path);
		return BLK_QCOW2;
	}
	return BLK_RAW;
}

/* Opens one file, without its backing file. */
static struct image *open_level(const struct image_options *o, struct fail *why)
{
	uint64_t file_bytes = 0;
	int fd = file_open(o->path, o->writable, &file_bytes, why), format = (int)o->format;
	struct image *image = NULL;
	uint8_t head[HEAD_BYTES];
	bool too_small;
	int err;

	if (fd < 0)
		return NULL;
	err = o->no_lock ? 0 : file_lock(fd, o->path, o->writable, why);
	if (!err && format == BLK_PROBE) {
		err = file_read(fd, 0, head, sizeof(head));
		if (err)
			fail(why, err, "%s: %s", o->path, strerror(-err));
		else
			err = format = image_probe(head, sizeof(head), o->path, why);
	}
	if (err >= 0 && format == BLK_QCOW2)
		image = qcow2_open(fd, file_bytes, o, why);
	else if (err >= 0)
		image = raw_open(fd, file_bytes, why);
	if (!image) {
		close(fd);
		return NULL;
	}
	image->fd_direct = o->direct ? file_open_direct(fd, o->writable, &image->align) : -1;
	/* Then tables share pages with data: see file_open_direct(). */
	too_small = o->direct && o->writable && image->cluster && image->cluster < image->align;
	image->path = strdup(o->path);
	image->writable = o->writable;
	image->unsafe = o->unsafe;
	image->probed = o->format == BLK_PROBE && format == BLK_RAW;
	if (image->path && !too_small && (!o->direct || image->fd_direct >= 0))
		return image;
	if (too_small)
		fail(why, -EINVAL, "%s: its clusters are too small for direct I/O", o->path);
	else if (o->direct && image->fd_direct < 0)
		fail(why, image->fd_direct, "%s: its file system has no direct I/O (%s)", o->path,
		     strerror(-image->fd_direct));
	else
		fail(why, -ENOMEM, "no memory");
	image_close(image);
	return NULL;
}

/* The path of a backing file, from the directory of the image that names it. */
static int backing_path(const char *of, const char *name, char *path, size_t room, struct fail *why)
{
	const char *slash = strrchr(of, '/'), *colon = strchr(name, ':');
	int n;

	if (strncmp(name, "file:", 5) == 0) {
		name += 5;
		colon = NULL;
	}
	if (colon && (size_t)(colon - name) < strcspn(name, "/"))
		return fail(why, -ENOTSUP, "%s: its backing file '%.100s' is not a plain file name",
			    of, name);
	if (name[0] == '/' || !slash)
		n = snprintf(path, room, "%s", name);
	else
		n = snprintf(path, room, "%.*s/%s", (int)(slash - of), of, name);
	if (n < 0 || (size_t)n >= room)
		return fail(why, -ENAMETOOLONG, "%s: the name of its backing file is too long", of);
	return 0;
}

static bool same_file(const struct image *a, const struct image *b)
{
	struct stat x, y;

	return fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static int backing_format(const struct image *of, const char *format, struct fail *why)
{
	if (!format)
		return BLK_PROBE;
	if (strcmp(format, "raw") == 0 || strcmp(format, "file") == 0 ||
	    strcmp(format, "host_device") == 0)
		return BLK_RAW;
	if (strcmp(format, "qcow2") == 0)
		return BLK_QCOW2;
	return fail(why, -ENOTSUP, "%s: the format of its backing file, '%.20s', is not supported",
		    of->path, format);
}

/* Opens the backing file of `image`, the one at `depth` below the top. */
static int open_backing(struct image *top, struct image *image, unsigned depth,
			const struct image_options *o, struct fail *why)
{
	const char *format, *name = qcow2_backing(image, &format);
	struct image_options below = *o;
	char path[PATH_MAX];
	int f;

	if (!name)
		return 0;
	if (depth >= CHAIN_MAX)
		return fail(why, -ELOOP, "%s: its backing chain is longer than %u images",
			    top->path, CHAIN_MAX);
	f = backing_format(image, format, why);
	if (f < 0 || backing_path(image->path, name, path, sizeof(path), why))
		return why ? why->code : -EINVAL;
	below.path = path;
	below.format = (enum blk_format)f;
	below.writable = false;
	/* A reader's lock on an image that this chain writes would be refused as somebody else's:
	 * look for a loop first. */
	below.no_lock = true;
	image->backing = open_level(&below, why);
	if (!image->backing)
		return why ? why->code : -EINVAL;
	for (struct image *up = top; up != image->backing; up = up->backing) {
		if (same_file(up, image->backing))
			return fail(why, -ELOOP, "%s: its backing chain comes back to it",
				    up->path);
	}
	if (!o->no_lock && file_lock(image->backing->fd, path, false, why))
		return -EBUSY;
	image->backing->probed = false; /* it is never written */
	if (f == BLK_PROBE && qcow2_backing(image->backing, &format))
		return fail(
			why, -EINVAL,
			"%s: it does not name the format of its backing file, which has a backing "
			"file itself: say it with 'qemu-img rebase -u -F qcow2 -b %.100s'",
			image->path, name);
	return 0;
}

struct image *image_open(const struct image_options *options, struct fail *why)
{
	struct fail unheard;
	struct image *top;

	why = why ? why : &unheard;
	top = open_level(options, why);
	if (!top || options->alone)
		return top;
	for (struct image *i = top; i; i = i->backing) {
		unsigned depth = 0;

		for (struct image *j = top; j != i; j = j->backing)
			depth++;
		if (open_backing(top, i, depth, options, why)) {
			image_close(top);
			return NULL;
		}
	}
	return top;
}

void image_close(struct image *image)
{
	while (image) {
		struct image *below = image->backing;

		if (image->fd_direct >= 0)
			close(image->fd_direct);
		close(image->fd);
		free(image->path);
		image->ops->close(image);
		image = below;
	}
}

/* A file without a name: it is gone when it is closed, however the process ends. */
static int temporary_file(struct fail *why)
{
	const char *dir = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd;

	dir = dir && *dir ? dir : "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "%s/trapeze-overlay-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return fail(why, -errno, "%s: no temporary file for an overlay: %s", dir,
			    strerror(errno));
	unlink(path);
	return fd;
}

struct image *image_overlay(struct image *base, struct fail *why)
{
	struct qcow2_shape shape = { .bytes = base->bytes };
	struct image_options options = { .path = "overlay", .writable = true, .unsafe = true };
	struct image *top = NULL;
	struct stat st;
	int fd = temporary_file(why);

	if (fd < 0)
		return NULL;
	if (qcow2_create(fd, &shape, why) == 0 && fstat(fd, &st) == 0)
		top = qcow2_open(fd, (uint64_t)st.st_size, &options, why);
	if (!top) {
		close(fd);
		return NULL;
	}
	top->path = strdup(base->path);
	top->backing = base;
	return top;
}

int image_find(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e,
	       struct image **where)
{
	for (; image; image = image->backing) {
		int err;

		if (offset >= image->bytes)
			break; /* a backing file that is shorter */
		if (bytes > image->bytes - offset)
			bytes = image->bytes - offset;
		err = image->ops->map(image, offset, bytes, e);
		*where = image;
		if (err || e->kind != EXTENT_HOLE)
			return err;
		bytes = e->bytes;
	}
	*e = (struct extent){ .kind = EXTENT_ZERO, .bytes = bytes };
	return 0;
}

bool image_reads_zero(struct image *image, uint64_t offset, uint64_t bytes)
{
	struct image *where;
	struct extent e;

	while (bytes > 0) {
		if (image_find(image, offset, bytes, &e, &where) || e.kind != EXTENT_ZERO)
			return false;
		offset += e.bytes;
		bytes -= e.bytes;
	}
	return true;
}

int image_read(struct image *image, uint64_t offset, void *to, uint64_t bytes)
{
	uint8_t *at = to;

	while (bytes > 0) {
		const uint8_t *cluster;
		struct image *where;
		struct extent e;
		int err = image_find(image, offset, bytes, &e, &where);

		if (!err && e.kind == EXTENT_DATA) {
			err = file_read(where->fd, e.host, at, e.bytes);
		} else if (!err && e.kind == EXTENT_PACKED) {
			err = where->ops->unpack(where, &e, offset, &cluster);
			if (!err)
				memcpy(at, cluster + offset % where->cluster, e.bytes);
		} else if (!err) {
			memset(at, 0, e.bytes);
		}
		if (err)
			return err;
		at += e.bytes;
		offset += e.bytes;
		bytes -= e.bytes;
	}
	return 0;
}

/* Writes what a fresh placement must hold: guest data between what was there before. */
static int write_fresh(struct image *image, const struct placement *p, const uint8_t *from)
{
	uint64_t head = p->offset - p->cover, tail = p->cover_bytes - head - p->bytes;
	uint8_t *whole;
	int err;

	if (head + tail == 0 || (p->blank && image_reads_zero(image, p->cover, head) &&
				 image_reads_zero(image, p->offset + p->bytes, tail)))
		return file_write(image->fd, p->host + head, from, p->bytes);
	whole = host_alloc(p->cover_bytes);
	if (!whole)
		return -ENOMEM;
	err = image_read(image, p->cover, whole, head);
	if (!err)
		err = image_read(image, p->offset + p->bytes, whole + head + p->bytes, tail);
	memcpy(whole + head, from, p->bytes);
	if (!err)
		err = file_write(image->fd, p->host, whole, p->cover_bytes);
	host_free(whole);
	return err;
}

int image_write(struct image *image, uint64_t offset, const void *from, uint64_t bytes)
{
	const uint8_t *at = from;

	while (bytes > 0) {
		struct placement p;
		int err = image->ops->place(image, offset, bytes, &p);

		if (err)
			return err;
		if (!p.fresh) {
			err = file_write(image->fd, p.host, at, p.bytes);
		} else {
			err = write_fresh(image, &p, at);
			if (!err)
				err = image->ops->link(image, &p);
			if (err)
				image->ops->unplace(image, &p);
		}
		if (err)
			return err;
		at += p.bytes;
		offset += p.bytes;
		bytes -= p.bytes;
	}
	return 0;
}

/*
 * The kernel forgets what it could not write, and says so once: whoever heard it, no later sync
 * makes up for it. That there was no room is then no reason to wait for some.
 */
int image_sync_failed(struct image *image, int err)
{
	if (!image->sync_error)
		image->sync_error = err == -ENOSPC || err == -EDQUOT ? -EIO : err;
	return image->sync_error;
}

int image_sync(struct image *image)
{
	int err = image->unsafe || image->sync_error ? 0 : file_sync(image->fd);

	return err ? image_sync_failed(image, err) : image->sync_error;
}

int image_flush(struct image *image)
{
	for (unsigned step = 0;; step++) {
		int err = image->ops->commit(image, step);

		if (err <= 0)
			return err;
		err = image_sync(image);
		if (err)
			return err;
	}
}

int image_settle(struct image *image)
{
	int err = image_flush(image);

	return err ? err : image_flush(image);
}
