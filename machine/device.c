/*
 * device.c - the services a chip may call (see device.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/device.h"

#include <stdarg.h>
#include <stdio.h>

#include "machine/vm.h"

static void alarm_due(struct device *dev, unsigned which, uint64_t now)
{
	if (dev->ops->alarm)
		dev->ops->alarm(dev, which, now);
}

/* One trampoline an alarm: the alarm knows its device, the function its number. */
#define ALARM_FN(n)                                                                                \
	static void alarm_due_##n(void *arg, uint64_t now)                                         \
	{                                                                                          \
		alarm_due(arg, n, now);                                                            \
	}
ALARM_FN(0)
ALARM_FN(1)
ALARM_FN(2)
ALARM_FN(3)
_Static_assert(DEVICE_ALARMS == 4, "one trampoline for each alarm");

void device_add(struct vm *vm, struct device *dev, const struct device_ops *ops, const char *id)
{
	static void (*const due[DEVICE_ALARMS])(void *, uint64_t) = {
		alarm_due_0,
		alarm_due_1,
		alarm_due_2,
		alarm_due_3,
	};

	dev->ops = ops;
	dev->vm = vm;
	dev->id = id;
	dev->next = NULL;
	atomic_store(&dev->rung, false);
	for (unsigned i = 0; i < DEVICE_ALARMS; i++)
		dev->alarms[i] = (struct alarm){ .at = ALARM_NONE, .fn = due[i], .arg = dev };
	*vm->devices_tail = dev;
	vm->devices_tail = &dev->next;
	ops->reset(dev);
}

void device_ring(struct device *dev)
{
	atomic_store(&dev->rung, true);
	atomic_store(&dev->vm->rung, true);
	if (!bells_posted(dev->vm))
		vm_look(dev->vm);
}

void device_expect(struct device *dev, int change)
{
	atomic_fetch_add(&dev->vm->expected, (unsigned)change);
}

int device_claim_ports(struct device *dev, unsigned region, uint16_t first, uint32_t count,
		       struct fail *why)
{
	return bus_claim(&dev->vm->port, dev, region, first, (uint64_t)first + count - 1, why);
}

int device_claim_mmio(struct device *dev, unsigned region, gpa_t first, uint64_t bytes,
		      struct fail *why)
{
	return bus_claim(&dev->vm->mmio, dev, region, first.v, first.v + bytes - 1, why);
}

void device_irq(struct device *dev, unsigned gsi, int level)
{
	irq_set(dev->vm, gsi, level);
}

uint64_t device_now(struct device *dev)
{
	return clock_now(&dev->vm->clock);
}

void device_alarm(struct device *dev, unsigned which, uint64_t at)
{
	clock_set_alarm(&dev->vm->clock, &dev->alarms[which], at);
}

int device_dma_read(struct device *dev, gpa_t from, void *to, size_t n)
{
	return mem_read(&dev->vm->mem, from, to, n);
}

int device_dma_write(struct device *dev, gpa_t to, const void *from, size_t n)
{
	return mem_write(&dev->vm->mem, to, from, n);
}

void device_bell(struct device *dev, gpa_t at, bool on)
{
	bells_place(dev->vm, at, on);
}

void device_request(struct device *dev, enum vm_request what, int status)
{
	vm_request(dev->vm, what, status);
}

#define TRACE_LINES_A_SECOND 1000

void device_trace(struct device *dev, const char *fmt, ...)
{
	struct vm *vm = dev->vm;
	uint64_t second;
	char text[200];
	va_list ap;

	if (!TRACE(vm, devices))
		return;
	second = clock_now(&vm->clock) / UINT64_C(1000000000);
	if (second != vm->trace_second) {
		vm->trace_second = second;
		vm->trace_lines = 0;
	}
	if (vm->trace_lines++ >= TRACE_LINES_A_SECOND)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	vm_trace(vm, "%s: %s", dev->id, text);
}
