/*
 * share.c - shared blocks: made, found, and taken away (see share.h).
 *
 * The idea of taking away: the memory stays as it was until its region is filled anew, and that is
 * not done while some vCPU is in the midst of an instruction there (region.c). So who waits in a
 * handler, for a device or at the gate, can go on where it was.
 *
 * Two tables, by key and by page, whose lists grow at their beginnings: they may be read while
 * somebody adds. A straddling instruction is known by its bytes and its place in the page: its code
 * compares them each time, so it is right wherever it lies.
 *
 * Spec: engine/bt/bt.h. Tested by test/unit/bt_share.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/share.h"

#include <errno.h>

#include "engine/bt/bt.h"

#define TABLE      (1u << 15)
#define PAGE_TABLE (1u << 13)
#define PIECE      64u /* bytes for each bit of `covered` */

/* --- the tables ------------------------------------------------------------------------------- */

static unsigned scatter(uint64_t key, unsigned size)
{
	return (unsigned)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (size - 1);
}

static uint64_t straddle_key(const struct block *b)
{
	uint64_t bytes[2] = { 0 };

	memcpy(bytes, block_code(b), b->bytes);
	return bytes[0] ^ bytes[1] << 7 ^ (uint64_t)b->offset << 48 ^ b->mode;
}

static struct block **bucket_of(const struct bt_room *r, const struct block *b)
{
	uint64_t key = block_straddles(b) ? straddle_key(b) : b->key;

	return &r->table[scatter(key, TABLE)];
}

/* A list's beginning, or a link in it, that somebody may be adding to. */
#define LOOK(from)    __atomic_load_n(from, __ATOMIC_ACQUIRE)
#define SHOW(at, new) __atomic_store_n(at, new, __ATOMIC_RELEASE)

static bool same_code(const struct block *a, const struct block *b)
{
	if (a->key != b->key || a->mode != b->mode)
		return false;
	return !block_straddles(a) || (a->offset == b->offset && a->bytes == b->bytes &&
				       memcmp(block_code(a), block_code(b), a->bytes) == 0);
}

static const uint8_t *page_of(const struct block *b)
{
	return (const uint8_t *)(uintptr_t)(b->key >> 2 & ~(uint64_t)PAGE_MASK);
}

static struct bt_page **page_bucket(const struct bt_room *r, const uint8_t *host)
{
	return &r->page_table[scatter((uintptr_t)host >> PAGE_SHIFT, PAGE_TABLE)];
}

/* NULL: the page has no shared blocks. */
static struct bt_page *page_find(const struct bt_room *r, const uint8_t *host)
{
	struct bt_page *p;

	host = (const uint8_t *)((uintptr_t)host & ~(uintptr_t)PAGE_MASK);
	p = LOOK(page_bucket(r, host));
	while (p && p->host != host)
		p = p->chain;
	return p;
}

