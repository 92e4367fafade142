/*
 * lapic.c - tests of the local APIC: registers, priorities, timer, messages, save and load.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/i8259.h"
#include "test/device/apic_rig.h"

/* SDM vol. 3 table 11-1 */
enum {
	ID = 0x20,
	VER = 0x30,
	TPR = 0x80,
	PPR = 0xa0,
	EOI = 0xb0,
	LDR = 0xd0,
	DFR = 0xe0,
	SVR = 0xf0,
	ISR = 0x100,
	TMR = 0x180,
	IRR = 0x200,
	ESR = 0x280,
	ICR = 0x300,
	ICR_HIGH = 0x310,
	TIMER = 0x320,
	LINT0 = 0x350,
	LVT_ERR = 0x370,
	INITIAL = 0x380,
	CURRENT = 0x390,
	DIVIDE = 0x3e0,
};

#define X2(off)  (0x800u + ((off) >> 4))
#define SELF_IPI 0x83fu
#define ENABLED  (1u << 11)
#define EXTENDED (1u << 10)
#define MASKED   0x10000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u
#define DIVIDE_1 0xbu

/* One vCPU, APIC enabled by software. */
static struct vm *open_enabled(unsigned vcpus)
{
	struct vm *vm = rig_open(vcpus);

	for (unsigned i = 0; i < vcpus; i++)
		apic_write(vm, i, SVR, 0x1ff);
	return vm;
}

static void set_x2apic(struct vm *vm, unsigned cpu)
{
	assert_true(msr_set(vm, cpu, MSR_APIC_BASE, LAPIC_BASE | ENABLED | EXTENDED));
}

static bool send_to(struct vm *vm, uint32_t dest, uint8_t vector, unsigned mode, bool logical,
		    bool level)
{
	struct apic_message m = { .dest = dest,
				  .vector = vector,
				  .mode = (uint8_t)mode,
				  .logical = logical,
				  .level = level,
				  .assert = true };

	return irq_message(vm, &m);
}

/* One bit for each vCPU that has an interrupt; they are taken and finished. */
static unsigned who_got(struct vm *vm, int vector)
{
	unsigned got = 0;

	for (unsigned i = 0; i < vm->vcpus; i++) {
		int v = rig_take(vm, i);

		if (v < 0)
			continue;
		assert_int_equal(v, vector);
		got |= 1u << i;
		if (msr_get(vm, i, MSR_APIC_BASE) & EXTENDED)
			assert_true(msr_set(vm, i, X2(EOI), 0));
		else
			apic_write(vm, i, EOI, 0);
	}
	return got;
}

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

static void test_timer_one_shot(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, TIMER, 0x40);
	apic_write(vm, 0, DIVIDE, 3); /* by 16 */
	apic_write(vm, 0, INITIAL, 1000);
	assert_int_equal(apic_read(vm, 0, CURRENT), 1000);
	rig_step(vm, 15999);
	assert_int_equal(apic_read(vm, 0, CURRENT), 1);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(apic_read(vm, 0, CURRENT), 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 1000000);
	assert_int_equal(rig_take(vm, 0), -1);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	/* Writing 0 stops it. */
	apic_write(vm, 0, INITIAL, 1000);
	apic_write(vm, 0, INITIAL, 0);
	rig_step(vm, 1000000);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

static void test_timer_dividers(void **state)
{
	static const struct {
		uint32_t code;
		unsigned by;
	} rows[] = {
		{0,   2  },
                { 1,  4  },
                { 2,  8  },
                { 3,  16 },
		{ 8,  32 },
                { 9,  64 },
                { 10, 128},
                { 11, 1  }
	};
	struct vm *vm = open_enabled(1);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		apic_write(vm, 0, DIVIDE, rows[i].code);
		assert_int_equal(apic_read(vm, 0, DIVIDE), rows[i].code);
		apic_write(vm, 0, INITIAL, 100);
		rig_step(vm, 30 * rows[i].by);
		assert_int_equal(apic_read(vm, 0, CURRENT), 70);
	}
	apic_write(vm, 0, DIVIDE, 3); /* the count goes on at the new rate */
	assert_int_equal(apic_read(vm, 0, CURRENT), 70);
	rig_step(vm, 160);
	assert_int_equal(apic_read(vm, 0, CURRENT), 60);
	vm_close(vm);
}

