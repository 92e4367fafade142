/*
 * code.c - self-modifying code in every distance, repeated instructions that are interrupted, and
 * timer interrupts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

static uint8_t area[8 * PAGE] __attribute__((aligned(4096)));
#define ALIAS (UINT64_C(1) << 39)
static uint64_t a3[512] __attribute__((aligned(4096))), a2[512] __attribute__((aligned(4096))),
	a1[512] __attribute__((aligned(4096)));

static uint64_t call(const void *at)
{
	uint64_t v;

	__asm__ volatile("call *%1"
			 : "=a"(v)
			 : "r"(at)
			 : "memory", "cc", "rcx", "rdx", "rdi", "rsi");
	return v;
}

static void put_code(uint8_t *at, const void *code, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		((volatile uint8_t *)at)[k] = ((const uint8_t *)code)[k];
}

static void map_alias(void)
{
	pml4[1] = (uint64_t)a3 | 7;
	a3[0] = (uint64_t)a2 | 7;
	a2[0] = (uint64_t)a1 | 7;
	for (unsigned n = 0; n < 8; n++)
		a1[n] = ((uint64_t)area + n * PAGE) | 7;
	flush_tlb();
}

/* mov $imm, %eax; ret */
static void put_return(uint8_t *at, uint32_t value)
{
	uint8_t code[6] = { 0xb8, (uint8_t)value, (uint8_t)(value >> 8), 0, 0, 0xc3 };

	put_code(at, code, 6);
}

static void test_modification(void)
{
	/* movb $9, 1+next(%rip); next: mov $1, %eax; ret */
	static const uint8_t next[] = { 0xc6, 0x05, 1, 0, 0, 0, 9, 0xb8, 1, 0, 0, 0, 0xc3 };
	static const uint8_t over[] = { /* rep stosb over the MOV that follows it */
					0x48, 0x8d, 0x3d, 9,   0, 0, 0, /* lea target(%rip), %rdi */
					0xb9, 5,    0,    0,   0,       /* mov $5, %ecx */
					0xb0, 0x90,                     /* mov $0x90, %al */
					0xf3, 0xaa,                     /* rep stosb */
					0xb8, 1,    0,    0,   0,       /* target: mov $1, %eax */
					0x0f, 0xb6, 0xc0, 0xc3
	}; /* movzbl %al, %eax; ret */
	uint64_t sum = 0;

	put_code(area, next, sizeof(next));
	CHECK("store to the next instruction", call(area), 9);
	put_code(area, over, sizeof(over));
	CHECK("repeated store over what follows", call(area), 0x90);
	for (unsigned n = 0; n < 20; n++) {
		put_return(area + 0x100, n);
		sum += call(area + 0x100);
	}
	CHECK("a function written anew each time", sum, 190);
	put_return(area + PAGE - 3, 1);
	sum = call(area + PAGE - 3);
	area[PAGE - 2] = 2;
	sum += call(area + PAGE - 3) << 8;
	((volatile uint8_t *)area)[PAGE - 1] = 3;
	sum += call(area + PAGE - 3) << 16;
	((volatile uint8_t *)area)[PAGE] = 4;
	sum += call(area + PAGE - 3) << 32;
	CHECK("an instruction across two pages", sum, UINT64_C(0x4030203020201));
	put_return(area + 0x200, 5);
	sum = call(area + 0x200);
	((volatile uint8_t *)ALIAS)[0x201] = 6;
	sum = sum << 8 | call(area + 0x200);
	CHECK("store through another mapping", sum, 0x506);
	sum = call((void *)(ALIAS + 0x200));
	area[0x201] = 7;
	sum = sum << 8 | call((void *)(ALIAS + 0x200));
	CHECK("execution through another mapping", sum, 0x607);
	put_return(area + 2 * PAGE, 1);
	put_return(area + 3 * PAGE, 2);
	sum = call((void *)(ALIAS + 2 * PAGE));
	a1[2] = ((uint64_t)area + 3 * PAGE) | 7;
	__asm__ volatile("invlpg (%0)" : : "r"(ALIAS + 2 * PAGE) : "memory");
	CHECK("another page in place of one", sum << 8 | call((void *)(ALIAS + 2 * PAGE)), 0x102);
}

/* ---- Repeats ---- */

static volatile unsigned steps, ticks;
static uint64_t total, start;
static bool consistent;

static bool on_step(struct frame *f)
{
	if (f->vector != 1)
		return false;
	steps++;
	if (f->rcx && f->rdi - start + f->rcx != total)
		consistent = false;
	if (!f->rcx)
		f->rflags &= ~UINT64_C(0x100);
	return true;
}

