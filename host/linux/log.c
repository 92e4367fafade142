/*
 * log.c - what the monitor says on standard error, on Linux.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/host.h"

static atomic_bool mid_line;

void host_log_mid_line(bool unfinished)
{
	atomic_store(&mid_line, unfinished);
}

bool host_log_is_mid_line(void)
{
	return atomic_load(&mid_line);
}

static void put(const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(STDERR_FILENO, text, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens: not a reason to stop a guest */
		text += n;
		bytes -= (size_t)n;
	}
}

void host_log(const char *text, size_t bytes)
{
	if (bytes > 0 && atomic_exchange(&mid_line, false))
		put("\n", 1);
	put(text, bytes);
}

void host_warn(const char *fmt, ...)
{
	char line[512] = "trapeze: ";
	size_t n = strlen(line);
	va_list ap;
	int m;

	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n += (size_t)m < sizeof(line) - n - 1 ? (size_t)m : sizeof(line) - n - 2;
	line[n++] = '\n';
	host_log(line, n);
}
