/*
 * qcow2_refcount.c - how often each cluster of a qcow2 file is used, and finding unused ones
 * (see qcow2.h).
 *
 * A refcount block that is missing means "all unused". When a cluster of such a range is wanted,
 * the first one there becomes the block, which counts itself. When the refcount table has no
 * entry for the range, a bigger table goes there too. Both are written and synced before
 * anything leads to them: that is rare.
 *
 * Specification: section "Host cluster management". Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

uint64_t refcount_max(const struct qcow2 *q)
{
	return q->refcount_order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << q->refcount_order)) - 1;
}

uint64_t refcount_in_block(const struct qcow2 *q, const uint8_t *block, uint64_t index)
{
	const uint8_t *at = block + (index << q->refcount_order) / 8;

	switch (q->refcount_order) {
	case 3: return *at;
	case 4: return (uint64_t)at[0] << 8 | at[1];
	case 5: return get32(at);
	case 6: return get64(at);
	default: /* several in a byte, the first in the lowest bits */
		return *at >> ((index << q->refcount_order) & 7) & refcount_max(q);
	}
}

static void put_in_block(const struct qcow2 *q, struct table *block, uint64_t index, uint64_t count)
{
	uint64_t byte = (index << q->refcount_order) / 8;
	unsigned shift = (unsigned)(index << q->refcount_order) & 7;
	uint8_t *at = block->data + byte;

	switch (q->refcount_order) {
	case 3: *at = (uint8_t)count; break;
	case 4:
		at[0] = (uint8_t)(count >> 8);
		at[1] = (uint8_t)count;
		break;
	case 5: put32(at, (uint32_t)count); break;
	case 6: put64(at, count); break;
	default: *at = (uint8_t)((*at & ~(refcount_max(q) << shift)) | count << shift); break;
	}
	table_dirty(block, (uint32_t)byte,
		    q->refcount_order < 3 ? 1 : 1u << (q->refcount_order - 3));
}

/* The block that counts cluster `number`; *block NULL: there is none. */
static int block_find(struct qcow2 *q, uint64_t number, struct table **block)
{
	uint64_t i = number >> q->block_bits;

	*block = NULL;
	if (i >= q->reftable_entries || q->reftable[i] == 0)
		return 0;
	if (!cluster_valid(q, q->reftable[i]))
		return -EUCLEAN;
	return table_get(q, &q->blocks, q->reftable[i], block);
}

static uint64_t in_block(const struct qcow2 *q, uint64_t number)
{
	return number & ((UINT64_C(1) << q->block_bits) - 1);
}

int refcount_get(struct qcow2 *q, uint64_t number, uint64_t *count)
{
	struct table *block;
	int err = block_find(q, number, &block);

	*count = !err && block ? refcount_in_block(q, block->data, in_block(q, number)) : 0;
	return err;
}

static void grow_end(struct qcow2 *q, uint64_t number)
{
	uint64_t end = (number + 1) << q->cluster_bits;

	if (end > q->end)
		q->end = end;
}

/* Cluster `number` becomes the block of its range, in a table that has an entry for it. */
static int block_make(struct qcow2 *q, uint64_t number, struct table **block)
{
	uint64_t offset = number << q->cluster_bits, i = number >> q->block_bits;
	uint8_t entry[8];
	int err = set_add(&q->owned, offset);

	if (err)
		return err == -EEXIST ? qcow2_damage(q) : err;
	grow_end(q, number);
	err = table_new(q, &q->blocks, offset, block);
	if (err)
		goto undo;
	put_in_block(q, *block, in_block(q, number), 1);
	(*block)->dirty_from = (*block)->dirty_to = 0; /* written here, or never */
	(*block)->unreachable = false;
	err = file_write(q->image.fd, offset, (*block)->data, q->cluster);
	if (!err)
		err = image_sync(&q->image);
	put64(entry, offset);
	if (!err)
		err = file_write(q->image.fd, q->reftable_offset + i * 8, entry, 8);
	if (err)
		goto undo;
	q->reftable[i] = offset;
	return 0;
undo:
	set_remove(&q->owned, offset);
	return err;
}

/* Where a bigger refcount table goes, and the blocks that count what is there. */
struct growth {
	uint64_t first;       /* cluster number */
	uint64_t blocks;      /* blocks, from `first` on */
	uint64_t table;       /* clusters of the table, behind them */
	uint64_t entries;     /* of the table */
	uint64_t first_block; /* index in the table */
};

static int plan_growth(const struct qcow2 *q, uint64_t number, struct growth *g)
{
	uint64_t per_cluster = q->cluster / 8, per_block = UINT64_C(1) << q->block_bits;
	uint64_t needed;

	*g = (struct growth){ .first = number,
			      .first_block = number >> q->block_bits,
			      .blocks = 1 };
	for (;;) {
		needed = g->first_block + g->blocks + (g->first_block + g->blocks) / 2 + 1;
		g->table = (needed + per_cluster - 1) / per_cluster;
		g->entries = g->table * per_cluster;
		if (g->table * q->cluster > REFTABLE_BYTES_MAX)
			return -EFBIG;
		needed = (in_block(q, number) + g->blocks + g->table + per_block - 1) / per_block;
		if (needed <= g->blocks)
			return 0;
		g->blocks = needed;
	}
}

