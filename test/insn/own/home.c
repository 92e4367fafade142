/*
 * home.c - where the instruction test's native side lives: HOME_AT of test/insn/insn.h, the sandbox
 * and the page it enters cases from, and nowhere else.
 *
 * What else it had mapped, its stack say, a case would find there, and not in the guest: but once
 * in millions of cases, since the kernel puts it somewhere else each time.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/cmocka.h"
#include "test/insn/insn.h"

#define MOST 1u

struct child {
	pid_t pid;
	int order[2], answer[2];
};

/* insn-bare, ready for cases. false: this host cannot run them. */
static bool start(struct child *c, unsigned long how)
{
	int fd = memfd_create("home", 0);
	char path[4096], arg[4][12];
	struct native_word word;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);

	assert_true(n > 0 && fd >= 0);
	path[n] = '\0';
	memcpy(strrchr(path, '/'), "/insn-bare", 11);
	assert_int_equal(ftruncate(fd, (off_t)native_shared_bytes(MOST)), 0);
	assert_int_equal(pipe(c->order) | pipe(c->answer), 0);
	snprintf(arg[0], sizeof(arg[0]), "%d", fd);
	snprintf(arg[1], sizeof(arg[1]), "%d", c->order[0]);
	snprintf(arg[2], sizeof(arg[2]), "%d", c->answer[1]);
	snprintf(arg[3], sizeof(arg[3]), "%u", MOST);
	c->pid = fork();
	if (c->pid == 0) {
		personality(how);
		execl(path, path, arg[0], arg[1], arg[2], arg[3], (char *)NULL);
		_exit(1);
	}
	close(fd);
	close(c->answer[1]);
	assert_int_equal(read(c->answer[0], &word, sizeof(word)), sizeof(word));
	return !word.lacks[0];
}

static void stop(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->order[0]);
	close(c->order[1]);
	close(c->answer[0]);
}

static bool of_case(uint64_t from, uint64_t to)
{
	return (from >= SANDBOX_START && to <= SANDBOX_END) ||
	       (from == ENTRY_AT && to == ENTRY_AT + PAGE_BYTES);
}

/* The count of its mappings; each must be where it may be. */
static unsigned check(pid_t pid)
{
	char name[40], line[512];
	unsigned count = 0, wrong = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
	f = fopen(name, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		uint64_t from, to;

		assert_int_equal(sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to), 2);
		count++;
		if ((from < HOME_AT || to > HOME_END) && !of_case(from, to) && to <= USER_END) {
			print_error("the native side has %s", line);
			wrong++;
		}
	}
	fclose(f);
	assert_int_equal(wrong, 0);
	return count;
}

static void look(unsigned long how)
{
	struct child c;
	bool ready = start(&c, how);

	if (ready)
		assert_true(check(c.pid) > PAGES);
	stop(&c);
	if (!ready)
		skip();
}

static void test_as_the_host_has_it(void **state)
{
	(void)state;
	look(0);
}

static void test_without_randomization(void **state)
{
	(void)state;
	look(ADDR_NO_RANDOMIZE);
}

static void test_bottom_up(void **state)
{
	(void)state;
	look(ADDR_COMPAT_LAYOUT);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_host_has_it),
		cmocka_unit_test(test_without_randomization),
		cmocka_unit_test(test_bottom_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
