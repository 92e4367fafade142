/*
 * qcow2_check.c - compares what a qcow2 image's counts say with what its tables use (see qcow2.h).
 *
 * Every use is counted by walking all tables: the active ones and those of each snapshot. A count
 * that is too high is a leak: space lost, nothing worse. One that is too low is an error: the
 * cluster would be given away while in use. So is a wrong COPIED flag: what a snapshot holds would
 * be written to.
 *
 * Dirty bitmaps are not followed; an image with some is not repaired.
 *
 * Specification: sections "Host cluster management", "Cluster mapping", "Snapshots". Tested by
 * test/unit/qcow2.c and test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

#define CLUSTERS_MAX (UINT64_C(1) << 32) /* of a file that can be checked */

struct check {
	struct qcow2 *q;
	uint32_t *uses; /* of each cluster of the file */
	uint64_t clusters;
	struct qcow2_findings *f;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (c->f->errors++)
		return;
	va_start(ap, fmt);
	vsnprintf(c->f->first, sizeof(c->f->first), fmt, ap);
	va_end(ap);
}

/* One more use of each cluster in [offset, offset + bytes). False: that is not in the file. */
static bool count(struct check *c, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset >> c->q->cluster_bits;
	uint64_t last = (offset + bytes - 1) >> c->q->cluster_bits;

	if (bytes == 0)
		return true;
	if (last >= c->clusters || last < first)
		return false;
	for (uint64_t i = first; i <= last; i++) {
		if (c->uses[i] < UINT32_MAX)
			c->uses[i]++;
	}
	return true;
}

/* A use of something that is used only once: false when it has been counted before, too. */
static bool count_once(struct check *c, uint64_t offset, uint64_t bytes)
{
	if (!count(c, offset, bytes))
		return false;
	for (uint64_t at = offset; at < offset + bytes; at += c->q->cluster) {
		if (c->uses[at >> c->q->cluster_bits] > 1)
			return false;
	}
	return true;
}

static void count_entry(struct check *c, uint64_t entry, uint64_t bitmap, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t host = entry & ENTRY_OFFSET;
	uint32_t bytes;

	if (entry & ENTRY_COMPRESSED) {
		packed_range(q, entry, &host, &bytes);
		/* Its last sector may lie behind the end of the file. */
		if (host + bytes > q->end && host < q->end)
			bytes = (uint32_t)(q->end - host);
		if (host == 0 || !count(c, host, bytes))
			wrong(c, "a compressed cluster at %#llx is not in the file",
			      (unsigned long long)host);
		c->f->packed += active;
		c->f->allocated += active;
		return;
	}
	if (host && ((host & (q->cluster - 1)) || !count(c, host, q->cluster)))
		wrong(c, "a cluster at %#llx is not in the file", (unsigned long long)host);
	if (!active)
		return;
	if (q->extended ? !(uint32_t)bitmap && bitmap : (entry & ENTRY_ZERO) && q->version >= 3)
		c->f->zero++;
	else if (host)
		c->f->allocated++;
}

static int count_l2(struct check *c, uint64_t offset, uint8_t *cluster, bool active)
{
	struct qcow2 *q = c->q;
	int err = file_read(q->image.fd, offset, cluster, q->cluster);

	for (uint64_t i = 0; !err && i < UINT64_C(1) << q->l2_bits; i++) {
		const uint8_t *at = cluster + (i << (q->extended ? 4 : 3));

		count_entry(c, get64(at), q->extended ? get64(at + 8) : 0, active);
	}
	return err;
}

/* An L1 table and all below. Tables may be shared between L1 tables, not within one. */
static int count_l1(struct check *c, const uint64_t *l1, uint64_t entries, bool active)
{
	struct cluster_set seen = { 0 };
	uint8_t *cluster = host_alloc(c->q->cluster);
	int err = cluster ? 0 : -ENOMEM;

	for (uint64_t i = 0; !err && i < entries; i++) {
		uint64_t at = l1[i] & ENTRY_OFFSET;

		if (at == 0)
			continue;
		if ((at & (c->q->cluster - 1)) || !count(c, at, c->q->cluster)) {
			wrong(c, "an L2 table at %#llx is not in the file", (unsigned long long)at);
			continue;
		}
		err = set_add(&seen, at);
		if (err == -EEXIST) {
			wrong(c, "the L2 table at %#llx is used twice", (unsigned long long)at);
			err = 0;
			continue;
		}
		if (!err)
			err = count_l2(c, at, cluster, active);
	}
	host_free(seen.slots);
	host_free(cluster);
	return err;
}

