/*
 * firmware.c - a BIOS image in the machine, and what it is told about it.
 *
 * The image is ROM that ends at 4 GiB, where the processor starts. Its last 256 KiB appear
 * below 1 MiB as well, in memory: firmware runs there and writes to itself, as it would
 * in shadow RAM. What it cannot find out by looking - how much memory there is, the ACPI tables,
 * the option ROM of an adapter that is not on PCI - it reads through fw_cfg.
 *
 * Not modelled: write protection of the copy below 1 MiB; SMBIOS (SeaBIOS makes its own).
 *
 * Spec: SeaBIOS docs/Runtime_config.md. Tested by test/guest/firmware.c.
 * SPDX-License-Identifier: MIT
 */
#include "board/firmware.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "boot/bytes.h"

#define IMAGE_UNIT   UINT64_C(0x10000) /* a whole number of these */
#define IMAGE_MOST   (UINT64_C(16) << 20)
#define IMAGE_END    UINT64_C(0x100000000)
#define SHADOW_BYTES (MAP_EXTENDED - MAP_ROMS)
#define MEMORY_LEAST (UINT64_C(2) << 20)
#define VGA_MOST     UINT64_C(0x10000)

enum {
	CMOS_BASE = 0x15,     /* KiB below 1 MiB, two bytes */
	CMOS_EXTENDED = 0x17, /* KiB above it, up to 63 MiB; again at 0x30 */
	CMOS_EXTENDED_AGAIN = 0x30,
	CMOS_ABOVE_16M = 0x34, /* 64 KiB units, two bytes */
	CMOS_ABOVE_4G = 0x5b,  /* 64 KiB units, three bytes */
	CMOS_MORE_CPUS = 0x5f,
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t beyond(uint64_t size, uint64_t start)
{
	return size > start ? size - start : 0;
}

void firmware_cmos(uint8_t *cmos, uint64_t memory, unsigned cpus)
{
	uint64_t low = least(memory, MAP_LOW_END);
	uint64_t extended = least(beyond(low, MAP_EXTENDED) >> 10, 0xfc00);

	put_le(cmos + CMOS_BASE, MAP_VGA >> 10, 2);
	put_le(cmos + CMOS_EXTENDED, extended, 2);
	put_le(cmos + CMOS_EXTENDED_AGAIN, extended, 2);
	put_le(cmos + CMOS_ABOVE_16M, beyond(low, UINT64_C(16) << 20) >> 16, 2);
	put_le(cmos + CMOS_ABOVE_4G, beyond(memory, MAP_LOW_END) >> 16, 3);
	cmos[CMOS_MORE_CPUS] = (uint8_t)(cpus - 1);
}

/* --- The image --- */

static int map_image(struct firmware *f, struct vm *vm, const char *path, struct fail *why)
{
	struct boot_file image;
	int err = boot_file_open(&image, path, IMAGE_MOST, why);

	if (err)
		return err;
	f->rom_bytes = image.size;
	f->rom = IMAGE_END - image.size;
	if (image.size % IMAGE_UNIT)
		err = fail(why, -EINVAL, "%s: is no BIOS image: its size is not a multiple of 64K",
			   image.name);
	if (!err)
		err = mem_add(vm, gpa(f->rom), image.size, NULL, true, why);
	if (!err && mem_load(&vm->mem, gpa(f->rom), image.bytes, image.size))
		err = fail(why, -EFAULT, "%s: no memory behind it", image.name);
	boot_file_close(&image);
	return err;
}

int firmware_reset(const struct firmware *f, struct mem *mem, struct fail *why)
{
	uint64_t bytes = least(f->rom_bytes, SHADOW_BYTES);
	const void *end = mem_host(mem, gpa(IMAGE_END - bytes), bytes);

	if (!end || mem_load(mem, gpa(MAP_EXTENDED - bytes), end, bytes))
		return fail(why, -EFAULT, "firmware: no memory below 1 MiB");
	return 0;
}

/* --- What it is told --- */

static struct fw_cfg_item *add(struct firmware *f, const void *bytes, size_t size)
{
	struct fw_cfg_item *item = &f->item[f->items++];

