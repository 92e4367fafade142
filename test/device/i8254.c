/*
 * i8254.c - tests of the interval timer, mode by mode as the data sheet draws them.
 *
 * pulse(n) is the first nanosecond of clock pulse n, so "n pulses later" is exact.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/i8254.h"
#include "device/ticks.h"
#include "test/device/harness.h"

enum { PIT = 0x40, CONTROL = 0x43, PORT_B = 0x61, GSI = 2 };
enum { OUT = 0x80, NULL_COUNT = 0x40 }; /* status bits */

static void build(struct rig *rig)
{
	struct i8254_config config = {
		.id = "pit", .ports = PIT, .speaker_port = PORT_B, .gsi = GSI
	};

	assert_int_equal(i8254_create(rig->vm, &config, NULL), 0);
}

static uint64_t pulse(uint64_t n)
{
	return ticks_to_ns(n, I8254_HZ);
}

static uint64_t pulse_now(struct rig *rig)
{
	return ticks_at(rig_now(rig), I8254_HZ);
}

/* Time moves on by n pulses, to the start of one. */
static void step(struct rig *rig, uint64_t n)
{
	rig_step_to(rig, pulse(pulse_now(rig) + n));
}

static void control(struct rig *rig, unsigned counter, unsigned mode, bool bcd)
{
	outb(rig, CONTROL, (uint8_t)(counter << 6 | 0x30 | mode << 1 | bcd));
}

static void count(struct rig *rig, unsigned counter, uint16_t n)
{
	outb(rig, (uint16_t)(PIT + counter), (uint8_t)n);
	outb(rig, (uint16_t)(PIT + counter), (uint8_t)(n >> 8));
}

static uint16_t read_count(struct rig *rig, unsigned counter)
{
	uint8_t low;

	outb(rig, CONTROL, (uint8_t)(counter << 6));
	low = inb(rig, (uint16_t)(PIT + counter));
	return (uint16_t)(low | inb(rig, (uint16_t)(PIT + counter)) << 8);
}

static uint8_t read_status(struct rig *rig, unsigned counter)
{
	outb(rig, CONTROL, (uint8_t)(0xe0 | 2 << counter));
	return inb(rig, (uint16_t)(PIT + counter));
}

static bool out(struct rig *rig, unsigned counter)
{
	return read_status(rig, counter) & OUT;
}

static void gate2(struct rig *rig, bool level)
{
	outb(rig, PORT_B, level);
}

/* Mode 0: OUT goes high n + 1 pulses after the count is written, and stays. */
static void test_mode0(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 0, false);
	assert_false(out(&rig, 0));
	assert_true(read_status(&rig, 0) & NULL_COUNT);
	count(&rig, 0, 100);
	assert_true(read_status(&rig, 0) & NULL_COUNT); /* loaded by the next pulse */
	step(&rig, 1);
	assert_int_equal(read_status(&rig, 0), 0x30);
	assert_int_equal(read_count(&rig, 0), 100);
	step(&rig, 99);
	assert_int_equal(read_count(&rig, 0), 1);
	assert_false(rig.level[GSI]);
	step(&rig, 1);
	assert_true(rig.level[GSI]);
	assert_int_equal(rig.risen_at[GSI], pulse(101));
	assert_int_equal(read_count(&rig, 0), 0);
	step(&rig, 1); /* it goes on counting from the top */
	assert_int_equal(read_count(&rig, 0), 0xffff);
	step(&rig, 100000);
	assert_true(out(&rig, 0));
	assert_int_equal(rig.rises[GSI], 1);
	outb(&rig, PIT, 5); /* the first byte of a new count ends it */
	assert_false(rig.level[GSI]);
	step(&rig, 1000);
	assert_false(rig.level[GSI]);
	outb(&rig, PIT, 0);
	step(&rig, 5);
	assert_false(rig.level[GSI]);
	step(&rig, 1);
	assert_true(rig.level[GSI]);
	rig_close(&rig);
}

