/*
 * mem.h - the machine map: which guest-physical pages are memory, and where.
 *
 * This is the second of the two translation steps. Guest page tables (cpu/paging.h)
 * give a guest-physical address; mem_find() gives the host bytes behind it, or
 * says that a device must answer. A TLB caches their product, never replaces them.
 *
 * Every page has a byte of marks. A software engine may write a page without
 * asking only while neither MARK_CODE nor MARK_CLEAN is set; otherwise it calls
 * mem_written() after (or, for code, engine-side) the store.
 *
 * Tested by test/unit/mem.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_MEM_H
#define MACHINE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/addr.h"
#include "host/fail.h"

struct vm;

#define MARK_CODE  1u /* an engine holds decoded or translated code of this page */
#define MARK_CLEAN 2u /* dirty logging is on and the page is not yet dirty */

/* A run of guest-physical pages backed by host memory. */
struct mem_slot {
	gpa_t start;    /* page aligned */
	uint64_t bytes; /* multiple of the page size */
	uint8_t *host;  /* outlives the mapping */
	bool readonly;  /* writes are ignored (ROM) */
	bool owned;     /* host came from host_map: freed with the machine */
	bool discards;  /* host_discard() is good for it */
	uint8_t *marks; /* one byte a page */
	/* When vCPUs run on several threads, for each page a bit n for vCPU n: it holds code of the
	 * page (in place of MARK_CODE); it may write the page without asking. NULL: they do not. */
	atomic_ullong *coders, *writers;
	/* One byte for each huge page of the host's: 0, it will be taken, it was touched. NULL: of
	 * no interest. See mem_expect(). */
	uint8_t *taken;
	struct mem_slot *next;
};

enum dirty_step { DIRTY_START, DIRTY_FETCH, DIRTY_STOP };

struct mem {
	struct mem_slot *slots;            /* sorted by start */
	_Atomic(struct mem_slot *) recent; /* last one found */
	uint64_t ram_bytes;
	/* Told when a page with MARK_CODE was written by something other than the engine's own
	 * store path (DMA, loaders); bytes lie within one page. */
	void (*code_written)(void *arg, gpa_t at, uint64_t bytes);
	void *code_arg;
	/* Dirty logging is on. An engine whose stores do not look at the marks logs by itself, and
	 * sets this: START, STOP; FETCH: clear MARK_CLEAN of the slot's pages that the guest wrote
	 * since. NULL: the marks tell all. 0, or -E*. */
	bool logging;
	int (*dirty)(void *arg, struct mem_slot *slot, enum dirty_step step);
	void *dirty_arg;
};

/* Adds RAM or ROM. host NULL: allocated. Vcpus parked. -EEXIST: overlaps; -ENOMEM. */
int mem_add(struct vm *vm, gpa_t start, uint64_t bytes, void *host, bool readonly,
	    struct fail *why);
/* The same with RAM out of host_ram_open(), which outlives the machine. `discards`: pages can be
 * given back. */
int mem_add_ram(struct vm *vm, gpa_t start, uint64_t bytes, void *host, bool discards,
		struct fail *why);
/*
 * The slot's host memory is taken as it is touched, by huge pages, and that takes its time. A guest
 * that goes through its memory is followed, upwards or downwards: what comes next is taken by
 * another thread. Engines whose TLB fills come here say what is touched.
 */
#define MEM_HUGE_SHIFT 21
enum { MEM_UNTAKEN, MEM_TAKING, MEM_TOUCHED };
int mem_expect(struct vm *vm, gpa_t in_slot, struct fail *why);
void mem_touch_slow(struct vm *vm, struct mem_slot *slot, const uint8_t *host);
static inline unsigned mem_huge_page(const struct mem_slot *slot, const uint8_t *host)
{
	return (unsigned)(((uintptr_t)host >> MEM_HUGE_SHIFT) -
			  ((uintptr_t)slot->host >> MEM_HUGE_SHIFT));
}
static inline void mem_touch(struct vm *vm, struct mem_slot *slot, const uint8_t *host)
{
	if (slot->taken && __atomic_load_n(&slot->taken[mem_huge_page(slot, host)],
					   __ATOMIC_RELAXED) != MEM_TOUCHED)
		mem_touch_slow(vm, slot, host);
}
void mem_free(struct vm *vm);

/* The slot that holds `at`, or NULL: a device (or nothing) is there. */
struct mem_slot *mem_find(struct mem *m, gpa_t at);

/* The slot in whose memory `host` is, and the address there. NULL: none. */
struct mem_slot *mem_find_host(struct mem *m, const void *host, gpa_t *at);

/* Host bytes of [at, at + bytes), or NULL when they do not lie in one slot. */
void *mem_host(struct mem *m, gpa_t at, uint64_t bytes);

/* Is every byte of [at, at + bytes) RAM, or, when not `writable`, at least ROM? Slots may adjoin.
 */
bool mem_is_memory(struct mem *m, gpa_t at, uint64_t bytes, bool writable);

/* Copies; 0, or -EFAULT with nothing copied when any byte is not RAM (write: or is ROM). */
int mem_read(struct mem *m, gpa_t from, void *to, uint64_t bytes);
int mem_write(struct mem *m, gpa_t to, const void *from, uint64_t bytes);
/* As mem_write, but may fill ROM: loaders only. */
int mem_load(struct mem *m, gpa_t to, const void *from, uint64_t bytes);

static inline uint8_t *mem_mark(struct mem_slot *slot, gpa_t at)
{
	return &slot->marks[(at.v - slot->start.v) >> PAGE_SHIFT];
}

/* The page's marks, whichever way MARK_CODE is told. */
static inline uint8_t mem_marks(const struct mem_slot *slot, gpa_t at)
{
	uint64_t page = (at.v - slot->start.v) >> PAGE_SHIFT;
	/* First: a block that is shared leaves its vCPU's bit after the mark is set. */
	uint8_t coded = slot->coders && atomic_load(&slot->coders[page]) ? MARK_CODE : 0;

	return coded | __atomic_load_n(&slot->marks[page], __ATOMIC_RELAXED);
}

/* Called for every write that did not go through a TLB write tag: clears MARK_CLEAN,
 * and when MARK_CODE is set calls code_written for each page touched. */
void mem_written(struct mem *m, gpa_t at, uint64_t bytes);

/* Write tags that an engine cached before start or collect must be dropped by the caller
 * (engine forget()): the marks alone do not stop a write that asks nobody.
 *
 * Dirty log: start clears the log and marks every page clean; collect ors the pages
 * written since into `bits` (one bit a page of the slot) and marks them clean again. */
void mem_dirty_start(struct mem *m);
void mem_dirty_collect(struct mem *m, struct mem_slot *slot, uint64_t *bits);
void mem_dirty_stop(struct mem *m);
/* Brings what the engine has logged into the marks: before it is closed. */
void mem_dirty_sync(struct mem *m);

#endif
