/*
 * vsock.c - a program for the guest: connects standard input and output to a socket of AF_VSOCK.
 *
 *	vsock listen PORT      takes one connection and sends back what it gets
 *	vsock connect PORT     to the host: sends standard input, prints what it gets
 *
 * It stands alone, without a C library, so that it is a few KiB of the initial RAM disk.
 *
 * Spec: Linux, vsock(7). Used by test/guest/vsock.c. SPDX-License-Identifier: MIT
 */
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static long call(long n, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static _Noreturn void leave(const char *why, long bytes)
{
	if (why)
		call(SYS_write, 2, (long)why, bytes);
	for (;;)
		call(SYS_exit_group, why != 0, 0, 0);
}
#define FAIL(text) leave("vsock: " text "\n", sizeof("vsock: " text "\n") - 1)

/* Copies until the end of `from`. */
static void copy(long from, long to)
{
	static char data[65536];
	long n;

	while ((n = call(SYS_read, from, (long)data, sizeof(data))) > 0) {
		for (long at = 0, done; at < n; at += done) {
			done = call(SYS_write, to, (long)(data + at), n - at);
			if (done <= 0)
				FAIL("cannot write");
		}
	}
	if (n < 0)
		FAIL("cannot read");
}

static void converse(long fd)
{
	if (call(SYS_fork, 0, 0, 0) == 0) {
		copy(fd, 1);
		leave(0, 0);
	}
	copy(0, fd);
	call(SYS_shutdown, fd, SHUT_WR, 0);
	call(SYS_wait4, -1, 0, 0);
}

static void run(long count, char **words)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK };
	long fd = call(SYS_socket, AF_VSOCK, SOCK_STREAM, 0), peer;

	if (count != 3 || fd < 0)
		FAIL("listen PORT or connect PORT, with the vsock module loaded");
	for (const char *p = words[2]; *p; p++)
		at.svm_port = at.svm_port * 10 + (unsigned)(*p - '0');
	if (words[1][0] == 'c') {
		at.svm_cid = VMADDR_CID_HOST;
		if (call(SYS_connect, fd, (long)&at, sizeof(at)))
			FAIL("cannot connect");
		converse(fd);
		return;
	}
	at.svm_cid = VMADDR_CID_ANY;
	if (call(SYS_bind, fd, (long)&at, sizeof(at)) || call(SYS_listen, fd, 1, 0))
		FAIL("cannot listen");
	call(SYS_write, 1, (long)"listening\n", 10);
	peer = call(SYS_accept, fd, 0, 0);
	if (peer < 0)
		FAIL("cannot accept");
	copy(peer, peer);
}

/* The stack at entry: count of words, the words. */
__attribute__((used)) static void begin(long *stack)
{
	run(stack[0], (char **)(stack + 1));
	leave(0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
