/*
 * lapic_messages.c - tests of the local APIC: what comes in and goes out, through the 8259s and by
 * messages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/i8259.h"
#include "test/device/lapic_rig.h"

static bool intr_high;

static bool fake_intr(void *arg)
{
	(void)arg;
	return intr_high;
}

static uint8_t fake_inta(void *arg)
{
	(void)arg;
	intr_high = false;
	return 0x77;
}

static void test_extint(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	vm->irq.extint_intr = fake_intr;
	vm->irq.extint_inta = fake_inta;
	intr_high = true;
	assert_int_equal(rig_pending(vm, 0), -1); /* LINT0 is masked */
	apic_write(vm, 0, LINT0, 0x700);
	apic_write(vm, 0, TPR, 0xff); /* ExtINT knows no priority */
	assert_int_equal(rig_take(vm, 0), 0x77);
	assert_int_equal(apic_read(vm, 0, ISR + 0x30), 0); /* and no ISR bit */
	assert_int_equal(rig_take(vm, 0), -1);
	intr_high = true;
	apic_write(vm, 0, LINT0, 0x10700);
	assert_int_equal(rig_take(vm, 0), -1);
	assert_true(send_to(vm, 0, 0, APIC_EXTINT, false, false)); /* as a message */
	assert_int_equal(rig_take(vm, 0), 0x77);
	intr_high = true;
	assert_int_equal(rig_take(vm, 0), -1);                  /* one message, one interrupt */
	assert_true(msr_set(vm, 0, MSR_APIC_BASE, LAPIC_BASE)); /* no APIC in between */
	assert_int_equal(rig_take(vm, 0), 0x77);
	vm_close(vm);
}

/* The real pair behind LINT0: an ISA line becomes a vector, and the CPU is told. */
static void test_extint_from_8259(void **state)
{
	static const struct i8259_config pic = {
		.id = "pic",
		.master = 0x20,
		.slave = 0xa0,
		.elcr = 0x4d0,
		.elcr_set = {0xf8, 0xde},
		.cascade = 2
	};
	static const struct {
		uint16_t port;
		uint8_t value;
	} init[] = {
		{0x20,  0x11},
                { 0x21, 0x30},
                { 0x21, 4   },
                { 0x21, 1   },
                { 0x21, 0   },
		{ 0xa0, 0x11},
                { 0xa1, 0x38},
                { 0xa1, 2   },
                { 0xa1, 1   },
                { 0xa1, 0   }
	};
	struct vm *vm = open_enabled(1);

	(void)state;
	assert_int_equal(i8259_create(vm, &pic, NULL), 0);
	for (size_t i = 0; i < sizeof(init) / sizeof(init[0]); i++) {
		struct io_access io = {
			.addr = init[i].port, .size = 1, .data = init[i].value, .write = true
		};

		bus_access(vm, &vm->port, &io);
	}
	apic_write(vm, 0, LINT0, 0x700);
	assert_int_equal(rig_pending(vm, 0), -1);
	atomic_store(&vm->vcpu[0]->notice, false);
	irq_set(vm, 12, 1);
	assert_true(atomic_load(&vm->vcpu[0]->notice));
	irq_set(vm, 1, 1);
	assert_int_equal(rig_take(vm, 0), 0x31);
	assert_int_equal(rig_take(vm, 0), -1); /* in service until the 8259's EOI */
	vm_close(vm);
}

static void test_virtual_wire(void **state)
{
	struct vm_config config = { .engine = &fake_engine_ops, .vcpus = 1, .counted = true };
	struct lapic_config lapic = { .virtual_wire = true };
	struct vm *vm = vm_open(&config, NULL);

	(void)state;
	assert_int_equal(lapic_create(vm, 0, &lapic, NULL), 0);
	assert_int_equal(apic_read(vm, 0, SVR), 0x1ff);
	assert_int_equal(apic_read(vm, 0, LINT0), 0x700);
	assert_int_equal(apic_read(vm, 0, LINT0 + 0x10), 0x400);
	lapic.apic_id = 255;
	assert_int_equal(lapic_create(vm, 0, &lapic, NULL), -EINVAL);
	assert_int_equal(lapic_create(vm, 1, &(struct lapic_config){ 0 }, NULL), -EINVAL);
	vm_close(vm);
}

