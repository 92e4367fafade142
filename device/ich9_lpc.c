/*
 * ich9_lpc.c - the ISA bridge of the ICH9, as far as it is about interrupts.
 *
 * Eight PIRQ wires collect the pins of all functions. Each always drives an input of the
 * IOAPIC (16-23), and, where its routing register names one, an ISA interrupt too. Several may be
 * routed to one ISA interrupt: then its level is their OR.
 *
 * Not modelled: what else is in the chip (its timers, power management and ISA decoding are the
 * board's own devices): PMBASE keeps what is written and moves nothing.
 *
 * Spec: Intel 316972, 13.1.12 (PMBASE), 13.1.16 and 13.1.18 (PIRQ routing). Tested by
 * test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/ich9_lpc.h"

#include <errno.h>
#include <string.h>

#include "machine/vm.h"

enum { PMBASE = 0x40, ACPI_CNTL = 0x44, PIRQA_ROUT = 0x60, PIRQE_ROUT = 0x68, RCBA = 0xf0 };
#define ROUT_OFF   0x80 /* to the IOAPIC alone */
#define ROUT_IRQ   0x0f
#define ROUT_VALID 0xdef8u /* 3-7, 9-12, 14, 15: the ones that may be chosen */

struct ich9_lpc {
	struct pci_function fn;
	struct ich9_lpc_config lpc;
	uint8_t routed[PCI_PIRQS]; /* the ISA interrupt each PIRQ drives now; 0: none. From config
				    */
};

static unsigned rout_at(unsigned n)
{
	return n < 4 ? PIRQA_ROUT + n : PIRQE_ROUT + n - 4;
}

static uint8_t route_of(const struct ich9_lpc *lpc, unsigned n)
{
	uint8_t rout = lpc->fn.config[rout_at(n)], irq = rout & ROUT_IRQ;

	return !(rout & ROUT_OFF) && ROUT_VALID >> irq & 1 ? irq : 0;
}

static void drive_isa(struct ich9_lpc *lpc, uint8_t irq)
{
	int level = 0;

	if (!irq)
		return;
	for (unsigned n = 0; n < PCI_PIRQS; n++)
		level |= lpc->routed[n] == irq && pci_host_pirq(lpc->fn.host, n);
	device_irq(&lpc->fn.dev, irq, level);
}

static void pirq(void *arg, unsigned n, int level)
{
	struct ich9_lpc *lpc = arg;

	device_irq(&lpc->fn.dev, lpc->lpc.first_gsi + n, level);
	drive_isa(lpc, lpc->routed[n]);
}

static void configured(struct pci_function *fn, unsigned off, unsigned size)
{
	struct ich9_lpc *lpc = (struct ich9_lpc *)fn;

	(void)off;
	(void)size;
	for (unsigned n = 0; n < PCI_PIRQS; n++) {
		uint8_t before = lpc->routed[n];

		lpc->routed[n] = route_of(lpc, n);
		if (lpc->routed[n] == before)
			continue;
		drive_isa(lpc, before);
		drive_isa(lpc, lpc->routed[n]);
	}
}

void ich9_lpc_route(struct device *dev, const uint8_t irq[PCI_PIRQS])
{
	struct ich9_lpc *lpc = (struct ich9_lpc *)dev;

	for (unsigned n = 0; n < PCI_PIRQS; n++)
		pci_config_write(&lpc->fn, rout_at(n), 1, irq[n] ? irq[n] : ROUT_OFF);
}

static uint64_t lpc_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	(void)dev;
	(void)region;
	(void)off;
	(void)size;
	return 0; /* it has no BARs: never reached */
}

static void lpc_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		      uint64_t value)
{
	(void)dev;
	(void)region;
	(void)off;
	(void)size;
	(void)value;
}

static void lpc_reset(struct device *dev)
{
	struct ich9_lpc *lpc = (struct ich9_lpc *)dev;

	pci_reset(&lpc->fn);
	memset(lpc->routed, 0, sizeof(lpc->routed));
}

static int lpc_loaded(struct device *dev, struct fail *why)
{
	struct ich9_lpc *lpc = (struct ich9_lpc *)dev;
	int err = pci_loaded(&lpc->fn, why);

	for (unsigned n = 0; !err && n < PCI_PIRQS; n++)
		lpc->routed[n] = route_of(lpc, n);
	return err;
}

static const struct field lpc_fields[] = { PCI_FIELDS(ich9_lpc, fn), FIELD_END };

static const struct device_ops lpc_ops = {
	.type = "ich9_lpc",
	.reset = lpc_reset,
	.read = lpc_read,
	.write = lpc_write,
	.state = lpc_fields,
	.state_version = 1,
	.loaded = lpc_loaded,
};

static void describe(struct ich9_lpc *lpc)
{
	struct pci_function *fn = &lpc->fn;

	fn->first[PMBASE] = (uint8_t)(lpc->lpc.pm_base | 1);
	fn->first[PMBASE + 1] = (uint8_t)(lpc->lpc.pm_base >> 8);
	fn->writable[PMBASE] = 0x80;
	fn->writable[PMBASE + 1] = 0xff;
	fn->writable[ACPI_CNTL] = 0x87;
	for (unsigned n = 0; n < PCI_PIRQS; n++) {
		fn->first[rout_at(n)] = ROUT_OFF;
		fn->writable[rout_at(n)] = ROUT_OFF | ROUT_IRQ;
	}
	memset(fn->writable + RCBA, 0xff, 4);
	fn->configured = configured;
}

int ich9_lpc_create(struct pci_host *host, const struct ich9_lpc_config *config,
		    struct device **out, struct fail *why)
{
	static const struct pci_identity identity = {
		.vendor = 0x8086,
		.device = 0x2918,
		.revision = 2,
		.class_code = 0x060100, /* ISA bridge */
	};
	struct ich9_lpc *lpc = host_alloc(sizeof(*lpc));
	int err;

	if (!lpc)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	lpc->lpc = *config;
	describe(lpc);
	err = pci_add(host, &lpc->fn, &lpc_ops, config->id, &identity, ICH9_LPC_DEVFN, why);
	if (err)
		return err;
	pci_host_pirqs(host, pirq, lpc);
	*out = &lpc->fn.dev;
	return 0;
}
