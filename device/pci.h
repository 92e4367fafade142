/*
 * pci.h - what a PCI function is, and the bus that functions sit on.
 *
 * A function is a device whose regions are its BARs: when the guest has given BAR n an
 * address and switched decoding on, accesses there arrive at ops->read and ops->write
 * with region n, under the same contract as any chip's. Everything in configuration
 * space is kept here: a function describes itself once, at creation, and hears
 * of writes only if it asks.
 *
 * To make one: embed struct pci_function first in the device's struct; start its field table
 * with PCI_FIELDS; call pci_reset() from reset and pci_loaded() from loaded; create with
 * pci_bar(), pci_capability(), pci_msix() in any order, then pci_add().
 *
 * All of it on one thread at a time with the device lock held, creation while vCPUs are parked.
 *
 * Spec: PCI Local Bus 3.0, chapter 6. Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_PCI_H
#define DEVICE_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "machine/device.h"

#define PCI_BARS         6
#define PCI_CONFIG_BYTES 256
#define PCI_MSIX_MAX     128 /* vectors of one function */
#define PCI_NO_VECTOR    0xffff

/* Configuration header, 6.1; only what drivers of it need by name. */
enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09, /* 3 bytes */
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
};
#define PCI_COMMAND_IO       0x0001
#define PCI_COMMAND_MEMORY   0x0002
#define PCI_COMMAND_MASTER   0x0004
#define PCI_COMMAND_INTX_OFF 0x0400
#define PCI_STATUS_INTERRUPT 0x0008
#define PCI_STATUS_CAP_LIST  0x0010

enum { PCI_CAP_MSI = 0x05, PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11 };

struct pci_host;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_function {
	struct device dev;
	struct pci_host *host;
	uint8_t devfn; /* device << 3 | function, on bus 0 */
	struct {
		enum pci_bar_kind kind;
		uint64_t bytes; /* a power of two */
	} bar[PCI_BARS];
	uint8_t first[PCI_CONFIG_BYTES];    /* configuration space at power-on */
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits the guest may change */
	uint8_t caps_end;                   /* first byte free for a capability */
	uint8_t msi, msix;                  /* offsets of the capabilities; 0: none */
	uint8_t msix_bar;
	uint16_t msix_vectors;
	uint32_t msix_table_at, msix_pba_at; /* offsets in the BAR */
	/* Called before the guest reads, and after it wrote, configuration space at [off, off +
	 * size). Either may be NULL. */
	void (*configuring)(struct pci_function *fn, unsigned off, unsigned size);
	void (*configured)(struct pci_function *fn, unsigned off, unsigned size);
	/* Some BAR on the bus has moved. May be NULL. */
	void (*remapped)(struct pci_function *fn);

	/* State. */
	uint8_t config[PCI_CONFIG_BYTES];
	bool intx;                             /* the function asserts its pin */
	uint32_t msix_table[4 * PCI_MSIX_MAX]; /* 6.8.2: address, upper address, data, control */
	uint32_t msix_pending[PCI_MSIX_MAX / 32];
};

/* Rows for the field table of `type`, whose member (or path) `fn` is the struct pci_function. */
#define PCI_FIELDS(type, fn)                                                                       \
	FIELD_ARRAY(type, fn.config, 1), FIELD(type, fn.intx, 1),                                  \
		FIELD_ARRAY(type, fn.msix_table, 1), FIELD_ARRAY(type, fn.msix_pending, 1)

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* base class << 16 | sub-class << 8 | interface */
	uint8_t revision;
	uint8_t pin; /* 0: no INTx; 1-4: INTA-INTD */
};

#define PCI_ANY_SLOT 0xff

/*
 * Adds the function, described before, to the bus and to the machine: device_add() is called in
 * here, so it belongs to the machine also when this fails. devfn: where, or PCI_ANY_SLOT for the
 * next free device number. 0; -EEXIST: taken; -ENOSPC: bus full.
 */
int pci_add(struct pci_host *host, struct pci_function *fn, const struct device_ops *ops,
	    const char *id, const struct pci_identity *identity, uint8_t devfn, struct fail *why);
/* BAR `n` (MEM64 takes n + 1 as well). bytes: a power of two, at least 16 (memory), 4 (I/O). */
void pci_bar(struct pci_function *fn, unsigned n, enum pci_bar_kind kind, uint64_t bytes);
/* Room for a capability of `bytes` in the list, id filled in. Its offset. The caller fills in the
 * rest of fn->first, and fn->writable where the guest may write. */
uint8_t pci_capability(struct pci_function *fn, uint8_t id, unsigned bytes);
/* The MSI-X capability, with table and pending bits inside BAR `bar`: accesses to them do not reach
 * ops. Offsets are multiples of 8. vectors: 1 .. PCI_MSIX_MAX. */
void pci_msix(struct pci_function *fn, unsigned bar, uint32_t table_at, uint32_t pba_at,
	      unsigned vectors);
/* The MSI capability, one vector, 64-bit address, no mask bits. */
void pci_msi(struct pci_function *fn);

/* From ops->reset and ops->loaded of the function. */
void pci_reset(struct pci_function *fn);
int pci_loaded(struct pci_function *fn, struct fail *why);

/* The guest lets the function reach memory (a function must not touch guest RAM otherwise). */
static inline bool pci_master(const struct pci_function *fn)
{
	return fn->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

/* Drives the pin: level until lowered; the status bit and the interrupt-disable bit are seen to. */
void pci_intx(struct pci_function *fn, bool level);
bool pci_msix_enabled(const struct pci_function *fn);
bool pci_msi_enabled(const struct pci_function *fn);
/* One message. A masked MSI-X vector becomes pending; beyond the table or not enabled: nothing. */
void pci_msix_send(struct pci_function *fn, unsigned vector);
void pci_msi_send(struct pci_function *fn);

/* Is memory at `off` in BAR n where an access reaches it now, and where? */
bool pci_bar_mapped(const struct pci_function *fn, unsigned n, uint64_t off, uint64_t *at);

/* Configuration space as the host bridge and capabilities that mirror it see it; size 1, 2, 4. */
uint32_t pci_config_read(struct pci_function *fn, unsigned off, unsigned size);
void pci_config_write(struct pci_function *fn, unsigned off, unsigned size, uint32_t value);

#endif