/* One entry of the snapshot table: its L1 table. *bytes: the entry's length. */
static int count_snapshot(struct check *c, uint64_t offset, uint64_t *bytes)
{
	uint8_t head[SNAPSHOT_HEAD];
	uint64_t at, entries, *l1;
	int err = file_read(c->q->image.fd, offset, head, sizeof(head));

	if (err)
		return err;
	at = get64(head);
	entries = get32(head + 8);
	*bytes = qcow2_snapshot_bytes(head);
	if (entries * 8 > L1_BYTES_MAX || (at & (c->q->cluster - 1)) ||
	    !count_once(c, at, entries * 8)) {
		wrong(c, "a snapshot's L1 table at %#llx is not in the file, or used twice",
		      (unsigned long long)at);
		return 0;
	}
	l1 = host_alloc(entries * 8);
	if (!l1)
		return -ENOMEM;
	err = file_read(c->q->image.fd, at, l1, entries * 8);
	for (uint64_t i = 0; i < entries; i++)
		l1[i] = be64toh(l1[i]);
	if (!err)
		err = count_l1(c, l1, entries, false);
	host_free(l1);
	return err;
}

static int count_snapshots(struct check *c)
{
	uint64_t at = c->q->snapshots_offset, bytes = 0;
	int err = 0;

	for (uint32_t i = 0; !err && i < c->q->snapshots; i++) {
		if (at + 40 > c->q->end) {
			wrong(c, "the snapshot table is not in the file");
			return 0;
		}
		err = count_snapshot(c, at, &bytes);
		at += bytes;
	}
	if (!err && c->q->snapshots &&
	    !count(c, c->q->snapshots_offset, at - c->q->snapshots_offset))
		wrong(c, "the snapshot table is not in the file");
	return err;
}

static int count_all(struct check *c)
{
	struct qcow2 *q = c->q;
	int err;

	count(c, 0, q->cluster);
	if (q->l1_entries && !count_once(c, q->l1_offset, (uint64_t)q->l1_entries * 8))
		wrong(c, "the L1 table overlaps another");
	if (!count_once(c, q->reftable_offset, q->reftable_entries * 8))
		wrong(c, "the refcount table overlaps another");
	for (uint64_t i = 0; i < q->reftable_entries; i++) {
		uint64_t at = q->reftable[i];

		if (at && ((at & (q->cluster - 1)) || !count_once(c, at, q->cluster))) {
			wrong(c, "a refcount block at %#llx is not in the file, or used twice",
			      (unsigned long long)at);
			if (at & (q->cluster - 1) || at >= q->end)
				return -EUCLEAN;
		}
	}
	err = count_l1(c, q->l1, q->l1_entries, true);
	return err ? err : count_snapshots(c);
}

static int compare_one(struct check *c, uint64_t number, bool fix)
{
	uint64_t counted, uses = number < c->clusters ? c->uses[number] : 0;
	int err = refcount_get(c->q, number, &counted);

	if (err || counted == uses)
		return err;
	if (fix)
		c->f->fixed += refcount_set(c->q, number, uses) == 0;
	else if (counted < uses)
		wrong(c, "the cluster at %#llx is used %llu times and counted %llu times",
		      (unsigned long long)(number << c->q->cluster_bits), (unsigned long long)uses,
		      (unsigned long long)counted);
	else
		c->f->leaks++;
	return 0;
}

static int compare(struct check *c, bool fix)
{
	uint64_t per_block = UINT64_C(1) << c->q->block_bits, block, number = 0;
	int err = 0;

	for (block = 0; !err && block < c->q->reftable_entries; block++) {
		bool present = c->q->reftable[block];

		for (number = block * per_block;
		     !err && number < (block + 1) * per_block && (present || number < c->clusters);
		     number++)
			err = compare_one(c, number, fix);
	}
	for (number = block * per_block; !err && number < c->clusters; number++)
		err = compare_one(c, number, fix);
	return err;
}

