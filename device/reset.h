/*
 * reset.h - the two reset registers of a PC's chipset: reset control, and port A.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_RESET_H
#define DEVICE_RESET_H

#include <stdint.h>

#include "host/fail.h"

struct device;
struct vm;

struct reset_config {
	const char *id; /* "reset" */
	/* The PCI address doubleword, whose second byte is reset control. 0: a host bridge has it,
	 * and hands on what is meant for region 0 of this device. */
	uint16_t pci_address;
	uint16_t system_port_a; /* system control port A: fast A20 and fast reset */
};

/* Adds both to `vm`; *out, when asked for, is the device. 0; -ENOMEM; -EEXIST: a port is taken. */
int reset_create(struct vm *vm, const struct reset_config *config, struct device **out,
		 struct fail *why);

#endif
