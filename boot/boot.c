/*
 * boot.c - reads the files, recognises the kernel, and places what every kind needs.
 *
 * Memory is handed out from one boot_space: the kernel first, where its header wants
 * to be; then the small tables, first fit from 4 KiB up; the initrd where its protocol
 * wants it. A PVH note is preferred to a multiboot header when a file has both.
 *
 * Spec: IBM PC/AT BIOS data area for 0x40e and 0x413. Tested by test/unit/flat.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/boot.h"

#include <errno.h>
#include <string.h>

#include "boot/bytes.h"
#include "boot/elf.h"
#include "boot/loader.h"
#include "host/host.h"

#define BDA_EBDA_SEGMENT 0x40e
#define BDA_BASE_KIB     0x413

int boot_store(struct boot_job *job, uint64_t at, const void *from, uint64_t bytes,
	       struct fail *why)
{
	if (mem_load(job->mem, gpa(at), from, bytes))
		return fail(why, -EFAULT, "%s: no memory behind 0x%llx", job->kernel.name,
			    (unsigned long long)at);
	return 0;
}

/* Zeroes a claimed range. Whole pages are given back to the host, which costs less and leaves
 * memory the guest never touches untouched. */
static int zero(struct boot_job *job, uint64_t at, uint64_t bytes, struct fail *why)
{
	static const uint8_t zeros[PAGE_SIZE];

	while (bytes) {
		const struct mem_slot *slot = mem_find(job->mem, gpa(at));
		uint64_t n = PAGE_SIZE - (at & PAGE_MASK);

		if (slot && slot->discards && n == PAGE_SIZE && bytes >= PAGE_SIZE) {
			uint64_t offset = at - slot->start.v;
			n = bytes & ~PAGE_MASK;
			if (n > slot->bytes - offset)
				n = slot->bytes - offset;
			host_discard(slot->host + offset, n);
			mem_written(job->mem, gpa(at), n);
		} else {
			if (n > bytes)
				n = bytes;
			int r = boot_store(job, at, zeros, n, why);
			if (r)
				return r;
		}
		at += n;
		bytes -= n;
	}
	return 0;
}

int boot_place(struct boot_job *job, uint64_t at, const void *from, uint64_t file_bytes,
	       uint64_t mem_bytes, struct fail *why)
{
	unsigned long long a = at, n = mem_bytes;

	switch (boot_space_claim(&job->space, at, mem_bytes)) {
	case 0: break;
	case -EEXIST:
		return fail(why, -EINVAL, "%s: two parts of it overlap at 0x%llx", job->kernel.name,
			    a);
	case -E2BIG: return fail(why, -EINVAL, "%s: is loaded in too many parts", job->kernel.name);
	default:
		return fail(why, -EFAULT,
			    "%s: needs %llu bytes at 0x%llx, where this machine has no free memory",
			    job->kernel.name, n, a);
	}
	int r = file_bytes ? boot_store(job, at, from, file_bytes, why) : 0;
	return r ? r : zero(job, at + file_bytes, mem_bytes - file_bytes, why);
}

int boot_room(struct boot_job *job, uint64_t bytes, uint64_t *at, struct fail *why)
{
	if (boot_space_low(&job->space, PAGE_SIZE, bytes, PAGE_SIZE, at))
		return fail(why, -ENOMEM, "%s: leaves no memory for boot tables", job->kernel.name);
	return zero(job, *at, bytes, why);
}

int boot_initrd(struct boot_job *job, uint64_t below, bool low, uint64_t *at, struct fail *why)
{
	const struct boot_file *f = &job->initrd;
	int r = low ? boot_space_low(&job->space, MAP_EXTENDED, f->size, PAGE_SIZE, at)
		    : boot_space_high(&job->space, f->size, below, at);
	if (r)
		return fail(why, -ENOMEM, "%s: %llu bytes do not fit in memory beside the kernel",
			    f->name, (unsigned long long)f->size);
	return boot_store(job, *at, f->bytes, f->size, why);
}

int boot_command_line(struct boot_job *job, uint64_t most, uint64_t *at, struct fail *why)
{
	const char *text = job->config->append;
	uint64_t length = text ? strlen(text) : 0;

	*at = 0;
	if (length > most)
		return fail(why, -EINVAL,
			    "%s: takes a command line of at most %llu bytes, not %llu",
			    job->kernel.name, (unsigned long long)most, (unsigned long long)length);
	if (!length)
		return 0;
	int r = boot_room(job, length + 1, at, why);
	return r ? r : boot_store(job, *at, text, length + 1, why);
}

/* What kernels read of the BIOS data area: the size of base memory. */
static int bios_data(struct boot_job *job, struct fail *why)
{
	uint8_t ebda[2], kib[2], first = 1;

	put_le(ebda, MAP_EBDA >> 4, 2);
	put_le(kib, MAP_EBDA >> 10, 2);
	int r = boot_store(job, BDA_EBDA_SEGMENT, ebda, 2, why);
	if (!r)
		r = boot_store(job, BDA_BASE_KIB, kib, 2, why);
	return r ? r : boot_store(job, MAP_EBDA, &first, 1, why); /* its own size in KiB */
}

static int load_kernel(struct boot_job *job, struct fail *why)
{
	const struct boot_file *f = &job->kernel;
	struct multiboot_header multiboot;
	struct elf elf;
	uint64_t entry;

	if (linux_matches(f))
		return linux_load(job, why);
	bool is_elf = elf_matches(f);
	if (is_elf) {
		int r = elf_parse(f, &elf, why);
		if (r)
			return r;
		if (elf_pvh_entry(f, &elf, &entry))
			return pvh_load(job, entry, why);
	}
	if (multiboot_find(f, &multiboot))
		return multiboot_load(job, &multiboot, why);
	if (is_elf)
		return fail(why, -ENOEXEC,
			    "%s: an ELF file with neither a PVH note nor a multiboot "
			    "header: no way to enter it",
			    f->name);
	return fail(why, -ENOEXEC, "%s: not a kernel (neither bzImage, ELF nor multiboot)",
		    f->name);
}

int boot_job_run(struct boot_job *job, struct fail *why)
{
	boot_space_init(&job->space, job->config->map);
	if (job->config->flat)
		return flat_load(job, why);
	if (boot_map_low_end(job->config->map) == MAP_EXTENDED)
		return fail(why, -ENOMEM, "%s: a kernel needs more than 1 MiB of memory",
			    job->kernel.name);
	int r = bios_data(job, why);
	return r ? r : load_kernel(job, why);
}

static uint64_t ram_bytes(const struct boot_map *map)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < map->count; i++)
		if (map->range[i].type == BOOT_RAM)
			sum += map->range[i].bytes;
	return sum;
}

int boot_load(struct mem *mem, const struct boot_config *config, struct x86_state *bsp,
	      struct fail *why)
{
	struct boot_job job = { .mem = mem, .config = config, .state = bsp };
	const char *path = config->flat ? config->flat : config->kernel;
	uint64_t limit = ram_bytes(config->map);

	if (!path || (config->flat && (config->kernel || config->initrd || config->append)))
		return fail(why, -EINVAL,
			    "a machine starts from either a kernel or a flat binary; "
			    "only a kernel takes an initrd and a command line");
	int r = boot_file_open(&job.kernel, path, limit, why);
	if (!r && config->initrd)
		r = boot_file_open(&job.initrd, config->initrd, limit, why);
	if (!r)
		r = boot_job_run(&job, why);
	boot_file_close(&job.initrd);
	boot_file_close(&job.kernel);
	return r;
}
