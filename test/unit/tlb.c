/*
 * tlb.c - tests of engine/mmu/tlb.c: what hits after each kind of flush, and against a
 * model of what a TLB may remember. One that is fresh: tlb_fresh.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "test/unit/tlb_rig.h"

static void test_hit_is_host_address(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x401000, 7, false);
	assert_ptr_equal(tlb_hit(t, 0x401123, 8, ACCESS_WRITE), host_base + 7 * PAGE_SIZE + 0x123);
	fill(t, HIGH + 0x1000, 8, true);
	assert_ptr_equal(tlb_hit(t, HIGH + 0x1fff, 1, ACCESS_EXEC),
			 host_base + 8 * PAGE_SIZE + 0xfff);
}

static void test_crossing_misses(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x401000, 7, false);
	fill(t, 0x402000, 8, false);
	assert_non_null(tlb_hit(t, 0x401ff8, 8, ACCESS_READ));
	assert_null(tlb_hit(t, 0x401ff9, 8, ACCESS_READ));
	assert_non_null(tlb_hit(t, 0x401000, 4096, ACCESS_READ));
	assert_null(tlb_hit(t, 0x401001, 4096, ACCESS_READ));
}

/* A non-canonical address that differs from a mapped one only above bit 46. */
static void test_non_canonical_misses(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x401000, 7, false);
	fill(t, HIGH + 0x401000, 7, false);
	for (unsigned bit = 47; bit < 64; bit++) {
		assert_false(hits(t, 0x401000 | UINT64_C(1) << bit));
		assert_false(hits(t, (HIGH + 0x401000) ^ UINT64_C(1) << bit));
	}
}

static void test_rights(void **state)
{
	struct tlb *t = *state;

	for (unsigned grant = 0; grant < 8; grant++) {
		for (unsigned allow = 0; allow < 8; allow++) {
			struct walk w = walk_of(grant & 1, grant & 2, grant & 4, false, PAGE_SIZE);

			tlb_fill(t, gva(0x5000), host_base, &w, ACCESS_WRITE, allow);
			tlb_fill(t, gva(0x5000), host_base, &w, ACCESS_EXEC, allow);
			for (unsigned k = 0; k < ACCESS_COUNT; k++)
				assert_int_equal(tlb_hit(t, 0x5010, 4, k) != NULL,
						 (grant & allow) >> k & 1);
		}
	}
}

static void test_contexts_are_apart(void **state)
{
	struct tlb *t = *state;

	tlb_set_context(t, TLB_USER);
	fill(t, 0x5000, 1, false);
	fill(t, HIGH, 2, true);
	tlb_set_context(t, TLB_SUPERVISOR);
	assert_false(hits(t, 0x5000));
	assert_false(hits(t, HIGH));
	tlb_set_context(t, TLB_USER);
	assert_true(hits(t, 0x5000));
	assert_true(hits(t, HIGH));
	/* a flush reaches the contexts that are not current */
	tlb_set_context(t, TLB_SUPERVISOR_AC);
	tlb_flush_page(t, gva(0x5000));
	tlb_flush_page(t, gva(HIGH));
	tlb_set_context(t, TLB_USER);
	assert_false(hits(t, 0x5000));
	assert_false(hits(t, HIGH));
}

static void test_flush_local_keeps_high_global(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, false);
	fill(t, HIGH, 2, true);
	fill(t, HIGH + 0x1000, 3, false);
	tlb_flush_local(t);
	assert_false(hits(t, 0x5000));
	assert_true(hits(t, HIGH));
	assert_false(hits(t, HIGH + 0x1000));
	tlb_flush_all(t);
	assert_false(hits(t, HIGH));
}

static void test_flush_keys(void **state)
{
	struct walk w = walk_of(true, true, false, true, PAGE_SIZE);
	struct tlb *t = *state;

	fill(t, 0x5000, 1, false);
	w.pkru_bits = 0xc;
	tlb_fill(t, gva(0x6000), host_base, &w, ACCESS_READ, TLB_ALLOW_ALL);
	tlb_flush_keys(t, ~UINT32_C(0xc));
	assert_true(hits(t, 0x5000));
	assert_true(hits(t, 0x6000));
	tlb_flush_keys(t, 8);
	assert_false(hits(t, 0x6000));
	fill(t, 0x5000, 1, false);
	tlb_flush_keys(t, 8); /* nothing that depends on it any more */
	assert_true(hits(t, 0x5000));
}

