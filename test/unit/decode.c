/*
 * decode.c - tests of the decoder: lengths, prefixes, memory operands, what is no instruction.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/bind.h"
#include "engine/interp/decode.h"
#include "test/cmocka.h"

static struct decoder *decoder;

static int setup(void **state)
{
	(void)state;
	decoder = decoder_new(NULL);
	return decoder ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	decoder_free(decoder);
	return 0;
}

static struct insn decode_at(enum decode_mode mode, unsigned at, const void *bytes, unsigned count)
{
	struct insn i;

	assert_true(decode_insn(decoder, NULL, mode, bytes, count, at, &i));
	return i;
}

#define DECODE(mode, text) decode_at(mode, 0, text, sizeof(text) - 1)

static void test_register_numbers(void **state)
{
	(void)state;
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_AL), 0);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_BH), RBX * 8 + 1);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_AH), 1);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_SPL), RSP * 8);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_DIL), RDI * 8);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_R15B), R15 * 8);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_R9W), R9 * 8);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_ESI), RSI * 8);
	assert_int_equal(bind_gpr(ZYDIS_REGISTER_RDX), RDX * 8);
}

static void test_memory_operand(void **state)
{
	/* mov eax, [rbp + r9 * 4 - 8] */
	struct insn i = DECODE(DECODE_64, "\x42\x8b\x44\x8d\xf8");

	(void)state;
	assert_int_equal(i.len, 5);
	assert_true(i.flags & INSN_MEM);
	assert_int_equal(i.base, RBP);
	assert_int_equal(i.index, R9);
	assert_int_equal(i.scale, 2);
	assert_int_equal(i.disp, -8);
	assert_int_equal(i.seg, SS);
	assert_int_equal(i.asz, 8);
	/* add [bx + si + 0x1234], ax */
	i = DECODE(DECODE_REAL16, "\x01\x80\x34\x12");
	assert_int_equal(i.base, RBX);
	assert_int_equal(i.index, RSI);
	assert_int_equal(i.disp, 0x1234);
	assert_int_equal(i.seg, DS);
	assert_int_equal(i.asz, 2);
	/* add [bp + 0], ax */
	i = DECODE(DECODE_REAL16, "\x01\x46\x00");
	assert_int_equal(i.seg, SS);
	/* es add [bp + 0], ax */
	i = DECODE(DECODE_REAL16, "\x26\x01\x46\x00");
	assert_int_equal(i.seg, ES);
}

static void test_rip_relative_counts_from_the_block(void **state)
{
	struct insn i = decode_at(DECODE_64, 100, "\x8b\x05\xff\xff\xff\x7f", 6);

	(void)state;
	assert_int_equal(i.base, R_RIP);
	assert_true(i.disp == INT64_C(0x7fffffff) + 106);
	/* Inside an instruction that has an immediate as well. */
	i = decode_at(DECODE_64, 8, "\xc7\x05\xf0\xff\xff\xff\x01\x02\x03\x04", 10);
	assert_int_equal(i.disp, -16 + 18);
	assert_int_equal(i.imm, 0x04030201);
}

static void test_relative_branch_counts_from_the_block(void **state)
{
	struct insn i = decode_at(DECODE_64, 50, "\xeb\xfe", 2);

	(void)state;
	assert_true(i.imm == 50);
	i = decode_at(DECODE_64, 50, "\xe8\x00\x00\x00\x00", 5);
	assert_true(i.imm == 55);
}

static void test_moffs_is_whole(void **state)
{
	struct insn i = DECODE(DECODE_64, "\xa1\x88\x77\x66\x55\x44\x33\x22\x11");

	(void)state;
	assert_int_equal(i.base, R_ZERO);
	assert_true(i.disp == INT64_C(0x1122334455667788));
}

static void test_segment_overrides_in_64_bit_mode(void **state)
{
	(void)state;
	assert_int_equal(DECODE(DECODE_64, "\x26\x8b\x00").seg, DS);
	assert_int_equal(DECODE(DECODE_64, "\x2e\x8b\x45\x00").seg, SS);
	assert_int_equal(DECODE(DECODE_64, "\x64\x8b\x00").seg, FS);
	assert_int_equal(DECODE(DECODE_64, "\x65\x8b\x04\x24").seg, GS);
	assert_int_equal(DECODE(DECODE_32, "\x2e\x8b\x00").seg, CS);
}

static void test_lock(void **state)
{
	(void)state;
	assert_ptr_not_equal(DECODE(DECODE_64, "\xf0\x01\x00").fn, op_invalid);
	assert_true(DECODE(DECODE_64, "\xf0\x01\x00").flags & INSN_LOCK);
	assert_ptr_equal(DECODE(DECODE_64, "\xf0\x01\xc0").fn, op_invalid); /* register */
	assert_ptr_equal(DECODE(DECODE_64, "\xf0\x8b\x00").fn, op_invalid); /* load */
	assert_ptr_equal(DECODE(DECODE_64, "\xf0\x90").fn, op_invalid);
}

