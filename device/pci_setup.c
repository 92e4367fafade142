/*
 * pci_setup.c - what firmware does to a PCI bus, for a guest that starts without any.
 *
 * BARs are given addresses from the bottom of their window, each aligned to its size; which is
 * all the allocation it takes on one bus. A BAR that does not fit stays off, as firmware would
 * leave it.
 *
 * Spec: PCI Local Bus 3.0, 6.2.5. Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/pci_host.h"

struct room {
	uint64_t next, end;
};

/* false: the window is full. */
static bool place_bar(struct pci_function *fn, unsigned n, struct room *room)
{
	uint64_t bytes = fn->bar[n].bytes, at = (room->next + bytes - 1) & ~(bytes - 1);

	if (at < room->next || at + bytes > room->end || at + bytes < at)
		return false;
	room->next = at + bytes;
	pci_config_write(fn, PCI_BAR0 + 4 * n, 4, (uint32_t)at);
	if (fn->bar[n].kind == PCI_BAR_MEM64)
		pci_config_write(fn, PCI_BAR0 + 4 * n + 4, 4, (uint32_t)(at >> 32));
	return true;
}

static void setup_function(struct pci_function *fn, struct room *mem, struct room *io,
			   const uint8_t irq[PCI_PIRQS])
{
	unsigned command = pci_config_read(fn, PCI_COMMAND, 2);
	unsigned pin = pci_config_read(fn, PCI_INTERRUPT_PIN, 1);
	bool fits = true;

	for (unsigned n = 0; n < PCI_BARS; n++) {
		if (fn->bar[n].kind == PCI_BAR_NONE)
			continue;
		if (fn->bar[n].kind == PCI_BAR_IO) {
			fits &= place_bar(fn, n, io);
			command |= PCI_COMMAND_IO;
		} else {
			fits &= place_bar(fn, n, mem);
			command |= PCI_COMMAND_MEMORY;
		}
	}
	if (fits)
		pci_config_write(fn, PCI_COMMAND, 2, command);
	if (pin)
		pci_config_write(fn, PCI_INTERRUPT_LINE, 1, irq[pci_pirq_of(fn->devfn >> 3, pin)]);
}

void pci_host_setup(struct pci_host *host, const uint8_t irq[PCI_PIRQS])
{
	const struct pci_host_config *c = pci_host_config(host);
	struct room mem = { c->mem32.first, c->mem32.first + c->mem32.bytes };
	struct room io = { c->io_first, c->io_last + UINT64_C(1) };

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		struct pci_function *fn = pci_host_function(host, devfn);

		if (fn)
			setup_function(fn, &mem, &io, irq);
	}
}
