/*
 * multiboot.c - multiboot kernels made here, with load addresses and as ELF32.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/unit/boot_guest.h"

#define MIB       (UINT64_C(1) << 20)
#define HEADER_AT 0x400
#define IMAGE     0x1000
#define LOAD      (2 * MIB)
#define ADDRESSES 0x10000u

static uint8_t image[IMAGE];

static void header(uint32_t flags, uint32_t load_end, uint32_t bss_end, uint32_t entry)
{
	uint32_t field[] = { 0x1badb002, flags, -(0x1badb002 + flags), LOAD + 0x100, LOAD, load_end,
			     bss_end,    entry };

	for (unsigned i = 0; i < 8; i++)
		put_le(image + HEADER_AT + 4 * i, field[i], 4);
}

/* The header is 0x100 into the loaded part, which starts at 0x300 in the file. */
static void make_kludge(void)
{
	for (unsigned i = 0; i < IMAGE; i++)
		image[i] = (uint8_t)(i * 3 + 1);
	header(ADDRESSES | 3, LOAD + 0x500, LOAD + 0x2000, LOAD + 0x140);
}

/* One segment, linked at 3 GiB, for 2 MiB. */
static void make_elf(void)
{
	static const uint32_t segment[8] = { 1, 0x300, 0xc0200000, LOAD, 0x800, 0x900, 7, 4096 };

	memset(image, 0, sizeof(image));
	memcpy(image, "\177ELF\1\1\1", 7);
	put_le(image + 16, 2, 2);
	put_le(image + 18, 3, 2);
	put_le(image + 24, 0xc0200020, 4);
	put_le(image + 28, 52, 4);
	put_le(image + 42, 32, 2);
	put_le(image + 44, 1, 2);
	for (unsigned i = 0; i < 8; i++)
		put_le(image + 52 + 4 * i, segment[i], 4);
	header(3, 0, 0, 0);
}

