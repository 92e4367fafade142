/*
 * tlb_fresh.c - tests of engine/mmu/tlb.c: a TLB that is empty hits on nothing, and costs next to
 * nothing until it is used.
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/resource.h>

#include "test/unit/tlb_rig.h"

/* Every address form that could meet an empty entry: page 0, its neighbours, the ends, not
 * canonical ones. */
static void nothing_hits(struct tlb *t)
{
	for (unsigned c = 0; c < TLB_CONTEXTS; c++) {
		tlb_set_context(t, c);
		for (uint64_t page = 0; page < 2 * TLB_ENTRIES; page++) {
			for (uint64_t top = 0; top < 4; top++) {
				uint64_t at = (page << PAGE_SHIFT) ^ top << 62;

				for (unsigned k = 0; k < ACCESS_COUNT; k++)
					assert_null(tlb_hit(t, at, 1, k));
				assert_null(tlb_hit_told(t, at, 1));
			}
		}
		for (unsigned half = 0; half < 2; half++)
			assert_true(tlb_code_generation(t, (uint64_t)half << 63) != 0);
	}
	tlb_set_context(t, TLB_SUPERVISOR);
}

/* Of all PCIDs' arrays, as they are when fresh, and when they were used. */
static void test_empty_never_hits(void **state)
{
	struct tlb *t = *state;

	nothing_hits(t);
	for (unsigned pcid = 1; pcid < TLB_PCIDS; pcid++) {
		tlb_switch(t, pcid, false);
		nothing_hits(t);
	}
	for (uint64_t page = 0; page < 4 * PAGE_SIZE; page += PAGE_SIZE) {
		fill(t, page, 1, false);
		fill(t, HIGH + page, 1, true);
	}
	assert_true(hits(t, 0) && hits(t, HIGH));
	tlb_flush_all(t);
	nothing_hits(t);
	tlb_switch(t, TLB_PCIDS, false); /* arrays that were another's */
	nothing_hits(t);
}

/* Page 0 and its neighbours are pages like others, though their empty entries are not. */
static void test_first_pages(void **state)
{
	struct walk w = walk_of(true, true, true, false, PAGE_SIZE);
	struct tlb *t = *state;

	for (unsigned pcid = 0; pcid < TLB_PCIDS; pcid++) {
		tlb_switch(t, pcid, false);
		for (uint64_t page = 0; page < 4 * PAGE_SIZE; page += PAGE_SIZE) {
			fill(t, page, 3, false);
			assert_ptr_equal(tlb_hit(t, page + 5, 1, ACCESS_READ),
					 host_base + 3 * PAGE_SIZE + 5);
			assert_ptr_equal(tlb_hit(t, page, 1, ACCESS_EXEC),
					 host_base + 3 * PAGE_SIZE);
			tlb_fill(t, gva(page), host_base, &w, ACCESS_WRITE, TLB_ALLOW_TOLD);
			assert_null(tlb_hit(t, page, 1, ACCESS_WRITE));
			assert_ptr_equal(tlb_hit_told(t, page, 1), host_base);
			assert_null(tlb_hit_told(t, page ^ PAGE_SIZE, 1));
			tlb_flush_page(t, gva(page));
			assert_null(tlb_hit_told(t, page, 1));
			assert_null(tlb_hit(t, page, 1, ACCESS_EXEC));
		}
	}
}

static uint64_t faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_minflt;
}

/* A machine that has hardly run has hardly paid for its TLBs: page by page, as they are used. */
static void test_fresh_costs_little(void **state)
{
	uint64_t before = faults();
	struct tlb t;

	(void)state;
	assert_int_equal(tlb_init(&t), 0);
	tlb_set_context(&t, TLB_USER);
	fill(&t, 0x401000, 1, false);
	tlb_protect_host(&t, host_base);
	tlb_flush_all(&t);
	assert_in_range(faults() - before, 0, 8 * TLB_KINDS);
	tlb_fini(&t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty_never_hits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_pages, setup, teardown),
		cmocka_unit_test(test_fresh_costs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
