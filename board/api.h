/*
 * api.h - the inside of struct trapeze, for the files that implement include/trapeze.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_API_H
#define BOARD_API_H

#include "include/trapeze.h"
#include "machine/vm.h"

struct pc;

struct trapeze {
	struct vm *vm;
	struct pc *pc; /* owns vm; NULL: CPU and memory only, and vm is ours */
	struct trapeze_config config;
};

/* The public form of an error; returns its code. */
int api_error(struct trapeze_error *error, const struct fail *why);

#endif
