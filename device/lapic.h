/*
 * lapic.h - a vCPU's local APIC: xAPIC page, x2APIC MSRs, timer (which counts at
 * APIC_TIMER_HZ, cpu/cpuid.h, before its divider).
 *
 * Spec: SDM vol. 3 ch. 11. Tested by test/device/lapic.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_LAPIC_H
#define DEVICE_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"

struct vm;

#define LAPIC_BASE  UINT64_C(0xfee00000)
#define LAPIC_BYTES UINT64_C(0x1000)

struct lapic_config {
	uint32_t apic_id; /* below 255; fixed: guests cannot change it */
	/* Power-on state as firmware leaves the bootstrap processor's (MP specification 3.6.2.2,
	 * virtual wire): enabled, LINT0 = ExtINT, LINT1 = NMI. For booting without firmware.
	 * No effect on other vCPUs. */
	bool virtual_wire;
};

/*
 * Gives vCPU `vcpu_index` its local APIC, as device "lapic<index>", sets vcpu->intc and
 * puts it on the APIC bus (vm->irq.message). The MMIO page at LAPIC_BASE is claimed once
 * a machine, for vCPU 0, and answers for the vCPU that accesses it. The page does not move:
 * the address bits of a write to IA32_APIC_BASE are ignored. At set-up, vCPUs parked.
 * 0; -EINVAL: no such vCPU or ID; -EEXIST: the page is taken; -ENOMEM.
 */
int lapic_create(struct vm *vm, unsigned vcpu_index, const struct lapic_config *config,
		 struct fail *why);

#endif
