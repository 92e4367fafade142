/*
 * digest.c - integer work on bytes: a Lempel-Ziv compressor, SHA-256 and CRC-32.
 *
 * `lz` finds matches through a hash of three bytes and copies them back byte by byte; `digest` is
 * long straight code in registers with a table look-up per byte beside it.
 *
 * Spec: FIPS 180-4; CRC-32 of IEEE 802.3. Its test: main.c. SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "work.h"

#define INPUT 65536

static uint8_t input[INPUT], packed[INPUT * 2], unpacked[INPUT];

/* Text-like: words of a small vocabulary. */
static void make_input(void)
{
	uint64_t seed = 5;
	size_t n = 0;

	while (n < INPUT) {
		uint64_t word = next_random(&seed) % 300, letters = word * 2654435761u;

		for (unsigned i = 0; i < 2 + word % 7 && n < INPUT; i++, letters >>= 4)
			input[n++] = (uint8_t)('a' + letters % 16);
		if (n < INPUT)
			input[n++] = ' ';
	}
}

void lz_setup(void)
{
	make_input();
}

static size_t match_length(size_t at, size_t before)
{
	size_t n = 0;

	while (n < 255 && at + n < INPUT && input[at + n] == input[before + n])
		n++;
	return n;
}

static size_t compress(void)
{
	static uint32_t last[8192];
	size_t out = 0, at = 0;

	memset(last, 0, sizeof(last));
	while (at < INPUT) {
		size_t length = 0, before = 0;

		if (at + 3 < INPUT) {
			uint32_t three = input[at] | input[at + 1] << 8 | input[at + 2] << 16;
			uint32_t *slot = &last[three * 2654435769u >> 19];

			before = *slot;
			*slot = (uint32_t)at;
			if (before < at)
				length = match_length(at, before);
		}
		if (length >= 4) {
			packed[out++] = (uint8_t)length;
			packed[out++] = (uint8_t)(at - before);
			packed[out++] = (uint8_t)((at - before) >> 8);
			at += length;
		} else {
			packed[out++] = 0;
			packed[out++] = input[at++];
		}
	}
	return out;
}

static size_t expand(size_t size)
{
	size_t in = 0, out = 0;

	while (in < size) {
		unsigned length = packed[in++];

		if (length == 0) {
			unpacked[out++] = packed[in++];
			continue;
		}
		for (size_t from = out - (packed[in] | (size_t)packed[in + 1] << 8); length > 0;
		     length--)
			unpacked[out++] = unpacked[from++];
		in += 2;
	}
	return out;
}

uint64_t work_lz(void)
{
	size_t size = compress();

	if (expand(size) != INPUT || memcmp(input, unpacked, INPUT) != 0)
		work_failed("lz: not what was compressed");
	return size;
}

static uint32_t crc_table[256], sha_k[64];

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

/* The first 32 bits of the fractional part of the cube root of a prime, by bisection in integers.
 */
static uint32_t cube_root_fraction(unsigned prime)
{
	unsigned __int128 wanted = (unsigned __int128)prime << 96;
	uint64_t low = 0, high = UINT64_C(8) << 32;

	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;

		if ((unsigned __int128)middle * middle * middle <= wanted)
			low = middle;
		else
			high = middle;
	}
	return (uint32_t)low;
}

void digest_setup(void)
{
	unsigned found = 0;

	make_input();
	for (unsigned i = 0; i < 256; i++) {
		uint32_t c = i;

		for (unsigned bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
		crc_table[i] = c;
	}
	for (unsigned n = 2; found < 64; n++) {
		unsigned d = 2;

		while (d * d <= n && n % d)
			d++;
		if (d * d > n)
			sha_k[found++] = cube_root_fraction(n);
	}
}

static void sha_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (unsigned i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
		       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof(v));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t e = v[4], a = v[0];
		uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			      ((e & v[5]) ^ (~e & v[6])) + sha_k[i] + w[i];
		uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			      ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(v[0]));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		h[i] += v[i];
}

uint64_t work_digest(void)
{
	uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint32_t crc = ~0u;

	for (size_t at = 0; at < INPUT; at += 64)
		sha_block(h, input + at);
	for (size_t at = 0; at < INPUT; at++)
		crc = crc_table[(crc ^ input[at]) & 0xff] ^ crc >> 8;
	return (uint64_t)~crc << 32 | h[7];
}
