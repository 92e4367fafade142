/*
 * vga.h - VGA adapter, as far as text needs it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VGA_H
#define DEVICE_VGA_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/device.h"

#define VGA_MEMORY       UINT64_C(0xa0000)
#define VGA_MEMORY_BYTES UINT64_C(0x20000)

/* The biggest screen that is shown; more of it is cut off. */
#define VGA_COLUMNS_MAX 160
#define VGA_ROWS_MAX    100

/* Who looks at the screen. */
struct vga_backend {
	/* The picture changed, for the first time since vga_look(). On the vCPU thread, device
	 * lock held; must not wait. May be NULL. */
	void (*changed)(void *arg);
	void *arg;
};

struct vga_config {
	const char *id; /* "vga" */
	uint16_t ports; /* 48 ports: 0x3b0 on a PC */
	gpa_t memory;   /* VGA_MEMORY on a PC */
	struct vga_backend backend;
};

struct vga_screen {
	bool graphics;          /* no text: columns and rows are of pixels, there are no cells */
	bool blink;             /* attribute bit 7 blinks, else it is the background's intensity */
	unsigned columns, rows; /* at most VGA_COLUMNS_MAX and VGA_ROWS_MAX; 0: blank */
	int cursor_column, cursor_row; /* -1: not shown */
	/* Low byte: character (code page 437, unless the guest loaded another font); high byte:
	 * attribute. Rows follow one another without gaps. */
	uint16_t cell[VGA_COLUMNS_MAX * VGA_ROWS_MAX];
};

/* Adds the adapter to `vm`, in 80x25 text mode as after power-on self-test; *vga is it. 0;
 * -ENOMEM; -EEXIST when a port or address is taken. */
int vga_create(struct vm *vm, const struct vga_config *config, struct device **vga,
	       struct fail *why);

/* What is on the screen now. Device lock held; any thread. */
void vga_look(struct device *vga, struct vga_screen *screen);

#endif
