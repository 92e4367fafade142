/*
 * fw_cfg.h - the port through which firmware asks the monitor about the machine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_FW_CFG_H
#define DEVICE_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

#include "host/fail.h"

struct vm;

#define FW_CFG_NAME_MAX  56 /* with its NUL */
#define FW_CFG_ITEMS_MAX 32

/* The numbered items that SeaBIOS asks for beside the files. */
enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_CPUS = 0x05, /* 16 bits, little-endian, as are the others */
	FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_CPUS_MAX = 0x0f,
	FW_CFG_DIRECTORY = 0x19,
	FW_CFG_FIRST_FILE = 0x20,
	FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

struct fw_cfg_item {
	const char *name; /* a file; or NULL: the item `key` */
	uint16_t key;
	const void *bytes; /* borrowed until the machine is closed */
	uint32_t size;
};

struct fw_cfg_config {
	const char *id; /* "fw_cfg" */
	uint16_t ports; /* selector and data, 2 ports; DMA is at +4, 8 ports. 0x510 on a PC */
	const struct fw_cfg_item *items; /* copied */
	unsigned count;                  /* at most FW_CFG_ITEMS_MAX */
};

/* Adds it to `vm`. 0; -ENOMEM; -EEXIST when a port is taken; -EINVAL: too many items, or a name
 * too long. */
int fw_cfg_create(struct vm *vm, const struct fw_cfg_config *config, struct fail *why);

#endif
