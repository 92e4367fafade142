/*
 * keys.h - what a terminal sends, as keys of a PC's keyboard.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_KEYS_H
#define CONTROL_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/ps2kbd.h"

/* A key with Ctrl, Alt and Shift around it. */
#define KEYS_EVENTS_MAX 8

/*
 * Turns what `in` begins with into the keys that a person would press for it, on a US keyboard.
 * Returns the bytes used and sets *events (0: no key gives that); or 0 when it may be the
 * beginning of a longer sequence and `ended` is false.
 */
size_t keys_decode(const uint8_t *in, size_t bytes, bool ended,
		   struct ps2_event out[KEYS_EVENTS_MAX], size_t *events);

#endif
