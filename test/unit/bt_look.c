/*
 * bt_look.c - what engine bt tells about itself: figures, a map of its code, traces.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <unistd.h>

#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

#define ROUNDS 500

/* mov ecx, ROUNDS; L: push rcx; cpuid; pop rcx; mov [0x100000], rcx; dec ecx; jnz L; hlt */
static const uint8_t program[] = { 0xb9, ROUNDS & 255, ROUNDS >> 8, 0,    0,    0x51, 0x0f, 0xa2,
				   0x59, 0x48,         0x89,        0x0c, 0x25, 0,    0,    0x10,
				   0,    0xff,         0xc9,        0x75, 0xf0, 0xf4 };

static void set_program(struct guest *g)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);

	guest_tables(g);
	memcpy(g->ram + GUEST_CODE, program, sizeof(program));
	guest_set(g, &s);
}

static struct guest open_program(unsigned torture)
{
	struct guest g = guest_open_on(
		&bt_ops, true,
		(struct engine_options){ .torture = torture, .code_cache = CODE_CACHE_LEAST });

	set_program(&g);
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

/* Blocks that go on where a JMP leads, and are not left there. */
static void test_traces(void **state)
{
	/* mov ecx, ROUNDS; L: jmp M; ud2; N: dec ecx; jnz L; hlt; M: add eax, ecx; jmp N */
	static const uint8_t jumps[] = { 0xb9, ROUNDS & 255, ROUNDS >> 8, 0,    0,    0xeb,
					 7,    0x0f,         0x0b,        0xff, 0xc9, 0x75,
					 0xf8, 0xf4,         0x01,        0xc8, 0xeb, 0xf7 };
	struct guest g = open_program(TORTURE(HOT));

	(void)state;
	memcpy(g.ram + GUEST_CODE, jumps, sizeof(jumps));
	assert_int_equal(guest_run(&g, 100000), EXIT_HLT);
	assert_int_equal(g.c->r[RAX], ROUNDS * (ROUNDS + 1) / 2);
	ask(&g);
	assert_in_range(figure(NULL, "traces"), 1, figure(NULL, "blocks"));
	assert_in_range(figure(NULL, "trace_bytes"), 20, figure(NULL, "code_bytes"));
	assert_in_range(figure("exits", "unlinked"), 0, 4);
	guest_close(&g);
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
	static struct bt_tags f;
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

/* --- a map of its code --------------------------------------------------------------------- */

static struct made {
	const uint8_t *at;
	size_t bytes;
	char name[64];
} made[200];
static unsigned makes;

static void note(void *arg, const void *at, size_t bytes, const char *name)
{
	assert_ptr_equal(arg, made);
	assert_in_range(makes, 0, 199);
	made[makes].at = at;
	made[makes].bytes = bytes;
	snprintf(made[makes++].name, sizeof(made[0].name), "%s", name);
}

static struct made *find_made(const char *name)
{
	for (unsigned n = 0; n < makes; n++)
		if (strcmp(made[n].name, name) == 0)
			return &made[n];
	print_error("%s was not made\n", name);
	assert_true(false);
	return NULL;
}

static void test_code_made(void **state)
{
	struct vm_config config = {
		.engine = &bt_ops,
		.vcpus = 1,
		.engine_options = {.torture = TORTURE(HOT),
                                   .code_made = note,
                                   .code_made_arg = made}
	};
	struct guest g = guest_open_config(&config);
	const struct bt *t = g.c->executor;
	unsigned stubs = makes;

	(void)state;
	assert_in_range(stubs, 8, 40);
	set_program(&g);
	assert_int_equal(guest_run(&g, 100000), EXIT_HLT);
	assert_int_equal(makes - stubs, 2 * t->blocks); /* each in two pieces */
	assert_non_null(find_made("guest_10005"));
	assert_ptr_equal(find_made("bt_slow")->at, bt_exec(t, t->slow));
	for (unsigned n = 0; n < makes; n++) {
		assert_true(made[n].at >= t->code.exec_at && made[n].bytes > 0);
		assert_true(made[n].at + made[n].bytes <= t->code.exec_at + t->code.bytes);
		for (unsigned k = 0; k < n; k++)
			assert_true(made[n].at >= made[k].at + made[k].bytes ||
				    made[k].at >= made[n].at + made[n].bytes);
	}
	guest_close(&g);
}

/* --- traces -------------------------------------------------------------------------------- */

/* Runs the program, or another one, with standard error in a file, into text[]. */
static char text[1 << 16];

static void traced(unsigned topics, const uint8_t *other, size_t bytes)
{
	struct vm_config config = { .engine = &bt_ops,
				    .vcpus = 1,
				    .counted = !other,
				    .trace = topics,
				    .engine_options = { .torture = other ? 0 : TORTURE(HOT) } };
	struct guest g = guest_open_config(&config);
	int saved = dup(STDERR_FILENO);
	FILE *file = tmpfile();

	assert_non_null(file);
	set_program(&g);
	if (other)
		memcpy(g.ram + GUEST_CODE, other, bytes);
	dup2(fileno(file), STDERR_FILENO);
	guest_run(&g, 100000);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	guest_close(&g);
}

/* Is there a line with the guest's instruction on the left and this on the right? */
static bool beside(const char *guest, const char *host)
{
	for (const char *at = text; (at = strstr(at, guest)); at++) {
		const char *bar = strchr(at, '|'), *end = strchr(at, '\n');
		const char *found = bar ? strstr(bar, host) : NULL;

		if (found && found < end)
			return true;
	}
	return false;
}

static void test_trace_translate(void **state)
{
	(void)state;
	traced(0, NULL, 0);
	assert_string_equal(text, "");
	traced(1u << TRACE_BIT_translate, NULL, 0);
	assert_non_null(strstr(text, "translate 0x10005: "));
	assert_true(beside("; entry", "sub r15, 0x"));
	assert_true(beside("mov ecx, 0x1F4", "mov r9d, 0x1F4"));
	assert_non_null(strstr(text, "dec r9d"));
	assert_true(beside("pop rcx", "r11, r"));
	assert_true(beside("cpuid", "r11d, 0x"));
	assert_non_null(strstr(text, "call bt_slow"));
	assert_true(beside("; budget: push rcx", "lea r15, [r15+0x"));
	for (const char *at = text; *at; at = strchr(at, '\n') + 1)
		assert_memory_equal(at, "trace ", 6);
}

/* Where the flags of a jump within its page are saved. */
static void test_trace_flags(void **state)
{
	/* mov ecx, ROUNDS; L: lea rax, [rip + M]; cmp ecx, 7; jmp rax; M: dec ecx; jnz L; hlt */
	static const uint8_t code[] = {
		0xb9, ROUNDS & 255, ROUNDS >> 8, 0, 0,    0x48, 0x8d, 5,    5,    0,    0,
		0,    0x83,         0xf9,        7, 0xff, 0xe0, 0xff, 0xc9, 0x75, 0xf0, 0xf4
	};

	(void)state;
	traced(1u << TRACE_BIT_translate, code, sizeof(code));
	assert_true(beside("; flags: jmp rax", "cmp r9d, 0x"));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_code_made),    cmocka_unit_test(test_trace_translate),
	cmocka_unit_test(test_figures),      cmocka_unit_test(test_traces),
	cmocka_unit_test(test_tags_run_out), cmocka_unit_test(test_trace_flags),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