static void test_flush_page_is_exact(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, true);
	fill(t, 0x6000, 1, false);
	tlb_flush_page(t, gva(0x5000 + TLB_ENTRIES * PAGE_SIZE)); /* same index, other page */
	assert_true(hits(t, 0x5000));
	tlb_flush_page(t, gva(0x5fff));
	assert_false(hits(t, 0x5000));
	assert_true(hits(t, 0x6000));
}

static void test_flush_page_of_large_page(void **state)
{
	struct tlb *t = *state;
	struct walk two_mib = walk_of(true, true, true, true, 2 << 20);

	for (unsigned half = 0; half < 2; half++) {
		uint64_t base = (half ? HIGH : 0) + 0x40000000;

		tlb_fill(t, gva(base + 0x3000), host_base, &two_mib, ACCESS_READ, TLB_ALLOW_ALL);
		fill(t, base + 0x4000, 4, true);
		tlb_flush_page(t, gva(base + 0x1ff000));
		assert_false(hits(t, base + 0x3000));
		assert_true(hits(t, base + 0x4000));
		tlb_fill(t, gva(base + 0x3000), host_base, &two_mib, ACCESS_READ, TLB_ALLOW_ALL);
		tlb_flush_page(t, gva(base + 0x40000000)); /* another GiB */
		assert_true(hits(t, base + 0x3000));
	}
}

static void test_switch_pcid(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, false);
	fill(t, HIGH, 2, true);
	fill(t, HIGH + 0x1000, 3, false);
	tlb_switch(t, 1, false);
	assert_false(hits(t, 0x5000));
	assert_true(hits(t, HIGH));
	assert_false(hits(t, HIGH + 0x1000));
	fill(t, 0x5000, 9, false);
	tlb_switch(t, 0, false);
	assert_ptr_equal(tlb_hit(t, 0x5000, 1, ACCESS_READ), host_base + PAGE_SIZE);
	assert_false(hits(t, HIGH + 0x1000)); /* was dropped on the way out */
	tlb_switch(t, 1, true);
	assert_false(hits(t, 0x5000));
	tlb_switch(t, 0, false);
	assert_true(hits(t, 0x5000));
	tlb_switch(t, 0, true);
	assert_false(hits(t, 0x5000));
}

static void test_switch_to_itself_keeps(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, false);
	fill(t, HIGH, 2, false);
	tlb_switch(t, 0, false);
	assert_true(hits(t, 0x5000));
	assert_true(hits(t, HIGH));
}

static void test_least_recent_pcid_goes(void **state)
{
	struct tlb *t = *state;

	for (unsigned p = 0; p < TLB_PCIDS; p++) {
		tlb_switch(t, p, false);
		fill(t, 0x5000, p, false);
	}
	tlb_switch(t, 0, false); /* now 1 is the oldest */
	tlb_switch(t, 100, false);
	assert_false(hits(t, 0x5000));
	for (unsigned p = 0; p < TLB_PCIDS; p++) {
		if (p == 1)
			continue;
		tlb_switch(t, p, false);
		assert_ptr_equal(tlb_hit(t, 0x5000, 1, ACCESS_READ), host_base + p * PAGE_SIZE);
	}
	tlb_switch(t, 1, false);
	assert_false(hits(t, 0x5000));
}

static void test_invpcid(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, false);
	fill(t, 0x6000, 1, false);
	tlb_switch(t, 1, false);
	fill(t, 0x5000, 2, false);
	fill(t, HIGH, 3, false);
	tlb_flush_pcid_page(t, 0, gva(0x5000));
	tlb_flush_pcid_page(t, 7, gva(0x5000)); /* a PCID that holds nothing */
	tlb_flush_pcid(t, 7);
	assert_true(hits(t, 0x5000));
	tlb_flush_pcid_page(t, 1, gva(HIGH));
	assert_false(hits(t, HIGH));
	tlb_switch(t, 0, false);
	assert_false(hits(t, 0x5000));
	assert_true(hits(t, 0x6000));
	tlb_flush_pcid(t, 1);
	assert_true(hits(t, 0x6000));
	tlb_switch(t, 1, false);
	assert_false(hits(t, 0x5000));
	fill(t, HIGH, 3, false);
	tlb_flush_pcid(t, 1);
	assert_false(hits(t, HIGH));
}

