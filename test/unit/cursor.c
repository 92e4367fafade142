/*
 * cursor.c - tests of cursor.c: what leaves a terminal's cursor in the middle of a line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "control/cursor.c"
#include "test/cmocka.h"

static bool mid_line(const char *text)
{
	struct cursor whole = { 0 }, split = { 0 };

	cursor_follow(&whole, text, strlen(text));
	for (const char *at = text; *at; at++)
		cursor_follow(&split, at, 1);
	assert_int_equal(whole.mid_line, split.mid_line);
	return whole.mid_line;
}

static void test_text(void **state)
{
	(void)state;
	assert_false(mid_line(""));
	assert_true(mid_line("login: "));
	assert_true(mid_line("\xe2\x82\xac"));
	assert_false(mid_line("one\ntwo\n"));
	assert_false(mid_line("one\r\n"));
	assert_false(mid_line("one\n\r"));
	assert_true(mid_line("one\ntwo"));
	assert_true(mid_line("50 %\r"));
	assert_true(mid_line("\t"));
	assert_true(mid_line("x\b"));
	assert_false(mid_line("\a\r\x7f\b\x0f"));
}

static void test_sequences(void **state)
{
	(void)state;
	assert_false(mid_line("one\n\033[0m"));
	assert_false(mid_line("\033[1;31mred\033[0m\r\n"));
	assert_true(mid_line("\033[1;31mred\033[0m"));
	assert_true(mid_line("# \033[6n"));
	assert_false(mid_line("\033[?25h\033[?7l\033[2J"));
	assert_true(mid_line("\033[5;1H"));
	assert_false(mid_line("\033[5;1Hx\n"));
	assert_false(mid_line("\033(B\033)0\0337"));
	assert_true(mid_line("\033(Bx"));
	assert_false(mid_line("\033]0;title\a"));
	assert_false(mid_line("\033]0;title\033\\"));
	assert_true(mid_line("\033]0;title\ax"));
	assert_false(mid_line("x\033[\nm"));
	assert_false(mid_line("\033[31"));
	assert_true(mid_line("\033[31\033[mx"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_sequences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
