/*
 * acpi.c - RSDP, XSDT, FADT, FACS, MADT, MCFG and the frame of the DSDT.
 *
 * The tables lie one after the other in one area below 1 MiB, each built when the
 * addresses it names are known: FACS and DSDT, then FADT, MADT and MCFG, then XSDT; the
 * RSDP, which comes first in memory, last. There is no 32-bit RSDT: every guest of
 * the ACPI 2.0 age prefers the XSDT. No HPET or SRAT: those things do not exist here.
 *
 * Spec: ACPI 6.4 sections 5.2.5-5.2.12; PCI Firmware 3.2, 4.1.2 (MCFG). Tested by test/unit/acpi.c
 * (also with iasl). SPDX-License-Identifier: MIT
 */
#include "boot/acpi.h"

#include <errno.h>

#include "boot/bytes.h"
#include "host/host.h"

#define HEADER_BYTES 36
#define RSDP_BYTES   36
#define FACS_BYTES   64
#define FADT_BYTES   276

#define OEM_ID       "TRAPZE"
#define OEM_TABLE_ID "TRAPEZE "

/* FADT offsets, table 5.9. */
enum {
	FADT_FIRMWARE_CTRL = 36,
	FADT_DSDT = 40,
	FADT_SCI_INT = 46,
	FADT_SMI_CMD = 48,
	FADT_ACPI_ENABLE = 52,
	FADT_ACPI_DISABLE = 53,
	FADT_PM1A_EVT_BLK = 56,
	FADT_PM1A_CNT_BLK = 64,
	FADT_PM_TMR_BLK = 76,
	FADT_PM1_EVT_LEN = 88,
	FADT_PM1_CNT_LEN = 89,
	FADT_PM_TMR_LEN = 91,
	FADT_P_LVL2_LAT = 96,
	FADT_P_LVL3_LAT = 98,
	FADT_CENTURY = 108,
	FADT_IAPC_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_X_DSDT = 140,
	FADT_X_PM1A_EVT_BLK = 148,
	FADT_X_PM1A_CNT_BLK = 172,
	FADT_X_PM_TMR_BLK = 208,
	FADT_HYPERVISOR = 268,
};

#define FADT_REVISION     6
#define LAT_NOT_SUPPORTED 0xffff
#define RTC_CENTURY       0x32

#define BOOT_ARCH_LEGACY_DEVICES (1u << 0)
#define BOOT_ARCH_8042           (1u << 1)
#define BOOT_ARCH_NO_VGA         (1u << 2)

#define FLAG_WBINVD        (1u << 0)
#define FLAG_PROC_C1       (1u << 2)
#define FLAG_NO_SLP_BUTTON (1u << 5)
#define FLAG_NO_FIX_RTC    (1u << 6)
#define FLAG_TMR_VAL_EXT   (1u << 8)
#define FLAG_RESET_REG_SUP (1u << 10)

enum { SPACE_IO = 1 };
enum { ACCESS_BYTE = 1, ACCESS_WORD = 2, ACCESS_DWORD = 3 };

enum { MADT_LOCAL_APIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LOCAL_NMI = 4 };
#define MADT_PCAT_COMPAT 1u /* there are 8259s, too */
#define MADT_ENABLED     1u
#define MADT_LEVEL_HIGH  0xdu /* MPS INTI flags: active high, level */

static size_t table_open(struct blob *b, const char *signature, uint8_t revision)
{
	blob_align(b, 16);
	size_t at = b->used;
	blob_put(b, signature, 4);
	blob_le(b, 0, 4); /* length: table_close */
	blob_le(b, revision, 1);
	blob_le(b, 0, 1); /* checksum: table_close */
	blob_put(b, OEM_ID, 6);
	blob_put(b, OEM_TABLE_ID, 8);
	blob_le(b, 1, 4);
	blob_put(b, "TRPZ", 4);
	blob_le(b, 1, 4);
	return at;
}

static void table_close(struct blob *b, size_t at)
{
	if (b->full)
		return;
	put_le(b->bytes + at + 4, b->used - at, 4);
	b->bytes[at + 9] = checksum8(b->bytes + at, b->used - at);
}

/* Generic Address Structure, section 5.2.3.2. */
static void port_gas(uint8_t *at, uint16_t port, uint8_t bits, uint8_t access)
{
	at[0] = SPACE_IO;
	at[1] = bits;
	at[3] = access;
	put_le(at + 4, port, 8);
}