static void test_eoi_broadcast(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	memset(eois, 0, sizeof(eois));
	vm->irq.eoi = count_eoi;
	assert_true(send_to(vm, 0, 0x41, APIC_FIXED, false, true));
	assert_int_equal(apic_read(vm, 0, TMR + 0x20), 2);
	assert_int_equal(rig_take(vm, 0), 0x41);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(eois[0x41], 1);
	assert_true(send_to(vm, 0, 0x41, APIC_FIXED, false, false)); /* edge: no broadcast */
	assert_int_equal(apic_read(vm, 0, TMR + 0x20), 0);
	assert_int_equal(rig_take(vm, 0), 0x41);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(eois[0x41], 1);
	apic_write(vm, 0, SVR, 0x11ff); /* suppressed */
	assert_true(send_to(vm, 0, 0x41, APIC_FIXED, false, true));
	assert_int_equal(rig_take(vm, 0), 0x41);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(eois[0x41], 1);
	vm_close(vm);
}

static void test_destinations(void **state)
{
	struct vm *vm = open_enabled(4);

	(void)state;
	assert_true(send_to(vm, 2, 0x41, APIC_FIXED, false, false));
	assert_int_equal(who_got(vm, 0x41), 1u << 2);
	assert_false(send_to(vm, 9, 0x41, APIC_FIXED, false, false));
	assert_true(send_to(vm, 0xff, 0x41, APIC_FIXED, false, false));
	assert_int_equal(who_got(vm, 0x41), 0xf);
	/* Logical, flat. */
	for (unsigned i = 0; i < 4; i++)
		apic_write(vm, i, LDR, 1u << (24 + i));
	assert_true(send_to(vm, 0x5, 0x42, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x42), 0x5);
	assert_false(send_to(vm, 0x30, 0x42, APIC_FIXED, true, false));
	/* Logical, cluster: 0 and 1 in cluster 1, 2 and 3 in cluster 2. */
	for (unsigned i = 0; i < 4; i++) {
		apic_write(vm, i, DFR, 0);
		assert_int_equal(apic_read(vm, i, DFR), 0x0fffffff);
		apic_write(vm, i, LDR, (i < 2 ? 0x10u : 0x20u) << 24 | 1u << (24 + i % 2));
	}
	assert_true(send_to(vm, 0x23, 0x43, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x43), 0xc);
	assert_true(send_to(vm, 0x11, 0x43, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x43), 0x1);
	assert_true(send_to(vm, 0xff, 0x43, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x43), 0xf);
	/* x2APIC: LDR is made of the ID. */
	for (unsigned i = 0; i < 4; i++)
		set_x2apic(vm, i);
	assert_true(send_to(vm, 0x0000000a, 0x44, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x44), 0xa);
	assert_false(send_to(vm, 0x0001000a, 0x44, APIC_FIXED, true, false));
	assert_true(send_to(vm, 0xffffffff, 0x44, APIC_FIXED, true, false));
	assert_int_equal(who_got(vm, 0x44), 0xf);
	vm_close(vm);
}

static void test_lowest_priority(void **state)
{
	struct vm *vm = open_enabled(3);

	(void)state;
	apic_write(vm, 0, TPR, 0x30);
	apic_write(vm, 1, TPR, 0x10);
	apic_write(vm, 2, TPR, 0x20);
	assert_true(send_to(vm, 0xff, 0x41, APIC_LOWEST, false, false));
	assert_int_equal(who_got(vm, 0x41), 1u << 1);
	apic_write(vm, 1, SVR, 0xff); /* one that is disabled does not take part */
	assert_true(send_to(vm, 0xff, 0x41, APIC_LOWEST, false, false));
	assert_int_equal(who_got(vm, 0x41), 1u << 2);
	assert_false(send_to(vm, 1, 0x41, APIC_LOWEST, false, false));
	vm_close(vm);
}

