/*
 * vga.c - tests of the text adapter: registers, the way into the planes, what is seen.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/vga.h"
#include "test/device/harness.h"

enum { ATTR = 0x3c0, MISC = 0x3c2, SEQ = 0x3c4, DAC = 0x3c7, GFX = 0x3ce, CRTC = 0x3d4 };
enum { CRTC_MONO = 0x3b4, STATUS = 0x3da };
enum { TEXT = 0xb8000, GRAPHICS = 0xa0000 };

static struct vga_screen screen;
static struct device *vga;
static unsigned changes;

static void picture_changed(void *arg)
{
	(void)arg;
	changes++;
}

static void build(struct rig *rig)
{
	struct vga_config config = {
		.id = "vga",
		.ports = 0x3b0,
		.memory = { VGA_MEMORY },
		.backend = { .changed = picture_changed },
	};

	assert_int_equal(vga_create(rig->vm, &config, &vga, NULL), 0);
}

static uint32_t peek(struct rig *rig, uint32_t at, unsigned size)
{
	struct io_access io = { .addr = at, .size = (uint8_t)size };

	bus_access(rig->vm, &rig->vm->mmio, &io);
	return (uint32_t)io.data;
}

static void poke(struct rig *rig, uint32_t at, uint32_t value, unsigned size)
{
	struct io_access io = { .addr = at, .data = value, .size = (uint8_t)size, .write = true };

	bus_access(rig->vm, &rig->vm->mmio, &io);
}

static void indexed(struct rig *rig, uint16_t port, uint8_t index, uint8_t value)
{
	rig_out(rig, port, (uint32_t)value << 8 | index, 2);
}

static uint8_t get_indexed(struct rig *rig, uint16_t port, uint8_t index)
{
	outb(rig, port, index);
	return inb(rig, (uint16_t)(port + 1));
}

static void look(void)
{
	vga_look(vga, &screen);
}

static void test_power_on(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	look();
	assert_false(screen.graphics);
	assert_int_equal(screen.columns, 80);
	assert_int_equal(screen.rows, 25);
	assert_int_equal(screen.cell[80 * 25 - 1], 0x0720);
	assert_int_equal(screen.cursor_row, 0);
	assert_int_equal(screen.cursor_column, 0);
	assert_int_equal(inb(&rig, 0x3cc), 0x67);
	rig_close(&rig);
}

static void test_text(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	poke(&rig, TEXT, 0x1f41, 2);
	poke(&rig, TEXT + 160, 0x4f434e42, 4);
	poke(&rig, TEXT + 4, 'x', 1);
	look();
	assert_int_equal(screen.cell[0], 0x1f41);
	assert_int_equal(screen.cell[80], 0x4e42);
	assert_int_equal(screen.cell[81], 0x4f43);
	assert_int_equal(screen.cell[2], 0x0778);
	assert_int_equal(peek(&rig, TEXT + 160, 4), 0x4f434e42);
	/* Elsewhere in a0000-bffff nobody answers. */
	assert_int_equal(peek(&rig, GRAPHICS, 2), 0xffff);
	poke(&rig, 0xb0000, 0, 2);
	look();
	assert_int_equal(screen.cell[0], 0x1f41);
	rig_close(&rig);
}

static void test_scrolled(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	poke(&rig, TEXT + 2 * 800, 0x0758, 2);
	indexed(&rig, CRTC, 0x0c, 800 >> 8);
	indexed(&rig, CRTC, 0x0d, 800 & 0xff);
	indexed(&rig, CRTC, 0x0e, 893 >> 8);
	indexed(&rig, CRTC, 0x0f, 893 & 0xff);
	look();
	assert_int_equal(screen.cell[0], 0x0758);
	assert_int_equal(screen.cursor_row, 1);
	assert_int_equal(screen.cursor_column, 13);
	indexed(&rig, CRTC, 0x0a, 0x20);
	look();
	assert_int_equal(screen.cursor_row, -1);
	rig_close(&rig);
}

/* Fonts go to plane 2, one byte after the other. */
static void test_planes(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	poke(&rig, TEXT, 0x0741, 2);
	indexed(&rig, SEQ, 2, 0x04);
	indexed(&rig, SEQ, 4, 0x07);
	indexed(&rig, GFX, 4, 2);
	indexed(&rig, GFX, 5, 0);
	indexed(&rig, GFX, 6, 0x04);
	poke(&rig, GRAPHICS, 0x3c18, 2);
	assert_int_equal(peek(&rig, GRAPHICS, 2), 0x3c18);
	indexed(&rig, GFX, 4, 0);
	assert_int_equal(peek(&rig, GRAPHICS, 1), 0x41); /* the character is still there */
	rig_close(&rig);
}

