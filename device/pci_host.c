/*
 * pci_host.c - a host bridge that firmware and kernels take for the 82Q35's, with bus 0 behind it.
 *
 * There are two ways into configuration space, the ports and ECAM, and both end in
 * pci_config_read() and _write() of a function. The way to a BAR leads through fixed windows
 * that the bridge claims once; inside them it looks up, in a list made anew whenever a BAR or
 * a command register changes, which BAR is there. So a BAR that the guest puts over RAM, an
 * APIC or ECAM is simply not reached, and of two that overlap the one with the lower number
 * answers.
 *
 * Not modelled: other buses; moving or resizing ECAM; shadowing of memory below 1 MiB (PAM keeps
 * its value: that memory is always there) and SMRAM.
 *
 * Spec: PCI Local Bus 3.0, 3.2.2.3 (configuration by ports); PCI Express 4.0, 7.2.2 (ECAM);
 * Intel 316966, 5.1 (PCIEXBAR, PAM). Tested by test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/pci_host.h"

#include <errno.h>
#include <string.h>

#include "device/pci_internal.h"
#include "machine/vm.h"

enum { REGION_PORTS, REGION_ECAM, REGION_MEM32, REGION_MEM64, REGION_IO };

#define CONFIG_ADDRESS 0
#define CONFIG_DATA    4
#define ADDRESS_ENABLE UINT32_C(0x80000000)
#define ADDRESS_BITS   UINT32_C(0x80fffffc)

/* Of function 0, Intel 316966 5.1. */
enum { PCIEXBAR = 0x60, PAM0 = 0x90, PAM_BYTES = 7 };
#define PCIEXBAREN 0x01

#define FUNCTIONS   256
#define MAPPED_MOST 128

struct mapped {
	uint64_t first, last;
	struct pci_function *fn;
	uint8_t bar;
	bool io;
};

struct pci_host {
	struct pci_function fn; /* the bridge itself, 00.0 */
	struct pci_host_config host_config;
	struct pci_function *function[FUNCTIONS]; /* by devfn */
	struct mapped mapped[MAPPED_MOST];
	unsigned mapped_count;
	void (*pirq)(void *arg, unsigned n, int level);
	void *pirq_arg;

	uint32_t address; /* CONFIG_ADDRESS */
};

struct pci_function *pci_host_function(const struct pci_host *host, unsigned devfn)
{
	return devfn < FUNCTIONS ? host->function[devfn] : NULL;
}

const struct pci_host_config *pci_host_config(const struct pci_host *host)
{
	return &host->host_config;
}

/* --- Interrupt pins --- */

/* Devices 0-24 are spread over PIRQE-H, the chipset's own use PIRQA-D. */
unsigned pci_pirq_of(unsigned device, unsigned pin)
{
	return device <= 24 ? 4 + ((device + pin - 1) & 3) : (pin - 1) & 3;
}

static unsigned pirq_of(const struct pci_function *fn)
{
	return pci_pirq_of(fn->devfn >> 3, fn->first[PCI_INTERRUPT_PIN]);
}

int pci_host_pirq(const struct pci_host *host, unsigned n)
{
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		const struct pci_function *fn = host->function[i];

		if (fn && fn->first[PCI_INTERRUPT_PIN] && pci_pin_active(fn) && pirq_of(fn) == n)
			return 1;
	}
	return 0;
}

void pci_host_pin(struct pci_host *host, const struct pci_function *fn)
{
	unsigned n;

	if (!fn->first[PCI_INTERRUPT_PIN] || !host->pirq)
		return;
	n = pirq_of(fn);
	host->pirq(host->pirq_arg, n, pci_host_pirq(host, n));
}

void pci_host_pirqs(struct pci_host *host, void (*pirq)(void *arg, unsigned n, int level),
		    void *arg)
{
	host->pirq = pirq;
	host->pirq_arg = arg;
}

/* --- Configuration space --- */

static uint32_t config_read(struct pci_host *host, unsigned bus, unsigned devfn, unsigned off,
			    unsigned size)
{
	struct pci_function *fn = bus == 0 ? host->function[devfn] : NULL;

	return fn ? pci_config_read(fn, off, size) : UINT32_MAX;
}

static void config_write(struct pci_host *host, unsigned bus, unsigned devfn, unsigned off,
			 unsigned size, uint32_t value)
{
	if (bus == 0 && host->function[devfn])
		pci_config_write(host->function[devfn], off, size, value);
}

static uint32_t ports_read(struct pci_host *host, unsigned off, unsigned size)
{
	struct device *narrow = host->host_config.narrow;
	uint32_t a = host->address;

	if (off >= CONFIG_DATA)
		return a & ADDRESS_ENABLE ? config_read(host, a >> 16 & 0xff, a >> 8 & 0xff,
							(a & 0xfc) + (off & 3), size)
					  : UINT32_MAX;
	if (size == 4)
		return a;
	return narrow ? (uint32_t)narrow->ops->read(narrow, 0, off, size) : UINT32_MAX;
}

