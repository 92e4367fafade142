/*
 * reset.c - the two reset registers of a PC's chipset.
 *
 * The reset control register lies inside the doubleword that addresses PCI
 * configuration space, and answers byte accesses only. Where there is a host bridge, the
 * doubleword is the bridge's, which hands narrow accesses on to here; without one it is
 * claimed here, and a wide write, meant for PCI, is let pass without effect.
 *
 * Not modelled: the A20 gate (the bit reads back, address line 20 is always there),
 * the difference between hard and soft reset.
 *
 * Spec: Intel 290562 (82371AB), 4.2.6.1 (RC, CF9h); 4.2.5.5 (port 92h).
 * Tested by test/device/reset.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/reset.h"
#include "machine/vm.h"

enum { REGION_PCI, REGION_PORT_A };

#define RESET_CONTROL 1    /* its offset in the doubleword */
#define RC_RCPU       0x04 /* 0 to 1: reset */
#define RC_BITS       0x0e /* full reset, RCPU, SRST */
#define PORTA_INIT    0x01 /* 0 to 1: reset */
#define PORTA_A20     0x02
#define PORTA_BITS    0x03

struct reset {
	struct device dev;
	uint8_t control, port_a;
};

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct reset *r = (struct reset *)dev;

	if (region == REGION_PORT_A)
		return r->port_a;
	return off == RESET_CONTROL ? r->control : 0xff;
}

static uint64_t reset_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	if (size != 1)
		return ~UINT64_C(0) >> (64 - 8 * size);
	return read_byte(dev, region, (unsigned)off);
}

static void reset_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	struct reset *r = (struct reset *)dev;
	uint8_t old, bit;

	if (size != 1 || (region == REGION_PCI && off != RESET_CONTROL))
		return;
	if (region == REGION_PORT_A) {
		old = r->port_a;
		r->port_a = value & PORTA_BITS;
		bit = PORTA_INIT;
	} else {
		old = r->control;
		r->control = value & RC_BITS;
		bit = RC_RCPU;
	}
	if (value & ~old & bit)
		device_request(dev, VM_RESET, 0);
}

static void reset_reset(struct device *dev)
{
	struct reset *r = (struct reset *)dev;

	r->control = 0;
	r->port_a = PORTA_A20;
}

static const struct field reset_fields[] = { FIELD(reset, control, 1), FIELD(reset, port_a, 1),
					     FIELD_END };

static int reset_loaded(struct device *dev, struct fail *why)
{
	struct reset *r = (struct reset *)dev;

	if (r->control & ~RC_BITS || r->port_a & ~PORTA_BITS)
		return fail(why, -EINVAL, "%s: a register has impossible bits", dev->id);
	return 0;
}

static const struct device_ops reset_ops = {
	.type = "reset",
	.reset = reset_reset,
	.read = reset_read,
	.write = reset_write,
	.state = reset_fields,
	.state_version = 1,
	.loaded = reset_loaded,
};

int reset_create(struct vm *vm, const struct reset_config *config, struct device **out,
		 struct fail *why)
{
	struct reset *r = host_alloc(sizeof(*r));
	int err = 0;

	if (!r)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	device_add(vm, &r->dev, &reset_ops, config->id);
	if (out)
		*out = &r->dev;
	if (config->pci_address)
		err = device_claim_ports(&r->dev, REGION_PCI, config->pci_address, 4, why);
	return err ? err
		   : device_claim_ports(&r->dev, REGION_PORT_A, config->system_port_a, 1, why);
}
