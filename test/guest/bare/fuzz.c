/*
 * fuzz.c - a guest that does what no guest should: random values to every port, MSR, control and
 * debug register and device, page tables and descriptor tables over devices, jumps into nowhere.
 *
 * The command line's seed=N picks the sequence, which ends in something that may kill the
 * virtual machine. There is nothing to check here: the monitor must survive (see run).
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

static uint8_t page[4 * PAGE] __attribute__((aligned(4096)));
extern uint64_t saved_stack, saved_frame;
uint64_t saved_stack, saved_frame;
static uint64_t tables[512] __attribute__((aligned(4096)));

/* Devices, ROM, holes and the ends of memory. */
static const uint64_t places[] = {
	0xfee00000, 0xfee00080, 0xfee00300, 0xfee00320, 0xfee00380, 0xfec00000, 0xfec00010,
	0xfed00000, 0xe0000000, 0xfffffff0, 0xfffff000, 0xa0000,    0xc0000,    0xf0000,
	0x400000,   0x3ffff8,   0xd0000000, 0xfedfffff, 0xfeefffff, 0x9fc00,
};

static uint64_t pick(uint64_t n)
{
	return random64() % n;
}

static uint64_t odd_value(void)
{
	static const uint64_t odd[] = { 0,
					1,
					0x7f,
					0x80,
					0xff,
					0xffff,
					0x7fffffff,
					0x80000000,
					0xffffffff,
					0x8000000000000000,
					0x7fffffffffffffff,
					0xffff800000000000,
					0x800000000000,
					0xffffffffffffffff };

	switch (pick(4)) {
	case 0: return odd[pick(sizeof(odd) / sizeof(odd[0]))];
	case 1: return places[pick(sizeof(places) / sizeof(places[0]))];
	case 2: return UINT64_C(1) << pick(64);
	default: return random64();
	}
}

static uint64_t odd_place(void)
{
	return places[pick(sizeof(places) / sizeof(places[0]))] + (pick(2) ? 0 : pick(0x1000));
}

/* Ports that end or reset the machine wait for the last act. */
static bool ends(uint16_t port)
{
	return port == 0x64 || port == 0xcf9 || port == 0x92 || (port >= 0x600 && port < 0x680) ||
	       port == 0xf4;
}

static void one_port(void)
{
	static const uint16_t bases[] = { 0x20, 0xa0, 0x40, 0x60, 0x70, 0x3f8, 0x4d0, 0xcf8, 0x80 };
	uint16_t port = pick(2) ? (uint16_t)random64()
				: (uint16_t)(bases[pick(sizeof(bases) / 2)] + pick(8));
	uint32_t value = (uint32_t)odd_value();

	if (ends(port) || ends((uint16_t)(port + 1)) || ends((uint16_t)(port + 3)))
		return;
	switch (pick(7)) {
	case 0: __asm__ volatile("inb %%dx, %%al" : "+a"(value) : "d"(port)); break;
	case 1: __asm__ volatile("inw %%dx, %%ax" : "+a"(value) : "d"(port)); break;
	case 2: __asm__ volatile("inl %%dx, %%eax" : "+a"(value) : "d"(port)); break;
	case 3: __asm__ volatile("outw %%ax, %%dx" : : "a"(value), "d"(port)); break;
	case 4: __asm__ volatile("outl %%eax, %%dx" : : "a"(value), "d"(port)); break;
	case 5: {
		uint64_t to = (uint64_t)page, count = pick(64);

		__asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(port) : "memory");
		break;
	}
	default: __asm__ volatile("outb %%al, %%dx" : : "a"(value), "d"(port)); break;
	}
}

static void one_msr(void)
{
	static const uint32_t bases[] = { 0x10,      0x1b,       0x174,      0x1d9,      0x200,
					  0x250,     0x268,      0x277,      0x2ff,      0x6e0,
					  0x800,     0x808,      0x830,      0x838,      0x3b,
					  0x48,      0xc0000080, 0xc0000081, 0xc0000100, 0x4b564d00,
					  0x40000000 };
	uint32_t index = pick(8) ? bases[pick(sizeof(bases) / 4)] + (uint32_t)pick(16)
				 : (uint32_t)random64();
	uint64_t value = odd_value();
	uint32_t low = (uint32_t)value, high = (uint32_t)(value >> 32);

	if (pick(2))
		PROBE("wrmsr", : : "c"(index), "a"(low), "d"(high) : "memory");
	else
		PROBE("rdmsr", : "+a"(low), "+d"(high) : "c"(index));
	if (index == 0xc0000101 || index == 0xc0000100)
		wrmsr(index, 0);
}

static void one_device(void)
{
	uint64_t at = odd_place(), value = odd_value();

	switch (pick(9)) {
	case 0: PROBE("movb %b1, (%0)", : : "r"(at), "r"(value) : "memory"); break;
	case 1: PROBE("movw %w1, (%0)", : : "r"(at), "r"(value) : "memory"); break;
	case 2: PROBE("movl %k1, (%0)", : : "r"(at), "r"(value) : "memory"); break;
	case 3: PROBE("movq %1, (%0)", : : "r"(at), "r"(value) : "memory"); break;
	case 4: PROBE("movq (%1), %0", : "=r"(value) : "r"(at) : "memory"); break;
	case 5: PROBE("lock xaddq %1, (%0)", : : "r"(at), "r"(value) : "memory"); break;
	case 6: PROBE("movups (%0), %%xmm0\nmovups %%xmm0, 7(%0)", : : "r"(at) : "memory"); break;
	case 7: PROBE("lock cmpxchg16b (%0)", : : "r"(at & ~15ull) : "rax", "rdx", "memory"); break;
	default: PROBE("movl (%1), %k0", : "=r"(value) : "r"(at) : "memory"); break;
	}
}

