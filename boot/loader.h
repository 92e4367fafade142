/*
 * loader.h - what the loaders share: the job at hand, and the entry states.
 *
 * Private to boot/ and its tests. A loader claims every range in job->space
 * before it writes there, so a hostile header cannot make two things overlap.
 *
 * Tested by test/unit/{linux,elf,multiboot,flat}.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_LOADER_H
#define BOOT_LOADER_H

#include <stdbool.h>

#include "boot/boot.h"
#include "boot/file.h"

struct boot_job {
	struct mem *mem;
	const struct boot_config *config;
	struct boot_file kernel; /* or the flat binary */
	struct boot_file initrd; /* bytes NULL: none */
	struct boot_space space;
	struct x86_state *state;
};

/* boot_load() with the files already in job->kernel and job->initrd: mem, config and state set,
 * space not. The fuzz target enters here. */
int boot_job_run(struct boot_job *job, struct fail *why);

/* The loaders. `why` is always written on failure. */
bool linux_matches(const struct boot_file *f);
int linux_load(struct boot_job *job, struct fail *why);
int pvh_load(struct boot_job *job, uint64_t entry, struct fail *why);
int flat_load(struct boot_job *job, struct fail *why);

/* Multiboot header fields, spec 3.1. */
struct multiboot_header {
	uint64_t offset; /* of the header in the file */
	uint32_t flags;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
bool multiboot_find(const struct boot_file *f, struct multiboot_header *h);
int multiboot_load(struct boot_job *job, const struct multiboot_header *h, struct fail *why);

/* ---- placing things ---- */

/* Claims [at, at + mem_bytes), copies file_bytes there and zeroes the rest. */
int boot_place(struct boot_job *job, uint64_t at, const void *from, uint64_t file_bytes,
	       uint64_t mem_bytes, struct fail *why);
/* Takes the lowest free room (page aligned), zeroes it. */
int boot_room(struct boot_job *job, uint64_t bytes, uint64_t *at, struct fail *why);
/* Copies into claimed room: cannot fail unless the map and the memory disagree. */
int boot_store(struct boot_job *job, uint64_t at, const void *from, uint64_t bytes,
	       struct fail *why);
/* The initrd, below `below`: as high as possible, or (low) as low as possible from 1 MiB. */
int boot_initrd(struct boot_job *job, uint64_t below, bool low, uint64_t *at, struct fail *why);
/* The command line with its NUL; *at = 0 when there is none. `most` excludes the NUL. */
int boot_command_line(struct boot_job *job, uint64_t most, uint64_t *at, struct fail *why);

/* ---- entry states; each starts from x86_state_reset(); all but real mode enable the MTRRs ---- */

void entry_real(struct x86_state *s, uint64_t at);
/* Protected mode, paging off, flat 4 GiB segments: CS 0x10, the others 0x18. Takes a page for
 * the GDT. */
int entry_protected(struct boot_job *job, uint64_t eip, struct fail *why);
/* Long mode, the first 4 GiB identity-mapped by 2 MiB pages: CS 0x10, the others 0x18. */
int entry_long(struct boot_job *job, uint64_t rip, struct fail *why);

#endif
