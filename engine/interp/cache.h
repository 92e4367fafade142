/*
 * cache.h - decoded code, kept by guest-physical address and decode mode.
 *
 * A block is decoded once and stays until one of its own bytes is written. Its page
 * carries MARK_CODE while it has blocks, so that every write to it comes through
 * cache_written(), which kills the blocks that overlap the written bytes and no others.
 * Killing turns each instruction into one that returns STEP_STALE: that also stops the block
 * that is running now, before its next instruction. Memory is taken back only between
 * blocks, when there is no more: an eighth of it at a time, with the blocks that are oldest.
 *
 * One cache belongs to one vCPU, whose thread uses it without a lock; another thread that has to
 * change it closes the gate (machine/gate.h). A block keeps a copy of the bytes that it was decoded
 * from: another vCPU may be changing those in memory.
 *
 * Tested by test/unit/cache.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_CACHE_H
#define ENGINE_INTERP_CACHE_H

#include "engine/interp/decode.h"

#define BLOCK_INSNS 32 /* at most, in a block */

struct code_page;

struct block {
	struct insn *insn; /* count of them, then one that returns STEP_END */
	uint16_t count;
	uint16_t bytes;  /* guest bytes from the first one on, without a gap */
	uint16_t offset; /* of the first byte in its page */
	/* Its instructions lie in [from, to) of the page: `bytes` from `offset` on and, if it
	 * `follows`, those of its other parts, which may lie among the first one's bytes. */
	uint16_t from, to;
	uint16_t most; /* instructions that running it may retire: count, or more of its `native` */
	uint8_t mode;  /* enum decode_mode */
	bool live;
	bool follows; /* goes on where a JMP leads, see cache_follow() */
	/* While the TLB's generation of code for `rip` is this one, `rip` leads here (64-bit code;
	 * 0: not known). */
	uint64_t generation;
	uint64_t rip;
	uint64_t key;        /* of the table below */
	struct block *chain; /* same bucket */
	struct block *next;  /* same page, sorted by offset */
	struct code_page *page;
	const uint8_t *code; /* its bytes, as they were decoded */
	/* Of another executor (struct interp, `execute`); NULL and 0 at first. */
	const uint8_t *native; /* its code for the block */
	void *links;           /* what leads there */
	uint32_t runs;         /* how often it had the block interpreted */
	uint8_t native_flags;
};

/*
 * An instruction whose bytes lie in two pages, decoded, as a block of its own with key 0. It is not
 * watched: its bytes are compared each time.
 */
struct straddle {
	struct block block;
	struct insn insn[2];
	uint64_t linear;
	uint8_t bytes[INSN_BYTES_MAX];
	uint8_t count; /* bytes read; 0: empty */
	uint32_t cell; /* of another executor */
};

static inline bool block_straddles(const struct block *b)
{
	return b->key == 0;
}

/* Host address of the first byte and the mode: identifies a block as guest-physical address
 * and mode do, and is what a TLB hit gives. */
static inline uint64_t block_key(const void *host, enum decode_mode mode)
{
	return (uint64_t)(uintptr_t)host << 2 | mode;
}

/* Was it written to, or cut, since it was decoded? */
bool block_is_stale(const struct block *b);

/* Is one of its bytes in [from, to) of the page? */
bool block_overlaps(const struct block *b, unsigned from, unsigned to);

/* The bytes that were decoded, whatever has become of them in memory. Of one that follows jumps all
 * those in [from, to) can be read, offset - from of them before the first. */
static inline const uint8_t *block_code(const struct block *b)
{
	return block_straddles(b) ? ((const struct straddle *)b)->bytes : b->code;
}

#define CACHE_REGIONS   8u
#define CACHE_FAST_BITS 14
struct cache_fast {
	uint64_t key; /* 0: empty */
	struct block *block;
};

