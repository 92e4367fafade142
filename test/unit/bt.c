/*
 * bt.c - the translator beside the interpreter, one hard case after the other (bt_programs.h),
 * under every torture, in slices of random length, both engines being compared after each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/bt_programs.h"

static bool has_error(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Each vector: r14 = error code, then the program's handler; on the stack of IST 1. */
static void entries(struct guest *g)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t at = ENTRIES + v * 16;
		struct code e = { g->ram + at };

		if (has_error(v))
			CODE(&e, 0x41, 0x5e); /* pop r14 */
		else
			CODE(&e, 0x45, 0x31, 0xf6); /* xor r14d, r14d */
		code_go(&e, OP_JMP, g->ram + GUEST_CODE + HANDLER);
		guest_put64(g, GUEST_IDT + v * 16,
			    (at & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e01) << 32 |
				    (at >> 16) << 48);
	}
	guest_put64(g, TSS + 36, IST_STACK);
}

/* TABLES: the top of either half. PML4 entries 255 and 511 share what is below. */
static void top_tables(struct guest *g)
{
	const uint64_t rights = PTE_P | PTE_W | PTE_US;

	guest_put64(g, GUEST_PML4 + 255 * 8, TABLES | rights);
	guest_put64(g, GUEST_PML4 + 511 * 8, TABLES | rights);
	guest_put64(g, TABLES + 510 * 8, GUEST_PD | rights); /* HIGH */
	guest_put64(g, TABLES + 511 * 8, (TABLES + 0x1000) | rights);
	guest_put64(g, TABLES + 0x1000 + 511 * 8, (TABLES + 0x2000) | rights);
	guest_put64(g, TABLES + 0x2000 + 511 * 8, EDGE_PAGE | rights);
	guest_put64(g, TABLES + 0x2000 + 510 * 8, UINT64_C(0x1a2000) | rights);
}

static struct x86_state initial(void)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);

	s.gpr[RSP] = STACK;
	s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s.xcr0 = 7;
	s.tr = (struct x86_seg){ .base = TSS, .limit = 103, .attr = SEG_P | 11, .selector = 0x48 };
	for (unsigned r = 0; r < 16; r++)
		for (unsigned q = 0; q < 4; q++)
			s.fpu.ymm[r][q] = UINT64_C(0x3ff0000040400000) * (r + 1) + q;
	return s;
}

/* To its end. Where the guest sees no time, a real-time machine is the same there. */
static enum exit_reason run_pair(struct pair *p, const struct program *program, bool counted)
{
	enum exit_reason reason;

	if (counted)
		return pair_run(p, program->most);
	reason = guest_run(&p->a, program->most);
	pair_same(p, reason, guest_run(&p->b, program->most));
	return reason;
}

/* Code reads the clock by itself only once it has its line. */
static void know_time(struct guest *g)
{
	struct clock *c = &g->vm->clock;

	while (c->line.steady && !c->line.limit)
		clock_tsc(c);
}

static void run_program(const struct program *program, bool counted, unsigned torture,
			uint64_t code_cache)
{
	struct pair p = pair_open(program->name, counted, torture, code_cache);
	struct x86_state s = initial();

	guest_tables(&p.a);
	top_tables(&p.a);
	entries(&p.a);
	for (unsigned n = 0; n < 0x1000; n++)
		p.a.ram[0x100000 + n] = (uint8_t)(n * 37 + 11);
	memcpy(p.a.ram + GUEST_CODE, program->code, (size_t)(program->end - program->code));
	if (program->setup)
		program->setup(&p.a, &s);
	pair_set(&p, &s);
	p.chance = torture + 1;
	if (!counted)
		know_time(&p.b);
	if (run_pair(&p, program, counted) != EXIT_HLT) {
		print_error("%s: did not come to its end\n", program->name);
		vcpu_dump(p.a.vcpu);
		assert_true(false);
	}
	/* The handlers' HLT is not the end. */
	assert_in_range(p.a.c->r[R_RIP], GUEST_CODE, GUEST_CODE + 0x7ff);
	assert_in_range(pair_native(&p), 5, UINT64_MAX);
	pair_close(&p);
}

