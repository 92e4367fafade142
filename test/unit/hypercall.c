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

/* --- KVM's services, for guests of several vCPUs --- */

#define KICK     5
#define SEND_IPI 10
#define YIELD_TO 11
#define VCPUS    3
#define ICR_NMI  0x400
#define VECTOR   0x77

static struct apic_message sent[256];
static unsigned messages;

static bool note_message(void *arg, const struct apic_message *m)
{
	(void)arg;
	sent[messages++] = *m;
	return true;
}

static struct vm *open_several(void)
{
	struct vm_config config = {
		.engine = &fake_engine_ops, .vcpus = VCPUS, .counted = true, .slice = 100
	};
	struct vm *vm = vm_open(&config, NULL);

	assert_non_null(vm);
	vm->irq.message = note_message;
	messages = 0;
	for (unsigned i = 1; i < VCPUS; i++)
		vm->vcpu[i]->wait_sipi = false;
	return vm;
}

static int64_t call4(struct vm *vm, bool wide, uint64_t number, uint64_t a, uint64_t b, uint64_t c,
		     uint64_t d)
{
	struct exit exit = {
		.reason = EXIT_HYPERCALL,
		.hypercall = {.number = number, .arg = { a, b, c, d }, .wide = wide}
	};

	exit_handle(vm->vcpu[0], &exit);
	return (int64_t)exit.hypercall.result;
}

static void run(struct vm *vm, uint64_t instructions)
{
	int status;

	assert_int_equal(vm_run(vm, instructions, &status, NULL), VM_NONE);
}

static void test_kick(void **state)
{
	struct vm *vm = open_several();
	struct vcpu *to = vm->vcpu[2];

	(void)state;
	to->halted = true;
	((struct fake *)to->engine)->interruptible = false; /* waits for a lock, interrupts off */
	run(vm, 300);
	assert_int_equal(*to->retired, 0);
	assert_int_equal(call4(vm, true, KICK, 0, 2, 0, 0), 0);
	run(vm, 300);
	assert_int_equal(*to->retired, 100);
	assert_false(to->halted);
	assert_int_equal(call4(vm, true, KICK, 0, 2, 0, 0), 0); /* too early: the next HLT ends */
	run(vm, 10);
	to->halted = true;
	run(vm, 300);
	assert_false(to->halted);
	to->halted = true;
	run(vm, 300);
	assert_true(to->halted);                                    /* but not the one after it */
	assert_int_equal(call4(vm, true, KICK, 0, VCPUS, 0, 0), 0); /* nobody */
	assert_int_equal(call4(vm, true, KICK, 0, UINT64_MAX, 0, 0), 0);
	assert_int_equal(call4(vm, true, KICK, 0, 1, 0, 0), 0);
	irq_drop_signals(vm->vcpu[1]);
	assert_false(atomic_load(&vm->vcpu[1]->kicked));
	vm_close(vm);
}

static void test_send_ipi(void **state)
{
	struct vm *vm = open_several();

	(void)state;
	assert_int_equal(call4(vm, true, SEND_IPI, 6, 0, 0, VECTOR), 2);
	assert_int_equal(messages, 2);
	assert_int_equal(sent[0].dest, 1);
	assert_int_equal(sent[1].dest, 2);
	assert_int_equal(sent[0].vector, VECTOR);
	assert_int_equal(sent[0].mode, APIC_FIXED);
	assert_true(sent[0].assert && !sent[0].level && !sent[0].logical);
	assert_int_equal(call4(vm, true, SEND_IPI, 1, 0, 2, ICR_NMI | 2), 1);
	assert_int_equal(sent[2].dest, 2);
	assert_int_equal(sent[2].mode, APIC_NMI);
	messages = 0; /* IDs that nobody has */
	assert_int_equal(call4(vm, true, SEND_IPI, UINT64_MAX, UINT64_MAX, 0, VECTOR), VCPUS);
	assert_int_equal(call4(vm, true, SEND_IPI, UINT64_MAX, UINT64_MAX, VCPUS, VECTOR), 0);
	assert_int_equal(call4(vm, true, SEND_IPI, UINT64_MAX, UINT64_MAX, UINT64_MAX, VECTOR), 0);
	assert_int_equal(messages, VCPUS);
	/* Of 32 bits a word outside 64-bit mode. */
	assert_int_equal(call4(vm, false, SEND_IPI, 0, 1, (uint32_t)-30, VECTOR), 0);
	assert_int_equal(call4(vm, false, SEND_IPI, UINT64_C(1) << 40, 0, 0, VECTOR), 0);
	for (unsigned bit = 11; bit < 20; bit++) /* logical destinations, shorthands */
		if (bit == 11 || bit > 17)
			assert_int_equal(call4(vm, true, SEND_IPI, 1, 0, 0, 1u << bit), -22);
	assert_int_equal(messages, VCPUS);
	vm_close(vm);
}

static void test_yield_to(void **state)
{
	struct vm *vm = open_several();

	(void)state;
	assert_int_equal(call4(vm, true, YIELD_TO, 2, 0, 0, 0), 0);
	run(vm, 150); /* its whole turn is given away; then as always */
	assert_int_equal(*vm->vcpu[2]->retired, 100);
	assert_int_equal(*vm->vcpu[1]->retired, 50);
	assert_int_equal(call4(vm, true, YIELD_TO, 0, 0, 0, 0), 0); /* to itself; to nobody */
	assert_int_equal(call4(vm, true, YIELD_TO, VCPUS, 0, 0, 0), 0);
	run(vm, 50);
	assert_int_equal(*vm->vcpu[1]->retired, 100);
	run(vm, 110);
	assert_int_equal(vm_turn(vm), 0);
	vm->vcpu[1]->halted = true; /* who cannot run is passed over */
	atomic_store(&vm->vcpu[1]->notice, false);
	assert_int_equal(call4(vm, true, YIELD_TO, 1, 0, 0, 0), 0);
	run(vm, 10);
	assert_int_equal(vm_turn(vm), 2);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),  cmocka_unit_test(test_privilege),
		cmocka_unit_test(test_print),    cmocka_unit_test(test_exit),
		cmocka_unit_test(test_yield),    cmocka_unit_test(test_kick),
		cmocka_unit_test(test_send_ipi), cmocka_unit_test(test_yield_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