/* Mode 0 on counter 2, as Linux times its TSC: GATE 2 starts and holds, OUT 2 ends it. */
static void test_mode0_gate(void **state)
{
	struct rig rig;
	uint64_t start;

	(void)state;
	rig_open(&rig, build);
	step(&rig, 12345);
	gate2(&rig, false);
	control(&rig, 2, 0, false);
	count(&rig, 2, 1000); /* written with GATE low: no pulse is needed to load it */
	step(&rig, 50);
	assert_int_equal(read_count(&rig, 2), 1000);
	gate2(&rig, true);
	start = pulse_now(&rig);
	step(&rig, 400);
	assert_int_equal(read_count(&rig, 2), 600);
	gate2(&rig, false);
	step(&rig, 5000);
	assert_int_equal(read_count(&rig, 2), 600);
	gate2(&rig, true);
	step(&rig, 599);
	assert_int_equal(inb(&rig, PORT_B) & 0x20, 0);
	rig_step_to(&rig, pulse(start + 6000) - 1);
	assert_int_equal(inb(&rig, PORT_B) & 0x20, 0);
	rig_step(&rig, 1);
	assert_int_equal(inb(&rig, PORT_B) & 0x21, 0x21);
	rig_close(&rig);
}

/* Mode 1: GATE's rise makes OUT low for n pulses; another one starts it again. */
static void test_mode1(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 2, 1, false);
	count(&rig, 2, 10);
	step(&rig, 100);
	assert_int_equal(read_status(&rig, 2), OUT | NULL_COUNT | 0x32);
	gate2(&rig, true);
	assert_true(out(&rig, 2));
	step(&rig, 1);
	assert_int_equal(read_status(&rig, 2), 0x32);
	step(&rig, 9);
	assert_false(out(&rig, 2));
	gate2(&rig, false); /* the level has no effect */
	step(&rig, 1);
	assert_true(out(&rig, 2));
	gate2(&rig, true);
	step(&rig, 6);
	gate2(&rig, false);
	gate2(&rig, true); /* retriggered: low throughout */
	assert_false(out(&rig, 2));
	step(&rig, 10);
	assert_false(out(&rig, 2));
	count(&rig, 2, 3); /* does not disturb this one */
	assert_true(read_status(&rig, 2) & NULL_COUNT);
	step(&rig, 1);
	assert_true(out(&rig, 2));
	gate2(&rig, false);
	gate2(&rig, true);
	step(&rig, 3);
	assert_false(out(&rig, 2));
	step(&rig, 1);
	assert_true(out(&rig, 2));
	rig_close(&rig);
}

/* Mode 2: low for the last pulse of every n; a new count waits for the end of the period. */
static void test_mode2(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 2, false);
	assert_true(rig.level[GSI]); /* OUT is high from the control word on */
	count(&rig, 0, 1000);
	step(&rig, 1);
	assert_int_equal(read_count(&rig, 0), 1000);
	step(&rig, 999);
	assert_int_equal(read_count(&rig, 0), 1);
	assert_false(rig.level[GSI]);
	step(&rig, 1);
	assert_true(rig.level[GSI]);
	assert_int_equal(read_count(&rig, 0), 1000);
	step(&rig, 500);
	count(&rig, 0, 300);
	assert_true(read_status(&rig, 0) & NULL_COUNT);
	assert_int_equal(read_count(&rig, 0), 500);
	step(&rig, 499);
	assert_false(rig.level[GSI]);
	step(&rig, 1);
	assert_int_equal(read_count(&rig, 0), 300);
	assert_false(read_status(&rig, 0) & NULL_COUNT);
	rig.rises[GSI] = 0;
	step(&rig, 300 * 50);
	assert_int_equal(rig.rises[GSI], 50);
	rig_close(&rig);
}

