/*
 * ps2kbd.c - the PS/2 keyboard on the end of the i8042's wire.
 *
 * A key has a number in each scan code set. Set 2 is what keyboards send; set 1, of the
 * first PC, is what software sees, because the controller translates. So there is one
 * table, the controller's, and set 2 is found by searching it backwards.
 *
 * Answers to commands go before keys. A key is turned into bytes when its turn has come,
 * by the set that holds then.
 *
 * Not modelled: repeating of a key held down, set 3, the Pause and Print Screen keys' own
 * sequences, a second id for NumLock's state.
 *
 * Spec: IBM PS/2 Hardware Interface Technical Reference, "101- and 102-key keyboard".
 * Tested by test/device/i8042.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/ps2kbd.h"

#include <string.h>

/* clang-format off */
enum {
	SET_LEDS = 0xed, ECHO = 0xee, SCAN_SET = 0xf0, READ_ID = 0xf2, SET_REPEAT = 0xf3,
	ENABLE = 0xf4, DISABLE = 0xf5, DEFAULTS = 0xf6, ALL_FIRST = 0xf7, ALL_LAST = 0xfa,
	RESEND = 0xfe, RESET = 0xff,
};
/* clang-format on */

#define ACK            0xfa
#define NAK            0xfe /* "resend": no such command */
#define TEST_OK        0xaa
#define ID_FIRST       0xab
#define ID_SECOND      0x83
#define RELEASE        0xf0
#define PREFIX         0xe0
#define BREAK          0x80 /* bit of a released key in set 1 */
#define REPEAT_DEFAULT 0x2b /* 10.9 a second after 500 ms */

static const uint8_t set2_to_set1[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
	0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
	0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
	0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
	0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
	0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
	0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

uint8_t ps2_translate(uint8_t byte)
{
	if (byte < sizeof(set2_to_set1))
		return set2_to_set1[byte];
	return byte == 0x83 ? 0x41 : byte == 0x84 ? 0x54 : byte; /* F7 and SysRq */
}

static uint8_t set2_of(uint8_t set1)
{
	if (set1 == 0x41)
		return 0x83;
	for (unsigned i = 0; i < sizeof(set2_to_set1); i++)
		if (set2_to_set1[i] == set1)
			return (uint8_t)i;
	return 0;
}

/* --- Keys --- */

static void defaults(struct ps2kbd *k)
{
	k->set = 2;
	k->repeat = REPEAT_DEFAULT;
	k->events = k->codes = 0;
	k->scanning = true;
}

void ps2kbd_reset(struct ps2kbd *k)
{
	memset(k, 0, sizeof(*k));
	defaults(k);
}

static bool is_key(uint8_t key)
{
	key &= (uint8_t)~PS2_EXTENDED;
	return key >= 1 && key <= PS2_KEY_MAX;
}

bool ps2kbd_sane(const struct ps2kbd *k)
{
	for (unsigned i = 0; i < PS2_EVENTS; i++)
		if (k->event_down[i] > 1 || (k->event_key[i] && !is_key(k->event_key[i])))
			return false;
	if (k->command && k->command != SET_LEDS && k->command != SCAN_SET &&
	    k->command != SET_REPEAT)
		return false;
	return k->event_first < PS2_EVENTS && k->events <= PS2_EVENTS && k->replies <= PS2_REPLY &&
	       k->codes <= PS2_CODE && (k->set == 1 || k->set == 2);
}

void ps2kbd_event(struct ps2kbd *k, struct ps2_event event)
{
	unsigned at = (k->event_first + k->events) % PS2_EVENTS;

	if (k->events == PS2_EVENTS || !k->scanning || !is_key(event.key))
		return;
	k->event_key[at] = event.key;
	k->event_down[at] = event.down != 0;
	k->events++;
}

/* The next event becomes bytes in code[]. */
static void encode(struct ps2kbd *k)
{
	uint8_t key = k->event_key[k->event_first], *to = k->code;
	bool down = k->event_down[k->event_first];
	uint8_t set1 = key & (uint8_t)~PS2_EXTENDED;

	k->event_first = (uint8_t)((k->event_first + 1) % PS2_EVENTS);
	k->events--;
	if (key & PS2_EXTENDED)
		*to++ = PREFIX;
	if (k->set == 1) {
		*to++ = set1 | (down ? 0 : BREAK);
	} else {
		if (!down)
			*to++ = RELEASE;
		*to++ = set2_of(set1);
	}
	k->codes = (uint8_t)(to - k->code);
}

bool ps2kbd_waiting(const struct ps2kbd *k)
{
	return k->replies || k->codes || (k->events && k->scanning);
}

static uint8_t shift(uint8_t *bytes, uint8_t *count)
{
	uint8_t first = bytes[0];

	memmove(bytes, bytes + 1, --*count);
	return first;
}

uint8_t ps2kbd_next(struct ps2kbd *k)
{
	if (k->replies) {
		k->last = shift(k->reply, &k->replies);
		return k->last;
	}
	if (!k->codes)
		encode(k);
	k->last = shift(k->code, &k->codes);
	return k->last;
}

/* --- Commands --- */

static void reply(struct ps2kbd *k, uint8_t byte)
{
	k->reply[k->replies++] = byte;
}

static void parameter(struct ps2kbd *k, uint8_t command, uint8_t byte)
{
	if (command == SCAN_SET && byte > 2) {
		reply(k, NAK);
		return;
	}
	reply(k, ACK);
	switch (command) {
	case SET_LEDS: k->leds = byte & 7; break;
	case SET_REPEAT: k->repeat = byte & 0x7f; break;
	default: /* SCAN_SET */
		if (byte)
			k->set = byte;
		else
			reply(k, k->set);
		break;
	}
}

static void run(struct ps2kbd *k, uint8_t byte)
{
	switch (byte) {
	case ECHO: reply(k, ECHO); return;
	case RESEND: reply(k, k->last); return;
	case SET_LEDS:
	case SCAN_SET:
	case SET_REPEAT: k->command = byte; break;
	case ENABLE: k->scanning = true; break;
	case DISABLE:
		defaults(k);
		k->scanning = false;
		break;
	case RESET:
	case DEFAULTS: defaults(k); break;
	default:
		if (byte != READ_ID && (byte < ALL_FIRST || byte > ALL_LAST)) {
			reply(k, NAK);
			return;
		}
		break;
	}
	reply(k, ACK);
	if (byte == READ_ID) {
		reply(k, ID_FIRST);
		reply(k, ID_SECOND);
	} else if (byte == RESET) {
		k->leds = 0;
		reply(k, TEST_OK);
	}
}

void ps2kbd_command(struct ps2kbd *k, uint8_t byte)
{
	uint8_t command = k->command;

	k->replies = 0;
	k->command = 0;
	/* A command where a parameter belongs ends the first one. */
	if (command && byte < SET_LEDS)
		parameter(k, command, byte);
	else
		run(k, byte);
}
