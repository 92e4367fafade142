/*
 * display.h - the guest's text screen on the terminal.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_DISPLAY_H
#define CONTROL_DISPLAY_H

#include "device/vga.h"
#include "host/fail.h"
#include "machine/vm.h"

struct display;

/* NULL and *why: no memory, no file descriptor. */
struct display *display_open(struct fail *why);
/* What the board connects its VGA adapter to. */
struct vga_backend display_backend(struct display *d);
/* Starts the thread that paints. */
int display_start(struct display *d, struct vm *vm, struct device *vga, struct fail *why);
/* Paints all of it again: the terminal was resized, or written to. Any thread. */
void display_repaint(struct display *d);
/* Puts `text` into the last line until the next repaint. Any thread. */
void display_message(struct display *d, const char *text);
/* Paints the last state, joins the thread and leaves the cursor below. The machine must exist. */
void display_stop(struct display *d);
void display_close(struct display *d);

/* Writes one screen, all of it or what differs from `before` (NULL: all), as the bytes that a
 * terminal of `rows` rows and `columns` columns wants. Returns their number; room for
 * DISPLAY_BYTES_MAX is enough. */
#define DISPLAY_BYTES_MAX (VGA_ROWS_MAX * (VGA_COLUMNS_MAX * 24 + 32) + 256)
size_t display_paint(char *to, const struct vga_screen *screen, const struct vga_screen *before,
		     unsigned rows, unsigned columns);

#endif
