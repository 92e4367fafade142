/*
 * ticks.h - exact conversion between virtual nanoseconds and a chip's own clock.
 *
 * A chip never counts: it asks how many periods of its crystal have passed since
 * virtual time 0. Both directions are one multiplication and one division in 128
 * bits, so nothing accumulates and nothing drifts.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_TICKS_H
#define DEVICE_TICKS_H

#include <stdint.h>

#include "machine/clock.h"

#define NS_PER_S UINT64_C(1000000000)

/* Whole periods of an `hz` clock in `ns` nanoseconds. */
static inline uint64_t ticks_at(uint64_t ns, uint32_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / NS_PER_S);
}

/* The first nanosecond at which ticks_at() is `tick`; ALARM_NONE when beyond time's end. */
static inline uint64_t ticks_to_ns(uint64_t tick, uint32_t hz)
{
	unsigned __int128 ns = ((unsigned __int128)tick * NS_PER_S + hz - 1) / hz;

	return ns < ALARM_NONE ? (uint64_t)ns : ALARM_NONE;
}

#endif
