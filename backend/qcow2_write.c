/*
 * qcow2_write.c - giving guest data a place in a qcow2 file, and taking it away (see qcow2.h).
 *
 * A cluster is written where it is only if nobody else uses it: its entry has the COPIED flag, and
 * so has the L1 entry above. Snapshots share clusters and tables; what they share is left
 * alone, and the guest gets its own copy.
 *
 * Specification: sections "Cluster mapping", "Snapshots". Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"

#define PLACE_MOST (UINT64_C(4) << 20) /* bytes one placement covers */

int qcow2_damage(struct qcow2 *q)
{
	uint8_t features[8];

	if (!q->damaged && q->version >= 3 && q->image.writable) {
		q->incompatible |= INCOMPATIBLE_CORRUPT;
		put64(features, q->incompatible);
		file_write(q->image.fd, H_INCOMPATIBLE_FEATURES, features, 8);
	}
	q->damaged = true;
	return -EUCLEAN;
}

static uint8_t *entry_at(const struct qcow2 *q, const struct table *t, uint64_t offset)
{
	return t->data + (uint64_t)l2_index(q, offset) * 8;
}

static void entry_set(const struct qcow2 *q, struct table *t, uint64_t offset, uint64_t entry)
{
	put64(entry_at(q, t, offset), entry);
	table_dirty(t, l2_index(q, offset) * 8, 8);
}

/* May the cluster of this entry be written where it is? */
static bool entry_own(const struct qcow2 *q, uint64_t entry)
{
	return (entry & ENTRY_COPIED) && !(entry & (ENTRY_COMPRESSED | ENTRY_ZERO)) &&
	       cluster_valid(q, entry & ENTRY_OFFSET);
}

/* A run of clusters that are the guest's own, side by side. */
static int place_here(struct qcow2 *q, const struct table *t, struct placement *p)
{
	uint64_t into = p->offset & (q->cluster - 1), first = p->offset - into, n = 0;
	uint64_t host = get64(entry_at(q, t, p->offset)) & ENTRY_OFFSET;

	while (n < into + p->bytes) {
		uint64_t entry = get64(entry_at(q, t, first + n));

		if (!entry_own(q, entry) || (entry & ENTRY_OFFSET) != host + n)
			break;
		if (set_has(&q->owned, host + n))
			return qcow2_damage(q);
		n += q->cluster;
	}
	p->host = host + into;
	if (p->bytes > n - into)
		p->bytes = n - into;
	return 0;
}

/* New clusters, as far as the old ones are not the guest's own. */
static int place_fresh(struct qcow2 *q, const struct table *t, struct placement *p)
{
	uint64_t into = p->offset & (q->cluster - 1), n = q->cluster, got;
	int err;

	p->fresh = true;
	p->cover = p->offset - into;
	while (n < into + p->bytes && n < PLACE_MOST &&
	       !(t && entry_own(q, get64(entry_at(q, t, p->cover + n)))))
		n += q->cluster;
	err = clusters_alloc(q, n >> q->cluster_bits, &p->host, &got, &p->blank);
	if (err)
		return err;
	p->cover_bytes = got << q->cluster_bits;
	if (p->bytes > p->cover_bytes - into)
		p->bytes = p->cover_bytes - into;
	return 0;
}

int qcow2_place(struct image *image, uint64_t offset, uint64_t bytes, struct placement *p)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t span = q->cluster << q->l2_bits, to_end = span - (offset & (span - 1));
	struct table *t;
	int err;

	*p = (struct placement){ .offset = offset, .bytes = bytes < to_end ? bytes : to_end };
	if (q->damaged)
		return -EUCLEAN;
	err = l2_find(q, offset, &t);
	if (err)
		return err == -EUCLEAN ? qcow2_damage(q) : err;
	if (t && (q->l1[offset / span] & ENTRY_COPIED) &&
	    entry_own(q, get64(entry_at(q, t, offset))))
		return place_here(q, t, p);
	return place_fresh(q, (q->l1[offset / span] & ENTRY_COPIED) ? t : NULL, p);
}

void qcow2_unplace(struct image *image, const struct placement *p)
{
	struct qcow2 *q = qcow2_of(image);
	bool gone;

	for (uint64_t n = 0; n < p->cover_bytes; n += q->cluster)
		cluster_release(q, p->host + n, &gone); /* failing: a leak */
}

