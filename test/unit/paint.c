/*
 * paint.c - tests of paint.c: a screen as what a terminal wants.
 *
 * SPDX-License-Identifier: MIT
 */
#include "control/paint.c"
#include "test/cmocka.h"

static struct vga_screen before, now;
static char bytes[DISPLAY_BYTES_MAX + 1];

static void fill(struct vga_screen *s, unsigned columns, unsigned rows)
{
	memset(s, 0, sizeof(*s));
	s->columns = columns;
	s->rows = rows;
	for (unsigned i = 0; i < columns * rows; i++)
		s->cell[i] = 0x0720;
}

static const char *paint(const struct vga_screen *old, unsigned rows, unsigned columns)
{
	size_t n = display_paint(bytes, &now, old, rows, columns);

	assert_true(n < sizeof(bytes));
	bytes[n] = '\0';
	return bytes;
}

static void test_only_what_differs(void **state)
{
	(void)state;
	fill(&now, 4, 3);
	before = now;
	now.cell[5] = 0x1f41;
	assert_string_equal(paint(&before, 25, 80), "\033[?25l\033[2;1H\033[0;37;40m \033[0;97;44mA"
						    "\033[0;37;40m  \033[0m\033[K"
						    "\033[1;1H\033[?25h");
	before = now;
	now.cursor_row = -1;
	assert_string_equal(paint(&before, 25, 80), "\033[?25l");
}

static void test_colors(void **state)
{
	(void)state;
	fill(&now, 1, 1);
	now.cell[0] = 0xce58; /* yellow on red, blinking or bright */
	now.blink = true;
	assert_non_null(strstr(paint(NULL, 25, 80), "\033[0;93;41;5mX"));
	now.blink = false;
	assert_non_null(strstr(paint(NULL, 25, 80), "\033[0;93;101mX"));
}

static void test_characters(void **state)
{
	(void)state;
	fill(&now, 4, 1);
	now.cell[0] = 0x07c9; /* corner of a box */
	now.cell[1] = 0x0704; /* a diamond */
	now.cell[2] = 0x0781; /* u with dots */
	now.cell[3] = 0x071b; /* an arrow: no escape gets through */
	assert_non_null(strstr(paint(NULL, 25, 80),
			       "m\xe2\x95\x94\xe2\x99\xa6\xc3\xbc\xe2\x86\x90\033[0m"));
}

static void test_small_terminal(void **state)
{
	(void)state;
	fill(&now, 80, 25);
	now.cell[0] = 0x0741;
	now.cell[24 * 80] = 0x0742;
	assert_non_null(strstr(paint(NULL, 24, 40), "A"));
	assert_null(strstr(bytes, "B"));
	before = now;
	now.cursor_row = 24; /* the view follows it */
	assert_non_null(strstr(paint(&before, 24, 40), "B"));
	assert_null(strstr(bytes, "A "));
	assert_non_null(strstr(bytes, "\033[24;1H\033[?25h"));
}

static void test_graphics(void **state)
{
	(void)state;
	fill(&now, 80, 25);
	before = now;
	now.graphics = true;
	now.columns = 640;
	now.rows = 480;
	assert_non_null(strstr(paint(&before, 24, 80), "640 by 480"));
	before = now;
	assert_string_equal(paint(&before, 24, 80), "\033[?25l");
}

static void test_biggest(void **state)
{
	(void)state;
	fill(&now, VGA_COLUMNS_MAX, VGA_ROWS_MAX);
	now.blink = true;
	for (unsigned i = 0; i < VGA_COLUMNS_MAX * VGA_ROWS_MAX; i++)
		now.cell[i] = (uint16_t)(0xdb | (i & 1 ? 0xff00 : 0xee00));
	paint(NULL, VGA_ROWS_MAX, VGA_COLUMNS_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_differs), cmocka_unit_test(test_colors),
		cmocka_unit_test(test_characters),        cmocka_unit_test(test_small_terminal),
		cmocka_unit_test(test_graphics),          cmocka_unit_test(test_biggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