struct block_cache {
	struct cache_fast fast[1u << CACHE_FAST_BITS]; /* recently run blocks, direct-mapped */
	struct block **bucket;                         /* all live blocks */
	struct code_page **pages;                      /* all pages that have one */
	struct code_page *recent;                      /* last page found */
	struct code_page *page_room, *page_free;       /* memory for them, and a list */
	unsigned pages_all, pages_used;                /* of page_room: room, used ever */
	uint8_t *arena;                                /* of blocks */
	size_t region_bytes;
	unsigned region;            /* of the arena that is being filled */
	size_t used[CACHE_REGIONS]; /* bytes of each */
	struct straddle *straddle;  /* instructions in two pages, in the arena */
	struct interp *c;
	uint64_t blocks, killed, flushes, evictions; /* since power-on */
};

struct block_cache *cache_new(struct interp *c); /* NULL: no memory */
void cache_free(struct block_cache *k);          /* leaves marks alone */

static inline unsigned cache_fast_index(uint64_t key)
{
	return (unsigned)((key * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - CACHE_FAST_BITS));
}

/* The block at host memory `host` if it ran lately, else NULL: ask cache_block(). */
static inline struct block *cache_recent(const struct block_cache *k, const void *host,
					 enum decode_mode mode)
{
	uint64_t key = block_key(host, mode);
	const struct cache_fast *f = &k->fast[cache_fast_index(key)];

	return LIKELY(f->key == key) ? f->block : NULL;
}

/* The same, looked up among all. NULL: not decoded yet. */
struct block *cache_find(struct block_cache *k, const void *host, enum decode_mode mode);

/*
 * The block that begins at `at` (host bytes `host`, in RAM or ROM), decoded now if it is not
 * there. NULL: its first instruction goes on in the next page. Only between blocks: may
 * forget any block, including the one that ran last.
 */
struct block *cache_block(struct block_cache *k, gpa_t at, uint8_t *host, enum decode_mode mode);

/*
 * For who translates it: a block that goes on where the JMP at the end of `b` leads in its page,
 * and so on, in place of `b`, which dies; `b` if there is no such. The interpreter leaves it by
 * that JMP. Only between blocks.
 */
struct block *cache_follow(struct block_cache *k, struct block *b);

/* Without a trace: the block of that key, or NULL. */
struct block *cache_peek(const struct block_cache *k, uint64_t key);
/* Number n of what cache_straddle() keeps. */
#define STRADDLES 512u
struct block *cache_peek_straddle(const struct block_cache *k, unsigned n);
/* Does `p` point to a block of this cache? */
bool cache_owns(const struct block_cache *k, const void *p);
/* What vCPUs shared of the page at `host` is no more (struct code_share): who else watches it? */
void cache_share_end(struct interp *c, const uint8_t *host);
/* It will be: each write is to be told. */
void cache_share_begin(struct interp *c, const struct block *b);

/* Guest bytes [at, +bytes), within one page, were written. Any time on the vCPU's thread. */
void cache_written(struct block_cache *k, gpa_t at, uint64_t bytes);
/* The same for the caches of all vCPUs of a machine; `mem.code_written` calls it. self: as for
 * gate_close(). */
void cache_written_all(struct vm *vm, struct vcpu *self, gpa_t at, uint64_t bytes);

/* Forgets every block. Only between blocks. */
void cache_flush(struct block_cache *k);

/*
 * An instruction whose bytes do not lie in one page of memory: they were read one by one,
 * and the decoded form is kept under linear address and mode only as long as a fresh reading
 * gives the same bytes. count: bytes there are (up to INSN_BYTES_MAX). NULL: it needs more.
 */
struct block *cache_straddle(struct block_cache *k, uint64_t linear, enum decode_mode mode,
			     const uint8_t *bytes, unsigned count);
/* The same, 64-bit or flat 32-bit code, when there was one lately and both pieces are within the
 * TLB's reach: else NULL. */
struct block *cache_straddle_again(struct block_cache *k, uint64_t linear);
/* Was there one lately? Then it is not worth looking for a block. */
bool cache_straddles(const struct block_cache *k, uint64_t linear, enum decode_mode mode);

#endif
