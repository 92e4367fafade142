/*
 * firmware.h - a BIOS image in the machine, and what it is told about it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_FIRMWARE_H
#define BOARD_FIRMWARE_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/acpi.h"
#include "boot/file.h"
#include "boot/map.h"
#include "device/fw_cfg.h"
#include "machine/vm.h"

#define FIRMWARE_DIRECTORY "/usr/share/seabios/"
#define FIRMWARE_DEFAULT   FIRMWARE_DIRECTORY "bios-256k.bin"
#define FIRMWARE_VGA       "vgabios-isavga.bin" /* beside the image, or else there */

struct firmware_config {
	const char *image; /* path */
	uint64_t memory;   /* bytes of RAM */
	bool boot_menu;    /* offered for a moment */
	uint16_t serial;   /* port of the serial line that is a second screen; 0: none */
	uint16_t fw_cfg;   /* port */
	/* Disks in the order in which firmware numbers them: PCI device numbers on bus 0. */
	unsigned first_disk, disks;
	struct acpi_config acpi;
};

#define FIRMWARE_SCRIPT_BYTES 4096
#define FIRMWARE_ORDER_BYTES  1024

struct firmware {
	uint64_t rom, rom_bytes; /* where the image is, below 4 GiB */
	struct boot_file vga;    /* option ROM; bytes NULL: none found */
	uint8_t tables[ACPI_AREA_BYTES], rsdp[ACPI_RSDP_BYTES], script[FIRMWARE_SCRIPT_BYTES];
	struct {
		uint64_t start, bytes;
		uint32_t type;
	} __attribute__((packed)) e820[BOOT_SLOTS_MAX];
	uint16_t cpus, boot_menu;
	uint64_t serial;
	char boot_order[FIRMWARE_ORDER_BYTES];
	struct fw_cfg_item item[FW_CFG_ITEMS_MAX];
	unsigned items;
};

/* What CMOS RAM tells firmware: the sizes of memory, the number of CPUs. */
void firmware_cmos(uint8_t *cmos, uint64_t memory, unsigned cpus);

/* Maps the image and adds the fw_cfg device. NULL and *why: not a BIOS image, no memory. */
struct firmware *firmware_open(struct vm *vm, const struct firmware_config *config,
			       struct fail *why);
/* Power-on and reset: the end of the image appears below 1 MiB, too. 0 or -E*. */
int firmware_reset(const struct firmware *f, struct mem *mem, struct fail *why);
/* After the machine is closed; NULL is allowed. */
void firmware_close(struct firmware *f);

#endif
