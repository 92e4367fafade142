/*
 * clock.c - virtual time and alarms (see clock.h for the idea).
 *
 * Alarms are a sorted list: a machine has about ten, and nearly every change is
 * at the front. The list's order, (time, order of setting), is what makes two
 * counted runs fire them alike.
 *
 * Real time is asked for at every RDTSC, and a guest's kernel executes one in each system call. So
 * it is read from the host's counter, by a line that is drawn anew, through where the host's
 * monotonic clock is then, whenever it is 2^25 counts old. It is drawn to meet the old one or
 * lie above it: time never goes back. Between, the two clocks part by less than a microsecond.
 *
 * Tested by test/unit/clock.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/clock.h"

#include "host/host.h"

#define KHZ_PER_GHZ UINT64_C(1000000)

#define LINE_KHZ   100000u             /* a slower guest's counter is no clock */
#define LINE_LIMIT (UINT64_C(1) << 25) /* host counts: some 10 ms */
#define LINE_FIRST (UINT64_C(1) << 24) /* so many tell the rate well enough to begin with, */
#define LINE_KNOWN (UINT64_C(1) << 30) /* for good, */
#define LINE_OLD   (UINT64_C(1) << 36) /* and no more: the host disciplines its clock */
#define PAIR_TRIES 4                   /* to read two clocks within */
#define PAIR_NEAR  1000                /* host counts */

void clock_init(struct clock *c, enum clock_source source, const uint64_t *instructions)
{
	*c = (struct clock){
		.source = source,
		.tsc_khz = KHZ_PER_GHZ,
		.instructions = instructions,
		.soonest = ALARM_NONE,
		.real_base_ns = source == CLOCK_SOURCE_REAL ? host_monotonic_ns() : 0,
		.line.steady = source == CLOCK_SOURCE_REAL && host_tsc_steady(),
	};
}

/* ns * khz / 1000000 without a division of 128 bits. */
static uint64_t to_ticks(const struct clock *c, uint64_t ns)
{
	return ns / KHZ_PER_GHZ * c->tsc_khz + ns % KHZ_PER_GHZ * c->tsc_khz / KHZ_PER_GHZ;
}

static uint64_t host_tsc(void)
{
	uint32_t low, high;

	/* Not before what was read until now. */
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t)high << 32;
}

struct pair {
	uint64_t host, ns;
};

/* Both clocks at one moment, as far as nobody interrupts. */
static struct pair read_pair(void)
{
	uint64_t near = UINT64_MAX;
	struct pair best = { 0, 0 };

	for (unsigned n = 0; n < PAIR_TRIES && near > PAIR_NEAR; n++) {
		uint64_t before = host_tsc(), ns = host_monotonic_ns(), took = host_tsc() - before;

		if (took < near)
			best = (struct pair){ before + took / 2, ns };
		near = took < near ? took : near;
	}
	return best;
}

static uint64_t measure_from(struct clock_line *l, const struct pair *now)
{
	l->from_host = now->host;
	l->from_ns = now->ns;
	return 0;
}

/* Guest ticks for each of the host's, and 32 bits behind the point; 0: not known yet. */
static uint64_t measure(const struct clock *c, struct clock_line *l, const struct pair *now)
{
	uint64_t age = now->host - l->from_host, rate = l->rate;
	unsigned __int128 ticks;

	if (!l->from_host || age >> 62) /* the host's counter began anew */
		return measure_from(l, now);
	if (age >= LINE_KNOWN || (!rate && age >= LINE_FIRST)) {
		ticks = (unsigned __int128)(now->ns - l->from_ns) * c->tsc_khz / KHZ_PER_GHZ;
		rate = (uint64_t)((ticks << 32) / age);
		if (l->rate && rate - l->rate + (l->rate >> 10) > l->rate >> 9) /* it jumped */
			return measure_from(l, now);
	}
	if (age >= LINE_OLD)
		measure_from(l, now);
	return rate;
}

/* The most that the line has said to anybody until the host's counter was `host`. */
static uint64_t line_end(const struct clock_line *l, uint64_t host)
{
	uint64_t age = host - atomic_load(&l->host), limit = atomic_load(&l->limit);

	return atomic_load(&l->ticks) +
	       ((age < limit ? age : limit) * atomic_load(&l->scale) >> 32);
}

/* Only one at a time: l->version is odd. Returns the counter now. */
static uint64_t draw(struct clock *c)
{
	struct clock_line *l = &c->line;
	struct pair now = read_pair();
	uint64_t end = line_end(l, now.host), ticks = to_ticks(c, now.ns - c->real_base_ns);
	uint64_t limit, scale, ahead = end > ticks ? end - ticks : 0;

	l->rate = scale = measure(c, l, &now);
	/* What it is ahead it loses in 2^25 counts. If that is much, time stands still instead. */
	limit = scale && ahead <= scale >> 17 ? LINE_LIMIT : 0;
	while (limit && scale > (UINT64_C(1) << 62) / limit)
		limit /= 2;
	scale -= limit ? ahead << 7 : 0;
	atomic_store(&l->host, now.host);
	atomic_store(&l->limit, limit);
	atomic_store(&l->scale, scale);
	atomic_store(&l->ticks, ticks + ahead);
	return ticks + ahead;
}

/* false: somebody else does. */
static bool draw_anew(struct clock *c, unsigned version, uint64_t *ticks)
{
	if (version & 1 || !atomic_compare_exchange_strong(&c->line.version, &version, version + 1))
		return false;
	*ticks = draw(c);
	atomic_store(&c->line.version, version + 2);
	return true;
}

static uint64_t line_tsc(struct clock *c)
{
	struct clock_line *l = &c->line;

	for (;;) {
		unsigned version = atomic_load(&l->version);
		uint64_t age = host_tsc() - atomic_load(&l->host), ticks;

		if (version & 1 || age >= atomic_load(&l->limit)) {
			if (draw_anew(c, version, &ticks))
				return ticks;
			__builtin_ia32_pause();
			continue;
		}
		ticks = atomic_load(&l->ticks) + (age * atomic_load(&l->scale) >> 32);
		if (atomic_load(&l->version) == version)
			return ticks;
	}
}

static bool has_line(const struct clock *c)
{
	return c->line.steady && c->tsc_khz >= LINE_KHZ;
}

uint64_t clock_now(struct clock *c)
{
	if (c->source == CLOCK_SOURCE_COUNTED)
		return *c->instructions + c->skipped_ns;
	if (!has_line(c))
		return host_monotonic_ns() - c->real_base_ns;
	return (uint64_t)((unsigned __int128)line_tsc(c) * KHZ_PER_GHZ / c->tsc_khz);
}

uint64_t clock_tsc(struct clock *c)
{
	if (c->source == CLOCK_SOURCE_REAL && has_line(c))
		return line_tsc(c);
	return to_ticks(c, clock_now(c));
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

/* Nobody asks meanwhile. There is no line until somebody does. */
static void restore_real(struct clock *c, uint64_t now)
{
	c->real_base_ns = host_monotonic_ns() - now;
	atomic_store(&c->line.limit, 0);
	atomic_store(&c->line.ticks, 0);
}

void clock_restore(struct clock *c, uint64_t now)
{
	if (c->source == CLOCK_SOURCE_REAL)
		restore_real(c, now);
	else
		c->skipped_ns = now - *c->instructions;
}
