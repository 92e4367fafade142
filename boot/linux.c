/*
 * linux.c - Linux bzImage, entered at its 64-bit or 32-bit entry point.
 *
 * A bzImage is real-mode setup code, which is not used here, followed by the kernel
 * proper. What the setup code would have asked the BIOS for goes into struct
 * boot_params ("zero page"). The kernel decompresses itself in place and needs
 * init_size bytes from where it will run: that whole range is claimed, so that
 * neither initrd nor tables are run over. Not modelled: zImage (loaded low),
 * boot protocols before 2.10, EFI handover.
 *
 * Spec: Linux Documentation/arch/x86/boot.rst and zero-page.rst. Tested by test/unit/linux.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/bytes.h"
#include "boot/loader.h"

/* Offsets: the setup header has the same ones in the file and in boot_params. */
enum {
	SCREEN_MODE = 0x006,
	SCREEN_COLUMNS = 0x007,
	SCREEN_LINES = 0x00e,
	SCREEN_IS_VGA = 0x00f,
	SCREEN_POINTS = 0x010,
	BP_ACPI_RSDP_ADDR = 0x070,
	BP_E820_ENTRIES = 0x1e8,
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_VID_MODE = 0x1fa,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x200, /* its operand ends the header: 0x202 + operand */
	HDR_HEADER = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_2_10_END = 0x264, /* of the fields protocol 2.10 has */
	HDR_MOST_END = 0x290, /* boot_params goes on with other things there */
	BP_E820_TABLE = 0x2d0,
	E820_ENTRY = 20,
};

#define SECTOR              512
#define BOOT_FLAG           0xaa55
#define PROTOCOL_OLDEST     0x20a
#define PROTOCOL_XLOADFLAGS 0x20c
#define LOADFLAG_HIGH       0x01
#define XLOADFLAG_64        0x01
#define ENTRY_64            0x200
#define LOADER_UNDEFINED    0xff
#define VID_MODE_NORMAL     0xffff
#define COMMAND_LINE_MOST   65535

struct header {
	unsigned version;
	uint64_t setup_bytes; /* real-mode part of the file */
	uint64_t load;        /* where the rest goes */
	uint64_t run;         /* where it will run */
	uint64_t init_size;   /* bytes it needs there */
	uint64_t initrd_max;  /* highest address of the initrd's last byte */
	uint64_t cmdline_size;
	bool entry64;
};

bool linux_matches(const struct boot_file *f)
{
	return f->size >= HDR_VERSION + 2 && get16(f->bytes + HDR_BOOT_FLAG) == BOOT_FLAG &&
	       !memcmp(f->bytes + HDR_HEADER, "HdrS", 4);
}

static int check(const struct boot_file *f, struct header *h, struct fail *why)
{
	const uint8_t *p = f->bytes;

	h->version = get16(p + HDR_VERSION);
	if (h->version < PROTOCOL_OLDEST)
		return fail(why, -ENOEXEC,
			    "%s: Linux boot protocol %u.%02u is too old (2.10 needed)", f->name,
			    h->version >> 8, h->version & 0xff);
	if (f->size < HDR_2_10_END)
		return fail(why, -ENOEXEC, "%s: bzImage truncated in its header", f->name);
	if (!(p[HDR_LOADFLAGS] & LOADFLAG_HIGH))
		return fail(why, -ENOEXEC, "%s: a zImage (loaded low) is not supported", f->name);
	h->setup_bytes = SECTOR * (1 + (uint64_t)(p[HDR_SETUP_SECTS] ? p[HDR_SETUP_SECTS] : 4));
	uint64_t wanted = h->setup_bytes + 16 * (uint64_t)get32(p + HDR_SYSSIZE);
	/* syssize counts paragraphs: the last one need not be whole. */
	if (f->size + 15 < wanted || f->size <= h->setup_bytes)
		return fail(why, -ENOEXEC, "%s: bzImage truncated: %llu bytes of %llu", f->name,
			    (unsigned long long)f->size, (unsigned long long)wanted);
	return 0;
}

/* Where the kernel goes and where it will run; boot.rst, kernel_alignment to init_size. */
static int place(const struct boot_file *f, struct header *h, struct fail *why)
{
	const uint8_t *p = f->bytes;
	uint64_t align = get32(p + HDR_KERNEL_ALIGNMENT), pref = get64(p + HDR_PREF_ADDRESS);
	bool relocatable = p[HDR_RELOCATABLE];

	if (relocatable && (!align || (align & (align - 1))))
		return fail(why, -ENOEXEC, "%s: kernel alignment 0x%llx is not a power of two",
			    f->name, (unsigned long long)align);
	if (pref >= MAP_HIGH)
		return fail(why, -ENOEXEC, "%s: wants to be loaded at 0x%llx, above 4 GiB", f->name,
			    (unsigned long long)pref);
	if (pref < MAP_EXTENDED)
		pref = MAP_EXTENDED;
	h->run = relocatable ? (pref + align - 1) & ~(align - 1) : pref;
	h->load = relocatable ? h->run : MAP_EXTENDED;
	h->init_size = get32(p + HDR_INIT_SIZE);
	h->initrd_max = get32(p + HDR_INITRD_ADDR_MAX);
	h->cmdline_size = get32(p + HDR_CMDLINE_SIZE);
	if (h->cmdline_size > COMMAND_LINE_MOST)
		h->cmdline_size = COMMAND_LINE_MOST;
	h->entry64 =
		h->version >= PROTOCOL_XLOADFLAGS && (get16(p + HDR_XLOADFLAGS) & XLOADFLAG_64);
	return 0;
}

