/*
 * lapic_rig.h - what the local APIC's tests share: its registers, messages to it, EOIs that it
 * tells of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_LAPIC_RIG_H
#define TEST_LAPIC_RIG_H

#include <errno.h>

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

static inline void set_x2apic(struct vm *vm, unsigned cpu)
{
	assert_true(msr_set(vm, cpu, MSR_APIC_BASE, LAPIC_BASE | ENABLED | EXTENDED));
}

static inline bool send_to(struct vm *vm, uint32_t dest, uint8_t vector, unsigned mode,
			   bool logical, bool level)
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
static inline unsigned who_got(struct vm *vm, int vector)
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

static unsigned eois[256];

static inline void count_eoi(void *arg, uint8_t vector)
{
	(void)arg;
	eois[vector]++;
}

#endif
