/*
 * i8259.h - the pair of programmable interrupt controllers (Intel 8259A), cascaded.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_I8259_H
#define DEVICE_I8259_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

struct i8259_config {
	const char *id;      /* "pic" */
	uint16_t master;     /* first of the two ports of lines 0-7 */
	uint16_t slave;      /* first of the two ports of lines 8-15 */
	uint16_t elcr;       /* first of the two edge/level control registers */
	uint8_t elcr_set[2]; /* bits of those that software may set: lines that can be level */
	uint8_t cascade;     /* the master's input that the slave's INT drives: 0 .. 7 */
};

/*
 * Adds the pair to `vm`: it listens to lines 0-15, and answers as the machine's ExtINT
 * source (vm->irq.extint_*). 0; -ENOMEM; -EEXIST when a port is taken; -ENOSPC when the
 * machine has no room for another listener.
 */
int i8259_create(struct vm *vm, const struct i8259_config *config, struct fail *why);

#endif
