/*
 * perf_map.h - a map of generated code for perf(1): which address range is what.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_PERF_MAP_H
#define CONTROL_PERF_MAP_H

#include "host/fail.h"
#include "machine/engine.h"

/*
 * Opens the file before anything starts, and has the engines of these options write to it: a line
 * for each piece of code, "START SIZE NAME" in hexadecimal. Where a later line overlaps an earlier
 * one, the earlier code is gone. path: NULL does nothing, "" is where perf looks,
 * /tmp/perf-PID.map. 0, or -E* and *why.
 */
int perf_map_open(const char *path, struct engine_options *options, struct fail *why);
/* After the machine is closed. */
void perf_map_close(struct engine_options *options);

#endif
