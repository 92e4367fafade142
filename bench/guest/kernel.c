/*
 * kernel.c - what a program asks of its kernel: a call, processes, pages, a pipe between two,
 * files.
 *
 * Where most of the time goes when a translator runs a kernel: entry and exit, page tables, context
 * switches. Numbers are per operation: one getppid(), one child, one page, one round trip, one
 * file.
 *
 * Its test: main.c. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

static uint64_t work_getppid(void)
{
	for (unsigned i = 0; i < 100; i++)
		syscall(SYS_getppid);
	return 0;
}

static uint64_t wait_for(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, 0) != child)
		work_failed("child");
	return (uint64_t)status;
}

static uint64_t work_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(3);
	return wait_for(child);
}

static uint64_t work_exec(void)
{
	pid_t child = vfork();

	if (child == 0) {
		execl("/proc/self/exe", "work", "exit", (char *)NULL);
		_exit(127);
	}
	return wait_for(child);
}

#define PAGES 64

static uint64_t work_fault(void)
{
	volatile char *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		work_failed("mmap");
	for (unsigned i = 0; i < PAGES; i++)
		p[i * 4096] = 1;
	munmap((void *)p, PAGES * 4096);
	return 0;
}

static int to_child[2], to_parent[2];

/* The child answers every byte until the end of this program. */
static void pipe_setup(void)
{
	char c;

	if (pipe(to_child) != 0 || pipe(to_parent) != 0)
		work_failed("pipe");
	if (fork() == 0) {
		close(to_child[1]);
		while (read(to_child[0], &c, 1) == 1 && write(to_parent[1], &c, 1) == 1)
			;
		_exit(0);
	}
	close(to_child[0]);
}

static uint64_t work_pipe(void)
{
	char c = 'x';

	for (unsigned i = 0; i < 10; i++) {
		if (write(to_child[1], &c, 1) != 1 || read(to_parent[0], &c, 1) != 1)
			work_failed("pipe");
	}
	return (uint64_t)c;
}

static uint64_t work_file(void)
{
	static char data[4096];
	int fd = open("work.file", O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, data, sizeof(data)) != sizeof(data) || close(fd) != 0 ||
	    unlink("work.file") != 0)
		work_failed("file");
	return 0;
}

const struct work kernel_works[] = {
	{"getppid",     NULL, work_getppid, 100 },
	{ "fork", NULL, work_fork, 1 },
	{ "exec",            NULL, work_exec, 1 },
	{ "fault",         NULL, work_fault, PAGES },
	{ "pipe",            pipe_setup, work_pipe, 10 },
	{ "file",       NULL, work_file, 1 },
	{ 0   },
};

/* ---- tools: busybox at everyday work, by /bin/busybox or $BUSYBOX ---- */

static uint64_t run_busybox(const char *command)
{
	const char *busybox = getenv("BUSYBOX");
	pid_t child = vfork();

	if (!busybox)
		busybox = "/bin/busybox";
	if (child == 0) {
		execl(busybox, "busybox", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (wait_for(child) != 0)
		work_failed(command);
	return 0;
}

/* 1 MiB that compresses about as text does. */
static void tools_setup(void)
{
	FILE *f = fopen("work.data", "w");
	uint64_t seed = 3;

	if (!f)
		work_failed("work.data");
	for (unsigned i = 0; i < 1 << 17; i++) {
		uint64_t r = next_random(&seed);

		fprintf(f, "%c%c%c%c%c%c%c ", (int)('a' + (r & 7)), (int)('e' + (r >> 3 & 3)),
			(int)('a' + (r >> 5 & 15)), (int)('o' + (r >> 9 & 1)),
			(int)('a' + (r >> 10 & 3)), (int)('r' + (r >> 12 & 3)),
			(int)('a' + (r >> 14 & 7)));
	}
	if (fclose(f) != 0)
		work_failed("work.data");
}

static uint64_t work_gzip(void)
{
	return run_busybox("exec busybox gzip -c work.data >/dev/null");
}

static uint64_t work_shell(void)
{
	return run_busybox("i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); done");
}

static uint64_t work_dd(void)
{
	return run_busybox(
		"exec busybox dd if=/dev/zero of=/dev/null bs=4k count=2000 2>/dev/null");
}

static uint64_t work_sha256sum(void)
{
	return run_busybox("exec busybox sha256sum work.data >/dev/null");
}

const struct work tool_works[] = {
	{"gzip",     tools_setup, work_gzip, 1 },
	{ "shell", NULL, work_shell, 10000 },
	{ "dd",         NULL, work_dd, 2000 },
	{ "sha256sum",      tools_setup, work_sha256sum, 1 },
	{ 0    },
};
