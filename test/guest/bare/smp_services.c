/*
 * smp_services.c - what KVM offers guests of several CPUs (Linux Documentation/virt/kvm/x86):
 * kicks, messages to many, TLB flushes that wait until the CPU runs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "window.h"

static volatile uint64_t total, wrong;

#define MSR_STEAL_TIME 0x4b564d03
#define SERVICES       0x2aa0u /* CPUID 4000_0001H EAX: all five */
enum { KICK_CPU = 5, SEND_IPI = 10 };
enum { PREEMPTED = 1, FLUSH_TLB = 2 };

static struct {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
} steal_time[CPUS] __attribute__((aligned(LINE)));
static volatile bool go[CPUS];

static bool services(void)
{
	uint32_t a = 0x40000001, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return (a & SERVICES) == SERVICES;
}

static uint64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	__asm__ volatile("vmcall" : "+a"(number) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return number;
}

/* CPUs sleep with interrupts off: nothing but the kick wakes them, however early it comes. */
static void kick_job(unsigned index)
{
	uint64_t phase = 0;

	for (uint64_t n = 1; n <= few; n++) {
		go[index] = false;
		meet(++phase);
		if (index) {
			__asm__ volatile("cli");
			while (!go[index])
				__asm__ volatile("hlt" : : : "memory");
			__asm__ volatile("sti");
			add(&total, 1);
			continue;
		}
		for (unsigned i = 1; i < cpus; i++) {
			go[i] = true;
			hypercall(KICK_CPU, 0, i, 0, 0);
		}
	}
}

/* A flush is left to the machine, if the flag says that the other CPU does not run. */
static void flush_of(unsigned cpu)
{
	uint64_t before = cpu_data[cpu].seen[VECTOR_FLUSH];
	uint8_t flag = PREEMPTED;

	for (unsigned i = 0; i < 1000; i++)
		if (!__atomic_load_n(&steal_time[cpu].preempted, __ATOMIC_RELAXED))
			pause();
	if (__atomic_compare_exchange_n(&steal_time[cpu].preempted, &flag, PREEMPTED | FLUSH_TLB,
					false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	send(cpu, FIXED | ASSERT | VECTOR_FLUSH);
	wait_seen(cpu, VECTOR_FLUSH, before + 1);
}

static void flush_job(unsigned index)
{
	volatile uint8_t *at = (volatile uint8_t *)WINDOW;
	uint64_t phase = 0;

	flush_tlb();
	wrmsr(MSR_STEAL_TIME, (uint64_t)&steal_time[index] | 1);
	for (uint64_t n = 1; n <= few; n++) {
		go[index] = false;
		if (*at == (n & 1))
			add(&wrong, 1);
		meet(++phase);
		if (index) {
			__asm__ volatile("cli");
			while (!go[index])
				__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
			__asm__ volatile("sti");
		} else {
			map_frame(n & 1);
			__asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
			for (unsigned i = 1; i < cpus; i++) {
				flush_of(i);
				go[i] = true;
				hypercall(KICK_CPU, 0, i, 0, 0);
			}
		}
		if (*at != (n & 1))
			add(&wrong, 1);
		meet(++phase);
	}
	wrmsr(MSR_STEAL_TIME, 0);
}

static void test_services(void)
{
	uint64_t sent;

	if (!services())
		return;
	forget();
	sent = hypercall(SEND_IPI, ~UINT64_C(0) >> (64 - cpus), 0, 0, VECTOR_PLAIN);
	CHECK("a message to many by hypercall", sent, cpus);
	for (unsigned i = 0; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, 1);
	CHECK("arrives once at each", seen_by_all(VECTOR_PLAIN), cpus);
	total = 0;
	all_do(kick_job);
	CHECK("kicks wake CPUs that take no interrupts", total, few * (cpus - 1));
	wrong = 0;
	open_window();
	all_do(flush_job);
	CHECK("a TLB flush that waits until the CPU runs", wrong, 0);
}
void test_main(void)
{
	start_others();
	test_services();
	quit(0);
}
