/*
 * qcow2_cache.c - tables of a qcow2 image in memory, and small sets of clusters (see qcow2.h).
 *
 * The cache forgets the clean table that was used longest ago. When every table is dirty, a
 * commit makes them clean: there is no other way to write one, since their order matters.
 *
 * Tested by test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"
#include "host/host.h"

#define CACHE_BYTES (UINT64_C(16) << 20)
#define CACHE_LEAST 32u
#define CACHE_MOST  16384u

int cache_init(struct table_cache *c, uint64_t cluster)
{
	uint64_t most = CACHE_BYTES / cluster;
	uint32_t buckets = 64;

	c->most = most < CACHE_LEAST  ? CACHE_LEAST
		  : most > CACHE_MOST ? CACHE_MOST
				      : (uint32_t)most;
	while (buckets < c->most)
		buckets *= 2;
	c->buckets = host_alloc(buckets * sizeof(struct table *));
	c->buckets_mask = buckets - 1;
	return c->buckets ? 0 : -ENOMEM;
}

static void table_free(struct table *t)
{
	if (t)
		host_free(t->data);
	host_free(t);
}

void table_cache_free(struct table_cache *c)
{
	while (c->newest) {
		struct table *older = c->newest->older;

		table_free(c->newest);
		c->newest = older;
	}
	host_free(c->buckets);
	memset(c, 0, sizeof(*c));
}

static struct table **bucket(const struct table_cache *c, uint64_t offset)
{
	return &c->buckets[(offset * UINT64_C(0x9e3779b97f4a7c15) >> 32) & c->buckets_mask];
}

static void unuse(struct table_cache *c, struct table *t)
{
	*(t->newer ? &t->newer->older : &c->newest) = t->older;
	*(t->older ? &t->older->newer : &c->oldest) = t->newer;
}

static void use(struct table_cache *c, struct table *t)
{
	t->newer = NULL;
	t->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = t;
	c->newest = t;
}

static struct table *find(struct table_cache *c, uint64_t offset)
{
	struct table *t = *bucket(c, offset);

	while (t && t->offset != offset)
		t = t->chain;
	if (t) {
		unuse(c, t);
		use(c, t);
	}
	return t;
}

/* Takes a table out of the cache. */
static void drop(struct table_cache *c, struct table *t)
{
	struct table **link = bucket(c, t->offset);

	while (*link != t)
		link = &(*link)->chain;
	*link = t->chain;
	unuse(c, t);
	c->count--;
}

static struct table *oldest_clean(const struct table_cache *c)
{
	struct table *t = c->oldest;

	while (t && t->dirty_from != t->dirty_to)
		t = t->newer;
	return t;
}

/* A table for `offset`, in the cache, with any contents. */
static int make(struct qcow2 *q, struct table_cache *c, uint64_t offset, struct table **made)
{
	struct table *t = NULL;

	if (c->count >= c->most) {
		t = oldest_clean(c);
		if (!t && !q->committing) {
			int err = qcow2_commit_now(q);

			if (err)
				return err;
			t = oldest_clean(c);
		}
	}
	if (t) {
		drop(c, t);
	} else {
		t = host_alloc(sizeof(*t));
		if (t)
			t->data = host_alloc(q->cluster);
		if (!t || !t->data) {
			table_free(t);
			return -ENOMEM;
		}
	}
	t->offset = offset;
	t->dirty_from = t->dirty_to = 0;
	t->unreachable = false;
	t->chain = *bucket(c, offset);
	*bucket(c, offset) = t;
	use(c, t);
	c->count++;
	*made = t;
	return 0;
}

int table_get(struct qcow2 *q, struct table_cache *c, uint64_t offset, struct table **t)
{
	int err;

	*t = find(c, offset);
	if (*t)
		return 0;
	err = make(q, c, offset, t);
	if (err)
		return err;
	err = file_read(q->image.fd, offset, (*t)->data, q->cluster);
	if (err) {
		drop(c, *t);
		table_free(*t);
	}
	return err;
}