int l2_own(struct qcow2 *q, uint64_t offset, struct table **t)
{
	uint64_t i = offset >> (q->cluster_bits + q->l2_bits), old = q->l1[i], at, got;
	struct table *shared, *made = NULL;
	bool blank;
	int err;

	if (old & ENTRY_COPIED)
		return l2_find(q, offset, t);
	err = l2_find(q, offset, &shared); /* before the new one: see table_new() */
	if (!err)
		err = clusters_alloc(q, 1, &at, &got, &blank);
	if (err)
		return err;
	err = set_add(&q->owned, at);
	if (!err)
		err = table_new(q, &q->l2, at, &made);
	if (!err && shared)
		err = list_add(&q->freed, old & ENTRY_OFFSET);
	if (err) {
		if (made)
			made->dirty_from = made->dirty_to = 0; /* another has its place soon */
		cluster_release(q, at, &blank);
		return err;
	}
	*t = made;
	if (shared)
		memcpy(made->data, shared->data, q->cluster);
	q->l1[i] = at | ENTRY_COPIED;
	if (q->l1_dirty_from == q->l1_dirty_to) {
		q->l1_dirty_from = (uint32_t)i;
		q->l1_dirty_to = (uint32_t)i + 1;
	}
	if (i < q->l1_dirty_from)
		q->l1_dirty_from = (uint32_t)i;
	if (i >= q->l1_dirty_to)
		q->l1_dirty_to = (uint32_t)i + 1;
	return 0;
}

/* The clusters an L2 entry uses: [*first, *end). Equal: none. */
static void entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *first, uint64_t *end)
{
	uint32_t bytes = 1;

	*first = entry & ENTRY_OFFSET;
	if (entry & ENTRY_COMPRESSED)
		packed_range(q, entry, first, &bytes);
	else if (!*first)
		bytes = 0;
	*end = (*first + bytes + q->cluster - 1) & ~(q->cluster - 1);
	*first &= ~(q->cluster - 1);
}

/* An entry that leads to one of the image's own tables: giving that up would make it guest data. */
static int entry_check(struct qcow2 *q, uint64_t entry)
{
	uint64_t host, end;

	for (entry_clusters(q, entry, &host, &end); host < end; host += q->cluster) {
		if (set_has(&q->owned, host))
			return qcow2_damage(q);
	}
	return 0;
}

/* What an L2 entry used is used once less, after the next commit. */
static void entry_free(struct qcow2 *q, uint64_t entry)
{
	uint64_t host, end;

	for (entry_clusters(q, entry, &host, &end); host < end; host += q->cluster) {
		if (list_add(&q->freed, host))
			return; /* no memory: it stays counted, a leak */
	}
}

int qcow2_link(struct image *image, const struct placement *p)
{
	struct qcow2 *q = qcow2_of(image);
	struct table *t;
	int err = q->damaged ? -EUCLEAN : l2_own(q, p->cover, &t);

	if (!err && !t)
		err = -EUCLEAN;
	/* All before any: what is linked cannot be unplaced. */
	for (uint64_t n = 0; !err && n < p->cover_bytes; n += q->cluster)
		err = entry_check(q, get64(entry_at(q, t, p->cover + n)));
	for (uint64_t n = 0; !err && n < p->cover_bytes; n += q->cluster) {
		uint64_t old = get64(entry_at(q, t, p->cover + n));

		entry_set(q, t, p->cover + n, (p->host + n) | ENTRY_COPIED);
		entry_free(q, old);
	}
	return err;
}

/* The entry that makes a cluster read as zero; false: it needs none, or version 2 has none. */
static bool zero_entry(const struct qcow2 *q, uint64_t old, enum erase how, uint64_t *entry)
{
	bool hole = !(old & (ENTRY_OFFSET | ENTRY_COMPRESSED | ENTRY_ZERO));

	if (!q->image.backing) {
		*entry = 0;
		if (how != ERASE_ZERO || hole || (old & ENTRY_COMPRESSED) || q->version < 3)
			return !hole;
	} else {
		*entry = ENTRY_ZERO;
		if (q->version < 3)
			return false;
	}
	if (how == ERASE_ZERO && entry_own(q, old))
		*entry = old | ENTRY_ZERO;
	else if (how == ERASE_ZERO && (old & ENTRY_ZERO))
		return false;
	return *entry != old;
}

int qcow2_erase(struct image *image, uint64_t offset, uint64_t bytes, enum erase how,
		uint64_t *done)
{
	struct qcow2 *q = qcow2_of(image);
	uint64_t span = q->cluster << q->l2_bits, to_end = span - (offset & (span - 1)), n;
	struct table *t;
	int err;

	if (q->damaged)
		return -EUCLEAN;
	if (q->version < 3 && image->backing && how != ERASE_DISCARD)
		return -ENOTSUP;
	if (bytes > to_end)
		bytes = to_end;
	err = l2_find(q, offset, &t);
	if (err)
		return err == -EUCLEAN ? qcow2_damage(q) : err;
	*done = bytes;
	if (!t && (!image->backing || q->version < 3))
		return 0; /* nothing is there */
	err = l2_own(q, offset, &t);
	for (n = 0; !err && n < bytes; n += q->cluster) {
		uint64_t old = get64(entry_at(q, t, offset + n)), entry;

		if (!zero_entry(q, old, how, &entry))
			continue;
		err = entry & ENTRY_OFFSET ? 0 : entry_check(q, old);
		if (err)
			break;
		entry_set(q, t, offset + n, entry);
		if (!(entry & ENTRY_OFFSET))
			entry_free(q, old);
	}
	return err;
}
