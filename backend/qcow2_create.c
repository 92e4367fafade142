/*
 * qcow2_create.c - writes an empty qcow2 image (version 3) into an empty file (see qcow2.h).
 *
 * The clusters of a new image: header, refcount table, refcount blocks, L1 table; the blocks
 * count all of these. There are no L2 tables yet.
 *
 * Specification: section "Header". Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

#define REFCOUNT_ORDER 4 /* 16 bits */

struct layout {
	uint64_t cluster;
	uint64_t l1_entries, l1, table, blocks; /* the last three in clusters */
};

static int plan(const struct qcow2_shape *shape, unsigned bits, struct layout *n, struct fail *why)
{
	uint64_t span = UINT64_C(1) << (2 * bits - 3), per_block = UINT64_C(1) << (bits - 1),
		 all = 0;

	n->cluster = UINT64_C(1) << bits;
	n->l1_entries = (shape->bytes + span - 1) / span;
	if (n->l1_entries * 8 > L1_BYTES_MAX)
		return fail(why, -EFBIG, "a disk of this size needs larger clusters");
	n->l1 = (n->l1_entries * 8 + n->cluster - 1) / n->cluster;
	n->l1 = n->l1 ? n->l1 : 1;
	n->blocks = n->table = 1;
	while (all != 1 + n->table + n->blocks + n->l1) {
		all = 1 + n->table + n->blocks + n->l1;
		n->blocks = (all + per_block - 1) / per_block;
		n->table = (n->blocks * 8 + n->cluster - 1) / n->cluster;
	}
	return 0;
}

static uint64_t put_extension(uint8_t *head, uint64_t at, uint32_t type, const char *text)
{
	uint32_t bytes = (uint32_t)strlen(text);

	put32(head + at, type);
	put32(head + at + 4, bytes);
	memcpy(head + at + 8, text, bytes);
	return at + 8 + ((bytes + 7) & ~UINT64_C(7));
}

static void put_header(uint8_t *head, const struct qcow2_shape *shape, unsigned bits,
		       const struct layout *n)
{
	uint64_t at = H_V3_BYTES;

	put32(head + H_MAGIC, QCOW2_MAGIC);
	put32(head + H_VERSION, 3);
	put32(head + H_CLUSTER_BITS, bits);
	put64(head + H_SIZE, shape->bytes);
	put32(head + H_L1_SIZE, (uint32_t)n->l1_entries);
	put64(head + H_L1_TABLE_OFFSET, (1 + n->table + n->blocks) << bits);
	put64(head + H_REFCOUNT_TABLE_OFFSET, UINT64_C(1) << bits);
	put32(head + H_REFCOUNT_TABLE_CLUSTERS, (uint32_t)n->table);
	put32(head + H_REFCOUNT_ORDER, REFCOUNT_ORDER);
	put32(head + H_HEADER_LENGTH, H_V3_BYTES);
	if (shape->compression != COMPRESSION_ZLIB)
		put64(head + H_INCOMPATIBLE_FEATURES, INCOMPATIBLE_COMPRESSION);
	head[H_COMPRESSION_TYPE] = (uint8_t)shape->compression;
	if (!shape->backing)
		return;
	if (shape->backing_format)
		at = put_extension(head, at, EXTENSION_BACKING_FORMAT, shape->backing_format);
	at += 8; /* EXTENSION_END */
	put64(head + H_BACKING_OFFSET, at);
	put32(head + H_BACKING_SIZE, (uint32_t)strlen(shape->backing));
	memcpy(head + at, shape->backing, strlen(shape->backing));
}

/* Refcount table and blocks: the first clusters are used once. */
static int write_counts(int fd, const struct layout *n, uint8_t *cluster)
{
	uint64_t all = 1 + n->table + n->blocks + n->l1, per_block = n->cluster / 2;
	int err = 0;

	for (uint64_t b = 0; !err && b < n->blocks; b++) {
		memset(cluster, 0, n->cluster);
		for (uint64_t i = 0; i < per_block && b * per_block + i < all; i++)
			cluster[i * 2 + 1] = 1;
		err = file_write(fd, (1 + n->table + b) * n->cluster, cluster, n->cluster);
	}
	for (uint64_t t = 0; !err && t < n->table; t++) {
		uint64_t first = t * (n->cluster / 8);

		memset(cluster, 0, n->cluster);
		for (uint64_t i = 0; i < n->cluster / 8 && first + i < n->blocks; i++)
			put64(cluster + i * 8, (1 + n->table + first + i) * n->cluster);
		err = file_write(fd, (1 + t) * n->cluster, cluster, n->cluster);
	}
	memset(cluster, 0, n->cluster);
	for (uint64_t i = 0; !err && i < n->l1; i++)
		err = file_write(fd, (1 + n->table + n->blocks + i) * n->cluster, cluster,
				 n->cluster);
	return err;
}

int qcow2_create(int fd, const struct qcow2_shape *shape, struct fail *why)
{
	unsigned bits = shape->cluster_bits ? shape->cluster_bits : 16;
	uint64_t name = shape->backing ? strlen(shape->backing) : 0;
	struct layout n = { 0 };
	uint8_t *cluster;
	int err;

	if (bits < 9 || bits > 21)
		return fail(why, -EINVAL, "clusters are from 512 bytes to 2M, and a power of two");
	if (shape->bytes > UINT64_C(1) << 56)
		return fail(why, -EFBIG, "a disk is at most 64 PiB");
	if (name > 1023 || H_V3_BYTES + 64 + name > UINT64_C(1) << bits)
		return fail(why, -ENAMETOOLONG, "the name of the backing file is too long");
	err = plan(shape, bits, &n, why);
	if (err)
		return err;
	cluster = host_alloc(n.cluster);
	if (!cluster)
		return fail(why, -ENOMEM, "no memory");
	err = write_counts(fd, &n, cluster);
	if (!err) {
		put_header(cluster, shape, bits, &n);
		err = file_write(fd, 0, cluster, n.cluster);
	}
	host_free(cluster);
	return err ? fail(why, err, "cannot write the image: %s", strerror(-err)) : 0;
}
