/*
 * i8042.c - tests of the keyboard controller, by the questions that drivers ask it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/i8042.h"
#include "test/device/harness.h"

enum { DATA = 0x60, COMMAND = 0x64, GSI = 1 };
enum { OBF = 0x01, SYS = 0x04, A2 = 0x08, INH = 0x10, AUX = 0x20, TIMEOUT = 0x40 };

static void build(struct rig *rig)
{
	struct i8042_config config = {
		.id = "kbc", .data_port = DATA, .command_port = COMMAND, .gsi = GSI
	};

	assert_int_equal(i8042_create(rig->vm, &config, NULL), 0);
}

static void command_byte(struct rig *rig, uint8_t command, uint8_t byte)
{
	outb(rig, COMMAND, command);
	outb(rig, DATA, byte);
}

/* The one byte that `command` answers with; fails when there is none, or more. */
static uint8_t ask(struct rig *rig, uint8_t command)
{
	uint8_t value;

	outb(rig, COMMAND, command);
	assert_int_equal(inb(rig, COMMAND) & (OBF | AUX | TIMEOUT), OBF);
	value = inb(rig, DATA);
	assert_int_equal(inb(rig, COMMAND) & OBF, 0);
	return value;
}

static void test_self_test(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(inb(&rig, COMMAND), INH);
	assert_int_equal(ask(&rig, 0xaa), 0x55);
	assert_int_equal(inb(&rig, COMMAND), INH | A2 | SYS);
	assert_int_equal(ask(&rig, 0xab), 0x00);
	assert_int_equal(ask(&rig, 0xc0), 0x80);
	assert_int_equal(ask(&rig, 0xe0), 0x00);
	rig_close(&rig);
}

/* The command byte, which Linux inverts and reads back, and the rest of the RAM. */
static void test_ram(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	command_byte(&rig, 0x60, 0x30);
	assert_int_equal(ask(&rig, 0x20), 0x30);
	command_byte(&rig, 0x7f, 0x99);
	assert_int_equal(ask(&rig, 0x3f), 0x99);
	outb(&rig, COMMAND, 0xae);
	assert_int_equal(ask(&rig, 0x20), 0x20);
	outb(&rig, COMMAND, 0xa8);
	assert_int_equal(ask(&rig, 0x20), 0x00);
	outb(&rig, COMMAND, 0xad);
	outb(&rig, COMMAND, 0xa7);
	assert_int_equal(ask(&rig, 0x20), 0x30);
	rig_close(&rig);
}

/* No keyboard: what is sent to it times out. No auxiliary port at all. */
static void test_nothing_plugged_in(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, DATA, 0xff);
	assert_int_equal(inb(&rig, COMMAND) & (OBF | TIMEOUT | A2), OBF | TIMEOUT);
	assert_int_equal(inb(&rig, DATA), 0xfe);
	assert_int_equal(inb(&rig, COMMAND) & (OBF | TIMEOUT), 0);
	command_byte(&rig, 0xd4, 0xf2);
	assert_int_equal(inb(&rig, COMMAND) & (OBF | TIMEOUT), OBF | TIMEOUT);
	assert_int_equal(inb(&rig, DATA), 0xfe);
	command_byte(&rig, 0xd3, 0x5a); /* comes back, but not as the auxiliary port's */
	assert_int_equal(inb(&rig, COMMAND) & (OBF | AUX), OBF);
	assert_int_equal(inb(&rig, DATA), 0x5a);
	assert_int_not_equal(ask(&rig, 0xa9), 0);
	rig_close(&rig);
}

static void test_interrupt(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	command_byte(&rig, 0xd2, 0x1c);
	assert_false(rig.level[GSI]);
	command_byte(&rig, 0x60, 0x01);
	assert_true(rig.level[GSI]);
	assert_int_equal(inb(&rig, DATA), 0x1c);
	assert_false(rig.level[GSI]);
	command_byte(&rig, 0xd2, 0x1d);
	assert_int_equal(rig.rises[GSI], 2);
	vm_reset(rig.vm);
	assert_int_equal(rig.vm->irq.level[GSI], 0);
	rig_close(&rig);
}

static void test_reset(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, COMMAND, 0xff); /* pulses nothing */
	outb(&rig, COMMAND, 0xf1);
	assert_int_equal(rig_request(&rig), VM_NONE);
	outb(&rig, COMMAND, 0xfe);
	assert_int_equal(rig_request(&rig), VM_RESET);
	outb(&rig, COMMAND, 0xf0);
	assert_int_equal(rig_request(&rig), VM_RESET);
	command_byte(&rig, 0xd1, 0xdf);
	assert_int_equal(rig_request(&rig), VM_NONE);
	command_byte(&rig, 0xd1, 0xde);
	assert_int_equal(rig_request(&rig), VM_RESET);
	rig_close(&rig);
}

static void test_a20(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(ask(&rig, 0xd0) & 3, 3);
	outb(&rig, COMMAND, 0xdd);
	assert_int_equal(ask(&rig, 0xd0) & 3, 1);
	outb(&rig, COMMAND, 0xdf);
	assert_int_equal(ask(&rig, 0xd0) & 3, 3);
	command_byte(&rig, 0xd1, 0xdd);
	assert_int_equal(ask(&rig, 0xd0), 0xdd);
	assert_int_equal(rig_request(&rig), VM_NONE);
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, {{ DATA, 1 }, { COMMAND, 1 }},
                 .rounds = 300, .longest_ns = 1000
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_self_test),
		cmocka_unit_test(test_ram),
		cmocka_unit_test(test_nothing_plugged_in),
		cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_a20),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
