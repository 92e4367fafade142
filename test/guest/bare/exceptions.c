/*
 * exceptions.c - every exception an instruction can raise, from ring 0 and ring 3 of 64-bit code
 * and from ring 3 of compatibility mode: vector, error code and each word of the frame.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

#define USER  UINT64_C(0x800000) /* low, for compatibility mode */
#define FLAGS 0x202

static uint64_t u1[512] __attribute__((aligned(4096)));

static bool seen;
static bool in_qemu; /* under qemu=1: QEMU's software processor has no RF in its frames */
static uint16_t ring0_ss;
static struct frame last;

void leave_user(void);

static bool on_any(struct frame *f)
{
	if (f->vector == 0x80)
		return false;
	seen = true;
	__builtin_memcpy(&last, f, sizeof(last));
	if (f->cs & 3) {
		__asm__ volatile("jmp leave_user");
		__builtin_unreachable();
	}
	f->rip = resume_at;
	f->rflags &= ~UINT64_C(0x50100);
	return true;
}

/* `at`: where RIP of the frame points, counted from the code's start. */
struct one {
	const char *name;
	uint8_t code[16];
	uint8_t at, vector;
	uint32_t error;
	uint8_t modes; /* 1: ring 0, 2: ring 3, 4: ring 3 of compatibility mode */
	bool trap;     /* RF is not in the frame */
	bool not_qemu; /* its software processor does this otherwise */
};

/* clang-format off */
static const struct one ones[] = {
	{ "#DE", { 0x31, 0xc9, 0xf7, 0xf1 }, 2, 0, 0, 7, false, false },
	{ "#DB of INT1", { 0xf1 }, 1, 1, 0, 7, true, true },
	{ "#BP", { 0xcc }, 1, 3, 0, 7, true, false },
	{ "#OF", { 0xb0, 0x7f, 0x04, 0x01, 0xce }, 5, 4, 0, 4, true, false },
	{ "#UD", { 0x0f, 0x0b }, 0, 6, 0, 7, false, false },
	{ "#UD of an undefined opcode", { 0x0f, 0xff, 0xc0 }, 0, 6, 0, 7, false, false },
	{ "#GP of a selector", { 0xb8, 0xfc, 0xff, 0, 0, 0x8e, 0xd8 }, 5, 13, 0xfffc, 7, false, false },
	{ "#NP", { 0xb8, 0x50, 0, 0, 0, 0x8e, 0xd8 }, 5, 11, 0x50, 1, false, false },
	{ "#SS of a selector", { 0xb8, 0x50, 0, 0, 0, 0x8e, 0xd0 }, 5, 12, 0x50, 1, false, false },
	{ "#GP of HLT", { 0xf4 }, 0, 13, 0, 6, false, false },
	{ "#GP of CLI", { 0xfa }, 0, 13, 0, 6, false, false },
	{ "#GP of INT", { 0xcd, 0x42 }, 0, 13, 0x42 * 8 + 2, 6, false, true },
	{ "INT", { 0xcd, 0x42 }, 2, 0x42, 0, 1, true, false },
	{ "#GP of an address that is not canonical",
	  { 0x31, 0xc0, 0x48, 0x0f, 0xba, 0xe8, 0x3f, 0x8a, 0x00 }, 7, 13, 0, 3, false, false },
	{ "#SS of an address that is not canonical",
	  { 0x31, 0xc0, 0x48, 0x0f, 0xba, 0xe8, 0x3f, 0x48, 0x89, 0xc5, 0x8a, 0x45, 0x00 }, 10, 12, 0, 2, false, true },
	{ "#PF of a load", { 0x31, 0xc0, 0x8a, 0x80, 0, 0, 0xc0, 0x3f }, 2, 14, 5, 6, false, false },
	{ "#PF of a store", { 0x31, 0xc0, 0x88, 0x80, 0, 0, 0xc0, 0x3f }, 2, 14, 7, 6, false, false },
	{ "#GP beyond 15 bytes",
	  { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90 },
	  0, 13, 0, 7, false, false },
};
/* clang-format on */

