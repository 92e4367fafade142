/*
 * segment.c - tests of cpu/segment.c.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/segment.h"
#include "test/cmocka.h"

#define DATA   (SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED)
#define CODE   (SEG_P | SEG_S | SEG_CODE | SEG_WRITE | SEG_ACCESSED)
#define DPL(n) ((uint32_t)(n) << 5)

static struct x86_seg seg_of(uint32_t attr, uint32_t limit)
{
	return (struct x86_seg){ .attr = attr, .limit = limit };
}

static void test_unpack(void **state)
{
	struct x86_seg flat_code = segment_unpack(0x10, UINT64_C(0x00af9b000000ffff));
	struct x86_seg odd = segment_unpack(0x23, UINT64_C(0x12c5f3345678abcd));

	(void)state;
	assert_int_equal(flat_code.base, 0);
	assert_int_equal(flat_code.limit, 0xffffffff);
	assert_int_equal(flat_code.attr, CODE | SEG_L | SEG_G);
	assert_int_equal(flat_code.selector, 0x10);
	assert_int_equal(odd.base, 0x12345678);
	assert_int_equal(odd.limit, 0x5abcdfff);
	assert_int_equal(odd.attr, DATA | DPL(3) | SEG_G | SEG_DB);
	odd = segment_unpack(0, UINT64_C(0x0005f3345678abcd)); /* the same limit in bytes */
	assert_int_equal(odd.limit, 0x5abcd);
}

static void test_pack_is_inverse(void **state)
{
	(void)state;
	srand(1);
	for (unsigned n = 0; n < 10000; n++) {
		uint64_t d = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
		struct x86_seg seg = segment_unpack(8, d);

		assert_int_equal(segment_pack(&seg), d);
	}
}

/* Everything one byte before, at and after the limit, from first principles. */
static void test_limit_edges(void **state)
{
	static const uint32_t limits[] = { 0, 1, 7, 0xfff, 0xffff, 0x10000, 0xfffffffe };
	static const unsigned sizes[] = { 1, 2, 4, 8, 16, 32, 64 };

	(void)state;
	for (unsigned l = 0; l < 7; l++) {
		for (unsigned z = 0; z < 7; z++) {
			for (int64_t d = -70; d <= 70; d++) {
				struct x86_seg seg = seg_of(DATA, limits[l]);
				int64_t off = (int64_t)limits[l] + d;

				if (off < 0 || off > 0xffffffff)
					continue;
				assert_int_equal(
					segment_allows(&seg, (uint64_t)off, sizes[z], true),
					off + sizes[z] <= (int64_t)limits[l] + 1);
			}
		}
	}
}

static void test_expand_down(void **state)
{
	struct x86_seg small = seg_of(DATA | SEG_DOWN, 0x1000);
	struct x86_seg big = seg_of(DATA | SEG_DOWN | SEG_DB, 0x1000);

	(void)state;
	assert_false(segment_allows(&small, 0, 1, false));
	assert_false(segment_allows(&small, 0x1000, 1, false));
	assert_false(segment_allows(&small, 0xffe, 4, false));
	assert_true(segment_allows(&small, 0x1001, 1, true));
	assert_true(segment_allows(&small, 0xfffc, 4, true));
	assert_false(segment_allows(&small, 0xfffd, 4, true));
	assert_false(segment_allows(&small, 0x10000, 1, true));
	assert_true(segment_allows(&big, 0x10000, 1, true));
	assert_true(segment_allows(&big, 0xfffffffc, 4, true));
	assert_false(segment_allows(&big, 0xfffffffd, 4, true));
	big.limit = 0xffffffff; /* nothing is above it */
	assert_false(segment_allows(&big, 0xffffffff, 1, false));
	assert_false(segment_flat(&big, false));
}

static void test_rights(void **state)
{
	struct x86_seg read_only = seg_of(SEG_P | SEG_S, 0xffff);
	struct x86_seg code = seg_of(CODE, 0xffff);
	struct x86_seg code_only = seg_of(CODE & ~SEG_WRITE, 0xffff);
	struct x86_seg conforming = seg_of(CODE | SEG_DOWN, 0xffff);
	struct x86_seg null;

	(void)state;
	segment_load_null(&null, 3);
	assert_true(segment_allows(&read_only, 0, 1, false));
	assert_false(segment_allows(&read_only, 0, 1, true));
	assert_true(segment_allows(&code, 0, 1, false));
	assert_false(segment_allows(&code, 0, 1, true));
	assert_false(segment_allows(&code_only, 0, 1, false));
	assert_true(segment_allows(&conforming, 0, 1, false)); /* not taken for expand-down */
	assert_false(segment_allows(&conforming, 0x10000, 1, false));
	assert_false(segment_allows(&null, 0, 1, false));
	assert_int_equal(null.selector, 3);
	assert_int_equal(SEG_DPL(null.attr), 3);
}

