/*
 * reset.c - tests of the reset control register and system control port A.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/reset.h"
#include "test/device/harness.h"

enum { PCI_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9, PORT_A = 0x92 };

static void build(struct rig *rig)
{
	struct reset_config config = { .id = "reset",
				       .pci_address = PCI_ADDRESS,
				       .system_port_a = PORT_A };

	assert_int_equal(reset_create(rig->vm, &config, NULL, NULL), 0);
}

/* RCPU from 0 to 1, with or without the hard reset bit set before. */
static void test_reset_control(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, RESET_CONTROL, 0x02);
	assert_int_equal(rig_request(&rig), VM_NONE);
	assert_int_equal(inb(&rig, RESET_CONTROL), 0x02);
	outb(&rig, RESET_CONTROL, 0x06);
	assert_int_equal(rig_request(&rig), VM_RESET);
	outb(&rig, RESET_CONTROL, 0x0e); /* still 1: no edge */
	assert_int_equal(rig_request(&rig), VM_NONE);
	vm_reset(rig.vm);
	assert_int_equal(inb(&rig, RESET_CONTROL), 0);
	outb(&rig, RESET_CONTROL, 0x04);
	assert_int_equal(rig_request(&rig), VM_RESET);
	rig_close(&rig);
}

/* The doubleword is PCI's: only a byte at its second place is a reset register. */
static void test_pci_is_not_reset(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_out(&rig, PCI_ADDRESS, 0x80000600, 4);
	rig_out(&rig, PCI_ADDRESS, 0x0600, 2);
	rig_out(&rig, RESET_CONTROL, 0x0006, 2);
	outb(&rig, PCI_ADDRESS, 0x06);
	outb(&rig, PCI_ADDRESS + 3, 0x06);
	assert_int_equal(rig_request(&rig), VM_NONE);
	assert_int_equal(inb(&rig, RESET_CONTROL), 0);
	assert_int_equal(rig_in(&rig, PCI_ADDRESS, 4), 0xffffffff);
	assert_int_equal(rig_in(&rig, PCI_ADDRESS, 2), 0xffff);
	assert_int_equal(inb(&rig, PCI_ADDRESS), 0xff);
	rig_close(&rig);
}

static void test_port_a(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(inb(&rig, PORT_A), 0x02); /* A20 is open */
	outb(&rig, PORT_A, 0xfc);
	assert_int_equal(inb(&rig, PORT_A), 0);
	assert_int_equal(rig_request(&rig), VM_NONE);
	outb(&rig, PORT_A, 0x03);
	assert_int_equal(rig_request(&rig), VM_RESET);
	outb(&rig, PORT_A, 0x03);
	assert_int_equal(rig_request(&rig), VM_NONE);
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, {{ PCI_ADDRESS - 1, 6 }, { PORT_A, 1 }},
                 .rounds = 100, .longest_ns = 1000
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_control),
		cmocka_unit_test(test_pci_is_not_reset),
		cmocka_unit_test(test_port_a),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
