/*
 * addr.h - address kinds the compiler keeps apart.
 *
 * A guest-physical address is not a guest-linear address and neither is a
 * host pointer. Each is its own struct, so mixing them is a compile error.
 * Port numbers are plain uint16_t: they never meet the other three.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_ADDR_H
#define CPU_ADDR_H

#include <stdint.h>

typedef struct {
	uint64_t v;
} gpa_t; /* guest-physical */

typedef struct {
	uint64_t v;
} gva_t; /* guest-linear: after segmentation, before paging */

static inline gpa_t gpa(uint64_t v)
{
	return (gpa_t){ v };
}

static inline gva_t gva(uint64_t v)
{
	return (gva_t){ v };
}

#define PAGE_SHIFT 12
#define PAGE_SIZE  UINT64_C(4096)
#define PAGE_MASK  (PAGE_SIZE - 1)

#endif