#define TLB_TORTURES (TORTURE(NO_TLB) | TORTURE(FLUSH))
static const char *only; /* that program, or NULL */

static void run_under(unsigned torture, uint64_t code_cache)
{
	for (unsigned n = 0; n < sizeof(programs) / sizeof(programs[0]); n++)
		if ((!only || strcmp(only, programs[n].name) == 0) &&
		    !(programs[n].old_entries && torture & TLB_TORTURES))
			run_program(&programs[n], true, torture, code_cache);
}

static void test_in_real_time(void **state)
{
	(void)state;
	for (unsigned n = 0; n < sizeof(programs) / sizeof(programs[0]); n++) {
		if ((only && strcmp(only, programs[n].name) != 0) || !programs[n].real_time)
			continue;
		run_program(&programs[n], false, 0, 0);
		run_program(&programs[n], false, TORTURE(HOT), CODE_CACHE_LEAST);
		run_program(&programs[n], false, TORTURE(HOT) | TLB_TORTURES, CODE_CACHE_LEAST);
	}
}

static void test_as_it_is(void **state)
{
	(void)state;
	run_under(0, 0);
}

static void test_each_torture(void **state)
{
	(void)state;
	for (unsigned t = 0; t < TORTURE_COUNT; t++)
		run_under(1u << t, 0);
	for (unsigned t = 0; t < TORTURE_COUNT; t++)
		run_under(1u << t | TORTURE(HOT), CODE_CACHE_LEAST);
}

static void test_all_tortures_at_once(void **state)
{
	(void)state;
	run_under(((1u << TORTURE_COUNT) - 1) & ~TORTURE(NO_TLB), CODE_CACHE_LEAST);
}

/* A guest that makes code for ever: memory for translations stays what it is, and only the oldest
 * of them go. */
ASSEMBLE(endless,
	 "mov rdi, 0x150000; mov ecx, 0x4000; 1: mov byte ptr [rdi], 0x48; 2: call rdi\n"
	 "add rdi, 37; cmp rdi, 0x19f000; jb 3f; mov rdi, 0x150000; inc r9; 3: mov [rdi + 3], r9b\n"
	 "jmp 2b")

static void test_code_cache_is_bounded(void **state)
{
	struct engine_options options = { .code_cache = CODE_CACHE_LEAST, .torture = TORTURE(HOT) };
	struct guest g = guest_open_on(&bt_ops, true, options);
	struct x86_state s = initial();
	const struct bt *t = g.c->executor;
	uint64_t flushes;

	(void)state;
	guest_tables(&g);
	memcpy(g.ram + GUEST_CODE, endless, (size_t)(endless_end - endless));
	for (uint64_t at = 0x150000; at < 0x1a0000; at += 37) /* add rbx, 1; ret */
		memcpy(g.ram + at, "\x48\x83\xc3\x01\xc3", 5);
	guest_set(&g, &s);
	assert_in_range(t->code.bytes + t->code.data_bytes +
				t->room->places_all * sizeof(*t->room->place) +
				2 * t->live_all * sizeof(*t->live[0]),
			CODE_CACHE_LEAST / 2, CODE_CACHE_LEAST);
	flushes = g.c->cache->flushes;
	for (unsigned n = 0; n < 50; n++) {
		assert_int_equal(guest_run(&g, 20000), EXIT_BUDGET);
		assert_in_range(t->room->at - t->code.write_at, 1, t->code.bytes);
		assert_in_range(t->room->places, 0, t->room->places_all);
		assert_in_range(t->room->memories, 0, t->room->memories_all);
	}
	assert_in_range(t->evictions, 2 * t->room->regions_all, 10000);
	assert_int_equal(g.c->cache->flushes, flushes);
	guest_close(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_as_it_is),
	cmocka_unit_test(test_in_real_time),
	cmocka_unit_test(test_each_torture),
	cmocka_unit_test(test_all_tortures_at_once),
	cmocka_unit_test(test_code_cache_is_bounded),
};

/* bt [PROGRAM] */
int main(int argc, char **argv)
{
	only = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
