/*
 * dsdt.c - what the DSDT says: how to power off, the processors, the ISA devices.
 *
 * There is no PCI host bridge yet; the devices stand directly in \_SB. The power
 * button is the fixed one in PM1, so it has no object here.
 *
 * Spec: ACPI 6.4 sections 7.4.2.3 (_S5), 8.4 (processor devices). Tested by test/unit/acpi.c.
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

void dsdt_build(struct blob *b, const struct acpi_config *c)
{
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
	if (c->com1_port)
		isa_device(b, "COM1", "PNP0501", (uint16_t[]){ c->com1_port, 0 }, 8, c->com1_irq);
	if (c->rtc_port)
		isa_device(b, "RTC_", "PNP0B00", (uint16_t[]){ c->rtc_port, 0 }, 2, c->rtc_irq);
	if (c->kbd_data)
		isa_device(b, "KBD_", "PNP0303", (uint16_t[]){ c->kbd_data, c->kbd_command }, 1,
			   c->kbd_irq);
	aml_close(b, scope);
}
