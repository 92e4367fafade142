/*
 * elf.c - reads ELF32 and ELF64 kernels: header, segments, the PVH note.
 *
 * Segments go to their physical addresses, as both PVH and multiboot ask; virtual
 * addresses, sections and relocations are the kernel's own business. Not modelled:
 * position-independent kernels (loaded as if linked for their addresses).
 *
 * Spec: System V ABI (gABI), chapters 4 and 5. Tested by test/unit/elf.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/elf.h"

#include <errno.h>

#include "boot/bytes.h"
#include "boot/loader.h"

#define EI_CLASS    4
#define EI_DATA     5
#define ELFCLASS32  1
#define ELFCLASS64  2
#define ELFDATA2LSB 1
#define ET_EXEC     2
#define ET_DYN      3
#define EM_386      3
#define EM_X86_64   62
#define PN_XNUM     0xffff
#define PT_LOAD     1
#define PT_NOTE     4

#define XEN_ELFNOTE_PHYS32_ENTRY 18

struct segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* [at, at + bytes) lies in the file. */
static bool in_file(const struct boot_file *f, uint64_t at, uint64_t bytes)
{
	return at <= f->size && bytes <= f->size - at;
}

bool elf_matches(const struct boot_file *f)
{
	return f->size >= 4 && !memcmp(f->bytes, "\177ELF", 4);
}

static int check_ident(const struct boot_file *f, struct elf *elf, struct fail *why)
{
	const uint8_t *h = f->bytes;

	if (f->size < 16)
		return fail(why, -ENOEXEC, "%s: ELF file truncated in its header", f->name);
	if (h[EI_CLASS] != ELFCLASS32 && h[EI_CLASS] != ELFCLASS64)
		return fail(why, -ENOEXEC, "%s: ELF class %u is unknown", f->name, h[EI_CLASS]);
	elf->is64 = h[EI_CLASS] == ELFCLASS64;
	if (f->size < (elf->is64 ? 64 : 52))
		return fail(why, -ENOEXEC, "%s: ELF file truncated in its header", f->name);
	uint16_t type = get16(h + 16), machine = get16(h + 18);
	if (h[EI_DATA] != ELFDATA2LSB || (machine != EM_386 && machine != EM_X86_64))
		return fail(why, -ENOEXEC, "%s: ELF file for another processor (machine %u)",
			    f->name, machine);
	if (type != ET_EXEC && type != ET_DYN)
		return fail(why, -ENOEXEC, "%s: ELF file is not an executable (type %u)", f->name,
			    type);
	return 0;
}

int elf_parse(const struct boot_file *f, struct elf *elf, struct fail *why)
{
	const uint8_t *h = f->bytes;
	int r = check_ident(f, elf, why);

	if (r)
		return r;
	elf->entry = elf->is64 ? get64(h + 24) : get32(h + 24);
	elf->phoff = elf->is64 ? get64(h + 32) : get32(h + 28);
	elf->phentsize = get16(h + (elf->is64 ? 54 : 42));
	elf->phnum = get16(h + (elf->is64 ? 56 : 44));
	if (!elf->phnum || elf->phnum == PN_XNUM || elf->phentsize < (elf->is64 ? 56 : 32))
		return fail(why, -ENOEXEC, "%s: ELF file has no usable program headers", f->name);
	if (!in_file(f, elf->phoff, (uint64_t)elf->phentsize * elf->phnum))
		return fail(why, -ENOEXEC,
			    "%s: ELF program headers lie outside the file (truncated?)", f->name);
	return 0;
}

static struct segment segment_at(const struct boot_file *f, const struct elf *elf, unsigned i)
{
	const uint8_t *p = f->bytes + elf->phoff + (uint64_t)elf->phentsize * i;

	if (elf->is64)
		return (struct segment){ .type = get32(p),
					 .offset = get64(p + 8),
					 .vaddr = get64(p + 16),
					 .paddr = get64(p + 24),
					 .filesz = get64(p + 32),
					 .memsz = get64(p + 40),
					 .align = get64(p + 48) };
	return (struct segment){ .type = get32(p),
				 .offset = get32(p + 4),
				 .vaddr = get32(p + 8),
				 .paddr = get32(p + 12),
				 .filesz = get32(p + 16),
				 .memsz = get32(p + 20),
				 .align = get32(p + 28) };
}

/* One PT_NOTE segment: name size, descriptor size, type, then both, padded. */
static bool find_note(const uint8_t *p, uint64_t size, uint64_t align, uint64_t *entry)
{
	uint64_t pad = align == 8 ? 7 : 3;

	while (size >= 12) {
		uint64_t namesz = get32(p), descsz = get32(p + 4);
		uint64_t desc = (12 + namesz + pad) & ~pad;
		uint64_t next = (desc + descsz + pad) & ~pad;
		if (desc > size || descsz > size - desc)
			return false;
		if (get32(p + 8) == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 &&
		    !memcmp(p + 12, "Xen", 4) && (descsz == 4 || descsz == 8)) {
			*entry = get_le(p + desc, (unsigned)descsz);
			return true;
		}
		if (next >= size)
			return false;
		p += next;
		size -= next;
	}
	return false;
}

bool elf_pvh_entry(const struct boot_file *f, const struct elf *elf, uint64_t *entry)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct segment s = segment_at(f, elf, i);
		if (s.type == PT_NOTE && in_file(f, s.offset, s.filesz) &&
		    find_note(f->bytes + s.offset, s.filesz, s.align, entry))
			return true;
	}
	return false;
}

static int load_segment(struct boot_job *job, const struct segment *s, struct fail *why)
{
	const struct boot_file *f = &job->kernel;

	if (!in_file(f, s->offset, s->filesz))
		return fail(why, -ENOEXEC, "%s: an ELF segment lies outside the file (truncated?)",
			    f->name);
	if (s->filesz > s->memsz)
		return fail(why, -ENOEXEC,
			    "%s: an ELF segment is larger in the file than in memory", f->name);
	return boot_place(job, s->paddr, f->bytes + s->offset, s->filesz, s->memsz, why);
}

static bool covers(uint64_t start, uint64_t bytes, uint64_t at)
{
	return at >= start && at - start < bytes;
}

int elf_load(struct boot_job *job, const struct elf *elf, uint64_t *entry, bool by_virtual,
	     struct fail *why)
{
	bool found = false;
	uint64_t at = *entry;

	for (unsigned i = 0; i < elf->phnum; i++) {
		struct segment s = segment_at(&job->kernel, elf, i);
		if (s.type != PT_LOAD || !s.memsz)
			continue;
		int r = load_segment(job, &s, why);
		if (r)
			return r;
		if (!found && covers(by_virtual ? s.vaddr : s.paddr, s.filesz, at)) {
			found = true;
			*entry = by_virtual ? s.paddr + (at - s.vaddr) : at;
		}
	}
	if (!found || *entry >= MAP_HIGH)
		return fail(why, -ENOEXEC, "%s: its entry point 0x%llx is not in a loaded segment",
			    job->kernel.name, (unsigned long long)at);
	return 0;
}