static int write_growth(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
	uint64_t last = g->first + g->blocks + g->table;
	uint8_t *raw = host_alloc(g->table * q->cluster);
	int err = raw ? 0 : -ENOMEM;

	for (uint64_t b = 0; !err && b < g->blocks; b++) {
		uint64_t from = (g->first_block + b) << q->block_bits;
		uint64_t offset = (g->first + b) << q->cluster_bits;
		struct table *block;

		err = table_new(q, &q->blocks, offset, &block);
		for (uint64_t n = from; !err && n < from + (UINT64_C(1) << q->block_bits); n++) {
			if (n >= g->first && n < last)
				put_in_block(q, block, in_block(q, n), 1);
		}
		if (!err) {
			block->dirty_from = block->dirty_to = 0;
			block->unreachable = false;
			err = file_write(q->image.fd, offset, block->data, q->cluster);
		}
		table[g->first_block + b] = offset;
	}
	for (uint64_t i = 0; !err && i < g->entries; i++)
		put64(raw + i * 8, table[i]);
	if (!err)
		err = file_write(q->image.fd, (g->first + g->blocks) << q->cluster_bits, raw,
				 g->table * q->cluster);
	host_free(raw);
	return err ? err : image_sync(&q->image);
}

/* Everything of the growth is in the file: the header leads to it now. */
static int switch_table(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
	uint64_t offset = (g->first + g->blocks) << q->cluster_bits;
	uint64_t old = q->reftable_offset, old_bytes = q->reftable_entries * 8;
	uint8_t header[12];
	int err;

	put64(header, offset);
	put32(header + 8, (uint32_t)g->table);
	err = file_write(q->image.fd, H_REFCOUNT_TABLE_OFFSET, header, sizeof(header));
	if (!err)
		err = image_sync(&q->image);
	if (err)
		return err;
	host_free(q->reftable);
	q->reftable = table;
	q->reftable_entries = g->entries;
	q->reftable_offset = offset;
	for (uint64_t at = 0; at < old_bytes; at += q->cluster)
		list_add(&q->ready, old + at); /* without memory: a leak */
	return 0;
}

/* A refcount table with an entry for cluster `number`, which nothing counts yet. */
static int reftable_grow(struct qcow2 *q, uint64_t number)
{
	struct growth g;
	uint64_t *table;
	int err = plan_growth(q, number, &g);

	if (err)
		return err;
	table = host_alloc(g.entries * sizeof(*table));
	if (!table)
		return -ENOMEM;
	memcpy(table, q->reftable, q->reftable_entries * sizeof(*table));
	grow_end(q, g.first + g.blocks + g.table - 1);
	for (uint64_t n = 0; !err && n < g.blocks + g.table; n++)
		err = set_add(&q->owned, (g.first + n) << q->cluster_bits);
	if (err == -EEXIST)
		err = qcow2_damage(q);
	if (!err)
		err = write_growth(q, &g, table);
	if (!err)
		err = switch_table(q, &g, table);
	if (err) {
		for (uint64_t n = 0; n < g.blocks + g.table; n++)
			set_remove(&q->owned, (g.first + n) << q->cluster_bits);
		host_free(table);
	}
	return err;
}

int refcount_set(struct qcow2 *q, uint64_t number, uint64_t count)
{
	struct table *block;
	int err = block_find(q, number, &block);

	if (!err && !block)
		return -EUCLEAN; /* it was counted a moment ago */
	if (!err && count > refcount_max(q))
		return -ERANGE;
	if (!err)
		put_in_block(q, block, in_block(q, number), count);
	return err;
}

/* Finds the first unused cluster from *number on; its block exists then. */
static int find_free(struct qcow2 *q, uint64_t *number, struct table **block)
{
	uint64_t limit = (ENTRY_OFFSET + 1) >> q->cluster_bits;

	for (; *number < limit; ++*number) {
		int err = block_find(q, *number, block);

		if (err)
			return err;
		if (*number >> q->block_bits >= q->reftable_entries) {
			err = reftable_grow(q, *number);
			if (err)
				return err;
			continue;
		}
		if (!*block) {
			err = block_make(q, *number, block);
			if (err)
				return err;
			continue;
		}
		if (refcount_in_block(q, (*block)->data, in_block(q, *number)) == 0)
			return 0;
	}
	return -EFBIG;
}

int clusters_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *blank)
{
	uint64_t number = q->hint, n;
	struct table *block;
	int err = find_free(q, &number, &block);

	if (err)
		return err;
	*blank = number << q->cluster_bits >= q->end;
	for (n = 0; n < want && number + n < (number | ((UINT64_C(1) << q->block_bits) - 1)) + 1;
	     n++) {
		if (refcount_in_block(q, block->data, in_block(q, number + n)) != 0)
			break;
		if (set_has(&q->owned, (number + n) << q->cluster_bits))
			return qcow2_damage(q); /* in use, and not counted */
		put_in_block(q, block, in_block(q, number + n), 1);
	}
	*offset = number << q->cluster_bits;
	*got = n;
	q->hint = number + n;
	grow_end(q, number + n - 1);
	return 0;
}

int cluster_release(struct qcow2 *q, uint64_t offset, bool *gone)
{
	uint64_t number = offset >> q->cluster_bits, count;
	int err = refcount_get(q, number, &count);

	*gone = false;
	if (!err && count == 0)
		err = -EUCLEAN;
	if (!err)
		err = refcount_set(q, number, count - 1);
	if (err || count != 1)
		return err;
	*gone = true;
	set_remove(&q->owned, offset);
	if (number < q->hint)
		q->hint = number;
	return 0;
}
