/*
 * debugcon.c - tests of the port on which firmware prints.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/debugcon.h"
#include "test/device/harness.h"

enum { PORT = 0x402 };

static char text[16];
static size_t length;

static void collect(void *arg, const void *data, size_t bytes)
{
	(void)arg;
	if (length + bytes < sizeof(text)) {
		memcpy(text + length, data, bytes);
		length += bytes;
	}
}

static void build(struct rig *rig)
{
	struct debugcon_config config = { .id = "debugcon",
					  .port = PORT,
					  .backend = { .write = collect } };

	assert_int_equal(debugcon_create(rig->vm, &config, NULL), 0);
}

static void test_prints(void **state)
{
	struct rig rig;

	(void)state;
	length = 0;
	rig_open(&rig, build);
	assert_int_equal(inb(&rig, PORT), 0xe9);
	outb(&rig, PORT, 'H');
	outb(&rig, PORT, 'i');
	vm_reset(rig.vm);
	outb(&rig, PORT, '!');
	assert_int_equal(length, 3);
	assert_memory_equal(text, "Hi!", 3);
	rig_close(&rig);
}

static void test_taken(void **state)
{
	struct debugcon_config config = { .id = "another", .port = PORT };
	struct fail why = { 0 };
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(debugcon_create(rig.vm, &config, &why), -EEXIST);
	assert_true(why.text[0]);
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = { build, { { PORT, 1 } }, .rounds = 20, .longest_ns = 1000 };

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prints),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
