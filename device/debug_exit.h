/*
 * debug_exit.h - a port by which a test guest ends the run with a status.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_DEBUG_EXIT_H
#define DEVICE_DEBUG_EXIT_H

#include <stdint.h>

#include "host/fail.h"

struct vm;

struct debug_exit_config {
	const char *id; /* "debug-exit" */
	uint16_t port;  /* first of four, so that OUT of any width is one access */
};

/* Adds the port to `vm`. 0; -ENOMEM; -EEXIST when a port is taken. */
int debug_exit_create(struct vm *vm, const struct debug_exit_config *config, struct fail *why);

#endif
