/*
 * code_page.h - pages that blocks were decoded from: what cache.c asks of code_page.c.
 *
 * Tested by test/unit/cache.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_CODE_PAGE_H
#define ENGINE_INTERP_CODE_PAGE_H

#include "engine/interp/cache.h"

#define PAGE_BUCKETS (1u << 13) /* of struct block_cache's pages */

struct code_page {
	uint64_t number; /* guest-physical page number */
	struct mem_slot *slot;
	struct block *first; /* sorted by offset */
	struct code_page *chain;
	/* A bit a byte that is some block's: may claim too much, never too little. */
	uint64_t covered[PAGE_SIZE / 64];
};

/* NULL: no block is of that page. */
struct code_page *page_find(struct block_cache *k, uint64_t number);
/* The same, with a new one if there is none: there is room for it. */
struct code_page *page_make(struct block_cache *k, gpa_t at);
/* The page's last block is gone. */
void page_end(struct block_cache *k, struct code_page *p);

/* Was a block decoded from bytes [from, to) of the page? Perhaps, if true. */
bool page_covers(const struct code_page *p, unsigned from, unsigned to);
/* One was: b. */
void page_cover(struct code_page *p, const struct block *b);

/* From now on every write to the page is told to cache_written(): vCPUs on one thread. */
void page_watch(struct block_cache *k, struct code_page *p);
/* The same for vCPUs on several threads, before the page is read. May wait for them. */
void page_watch_shared(struct block_cache *k, gpa_t at);
/* But no block was made of it. */
void page_unwatch_shared(struct block_cache *k, gpa_t at);
/* This vCPU's cache has no block of the page any more. */
void page_unwatch(struct block_cache *k, struct code_page *p);

#endif
