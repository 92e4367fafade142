/*
 * qcow2.c - opens a qcow2 image: reads the header and the first-level tables, and refuses what
 * contradicts itself or what this version cannot honour (see qcow2.h).
 *
 * Everything here comes from a file that may be hostile: sizes are bounded before anything is
 * allocated, offsets are checked against the file before anything is read.
 *
 * Not supported: encryption, external data files. Images with extended L2 entries are read only.
 *
 * Specification: sections "Header", "Header extensions". Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "host/host.h"

static const struct image_ops qcow2_ops;

const char *qcow2_backing(const struct image *image, const char **format)
{
	const struct qcow2 *q = (const struct qcow2 *)image;

	*format = NULL;
	if (image->ops != &qcow2_ops || !q->backing[0])
		return NULL;
	if (q->backing_format[0])
		*format = q->backing_format;
	return q->backing;
}

static void qcow2_close(struct image *image)
{
	struct qcow2 *q = qcow2_of(image);

	table_cache_free(&q->l2);
	table_cache_free(&q->blocks);
	unpacked_free(q);
	host_free(q->owned.slots);
	host_free(q->freed.offsets);
	host_free(q->ready.offsets);
	host_free(q->l1);
	host_free(q->reftable);
	host_free(q);
}

struct opening {
	struct qcow2 *q;
	const struct image_options *options;
	struct fail *why;
	const uint8_t *head; /* the first cluster */
	uint64_t head_bytes;
	char unknown[64]; /* the name of an unknown incompatible feature */
};

static int damaged(const struct opening *o, const char *what)
{
	return fail(o->why, -EUCLEAN, "%s: the image is damaged: %s", o->options->path, what);
}

static int unsupported(const struct opening *o, const char *what)
{
	return fail(o->why, -ENOTSUP, "%s: %s", o->options->path, what);
}

/* A table of `bytes` at `offset`: cluster-aligned and inside the file? */
static bool table_fits(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	return !(offset & (q->cluster - 1)) && offset <= q->end && bytes <= q->end - offset;
}

static int read_geometry(struct opening *o)
{
	struct qcow2 *q = o->q;
	const uint8_t *h = o->head;

	q->version = get32(h + H_VERSION);
	q->cluster_bits = get32(h + H_CLUSTER_BITS);
	if (q->version != 2 && q->version != 3)
		return fail(o->why, -ENOTSUP, "%s: qcow2 version %u is not supported, only 2 and 3",
			    o->options->path, q->version);
	if (q->cluster_bits < 9 || q->cluster_bits > 21)
		return damaged(o, "clusters have an impossible size");
	q->cluster = UINT64_C(1) << q->cluster_bits;
	q->image.bytes = get64(h + H_SIZE);
	if (q->image.bytes > UINT64_C(1) << 56)
		return damaged(o, "the disk has an impossible size");
	q->image.bytes = (q->image.bytes + BLK_SECTOR - 1) & ~(uint64_t)(BLK_SECTOR - 1);
	q->end = (q->image.file_bytes + q->cluster - 1) & ~(q->cluster - 1);
	if (get32(h + H_CRYPT_METHOD))
		return unsupported(o, "encrypted images are not supported");
	q->refcount_order = 4;
	q->header_length = H_V2_BYTES;
	if (q->version == 2)
		return 0;
	q->incompatible = get64(h + H_INCOMPATIBLE_FEATURES);
	q->compatible = get64(h + H_COMPATIBLE_FEATURES);
	q->autoclear = get64(h + H_AUTOCLEAR_FEATURES);
	q->refcount_order = get32(h + H_REFCOUNT_ORDER);
	q->header_length = get32(h + H_HEADER_LENGTH);
	if (q->refcount_order > 6)
		return damaged(o, "reference counts have an impossible width");
	if (q->header_length < H_COMPRESSION_TYPE || q->header_length > q->cluster ||
	    q->header_length > o->head_bytes)
		return damaged(o, "the header has an impossible length");
	if (q->header_length > H_COMPRESSION_TYPE)
		q->compression = h[H_COMPRESSION_TYPE];
	return 0;
}

/* Takes the name of the lowest unknown incompatible feature out of the table of names. */
static void find_feature_name(struct opening *o, const uint8_t *at, uint32_t bytes)
{
	uint64_t unknown = o->q->incompatible & ~INCOMPATIBLE_KNOWN;
	unsigned bit = unknown ? (unsigned)__builtin_ctzll(unknown) : 64;

	for (; bytes >= 48; at += 48, bytes -= 48) {
		if (at[0] == 0 && at[1] == bit)
			snprintf(o->unknown, sizeof(o->unknown), "%.46s", (const char *)at + 2);
	}
}

