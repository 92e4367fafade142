/*
 * i8042.c - keyboard controller, with or without a keyboard.
 *
 * Besides a keyboard this microcontroller drives two wires of every PC: the reset
 * line and the A20 gate. Without a keyboard a driver finds a healthy controller and an
 * empty socket (each byte sent there times out); there never is an auxiliary port.
 *
 * The keyboard (ps2kbd.c) sends a byte whenever the output buffer is empty and the
 * interface is enabled, and takes about a millisecond for it. On the way the controller
 * translates scan code set 2 to set 1, unless told not to.
 *
 * A command is done as soon as it is written, so the input buffer is never seen
 * full. Not modelled: a mouse, passwords, the A20 gate's effect (the bit reads back,
 * address line 20 is always there).
 *
 * Spec: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and auxiliary
 * device controller". Tested by test/device/i8042.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "device/bytes.h"
#include "device/i8042.h"
#include "device/ps2kbd.h"
#include "machine/vm.h"

enum { REGION_DATA, REGION_COMMAND };

/* clang-format off */
#define STATUS_OBF     0x01 /* output buffer full */
#define STATUS_SYS     0x04 /* system flag: bit 2 of the command byte */
#define STATUS_A2      0x08 /* the last write was a command */
#define STATUS_INH     0x10 /* the keyboard is not locked */
#define STATUS_TIMEOUT 0x40 /* the byte in the output buffer reports a time-out */

#define BYTE_INT     0x01 /* command byte (RAM byte 0): interrupt when output is full */
#define BYTE_SYS     0x04
#define BYTE_KBD_OFF 0x10
#define BYTE_AUX_OFF 0x20
#define BYTE_XLAT    0x40 /* translate scan codes */

/* As firmware leaves it, with a keyboard: kernels that were started without any rely on it. */
#define BYTE_FIRMWARE (BYTE_XLAT | BYTE_AUX_OFF | BYTE_SYS | BYTE_INT)

#define OUTPUT_RUN 0x01 /* output port: 0 resets the processor */
#define OUTPUT_A20 0x02

#define INPUT_PORT   0x80 /* not locked */
#define SELF_TEST_OK 0x55
#define LINE_OK      0x00
#define LINE_STUCK   0x01 /* clock line stuck low: how a missing port shows */
#define NO_ANSWER    0xfe
/* clang-format on */

#define RAM_BYTES 32
#define RELEASE   0xf0 /* prefix of a released key in set 2 */

enum { ALARM_BYTE };
#define BYTE_NS 1000000u /* eleven bits on the wire, and the keyboard's own time */

/* Those from WRITE_OUTPUT to WRITE_AUX, and WRITE_RAM, are followed by a byte at the data port. */
enum command {
	CMD_NONE = 0,
	CMD_READ_RAM = 0x20,  /* to 0x3f: the byte's address is in the low five bits */
	CMD_WRITE_RAM = 0x60, /* to 0x7f */
	CMD_AUX_DISABLE = 0xa7,
	CMD_AUX_ENABLE = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_DISABLE = 0xad,
	CMD_KBD_ENABLE = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_BUFFER = 0xd2,
	CMD_WRITE_AUX_BUFFER = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_READ_TEST = 0xe0,
	CMD_PULSE = 0xf0, /* to 0xff: bits 0-3 that are 0 pulse the output port */
};

struct i8042 {
	struct device dev;
	struct i8042_config config;
	uint8_t ram[RAM_BYTES]; /* [0]: the command byte */
	uint8_t status;         /* OBF, A2, TIMEOUT */
	uint8_t output;         /* output buffer */
	uint8_t output_port;
	uint8_t command; /* waits for its byte, or CMD_NONE */
	struct ps2kbd kbd;
	bool released;    /* the last byte translated was RELEASE */
	uint64_t byte_at; /* when the keyboard's next byte is here; ALARM_NONE: none comes */
	size_t granted;   /* events that may be posted */
};

static void update_line(struct i8042 *kbc)
{
	device_irq(&kbc->dev, kbc->config.gsi, kbc->status & STATUS_OBF && kbc->ram[0] & BYTE_INT);
}

/* --- The keyboard's side --- */

/* Tells who types how many events have found their way, or were forgotten. */
static void grant(struct i8042 *kbc)
{
	const struct char_backend *b = &kbc->config.backend;
	size_t room = PS2_EVENTS - kbc->kbd.events;

	if (!kbc->config.keyboard || room <= kbc->granted)
		return;
	if (b->room)
		b->room(b->arg, (room - kbc->granted) * sizeof(struct ps2_event));
	kbc->granted = room;
}

