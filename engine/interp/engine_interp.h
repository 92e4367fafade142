/*
 * engine_interp.h - the interpreter, as the board's list of engines sees it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_ENGINE_INTERP_H
#define ENGINE_INTERP_ENGINE_INTERP_H

#include "machine/engine.h"

/* The reference: decodes and executes one instruction at a time, counts them exactly. */
extern const struct engine_ops interp_ops;

#endif
