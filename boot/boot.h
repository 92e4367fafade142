/*
 * boot.h - puts a kernel into guest memory and says how the first CPU enters it.
 *
 * What kind of kernel it is is found by looking at the file: a Linux bzImage, an ELF
 * file with a PVH note, or a multiboot kernel. There is no firmware underneath: the
 * loader does what firmware and boot loader would have left behind. Call again
 * after a reset; nothing is remembered.
 *
 * Spec: see the loaders. Tested by test/unit/{linux,elf,multiboot,flat}.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_BOOT_H
#define BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/map.h"
#include "cpu/state.h"
#include "host/fail.h"
#include "machine/mem.h"

struct boot_config {
	const struct boot_map *map; /* of the machine's memory; its RAM is in `mem` */
	const char *kernel;         /* path; exactly one of kernel and flat is set */
	const char *initrd;         /* path or NULL; not with flat */
	const char *append;         /* kernel command line or NULL */
	/*
	 * A binary without a header, loaded at flat_at and entered at its first byte: below
	 * 1 MiB in real mode (CS:IP = 0:flat_at when flat_at < 64 KiB, else flat_at / 16 :
	 * flat_at % 16; other segments 0, SP = flat_at when below 64 KiB, else 0), otherwise
	 * in 32-bit protected mode with flat 4 GiB segments, paging off.
	 */
	const char *flat;
	uint64_t flat_at;
	uint64_t rsdp; /* guest-physical address of the ACPI RSDP; 0: no ACPI tables */
	bool vga;      /* there is a VGA adapter, in 80x25 text mode */
};

/*
 * Loads, and fills *bsp from x86_state_reset(). Vcpus parked. On failure a negative E*
 * value and one sentence, mostly "FILE: reason"; guest memory and *bsp may be part
 * written, so the machine must not be started.
 */
int boot_load(struct mem *mem, const struct boot_config *config, struct x86_state *bsp,
	      struct fail *why);

#endif