int table_new(struct qcow2 *q, struct table_cache *c, uint64_t offset, struct table **t)
{
	int err = 0;

	*t = find(c, offset); /* the cluster was a table before */
	if (!*t)
		err = make(q, c, offset, t);
	if (err)
		return err;
	memset((*t)->data, 0, q->cluster);
	(*t)->unreachable = true;
	(*t)->dirty_from = 0;
	(*t)->dirty_to = (uint32_t)q->cluster;
	return 0;
}

void table_dirty(struct table *t, uint32_t from, uint32_t bytes)
{
	if (t->dirty_from == t->dirty_to) {
		t->dirty_from = from;
		t->dirty_to = from + bytes;
	}
	if (from < t->dirty_from)
		t->dirty_from = from;
	if (from + bytes > t->dirty_to)
		t->dirty_to = from + bytes;
}

int cache_write(struct qcow2 *q, struct table_cache *c, bool only_unreachable, bool *any)
{
	for (struct table *t = c->oldest; t; t = t->newer) {
		int err;

		if (t->dirty_from == t->dirty_to || (only_unreachable && !t->unreachable))
			continue;
		err = file_write(q->image.fd, t->offset + t->dirty_from, t->data + t->dirty_from,
				 t->dirty_to - t->dirty_from);
		if (err)
			return err;
		t->dirty_from = t->dirty_to = 0;
		t->unreachable = false;
		*any = true;
	}
	return 0;
}

bool cache_is_dirty(const struct table_cache *c)
{
	for (const struct table *t = c->oldest; t; t = t->newer) {
		if (t->dirty_from != t->dirty_to)
			return true;
	}
	return false;
}

/* -- Sets: open addressing; a slot holds offset + 1, 0 is empty -------------------------------- */

static uint64_t slot_of(const struct cluster_set *s, uint64_t key)
{
	return (key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & s->mask;
}

bool set_has(const struct cluster_set *s, uint64_t offset)
{
	if (!s->slots)
		return false;
	for (uint64_t i = slot_of(s, offset + 1); s->slots[i]; i = (i + 1) & s->mask) {
		if (s->slots[i] == offset + 1)
			return true;
	}
	return false;
}

static void set_insert(struct cluster_set *s, uint64_t key)
{
	uint64_t i = slot_of(s, key);

	while (s->slots[i])
		i = (i + 1) & s->mask;
	s->slots[i] = key;
	s->count++;
}

static int set_grow(struct cluster_set *s)
{
	struct cluster_set bigger = { .mask = s->slots ? s->mask * 2 + 1 : 63 };

	bigger.slots = host_alloc((bigger.mask + 1) * sizeof(uint64_t));
	if (!bigger.slots)
		return -ENOMEM;
	for (uint64_t i = 0; s->slots && i <= s->mask; i++) {
		if (s->slots[i])
			set_insert(&bigger, s->slots[i]);
	}
	host_free(s->slots);
	*s = bigger;
	return 0;
}

int set_add(struct cluster_set *s, uint64_t offset)
{
	if (set_has(s, offset))
		return -EEXIST;
	if ((!s->slots || s->count * 2 > s->mask) && set_grow(s))
		return -ENOMEM;
	set_insert(s, offset + 1);
	return 0;
}

void set_remove(struct cluster_set *s, uint64_t offset)
{
	uint64_t i, j;

	if (!set_has(s, offset))
		return;
	i = slot_of(s, offset + 1);
	while (s->slots[i] != offset + 1)
		i = (i + 1) & s->mask;
	/* Those after it that could stand here move up, or they would not be found. */
	for (j = (i + 1) & s->mask; s->slots[j]; j = (j + 1) & s->mask) {
		uint64_t home = slot_of(s, s->slots[j]);

		if (((j - home) & s->mask) >= ((j - i) & s->mask)) {
			s->slots[i] = s->slots[j];
			i = j;
		}
	}
	s->slots[i] = 0;
	s->count--;
}

int list_add(struct cluster_list *l, uint64_t offset)
{
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		uint64_t *bigger = host_alloc(room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		if (l->count)
			memcpy(bigger, l->offsets, l->count * sizeof(*bigger));
		host_free(l->offsets);
		l->offsets = bigger;
		l->room = room;
	}
	l->offsets[l->count++] = offset;
	return 0;
}
