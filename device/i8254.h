/*
 * i8254.h - programmable interval timer (Intel 8254) and the speaker port beside it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_I8254_H
#define DEVICE_I8254_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

#define I8254_HZ 1193182u

struct i8254_config {
	const char *id;        /* "pit" */
	uint16_t ports;        /* first of four: counters 0, 1, 2, control word */
	uint16_t speaker_port; /* system control port B: GATE 2, speaker, OUT 2, refresh */
	unsigned gsi;          /* driven by OUT 0 */
};

/* Adds the timer to `vm`. 0; -ENOMEM; -EEXIST when a port is taken. */
int i8254_create(struct vm *vm, const struct i8254_config *config, struct fail *why);

#endif
