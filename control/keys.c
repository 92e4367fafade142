/*
 * keys.c - what a terminal sends, as keys of a PC's keyboard.
 *
 * A terminal sends characters, and for keys without one an escape sequence; that a key was
 * released it never says. So each becomes a key pressed and released at once, with
 * the modifiers it needs pressed before and released after. An Escape that nothing follows
 * is the Esc key, and before a character it means Alt.
 *
 * Not modelled: layouts but US, characters beyond ASCII.
 *
 * Spec: ECMA-48 8.3 and xterm's ctlseqs (PC-style function keys). Tested by test/unit/keys.c.
 * SPDX-License-Identifier: MIT
 */
#include "control/keys.h"

#include <string.h>

#define EXT(code) ((code) | PS2_EXTENDED)

enum { ESC_KEY = 0x01, BACKSPACE = 0x0e, TAB = 0x0f, ENTER = 0x1c, SPACE = 0x39 };
enum { CTRL_KEY = 0x1d, SHIFT_KEY = 0x2a, ALT_KEY = 0x38 };
enum { MOD_SHIFT = 1, MOD_ALT = 2, MOD_CTRL = 4 }; /* xterm's parameter less 1 */

#define ESCAPE 0x1b
#define DELETE 0x7f

/* The keys of a row, from scan code `first` on: unshifted, then shifted characters. */
static const struct {
	uint8_t first;
	const char *plain, *shifted;
} rows[] = {
	{0x02,  "1234567890-=", "!@#$%^&*()_+" },
	{ 0x10, "qwertyuiop[]", "QWERTYUIOP{}" },
	{ 0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
	{ 0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"  },
};

/* ESC [ number ~ */
static const struct {
	uint8_t number, key;
} tilde[] = {
	{1,   EXT(0x47)},
        { 2,  EXT(0x52)},
        { 3,  EXT(0x53)},
        { 4,  EXT(0x4f)},
        { 5,  EXT(0x49)},
	{ 6,  EXT(0x51)},
        { 7,  EXT(0x47)},
        { 8,  EXT(0x4f)},
        { 11, 0x3b     },
        { 12, 0x3c     },
	{ 13, 0x3d     },
        { 14, 0x3e     },
        { 15, 0x3f     },
        { 17, 0x40     },
        { 18, 0x41     },
	{ 19, 0x42     },
        { 20, 0x43     },
        { 21, 0x44     },
        { 23, 0x57     },
        { 24, 0x58     },
};

/* ESC [ letter, ESC O letter */
static const struct {
	char letter;
	uint8_t key;
} letters[] = {
	{'A',  EXT(0x48)},
        { 'B', EXT(0x50)},
        { 'C', EXT(0x4d)},
        { 'D', EXT(0x4b)},
	{ 'H', EXT(0x47)},
        { 'F', EXT(0x4f)},
        { 'P', 0x3b     },
        { 'Q', 0x3c     },
	{ 'R', 0x3d     },
        { 'S', 0x3e     },
};

struct press {
	struct ps2_event *out;
	size_t *events;
};

static void put(struct press p, uint8_t key, bool down)
{
	p.out[(*p.events)++] = (struct ps2_event){ .key = key, .down = down };
}

static void press(struct press p, uint8_t key, unsigned modifiers)
{
	static const struct {
		unsigned modifier;
		uint8_t key;
	} held[] = {
		{MOD_CTRL,   CTRL_KEY },
                { MOD_ALT,   ALT_KEY  },
                { MOD_SHIFT, SHIFT_KEY}
	};

	for (unsigned i = 0; i < 3; i++)
		if (modifiers & held[i].modifier)
			put(p, held[i].key, true);
	put(p, key, true);
	put(p, key, false);
	for (unsigned i = 3; i-- > 0;)
		if (modifiers & held[i].modifier)
			put(p, held[i].key, false);
}

/* The key of a printing character, and whether it needs Shift; 0: none. */
static uint8_t key_of(char c, unsigned *modifiers)
{
	for (unsigned i = 0; c && i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *at = strchr(rows[i].plain, c);

		if (at)
			return (uint8_t)(rows[i].first + (at - rows[i].plain));
		at = strchr(rows[i].shifted, c);
		if (at) {
			*modifiers |= MOD_SHIFT;
			return (uint8_t)(rows[i].first + (at - rows[i].shifted));
		}
	}
	return c == ' ' ? SPACE : 0;
}

static void character(struct press p, uint8_t c, unsigned modifiers)
{
	static const struct {
		uint8_t c, key;
	} special[] = {
		{ESCAPE,  ESC_KEY  },
                { '\b',   BACKSPACE},
                { DELETE, BACKSPACE},
		{ '\t',   TAB      },
                { '\r',   ENTER    },
                { '\n',   ENTER    },
	};
	uint8_t key = 0;

	for (unsigned i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (c == special[i].c)
			key = special[i].key;
	if (!key && c < ' ') { /* a control character: 0 is Ctrl-Space, 1 is Ctrl-A */
		modifiers |= MOD_CTRL;
		c = c ? c | 0x40 : ' ';
		c = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
	}
	if (!key)
		key = key_of((char)c, &modifiers);
	if (key)
		press(p, key, modifiers);
}

/* The key that ends in `last`, after parameters; 0: none. */
static uint8_t sequence_key(uint8_t last, unsigned number)
{
	if (last == '~') {
		for (unsigned i = 0; i < sizeof(tilde) / sizeof(tilde[0]); i++)
			if (tilde[i].number == number)
				return tilde[i].key;
		return 0;
	}
	for (unsigned i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
		if (letters[i].letter == (char)last)
			return letters[i].key;
	return 0;
}

/* ESC [ parameters letter, or ESC O letter. Returns the bytes used; 0: it goes on. */
static size_t sequence(struct press p, const uint8_t *in, size_t bytes)
{
	unsigned parameter[2] = { 0, 0 }, n = 0;
	bool linux_f = bytes > 2 && in[1] == '[' && in[2] == '['; /* F1 to F5 of Linux' console */
	uint8_t key;

	for (size_t i = linux_f ? 3 : 2; i < bytes; i++) {
		uint8_t c = in[i];

		if (c >= '0' && c <= '9') {
			parameter[n] = (parameter[n] * 10 + (c - '0')) & 0xff;
			continue;
		}
		if (c == ';') {
			n = 1;
			continue;
		}
		if (c < 0x40) /* parameters and intermediates that no key has */
			continue;
		if (linux_f)
			key = c >= 'A' && c <= 'E' ? (uint8_t)(0x3b + (c - 'A')) : 0;
		else
			key = sequence_key(c, parameter[0]);
		if (key)
			press(p, key, parameter[1] ? (parameter[1] - 1) & 7 : 0);
		return i + 1;
	}
	return 0;
}

size_t keys_decode(const uint8_t *in, size_t bytes, bool ended,
		   struct ps2_event out[KEYS_EVENTS_MAX], size_t *events)
{
	struct press p = { .out = out, .events = events };

	*events = 0;
	if (in[0] != ESCAPE || (bytes == 1 && ended)) {
		character(p, in[0], 0);
		return 1;
	}
	if (bytes == 1)
		return 0;
	if (in[1] == ESCAPE) { /* the first is a key of its own */
		character(p, ESCAPE, 0);
		return 1;
	}
	if (in[1] != '[' && in[1] != 'O') {
		character(p, in[1], MOD_ALT);
		return 2;
	}
	if (bytes == 2 && ended) {
		character(p, in[1], MOD_ALT);
		return 2;
	}
	size_t used = sequence(p, in, bytes);
	return !used && ended ? bytes : used;
}
