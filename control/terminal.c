/*
 * terminal.c - raw mode, restored on every way out (see terminal.h).
 *
 * tcsetattr() is async-signal-safe, so the crash handlers may call it before they
 * let the default action happen.
 *
 * Tested by test/guest/boot.c, test/guest/console.c.
 * SPDX-License-Identifier: MIT
 */
#include "control/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define FAREWELL_MS 200

static struct termios before, raw;
static volatile sig_atomic_t is_raw;
static const char *volatile farewell;

void terminal_farewell(const char *text)
{
	farewell = text;
}

static void say_farewell(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	const char *text = farewell;

	farewell = NULL;
	/* A terminal that takes nothing does not keep us. */
	if (text && poll(&p, 1, FAREWELL_MS) == 1 && write(STDOUT_FILENO, text, strlen(text)) < 0)
		return; /* nobody looks */
}

bool terminal_size(unsigned *rows, unsigned *columns)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col || !size.ws_row)
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}

bool terminal_shared(void)
{
	struct stat out, err;

	return isatty(STDOUT_FILENO) && fstat(STDOUT_FILENO, &out) == 0 &&
	       fstat(STDERR_FILENO, &err) == 0 && S_ISCHR(err.st_mode) &&
	       out.st_rdev == err.st_rdev;
}

void terminal_restore(void)
{
	say_farewell();
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &before);
	is_raw = 0;
}

static void crashed(int signo)
{
	terminal_restore();
	signal(signo, SIG_DFL);
	raise(signo);
}

static void catch_crashes(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS,    SIGILL,  SIGFPE,  SIGABRT, SIGSYS,
				     SIGTRAP, SIGXCPU,   SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM,
				     SIGPROF, SIGSTKFLT, SIGIO,   SIGPWR };
	struct sigaction sa = { .sa_handler = crashed, .sa_flags = SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &sa, NULL);
}

bool terminal_raw(void)
{
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)
		return false;
	raw = before;
	cfmakeraw(&raw);
	/* Output processing stays: our own messages and the guest's both end lines properly. */
	raw.c_oflag |= OPOST;
	catch_crashes();
	atexit(terminal_restore);
	is_raw = 1;
	/* In the background this waits to be called to the foreground (SIGTTOU). */
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	return true;
}

void terminal_claim(void)
{
	if (!is_raw)
		terminal_continue();
}

void terminal_continue(void)
{
	pid_t owner = tcgetpgrp(STDIN_FILENO);

	/* Continued in the background: the terminal is somebody else's. */
	is_raw = owner < 0 || owner == getpgrp();
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}
