/*
 * qcow2_pack.c - compressed clusters of a qcow2 image (see qcow2.h).
 *
 * They are packed side by side, each from any byte on, so several share a cluster of the file,
 * which is counted once for each. They are never changed: a write gives the guest a cluster of its
 * own. The last few that were unpacked are kept, since guests read in smaller pieces.
 *
 * Specification: "Compressed Clusters Descriptor". Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

#define DEFLATE_WINDOW 12 /* log2: what every reader can undo */

static int inflate_cluster(uint8_t *to, size_t room, const uint8_t *from, size_t bytes)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)from,
		       .avail_in = (uInt)bytes,
		       .next_out = to,
		       .avail_out = (uInt)room };
	int err;

	if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
		return -ENOMEM;
	err = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* What follows the stream in its last sector is somebody else's. */
	return z.avail_out == 0 && (err == Z_STREAM_END || err == Z_BUF_ERROR) ? 0 : -EUCLEAN;
}

static int unzstd_cluster(uint8_t *to, size_t room, const uint8_t *from, size_t bytes)
{
	ZSTD_DCtx *z = ZSTD_createDCtx();
	ZSTD_outBuffer out = { to, room, 0 };
	ZSTD_inBuffer in = { from, bytes, 0 };
	int err = z ? 0 : -ENOMEM;

	while (!err && out.pos < out.size) {
		size_t before = out.pos, in_before = in.pos;
		size_t left = ZSTD_decompressStream(z, &out, &in);

		if (ZSTD_isError(left) || (out.pos == before && in.pos == in_before))
			err = -EUCLEAN;
	}
	ZSTD_freeDCtx(z);
	return err;
}

/* The slot that holds these bytes unpacked already, or the one used longest ago. */
static struct unpacked *slot_for(struct qcow2 *q, uint64_t host)
{
	struct unpacked *oldest = &q->unpacked[0];

	for (int i = 0; i < UNPACKED; i++) {
		struct unpacked *u = &q->unpacked[i];

		if (u->host == host)
			return u;
		if (u->used < oldest->used)
			oldest = u;
	}
	return oldest;
}

int qcow2_unpack(struct image *image, const struct extent *e, uint64_t offset,
		 const uint8_t **cluster)
{
	struct qcow2 *q = qcow2_of(image);
	struct unpacked *u = slot_for(q, e->host);
	uint8_t *packed;
	int err;

	(void)offset;
	u->used = ++q->unpacked_clock;
	*cluster = u->data;
	if (u->host == e->host)
		return 0;
	u->host = 0;
	if (!u->data)
		u->data = host_alloc(q->cluster);
	packed = host_alloc(e->packed);
	err = u->data && packed ? file_read(image->fd, e->host, packed, e->packed) : -ENOMEM;
	if (!err)
		err = q->compression == COMPRESSION_ZSTD
			      ? unzstd_cluster(u->data, q->cluster, packed, e->packed)
			      : inflate_cluster(u->data, q->cluster, packed, e->packed);
	host_free(packed);
	if (!err)
		u->host = e->host;
	*cluster = u->data;
	return err;
}

void unpacked_free(struct qcow2 *q)
{
	for (int i = 0; i < UNPACKED; i++)
		host_free(q->unpacked[i].data);
}

static int deflate_cluster(uint8_t *to, size_t room, const uint8_t *from, size_t bytes)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)from,
		       .avail_in = (uInt)bytes,
		       .next_out = to,
		       .avail_out = (uInt)room };
	int err;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -DEFLATE_WINDOW, 9,
			 Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	err = deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return err == Z_STREAM_END ? (int)(room - z.avail_out) : -E2BIG;
}

/* Bytes, or -E*. */
static int pack(const struct qcow2 *q, uint8_t *to, size_t room, const uint8_t *from)
{
	size_t n;

	if (q->compression == COMPRESSION_ZLIB)
		return deflate_cluster(to, room, from, q->cluster);
	n = ZSTD_compress(to, room, from, q->cluster, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(n) ? -E2BIG : (int)n;
}

/* Room for `bytes`, counted for one more user: behind the last, over its cluster's end into the
 * next if that is free, or from a new cluster on. */
static int packed_alloc(struct qcow2 *q, uint32_t bytes, uint64_t *host)
{
	uint64_t into = q->packed_at & (q->cluster - 1), current = q->packed_at - into;
	uint64_t count = 0, next = 0, got;
	bool blank;
	int err = 0;

	if (into) {
		err = refcount_get(q, current >> q->cluster_bits, &count);
		if (!err && count == refcount_max(q))
			into = 0;
	}
	if (!err && (into == 0 || into + bytes > q->cluster))
		err = clusters_alloc(q, 1, &next, &got, &blank);
	if (err)
		return err;
	*host = next && (into == 0 || next != current + q->cluster) ? next : q->packed_at;
	if (*host == q->packed_at && into)
		err = refcount_set(q, current >> q->cluster_bits, count + 1);
	q->packed_at = *host + bytes;
	return err;
}

int qcow2_write_packed(struct image *image, uint64_t offset, const uint8_t *cluster)
{
	struct qcow2 *q = qcow2_of(image);
	unsigned x = 62 - (q->cluster_bits - 8);
	uint8_t *packed = host_alloc(q->cluster);
	uint64_t host = 0, sectors;
	struct table *t;
	int n, err;

	if (!packed)
		return -ENOMEM;
	n = pack(q, packed, q->cluster - 1, cluster);
	err = n < 0 ? n : packed_alloc(q, (uint32_t)n, &host);
	if (!err && (host + (uint64_t)n) >> x)
		err = -E2BIG;
	if (!err)
		err = file_write(image->fd, host, packed, (size_t)n);
	host_free(packed);
	if (!err)
		err = l2_own(q, offset, &t);
	if (err)
		return err;
	sectors = ((host + (uint64_t)n - 1) >> 9) - (host >> 9);
	put64(t->data + (uint64_t)l2_index(q, offset) * 8, ENTRY_COMPRESSED | sectors << x | host);
	table_dirty(t, l2_index(q, offset) * 8, 8);
	return 0;
}