	*item = (struct fw_cfg_item){ .bytes = bytes, .size = (uint32_t)size };
	return item;
}

static void add_file(struct firmware *f, const char *name, const void *bytes, size_t size)
{
	add(f, bytes, size)->name = name;
}

static void add_key(struct firmware *f, uint16_t key, const void *bytes, size_t size)
{
	add(f, bytes, size)->key = key;
}

/* All memory, the part below 1 MiB that is no RAM included: firmware knows what lies there. */
static void add_memory(struct firmware *f, uint64_t memory)
{
	unsigned n = 0;

	f->e820[n].bytes = least(memory, MAP_LOW_END);
	f->e820[n++].type = BOOT_RAM;
	if (memory > MAP_LOW_END) {
		f->e820[n].start = MAP_HIGH;
		f->e820[n].bytes = memory - MAP_LOW_END;
		f->e820[n++].type = BOOT_RAM;
	}
	add_file(f, "etc/e820", f->e820, n * sizeof(f->e820[0]));
}

static int add_tables(struct firmware *f, const struct acpi_config *acpi, struct fail *why)
{
	size_t bytes, script;
	int err = acpi_build(acpi, 0, f->tables, sizeof(f->tables), &bytes, why);

	if (!err)
		err = acpi_script_build(f->tables, f->script, sizeof(f->script), &script, why);
	if (err)
		return err;
	memcpy(f->rsdp, f->tables, sizeof(f->rsdp));
	memset(f->tables, 0, sizeof(f->rsdp)); /* there is but one */
	add_file(f, ACPI_FILE_TABLES, f->tables, bytes);
	add_file(f, ACPI_FILE_RSDP, f->rsdp, sizeof(f->rsdp));
	add_file(f, ACPI_FILE_SCRIPT, f->script, script);
	return 0;
}

/* The adapter's BIOS: beside the image, or where Debian has it. Without it there is no screen. */
static void add_vga(struct firmware *f, const char *image)
{
	const char *slash = strrchr(image, '/');
	char path[4096];
	struct fail why;
	int n;

	n = snprintf(path, sizeof(path), "%.*s" FIRMWARE_VGA, slash ? (int)(slash + 1 - image) : 0,
		     image);
	if (n >= (int)sizeof(path) || boot_file_open(&f->vga, path, VGA_MOST, &why))
		if (boot_file_open(&f->vga, FIRMWARE_DIRECTORY FIRMWARE_VGA, VGA_MOST, &why))
			return;
	add_file(f, "vgaroms/" FIRMWARE_VGA, f->vga.bytes, f->vga.size);
}

/* A line for each disk, by its path in Open Firmware's words. The first one boots. */
static void add_boot_order(struct firmware *f, const struct firmware_config *config)
{
	size_t at = 0, room = sizeof(f->boot_order);

	for (unsigned i = 0; i < config->disks && at < room; i++)
		at += (size_t)snprintf(f->boot_order + at, room - at,
				       "/pci@i0cf8/scsi@%x/disk@0,0\n", config->first_disk + i);
	if (at && at < room)
		add_file(f, "bootorder", f->boot_order, at);
}

static int add_device(struct firmware *f, struct vm *vm, const struct firmware_config *config,
		      struct fail *why)
{
	struct fw_cfg_config fw_cfg = {
		.id = "fw_cfg",
		.ports = config->fw_cfg,
		.items = f->item,
	};
	int err = add_tables(f, &config->acpi, why);

	if (err)
		return err;
	add_memory(f, config->memory);
	add_vga(f, config->image);
	add_boot_order(f, config);
	f->cpus = (uint16_t)config->acpi.cpus;
	add_key(f, FW_CFG_CPUS, &f->cpus, sizeof(f->cpus));
	add_key(f, FW_CFG_CPUS_MAX, &f->cpus, sizeof(f->cpus));
	f->boot_menu = config->boot_menu;
	add_key(f, FW_CFG_BOOT_MENU, &f->boot_menu, sizeof(f->boot_menu));
	/* The timer is not on IOAPIC input 0. */
	static const uint8_t irq0_override = 1;
	add_key(f, FW_CFG_IRQ0_OVERRIDE, &irq0_override, sizeof(irq0_override));
	f->serial = config->serial;
	if (f->serial)
		add_file(f, "etc/sercon-port", &f->serial, sizeof(f->serial));
	fw_cfg.count = f->items;
	return fw_cfg_create(vm, &fw_cfg, why);
}

struct firmware *firmware_open(struct vm *vm, const struct firmware_config *config,
			       struct fail *why)
{
	struct firmware *f = host_alloc(sizeof(*f));
	int err = 0;

	if (!f) {
		fail(why, -ENOMEM, "no memory for the firmware");
		return NULL;
	}
	if (config->memory < MEMORY_LEAST)
		err = fail(why, -EINVAL, "%s: firmware needs at least 2 MiB of memory",
			   config->image);
	if (!err)
		err = map_image(f, vm, config->image, why);
	if (!err)
		err = add_device(f, vm, config, why);
	if (!err)
		return f;
	firmware_close(f);
	return NULL;
}

void firmware_close(struct firmware *f)
{
	if (!f)
		return;
	boot_file_close(&f->vga);
	host_free(f);
}
