/*
 * lapic.c - tests of the local APIC: registers, modes, priorities.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/lapic_rig.h"

static void test_reset_values(void **state)
{
	struct vm *vm = rig_open(2);

	(void)state;
	assert_int_equal(msr_get(vm, 0, MSR_APIC_BASE), 0xfee00900);
	assert_int_equal(msr_get(vm, 1, MSR_APIC_BASE), 0xfee00800);
	assert_int_equal(apic_read(vm, 0, ID), 0);
	assert_int_equal(apic_read(vm, 1, ID), 1u << 24);
	assert_int_equal(apic_read(vm, 0, VER), 0x01050014);
	assert_int_equal(apic_read(vm, 0, SVR), 0xff);
	assert_int_equal(apic_read(vm, 0, DFR), 0xffffffff);
	for (unsigned off = TIMER; off <= LVT_ERR; off += 0x10)
		assert_int_equal(apic_read(vm, 0, off), MASKED);
	assert_int_equal(rig_pending(vm, 0), -1);
	vm_close(vm);
}

static void test_access_width(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, LDR, 0xa5000000);
	assert_int_equal(rig_read(vm, 0, LAPIC_BASE + LDR + 3, 1), 0xa5);
	assert_int_equal(rig_read(vm, 0, LAPIC_BASE + LDR + 2, 2), 0xa500);
	assert_int_equal(rig_read(vm, 0, LAPIC_BASE + LDR, 8), 0xa5000000);
	assert_int_equal(rig_read(vm, 0, LAPIC_BASE + LDR + 4, 4), 0);
	rig_write(vm, 0, LAPIC_BASE + LDR + 3, 1, 0x11);
	rig_write(vm, 0, LAPIC_BASE + LDR, 8, 0x11000000);
	rig_write(vm, 0, LAPIC_BASE + LDR + 4, 4, 0x11000000);
	assert_int_equal(apic_read(vm, 0, LDR), 0xa5000000);
	apic_write(vm, 0, ID, 0x07000000); /* read-only */
	assert_int_equal(apic_read(vm, 0, ID), 0);
	apic_write(vm, 0, LINT0, 0xffffffff); /* only what exists is kept */
	assert_int_equal(apic_read(vm, 0, LINT0), 0x1a7ff);
	apic_write(vm, 0, TIMER, 0xffffffff);
	assert_int_equal(apic_read(vm, 0, TIMER), 0x700ff);
	vm_close(vm);
}

static void test_illegal_register(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, LVT_ERR, 0xe0);
	apic_read(vm, 0, 0x3f0);
	assert_int_equal(apic_read(vm, 0, ESR), 0); /* only after a write to it */
	apic_write(vm, 0, ESR, 0);
	assert_int_equal(apic_read(vm, 0, ESR), 0x80);
	assert_int_equal(rig_take(vm, 0), 0xe0);
	apic_write(vm, 0, EOI, 0);
	apic_write(vm, 0, ESR, 0);
	assert_int_equal(apic_read(vm, 0, ESR), 0);
	apic_write(vm, 0, 0x10, 0);
	apic_write(vm, 0, 0xff0, 0); /* the second one raises no second interrupt */
	assert_int_equal(rig_take(vm, 0), 0xe0);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

/* An error interrupt with an illegal vector is itself an error: it must end. */
static void test_illegal_error_vector(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, LVT_ERR, 3);
	assert_false(send_to(vm, 0, 8, APIC_FIXED, false, false));
	apic_write(vm, 0, ICR, 0x40000 | 15); /* to self */
	apic_write(vm, 0, ESR, 0);
	assert_int_equal(apic_read(vm, 0, ESR), 0x60);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