static void test_rep(void **state)
{
	(void)state;
	assert_true(DECODE(DECODE_64, "\xf3\xa4").flags & INSN_REP);
	assert_true(DECODE(DECODE_64, "\xf2\xa4").flags & (INSN_REP | INSN_REPNE));
	assert_true(DECODE(DECODE_64, "\xf2\xae").flags & INSN_REPNE);
	assert_false(DECODE(DECODE_64, "\xf3\x01\xc0").flags & (INSN_REP | INSN_REPNE));
	assert_ptr_not_equal(DECODE(DECODE_64, "\xf3\x01\xc0").fn, op_invalid);
}

static void test_hints_are_nops(void **state)
{
	(void)state;
	assert_ptr_not_equal(DECODE(DECODE_64, "\xf3\x90").fn, op_invalid);         /* PAUSE */
	assert_ptr_not_equal(DECODE(DECODE_64, "\xf3\x0f\x1e\xfa").fn, op_invalid); /* ENDBR64 */
	assert_ptr_not_equal(DECODE(DECODE_64, "\x0f\x1f\x44\x00\x00").fn, op_invalid);
	assert_ptr_not_equal(DECODE(DECODE_64, "\xf3\x48\x0f\x1e\xc8").fn, op_invalid); /* RDSSPQ */
	assert_ptr_not_equal(DECODE(DECODE_64, "\x0f\x1a\x00").fn, op_invalid);         /* BNDLDX */
	assert_ptr_not_equal(DECODE(DECODE_64, "\x0f\x1c\x00").fn, op_invalid); /* CLDEMOTE */
}

static void test_not_instructions(void **state)
{
	(void)state;
	assert_ptr_equal(DECODE(DECODE_64, "\x06").fn, op_invalid);             /* PUSH ES */
	assert_ptr_equal(DECODE(DECODE_64, "\xff\xff").fn, op_invalid);         /* FF /7 */
	assert_ptr_equal(DECODE(DECODE_64, "\x0f\x0f\xc0\x9e").fn, op_invalid); /* 3DNow! */
	/* EVEX: VADDPS zmm */
	assert_ptr_equal(DECODE(DECODE_64, "\x62\xf1\x7c\x48\x58\xc1").fn, op_invalid);
	assert_true(DECODE(DECODE_64, "\xff\xff").flags & INSN_LAST);
}

static void test_length_limit(void **state)
{
	static const uint8_t fits[15] = { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
					  0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90 };
	uint8_t long_one[16];
	struct insn i;

	(void)state;
	i = decode_at(DECODE_64, 0, fits, 15);
	assert_int_equal(i.len, 15);
	assert_ptr_not_equal(i.fn, op_invalid);
	memset(long_one, 0x66, sizeof(long_one));
	i = decode_at(DECODE_64, 0, long_one, 16);
	assert_ptr_not_equal(i.fn, op_invalid); /* #GP, not #UD */
	assert_true(i.flags & INSN_LAST);
}

static void test_needs_more(void **state)
{
	static const uint8_t code[] = { 0xc7, 0x05, 0xf0, 0xff, 0xff, 0xff, 1, 2, 3, 4 };
	struct insn i;

	(void)state;
	for (unsigned n = 0; n < sizeof(code); n++)
		assert_false(decode_insn(decoder, NULL, DECODE_64, code, n, 0, &i));
	assert_true(decode_insn(decoder, NULL, DECODE_64, code, sizeof(code), 0, &i));
}

/* Every two-byte beginning gives some answer, with a length within what was given. */
static void test_any_bytes(void **state)
{
	uint8_t bytes[15];
	uint32_t seed = 1;

	(void)state;
	for (unsigned n = 0; n < 400000; n++) {
		enum decode_mode mode = n % DECODE_MODES;
		struct insn i;

		for (unsigned k = 0; k < sizeof(bytes); k++) {
			seed = seed * 1664525 + 1013904223;
			bytes[k] = (uint8_t)(seed >> 24);
		}
		bytes[0] = (uint8_t)(n >> 10);
		assert_true(decode_insn(decoder, NULL, mode, bytes, sizeof(bytes), 0, &i));
		assert_non_null(i.fn);
		assert_in_range(i.len, 1, 15);
		assert_true(i.base < R_COUNT && i.index < R_COUNT && i.seg < SEG_COUNT);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register_numbers),
		cmocka_unit_test(test_memory_operand),
		cmocka_unit_test(test_rip_relative_counts_from_the_block),
		cmocka_unit_test(test_relative_branch_counts_from_the_block),
		cmocka_unit_test(test_moffs_is_whole),
		cmocka_unit_test(test_segment_overrides_in_64_bit_mode),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_rep),
		cmocka_unit_test(test_hints_are_nops),
		cmocka_unit_test(test_not_instructions),
		cmocka_unit_test(test_length_limit),
		cmocka_unit_test(test_needs_more),
		cmocka_unit_test(test_any_bytes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
