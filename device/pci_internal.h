/*
 * pci_internal.h - between a function's configuration space and the bridge above it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_PCI_INTERNAL_H
#define DEVICE_PCI_INTERNAL_H

#include "device/pci.h"

void pci_describe(struct pci_function *fn, const struct pci_identity *identity);
/* An access inside BAR n: to the MSI-X structures, or to the device. */
uint64_t pci_bar_read(struct pci_function *fn, unsigned n, uint64_t off, unsigned size);
void pci_bar_write(struct pci_function *fn, unsigned n, uint64_t off, unsigned size,
		   uint64_t value);
/* Where BAR n is now; false: not decoded. */
bool pci_bar_at(const struct pci_function *fn, unsigned n, uint64_t *first);
/* The function drives its pin low to the outside: asserted, and neither disabled nor replaced. */
bool pci_pin_active(const struct pci_function *fn);

/* pci_msix.c */
bool pci_msix_owns(const struct pci_function *fn, unsigned bar, uint64_t off);
uint64_t pci_msix_read(const struct pci_function *fn, uint64_t off, unsigned size);
void pci_msix_write(struct pci_function *fn, uint64_t off, unsigned size, uint64_t value);
/* Control registers in configuration space may have changed: sends what no longer must wait. */
void pci_msix_update(struct pci_function *fn);
void pci_msix_reset(struct pci_function *fn);
bool pci_msix_valid(const struct pci_function *fn);

#endif
