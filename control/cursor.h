/*
 * cursor.h - whether what was written to a terminal ends in the middle of a line.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_CURSOR_H
#define CONTROL_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed: at the beginning of a line. */
struct cursor {
	enum { CURSOR_TEXT, CURSOR_ESCAPE, CURSOR_CSI, CURSOR_STRING } in;
	bool mid_line; /* something stands in the cursor's line, or may */
};

/* The next bytes, which may end anywhere. */
void cursor_follow(struct cursor *c, const void *data, size_t bytes);

#endif
