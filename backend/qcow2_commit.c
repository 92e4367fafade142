/*
 * qcow2_commit.c - brings a qcow2 image's tables to the medium, in the order that keeps it
 * whole (see qcow2.h).
 *
 *   step 0   write refcount blocks (counts only grow here), and L2 tables that are new
 *            -- sync: guest data, counts and new tables are on the medium --
 *   step 1   write the other L2 tables, then L1: now they lead to all that
 *            -- sync --
 *   step 2   what was unlinked by step 1 is counted down, in memory: the next commit writes it,
 *            and from now on it may be allocated again
 *
 * Wherever the host or the process stops, the file has no table that leads to an uncounted
 * cluster. Between step 0 and step 1 nothing may be linked: its counts would not be among those
 * that were synced. When only counts have changed, step 1 has nothing to do and is left out.
 *
 * Specification: section "Host cluster management". Tested by test/unit/qcow2.c, test/unit/crash.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

enum { STAGE_IDLE, STAGE_COUNTED, STAGE_LINKED };

static int write_l1(struct qcow2 *q)
{
	uint32_t n = q->l1_dirty_to - q->l1_dirty_from;
	uint8_t *raw;
	int err;

	if (n == 0)
		return 0;
	raw = host_alloc((size_t)n * 8);
	if (!raw)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		put64(raw + (size_t)i * 8, q->l1[q->l1_dirty_from + i]);
	err = file_write(q->image.fd, q->l1_offset + (uint64_t)q->l1_dirty_from * 8, raw,
			 (size_t)n * 8);
	host_free(raw);
	if (!err)
		q->l1_dirty_from = q->l1_dirty_to = 0;
	return err;
}

static int write_counts(struct qcow2 *q, bool *more)
{
	bool any = false;
	int err = cache_write(q, &q->blocks, false, &any);

	*more = q->l1_dirty_from != q->l1_dirty_to || cache_is_dirty(&q->l2);
	return err ? err : cache_write(q, &q->l2, true, &any);
}

static int write_links(struct qcow2 *q)
{
	bool any = false;
	int err = cache_write(q, &q->l2, false, &any);

	if (!err)
		err = write_l1(q);
	for (; !err && q->freed.count > 0; q->freed.count--) {
		if (list_add(&q->ready, q->freed.offsets[q->freed.count - 1]))
			break; /* no memory: the next commit */
	}
	return err;
}

/* Gives the space of clusters that nobody uses back to the host: neighbours in one call. */
static void punch(const struct qcow2 *q, uint64_t *from, uint64_t *bytes, uint64_t next)
{
	if (*bytes && next == *from + *bytes) {
		*bytes += q->cluster;
		return;
	}
	if (*bytes)
		(void)!fallocate(q->image.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)*from, (off_t)*bytes);
	*from = next;
	*bytes = q->cluster;
}

static void release_unlinked(struct qcow2 *q)
{
	uint64_t from = 0, bytes = 0;

	for (size_t i = 0; i < q->ready.count; i++) {
		bool gone;

		if (cluster_release(q, q->ready.offsets[i], &gone) == -EUCLEAN)
			qcow2_damage(q);
		if (gone)
			punch(q, &from, &bytes, q->ready.offsets[i]);
	}
	punch(q, &from, &bytes, UINT64_MAX);
	q->ready.count = 0;
}

static int commit_step(struct qcow2 *q, unsigned step)
{
	bool more = false;
	int err;

	if (step == 0) {
		err = write_counts(q, &more);
		q->commit_stage = more ? STAGE_COUNTED : STAGE_LINKED;
		q->image.linking_waits = more && !err;
		return err ? err : 1;
	}
	if (q->commit_stage == STAGE_COUNTED) {
		err = write_links(q);
		q->commit_stage = STAGE_LINKED;
		q->image.linking_waits = false;
		return err ? err : 1;
	}
	release_unlinked(q);
	q->commit_stage = STAGE_IDLE;
	return 0;
}

int qcow2_commit(struct image *image, unsigned step)
{
	struct qcow2 *q = qcow2_of(image);
	int more;

	if (!image->writable)
		return 0;
	q->committing = true;
	more = commit_step(q, step);
	q->committing = false;
	return more;
}

/* A whole commit while the caller waits. One that is under way in steps finds nothing left to do.
 */
int qcow2_commit_now(struct qcow2 *q)
{
	unsigned stage = q->commit_stage;
	bool waits = q->image.linking_waits;
	int more = 1;

	for (unsigned step = 0; more > 0; step++) {
		more = qcow2_commit(&q->image, step);
		if (more > 0) {
			int err = image_sync(&q->image);

			more = err ? err : more;
		}
	}
	q->commit_stage = stage;
	q->image.linking_waits = waits;
	return more;
}
