/*
 * stats.h - the figures of a finished run, as JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_STATS_H
#define CONTROL_STATS_H

#include "host/fail.h"
#include "machine/vm.h"

struct stats_file {
	const char *path;
	int fd;
	bool standard; /* standard output: what is there is the guest's */
	bool created; /* by us, and nothing is in it yet */
	uint64_t host_start_ns, cpu_start_ns;
};

/* Opens the file before anything starts, so that a bad name is an early error. */
int stats_open(struct stats_file *f, const char *path, struct fail *why);
/* Writes the statistics of `vm`. `ended`: why the run ended, one word. */
int stats_write(struct stats_file *f, struct vm *vm, const char *ended, struct fail *why);
void stats_close(struct stats_file *f);

#endif