/* Write modes, the latch, and read mode 1, as 16-color graphics use them. */
static void test_write_modes(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	indexed(&rig, SEQ, 2, 0x0f);
	indexed(&rig, SEQ, 4, 0x06);
	indexed(&rig, GFX, 6, 0x05);
	indexed(&rig, GFX, 5, 2); /* mode 2: the data is a color */
	poke(&rig, GRAPHICS, 5, 1);
	indexed(&rig, GFX, 5, 0);
	for (unsigned plane = 0; plane < 4; plane++) {
		indexed(&rig, GFX, 4, (uint8_t)plane);
		assert_int_equal(peek(&rig, GRAPHICS, 1), plane & 1 ? 0 : 0xff);
	}
	indexed(&rig, GFX, 8, 0x0f); /* the upper half stays as it was latched */
	poke(&rig, GRAPHICS, 0, 1);
	indexed(&rig, GFX, 4, 2);
	assert_int_equal(peek(&rig, GRAPHICS, 1), 0xf0);
	indexed(&rig, GFX, 8, 0xff);
	indexed(&rig, GFX, 5, 1); /* mode 1: the latch is copied */
	poke(&rig, GRAPHICS + 9, 0x55, 1);
	indexed(&rig, GFX, 5, 8); /* which pixels have color 5? */
	indexed(&rig, GFX, 2, 5);
	indexed(&rig, GFX, 7, 0x0f);
	assert_int_equal(peek(&rig, GRAPHICS + 9, 1), 0xf0);
	indexed(&rig, GFX, 5, 3); /* mode 3: the data masks set/reset */
	indexed(&rig, GFX, 0, 0x0f);
	peek(&rig, GRAPHICS + 20, 1);
	poke(&rig, GRAPHICS + 20, 0x81, 1);
	indexed(&rig, GFX, 5, 0);
	assert_int_equal(peek(&rig, GRAPHICS + 20, 1), 0x81);
	look();
	assert_true(screen.graphics);
	rig_close(&rig);
}

static void test_registers(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	/* Registers 0 to 7 are protected, but for one bit. */
	indexed(&rig, CRTC, 0x00, 0x12);
	assert_int_equal(get_indexed(&rig, CRTC, 0x00), 0x5f);
	indexed(&rig, CRTC, 0x07, 0x00);
	assert_int_equal(get_indexed(&rig, CRTC, 0x07), 0x0f);
	indexed(&rig, CRTC, 0x11, 0x0e);
	indexed(&rig, CRTC, 0x00, 0x12);
	assert_int_equal(get_indexed(&rig, CRTC, 0x00), 0x12);
	/* One address of the CRT controller at a time. */
	assert_int_equal(inb(&rig, CRTC_MONO), 0xff);
	outb(&rig, MISC, 0x66);
	assert_int_equal(inb(&rig, CRTC), 0xff);
	assert_int_equal(get_indexed(&rig, CRTC_MONO, 0x00), 0x12);
	outb(&rig, MISC, 0x67);
	/* Index and data in turn; reading the status begins anew. */
	inb(&rig, STATUS);
	outb(&rig, ATTR, 0x12);
	outb(&rig, ATTR, 0x05);
	outb(&rig, ATTR, 0x12);
	assert_int_equal(inb(&rig, ATTR + 1), 0x05);
	inb(&rig, STATUS);
	outb(&rig, ATTR, 0x13);
	assert_int_equal(inb(&rig, ATTR), 0x13);
	look();
	assert_int_equal(screen.columns, 0); /* the palette is the CPU's: the screen is dark */
	rig_close(&rig);
}

static void test_dac(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, DAC + 1, 255);
	for (uint8_t i = 0; i < 6; i++)
		outb(&rig, DAC + 2, 0xc0 | i);
	outb(&rig, DAC, 255);
	assert_int_equal(inb(&rig, DAC), 3);
	for (uint8_t i = 0; i < 6; i++)
		assert_int_equal(inb(&rig, DAC + 2), i); /* comes round to color 0 */
	outb(&rig, DAC, 20);                             /* brown is a darker yellow */
	assert_int_equal(inb(&rig, DAC + 2), 0x2a);
	assert_int_equal(inb(&rig, DAC + 2), 0x15);
	assert_int_equal(inb(&rig, DAC + 2), 0);
	rig_close(&rig);
}

static void test_retrace_comes_and_goes(void **state)
{
	unsigned seen = 0, last = 0;
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	for (unsigned i = 0; i < 1000; i++, rig_step(&rig, 30000)) {
		unsigned now = inb(&rig, STATUS) & 8;

		seen += now && !last;
		last = now;
	}
	assert_int_equal(seen, 2); /* 30 ms at 70 Hz */
	rig_close(&rig);
}

static void test_tells_once(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	look();
	changes = 0;
	poke(&rig, TEXT, 0x0741, 2);
	poke(&rig, TEXT, 0x0742, 2);
	assert_int_equal(changes, 1);
	look();
	indexed(&rig, CRTC, 0x0f, 1);
	assert_int_equal(changes, 2);
	rig_close(&rig);
}

/* A hostile size is cut off. */
static void test_biggest(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	indexed(&rig, CRTC, 0x11, 0);
	indexed(&rig, CRTC, 0x01, 0xff);
	indexed(&rig, CRTC, 0x07, 0xff);
	indexed(&rig, CRTC, 0x12, 0xff);
	indexed(&rig, CRTC, 0x09, 0);
	indexed(&rig, CRTC, 0x13, 0);
	look();
	assert_int_equal(screen.columns, VGA_COLUMNS_MAX);
	assert_int_equal(screen.rows, VGA_ROWS_MAX);
	assert_int_equal(screen.cursor_row, -1);
	rig_close(&rig);
}

static uint32_t stir(struct rig *rig, uint64_t random)
{
	uint32_t at = GRAPHICS + ((random >> 8) & 0x1fff8);
	unsigned size = 1u << (random & 3);

	if (random & 8) {
		poke(rig, at, (uint32_t)(random >> 32), size);
		look();
		return screen.columns;
	}
	return peek(rig, at, size);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build,
		{{ 0x3b0, 48 }, { 0x3c0, 32 }},
		.rounds = 60,
		.longest_ns = 100000,
		.stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_on),    cmocka_unit_test(test_text),
		cmocka_unit_test(test_scrolled),    cmocka_unit_test(test_planes),
		cmocka_unit_test(test_write_modes), cmocka_unit_test(test_registers),
		cmocka_unit_test(test_dac),         cmocka_unit_test(test_retrace_comes_and_goes),
		cmocka_unit_test(test_tells_once),  cmocka_unit_test(test_biggest),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
