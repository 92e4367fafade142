/*
 * launch.c - starts one conformance program, the same way on the host and in the guest.
 *
 * The idea: what a program prints depends on what it inherits: address randomisation, limits,
 * environment, signal dispositions, open files. All of it is set here, so that a difference between
 * two runs is the machine's.
 *
 * Not made equal: the kernel (its version, its auxiliary vector), the CPU model. Its test is `make
 * conformance`.
 *
 * usage: launch SECONDS OUTPUT PROGRAM     the exit status is the shell's: 128 + signal, 124 after
 * SECONDS
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORPHAN_SECONDS 5

static volatile sig_atomic_t late;
static pid_t child;

static void on_alarm(int signal)
{
	(void)signal;
	late = 1;
	kill(-child, SIGKILL);
}

/* Waits for `pid`, or with -1 for any. false: there is none. */
static bool wait_for(pid_t pid, int *status)
{
	pid_t got;

	while ((got = waitpid(pid, status, 0)) < 0 && errno == EINTR)
		;
	return got > 0;
}

/* What the program left running may still print: it gets a moment, so that a race does not decide.
 */
static void wait_for_orphans(void)
{
	int status;

	alarm(ORPHAN_SECONDS);
	while (wait_for(-1, &status))
		;
	alarm(0);
}

static void limit(int resource, rlim_t value)
{
	struct rlimit r = { .rlim_cur = value, .rlim_max = value };

	setrlimit(resource, &r);
}

static _Noreturn void become(const char *output, char *program)
{
	char *arguments[] = { program, NULL }, *environment[] = { "PATH=/bin:/usr/bin", NULL };
	int in = open("/dev/null", O_RDONLY),
	    out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	setsid();
	if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	for (int i = 3; i < 1024; i++)
		close(i);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	limit(RLIMIT_STACK, 8 << 20);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 64 << 20);
	umask(022);
	personality(PER_LINUX | ADDR_NO_RANDOMIZE);
	execve(program, arguments, environment);
	_exit(127);
}

int main(int argc, char **argv)
{
	struct sigaction on = { .sa_handler = on_alarm };
	int status;

	if (argc != 4 || atoi(argv[1]) <= 0) {
		fprintf(stderr, "usage: launch SECONDS OUTPUT PROGRAM\n");
		return 2;
	}
	sigaction(SIGALRM, &on, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	if (child < 0)
		return 126;
	if (child == 0)
		become(argv[2], argv[3]);
	alarm((unsigned)atoi(argv[1]));
	if (!wait_for(child, &status))
		return 126;
	if (late)
		return 124;
	wait_for_orphans();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
