/*
 * elf.h - ELF32 and ELF64 executables for x86, as far as a kernel loader needs them.
 *
 * Both classes are read into one form. Every offset in the file is hostile: an
 * accessor hands out a segment only after its bytes were found inside the file.
 *
 * Spec: System V ABI, chapters 4 and 5 (gABI). Tested by test/unit/elf.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/file.h"
#include "host/fail.h"

struct boot_job;

struct elf {
	bool is64;
	uint64_t entry;            /* e_entry */
	uint64_t phoff;            /* program headers, all inside the file */
	unsigned phentsize, phnum; /* phnum <= 65534 */
};

/* Has the ELF magic. */
bool elf_matches(const struct boot_file *f);

/* Checks header and program header table: -ENOEXEC and a sentence when they will not do. */
int elf_parse(const struct boot_file *f, struct elf *elf, struct fail *why);

/* Finds XEN_ELFNOTE_PHYS32_ENTRY in a PT_NOTE segment. */
bool elf_pvh_entry(const struct boot_file *f, const struct elf *elf, uint64_t *entry);

/* Places every PT_LOAD segment at its physical address. `entry` must lie in the file bytes of one
 * of them; when it is given as a virtual address (by_virtual) it is turned into the physical
 * address. */
int elf_load(struct boot_job *job, const struct elf *elf, uint64_t *entry, bool by_virtual,
	     struct fail *why);

#endif
