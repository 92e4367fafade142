/*
 * random.c - random numbers that repeat, and values that instructions find interesting.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "test/insn/insn.h"

static uint64_t mix(uint64_t *x)
{
	uint64_t z = *x += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void rng_start(struct rng *r, uint64_t seed, uint64_t number)
{
	uint64_t x = seed * UINT64_C(0xd1342543de82ef95) + number;

	for (unsigned i = 0; i < 4; i++)
		r->s[i] = mix(&x);
}

static uint64_t rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

/* xoshiro256** */
uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

uint64_t rng_integer(struct rng *r, unsigned bytes)
{
	unsigned bits = 8 * bytes;
	uint64_t mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX, v;

	switch (rng_below(r, 8)) {
	case 0: v = rng_below(r, 5) - UINT64_C(2); break;                     /* near 0 */
	case 1: v = (UINT64_C(1) << (bits - 1)) + rng_below(r, 5) - 2; break; /* near the sign */
	case 2: v = UINT64_C(1) << rng_below(r, bits); break;                 /* one bit */
	case 3: v = (UINT64_C(1) << rng_below(r, bits)) - 1; break;           /* low ones */
	case 4: v = rng_below(r, 256); break;
	case 5: v = rng_next(r) >> rng_below(r, 64); break;
	default: v = rng_next(r); break;
	}
	return v & mask;
}

static uint64_t float_of(struct rng *r, unsigned mantissa, unsigned exponent)
{
	uint64_t top = (UINT64_C(1) << exponent) - 1, bias = top >> 1, e, m;

	switch (rng_below(r, 8)) {
	case 0: e = 0; break;
	case 1: e = top; break;
	case 2: e = top - 1; break;
	case 3: e = 1; break;
	case 4: e = bias + rng_below(r, 70); break; /* integers */
	case 5: e = bias - 2 + rng_below(r, 5); break;
	default: e = rng_next(r) & top; break;
	}
	switch (rng_below(r, 6)) {
	case 0: m = 0; break;
	case 1: m = UINT64_C(1) << (mantissa - 1); break; /* the quiet bit */
	case 2: m = (UINT64_C(1) << mantissa) - 1; break;
	case 3: m = UINT64_C(1) << rng_below(r, mantissa); break;
	default: m = rng_next(r) >> (64 - mantissa); break;
	}
	return (rng_next(r) & 1) << (mantissa + exponent) | e << mantissa | m;
}

void rng_elements(struct rng *r, uint8_t *to, unsigned bytes)
{
	unsigned kind = rng_below(r, 6);
	unsigned size = kind == 0 ? 1 : kind == 1 ? 2 : kind == 2 || kind == 4 ? 4 : 8;

	for (unsigned i = 0; i < bytes; i += size) {
		uint64_t v;

		if (kind == 4)
			v = float_of(r, 23, 8);
		else if (kind == 5)
			v = float_of(r, 52, 11);
		else
			v = rng_integer(r, size);
		memcpy(to + i, &v, size < bytes - i ? size : bytes - i);
	}
}

/* Any 80 bits, with all the special and unsupported forms. */
static void rng_extended(struct rng *r, struct x86_fpu *f, unsigned n)
{
	uint64_t e, m = rng_next(r);

	switch (rng_below(r, 8)) {
	case 0: e = 0; break;
	case 1: e = 0x7fff; break;
	case 2: e = 0x3fff + rng_below(r, 70); break;
	case 3: e = 0x3ffd + rng_below(r, 5); break;
	case 4: e = 0x3fff - 1023 - 60 + rng_below(r, 64); break; /* denormal as a double */
	case 5: e = 0x3fff + 1020 + rng_below(r, 8); break;
	default: e = rng_next(r) & 0x7fff; break;
	}
	if (rng_chance(r, 30))
		m = UINT64_C(1) << rng_below(r, 64);
	else if (rng_chance(r, 20))
		m = rng_chance(r, 50) ? 0 : UINT64_MAX << rng_below(r, 64);
	if (rng_chance(r, 85))
		m |= e ? UINT64_C(1) << 63 : 0;
	f->st[n].mant = m;
	f->st[n].exp = e | (rng_next(r) & 0x8000);
}

void rng_fpu(struct rng *r, struct x86_fpu *f)
{
	memset(f, 0, sizeof(*f));
	f->fcw =
		rng_chance(r, 60)
			? 0x37f
			: (uint16_t)((rng_next(r) & 0xf3f) | 0x40 | (rng_chance(r, 60) ? 0x3f : 0));
	f->fsw = (uint16_t)(rng_next(r) & 0x4700); /* condition codes; TOP below */
	if (rng_chance(r, 15))
		f->fsw |= rng_next(r) & 0x7f;
	f->fsw |= (uint16_t)(rng_below(r, 8) << 11);
	/* ES and B say that an unmasked exception waits. */
	if (f->fsw & ~f->fcw & 0x3f && rng_chance(r, 70))
		f->fsw &= (uint16_t) ~(f->fsw & ~f->fcw & 0x3f);
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080;
	switch (rng_below(r, 4)) {
	case 0: f->ftw = 0; break;
	case 1: f->ftw = 0xff; break;
	default: f->ftw = (uint8_t)(rng_next(r) | rng_next(r)); break;
	}
	f->fop = (uint16_t)(rng_next(r) & 0x7ff);
	f->fip = CODE_AT + rng_below(r, CODE_BYTES);
	f->fdp = DATA_AT + rng_below(r, DATA_BYTES);
	for (unsigned n = 0; n < 8; n++)
		rng_extended(r, f, n);
	f->mxcsr = rng_chance(r, 60) ? 0x1f80 : (uint32_t)(rng_next(r) & 0xe040) | 0x1f80;
	if (rng_chance(r, 15))
		f->mxcsr = (uint32_t)(rng_next(r) & 0xffff);
	for (unsigned n = 0; n < 16; n++)
		rng_elements(r, (uint8_t *)f->ymm[n], 32);
}
