/*
 * mc146818.c - tests of the real-time clock: calendar, formats, setting, interrupts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/mc146818.h"
#include "device/ticks.h"
#include "test/device/harness.h"

enum { INDEX = 0x70, DATA = 0x71, GSI = 8, CENTURY = 0x32 };
enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D };
enum { UIP = 0x80, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, BINARY = 4, H24 = 2 };
enum { IRQF = 0x80, PF = 0x40, AF = 0x20, UF = 0x10 };

#define SECOND NS_PER_S

static void build(struct rig *rig)
{
	static const uint8_t ram[MC146818_BYTES] = { [0x10] = 0x42, [0x7f] = 0x24 };
	struct mc146818_config config = {
		.id = "rtc", .ports = INDEX, .gsi = GSI, .century = CENTURY, .ram = ram
	};

	assert_int_equal(mc146818_create(rig->vm, &config, NULL), 0);
}

static uint8_t get(struct rig *rig, uint8_t reg)
{
	outb(rig, INDEX, reg);
	return inb(rig, DATA);
}

static void put(struct rig *rig, uint8_t reg, uint8_t value)
{
	outb(rig, INDEX, reg);
	outb(rig, DATA, value);
}

/* BCD, 24 hours: 0x20240101 and 0x000000. */
static void expect_time(struct rig *rig, uint32_t date, uint32_t time)
{
	assert_int_equal(get(rig, CENTURY), date >> 24);
	assert_int_equal(get(rig, YEAR), date >> 16 & 0xff);
	assert_int_equal(get(rig, MONTH), date >> 8 & 0xff);
	assert_int_equal(get(rig, DAY), date & 0xff);
	assert_int_equal(get(rig, HOUR), time >> 16);
	assert_int_equal(get(rig, MIN), time >> 8 & 0xff);
	assert_int_equal(get(rig, SEC), time & 0xff);
}

/* As Linux and firmware do it: SET, the bytes, SET off. */
static void set_time(struct rig *rig, uint32_t date, uint32_t time)
{
	uint8_t b = get(rig, B);

	put(rig, B, b | SET);
	put(rig, CENTURY, (uint8_t)(date >> 24));
	put(rig, YEAR, (uint8_t)(date >> 16));
	put(rig, MONTH, (uint8_t)(date >> 8));
	put(rig, DAY, (uint8_t)date);
	put(rig, HOUR, (uint8_t)(time >> 16));
	put(rig, MIN, (uint8_t)(time >> 8));
	put(rig, SEC, (uint8_t)time);
	put(rig, B, b);
}

static void test_calendar(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	expect_time(&rig, 0x20240101, 0x000000); /* the machine's wall clock, RIG_WALL_S */
	assert_int_equal(get(&rig, WEEKDAY), 2); /* a Monday */
	rig_step_to(&rig, SECOND - 1);
	expect_time(&rig, 0x20240101, 0x000000);
	rig_step(&rig, 1);
	expect_time(&rig, 0x20240101, 0x000001);
	rig_jump(&rig, (31 + 28) * 86400 * SECOND - 2 * SECOND);
	expect_time(&rig, 0x20240228, 0x235959);
	rig_step(&rig, SECOND);
	expect_time(&rig, 0x20240229, 0x000000); /* a leap year */
	assert_int_equal(get(&rig, WEEKDAY), 5);
	set_time(&rig, 0x19991231, 0x235959);
	rig_step(&rig, SECOND);
	expect_time(&rig, 0x20000101, 0x000000);
	set_time(&rig, 0x21000228, 0x235959);
	rig_step(&rig, SECOND);
	expect_time(&rig, 0x21000301, 0x000000); /* not a leap year */
	rig_close(&rig);
}

static void test_formats(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	set_time(&rig, 0x20241117, 0x233015);
	put(&rig, B, H24 | BINARY);
	assert_int_equal(get(&rig, HOUR), 23);
	assert_int_equal(get(&rig, YEAR), 24);
	assert_int_equal(get(&rig, CENTURY), 20);
	put(&rig, B, BINARY);
	assert_int_equal(get(&rig, HOUR), 0x80 | 11);
	put(&rig, B, 0);
	assert_int_equal(get(&rig, HOUR), 0x80 | 0x11);
	put(&rig, HOUR, 0x12); /* 12 AM is midnight; the time bytes can be set while it runs */
	put(&rig, B, H24);
	expect_time(&rig, 0x20241117, 0x003015);
	put(&rig, B, 0);
	put(&rig, HOUR, 0x92); /* 12 PM is noon */
	put(&rig, B, H24);
	expect_time(&rig, 0x20241117, 0x123015);
	rig_close(&rig);
}

/* SET stops the bytes, not the divider: the seconds keep their phase. */
static void test_set(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_step_to(&rig, SECOND / 4);
	put(&rig, B, SET | H24 | UIE);
	assert_int_equal(get(&rig, B), SET | H24); /* SET switches UIE off */
	rig_step(&rig, 10 * SECOND);
	expect_time(&rig, 0x20240101, 0x000000);
	put(&rig, SEC, 0x30);
	put(&rig, B, H24);
	rig_step(&rig, SECOND * 3 / 4 - 1);
	expect_time(&rig, 0x20240101, 0x000030);
	rig_step(&rig, 1);
	expect_time(&rig, 0x20240101, 0x000031);
	rig_close(&rig);
}

/* The divider held and released: the first second ends half a second later. */
static void test_divider(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_step_to(&rig, 5 * SECOND + 123456789);
	put(&rig, A, 0x76);
	rig_step(&rig, 100 * SECOND);
	expect_time(&rig, 0x20240101, 0x000005);
	put(&rig, A, 0x26);
	rig_step(&rig, SECOND / 2 - 1);
	expect_time(&rig, 0x20240101, 0x000005);
	rig_step(&rig, 1);
	expect_time(&rig, 0x20240101, 0x000006);
	rig_close(&rig);
}