static void test_invlpg_reaches_global_of_other_pcid(void **state)
{
	struct tlb *t = *state;

	fill(t, 0x5000, 1, true);
	tlb_switch(t, 1, false);
	tlb_flush_page(t, gva(0x5000));
	tlb_switch(t, 0, false);
	assert_false(hits(t, 0x5000));
}

static void test_protect_and_drop_host(void **state)
{
	struct tlb *t = *state;

	tlb_set_context(t, TLB_USER);
	fill(t, 0x5000, 1, false);
	fill(t, 0x6000, 2, false);
	tlb_set_context(t, TLB_SUPERVISOR_AC);
	fill(t, HIGH + 0x9000, 1, true);
	tlb_switch(t, 3, false);
	fill(t, 0x7000, 1, false);
	tlb_protect_host(t, host_base + PAGE_SIZE + 5);
	assert_null(tlb_hit(t, 0x7000, 1, ACCESS_WRITE));
	assert_null(tlb_hit(t, HIGH + 0x9000, 1, ACCESS_WRITE));
	assert_non_null(tlb_hit(t, HIGH + 0x9000, 1, ACCESS_EXEC));
	tlb_switch(t, 0, false);
	tlb_set_context(t, TLB_USER);
	assert_null(tlb_hit(t, 0x5000, 1, ACCESS_WRITE));
	assert_true(hits(t, 0x5000));
	assert_non_null(tlb_hit(t, 0x6000, 1, ACCESS_WRITE));
	tlb_drop_host(t, host_base + PAGE_SIZE);
	assert_false(hits(t, 0x5000));
	assert_true(hits(t, 0x6000));
	tlb_set_context(t, TLB_SUPERVISOR_AC);
	assert_false(hits(t, HIGH + 0x9000));
}

/*
 * Random operations against a list of everything filled that an exact TLB could still
 * hold. A hit that is not in the list is a stale translation.
 */
#define MODEL 4096

struct remembered {
	uint64_t page;
	unsigned pcid, context, host;
	bool global, live;
};

static struct remembered model[MODEL];
static unsigned modelled;

/* In the high half EFLAGS.AC makes no difference. */
static bool same_context(uint64_t page, unsigned a, unsigned b)
{
	return a == b || (page >> 63 && a != TLB_USER && b != TLB_USER);
}

static bool may_hold(uint64_t page, unsigned pcid, unsigned context, unsigned host)
{
	for (unsigned i = 0; i < modelled; i++) {
		struct remembered *m = &model[i];

		if (m->live && m->page == page && same_context(page, m->context, context) &&
		    m->host == host && (m->pcid == pcid || m->global))
			return true;
	}
	return false;
}

static void forget(uint64_t page, unsigned pcid, bool any_page, bool any_pcid, bool globals)
{
	for (unsigned i = 0; i < modelled; i++) {
		struct remembered *m = &model[i];

		if ((any_page || m->page == page) &&
		    (m->global ? globals : any_pcid || m->pcid == pcid))
			m->live = false;
	}
}

static uint64_t random_page(void)
{
	static const uint64_t bases[] = { 0, 0x400000, HIGH, HIGH + 0x400000, 0x7ffffffff000 };

	return bases[rand() % 5] + (uint64_t)(rand() % 3) * PAGE_SIZE;
}