/* GATE low stops mode 2 with OUT high; its rise starts a whole period. */
static void test_mode2_gate(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	gate2(&rig, true);
	control(&rig, 2, 2, false);
	count(&rig, 2, 4);
	step(&rig, 4);
	assert_false(out(&rig, 2));
	gate2(&rig, false);
	assert_true(out(&rig, 2));
	step(&rig, 77);
	assert_true(out(&rig, 2));
	gate2(&rig, true);
	step(&rig, 3);
	assert_true(out(&rig, 2));
	step(&rig, 1);
	assert_false(out(&rig, 2));
	rig_close(&rig);
}

/* Mode 3: a square wave; an odd count is high one pulse longer than low. Counts by two. */
static void test_mode3(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 3, false);
	count(&rig, 0, 6);
	step(&rig, 1);
	for (unsigned i = 0; i < 12; i++, step(&rig, 1)) {
		assert_int_equal(rig.level[GSI], i % 6 < 3);
		assert_int_equal(read_count(&rig, 0), 6 - 2 * (i % 3));
	}
	control(&rig, 0, 3, false);
	count(&rig, 0, 5);
	step(&rig, 1);
	for (unsigned i = 0; i < 15; i++, step(&rig, 1)) {
		assert_int_equal(rig.level[GSI], i % 5 < 3);
		assert_int_equal(read_count(&rig, 0), 4 - 2 * (i % 5 % 3));
	}
	rig_close(&rig);
}

/* A count written in mode 3 is taken at the end of the half cycle, which keeps its turn. */
static void test_mode3_reload(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 3, false);
	count(&rig, 0, 100);
	step(&rig, 1 + 20);
	count(&rig, 0, 10);
	step(&rig, 29);
	assert_true(rig.level[GSI]);
	for (unsigned i = 0; i < 20; i++) {
		step(&rig, 1);
		assert_int_equal(rig.level[GSI], i % 10 >= 5);
	}
	rig_close(&rig);
}

/* Mode 4: one low pulse n + 1 pulses after the count is written, and no more. */
static void test_mode4(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 4, false);
	count(&rig, 0, 50);
	step(&rig, 50);
	assert_true(rig.level[GSI]);
	step(&rig, 1);
	assert_false(rig.level[GSI]);
	rig.rises[GSI] = 0;
	step(&rig, 1);
	assert_true(rig.level[GSI]);
	step(&rig, 1000000);
	assert_int_equal(rig.rises[GSI], 1);
	count(&rig, 0, 50);
	step(&rig, 30);
	count(&rig, 0, 50); /* retriggered by software */
	step(&rig, 50);
	assert_true(rig.level[GSI]);
	step(&rig, 1);
	assert_false(rig.level[GSI]);
	rig_close(&rig);
}

/* Mode 5: as mode 4, started by GATE. */
static void test_mode5(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 2, 5, false);
	count(&rig, 2, 8);
	step(&rig, 100);
	assert_true(out(&rig, 2));
	gate2(&rig, true);
	step(&rig, 8);
	assert_true(out(&rig, 2));
	step(&rig, 1);
	assert_false(out(&rig, 2));
	step(&rig, 1);
	assert_true(out(&rig, 2));
	rig_close(&rig);
}

static void test_bcd(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 2, true);
	count(&rig, 0, 0x1000);
	step(&rig, 2);
	assert_int_equal(read_count(&rig, 0), 0x0999);
	control(&rig, 0, 2, true);
	count(&rig, 0, 0); /* 10,000 */
	step(&rig, 1);
	assert_int_equal(read_count(&rig, 0), 0);
	step(&rig, 1);
	assert_int_equal(read_count(&rig, 0), 0x9999);
	step(&rig, 9998);
	assert_int_equal(read_count(&rig, 0), 0x0001);
	assert_false(out(&rig, 0));
	rig_close(&rig);
}

