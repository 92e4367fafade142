/*
 * smp_order.c - in which order each of several CPUs sees what the others store: litmus tests.
 *
 * A litmus test runs its few instructions in many slots, one after the other, and counts an
 * outcome. What x86-TSO (SDM vol. 3 8.2; Owens, Sarkar, Sewell: "A better x86 memory model")
 * forbids must never be. What it allows need not be seen, but where it never is the test has no
 * teeth: "seen - NAME: times" tells, and test/soak/smp.c insists.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cpus.h"

#define SLOTS 4096u

static struct {
	volatile uint64_t x, pad0[7], y, pad1[7];
	volatile uint64_t r[4], pad2[4];
} slot[SLOTS] __attribute__((aligned(LINE)));

static inline uint64_t load(const volatile uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p));
	return v;
}
static inline void store(volatile uint64_t *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v));
}
static inline void mfence(void)
{
	__asm__ volatile("mfence" : : : "memory");
}
static inline uint64_t swap(volatile uint64_t *p, uint64_t v)
{
	__asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*p) : : "memory");
	return v;
}

#define X (&slot[i].x)
#define Y (&slot[i].y)
#define R slot[i].r

/* This CPU's place of the two, and the other's. */
#define MINE   (cpu ? Y : X)
#define THEIRS (cpu ? X : Y)

/* Each has per slot: what a CPU does, and the outcome that is counted. */

/* Store buffering, with something between that keeps the order or not. */
enum between { NOTHING, MFENCE, LOCK_ADD };
__attribute__((always_inline)) static inline void sb_with(unsigned cpu, unsigned i, enum between b)
{
	store(MINE, 1);
	if (b == MFENCE)
		mfence();
	else if (b == LOCK_ADD)
		__asm__ volatile("lock addq $0, (%%rsp)" : : : "memory");
	R[cpu] = load(THEIRS);
}
static void sb(unsigned cpu, unsigned i)
{
	sb_with(cpu, i, NOTHING);
}
static void sb_mfence(unsigned cpu, unsigned i)
{
	sb_with(cpu, i, MFENCE);
}
static void sb_lock(unsigned cpu, unsigned i)
{
	sb_with(cpu, i, LOCK_ADD);
}
static void sb_xchg(unsigned cpu, unsigned i)
{
	swap(MINE, 1);
	R[cpu] = load(THEIRS);
}
static bool both_zero(unsigned i)
{
	return R[0] == 0 && R[1] == 0;
}

/* Message passing. */
static void mp(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(X, 1);
		store(Y, 1);
	} else {
		R[0] = load(Y);
		R[1] = load(X);
	}
}
static bool new_then_old(unsigned i)
{
	return R[0] == 1 && R[1] == 0;
}

/* Load buffering. */
static void lb(unsigned cpu, unsigned i)
{
	R[cpu] = load(THEIRS);
	store(MINE, 1);
}
static bool both_one(unsigned i)
{
	return R[0] == 1 && R[1] == 1;
}

/* Two write twice: if each's first store is the last, somebody's stores changed places. */
static void two_writers(unsigned cpu, unsigned i)
{
	store(MINE, 1);
	store(THEIRS, 2);
}
static bool first_are_last(unsigned i)
{
	return *X
	== 1 && *Y == 1;
}

/* Two loads of one place do not go back. */
static void coherence(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(X, 1);
	} else {
		R[0] = load(X);
		R[1] = load(X);
	}
}

/* A load of 8 bytes sees a store of 8 bytes whole. */
static void whole(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(X, UINT64_MAX);
		store(X, 0);
	} else {
		R[0] = load(X);
	}
}
static bool torn(unsigned i)
{
	return R[0] != 0 && R[0] != UINT64_MAX;
}

/* One stores, the second sees it and stores, the third sees that. */
static void causality(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(X, 1);
	} else if (cpu == 1) {
		R[0] = load(X);
		store(Y, R[0] + 1);
	} else {
		R[1] = load(Y);
		R[2] = load(X);
	}
}
static bool effect_without_cause(unsigned i)
{
	return R[1] == 2 && R[2] == 0;
}

