/*
 * options.h - the command line of `trapeze run`, as data.
 *
 * One table (options.c) holds every option: its name, what it takes, its help text.
 * Parsing, `trapeze help run` and the shell completion all read it.
 *
 * Tested by test/api/cli.
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_OPTIONS_H
#define CONTROL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "host/fail.h"
#include "host/host.h"
#include "machine/engine.h"
#include "machine/switch.h"

#define SWITCHES_MAX 64

/* An option that may be given several times. */
#define OPTION_LIST_MAX 16
struct option_list {
	const char *text[OPTION_LIST_MAX];
	unsigned count;
};

struct run_options {
	const char *engine; /* "auto" or a name from engines[] */
	const char *kernel, *initrd, *append, *flat, *firmware;
	uint64_t display; /* enum console_kind */
	const char *debugcon;
	uint64_t memory;       /* bytes */
	enum host_pages pages; /* that it is made of */
	uint64_t cpus;
	bool no_reboot, debug_exit, counted, boot_menu;
	uint64_t slice;   /* instructions; 0: default */
	uint64_t stop_at; /* instructions; UINT64_MAX: never */
	const char *cpu;  /* a name from cpu_models[]; NULL: the best there is */
	struct engine_options engine_options;
	struct switch_point switch_to[SWITCHES_MAX];
	unsigned switches;
	const char *image; /* the disk given without --disk; it is disk.text[0] */
	struct option_list disk, net, share, port;
	const char *on_enospc; /* "stop", "report" */
	const char *vsock;
	const char *stats;
	const char *perf_map; /* "": where perf looks */
	unsigned trace;       /* TRACE_BIT_* mask */
};

/* Fills *o from the words after "run". -EINVAL with a sentence: exit status 2. */
int options_parse_run(struct run_options *o, int argc, char **argv, struct fail *why);

/* "16K", "512M", "2G", "1048576". -EINVAL: not a size, or beyond 64 bits. */
int options_parse_size(const char *text, uint64_t *bytes);

void options_help_run(FILE *to);
/* One option name a line: what the completion script asks for. */
void options_list_run(FILE *to);
/* The topics of --trace, likewise. */
void options_list_trace(FILE *to);

#endif
