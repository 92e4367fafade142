/*
 * engine_bt.h - engine bt, as board/engines.c names it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_ENGINE_BT_H
#define ENGINE_BT_ENGINE_BT_H

#include "machine/engine.h"

extern const struct engine_ops bt_ops;

#endif
