/*
 * four-guests.c - four isolated guests in 64 KiB of host memory: the machine of the textbooks.
 *
 * Each guest has 16 KiB: a page directory, a page table, a page of code and one of data,
 * and may use 4 MiB of linear addresses in 4 KiB pages. They take turns of exactly 10,000
 * instructions. One divides by zero, one goes looking for what is not its own; the others
 * do not notice, which this program checks after each turn.
 *
 *	guest-linear --(the guest's page tables)--> guest-physical --(the machine map)--> host
 *
 * It uses nothing but include/trapeze.h. Exit status: 0 when all of it came out as said.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <trapeze.h>

#include "four-guests.h"

#define GUESTS     4
#define POOL_BYTES (GUESTS * GUEST_BYTES)
#define SLICE      10000
#define PAGE       4096
#define PRESENT_RW 3u /* page table entry: present, writable */
#define SAMPLE     (GVA_DATA + 0x123)

_Static_assert(CALL_PRINT == TRAPEZE_CALL_PRINT && CALL_EXIT == TRAPEZE_CALL_EXIT, "one list");

#define CODE(name) extern const unsigned char name[], name##_end[]
CODE(guest_adder);
CODE(guest_divider);
CODE(guest_prowler);
CODE(guest_siever);

static _Alignas(PAGE) unsigned char pool[POOL_BYTES];

struct guest {
	const char *name;
	const unsigned char *code, *code_end;
	enum trapeze_reason expected;
	int expected_status;
	struct trapeze *vm;
	struct trapeze_end end;
	int ended;
	unsigned slices;
};

static struct guest guests[GUESTS] = {
	{"adder",    guest_adder,   guest_adder_end,   TRAPEZE_EXITED,   1800030000, 0, { 0 }, 0, 0},
	{ "divider", guest_divider, guest_divider_end, TRAPEZE_SHUTDOWN, 0,          0, { 0 }, 0, 0},
	{ "prowler", guest_prowler, guest_prowler_end, TRAPEZE_EXITED,   0,          0, { 0 }, 0, 0},
	{ "siever",  guest_siever,  guest_siever_end,  TRAPEZE_EXITED,   430,        0, { 0 }, 0, 0},
};

static void check(int failed, const struct trapeze_error *error)
{
	if (failed) {
		fprintf(stderr, "four-guests: %s\n", error->text);
		exit(1);
	}
}

static void print(void *arg, const char *text, size_t bytes)
{
	const struct guest *g = arg;

	printf("%-8s says: %.*s", g->name, (int)bytes, text);
}

static void put32(struct guest *g, uint64_t gpa, uint32_t value)
{
	struct trapeze_error error;

	check(trapeze_write(g->vm, gpa, &value, sizeof(value), &error), &error);
}

/* Maps one page of the guest's linear addresses, in the guest's own table. */
static void map(struct guest *g, uint32_t gva, uint32_t gpa)
{
	put32(g, GPA_TABLE + gva / PAGE * 4, gpa | PRESENT_RW);
}

static void start(struct guest *g, unsigned char *memory)
{
	struct trapeze_config config = { .counted = 1, .print = print, .arg = g };
	struct trapeze_regs regs = {
		.rip = GVA_CODE,
		.rsp = GVA_DATA + PAGE,
		.cr0 = 0x80000000, /* paging */
		.cr3 = GPA_DIRECTORY,
	};
	struct trapeze_error error;

	g->vm = trapeze_open(&config, &error);
	check(!g->vm, &error);
	check(trapeze_add_memory(g->vm, 0, GUEST_BYTES, memory, 0, &error), &error);
	check(trapeze_write(g->vm, GPA_CODE, g->code, (size_t)(g->code_end - g->code), &error),
	      &error);
	put32(g, GPA_DIRECTORY, GPA_TABLE | PRESENT_RW);
	map(g, GVA_CODE, GPA_CODE);
	map(g, GVA_DATA, GPA_DATA);
	map(g, GVA_TABLE, GPA_TABLE);
	check(trapeze_enter(g->vm, TRAPEZE_PROTECTED32, &regs, &error), &error);
}