static int read_extension(struct opening *o, uint32_t type, const uint8_t *at, uint32_t bytes)
{
	struct qcow2 *q = o->q;

	if (type == EXTENSION_BACKING_FORMAT) {
		if (bytes >= sizeof(q->backing_format))
			return damaged(o, "the name of the backing file's format is too long");
		memcpy(q->backing_format, at, bytes);
	} else if (type == EXTENSION_FEATURE_NAMES) {
		find_feature_name(o, at, bytes);
	} else if (type == EXTENSION_BITMAPS && (q->autoclear & AUTOCLEAR_BITMAPS) && bytes >= 24) {
		q->bitmaps = get32(at);
		q->bitmaps_bytes = get64(at + 8);
		q->bitmaps_offset = get64(at + 16);
	}
	return 0;
}

static int read_extensions(struct opening *o)
{
	uint64_t at = o->q->header_length, limit = o->head_bytes;
	uint64_t backing = get64(o->head + H_BACKING_OFFSET);

	if (backing && backing < limit)
		limit = backing;
	while (at + 8 <= limit) {
		uint32_t type = get32(o->head + at), bytes = get32(o->head + at + 4);
		int err;

		at += 8;
		if (type == EXTENSION_END)
			break;
		if (bytes > limit - at)
			return damaged(o, "a header extension is too long");
		err = read_extension(o, type, o->head + at, bytes);
		if (err)
			return err;
		at += (bytes + 7) & ~UINT64_C(7);
	}
	return 0;
}

static int check_features(struct opening *o)
{
	struct qcow2 *q = o->q;
	uint64_t unknown = q->incompatible & ~INCOMPATIBLE_KNOWN;

	if (unknown && o->unknown[0])
		return fail(o->why, -ENOTSUP,
			    "%s: the image needs the feature '%s', which is not supported",
			    o->options->path, o->unknown);
	if (unknown)
		return fail(o->why, -ENOTSUP,
			    "%s: the image needs features that are not supported (bits %#llx)",
			    o->options->path, (unsigned long long)unknown);
	if (q->incompatible & INCOMPATIBLE_DATA_FILE)
		return unsupported(o, "images with an external data file are not supported");
	if (q->compression > COMPRESSION_ZSTD)
		return fail(o->why, -ENOTSUP,
			    "%s: compression type %u is not supported, only zlib and zstd",
			    o->options->path, q->compression);
	if (!(q->incompatible & INCOMPATIBLE_COMPRESSION) != (q->compression == COMPRESSION_ZLIB))
		return damaged(o, "its compression type contradicts its features");
	q->extended = q->incompatible & INCOMPATIBLE_EXTENDED_L2;
	if (q->extended && q->cluster_bits < 14)
		return damaged(o, "clusters are too small for subclusters");
	if (q->extended && o->options->writable)
		return unsupported(o, "images with extended L2 entries can only be read: open it "
				      "read-only or with an overlay");
	if ((q->incompatible & INCOMPATIBLE_CORRUPT) && o->options->writable &&
	    !o->options->for_check)
		return unsupported(o,
				   "the image is marked damaged: repair it ('trapeze image check "
				   "--repair'), or open it read-only");
	q->l2_bits = q->cluster_bits - (q->extended ? 4 : 3);
	q->block_bits = q->cluster_bits + 3 - q->refcount_order;
	return 0;
}

static int read_backing(struct opening *o)
{
	uint64_t offset = get64(o->head + H_BACKING_OFFSET);
	uint32_t bytes = get32(o->head + H_BACKING_SIZE);

	if (offset == 0)
		return 0;
	if (bytes >= sizeof(o->q->backing) || offset > o->head_bytes ||
	    bytes > o->head_bytes - offset)
		return damaged(o, "the name of its backing file is not in the header");
	memcpy(o->q->backing, o->head + offset, bytes);
	return 0;
}

/* Big-endian entries of a table, in host order. */
static int read_table(struct opening *o, uint64_t offset, uint64_t entries, uint64_t **to)
{
	int err;

	*to = host_alloc(entries * 8);
	if (!*to)
		return fail(o->why, -ENOMEM, "no memory");
	err = file_read(o->q->image.fd, offset, *to, entries * 8);
	if (err)
		return fail(o->why, err, "%s: %s", o->options->path, strerror(-err));
	for (uint64_t i = 0; i < entries; i++)
		(*to)[i] = be64toh((*to)[i]);
	return 0;
}

