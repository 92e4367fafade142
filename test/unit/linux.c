/*
 * linux.c - the memory map, and a bzImage made here, through boot/linux.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "cpu/msr.h"
#include "test/cmocka.h"
#include "test/unit/boot_guest.h"

#define MIB       (UINT64_C(1) << 20)
#define SETUP     (5 * 512)
#define PAYLOAD   6000
#define IMAGE     (SETUP + PAYLOAD)
#define PREF      (16 * MIB)
#define INIT_SIZE (8 * MIB)

static uint8_t image[IMAGE];

/* A relocatable 64-bit kernel for 16 MiB that needs 8 MiB to unpack itself. */
static void make_image(void)
{
	memset(image, 0, sizeof(image));
	image[0x1f1] = 4;
	put_le(image + 0x1f4, PAYLOAD / 16, 4);
	put_le(image + 0x1fe, 0xaa55, 2);
	image[0x200] = 0xeb;
	image[0x201] = 0x66; /* the header ends at 0x268 */
	memcpy(image + 0x202, "HdrS", 4);
	put_le(image + 0x206, 0x20f, 2);
	image[0x211] = 1;
	put_le(image + 0x22c, 0x7fffffff, 4);
	put_le(image + 0x230, 0x200000, 4);
	image[0x234] = 1;
	put_le(image + 0x236, 1, 2);
	put_le(image + 0x238, 100, 4);
	put_le(image + 0x258, PREF, 8);
	put_le(image + 0x260, INIT_SIZE, 4);
	for (unsigned i = SETUP; i < IMAGE; i++)
		image[i] = (uint8_t)(i * 7 + 1);
}

static void map_follows_the_pc(void **state)
{
	static const struct {
		uint64_t ram;
		unsigned count, slots;
		uint64_t last_end;
	} row[] = {
		{16 << 10,    1, 1, 16 << 10  },
		{ 640 << 10,  2, 1, 640 << 10 },
		{ MIB,        3, 2, MIB       },
		{ 512 * MIB,  4, 2, 512 * MIB },
		{ 2048 * MIB, 4, 2, 2048 * MIB},
		{ 3072 * MIB, 5, 3, 5120 * MIB},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct boot_range slot[BOOT_SLOTS_MAX];
		struct boot_map map;
		boot_map_build(&map, row[i].ram);
		assert_int_equal(map.count, row[i].count);
		const struct boot_range *last = &map.range[map.count - 1];
		assert_int_equal(last->start + last->bytes, row[i].last_end);
		assert_int_equal(boot_map_slots(slot, row[i].ram), row[i].slots);
		for (unsigned k = 1; k < map.count; k++)
			assert_true(map.range[k - 1].start + map.range[k - 1].bytes <=
				    map.range[k].start);
	}
}

static void space_never_overlaps(void **state)
{
	struct boot_space space;
	struct boot_map map;
	uint64_t at, seed = 12345;

	(void)state;
	boot_map_build(&map, 64 * MIB);
	boot_space_init(&space, &map);
	assert_int_equal(boot_space_claim(&space, 0, 1), -EEXIST);
	assert_int_equal(boot_space_claim(&space, MAP_VGA, 1), -EFAULT);
	assert_int_equal(boot_space_claim(&space, 63 * MIB, UINT64_MAX), -EFAULT);
	assert_int_equal(boot_space_claim(&space, UINT64_MAX, 2), -EFAULT);
	while (space.count < BOOT_USED_MAX) {
		uint64_t bytes = 1 + guest_random(&seed) % (2 * MIB);
		int r = seed & 1 ? boot_space_high(&space, bytes, 40 * MIB, &at)
				 : boot_space_low(&space, PAGE_SIZE, bytes, 64, &at);
		if (r)
			break;
		for (unsigned i = 0; i + 1 < space.count; i++)
			assert_true(at + bytes <= space.used[i].start ||
				    space.used[i].start + space.used[i].bytes <= at);
	}
	assert_true(space.count > 20);
}

static void enters_long_mode(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_null(guest_entry_fault(&g));
	assert_null(guest_gdt_fault(&g));
	assert_int_equal(g.state.rip, PREF + 0x200);
	assert_int_equal(g.state.seg[CS].selector, 0x10);
	assert_int_equal(g.state.seg[SS].selector, 0x18);
	assert_true(g.state.efer & EFER_LMA);
	assert_memory_equal(guest_at(&g, PREF, PAYLOAD), image + SETUP, PAYLOAD);
	guest_close(&g);
}

/* The walk of a 2 MiB page, by hand. */
static uint64_t translate(struct boot_guest *g, uint64_t at)
{
	uint64_t e = g->state.cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		e = get64(guest_at(g, (e & ~UINT64_C(0xfff)) + (at >> shift & 511) * 8, 8));
		assert_int_equal(e & 3, 3);
	}
	assert_true(e & 0x80);
	return (e & ~UINT64_C(0x1fffff)) | (at & 0x1fffff);
}

