/*
 * map.h - where memory is, what the guest is told about it, and what is still free.
 *
 * One function decides the memory map of the machine; the E820 table of the Linux
 * protocol, the PVH memory map and the multiboot map are three spellings of it.
 * While loading, a boot_space remembers what has been placed, so that kernel,
 * initrd, command line and tables can never overlap.
 *
 * Spec: ACPI 6.4 table 15.4 (range types). Tested by test/unit/linux.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_MAP_H
#define BOOT_MAP_H

#include <stdbool.h>
#include <stdint.h>

#define MAP_EBDA     UINT64_C(0x9fc00) /* extended BIOS data area, 1 KiB */
#define MAP_VGA      UINT64_C(0xa0000) /* nothing there: end of base memory */
#define MAP_ROMS     UINT64_C(0xc0000) /* option ROMs; a kernel is not told of this memory */
#define MAP_TABLES   UINT64_C(0xe0000) /* ACPI and MP tables, up to 1 MiB */
#define MAP_EXTENDED UINT64_C(0x100000)
#define MAP_LOW_END  UINT64_C(0x80000000)  /* 2 GiB: devices from here to 4 GiB */
#define MAP_ECAM     UINT64_C(0xb0000000)  /* 256 MiB: where firmware for this chipset puts it */
#define MAP_PCI      UINT64_C(0xc0000000)  /* BARs, up to the APICs */
#define MAP_PCI_END  UINT64_C(0xfec00000)
#define MAP_HIGH     UINT64_C(0x100000000) /* the rest of memory */

enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2 };

struct boot_range {
	uint64_t start, bytes;
	uint32_t type; /* enum boot_range_type */
};

#define BOOT_RANGES_MAX 8
struct boot_map {
	struct boot_range range[BOOT_RANGES_MAX]; /* ascending, none empty */
	unsigned count;
};

/* What the guest is told about a machine with `ram_bytes` (a multiple of the page size). */
void boot_map_build(struct boot_map *map, uint64_t ram_bytes);

/*
 * The same decision for the board: the ranges that memory must be added for, those
 * holding tables included; all of type BOOT_RAM, page aligned. Returns the count, 1 to 3.
 */
#define BOOT_SLOTS_MAX 3
unsigned boot_map_slots(struct boot_range slot[BOOT_SLOTS_MAX], uint64_t ram_bytes);

/* End of the RAM that starts at 1 MiB; 1 MiB when there is none. */
uint64_t boot_map_low_end(const struct boot_map *map);

#define BOOT_USED_MAX 80
struct boot_space {
	const struct boot_map *map;
	struct boot_range used[BOOT_USED_MAX];
	unsigned count;
};

/* All RAM is free but the first page (interrupt vectors, BIOS data area). */
void boot_space_init(struct boot_space *space, const struct boot_map *map);

/* Takes a fixed range. 0; -EFAULT: not all RAM; -EEXIST: taken; -E2BIG: too many ranges. */
int boot_space_claim(struct boot_space *space, uint64_t at, uint64_t bytes);

/* Takes the lowest free `bytes` at or above `from` and below 4 GiB, aligned. 0 or -ENOMEM. */
int boot_space_low(struct boot_space *space, uint64_t from, uint64_t bytes, uint64_t align,
		   uint64_t *at);

/* Takes the highest free `bytes`, page aligned, at or above 1 MiB, all below `below`. 0 or -ENOMEM.
 */
int boot_space_high(struct boot_space *space, uint64_t bytes, uint64_t below, uint64_t *at);

#endif
