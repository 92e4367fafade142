/*
 * hypercall.c - tests of the hypercall table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/hypercall.h"

#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

static char printed[2 * HYPERCALL_PRINT_MAX];
static size_t printed_bytes;

static void print(void *arg, const char *text, size_t bytes)
{
	assert_ptr_equal(arg, printed);
	memcpy(printed + printed_bytes, text, bytes);
	printed_bytes += bytes;
}

static struct vm *open_with_memory(void)
{
	struct vm *vm = fake_vm(true);

	assert_int_equal(mem_add(vm, gpa(0), 0x4000, NULL, false, NULL), 0);
	vm->hooks.print = print;
	vm->hooks.arg = printed;
	printed_bytes = 0;
	return vm;
}

/* Through the exit table, as an engine does it. */
static int64_t call(struct vm *vm, unsigned cpl, uint64_t number, uint64_t a, uint64_t b)
{
	struct exit exit = {
		.reason = EXIT_HYPERCALL,
		.hypercall = {.number = number,
                              .arg = { a, b },
                              .cpl = (uint8_t)cpl,
                              .result = 0x5555}
	};

	exit_handle(vm->vcpu[0], &exit);
	return (int64_t)exit.hypercall.result;
}

static void test_numbers(void **state)
{
	struct vm *vm = open_with_memory();

	(void)state;
	assert_int_equal(call(vm, 0, HYPERCALL_VERSION, 0, 0), 1);
	assert_int_equal(vm->vcpu[0]->exits[EXIT_HYPERCALL], 1);
	for (uint64_t n = 0; n < 64; n++) /* KVM's own have no effect here */
		assert_int_equal(call(vm, 0, n, 0, 0), -1000);
	assert_int_equal(call(vm, 0, HYPERCALL_BASE + 4, 0, 0), -1000);
	assert_int_equal(call(vm, 0, HYPERCALL_BASE - 1, 0, 0), -1000);
	assert_int_equal(call(vm, 0, HYPERCALL_VERSION | UINT64_C(1) << 32, 0, 0), -1000);
	vm_close(vm);
}

static void test_privilege(void **state)
{
	struct vm *vm = open_with_memory();

	(void)state;
	for (unsigned cpl = 1; cpl < 4; cpl++) {
		assert_int_equal(call(vm, cpl, HYPERCALL_VERSION, 0, 0), -1);
		assert_int_equal(call(vm, cpl, 0x1234, 0, 0), -1);
		assert_int_equal(call(vm, cpl, HYPERCALL_EXIT, 5, 0), -1);
	}
	assert_int_equal(atomic_load(&vm->request), VM_NONE);
	vm_close(vm);
}

static void test_print(void **state)
{
	struct vm *vm = open_with_memory();

	(void)state;
	mem_write(&vm->mem, gpa(0xffe), "hello", 5);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0xffe, 5), 5);
	assert_int_equal(printed_bytes, 5);
	assert_memory_equal(printed, "hello", 5);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0x12345678, 0), 0);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0x3fff, 2), -14);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, UINT64_MAX, 2), -14);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0, HYPERCALL_PRINT_MAX + 1), -7);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0, UINT64_MAX), -7);
	assert_int_equal(printed_bytes, 5);
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0, HYPERCALL_PRINT_MAX), 4096);
	assert_int_equal(printed_bytes, 5 + HYPERCALL_PRINT_MAX);
	vm->hooks.print = NULL; /* nobody listens */
	assert_int_equal(call(vm, 0, HYPERCALL_PRINT, 0, 5), 5);
	vm_close(vm);
}

static void test_exit(void **state)
{
	struct vm *vm = open_with_memory();
	struct fail why;
	int status = -1;

	(void)state;
	assert_int_equal(call(vm, 0, HYPERCALL_EXIT, 42, 0), 0);
	assert_int_equal(call(vm, 0, HYPERCALL_EXIT, 43, 0), 0); /* the first one wins */
	assert_int_equal(vm_run(vm, 1000, &status, &why), VM_DEBUG_EXIT);
	assert_int_equal(status, 42);
	assert_int_equal(call(vm, 0, HYPERCALL_EXIT, UINT64_MAX, 0), 0);
	assert_int_equal(vm_run(vm, 1000, &status, &why), VM_DEBUG_EXIT);
	assert_int_equal(status, 0x7fffffff);
	vm_close(vm);
}

static void test_yield(void **state)
{
	struct vm *vm = open_with_memory();

	(void)state;
	atomic_store(&vm->vcpu[0]->notice, false);
	assert_int_equal(call(vm, 0, HYPERCALL_YIELD, 0, 0), 0);
	assert_true(atomic_load(&vm->vcpu[0]->notice));
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_privilege),
		cmocka_unit_test(test_print),   cmocka_unit_test(test_exit),
		cmocka_unit_test(test_yield),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
