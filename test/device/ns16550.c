/*
 * ns16550.c - tests of the UART: registers, FIFOs, interrupts, and what Linux probes for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/ns16550.h"
#include "test/device/harness.h"

enum { UART = 0x3f8, GSI = 4 };
enum { RBR = UART, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = UART, FCR = IIR };

/* Of the far end; a test has one rig that it looks at. */
struct far_end {
	char sent[600];
	size_t bytes;
	size_t room;
};

static struct far_end far_end;

static void far_write(void *arg, const void *data, size_t bytes)
{
	struct far_end *f = arg;

	if (bytes > sizeof(f->sent) - f->bytes) /* the fuzzer sends a lot */
		f->bytes = 0;
	memcpy(f->sent + f->bytes, data, bytes);
	f->bytes += bytes;
}

static void far_room(void *arg, size_t bytes)
{
	((struct far_end *)arg)->room += bytes;
}

static void build(struct rig *rig)
{
	struct ns16550_config config = {
		.id = "uart0",
		.ports = UART,
		.gsi = GSI,
		.clock_hz = 1843200,
		.out2_gates = true,
		.rts_holds = true,
		.backend = {far_write, far_room, &far_end}
	};

	far_end = (struct far_end){ 0 };
	assert_int_equal(ns16550_create(rig->vm, &config, &rig->dev, NULL), 0);
}

/* 115200 8N1, FIFOs with trigger 8, DTR, RTS and OUT 2: as a driver leaves it. */
static void program(struct rig *rig)
{
	outb(rig, LCR, 0x83);
	outb(rig, RBR, 1);
	outb(rig, IER, 0);
	outb(rig, LCR, 0x03);
	outb(rig, FCR, 0x87);
	outb(rig, MCR, 0x0b);
}

static void open_port(struct rig *rig)
{
	rig_open(rig, build);
	program(rig);
}

static void test_registers(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(inb(&rig, IIR), 0x01); /* after reset: none pending, no FIFOs */
	assert_int_equal(inb(&rig, LSR), 0x60);
	assert_int_equal(inb(&rig, MSR), 0xb0);
	outb(&rig, IER, 0xff);
	assert_int_equal(inb(&rig, IER), 0x0f);
	outb(&rig, IER, 0);
	outb(&rig, MCR, 0xff);
	assert_int_equal(inb(&rig, MCR), 0x1f);
	outb(&rig, SCR, 0xa5);
	assert_int_equal(inb(&rig, SCR), 0xa5);
	outb(&rig, LCR, 0x80);
	outb(&rig, RBR, 0x34);
	outb(&rig, IER, 0x12);
	assert_int_equal(rig_in(&rig, RBR, 2), 0x1234);
	outb(&rig, LCR, 0x1b);
	assert_int_equal(inb(&rig, IER), 0);
	assert_int_equal(inb(&rig, LCR), 0x1b);
	outb(&rig, LSR, 0);
	assert_int_equal(inb(&rig, LSR), 0x60);
	rig_close(&rig);
}

/* What tells a 16550A from its relatives. */
static void test_identity(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	outb(&rig, FCR, 0x01);
	assert_int_equal(inb(&rig, IIR) >> 6, 3);
	outb(&rig, FCR, 0x21); /* the 16750's 64-byte FIFO */
	assert_int_equal(inb(&rig, IIR) & 0x20, 0);
	outb(&rig, FCR, 0x00);
	assert_int_equal(inb(&rig, IIR) >> 6, 0);
	outb(&rig, MCR, 0x1a); /* loopback of OUT 2 and RTS */
	assert_int_equal(inb(&rig, MSR) & 0xf0, 0x90);
	rig_close(&rig);
}

static void test_sending(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, THR, 'h');
	assert_int_equal(inb(&rig, LSR) & 0x60, 0x60);
	outb(&rig, THR, 'i');
	assert_int_equal(far_end.bytes, 2);
	assert_memory_equal(far_end.sent, "hi", 2);
	rig_close(&rig);
}

