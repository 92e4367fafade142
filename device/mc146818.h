/*
 * mc146818.h - real-time clock with battery-backed RAM (Motorola MC146818A), 128 bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_MC146818_H
#define DEVICE_MC146818_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

#define MC146818_BYTES 128

struct mc146818_config {
	const char *id; /* "rtc" */
	uint16_t ports; /* first of two: index, data */
	unsigned gsi;
	uint8_t century;    /* where software keeps the century (0x32); 0: nowhere */
	const uint8_t *ram; /* MC146818_BYTES to start from, or NULL for zeroes; 0x00-0x0d unused */
};

/* Adds the clock to `vm`, set to the machine's wall clock in UTC. 0; -ENOMEM; -EEXIST. */
int mc146818_create(struct vm *vm, const struct mc146818_config *config, struct fail *why);

#endif
