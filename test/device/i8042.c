/*
 * i8042.c - tests of the keyboard controller, by the questions that drivers ask it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/i8042.h"
#include "device/ps2kbd.h"
#include "test/device/harness.h"

enum { DATA = 0x60, COMMAND = 0x64, GSI = 1 };
enum { OBF = 0x01, SYS = 0x04, A2 = 0x08, INH = 0x10, AUX = 0x20, TIMEOUT = 0x40 };

static size_t room; /* that the keyboard has granted, and nobody used */

static void grant(void *arg, size_t bytes)
{
	(void)arg;
	room += bytes;
}

static void build_with(struct rig *rig, bool keyboard)
{
	struct i8042_config config = {
		.id = "kbc",
		.data_port = DATA,
		.command_port = COMMAND,
		.gsi = GSI,
		.keyboard = keyboard,
		.backend = { .room = grant },
	};

	assert_int_equal(i8042_create(rig->vm, &config, NULL, NULL), 0);
}

static void build(struct rig *rig)
{
	build_with(rig, false);
}

static void build_keyboard(struct rig *rig)
{
	room = 0;
	build_with(rig, true);
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

/* --- The keyboard --- */

enum { ACK = 0xfa, BYTE_NS = 1000000 };
enum { KEY_A = 0x1e, KEY_F7 = 0x41, KEY_UP = 0x48 | PS2_EXTENDED };

/* What comes next, after the time a byte takes; -1: nothing. */
static int next(struct rig *rig)
{
	rig_step(rig, BYTE_NS);
	return inb(rig, COMMAND) & OBF ? inb(rig, DATA) : -1;
}

static void expect(struct rig *rig, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(next(rig), (uint8_t)bytes[i]);
	assert_int_equal(next(rig), -1);
}
#define EXPECT(rig, bytes) expect(rig, bytes, sizeof(bytes) - 1)

static void send(struct rig *rig, uint8_t byte)
{
	outb(rig, DATA, byte);
}

static void key(struct rig *rig, uint8_t key, bool down)
{
	struct ps2_event event = { .key = key, .down = down };

	rig_input(rig, &event, sizeof(event));
}

static void open_untranslated(struct rig *rig)
{
	rig_open(rig, build_keyboard);
	assert_int_equal(ask(rig, 0x20), 0x65); /* as firmware leaves it */
	command_byte(rig, 0x60, 0x04);
}

static void test_keys_of_set_2(void **state)
{
	struct rig rig;

	(void)state;
	open_untranslated(&rig);
	key(&rig, KEY_A, true);
	assert_int_equal(inb(&rig, COMMAND) & OBF, 0); /* it takes its time */
	EXPECT(&rig, "\x1c");
	key(&rig, KEY_A, false);
	key(&rig, KEY_UP, true);
	key(&rig, KEY_UP, false);
	key(&rig, KEY_F7, true);
	EXPECT(&rig, "\xf0\x1c\xe0\x75\xe0\xf0\x75\x83");
	rig_close(&rig);
}

static void test_keys_translated(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build_keyboard);
	command_byte(&rig, 0x60, 0x41); /* interrupt, translate */
	for (unsigned i = 1; i <= PS2_KEY_MAX; i++) {
		key(&rig, (uint8_t)i, true);
		rig_step(&rig, BYTE_NS);
		assert_true(rig.level[GSI]);
		assert_int_equal(inb(&rig, DATA), i);
		assert_false(rig.level[GSI]);
		key(&rig, (uint8_t)i, false);
		rig_step(&rig, BYTE_NS); /* the prefix is swallowed */
		assert_int_equal(next(&rig), i | 0x80);
	}
	key(&rig, KEY_UP, true);
	key(&rig, KEY_UP, false);
	assert_int_equal(next(&rig), 0xe0);
	assert_int_equal(next(&rig), 0x48);
	assert_int_equal(next(&rig), 0xe0);
	rig_step(&rig, BYTE_NS);
	EXPECT(&rig, "\xc8");
	rig_close(&rig);
}

