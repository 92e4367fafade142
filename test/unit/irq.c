/*
 * irq.c - tests of lines, sinks, and of what INIT and SIPI do to a vCPU.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

struct heard {
	unsigned calls, gsi;
	int level;
};

static void hear(void *arg, unsigned gsi, int level)
{
	struct heard *h = arg;

	h->calls++;
	h->gsi = gsi;
	h->level = level;
}

static void test_lines(void **state)
{
	struct vm *vm = fake_vm(true);
	struct heard h[2] = { 0 };

	(void)state;
	assert_true(irq_add_sink(vm, hear, &h[0]));
	assert_true(irq_add_sink(vm, hear, &h[1]));
	irq_set(vm, 5, 7);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(h[i].calls, 1);
		assert_int_equal(h[i].gsi, 5);
		assert_int_equal(h[i].level, 1);
	}
	irq_set(vm, 5, 1); /* no change, no news */
	irq_set(vm, IRQ_LINES, 1);
	assert_int_equal(h[0].calls, 1);
	irq_set(vm, 5, 0);
	assert_int_equal(h[1].calls, 2);
	assert_int_equal(h[1].level, 0);
	for (unsigned i = 2; i < IRQ_SINKS; i++)
		assert_true(irq_add_sink(vm, hear, &h[0]));
	assert_false(irq_add_sink(vm, hear, &h[0]));
	vm_close(vm);
}

static void test_nothing_connected(void **state)
{
	struct vm *vm = fake_vm(true);
	struct apic_message m = { .vector = 0x40 };

	(void)state;
	assert_false(irq_message(vm, &m));
	irq_eoi(vm, 0x40);
	irq_nmi(vm, 1); /* no such vCPU */
	irq_init(vm, 1);
	irq_sipi(vm, VCPUS_MAX + 1, 0);
	assert_false(vm->vcpu[0]->nmi_waiting);
	vm_close(vm);
}

/* INIT resets the CPU and keeps what SDM table 9-1 keeps; it happens in the run loop. */
static void test_init(void **state)
{
	struct vm *vm = fake_vm(true);
	struct x86_state s;
	int status;

	(void)state;
	vcpu_get_state(vm->vcpu[0], &s);
	s.rip = 0x1234;
	s.cr0 = CR0_PE | CR0_PG | CR0_NW;
	s.cr3 = 0x5000;
	s.lstar = 0xabc;
	s.fpu.ymm[3][1] = 77;
	s.instructions = 1000;
	s.activity = ACTIVITY_HALT;
	assert_int_equal(vcpu_set_state(vm->vcpu[0], &s, NULL), 0);
	irq_nmi(vm, 0);
	irq_init(vm, 0);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.rip, 0x1234); /* not yet */
	assert_int_equal(vm_run(vm, 1, &status, NULL), VM_NONE);
	vcpu_get_state(vm->vcpu[0], &s);
	assert_int_equal(s.rip, 0xfff0);
	assert_int_equal(s.seg[CS].base, 0xffff0000);
	assert_int_equal(s.cr0 & (CR0_PE | CR0_PG | CR0_NW | CR0_CD), CR0_NW);
	assert_int_equal(s.cr3, 0);
	assert_int_equal(s.lstar, 0xabc);
	assert_int_equal(s.fpu.ymm[3][1], 77);
	assert_int_equal(s.instructions, 1001); /* virtual time goes on; halted no more */
	assert_int_equal(((struct fake *)vm->vcpu[0]->engine)->injected, -1);
	vm_close(vm);
}

static void test_sipi(void **state)
{
	struct vm_config config = { .engine = &fake_engine_ops, .vcpus = 2, .counted = true };
	struct vm *vm = vm_open(&config, NULL);
	struct x86_state s;

	(void)state;
	irq_init(vm, 1);
	irq_sipi(vm, 1, 0x9a);
	irq_sipi(vm, 1, 0x11); /* the second one changes nothing */
	assert_int_equal(irq_take_signals(vm->vcpu[1], NULL), 0);
	fake_get_state(vm->vcpu[1], &s);
	assert_int_equal(s.activity, ACTIVITY_RUN);
	assert_int_equal(s.seg[CS].selector, 0x9a00);
	assert_int_equal(s.seg[CS].base, 0x9a000);
	assert_int_equal(s.rip, 0);
	irq_sipi(vm, 1, 0x11); /* a CPU that runs ignores it */
	assert_int_equal(irq_take_signals(vm->vcpu[1], NULL), 0);
	fake_get_state(vm->vcpu[1], &s);
	assert_int_equal(s.seg[CS].base, 0x9a000);
	irq_sipi(vm, 1, 0x22);
	irq_init(vm, 1); /* INIT forgets an earlier SIPI */
	assert_int_equal(irq_take_signals(vm->vcpu[1], NULL), 0);
	fake_get_state(vm->vcpu[1], &s);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
	irq_sipi(vm, 1, 0x33);
	irq_drop_signals(vm->vcpu[1]);
	assert_int_equal(irq_take_signals(vm->vcpu[1], NULL), 0);
	fake_get_state(vm->vcpu[1], &s);
	assert_int_equal(s.activity, ACTIVITY_WAIT_SIPI);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_nothing_connected),
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_sipi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
