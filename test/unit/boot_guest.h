/*
 * boot_guest.h - guest memory without a machine, for the loader tests and their fuzz target.
 *
 * Tested by its users.
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_BOOT_GUEST_H
#define TEST_UNIT_BOOT_GUEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bytes.h"
#include "boot/loader.h"
#include "cpu/segment.h"
#include "machine/vm.h"

struct boot_guest {
	struct vm vm;
	struct boot_map map;
	struct boot_config config;
	struct boot_job job;
	struct x86_state state;
	struct fail why;
};

static inline void guest_open(struct boot_guest *g, uint64_t ram_bytes)
{
	static const struct engine_ops none = { .name = "none" };
	struct boot_range slot[BOOT_SLOTS_MAX];

	memset(g, 0, sizeof(*g));
	g->vm.engine = &none;
	boot_map_build(&g->map, ram_bytes);
	for (unsigned i = 0, n = boot_map_slots(slot, ram_bytes); i < n; i++)
		if (mem_add(&g->vm, gpa(slot[i].start), slot[i].bytes, NULL, false, &g->why))
			abort();
	g->config.map = &g->map;
	g->job.mem = &g->vm.mem;
	g->job.config = &g->config;
	g->job.state = &g->state;
	boot_file_name(&g->job.kernel, "kernel");
	boot_file_name(&g->job.initrd, "initrd");
}

static inline void guest_close(struct boot_guest *g)
{
	mem_free(&g->vm);
}

/* Loads from bytes, again and again into the same memory. */
static inline int guest_boot(struct boot_guest *g, const uint8_t *kernel, size_t size)
{
	g->job.kernel.bytes = kernel;
	g->job.kernel.size = size;
	memset(&g->why, 0, sizeof(g->why));
	return boot_job_run(&g->job, &g->why);
}

static inline void guest_initrd(struct boot_guest *g, const void *bytes, size_t size)
{
	g->job.initrd.bytes = bytes;
	g->job.initrd.size = size;
}

static inline const uint8_t *guest_at(struct boot_guest *g, uint64_t at, uint64_t bytes)
{
	const uint8_t *p = mem_host(&g->vm.mem, gpa(at), bytes);

	if (!p)
		abort();
	return p;
}

/* What broke in the entry state, or NULL: the checks of a processor (SDM vol. 3 26.3.1). */
static inline const char *guest_entry_fault(struct boot_guest *g)
{
	const struct x86_state *s = &g->state;
	bool lma = s->efer & EFER_LMA, protect = s->cr0 & CR0_PE;
	const struct x86_seg *cs = &s->seg[CS];

	if ((s->rflags & (FLAG_FIXED | FLAG_IF | FLAG_VM | FLAG_TF)) != FLAG_FIXED)
		return "rflags";
	if (lma != !!(s->efer & EFER_LME) || lma != !!(s->cr0 & CR0_PG) ||
	    (lma && !(s->cr4 & CR4_PAE)))
		return "long mode";
	if (protect && (cs->attr & (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED)) !=
			       (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED))
		return "cs rights";
	if (protect && lma != !!(cs->attr & SEG_L))
		return "cs.l";
	if ((cs->attr & SEG_L) && (cs->attr & SEG_DB))
		return "cs.d with cs.l";
	if (protect && SEG_TYPE(s->tr.attr) != 11)
		return "tr is not a busy TSS";
	if (protect && !(s->ldtr.attr & SEG_UNUSABLE))
		return "ldtr";
	if (!mem_host(&g->vm.mem, gpa(cs->base + s->rip), 1))
		return "entry is not memory";
	return NULL;
}

/* The hidden parts are what a reload from the GDT in memory gives. */
static inline const char *guest_gdt_fault(struct boot_guest *g)
{
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		const struct x86_seg *seg = &g->state.seg[i];
		const uint8_t *p = guest_at(g, g->state.gdtr.base + seg->selector, 8);
		struct x86_seg from_table = segment_unpack(seg->selector, get64(p));
		if (seg->selector + 7u > g->state.gdtr.limit || from_table.attr != seg->attr ||
		    from_table.base != seg->base || from_table.limit != seg->limit)
			return "segment differs from its descriptor";
	}
	return NULL;
}

/* Repeatable random numbers (xorshift). */
static inline uint64_t guest_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Boots `rounds` copies of a good kernel with a few of its bytes from `first` to `last` changed,
 * and cut short now and then. Returns what broke, or NULL. *loaded counts those still taken. */
static inline const char *guest_mutate(struct boot_guest *g, const uint8_t *good, size_t size,
				       size_t first, size_t last, unsigned rounds, unsigned *loaded)
{
	static const uint8_t odd[] = { 0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x10, 4 };
	uint64_t seed = 0x9e3779b97f4a7c15;
	uint8_t *copy = malloc(size);
	const char *fault = NULL;

	*loaded = 0;
	for (unsigned i = 0; i < rounds && !fault; i++) {
		memcpy(copy, good, size);
		for (uint64_t n = 1 + guest_random(&seed) % 4; n; n--) {
			size_t at = first + guest_random(&seed) % (last - first);
			size_t run = 1 + guest_random(&seed) % 8;
			uint64_t pick = guest_random(&seed);
			for (size_t k = at; k < last && k < at + run; k++)
				copy[k] =
					pick & 8 ? odd[pick & 7] : (uint8_t)(pick >> (8 * (k & 7)));
		}
		size_t cut = guest_random(&seed) % 8 ? size : guest_random(&seed) % size;
		int r = guest_boot(g, copy, cut);
		if (r == 0) {
			++*loaded;
			fault = guest_entry_fault(g);
		} else if (r > 0 || g->why.code != r || !strchr(g->why.text, ':')) {
			fault = "refused without a reason";
		}
	}
	free(copy);
	return fault;
}

#endif
