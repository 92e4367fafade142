/*
 * debug_exit.c - tests of the debug-exit port.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/debug_exit.h"
#include "test/device/harness.h"

#define PORT 0xf4

static void build(struct rig *rig)
{
	struct debug_exit_config config = { .id = "debug-exit", .port = PORT };

	assert_int_equal(debug_exit_create(rig->vm, &config, NULL), 0);
}

static void expect_status(struct rig *rig, int status)
{
	assert_int_equal(rig_request(rig), VM_DEBUG_EXIT);
	assert_int_equal(rig->vm->request_status, status);
}

static void test_status(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(inb(&rig, PORT), 0);
	assert_int_equal(rig_request(&rig), VM_NONE);
	outb(&rig, PORT, 0);
	expect_status(&rig, 1);
	outb(&rig, PORT, 0x10);
	expect_status(&rig, 0x21);
	rig_out(&rig, PORT, 0x1234, 2);
	expect_status(&rig, 0x2469);
	rig_out(&rig, PORT, 3, 4);
	expect_status(&rig, 7);
	rig_close(&rig);
}

static void test_taken_port(void **state)
{
	struct debug_exit_config config = { .id = "second", .port = PORT + 3 };
	struct fail why;
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_true(debug_exit_create(rig.vm, &config, &why) < 0);
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = { build, { { PORT - 1, 6 } }, .rounds = 50, .longest_ns = 1000 };

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_taken_port),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