static void ports_write(struct pci_host *host, unsigned off, unsigned size, uint32_t value)
{
	struct device *narrow = host->host_config.narrow;
	uint32_t a = host->address;

	if (off >= CONFIG_DATA) {
		if (a & ADDRESS_ENABLE)
			config_write(host, a >> 16 & 0xff, a >> 8 & 0xff, (a & 0xfc) + (off & 3),
				     size, value);
	} else if (size == 4) {
		host->address = value & ADDRESS_BITS;
	} else if (narrow) {
		narrow->ops->write(narrow, 0, off, size, value);
	}
}

static uint64_t ecam_read(struct pci_host *host, uint64_t off, unsigned size)
{
	uint64_t high = 0;

	if (size == 8) {
		high = ecam_read(host, off + 4, 4) << 32;
		size = 4;
	}
	return high | config_read(host, off >> 20 & 0xff, off >> 12 & 0xff, off & 0xfff, size);
}

static void ecam_write(struct pci_host *host, uint64_t off, unsigned size, uint64_t value)
{
	if (size == 8) {
		ecam_write(host, off + 4, 4, value >> 32);
		size = 4;
	}
	config_write(host, off >> 20 & 0xff, off >> 12 & 0xff, off & 0xfff, size, (uint32_t)value);
}

/* --- BARs --- */

static bool in_windows(const struct pci_host *host, const struct mapped *m)
{
	const struct pci_host_config *c = &host->host_config;

	if (m->io)
		return m->first >= c->io_first && m->last <= c->io_last;
	return (m->first >= c->mem32.first && m->last - c->mem32.first < c->mem32.bytes) ||
	       (m->first >= c->mem64.first && m->last - c->mem64.first < c->mem64.bytes);
}

static void map_function(struct pci_host *host, struct pci_function *fn)
{
	for (unsigned n = 0; n < PCI_BARS && host->mapped_count < MAPPED_MOST; n++) {
		struct mapped m = { .fn = fn, .bar = (uint8_t)n };

		if (!pci_bar_at(fn, n, &m.first))
			continue;
		m.last = m.first + fn->bar[n].bytes - 1;
		m.io = fn->bar[n].kind == PCI_BAR_IO;
		if (in_windows(host, &m))
			host->mapped[host->mapped_count++] = m;
	}
}

void pci_host_remap(struct pci_host *host)
{
	host->mapped_count = 0;
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		if (host->function[i])
			map_function(host, host->function[i]);
	}
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		if (host->function[i] && host->function[i]->remapped)
			host->function[i]->remapped(host->function[i]);
	}
}

static const struct mapped *find(const struct pci_host *host, uint64_t at, bool io)
{
	for (unsigned i = 0; i < host->mapped_count; i++) {
		const struct mapped *m = &host->mapped[i];

		if (at >= m->first && at <= m->last && m->io == io)
			return m;
	}
	return NULL;
}

bool pci_bar_mapped(const struct pci_function *fn, unsigned n, uint64_t off, uint64_t *at)
{
	const struct mapped *m;

	if (!pci_bar_at(fn, n, at))
		return false;
	*at += off;
	m = find(fn->host, *at, false);
	return m && m->fn == fn && m->bar == n;
}

static uint64_t ones(unsigned size)
{
	return ~UINT64_C(0) >> (64 - 8 * size);
}

/* All of the access is in one BAR or none of it is in any: true. Else it goes byte by byte. */
static bool whole(const struct pci_host *host, uint64_t at, unsigned size, bool io)
{
	const struct mapped *m = find(host, at, io);

	if (m)
		return m->last - at >= size - 1;
	for (unsigned i = 1; i < size; i++) {
		if (find(host, at + i, io))
			return false;
	}
	return true;
}

static uint64_t window_read(struct pci_host *host, uint64_t at, unsigned size, bool io)
{
	const struct mapped *m = find(host, at, io);
	uint64_t value = 0;

	if (!whole(host, at, size, io)) {
		for (unsigned i = 0; i < size; i++)
			value |= (window_read(host, at + i, 1, io) & 0xff) << (8 * i);
		return value;
	}
	return m ? pci_bar_read(m->fn, m->bar, at - m->first, size) : ones(size);
}

static void window_write(struct pci_host *host, uint64_t at, unsigned size, uint64_t value, bool io)
{
	const struct mapped *m = find(host, at, io);

	if (!whole(host, at, size, io)) {
		for (unsigned i = 0; i < size; i++)
			window_write(host, at + i, 1, value >> (8 * i) & 0xff, io);
	} else if (m) {
		pci_bar_write(m->fn, m->bar, at - m->first, size, value);
	}
}