static void maps_4_gib(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	for (uint64_t at = 0; at < MAP_HIGH; at += 0x1fff7)
		assert_int_equal(translate(&g, at), at);
	assert_int_equal(get64(guest_at(&g, g.state.cr3 + 8, 8)), 0);
	guest_close(&g);
}

/* What the processor would refuse in an MSR must not be in the state either. */
static void sets_memory_types(void **state)
{
	const struct cpu_model *m = cpu_models[0];
	struct boot_guest g;
	struct x86_state copy;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	x86_state_reset(&copy, true);
	assert_int_equal(msr_write(m, &copy, MSR_MTRR_DEF_TYPE, g.state.mtrr_def_type), MSR_OK);
	assert_int_equal(msr_write(m, &copy, MSR_MTRR_PHYSBASE0, g.state.mtrr_base[0]), MSR_OK);
	assert_int_equal(msr_write(m, &copy, MSR_MTRR_PHYSBASE0 + 1, g.state.mtrr_mask[0]), MSR_OK);
	assert_int_equal(g.state.mtrr_def_type, 0xc06);
	/* The whole device hole, and nothing else, is uncacheable. */
	assert_int_equal(g.state.mtrr_base[0], 0x80000000);
	assert_int_equal(g.state.mtrr_mask[0] & 0xffffffff, 0x80000800);
	assert_true(g.state.mtrr_fixed[1] == UINT64_C(0x0606060606060606));
	assert_int_equal(g.state.mtrr_fixed[2], 0);
	assert_int_equal(g.state.mtrr_fixed[6], 0);
	assert_true(g.state.mtrr_fixed[7] == UINT64_C(0x0606060606060606));
	guest_close(&g);
}

/* With an adapter in text mode the kernel is told what INT 10h would say. */
static void describes_the_screen(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	g.config.vga = true;
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	const uint8_t *p = guest_at(&g, g.state.gpr[RSI], 4096);
	assert_int_equal(p[0x006], 3);
	assert_int_equal(p[0x007], 80);
	assert_int_equal(p[0x00e], 25);
	assert_int_equal(p[0x00f], 1);
	assert_int_equal(p[0x010], 16);
	guest_close(&g);
}

static void fills_boot_params(void **state)
{
	static const char initrd[] = "an initial ram disk";
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 4096 * MIB);
	g.config.append = "console=ttyS0 quiet";
	g.config.rsdp = 0xe0000;
	guest_initrd(&g, initrd, sizeof(initrd));
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	const uint8_t *p = guest_at(&g, g.state.gpr[RSI], 4096);
	assert_memory_equal(p + 0x202, image + 0x202, 14);
	assert_int_equal(p[0x1ef], 0); /* sentinel */
	assert_int_equal(p[0x00f], 0); /* no VGA */
	assert_int_equal(p[0x210], 0xff);
	assert_int_equal(get32(p + 0x214), PREF);
	assert_int_equal(get64(p + 0x70), 0xe0000);
	assert_string_equal((const char *)guest_at(&g, get32(p + 0x228), 20),
			    "console=ttyS0 quiet");
	/* As high as initrd_addr_max allows, on a page. */
	assert_int_equal(get32(p + 0x218), 0x7ffff000);
	assert_int_equal(get32(p + 0x21c), sizeof(initrd));
	assert_string_equal((const char *)guest_at(&g, 0x7ffff000, sizeof(initrd)), initrd);
	assert_int_equal(p[0x1e8], 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(get64(p + 0x2d0 + 20 * i), g.map.range[i].start);
		assert_int_equal(get64(p + 0x2d8 + 20 * i), g.map.range[i].bytes);
		assert_int_equal(get32(p + 0x2e0 + 20 * i), g.map.range[i].type);
	}
	assert_int_equal(get16(guest_at(&g, 0x413, 2)), 639);
	guest_close(&g);
}

static void initrd_leaves_room_to_unpack(void **state)
{
	static uint8_t initrd[3 * 4096];
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 25 * MIB); /* one MiB more than the kernel needs */
	guest_initrd(&g, initrd, sizeof(initrd));
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_int_equal(get32(guest_at(&g, g.state.gpr[RSI] + 0x218, 4)),
			 25 * MIB - sizeof(initrd));
	/* No room above: below the kernel. */
	put_le(image + 0x260, 9 * MIB, 4);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_int_equal(get32(guest_at(&g, g.state.gpr[RSI] + 0x218, 4)), PREF - sizeof(initrd));
	guest_close(&g);
}