/* Has anything in the pool changed outside of guest `self`'s part? */
static int others_changed(const unsigned char *before, unsigned self)
{
	for (unsigned i = 0; i < GUESTS; i++)
		if (i != self &&
		    memcmp(before + i * GUEST_BYTES, pool + i * GUEST_BYTES, GUEST_BYTES) != 0)
			return 1;
	return 0;
}

/* One turn. Returns how many promises were broken. */
static int take_turn(unsigned self)
{
	static unsigned char before[POOL_BYTES];
	struct guest *g = &guests[self];
	struct trapeze_error error;
	int broken = 0;

	memcpy(before, pool, sizeof(pool));
	check(trapeze_run(g->vm, SLICE, &g->end, &error), &error);
	g->slices++;
	g->ended = g->end.reason != TRAPEZE_BUDGET;
	if (others_changed(before, self)) {
		printf("BROKEN: %s changed memory of another guest\n", g->name);
		broken++;
	}
	if (!g->ended && g->end.instructions != SLICE) {
		printf("BROKEN: a slice of %s had %llu instructions\n", g->name,
		       (unsigned long long)g->end.instructions);
		broken++;
	}
	if (g->ended && (g->end.reason != g->expected || g->end.status != g->expected_status)) {
		printf("BROKEN: %s ended otherwise than expected\n", g->name);
		broken++;
	}
	return broken;
}

static int run_all(void)
{
	int broken = 0, left = GUESTS;

	while (left > 0) {
		for (unsigned i = 0; i < GUESTS; i++) {
			if (guests[i].ended)
				continue;
			broken += take_turn(i);
			left -= guests[i].ended;
		}
	}
	return broken;
}

static void report(struct guest *g)
{
	struct trapeze_error error;
	uint64_t gpa;
	void *hpa;

	printf("\n%s: %s", g->name, trapeze_reason_name(g->end.reason));
	if (g->end.reason == TRAPEZE_EXITED)
		printf(" with status %d", g->end.status);
	printf("\n  %llu instructions in %u slices, %llu entries\n  exits:",
	       (unsigned long long)trapeze_instructions(g->vm), g->slices,
	       (unsigned long long)trapeze_entries(g->vm));
	for (unsigned r = 0; r < trapeze_exit_reasons(); r++)
		if (trapeze_exit_count(g->vm, r))
			printf(" %s %llu", trapeze_exit_name(r),
			       (unsigned long long)trapeze_exit_count(g->vm, r));
	check(trapeze_gva_to_gpa(g->vm, SAMPLE, TRAPEZE_READ, &gpa, &error), &error);
	check(trapeze_gpa_to_host(g->vm, gpa, 1, &hpa, &error), &error);
	printf("\n  GVA 0x%08x -> GPA 0x%04llx -> HPA %p (pool + 0x%05zx)\n", SAMPLE,
	       (unsigned long long)gpa, hpa, (size_t)((unsigned char *)hpa - pool));
}

int main(void)
{
	int broken;

	printf("pool of %d KiB at %p; %d guests of %d KiB; slices of %d instructions\n\n",
	       POOL_BYTES / 1024, (void *)pool, GUESTS, GUEST_BYTES / 1024, SLICE);
	for (unsigned i = 0; i < GUESTS; i++)
		start(&guests[i], pool + i * GUEST_BYTES);
	broken = run_all();
	for (unsigned i = 0; i < GUESTS; i++) {
		report(&guests[i]);
		trapeze_close(guests[i].vm);
	}
	printf("\n%s\n", broken ? "isolation or slices are BROKEN"
				: "every slice was exact, and no guest noticed another");
	return broken != 0;
}
