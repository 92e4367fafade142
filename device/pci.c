/*
 * pci.c - a PCI function: its configuration space, BARs and pin.
 *
 * The idea: configuration space is 256 bytes and a mask of the bits that the guest may
 * change. Sizing a BAR, relocating it and switching it off need no code of their own: the low
 * bits of a BAR are read-only, and the bridge looks anew at where every BAR is whenever one of
 * these bytes changes.
 *
 * Not modelled: PCI-to-PCI bridges, expansion ROMs, power management, parity and
 * other error reporting, extended configuration space (it reads as zero).
 *
 * Spec: PCI Local Bus 3.0, chapter 6. Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/pci.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "device/pci_host.h"
#include "device/pci_internal.h"
#include "machine/vm.h"

#define BAR_IO       0x1u /* 6.2.5.1 */
#define BAR_64       0x4u
#define BAR_PREFETCH 0x8u
#define COMMAND_BITS                                                                               \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | COMMAND_PARITY |               \
	 COMMAND_SERR | PCI_COMMAND_INTX_OFF)
#define COMMAND_PARITY 0x0040
#define COMMAND_SERR   0x0100
#define CAPS_FIRST     0x40
#define CAP_NEXT       1

static uint64_t get(const uint8_t *from, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)from[i] << (8 * i);
	return v;
}

static void put(uint8_t *to, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

/* --- Making one --- */

void pci_describe(struct pci_function *fn, const struct pci_identity *identity)
{
	put(fn->first + PCI_VENDOR_ID, identity->vendor, 2);
	put(fn->first + PCI_DEVICE_ID, identity->device, 2);
	fn->first[PCI_REVISION_ID] = identity->revision;
	put(fn->first + PCI_CLASS_CODE, identity->class_code, 3);
	put(fn->first + PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor, 2);
	put(fn->first + PCI_SUBSYSTEM_ID, identity->subsystem, 2);
	fn->first[PCI_INTERRUPT_PIN] = identity->pin;
	put(fn->writable + PCI_COMMAND, COMMAND_BITS, 2);
	fn->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_bar(struct pci_function *fn, unsigned n, enum pci_bar_kind kind, uint64_t bytes)
{
	unsigned at = PCI_BAR0 + 4 * n, wide = kind == PCI_BAR_MEM64 ? 8 : 4;
	uint8_t flags = kind == PCI_BAR_IO      ? BAR_IO
			: kind == PCI_BAR_MEM64 ? BAR_64 | BAR_PREFETCH
						: 0;

	assert(n + wide / 4 <= PCI_BARS && bytes >= (kind == PCI_BAR_IO ? 4 : 16));
	assert(!(bytes & (bytes - 1)) && (wide == 8 || bytes <= UINT64_C(0x80000000)));
	fn->bar[n].kind = kind;
	fn->bar[n].bytes = bytes;
	put(fn->first + at, flags, wide);
	put(fn->writable + at, ~(bytes - 1), wide);
}

uint8_t pci_capability(struct pci_function *fn, uint8_t id, unsigned bytes)
{
	uint8_t at = fn->caps_end ? fn->caps_end : CAPS_FIRST, *link = &fn->first[PCI_CAPABILITIES];

	assert(at + bytes <= PCI_CONFIG_BYTES - 4);
	while (*link)
		link = &fn->first[*link + CAP_NEXT];
	*link = at;
	fn->first[at] = id;
	fn->first[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->caps_end = (uint8_t)((at + bytes + 3) & ~3u);
	return at;
}

void pci_reset(struct pci_function *fn)
{
	memcpy(fn->config, fn->first, sizeof(fn->config));
	fn->intx = false;
	pci_msix_reset(fn);
	if (fn->host)
		pci_host_remap(fn->host);
}

/* What the guest cannot have changed is not taken from a stream. */
int pci_loaded(struct pci_function *fn, struct fail *why)
{
	for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++) {
		if ((fn->config[i] ^ fn->first[i]) & ~fn->writable[i])
			return fail(why, -EINVAL,
				    "%s: saved configuration space differs at 0x%02x from this "
				    "device's",
				    fn->dev.id, i);
	}
	if (!pci_msix_valid(fn))
		return fail(why, -EINVAL, "%s: the saved MSI-X table is impossible", fn->dev.id);
	pci_host_remap(fn->host);
	return 0;
}

/* --- Configuration space --- */

static bool touches(unsigned off, unsigned size, unsigned first, unsigned bytes)
{
	return off < first + bytes && first < off + size;
}

uint32_t pci_config_read(struct pci_function *fn, unsigned off, unsigned size)
{
	uint32_t value;

	if (off + size > PCI_CONFIG_BYTES)
		return 0;
	if (fn->configuring)
		fn->configuring(fn, off, size);
	value = (uint32_t)get(fn->config + off, size);
	if (fn->intx && touches(off, size, PCI_STATUS, 1))
		value |= (uint32_t)PCI_STATUS_INTERRUPT << (8 * (PCI_STATUS - off));
	return value;
}

void pci_config_write(struct pci_function *fn, unsigned off, unsigned size, uint32_t value)
{
	if (off + size > PCI_CONFIG_BYTES)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t mask = fn->writable[off + i], byte = (uint8_t)(value >> (8 * i));

		fn->config[off + i] = (uint8_t)((fn->config[off + i] & ~mask) | (byte & mask));
	}
	if (touches(off, size, PCI_COMMAND, 2) || touches(off, size, PCI_BAR0, 4 * PCI_BARS))
		pci_host_remap(fn->host);
	pci_msix_update(fn);
	pci_host_pin(fn->host, fn); /* by INTx disable, or by MSI instead of it */
	if (fn->configured)
		fn->configured(fn, off, size);
}

/* --- BARs --- */

bool pci_bar_at(const struct pci_function *fn, unsigned n, uint64_t *first)
{
	enum pci_bar_kind kind = fn->bar[n].kind;
	unsigned enable = kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	if (kind == PCI_BAR_NONE || !(fn->config[PCI_COMMAND] & enable))
		return false;
	*first = get(fn->config + PCI_BAR0 + 4 * n, kind == PCI_BAR_MEM64 ? 8 : 4) &
		 ~(fn->bar[n].bytes - 1);
	return true;
}

uint64_t pci_bar_read(struct pci_function *fn, unsigned n, uint64_t off, unsigned size)
{
	if (pci_msix_owns(fn, n, off))
		return pci_msix_read(fn, off, size);
	return fn->dev.ops->read(&fn->dev, n, off, size);
}

void pci_bar_write(struct pci_function *fn, unsigned n, uint64_t off, unsigned size, uint64_t value)
{
	if (pci_msix_owns(fn, n, off))
		pci_msix_write(fn, off, size, value);
	else
		fn->dev.ops->write(&fn->dev, n, off, size, value);
}

/* --- The pin --- */

bool pci_pin_active(const struct pci_function *fn)
{
	return fn->intx && !(get(fn->config + PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF) &&
	       !pci_msix_enabled(fn) && !pci_msi_enabled(fn);
}

void pci_intx(struct pci_function *fn, bool level)
{
	if (fn->intx == level)
		return;
	fn->intx = level;
	pci_host_pin(fn->host, fn);
}
