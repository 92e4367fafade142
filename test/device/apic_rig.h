/*
 * apic_rig.h - a machine without a guest for the local APIC's and the I/O APIC's tests:
 * register access as a vCPU's, time that the test moves, interrupts that the test takes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_APIC_RIG_H
#define TEST_APIC_RIG_H

#include "cpu/msr.h"
#include "device/lapic.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

static inline struct vm *rig_open(unsigned vcpus)
{
	struct vm_config config = { .engine = &fake_engine_ops, .vcpus = vcpus, .counted = true };
	struct vm *vm = vm_open(&config, NULL);

	assert_non_null(vm);
	for (unsigned i = 0; i < vcpus; i++) {
		struct lapic_config lapic = { .apic_id = i };

		assert_int_equal(lapic_create(vm, i, &lapic, NULL), 0);
	}
	return vm;
}

static inline uint64_t rig_read(struct vm *vm, unsigned cpu, uint64_t addr, unsigned size)
{
	struct io_access io = { .addr = addr, .size = (uint8_t)size };

	bus_access_from(vm->vcpu[cpu], &vm->mmio, &io);
	return io.data;
}

static inline void rig_write(struct vm *vm, unsigned cpu, uint64_t addr, unsigned size,
			     uint64_t value)
{
	struct io_access io = { .addr = addr, .size = (uint8_t)size, .data = value, .write = true };

	bus_access_from(vm->vcpu[cpu], &vm->mmio, &io);
}

/* A register of the xAPIC page, by its offset. */
static inline uint32_t apic_read(struct vm *vm, unsigned cpu, unsigned off)
{
	return (uint32_t)rig_read(vm, cpu, LAPIC_BASE + off, 4);
}

static inline void apic_write(struct vm *vm, unsigned cpu, unsigned off, uint32_t value)
{
	rig_write(vm, cpu, LAPIC_BASE + off, 4, value);
}

static inline bool msr_set(struct vm *vm, unsigned cpu, uint32_t index, uint64_t value)
{
	return vm->vcpu[cpu]->intc->wrmsr(vm->vcpu[cpu]->intc_arg, index, value);
}

/* #GP answers all-ones. */
static inline uint64_t msr_get(struct vm *vm, unsigned cpu, uint32_t index)
{
	uint64_t value;

	return vm->vcpu[cpu]->intc->rdmsr(vm->vcpu[cpu]->intc_arg, index, &value) ? value
										  : UINT64_MAX;
}

/* Lets virtual time pass, every alarm at its time. */
static inline void rig_step(struct vm *vm, uint64_t ns)
{
	uint64_t end = clock_now(&vm->clock) + ns;

	while (clock_next(&vm->clock) <= end) {
		clock_skip_to(&vm->clock, clock_next(&vm->clock));
		clock_fire(&vm->clock);
	}
	clock_skip_to(&vm->clock, end);
}

static inline int rig_pending(struct vm *vm, unsigned cpu)
{
	return vm->vcpu[cpu]->intc->pending(vm->vcpu[cpu]->intc_arg);
}

/* The vector the CPU would take now, taken; -1: none. */
static inline int rig_take(struct vm *vm, unsigned cpu)
{
	if (rig_pending(vm, cpu) < 0)
		return -1;
	return vm->vcpu[cpu]->intc->acknowledge(vm->vcpu[cpu]->intc_arg);
}

static inline struct device *rig_device(struct vm *vm, const char *id)
{
	struct device *dev = vm->devices;

	while (dev && strcmp(dev->id, id) != 0)
		dev = dev->next;
	assert_non_null(dev);
	return dev;
}

#define RIG_STATE_MAX 4096

/* The device's state as its field table lists it; returns the bytes. */
static inline size_t rig_save(const struct device *dev, uint8_t *out)
{
	size_t n = 0;

	for (const struct field *f = dev->ops->state; f->name; f++)
		for (uint32_t i = 0; i < f->count; i++, n += f->width)
			memcpy(out + n, (const uint8_t *)dev + f->offset + (size_t)i * f->stride,
			       f->width);
	assert_true(n <= RIG_STATE_MAX);
	return n;
}

static inline int rig_load(struct device *dev, const uint8_t *in)
{
	for (const struct field *f = dev->ops->state; f->name; f++)
		for (uint32_t i = 0; i < f->count; i++, in += f->width)
			memcpy((uint8_t *)dev + f->offset + (size_t)i * f->stride, in, f->width);
	return dev->ops->loaded(dev, NULL);
}

static inline uint64_t rig_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Any bytes at all as a saved state of a device, as it is now: refused, or a state that can be run,
 * which act() does with random numbers. */
static inline void rig_fuzz_load(struct vm *vm, const char *id,
				 uint64_t (*act)(struct vm *vm, uint64_t seed))
{
	struct device *dev = rig_device(vm, id);
	uint8_t good[RIG_STATE_MAX], bad[RIG_STATE_MAX];
	size_t bytes = rig_save(dev, good);
	uint64_t seed = 7;
	unsigned accepted = 0;

	for (unsigned i = 0; i < 50000; i++) {
		memcpy(bad, good, bytes);
		for (unsigned n = rig_random(&seed) % 4 + 1; n; n--)
			bad[rig_random(&seed) % bytes] = (uint8_t)(rig_random(&seed) >> 9);
		accepted += rig_load(dev, bad) == 0;
		for (unsigned n = 0; n < 8; n++)
			act(vm, rig_random(&seed));
	}
	assert_in_range(accepted, 1000, 49000);
}

#endif
