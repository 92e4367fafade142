/*
 * reset.h - the two reset registers of a PC's chipset: reset control, and port A.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_RESET_H
#define DEVICE_RESET_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

struct reset_config {
	const char *id;         /* "reset" */
	uint16_t pci_address;   /* the PCI address doubleword; reset control is its second byte */
	uint16_t system_port_a; /* system control port A: fast A20 and fast reset */
};

/* Adds both to `vm`. 0; -ENOMEM; -EEXIST when a port is taken. */
int reset_create(struct vm *vm, const struct reset_config *config, struct fail *why);

#endif
