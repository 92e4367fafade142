/*
 * bytes.h - wide accesses to chips whose data bus is eight bits.
 *
 * The ISA bus turns IN or OUT of a word into byte cycles at consecutive ports,
 * lowest first. These two do the same, so that such a chip is written once, in bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_BYTES_H
#define DEVICE_BYTES_H

#include "machine/device.h"

static inline uint64_t bytes_read(struct device *dev, unsigned region, uint64_t off, unsigned size,
				  uint8_t (*read)(struct device *, unsigned region, unsigned off))
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read(dev, region, (unsigned)off + i) << (8 * i);
	return value;
}

static inline void
bytes_write(struct device *dev, unsigned region, uint64_t off, unsigned size, uint64_t value,
	    void (*write)(struct device *, unsigned region, unsigned off, uint8_t value))
{
	for (unsigned i = 0; i < size; i++)
		write(dev, region, (unsigned)off + i, (uint8_t)(value >> (8 * i)));
}

#endif
