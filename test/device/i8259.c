/*
 * i8259.c - tests of the interrupt controller pair. The test is the processor: take() is INTA.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/i8259.h"
#include "test/device/harness.h"

enum { MASTER = 0x20, SLAVE = 0xa0, ELCR = 0x4d0, CASCADE = 2 };
enum { NONE = -1 };
enum { EOI = 0x20, READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c };

static void build(struct rig *rig)
{
	struct i8259_config config = {
		.id = "pic",
		.master = MASTER,
		.slave = SLAVE,
		.elcr = ELCR,
		.elcr_set = {0xf8, 0xde},
		.cascade = CASCADE
	};

	assert_int_equal(i8259_create(rig->vm, &config, NULL), 0);
}

static bool intr(struct rig *rig)
{
	return rig->vm->irq.extint_intr(rig->vm->irq.extint_arg);
}

static uint8_t inta(struct rig *rig)
{
	return rig->vm->irq.extint_inta(rig->vm->irq.extint_arg);
}

/* The vector the processor takes, or NONE when INTR is low. */
static int take(struct rig *rig)
{
	return intr(rig) ? inta(rig) : NONE;
}

static void init_one(struct rig *rig, uint16_t port, uint8_t base, uint8_t icw3, uint8_t icw4)
{
	outb(rig, port, 0x11);
	outb(rig, port + 1, base);
	outb(rig, port + 1, icw3);
	outb(rig, port + 1, icw4);
}

/* Vectors 0x30-0x37 and 0x38-0x3f; ICW4 of the master as given. */
static void open_with(struct rig *rig, uint8_t icw4)
{
	rig_open(rig, build);
	init_one(rig, MASTER, 0x30, 1 << CASCADE, icw4);
	init_one(rig, SLAVE, 0x38, CASCADE, 1);
}

static void pulse(struct rig *rig, unsigned line)
{
	rig_set_line(rig, line, 0);
	rig_set_line(rig, line, 1);
}

static uint8_t read_ocw3(struct rig *rig, uint16_t port, uint8_t ocw3)
{
	outb(rig, port, ocw3);
	return inb(rig, port);
}

static void test_initialization(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, MASTER + 1, 0xfb); /* the mask can be written before, as Linux probes it */
	assert_int_equal(inb(&rig, MASTER + 1), 0xfb);
	outb(&rig, MASTER + 1, 0);
	rig_set_line(&rig, 1, 1);
	assert_false(intr(&rig)); /* nothing is asserted until it is initialized */
	init_one(&rig, MASTER, 0x33, 1 << CASCADE, 1);
	assert_int_equal(inb(&rig, MASTER + 1), 0); /* ICW1 clears the mask */
	assert_false(intr(&rig));                   /* and wants a new edge */
	pulse(&rig, 1);
	assert_int_equal(take(&rig), 0x31); /* low bits of ICW2 are not used */
	outb(&rig, MASTER, 0x13);           /* single: no ICW3; ICW4 follows */
	outb(&rig, MASTER + 1, 0x50);
	outb(&rig, MASTER + 1, 0x01);
	outb(&rig, MASTER + 1, 0x02); /* so this is the mask */
	assert_int_equal(inb(&rig, MASTER + 1), 0x02);
	rig_close(&rig);
}

/* Fully nested: lower numbers first, an interrupt in service holds back its like and lower. */
static void test_priority(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	pulse(&rig, 5);
	pulse(&rig, 3);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_IRR), 0x28);
	assert_int_equal(take(&rig), 0x33);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0x08);
	assert_int_equal(take(&rig), NONE);
	pulse(&rig, 1);
	assert_int_equal(take(&rig), 0x31);
	outb(&rig, MASTER, EOI); /* non-specific: the highest in service */
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0x08);
	outb(&rig, MASTER, EOI | 0x40 | 3); /* specific */
	assert_int_equal(take(&rig), 0x35);
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), NONE);
	rig_close(&rig);
}

static void test_mask(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	outb(&rig, MASTER + 1, 0x10);
	pulse(&rig, 4);
	assert_int_equal(take(&rig), NONE);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_IRR), 0x10);
	outb(&rig, MASTER + 1, 0);
	assert_int_equal(take(&rig), 0x34);
	rig_close(&rig);
}

static void test_cascade(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	pulse(&rig, 14);
	pulse(&rig, 12);
	pulse(&rig, 3); /* the slave stands where input 2 does: before 3 */
	assert_int_equal(take(&rig), 0x3c);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 1 << CASCADE);
	assert_int_equal(read_ocw3(&rig, SLAVE, READ_ISR), 0x10);
	pulse(&rig, 8); /* higher within the slave: held by the master's own ISR */
	assert_int_equal(take(&rig), NONE);
	outb(&rig, SLAVE, EOI);
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), 0x38);
	outb(&rig, SLAVE, EOI);
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), 0x3e);
	outb(&rig, SLAVE, EOI);
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), 0x33);
	rig_set_line(&rig, CASCADE, 1); /* that input is not wired to a line */
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), NONE);
	rig_close(&rig);
}

/* Special fully nested mode: the slave may interrupt its own service routine. */
static void test_special_fully_nested(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 0x11);
	pulse(&rig, 12);
	assert_int_equal(take(&rig), 0x3c);
	pulse(&rig, 14);
	assert_int_equal(take(&rig), NONE);
	pulse(&rig, 9);
	assert_int_equal(take(&rig), 0x39);
	rig_close(&rig);
}

