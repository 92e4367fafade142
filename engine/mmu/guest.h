/*
 * guest.h - guest memory, when other vCPUs and devices use it at the same time.
 *
 * The guest's own accesses race with each other as the guest pleases, and the answer is the
 * host's: an aligned access of up to 8 bytes is one access of the host, of the same size, that
 * happens exactly once and where the program says; so the guest has the host's memory ordering,
 * which is its own. These functions say so to the compiler. ThreadSanitizer, which would find
 * the guest's races, is told not to look at them, and sees the monitor's own memory better.
 *
 * Tested by test/guest/bare (litmus).
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_MMU_GUEST_H
#define ENGINE_MMU_GUEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GUEST_UNSEEN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GUEST_UNSEEN 1
#endif
#ifdef GUEST_UNSEEN
#define GUEST_ACCESS static __attribute__((no_sanitize("thread"), noinline, unused))
#else
#define GUEST_ACCESS static inline
#endif

/* At any address, and beside any other type. */
typedef uint8_t guest_u8;
typedef uint16_t __attribute__((aligned(1), may_alias)) guest_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) guest_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) guest_u64;

#define GUEST_ONE(bits)                                                                            \
	GUEST_ACCESS uint##bits##_t guest_load##bits(const void *at)                               \
	{                                                                                          \
		return *(const volatile guest_u##bits *)at;                                        \
	}                                                                                          \
	GUEST_ACCESS void guest_store##bits(void *at, uint##bits##_t value)                        \
	{                                                                                          \
		*(volatile guest_u##bits *)at = value;                                             \
	}
GUEST_ONE(8)
GUEST_ONE(16)
GUEST_ONE(32)
GUEST_ONE(64)
#undef GUEST_ONE

/* Larger operands: every aligned 8 bytes of them at once. They may overlap. */
GUEST_ACCESS void guest_copy(void *to, const void *from, size_t bytes)
{
#ifdef GUEST_UNSEEN
	volatile uint8_t *t = to;
	const volatile uint8_t *f = from;

	for (size_t i = 0; i < bytes; i++) {
		size_t at = t < f ? i : bytes - 1 - i;

		t[at] = f[at];
	}
#else
	memmove(to, from, bytes);
#endif
}

/* Like REP STOSB, whose stores have no order. */
GUEST_ACCESS void guest_fill(void *to, uint8_t value, size_t bytes)
{
#ifdef GUEST_UNSEEN
	volatile uint8_t *t = to;

	for (size_t i = 0; i < bytes; i++)
		t[i] = value;
#else
	memset(to, value, bytes);
#endif
}

/* An operand of any size, from or to memory of the monitor's own. */
#define GUEST_SIZES(X)                                                                             \
	X(8)                                                                                       \
	X(16)                                                                                      \
	X(32)                                                                                      \
	X(64)

GUEST_ACCESS void guest_read(void *to, const void *from, size_t bytes)
{
	switch (bytes) {
#define X(bits)                                                                                    \
	case bits / 8: *(guest_u##bits *)to = *(const volatile guest_u##bits *)from; return;
		GUEST_SIZES(X)
#undef X
	default: guest_copy(to, from, bytes);
	}
}

GUEST_ACCESS void guest_write(void *to, const void *from, size_t bytes)
{
	switch (bytes) {
#define X(bits)                                                                                    \
	case bits / 8: *(volatile guest_u##bits *)to = *(const guest_u##bits *)from; return;
		GUEST_SIZES(X)
#undef X
	default: guest_copy(to, from, bytes);
	}
}

#endif
