/*
 * debugcon.c - the port on which firmware prints its log.
 *
 * A byte written is a character printed; a read gives a byte that says somebody
 * listens. It is no real chip; Bochs and QEMU have it, and SeaBIOS uses it. It has no
 * state: what was printed is gone.
 *
 * Tested by test/device/debugcon.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/debugcon.h"
#include "machine/vm.h"

#define LISTENING 0xe9 /* what a read answers */

struct debugcon {
	struct device dev;
	struct debugcon_config config;
};

static void debugcon_reset(struct device *dev)
{
	(void)dev;
}

static uint64_t debugcon_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	(void)dev;
	(void)region;
	(void)off;
	(void)size;
	return LISTENING;
}

static void debugcon_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			   uint64_t value)
{
	struct debugcon *d = (struct debugcon *)dev;
	uint8_t byte = (uint8_t)value;

	(void)region;
	(void)off;
	(void)size;
	if (d->config.backend.write)
		d->config.backend.write(d->config.backend.arg, &byte, 1);
}

static int debugcon_loaded(struct device *dev, struct fail *why)
{
	(void)dev;
	(void)why;
	return 0;
}

static const struct field debugcon_fields[] = { FIELD_END };

static const struct device_ops debugcon_ops = {
	.type = "debugcon",
	.reset = debugcon_reset,
	.read = debugcon_read,
	.write = debugcon_write,
	.state = debugcon_fields,
	.state_version = 1,
	.loaded = debugcon_loaded,
};

int debugcon_create(struct vm *vm, const struct debugcon_config *config, struct fail *why)
{
	struct debugcon *d = host_alloc(sizeof(*d));

	if (!d)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	d->config = *config;
	device_add(vm, &d->dev, &debugcon_ops, config->id);
	return device_claim_ports(&d->dev, 0, config->port, 1, why);
}
