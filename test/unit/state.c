/*
 * state.c - tests of cpu/state.c: the form of the field table (state_table.c has its
 * completeness), and the values after RESET and INIT.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "test/cmocka.h"

static unsigned field_count(void)
{
	unsigned n = 0;

	while (x86_state_fields[n].name)
		n++;
	return n;
}

static void test_names_and_widths(void **state)
{
	(void)state;
	for (unsigned i = 0; i < field_count(); i++) {
		const struct field *f = &x86_state_fields[i];

		assert_true(f->width == 1 || f->width == 2 || f->width == 4 || f->width == 8);
		assert_true(f->stride >= f->width && f->count > 0 && f->since > 0);
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(f->name, x86_state_fields[j].name);
	}
}

static const struct field *find(const char *name)
{
	const struct field *f = x86_state_fields;

	while (f->name && strcmp(f->name, name))
		f++;
	assert_non_null(f->name);
	return f;
}

/* A few rows that are written by hand or by nested macros lead to the member they name. */
static void test_rows_point_right(void **state)
{
	(void)state;
	assert_int_equal(find("cs.base")->offset, offsetof(struct x86_state, seg[CS].base));
	assert_int_equal(find("tr.selector")->offset, offsetof(struct x86_state, tr.selector));
	assert_int_equal(find("gpr")->count, 16);
	assert_int_equal(find("mtrr_fixed")->count, 11);
	assert_int_equal(find("fpu.ymm")->count, 64);
	assert_int_equal(find("fpu.st.mant")->count, 8);
	assert_int_equal(find("fpu.st.exp")->offset + 3 * find("fpu.st.exp")->stride,
			 offsetof(struct x86_state, fpu.st[3].exp));
}

static void test_reset(void **state)
{
	static struct x86_state s;

	(void)state;
	memset(&s, 0xa5, sizeof s);
	x86_state_reset(&s, true);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.seg[CS].base, 0xffff0000);
	assert_int_equal(s.seg[CS].selector, 0xf000);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.gpr[RDX], cpu_model_signature(cpu_models[0]));
	assert_int_equal(s.gpr[RAX], 0);
	assert_int_equal(s.dr6, 0xffff0ff0);
	assert_int_equal(s.dr7, 0x400);
	assert_int_equal(s.xcr0, 1);
	assert_int_equal(s.pat, 0x0007040600070406);
	assert_int_equal(s.fpu.fcw, 0x40);
	assert_int_equal(s.fpu.ftw, 0xff);
	assert_int_equal(s.fpu.mxcsr, 0x1f80);
	assert_int_equal(s.idtr.limit, 0xffff);
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		assert_int_equal(s.seg[i].limit, 0xffff);
		assert_int_equal(s.seg[i].attr, 0x93);
	}
	assert_int_equal(s.activity, ACTIVITY_RUN);
	assert_int_equal(s.instructions, 0);
	assert_int_equal(x86_cpl(&s), 0);
	x86_state_reset(&s, false);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
}

static void test_init_keeps(void **state)
{
	static struct x86_state s, before;

	(void)state;
	memset(&s, 0x5a, sizeof s);
	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NW;
	before = s;
	x86_state_init(&s, true);
	assert_memory_equal(&s.fpu, &before.fpu, sizeof s.fpu);
	assert_memory_equal(&s.star, &before.star,
			    offsetof(struct x86_state, fpu) - offsetof(struct x86_state, star));
	assert_int_equal(s.instructions, before.instructions);
	assert_int_equal(s.xcr0, before.xcr0);
	assert_int_equal(s.cr0, CR0_ET | CR0_NW);
	assert_int_equal(s.cr4, 0);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.seg[CS].base, 0xffff0000);
	assert_int_equal(s.event_pending, 0);
	assert_int_equal(s.activity, ACTIVITY_RUN);
	x86_state_init(&s, false);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_widths),
		cmocka_unit_test(test_rows_point_right),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_init_keeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
