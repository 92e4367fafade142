/*
 * user32.c - a 32-bit program for the guest, as its first process: compatibility mode under a
 * 64-bit kernel, protected mode under a 32-bit one. It computes, makes system calls both ways,
 * handles signals, has threads' storage behind GS, makes code, and under a 64-bit kernel visits
 * 64-bit mode; says what came of it, and powers off.
 *
 * It stands alone, without a C library.
 *
 * Used by test/guest/counted.c and test/soak/i386.c. SPDX-License-Identifier: MIT
 */
#include <stdbool.h>
#include <stdint.h>

enum call {
	EXIT = 1,
	FORK = 2,
	WRITE = 4,
	WAITPID = 7,
	GETPPID = 64,
	REBOOT = 88,
	SIGACTION = 174,
	MMAP2 = 192,
	SET_THREAD_AREA = 243,
};
#define AT_SYSINFO 32
#define SIGSEGV    11
#define POWER_OFF  0x4321fedc

/* The kernel's own way in: SYSENTER or SYSCALL, where it has one. */
static uint32_t fast_entry;

__attribute__((noinline)) static long call(enum call n, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static long fast_call(enum call n)
{
	long result;

	__asm__ volatile("call *%1" : "=a"(result) : "m"(fast_entry), "a"(n) : "memory");
	return result;
}

static void say(const char *name, uint32_t value)
{
	char text[64], *at = text;

	while (*name)
		*at++ = *name++;
	for (int shift = 28; shift >= 0; shift -= 4)
		*at++ = "0123456789abcdef"[value >> shift & 15];
	*at++ = '\n';
	call(WRITE, 1, (long)text, at - text);
}

/* --- computing --- */

static uint32_t numbers[20000];

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void sort(uint32_t *from, uint32_t *to)
{
	uint32_t *low = from, *high = to - 1, pivot;

	if (to - from < 2)
		return;
	pivot = from[(to - from) / 2];
	while (low <= high) {
		while (*low < pivot)
			low++;
		while (*high > pivot)
			high--;
		if (low <= high) {
			uint32_t v = *low;

			*low++ = *high;
			*high-- = v;
		}
	}
	sort(from, high + 1);
	sort(low, to);
}

static uint32_t crc(const uint8_t *bytes, unsigned count)
{
	uint32_t v = ~0u;

	while (count--) {
		v ^= *bytes++;
		for (unsigned n = 0; n < 8; n++)
			v = v >> 1 ^ (v & 1 ? 0xedb88320u : 0);
	}
	return ~v;
}

static uint32_t wide(void)
{
	uint64_t v = 1;

	for (unsigned n = 0; n < 50000; n++) {
		v = v * 6364136223846793005ull + n;
		v ^= v >> 33;
		v += (uint64_t)numbers[n % 20000] << (n & 31);
	}
	return (uint32_t)(v ^ v >> 32);
}

static uint32_t floating(void)
{
	volatile double sum = 0;

	for (int n = 1; n < 20000; n++)
		sum += 1.0 / n / (n + 0.5);
	return (uint32_t)(int)(sum * 1e8);
}

__attribute__((noinline)) static unsigned fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void compute(void)
{
	uint32_t seed = 1;

	for (unsigned n = 0; n < 20000; n++)
		numbers[n] = next(&seed);
	sort(numbers, numbers + 20000);
	say("sorted ", numbers[0] ^ numbers[9999] ^ numbers[19999]);
	say("crc    ", crc((const uint8_t *)numbers, sizeof(numbers)));
	say("wide   ", wide());
	say("x87    ", floating());
	say("fib    ", fib(20));
}

/* --- the kernel --- */

static void children(void)
{
	long status, sum = 0;

	for (int n = 0; n < 40; n++) {
		long child = call(FORK, 0, 0, 0);

		if (child == 0)
			call(EXIT, n, 0, 0);
		call(WAITPID, child, (long)&status, 0);
		sum += status >> 8 & 255;
	}
	say("forked ", (uint32_t)sum);
}

static void calls(void)
{
	long sum = 0;

	for (int n = 0; n < 3000; n++)
		sum += call(GETPPID, 0, 0, 0) + (fast_entry ? fast_call(GETPPID) : 0);
	say("called ", (uint32_t)sum);
	say("fast   ", fast_entry != 0);
}

static volatile unsigned faults;

/* Goes on behind the two bytes of `mov (%eax), %eax`. */
static void on_fault(int signal, void *info, uint32_t *context)
{
	(void)signal;
	(void)info;
	faults++;
	context[5 + 14] += 2; /* uc_mcontext.eip */
}

__attribute__((naked)) static void restorer(void)
{
	__asm__("movl $173, %eax; int $0x80"); /* rt_sigreturn */
}

static void signals(void)
{
	struct {
		void (*handler)(int signal, void *info, uint32_t *context);
		uint32_t flags;
		void (*restorer)(void);
		uint32_t mask[2];
	} action = { on_fault, 0x04000004, restorer, { 0 } };

	register long size __asm__("esi") = 8;
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(SIGACTION), "b"(SIGSEGV), "c"(&action), "d"(0), "r"(size)
			 : "memory");
	for (int n = 0; n < 200; n++)
		__asm__ volatile("xorl %%eax, %%eax; movl (%%eax), %%eax" : : : "eax", "memory");
	say("faults ", faults);
}

