/*
 * lapic_timer.c - the local APIC's timer: one-shot, periodic, TSC-deadline.
 *
 * The idea: no count is ever stored. The state is the virtual time at which the
 * count reaches zero; the current count is the distance to it. While the LVT
 * entry is masked nothing can be seen but the count, so no alarm is set and an
 * idle guest costs nothing; whoever looks lets the past pass first (settle()).
 *
 * Not modelled: periods below PERIOD_MIN_NS tick at that rate (a CPU could not
 * service them, and a guest must not keep the host busy with them); the
 * reserved timer mode 3 acts as one-shot.
 *
 * Spec: SDM vol. 3 11.5.4. Tested by test/device/lapic.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/lapic_internal.h"

#define PERIOD_MIN_NS UINT64_C(10000)

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

static enum timer_mode mode_of(uint32_t lvt)
{
	switch ((lvt & LVT_TIMER_MODE) >> LVT_TIMER_SHIFT) {
	case 1: return TIMER_PERIODIC;
	case 2: return TIMER_TSC_DEADLINE;
	default: return TIMER_ONE_SHOT;
	}
}

_Static_assert(APIC_TIMER_HZ == 1000000000, "one count of the undivided clock is a nanosecond");

/* Bits 3, 1 and 0 of the divide register: 2, 4, 8 .. 128, 1. */
static uint64_t tick_ns(const struct lapic *l)
{
	uint32_t code = (l->timer_divide & 3) | ((l->timer_divide & 8) >> 1);

	return UINT64_C(1) << ((code + 1) & 7);
}

static uint64_t guest_tsc(const struct lapic *l)
{
	return vcpu_tsc(l->vcpu);
}

/* Does what became due until now; returns now (asked once: real time does not stand still). */
static uint64_t settle(struct lapic *l)
{
	uint64_t now = device_now(&l->dev);

	if (mode_of(l->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE) {
		if (!l->deadline || guest_tsc(l) < l->deadline)
			return now;
		l->deadline = 0;
	} else {
		if (l->timer_zero_at == ALARM_NONE || now < l->timer_zero_at)
			return now;
		if (mode_of(l->lvt[LVT_TIMER]) == TIMER_PERIODIC) {
			uint64_t period = l->timer_initial * tick_ns(l);

			l->timer_zero_at += ((now - l->timer_zero_at) / period + 1) * period;
		} else {
			l->timer_zero_at = ALARM_NONE;
		}
	}
	lapic_local(l, LVT_TIMER);
	return now;
}

/* Virtual ns at which the guest's TSC reaches the deadline. */
static uint64_t deadline_ns(const struct lapic *l)
{
	uint64_t tsc = clock_tsc(&l->dev.vm->clock);
	uint64_t seen = tsc + l->vcpu->tsc_offset;
	uint64_t left = l->deadline > seen ? l->deadline - seen : 0;

	if (tsc + left < tsc)
		return ALARM_NONE - 1;
	return clock_tsc_to_ns(&l->dev.vm->clock, tsc + left);
}

void lapic_timer_arm(struct lapic *l)
{
	enum timer_mode mode = mode_of(l->lvt[LVT_TIMER]);
	uint64_t at = ALARM_NONE;

	if (l->lvt[LVT_TIMER] & LVT_MASKED)
		at = ALARM_NONE;
	else if (mode == TIMER_TSC_DEADLINE)
		at = l->deadline ? deadline_ns(l) : ALARM_NONE;
	else
		at = l->timer_zero_at;
	if (mode == TIMER_PERIODIC && l->timer_initial * tick_ns(l) < PERIOD_MIN_NS &&
	    at != ALARM_NONE)
		at += PERIOD_MIN_NS;
	device_alarm(&l->dev, 0, at);
}

void lapic_timer_alarm(struct lapic *l)
{
	settle(l);
	lapic_timer_arm(l);
}

/* The alarm must always be what lapic_timer_arm() makes of the registers: a loaded timer's is. */
static uint64_t settle_and_arm(struct lapic *l)
{
	uint64_t zero_at = l->timer_zero_at, deadline = l->deadline, now = settle(l);

	if (l->timer_zero_at != zero_at || l->deadline != deadline)
		lapic_timer_arm(l);
	return now;
}

void lapic_timer_write_lvt(struct lapic *l, uint32_t value)
{
	bool was, is;

	settle(l);
	was = mode_of(l->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE;
	is = mode_of(value) == TIMER_TSC_DEADLINE;
	if (was != is) { /* entering or leaving TSC-deadline mode disarms */
		l->deadline = 0;
		l->timer_zero_at = ALARM_NONE;
		l->timer_initial = 0;
	}
	l->lvt[LVT_TIMER] = value;
	lapic_timer_arm(l);
}

void lapic_timer_write_initial(struct lapic *l, uint32_t value)
{
	uint64_t now = settle_and_arm(l);

	if (mode_of(l->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE)
		return;
	l->timer_initial = value;
	l->timer_zero_at = value ? now + value * tick_ns(l) : ALARM_NONE;
	lapic_timer_arm(l);
}

static uint32_t count_at(const struct lapic *l, uint64_t now)
{
	uint64_t left;

	if (l->timer_zero_at == ALARM_NONE)
		return 0;
	left = (l->timer_zero_at - now + tick_ns(l) - 1) / tick_ns(l);
	return left < l->timer_initial ? (uint32_t)left : l->timer_initial;
}

uint32_t lapic_timer_current(struct lapic *l)
{
	return count_at(l, settle_and_arm(l));
}

/* The count goes on from where it is, at the new rate. */
void lapic_timer_write_divide(struct lapic *l, uint32_t value)
{
	uint64_t now = settle(l), left = count_at(l, now);

	l->timer_divide = value;
	if (l->timer_zero_at != ALARM_NONE)
		l->timer_zero_at = now + left * tick_ns(l);
	lapic_timer_arm(l);
}

uint64_t lapic_timer_deadline(struct lapic *l)
{
	settle_and_arm(l);
	return l->deadline;
}

void lapic_timer_write_deadline(struct lapic *l, uint64_t tsc)
{
	settle_and_arm(l);
	if (mode_of(l->lvt[LVT_TIMER]) != TIMER_TSC_DEADLINE)
		return;
	l->deadline = tsc;
	lapic_timer_arm(l);
}

void lapic_timer_restart(struct lapic *l, uint32_t count, uint64_t deadline)
{
	bool by_tsc = mode_of(l->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE;

	if (by_tsc)
		l->timer_initial = count = 0;
	l->deadline = by_tsc ? deadline : 0;
	/* A periodic one never stands at 0. */
	if (count > l->timer_initial || (!count && mode_of(l->lvt[LVT_TIMER]) == TIMER_PERIODIC))
		count = l->timer_initial;
	l->timer_zero_at = count ? device_now(&l->dev) + count * tick_ns(l) : ALARM_NONE;
	lapic_timer_arm(l);
}

bool lapic_timer_valid(const struct lapic *l)
{
	bool deadline = mode_of(l->lvt[LVT_TIMER]) == TIMER_TSC_DEADLINE;
	bool counting = l->timer_zero_at != ALARM_NONE;

	if (l->timer_divide & ~DIVIDE_WRITABLE)
		return false;
	if (deadline ? counting || l->timer_initial : l->deadline != 0)
		return false;
	/* Half the range: no sum in settle() can wrap. */
	return !counting || (l->timer_initial && l->timer_zero_at <= UINT64_MAX / 2);
}