static void test_mode_transitions(void **state)
{
	static const struct {
		unsigned from, to;
		bool legal;
	} rows[] = {
		{0,                   0,                  true },
		{ 0,                  ENABLED,            true },
		{ 0,                  EXTENDED,           false},
		{ 0,                  ENABLED | EXTENDED, false},
		{ ENABLED,            0,                  true },
		{ ENABLED,            ENABLED,            true },
		{ ENABLED,            EXTENDED,           false},
		{ ENABLED,            ENABLED | EXTENDED, true },
		{ ENABLED | EXTENDED, 0,                  true },
		{ ENABLED | EXTENDED, ENABLED,            false},
		{ ENABLED | EXTENDED, EXTENDED,           false},
		{ ENABLED | EXTENDED, ENABLED | EXTENDED, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vm *vm = rig_open(1);
		uint64_t now;

		if (rows[i].from != ENABLED)
			assert_true(msr_set(vm, 0, MSR_APIC_BASE, LAPIC_BASE | rows[i].from));
		now = msr_get(vm, 0, MSR_APIC_BASE);
		assert_int_equal(msr_set(vm, 0, MSR_APIC_BASE, LAPIC_BASE | rows[i].to),
				 rows[i].legal);
		assert_int_equal(msr_get(vm, 0, MSR_APIC_BASE) & (ENABLED | EXTENDED),
				 rows[i].legal ? rows[i].to : now & (ENABLED | EXTENDED));
		vm_close(vm);
	}
}

static void test_base_register(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		bool reserved = bit < 8 || bit == 9 || bit >= 46;

		if (reserved)
			assert_false(msr_set(vm, 0, MSR_APIC_BASE,
					     LAPIC_BASE | ENABLED | UINT64_C(1) << bit));
	}
	/* The page does not move. */
	assert_true(msr_set(vm, 0, MSR_APIC_BASE, 0x12345000 | ENABLED | 0x100));
	assert_int_equal(msr_get(vm, 0, MSR_APIC_BASE), 0xfee00900);
	/* Off: nobody answers at the page, and the registers start afresh. */
	apic_write(vm, 0, TPR, 0x50);
	assert_true(msr_set(vm, 0, MSR_APIC_BASE, LAPIC_BASE));
	assert_int_equal(apic_read(vm, 0, VER), 0xffffffff);
	assert_false(send_to(vm, 0, 0x41, APIC_FIXED, false, false));
	assert_true(msr_set(vm, 0, MSR_APIC_BASE, LAPIC_BASE | ENABLED));
	assert_int_equal(apic_read(vm, 0, SVR), 0xff);
	assert_int_equal(apic_read(vm, 0, TPR), 0);
	vm_close(vm);
}

static void test_x2apic_registers(void **state)
{
	struct vm *vm = open_enabled(3);

	(void)state;
	assert_int_equal(msr_get(vm, 2, X2(VER)), UINT64_MAX); /* #GP in xAPIC mode */
	assert_false(msr_set(vm, 2, X2(TPR), 0));
	set_x2apic(vm, 2);
	assert_int_equal(apic_read(vm, 2, VER), 0xffffffff); /* the page is gone */
	assert_int_equal(msr_get(vm, 2, X2(ID)), 2);
	assert_int_equal(msr_get(vm, 2, X2(LDR)), 4);
	assert_int_equal(msr_get(vm, 2, X2(SVR)), 0x1ff); /* kept */
	assert_int_equal(msr_get(vm, 2, X2(DFR)), UINT64_MAX);
	assert_int_equal(msr_get(vm, 2, X2(ICR_HIGH)), UINT64_MAX);
	assert_int_equal(msr_get(vm, 2, X2(EOI)), UINT64_MAX); /* write-only */
	assert_int_equal(msr_get(vm, 2, SELF_IPI), UINT64_MAX);
	assert_int_equal(msr_get(vm, 2, 0x840), UINT64_MAX);
	for (unsigned off = ID; off <= VER; off += 0x10)
		assert_false(msr_set(vm, 2, X2(off), 0));
	assert_false(msr_set(vm, 2, X2(LDR), 1));
	assert_false(msr_set(vm, 2, X2(PPR), 0));
	assert_false(msr_set(vm, 2, X2(EOI), 1));
	assert_false(msr_set(vm, 2, X2(ESR), 1));
	assert_false(msr_set(vm, 2, X2(TPR), 0x100));
	assert_false(msr_set(vm, 2, X2(TPR), UINT64_C(1) << 32));
	assert_false(msr_set(vm, 2, X2(SVR), 0x2000));
	assert_false(msr_set(vm, 2, X2(TIMER), 0x80000));
	assert_false(msr_set(vm, 2, X2(LVT_ERR), 0x100));
	assert_false(msr_set(vm, 2, X2(ICR), 1u << 13));
	assert_false(msr_set(vm, 2, X2(DIVIDE), 4));
	assert_true(msr_set(vm, 2, X2(TPR), 0x20));
	assert_int_equal(msr_get(vm, 2, X2(TPR)), 0x20);
	assert_true(msr_set(vm, 2, X2(ICR), UINT64_C(0x12345678) << 32 | 0x4041));
	assert_int_equal(msr_get(vm, 2, X2(ICR)), UINT64_C(0x1234567800004041));
	vm_close(vm);
}

