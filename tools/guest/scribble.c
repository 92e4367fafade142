/*
 * scribble.c - a program for the guest: writes blocks of a disk for ever, and says what it does.
 *
 *	scribble DEVICE WRITER GENERATION
 *
 * Writer 0 has the even blocks, writer 1 the odd ones. Before a write it prints "w WRITER BLOCK
 * GENERATION", after an fsync "f WRITER GENERATION": all up to this one is on the medium. A block
 *is filled with its number and the generation, four bytes each.
 *
 * It stands alone, without a C library, so that it is a few KiB of the initial RAM disk.
 *
 * Used by test/guest/killed.c. SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>

#define BLOCK  32768u
#define BLOCKS 256u

static long call(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

static void print(char what, const uint32_t *numbers, unsigned count)
{
	char line[64], *at = line;

	*at++ = what;
	for (unsigned i = 0; i < count; i++) {
		uint32_t n = numbers[i], most = 1;

		*at++ = ' ';
		while (n / most >= 10)
			most *= 10;
		for (; most; most /= 10)
			*at++ = (char)('0' + n / most % 10);
	}
	*at++ = '\n';
	call(SYS_write, 1, (long)line, at - line, 0);
}

static _Noreturn void failed(void)
{
	static const char text[] = "scribble: failed\n";

	call(SYS_write, 1, (long)text, sizeof(text) - 1, 0);
	for (;;)
		call(SYS_exit_group, 1, 0, 0, 0);
}

static uint32_t number(const char *text)
{
	uint32_t n = 0;

	for (; *text; text++)
		n = 10 * n + (uint32_t)(*text - '0');
	return n;
}

__attribute__((used)) static _Noreturn void run(long *stack)
{
	static uint32_t data[BLOCK / 4];
	const char *const *argv = (const char *const *)(stack + 1);
	uint32_t writer = number(argv[2]), generation = number(argv[3]);
	uint32_t random = generation * 2654435761u + writer + 1;
	long fd = call(SYS_open, (long)argv[1], O_RDWR, 0, 0);

	for (;;) {
		uint32_t block;

		random = random * 1664525u + 1013904223u;
		block = (random >> 16) % (BLOCKS / 2) * 2 + writer;
		generation++;
		print('w', (uint32_t[]){ writer, block, generation }, 3);
		for (unsigned i = 0; i < BLOCK / 4; i += 2) {
			data[i] = block;
			data[i + 1] = generation;
		}
		if (call(SYS_pwrite64, fd, (long)data, BLOCK, (long)block * BLOCK) != BLOCK)
			failed();
		if (random >> 8 & 7)
			continue;
		if (call(SYS_fsync, fd, 0, 0, 0))
			failed();
		print('f', (uint32_t[]){ writer, generation }, 2);
	}
}

/* The stack is as the kernel left it: the number of arguments, and these. */
__asm__(".globl _start\n"
	"_start:\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call run\n");