static void test_timer_periodic(void **state)
{
	struct vm *vm = open_enabled(1);

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 50000);
	for (unsigned i = 0; i < 5; i++) {
		rig_step(vm, 49999);
		assert_int_equal(rig_take(vm, 0), -1);
		rig_step(vm, 1);
		assert_int_equal(apic_read(vm, 0, CURRENT), 50000);
		assert_int_equal(rig_take(vm, 0), 0x40);
		apic_write(vm, 0, EOI, 0);
	}
	/* Masked it counts on, without alarms and without interrupts. */
	apic_write(vm, 0, TIMER, PERIODIC | MASKED | 0x40);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	rig_step(vm, 120000);
	assert_int_equal(apic_read(vm, 0, CURRENT), 30000);
	apic_write(vm, 0, TIMER, PERIODIC | 0x41);
	rig_step(vm, 29999);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x41);
	apic_write(vm, 0, EOI, 0);
	/* One-shot from now on: the running count is the last. */
	apic_write(vm, 0, TIMER, 0x42);
	rig_step(vm, 50000);
	assert_int_equal(rig_take(vm, 0), 0x42);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 500000);
	assert_int_equal(rig_take(vm, 0), -1);
	vm_close(vm);
}

/* The shortest period there is must not keep the host busy. */
static void test_timer_short_period(void **state)
{
	struct vm *vm = open_enabled(1);
	unsigned alarms = 0;

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 1);
	while (clock_now(&vm->clock) < 1000000) {
		clock_skip_to(&vm->clock, clock_next(&vm->clock));
		alarms += clock_fire(&vm->clock);
	}
	assert_in_range(alarms, 50, 101);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

static void test_timer_deadline(void **state)
{
	struct vm *vm = open_enabled(1);
	uint64_t now;

	(void)state;
	vm->clock.tsc_khz = 2500000;
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 12345)); /* not in this mode: ignored */
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	apic_write(vm, 0, INITIAL, 100);
	apic_write(vm, 0, TIMER, DEADLINE | 0x40); /* stops the count */
	assert_int_equal(apic_read(vm, 0, INITIAL), 0);
	apic_write(vm, 0, INITIAL, 100);
	assert_int_equal(apic_read(vm, 0, CURRENT), 0);
	now = clock_tsc(&vm->clock);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, now + 2501));
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), now + 2501);
	rig_step(vm, 1000);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1); /* 2502.5 ticks */
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	/* In the past: at once. 0: disarmed. */
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 1));
	rig_step(vm, 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, clock_tsc(&vm->clock) + 1000));
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, 0));
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, UINT64_MAX));
	rig_step(vm, UINT64_C(1) << 40);
	assert_int_equal(rig_take(vm, 0), -1);
	apic_write(vm, 0, TIMER, 0x40); /* leaving the mode disarms */
	assert_int_equal(msr_get(vm, 0, MSR_TSC_DEADLINE), 0);
	vm_close(vm);
}

