/*
 * paging.h - the first translation step: guest-linear to guest-physical, by
 * the guest's own page tables.
 *
 * A pure function of the CPU state and of guest memory, which it reaches
 * through two callbacks; it knows no TLB and no machine. All forms: none,
 * 32-bit (with PSE and PSE-36), PAE, 4-level; 4 KiB to 1 GiB pages; A and D
 * bits set by compare-and-swap; NX, WP, SMEP, SMAP, PKU.
 *
 * Spec: SDM vol. 3 ch. 4. Tested by test/unit/paging.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_PAGING_H
#define CPU_PAGING_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/addr.h"
#include "cpu/state.h"

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC, ACCESS_COUNT };

struct walk_memory {
	/* Host address of the naturally aligned 4 or 8 byte entry at `at`, or NULL: not RAM
	 * (the walk then reads all-ones and writes nothing, as the bus would). */
	void *(*entry)(void *arg, gpa_t at, unsigned size);
	/* The walk has changed the entry at `at` (A or D set). May be NULL. */
	void (*changed)(void *arg, gpa_t at, unsigned size);
	void *arg;
};

struct walk {
	gpa_t gpa;           /* of the byte asked for */
	uint64_t page_bytes; /* size of the page that maps it; 1 GiB without paging */
	bool writable;       /* a write with the same rights would succeed and D is already set */
	bool readable;       /* a data read with the same rights would succeed */
	bool executable;     /* a fetch with the same rights would succeed */
	bool global;         /* survives a CR3 load */
	bool user;           /* user code may access it as far as U/S goes: SMAP and SMEP apply */
	uint32_t pkru_bits;  /* of PKRU, that readable and writable depend on */
	uint32_t error;      /* page-fault error code when the walk failed */
};

/*
 * Translates `at` for `access`. `user`: the access has user rights (CPL 3 and not
 * an implicit system access). `ac`: SMAP does not apply to this supervisor
 * data access (EFLAGS.AC set, explicit access). Sets A, and D on a write.
 * true: *out is whole. false: deliver #PF with out->error and CR2 = at.
 * Canonical form is the caller's to check.
 */
bool page_walk(const struct x86_state *s, const struct walk_memory *mem, gva_t at,
	       enum access access, bool user, bool ac, struct walk *out);

/* PAE: loads the four page-directory-pointer entries that CR3 names into s->pdpte.
 * false: a reserved bit is set, #GP(0). SDM vol. 3 4.4.1 */
bool page_load_pdpte(struct x86_state *s, const struct walk_memory *mem, uint64_t cr3,
		     unsigned phys_bits);

/* MAXPHYADDR the walk takes for reserved bits. */
#define PAGING_PHYS_BITS 46

static inline bool gva_canonical(uint64_t at) /* 48-bit linear addresses */
{
	return (uint64_t)((int64_t)(at << 16) >> 16) == at;
}

#endif
