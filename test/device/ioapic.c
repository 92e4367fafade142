/*
 * ioapic.c - tests of the I/O APIC, with a local APIC at the other end of its messages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/ioapic.h"

#include <errno.h>

#include "test/device/apic_rig.h"

/* Indirect registers, 82093AA 3.2 */
enum { ID = 0, VER = 1, ARB = 2, REDTBL = 0x10 };

#define LEVEL      0x8000u
#define MASKED     0x10000u
#define REMOTE_IRR 0x4000u
#define LOGICAL    0x800u
#define APIC_EOI   0xb0
#define APIC_SVR   0xf0

static const struct ioapic_config pc = {
	.base = {IOAPIC_BASE},
	.id = 1,
	.pin = { 2, 1, IOAPIC_NO_PIN,
		 3, 4, 5,
		 6, 7, 8,
		 9, 10, 11,
		 12, 13, 14,
		 15, 16, 17,
		 18, 19, 20,
		 21, 22, 23 },
};

static struct vm *open_with(unsigned vcpus)
{
	struct vm *vm = rig_open(vcpus);

	assert_int_equal(ioapic_create(vm, &pc, NULL), 0);
	for (unsigned i = 0; i < vcpus; i++)
		apic_write(vm, i, APIC_SVR, 0x1ff);
	return vm;
}

static uint32_t reg_read(struct vm *vm, unsigned reg)
{
	rig_write(vm, 0, IOAPIC_BASE, 4, reg);
	return (uint32_t)rig_read(vm, 0, IOAPIC_BASE + 0x10, 4);
}

static void reg_write(struct vm *vm, unsigned reg, uint32_t value)
{
	rig_write(vm, 0, IOAPIC_BASE, 4, reg);
	rig_write(vm, 0, IOAPIC_BASE + 0x10, 4, value);
}

static void set_pin(struct vm *vm, unsigned pin, uint32_t low, uint8_t dest)
{
	reg_write(vm, REDTBL + 2 * pin + 1, (uint32_t)dest << 24);
	reg_write(vm, REDTBL + 2 * pin, low);
}

static int take_and_eoi(struct vm *vm, unsigned cpu)
{
	int vector = rig_take(vm, cpu);

	if (vector >= 0)
		apic_write(vm, cpu, APIC_EOI, 0);
	return vector;
}

static void test_registers(void **state)
{
	struct vm *vm = open_with(1);

	(void)state;
	assert_int_equal(reg_read(vm, ID), 1u << 24);
	assert_int_equal(reg_read(vm, VER), 0x00170020);
	assert_int_equal(reg_read(vm, ARB), 1u << 24);
	reg_write(vm, ID, 0xffffffff);
	assert_int_equal(reg_read(vm, ID), 0x0f000000);
	reg_write(vm, VER, 0); /* read-only */
	assert_int_equal(reg_read(vm, VER), 0x00170020);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(reg_read(vm, REDTBL + 2 * pin), MASKED);
		reg_write(vm, REDTBL + 2 * pin, 0xffffffff);
		reg_write(vm, REDTBL + 2 * pin + 1, 0xffffffff);
		assert_int_equal(reg_read(vm, REDTBL + 2 * pin), 0x1afff);
		assert_int_equal(reg_read(vm, REDTBL + 2 * pin + 1), 0xff000000);
	}
	reg_write(vm, REDTBL + 2 * IOAPIC_PINS, 0xffffffff); /* no such register */
	assert_int_equal(reg_read(vm, REDTBL + 2 * IOAPIC_PINS), 0);
	assert_int_equal(reg_read(vm, 0xff), 0);
	assert_int_equal(rig_read(vm, 0, IOAPIC_BASE, 4), 0xff);
	assert_int_equal(rig_read(vm, 0, IOAPIC_BASE + 0x20, 4), 0);
	vm_close(vm);
}