/* Lent to an engine the timer stands still, and goes on from the count that comes back. */
static void test_lent(void **state)
{
	struct vm *vm = open_enabled(1);
	const struct intc_ops *ops = vm->vcpu[0]->intc;
	void *arg = vm->vcpu[0]->intc_arg;
	struct apic_state s;

	(void)state;
	apic_write(vm, 0, DIVIDE, DIVIDE_1);
	apic_write(vm, 0, TIMER, 0x40);
	apic_write(vm, 0, INITIAL, 1000);
	apic_write(vm, 0, TPR, 0x50);
	rig_step(vm, 400);
	ops->lend(arg, &s);
	assert_int_equal(s.reg[CURRENT / 16], 600);
	assert_int_equal(clock_next(&vm->clock), ALARM_NONE);
	rig_step(vm, 5000);
	s.reg[TPR / 16] = 0x10;
	s.reg[IRR / 16 + 3] = 1u << 5; /* vector 65h */
	ops->back(arg, &s);
	assert_int_equal(apic_read(vm, 0, TPR), 0x10);
	assert_int_equal(rig_take(vm, 0), 0x65);
	apic_write(vm, 0, EOI, 0);
	rig_step(vm, 599);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	apic_write(vm, 0, TIMER, DEADLINE | 0x40);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, clock_tsc(&vm->clock) + 1000));
	ops->lend(arg, &s);
	rig_step(vm, 2000); /* past it */
	ops->back(arg, &s);
	rig_step(vm, 0);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

/* Whatever comes back, it is a state that could be saved and loaded. */
static void test_lent_to_anyone(void **state)
{
	struct vm *vm = open_enabled(1);
	struct vcpu *vcpu = vm->vcpu[0];
	struct device *dev = vcpu->intc_arg;
	uint64_t seed = 1;
	struct fail why;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		struct apic_state s = { .deadline = seed };

		for (unsigned i = 0; i < 64; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			s.reg[i] = (uint32_t)(seed >> 32);
		}
		if (n == 0)
			memset(&s, 0xff, sizeof(s));
		if (n == 1000)
			set_x2apic(vm, 0);
		vcpu->intc->back(dev, &s);
		assert_int_equal(dev->ops->loaded(dev, &why), 0);
		rig_step(vm, n);
	}
	vm_close(vm);
}

static void test_deadline_follows_tsc(void **state)
{
	struct vm *vm = open_enabled(1);
	uint64_t tsc = clock_tsc(&vm->clock);

	(void)state;
	apic_write(vm, 0, TIMER, DEADLINE | 0x40);
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, tsc + 1000000));
	vcpu_tsc_moved(vm->vcpu[0], 900000); /* the guest's TSC jumps ahead */
	rig_step(vm, 99999);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	apic_write(vm, 0, EOI, 0);
	vcpu_tsc_moved(vm->vcpu[0], (uint64_t)-50000); /* and back */
	tsc = clock_tsc(&vm->clock) - 50000;
	assert_true(msr_set(vm, 0, MSR_TSC_DEADLINE, tsc + 10));
	rig_step(vm, 9);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_step(vm, 1);
	assert_int_equal(rig_take(vm, 0), 0x40);
	vm_close(vm);
}

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

static unsigned eois[256];

static void count_eoi(void *arg, uint8_t vector)
{
	(void)arg;
	eois[vector]++;
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

/* Loads `from`'s device state and time into `to`. */
static void move_state(struct vm *from, struct vm *to)
{
	uint8_t buf[RIG_STATE_MAX];

	clock_restore(&to->clock, clock_now(&from->clock));
	to->vcpu[0]->tsc_offset = from->vcpu[0]->tsc_offset;
	rig_save(rig_device(from, "lapic0"), buf);
	assert_int_equal(rig_load(rig_device(to, "lapic0"), buf), 0);
}

static void test_save_in_mid_flight(void **state)
{
	static const uint32_t modes[] = { 0, PERIODIC, DEADLINE };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct vm *a = open_enabled(1), *b = rig_open(1);

		apic_write(a, 0, DIVIDE, DIVIDE_1);
		apic_write(a, 0, TIMER, modes[i] | 0x40);
		apic_write(a, 0, INITIAL, 100000);
		msr_set(a, 0, MSR_TSC_DEADLINE, clock_tsc(&a->clock) + 100000);
		assert_true(send_to(a, 0, 0x31, APIC_FIXED, false, true));
		assert_true(send_to(a, 0, 0x61, APIC_FIXED, false, false));
		assert_int_equal(rig_take(a, 0), 0x61);
		rig_step(a, 30000);
		move_state(a, b);
		vm_close(a);
		memset(eois, 0, sizeof(eois));
		b->irq.eoi = count_eoi;
		rig_step(b, 69999);
		apic_write(b, 0, EOI, 0);
		assert_int_equal(rig_take(b, 0), 0x31);
		rig_step(b, 1);
		assert_int_equal(rig_take(b, 0), 0x40);
		apic_write(b, 0, EOI, 0);
		apic_write(b, 0, EOI, 0); /* 0x31, level-triggered, was interrupted */
		assert_int_equal(eois[0x31], 1);
		assert_int_equal(eois[0x40], 0);
		vm_close(b);
	}
}

