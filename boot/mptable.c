/*
 * mptable.c - the MP floating pointer structure and configuration table.
 *
 * What told operating systems about CPUs and interrupts before ACPI did; guests
 * started with acpi=off, and small teaching kernels, still read it. Interrupt
 * entries say the same as the MADT: ISA interrupts go to the IOAPIC input of their
 * number, but the timer to its own; pins of PCI devices to those of the PIRQ wires. The
 * PCI bus is bus 0, as it numbers itself, and ISA comes after it.
 *
 * Spec: Intel MultiProcessor Specification 1.4, chapter 4. Tested by test/unit/mptable.c,
 * test/guest/mptable.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/acpi.h"
#include "boot/bytes.h"

#define POINTER_BYTES 16
#define HEADER_BYTES  44
#define SPEC_REV      4

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTERNAL = 3 };

#define CPU_ENABLED      1u
#define CPU_BOOTSTRAP    2u
#define IOAPIC_ENABLED   1u
#define INTI_LEVEL_HIGH  0xdu
#define LOCAL_EVERY_APIC 0xff
#define PCI_BUS          0
#define PCI_PINS         (32 * 4)
#define ISA_IRQS         16
#define ISA_CASCADE      2

static void cpu(struct blob *b, const struct acpi_config *c, unsigned id)
{
	blob_le(b, ENTRY_CPU, 1);
	blob_le(b, id, 1);
	blob_le(b, c->lapic_version, 1);
	blob_le(b, CPU_ENABLED | (id == 0 ? CPU_BOOTSTRAP : 0), 1);
	blob_le(b, c->cpu_signature, 4);
	blob_le(b, c->cpu_features, 4);
	blob_le(b, 0, 8);
}

static void bus(struct blob *b, unsigned id, const char *type)
{
	blob_le(b, ENTRY_BUS, 1);
	blob_le(b, id, 1);
	blob_put(b, type, 6);
}

static unsigned isa_bus(const struct acpi_config *c)
{
	return c->ecam ? PCI_BUS + 1 : 0;
}

static void interrupt(struct blob *b, unsigned entry, unsigned type, unsigned flags,
		      unsigned bus_id, unsigned irq, unsigned apic, unsigned pin)
{
	blob_le(b, entry, 1);
	blob_le(b, type, 1);
	blob_le(b, flags, 2);
	blob_le(b, bus_id, 1);
	blob_le(b, irq, 1);
	blob_le(b, apic, 1);
	blob_le(b, pin, 1);
}

/* These return the number of entries. */
static unsigned interrupts(struct blob *b, const struct acpi_config *c)
{
	unsigned count = 2;

	for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
		if (irq == ISA_CASCADE)
			continue;
		interrupt(b, ENTRY_INTERRUPT, INT_VECTORED, irq == c->sci_irq ? INTI_LEVEL_HIGH : 0,
			  isa_bus(c), irq, c->ioapic_id, irq == 0 ? c->timer_gsi : irq);
		count++;
	}
	for (unsigned i = 0; c->ecam && i < PCI_PINS; i++) {
		interrupt(b, ENTRY_INTERRUPT, INT_VECTORED, 0, PCI_BUS, i, c->ioapic_id,
			  c->pci_gsi + c->pci_pirq(i / 4, i % 4 + 1));
		count++;
	}
	/* The 8259 pair is on the input that NMI is not on. */
	interrupt(b, ENTRY_LOCAL, INT_EXTERNAL, 0, isa_bus(c), 0, LOCAL_EVERY_APIC, !c->nmi_lint);
	interrupt(b, ENTRY_LOCAL, INT_NMI, 0, isa_bus(c), 0, LOCAL_EVERY_APIC, c->nmi_lint);
	return count;
}

static unsigned entries(struct blob *b, const struct acpi_config *c)
{
	unsigned count = c->cpus + 2;

	for (unsigned i = 0; i < c->cpus; i++)
		cpu(b, c, i);
	if (c->ecam) {
		bus(b, PCI_BUS, "PCI   ");
		count++;
	}
	bus(b, isa_bus(c), "ISA   ");
	blob_le(b, ENTRY_IOAPIC, 1);
	blob_le(b, c->ioapic_id, 1);
	blob_le(b, c->ioapic_version, 1);
	blob_le(b, IOAPIC_ENABLED, 1);
	blob_le(b, c->ioapic_base, 4);
	return count + interrupts(b, c);
}

static void pointer(uint8_t *t, uint64_t table)
{
	memcpy(t, "_MP_", 4);
	put_le(t + 4, table, 4);
	t[8] = 1; /* its length in units of 16 bytes */
	t[9] = SPEC_REV;
	t[10] = checksum8(t, POINTER_BYTES);
}

static void header(uint8_t *t, size_t bytes, unsigned count, uint32_t lapic)
{
	memcpy(t, "PCMP", 4);
	put_le(t + 4, bytes, 2);
	t[6] = SPEC_REV;
	memcpy(t + 8, "TRAPEZE ", 8);
	memcpy(t + 16, "PC          ", 12);
	put_le(t + 34, count, 2);
	put_le(t + 36, lapic, 4);
	t[7] = checksum8(t, bytes);
}

int mptable_build(const struct acpi_config *config, uint64_t base, uint8_t *bytes, size_t size,
		  size_t *used, struct fail *why)
{
	static const uint8_t blank[POINTER_BYTES + HEADER_BYTES];
	struct blob b = { .bytes = bytes, .size = size };

	if (config->cpus < 1 || config->cpus > ACPI_CPUS_MAX || config->nmi_lint > 1)
		return fail(why, -EINVAL, "MP table: %u CPUs cannot be described", config->cpus);
	blob_put(&b, blank, sizeof(blank));
	unsigned count = entries(&b, config);
	if (b.full)
		return fail(why, -ENOSPC, "MP table does not fit in %zu bytes", size);
	header(bytes + POINTER_BYTES, b.used - POINTER_BYTES, count, config->lapic_base);
	pointer(bytes, base + POINTER_BYTES);
	*used = b.used;
	return 0;
}

int mptable_write(struct mem *mem, const struct acpi_config *config, struct fail *why)
{
	uint8_t bytes[4096] = { 0 };
	size_t used;

	int r = mptable_build(config, MPTABLE_AREA, bytes, sizeof(bytes), &used, why);
	if (!r && mem_load(mem, gpa(MPTABLE_AREA), bytes, used))
		r = fail(why, -EFAULT, "MP table: no memory behind 0x%llx",
			 (unsigned long long)MPTABLE_AREA);
	return r;
}
