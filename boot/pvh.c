/*
 * pvh.c - the PVH way in: 32-bit protected mode with EBX at a hvm_start_info.
 *
 * Named after the Xen mode it comes from; the same entry serves any hypervisor and
 * needs no setup code. Everything the kernel is told hangs off one 56-byte structure.
 *
 * Spec: Xen public/arch-x86/hvm/start_info.h and docs/misc/pvh. Tested by test/unit/elf.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/bytes.h"
#include "boot/elf.h"
#include "boot/loader.h"

#define START_MAGIC      UINT32_C(0x336ec578)
#define START_BYTES      56
#define MODULE_BYTES     32
#define MEMMAP_BYTES     24
#define COMMAND_LINE_MAX 4095

/* hvm_start_info and behind it the module list and the memory map. */
static void fill(uint8_t *at_host, uint64_t at, const struct boot_job *job, uint64_t command_line,
		 uint64_t initrd)
{
	const struct boot_map *map = job->config->map;
	struct blob b = { .bytes = at_host, .size = PAGE_SIZE };
	uint64_t modules = job->initrd.bytes ? at + START_BYTES : 0;

	blob_le(&b, START_MAGIC, 4);
	blob_le(&b, 1, 4); /* version: has the memory map */
	blob_le(&b, 0, 4); /* flags */
	blob_le(&b, modules ? 1 : 0, 4);
	blob_le(&b, modules, 8);
	blob_le(&b, command_line, 8);
	blob_le(&b, job->config->rsdp, 8);
	blob_le(&b, at + START_BYTES + MODULE_BYTES, 8);
	blob_le(&b, map->count, 4);
	blob_le(&b, 0, 4);

	blob_le(&b, initrd, 8);
	blob_le(&b, job->initrd.size, 8);
	blob_le(&b, 0, 8); /* no command line of its own */
	blob_le(&b, 0, 8);

	for (unsigned i = 0; i < map->count; i++) {
		blob_le(&b, map->range[i].start, 8);
		blob_le(&b, map->range[i].bytes, 8);
		blob_le(&b, map->range[i].type, 4);
		blob_le(&b, 0, 4);
	}
}

_Static_assert(START_BYTES + MODULE_BYTES + BOOT_RANGES_MAX * MEMMAP_BYTES <= PAGE_SIZE,
	       "hvm_start_info, module and memory map share a page");

int pvh_load(struct boot_job *job, uint64_t entry, struct fail *why)
{
	uint8_t page[PAGE_SIZE] = { 0 };
	uint64_t at, command_line, initrd = 0;
	struct elf elf;

	int r = elf_parse(&job->kernel, &elf, why);
	if (!r)
		r = elf_load(job, &elf, &entry, false, why);
	if (!r)
		r = entry_protected(job, entry, why);
	if (!r)
		r = boot_room(job, PAGE_SIZE, &at, why);
	if (!r)
		r = boot_command_line(job, COMMAND_LINE_MAX, &command_line, why);
	if (!r && job->initrd.bytes)
		r = boot_initrd(job, MAP_HIGH, false, &initrd, why);
	if (r)
		return r;
	fill(page, at, job, command_line, initrd);
	job->state->gpr[RBX] = at;
	return boot_store(job, at, page, sizeof(page), why);
}