static void test_update_in_progress(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_step_to(&rig, SECOND - 2228001);
	assert_int_equal(get(&rig, A) & UIP, 0);
	rig_step(&rig, 1);
	assert_int_equal(get(&rig, A) & UIP, UIP);
	put(&rig, B, SET | H24);
	assert_int_equal(get(&rig, A) & UIP, 0);
	put(&rig, B, H24);
	rig_step_to(&rig, SECOND);
	assert_int_equal(get(&rig, A) & UIP, 0);
	rig_close(&rig);
}

/* Flags are set whether enabled or not, by one read cleared; the line only when enabled. */
static void test_update_interrupt(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	get(&rig, C);
	rig_step_to(&rig, SECOND);
	assert_int_equal(get(&rig, C) & (IRQF | UF), UF);
	assert_int_equal(get(&rig, C), 0);
	put(&rig, B, H24 | UIE);
	rig_step_to(&rig, 3 * SECOND - 1);
	assert_int_equal(rig.rises[GSI], 1);
	assert_int_equal(rig.risen_at[GSI], 2 * SECOND);
	rig_step(&rig, 10 * SECOND); /* not acknowledged: the line stays up */
	assert_int_equal(rig.rises[GSI], 1);
	assert_int_equal(get(&rig, C) & (IRQF | UF), IRQF | UF);
	assert_false(rig.level[GSI]);
	rig_step(&rig, SECOND);
	assert_int_equal(rig.rises[GSI], 2);
	vm_reset(rig.vm); /* the RESET pin: enables off, the time goes on */
	assert_int_equal(get(&rig, B), H24);
	assert_int_equal(rig.vm->irq.level[GSI], 0);
	expect_time(&rig, 0x20240101, 0x000013);
	rig_close(&rig);
}

/* Rates by RS: 1 and 2 as 8 and 9, then 8192 Hz halved at each step. */
static void test_periodic(void **state)
{
	static const unsigned hz[16] = { 0,   256, 128, 8192, 4096, 2048, 1024, 512,
					 256, 128, 64,  32,   16,   8,    4,    2 };
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	for (unsigned rs = 0; rs < 16; rs++) {
		unsigned count = 0;
		uint64_t end = (rs + 1) * SECOND;

		put(&rig, A, (uint8_t)(0x20 | rs));
		get(&rig, C);
		put(&rig, B, H24 | PIE);
		while (clock_next(&rig.vm->clock) <= end) {
			rig_step_to(&rig, clock_next(&rig.vm->clock));
			assert_true(rig.level[GSI]);
			assert_int_equal(get(&rig, C) & (IRQF | PF), IRQF | PF);
			count++;
		}
		assert_int_equal(count, hz[rs]);
		rig_step_to(&rig, end);
		put(&rig, B, H24);
	}
	rig_close(&rig);
}

static void test_alarm(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	put(&rig, HOUR_ALARM, 0x06);
	put(&rig, MIN_ALARM, 0x30);
	put(&rig, SEC_ALARM, 0x15);
	put(&rig, B, H24 | AIE);
	rig_step(&rig, 40 * 3600 * SECOND);
	assert_int_equal(rig.risen_at[GSI], (6 * 3600 + 30 * 60 + 15) * SECOND);
	assert_int_equal(get(&rig, C) & (IRQF | AF), IRQF | AF);
	rig_step(&rig, 86400 * SECOND);
	assert_int_equal(rig.rises[GSI], 2); /* each day */
	get(&rig, C);
	put(&rig, HOUR_ALARM, 0xff); /* any hour, any minute */
	put(&rig, MIN_ALARM, 0xc0);
	for (unsigned i = 0; i < 5; i++) {
		rig_step(&rig, 60 * SECOND);
		assert_int_equal(get(&rig, C) & AF, AF);
	}
	assert_int_equal(rig.rises[GSI], 7);
	put(&rig, SEC_ALARM, 0x61); /* no such second */
	rig_step(&rig, 86400 * SECOND);
	assert_int_equal(rig.rises[GSI], 7);
	rig_close(&rig);
}

static void test_ram(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(get(&rig, 0x10), 0x42);
	assert_int_equal(get(&rig, 0x80 | 0x7f), 0x24); /* bit 7 of the index masks NMI */
	assert_int_equal(get(&rig, D), 0x80);
	put(&rig, D, 0);
	assert_int_equal(get(&rig, D), 0x80);
	put(&rig, C, 0xff);
	assert_int_equal(get(&rig, C) & ~PF, 0);
	put(&rig, 0x40, 0x99);
	vm_reset(rig.vm);
	assert_int_equal(get(&rig, 0x40), 0x99);
	assert_int_equal(inb(&rig, INDEX), 0xff);
	rig_close(&rig);
}

/* Long steps, and registers that matter more often than RAM. */
static uint32_t stir(struct rig *rig, uint64_t random)
{
	if (random & 1)
		rig_step(rig, (random >> 8) % (400 * SECOND));
	else if (random & 2)
		return get(rig, random >> 8 & 15);
	else
		put(rig, random >> 8 & 15, (uint8_t)(random >> 16));
	return 0;
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, { { INDEX, 2 } }, .rounds = 100, .longest_ns = SECOND, .stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calendar),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_divider),
		cmocka_unit_test(test_update_in_progress),
		cmocka_unit_test(test_update_interrupt),
		cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_alarm),
		cmocka_unit_test(test_ram),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
