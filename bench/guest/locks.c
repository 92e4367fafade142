/*
 * locks.c - locked instructions that nobody contends for: what taking and giving back a lock, a
 * reference count and a ticket cost.
 *
 * Not in the tables beside other monitors, nor in the parallel loads: bench/smp has it, where
 * machines of one and of two CPUs are compared.
 *
 * Its test: main.c. SPDX-License-Identifier: MIT
 */
#include "work.h"

#define TURNS 1000u

static uint64_t locks(void)
{
	static uint64_t word[64];
	uint64_t sum = 0;

	for (unsigned i = 0; i < 64; i++)
		word[i] = 0;
	for (unsigned i = 0; i < TURNS; i++) {
		uint64_t *lock = &word[i * 8 % 64], *count = &word[(i * 8 + 1) % 64];
		uint64_t old = sum;

		while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
			;
		sum += __atomic_fetch_add(count, i, __ATOMIC_SEQ_CST);
		__atomic_compare_exchange_n(count + 1, &old, sum, 0, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		__asm__ volatile("lock decq %0" : "+m"(count[2]) : : "memory");
		__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
		sum += old ^ count[2];
	}
	return sum;
}

const struct work lock_works[] = {
	{"locks", NULL, locks, 4 * TURNS },
	{ 0 },
};
