/*
 * bytes.h - little-endian fields in byte buffers, and a buffer that is appended to.
 *
 * Firmware structures are unaligned and little-endian; they are read and written
 * field by field through these, never by casting to a struct. A blob that runs
 * out of room remembers it: a builder checks `full` once, at its end.
 *
 * Tested by test/unit/acpi.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_BYTES_H
#define BOOT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t get_le(const uint8_t *from, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)from[i] << (8 * i);
	return v;
}

static inline void put_le(uint8_t *to, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

static inline uint16_t get16(const uint8_t *from)
{
	return (uint16_t)get_le(from, 2);
}

static inline uint32_t get32(const uint8_t *from)
{
	return (uint32_t)get_le(from, 4);
}

static inline uint64_t get64(const uint8_t *from)
{
	return get_le(from, 8);
}

struct blob {
	uint8_t *bytes;
	size_t size; /* room */
	size_t used;
	bool full; /* something did not fit; contents are useless */
};

static inline void blob_put(struct blob *b, const void *from, size_t bytes)
{
	if (bytes > b->size - b->used) {
		b->full = true;
		return;
	}
	memcpy(b->bytes + b->used, from, bytes);
	b->used += bytes;
}

/* Appends the low `bytes` bytes of v. */
static inline void blob_le(struct blob *b, uint64_t v, unsigned bytes)
{
	uint8_t raw[8];
	put_le(raw, v, bytes);
	blob_put(b, raw, bytes);
}

/* Appends zeros up to the next multiple of `align` (a power of two). */
static inline void blob_align(struct blob *b, size_t align)
{
	while (!b->full && (b->used & (align - 1)))
		blob_le(b, 0, 1);
}

/* The value that makes the bytes sum to zero: every firmware table's checksum. */
static inline uint8_t checksum8(const uint8_t *bytes, size_t count)
{
	uint8_t sum = 0;
	for (size_t i = 0; i < count; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

#endif
