/*
 * pci_msix.c - message-signalled interrupts: MSI and MSI-X.
 *
 * A message is a 4-byte write to an address that the guest chose. To the local APICs' range it
 * is an interrupt; anywhere else it is the memory write that it looks like. A message
 * whose vector is masked is remembered in the pending bits and sent when the mask goes.
 *
 * Not modelled: multiple-message MSI, per-vector masking of MSI.
 *
 * Spec: PCI Local Bus 3.0, 6.8; SDM vol. 3 11.11 (format of a message). Tested by
 * test/device/pci.c.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include "device/pci.h"
#include "device/pci_internal.h"
#include "machine/vm.h"

/* MSI, 6.8.1: offsets in the capability. */
enum { MSI_CONTROL = 2, MSI_ADDRESS = 4, MSI_DATA = 12, MSI_BYTES = 14 };
#define MSI_ENABLE 0x01
#define MSI_64     0x80

/* MSI-X, 6.8.2. */
enum { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PBA = 8, MSIX_BYTES = 12 };
enum { ENTRY_ADDRESS, ENTRY_UPPER, ENTRY_DATA, ENTRY_CONTROL, ENTRY_WORDS };
#define MSIX_ENABLE        0x8000u
#define MSIX_FUNCTION_MASK 0x4000u
#define ENTRY_MASKED       1u

/* SDM vol. 3 11.11.1 and 11.11.2. */
#define MESSAGE_RANGE   UINT64_C(0xfee00000)
#define MESSAGE_LOGICAL 0x4u
#define DATA_ASSERT     0x4000u
#define DATA_LEVEL      0x8000u

static uint32_t config32(const struct pci_function *fn, unsigned at)
{
	uint32_t v;

	memcpy(&v, fn->config + at, sizeof(v));
	return v;
}

static uint16_t config16(const struct pci_function *fn, unsigned at)
{
	uint16_t v;

	memcpy(&v, fn->config + at, sizeof(v));
	return v;
}

static void send(struct pci_function *fn, uint64_t address, uint32_t data)
{
	struct apic_message m = {
		.dest = address >> 12 & 0xff,
		.vector = (uint8_t)data,
		.mode = data >> 8 & 7,
		.logical = address & MESSAGE_LOGICAL,
		.level = data & DATA_LEVEL,
		.assert = data & DATA_ASSERT || !(data & DATA_LEVEL),
	};

	if (!pci_master(fn))
		return;
	if (address - MESSAGE_RANGE < 0x100000)
		irq_message(fn->dev.vm, &m);
	else if (device_dma_write(&fn->dev, gpa(address), &data, sizeof(data)))
		device_trace(&fn->dev, "interrupt message to 0x%llx: nothing there",
			     (unsigned long long)address);
}

/* --- MSI --- */

void pci_msi(struct pci_function *fn)
{
	uint8_t at = pci_capability(fn, PCI_CAP_MSI, MSI_BYTES);

	fn->msi = at;
	fn->first[at + MSI_CONTROL] = MSI_64;
	fn->writable[at + MSI_CONTROL] = MSI_ENABLE;
	memset(fn->writable + at + MSI_ADDRESS, 0xff, MSI_BYTES - MSI_ADDRESS);
	fn->writable[at + MSI_ADDRESS] = 0xfc;
}

bool pci_msi_enabled(const struct pci_function *fn)
{
	return fn->msi && fn->config[fn->msi + MSI_CONTROL] & MSI_ENABLE;
}

void pci_msi_send(struct pci_function *fn)
{
	uint64_t address;

	if (!pci_msi_enabled(fn))
		return;
	address = (uint64_t)config32(fn, fn->msi + MSI_ADDRESS + 4u) << 32 |
		  config32(fn, fn->msi + MSI_ADDRESS);
	send(fn, address, config16(fn, fn->msi + MSI_DATA));
}

/* --- MSI-X --- */

void pci_msix(struct pci_function *fn, unsigned bar, uint32_t table_at, uint32_t pba_at,
	      unsigned vectors)
{
	uint8_t at = pci_capability(fn, PCI_CAP_MSIX, MSIX_BYTES);
	uint32_t table = table_at | bar, pba = pba_at | bar;

	assert(vectors >= 1 && vectors <= PCI_MSIX_MAX && !((table_at | pba_at) & 7));
	fn->msix = at;
	fn->msix_bar = (uint8_t)bar;
	fn->msix_vectors = (uint16_t)vectors;
	fn->msix_table_at = table_at;
	fn->msix_pba_at = pba_at;
	fn->first[at + MSIX_CONTROL] = (uint8_t)(vectors - 1);
	fn->writable[at + MSIX_CONTROL + 1] = (MSIX_ENABLE | MSIX_FUNCTION_MASK) >> 8;
	memcpy(fn->first + at + MSIX_TABLE, &table, sizeof(table));
	memcpy(fn->first + at + MSIX_PBA, &pba, sizeof(pba));
}