static void test_load_refuses(void **state)
{
	static const struct {
		const char *field;
		unsigned index;
		uint64_t value;
	} rows[] = {
		{"base",           0, 0xfee00400                         },
		{ "base",          0, 0xfed00800                         },
		{ "base",          0, 0x1fee00800                        },
		{ "tpr",           0, 0x100                              },
		{ "dfr",           0, 0				  },
		{ "svr",           0, 0x2000                             },
		{ "esr",           0, 1				  },
		{ "lvt",           0, 0x80000                            },
		{ "lvt",           3, 0x700 /* unmasked while disabled */},
		{ "isr",           0, 1				  },
		{ "irr",           0, 0x8000                             },
		{ "extint",        0, 2				  },
		{ "timer_divide",  0, 4                                  },
		{ "timer_zero_at", 0, 1 /* with no initial count */      },
		{ "deadline",      0, 1 /* not in that mode */           },
		{ "icr",           0, 0x1000                             },
		{ "icr_high",      0, 1                                  },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vm *vm = rig_open(1);
		struct device *dev = rig_device(vm, "lapic0");
		struct fail why;

		for (const struct field *f = dev->ops->state; f->name; f++)
			if (!strcmp(f->name, rows[i].field))
				memcpy((uint8_t *)dev + f->offset + rows[i].index * f->stride,
				       &rows[i].value, f->width);
		assert_int_equal(dev->ops->loaded(dev, &why), -EINVAL);
		assert_int_equal(apic_read(vm, 0, SVR), 0xff); /* back to power-on */
		vm_close(vm);
	}
}

/* One random act; both machines, if there are two, must answer alike. */
static uint64_t act(struct vm *vm, uint64_t seed)
{
	uint64_t r = rig_random(&seed), value = rig_random(&seed);
	unsigned cpu = (unsigned)(r >> 8) % vm->vcpus, off = (unsigned)(r >> 16) & 0xfff;
	static const uint8_t sizes[] = { 1, 2, 4, 8 };

	if (r & 0x80000000)
		off &= 0x3f0;
	if (r & 0x40000000)
		value &= 0x701ff;
	switch (r & 7) {
	case 0: return rig_read(vm, cpu, LAPIC_BASE + (off & 0xff8), sizes[off & 3]);
	case 1: rig_write(vm, cpu, LAPIC_BASE + (off & 0xff8), sizes[off & 3], value); return 0;
	case 2:
	case 3: apic_write(vm, cpu, off & 0x3f0, (uint32_t)value); return 0;
	case 4:
		if (off < 0x10)
			return msr_set(vm, cpu, MSR_APIC_BASE, LAPIC_BASE | (value & 0xd00));
		return msr_set(vm, cpu, off & 0x100 ? MSR_TSC_DEADLINE : X2(off & 0x3f0),
			       off & 0x200 ? value & 0xffffff : value);
	case 5: return msr_get(vm, cpu, X2(off & 0x3f0));
	case 6: rig_step(vm, value & 0x1fffff); return clock_now(&vm->clock);
	default:
		send_to(vm, off & 3 ? (uint32_t)value & 0xff : (uint32_t)value,
			(uint8_t)(value >> 8), (unsigned)(value >> 16) & 7, value >> 20 & 1,
			value >> 21 & 1);
		return (uint64_t)rig_take(vm, cpu);
	}
}

