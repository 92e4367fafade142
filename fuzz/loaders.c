/*
 * loaders.c - libFuzzer target: any bytes as a kernel, in machines of three sizes.
 *
 * The first byte picks the machine, the initrd, the command line and a template: the
 * rest of the input is xored over a good bzImage, ELF or multiboot kernel (or over
 * nothing), so that all loaders are reached from the first minute. A kernel that is
 * taken must leave a state the processor would accept, with nothing overlapping.
 *
 * Run by `make fuzz-loaders`.
 * SPDX-License-Identifier: MIT
 */
#include "host/host.h"
#include "test/unit/boot_guest.h"

#define MIB          (UINT64_C(1) << 20)
#define MACHINES     3
#define KERNEL_LEAST 2048 /* of a template */
#define PREFIX       9    /* choice, initrd size, flat address */

struct patch {
	uint16_t at;
	uint8_t bytes;
	uint64_t value;
};

/* clang-format off */
static const struct patch linux_image[] = {
	{ 0x1f1, 1, 1 }, { 0x1fe, 2, 0xaa55 }, { 0x200, 2, 0x66eb }, { 0x202, 4, 0x53726448 },
	{ 0x206, 2, 0x20f }, { 0x211, 1, 1 }, { 0x22c, 4, 0x7fffffff }, { 0x230, 4, 0x200000 },
	{ 0x234, 1, 1 }, { 0x236, 2, 1 }, { 0x238, 4, 2047 }, { 0x258, 8, 0x1000000 },
	{ 0x260, 4, 0x100000 }, { 0, 0, 0 },
};
static const struct patch elf64_image[] = {
	{ 0, 4, 0x464c457f }, { 4, 3, 0x10102 }, { 16, 2, 2 }, { 18, 2, 62 }, { 24, 8, 0x200000 },
	{ 32, 8, 64 }, { 54, 2, 56 }, { 56, 2, 2 },
	{ 64, 4, 1 }, { 72, 8, 512 }, { 80, 8, 0x200000 }, { 88, 8, 0x200000 }, { 96, 8, 512 },
	{ 104, 8, 8192 }, { 120, 4, 4 }, { 128, 8, 256 }, { 152, 8, 24 }, { 160, 8, 24 },
	{ 256, 4, 4 }, { 260, 4, 8 }, { 264, 4, 18 }, { 268, 4, 0x6e6558 }, { 272, 8, 0x200000 },
	{ 0, 0, 0 },
};
static const struct patch elf32_image[] = {
	{ 0, 4, 0x464c457f }, { 4, 3, 0x10101 }, { 16, 2, 2 }, { 18, 2, 3 }, { 24, 4, 0x200000 },
	{ 28, 4, 52 }, { 42, 2, 32 }, { 44, 2, 1 },
	{ 52, 4, 1 }, { 56, 4, 512 }, { 60, 4, 0x200000 }, { 64, 4, 0x200000 }, { 68, 4, 512 },
	{ 72, 4, 8192 }, { 128, 4, 0x1badb002 }, { 132, 4, 3 }, { 136, 4, 0xe4524ffb },
	{ 0, 0, 0 },
};
static const struct patch multiboot_image[] = {
	{ 128, 4, 0x1badb002 }, { 132, 4, 0x10003 }, { 136, 4, 0xe4514ffb }, { 140, 4, 0x200080 },
	{ 144, 4, 0x200000 }, { 148, 4, 0 }, { 152, 4, 0x204000 }, { 156, 4, 0x200100 },
	{ 0, 0, 0 },
};
static const struct patch nothing[] = { { 0, 0, 0 } };
/* clang-format on */

static const struct patch *const template[8] = { nothing,         linux_image,     elf64_image,
						 elf32_image,     multiboot_image, linux_image,
						 multiboot_image, nothing };

static struct boot_guest guest[MACHINES];

static void power_on(void)
{
	static const uint64_t ram[MACHINES] = { 4 * MIB, 64 * MIB, 5120 * MIB };

	for (unsigned i = 0; i < MACHINES; i++) {
		if (guest[i].vm.engine)
			guest_close(&guest[i]);
		guest_open(&guest[i], ram[i]);
	}
}

static void check(struct boot_guest *g)
{
	const struct boot_space *space = &g->job.space;
	const char *fault = guest_entry_fault(g);

	if (!fault && (g->state.cr0 & CR0_PE))
		fault = guest_gdt_fault(g);
	for (unsigned i = 0; i < space->count && !fault; i++)
		for (unsigned k = 0; k < i; k++)
			if (space->used[i].start < space->used[k].start + space->used[k].bytes &&
			    space->used[k].start < space->used[i].start + space->used[i].bytes)
				fault = "ranges overlap";
	if (fault) {
		fprintf(stderr, "%s\n", fault);
		abort();
	}
}

/* A heap copy of exactly the kernel's size, so that reading past its end is seen. */
static uint8_t *make_kernel(const struct patch *t, const uint8_t *over, size_t size, size_t *bytes)
{
	*bytes = t->bytes && size < KERNEL_LEAST ? KERNEL_LEAST : size;
	uint8_t *kernel = calloc(*bytes ? *bytes : 1, 1);

	for (; t->bytes; t++)
		put_le(kernel + t->at, t->value, t->bytes);
	for (size_t i = 0; i < size; i++)
		kernel[i] ^= over[i];
	return kernel;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned runs;
	static uint8_t initrd[65536];
	size_t bytes;

	if (runs++ % 4096 == 0)
		power_on(); /* gives back what earlier runs touched */
	if (size < PREFIX)
		return 0;
	struct boot_guest *g = &guest[data[0] % MACHINES];
	uint8_t *kernel = make_kernel(template[data[0] >> 5], data + PREFIX, size - PREFIX, &bytes);
	bool flat = data[0] >> 5 == 7;
	g->config.flat = flat ? "flat" : NULL;
	g->config.flat_at = get_le(data + 3, 6);
	g->config.append = data[0] & 0x10 ? "console=ttyS0" : NULL;
	guest_initrd(g, data[0] & 0x08 ? initrd : NULL, data[0] & 0x08 ? 1 + get16(data + 1) : 0);
	if (bytes && guest_boot(g, kernel, bytes) == 0)
		check(g);
	free(kernel);
	return 0;
}
