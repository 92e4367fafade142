/*
 * firmware.c - SeaBIOS from power-on, on the text screen and on the serial line.
 *
 * Needs Debian's package seabios.
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/ioctl.h>

#include "test/guest/session.h"

#define IMAGE   "/usr/share/seabios/bios-256k.bin"
#define SECONDS 120 /* a sanitizer build on a busy machine */

/* Starts SeaBIOS; NULL ends the options. */
static void start(struct session *s, const char *const *options)
{
	char *argv[16] = { (char *)session_need("TRAPEZE"),
			   "run",
			   "--engine",
			   (char *)session_engine,
			   "--firmware",
			   IMAGE,
			   "--memory",
			   "32M" };
	unsigned n = 8;

	if (access(IMAGE, R_OK) != 0) {
		print_message("skip - firmware: %s is missing (package seabios)\n", IMAGE);
		skip();
	}
	while (*options)
		argv[n++] = (char *)*options++;
	session_start(s, argv);
}

static void finish(struct session *s)
{
	session_type(s, "\001x");
	assert_int_equal(session_end(s, SECONDS), 0);
	session_check_terminal(s);
	session_close(s);
}

static void test_on_the_screen(void **state)
{
	static const char *const options[] = { "--display", "text", "--boot-menu", NULL };
	struct session s;

	(void)state;
	start(&s, options);
	session_expect(&s, "\033[?7l", SECONDS);
	session_expect(&s, "SeaBIOS (version ", SECONDS);
	session_expect(&s, "Press ESC for boot menu.", SECONDS);
	session_type(&s, "\033");
	session_expect(&s, "Select boot device:", SECONDS);
	session_type(&s, "\001h");
	session_expect(&s, "Ctrl-A x ends", SECONDS);
	session_type(&s, "\001x");
	/* Colors, cursor and line wrap are as they were. */
	session_expect(&s, "\033[0m\033[?25h\033[?7h", SECONDS);
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
}

static void test_nothing_to_boot(void **state)
{
	static const char *const options[] = { "--display", "text", NULL };
	struct session s;

	(void)state;
	start(&s, options);
	session_expect(&s, "Booting from Hard Disk...", SECONDS);
	session_expect(&s, "No bootable device.", SECONDS);
	finish(&s);
}

/* A terminal of 24 rows shows the part where the cursor is; a resize paints again. */
static void test_resize(void **state)
{
	static const char *const options[] = { "--display", "text", NULL };
	struct winsize size = { .ws_row = 3, .ws_col = 60 };
	struct session s;

	(void)state;
	start(&s, options);
	session_expect(&s, "No bootable device.", SECONDS);
	assert_int_equal(ioctl(s.keep, TIOCSWINSZ, &size), 0);
	session_expect(&s, "\033[2J", SECONDS);
	session_expect(&s, "No bootable device.", SECONDS);
	finish(&s);
}

/* However it ends, the terminal gets back its colors, cursor, line wrap and modes. */
static void test_killed(void **state)
{
	static const char *const options[] = { "--display", "text", NULL };
	static const int signals[] = { SIGTERM, SIGSEGV };
	struct session s;
	int status;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		start(&s, options);
		session_expect(&s, "No bootable device.", SECONDS);
		kill(s.pid, SIGTSTP);
		session_expect(&s, "\033[0m\033[?25h\033[?7h", SECONDS);
		/* It stops after the terminal is whole: to look, or to go on, before is too early. */
		assert_int_equal(waitpid(s.pid, &status, WUNTRACED), s.pid);
		assert_true(WIFSTOPPED(status));
		session_check_terminal(&s);
		kill(s.pid, SIGCONT);
		session_expect(&s, "\033[?7l", SECONDS);
		session_expect(&s, "No bootable device.", SECONDS);
		kill(s.pid, signals[i]);
		session_expect(&s, "\033[0m\033[?25h\033[?7h", SECONDS);
		session_end(&s, SECONDS);
		session_check_terminal(&s);
		session_close(&s);
	}
}

static void test_on_the_serial_line(void **state)
{
	static const char *const options[] = { NULL };
	struct session s;

	(void)state;
	start(&s, options);
	session_expect(&s, "SeaBIOS (version ", SECONDS);
	session_expect(&s, "No bootable device.", SECONDS);
	finish(&s);
}

/* What it says on port 402h: it found the fw_cfg, the ACPI tables, the adapter, the keyboard. */
static void test_log(void **state)
{
	static char path[] = "/tmp/trapeze-firmware-XXXXXX";
	static char text[65536];
	const char *options[] = { "--debugcon", path, NULL };
	static const char *const said[] = { "Found QEMU fw_cfg", "DMA interface supported",
					    "ACPI: parse DSDT",  "Start SeaVGABIOS",
					    "set VGA mode 3",    "PS2 keyboard initialized" };
	struct session s;
	FILE *f;

	(void)state;
	close(mkstemp(path));
	start(&s, options);
	session_expect(&s, "No bootable device.", SECONDS);
	finish(&s);
	f = fopen(path, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	unlink(path);
	for (unsigned i = 0; i < sizeof(said) / sizeof(said[0]); i++)
		if (!strstr(text, said[i])) {
			print_error("SeaBIOS did not say \"%s\":\n%s\n", said[i], text);
			assert_true(false);
		}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_the_screen),
		cmocka_unit_test(test_nothing_to_boot),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_on_the_serial_line),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
