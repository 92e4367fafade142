/*
 * endless.c - makes code for ever: function after function, each called often enough to be worth
 * translating, at another place of its page each time round.
 *
 * "rounds=N pages=N" on the command line: how often round how many. Lines say how far it is, for
 * whoever looks at the monitor's memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

#define PAGES 10240u
#define ADDS  12u
#define CALLS 20u
static uint8_t area[PAGES * PAGE] __attribute__((aligned(4096)));

static void put32(volatile uint8_t *at, uint32_t v)
{
	for (unsigned n = 0; n < 4; n++)
		at[n] = (uint8_t)(v >> 8 * n);
}

/* mov $start, %eax; add $n, %eax ...; ret. Returns what it returns. */
static uint32_t make(volatile uint8_t *at)
{
	uint64_t r = random64();
	uint32_t sum = (uint32_t)r;

	*at++ = 0xb8;
	put32(at, sum);
	at += 4;
	for (unsigned n = 0; n < ADDS; n++) {
		uint8_t v = (uint8_t)(r >> 32 >> n) & 0x7f;

		*at++ = 0x83;
		*at++ = 0xc0;
		*at++ = v;
		sum += v;
	}
	*at = 0xc3;
	return sum;
}

static uint32_t call(const uint8_t *at)
{
	uint32_t v;

	__asm__ volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "cc");
	return v;
}

static unsigned round_of(unsigned round, uint64_t pages)
{
	unsigned wrong = 0;

	for (unsigned page = 0; page < pages; page++) {
		uint8_t *at = area + page * PAGE + round * 64 % (PAGE - 64);
		uint32_t expected = make(at);

		for (unsigned n = 0; n < CALLS; n++)
			wrong += call(at) != expected;
	}
	return wrong;
}

void test_main(void)
{
	uint64_t rounds = command_line_number("rounds=", 2);
	uint64_t pages = command_line_number("pages=", PAGES);
	unsigned wrong = 0;

	for (unsigned n = 0; n < rounds; n++) {
		wrong += round_of(n, pages);
		if (n == 7)
			put("eighth round\n");
		if (n == 15)
			put("sixteenth round\n");
	}
	CHECK("new code again and again does what it says", wrong, 0);
}