static int read_tables(struct opening *o)
{
	struct qcow2 *q = o->q;
	uint64_t span_bits = q->cluster_bits + q->l2_bits, needed, bytes;
	int err;

	q->l1_entries = get32(o->head + H_L1_SIZE);
	q->l1_offset = get64(o->head + H_L1_TABLE_OFFSET);
	q->reftable_offset = get64(o->head + H_REFCOUNT_TABLE_OFFSET);
	bytes = (uint64_t)get32(o->head + H_REFCOUNT_TABLE_CLUSTERS) << q->cluster_bits;
	q->reftable_entries = bytes / 8;
	q->snapshots = get32(o->head + H_NB_SNAPSHOTS);
	q->snapshots_offset = get64(o->head + H_SNAPSHOTS_OFFSET);
	needed = (q->image.bytes + (UINT64_C(1) << span_bits) - 1) >> span_bits;
	if ((uint64_t)q->l1_entries * 8 > L1_BYTES_MAX)
		return damaged(o, "the L1 table is too large");
	if (q->l1_entries < needed)
		return damaged(o, "the L1 table is too small for the disk");
	if (!table_fits(q, q->l1_offset, (uint64_t)q->l1_entries * 8) ||
	    (q->l1_entries && !q->l1_offset))
		return damaged(o, "the L1 table is not in the file");
	if (bytes > REFTABLE_BYTES_MAX)
		return damaged(o, "the refcount table is too large");
	if (!q->reftable_offset || !bytes || !table_fits(q, q->reftable_offset, bytes))
		return damaged(o, "the refcount table is not in the file");
	if (q->snapshots > SNAPSHOTS_MAX ||
	    (q->snapshots && !table_fits(q, q->snapshots_offset, (uint64_t)q->snapshots * 40)))
		return damaged(o, "the snapshot table is not in the file");
	err = read_table(o, q->l1_offset, q->l1_entries, &q->l1);
	return err ? err : read_table(o, q->reftable_offset, q->reftable_entries, &q->reftable);
}

static int own(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	int err = 0;

	for (uint64_t at = 0; !err && at < bytes; at += q->cluster)
		err = set_add(&q->owned, offset + at);
	return err;
}

/* What nobody reads but who goes back to a snapshot: its L1 table, if it is where a table can be.
 */
static int own_snapshots(struct qcow2 *q)
{
	uint64_t at = q->snapshots_offset, left = L1_BYTES_MAX, table, bytes;
	uint8_t head[SNAPSHOT_HEAD];
	int err = 0;

	for (uint32_t i = 0; !err && i < q->snapshots && at + SNAPSHOT_HEAD <= q->end; i++) {
		err = file_read(q->image.fd, at, head, SNAPSHOT_HEAD);
		table = get64(head);
		bytes = (uint64_t)get32(head + 8) * 8;
		if (!err && table && bytes <= left && table_fits(q, table, bytes)) {
			err = own(q, table, bytes);
			left -= bytes;
		}
		err = err == -EEXIST ? 0 : err;
		at += qcow2_snapshot_bytes(head);
	}
	return err;
}

/* The clusters of every table: none may be in use twice, and none may get guest data. */
static int own_tables(struct qcow2 *q)
{
	int err = own(q, 0, q->cluster);

	if (!err)
		err = own(q, q->l1_offset, (uint64_t)q->l1_entries * 8);
	if (!err)
		err = own(q, q->reftable_offset, q->reftable_entries * 8);
	if (!err && q->snapshots)
		err = own(q, q->snapshots_offset, (uint64_t)q->snapshots * 40);
	for (uint64_t i = 0; !err && i < q->reftable_entries; i++) {
		if (q->reftable[i])
			err = cluster_valid(q, q->reftable[i]) ? own(q, q->reftable[i], q->cluster)
							       : -EUCLEAN;
	}
	for (uint64_t i = 0; !err && i < q->l1_entries; i++) {
		uint64_t at = q->l1[i] & ENTRY_OFFSET;

		if (at && (q->l1[i] & ENTRY_COPIED))
			err = cluster_valid(q, at) ? own(q, at, q->cluster) : -EUCLEAN;
	}
	/* Tables that a snapshot shares may be led to from elsewhere: not ours to write. */
	for (uint64_t i = 0; !err && i < q->l1_entries; i++) {
		if (!(q->l1[i] & ENTRY_COPIED) && cluster_valid(q, q->l1[i] & ENTRY_OFFSET))
			err = own(q, q->l1[i] & ENTRY_OFFSET, q->cluster);
		err = err == -EEXIST ? 0 : err;
	}
	return err ? err : own_snapshots(q);
}

