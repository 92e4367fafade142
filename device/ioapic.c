/*
 * ioapic.c - the 82093AA I/O APIC.
 *
 * The idea: a pin is one 64-bit redirection entry and one bit, "asserted". An
 * edge-triggered pin sends its message when it becomes asserted; a level-triggered
 * one sends whenever it is asserted, unmasked and its Remote IRR is clear. The
 * local APIC's EOI clears Remote IRR, so a line still held sends again: that
 * is all there is to sharing and to lost level interrupts.
 *
 * Lines carry "asserted", not a voltage, so the polarity bit is kept but has no
 * effect; board code and ACPI tables agree about it with the guest.
 *
 * Not modelled: the serial APIC bus (delivery status reads idle, the arbitration
 * ID is the ID), SMI. An edge on a masked pin is lost, as the data sheet says.
 *
 * Spec: 82093AA data sheet (290566) ch. 3. Tested by test/device/ioapic.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/ioapic.h"

#include <errno.h>
#include <string.h>

#include "machine/vm.h"

/* Memory-mapped registers, 3.1; EOI came with version 0x20. */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

/* Indirect registers, 3.2. */
#define IOAPICID  0x00
#define IOAPICVER 0x01
#define IOAPICARB 0x02
#define IOREDTBL  0x10

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)
#define ID_MASK 0x0f000000u

/* Redirection entry, 3.2.4. */
#define RTE_VECTOR     UINT64_C(0xff)
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    (UINT64_C(1) << 11)
#define RTE_REMOTE_IRR (UINT64_C(1) << 14) /* read-only */
#define RTE_LEVEL      (UINT64_C(1) << 15)
#define RTE_MASKED     (UINT64_C(1) << 16)
#define RTE_DEST_SHIFT 56
#define RTE_WRITABLE   UINT64_C(0xff0000000001afff)

struct ioapic {
	struct device dev;
	uint8_t pin[IRQ_LINES];
	uint8_t first_id;

	uint8_t select; /* IOREGSEL */
	uint8_t id;
	uint32_t asserted; /* bit n: pin n */
	uint64_t redtbl[IOAPIC_PINS];
};

static bool level_triggered(uint64_t rte)
{
	unsigned mode = (rte >> RTE_MODE_SHIFT) & 7;

	/* The other delivery modes are edge-triggered whatever bit 15 says. */
	return (rte & RTE_LEVEL) && (mode == APIC_FIXED || mode == APIC_LOWEST);
}

static bool nmi_routed(void *arg)
{
	const struct ioapic *c = arg;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		unsigned mode = (c->redtbl[pin] >> RTE_MODE_SHIFT) & 7;

		if (!(c->redtbl[pin] & RTE_MASKED) && (mode == APIC_NMI || mode == APIC_INIT))
			return true;
	}
	return false;
}

static bool send(struct ioapic *c, uint64_t rte)
{
	struct apic_message m = {
		.dest = (uint32_t)(rte >> RTE_DEST_SHIFT),
		.vector = rte & RTE_VECTOR,
		.mode = (rte >> RTE_MODE_SHIFT) & 7,
		.logical = rte & RTE_LOGICAL,
		.level = level_triggered(rte),
		.assert = true,
	};

	return irq_message(c->dev.vm, &m);
}

/* A level-triggered pin sends if it may. Remote IRR tells that somebody took it. */
static void service_level(struct ioapic *c, unsigned pin)
{
	uint64_t *rte = &c->redtbl[pin];

	if (!level_triggered(*rte) || (*rte & (RTE_MASKED | RTE_REMOTE_IRR)) ||
	    !(c->asserted >> pin & 1))
		return;
	if (send(c, *rte))
		*rte |= RTE_REMOTE_IRR;
}

static void line(void *arg, unsigned gsi, int level)
{
	struct ioapic *c = arg;
	unsigned pin = c->pin[gsi];
	uint32_t bit;
	bool was;

	if (pin == IOAPIC_NO_PIN)
		return;
	bit = UINT32_C(1) << pin;
	was = c->asserted & bit;
	c->asserted = level ? c->asserted | bit : c->asserted & ~bit;
	if (level_triggered(c->redtbl[pin]))
		service_level(c, pin);
	else if (level && !was && !(c->redtbl[pin] & RTE_MASKED))
		send(c, c->redtbl[pin]);
}

static void end_of_interrupt(void *arg, uint8_t vector)
{
	struct ioapic *c = arg;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *rte = &c->redtbl[pin];

		if (!(*rte & RTE_REMOTE_IRR) || (*rte & RTE_VECTOR) != vector)
			continue;
		*rte &= ~RTE_REMOTE_IRR;
		service_level(c, pin);
	}
}

