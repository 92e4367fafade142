/*
 * elf.c - ELF32 and ELF64 kernels with a PVH note, made here, through boot/elf.c and boot/pvh.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/unit/boot_guest.h"

#define MIB       (UINT64_C(1) << 20)
#define SEGMENTS  3
#define NOTE_AT   0x180
#define CODE_AT   0x200
#define CODE_SIZE 0x300
#define IMAGE     (CODE_AT + CODE_SIZE)
#define ENTRY     (2 * MIB + 0x10)

static uint8_t image[IMAGE];
static bool is64;

enum { P_TYPE, P_OFFSET, P_VADDR, P_PADDR, P_FILESZ, P_MEMSZ, P_ALIGN, P_COUNT };

/* Where a program header field lies and how wide it is. */
static size_t ph(unsigned index, unsigned field, unsigned *bytes)
{
	static const uint8_t at64[P_COUNT] = { 0, 8, 16, 24, 32, 40, 48 };
	static const uint8_t at32[P_COUNT] = { 0, 4, 8, 12, 16, 20, 28 };

	*bytes = is64 && field != P_TYPE ? 8 : 4;
	return is64 ? 64 + 56 * index + at64[field] : 52 + 32 * index + at32[field];
}

static void set(unsigned index, unsigned field, uint64_t v)
{
	unsigned bytes;
	size_t at = ph(index, field, &bytes);

	put_le(image + at, v, bytes);
}

static void segment(unsigned index, const uint64_t value[P_COUNT])
{
	for (unsigned i = 0; i < P_COUNT; i++)
		set(index, i, value[i]);
}

static void note(size_t at, const char *name, uint32_t type, uint64_t value, unsigned bytes)
{
	put_le(image + at, 4, 4);
	put_le(image + at + 4, bytes, 4);
	put_le(image + at + 8, type, 4);
	memcpy(image + at + 12, name, 4);
	put_le(image + at + 16, value, bytes);
}

/* Code at 2 MiB linked high, data with a bss at 3 MiB, two notes of which the second is PVH's. */
static void make_image(bool wide)
{
	is64 = wide;
	memset(image, 0, sizeof(image));
	memcpy(image, "\177ELF", 4);
	image[4] = wide ? 2 : 1;
	image[5] = image[6] = 1;
	put_le(image + 16, 2, 2);
	put_le(image + 18, wide ? 62 : 3, 2);
	put_le(image + 24, 0xc0200000, 4);
	put_le(image + (wide ? 32 : 28), wide ? 64 : 52, 4);
	put_le(image + (wide ? 54 : 42), wide ? 56 : 32, 2);
	put_le(image + (wide ? 56 : 44), SEGMENTS, 2);
	segment(0, (uint64_t[]){ 1, CODE_AT, 0xc0200000, 2 * MIB, 0x200, 0x200, 4096 });
	segment(1, (uint64_t[]){ 1, CODE_AT + 0x200, 0xc0300000, 3 * MIB, 0x100, 0x5000, 4096 });
	segment(2, (uint64_t[]){ 4, NOTE_AT, 0, 0, 20 + 24, 44, 4 });
	note(NOTE_AT, "Xen", 6, 77, 4);
	note(NOTE_AT + 20, "Xen", 18, ENTRY, wide ? 8 : 4);
	for (unsigned i = CODE_AT; i < IMAGE; i++)
		image[i] = (uint8_t)(i * 5 + 3);
}

static void loads_segments_and_enters(void **state)
{
	static const uint8_t zeros[0x4f00];
	struct boot_guest g;

	(void)state;
	guest_open(&g, 16 * MIB);
	for (int wide = 0; wide < 2; wide++) {
		make_image(wide);
		uint8_t dirt[16] = { 1, 2, 3 };
		assert_int_equal(mem_load(&g.vm.mem, gpa(3 * MIB + 0x2ff8), dirt, 16), 0);
		assert_int_equal(guest_boot(&g, image, IMAGE), 0);
		assert_null(guest_entry_fault(&g));
		assert_null(guest_gdt_fault(&g));
		assert_int_equal(g.state.rip, ENTRY);
		assert_int_equal(g.state.cr0 & (CR0_PE | CR0_PG), CR0_PE);
		assert_int_equal(g.state.cr4, 0);
		assert_int_equal(g.state.tr.limit, 0x67);
		assert_memory_equal(guest_at(&g, 2 * MIB, 0x200), image + CODE_AT, 0x200);
		assert_memory_equal(guest_at(&g, 3 * MIB, 0x100), image + CODE_AT + 0x200, 0x100);
		assert_memory_equal(guest_at(&g, 3 * MIB + 0x100, 0x4f00), zeros, 0x4f00);
	}
	guest_close(&g);
}