/* Bytes: LSB only, MSB only, both; a latch holds until it is read; read-back of both kinds. */
static void test_reading(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, CONTROL, 0x14); /* counter 0, LSB, mode 2 */
	outb(&rig, PIT, 200);
	step(&rig, 11);
	assert_int_equal(inb(&rig, PIT), 190);
	assert_int_equal(inb(&rig, PIT), 190);
	outb(&rig, CONTROL, 0x24); /* MSB */
	outb(&rig, PIT, 3);
	step(&rig, 2);
	assert_int_equal(inb(&rig, PIT), 2);
	control(&rig, 0, 2, false);
	count(&rig, 0, 0x1234);
	step(&rig, 1);
	outb(&rig, CONTROL, 0x00);
	step(&rig, 0x100);
	outb(&rig, CONTROL, 0x00); /* ignored: the first latch was not read yet */
	assert_int_equal(inb(&rig, PIT), 0x34);
	assert_int_equal(inb(&rig, PIT), 0x12);
	assert_int_equal(inb(&rig, PIT), 0x34); /* live again */
	assert_int_equal(inb(&rig, PIT), 0x11);
	outb(&rig, CONTROL, 0xc2); /* read-back of status and count */
	assert_int_equal(inb(&rig, PIT), OUT | 0x34);
	assert_int_equal(rig_in(&rig, PIT, 1), 0x34);
	assert_int_equal(inb(&rig, PIT), 0x11);
	assert_int_equal(inb(&rig, CONTROL), 0xff);
	rig_close(&rig);
}

static void test_refresh_toggle(void **state)
{
	struct rig rig;
	unsigned toggles = 0;
	uint8_t last;

	(void)state;
	rig_open(&rig, build);
	last = inb(&rig, PORT_B) & 0x10;
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t now;

		rig_step(&rig, 1000);
		now = inb(&rig, PORT_B) & 0x10;
		toggles += now != last;
		last = now;
	}
	assert_in_range(toggles, 65, 67); /* about every 15 us */
	outb(&rig, PORT_B, 0xfe);
	assert_int_equal(inb(&rig, PORT_B) & 0xcf, 0x0e);
	rig_close(&rig);
}

/* A year at 100 Hz: the rises are where exact arithmetic has them. */
static void test_no_drift(void **state)
{
	const uint64_t year = UINT64_C(365) * 86400;
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 2, false);
	count(&rig, 0, 11932);
	rig_jump(&rig, year * NS_PER_S);
	rig_step(&rig, NS_PER_S);
	assert_int_equal((ticks_at(rig.risen_at[GSI], I8254_HZ) - 1) % 11932, 0);
	assert_int_equal(rig.risen_at[GSI], pulse(ticks_at(rig.risen_at[GSI], I8254_HZ)));
	assert_in_range(rig.rises[GSI], 100, 102);
	rig_close(&rig);
}

/* An alarm that comes periods late still gives one edge. */
static void test_late_alarm(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	control(&rig, 0, 2, false);
	count(&rig, 0, 1000);
	step(&rig, 10);
	rig.rises[GSI] = 0;
	rig_jump(&rig, pulse(50000));
	assert_int_equal(rig.rises[GSI], 1);
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, {{ PIT, 4 }, { PORT_B, 1 }},
                 .rounds = 400, .longest_ns = 2000000
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mode0),        cmocka_unit_test(test_mode0_gate),
		cmocka_unit_test(test_mode1),        cmocka_unit_test(test_mode2),
		cmocka_unit_test(test_mode2_gate),   cmocka_unit_test(test_mode3),
		cmocka_unit_test(test_mode3_reload), cmocka_unit_test(test_mode4),
		cmocka_unit_test(test_mode5),        cmocka_unit_test(test_bcd),
		cmocka_unit_test(test_reading),      cmocka_unit_test(test_refresh_toggle),
		cmocka_unit_test(test_no_drift),     cmocka_unit_test(test_late_alarm),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
