/*
 * tlb.h - the software TLB: the product of the two translation steps, cached.
 *
 * A hit turns a linear address into a host pointer by one compare and one add.
 * Each entry has a tag for each kind of access; a tag that can never match
 * (TLB_NEVER) sends that kind to the slow path, which walks, reaches devices,
 * watches code pages and debug registers, and raises faults. So everything
 * unusual costs nothing on the common path.
 *
 * Arrays: the low half of the linear space has one array per recently used
 * PCID, the high half has one for all; each again per context (user,
 * supervisor, supervisor with EFLAGS.AC): rights depend on it. Code has arrays of
 * its own, for user and supervisor, so that data never displaces it. interp and bt
 * share this TLB, because its contents decide when A bits are set.
 *
 * Tested by test/unit/tlb.c, tlb_fresh.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_MMU_TLB_H
#define ENGINE_MMU_TLB_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/paging.h"

#define TLB_BITS    12
#define TLB_ENTRIES (1u << TLB_BITS) /* in each array */
#define TLB_PCIDS   8                /* Linux uses 6 */

/*
 * The tag that entry number `index` of an array never matches: the low bits of its page number are
 * neither `index` nor, for tlb_hit_told(), `index` ^ 1. So for every address that can be looked up
 * there - canonical or not, the guest chooses - tag ^ address is at least 4096. It is 0 but for two
 * entries: an array of fresh, zeroed memory is nearly an empty one.
 */
#define TLB_NEVER(index) ((uint64_t)((index) < 2) << (PAGE_SHIFT + 1))
/*
 * The tag for writes to a page that may be written, but whose writes somebody wants to be told of.
 * It matches nothing, since its page number differs from the entry's in bit 0, and is no other
 * tag's value: bit 62 makes it not canonical. Its own inverse.
 */
#define TLB_TOLD(linear) ((linear) ^ (PAGE_SIZE | UINT64_C(1) << 62))

enum tlb_context { TLB_USER, TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_CONTEXTS };
/* Kinds of array: data by context, then code. */
#define TLB_CODE_USER       TLB_CONTEXTS
#define TLB_CODE_SUPERVISOR (TLB_CONTEXTS + 1)
#define TLB_KINDS           (TLB_CONTEXTS + 2)

struct tlb_entry {
	/* Linear page address, or one that never matches. ACCESS_EXEC of a data entry is
	 * something else: 0, or what an engine keeps there who has cells of it (see struct tlb). */
	uint64_t tag[ACCESS_COUNT];
	uint64_t host; /* address of the host page */
};

#define TLB_WORDS (TLB_ENTRIES / 64)

/* One direct-mapped array, and which of its entries hold something: a flush visits those only. */
struct tlb_array {
	uint64_t used[TLB_WORDS];  /* bitmaps over entry[] */
	uint64_t local[TLB_WORDS]; /* not global */
	uint64_t locals;           /* bitmap over local[]: words that are not 0 */
	uint64_t large[TLB_WORDS]; /* 4 KiB out of a larger page */
	uint64_t write[TLB_WORDS]; /* has a write tag */
	/* Another one, that no array ever had, whenever a tag for execution goes away: as long
	 * as it stays, what was a hit for execution in this array still is, at the same place. */
	uint64_t code_generation;
	/* Where the mappings lie that it also vouches for, though they made room for others (see
	 * `lasting`): all within these pages. None: first > last. */
	uint64_t gone_first, gone_last;
	bool gone_local;       /* one of them is not global */
	unsigned large_pieces; /* bits set in large[] */
	uint8_t half;          /* 1: of the high half */
	bool code;
	/* Last, so that what a new array needs other than 0 is in one page or two. */
	_Alignas(64) struct tlb_entry entry[TLB_ENTRIES];
};

/* What a context has: now[], code_now[], and where generation_now[] comes from. */
struct tlb_view {
	struct tlb_entry *now[2], *code[2];
	const uint64_t *generation[2];
};

struct tlb {
	/* The current context's arrays: [0] low half, [1] high half. */
	struct tlb_entry *now[2];    /* each the entries of an array */
	struct tlb_entry *low_ac[2]; /* what now[0] is for supervisors without and with EFLAGS.AC */
	struct tlb_entry *code_now[2];
	uint64_t generation_now[2]; /* code_generation of code_now */
	enum tlb_context context;
	struct tlb_view view[TLB_CONTEXTS]; /* of the current slot; see tlb_set_context() */
	unsigned slot;                      /* which set of low arrays is current */
	uint64_t slot_key[TLB_PCIDS];       /* the PCID it belongs to; TLB_NO_PCID: none */
	uint64_t slot_used[TLB_PCIDS]; /* value of `uses` when it was last selected; 0: never */
	uint64_t uses;
	struct tlb_array *low[TLB_PCIDS]; /* [TLB_KINDS] each; all 0 until selected */
	struct tlb_array *high;           /* [TLB_KINDS]; local entries are the current PCID's */
	/*
	 * An engine may copy entries of data that `now` has to cells of its own, but for the low
	 * half's TLB_SUPERVISOR_AC array. It keeps their list in the entry's tag[ACCESS_EXEC].
	 * cells_of is called before an entry with a list changes; cells_die before another array
	 * takes the place of the low one. Both leave 0 there.
	 */
	void (*cells_of)(struct tlb *t, struct tlb_entry *e);
	void (*cells_die)(struct tlb *t, unsigned half);
	void *cells_arg;
	uint32_t pkru_bits; /* of PKRU, that tags depend on */
	bool low_global;    /* an entry of the low half may be global */
	/* A mapping for execution whose entry is needed for another page stays good for those who
	 * know it by its generation, until it is flushed. Then who goes where decides what is
	 * walked, and so when A bits are set: not in a counted machine, where engines agree. */
	bool lasting;
	uint8_t filled; /* bit n: slot n's low arrays may have entries */
	uint64_t fills, flushes;
	uint64_t generations; /* the last code_generation given out; 0 is none */
};

