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

/* The first engine with all of `caps` (enum engine_cap) that this host can run at a good speed,
 * or NULL with *why of the last. */
const struct engine_ops *engine_auto(unsigned caps, struct fail *why);

/* The one after `now` in a round through those that this host runs at a good speed; NULL: none. */
const struct engine_ops *engine_next(const struct engine_ops *now, unsigned caps);

/* The TSC frequency at which a machine can run on every engine of this host; 0: any. */
uint64_t engines_tsc_khz(void);
/* Do a guest's hypercalls come out of every engine that this host runs at a good speed? */
bool engines_hypercalls(void);

#endif
