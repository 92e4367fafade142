/*
 * i8042.h - keyboard controller with nothing plugged in.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_I8042_H
#define DEVICE_I8042_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

struct i8042_config {
	const char *id;        /* "kbc" */
	uint16_t data_port;    /* 0x60 on a PC */
	uint16_t command_port; /* 0x64: commands, and status when read */
	unsigned gsi;          /* output buffer full */
};

/* Adds the controller to `vm`. 0; -ENOMEM; -EEXIST when a port is taken. */
int i8042_create(struct vm *vm, const struct i8042_config *config, struct fail *why);

#endif
