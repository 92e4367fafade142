/*
 * map.c - the memory map of the machine and the free space in it.
 *
 * Base memory ends at 640 KiB as on every PC, with the last KiB kept back as the
 * extended BIOS data area; video memory is a hole; 0xc0000 to 1 MiB is memory that
 * firmware fills with option ROMs, itself and its tables. Memory goes on from 1 MiB to 2 GiB and
 * continues at 4 GiB. A `--memory` of N bytes ends at N, as in QEMU: the hole
 * below 1 MiB is not made up for. Allocation is first fit over a handful of ranges.
 *
 * Spec: ACPI 6.4 table 15.4 (range types). Tested by test/unit/linux.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/map.h"

#include <errno.h>
#include <stddef.h>

#include "cpu/addr.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void add(struct boot_map *map, uint64_t start, uint64_t end, uint32_t type)
{
	if (end > start)
		map->range[map->count++] = (struct boot_range){ start, end - start, type };
}

void boot_map_build(struct boot_map *map, uint64_t ram_bytes)
{
	map->count = 0;
	add(map, 0, least(ram_bytes, MAP_EBDA), BOOT_RAM);
	add(map, MAP_EBDA, least(ram_bytes, MAP_VGA), BOOT_RESERVED);
	if (ram_bytes > MAP_VGA)
		add(map, MAP_TABLES, MAP_EXTENDED, BOOT_RESERVED);
	add(map, MAP_EXTENDED, least(ram_bytes, MAP_LOW_END), BOOT_RAM);
	if (ram_bytes > MAP_LOW_END)
		add(map, MAP_HIGH, MAP_HIGH + (ram_bytes - MAP_LOW_END), BOOT_RAM);
}

unsigned boot_map_slots(struct boot_range slot[BOOT_SLOTS_MAX], uint64_t ram_bytes)
{
	struct boot_map map = { .count = 0 };
	uint64_t low = least(ram_bytes, MAP_LOW_END);

	add(&map, 0, least(ram_bytes, MAP_VGA), BOOT_RAM);
	if (ram_bytes > MAP_VGA)
		add(&map, MAP_ROMS, low > MAP_EXTENDED ? low : MAP_EXTENDED, BOOT_RAM);
	if (ram_bytes > MAP_LOW_END)
		add(&map, MAP_HIGH, MAP_HIGH + (ram_bytes - MAP_LOW_END), BOOT_RAM);
	for (unsigned i = 0; i < map.count; i++)
		slot[i] = map.range[i];
	return map.count;
}

uint64_t boot_map_low_end(const struct boot_map *map)
{
	for (unsigned i = 0; i < map->count; i++)
		if (map->range[i].start == MAP_EXTENDED)
			return MAP_EXTENDED + map->range[i].bytes;
	return MAP_EXTENDED;
}

void boot_space_init(struct boot_space *space, const struct boot_map *map)
{
	space->map = map;
	space->used[0] = (struct boot_range){ 0, PAGE_SIZE, BOOT_RESERVED };
	space->count = 1;
}

/* [at, at + bytes) lies in the range; no sum that can overflow. */
static bool inside(const struct boot_range *r, uint64_t at, uint64_t bytes)
{
	return at >= r->start && bytes <= r->bytes && at - r->start <= r->bytes - bytes;
}

static bool is_ram(const struct boot_space *space, uint64_t at, uint64_t bytes)
{
	for (unsigned i = 0; i < space->map->count; i++)
		if (space->map->range[i].type == BOOT_RAM &&
		    inside(&space->map->range[i], at, bytes))
			return true;
	return false;
}

static const struct boot_range *taken(const struct boot_space *space, uint64_t at, uint64_t bytes)
{
	for (unsigned i = 0; i < space->count; i++) {
		const struct boot_range *u = &space->used[i];
		if (at < u->start + u->bytes && u->start < at + bytes)
			return u;
	}
	return NULL;
}

int boot_space_claim(struct boot_space *space, uint64_t at, uint64_t bytes)
{
	if (!is_ram(space, at, bytes))
		return -EFAULT;
	if (!bytes)
		return 0;
	if (taken(space, at, bytes))
		return -EEXIST;
	if (space->count == BOOT_USED_MAX)
		return -E2BIG;
	space->used[space->count++] = (struct boot_range){ at, bytes, BOOT_RAM };
	return 0;
}

int boot_space_low(struct boot_space *space, uint64_t from, uint64_t bytes, uint64_t align,
		   uint64_t *at)
{
	for (unsigned i = 0; i < space->map->count; i++) {
		const struct boot_range *r = &space->map->range[i];
		uint64_t try = r->start > from ? r->start : from;
		if (r->type != BOOT_RAM || r->start >= MAP_HIGH)
			continue;
		for (;;) {
			try = (try + align - 1) & ~(align - 1);
			if (!inside(r, try, bytes))
				break;
			const struct boot_range *hit = taken(space, try, bytes);
			if (!hit) {
				*at = try;
				return boot_space_claim(space, try, bytes) ? -ENOMEM : 0;
			}
			try = hit->start + hit->bytes;
		}
	}
	return -ENOMEM;
}

int boot_space_high(struct boot_space *space, uint64_t bytes, uint64_t below, uint64_t *at)
{
	for (unsigned i = space->map->count; i-- > 0;) {
		const struct boot_range *r = &space->map->range[i];
		uint64_t end = least(r->start + r->bytes, below);
		if (r->type != BOOT_RAM || r->start < MAP_EXTENDED)
			continue;
		while (end >= bytes) {
			uint64_t try = (end - bytes) & ~PAGE_MASK;
			if (!inside(r, try, bytes))
				break;
			const struct boot_range *hit = taken(space, try, bytes);
			if (!hit) {
				*at = try;
				return boot_space_claim(space, try, bytes) ? -ENOMEM : 0;
			}
			end = hit->start;
		}
	}
	return -ENOMEM;
}