static void enters_protected_mode(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	for (unsigned i = 0; i < 2; i++) {
		if (i == 0)
			put_le(image + 0x236, 0, 2); /* a 32-bit kernel */
		else
			put_le(image + 0x206, 0x20b, 2); /* before xloadflags */
		assert_int_equal(guest_boot(&g, image, IMAGE), 0);
		assert_null(guest_entry_fault(&g));
		assert_null(guest_gdt_fault(&g));
		assert_int_equal(g.state.rip, PREF);
		assert_false(g.state.cr0 & CR0_PG);
		assert_true(g.state.seg[CS].attr & SEG_DB);
		assert_int_equal(g.state.gpr[RBX] | g.state.gpr[RBP] | g.state.gpr[RDI], 0);
		assert_int_equal(get32(guest_at(&g, g.state.gpr[RSI] + 0x202, 4)), 0x53726448);
		make_image();
	}
	guest_close(&g);
}

static void not_relocatable_loads_at_1_mib(void **state)
{
	struct boot_guest g;

	(void)state;
	make_image();
	image[0x234] = 0;
	guest_open(&g, 64 * MIB);
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	assert_int_equal(g.state.rip, MIB + 0x200);
	assert_memory_equal(guest_at(&g, MIB, PAYLOAD), image + SETUP, PAYLOAD);
	guest_close(&g);
}

static void refuse(uint64_t ram, size_t size, const char *reason)
{
	struct boot_guest g;

	guest_open(&g, ram);
	assert_true(guest_boot(&g, image, size) < 0);
	assert_non_null(strstr(g.why.text, reason));
	assert_ptr_equal(strstr(g.why.text, "kernel: "), g.why.text);
	guest_close(&g);
	make_image();
}

static void refuses_what_it_cannot_start(void **state)
{
	(void)state;
	make_image();
	refuse(23 * MIB, IMAGE, "needs the memory from 0x1000000 to 0x1800000 (8 MiB)");
	refuse(MIB, IMAGE, "more than 1 MiB");
	refuse(64 * MIB, IMAGE - 20, "truncated");
	refuse(64 * MIB, IMAGE - 16, "truncated");
	refuse(64 * MIB, SETUP, "truncated");
	refuse(64 * MIB, 0x220, "truncated in its header");
	refuse(64 * MIB, 0x200, "not a kernel");
	put_le(image + 0x206, 0x209, 2);
	refuse(64 * MIB, IMAGE, "protocol 2.09 is too old");
	image[0x211] = 0;
	refuse(64 * MIB, IMAGE, "zImage");
	put_le(image + 0x230, 0x300000, 4);
	refuse(64 * MIB, IMAGE, "not a power of two");
	put_le(image + 0x258, UINT64_MAX, 8);
	refuse(64 * MIB, IMAGE, "above 4 GiB");
	put_le(image + 0x1f4, 0xffffffff, 4);
	refuse(64 * MIB, IMAGE, "truncated");
	put_le(image + 0x260, 0xffffffff, 4);
	refuse(64 * MIB, IMAGE, "(4096 MiB) to start");
}

static void refuses_command_line_and_initrd(void **state)
{
	static uint8_t initrd[2 * 1048576];
	struct boot_guest g;
	char text[102];

	(void)state;
	make_image();
	guest_open(&g, 25 * MIB);
	memset(text, 'x', 101);
	text[101] = 0;
	g.config.append = text;
	assert_int_equal(guest_boot(&g, image, IMAGE), -EINVAL);
	assert_string_equal(g.why.text,
			    "kernel: takes a command line of at most 100 bytes, not 101");
	text[100] = 0;
	assert_int_equal(guest_boot(&g, image, IMAGE), 0);
	guest_initrd(&g, initrd, sizeof(initrd));
	put_le(image + 0x22c, 2 * MIB, 4);
	assert_int_equal(guest_boot(&g, image, IMAGE), -ENOMEM);
	assert_string_equal(g.why.text,
			    "initrd: 2097152 bytes do not fit in memory beside the kernel");
	guest_close(&g);
}

static void survives_hostile_headers(void **state)
{
	static uint8_t initrd[10000];
	struct boot_guest g;
	unsigned loaded;

	(void)state;
	make_image();
	guest_open(&g, 64 * MIB);
	g.config.append = "a=b";
	guest_initrd(&g, initrd, sizeof(initrd));
	assert_null(guest_mutate(&g, image, IMAGE, 0x1f1, 0x26c, 20000, &loaded));
	assert_true(loaded > 100 && loaded < 19900);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_follows_the_pc),
		cmocka_unit_test(space_never_overlaps),
		cmocka_unit_test(enters_long_mode),
		cmocka_unit_test(maps_4_gib),
		cmocka_unit_test(sets_memory_types),
		cmocka_unit_test(describes_the_screen),
		cmocka_unit_test(fills_boot_params),
		cmocka_unit_test(initrd_leaves_room_to_unpack),
		cmocka_unit_test(enters_protected_mode),
		cmocka_unit_test(not_relocatable_loads_at_1_mib),
		cmocka_unit_test(refuses_what_it_cannot_start),
		cmocka_unit_test(refuses_command_line_and_initrd),
		cmocka_unit_test(survives_hostile_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