static uint16_t control(const struct pci_function *fn)
{
	return fn->msix ? config16(fn, fn->msix + MSIX_CONTROL) : 0;
}

bool pci_msix_enabled(const struct pci_function *fn)
{
	return control(fn) & MSIX_ENABLE;
}

static uint32_t *entry(struct pci_function *fn, unsigned vector)
{
	return &fn->msix_table[ENTRY_WORDS * vector];
}

static bool masked(struct pci_function *fn, unsigned vector)
{
	return control(fn) & MSIX_FUNCTION_MASK || entry(fn, vector)[ENTRY_CONTROL] & ENTRY_MASKED;
}

void pci_msix_send(struct pci_function *fn, unsigned vector)
{
	uint32_t *e;

	if (!pci_msix_enabled(fn) || vector >= fn->msix_vectors)
		return;
	if (masked(fn, vector)) {
		fn->msix_pending[vector / 32] |= UINT32_C(1) << vector % 32;
		return;
	}
	e = entry(fn, vector);
	send(fn, (uint64_t)e[ENTRY_UPPER] << 32 | e[ENTRY_ADDRESS], e[ENTRY_DATA]);
}

void pci_msix_update(struct pci_function *fn)
{
	if (!pci_msix_enabled(fn) || control(fn) & MSIX_FUNCTION_MASK)
		return;
	for (unsigned word = 0; word < PCI_MSIX_MAX / 32; word++) {
		for (uint32_t bits = fn->msix_pending[word]; bits; bits &= bits - 1) {
			unsigned vector = 32 * word + (unsigned)__builtin_ctz(bits);

			if (masked(fn, vector))
				continue;
			fn->msix_pending[word] &= ~(UINT32_C(1) << vector % 32);
			pci_msix_send(fn, vector);
		}
	}
}

void pci_msix_reset(struct pci_function *fn)
{
	memset(fn->msix_table, 0, sizeof(fn->msix_table));
	memset(fn->msix_pending, 0, sizeof(fn->msix_pending));
	for (unsigned i = 0; i < fn->msix_vectors; i++)
		entry(fn, i)[ENTRY_CONTROL] = ENTRY_MASKED;
}

bool pci_msix_valid(const struct pci_function *fn)
{
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++) {
		const uint32_t *e = &fn->msix_table[ENTRY_WORDS * i];

		if (e[ENTRY_ADDRESS] & 3 || e[ENTRY_CONTROL] & ~ENTRY_MASKED)
			return false;
		if (i < fn->msix_vectors)
			continue;
		if (e[ENTRY_ADDRESS] | e[ENTRY_UPPER] | e[ENTRY_DATA] | e[ENTRY_CONTROL] ||
		    fn->msix_pending[i / 32] >> i % 32 & 1)
			return false;
	}
	return true;
}

/* --- Table and pending bits in the BAR --- */

static uint32_t pba_bytes(const struct pci_function *fn)
{
	return (fn->msix_vectors + 63u) / 64 * 8;
}

static bool in_table(const struct pci_function *fn, uint64_t off)
{
	return off - fn->msix_table_at < 16u * fn->msix_vectors;
}

bool pci_msix_owns(const struct pci_function *fn, unsigned bar, uint64_t off)
{
	return fn->msix && bar == fn->msix_bar &&
	       (in_table(fn, off) || off - fn->msix_pba_at < pba_bytes(fn));
}

/* 6.8.2: software uses aligned doublewords and quadwords; other accesses are undefined. */
static bool proper(uint64_t off, unsigned size)
{
	return size >= 4 && !(off & (size - 1));
}

uint64_t pci_msix_read(const struct pci_function *fn, uint64_t off, unsigned size)
{
	const uint32_t *from;
	uint64_t value = 0;

	if (!proper(off, size))
		return 0;
	from = in_table(fn, off) ? &fn->msix_table[(off - fn->msix_table_at) / 4]
				 : &fn->msix_pending[(off - fn->msix_pba_at) / 4];
	memcpy(&value, from, size);
	return value;
}

void pci_msix_write(struct pci_function *fn, uint64_t off, unsigned size, uint64_t value)
{
	static const uint32_t writable[ENTRY_WORDS] = { 0xfffffffc, 0xffffffff, 0xffffffff,
							ENTRY_MASKED };

	if (!proper(off, size) || !in_table(fn, off)) /* the pending bits are read-only */
		return;
	for (unsigned i = 0; i < size / 4; i++) {
		unsigned word = (unsigned)(off - fn->msix_table_at) / 4 + i;

		fn->msix_table[word] = (uint32_t)(value >> (32 * i)) & writable[word % ENTRY_WORDS];
	}
	pci_msix_update(fn);
}