static bool frame_is_right(const struct one *k, unsigned mode, uint64_t sp)
{
	static const uint16_t cs[] = { 8, 0x2b, 0x33 };
	uint64_t rf = in_qemu ? 0 : 0x10000, flags = last.rflags & (0x3e7700 | rf);

	return seen && last.vector == k->vector && last.error == k->error &&
	       last.rip == USER + k->at && last.cs == cs[mode] && last.rsp == sp &&
	       last.ss == (mode ? 0x23 : ring0_ss) &&
	       flags == ((mode ? FLAGS & 0x3f7700 : 0) | (k->trap ? 0 : rf));
}

static const char *name_of(const struct one *k, unsigned mode)
{
	static const char *const where[] = { ", ring 0", ", ring 3", ", compatibility mode" };
	static char name[80];
	unsigned n = 0;

	for (const char *t = k->name; *t; t++)
		name[n++] = *t;
	for (const char *t = where[mode]; *t; t++)
		name[n++] = *t;
	name[n] = 0;
	return name;
}

static void run_one(const struct one *k, unsigned mode)
{
	uint64_t sp = (uint64_t)user_stack;
	bool right;

	for (unsigned n = 0; n < 16; n++)
		((volatile uint8_t *)USER)[n] = k->code[n];
	for (unsigned n = 16; n < 20; n++)
		((volatile uint8_t *)USER)[n] = 0x90;
	((volatile uint8_t *)USER)[18] = 0xcd;
	((volatile uint8_t *)USER)[19] = 0x80;
	seen = false;
	/* Null since the first way back from ring 3. DS as ring 3 may keep it. */
	__asm__ volatile("movw %%ss, %0\nmovl %1, %%ds" : "=r"(ring0_ss) : "r"(0x23));
	if (mode == 0)
		__asm__ volatile(
			"movq %%rsp, %0\nmovq %%rbp, %%r12\nmovq $1f, resume_at(%%rip)\njmp *%1\n"
			"1: movq $0, resume_at(%%rip)\nmovq %%r12, %%rbp\n"
			"movl $16, %%eax\nmovl %%eax, %%ds"
			: "=&r"(sp)
			: "r"(USER)
			: "rax", "rcx", "rdx", "r12", "memory", "cc");
	else
		enter_user(USER, mode == 1 ? 0x2b : 0x33, FLAGS);
	right = frame_is_right(k, mode, sp);
	check(name_of(k, mode), right, "vector and error", last.vector << 32 | last.error,
	      (uint64_t)k->vector << 32 | k->error);
	if (!right) {
		put("rip ");
		put_hex(last.rip);
		put(" cs ");
		put_hex(last.cs);
		put(" flags ");
		put_hex(last.rflags);
		put(" rsp ");
		put_hex(last.rsp);
		put(" ss ");
		put_hex(last.ss);
		put("\n");
	}
}

void test_main(void)
{
	on_trap = on_any;
	in_qemu = command_line_number("qemu=", 0);
	pml4[0] |= 4;
	pdpt[0] |= 4;
	pd[USER >> 21] = (uint64_t)u1 | 7;
	u1[0] = USER | 7;
	gdt[10] = 0x00cf12000000ffff; /* 50: data, not present */
	set_gate(3, (uint64_t)stubs + 3 * 16, 8, 14, 3, 0);
	set_gate(4, (uint64_t)stubs + 4 * 16, 8, 14, 3, 0);
	for (unsigned n = 0; n < sizeof(ones) / sizeof(ones[0]); n++)
		for (unsigned mode = 0; mode < 3; mode++)
			if (ones[n].modes >> mode & 1 && !(in_qemu && ones[n].not_qemu))
				run_one(&ones[n], mode);
	for (unsigned n = 0; n < sizeof(ones) / sizeof(ones[0]); n++) {
		if (!in_qemu || !ones[n].not_qemu)
			continue;
		put("skip - ");
		put(ones[n].name);
		put(": QEMU's software processor does it otherwise\n");
	}
}