static uint64_t pieces(unsigned from, unsigned bytes)
{
	unsigned first = from / PIECE, count = (from + bytes - 1) / PIECE - first + 1;

	return (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << first;
}

static void page_add(struct bt *t, struct interp *c, struct block *b)
{
	const uint8_t *host = page_of(b);
	struct bt_room *r = t->room;
	struct bt_page *p = page_find(r, host);

	if (!p) {
		p = r->page_free;
		if (p)
			r->page_free = p->chain;
		else
			p = &r->page[r->pages++];
		*p = (struct bt_page){ .host = host, .chain = *page_bucket(r, host) };
		SHOW(page_bucket(r, host), p);
	}
	b->next = p->first;
	__atomic_or_fetch(&p->covered, pieces(b->from, b->to - b->from), __ATOMIC_SEQ_CST);
	SHOW(&p->first, b);
	cache_share_begin(c, b);
}

static void page_remove(struct bt *t, struct block *b)
{
	struct bt_room *r = t->room;
	struct bt_page *p = page_find(r, page_of(b)), **at = page_bucket(r, page_of(b));
	struct block **link = &p->first;

	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	if (p->first)
		return;
	cache_share_end(r->user[0], p->host);
	while (*at != p)
		at = &(*at)->chain;
	*at = p->chain;
	p->chain = r->page_free;
	r->page_free = p;
}

/* --- adding ----------------------------------------------------------------------------------- */

bool bt_share_lock(struct bt *t)
{
	struct bt_room *r = t->room;

	return !r->shared || !atomic_exchange_explicit(&r->busy, true, memory_order_acquire);
}

void bt_share_unlock(struct bt *t)
{
	if (t->room->shared)
		atomic_store_explicit(&t->room->busy, false, memory_order_release);
}

static void *take(struct bt_room *r, size_t bytes)
{
	void *at = r->names + r->frozen;

	r->frozen += (bytes + 15) & ~(size_t)15;
	return at;
}

/* As engine/interp/cache.c lays it out: the block, its instructions, its bytes. */
static struct block *copy_block(struct bt_room *r, const struct block *b)
{
	size_t insns = (b->count + 1u) * sizeof(struct insn);
	unsigned bytes = b->to - b->from, before = b->offset - b->from;
	struct block *to = take(r, sizeof(*to) + insns + bytes);
	uint8_t *code = (uint8_t *)(to + 1) + insns;

	*to = *b;
	to->insn = (struct insn *)(to + 1);
	memcpy(to->insn, b->insn, insns);
	memcpy(code, b->code - before, bytes);
	to->code = code + before;
	return to;
}

static struct block *copy_straddle(struct bt_room *r, const struct block *b)
{
	struct straddle *to = take(r, sizeof(*to));

	*to = *(const struct straddle *)b;
	to->block.insn = to->insn;
	return &to->block;
}

struct block *bt_share_copy(struct bt *t, struct block *b)
{
	struct block *to;

	if (!t->room->shared)
		return b;
	to = block_straddles(b) ? copy_straddle(t->room, b) : copy_block(t->room, b);
	to->generation = 0;
	to->next = to->chain = NULL;
	to->page = NULL;
	to->links = NULL;
	to->native = NULL;
	return to;
}

static void adopt(const struct bt *t, struct block *b, const struct block *shared)
{
	b->native = bt_exec(t, shared->native);
	b->native_flags = bt_native_flags(shared) & (uint8_t)~BT_JUMPED;
	b->most = shared->count;
}

void bt_share_add(struct bt *t, struct interp *c, struct block *b, struct block *shared)
{
	struct block **bucket;

	if (!t->room->shared)
		return;
	bucket = bucket_of(t->room, shared);
	for (unsigned n = 0; n <= shared->count; n++)
		if (cache_owns(c->cache, shared->insn[n].aux)) /* the run loop's, of this vCPU */
			shared->insn[n].aux = NULL;
	shared->native = t->code.write_at + (shared->native - t->code.exec_at);
	if (!block_straddles(shared))
		page_add(t, c, shared);
	shared->chain = *bucket;
	SHOW(bucket, shared);
	adopt(t, b, shared);
}

bool bt_share_adopt(struct bt *t, const struct interp *c, struct block *b)
{
	unsigned variant = bt_variant(c, c->r[R_RIP]);

	if (!t->room->shared)
		return false;
	for (struct block *s = LOOK(bucket_of(t->room, b)); s; s = s->chain) {
		if (same_code(s, b) && (bt_native_flags(s) & (BT_HIGH | BT_USER)) == variant) {
			adopt(t, b, s);
			t->figures.adopted++;
			return true;
		}
	}
	return false;
}

/* --- taking away ------------------------------------------------------------------------------ */

/* The vCPU's own blocks of the same code, one after the other: *n begins with 0. */
static struct block *own(const struct interp *c, const struct block *shared, unsigned *n)
{
	if (!block_straddles(shared))
		return (*n)++ ? NULL : cache_peek(c->cache, shared->key);
	while (*n < STRADDLES) {
		struct block *b = cache_peek_straddle(c->cache, (*n)++);

		if (b->live && same_code(b, shared))
			return b;
	}
	return NULL;
}

static void forget(struct interp *c, const struct block *shared)
{
	struct bt *t = c->executor;
	const uint8_t *native = bt_exec(t, shared->native);
	struct block as = *shared, *b;

	for (unsigned n = 0; (b = own(c, shared, &n));)
		if (b->native == native)
			b->native = NULL;
	as.native = native;
	if (shared->native_flags & BT_JUMPED && t->jumps_used)
		bt_jumps_kill(t, &as);
}

void bt_share_drop(struct bt *t, struct block *shared)
{
	struct bt_room *r = t->room;
	struct block **at = bucket_of(r, shared);

	while (shared->links)
		bt_unlink(t, shared->links);
	for (unsigned n = 0; n < r->users; n++)
		forget(r->user[n], shared);
	while (*at != shared)
		at = &(*at)->chain;
	*at = shared->chain;
	if (!block_straddles(shared))
		page_remove(t, shared);
	bt_head(t, bt_exec(t, shared->native))->b = NULL;
	shared->live = false;
}

/* Where what was learnt about instruction n of b is kept: by its place in the host's memory. */
static struct bt_learnt *learnt_of(struct bt_room *r, const struct block *b, unsigned n,
				   uint64_t *key)
{
	*key = block_straddles(b) ? straddle_key(b) : (b->key >> 2) + (uint64_t)b->insn[n].at;
	return &r->learnt[scatter(*key, BT_LEARNT)];
}

void bt_share_again(struct bt *t, struct interp *c, const struct insn *i, uint8_t flag)
{
	struct block *b = (struct block *)(i - i->n) - 1;
	struct bt_room *r = t->room;
	struct bt_learnt *l;
	uint64_t key;

	if (r->shared)
		gate_close(c->vcpu->vm, c->vcpu);
	l = learnt_of(r, b, i->n, &key);
	*l = (struct bt_learnt){ .key = key, .flags = flag | (l->key == key ? l->flags : 0) };
	if (!r->shared && b->native)
		bt_killed(c, b);
	else if (r->shared && b->live)
		bt_share_drop(t, b);
	if (r->shared)
		gate_open(c->vcpu->vm, c->vcpu);
}

void bt_share_learnt(struct bt *t, struct block *b)
{
	uint64_t key;

	for (unsigned n = 0; n < b->count; n++) {
		const struct bt_learnt *l = learnt_of(t->room, b, n, &key);

		if (l->key == key)
			b->insn[n].flags |= l->flags;
	}
}

bool bt_share_in_use(const struct bt *t, size_t from, size_t to)
{
	const struct bt_room *r = t->room;

	for (unsigned n = 0; r->shared && n < r->users; n++) {
		uint64_t at = (uintptr_t)r->user[n]->current - (uintptr_t)r->names;

		if (at >= from && at < to)
			return true;
	}
	return false;
}

/* --- for the interpreter ---------------------------------------------------------------------- */

static const struct bt_room *room_of(const struct interp *c)
{
	const struct bt *t = c->executor;

	return t->room;
}

static bool overlaps(const struct block *b, unsigned from, unsigned bytes)
{
	return block_overlaps(b, from, from + bytes);
}

static bool covers(const struct interp *c, const uint8_t *host, unsigned bytes)
{
	const struct bt_page *p = page_find(room_of(c), host);
	unsigned from = (uintptr_t)host & PAGE_MASK;

	if (!p || !(LOOK(&p->covered) & pieces(from, bytes)))
		return false;
	for (const struct block *b = LOOK(&p->first); b; b = b->next)
		if (overlaps(b, from, bytes))
			return true;
	return false;
}

static void written(struct interp *c, const uint8_t *host, unsigned bytes)
{
	const struct bt_page *p = page_find(room_of(c), host);
	unsigned from = (uintptr_t)host & PAGE_MASK;
	struct block *b = p ? p->first : NULL, *next;

	for (; b; b = next) {
		next = b->next;
		if (!overlaps(b, from, bytes))
			continue;
		for (unsigned n = 0; n <= b->count; n++)
			b->insn[n].fn = op_stale;
		bt_share_drop(c->executor, b);
	}
}

static bool in_page(const struct interp *c, const uint8_t *host)
{
	return page_find(room_of(c), host) != NULL;
}

static unsigned decoded(const struct interp *c, uint64_t key, struct insn *insn)
{
	const struct bt_room *r = room_of(c);

	for (const struct block *s = LOOK(&r->table[scatter(key, TABLE)]); s; s = s->chain) {
		if (s->key != key)
			continue;
		if (s->follows) /* more than the interpreter wants */
			return 0;
		memcpy(insn, s->insn, (s->count + 1u) * sizeof(*insn));
		for (unsigned n = 0; n <= s->count; n++)
			if (insn[n].fn == op_stale) /* cut just now, see interp_exit() */
				return 0;
		return s->count;
	}
	return 0;
}

const struct code_share bt_share = {
	.covers = covers, .written = written, .in_page = in_page, .decoded = decoded
};

/* --- opening and closing ---------------------------------------------------------------------- */

int bt_share_open(struct bt *t, struct interp *c)
{
	struct bt_room *r = t->room;

	r->user[r->users++] = c;
	t->joined = true;
	if (!r->shared) {
		t->names = c->cache->arena;
		return 0;
	}
	if (r->users == 1) {
		r->table = host_map(TABLE * sizeof(*r->table));
		r->page_table = host_map(PAGE_TABLE * sizeof(*r->page_table));
		r->page = host_map(r->pages_all * sizeof(*r->page));
		r->names = host_map(r->frozen_all);
	}
	if (!r->table || !r->page_table || !r->page || !r->names)
		return -ENOMEM;
	t->names = r->names;
	c->share = &bt_share;
	return 0;
}

bool bt_share_close(struct bt *t)
{
	struct bt_room *r = t->room;

	r->users -= t->joined;
	if (r->users)
		return false;
	host_unmap(r->table, TABLE * sizeof(*r->table));
	host_unmap(r->page_table, PAGE_TABLE * sizeof(*r->page_table));
	host_unmap(r->page, r->pages_all * sizeof(*r->page));
	host_unmap(r->names, r->frozen_all);
	return true;
}