static void make_usable(struct vm *vm, bool x2apic)
{
	vm_reset(vm);
	apic_write(vm, 0, SVR, 0x1ff);
	if (x2apic)
		set_x2apic(vm, 0);
}

static void test_fuzz_save(void **state)
{
	struct vm *a = open_enabled(1), *b = rig_open(1);
	uint8_t sa[RIG_STATE_MAX], sb[RIG_STATE_MAX];
	uint64_t seed = 0x9e3779b97f4a7c15;

	(void)state;
	move_state(a, b);
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t s = rig_random(&seed);

		assert_int_equal(act(a, s), act(b, s));
		assert_int_equal(rig_pending(a, 0), rig_pending(b, 0));
		assert_int_equal(clock_next(&a->clock), clock_next(&b->clock));
		if (i % 64)
			continue;
		rig_save(rig_device(a, "lapic0"), sa);
		assert_memory_equal(sa, sb, rig_save(rig_device(b, "lapic0"), sb));
		vm_close(b); /* a fresh machine takes over */
		b = rig_open(1);
		move_state(a, b);
		if (i % 512 == 0) { /* and now and then both start from a usable state */
			make_usable(a, i % 1024 == 0);
			make_usable(b, i % 1024 == 0);
		}
	}
	vm_close(a);
	vm_close(b);
}

static void test_fuzz_many(void **state)
{
	struct vm *vm = open_enabled(5);
	uint64_t seed = 42;

	(void)state;
	for (unsigned i = 0; i < 300000; i++) {
		act(vm, rig_random(&seed));
		if (i % 1024 == 0)
			vm_reset(vm);
	}
	vm_close(vm);
}

/* Any bytes at all as a saved state: refused, or a state that can be run. */
static void test_fuzz_hostile_load(void **state)
{
	struct vm *vm = rig_open(1);
	struct device *dev = rig_device(vm, "lapic0");
	uint8_t good[RIG_STATE_MAX], bad[RIG_STATE_MAX];
	size_t bytes;
	uint64_t seed = 7;
	unsigned accepted = 0;

	(void)state;
	apic_write(vm, 0, SVR, 0x1ff);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 1000);
	bytes = rig_save(dev, good);
	for (unsigned i = 0; i < 50000; i++) {
		memcpy(bad, good, bytes);
		for (unsigned n = rig_random(&seed) % 4 + 1; n; n--)
			bad[rig_random(&seed) % bytes] = (uint8_t)(rig_random(&seed) >> 9);
		accepted += rig_load(dev, bad) == 0;
		for (unsigned n = 0; n < 8; n++)
			act(vm, rig_random(&seed));
	}
	assert_in_range(accepted, 1000, 49000);
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
		cmocka_unit_test(test_timer_one_shot),
		cmocka_unit_test(test_timer_dividers),
		cmocka_unit_test(test_timer_periodic),
		cmocka_unit_test(test_timer_short_period),
		cmocka_unit_test(test_timer_deadline),
		cmocka_unit_test(test_lent),
		cmocka_unit_test(test_lent_to_anyone),
		cmocka_unit_test(test_deadline_follows_tsc),
		cmocka_unit_test(test_extint),
		cmocka_unit_test(test_extint_from_8259),
		cmocka_unit_test(test_virtual_wire),
		cmocka_unit_test(test_eoi_broadcast),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_lowest_priority),
		cmocka_unit_test(test_ipi),
		cmocka_unit_test(test_init_and_sipi),
		cmocka_unit_test(test_save_in_mid_flight),
		cmocka_unit_test(test_load_refuses),
		cmocka_unit_test(test_fuzz_save),
		cmocka_unit_test(test_fuzz_many),
		cmocka_unit_test(test_fuzz_hostile_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
