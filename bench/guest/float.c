/*
 * float.c - floating point and vectors: planets, a set of complex numbers, matrices, SSE2 integers,
 * x87.
 *
 * Doubles are exact functions of their inputs on every x86-64, so the values are compared bit by
 * bit. `planets` and `fractal` are scalar; `matrix` is what a compiler vectorises; `pixels` is SSE2
 * by hand; `x87` is long double.
 *
 * Its test: main.c. SPDX-License-Identifier: MIT
 */
#include <emmintrin.h>
#include <math.h>
#include <string.h>

#include "work.h"

static uint64_t bits_of(double d)
{
	uint64_t u;

	memcpy(&u, &d, sizeof(u));
	return u;
}

struct body {
	double at[3], speed[3], mass;
};

static void attract(struct body *a, struct body *b, double step)
{
	double d[3], square = 0, pull;

	for (unsigned i = 0; i < 3; i++) {
		d[i] = a->at[i] - b->at[i];
		square += d[i] * d[i];
	}
	pull = step / (square * sqrt(square));
	for (unsigned i = 0; i < 3; i++) {
		a->speed[i] -= d[i] * b->mass * pull;
		b->speed[i] += d[i] * a->mass * pull;
	}
}

static uint64_t work_planets(void)
{
	struct body body[5];

	for (unsigned i = 0; i < 5; i++) {
		body[i] = (struct body){
			.at = {i * 2.5,  i * -1.25,     i * 0.5},
			.speed = { 0.1 * i, 0.3 - 0.1 * i, 0.02   },
			.mass = i == 0 ? 40 : 0.01 * i
		};
	}
	for (unsigned step = 0; step < 2000; step++) {
		for (unsigned i = 0; i < 5; i++) {
			for (unsigned j = i + 1; j < 5; j++)
				attract(&body[i], &body[j], 0.001);
		}
		for (unsigned i = 0; i < 5; i++) {
			for (unsigned k = 0; k < 3; k++)
				body[i].at[k] += body[i].speed[k] * 0.001;
		}
	}
	return bits_of(body[0].at[0]) ^ bits_of(body[4].at[1]);
}

static uint64_t work_fractal(void)
{
	uint64_t sum = 0;

	for (unsigned y = 0; y < 48; y++) {
		for (unsigned x = 0; x < 64; x++) {
			double cr = x / 24.0 - 2.0, ci = y / 20.0 - 1.2, zr = 0, zi = 0;
			unsigned n = 0;

			while (n < 100 && zr * zr + zi * zi < 4) {
				double t = zr * zr - zi * zi + cr;

				zi = 2 * zr * zi + ci;
				zr = t;
				n++;
			}
			sum = sum * 3 + n;
		}
	}
	return sum;
}

#define SIDE 64

static uint64_t work_matrix(void)
{
	static double a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];
	uint64_t sum = 0;

	for (unsigned i = 0; i < SIDE; i++) {
		for (unsigned j = 0; j < SIDE; j++) {
			a[i][j] = 1.0 / (i + j + 1);
			b[i][j] = i * 0.5 - j * 0.25;
			c[i][j] = 0;
		}
	}
	for (unsigned i = 0; i < SIDE; i++) {
		for (unsigned k = 0; k < SIDE; k++) {
			for (unsigned j = 0; j < SIDE; j++)
				c[i][j] += a[i][k] * b[k][j];
		}
	}
	for (unsigned i = 0; i < SIDE; i++)
		sum = sum * 31 + bits_of(c[i][SIDE - 1 - i]);
	return sum;
}

/* Blends two pictures with saturation, and sums absolute differences. */
static uint64_t work_pixels(void)
{
	static __m128i a[1024], b[1024];
	__m128i sum = _mm_setzero_si128();

	for (unsigned i = 0; i < 1024; i++) {
		a[i] = _mm_set1_epi32((int)(i * 0x01030507u));
		b[i] = _mm_set1_epi32((int)(i * 0x0b0d1113u));
	}
	for (unsigned round = 0; round < 20; round++) {
		for (int i = 0; i < 1024; i++) {
			__m128i low = _mm_unpacklo_epi8(a[i], b[i]),
				high = _mm_unpackhi_epi8(a[i], b[i]);
			__m128i product = _mm_mulhi_epu16(low, _mm_slli_epi16(high, 3));

			a[i] = _mm_adds_epu8(a[i],
					     _mm_packus_epi16(product, _mm_srli_epi16(low, 1)));
			sum = _mm_add_epi64(sum, _mm_sad_epu8(a[i], b[i]));
		}
	}
	return (uint64_t)_mm_cvtsi128_si64(sum) +
	       (uint64_t)_mm_cvtsi128_si64(_mm_srli_si128(sum, 8)) * 31;
}

static uint64_t work_x87(void)
{
	volatile long double start = 0.5L;
	long double x = start, sum = 0;

	for (unsigned i = 1; i < 4000; i++) {
		x = x * 3.7L * (1.0L - x);
		sum += x / i - __builtin_sqrtl(x);
	}
	return bits_of((double)sum);
}

const struct work float_works[] = {
	{"planets",     NULL, work_planets, 1 },
        { "fractal", NULL, work_fractal, 1 },
	{ "matrix",            NULL, work_matrix, 1 },
        { "pixels",         NULL, work_pixels, 1 },
	{ "x87",            NULL, work_x87, 1 },
        { 0    },
};