static void fadt_power(uint8_t *t, const struct acpi_config *c)
{
	put_le(t + FADT_SCI_INT, c->sci_irq, 2);
	put_le(t + FADT_SMI_CMD, c->smi_cmd, 4);
	t[FADT_ACPI_ENABLE] = c->acpi_enable;
	t[FADT_ACPI_DISABLE] = c->acpi_disable;
	put_le(t + FADT_PM1A_EVT_BLK, c->pm1a_evt, 4);
	put_le(t + FADT_PM1A_CNT_BLK, c->pm1a_cnt, 4);
	put_le(t + FADT_PM_TMR_BLK, c->pm_timer, 4);
	t[FADT_PM1_EVT_LEN] = 4;
	t[FADT_PM1_CNT_LEN] = 2;
	t[FADT_PM_TMR_LEN] = 4;
	port_gas(t + FADT_X_PM1A_EVT_BLK, c->pm1a_evt, 32, ACCESS_WORD);
	port_gas(t + FADT_X_PM1A_CNT_BLK, c->pm1a_cnt, 16, ACCESS_WORD);
	port_gas(t + FADT_X_PM_TMR_BLK, c->pm_timer, 32, ACCESS_DWORD);
	put_le(t + FADT_P_LVL2_LAT, LAT_NOT_SUPPORTED, 2);
	put_le(t + FADT_P_LVL3_LAT, LAT_NOT_SUPPORTED, 2);
}

static size_t fadt(struct blob *b, const struct acpi_config *c, uint64_t facs, uint64_t dsdt)
{
	uint8_t t[FADT_BYTES] = { 0 };
	unsigned arch = BOOT_ARCH_LEGACY_DEVICES | (c->vga ? 0 : BOOT_ARCH_NO_VGA);
	size_t at = table_open(b, "FACP", FADT_REVISION);

	fadt_power(t, c);
	put_le(t + FADT_FIRMWARE_CTRL, facs, 4); /* its 64-bit twin is for above 4 GiB */
	put_le(t + FADT_DSDT, dsdt, 4);
	put_le(t + FADT_X_DSDT, dsdt, 8);
	if (c->kbd_data)
		arch |= BOOT_ARCH_8042;
	put_le(t + FADT_IAPC_BOOT_ARCH, arch, 2);
	t[FADT_CENTURY] = RTC_CENTURY;
	put_le(t + FADT_FLAGS,
	       FLAG_WBINVD | FLAG_PROC_C1 | FLAG_NO_SLP_BUTTON | FLAG_NO_FIX_RTC |
		       FLAG_TMR_VAL_EXT | FLAG_RESET_REG_SUP,
	       4);
	port_gas(t + FADT_RESET_REG, c->reset_port, 8, ACCESS_BYTE);
	t[FADT_RESET_VALUE] = c->reset_value;
	memcpy(t + FADT_HYPERVISOR, OEM_TABLE_ID, 8);
	blob_put(b, t + HEADER_BYTES, sizeof(t) - HEADER_BYTES);
	table_close(b, at);
	return at;
}

static void override(struct blob *b, uint8_t irq, uint8_t gsi, unsigned flags)
{
	blob_le(b, MADT_OVERRIDE, 1);
	blob_le(b, 10, 1);
	blob_le(b, 0, 1); /* bus: ISA */
	blob_le(b, irq, 1);
	blob_le(b, gsi, 4);
	blob_le(b, flags, 2);
}

static size_t madt(struct blob *b, const struct acpi_config *c)
{
	size_t at = table_open(b, "APIC", 5);

	blob_le(b, c->lapic_base, 4);
	blob_le(b, MADT_PCAT_COMPAT, 4);
	for (unsigned i = 0; i < c->cpus; i++) {
		blob_le(b, MADT_LOCAL_APIC, 1);
		blob_le(b, 8, 1);
		blob_le(b, i, 1); /* processor uid */
		blob_le(b, i, 1); /* APIC id */
		blob_le(b, MADT_ENABLED, 4);
	}
	blob_le(b, MADT_IOAPIC, 1);
	blob_le(b, 12, 1);
	blob_le(b, c->ioapic_id, 1);
	blob_le(b, 0, 1);
	blob_le(b, c->ioapic_base, 4);
	blob_le(b, 0, 4); /* first global interrupt */
	if (c->timer_gsi != 0)
		override(b, 0, c->timer_gsi, 0);
	override(b, c->sci_irq, c->sci_irq, MADT_LEVEL_HIGH);
	blob_le(b, MADT_LOCAL_NMI, 1);
	blob_le(b, 6, 1);
	blob_le(b, 0xff, 1); /* all processors */
	blob_le(b, 0, 2);
	blob_le(b, c->nmi_lint, 1);
	table_close(b, at);
	return at;
}

