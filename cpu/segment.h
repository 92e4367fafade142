/*
 * segment.h - descriptors, selectors and limit checks, as data and pure functions.
 *
 * Spec: SDM vol. 3 ch. 3.4-3.5, 5.2-5.9, 8. Tested by test/unit/segment.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_SEGMENT_H
#define CPU_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/state.h"

/* Unpacks the eight descriptor bytes (base 32 bits; the caller adds the upper half of a
 * 16-byte system descriptor). The selector is stored as given. */
struct x86_seg segment_unpack(uint16_t selector, uint64_t descriptor);
/* The inverse, for tests and tables; base above 4 GiB is lost. */
uint64_t segment_pack(const struct x86_seg *seg);

/* Real mode: base = selector * 16, a writable data segment of DPL 0 (CS too: code may be
 * written through it); the limit and the granularity, size and direction bits are kept. */
void segment_load_real(struct x86_seg *seg, uint16_t selector);
/* v86: base = selector * 16, limit 0xffff, writable data of DPL 3 (CS too). */
void segment_load_v86(struct x86_seg *seg, uint16_t selector);
/* A null selector in a data segment register, or in SS in 64-bit mode: unusable. DPL is
 * the selector's RPL, which for SS is the CPL (x86_cpl reads it there). */
void segment_load_null(struct x86_seg *seg, uint16_t selector);

/* May [offset, offset + size) be accessed? Honours expand-down, read and write rights;
 * not for 64-bit mode. size >= 1. */
bool segment_allows(const struct x86_seg *seg, uint64_t offset, unsigned size, bool write);

/* 4 GiB, read-write (or readable code for reads), so no check is ever needed. */
bool segment_unlimited(const struct x86_seg *seg, bool write);
/* The same, with base 0. */
bool segment_flat(const struct x86_seg *seg, bool write);

/* The descriptor checks of a load into DS, ES, FS, GS (data or readable code) or SS.
 * 0: may be loaded. Else the vector to raise (VEC_GP, VEC_NP, VEC_SS), error code
 * is selector & 0xfffc. SDM vol. 3 5.6, 5.7. */
int segment_check_data(const struct x86_seg *seg, uint16_t selector, unsigned cpl);
int segment_check_stack(const struct x86_seg *seg, uint16_t selector, unsigned cpl);

#endif
