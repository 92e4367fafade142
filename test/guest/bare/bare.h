/*
 * bare.h - what the bare test guests share: a serial port, exceptions as values, ring 3.
 *
 * A guest has a test_main(). CHECK() prints one line of the form that test/run counts.
 * PROBE() executes an instruction that may fault: `caught` tells what happened.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_BARE_H
#define TEST_GUEST_BARE_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE   4096u
#define PTE_P  UINT64_C(1)
#define PTE_W  UINT64_C(2)
#define PTE_U  UINT64_C(4)
#define PTE_A  UINT64_C(0x20)
#define PTE_D  UINT64_C(0x40)
#define PTE_PS UINT64_C(0x80)
#define PTE_NX (UINT64_C(1) << 63)

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* The last exception that was not expected to be handled otherwise; vector -1: none. */
struct caught {
	int64_t vector;
	uint64_t error, cr2, rip, cs, rflags, rsp, ss, dr6;
	unsigned count;
};
extern volatile struct caught caught;
/* Where trap() goes on after a fault; 0: at the faulting instruction again. */
extern volatile uint64_t resume_at;
/* If set, sees every trap first; true: it was handled. */
extern bool (*on_trap)(struct frame *f);

extern uint64_t pml4[512], pdpt[512], pd[2048], gdt[];
extern struct __attribute__((packed)) gdt_pointer {
	uint16_t limit;
	uint64_t base;
} gdt_pointer;
extern uint8_t tss[104], ist_stack[], user_stack[], stubs[];
extern uint64_t multiboot_info;

void test_main(void);
void put(const char *text);
void put_hex(uint64_t value);
void check(const char *name, bool ok, const char *what, uint64_t got, uint64_t expected);
_Noreturn void quit(uint8_t value);
uint64_t enter_user(uint64_t rip, uint64_t cs, uint64_t rflags);
void set_gate(unsigned vector, uint64_t handler, uint16_t selector, unsigned type, unsigned dpl,
	      unsigned ist);
uint64_t command_line_number(const char *key, uint64_t otherwise);
/* 64 deterministic random bits. */
uint64_t random64(void);
extern uint64_t random_seed;

/* One case: `got` must be `expected`. */
#define CHECK(name, got, expected)                                                                 \
	check(name, (uint64_t)(got) == (uint64_t)(expected), #got, (uint64_t)(got),                \
	      (uint64_t)(expected))

/* PROBE("instruction", outputs : inputs : clobbers), as in asm. Goes on behind it. */
#define PROBE(text, ...)                                                                           \
	do {                                                                                       \
		caught.vector = -1;                                                                \
		__asm__ volatile("movq $991f, resume_at(%%rip)\n" text "\n991:\n"                  \
				 "movq $0, resume_at(%%rip)" __VA_ARGS__);                         \
	} while (0)

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return lo | (uint64_t)hi << 32;
}
static inline void wrmsr(uint32_t index, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
#define CR_ACCESS(n)                                                                               \
	static inline uint64_t read_cr##n(void)                                                    \
	{                                                                                          \
		uint64_t v;                                                                        \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));                                  \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_cr##n(uint64_t v)                                                 \
	{                                                                                          \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                         \
	}
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)
static inline void flush_tlb(void)
{
	write_cr3(read_cr3());
}

#endif