static void random_step(struct tlb *t, unsigned *pcid)
{
	uint64_t page = random_page();
	unsigned other = rand() % 6, host = rand() % 8;
	bool global = rand() % 3 == 0;

	switch (rand() % 12) {
	case 0:
		tlb_flush_all(t);
		forget(0, 0, true, true, true);
		break;
	case 1:
		tlb_flush_local(t);
		forget(0, *pcid, true, false, false);
		break;
	case 2:
		tlb_flush_page(t, gva(page));
		forget(page, *pcid, false, false, true);
		break;
	case 3:
		tlb_flush_pcid(t, other);
		forget(0, other, true, false, false);
		break;
	case 4:
		tlb_flush_pcid_page(t, other, gva(page));
		forget(page, other, false, false, false);
		break;
	case 5:
	case 6:
		tlb_switch(t, other, global);
		*pcid = other;
		if (global)
			forget(0, other, true, false, false);
		break;
	case 7: tlb_set_context(t, rand() % TLB_CONTEXTS); break;
	default:
		if (modelled == MODEL)
			break;
		fill(t, page, host, global);
		model[modelled++] = (struct remembered){
			page, *pcid, t->context, host, global, true,
		};
	}
}

static void test_never_stale(void **state)
{
	struct tlb *t = *state;
	unsigned pcid = 0, held = 0;

	srand(1);
	modelled = 0;
	for (unsigned n = 0; n < 8000; n++) {
		uint64_t page = random_page();
		uint8_t *p;

		random_step(t, &pcid);
		p = tlb_hit(t, page, 1, ACCESS_READ);
		if (!p)
			continue;
		held++;
		assert_true(may_hold(page, pcid, t->context,
				     (unsigned)((p - host_base) / (ptrdiff_t)PAGE_SIZE)));
	}
	assert_true(held > 200); /* the test would pass with a TLB that forgets everything */
}

/* Writes that have to be told of: known without a walk, and never taken for plain ones. */
static void test_told(void **state)
{
	static const uint64_t pages[] = {
		0, 0x5000, 0x7ffffffff000, HIGH, HIGH + 0x9000, -PAGE_SIZE
	};
	struct walk w = walk_of(true, true, true, true, PAGE_SIZE),
		    clean = walk_of(true, false, true, true, PAGE_SIZE);
	struct tlb *t = *state;

	for (unsigned n = 0; n < ARRAY_LEN(pages); n++) {
		uint64_t page = pages[n];

		tlb_fill(t, gva(page), host_base, &w, ACCESS_WRITE, TLB_ALLOW_TOLD);
		assert_null(tlb_hit(t, page, 1, ACCESS_READ));
		assert_null(tlb_hit(t, page, 1, ACCESS_WRITE));
		assert_ptr_equal(tlb_hit_told(t, page + 8, 8), host_base + 8);
		assert_null(tlb_hit_told(t, page + PAGE_SIZE - 7, 8));
		assert_null(tlb_hit_told(t, page ^ TLB_ENTRIES << PAGE_SHIFT, 1));
		assert_null(tlb_hit(t, TLB_TOLD(page), 1, ACCESS_WRITE));
		tlb_flush_page(t, gva(page));
		assert_null(tlb_hit_told(t, page, 1));
		tlb_fill(t, gva(page), host_base, &w, ACCESS_WRITE, TLB_ALLOW_TOLD);
		tlb_drop_host(t, host_base);
		assert_null(tlb_hit_told(t, page, 1));
		/* Not without the right. */
		tlb_fill(t, gva(page), host_base, &clean, ACCESS_READ, TLB_ALLOW_TOLD);
		assert_null(tlb_hit_told(t, page, 1));
		/* Code was found where a plain write was. */
		fill(t, page, 0, true);
		assert_null(tlb_hit_told(t, page, 1));
		tlb_protect_host(t, host_base);
		assert_null(tlb_hit(t, page, 1, ACCESS_WRITE));
		assert_ptr_equal(tlb_hit_told(t, page, 1), host_base);
		assert_true(hits(t, page));
		tlb_flush_all(t);
		assert_null(tlb_hit_told(t, page, 1));
	}
}

/* While an array's generation of code is the same, what was a hit for execution still is one, at
 * the same place. */
