/*
 * acpi_pm.c - tests of the ACPI timer, events, control and the power button.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/acpi_pm.h"
#include "device/ticks.h"
#include "test/device/harness.h"

enum { STATUS = 0x600, ENABLE = 0x602, CONTROL = 0x604, TIMER = 0x608, SMI = 0xb2 };
enum { ACPI_ON = 0xf1, ACPI_OFF = 0xf0, S5 = 5, GSI = 9 };
enum { TMR = 1, PWRBTN = 0x100, SCI_EN = 1, SLP_EN = 0x2000 };

static void build_with(struct rig *rig, bool timer_32bit)
{
	struct acpi_pm_config config = { .id = "acpi",
					 .pm1_event = STATUS,
					 .pm1_control = CONTROL,
					 .pm_timer = TIMER,
					 .smi_command = SMI,
					 .acpi_enable = ACPI_ON,
					 .acpi_disable = ACPI_OFF,
					 .s5_type = S5,
					 .timer_32bit = timer_32bit,
					 .sci_gsi = GSI };

	assert_int_equal(acpi_pm_create(rig->vm, &config, &rig->dev, NULL), 0);
}

static void build(struct rig *rig)
{
	build_with(rig, false);
}

static void build_32bit(struct rig *rig)
{
	build_with(rig, true);
}

static void press_button(struct rig *rig)
{
	uint8_t button = ACPI_PM_POWER_BUTTON;

	rig_input(rig, &button, 1);
}

/* 3.579545 MHz, exact after a year; 24 bits, or 32; read-only; readable in parts. */
static void test_timer(void **state)
{
	const uint64_t year = UINT64_C(365) * 86400;
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(rig_in(&rig, TIMER, 4), 0);
	rig_step_to(&rig, NS_PER_S);
	assert_int_equal(rig_in(&rig, TIMER, 4), 3579545);
	rig_out(&rig, TIMER, 0, 4);
	assert_int_equal(rig_in(&rig, TIMER, 2), 3579545 & 0xffff);
	assert_int_equal(inb(&rig, TIMER + 2), 3579545 >> 16);
	rig_jump(&rig, (year - 1) * NS_PER_S);
	assert_int_equal(rig_in(&rig, TIMER, 4), year * 3579545 & 0xffffff);
	rig_close(&rig);
	rig_open(&rig, build_32bit);
	rig_jump(&rig, year * NS_PER_S);
	assert_int_equal(rig_in(&rig, TIMER, 4), (uint32_t)(year * 3579545));
	rig_close(&rig);
}

/* TMR_STS each time the top bit changes, either way; the SCI only once ACPI is enabled. */
static void test_timer_event(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_step_to(&rig, ticks_to_ns(1 << 23, ACPI_PM_TIMER_HZ) - 1);
	assert_int_equal(rig_in(&rig, STATUS, 2), 0);
	rig_step(&rig, 1);
	assert_int_equal(rig_in(&rig, STATUS, 2), TMR);
	rig_out(&rig, STATUS, TMR, 2);
	assert_int_equal(rig_in(&rig, STATUS, 2), 0);
	rig_out(&rig, ENABLE, TMR, 2);
	outb(&rig, SMI, ACPI_ON);
	assert_false(rig.level[GSI]);
	rig_step_to(&rig, 6 * NS_PER_S);
	assert_true(rig.level[GSI]);
	assert_int_equal(rig.risen_at[GSI], ticks_to_ns(2 << 23, ACPI_PM_TIMER_HZ));
	rig_out(&rig, STATUS, 0xffff, 2);
	assert_false(rig.level[GSI]);
	rig_step_to(&rig, 8 * NS_PER_S);
	assert_true(rig.level[GSI]);
	rig_out(&rig, ENABLE, 0, 2);
	assert_false(rig.level[GSI]);
	assert_int_equal(rig_in(&rig, STATUS, 2), TMR); /* status does not depend on enable */
	rig_close(&rig);
}

static void test_acpi_enable(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_out(&rig, CONTROL, SCI_EN, 2); /* not software's to write */
	assert_int_equal(rig_in(&rig, CONTROL, 2), 0);
	outb(&rig, SMI, ACPI_ON);
	assert_int_equal(rig_in(&rig, CONTROL, 2), SCI_EN);
	assert_int_equal(inb(&rig, SMI), ACPI_ON);
	outb(&rig, SMI, 0x55); /* a command that nobody knows */
	outb(&rig, SMI + 1, ACPI_OFF);
	assert_int_equal(rig_in(&rig, CONTROL, 2), SCI_EN);
	rig_out(&rig, CONTROL, 0, 2);
	assert_int_equal(rig_in(&rig, CONTROL, 2), SCI_EN);
	outb(&rig, SMI, ACPI_OFF);
	assert_int_equal(rig_in(&rig, CONTROL, 2), 0);
	rig_close(&rig);
}

static void test_power_button(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_out(&rig, ENABLE, PWRBTN, 2);
	press_button(&rig);
	assert_false(rig.level[GSI]); /* legacy mode: an SMI, which nobody takes */
	assert_int_equal(rig_in(&rig, STATUS, 4), PWRBTN << 16 | PWRBTN);
	outb(&rig, SMI, ACPI_ON);
	assert_true(rig.level[GSI]);
	outb(&rig, STATUS, 0xff); /* the low byte's bits only */
	assert_true(rig.level[GSI]);
	outb(&rig, STATUS + 1, PWRBTN >> 8);
	assert_false(rig.level[GSI]);
	assert_int_equal(rig_request(&rig), VM_NONE); /* what to do is the guest's business */
	rig_close(&rig);
}

static void test_soft_off(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_out(&rig, CONTROL, S5 << 10, 2);
	assert_int_equal(rig_request(&rig), VM_NONE);
	assert_int_equal(rig_in(&rig, CONTROL, 2), S5 << 10);
	rig_out(&rig, CONTROL, 1 << 10 | SLP_EN, 2); /* another sleeping state */
	assert_int_equal(rig_request(&rig), VM_NONE);
	rig_out(&rig, CONTROL, S5 << 10 | SLP_EN, 2);
	assert_int_equal(rig_request(&rig), VM_POWEROFF);
	assert_int_equal(rig_in(&rig, CONTROL, 2), S5 << 10); /* SLP_EN reads as 0 */
	outb(&rig, CONTROL + 1, (S5 << 10 | SLP_EN) >> 8);
	assert_int_equal(rig_request(&rig), VM_POWEROFF);
	rig_close(&rig);
}

static uint32_t stir(struct rig *rig, uint64_t random)
{
	if (random & 1)
		press_button(rig);
	else
		rig_step(rig, random % (5 * NS_PER_S));
	return 0;
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build,
		{{ STATUS, 12 }, { SMI, 2 }},
		.rounds = 300,
		.longest_ns = 3 * NS_PER_S,
		.stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer),       cmocka_unit_test(test_timer_event),
		cmocka_unit_test(test_acpi_enable), cmocka_unit_test(test_power_button),
		cmocka_unit_test(test_soft_off),    cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
