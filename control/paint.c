/*
 * paint.c - a screen of text as the bytes that a terminal wants.
 *
 * A row in which anything changed is written whole, from its first column, with a new
 * attribute only where it changes: short enough for any line, and readable in a log. When
 * the terminal has fewer rows than the screen, the part with the cursor is shown.
 *
 * The 16 colors are the terminal's own 16, in its order; characters are those of code page
 * 437. A guest's palette and fonts do not come into it.
 *
 * Spec: ECMA-48 8.3 (CUP, SGR, EL), xterm's 90-107. Tested by test/unit/paint.c.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "control/display.h"

/* clang-format off */
/* Code page 437 beyond ASCII: 00h-1fh are pictures, too, on a screen. */
static const uint16_t low[32] = {
	0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022,
	0x25d8, 0x25cb, 0x25d9, 0x2642, 0x2640, 0x266a, 0x266b, 0x263c,
	0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7, 0x25ac, 0x21a8,
	0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};
static const uint16_t high[128] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7,
	0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5,
	0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9,
	0x00ff, 0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192,
	0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba,
	0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
	0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561, 0x2562, 0x2556,
	0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
	0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
	0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567,
	0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b,
	0x256a, 0x2518, 0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580,
	0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4,
	0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229,
	0x2261, 0x00b1, 0x2265, 0x2264, 0x2320, 0x2321, 0x00f7, 0x2248,
	0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
};
/* clang-format on */

static uint16_t unicode(uint8_t c)
{
	if (c < 32)
		return low[c];
	if (c == 127)
		return 0x2302;
	return c < 128 ? c : high[c - 128];
}

static char *put_utf8(char *to, uint16_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* VGA counts blue, green, red from bit 0 on; terminals red, green, blue. */
static unsigned color(unsigned vga)
{
	return (vga & 1) << 2 | (vga & 2) | (vga & 4) >> 2;
}

static char *put_attribute(char *to, uint8_t attribute, bool blink)
{
	unsigned front = attribute & 15, back = attribute >> 4;
	bool blinks = blink && back & 8;

	if (blink)
		back &= 7;
	return to + sprintf(to, "\033[0;%u;%u%sm", (front & 8 ? 90 : 30) + color(front),
			    (back & 8 ? 100 : 40) + color(back), blinks ? ";5" : "");
}

static char *put_place(char *to, unsigned row, unsigned column)
{
	return to + sprintf(to, "\033[%u;%uH", row + 1, column + 1);
}

static char *put_row(char *to, const uint16_t *cell, unsigned count, bool blink)
{
	int attribute = -1;

	for (unsigned x = 0; x < count; x++) {
		if (cell[x] >> 8 != attribute) {
			attribute = cell[x] >> 8;
			to = put_attribute(to, (uint8_t)attribute, blink);
		}
		to = put_utf8(to, unicode((uint8_t)cell[x]));
	}
	return to + sprintf(to, "\033[0m\033[K");
}

/* The screen's row that the terminal's first one shows. */
static unsigned first_row(const struct vga_screen *s, unsigned rows)
{
	return s->cursor_row >= (int)rows ? (unsigned)s->cursor_row + 1 - rows : 0;
}

static bool alike(const struct vga_screen *a, const struct vga_screen *b, unsigned rows)
{
	return b && a->columns == b->columns && a->rows == b->rows && a->graphics == b->graphics &&
	       a->blink == b->blink && first_row(a, rows) == first_row(b, rows);
}

static char *put_cells(char *to, const struct vga_screen *s, const struct vga_screen *before,
		       unsigned rows, unsigned columns)
{
	unsigned first = first_row(s, rows), count = s->columns < columns ? s->columns : columns;

	for (unsigned y = 0; y < rows && first + y < s->rows; y++) {
		const uint16_t *cell = s->cell + (first + y) * s->columns;

		if (before && memcmp(cell, before->cell + (first + y) * s->columns,
				     s->columns * sizeof(*cell)) == 0)
			continue;
		to = put_row(put_place(to, y, 0), cell, count, s->blink);
	}
	return to;
}

size_t display_paint(char *to, const struct vga_screen *s, const struct vga_screen *before,
		     unsigned rows, unsigned columns)
{
	char *start = to;
	bool shown = s->cursor_row >= 0 && s->cursor_column < (int)columns && !s->graphics;

	if (!alike(s, before, rows)) {
		before = NULL;
		to += sprintf(to, "\033[0m\033[2J");
	}
	to += sprintf(to, "\033[?25l");
	if (!s->graphics)
		to = put_cells(to, s, before, rows, columns);
	else if (!before)
		to += sprintf(to, "\033[H(graphics, %u by %u: a terminal cannot show it)",
			      s->columns, s->rows);
	if (shown) {
		to = put_place(to, (unsigned)s->cursor_row - first_row(s, rows),
			       (unsigned)s->cursor_column);
		to += sprintf(to, "\033[?25h");
	}
	return (size_t)(to - start);
}