static void test_priorities(void **state)
{
	struct vm *vm = open_enabled(1);
	const struct intc_ops *intc = vm->vcpu[0]->intc;
	void *arg = vm->vcpu[0]->intc_arg;

	(void)state;
	assert_true(send_to(vm, 0, 0x31, APIC_FIXED, false, false));
	assert_true(send_to(vm, 0, 0x52, APIC_FIXED, false, false));
	assert_true(send_to(vm, 0, 0x55, APIC_FIXED, false, false));
	assert_int_equal(apic_read(vm, 0, IRR + 0x10), 1u << 0x11);
	assert_int_equal(rig_take(vm, 0), 0x55);
	assert_int_equal(apic_read(vm, 0, PPR), 0x50);
	assert_int_equal(rig_take(vm, 0), -1); /* 0x52: same class */
	assert_true(send_to(vm, 0, 0x61, APIC_FIXED, false, false));
	assert_int_equal(rig_take(vm, 0), 0x61); /* nests */
	assert_int_equal(apic_read(vm, 0, ISR + 0x30), 1u << 1);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(apic_read(vm, 0, PPR), 0x50);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(rig_take(vm, 0), 0x52);
	apic_write(vm, 0, EOI, 0);
	apic_write(vm, 0, TPR, 0x3f);
	assert_int_equal(apic_read(vm, 0, PPR), 0x3f);
	assert_int_equal(rig_pending(vm, 0), -1);
	assert_int_equal(intc->get_tpr(arg), 3);
	atomic_store(&vm->vcpu[0]->notice, false);
	intc->set_tpr(arg, 2);
	assert_true(atomic_load(&vm->vcpu[0]->notice)); /* the CPU is told to look */
	assert_int_equal(apic_read(vm, 0, TPR), 0x20);
	assert_int_equal(rig_take(vm, 0), 0x31);
	apic_write(vm, 0, EOI, 0);
	apic_write(vm, 0, EOI, 0); /* one too many */
	assert_int_equal(apic_read(vm, 0, PPR), 0x20);
	vm_close(vm);
}

static void test_software_disable(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, LINT0, 0x700);
	assert_true(send_to(vm, 0, 0x41, APIC_FIXED, false, false));
	apic_write(vm, 0, SVR, 0xff);
	assert_int_equal(apic_read(vm, 0, LINT0), 0x10700);
	apic_write(vm, 0, LINT0, 0x700); /* cannot be unmasked now */
	assert_int_equal(apic_read(vm, 0, LINT0), 0x10700);
	assert_false(send_to(vm, 0, 0x42, APIC_FIXED, false, false));
	assert_true(send_to(vm, 0, 0, APIC_NMI, false, false));
	assert_true(vm->vcpu[0]->nmi_waiting);
	assert_int_equal(rig_take(vm, 0), 0x41); /* accepted before */
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_values),
		cmocka_unit_test(test_access_width),
		cmocka_unit_test(test_illegal_register),
		cmocka_unit_test(test_illegal_error_vector),
		cmocka_unit_test(test_mode_transitions),
		cmocka_unit_test(test_base_register),
		cmocka_unit_test(test_x2apic_registers),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_software_disable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
