/*
 * bare.c - the C half of the bare test guests' startup: tables, trap(), output.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

volatile struct caught caught;
volatile uint64_t resume_at;
bool (*on_trap)(struct frame *f);
uint64_t random_seed = 1;
static uint64_t idt[512] __attribute__((aligned(16)));

void trap(struct frame *f);
void begin(void);
void leave_user(void);
void *memset(void *to, int v, unsigned long n);
void *memcpy(void *to, const void *from, unsigned long n);

void *memset(void *to, int v, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = (uint8_t)v;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
	return to;
}

void put(const char *text)
{
	for (; *text; text++) {
		while (!(inb(0x3f8 + 5) & 0x20))
			;
		outb(0x3f8, (uint8_t)*text);
	}
}

void put_hex(uint64_t value)
{
	char text[19] = "0x";
	unsigned n = 2;

	for (int shift = 60; shift >= 0; shift -= 4)
		if (value >> shift || shift == 0)
			text[n++] = "0123456789abcdef"[value >> shift & 15];
	text[n] = 0;
	put(text);
}

void check(const char *name, bool ok, const char *what, uint64_t got, uint64_t expected)
{
	put(ok ? "ok - " : "not ok - ");
	put(name);
	if (!ok) {
		put(": ");
		put(what);
		put(" is ");
		put_hex(got);
		put(", not ");
		put_hex(expected);
	}
	put("\n");
}

_Noreturn void quit(uint8_t value)
{
	put("done\n");
	for (;;)
		outb(0xf4, value);
}

uint64_t random64(void)
{
	uint64_t z = random_seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t command_line_number(const char *key, uint64_t otherwise)
{
	const uint32_t *info = (const uint32_t *)multiboot_info;
	const char *at = info[0] & 4 ? (const char *)(uint64_t)info[4] : "";
	uint64_t value = 0;

	for (; *at; at++) {
		unsigned n = 0;

		while (key[n] && at[n] == key[n])
			n++;
		if (key[n])
			continue;
		for (at += n; *at >= '0' && *at <= '9'; at++)
			value = value * 10 + (uint64_t)(*at - '0');
		return value;
	}
	return otherwise;
}

/* An exception where none was expected ends the test. */
static void unexpected(const struct frame *f)
{
	put("not ok - unexpected exception ");
	put_hex(f->vector);
	put(" error ");
	put_hex(f->error);
	put(" at ");
	put_hex(f->rip);
	put(" cr2 ");
	put_hex(read_cr2());
	put("\n");
	quit(1);
}

void trap(struct frame *f)
{
	if (on_trap && on_trap(f))
		return;
	if (f->vector == 0x80) {
		uint64_t rax = f->rax;

		__asm__ volatile("jmp leave_user" : : "a"(rax) : "memory");
		__builtin_unreachable();
	}
	caught.vector = (int64_t)f->vector;
	caught.error = f->error;
	caught.cr2 = read_cr2();
	caught.rip = f->rip;
	caught.cs = f->cs;
	caught.rflags = f->rflags;
	caught.rsp = f->rsp;
	caught.ss = f->ss;
	caught.count++;
	if (!resume_at)
		unexpected(f);
	f->rip = resume_at;
	f->rflags &= ~UINT64_C(0x10100); /* RF, TF */
}

void set_gate(unsigned vector, uint64_t handler, uint16_t selector, unsigned type, unsigned dpl,
	      unsigned ist)
{
	idt[vector * 2] = (handler & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
			  (uint64_t)(0x80 | dpl << 5 | type) << 40 | (handler >> 16 & 0xffff) << 48;
	idt[vector * 2 + 1] = handler >> 32;
}

static void load_tables(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} pointer = { sizeof(idt) - 1, (uint64_t)idt };
	uint64_t at = (uint64_t)tss;

	for (unsigned v = 0; v < 256; v++)
		set_gate(v, (uint64_t)stubs + v * 16, 8, 14, v == 0x80 ? 3 : 0, 0);
	__asm__ volatile("lidt %0" : : "m"(pointer));
	*(uint64_t *)(tss + 36) = (uint64_t)ist_stack; /* IST1 */
	*(uint16_t *)(tss + 102) = 104;
	gdt[8] = 103 | (at & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (at >> 24 & 0xff) << 56;
	gdt[9] = at >> 32;
	__asm__ volatile("ltr %w0" : : "r"(0x40));
}

static void init_serial(void)
{
	outb(0x3f8 + 1, 0);
	outb(0x3f8 + 3, 0x80);
	outb(0x3f8, 1);
	outb(0x3f8 + 1, 0);
	outb(0x3f8 + 3, 3);
	outb(0x3f8 + 2, 7);
}

void begin(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	init_serial();
	load_tables();
	test_main();
	quit(0);
}
