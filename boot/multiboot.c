/*
 * multiboot.c - multiboot 1 kernels: ELF32, or any file that states its load addresses.
 *
 * The header is found by its magic in the first 8 KiB. With flag 16 the header itself
 * says where to load (the "a.out kludge"); otherwise the file must be ELF32. Not
 * modelled: video modes (the flag is accepted, none is offered), symbols, drives,
 * a boot device. As GRUB 2 does, the command line does not begin with a file name.
 *
 * Spec: Multiboot Specification 0.6.96, sections 3.1-3.3. Tested by test/unit/multiboot.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/bytes.h"
#include "boot/elf.h"
#include "boot/loader.h"

#define HEADER_MAGIC  UINT32_C(0x1badb002)
#define LOADER_MAGIC  UINT32_C(0x2badb002)
#define HEADER_SEARCH 8192

#define FLAG_REQUIRED  UINT32_C(0xffff) /* bits a loader must know or refuse */
#define FLAG_KNOWN     UINT32_C(0x7)    /* page-aligned modules, memory, video mode */
#define FLAG_ADDRESSES (UINT32_C(1) << 16)

#define INFO_MEMORY       (1u << 0)
#define INFO_COMMAND_LINE (1u << 2)
#define INFO_MODULES      (1u << 3)
#define INFO_MEMORY_MAP   (1u << 6)
#define INFO_LOADER_NAME  (1u << 9)

/* Offsets in the information structure, section 3.3, and of what we put behind it. */
enum {
	MBI_FLAGS = 0,
	MBI_MEM_LOWER = 4,
	MBI_MEM_UPPER = 8,
	MBI_CMDLINE = 16,
	MBI_MODS_COUNT = 20,
	MBI_MODS_ADDR = 24,
	MBI_MMAP_LENGTH = 44,
	MBI_MMAP_ADDR = 48,
	MBI_LOADER_NAME = 64,
	AT_MODULE = 128,
	AT_NAME = 144,
	AT_EMPTY = 160, /* the module's empty string */
	AT_MMAP = 256,
	MMAP_ENTRY = 24,
};

#define COMMAND_LINE_MAX 4095

bool multiboot_find(const struct boot_file *f, struct multiboot_header *h)
{
	uint64_t end = f->size < HEADER_SEARCH ? f->size : HEADER_SEARCH;

	for (uint64_t at = 0; at + 12 <= end; at += 4) {
		const uint8_t *p = f->bytes + at;
		uint32_t flags = get32(p + 4);
		if (get32(p) != HEADER_MAGIC || HEADER_MAGIC + flags + get32(p + 8) != 0)
			continue;
		*h = (struct multiboot_header){ .offset = at, .flags = flags };
		if (!(flags & FLAG_ADDRESSES))
			return true;
		if (at + 32 > end)
			continue;
		h->header_addr = get32(p + 12);
		h->load_addr = get32(p + 16);
		h->load_end_addr = get32(p + 20);
		h->bss_end_addr = get32(p + 24);
		h->entry_addr = get32(p + 28);
		return true;
	}
	return false;
}

static int load_by_header(struct boot_job *job, const struct multiboot_header *h, uint64_t *entry,
			  struct fail *why)
{
	const struct boot_file *f = &job->kernel;
	uint64_t before = (uint64_t)h->header_addr - h->load_addr;

	if (h->header_addr < h->load_addr || before > h->offset)
		return fail(why, -ENOEXEC,
			    "%s: multiboot load address 0x%x does not fit its header", f->name,
			    h->load_addr);
	uint64_t from = h->offset - before, rest = f->size - from;
	uint64_t bytes = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : rest;
	if (h->load_end_addr && h->load_end_addr < h->load_addr)
		return fail(why, -ENOEXEC, "%s: multiboot load end is below the load address",
			    f->name);
	if (bytes > rest)
		return fail(why, -ENOEXEC,
			    "%s: truncated: multiboot header asks for %llu bytes more", f->name,
			    (unsigned long long)(bytes - rest));
	uint64_t all = bytes;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr + bytes)
			return fail(why, -ENOEXEC, "%s: multiboot bss end is below the load end",
				    f->name);
		all = (uint64_t)h->bss_end_addr - h->load_addr;
	}
	if (h->entry_addr < h->load_addr || h->entry_addr - h->load_addr >= bytes)
		return fail(why, -ENOEXEC, "%s: its entry point 0x%x is not in the loaded part",
			    f->name, h->entry_addr);
	*entry = h->entry_addr;
	return boot_place(job, h->load_addr, f->bytes + from, bytes, all, why);
}