/* After any change: is a byte on its way? */
static void listen(struct i8042 *kbc)
{
	bool free = !(kbc->status & STATUS_OBF) && !(kbc->ram[0] & BYTE_KBD_OFF);

	if (!free || !kbc->config.keyboard || !ps2kbd_waiting(&kbc->kbd))
		kbc->byte_at = ALARM_NONE;
	else if (kbc->byte_at == ALARM_NONE)
		kbc->byte_at = device_now(&kbc->dev) + BYTE_NS;
	device_alarm(&kbc->dev, ALARM_BYTE, kbc->byte_at);
	grant(kbc);
}

/* true: nothing comes of this byte alone. */
static bool translate(struct i8042 *kbc, uint8_t *byte)
{
	bool released = kbc->released;

	kbc->released = false;
	if (!(kbc->ram[0] & BYTE_XLAT))
		return false;
	if (*byte == RELEASE) {
		kbc->released = true;
		return true;
	}
	*byte = ps2_translate(*byte) | (released ? 0x80 : 0);
	return false;
}

static void i8042_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct i8042 *kbc = (struct i8042 *)dev;
	uint8_t byte;

	(void)which;
	(void)now;
	kbc->byte_at = ALARM_NONE;
	byte = ps2kbd_next(&kbc->kbd);
	if (!translate(kbc, &byte)) {
		kbc->output = byte;
		kbc->status = (kbc->status & ~STATUS_TIMEOUT) | STATUS_OBF;
		update_line(kbc);
	}
	listen(kbc);
}

/* Keys: struct ps2_event, one after the other. */
static void i8042_input(struct device *dev, const void *data, size_t bytes)
{
	struct i8042 *kbc = (struct i8042 *)dev;
	const uint8_t *from = data;
	struct ps2_event event;

	for (; bytes >= sizeof(event); bytes -= sizeof(event), from += sizeof(event)) {
		memcpy(&event, from, sizeof(event));
		kbc->granted -= kbc->granted > 0;
		ps2kbd_event(&kbc->kbd, event);
	}
	listen(kbc);
}

/* --- The CPU's side --- */

static void answer(struct i8042 *kbc, uint8_t value, uint8_t flags)
{
	kbc->output = value;
	kbc->status = (kbc->status & ~STATUS_TIMEOUT) | STATUS_OBF | flags;
}

/* A byte for the keyboard: sending it enables the interface. */
static void write_keyboard(struct i8042 *kbc, uint8_t value)
{
	kbc->ram[0] &= ~BYTE_KBD_OFF;
	if (kbc->config.keyboard)
		ps2kbd_command(&kbc->kbd, value);
	else
		answer(kbc, NO_ANSWER, STATUS_TIMEOUT);
}

static void write_output_port(struct i8042 *kbc, uint8_t value)
{
	kbc->output_port = value | OUTPUT_RUN;
	if (!(value & OUTPUT_RUN))
		device_request(&kbc->dev, VM_RESET, 0);
}

/* Commands that need nothing more. */
static void run_command(struct i8042 *kbc, uint8_t command)
{
	switch (command) {
	case CMD_AUX_DISABLE: kbc->ram[0] |= BYTE_AUX_OFF; break;
	case CMD_AUX_ENABLE: kbc->ram[0] &= ~BYTE_AUX_OFF; break;
	case CMD_AUX_TEST: answer(kbc, LINE_STUCK, 0); break;
	case CMD_SELF_TEST:
		kbc->ram[0] |= BYTE_SYS;
		answer(kbc, SELF_TEST_OK, 0);
		break;
	case CMD_KBD_TEST: answer(kbc, LINE_OK, 0); break;
	case CMD_KBD_DISABLE: kbc->ram[0] |= BYTE_KBD_OFF; break;
	case CMD_KBD_ENABLE: kbc->ram[0] &= ~BYTE_KBD_OFF; break;
	case CMD_READ_INPUT: answer(kbc, INPUT_PORT, 0); break;
	case CMD_READ_OUTPUT: answer(kbc, kbc->output_port, 0); break;
	case CMD_A20_OFF: kbc->output_port &= ~OUTPUT_A20; break;
	case CMD_A20_ON: kbc->output_port |= OUTPUT_A20; break;
	case CMD_READ_TEST: answer(kbc, 0, 0); break;
	default:
		if (command >= CMD_PULSE && !(command & OUTPUT_RUN))
			device_request(&kbc->dev, VM_RESET, 0);
		else if (command >= CMD_READ_RAM && command < CMD_READ_RAM + RAM_BYTES)
			answer(kbc, kbc->ram[command % RAM_BYTES], 0);
		break;
	}
}

static bool takes_byte(uint8_t command)
{
	return (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM_BYTES) ||
	       (command >= CMD_WRITE_OUTPUT && command <= CMD_WRITE_AUX);
}