/* THRE: pending when enabled, gone when IIR was read, back after every byte, with an edge. */
static void test_thre_interrupt(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, IER, 0x02);
	assert_int_equal(rig.rises[GSI], 1);
	assert_int_equal(inb(&rig, IIR) & 0x0f, 0x02);
	assert_int_equal(inb(&rig, IIR) & 0x0f, 0x01);
	assert_false(rig.level[GSI]);
	outb(&rig, THR, 'a');
	assert_int_equal(rig.rises[GSI], 2);
	outb(&rig, THR, 'b'); /* a handler that never reads IIR gets its edge too */
	assert_int_equal(rig.rises[GSI], 3);
	outb(&rig, IER, 0x00);
	assert_false(rig.level[GSI]);
	inb(&rig, IIR);
	outb(&rig, IER, 0x02); /* enabled anew: pending anew */
	assert_int_equal(inb(&rig, IIR) & 0x0f, 0x02);
	rig_close(&rig);
}

/* Linux sends a buffer from its handler, 16 bytes an interrupt, and must not stop early. */
static void test_interrupt_driven_sending(void **state)
{
	struct rig rig;
	size_t sent = 0;

	(void)state;
	open_port(&rig);
	outb(&rig, IER, 0x02);
	for (unsigned edges = 0; sent < 512; edges++) {
		assert_true(rig.rises[GSI] > edges);
		while ((inb(&rig, IIR) & 0x0f) == 0x02)
			for (unsigned i = 0; i < 16 && sent < 512; i++, sent++)
				outb(&rig, THR, (uint8_t)sent);
	}
	assert_int_equal(far_end.bytes, 512);
	rig_close(&rig);
}

/* Received data: at the trigger level, or four character times after the last byte. */
static void test_receiving(void **state)
{
	const uint64_t character_ns = UINT64_C(10) * 16 * 1000000000 / 1843200;
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, IER, 0x01);
	rig_input(&rig, "abcdefg", 7);
	assert_false(rig.level[GSI]);
	assert_int_equal(inb(&rig, LSR), 0x61);
	rig_step(&rig, 4 * character_ns - 1);
	assert_false(rig.level[GSI]);
	rig_step(&rig, 10);
	assert_true(rig.level[GSI]);
	assert_int_equal(inb(&rig, IIR), 0xcc);
	assert_int_equal(inb(&rig, RBR), 'a');
	assert_false(rig.level[GSI]); /* reading ends the time-out and starts another */
	rig_input(&rig, "hi", 2);
	assert_int_equal(inb(&rig, IIR), 0xc4);
	for (const char *c = "bcdefghi"; *c; c++)
		assert_int_equal(inb(&rig, RBR), *c);
	assert_int_equal(inb(&rig, LSR), 0x60);
	assert_int_equal(inb(&rig, IIR), 0xc1);
	rig_step(&rig, 1000000000);
	assert_int_equal(rig.rises[GSI], 2);
	rig_close(&rig);
}

/* More than fits waits at the far end; nothing is lost, and the credit comes back. */
static void test_flow(void **state)
{
	uint8_t data[4096];
	struct rig rig;

	(void)state;
	open_port(&rig);
	assert_int_equal(far_end.room, sizeof(data));
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	rig_input(&rig, data, sizeof(data));
	for (unsigned i = 0; i < sizeof(data); i++) {
		assert_int_equal(inb(&rig, LSR) & 3, 1);
		assert_int_equal(inb(&rig, RBR), data[i]);
	}
	assert_int_equal(inb(&rig, LSR) & 3, 0);
	assert_true(far_end.room > 2 * sizeof(data) - 256);
	rig_close(&rig);
}

/* Without RTS the far end waits, so that what it sent before the driver came is not lost. */
static void test_rts_holds(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	rig_input(&rig, "early", 5);
	assert_int_equal(inb(&rig, LSR) & 1, 0);
	outb(&rig, FCR, 0x07);
	outb(&rig, MCR, 0x02);
	for (const char *c = "early"; *c; c++)
		assert_int_equal(inb(&rig, RBR), *c);
	outb(&rig, MCR, 0x01);
	rig_input(&rig, "x", 1);
	assert_int_equal(inb(&rig, LSR) & 1, 0);
	rig_close(&rig);
}

