/*
 * clock.c - tests of virtual time and alarms.
 *
 * SPDX-License-Identifier: MIT
 */

#include "test/cmocka.h"
#include "host/host.h"
#include "machine/clock.h"

struct log {
	struct clock *clock;
	struct alarm alarm[4];
	unsigned fired[16], count;
	uint64_t at[16];
	uint64_t again; /* alarm 0 sets itself to this when it fires */
};

static void note(struct log *l, unsigned n, uint64_t now)
{
	assert_true(l->count < 16);
	l->fired[l->count] = n;
	l->at[l->count++] = now;
}

static void fire0(void *arg, uint64_t now)
{
	struct log *l = arg;

	note(l, 0, now);
	if (l->again) {
		uint64_t at = l->again;

		l->again = 0;
		clock_set_alarm(l->clock, &l->alarm[0], at);
	}
}

static void fire1(void *arg, uint64_t now)
{
	note(arg, 1, now);
}

static void fire2(void *arg, uint64_t now)
{
	note(arg, 2, now);
}

static void start(struct log *l, struct clock *c, const uint64_t *instructions)
{
	static void (*const fns[3])(void *, uint64_t) = { fire0, fire1, fire2 };

	*l = (struct log){ .clock = c };
	clock_init(c, CLOCK_SOURCE_COUNTED, instructions);
	for (unsigned i = 0; i < 3; i++)
		l->alarm[i] = (struct alarm){ .at = ALARM_NONE, .fn = fns[i], .arg = l };
}

static void test_counted_time_is_instructions(void **state)
{
	uint64_t n = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	assert_int_equal(clock_now(&c), 0);
	n = 12345;
	assert_int_equal(clock_now(&c), 12345);
	clock_skip_to(&c, 20000);
	assert_int_equal(clock_now(&c), 20000);
	clock_skip_to(&c, 100); /* never back */
	assert_int_equal(clock_now(&c), 20000);
	n++;
	assert_int_equal(clock_now(&c), 20001);
}

static void test_alarms_fire_in_order(void **state)
{
	uint64_t n = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	clock_set_alarm(&c, &l.alarm[2], 300);
	clock_set_alarm(&c, &l.alarm[0], 100);
	clock_set_alarm(&c, &l.alarm[1], 100);
	assert_int_equal(clock_next(&c), 100);
	n = 99;
	assert_int_equal(clock_fire(&c), 0);
	n = 300;
	assert_int_equal(clock_fire(&c), 3);
	assert_int_equal(l.fired[0], 0); /* same time: first set, first fired */
	assert_int_equal(l.fired[1], 1);
	assert_int_equal(l.fired[2], 2);
	assert_int_equal(clock_next(&c), ALARM_NONE);
}

static void test_alarm_moves_and_cancels(void **state)
{
	uint64_t n = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	clock_set_alarm(&c, &l.alarm[0], 100);
	clock_set_alarm(&c, &l.alarm[0], 500);
	clock_set_alarm(&c, &l.alarm[1], 200);
	clock_set_alarm(&c, &l.alarm[1], ALARM_NONE);
	n = 400;
	assert_int_equal(clock_fire(&c), 0);
	n = 500;
	assert_int_equal(clock_fire(&c), 1);
}

/* Sums with such a time would wrap, and a sleeper not sleep. */
static void test_alarm_beyond_time_is_never(void **state)
{
	uint64_t n = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	clock_set_alarm(&c, &l.alarm[0], ALARM_NONE - 1);
	clock_set_alarm(&c, &l.alarm[1], CLOCK_END);
	assert_int_equal(clock_next(&c), ALARM_NONE);
	clock_set_alarm(&c, &l.alarm[1], CLOCK_END - 1);
	assert_int_equal(clock_next(&c), CLOCK_END - 1);
}

static void test_past_alarm_set_while_firing_waits(void **state)
{
	uint64_t n = 1000;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	l.again = 1; /* long past: must not make clock_fire endless */
	clock_set_alarm(&c, &l.alarm[0], 10);
	assert_int_equal(clock_fire(&c), 1);
	assert_int_equal(clock_next(&c), 1);
	assert_int_equal(clock_fire(&c), 1);
}

static void count_earlier(void *arg)
{
	(*(unsigned *)arg)++;
}

static void test_earlier_is_told(void **state)
{
	uint64_t n = 0;
	unsigned told = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	c.earlier = count_earlier;
	c.earlier_arg = &told;
	clock_set_alarm(&c, &l.alarm[0], 100);
	assert_int_equal(told, 1);
	clock_set_alarm(&c, &l.alarm[1], 200);
	assert_int_equal(told, 1);
	clock_set_alarm(&c, &l.alarm[2], 50);
	assert_int_equal(told, 2);
}

static void test_tsc_conversions(void **state)
{
	uint64_t n = 0;
	struct clock c;
	struct log l;

	(void)state;
	start(&l, &c, &n);
	c.tsc_khz = 2400000;
	n = 1000000000;
	assert_int_equal(clock_tsc(&c), 2400000000u);
	for (uint64_t tsc = 0; tsc < 100000; tsc += 37) {
		uint64_t ns = clock_tsc_to_ns(&c, tsc);

		/* The first nanosecond at which the counter has reached tsc. */
		n = ns;
		assert_true(clock_tsc(&c) >= tsc);
		if (ns > 0) {
			n = ns - 1;
			assert_true(clock_tsc(&c) < tsc);
		}
	}
	assert_int_equal(clock_tsc_to_ns(&c, UINT64_MAX) < ALARM_NONE, 1);
	c.tsc_khz = 1;
	assert_int_equal(clock_tsc_to_ns(&c, UINT64_MAX), ALARM_NONE - 1);
}

