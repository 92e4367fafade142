/*
 * mem.c - tests of the machine map: slots, copies, marks, the dirty log, memory taken ahead.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

static struct vm *open_vm(void)
{
	struct vm *vm = fake_vm(true);
	struct fail why;

	assert_int_equal(mem_add(vm, gpa(0x10000), 0x4000, NULL, false, &why), 0);
	assert_int_equal(mem_add(vm, gpa(0x0), 0x10000, NULL, false, &why), 0); /* adjoins */
	assert_int_equal(mem_add(vm, gpa(0xf0000), 0x1000, NULL, true, &why), 0);
	return vm;
}

static void test_slots_are_checked(void **state)
{
	struct vm *vm = open_vm();
	struct fail why;

	(void)state;
	assert_int_equal(mem_add(vm, gpa(0x13000), 0x1000, NULL, false, &why), -EEXIST);
	assert_int_equal(mem_add(vm, gpa(0x20001), 0x1000, NULL, false, &why), -EINVAL);
	assert_int_equal(mem_add(vm, gpa(0x20000), 0, NULL, false, &why), -EINVAL);
	assert_int_equal(mem_add(vm, gpa(UINT64_MAX - 0xfff), 0x2000, NULL, false, &why), -EINVAL);
	assert_int_equal(vm->mem.ram_bytes, 0x14000);
	vm_close(vm);
}

static void test_find_and_host(void **state)
{
	struct vm *vm = open_vm();

	(void)state;
	assert_int_equal(mem_find(&vm->mem, gpa(0x0))->start.v, 0);
	assert_int_equal(mem_find(&vm->mem, gpa(0xffff))->start.v, 0);
	assert_int_equal(mem_find(&vm->mem, gpa(0x10000))->start.v, 0x10000);
	assert_null(mem_find(&vm->mem, gpa(0x14000)));
	assert_null(mem_find(&vm->mem, gpa(UINT64_MAX)));
	assert_non_null(mem_host(&vm->mem, gpa(0x13fff), 1));
	assert_null(mem_host(&vm->mem, gpa(0x13fff), 2));
	assert_null(mem_host(&vm->mem, gpa(0xffff), 2)); /* two slots: not one piece */
	vm_close(vm);
}

static void test_copies_cross_slots_or_do_nothing(void **state)
{
	struct vm *vm = open_vm();
	uint8_t out[16], in[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		in[i] = (uint8_t)(i + 1);
	assert_int_equal(mem_write(&vm->mem, gpa(0xfff8), in, 16), 0);
	assert_int_equal(mem_read(&vm->mem, gpa(0xfff8), out, 16), 0);
	assert_memory_equal(in, out, 16);
	assert_int_equal(mem_write(&vm->mem, gpa(0x13ff8), in, 16), -EFAULT);
	assert_int_equal(mem_read(&vm->mem, gpa(0x13ff8), out, 8), 0);
	assert_int_equal(out[0], 0); /* nothing was written */
	assert_int_equal(mem_write(&vm->mem, gpa(0xf0000), in, 4), -EFAULT);
	assert_int_equal(mem_load(&vm->mem, gpa(0xf0000), in, 4), 0);
	assert_int_equal(mem_read(&vm->mem, gpa(UINT64_MAX - 3), out, 8), -EFAULT);
	assert_true(mem_is_memory(&vm->mem, gpa(0xfff8), 16, true)); /* over a seam */
	assert_false(mem_is_memory(&vm->mem, gpa(0x13ff8), 16, true));
	assert_false(mem_is_memory(&vm->mem, gpa(0xf0000), 4, true)); /* ROM */
	assert_true(mem_is_memory(&vm->mem, gpa(0xf0000), 4, false));
	assert_false(mem_is_memory(&vm->mem, gpa(UINT64_MAX - 3), 8, false));
	vm_close(vm);
}

static struct {
	unsigned calls;
	uint64_t at[4], bytes[4];
} told;

static void code_written(void *arg, gpa_t at, uint64_t bytes)
{
	(void)arg;
	told.at[told.calls] = at.v;
	told.bytes[told.calls++] = bytes;
}

static void test_code_pages_are_reported(void **state)
{
	struct vm *vm = open_vm();
	uint8_t data[0x1100] = { 0 };

	(void)state;
	told.calls = 0;
	vm->mem.code_written = code_written;
	*mem_mark(mem_find(&vm->mem, gpa(0x2000)), gpa(0x2000)) |= MARK_CODE;
	assert_int_equal(mem_write(&vm->mem, gpa(0x1f80), data, sizeof(data)), 0);
	assert_int_equal(told.calls, 1);
	assert_int_equal(told.at[0], 0x2000);
	assert_int_equal(told.bytes[0], 0x1000);
	vm_close(vm);
}

static void test_dirty_log(void **state)
{
	struct vm *vm = open_vm();
	struct mem_slot *slot = mem_find(&vm->mem, gpa(0));
	uint64_t bits[1] = { 0 };
	uint8_t byte = 1;

	(void)state;
	mem_dirty_start(&vm->mem);
	mem_dirty_collect(&vm->mem, slot, bits);
	assert_int_equal(bits[0], 0);
	assert_int_equal(mem_write(&vm->mem, gpa(0x3000), &byte, 1), 0);
	assert_int_equal(mem_write(&vm->mem, gpa(0x5fff), &byte, 1), 0);
	mem_dirty_collect(&vm->mem, slot, bits);
	assert_int_equal(bits[0], (1u << 3) | (1u << 5));
	bits[0] = 0;
	mem_dirty_collect(&vm->mem, slot, bits);
	assert_int_equal(bits[0], 0);
	mem_dirty_stop(&vm->mem);
	assert_int_equal(*mem_mark(slot, gpa(0)), 0);
	vm_close(vm);
}

/* A guest that goes through its memory is followed, upwards and downwards, and no further than the
 * slot. */
static void test_followed(void **state)
{
	static const struct {
		unsigned touch;
		char then[13]; /* each huge page: 0 untaken, t to be taken, T touched */
	} steps[] = {
		{5,   "00000T000000"},
                { 6,  "00000TTtt000"},
		{ 7,  "00000TTTtt00"},
                { 8,  "00000TTTTtt0"},
		{ 4,  "00ttTTTTTtt0"},
                { 10, "00ttTTTTTtT0"}, /* alone: 9 is not touched yet */
		{ 9,  "00ttTTTTTTT0"}, /* between two */
		{ 3,  "0ttTTTTTTTT0"},
                { 11, "0ttTTTTTTTTT"}, /* the last one */
		{ 0,  "TttTTTTTTTTT"},
	};
	const size_t huge = (size_t)1 << MEM_HUGE_SHIFT;
	uint8_t *room = host_map(13 * huge), *host = room + (-(uintptr_t)room & (huge - 1));
	struct vm *vm = fake_vm(true);
	struct mem_slot *slot;
	struct fail why;

	(void)state;
	assert_int_equal(mem_add(vm, gpa(0), 12 * huge, host, false, &why), 0);
	assert_int_equal(mem_expect(vm, gpa(0), &why), 0);
	slot = mem_find(&vm->mem, gpa(0));
	for (unsigned k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
		mem_touch(vm, slot, host + steps[k].touch * huge + k);
		for (unsigned n = 0; n < 12; n++)
			assert_int_equal("0tT"[slot->taken[n]], steps[k].then[n]);
	}
	vm_close(vm);
	host_unmap(room, 13 * huge);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_checked),
		cmocka_unit_test(test_find_and_host),
		cmocka_unit_test(test_copies_cross_slots_or_do_nothing),
		cmocka_unit_test(test_code_pages_are_reported),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