static void test_code_generation(void **state)
{
	struct {
		uint64_t page, generation;
		void *host;
	} seen[64] = { 0 };
	struct tlb *t = *state;
	unsigned pcid = 0, kept = 0;

	srand(2);
	for (unsigned n = 0; n < 8000; n++) {
		uint64_t page = random_page(), now;
		unsigned at = (unsigned)(page >> PAGE_SHIFT ^ page >> 58) % 64;
		void *p;

		modelled = 0;
		if (rand() % 8 == 0)
			fill(t, page, rand() % 8, true);
		if (rand() % 8 == 0)
			random_step(t, &pcid);
		if (rand() % 64 == 0)
			tlb_drop_host(t, host_base + rand() % 8 * PAGE_SIZE);
		p = tlb_hit(t, page, 1, ACCESS_EXEC);
		now = tlb_code_generation(t, page);
		assert_true(now != 0 && now <= t->generations);
		if (seen[at].page == page && seen[at].generation == now && seen[at].host) {
			kept++;
			assert_ptr_equal(p, seen[at].host);
		}
		seen[at].page = page;
		seen[at].generation = now;
		seen[at].host = p;
	}
	assert_true(kept > 100);
}

/* 16 MiB apart, so that they want the same entry. */
static uint64_t rival_page(void)
{
	static const uint64_t bases[] = { 0x400000, HIGH + 0x400000 };

	return bases[rand() % 2] + (uint64_t)(rand() % 4) * TLB_ENTRIES * PAGE_SIZE;
}

static void forget_host(unsigned host)
{
	for (unsigned i = 0; i < modelled; i++)
		if (model[i].host == host)
			model[i].live = false;
}

/* The same with rivals for an entry, in a TLB whose mappings last: what was a hit was not flushed
 * since, and whoever makes room does not end the generation. */
static void test_lasting(void **state)
{
	struct {
		uint64_t page, generation;
		unsigned host, pcid;
	} seen[256] = { 0 };
	struct tlb *t = *state;
	unsigned pcid = 0, lasted = 0, host;

	srand(3);
	modelled = 0;
	t->lasting = true;
	for (unsigned n = 0; n < 40000; n++) {
		uint64_t page = rival_page();
		unsigned at = (unsigned)(page >> 24 ^ page >> 60) % 16 * 16 + pcid;
		void *p;

		if (modelled == MODEL) {
			tlb_flush_all(t);
			modelled = 0;
		}
		if (rand() % 4 == 0) {
			host = rand() % 8;
			fill(t, page, host, page & 1 << 24);
			model[modelled++] =
				(struct remembered){ page, pcid,           TLB_SUPERVISOR,
						     host, page & 1 << 24, true };
		} else if (rand() % 16 == 0) {
			random_step(t, &pcid);
		} else if (rand() % 64 == 0) {
			host = rand() % 8;
			tlb_drop_host(t, host_base + host * PAGE_SIZE);
			forget_host(host);
		} else if (rand() % 32 == 0) {
			tlb_flush_page(t, gva(page));
			forget(page, pcid, false, false, true);
		}
		tlb_set_context(t, TLB_SUPERVISOR);
		at = at / 16 * 16 + pcid;
		p = tlb_hit(t, page, 1, ACCESS_EXEC);
		if (seen[at].page == page && seen[at].generation == tlb_code_generation(t, page)) {
			assert_true(may_hold(page, pcid, TLB_SUPERVISOR, seen[at].host));
			lasted += !p;
		} else {
			seen[at].page = 0;
		}
		if (!p)
			continue;
		seen[at].page = page;
		seen[at].generation = tlb_code_generation(t, page);
		seen[at].host = (unsigned)(((uint8_t *)p - host_base) / (ptrdiff_t)PAGE_SIZE);
	}
	assert_true(lasted > 1000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		T(test_hit_is_host_address),
		T(test_crossing_misses),
		T(test_non_canonical_misses),
		T(test_rights),
		T(test_contexts_are_apart),
		T(test_flush_local_keeps_high_global),
		T(test_flush_keys),
		T(test_flush_page_is_exact),
		T(test_flush_page_of_large_page),
		T(test_switch_pcid),
		T(test_switch_to_itself_keeps),
		T(test_least_recent_pcid_goes),
		T(test_invpcid),
		T(test_invlpg_reaches_global_of_other_pcid),
		T(test_protect_and_drop_host),
		T(test_never_stale),
		T(test_code_generation),
		T(test_told),
		T(test_lasting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