static void write_command(struct i8042 *kbc, uint8_t command)
{
	kbc->status |= STATUS_A2;
	kbc->command = takes_byte(command) ? command : CMD_NONE;
	if (!kbc->command)
		run_command(kbc, command);
}

static void write_data(struct i8042 *kbc, uint8_t value)
{
	uint8_t command = kbc->command;

	kbc->status &= ~STATUS_A2;
	kbc->command = CMD_NONE;
	switch (command) {
	case CMD_NONE: write_keyboard(kbc, value); break;
	case CMD_WRITE_AUX: answer(kbc, NO_ANSWER, STATUS_TIMEOUT); break;
	case CMD_WRITE_OUTPUT: write_output_port(kbc, value); break;
	case CMD_WRITE_KBD_BUFFER:
	case CMD_WRITE_AUX_BUFFER: answer(kbc, value, 0); break;
	default: kbc->ram[command % RAM_BYTES] = value; break;
	}
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct i8042 *kbc = (struct i8042 *)dev;

	(void)off;
	if (region == REGION_COMMAND)
		return kbc->status | STATUS_INH | (kbc->ram[0] & BYTE_SYS ? STATUS_SYS : 0);
	kbc->status &= ~(STATUS_OBF | STATUS_TIMEOUT);
	update_line(kbc);
	listen(kbc);
	return kbc->output;
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct i8042 *kbc = (struct i8042 *)dev;

	(void)off;
	if (region == REGION_COMMAND)
		write_command(kbc, value);
	else
		write_data(kbc, value);
	update_line(kbc);
	listen(kbc);
}

static uint64_t i8042_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void i8042_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

static void i8042_reset(struct device *dev)
{
	struct i8042 *kbc = (struct i8042 *)dev;

	memset(kbc->ram, 0, sizeof(kbc->ram));
	if (kbc->config.keyboard)
		kbc->ram[0] = BYTE_FIRMWARE;
	kbc->status = kbc->output = 0;
	kbc->command = CMD_NONE;
	kbc->output_port = OUTPUT_RUN | OUTPUT_A20;
	kbc->released = false;
	kbc->byte_at = ALARM_NONE;
	ps2kbd_reset(&kbc->kbd);
	update_line(kbc);
	listen(kbc);
}

/* --- State --- */

static const struct field i8042_fields[] = {
	FIELD_ARRAY(i8042, ram, 1),   FIELD(i8042, status, 1),      FIELD(i8042, output, 1),
	FIELD(i8042, output_port, 1), FIELD(i8042, command, 1),     FIELD(i8042, released, 2),
	FIELD(i8042, byte_at, 2),     PS2KBD_FIELDS(i8042, kbd, 2), FIELD_END
};

static int i8042_loaded(struct device *dev, struct fail *why)
{
	struct i8042 *kbc = (struct i8042 *)dev;

	if (kbc->status & ~(STATUS_OBF | STATUS_A2 | STATUS_TIMEOUT))
		return fail(why, -EINVAL, "%s: impossible status", dev->id);
	if (kbc->command && !takes_byte(kbc->command))
		return fail(why, -EINVAL, "%s: no byte follows command 0x%02x", dev->id,
			    kbc->command);
	if (!(kbc->output_port & OUTPUT_RUN))
		return fail(why, -EINVAL, "%s: the processor is held in reset", dev->id);
	if (!ps2kbd_sane(&kbc->kbd))
		return fail(why, -EINVAL, "%s: impossible keyboard", dev->id);
	if (kbc->byte_at != ALARM_NONE && (kbc->byte_at >= CLOCK_END || !ps2kbd_waiting(&kbc->kbd)))
		return fail(why, -EINVAL, "%s: a byte comes out of nowhere", dev->id);
	update_line(kbc);
	listen(kbc);
	return 0;
}

static const struct device_ops i8042_ops = {
	.type = "i8042",
	.reset = i8042_reset,
	.read = i8042_read,
	.write = i8042_write,
	.alarm = i8042_alarm,
	.input = i8042_input,
	.state = i8042_fields,
	.state_version = 2,
	.loaded = i8042_loaded,
};

int i8042_create(struct vm *vm, const struct i8042_config *config, struct device **out,
		 struct fail *why)
{
	struct i8042 *kbc = host_alloc(sizeof(*kbc));
	int err;

	if (!kbc)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	kbc->config = *config;
	device_add(vm, &kbc->dev, &i8042_ops, config->id);
	if (out)
		*out = &kbc->dev;
	err = device_claim_ports(&kbc->dev, REGION_DATA, config->data_port, 1, why);
	return err ? err
		   : device_claim_ports(&kbc->dev, REGION_COMMAND, config->command_port, 1, why);
}