static void test_flat(void **state)
{
	struct x86_seg data = seg_of(DATA | SEG_G | SEG_DB, 0xffffffff);
	struct x86_seg code = seg_of(CODE | SEG_G | SEG_DB, 0xffffffff);

	(void)state;
	assert_true(segment_flat(&data, true));
	assert_true(segment_flat(&data, false));
	assert_true(segment_flat(&code, false));
	assert_false(segment_flat(&code, true));
	data.base = 1;
	assert_false(segment_flat(&data, false));
	data.base = 0;
	data.limit--;
	assert_false(segment_flat(&data, false));
	data.limit++;
	data.attr |= SEG_UNUSABLE;
	assert_false(segment_flat(&data, false));
}

static void test_flat_needs_no_check(void **state)
{
	struct x86_seg data = seg_of(DATA | SEG_G | SEG_DB, 0xffffffff);

	(void)state;
	assert_true(segment_allows(&data, 0xffffffff, 1, true));
	assert_true(segment_allows(&data, 0xfffffffe, 4, true)); /* wraps, see segment.c */
}

static void test_real_and_v86(void **state)
{
	struct x86_seg seg = seg_of(DATA | SEG_G | SEG_DB, 0xffffffff);

	(void)state;
	segment_load_real(&seg, 0x1234);
	assert_int_equal(seg.base, 0x12340);
	assert_int_equal(seg.limit, 0xffffffff); /* unreal mode */
	assert_true(segment_allows(&seg, 0x100000, 4, true));
	seg = seg_of(CODE | DPL(0), 0xffff);
	segment_load_real(&seg, 0xffff);
	assert_int_equal(seg.base, 0xffff0);
	assert_int_equal(seg.attr, DATA);
	segment_load_null(&seg, 0);
	segment_load_real(&seg, 0x40);
	assert_true(segment_allows(&seg, 0xfffe, 2, true));
	assert_false(segment_allows(&seg, 0xffff, 2, true)); /* 16-bit wrap faults */
	segment_load_v86(&seg, 0x1000);
	assert_int_equal(seg.base, 0x10000);
	assert_int_equal(seg.limit, 0xffff);
	assert_int_equal(seg.attr, 0xf3);
}

/* Every kind of descriptor, DPL, CPL and RPL, against the rules as SDM 5.5-5.7 states them. */
static void test_check_matrix(void **state)
{
	(void)state;
	for (uint32_t type = 0; type < 32; type++) {
		for (unsigned n = 0; n < 128; n++) {
			unsigned dpl = n & 3, cpl = n >> 2 & 3, rpl = n >> 4 & 3, p = n >> 6;
			struct x86_seg seg = seg_of(type | DPL(dpl) | (p ? SEG_P : 0), 0xffff);
			uint16_t selector = (uint16_t)(0x40 | rpl);
			bool system = type < 16, is_code = type & 8;
			bool readable = !is_code || (type & 2), conforming = is_code && (type & 4);
			bool privileged = conforming || (dpl >= cpl && dpl >= rpl);
			int data = system || !readable || !privileged ? VEC_GP : p ? 0 : VEC_NP;
			int stack = system || is_code || !(type & 2) || rpl != cpl || dpl != cpl
					    ? VEC_GP
				    : p ? 0
					: VEC_SS;

			assert_int_equal(segment_check_data(&seg, selector, cpl), data);
			assert_int_equal(segment_check_stack(&seg, selector, cpl), stack);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unpack),       cmocka_unit_test(test_pack_is_inverse),
		cmocka_unit_test(test_limit_edges),  cmocka_unit_test(test_expand_down),
		cmocka_unit_test(test_rights),       cmocka_unit_test(test_flat),
		cmocka_unit_test(test_real_and_v86), cmocka_unit_test(test_flat_needs_no_check),
		cmocka_unit_test(test_check_matrix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
