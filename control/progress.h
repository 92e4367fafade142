/*
 * progress.h - a bar on the terminal for what takes a while; nothing where there is no terminal.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_PROGRESS_H
#define CONTROL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	uint64_t all, shown_ns, began_ns;
	bool on;
};

void progress_begin(struct progress *p, uint64_t all);
/* `done` of all bytes; drawn at most ten times a second. */
void progress_show(struct progress *p, uint64_t done);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
