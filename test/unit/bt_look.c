/*
 * bt_look.c - what engine bt tells about itself: its figures.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

#define ROUNDS 500

/* mov ecx, ROUNDS; L: push rcx; cpuid; pop rcx; mov [0x100000], rcx; dec ecx; jnz L; hlt */
static const uint8_t program[] = { 0xb9, ROUNDS & 255, ROUNDS >> 8, 0,    0,    0x51, 0x0f, 0xa2,
				   0x59, 0x48,         0x89,        0x0c, 0x25, 0,    0,    0x10,
				   0,    0xff,         0xc9,        0x75, 0xf0, 0xf4 };

static struct guest open_program(unsigned torture)
{
	struct guest g = guest_open_on(&bt_ops, torture, CODE_CACHE_LEAST);
	struct x86_state s = guest_state64(0, GUEST_CODE);

	guest_tables(&g);
	memcpy(g.ram + GUEST_CODE, program, sizeof(program));
	guest_set(&g, &s);
	return g;
}

/* --- figures ----------------------------------------------------------------------------- */

static struct figure {
	const char *part, *name;
	uint64_t value;
} figures[100];
static unsigned told;

static void take(void *arg, const char *part, const char *name, uint64_t value)
{
	assert_ptr_equal(arg, figures);
	assert_in_range(told, 0, 99);
	figures[told++] = (struct figure){ part, name, value };
}

static void ask(const struct guest *g)
{
	told = 0;
	assert_string_equal(g->vm->engine->figures_name, "translation");
	g->vm->engine->figures(g->vcpu, take, figures);
}

static uint64_t figure(const char *part, const char *name)
{
	for (unsigned n = 0; n < told; n++)
		if (!part == !figures[n].part && strcmp(figures[n].name, name) == 0 &&
		    (!part || strcmp(figures[n].part, part) == 0))
			return figures[n].value;
	print_error("no figure %s\n", name);
	assert_true(false);
	return 0;
}

static void test_figures(void **state)
{
	struct guest g = open_program(TORTURE(HOT));
	uint64_t sum = 0;

	(void)state;
	ask(&g);
	for (unsigned n = 0; n < told; n++)
		assert_true(figures[n].value == 0 || strstr(figures[n].name, "_flushes"));
	assert_int_equal(guest_run(&g, 100000), EXIT_HLT);
	ask(&g);
	assert_in_range(figure(NULL, "blocks"), 2, 10);
	assert_in_range(figure(NULL, "code_bytes"), 100, 10000);
	assert_in_range(figure(NULL, "native_instructions"), 6, 50);
	assert_in_range(figure(NULL, "handled_instructions"), 1, 10);
	assert_in_range(figure(NULL, "links"), 1, 10);
	assert_in_range(figure(NULL, "retired_translated"), ROUNDS * 6, ROUNDS * 6 + 2);
	assert_int_equal(figure("slow_calls_by_mnemonic", "cpuid"), ROUNDS);
	for (unsigned n = 0; n < told; n++)
		if (figures[n].part && strcmp(figures[n].part, "slow_calls_by_mnemonic") == 0)
			sum += figures[n].value;
	assert_int_equal(sum, figure(NULL, "slow_calls"));
	assert_int_equal(figure("exits", "halt"), 1);
	assert_in_range(figure("exits", "unlinked"), 1, 10);
	guest_close(&g);
}

/* More mnemonics than tags: the rest share one. */
static void test_tags_run_out(void **state)
{
	static struct bt_figures f;
	unsigned shared = 0;

	(void)state;
	for (unsigned m = 1; m <= 300; m++) {
		uint8_t tag = bt_tag(&f, (ZydisMnemonic)m);

		assert_int_equal(bt_tag(&f, (ZydisMnemonic)m), tag);
		assert_true(tag == 0 || f.mnemonic[tag] == m);
		shared += tag == 0;
	}
	assert_int_equal(shared, 300 - (BT_TAGS - 1));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_figures),
	cmocka_unit_test(test_tags_run_out),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