static uint64_t window_at(const struct pci_host *host, unsigned region)
{
	const struct pci_host_config *c = &host->host_config;

	return region == REGION_IO      ? c->io_first
	       : region == REGION_MEM32 ? c->mem32.first
					: c->mem64.first;
}

static uint64_t host_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct pci_host *host = (struct pci_host *)dev;

	switch (region) {
	case REGION_PORTS: return ports_read(host, (unsigned)off, size);
	case REGION_ECAM: return ecam_read(host, off, size);
	default: return window_read(host, window_at(host, region) + off, size, region == REGION_IO);
	}
}

static void host_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		       uint64_t value)
{
	struct pci_host *host = (struct pci_host *)dev;

	switch (region) {
	case REGION_PORTS: ports_write(host, (unsigned)off, size, (uint32_t)value); break;
	case REGION_ECAM: ecam_write(host, off, size, value); break;
	default:
		window_write(host, window_at(host, region) + off, size, value, region == REGION_IO);
	}
}

/* --- The bus --- */

static int place(struct pci_host *host, struct pci_function *fn, uint8_t devfn, struct fail *why)
{
	if (devfn == PCI_ANY_SLOT) {
		/* 31 and below it belong to the chipset. */
		for (devfn = 1 << 3; devfn < 30 << 3 && host->function[devfn]; devfn += 1 << 3)
			;
		if (devfn == 30 << 3)
			return fail(why, -ENOSPC, "%s: the PCI bus is full", fn->dev.id);
	}
	if (host->function[devfn])
		return fail(why, -EEXIST, "%s: PCI device %u.%u is %s", fn->dev.id, devfn >> 3,
			    devfn & 7, host->function[devfn]->dev.id);
	fn->devfn = devfn;
	host->function[devfn] = fn;
	return 0;
}

int pci_add(struct pci_host *host, struct pci_function *fn, const struct device_ops *ops,
	    const char *id, const struct pci_identity *identity, uint8_t devfn, struct fail *why)
{
	pci_describe(fn, identity);
	fn->host = host;
	device_add(host->fn.dev.vm, &fn->dev, ops, id);
	return place(host, fn, devfn, why);
}

static void host_reset(struct device *dev)
{
	struct pci_host *host = (struct pci_host *)dev;

	host->address = 0;
	pci_reset(&host->fn);
}

static int host_loaded(struct device *dev, struct fail *why)
{
	struct pci_host *host = (struct pci_host *)dev;

	if (host->address & ~ADDRESS_BITS)
		return fail(why, -EINVAL, "%s: CONFIG_ADDRESS has impossible bits", dev->id);
	return pci_loaded(&host->fn, why);
}

static const struct field host_fields[] = { PCI_FIELDS(pci_host, fn), FIELD(pci_host, address, 1),
					    FIELD_END };

static const struct device_ops host_ops = {
	.type = "pci_host",
	.reset = host_reset,
	.read = host_read,
	.write = host_write,
	.state = host_fields,
	.state_version = 1,
	.loaded = host_loaded,
};

static int claim(struct pci_host *host, struct fail *why)
{
	const struct pci_host_config *c = &host->host_config;
	struct device *dev = &host->fn.dev;
	int err = device_claim_ports(dev, REGION_PORTS, c->address_port, 8, why);

	if (!err)
		err = device_claim_mmio(dev, REGION_ECAM, gpa(c->ecam), PCI_ECAM_BYTES, why);
	if (!err && c->mem32.bytes)
		err = device_claim_mmio(dev, REGION_MEM32, gpa(c->mem32.first), c->mem32.bytes,
					why);
	if (!err && c->mem64.bytes)
		err = device_claim_mmio(dev, REGION_MEM64, gpa(c->mem64.first), c->mem64.bytes,
					why);
	if (!err && c->io_last > c->io_first)
		err = device_claim_ports(dev, REGION_IO, c->io_first, c->io_last - c->io_first + 1u,
					 why);
	return err;
}

int pci_host_create(struct vm *vm, const struct pci_host_config *config, struct pci_host **out,
		    struct fail *why)
{
	static const struct pci_identity q35 = {
		.vendor = 0x8086,
		.device = 0x29c0,
		.revision = 2,
		.class_code = 0x060000, /* host bridge */
	};
	struct pci_host *host = host_alloc(sizeof(*host));

	if (!host)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	host->host_config = *config;
	for (unsigned i = 0; i < 8; i++)
		host->fn.first[PCIEXBAR + i] = (uint8_t)(config->ecam >> (8 * i));
	host->fn.first[PCIEXBAR] |= PCIEXBAREN;
	memset(host->fn.writable + PAM0, 0x33, PAM_BYTES);
	pci_describe(&host->fn, &q35);
	host->fn.host = host;
	device_add(vm, &host->fn.dev, &host_ops, config->id);
	host->function[0] = &host->fn;
	*out = host;
	return claim(host, why);
}
