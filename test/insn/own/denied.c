/*
 * denied.c - the instruction test where the host denies what its native side needs: it must skip
 * and say why, not fail, and not pass.
 *
 * Each case runs build/MODE/test/insn/insn under a seccomp filter that refuses one system call.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/cmocka.h"

/* From here on `number` answers `error`. */
static bool deny(unsigned number, unsigned error)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(f) / sizeof(f[0]), f };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The test's status; its last line in `line`. */
static int run_denied(unsigned number, unsigned error, char *line, size_t room)
{
	char path[4096];
	int out[2], status;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);
	pid_t child;
	FILE *f;

	assert_true(n > 0);
	path[n] = '\0';
	memcpy(strstr(path, "denied"), "insn", 5); /* .../test/insn/insn */
	assert_int_equal(pipe(out), 0);
	child = fork();
	if (child == 0) {
		dup2(out[1], STDOUT_FILENO);
		if (deny(number, error))
			execl(path, path, "--cases", "10", (char *)NULL);
		_exit(1);
	}
	close(out[1]);
	f = fdopen(out[0], "r");
	line[0] = '\0';
	while (fgets(line, (int)room, f))
		continue;
	fclose(f);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_no_local_descriptors(void **state)
{
	char line[300];

	(void)state;
	assert_int_equal(run_denied(SYS_modify_ldt, ENOSYS, line, sizeof(line)), 77);
	assert_string_equal(line, "skip - 10 cases seed 1: modify_ldt: Function not implemented\n");
}

static void test_no_filter(void **state)
{
	char line[300];

	(void)state;
	assert_int_equal(run_denied(SYS_prctl, EPERM, line, sizeof(line)), 77);
	assert_string_equal(line, "skip - 10 cases seed 1: seccomp: Operation not permitted\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_local_descriptors),
		cmocka_unit_test(test_no_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
