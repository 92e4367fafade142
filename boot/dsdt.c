/*
 * dsdt.c - what the DSDT says: how to power off, the processors, the PCI bus, the ISA devices.
 *
 * A pin of a PCI device is an IOAPIC input, or an ISA interrupt for a guest that uses the 8259s:
 * it says which by calling \_PIC. Both lists are constants; there are no link devices to
 * set, since the wiring cannot change. The power button is the fixed one in PM1, so it has no
 * object here.
 *
 * Spec: ACPI 6.4 sections 5.8.1 (_PIC), 6.2.13 (_PRT), 7.4.2.3 (_S5), 8.4 (processor devices);
 * PCI Firmware 3.2, 4.1.2 (ECAM is a motherboard resource). Tested by test/unit/acpi.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/acpi.h"
#include "boot/aml.h"

static void processor(struct blob *b, unsigned uid)
{
	static const char hex[] = "0123456789ABCDEF";
	char name[5] = { 'C', 'P', hex[uid >> 4], hex[uid & 15], 0 };
	size_t mark = aml_device(b, name);

	aml_name(b, "_HID");
	aml_string(b, "ACPI0007");
	aml_name(b, "_UID");
	aml_integer(b, uid);
	aml_close(b, mark);
}

/* A device with one or two port ranges and an interrupt. */
static void isa_device(struct blob *b, const char *name, const char *id, const uint16_t port[2],
		       uint8_t count, uint8_t irq)
{
	struct aml_resources r;
	size_t mark = aml_device(b, name);

	aml_name(b, "_HID");
	aml_eisa_id(b, id);
	aml_name(b, "_UID");
	aml_integer(b, 1);
	aml_name(b, "_CRS");
	aml_resources_open(&r);
	for (unsigned i = 0; i < 2; i++)
		if (port[i])
			aml_resource_io(&r, port[i], count);
	aml_resource_irq(&r, irq);
	aml_resources_close(b, &r);
	aml_close(b, mark);
}

/* Every pin of every device, as interrupts of the IOAPIC or of the 8259s. */
static void routing(struct blob *b, const char *name, const struct acpi_config *c, bool ioapic)
{
	aml_name(b, name);
	size_t list = aml_package(b, 32 * 4);

	for (unsigned i = 0; i < 32 * 4; i++) {
		unsigned pirq = c->pci_pirq(i / 4, i % 4 + 1);
		size_t entry = aml_package(b, 4);

		aml_integer(b, (uint64_t)(i / 4) << 16 | 0xffff); /* any function */
		aml_integer(b, i % 4);
		aml_integer(b, 0); /* no link device: a global interrupt number follows */
		aml_integer(b, ioapic ? c->pci_gsi + pirq : c->pci_irq[pirq]);
		aml_close(b, entry);
	}
	aml_close(b, list);
}

/* \_PIC(1): the guest uses the IOAPIC. */
static void interrupt_model(struct blob *b)
{
	aml_name(b, "PICF");
	aml_integer(b, 0);
	size_t method = aml_method(b, "\\_PIC", 1);
	aml_store_arg0(b, "PICF");
	aml_close(b, method);
}

static void pci_windows(struct blob *b, const struct acpi_config *c)
{
	struct aml_resources r;

	aml_name(b, "_CRS");
	aml_resources_open(&r);
	aml_resource_buses(&r, 0, 255);
	aml_resource_io(&r, 0xcf8, 8);
	aml_resource_ports(&r, 0, 0xcf7);
	aml_resource_ports(&r, 0xd00, 0xffff);
	aml_resource_window32(&r, c->pci_mem, c->pci_mem + (c->pci_mem_bytes - 1));
	if (c->pci_mem64_bytes)
		aml_resource_window64(&r, c->pci_mem64, c->pci_mem64 + (c->pci_mem64_bytes - 1));
	aml_resources_close(b, &r);
}

static void pci_bus(struct blob *b, const struct acpi_config *c)
{
	size_t bus = aml_device(b, "PCI0");

	aml_name(b, "_HID");
	aml_eisa_id(b, "PNP0A08");
	aml_name(b, "_CID");
	aml_eisa_id(b, "PNP0A03");
	aml_name(b, "_UID");
	aml_integer(b, 0);
	aml_name(b, "_BBN");
	aml_integer(b, 0);
	pci_windows(b, c);
	routing(b, "PRTP", c, false);
	routing(b, "PRTA", c, true);
	size_t method = aml_method(b, "_PRT", 0);
	size_t choice = aml_if(b);
	aml_object(b, "PICF");
	aml_return(b, "PRTA");
	aml_close(b, choice);
	aml_return(b, "PRTP");
	aml_close(b, method);
	aml_close(b, bus);
}

/* What no driver may take: ECAM. */
static void motherboard(struct blob *b, const struct acpi_config *c)
{
	struct aml_resources r;
	size_t mark = aml_device(b, "MBRD");

	aml_name(b, "_HID");
	aml_eisa_id(b, "PNP0C02");
	aml_name(b, "_UID");
	aml_integer(b, 0);
	aml_name(b, "_CRS");
	aml_resources_open(&r);
	aml_resource_memory32(&r, (uint32_t)c->ecam, UINT32_C(256) << 20);
	aml_resources_close(b, &r);
	aml_close(b, mark);
}

void dsdt_build(struct blob *b, const struct acpi_config *c)
{
	if (c->ecam)
		interrupt_model(b);
	aml_name(b, "\\_S5_");
	size_t package = aml_package(b, 4);
	aml_integer(b, c->s5_slp_typ);
	aml_integer(b, c->s5_slp_typ);
	aml_integer(b, 0);
	aml_integer(b, 0);
	aml_close(b, package);

	size_t scope = aml_scope(b, "\\_SB_");
	for (unsigned i = 0; i < c->cpus; i++)
		processor(b, i);
	if (c->ecam) {
		pci_bus(b, c);
		motherboard(b, c);
	}
	if (c->com1_port)
		isa_device(b, "COM1", "PNP0501", (uint16_t[]){ c->com1_port, 0 }, 8, c->com1_irq);
	if (c->rtc_port)
		isa_device(b, "RTC_", "PNP0B00", (uint16_t[]){ c->rtc_port, 0 }, 2, c->rtc_irq);
	if (c->kbd_data)
		isa_device(b, "KBD_", "PNP0303", (uint16_t[]){ c->kbd_data, c->kbd_command }, 1,
			   c->kbd_irq);
	aml_close(b, scope);
}