#define TLB_NO_PCID UINT64_MAX

/* One vCPU's, used by its thread only. Context TLB_SUPERVISOR, PCID 0, empty. */
int tlb_init(struct tlb *t); /* -ENOMEM */
void tlb_fini(struct tlb *t);

/*
 * Remembers, for the current context and PCID, that the page of `at` (canonical) lies at
 * `host_page` (of a successful walk `w` with this context's rights). `allow`: the kinds
 * of access (1u << ACCESS_READ, ...) that the second step lets go straight to memory: no
 * device, ROM, watched page, breakpoint. State all three kinds whatever the access was:
 * after ACCESS_EXEC the entry for code is replaced, else the one for data, and gets a tag
 * for each of its kinds that `w` and `allow` both grant.
 */
void tlb_fill(struct tlb *t, gva_t at, void *host_page, const struct walk *w, enum access access,
	      unsigned allow);
#define TLB_ALLOW_ALL ((1u << ACCESS_COUNT) - 1)
#define TLB_ALLOW_TOLD                                                                             \
	(1u << ACCESS_COUNT) /* a write not, but all that is against it is MARK_CODE */

/*
 * Each may forget more than it must, never less. Global entries survive only in the high half.
 */
void tlb_flush_all(struct tlb *t);   /* global entries too; INVPCID types 2 and 3 */
void tlb_flush_local(struct tlb *t); /* current PCID: all but global */
/* PKRU changed in the bits `changed`: Linux does so from task to task, to no entry's harm. */
void tlb_flush_keys(struct tlb *t, uint32_t changed);
void tlb_flush_page(struct tlb *t, gva_t at); /* INVLPG: current PCID and global */
/* CR3 load: selects the arrays of `pcid`; flush: CR3 bit 63 was clear (or PCIDE off). */
void tlb_switch(struct tlb *t, unsigned pcid, bool flush);
void tlb_flush_pcid(struct tlb *t, unsigned pcid);                /* INVPCID type 1 */
void tlb_flush_pcid_page(struct tlb *t, unsigned pcid, gva_t at); /* INVPCID type 0 */

/* In every context and PCID, where `host` is any address in a host page:
 * takes the write tag off each entry that maps it (the page is now watched: writes are told), */
void tlb_protect_host(struct tlb *t, const void *host);
/* or every tag (the page is going away, or debug registers moved). */
void tlb_drop_host(struct tlb *t, const void *host);

static inline void tlb_set_context(struct tlb *t, enum tlb_context context)
{
	const struct tlb_view *v = &t->view[context];

	t->context = context;
	for (unsigned half = 0; half < 2; half++) {
		t->now[half] = v->now[half];
		t->code_now[half] = v->code[half];
		t->generation_now[half] = *v->generation[half];
	}
}

static inline struct tlb_entry *tlb_at(struct tlb *t, uint64_t linear, enum access access)
{
	struct tlb_entry *const *now = access == ACCESS_EXEC ? t->code_now : t->now;

	return &now[linear >> 63][(linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1)];
}

static inline uint64_t tlb_code_generation(const struct tlb *t, uint64_t linear)
{
	return t->generation_now[linear >> 63];
}

/* What tlb_hit() would say of data with another context's rights. */
static inline void *tlb_hit_as(const struct tlb *t, enum tlb_context context, uint64_t linear,
			       unsigned size, enum access access)
{
	const struct tlb_entry *e =
		&t->view[context].now[linear >> 63][(linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1)];
	uint64_t offset = linear ^ e->tag[access];

	if (__builtin_expect(offset > PAGE_SIZE - size, 0))
		return (void *)0;
	return (void *)(uintptr_t)(e->host + offset);
}

/* The host address of [linear, +size), or NULL: no entry, no right, or it crosses the page. */
static inline void *tlb_hit(struct tlb *t, uint64_t linear, unsigned size, enum access access)
{
	struct tlb_entry *e = tlb_at(t, linear, access);

	uint64_t offset = linear ^ e->tag[access];

	if (__builtin_expect(offset > PAGE_SIZE - size, 0))
		return (void *)0;
	return (void *)(uintptr_t)(e->host + offset);
}

/* The same for a write that has to be told of. */
static inline void *tlb_hit_told(struct tlb *t, uint64_t linear, unsigned size)
{
	const struct tlb_entry *e = tlb_at(t, linear, ACCESS_WRITE);
	uint64_t offset = TLB_TOLD(linear) ^ e->tag[ACCESS_WRITE];

	return offset > PAGE_SIZE - size ? (void *)0 : (void *)(uintptr_t)(e->host + offset);
}

#endif