static void test_edge(void **state)
{
	struct vm *vm = open_with(2);

	(void)state;
	set_pin(vm, 4, 0x41, 1);
	irq_set(vm, 4, 1);
	assert_int_equal(rig_take(vm, 0), -1);
	assert_int_equal(take_and_eoi(vm, 1), 0x41);
	assert_int_equal(rig_take(vm, 1), -1); /* held high: no more edges */
	irq_set(vm, 4, 1);
	assert_int_equal(rig_take(vm, 1), -1);
	irq_set(vm, 4, 0);
	assert_int_equal(rig_take(vm, 1), -1);
	irq_set(vm, 4, 1);
	assert_int_equal(take_and_eoi(vm, 1), 0x41);
	/* An edge on a masked pin is lost. */
	irq_set(vm, 4, 0);
	set_pin(vm, 4, MASKED | 0x41, 1);
	irq_set(vm, 4, 1);
	set_pin(vm, 4, 0x41, 1);
	assert_int_equal(rig_take(vm, 1), -1);
	vm_close(vm);
}

static void test_level(void **state)
{
	struct vm *vm = open_with(1);

	(void)state;
	set_pin(vm, 9, LEVEL | 0x51, 0);
	irq_set(vm, 9, 1);
	assert_int_equal(reg_read(vm, REDTBL + 18), LEVEL | REMOTE_IRR | 0x51);
	assert_int_equal(rig_take(vm, 0), 0x51);
	assert_int_equal(rig_take(vm, 0), -1);
	apic_write(vm, 0, APIC_EOI, 0); /* still asserted: again */
	assert_int_equal(rig_take(vm, 0), 0x51);
	irq_set(vm, 9, 0);
	apic_write(vm, 0, APIC_EOI, 0);
	assert_int_equal(rig_take(vm, 0), -1);
	assert_int_equal(reg_read(vm, REDTBL + 18), LEVEL | 0x51);
	/* Masked while asserted, served when unmasked. */
	set_pin(vm, 9, LEVEL | MASKED | 0x51, 0);
	irq_set(vm, 9, 1);
	assert_int_equal(rig_take(vm, 0), -1);
	set_pin(vm, 9, LEVEL | 0x51, 0);
	assert_int_equal(rig_take(vm, 0), 0x51);
	/* Turned to edge and back, as old kernels do for an EOI: Remote IRR is gone. */
	irq_set(vm, 9, 0);
	set_pin(vm, 9, MASKED | 0x51, 0);
	set_pin(vm, 9, LEVEL | 0x51, 0);
	assert_int_equal(reg_read(vm, REDTBL + 18), LEVEL | 0x51);
	vm_close(vm);
}

static void test_eoi_register(void **state)
{
	struct vm *vm = open_with(1);

	(void)state;
	apic_write(vm, 0, APIC_SVR, 0x11ff); /* the local APIC does not broadcast */
	set_pin(vm, 9, LEVEL | 0x51, 0);
	irq_set(vm, 9, 1);
	assert_int_equal(take_and_eoi(vm, 0), 0x51);
	assert_int_equal(rig_take(vm, 0), -1);
	rig_write(vm, 0, IOAPIC_BASE + 0x40, 4, 0x52); /* another vector */
	assert_int_equal(rig_take(vm, 0), -1);
	rig_write(vm, 0, IOAPIC_BASE + 0x40, 4, 0x51);
	assert_int_equal(rig_take(vm, 0), 0x51);
	vm_close(vm);
}

/* Nobody accepted the message: Remote IRR must not block the pin for ever. */
static void test_not_accepted(void **state)
{
	struct vm *vm = open_with(1);

	(void)state;
	apic_write(vm, 0, APIC_SVR, 0xff);
	set_pin(vm, 9, LEVEL | 0x51, 0);
	irq_set(vm, 9, 1);
	assert_int_equal(reg_read(vm, REDTBL + 18), LEVEL | 0x51);
	apic_write(vm, 0, APIC_SVR, 0x1ff);
	irq_set(vm, 9, 0);
	irq_set(vm, 9, 1);
	assert_int_equal(rig_take(vm, 0), 0x51);
	vm_close(vm);
}