static void test_loopback(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, MCR, 0x1b);
	rig_input(&rig, "z", 1); /* not connected now */
	outb(&rig, IER, 0x04);
	for (unsigned i = 0; i < 17; i++)
		outb(&rig, THR, (uint8_t)(0x40 + i));
	assert_int_equal(far_end.bytes, 0);
	assert_false(rig.level[GSI]); /* OUT 2 is cut off as well */
	assert_int_equal(inb(&rig, IIR), 0xc6);
	assert_int_equal(inb(&rig, LSR), 0x63);
	assert_int_equal(inb(&rig, LSR), 0x61); /* reading clears the overrun */
	for (unsigned i = 0; i < 16; i++)       /* which lost the last byte, not the first */
		assert_int_equal(inb(&rig, RBR), 0x40 + i);
	assert_int_equal(inb(&rig, LSR), 0x60);
	outb(&rig, MCR, 0x0b);
	assert_int_equal(inb(&rig, RBR), 'z');
	outb(&rig, FCR, 0x00); /* without FIFOs the new byte replaces the old */
	outb(&rig, MCR, 0x1b);
	outb(&rig, THR, 'a');
	outb(&rig, THR, 'b');
	assert_int_equal(inb(&rig, LSR) & 3, 3);
	assert_int_equal(inb(&rig, RBR), 'b');
	rig_close(&rig);
}

/* Deltas of the modem inputs; the ring counts when it ends. Highest priority first. */
static void test_modem_and_priority(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, MCR, 0x10);
	assert_int_equal(inb(&rig, MSR), 0x0b); /* CTS, DSR and DCD fell */
	assert_int_equal(inb(&rig, MSR), 0x00);
	outb(&rig, MCR, 0x14);
	assert_int_equal(inb(&rig, MSR), 0x40);
	outb(&rig, MCR, 0x10);
	assert_int_equal(inb(&rig, MSR), 0x04);
	outb(&rig, MCR, 0x12);
	for (unsigned i = 0; i < 17; i++)
		outb(&rig, THR, 'x');
	outb(&rig, IER, 0x0f);
	assert_int_equal(inb(&rig, IIR), 0xc6);
	inb(&rig, LSR);
	assert_int_equal(inb(&rig, IIR), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		inb(&rig, RBR);
	assert_int_equal(inb(&rig, IIR), 0xc2);
	assert_int_equal(inb(&rig, IIR), 0xc0);
	assert_int_equal(inb(&rig, MSR), 0x11);
	assert_int_equal(inb(&rig, IIR), 0xc1);
	rig_close(&rig);
}

/* FCR: clearing, and switching the FIFOs on or off, drop what was received. */
static void test_fifo_control(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	rig_input(&rig, "abc", 3);
	outb(&rig, FCR, 0x83);
	assert_int_equal(inb(&rig, LSR) & 1, 0);
	rig_input(&rig, "def", 3);
	outb(&rig, FCR, 0x00);
	assert_int_equal(inb(&rig, LSR) & 1, 0);
	rig_input(&rig, "gh", 2);
	assert_int_equal(inb(&rig, RBR), 'g');
	assert_int_equal(inb(&rig, RBR), 'h');
	assert_int_equal(inb(&rig, LSR), 0x60);
	outb(&rig, FCR, 0xc0); /* without the enable bit the others do nothing */
	outb(&rig, FCR, 0x01);
	outb(&rig, IER, 1);
	rig_input(&rig, "i", 1);
	assert_int_equal(inb(&rig, IIR), 0xc4);
	rig_close(&rig);
}

static void test_out2_gates(void **state)
{
	struct rig rig;

	(void)state;
	open_port(&rig);
	outb(&rig, MCR, 0x03);
	outb(&rig, IER, 0x02);
	assert_false(rig.level[GSI]);
	outb(&rig, MCR, 0x0b);
	assert_true(rig.level[GSI]);
	vm_reset(rig.vm);
	assert_int_equal(rig.vm->irq.level[GSI], 0);
	assert_int_equal(inb(&rig, IER), 0);
	rig_close(&rig);
}

static uint32_t stir(struct rig *rig, uint64_t random)
{
	uint64_t data[8];

	for (unsigned i = 0; i < 8; i++)
		data[i] = random * (i + 1);
	if (random & 0x40) { /* random writes hardly ever make a working port */
		program(rig);
		outb(rig, IER, 0x0f);
	}
	rig_input(rig, data, random & 0x3f);
	if (random & 0x80)
		rig_step(rig, random >> 8 & 0x7ffff);
	return rig->level[GSI];
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, { { UART, 8 } }, .rounds = 400, .longest_ns = 1000000, .stir = stir
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_sending),
		cmocka_unit_test(test_thre_interrupt),
		cmocka_unit_test(test_interrupt_driven_sending),
		cmocka_unit_test(test_receiving),
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_rts_holds),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_modem_and_priority),
		cmocka_unit_test(test_fifo_control),
		cmocka_unit_test(test_out2_gates),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
