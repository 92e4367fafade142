/*
 * keys.c - tests of keys.c: what a terminal sends, as keys.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "control/keys.c"
#include "test/cmocka.h"

/* The keys of `text` as "+1e-1e": scan codes going down and up. */
static const char *keys(const char *text, size_t bytes, bool ended)
{
	static char result[2000];
	const uint8_t *in = (const uint8_t *)text;
	struct ps2_event events[KEYS_EVENTS_MAX];
	size_t used, count;
	char *to = result;

	*to = '\0';
	for (; bytes > 0; bytes -= used, in += used) {
		used = keys_decode(in, bytes, ended, events, &count);
		assert_true(used <= bytes && count <= KEYS_EVENTS_MAX);
		if (used == 0) {
			strcpy(to, "...");
			break;
		}
		for (size_t i = 0; i < count; i++)
			to += sprintf(to, "%c%02x", events[i].down ? '+' : '-', events[i].key);
	}
	return result;
}
#define KEYS(text) keys(text, sizeof(text) - 1, false)

static void test_characters(void **state)
{
	(void)state;
	assert_string_equal(KEYS("a"), "+1e-1e");
	assert_string_equal(KEYS("A"), "+2a+1e-1e-2a");
	assert_string_equal(KEYS("0)"), "+0b-0b+2a+0b-0b-2a");
	assert_string_equal(KEYS("\\|/?"), "+2b-2b+2a+2b-2b-2a+35-35+2a+35-35-2a");
	assert_string_equal(KEYS(" `\"m"), "+39-39+29-29+2a+28-28-2a+32-32");
	assert_string_equal(KEYS("\r\t\x7f\b"), "+1c-1c+0f-0f+0e-0e+0e-0e");
}

static void test_every_printing_character_has_a_key(void **state)
{
	(void)state;
	for (char c = ' '; c < 0x7f; c++)
		assert_true(strlen(keys(&c, 1, true)) >= 6);
}

static void test_modifiers(void **state)
{
	(void)state;
	assert_string_equal(KEYS("\x03"), "+1d+2e-2e-1d");
	assert_string_equal(KEYS("\x1f"), "+1d+2a+0c-0c-2a-1d");
	assert_string_equal(keys("\0", 1, false), "+1d+39-39-1d");
	assert_string_equal(KEYS("\033x"), "+38+2d-2d-38");
	assert_string_equal(KEYS("\033[1;5C"), "+1d+cd-cd-1d");
	assert_string_equal(KEYS("\033[3;8~"), "+1d+38+2a+d3-d3-2a-38-1d");
}

static void test_sequences(void **state)
{
	(void)state;
	assert_string_equal(KEYS("\033[A\033OB"), "+c8-c8+d0-d0");
	assert_string_equal(KEYS("\033OP\033[15~\033[24~\033[[A"), "+3b-3b+3f-3f+58-58+3b-3b");
	assert_string_equal(KEYS("\033[5~\033[H"), "+c9-c9+c7-c7");
	assert_string_equal(KEYS("\033[99~\033[<1;2;3Mz"), "+2c-2c"); /* no key of ours */
	assert_string_equal(KEYS("\xc3\xa4z"), "+2c-2c");
}

/* Is it the Escape key, or does something follow? */
static void test_escape(void **state)
{
	(void)state;
	assert_string_equal(KEYS("\033"), "...");
	assert_string_equal(keys("\033", 1, true), "+01-01");
	assert_string_equal(KEYS("\033["), "...");
	assert_string_equal(keys("\033[", 2, true), "+38+1a-1a-38");
	assert_string_equal(KEYS("\033[1;"), "...");
	assert_string_equal(keys("\033[1;", 4, true), "");
	assert_string_equal(KEYS("\033\033[A"), "+01-01+c8-c8");
}

/* Anything ends, whatever it is. */
static void test_noise(void **state)
{
	uint64_t seed = 88172645463325252u;
	char text[40];

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < sizeof(text); i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			text[i] = "\033[O;~0159AaZ\xff"[seed % 13];
		}
		keys(text, sizeof(text), true);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_characters),
		cmocka_unit_test(test_every_printing_character_has_a_key),
		cmocka_unit_test(test_modifiers),
		cmocka_unit_test(test_sequences),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
