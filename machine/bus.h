/*
 * bus.h - who answers a port or an address that is not memory.
 *
 * Two sorted tables, ports and MMIO, of ranges that devices claimed. An access
 * that no one claimed reads all-ones and writes nothing. One that straddles
 * ranges is split into bytes, as a chipset would.
 *
 * Tested by test/unit/bus.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_BUS_H
#define MACHINE_BUS_H

#include <stdint.h>

#include "machine/device.h"
#include "machine/exit.h"

struct bus_range {
	uint64_t first, last; /* inclusive */
	struct device *dev;
	unsigned region;
};

struct bus {
	struct bus_range *ranges; /* sorted, disjoint */
	unsigned count, room;
};

struct bus_set {
	struct bus port, mmio;
};

/* -EEXIST: overlaps another claim; -ENOMEM; -EINVAL: wraps or is empty. */
int bus_claim(struct bus *bus, struct device *dev, unsigned region, uint64_t first, uint64_t last,
	      struct fail *why);
const struct bus_range *bus_find(const struct bus *bus, uint64_t addr);
/* Performs the access with the device lock held; fills io->data on a read. */
void bus_access(struct vm *vm, struct bus *bus, struct io_access *io);
/* The same on behalf of a vCPU: vm->accessing tells the device. */
/* For who holds the device lock. */
void bus_access_locked(const struct bus *bus, struct io_access *io);
void bus_access_from(struct vcpu *vcpu, struct bus *bus, struct io_access *io);
void bus_free(struct bus *bus);

#endif