static void test_wiring_and_modes(void **state)
{
	struct vm *vm = open_with(3);

	(void)state;
	set_pin(vm, 2, 0x30, 0);
	irq_set(vm, 0, 1); /* line 0 is pin 2 */
	assert_int_equal(take_and_eoi(vm, 0), 0x30);
	irq_set(vm, 0, 0);
	irq_set(vm, 2, 1); /* line 2 is wired nowhere */
	assert_int_equal(rig_take(vm, 0), -1);
	set_pin(vm, 1, 0x31, 0xff);
	irq_set(vm, 1, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(take_and_eoi(vm, i), 0x31);
	for (unsigned i = 0; i < 3; i++)
		apic_write(vm, i, 0xd0, 1u << (24 + i));
	set_pin(vm, 3, LOGICAL | 0x32, 0x6);
	irq_set(vm, 3, 1);
	assert_int_equal(take_and_eoi(vm, 0), -1);
	assert_int_equal(take_and_eoi(vm, 1), 0x32);
	assert_int_equal(take_and_eoi(vm, 2), 0x32);
	apic_write(vm, 1, 0x80, 0x10);
	set_pin(vm, 5, LOGICAL | 0x133, 0x6); /* lowest priority */
	irq_set(vm, 5, 1);
	assert_int_equal(take_and_eoi(vm, 1), -1);
	assert_int_equal(take_and_eoi(vm, 2), 0x33);
	set_pin(vm, 6, 0x400 | LEVEL, 2); /* NMI: an edge whatever the trigger bit says */
	irq_set(vm, 6, 1);
	assert_true(vm->vcpu[2]->nmi_waiting);
	assert_int_equal(reg_read(vm, REDTBL + 12), 0x400 | LEVEL);
	vm_close(vm);
}

static void test_create_refuses(void **state)
{
	struct vm *vm = open_with(1);
	struct ioapic_config config = pc;

	(void)state;
	assert_int_equal(ioapic_create(vm, &config, NULL), -EEXIST);
	config.id = 16;
	assert_int_equal(ioapic_create(vm, &config, NULL), -EINVAL);
	config = pc;
	config.pin[7] = IOAPIC_PINS;
	assert_int_equal(ioapic_create(vm, &config, NULL), -EINVAL);
	vm_close(vm);
}

static uint64_t act(struct vm *vm, uint64_t seed)
{
	uint64_t r = rig_random(&seed), value = rig_random(&seed);
	static const uint8_t sizes[] = { 1, 2, 4, 8 };

	switch (r & 7) {
	case 0: return rig_read(vm, 0, IOAPIC_BASE + (r >> 8 & 0xff8), sizes[r >> 4 & 3]);
	case 1:
		rig_write(vm, 0, IOAPIC_BASE + (r >> 8 & 0xff8), sizes[r >> 4 & 3], value);
		return 0;
	case 2: /* something that will be delivered */
		set_pin(vm, (unsigned)(r >> 8) % IOAPIC_PINS, (value & 0x1a03f) | 0x40, 0);
		return 0;
	case 3: reg_write(vm, r >> 8 & 0x3f, (uint32_t)value & 0xff01afff); return 0;
	case 4: return reg_read(vm, r >> 8 & 0x3f);
	case 5: return (uint64_t)take_and_eoi(vm, 0);
	default: irq_set(vm, r >> 8 & 31, r >> 16 & 1); return 0;
	}
}

static void move_state(struct vm *from, struct vm *to)
{
	static const char *const ids[] = { "lapic0", "ioapic" };
	uint8_t buf[RIG_STATE_MAX];

	memcpy(to->irq.level, from->irq.level, sizeof(to->irq.level));
	for (unsigned i = 0; i < 2; i++) {
		rig_save(rig_device(from, ids[i]), buf);
		assert_int_equal(rig_load(rig_device(to, ids[i]), buf), 0);
	}
}

static void test_fuzz_save(void **state)
{
	struct vm *a = open_with(1), *b = open_with(1);
	uint8_t sa[RIG_STATE_MAX], sb[RIG_STATE_MAX];
	uint64_t seed = 0x9e3779b97f4a7c15;

	(void)state;
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t s = rig_random(&seed);

		assert_int_equal(act(a, s), act(b, s));
		if (i % 64)
			continue;
		rig_save(rig_device(a, "ioapic"), sa);
		assert_memory_equal(sa, sb, rig_save(rig_device(b, "ioapic"), sb));
		vm_close(b);
		b = open_with(1);
		move_state(a, b);
	}
	vm_close(a);
	vm_close(b);
}

static void test_fuzz_hostile_load(void **state)
{
	struct vm *vm = open_with(1);

	(void)state;
	rig_fuzz_load(vm, "ioapic", act);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_edge),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_eoi_register),
		cmocka_unit_test(test_not_accepted),
		cmocka_unit_test(test_wiring_and_modes),
		cmocka_unit_test(test_create_refuses),
		cmocka_unit_test(test_fuzz_save),
		cmocka_unit_test(test_fuzz_hostile_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