/* Independent reads of independent writes: two write, two others must agree on the order. */
static void read_both(unsigned cpu, unsigned i)
{
	R[2 * (cpu - 2)] = load(cpu == 2 ? X : Y);
	R[2 * (cpu - 2) + 1] = load(cpu == 2 ? Y : X);
}
static void iriw(unsigned cpu, unsigned i)
{
	if (cpu < 2)
		store(MINE, 1);
	else
		read_both(cpu, i);
}
static void iriw_xchg(unsigned cpu, unsigned i)
{
	if (cpu < 2)
		swap(MINE, 1);
	else
		read_both(cpu, i);
}
static bool disagree(unsigned i)
{
	return R[0] == 1 && R[1] == 0 && R[2] == 1 && R[3] == 0;
}

static const struct litmus {
	const char *name;
	void (*body)(unsigned cpu, unsigned i);
	bool (*outcome)(unsigned i);
	unsigned cpus;
	bool allowed;
} tests[] = {
	{"store buffering",                          sb,          both_zero,            2, true },
	{ "store buffering, MFENCE",                 sb_mfence,   both_zero,            2, false},
	{ "store buffering, LOCK ADD",               sb_lock,     both_zero,            2, false},
	{ "store buffering, XCHG",                   sb_xchg,     both_zero,            2, false},
	{ "message passing",                         mp,          new_then_old,         2, false},
	{ "load buffering",                          lb,          both_one,             2, false},
	{ "two writers of two places",               two_writers, first_are_last,       2, false},
	{ "coherence",			       coherence,   new_then_old,         2, false},
	{ "stores are whole",                        whole,       torn,                 2, false},
	{ "causality",			       causality,   effect_without_cause, 3, false},
	{ "independent reads of independent writes", iriw,        disagree,             4, false},
	{ "independent reads, XCHG",                 iriw_xchg,   disagree,             4, false},
};

static const struct litmus *litmus;
static uint64_t outcomes;
static unsigned slots; /* used of them */

/*
 * Those who take part go into each group of slots at nearly the same time, without PAUSE, which
 * lets others run; and each a little later or sooner, lest the same one is always first. A CPU that
 * is late is not waited for: the host may not run it now.
 */
#define GROUP 8u
#define LATE  2000u
static struct {
	volatile uint64_t at, pad[7];
} place[CPUS] __attribute__((aligned(LINE)));

static void together(unsigned index, uint64_t at)
{
	unsigned patience = LATE;
	uint64_t delay = (at * (2 * index + 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 59;

	place[index].at = at;
	for (unsigned i = 0; i < litmus->cpus; i++)
		while (place[i].at < at && patience)
			patience--;
	for (volatile uint64_t n = 0; n < delay;)
		n++;
}

static void look(void)
{
	for (unsigned i = 0; i < slots; i++) {
		outcomes += litmus->outcome(i);
		*X
		= *Y = 0;
		for (unsigned r = 0; r < 4; r++)
			R[r] = 0;
	}
}

/* Between batches, too, a CPU stays at its place for a while. */
static void gather(unsigned index, uint64_t at)
{
	place[index].at = at;
	for (unsigned i = 0; i < cpus; i++) {
		for (unsigned n = 0; place[i].at < at && n < 10 * LATE;)
			n++;
		while (place[i].at < at)
			pause();
	}
}

static void litmus_job(unsigned index)
{

	for (uint64_t n = 0; n < rounds; n += slots) {
		gather(index, 2 * n + 1);
		for (unsigned i = 0; i < slots && index < litmus->cpus; i++) {
			if (i % GROUP == 0)
				together(index, 2 * n + 1 + i);
			litmus->body(index, i);
		}
		gather(index, 2 * n + slots + 1);
		if (index == 0)
			look();
	}
}

static void put_number(uint64_t n)
{
	char text[21];
	unsigned at = 20;

	text[at] = 0;
	do
		text[--at] = (char)('0' + n % 10);
	while (n /= 10);
	put(text + at);
}

static void run(const struct litmus *l)
{
	litmus = l;
	outcomes = 0;
	for (unsigned i = 0; i < CPUS; i++)
		place[i].at = 0;
	all_do(litmus_job);
	if (!l->allowed) {
		CHECK(l->name, outcomes, 0);
		return;
	}
	put("seen - ");
	put(l->name);
	put(": ");
	put_number(outcomes);
	put("\n");
}

void test_main(void)
{
	start_others();
	slots = rounds < SLOTS ? (unsigned)rounds : SLOTS;
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (tests[i].cpus <= cpus)
			run(&tests[i]);
	quit(0);
}
