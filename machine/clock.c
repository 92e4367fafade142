/*
 * clock.c - virtual time and alarms (see clock.h for the idea).
 *
 * Alarms are a sorted list: a machine has about ten, and nearly every change is
 * at the front. The list's order, (time, order of setting), is what makes two
 * counted runs fire them alike.
 *
 * Tested by test/unit/clock.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/clock.h"

#include "host/host.h"

#define KHZ_PER_GHZ UINT64_C(1000000)

void clock_init(struct clock *c, enum clock_source source, const uint64_t *instructions)
{
	*c = (struct clock){
		.source = source,
		.tsc_khz = KHZ_PER_GHZ,
		.instructions = instructions,
		.soonest = ALARM_NONE,
		.real_base_ns = source == CLOCK_SOURCE_REAL ? host_monotonic_ns() : 0,
	};
}

uint64_t clock_now(const struct clock *c)
{
	if (c->source == CLOCK_SOURCE_COUNTED)
		return *c->instructions + c->skipped_ns;
	return host_monotonic_ns() - c->real_base_ns;
}

uint64_t clock_tsc(const struct clock *c)
{
	uint64_t now = clock_now(c);

	/* now * khz / 1000000 without a division of 128 bits: every RDTSC comes here. */
	return now / KHZ_PER_GHZ * c->tsc_khz + now % KHZ_PER_GHZ * c->tsc_khz / KHZ_PER_GHZ;
}

uint64_t clock_tsc_to_ns(const struct clock *c, uint64_t tsc)
{
	unsigned __int128 ns = ((unsigned __int128)tsc * KHZ_PER_GHZ + c->tsc_khz - 1) / c->tsc_khz;

	return ns >= ALARM_NONE ? ALARM_NONE - 1 : (uint64_t)ns;
}

uint64_t clock_next(const struct clock *c)
{
	return atomic_load(&c->soonest);
}

static void look_first(struct clock *c)
{
	atomic_store(&c->soonest, c->first ? c->first->at : ALARM_NONE);
}

static void unlink_alarm(struct clock *c, struct alarm *a)
{
	if (a->prev)
		a->prev->next = a->next;
	else if (c->first == a)
		c->first = a->next;
	if (a->next)
		a->next->prev = a->prev;
	a->prev = a->next = NULL;
	look_first(c);
}

static void link_alarm(struct clock *c, struct alarm *a)
{
	struct alarm *prev = NULL, *next = c->first;

	while (next && next->at <= a->at) {
		prev = next;
		next = next->next;
	}
	a->prev = prev;
	a->next = next;
	if (next)
		next->prev = a;
	if (prev)
		prev->next = a;
	else
		c->first = a;
	look_first(c);
}

void clock_set_alarm(struct clock *c, struct alarm *a, uint64_t at)
{
	unlink_alarm(c, a);
	a->at = at < CLOCK_END ? at : ALARM_NONE;
	if (a->at == ALARM_NONE)
		return;
	a->order = c->next_order++;
	link_alarm(c, a);
	if (c->first == a && c->earlier)
		c->earlier(c->earlier_arg);
}

unsigned clock_fire(struct clock *c)
{
	uint64_t now = clock_now(c);
	uint64_t last = c->next_order;
	unsigned fired = 0;

	/* An alarm set again from its own handler for a time already past waits for the next call.
	 */
	for (;;) {
		struct alarm *a = c->first;

		while (a && a->at <= now && a->order >= last)
			a = a->next;
		if (!a || a->at > now)
			return fired;
		unlink_alarm(c, a);
		a->at = ALARM_NONE;
		fired++;
		a->fn(a->arg, now);
	}
}

void clock_count(struct clock *c, const uint64_t *instructions)
{
	if (c->source == CLOCK_SOURCE_COUNTED)
		c->skipped_ns += *c->instructions - *instructions;
	c->instructions = instructions;
}

void clock_skip_to(struct clock *c, uint64_t at)
{
	uint64_t now = clock_now(c);

	if (c->source == CLOCK_SOURCE_COUNTED && at != ALARM_NONE && at > now)
		c->skipped_ns += at - now;
}

void clock_restore(struct clock *c, uint64_t now)
{
	if (c->source == CLOCK_SOURCE_REAL)
		c->real_base_ns = host_monotonic_ns() - now;
	else
		c->skipped_ns = now - *c->instructions;
}
