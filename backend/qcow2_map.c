/*
 * qcow2_map.c - where a guest offset lies in a qcow2 file (see qcow2.h).
 *
 * A map step stays inside one L2 table and goes on as long as the file does: neighbours in the
 * guest that are neighbours in the file are one extent. With extended L2 entries the unit is
 * the subcluster, 1/32 of a cluster.
 *
 * Specification: sections "Cluster mapping" and "Extended L2 Entries". Tested by
 * test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "backend/qcow2.h"

int l2_find(struct qcow2 *q, uint64_t offset, struct table **t)
{
	uint64_t i = offset >> (q->cluster_bits + q->l2_bits), at;

	*t = NULL;
	if (i >= q->l1_entries)
		return -EUCLEAN;
	at = q->l1[i] & ENTRY_OFFSET;
	if (at == 0)
		return 0;
	/* A table in the file's last, incomplete cluster is as good as missing. */
	if (!cluster_valid(q, at))
		return -EUCLEAN;
	return table_get(q, &q->l2, at, t);
}

void packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *host, uint32_t *bytes)
{
	unsigned x = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (entry & (ENTRY_COMPRESSED - 1)) >> x;

	*host = entry & ((UINT64_C(1) << x) - 1);
	*bytes = (uint32_t)((sectors + 1) * 512 - (*host & 511));
}

/* What an entry says of its cluster from `into` on; e->bytes: how much of the cluster's rest. */
static int map_entry(const struct qcow2 *q, uint64_t entry, uint64_t into, struct extent *e)
{
	uint64_t host = entry & ENTRY_OFFSET;

	*e = (struct extent){ .bytes = q->cluster - into };
	if (entry & ENTRY_COMPRESSED) {
		e->kind = EXTENT_PACKED;
		packed_range(q, entry, &e->host, &e->packed);
		return e->host && e->host < q->end ? 0 : -EUCLEAN;
	}
	if (!q->extended && (entry & ENTRY_ZERO) && q->version >= 3) {
		e->kind = EXTENT_ZERO;
		return 0;
	}
	if (host == 0) {
		e->kind = EXTENT_HOLE;
		return 0;
	}
	e->kind = EXTENT_DATA;
	e->host = host + into;
	return cluster_valid(q, host) ? 0 : -EUCLEAN;
}

/* Narrows an extent to the run of subclusters of one kind that `into` is in. */
static int map_subclusters(const struct qcow2 *q, uint64_t bitmap, uint64_t into, struct extent *e)
{
	uint64_t sub = q->cluster / 32;
	unsigned first = (unsigned)(into / sub), n = first;
	unsigned kind = (bitmap >> first & 1) | (bitmap >> (32 + first) & 1) << 1;

	if (e->kind == EXTENT_PACKED)
		return 0;
	while (n < 32 && ((bitmap >> n & 1) | (bitmap >> (32 + n) & 1) << 1) == kind)
		n++;
	e->bytes = n * sub - into;
	if (kind == 3 || (kind == 1 && e->kind != EXTENT_DATA))
		return -EUCLEAN;
	e->kind = kind == 2 ? EXTENT_ZERO : kind == 1 ? EXTENT_DATA : EXTENT_HOLE;
	return 0;
}

static int map_one(const struct qcow2 *q, const struct table *t, uint64_t offset, struct extent *e)
{
	const uint8_t *at = t->data + ((uint64_t)l2_index(q, offset) << (q->extended ? 4 : 3));
	uint64_t into = offset & (q->cluster - 1);
	int err = map_entry(q, get64(at), into, e);

	return err || !q->extended ? err : map_subclusters(q, get64(at + 8), into, e);
}

static bool continues(const struct extent *a, const struct extent *b)
{
	if (a->kind != b->kind || a->kind == EXTENT_PACKED)
		return false;
	return a->kind != EXTENT_DATA || a->host + a->bytes == b->host;
}

int qcow2_map(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t span = q->cluster << q->l2_bits, to_end = span - (offset & (span - 1));
	struct extent next;
	struct table *t;
	int err;

	if (bytes > to_end)
		bytes = to_end;
	err = l2_find(q, offset, &t);
	if (err)
		return err;
	if (!t) {
		*e = (struct extent){ .kind = EXTENT_HOLE, .bytes = bytes };
		return 0;
	}
	err = map_one(q, t, offset, e);
	while (!err && e->bytes < bytes && !map_one(q, t, offset + e->bytes, &next) &&
	       continues(e, &next))
		e->bytes += next.bytes;
	if (e->bytes > bytes)
		e->bytes = bytes;
	return err;
}

bool qcow2_in_place(struct image *image, uint64_t offset, uint64_t bytes)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t at = offset & ~(q->cluster - 1);

	for (; at < offset + bytes; at += q->cluster) {
		uint64_t l1 = q->l1[at >> (q->cluster_bits + q->l2_bits)];
		struct table *t;
		uint64_t entry;

		if (!(l1 & ENTRY_COPIED) || l2_find(q, at, &t) || !t)
			return false;
		entry = get64(t->data + (uint64_t)l2_index(q, at) * 8);
		if (!(entry & ENTRY_COPIED) || entry & (ENTRY_COMPRESSED | ENTRY_ZERO) ||
		    !cluster_valid(q, entry & ENTRY_OFFSET))
			return false;
	}
	return true;
}
