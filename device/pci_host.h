/*
 * pci_host.h - the host bridge: bus 0, the ways into configuration space, the windows that
 * lead to BARs, and where INTx pins go.
 *
 * Spec: PCI Local Bus 3.0; Intel 316966 (3 Series MCH) for the registers firmware looks at.
 * Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_PCI_HOST_H
#define DEVICE_PCI_HOST_H

#include "device/pci.h"

#define PCI_PIRQS 8 /* PIRQA - PIRQH */

struct pci_host_config {
	const char *id;
	uint16_t address_port; /* 8 ports: CONFIG_ADDRESS and CONFIG_DATA */
	/* What answers narrow accesses to CONFIG_ADDRESS, whose second byte is a PC's reset control
	 * register: region 0 of it. Set by the board before the guest runs; NULL: nothing. */
	struct device *narrow;
	uint64_t ecam; /* 256 MiB aligned: configuration space of 256 buses */
	/* BARs answer inside these windows only, so that none covers RAM or an APIC; bytes 0: none.
	 */
	struct {
		uint64_t first, bytes;
	} mem32, mem64;
	uint16_t io_first, io_last;
};

#define PCI_ECAM_BYTES (UINT64_C(256) << 20)

int pci_host_create(struct vm *vm, const struct pci_host_config *config, struct pci_host **out,
		    struct fail *why);

/* Where PIRQ levels go (the ISA bridge). One; at set-up. */
void pci_host_pirqs(struct pci_host *host, void (*pirq)(void *arg, unsigned n, int level),
		    void *arg);
/* Is some function asserting a pin that is wired to PIRQ n? */
int pci_host_pirq(const struct pci_host *host, unsigned n);
/* The wiring, the same that firmware expects of this chipset: pin 1-4 of a device to PIRQ 0-7. */
unsigned pci_pirq_of(unsigned device, unsigned pin);

/* The function at devfn, or NULL. */
struct pci_function *pci_host_function(const struct pci_host *host, unsigned devfn);

const struct pci_host_config *pci_host_config(const struct pci_host *host);

/* For the functions' own code (pci.c): BARs or decoding changed; the level of a pin changed. */
void pci_host_remap(struct pci_host *host);
void pci_host_pin(struct pci_host *host, const struct pci_function *fn);

/*
 * What firmware does, for a guest that is started without any: gives every BAR an address, switches
 * decoding on and writes Interrupt Line from irq[PIRQ] (ISA numbers). After every reset.
 */
void pci_host_setup(struct pci_host *host, const uint8_t irq[PCI_PIRQS]);

#endif
