/*
 * i8042.h - keyboard controller, with or without a keyboard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_I8042_H
#define DEVICE_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/backend.h"

struct device;
struct vm;

struct i8042_config {
	const char *id;        /* "kbc" */
	uint16_t data_port;    /* 0x60 on a PC */
	uint16_t command_port; /* 0x64: commands, and status when read */
	unsigned gsi;          /* output buffer full */
	bool keyboard;         /* plugged in */
	/* Who types: input is struct ps2_event (device/ps2kbd.h), whole ones. Nothing is written.
	 */
	struct char_backend backend;
};

/* Adds the controller to `vm`; *kbc, when asked for, takes keys as input. 0; -ENOMEM; -EEXIST
 * when a port is taken. */
int i8042_create(struct vm *vm, const struct i8042_config *config, struct device **kbc,
		 struct fail *why);

#endif