/* Remote IRR is kept, except that a pin which is no longer level-triggered has none. */
static void write_redtbl(struct ioapic *c, unsigned half, uint32_t value)
{
	unsigned pin = half / 2, shift = 32 * (half & 1);
	uint64_t old = c->redtbl[pin];
	uint64_t rte = (old & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;

	rte = (rte & RTE_WRITABLE) | (old & RTE_REMOTE_IRR);
	if (!level_triggered(rte))
		rte &= ~RTE_REMOTE_IRR;
	c->redtbl[pin] = rte;
	service_level(c, pin);
}

static uint32_t read_window(const struct ioapic *c)
{
	unsigned half = c->select - IOREDTBL;

	switch (c->select) {
	case IOAPICID:
	case IOAPICARB: return (uint32_t)c->id << 24;
	case IOAPICVER: return VERSION;
	default:
		if (c->select < IOREDTBL || half >= 2 * IOAPIC_PINS)
			return 0;
		return (uint32_t)(c->redtbl[half / 2] >> (32 * (half & 1)));
	}
}

static void write_window(struct ioapic *c, uint32_t value)
{
	unsigned half = c->select - IOREDTBL;

	if (c->select == IOAPICID)
		c->id = (uint8_t)((value & ID_MASK) >> 24);
	else if (c->select >= IOREDTBL && half < 2 * IOAPIC_PINS)
		write_redtbl(c, half, value);
	else
		device_trace(&c->dev, "write to register 0x%02x dropped", c->select);
}

static uint64_t mmio_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	const struct ioapic *c = (const struct ioapic *)dev;

	(void)region;
	(void)size;
	switch (off) {
	case IOREGSEL: return c->select;
	case IOWIN: return read_window(c);
	default: return 0;
	}
}

/* The chip takes whole registers: a narrow write leaves zeros in the rest. */
static void mmio_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		       uint64_t value)
{
	struct ioapic *c = (struct ioapic *)dev;

	(void)region;
	(void)size;
	switch (off) {
	case IOREGSEL: c->select = (uint8_t)value; break;
	case IOWIN: write_window(c, (uint32_t)value); break;
	case IOEOI: end_of_interrupt(c, (uint8_t)value); break;
	default: device_trace(dev, "write at 0x%x dropped", (unsigned)off);
	}
}

static void power_on(struct device *dev)
{
	struct ioapic *c = (struct ioapic *)dev;

	c->select = 0;
	c->id = c->first_id;
	c->asserted = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		c->redtbl[i] = RTE_MASKED;
}

static const struct field ioapic_fields[] = {
	FIELD(ioapic, select, 1),
	FIELD(ioapic, id, 1),
	FIELD(ioapic, asserted, 1),
	FIELD_ARRAY(ioapic, redtbl, 1),
	FIELD_END,
};

static bool valid(const struct ioapic *c)
{
	if (c->id > 15 || c->asserted >> IOAPIC_PINS)
		return false;
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t rte = c->redtbl[i];

		if ((rte & ~(RTE_WRITABLE | RTE_REMOTE_IRR)) ||
		    ((rte & RTE_REMOTE_IRR) && !level_triggered(rte)))
			return false;
	}
	return true;
}

static int loaded(struct device *dev, struct fail *why)
{
	if (valid((struct ioapic *)dev))
		return 0;
	power_on(dev);
	return fail(why, -EINVAL, "%s: the saved registers are not possible ones", dev->id);
}

static const struct device_ops ioapic_ops = {
	.type = "ioapic",
	.reset = power_on,
	.read = mmio_read,
	.write = mmio_write,
	.state = ioapic_fields,
	.state_version = 1,
	.loaded = loaded,
};

int ioapic_create(struct vm *vm, const struct ioapic_config *config, struct fail *why)
{
	struct ioapic *c;

	for (unsigned i = 0; i < IRQ_LINES; i++)
		if (config->pin[i] >= IOAPIC_PINS && config->pin[i] != IOAPIC_NO_PIN)
			return fail(why, -EINVAL, "ioapic: line %u has no pin %u", i,
				    config->pin[i]);
	if (config->id > 15)
		return fail(why, -EINVAL, "ioapic: ID %u is above 15", config->id);
	c = host_alloc(sizeof(*c));
	if (!c)
		return fail(why, -ENOMEM, "no memory for an I/O APIC");
	memcpy(c->pin, config->pin, sizeof(c->pin));
	c->first_id = config->id;
	device_add(vm, &c->dev, &ioapic_ops, "ioapic");
	if (!irq_add_sink(vm, line, c))
		return fail(why, -EEXIST, "ioapic: too many interrupt controllers");
	vm->irq.eoi = end_of_interrupt;
	vm->irq.eoi_arg = c;
	vm->irq.nmi_routed = nmi_routed;
	vm->irq.nmi_routed_arg = c;
	return device_claim_mmio(&c->dev, 0, config->base, IOAPIC_BYTES, why);
}
