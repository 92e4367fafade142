/*
 * counted.c - a counted boot repeats to the bit, whatever the host does meanwhile and whatever
 * executes it.
 *
 * Two runs of the same command, the second beside a process that burns the CPU and with
 * another input descriptor, must agree in instructions, console bytes and state hash.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/counted.h"

static pid_t burn(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (volatile unsigned n = 0;; n++)
			;
	}
	return pid;
}

static void compare(const char *first, const char *second, const char *append,
		    const char *const extra[], const char *expect)
{
	struct run a, b;
	pid_t burner;

	run(&a, "a", first, append, extra);
	burner = burn();
	run(&b, "b", second, append, extra);
	kill(burner, SIGKILL);
	waitpid(burner, NULL, 0);
	assert_string_equal(a.text, b.text);
	if (expect)
		assert_non_null(strstr(a.text, expect));
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_same(&a, &b, "guest_seconds");
	run_free(&a);
	run_free(&b);
}

static void test_whole_boot_repeats(void **state)
{
	(void)state;
	compare("interp", "bt", "console=ttyS0 trapeze.intro", GUEST_WORDS(NULL),
		"Hypervisor: yes");
}

static void test_stop_in_the_middle_repeats(void **state)
{
	(void)state;
	compare("bt", "bt", "console=ttyS0", GUEST_WORDS("--stop-at", "400000007"), NULL);
}

/* How often the loop looks around must not show in the guest. */
static void test_slice_does_not_matter(void **state)
{
	struct run a, b;

	(void)state;
	run(&a, "a", "interp", "console=ttyS0", GUEST_WORDS("--stop-at", "300000000"));
	run(&b, "b", "bt", "console=ttyS0",
	    GUEST_WORDS("--stop-at", "300000000", "--slice", "777"));
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_string_equal(a.text, b.text);
	run_free(&a);
	run_free(&b);
}

/* Nor which engine executes what, nor when that changes. */
static void test_changing_engines_does_not_matter(void **state)
{
	const char *const *two = GUEST_WORDS("--stop-at", "300000000", "--switch",
					     "bt@1000003,interp@20ms,bt@50000000,interp@299999999");
	struct run a, b;
	char *switches;

	(void)state;
	run(&a, "a", "bt", "console=ttyS0", GUEST_WORDS("--stop-at", "300000000"));
	run(&b, "b", "interp", "console=ttyS0", two);
	switches = member(b.json, "engine_switches");
	assert_string_equal(switches, "4");
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_string_equal(a.text, b.text);
	free(switches);
	run_free(&a);
	run_free(&b);
}

/* Nor with several CPUs, which take turns. */
static void test_several_cpus_repeat(void **state)
{
	(void)state;
	compare("interp", "bt", "console=ttyS0 trapeze.intro", GUEST_WORDS("--cpus", "2"),
		", 2 CPU");
	compare("bt", "bt", "console=ttyS0",
		GUEST_WORDS("--cpus", "4", "--stop-at", "900000001", "--slice", "7777"),
		"Brought up 1 node, 4 CPUs");
}

/* A change of engines wakes CPUs that have nothing to do. */
static void test_changing_engines_of_several_cpus(void **state)
{
	struct run a, b;

	(void)state;
	run(&a, "a", "bt", "console=ttyS0", GUEST_WORDS("--cpus", "2", "--stop-at", "500000000"));
	run(&b, "b", "bt", "console=ttyS0",
	    GUEST_WORDS("--cpus", "2", "--stop-at", "500000000", "--switch",
			"interp@399999999,bt@440000000"));
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_string_equal(a.text, b.text);
	run_free(&a);
	run_free(&b);
}

/* 32-bit code in user mode, and a kernel of 64 bits. */
static void test_32_bit_program_repeats(void **state)
{
	(void)state;
	compare("interp", "bt", "console=ttyS0 rdinit=/bin/user32", GUEST_WORDS(NULL),
		"wider  000000c8\r\ndone");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_boot_repeats),
		cmocka_unit_test(test_stop_in_the_middle_repeats),
		cmocka_unit_test(test_slice_does_not_matter),
		cmocka_unit_test(test_changing_engines_does_not_matter),
		cmocka_unit_test(test_several_cpus_repeat),
		cmocka_unit_test(test_changing_engines_of_several_cpus),
		cmocka_unit_test(test_32_bit_program_repeats),
	};

	if (!mkdtemp(dir))
		return 1;
	return cmocka_run_group_tests(tests, NULL, remove_dir);
}