static int load_kernel(struct boot_job *job, const struct multiboot_header *h, uint64_t *entry,
		       struct fail *why)
{
	const char *name = job->kernel.name;
	struct elf elf;

	if (h->flags & FLAG_REQUIRED & ~FLAG_KNOWN)
		return fail(why, -ENOEXEC,
			    "%s: needs multiboot features 0x%x, which are not offered", name,
			    h->flags & FLAG_REQUIRED & ~FLAG_KNOWN);
	if (h->flags & FLAG_ADDRESSES)
		return load_by_header(job, h, entry, why);
	if (!elf_matches(&job->kernel))
		return fail(why, -ENOEXEC,
			    "%s: multiboot header without load addresses in a file "
			    "that is not ELF",
			    name);
	int r = elf_parse(&job->kernel, &elf, why);
	if (r)
		return r;
	if (elf.is64)
		return fail(why, -ENOEXEC,
			    "%s: multiboot kernel is ELF64 and has no load addresses", name);
	*entry = elf.entry;
	return elf_load(job, &elf, entry, true, why);
}

static void memory_map(uint8_t *page, uint64_t at, const struct boot_map *map)
{
	for (unsigned i = 0; i < map->count; i++) {
		uint8_t *e = page + AT_MMAP + i * MMAP_ENTRY;
		put_le(e, MMAP_ENTRY - 4, 4); /* the size does not count itself */
		put_le(e + 4, map->range[i].start, 8);
		put_le(e + 12, map->range[i].bytes, 8);
		put_le(e + 20, map->range[i].type, 4);
	}
	put_le(page + MBI_MMAP_LENGTH, map->count * MMAP_ENTRY, 4);
	put_le(page + MBI_MMAP_ADDR, at + AT_MMAP, 4);
	put_le(page + MBI_MEM_LOWER, MAP_EBDA >> 10, 4);
	put_le(page + MBI_MEM_UPPER, (boot_map_low_end(map) - MAP_EXTENDED) >> 10, 4);
}

_Static_assert(AT_MMAP + BOOT_RANGES_MAX * MMAP_ENTRY <= PAGE_SIZE, "information is one page");

static void fill(uint8_t *page, uint64_t at, const struct boot_job *job, uint64_t command_line,
		 uint64_t initrd)
{
	static const char name[] = "trapeze";
	uint32_t flags = INFO_MEMORY | INFO_MEMORY_MAP | INFO_LOADER_NAME | INFO_COMMAND_LINE;

	memory_map(page, at, job->config->map);
	memcpy(page + AT_NAME, name, sizeof(name));
	put_le(page + MBI_LOADER_NAME, at + AT_NAME, 4);
	put_le(page + MBI_CMDLINE, command_line ? command_line : at + AT_EMPTY, 4);
	if (job->initrd.bytes) {
		flags |= INFO_MODULES;
		put_le(page + MBI_MODS_COUNT, 1, 4);
		put_le(page + MBI_MODS_ADDR, at + AT_MODULE, 4);
		put_le(page + AT_MODULE, initrd, 4);
		put_le(page + AT_MODULE + 4, initrd + job->initrd.size, 4);
		put_le(page + AT_MODULE + 8, at + AT_EMPTY, 4);
	}
	put_le(page + MBI_FLAGS, flags, 4);
}

int multiboot_load(struct boot_job *job, const struct multiboot_header *h, struct fail *why)
{
	uint8_t page[PAGE_SIZE] = { 0 };
	uint64_t entry, at, command_line, initrd = 0;

	int r = load_kernel(job, h, &entry, why);
	if (!r)
		r = entry_protected(job, entry, why);
	if (!r)
		r = boot_room(job, PAGE_SIZE, &at, why);
	if (!r)
		r = boot_command_line(job, COMMAND_LINE_MAX, &command_line, why);
	if (!r && job->initrd.bytes)
		r = boot_initrd(job, MAP_HIGH, true, &initrd, why);
	if (r)
		return r;
	fill(page, at, job, command_line, initrd);
	job->state->gpr[RAX] = LOADER_MAGIC;
	job->state->gpr[RBX] = at;
	return boot_store(job, at, page, sizeof(page), why);
}