static void test_real_time_goes_on(void **state)
{
	struct clock c;
	uint64_t a, b;

	(void)state;
	clock_init(&c, CLOCK_SOURCE_REAL, NULL);
	a = clock_now(&c);
	do
		b = clock_now(&c);
	while (b == a);
	assert_true(b > a);
	clock_restore(&c, UINT64_C(5000000000));
	assert_true(clock_now(&c) >= UINT64_C(5000000000));
	assert_true(clock_now(&c) < UINT64_C(3605000000000));
}

/* As engines' own code reads it. */
static uint64_t by_line(const struct clock *c, uint64_t host)
{
	uint64_t age = host - c->line.host;

	return age < c->line.limit ? c->line.ticks + (age * c->line.scale >> 32) : 0;
}

static uint64_t rdtsc(void)
{
	uint64_t tsc;

	__asm__ volatile("lfence; rdtsc; shl $32, %%rdx; or %%rdx, %%rax" : "=a"(tsc) : : "rdx");
	return tsc;
}

#define NEAR_NS 1000000

/* Never back, and where the host's clock is, which was read before and after. */
static uint64_t check_now(struct clock *c, uint64_t before)
{
	uint64_t least = host_monotonic_ns() - c->real_base_ns, now = clock_now(c);
	uint64_t most = host_monotonic_ns() - c->real_base_ns;

	assert_true(now >= before);
	assert_in_range(now + NEAR_NS, least, most + 2 * NEAR_NS);
	return now;
}

static uint64_t watch(struct clock *c, uint64_t before, uint64_t ns)
{
	uint64_t end = host_monotonic_ns() + ns;

	while (host_monotonic_ns() < end)
		before = check_now(c, before);
	return before;
}

static void test_real_time_is_the_hosts(void **state)
{
	uint64_t now, ticks, tsc;
	struct clock c;

	(void)state;
	clock_init(&c, CLOCK_SOURCE_REAL, NULL);
	c.tsc_khz = 2500000;
	now = watch(&c, 0, 50000000);
	assert_int_equal(c.line.limit != 0, c.line.steady);
	for (unsigned n = 0; n < 1000 && c.line.steady; n++) {
		ticks = clock_tsc(&c);
		tsc = by_line(&c, rdtsc());
		assert_true(tsc == 0 || tsc >= ticks); /* 0: it is too old just now */
		assert_true(clock_tsc(&c) >= tsc);
	}
	clock_restore(&c, 5000);
	now = watch(&c, 5000, 30000000);
	assert_in_range(now, 5000, UINT64_C(3600000000000));
}

/* Never back. */
static uint64_t follow(struct clock *c, uint64_t before, uint64_t ns)
{
	uint64_t end = host_monotonic_ns() + ns, now = before;

	while (host_monotonic_ns() < end) {
		now = clock_now(c);
		assert_true(now >= before);
		before = now;
	}
	return now;
}

/* The host's counter steps, as where the machine is moved, or sleeps: at worst time stands still,
 * no longer than a line is good for. */
static void test_host_counter_steps(void **state)
{
	static const uint64_t steps[] = { UINT64_C(1) << 40, -(UINT64_C(1) << 40),
					  UINT64_C(1) << 62, UINT64_C(1) << 27 };
	struct clock c;
	uint64_t now;

	(void)state;
	clock_init(&c, CLOCK_SOURCE_REAL, NULL);
	now = watch(&c, 0, 30000000);
	for (unsigned n = 0; n < sizeof(steps) / sizeof(steps[0]); n++) {
		c.line.host += steps[n];
		c.line.from_host += steps[n];
		now = watch(&c, follow(&c, now, 60000000), 30000000);
	}
	c.line.host -= c.line.limit / 2; /* by so little that the line cannot know */
	watch(&c, follow(&c, now, 60000000), 30000000);
}

struct reader {
	struct clock clock;
	_Atomic uint64_t seen;
	atomic_bool enough;
};

static void read_along(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load(&r->enough)) {
		uint64_t seen = atomic_load(&r->seen), now = clock_tsc(&r->clock);

		if (now < seen)
			atomic_store(&r->seen, UINT64_MAX); /* no cmocka in threads */
		else
			atomic_compare_exchange_strong(&r->seen, &seen, now);
	}
}

static void test_threads_agree(void **state)
{
	static struct reader r;
	struct host_thread *thread[2];

	(void)state;
	clock_init(&r.clock, CLOCK_SOURCE_REAL, NULL);
	for (unsigned n = 0; n < 2; n++) {
		thread[n] = host_thread_start(read_along, &r, "reader");
		assert_non_null(thread[n]);
	}
	do
		watch(&r.clock, 0, 100000000);
	while (atomic_load(&r.seen) == 0);
	atomic_store(&r.enough, true);
	for (unsigned n = 0; n < 2; n++)
		host_thread_join(thread[n]);
	assert_true(r.seen != UINT64_MAX);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counted_time_is_instructions),
		cmocka_unit_test(test_alarms_fire_in_order),
		cmocka_unit_test(test_alarm_moves_and_cancels),
		cmocka_unit_test(test_alarm_beyond_time_is_never),
		cmocka_unit_test(test_past_alarm_set_while_firing_waits),
		cmocka_unit_test(test_earlier_is_told),
		cmocka_unit_test(test_tsc_conversions),
		cmocka_unit_test(test_real_time_goes_on),
		cmocka_unit_test(test_real_time_is_the_hosts),
		cmocka_unit_test(test_host_counter_steps),
		cmocka_unit_test(test_threads_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