/* Loads the kernel and claims what it will run over. */
static int load(struct boot_job *job, const struct header *h, struct fail *why)
{
	const struct boot_file *f = &job->kernel;
	uint64_t bytes = f->size - h->setup_bytes;
	uint64_t in_place = bytes;
	uint64_t needs = h->init_size > bytes ? h->init_size : bytes;

	if (h->entry64 && bytes <= ENTRY_64)
		return fail(why, -ENOEXEC, "%s: bzImage ends before its 64-bit entry", f->name);
	/* Loaded where it runs: one range, as long as the longer of the two. */
	if (h->run == h->load)
		in_place = needs;
	int r = boot_space_claim(&job->space, h->load, in_place);
	/* Loaded elsewhere, it moves itself: the two ranges may touch each other. */
	if (!r && h->run != h->load && h->run + h->init_size > h->load + bytes) {
		uint64_t from = h->run > h->load + bytes ? h->run : h->load + bytes;
		r = boot_space_claim(&job->space, from, h->run + h->init_size - from);
	}
	if (r)
		return fail(why, -ENOMEM,
			    "%s: needs the memory from 0x%llx to 0x%llx (%llu MiB) to start, which "
			    "this machine does not have free",
			    f->name, (unsigned long long)h->run,
			    (unsigned long long)(h->run + needs),
			    (unsigned long long)(needs + 0xfffff) >> 20);
	return boot_store(job, h->load, f->bytes + h->setup_bytes, bytes, why);
}

static void e820(uint8_t *params, const struct boot_map *map)
{
	params[BP_E820_ENTRIES] = (uint8_t)map->count;
	for (unsigned i = 0; i < map->count; i++) {
		uint8_t *e = params + BP_E820_TABLE + i * E820_ENTRY;
		put_le(e, map->range[i].start, 8);
		put_le(e + 8, map->range[i].bytes, 8);
		put_le(e + 16, map->range[i].type, 4);
	}
}

_Static_assert(BP_E820_TABLE + BOOT_RANGES_MAX * E820_ENTRY <= PAGE_SIZE, "boot_params is a page");

/* struct screen_info: what INT 10h would have said. */
static void screen(uint8_t *params)
{
	params[SCREEN_MODE] = 3;
	params[SCREEN_COLUMNS] = 80;
	params[SCREEN_LINES] = 25;
	params[SCREEN_IS_VGA] = 1;
	params[SCREEN_POINTS] = 16;
}

static void fill(uint8_t *params, const struct boot_job *job, const struct header *h,
		 uint64_t command_line, uint64_t initrd)
{
	const struct boot_file *f = &job->kernel;
	size_t end = HDR_HEADER + (size_t)f->bytes[HDR_JUMP + 1];

	if (end > HDR_MOST_END)
		end = HDR_MOST_END;
	if (end > f->size)
		end = f->size;
	if (end > HDR_SETUP_SECTS)
		memcpy(params + HDR_SETUP_SECTS, f->bytes + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
	put_le(params + HDR_VID_MODE, VID_MODE_NORMAL, 2);
	params[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put_le(params + HDR_CODE32_START, h->load, 4);
	put_le(params + HDR_RAMDISK_IMAGE, initrd, 4);
	put_le(params + HDR_RAMDISK_SIZE, job->initrd.size, 4);
	put_le(params + HDR_CMD_LINE_PTR, command_line, 4);
	put_le(params + BP_ACPI_RSDP_ADDR, job->config->rsdp, 8);
	if (job->config->vga)
		screen(params);
	e820(params, job->config->map);
}

int linux_load(struct boot_job *job, struct fail *why)
{
	uint8_t params[PAGE_SIZE] = { 0 };
	uint64_t at, command_line, initrd = 0;
	struct header h = { 0 };

	int r = check(&job->kernel, &h, why);
	if (!r)
		r = place(&job->kernel, &h, why);
	if (!r)
		r = load(job, &h, why);
	if (!r)
		r = h.entry64 ? entry_long(job, h.load + ENTRY_64, why)
			      : entry_protected(job, h.load, why);
	if (!r)
		r = boot_room(job, PAGE_SIZE, &at, why);
	if (!r)
		r = boot_command_line(job, h.cmdline_size, &command_line, why);
	if (!r && job->initrd.bytes)
		r = boot_initrd(job, h.initrd_max + 1, false, &initrd, why);
	if (r)
		return r;
	fill(params, job, &h, command_line, initrd);
	job->state->gpr[RSI] = at;
	return boot_store(job, at, params, sizeof(params), why);
}
