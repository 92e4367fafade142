/*
 * debug_exit.c - a port by which a test guest ends the run with a status.
 *
 * A write of `value` asks the machine to stop with status (value << 1) | 1: never
 * 0, which means that the guest powered off. It is no real chip; the convention is
 * that of QEMU's isa-debug-exit. It reads as zero and has no state.
 *
 * Tested by test/device/debug_exit.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/debug_exit.h"
#include "machine/vm.h"

struct debug_exit {
	struct device dev;
};

static void debug_exit_reset(struct device *dev)
{
	(void)dev;
}

static uint64_t debug_exit_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	(void)dev;
	(void)region;
	(void)off;
	(void)size;
	return 0;
}

static void debug_exit_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			     uint64_t value)
{
	(void)region;
	(void)off;
	(void)size;
	device_request(dev, VM_DEBUG_EXIT, (int)((uint32_t)value << 1 | 1));
}

static int debug_exit_loaded(struct device *dev, struct fail *why)
{
	(void)dev;
	(void)why;
	return 0;
}

static const struct field debug_exit_fields[] = { FIELD_END };

static const struct device_ops debug_exit_ops = {
	.type = "debug_exit",
	.reset = debug_exit_reset,
	.read = debug_exit_read,
	.write = debug_exit_write,
	.state = debug_exit_fields,
	.state_version = 1,
	.loaded = debug_exit_loaded,
};

int debug_exit_create(struct vm *vm, const struct debug_exit_config *config, struct fail *why)
{
	struct debug_exit *d = host_alloc(sizeof(*d));

	if (!d)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	device_add(vm, &d->dev, &debug_exit_ops, config->id);
	return device_claim_ports(&d->dev, 0, config->port, 4, why);
}
