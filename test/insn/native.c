/*
 * native.c - the bare CPU's side, from here: hands cases to the program in bare/, which runs them.
 *
 * A case that kills the child is reported as lost, and another child goes on.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The ELF program header's; cpu/state.h has the page fault's. */
#undef PF_R
#undef PF_W
#include "test/insn/insn.h"

#define PATIENCE_MS 5000

struct native {
	struct native_shared *shared;
	int fd; /* of it */
	unsigned most;
	pid_t child;
	int order[2], answer[2];
};

static void die(const char *what)
{
	fprintf(stderr, "insn: %s: %s\n", what, strerror(errno));
	exit(3);
}

/* insn-bare lies beside this program. */
static void become_child(const struct native *n)
{
	char path[4096], arg[4][12];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 6);

	if (length < 0)
		_exit(3);
	memcpy(path + length, "-bare", 6);
	snprintf(arg[0], sizeof(arg[0]), "%d", n->fd);
	snprintf(arg[1], sizeof(arg[1]), "%d", n->order[0]);
	snprintf(arg[2], sizeof(arg[2]), "%d", n->answer[1]);
	snprintf(arg[3], sizeof(arg[3]), "%u", n->most);
	fcntl(n->fd, F_SETFD, 0);
	fcntl(n->order[0], F_SETFD, 0);
	fcntl(n->answer[1], F_SETFD, 0);
	execl(path, path, arg[0], arg[1], arg[2], arg[3], (char *)NULL);
	_exit(3);
}

/* false: why[] has the child's reason. */
static bool start(struct native *n, char why[NATIVE_WHY])
{
	struct native_word word;

	if (pipe2(n->order, O_CLOEXEC) || pipe2(n->answer, O_CLOEXEC))
		die("pipe");
	n->child = fork();
	if (n->child < 0)
		die("fork");
	if (n->child == 0)
		become_child(n);
	close(n->order[0]);
	close(n->answer[1]);
	if (read(n->answer[0], &word, sizeof(word)) != sizeof(word)) {
		fprintf(stderr, "insn: insn-bare does not start\n");
		exit(3);
	}
	snprintf(why, NATIVE_WHY, "%s: %s", word.lacks,
		 word.error ? strerror(word.error) : "not for programs on this host");
	return !word.lacks[0];
}

static void stop(struct native *n)
{
	kill(n->child, SIGKILL);
	waitpid(n->child, NULL, 0);
	close(n->order[1]);
	close(n->answer[0]);
}

struct native *native_open(unsigned most, char why[NATIVE_WHY])
{
	struct native *n = calloc(1, sizeof(*n));
	size_t bytes = native_shared_bytes(most);

	/* What entry and signal handler execute. */
	if (!(getauxval(AT_HWCAP2) & 2)) {
		free(n);
		snprintf(why, NATIVE_WHY, "FSGSBASE: not for programs on this host");
		return NULL;
	}
	if (!n)
		die("memory");
	n->most = most;
	n->fd = memfd_create("insn", MFD_CLOEXEC);
	if (n->fd < 0 || ftruncate(n->fd, (off_t)bytes))
		die("shared memory");
	n->shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, n->fd, 0);
	if (n->shared == MAP_FAILED)
		die("shared memory");
	signal(SIGPIPE, SIG_IGN);
	if (start(n, why))
		return n;
	native_close(n);
	return NULL;
}

void native_close(struct native *n)
{
	stop(n);
	munmap(n->shared, native_shared_bytes(n->most));
	close(n->fd);
	free(n);
}

struct insn_case *native_case(struct native *n, unsigned k)
{
	return &n->shared->slot[k].c;
}

struct outcome *native_outcome(struct native *n, unsigned k)
{
	return &n->shared->slot[k].o;
}

void native_run(struct native *n, unsigned count)
{
	unsigned range[2] = { 0, count };
	char why[NATIVE_WHY];
	struct native_word done;

	while (range[0] < count) {
		struct pollfd p = { .fd = n->answer[0], .events = POLLIN };
		unsigned at;

		if (write(n->order[1], range, sizeof(range)) == sizeof(range) &&
		    poll(&p, 1, PATIENCE_MS) == 1 &&
		    read(n->answer[0], &done, sizeof(done)) == sizeof(done))
			return;
		/* It died, or it does not come back. */
		stop(n);
		at = n->shared->current;
		memset(native_outcome(n, at), 0, sizeof(struct outcome));
		native_outcome(n, at)->how = HOW_LOST;
		range[0] = at + 1;
		if (!start(n, why)) {
			fprintf(stderr, "insn: %s\n", why);
			exit(3);
		}
	}
}
