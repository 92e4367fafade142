/*
 * lapic_save.c - tests of the local APIC: save and load, and random acts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/lapic_rig.h"

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

static void test_fuzz_hostile_load(void **state)
{
	struct vm *vm = rig_open(1);

	(void)state;
	apic_write(vm, 0, SVR, 0x1ff);
	apic_write(vm, 0, TIMER, PERIODIC | 0x40);
	apic_write(vm, 0, INITIAL, 1000);
	rig_fuzz_load(vm, "lapic0", act);
	vm_close(vm);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_save_in_mid_flight), cmocka_unit_test(test_load_refuses),
		cmocka_unit_test(test_fuzz_save),          cmocka_unit_test(test_fuzz_many),
		cmocka_unit_test(test_fuzz_hostile_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
