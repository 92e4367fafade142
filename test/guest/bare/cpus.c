/*
 * cpus.c - several CPUs: starting them, jobs, interrupts (see cpus.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpus.h"

#define APIC        UINT64_C(0xfee00000)
#define ICR_PENDING 0x1000u
#define MSR_BASE    0x1b
#define MSR_X2APIC  0x800
#define MSR_GS_BASE 0xc0000101

enum { LDR = 0x0d, DFR = 0x0e, SVR = 0x0f, EOI = 0x0b, ICR = 0x30, ICR_HIGH = 0x31 };

unsigned cpus;
uint64_t rounds;
uint64_t few;
struct cpu cpu_data[CPUS];
volatile uint8_t *flushed_page;
volatile uint64_t arrived;
static volatile bool x2apic;
static void (*volatile job)(unsigned me);
static volatile uint64_t job_number, jobs_done;
static struct cpu *gs_word[CPUS];

/* --- starting --- */

extern uint8_t trampoline[], trampoline_end[];
void ap_begin(uint64_t index);
uint8_t ap_stacks[CPUS][8192] __attribute__((aligned(16)));
uint64_t ap_next = 1;
struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idt_pointer;

/* At 0x8000, in real mode: the shortest way to 64 bits. A CPU's number is its APIC ID. */
__asm__(".section .text\n"
	".code16\n"
	".globl trampoline, trampoline_end\n"
	"trampoline: cli\n"
	"xorw %ax, %ax\n"
	"movw %ax, %ds\n"
	"lgdtl 0x8000 + tr_gdt - trampoline\n"
	"movl $0x620, %eax\n"
	"movl %eax, %cr4\n"
	"movl $pml4, %eax\n"
	"movl %eax, %cr3\n"
	"movl $0xc0000080, %ecx\n"
	"rdmsr\n"
	"orl $0x901, %eax\n"
	"wrmsr\n"
	"movl $0x80000033, %eax\n"
	"movl %eax, %cr0\n"
	"ljmpl $8, $ap_long\n"
	".align 8\n"
	"tr_gdt: .word 0x7f\n"
	".long gdt\n"
	"trampoline_end:\n"
	".code64\n"
	"ap_long: movl $0x10, %eax\n"
	"movl %eax, %ds\n"
	"movl %eax, %es\n"
	"movl %eax, %ss\n"
	"lock incq ap_next\n"
	"movl $1, %eax\n"
	"cpuid\n"
	"movl %ebx, %edi\n"
	"shrl $24, %edi\n"
	"movq %rdi, %rax\n"
	"shlq $13, %rax\n"
	"leaq ap_stacks + 8192(%rax), %rsp\n"
	"lidt idt_pointer\n"
	"call ap_begin\n");

/* xAPIC: flat, as long as eight bits are enough; then clusters of four. */
uint32_t logical_id(unsigned index)
{
	if (x2apic)
		return (index >> 4) << 16 | UINT32_C(1) << (index & 15);
	if (cpus <= 8)
		return UINT32_C(1) << index;
	return index < 60 ? (index >> 2) << 4 | UINT32_C(1) << (index & 3) : 0;
}

static void settle(unsigned index)
{
	cpu_data[index].index = index;
	gs_word[index] = &cpu_data[index];
	wrmsr(MSR_GS_BASE, (uint64_t)&gs_word[index]);
	apic_write(SVR, 0x1ff);
	if (!x2apic) {
		apic_write(DFR, cpus <= 8 ? 0xffffffff : 0x0fffffff);
		apic_write(LDR, logical_id(index) << 24);
	}
	__asm__ volatile("sti");
}

void ap_begin(uint64_t index)
{
	uint64_t number = job_number;

	settle((unsigned)index);
	for (;;) {
		add(&jobs_done, 1);
		while (job_number == number)
			pause();
		number = job_number;
		job((unsigned)index);
	}
}

void start_others(void)
{
	cpus = (unsigned)command_line_number("cpus=", 4);
	rounds = command_line_number("rounds=", 20000);
	few = rounds / 16 + 1 < 10000 ? rounds / 16 + 1 : 10000;
	for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline); i++)
		((volatile uint8_t *)(SIPI_PAGE * PAGE))[i] = trampoline[i];
	__asm__ volatile("sidt %0" : "=m"(idt_pointer));
	on_trap = count_interrupt;
	settle(0);
	send(0, INIT | ASSERT | TO_OTHERS);
	send(0, SIPI | ASSERT | TO_OTHERS | SIPI_PAGE);
	send(0, SIPI | ASSERT | TO_OTHERS | SIPI_PAGE); /* as everybody does; changes nothing */
	while (jobs_done < cpus - 1)
		pause();
	CHECK("all CPUs start", ap_next, cpus);
}

/* --- jobs --- */

void meet(uint64_t phase)
{
	add(&arrived, 1);
	while (arrived < phase * cpus)
		pause();
}

void all_do(void (*what)(unsigned))
{
	jobs_done = 0;
	arrived = 0;
	job = what;
	job_number++;
	what(0);
	while (jobs_done < cpus - 1)
		pause();
}

/* --- interrupts --- */

uint32_t apic_read(unsigned reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + reg);
	return *(volatile uint32_t *)(APIC + reg * 16);
}

void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg, value);
	else
		*(volatile uint32_t *)(APIC + reg * 16) = value;
}

void send(uint32_t dest, uint32_t icr)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + ICR, (uint64_t)dest << 32 | icr);
		return;
	}
	apic_write(ICR_HIGH, dest << 24);
	apic_write(ICR, icr);
	while (apic_read(ICR) & ICR_PENDING)
		pause();
}

bool in_x2apic(void)
{
	return x2apic;
}

static void change(unsigned index)
{
	wrmsr(MSR_BASE, rdmsr(MSR_BASE) | 0x400);
	meet(1);
	if (index == 0)
		x2apic = true;
	meet(2);
}

void all_to_x2apic(void)
{
	all_do(change);
}

bool count_interrupt(struct frame *f)
{
	if (f->vector != 2 && f->vector < 0x20)
		return false;
	if (f->vector == VECTOR_FLUSH)
		__asm__ volatile("invlpg (%0)" : : "r"(flushed_page) : "memory");
	me()->seen[f->vector]++;
	if (f->vector != 2)
		apic_write(EOI, 0);
	return true;
}

void wait_seen(unsigned cpu, unsigned vector, uint64_t count)
{
	while (cpu_data[cpu].seen[vector] < count)
		pause();
}

uint64_t seen_by_all(unsigned vector)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < cpus; i++)
		n += cpu_data[i].seen[vector];
	return n;
}

void forget(void)
{
	for (unsigned i = 0; i < cpus; i++)
		for (unsigned v = 0; v < 256; v++)
			cpu_data[i].seen[v] = 0;
}