/* COPIED says "counted once": what has it is written in place. *lies: it does not hold. A cluster
 * that is used once and not counted at all is reported already, as just that. */
static int flag_check(struct check *c, uint64_t entry, bool *lies)
{
	uint64_t number = (entry & ENTRY_OFFSET) >> c->q->cluster_bits, counted;
	int err;

	*lies = false;
	if (!(entry & ENTRY_OFFSET) || number >= c->clusters)
		return 0;
	err = refcount_get(c->q, number, &counted);
	if (entry & ENTRY_COPIED)
		*lies = counted > 1 || c->uses[number] != 1;
	else
		*lies = counted == 1 && c->uses[number] == 1;
	return err;
}

/* The flag of one entry of a table; *entry: as it has to be. */
static int flag_one(struct check *c, const char *what, uint64_t *entry, bool fix)
{
	bool lies;
	int err = flag_check(c, *entry, &lies);

	if (err || !lies)
		return err;
	if (!fix) {
		wrong(c, "the COPIED flag of the %s at %#llx is wrong", what,
		      (unsigned long long)(*entry & ENTRY_OFFSET));
		return 0;
	}
	*entry ^= ENTRY_COPIED;
	return 0;
}

static int flags_of_l2(struct check *c, uint64_t offset, bool fix)
{
	struct qcow2 *q = c->q;
	uint32_t bytes = q->extended ? 16 : 8;
	struct table *t;
	int err = table_get(q, &q->l2, offset, &t);

	for (uint32_t at = 0; !err && at < bytes << q->l2_bits; at += bytes) {
		uint64_t old = get64(t->data + at), entry = old;

		if (entry & ENTRY_COMPRESSED)
			continue;
		err = flag_one(c, "cluster", &entry, fix);
		if (entry == old)
			continue;
		put64(t->data + at, entry);
		table_dirty(t, at, 8);
	}
	return err;
}

/* The active tables; a snapshot's are not written through. */
static int check_flags(struct check *c, bool fix)
{
	struct qcow2 *q = c->q;
	int err = 0;

	for (uint32_t i = 0; !err && i < q->l1_entries; i++) {
		uint64_t at = q->l1[i] & ENTRY_OFFSET, entry = q->l1[i];

		if (!cluster_valid(q, at))
			continue;
		err = flag_one(c, "L2 table", &entry, fix);
		if (entry != q->l1[i]) {
			q->l1[i] = entry;
			q->l1_dirty_from = 0;
			q->l1_dirty_to = q->l1_entries;
		}
		if (!err)
			err = flags_of_l2(c, at, fix);
	}
	return err;
}

int qcow2_check(struct image *image, const char *path, bool fix, struct qcow2_findings *f,
		struct fail *why)
{
	struct qcow2 *q = qcow2_of(image);
	struct check c = { .q = q, .clusters = q->end >> q->cluster_bits, .f = f };
	uint64_t flags;
	int err;

	*f = (struct qcow2_findings){ .clusters =
					      (image->bytes + q->cluster - 1) >> q->cluster_bits,
				      .bitmaps = q->bitmaps > 0 };
	if (c.clusters > CLUSTERS_MAX)
		return fail(why, -EFBIG, "%s: the file is too large to check", path);
	c.uses = host_map(c.clusters * sizeof(*c.uses));
	if (!c.uses)
		return fail(why, -ENOMEM, "%s: no memory to check it", path);
	fix = fix && !q->bitmaps && image->writable;
	err = count_all(&c);
	if (!err)
		err = compare(&c, false);
	flags = f->errors;
	if (!err)
		err = check_flags(&c, false);
	flags = f->errors - flags;
	if (!err && fix)
		err = compare(&c, true);
	if (!err && fix)
		err = check_flags(&c, true);
	if (!err && fix)
		f->fixed += flags;
	if (!err && fix)
		err = qcow2_commit_now(q);
	q->hint = 0;
	host_unmap(c.uses, c.clusters * sizeof(*c.uses));
	if (err == -EUCLEAN)
		return fail(why, err, "%s: the image is damaged: its refcount table makes no sense",
			    path);
	return err ? fail(why, err, "%s: %s", path, strerror(-err)) : 0;
}
