/*
 * ich9_lpc.h - the ISA bridge (LPC) of the ICH9: where PCI interrupts meet the two controllers.
 *
 * Spec: Intel 316972 (ICH9), 13.1. Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_ICH9_LPC_H
#define DEVICE_ICH9_LPC_H

#include "device/pci_host.h"

#define ICH9_LPC_DEVFN (31 << 3)

struct ich9_lpc_config {
	const char *id;
	uint8_t first_gsi; /* IOAPIC input of PIRQA; the others follow */
	uint16_t pm_base;  /* what firmware reads PMBASE as */
};

int ich9_lpc_create(struct pci_host *host, const struct ich9_lpc_config *config,
		    struct device **out, struct fail *why);
/* Routes PIRQA-H to ISA interrupts, as firmware does; 0: to the IOAPIC alone. */
void ich9_lpc_route(struct device *dev, const uint8_t irq[PCI_PIRQS]);

#endif