static size_t mcfg(struct blob *b, const struct acpi_config *c)
{
	size_t at = table_open(b, "MCFG", 1);

	blob_le(b, 0, 8);
	blob_le(b, c->ecam, 8);
	blob_le(b, 0, 2);    /* segment */
	blob_le(b, 0, 1);    /* first bus */
	blob_le(b, 0xff, 1); /* last bus */
	blob_le(b, 0, 4);
	table_close(b, at);
	return at;
}

static size_t facs(struct blob *b)
{
	blob_align(b, 64);
	size_t at = b->used;
	uint8_t t[FACS_BYTES] = { 'F', 'A', 'C', 'S', FACS_BYTES, [32] = 2 /* version */ };

	blob_put(b, t, sizeof(t));
	return at;
}

static size_t dsdt(struct blob *b, const struct acpi_config *c)
{
	size_t at = table_open(b, "DSDT", 2);

	dsdt_build(b, c);
	table_close(b, at);
	return at;
}

static size_t xsdt(struct blob *b, const uint64_t *tables, unsigned count)
{
	size_t at = table_open(b, "XSDT", 1);

	for (unsigned i = 0; i < count; i++)
		blob_le(b, tables[i], 8);
	table_close(b, at);
	return at;
}

static void rsdp(uint8_t *t, uint64_t xsdt_at)
{
	memcpy(t, "RSD PTR ", 8);
	memcpy(t + 9, OEM_ID, 6);
	t[15] = 2; /* revision */
	put_le(t + 20, RSDP_BYTES, 4);
	put_le(t + 24, xsdt_at, 8);
	t[8] = checksum8(t, 20); /* the ACPI 1.0 part */
	t[32] = checksum8(t, RSDP_BYTES);
}

int acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *bytes, size_t size,
	       size_t *used, struct fail *why)
{
	static const uint8_t blank[RSDP_BYTES];
	struct blob b = { .bytes = bytes, .size = size };

	if (config->cpus < 1 || config->cpus > ACPI_CPUS_MAX || (base & 63) ||
	    base + size > UINT32_MAX)
		return fail(why, -EINVAL, "ACPI tables: %u CPUs at 0x%llx cannot be described",
			    config->cpus, (unsigned long long)base);
	blob_put(&b, blank, sizeof(blank));
	uint64_t facs_at = base + facs(&b);
	uint64_t dsdt_at = base + dsdt(&b, config);
	uint64_t list[3] = { base + fadt(&b, config, facs_at, dsdt_at) };
	unsigned count = 1;
	list[count++] = base + madt(&b, config);
	if (config->ecam)
		list[count++] = base + mcfg(&b, config);
	uint64_t xsdt_at = base + xsdt(&b, list, count);
	if (b.full)
		return fail(why, -ENOSPC, "ACPI tables do not fit in %zu bytes", size);
	rsdp(bytes, xsdt_at);
	*used = b.used;
	return 0;
}

int acpi_write(struct mem *mem, const struct acpi_config *config, uint64_t *rsdp_at,
	       struct fail *why)
{
	uint8_t *bytes = host_alloc(ACPI_AREA_BYTES);
	size_t used;

	if (!bytes)
		return fail(why, -ENOMEM, "ACPI tables: no memory to build them");
	int r = acpi_build(config, ACPI_AREA, bytes, ACPI_AREA_BYTES, &used, why);
	if (!r && mem_load(mem, gpa(ACPI_AREA), bytes, used))
		r = fail(why, -EFAULT, "ACPI tables: no memory behind 0x%llx",
			 (unsigned long long)ACPI_AREA);
	host_free(bytes);
	*rsdp_at = ACPI_AREA;
	return r;
}
