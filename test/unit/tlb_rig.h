/*
 * tlb_rig.h - a TLB for tests, and filling it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_TLB_RIG_H
#define TEST_UNIT_TLB_RIG_H

#include <stdlib.h>

#include "engine/mmu/tlb.h"
#include "test/cmocka.h"

#define HIGH UINT64_C(0xffff800000000000)

static uint8_t *const host_base = (uint8_t *)UINT64_C(0x7f0000000000);

static inline struct walk walk_of(bool r, bool w, bool x, bool global, uint64_t bytes)
{
	return (struct walk){
		.readable = r, .writable = w, .executable = x, .global = global, .page_bytes = bytes
	};
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline void fill(struct tlb *t, uint64_t at, unsigned host_page, bool global)
{
	struct walk w = walk_of(true, true, true, global, PAGE_SIZE);

	tlb_fill(t, gva(at), host_base + host_page * PAGE_SIZE, &w, ACCESS_READ, TLB_ALLOW_ALL);
	tlb_fill(t, gva(at), host_base + host_page * PAGE_SIZE, &w, ACCESS_EXEC, TLB_ALLOW_ALL);
}

static inline bool hits(struct tlb *t, uint64_t at)
{
	return tlb_hit(t, at, 1, ACCESS_READ) != NULL;
}

static inline int setup(void **state)
{
	struct tlb *t = calloc(1, sizeof *t);

	*state = t;
	return tlb_init(t);
}

static inline int teardown(void **state)
{
	tlb_fini(*state);
	free(*state);
	return 0;
}

#endif