static void test_keyboard_commands(void **state)
{
	struct rig rig;

	(void)state;
	open_untranslated(&rig);
	send(&rig, 0xff);
	EXPECT(&rig, "\xfa\xaa");
	send(&rig, 0xf2);
	EXPECT(&rig, "\xfa\xab\x83");
	send(&rig, 0xee);
	EXPECT(&rig, "\xee");
	send(&rig, 0xed); /* lights */
	EXPECT(&rig, "\xfa");
	send(&rig, 0x07);
	EXPECT(&rig, "\xfa");
	send(&rig, 0xf0); /* which set? */
	EXPECT(&rig, "\xfa");
	send(&rig, 0);
	EXPECT(&rig, "\xfa\x02");
	send(&rig, 0xf0);
	EXPECT(&rig, "\xfa");
	send(&rig, 3); /* there is none */
	EXPECT(&rig, "\xfe");
	send(&rig, 0xf0);
	EXPECT(&rig, "\xfa");
	send(&rig, 1);
	EXPECT(&rig, "\xfa");
	key(&rig, KEY_UP, true);
	key(&rig, KEY_UP, false);
	EXPECT(&rig, "\xe0\x48\xe0\xc8");
	send(&rig, 0xfe);
	EXPECT(&rig, "\xc8");
	send(&rig, 0x55);
	EXPECT(&rig, "\xfe");
	/* A second command takes the place of the first one's parameter, and of its answer. */
	send(&rig, 0xf3);
	send(&rig, 0xf6);
	EXPECT(&rig, "\xfa");
	rig_close(&rig);
}

static void test_keyboard_off(void **state)
{
	struct rig rig;

	(void)state;
	open_untranslated(&rig);
	send(&rig, 0xf5); /* does not scan: keys are lost */
	EXPECT(&rig, "\xfa");
	key(&rig, KEY_A, true);
	assert_int_equal(next(&rig), -1);
	send(&rig, 0xf4);
	EXPECT(&rig, "\xfa");
	outb(&rig, COMMAND, 0xad); /* held back at the controller: keys wait */
	key(&rig, KEY_A, true);
	assert_int_equal(next(&rig), -1);
	outb(&rig, COMMAND, 0xae);
	EXPECT(&rig, "\x1c");
	outb(&rig, COMMAND, 0xad);
	send(&rig, 0xee); /* sending enables */
	EXPECT(&rig, "\xee");
	rig_close(&rig);
}

/* Who types may post what was granted, and gets it back when the key has gone its way. */
static void test_credit(void **state)
{
	const size_t all = PS2_EVENTS * sizeof(struct ps2_event);
	struct rig rig;

	(void)state;
	open_untranslated(&rig);
	assert_int_equal(room, all);
	for (; room > 0; room -= sizeof(struct ps2_event))
		key(&rig, KEY_A, true);
	key(&rig, KEY_A, true); /* beyond it: lost */
	for (unsigned i = 0; i < PS2_EVENTS; i++)
		assert_int_equal(next(&rig), 0x1c);
	assert_int_equal(next(&rig), -1);
	assert_int_equal(room, all);
	for (; room > 0; room -= sizeof(struct ps2_event))
		key(&rig, KEY_A, true);
	send(&rig, 0xff); /* forgets them */
	assert_int_equal(room, all);
	EXPECT(&rig, "\xfa\xaa");
	rig_close(&rig);
}

static uint32_t stir(struct rig *rig, uint64_t random)
{
	uint8_t bytes[9];

	memcpy(bytes, &random, 8);
	bytes[8] = 1;
	rig_input(rig, bytes, random % 9);
	return 0;
}

static void test_fuzz_keyboard(void **state)
{
	struct fuzz fuzz = {
		build_keyboard,
		{{ DATA, 1 }, { COMMAND, 1 }},
		.rounds = 300,
		.longest_ns = 3 * BYTE_NS,
		.stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
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
		cmocka_unit_test(test_keys_of_set_2),
		cmocka_unit_test(test_keys_translated),
		cmocka_unit_test(test_keyboard_commands),
		cmocka_unit_test(test_keyboard_off),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_fuzz_keyboard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
