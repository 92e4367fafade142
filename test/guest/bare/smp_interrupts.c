/*
 * smp_interrupts.c - several CPUs start, stop, start again, and interrupt each other: every way to
 * say who is meant, with the local APICs in xAPIC and in x2APIC mode.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpus.h"

static uint32_t everybody(void)
{
	return in_x2apic() ? 0xffffffff : 0xff;
}

static void test_destinations(void)
{
	/* The last one that has a logical ID. */
	unsigned last = in_x2apic() || cpus <= 60 ? cpus - 1 : 59;

	forget();
	send(last, FIXED | ASSERT | VECTOR_PLAIN);
	wait_seen(last, VECTOR_PLAIN, 1);
	CHECK("fixed, physical: one gets it", seen_by_all(VECTOR_PLAIN), 1);
	send(logical_id(last), LOGICAL | FIXED | ASSERT | VECTOR_PLAIN);
	wait_seen(last, VECTOR_PLAIN, 2);
	CHECK("fixed, logical: one gets it", seen_by_all(VECTOR_PLAIN), 2);
	send(logical_id(0) | logical_id(1), LOGICAL | FIXED | ASSERT | VECTOR_OTHER);
	wait_seen(0, VECTOR_OTHER, 1);
	wait_seen(1, VECTOR_OTHER, 1);
	CHECK("fixed, logical: two get it", seen_by_all(VECTOR_OTHER), 2);
	forget();
	send(everybody(), FIXED | ASSERT | VECTOR_PLAIN);
	for (unsigned i = 0; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, 1);
	CHECK("physical, to everybody", seen_by_all(VECTOR_PLAIN), cpus);
}

static void test_shorthands(void)
{
	forget();
	send(0, FIXED | ASSERT | TO_OTHERS | VECTOR_OTHER);
	for (unsigned i = 1; i < cpus; i++)
		wait_seen(i, VECTOR_OTHER, 1);
	CHECK("others get it", seen_by_all(VECTOR_OTHER), cpus - 1);
	CHECK("but not the sender", cpu_data[0].seen[VECTOR_OTHER], 0);
	send(0, FIXED | ASSERT | TO_ALL | VECTOR_PLAIN);
	for (unsigned i = 0; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, 1);
	CHECK("all get it", seen_by_all(VECTOR_PLAIN), cpus);
	forget();
	send(1, FIXED | ASSERT | TO_SELF | VECTOR_OTHER); /* the shorthand counts */
	wait_seen(0, VECTOR_OTHER, 1);
	CHECK("self gets it", seen_by_all(VECTOR_OTHER), 1);
	if (!in_x2apic())
		return;
	apic_write(0x3f, VECTOR_OTHER);
	wait_seen(0, VECTOR_OTHER, 2);
	CHECK("self IPI register", seen_by_all(VECTOR_OTHER), 2);
}

static void test_modes(void)
{
	uint32_t some = 0;

	for (unsigned i = 0; i < cpus && i < 4; i++)
		some |= logical_id(i);
	forget();
	for (unsigned n = 1; n <= 20; n++) {
		send(some, LOGICAL | LOWEST | ASSERT | VECTOR_PLAIN);
		while (seen_by_all(VECTOR_PLAIN) < n)
			pause();
	}
	for (unsigned i = 0; i < 1000; i++)
		pause();
	CHECK("lowest priority: one gets each", seen_by_all(VECTOR_PLAIN), 20);
	send(0, NMI | ASSERT | TO_OTHERS);
	for (unsigned i = 1; i < cpus; i++)
		wait_seen(i, 2, 1);
	CHECK("NMI to others", seen_by_all(2), cpus - 1);
}

/* --- CPUs that sleep --- */

static void sleep_once(unsigned index)
{
	if (index == 0) {
		while (arrived < cpus - 1)
			pause();
		for (unsigned i = 1; i < cpus; i++)
			send(i, FIXED | ASSERT | VECTOR_PLAIN);
		return;
	}
	__asm__ volatile("cli");
	add(&arrived, 1);
	while (!me()->seen[VECTOR_PLAIN])
		__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
	__asm__ volatile("sti");
}

static volatile bool up[CPUS];

/* One that comes before the HLT does not count: another is sent, until the CPU is up. */
static void sleep_until_nmi(unsigned index)
{
	if (index) {
		__asm__ volatile("cli\n\thlt\n\tsti" : : : "memory");
		up[index] = true;
		return;
	}
	for (unsigned i = 1; i < cpus; i++)
		while (!up[i]) {
			send(i, NMI | ASSERT);
			for (unsigned n = 0; n < 100 && !up[i]; n++)
				pause();
		}
}

static void test_halted(void)
{
	forget();
	all_do(sleep_once);
	CHECK("interrupts wake halted CPUs", seen_by_all(VECTOR_PLAIN), cpus - 1);
	for (unsigned i = 0; i < cpus; i++)
		up[i] = false;
	all_do(sleep_until_nmi);
	CHECK("NMIs wake CPUs that take no interrupts", seen_by_all(2) >= cpus - 1, true);
}

/* --- stopped in the midst of anything, and started again --- */

static volatile bool halts;
static bool in_bochs; /* where KVM loses a processor that takes no interrupts and never exits */

/* Does not come back; whoever it was begins anew, and has then done the job. */
static void restart_job(unsigned index)
{
	if (index == cpus - 1) {
		__asm__ volatile("cli");
		add(&arrived, 1);
		while (!halts) {
			add(&cpu_data[index].seen[0], 1);
			if (in_bochs)
				pause();
		}
		for (;;)
			__asm__ volatile("hlt");
	}
	if (index != 0)
		return;
	while (arrived == 0)
		pause();
	send(cpus - 1, INIT | ASSERT);
	send(cpus - 1, SIPI | ASSERT | SIPI_PAGE);
}

static void test_restart(void)
{
	for (unsigned n = 0; n < 20; n++) {
		halts = n & 1;
		all_do(restart_job);
	}
	forget();
	send(cpus - 1, FIXED | ASSERT | VECTOR_PLAIN);
	wait_seen(cpus - 1, VECTOR_PLAIN, 1);
	CHECK("INIT stops a CPU, SIPI starts it again", seen_by_all(VECTOR_PLAIN), 1);
}

static void test_all(void)
{
	test_destinations();
	test_shorthands();
	test_modes();
	test_halted();
	test_restart();
}

void test_main(void)
{
	in_bochs = command_line_number("bochs=", 0);
	start_others();
	test_all();
	all_to_x2apic();
	test_all();
	quit(0);
}
