/*
 * ioapic.h - the 82093AA I/O APIC: 24 lines in, APIC messages out.
 *
 * Spec: Intel 82093AA data sheet (290566); EOI register as in version 0x20 parts
 * (ICH, SDM vol. 3 11.8.5). Tested by test/device/ioapic.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_IOAPIC_H
#define DEVICE_IOAPIC_H

#include <stdint.h>

#include "cpu/addr.h"
#include "host/fail.h"
#include "machine/irq.h"

struct vm;

#define IOAPIC_BASE   UINT64_C(0xfec00000)
#define IOAPIC_BYTES  UINT64_C(0x1000)
#define IOAPIC_PINS   24
#define IOAPIC_NO_PIN 0xff

struct ioapic_config {
	gpa_t base;
	uint8_t id; /* 0 .. 15 */
	/* The pin each line is wired to, or IOAPIC_NO_PIN: on a PC line 0 is pin 2. */
	uint8_t pin[IRQ_LINES];
};

/*
 * Adds the device "ioapic", claims its page, subscribes to the machine's lines and to EOI
 * broadcasts. At set-up, vCPUs parked. 0; -EINVAL: a pin or the ID is out of range;
 * -EEXIST: the page is taken, or there are too many controllers; -ENOMEM.
 */
int ioapic_create(struct vm *vm, const struct ioapic_config *config, struct fail *why);

#endif