/* An image that was not closed after its counts were let go: they are made true again. */
static int make_clean(struct opening *o)
{
	struct qcow2_findings f;
	struct qcow2 *q = o->q;
	uint8_t features[8];
	int err = qcow2_check(&q->image, o->options->path, true, &f, o->why);

	if (err)
		return err;
	if (f.errors + f.leaks > f.fixed)
		return damaged(o, "its reference counts cannot be repaired");
	q->incompatible &= ~INCOMPATIBLE_DIRTY;
	put64(features, q->incompatible);
	err = file_write(q->image.fd, H_INCOMPATIBLE_FEATURES, features, 8);
	return err ? fail(o->why, err, "%s: %s", o->options->path, strerror(-err)) : 0;
}

/* What only a writer needs. */
static int prepare_writing(struct opening *o)
{
	struct qcow2 *q = o->q;
	uint8_t zero[8] = { 0 };
	int err = own_tables(q);

	if (err == -ENOMEM)
		return fail(o->why, err, "no memory");
	if (err == -EUCLEAN)
		return damaged(o, "one of its tables is not in the file (was it cut short?)");
	if (err)
		return damaged(o, "two of its tables overlap");
	if (o->options->for_check)
		return 0;
	if (q->incompatible & INCOMPATIBLE_DIRTY)
		err = make_clean(o);
	/* Features that a writer who does not know them must take back. */
	if (!err && q->autoclear) {
		err = file_write(q->image.fd, H_AUTOCLEAR_FEATURES, zero, 8);
		if (err)
			return fail(o->why, err, "%s: %s", o->options->path, strerror(-err));
		q->autoclear = 0;
	}
	return err;
}

static int open_all(struct opening *o)
{
	struct qcow2 *q = o->q;
	int err = read_geometry(o);

	if (!err)
		err = read_extensions(o);
	if (!err)
		err = check_features(o);
	if (!err)
		err = read_backing(o);
	if (!err)
		err = read_tables(o);
	if (!err && (cache_init(&q->l2, q->cluster) || cache_init(&q->blocks, q->cluster)))
		err = fail(o->why, -ENOMEM, "no memory");
	q->image.cluster = (uint32_t)q->cluster;
	q->image.writable = o->options->writable;
	q->image.unsafe = o->options->unsafe;
	if (!err && o->options->writable)
		err = prepare_writing(o);
	return err;
}

struct image *qcow2_open(int fd, uint64_t file_bytes, const struct image_options *options,
			 struct fail *why)
{
	static const unsigned most = 65536; /* nothing we read of the first cluster lies beyond */
	struct opening o = { .options = options, .why = why };
	struct qcow2 *q = host_alloc(sizeof(*q));
	uint8_t *head = host_alloc(most);
	int err = q && head ? 0 : fail(why, -ENOMEM, "no memory");

	if (!err) {
		q->image = (struct image){
			.ops = &qcow2_ops, .fd = fd, .fd_direct = -1, .file_bytes = file_bytes
		};
		o.q = q;
		o.head = head;
		o.head_bytes = file_bytes < most ? file_bytes : most;
		err = file_read(fd, 0, head, o.head_bytes);
		if (err)
			fail(why, err, "%s: %s", options->path, strerror(-err));
		else if (file_bytes < H_V3_BYTES || get32(head) != QCOW2_MAGIC)
			err = fail(why, -EINVAL, "%s: not a qcow2 image", options->path);
		else
			err = open_all(&o);
	}
	host_free(head);
	if (!err)
		return &q->image;
	if (q && q->image.ops)
		qcow2_close(&q->image);
	else
		host_free(q);
	return NULL;
}

static const struct image_ops qcow2_ops = {
	.name = "qcow2",
	.close = qcow2_close,
	.map = qcow2_map,
	.unpack = qcow2_unpack,
	.in_place = qcow2_in_place,
	.place = qcow2_place,
	.link = qcow2_link,
	.unplace = qcow2_unplace,
	.erase = qcow2_erase,
	.commit = qcow2_commit,
};
