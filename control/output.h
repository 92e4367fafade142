/*
 * output.h - a file that appears whole or not at all, whatever ends the program.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_OUTPUT_H
#define CONTROL_OUTPUT_H

#include <limits.h>
#include <stdbool.h>

#include "host/fail.h"

struct output {
	int fd; /* write here */
	char path[PATH_MAX];
	char temporary[PATH_MAX]; /* empty: it has no name yet */
	bool replace;
};

/* A new file in the directory of `path`, without a name. -EEXIST unless `replace`; an image that is
 * in use is never replaced. */
int output_open(struct output *o, const char *path, bool replace, struct fail *why);
/* What was written is on the medium, and `path` is it. The descriptor stays open. */
int output_finish(struct output *o, struct fail *why);
/* Closes; without output_finish() nothing is left. */
void output_close(struct output *o);

#endif