static void fills_start_info(void **state)
{
	static const char initrd[] = "ramdisk";
	struct boot_guest g;

	(void)state;
	make_image(true);
	guest_open(&g, 16 * MIB);
	g.config.append = "root=none";
	g.config.rsdp = 0xe0000;
	guest_initrd(&g, initrd, sizeof(initrd));
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	const uint8_t *p = guest_at(&g, g.state.gpr[RBX], 56);
	assert_int_equal(get32(p), 0x336ec578);
	assert_int_equal(get32(p + 4), 1);
	assert_int_equal(get32(p + 12), 1);
	const uint8_t *module = guest_at(&g, get64(p + 16), 32);
	assert_int_equal(get64(module), 16 * MIB - 4096);
	assert_int_equal(get64(module + 8), sizeof(initrd));
	assert_string_equal((const char *)guest_at(&g, get64(module), 8), initrd);
	assert_string_equal((const char *)guest_at(&g, get64(p + 24), 10), "root=none");
	assert_int_equal(get64(p + 32), 0xe0000);
	assert_int_equal(get32(p + 48), g.map.count);
	const uint8_t *map = guest_at(&g, get64(p + 40), 24 * g.map.count);
	for (unsigned i = 0; i < g.map.count; i++) {
		assert_int_equal(get64(map + 24 * i), g.map.range[i].start);
		assert_int_equal(get64(map + 24 * i + 8), g.map.range[i].bytes);
		assert_int_equal(get32(map + 24 * i + 16), g.map.range[i].type);
	}
	guest_close(&g);
}

/* A kernel that takes the low pages itself pushes the tables up. */
static void tables_make_way(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image(true);
	set(1, P_PADDR, 0x1000);
	set(1, P_MEMSZ, 0x90000);
	guest_open(&g, 16 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_true(g.state.gpr[RBX] >= 0x91000);
	assert_true(g.state.gdtr.base >= 0x91000);
	assert_memory_equal(guest_at(&g, 0x1000, 0x100), image + CODE_AT + 0x200, 0x100);
	guest_close(&g);
}

static void refuse(size_t size, const char *reason)
{
	struct boot_guest g;

	guest_open(&g, 16 * MIB);
	assert_true(guest_boot(&g, image, size) < 0);
	if (!strstr(g.why.text, reason))
		print_error("%s\n", g.why.text);
	assert_non_null(strstr(g.why.text, reason));
	assert_ptr_equal(strstr(g.why.text, "kernel: "), g.why.text);
	guest_close(&g);
	make_image(is64);
}

static void refuses_what_it_cannot_load(void **state)
{
	(void)state;
	for (int wide = 0; wide < 2; wide++) {
		make_image(wide);
		refuse(10, "truncated");
		refuse(40, "truncated");
		refuse(100, "program headers lie outside");
		refuse(IMAGE - 1, "lies outside the file");
		image[4] = 3;
		refuse(IMAGE, "class 3");
		put_le(image + 18, 183, 2);
		refuse(IMAGE, "another processor (machine 183)");
		put_le(image + 16, 1, 2);
		refuse(IMAGE, "not an executable");
		put_le(image + (wide ? 56 : 44), 0xffff, 2);
		refuse(IMAGE, "no usable program headers");
		set(0, P_FILESZ, 0x201);
		refuse(IMAGE, "larger in the file than in memory");
		set(0, P_PADDR, 16 * MIB - 0x100);
		refuse(IMAGE, "no free memory");
		set(0, P_PADDR, 3 * MIB + 0x1000);
		refuse(IMAGE, "overlap");
		put_le(image + NOTE_AT + 20 + 16, 3 * MIB + 0x100, 4);
		refuse(IMAGE, "entry point");
		set(2, P_TYPE, 0);
		refuse(IMAGE, "neither a PVH note nor a multiboot header");
		put_le(image + NOTE_AT + 4, 0xfffffff0, 4);
		refuse(IMAGE, "neither a PVH note");
	}
}

static void survives_hostile_headers(void **state)
{
	struct boot_guest g;
	unsigned loaded;

	(void)state;
	guest_open(&g, 16 * MIB);
	for (int wide = 0; wide < 2; wide++) {
		make_image(wide);
		assert_null(guest_mutate(&g, image, IMAGE, 0, CODE_AT, 20000, &loaded));
		assert_true(loaded > 100 && loaded < 19900);
	}
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(loads_segments_and_enters),
		cmocka_unit_test(fills_start_info),
		cmocka_unit_test(tables_make_way),
		cmocka_unit_test(refuses_what_it_cannot_load),
		cmocka_unit_test(survives_hostile_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
