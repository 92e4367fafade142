/*
 * debugcon.h - the port on which firmware prints its log.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_DEBUGCON_H
#define DEVICE_DEBUGCON_H

#include <stdint.h>

#include "host/fail.h"
#include "machine/backend.h"

struct vm;

struct debugcon_config {
	const char *id;              /* "debugcon" */
	uint16_t port;               /* 0x402 */
	struct char_backend backend; /* room is never called: nothing is read */
};

/* Adds the port to `vm`. 0; -ENOMEM; -EEXIST when it is taken. */
int debugcon_create(struct vm *vm, const struct debugcon_config *config, struct fail *why);

#endif
