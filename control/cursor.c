/*
 * cursor.c - whether what was written to a terminal ends in the middle of a line (see cursor.h).
 *
 * Colors and the like leave the cursor where it was; after a sequence that moves it nobody knows
 * what stands in its line. A carriage return alone leaves the line's text there. How wide the
 * terminal is plays no part: a line that wraps has something in it.
 *
 * Specification: ECMA-48, sections 5.3 to 5.6. Tested by test/unit/cursor.c.
 * SPDX-License-Identifier: MIT
 */
#include "control/cursor.h"

#include <stdint.h>
#include <string.h>

enum { BEL = 0x07, ESC = 0x1b, DEL = 0x7f };

static void follow_text(struct cursor *c, uint8_t byte)
{
	if (byte == '\n')
		c->mid_line = false;
	else if (byte == '\t' || (byte >= ' ' && byte != DEL))
		c->mid_line = true;
}

static void follow_escape(struct cursor *c, uint8_t byte)
{
	if (byte == '[')
		c->in = CURSOR_CSI;
	else if (memchr("]PX^_", byte, 5)) /* OSC, DCS, SOS, PM, APC */
		c->in = CURSOR_STRING;
	else if (byte >= 0x30)
		c->in = CURSOR_TEXT;
}

/* SGR, DSR, SM, RM, ED and EL end in these, and leave the cursor alone. */
static void follow_csi(struct cursor *c, uint8_t byte)
{
	if (byte < 0x40)
		return; /* a parameter */
	c->in = CURSOR_TEXT;
	if (!memchr("mnhlJK", byte, 6))
		c->mid_line = true;
}

void cursor_follow(struct cursor *c, const void *data, size_t bytes)
{
	const uint8_t *from = data;

	for (size_t i = 0; i < bytes; i++) {
		if (from[i] == ESC)
			c->in = CURSOR_ESCAPE;
		else if (c->in == CURSOR_STRING)
			c->in = from[i] == BEL ? CURSOR_TEXT : CURSOR_STRING;
		else if (c->in == CURSOR_TEXT || from[i] < ' ') /* controls work inside, too */
			follow_text(c, from[i]);
		else if (c->in == CURSOR_ESCAPE)
			follow_escape(c, from[i]);
		else
			follow_csi(c, from[i]);
	}
}
