/*
 * acpi_script.c - the ACPI tables as SeaBIOS takes them: two files and a script.
 *
 * Firmware decides where the tables go. So they are built for address 0, which makes every
 * pointer in them an offset, and the script says: find room for these files, add the
 * tables' address at these places, then put the checksums right. It is made by following
 * the pointers of the finished tables, and so knows nothing of who built them.
 *
 * Spec: the "BIOS linker/loader" interface of QEMU and SeaBIOS; ACPI 6.4 5.2.5-5.2.9.
 * Tested by test/unit/acpi.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/acpi.h"
#include "boot/bytes.h"

#define RSDP_BYTES   36
#define RSDP_SUM     8
#define RSDP_V1      20 /* bytes under the first checksum */
#define RSDP_XSDT    24
#define RSDP_SUM2    32
#define HEADER_BYTES 36
#define TABLE_LENGTH 4
#define TABLE_SUM    9

#define FADT_FIRMWARE_CTRL   36
#define FADT_DSDT            40
#define FADT_X_FIRMWARE_CTRL 132
#define FADT_X_DSDT          140

#define COMMAND_BYTES 128
#define NAME_BYTES    56
enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_LOW = 2 };

static void put_name(struct blob *b, const char *name)
{
	uint8_t field[NAME_BYTES] = { 0 };

	memcpy(field, name, strlen(name));
	blob_put(b, field, sizeof(field));
}

static void pad(struct blob *b)
{
	blob_align(b, COMMAND_BYTES);
}

static void allocate(struct blob *b, const char *file, unsigned align, unsigned zone)
{
	blob_le(b, ALLOCATE, 4);
	put_name(b, file);
	blob_le(b, align, 4);
	blob_le(b, zone, 1);
	pad(b);
}

/* The tables' address is added to the `bytes` bytes at `at` of `file`. */
static void add_pointer(struct blob *b, const char *file, size_t at, unsigned bytes)
{
	blob_le(b, ADD_POINTER, 4);
	put_name(b, file);
	put_name(b, ACPI_FILE_TABLES);
	blob_le(b, at, 4);
	blob_le(b, bytes, 1);
	pad(b);
}

static void add_checksum(struct blob *b, const char *file, size_t at, size_t start, size_t bytes)
{
	blob_le(b, ADD_CHECKSUM, 4);
	put_name(b, file);
	blob_le(b, at, 4);
	blob_le(b, start, 4);
	blob_le(b, bytes, 4);
	pad(b);
}

static void pointer_if_set(struct blob *b, const uint8_t *tables, size_t at, unsigned bytes)
{
	if (get_le(tables + at, bytes))
		add_pointer(b, ACPI_FILE_TABLES, at, bytes);
}

static void sum_table(struct blob *b, const uint8_t *tables, size_t at)
{
	add_checksum(b, ACPI_FILE_TABLES, at + TABLE_SUM, at, get32(tables + at + TABLE_LENGTH));
}

static void fadt(struct blob *b, const uint8_t *tables, size_t at)
{
	pointer_if_set(b, tables, at + FADT_FIRMWARE_CTRL, 4);
	pointer_if_set(b, tables, at + FADT_DSDT, 4);
	pointer_if_set(b, tables, at + FADT_X_FIRMWARE_CTRL, 8);
	pointer_if_set(b, tables, at + FADT_X_DSDT, 8);
	sum_table(b, tables, at);
}

int acpi_script_build(const uint8_t *tables, uint8_t *script, size_t size, size_t *used,
		      struct fail *why)
{
	struct blob b = { .bytes = script, .size = size };
	size_t xsdt = get64(tables + RSDP_XSDT);
	size_t end = xsdt + get32(tables + xsdt + TABLE_LENGTH);

	allocate(&b, ACPI_FILE_RSDP, 16, ZONE_LOW);
	allocate(&b, ACPI_FILE_TABLES, 64, ZONE_HIGH);
	for (size_t at = xsdt + HEADER_BYTES; at < end; at += 8) {
		size_t table = get64(tables + at);

		add_pointer(&b, ACPI_FILE_TABLES, at, 8);
		if (memcmp(tables + table, "FACP", 4) == 0)
			fadt(&b, tables, table);
	}
	sum_table(&b, tables, xsdt);
	add_pointer(&b, ACPI_FILE_RSDP, RSDP_XSDT, 8);
	add_checksum(&b, ACPI_FILE_RSDP, RSDP_SUM, 0, RSDP_V1);
	add_checksum(&b, ACPI_FILE_RSDP, RSDP_SUM2, 0, RSDP_BYTES);
	if (b.full)
		return fail(why, -ENOSPC, "ACPI script does not fit in %zu bytes", size);
	*used = b.used;
	return 0;
}
