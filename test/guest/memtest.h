/*
 * memtest.h - memtest86+ at the screen and the keyboard: chooses tests, waits for a pass.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_MEMTEST_H
#define TEST_MEMTEST_H

#include "test/guest/package.h"

#define MEMTEST_F1  "\033OP"
#define MEMTEST_F2  "\033OQ"
#define MEMTEST_F3  "\033OR"
#define MEMTEST_F10 "\033[21~"

#define MEMTEST_WAIT 60 /* seconds for its screen to change */

static inline void memtest_start(struct session *s, const char *memory)
{
	static char kernel[4096];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)session_engine,
			 "--kernel",
			 kernel,
			 "--memory",
			 (char *)memory,
			 "--display",
			 "text",
			 NULL };

	package_file(kernel, sizeof(kernel), "memtest86+", "boot/memtest86+x64.bin");
	session_start(s, argv);
	session_expect(s, "Memtest86", MEMTEST_WAIT); /* the + has a color of its own */
	session_expect(s, "Press <F1> to configure", MEMTEST_WAIT);
	session_type(s, MEMTEST_F1);
	session_expect(s, "Test selection", MEMTEST_WAIT);
	session_type(s, MEMTEST_F1);
	session_expect(s, "Clear selection", MEMTEST_WAIT);
}

/* Adds (F3) or removes (F2) a test; then the list of tests from 0 to 10 is `chosen`. */
static inline void memtest_change(struct session *s, const char *key, const char *test,
				  const char *chosen)
{
	session_type(s, key);
	session_type(s, test);
	session_type(s, "\r");
	session_expect(s, chosen, MEMTEST_WAIT);
}

/* Runs one pass, at most `seconds`, which finds no error; then ends the machine. */
static inline void memtest_pass(struct session *s, double seconds)
{
	session_type(s, MEMTEST_F10);
	session_expect(s, "Test selection", MEMTEST_WAIT);
	session_type(s, MEMTEST_F10);
	session_expect(s, "Status: Testing", MEMTEST_WAIT);
	session_expect(s, "Pass:  1        Errors: 0 ", seconds);
	session_type(s, "\001x");
	assert_int_equal(session_end(s, MEMTEST_WAIT), 0);
	session_check_terminal(s);
	session_close(s);
}

#endif
