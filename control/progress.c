/*
 * progress.c - the bar of progress.h, on standard error.
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/host.h"

#define BAR_WIDTH  40u
#define BETWEEN_NS UINT64_C(100000000)
#define CLEAR_LINE "\r\033[K"

void progress_begin(struct progress *p, uint64_t all)
{
	const char *term = getenv("TERM");

	*p = (struct progress){ .all = all,
				.began_ns = host_monotonic_ns(),
				.on = isatty(STDERR_FILENO) &&
				      !(term && strcmp(term, "dumb") == 0) };
}

void progress_show(struct progress *p, uint64_t done)
{
	uint64_t now = p->on ? host_monotonic_ns() : 0, taken = now - p->began_ns;
	unsigned full = p->all ? (unsigned)((double)done / (double)p->all * BAR_WIDTH) : BAR_WIDTH;
	double rate = taken ? (double)done / 1048576.0 / ((double)taken / 1e9) : 0;
	char bar[BAR_WIDTH + 1];

	if (!p->on || now - p->shown_ns < BETWEEN_NS)
		return;
	p->shown_ns = now;
	for (unsigned i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %3u%%  %.0f MiB/s\033[K", bar,
		p->all ? (unsigned)((double)done * 100 / (double)p->all) : 100, rate);
}

void progress_end(struct progress *p)
{
	if (p->on && p->shown_ns)
		fputs(CLEAR_LINE, stderr);
	p->on = false;
}
