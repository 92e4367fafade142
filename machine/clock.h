/*
 * clock.h - the gate through which time enters a machine.
 *
 * Virtual time is nanoseconds since the machine was powered on. It has two
 * sources: REAL, the host's monotonic clock less the time spent paused, where the
 * host's time-stamp counter can be relied upon read from that; and COUNTED, one nanosecond a
 * retired instruction, whichever vCPU's, plus the time skipped while halted or in a storm
 * (machine/storm.h). Devices cannot tell which. Alarms fire on the vCPU thread at instruction
 * boundaries, in order of time, then of setting.
 *
 * The guest's time-stamp counter is virtual time times tsc_khz / 10^6.
 *
 * Tested by test/unit/clock.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_CLOCK_H
#define MACHINE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALARM_NONE UINT64_MAX
/* 146 years: an alarm set for later is never due, so no sum of times wraps. */
#define CLOCK_END (UINT64_C(1) << 62)

struct clock;

struct alarm {
	uint64_t at;    /* virtual ns; ALARM_NONE: not set */
	uint64_t order; /* ties: first set, first fired */
	void (*fn)(void *arg, uint64_t now);
	void *arg;
	struct alarm *prev, *next; /* clock's sorted list */
};

enum clock_source { CLOCK_SOURCE_REAL, CLOCK_SOURCE_COUNTED };

/*
 * REAL: the guest's time-stamp counter is a line over the host's: ticks + (h - host) * scale / 2^32
 * for a host counter h of which h - host < limit. Beyond, or while `version` is odd, ask
 * clock_tsc(), which draws it anew. A reader that finds the same even version before and
 * after has read a whole one. An engine's own code may do as clock_tsc() does.
 */
struct clock_line {
	atomic_uint version;
	_Atomic uint64_t host, limit, scale, ticks; /* limit 0: no line */
	/* Of who draws it: the two clocks at one moment from which their rate is measured. */
	uint64_t from_host, from_ns, rate;
	bool steady; /* may there be one? */
};

struct clock {
	enum clock_source source;
	uint64_t tsc_khz;      /* set before the clock is first read */
	uint64_t wall_base_ns; /* wall-clock ns (since 1970 UTC) at virtual time 0 */
	/* COUNTED: time jumped over while halted, and the instructions of others than those that
	 * `instructions` counts; modulo 2^64 */
	uint64_t skipped_ns;
	uint64_t real_base_ns; /* REAL: host monotonic ns that is virtual time 0 */
	struct clock_line line;
	const uint64_t *instructions; /* COUNTED: the count time is derived from */
	uint64_t next_order;
	struct alarm *first;
	atomic_ullong soonest;      /* its time, or ALARM_NONE: may be looked at without a lock */
	void (*earlier)(void *arg); /* told when `first` becomes an earlier alarm */
	void *earlier_arg;
};

void clock_init(struct clock *c, enum clock_source source, const uint64_t *instructions);
/* Any thread. */
uint64_t clock_now(struct clock *c);
uint64_t clock_tsc(struct clock *c);
/* Virtual time of the next alarm, or ALARM_NONE. Any thread. */
uint64_t clock_next(const struct clock *c);
void clock_set_alarm(struct clock *c, struct alarm *a, uint64_t at);
/* Fires every alarm due now. Returns how many fired. */
unsigned clock_fire(struct clock *c);
/* COUNTED: time goes on from where it is by another counter. */
void clock_count(struct clock *c, const uint64_t *instructions);
/* COUNTED: moves time forward to `at` (no effect when past). */
void clock_skip_to(struct clock *c, uint64_t at);
/* Virtual time becomes `now`: after loading a saved machine, or a reset of the counter. */
void clock_restore(struct clock *c, uint64_t now);
/* Virtual ns at which the time-stamp counter reaches `tsc` (rounded up, saturating). */
uint64_t clock_tsc_to_ns(const struct clock *c, uint64_t tsc);

#endif
