/*
 * engines.h - the engines in this build.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_ENGINES_H
#define BOARD_ENGINES_H

#include "machine/engine.h"

/* NULL-terminated, best first. */
extern const struct engine_ops *const engines[];

const struct engine_ops *engine_find(const char *name); /* NULL: no such engine */

/* The first engine that this host can run, or NULL with *why of the last. */
const struct engine_ops *engine_auto(struct fail *why);

#endif