static void storage(void)
{
	static uint32_t area[16];
	struct {
		int32_t entry;
		uint32_t base, limit, flags;
	} d = { -1, (uint32_t)(area + 8), 0xfffff, 0x51 }; /* 32 bits, in pages, usable */
	uint32_t sum = 0, v;

	call(SET_THREAD_AREA, (long)&d, 0, 0);
	__asm__ volatile("movl %0, %%gs" : : "r"(d.entry << 3 | 3));
	for (uint32_t n = 0; n < 1000; n++) {
		__asm__ volatile("addl %0, %%gs:-4\n\tmovl %%gs:-4, %%ecx\n\txorl %%ecx, %%gs:(%1)"
				 :
				 : "r"(n), "r"(4)
				 : "ecx", "memory");
		__asm__ volatile("movl %%gs:4, %0" : "=r"(v));
		sum += v;
	}
	say("gs     ", sum ^ area[7] ^ area[9]);
}

static void made_code(void)
{
	uint32_t arguments[6] = { 0, 8192, 7, 0x22, (uint32_t)-1, 0 };
	uint8_t *code = (uint8_t *)0x30000000;
	uint32_t sum = 0;
	long at;

	arguments[0] = (uint32_t)code;
	/* mmap, by a structure: EBP need not be free */
	__asm__ volatile("int $0x80" : "=a"(at) : "a"(90), "b"(arguments) : "memory");
	code = (uint8_t *)at;
	for (unsigned n = 0; n < 300; n++) {
		uint8_t *here = code + 4096 - (n & 7); /* in two pages, too */

		here[0] = 0xb8; /* mov eax, n; inc eax; ret */
		here[1] = (uint8_t)n;
		here[2] = (uint8_t)(n >> 8);
		here[3] = here[4] = 0;
		here[5] = 0x40;
		here[6] = 0xc3;
		for (unsigned k = 0; k < 30; k++)
			sum += ((uint32_t(*)(void))(uintptr_t)here)();
	}
	say("made   ", sum);
}

/* A 64-bit kernel's code segment is 33h: R8 counts there, and keeps its value here. */
static void other_width(void)
{
	uint32_t counted = 0;
	uint16_t cs;

	__asm__ volatile("movw %%cs, %0" : "=r"(cs));
	if (cs != 0x23)
		return;
	for (unsigned n = 0; n < 200; n++)
		__asm__ volatile("ljmp $0x33, $1f\n1:\n\t"
				 ".byte 0x49, 0xff, 0xc0\n\t"       /* inc r8 */
				 ".byte 0x44, 0x89, 0xc1\n\t"       /* mov ecx, r8d */
				 ".byte 0x6a, 0x23, 0x68\n\t"       /* push 23h; push 2f */
				 ".long 2f\n\t.byte 0x48, 0xcb\n2:" /* retfq */
				 : "=c"(counted)
				 :
				 : "memory", "cc");
	say("wider  ", counted);
}

__attribute__((used)) static void begin(const uint32_t *stack)
{
	const uint32_t *at = stack + 1 + stack[0] + 1;

	while (*at++) /* the environment */
		;
	for (; at[0]; at += 2)
		if (at[0] == AT_SYSINFO)
			fast_entry = at[1];
	for (unsigned n = 0; n < 3; n++) {
		compute();
		children();
		calls();
		signals();
		storage();
		made_code();
		other_width();
	}
	call(WRITE, 1, (long)"done\n", 5);
	__asm__ volatile("int $0x80"
			 :
			 : "a"(REBOOT), "b"(0xfee1dead), "c"(672274793), "d"(POWER_OFF)
			 : "memory");
}

void _start(void);
__attribute__((naked, used)) void _start(void)
{
	__asm__("movl %esp, %eax; andl $-16, %esp; subl $12, %esp; pushl %eax; call begin; ud2");
}