static void loads_by_header(void **state)
{
	struct boot_guest g;

	(void)state;
	make_kludge();
	guest_open(&g, 16 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_null(guest_entry_fault(&g));
	assert_null(guest_gdt_fault(&g));
	assert_int_equal(g.state.rip, LOAD + 0x140);
	assert_int_equal(g.state.gpr[RAX], 0x2badb002);
	assert_int_equal(g.state.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_memory_equal(guest_at(&g, LOAD, 0x500), image + 0x300, 0x500);
	assert_int_equal(*guest_at(&g, LOAD + 0x500, 1), 0);
	/* No load end: the whole file; no bss. */
	header(ADDRESSES, 0, 0, LOAD + 0x140);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_memory_equal(guest_at(&g, LOAD, 0xd00), image + 0x300, 0xd00);
	guest_close(&g);
}

static void loads_elf32_with_a_virtual_entry(void **state)
{
	struct boot_guest g;

	(void)state;
	make_elf();
	guest_open(&g, 16 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_int_equal(g.state.rip, LOAD + 0x20);
	assert_memory_equal(guest_at(&g, LOAD, 0x800), image + 0x300, 0x800);
	guest_close(&g);
}

static void fills_information(void **state)
{
	static const char initrd[] = "module";
	struct boot_guest g;

	(void)state;
	make_kludge();
	guest_open(&g, 4096 * MIB);
	const uint8_t *p;
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	p = guest_at(&g, g.state.gpr[RBX], 128);
	assert_int_equal(get32(p), 0x245); /* no modules */
	assert_int_equal(*guest_at(&g, get32(p + 16), 1), 0);

	g.config.append = "one two";
	guest_initrd(&g, initrd, sizeof(initrd));
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	p = guest_at(&g, g.state.gpr[RBX], 128);
	assert_int_equal(get32(p), 0x24d);
	assert_int_equal(get32(p + 4), 639);
	assert_int_equal(get32(p + 8), (MAP_LOW_END - MIB) / 1024); /* KiB from 1 MiB on */
	assert_string_equal((const char *)guest_at(&g, get32(p + 16), 8), "one two");
	assert_string_equal((const char *)guest_at(&g, get32(p + 64), 8), "trapeze");
	assert_int_equal(get32(p + 20), 1);
	const uint8_t *module = guest_at(&g, get32(p + 24), 16);
	assert_int_equal(get32(module) & 4095, 0);
	assert_true(get32(module) >= MIB);
	assert_int_equal(get32(module + 4) - get32(module), sizeof(initrd));
	assert_string_equal((const char *)guest_at(&g, get32(module), 7), initrd);
	assert_int_equal(*guest_at(&g, get32(module + 8), 1), 0);
	const uint8_t *map = guest_at(&g, get32(p + 48), get32(p + 44));
	assert_int_equal(get32(p + 44), 24 * g.map.count);
	for (unsigned i = 0; i < g.map.count; i++, map += 4 + get32(map)) {
		assert_int_equal(get64(map + 4), g.map.range[i].start);
		assert_int_equal(get64(map + 12), g.map.range[i].bytes);
		assert_int_equal(get32(map + 20), g.map.range[i].type);
	}
	guest_close(&g);
}

static void refuse(const char *reason)
{
	struct boot_guest g;

	guest_open(&g, 16 * MIB);
	assert_true(guest_boot(&g, image, IMAGE) < 0);
	if (!strstr(g.why.text, reason))
		print_error("%s\n", g.why.text);
	assert_non_null(strstr(g.why.text, reason));
	assert_ptr_equal(strstr(g.why.text, "kernel: "), g.why.text);
	guest_close(&g);
}

static void refuses_what_it_cannot_load(void **state)
{
	(void)state;
	make_kludge();
	header(ADDRESSES | 8, 0, 0, LOAD);
	refuse("multiboot features 0x8");
	header(3, 0, 0, 0);
	refuse("not ELF");
	header(ADDRESSES, LOAD + 0xd01, 0, LOAD);
	refuse("truncated: multiboot header asks for 1 bytes more");
	header(ADDRESSES, LOAD - 1, 0, LOAD);
	refuse("load end is below");
	header(ADDRESSES, LOAD + 0x500, LOAD + 0x4ff, LOAD);
	refuse("bss end is below");
	header(ADDRESSES, LOAD + 0x500, 0, LOAD + 0x500);
	refuse("entry point 0x200500");
	header(ADDRESSES, LOAD + 0x500, 0xfffffff0, LOAD);
	refuse("no free memory");
	header(ADDRESSES, 0, 0, LOAD);
	put_le(image + HEADER_AT + 16, LOAD - 0x400, 4);
	refuse("load address");
	image[HEADER_AT + 8]++; /* checksum */
	refuse("not a kernel");
	make_elf();
	put_le(image + 24, 0xc0200800, 4); /* in the bss */
	refuse("entry point");
	memcpy(image, "\177ELF\2", 5);
	put_le(image + 32, 64, 8);
	put_le(image + 54, 56, 2);
	put_le(image + 56, 1, 2);
	refuse("ELF64");
}

static void survives_hostile_headers(void **state)
{
	static uint8_t initrd[5000];
	struct boot_guest g;
	unsigned loaded;

	(void)state;
	guest_open(&g, 16 * MIB);
	guest_initrd(&g, initrd, sizeof(initrd));
	make_kludge();
	assert_null(guest_mutate(&g, image, IMAGE, HEADER_AT + 12, HEADER_AT + 32, 20000, &loaded));
	assert_true(loaded > 100 && loaded < 19900);
	make_elf();
	assert_null(guest_mutate(&g, image, IMAGE, 0, 84, 20000, &loaded));
	assert_true(loaded > 100 && loaded < 19900);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_by_header),
		cmocka_unit_test(loads_elf32_with_a_virtual_entry),
		cmocka_unit_test(fills_information),
		cmocka_unit_test(refuses_what_it_cannot_load),
		cmocka_unit_test(survives_hostile_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
