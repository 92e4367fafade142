/*
 * torture.c - rare things made common, for tests (enum torture in machine/engine.h).
 *
 * The idea: tortures stand around bt_execute() and bt_slow(), in place of which they are called, so
 * that they cost nothing where they are off. When they strike follows from a generator
 * of their own that always starts alike: a failure repeats.
 *
 * Tested by test/unit/bt.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"

/* One time in `n`, a power of two. */
static bool strikes(struct bt *t, unsigned n)
{
	t->chance = t->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (t->chance >> 33 & (n - 1)) == 0;
}

static bool flush(struct bt *t, struct interp *c, unsigned n)
{
	if (!(t->torture & TORTURE(NO_TLB)) && !(t->torture & TORTURE(FLUSH) && strikes(t, n)))
		return false;
	tlb_flush_all(&c->tlb);
	return true;
}

int bt_torture_slow(struct interp *c, uint32_t name)
{
	struct bt *t = c->executor;
	int kind = bt_slow(c, name);

	if (kind == 0 && flush(t, c, 16))
		bt_come_back(t, c);
	return kind;
}

static enum step execute(struct interp *c, struct block *b)
{
	struct bt *t = c->executor;

	flush(t, c, 64);
	if (t->torture & TORTURE(KICK))
		t->slice = b->most;
	if (t->torture & TORTURE(NO_LINK)) {
		t->pending = NULL;
		t->pending_indirect = false;
	}
	/* Not oftener: a flush costs as much as some thousand blocks, and code shall get hot
	 * between. */
	if (t->torture & TORTURE(INVALIDATE) && strikes(t, 4096)) {
		cache_flush(c->cache); /* `b` can still be read, as bt_execute() says */
		return STEP_STALE;
	}
	if (t->torture & TORTURE(EVICT) && strikes(t, 128))
		if (bt_share_lock(t)) {
			bt_region_next(t, c);
			bt_share_unlock(t);
		}
	return bt_execute(c, b);
}

void bt_torture(struct bt *t, struct interp *c, unsigned torture)
{
	t->torture = torture;
	if (torture & TORTURE(HOT))
		t->hot = 0;
	if (torture)
		c->execute = execute;
}