/* Bits that the test can live without are flipped and put back. */
static void one_control(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4(), v = odd_value();

	switch (pick(8)) {
	case 0:
		PROBE("mov %0, %%cr0\nmov %1, %%cr0", : : "r"(cr0 ^ (v & 0x4005003e)), "r"(cr0));
		break;
	case 1:
		PROBE("mov %0, %%cr4\nmov %1, %%cr4", : : "r"(cr4 ^ (v & ~0x620ull)), "r"(cr4));
		break;
	case 2: PROBE("mov %0, %%cr8", : : "r"(v)); break;
	case 3:
		PROBE("mov %0, %%dr7\nmov %1, %%dr7",
		      :
		      : "r"(v & ~0x2000ull), "r"(UINT64_C(0x400)));
		break;
	case 4: PROBE("mov %0, %%dr0", : : "r"(v)); break;
	case 5: PROBE("mov %0, %%dr6", : : "r"(v)); break;
	case 6: PROBE("xsetbv", : : "a"((uint32_t)v), "d"(0), "c"((uint32_t)pick(2))); break;
	default: PROBE("invlpg (%0)", : : "r"(v)); break;
	}
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
	__asm__ volatile("mov %0, %%dr7" : : "r"(UINT64_C(0x400)));
}

/* Calls `at` with a stack to come back to: by the fault at `at`, or by whatever is there. */
static void call(uint64_t at)
{
	__asm__ volatile("movq %%rsp, saved_stack(%%rip)\n"
			 "movq %%rbp, saved_frame(%%rip)\n"
			 "movq $1f, resume_at(%%rip)\n"
			 "call *%0\n"
			 "1: movq saved_stack(%%rip), %%rsp\n"
			 "movq saved_frame(%%rip), %%rbp\n"
			 "movq $0, resume_at(%%rip)"
			 :
			 : "r"(at)
			 : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
			   "r10", "r11", "r12", "r13", "r14", "r15");
}

static void one_call(void)
{
	uint64_t at = pick(2) ? odd_place() : odd_value();

	call(at >= 0x100000 && at < 0x400000 ? at << 12 : at); /* but not into this program */
}

/* A page directory entry that makes a device, a hole or anything a page table. */
static void one_table(void)
{
	uint64_t at = UINT64_C(0x8000000000) + (pick(512) << 21 | pick(512) << 12 | pick(4096));

	tables[pick(512)] = (odd_value() & ~UINT64_C(0xfff)) | pick(256) | 1;
	tables[0] = (odd_place() & ~UINT64_C(0xfff)) | 7;
	pml4[1] = (pick(2) ? (uint64_t)tables : odd_place() & ~UINT64_C(0xfff)) | 7;
	flush_tlb();
	PROBE("movq (%0), %%rax\nmovq %%rax, (%0)", : : "r"(at) : "rax", "memory");
	PROBE("movq (%0), %%rax\nmovq %%rax, (%0)",
	      :
	      : "r"(UINT64_C(0x8000000000))
	      : "rax", "memory");
	pml4[1] = 0;
	flush_tlb();
}

/* Tables and stacks in odd places, for one event that may well be the last. */
static void last_act(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} pointer = { (uint16_t)random64(), odd_place() };

	switch (pick(9)) {
	case 0: __asm__ volatile("lidt %0\nint3" : : "m"(pointer)); break;
	case 1:
		__asm__ volatile("lgdt %0\nmovl $0x30, %%eax\nmovl %%eax, %%ds\nint3"
				 :
				 : "m"(pointer)
				 : "eax");
		break;
	case 2: __asm__ volatile("movq %0, %%rsp\nint3" : : "r"(odd_value())); break;
	case 3: __asm__ volatile("mov %0, %%cr3\nint3" : : "r"(odd_place())); break;
	case 4: __asm__ volatile("mov %0, %%cr0" : : "r"(odd_value() & 0xffffffff)); break;
	case 5: { /* a TSS over a device, and an interrupt that takes its stack from there */
		uint64_t at = odd_place();

		gdt[10] = 0x67 | (at & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (at >> 24) << 56;
		gdt[11] = at >> 32;
		set_gate(3, (uint64_t)stubs + 48, 8, 14, 3, (unsigned)pick(8));
		__asm__ volatile("ltr %w0\nint3" : : "r"(0x50));
		break;
	}
	case 6: /* whatever these bytes are */
		for (unsigned n = 0; n < sizeof(page); n++)
			page[n] = (uint8_t)pick(0xf4); /* no HLT: nothing would end that */
		for (unsigned n = 0; n < 20000; n++)
			call((uint64_t)page + pick(sizeof(page)));
		break;
	case 7: outb(0xcf9, (uint8_t)random64()); break;
	default: {
		uint16_t port = (uint16_t)(0x600 + pick(0x80));

		__asm__ volatile("outw %%ax, %%dx" : : "a"((uint32_t)random64()), "d"(port));
	}
	}
}

void test_main(void)
{
	static void (*const acts[])(void) = { one_port,    one_msr,  one_device,
					      one_control, one_call, one_table };

	random_seed = command_line_number("seed=", 1);
	for (unsigned n = 0; n < 3000; n++)
		acts[pick(sizeof(acts) / sizeof(acts[0]))]();
	put("last act\n");
	for (unsigned n = 0; n < 10; n++)
		last_act();
}
