/*
 * acpi.h - describes the board to the guest: ACPI tables, and the older MP table.
 *
 * Nothing here knows an address or an interrupt number: the board fills one
 * struct acpi_config and both descriptions are made from it, so they agree.
 *
 * Spec: ACPI 6.4; Intel MultiProcessor Specification 1.4. Tested by test/unit/{acpi,mptable}.c,
 * test/guest/mptable.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/fail.h"
#include "machine/mem.h"

#define ACPI_CPUS_MAX 64

/* Guest-physical homes, both inside MAP_TABLES of boot/map.h. */
#define ACPI_AREA       UINT64_C(0xe0000)
#define ACPI_AREA_BYTES UINT64_C(0x10000)
#define MPTABLE_AREA    UINT64_C(0xf0000)

struct acpi_config {
	unsigned cpus; /* 1 .. ACPI_CPUS_MAX; APIC id and processor uid are 0 .. cpus - 1 */
	uint32_t cpu_signature, cpu_features; /* CPUID leaf 1 EAX and EDX, for the MP table */

	uint32_t lapic_base;
	uint8_t lapic_version; /* low byte of the version register */
	uint32_t ioapic_base;
	uint8_t ioapic_id, ioapic_version; /* id: not a CPU's */
	uint8_t timer_gsi; /* IOAPIC input of ISA interrupt 0; others are their own */
	uint8_t nmi_lint;  /* local APIC input of NMI on every CPU */

	uint8_t sci_irq;                   /* level, active high */
	uint16_t pm1a_evt, pm1a_cnt;       /* ports: 4 bytes, 2 bytes */
	uint16_t pm_timer;                 /* port: 4 bytes, 32-bit counter */
	uint16_t smi_cmd;                  /* port; 0: always in ACPI mode */
	uint8_t acpi_enable, acpi_disable; /* values for smi_cmd */
	uint8_t s5_slp_typ;                /* SLP_TYP that powers off */
	uint16_t reset_port;
	uint8_t reset_value;

	/* PCI: configuration space of 256 buses; 0: there is no PCI. */
	uint64_t ecam;
	uint32_t pci_mem, pci_mem_bytes;     /* where BARs may lie */
	uint64_t pci_mem64, pci_mem64_bytes; /* bytes 0: nowhere above 4 GiB */
	uint8_t pci_gsi;                     /* IOAPIC input of PIRQA; the others follow */
	uint8_t pci_irq[8];                  /* PIRQA-H: ISA interrupt when the 8259s are used */
	/* What a device's pin (1-4) is wired to, 0-7. */
	unsigned (*pci_pirq)(unsigned device, unsigned pin);

	uint16_t com1_port; /* 8 ports; 0: none */
	uint8_t com1_irq;
	uint16_t rtc_port; /* 2 ports; 0: none */
	uint8_t rtc_irq;
	uint16_t kbd_data, kbd_command; /* 8042; kbd_data 0: none */
	uint8_t kbd_irq;
	bool vga; /* text mode can be used */
};

/*
 * Makes every table for guest-physical address `base` (64-byte aligned) in `bytes`
 * (`size` of them): the RSDP comes first. 0 or -ENOSPC / -EINVAL.
 */
int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *bytes, size_t size,
	       size_t *used, struct fail *why);
/* acpi_build() into guest memory at ACPI_AREA; *rsdp is its address. Vcpus parked. */
int acpi_write(struct mem *mem, const struct acpi_config *config, uint64_t *rsdp, struct fail *why);

/* The MP floating pointer structure and configuration table, at MPTABLE_AREA. */
int mptable_build(const struct acpi_config *config, uint64_t base, uint8_t *bytes, size_t size,
		  size_t *used, struct fail *why);
int mptable_write(struct mem *mem, const struct acpi_config *config, struct fail *why);

/* Names of the files that firmware takes the tables from: ACPI_FILE_TABLES is what
 * acpi_build() made for `base` 0, ACPI_FILE_RSDP the first ACPI_RSDP_BYTES of it. */
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_RSDP   "etc/acpi/rsdp"
#define ACPI_FILE_SCRIPT "etc/table-loader"
#define ACPI_RSDP_BYTES  36
/* The script that installs them: how to find the pointers in `tables` and to make them
 * addresses. 0 or -ENOSPC. */
int acpi_script_build(const uint8_t *tables, uint8_t *script, size_t size, size_t *used,
		      struct fail *why);

/* The body of the DSDT (boot/dsdt.c). */
struct blob;
void dsdt_build(struct blob *b, const struct acpi_config *config);

#endif