/* A request that goes away before INTA: vector 7 of that chip, nothing in service. */
static void test_spurious(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	pulse(&rig, 4);
	assert_true(intr(&rig));
	rig_set_line(&rig, 4, 0);
	assert_false(intr(&rig));
	assert_int_equal(inta(&rig), 0x37);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0);
	pulse(&rig, 10); /* a request of the slave that goes is one of the master that goes */
	rig_set_line(&rig, 10, 0);
	assert_int_equal(inta(&rig), 0x37);
	assert_int_equal(read_ocw3(&rig, SLAVE, READ_ISR), 0);
	rig_close(&rig);
}

/* Edge: one interrupt a rise. Level: again after EOI while the line is high. */
static void test_edge_and_level(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	outb(&rig, ELCR, 0xff);
	outb(&rig, ELCR + 1, 0xff);
	assert_int_equal(inb(&rig, ELCR), 0xf8);
	assert_int_equal(inb(&rig, ELCR + 1), 0xde);
	outb(&rig, ELCR, 0x20);
	pulse(&rig, 4);
	assert_int_equal(take(&rig), 0x34);
	outb(&rig, MASTER, EOI);
	assert_int_equal(take(&rig), NONE);
	rig_set_line(&rig, 5, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(take(&rig), 0x35);
		assert_int_equal(take(&rig), NONE);
		outb(&rig, MASTER, EOI);
	}
	rig_set_line(&rig, 5, 0);
	assert_int_equal(take(&rig), NONE);
	rig_set_line(&rig, 9, 1); /* and on the slave */
	assert_int_equal(inb(&rig, ELCR + 1), 0xde);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(take(&rig), 0x39);
		outb(&rig, SLAVE, EOI);
		outb(&rig, MASTER, EOI);
	}
	rig_close(&rig);
}

static void test_automatic_eoi(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 3);
	pulse(&rig, 4);
	assert_int_equal(take(&rig), 0x34);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0);
	pulse(&rig, 4);
	pulse(&rig, 5);
	outb(&rig, MASTER, 0x80); /* rotate in automatic EOI mode */
	assert_int_equal(take(&rig), 0x34);
	pulse(&rig, 4);
	assert_int_equal(take(&rig), 0x35); /* 4 has become the lowest */
	assert_int_equal(take(&rig), 0x34);
	outb(&rig, MASTER, 0x00);
	rig_close(&rig);
}

static void test_rotation(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	outb(&rig, MASTER, 0xc0 | 4); /* set priority: 4 is the lowest, 5 the highest */
	pulse(&rig, 4);
	pulse(&rig, 6);
	assert_int_equal(take(&rig), 0x36);
	outb(&rig, MASTER, 0xa0); /* rotate on non-specific EOI: 6 is the lowest */
	pulse(&rig, 6);
	assert_int_equal(take(&rig), 0x34);
	outb(&rig, MASTER, 0xe0 | 4); /* rotate on specific EOI */
	pulse(&rig, 4);
	assert_int_equal(take(&rig), 0x36);
	rig_close(&rig);
}

/* Special mask mode: what is in service and masked no longer holds back lower ones. */
static void test_special_mask(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	pulse(&rig, 3);
	assert_int_equal(take(&rig), 0x33);
	outb(&rig, MASTER + 1, 0x08);
	pulse(&rig, 6);
	assert_int_equal(take(&rig), NONE);
	outb(&rig, MASTER, 0x68);
	assert_int_equal(take(&rig), 0x36);
	outb(&rig, MASTER, EOI); /* passes over the masked one */
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0x08);
	outb(&rig, MASTER, 0x48);
	pulse(&rig, 6);
	assert_int_equal(take(&rig), NONE);
	rig_close(&rig);
}

static void test_poll(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	assert_int_equal(read_ocw3(&rig, MASTER, POLL), 0);
	pulse(&rig, 5);
	assert_int_equal(read_ocw3(&rig, MASTER, POLL), 0x85);
	assert_int_equal(read_ocw3(&rig, MASTER, READ_ISR), 0x20); /* it was an acknowledge */
	assert_int_equal(take(&rig), NONE);
	pulse(&rig, 15);
	assert_int_equal(read_ocw3(&rig, MASTER, POLL), 0x80 | CASCADE);
	assert_int_equal(read_ocw3(&rig, SLAVE, POLL), 0x87);
	assert_int_equal(inb(&rig, SLAVE), 0); /* one read only */
	rig_close(&rig);
}

/* The processor is told each time INTR rises, and while more waits. */
static void test_notice(void **state)
{
	struct rig rig;

	(void)state;
	open_with(&rig, 1);
	assert_false(atomic_exchange(&rig.vm->vcpu[0]->notice, false));
	pulse(&rig, 5);
	assert_true(atomic_exchange(&rig.vm->vcpu[0]->notice, false));
	pulse(&rig, 3);
	inta(&rig);
	atomic_store(&rig.vm->vcpu[0]->notice, false);
	outb(&rig, MASTER, EOI);
	assert_true(atomic_exchange(&rig.vm->vcpu[0]->notice, false));
	rig_close(&rig);
}

/* Lines, and now and then an acknowledge. */
static uint32_t stir(struct rig *rig, uint64_t random)
{
	if (random & 1)
		return intr(rig);
	if (random & 2)
		return inta(rig);
	rig_set_line(rig, random >> 2 & 15, random >> 6 & 1);
	return 0;
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build,
		{{ MASTER, 2 }, { SLAVE, 2 }, { ELCR, 2 }},
		.rounds = 2000,
		.longest_ns = 10,
		.stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initialization),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_cascade),
		cmocka_unit_test(test_special_fully_nested),
		cmocka_unit_test(test_spurious),
		cmocka_unit_test(test_edge_and_level),
		cmocka_unit_test(test_automatic_eoi),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_special_mask),
		cmocka_unit_test(test_poll),
		cmocka_unit_test(test_notice),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
