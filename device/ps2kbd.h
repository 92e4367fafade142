/*
 * ps2kbd.h - the PS/2 keyboard on the end of the i8042's wire.
 *
 * Not a device of its own: the controller owns it, asks it for bytes when the wire is
 * free, and saves it with its own fields.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_PS2KBD_H
#define DEVICE_PS2KBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A key is its scan code of set 1, with PS2_EXTENDED when 0xe0 comes before it. */
#define PS2_EXTENDED 0x80
#define PS2_KEY_MAX  0x58

/* One key going down or up; what a user of the keyboard posts, any number at a time. */
struct ps2_event {
	uint8_t key;
	uint8_t down;
};

#define PS2_EVENTS 32 /* that the keyboard holds: more are lost */
#define PS2_REPLY  4  /* bytes of the longest answer to a command, and one */
#define PS2_CODE   3  /* bytes of the longest scan code */

struct ps2kbd {
	/* State, listed by PS2KBD_FIELDS. */
	uint8_t event_key[PS2_EVENTS]; /* ring of events not yet sent */
	uint8_t event_down[PS2_EVENTS];
	uint8_t event_first, events;
	uint8_t reply[PS2_REPLY]; /* to the last command; sent first */
	uint8_t replies;
	uint8_t code[PS2_CODE]; /* rest of the scan code being sent */
	uint8_t codes;
	uint8_t command; /* waits for its parameter, or 0 */
	uint8_t set;     /* 1 or 2 */
	uint8_t leds;
	uint8_t repeat; /* typematic rate and delay: kept, not followed */
	uint8_t last;   /* byte sent last, for RESEND */
	bool scanning;
};

/* Rows of the owner's field table, for its member `kbd`. */
#define PS2KBD_FIELDS(type, kbd, since)                                                            \
	FIELD_ARRAY(type, kbd.event_key, since), FIELD_ARRAY(type, kbd.event_down, since),         \
		FIELD(type, kbd.event_first, since), FIELD(type, kbd.events, since),               \
		FIELD_ARRAY(type, kbd.reply, since), FIELD(type, kbd.replies, since),              \
		FIELD_ARRAY(type, kbd.code, since), FIELD(type, kbd.codes, since),                 \
		FIELD(type, kbd.command, since), FIELD(type, kbd.set, since),                      \
		FIELD(type, kbd.leds, since), FIELD(type, kbd.repeat, since),                      \
		FIELD(type, kbd.last, since), FIELD(type, kbd.scanning, since)

void ps2kbd_reset(struct ps2kbd *k);
/* Loaded fields are possible. */
bool ps2kbd_sane(const struct ps2kbd *k);
/* The host sent a byte; whatever was being answered before is forgotten. */
void ps2kbd_command(struct ps2kbd *k, uint8_t byte);
/* A key moved. Lost when there is no room, or when the keyboard does not scan. */
void ps2kbd_event(struct ps2kbd *k, struct ps2_event event);
/* Is there a byte to send? */
bool ps2kbd_waiting(const struct ps2kbd *k);
/* Takes it; only when there is one. */
uint8_t ps2kbd_next(struct ps2kbd *k);

/* The scan code of set 1 for a byte of set 2, as the controller translates; 0xf0 not included. */
uint8_t ps2_translate(uint8_t byte);

#endif