static void test_ipi(void **state)
{
	struct vm *vm = open_enabled(3);

	(void)state;
	apic_write(vm, 1, ICR_HIGH, 2u << 24);
	apic_write(vm, 1, ICR, 0x4041);
	assert_int_equal(who_got(vm, 0x41), 1u << 2);
	assert_int_equal(apic_read(vm, 1, ICR), 0x4041); /* delivery status: idle */
	apic_write(vm, 1, ICR, 0x44042);                 /* self */
	assert_int_equal(who_got(vm, 0x42), 1u << 1);
	apic_write(vm, 1, ICR, 0x84043); /* all */
	assert_int_equal(who_got(vm, 0x43), 7);
	apic_write(vm, 1, ICR, 0xc4044); /* all but self */
	assert_int_equal(who_got(vm, 0x44), 5);
	apic_write(vm, 1, ICR, 0xc4400); /* NMI */
	assert_true(vm->vcpu[0]->nmi_waiting && !vm->vcpu[1]->nmi_waiting &&
		    vm->vcpu[2]->nmi_waiting);
	set_x2apic(vm, 0);
	assert_true(msr_set(vm, 0, X2(ICR), UINT64_C(2) << 32 | 0x45));
	assert_int_equal(who_got(vm, 0x45), 1u << 2);
	assert_true(msr_set(vm, 0, X2(ICR), UINT64_C(0xff) << 32 | 0x47)); /* nobody's ID */
	assert_int_equal(who_got(vm, 0x47), 0);
	assert_true(msr_set(vm, 0, X2(ICR), UINT64_C(0xffffffff) << 32 | 0x48));
	assert_int_equal(who_got(vm, 0x48), 7);
	assert_true(msr_set(vm, 0, SELF_IPI, 0x46));
	assert_int_equal(who_got(vm, 0x46), 1);
	assert_true(msr_set(vm, 0, SELF_IPI, 0x0f)); /* illegal vector sent */
	assert_true(msr_set(vm, 0, X2(ESR), 0));
	assert_int_equal(msr_get(vm, 0, X2(ESR)), 0x20);
	vm_close(vm);
}

static void test_init_and_sipi(void **state)
{
	struct vm *vm = open_enabled(2);

	(void)state;
	apic_write(vm, 1, TPR, 0x50);
	apic_write(vm, 0, ICR_HIGH, 1u << 24);
	apic_write(vm, 0, ICR, 0x8500); /* INIT level de-assert: nothing */
	assert_false(vm->vcpu[1]->init_waiting);
	assert_int_equal(apic_read(vm, 1, TPR), 0x50);
	apic_write(vm, 0, ICR, 0x4500);
	assert_true(vm->vcpu[1]->init_waiting && !vm->vcpu[0]->init_waiting);
	assert_int_equal(apic_read(vm, 1, TPR), 0);
	assert_int_equal(apic_read(vm, 1, SVR), 0xff);
	assert_int_equal(apic_read(vm, 1, ID), 1u << 24);
	vm->vcpu[1]->init_waiting = false;
	apic_write(vm, 0, ICR, 0x500); /* edge-triggered: the level bit says nothing */
	assert_true(vm->vcpu[1]->init_waiting);
	apic_write(vm, 0, ICR, 0x4609);
	assert_true(vm->vcpu[1]->sipi_waiting);
	assert_int_equal(vm->vcpu[1]->sipi_vector, 9);
	apic_write(vm, 0, ICR, 0x44500); /* INIT to self by shorthand: not legal */
	assert_false(vm->vcpu[0]->init_waiting);
	set_x2apic(vm, 1);
	apic_write(vm, 0, ICR, 0x4500);
	assert_int_equal(msr_get(vm, 1, X2(LDR)), 2); /* INIT keeps the mode and its LDR */
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extint),       cmocka_unit_test(test_extint_from_8259),
		cmocka_unit_test(test_virtual_wire), cmocka_unit_test(test_eoi_broadcast),
		cmocka_unit_test(test_destinations), cmocka_unit_test(test_lowest_priority),
		cmocka_unit_test(test_ipi),          cmocka_unit_test(test_init_and_sipi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