static bool on_hole(struct frame *f)
{
	uint64_t cr2 = read_cr2();

	if (f->vector != 14 || cr2 < ALIAS || cr2 >= ALIAS + 8 * PAGE)
		return false;
	ticks++;
	if (f->rdi != cr2 || f->rdi - start + f->rcx != total || cr2 % PAGE)
		consistent = false;
	a1[(cr2 - ALIAS) / PAGE] |= 1;
	return true;
}

static void test_repeats(void)
{
	uint64_t to = start = (uint64_t)area, count = total = 40;

	consistent = true;
	on_trap = on_step;
	__asm__ volatile("pushfq\norq $0x100, (%%rsp)\npopfq\nrep stosb\nnop"
			 : "+D"(to), "+c"(count)
			 : "a"(1)
			 : "memory", "cc");
	CHECK("single step stops after each element", steps, 40);
	CHECK("registers between elements", consistent, true);

	for (unsigned n = 0; n < 8; n++)
		a1[n] = ((uint64_t)area + n * PAGE) | (n ? 6 : 7);
	flush_tlb();
	on_trap = on_hole;
	to = start = ALIAS + 100;
	count = total = 7 * PAGE;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0x5a) : "memory");
	CHECK("page faults within a repeat", ticks, 7);
	CHECK("registers at page faults", consistent, true);
	CHECK("the repeat came to its end", to - ALIAS, 100 + 7 * PAGE);
	CHECK("and its last byte is there", area[99 + 7 * PAGE], 0x5a);
	on_trap = 0;
}

/* ---- Timers ---- */

#define APIC(reg) (*(volatile uint32_t *)(0xfee00000 + (reg)))

static volatile unsigned late;

static bool on_timer(struct frame *f)
{
	if (f->vector != 0x20 && f->vector != 0x30 && f->vector != 0x31)
		return false;
	if (f->vector == 0x31)
		late++;
	else
		ticks++;
	if (f->vector == 0x20)
		outb(0x20, 0x20);
	else
		APIC(0xb0) = 0;
	return true;
}

static void wait_for(unsigned n)
{
	uint64_t until = 0;

	__asm__ volatile("sti");
	while (ticks < n && until++ < 100000000)
		__asm__ volatile("pause");
	__asm__ volatile("cli");
}

/* One tick of the 8254, soon. */
static void tick_once(uint8_t count)
{
	outb(0x43, 0x30);
	outb(0x40, count);
	outb(0x40, 0);
}

static void linger(unsigned n)
{
	for (volatile unsigned i = 0; i < n; i++)
		;
}

/* One tick comes before, at, or after STI and HLT. If it is taken between the two, or lost, the CPU
 * sleeps until the local APIC's timer, half a minute later. */
#define SLEEPS 1200
static void test_sleep(void)
{
	if (command_line_number("qemu=", 0)) {
		put("skip - STI and HLT: QEMU's VMRUN forgets that an STI was the last "
		    "instruction\n");
		return;
	}
	APIC(0xf0) = 0x1ff;
	APIC(0x350) = 0x700; /* LINT0: the 8259 */
	APIC(0x3e0) = 2;     /* a clock in eight */
	APIC(0x320) = 0x31;
	tick_once(1);
	__asm__ volatile("sti");
	linger(100000); /* no other waits */
	__asm__ volatile("cli");
	ticks = late = 0;
	for (unsigned n = 1; n <= SLEEPS && !late; n++) {
		APIC(0x380) = 0xffffffff;
		tick_once(4);
		linger(n & 1 ? n : n * n / 64); /* counted time; real time */
		__asm__ volatile("sti\nhlt\ncli");
		if (ticks != n)
			break;
	}
	CHECK("STI and HLT", ticks, SLEEPS);
	CHECK("STI and HLT lose no tick", late, 0);
	APIC(0x380) = 0;
}

static void test_timers(void)
{
	ticks = 0;
	on_trap = on_timer;
	outb(0x20, 0x11); /* 8259: vectors from 0x20 on, only IRQ 0 */
	outb(0x21, 0x20);
	outb(0x21, 4);
	outb(0x21, 1);
	outb(0x21, 0xfe);
	outb(0x43, 0x34);
	outb(0x40, 0x00);
	outb(0x40, 0x04);
	wait_for(5);
	CHECK("8254 through the 8259", ticks >= 5, true);
	test_sleep();
	outb(0x21, 0xff);

	ticks = 0;
	APIC(0xf0) = 0x1ff;
	APIC(0x3e0) = 0xb;
	APIC(0x320) = 0x20030; /* periodic */
	APIC(0x380) = 100000;
	wait_for(5);
	CHECK("local APIC timer", ticks >= 5, true);
	APIC(0x320) = 0x10000;
	on_trap = 0;
}

void test_main(void)
{
	map_alias();
	test_modification();
	test_repeats();
	test_timers();
}
