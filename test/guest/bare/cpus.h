/*
 * cpus.h - what the bare guests of several CPUs share (smp_*.c): how the others are started, get
 * their work, and send each other interrupts.
 *
 * The first CPU hands out jobs, which all do at the same time. Command line: cpus=N (2 to 64),
 * rounds=N.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_CPUS_H
#define TEST_GUEST_CPUS_H

#include "bare.h"

#define CPUS 64
#define LINE 64

enum { VECTOR_PLAIN = 0x41, VECTOR_FLUSH = 0x42, VECTOR_OTHER = 0x51 };
enum { FIXED = 0x000, LOWEST = 0x100, NMI = 0x400, INIT = 0x500, SIPI = 0x600 };
enum { LOGICAL = 0x800, ASSERT = 0x4000, TO_SELF = 0x40000, TO_ALL = 0x80000, TO_OTHERS = 0xc0000 };
#define SIPI_PAGE 0x08u /* where start_others() has put what a CPU begins with */

struct cpu {
	uint64_t index;
	volatile uint64_t seen[256]; /* interrupts */
};

extern unsigned cpus;
extern uint64_t rounds;
extern uint64_t few; /* rounds of what takes the machine longer: a sixteenth, and 10000 at most */
extern struct cpu cpu_data[CPUS];
extern volatile uint8_t *flushed_page; /* VECTOR_FLUSH makes the TLB forget it */
extern volatile uint64_t arrived;      /* 0 when a job begins */

/* Reads the command line; then all CPUs have started and wait for jobs. */
void start_others(void);
/* Each CPU, of that index, does it. */
void all_do(void (*what)(unsigned index));
/* All CPUs meet; `phase` counts from 1 in each job. */
void meet(uint64_t phase);
/* on_trap of these guests: counts interrupts. */
bool count_interrupt(struct frame *f);

/* The local APIC: registers by number, as in x2APIC mode. */
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
void send(uint32_t dest, uint32_t icr);
bool in_x2apic(void);
void all_to_x2apic(void);
/* Of CPU `index`; 0: it has none (xAPIC's clusters are 15, of 4). */
uint32_t logical_id(unsigned index);

void forget(void); /* the interrupts seen */
void wait_seen(unsigned cpu, unsigned vector, uint64_t count);
uint64_t seen_by_all(unsigned vector);

static inline struct cpu *me(void)
{
	struct cpu *c;

	__asm__("movq %%gs:0, %0" : "=r"(c));
	return c;
}
static inline void pause(void)
{
	__asm__ volatile("pause");
}
static inline void cpuid(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
static inline void add(volatile uint64_t *p, uint64_t n)
{
	__asm__ volatile("lock addq %1, %0" : "+m"(*p) : "r"(n) : "memory");
}

#endif
