/*
 * figures.c - tells what engine bt counted (see figures.h).
 *
 * The idea: nothing is counted in translated code. What is told are translations, and the ways out
 * of translated code, each of which costs far more than counting it.
 *
 * Tested by test/unit/bt_look.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"

uint8_t bt_tag(struct bt_tags *f, ZydisMnemonic m)
{
	if (!f->tag[m] && f->tags + 1 < BT_TAGS) {
		f->tag[m] = (uint8_t)++f->tags;
		f->mnemonic[f->tags] = (uint16_t)m;
	}
	return f->tag[m];
}

/* The tag with the most calls among those not in `told`, or 0. */
static unsigned most(const struct bt_figures *f, unsigned tags, const bool *told)
{
	unsigned best = 0;

	for (unsigned n = 1; n <= tags; n++)
		if (!told[n] && f->slow[n] > (best ? f->slow[best] : 0))
			best = n;
	return best;
}

static void tell_slow(const struct bt *t, figure_fn tell, void *arg)
{
	const struct bt_figures *f = &t->figures;
	const struct bt_tags *tags = &t->room->tags;
	bool told[BT_TAGS] = { false };
	uint64_t others = t->slows;

	for (unsigned n = 0; n < BT_TOP; n++) {
		unsigned tag = most(f, tags->tags, told);

		if (!tag)
			break;
		told[tag] = true;
		others -= f->slow[tag];
		tell(arg, "slow_calls_by_mnemonic",
		     ZydisMnemonicGetString((ZydisMnemonic)tags->mnemonic[tag]), f->slow[tag]);
	}
	tell(arg, "slow_calls_by_mnemonic", "others", others);
}

static void tell_exits(const struct bt *t, figure_fn tell, void *arg)
{
	static const char *const steps[STEP_END + 1] = {
		[STEP_BRANCH] = "branch", [STEP_LEAVE] = "leave", [STEP_JUMP] = "jump",
		[STEP_FAULT] = "fault",   [STEP_TRAP] = "trap",   [STEP_AGAIN] = "again",
		[STEP_STALE] = "stale",   [STEP_HALT] = "halt",   [STEP_END] = "end",
	};

	tell(arg, "exits", "boundary", t->exits[BT_BOUNDARY]);
	tell(arg, "exits", "unlinked", t->exits[BT_EDGE]);
	tell(arg, "exits", "indirect", t->exits[BT_INDIRECT]);
	for (unsigned n = STEP_BRANCH; n <= STEP_END; n++)
		tell(arg, "exits", steps[n], t->figures.steps[n]);
}

void bt_figures(const struct vcpu *vcpu, figure_fn tell, void *arg)
{
	const struct interp *c = vcpu->engine;
	const struct bt *t = c->executor;

	tell(arg, NULL, "blocks", t->blocks);
	tell(arg, NULL, "blocks_adopted", t->figures.adopted);
	tell(arg, NULL, "code_bytes", t->figures.bytes);
	tell(arg, NULL, "traces", t->figures.traces);
	tell(arg, NULL, "trace_bytes", t->figures.trace_bytes);
	tell(arg, NULL, "native_instructions", t->native);
	tell(arg, NULL, "handled_instructions", t->handled);
	tell(arg, NULL, "retired_translated", t->figures.instructions);
	tell(arg, NULL, "links", t->links);
	tell(arg, NULL, "evictions", t->evictions);
	tell(arg, NULL, "hops", t->hops);
	tell(arg, NULL, "groups_found", t->found);
	tell(arg, NULL, "slow_calls", t->slows);
	tell_slow(t, tell, arg);
	tell_exits(t, tell, arg);
	tell(arg, NULL, "tlb_fills", c->tlb.fills);
	tell(arg, NULL, "tlb_flushes", c->tlb.flushes);
	tell(arg, NULL, "blocks_decoded", c->cache->blocks);
	tell(arg, NULL, "blocks_killed", c->cache->killed);
	tell(arg, NULL, "cache_flushes", c->cache->flushes);
	tell(arg, NULL, "cache_evictions", c->cache->evictions);
}
