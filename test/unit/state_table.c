/*
 * state_table.c - test of the field table in cpu/state.c: it names every byte of struct
 * x86_state exactly once.
 *
 * Padding must not count as state and a forgotten member must not pass for padding. So this
 * file sees the struct packed, where there is no padding: if no two fields of the
 * table overlap and their bytes add up to the packed size, nothing is missing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cpu/field.h"
#include "test/cmocka.h"

/* Alignment attributes would bring padding back. Only sizes may be taken from this copy. */
#pragma pack(push, 1)
#define __attribute__(x)
#include "cpu/state.h"
#undef __attribute__
#pragma pack(pop)

#define ROOM (4 * sizeof(struct x86_state)) /* more than the real struct */

static void test_every_byte_once(void **state)
{
	static uint8_t times[ROOM];
	size_t bytes = 0;

	(void)state;
	for (const struct field *f = x86_state_fields; f->name; f++) {
		for (uint32_t e = 0; e < f->count; e++) {
			for (uint32_t b = 0; b < f->width; b++) {
				size_t at = f->offset + e * f->stride + b;

				assert_in_range(at, 0, ROOM - 1);
				if (times[at])
					print_error("%s overlaps another field\n", f->name);
				assert_int_equal(times[at]++, 0);
				bytes++;
			}
		}
	}
	assert_int_equal(bytes, sizeof(struct x86_state));
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_byte_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
