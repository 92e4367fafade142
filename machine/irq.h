/*
 * irq.h - from a device's line to a vector at a vCPU.
 *
 * A line change goes to every controller that subscribed (the 8259 pair, the
 * IOAPIC). The IOAPIC and MSI send messages; the local APICs receive them. Each
 * vCPU has one interrupt controller face (struct intc): what the CPU core asks
 * about pending vectors. All of it runs with the device lock held.
 *
 * INIT and SIPI replace the CPU's whole state, which only works between two runs
 * of the engine: they are noted in the vcpu and taken by the run loop.
 *
 * Spec: SDM vol. 3 9.4, 9.1.4 (INIT), 11.4.7. Tested by test/unit/irq.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_IRQ_H
#define MACHINE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"

struct vm;
struct vcpu;

#define IRQ_LINES 24

enum apic_delivery { /* SDM vol. 3 11.5.1, the encoding of the delivery mode field */
		     APIC_FIXED = 0,
		     APIC_LOWEST = 1,
		     APIC_SMI = 2,
		     APIC_NMI = 4,
		     APIC_INIT = 5,
		     APIC_SIPI = 6,
		     APIC_EXTINT = 7,
};

/* One message on the APIC bus. */
struct apic_message {
	uint32_t dest; /* APIC ID or logical mask; 0xffffffff (x2APIC) or 0xff: everyone */
	uint8_t vector;
	uint8_t mode; /* enum apic_delivery */
	bool logical;
	bool level;  /* level triggered (else edge) */
	bool assert; /* INIT de-assert has it false */
};

/* What listens to lines. Up to IRQ_SINKS of them. */
struct irq_sink {
	void (*line)(void *arg, unsigned gsi, int level);
	void *arg;
};
#define IRQ_SINKS 4

/* A local APIC's registers as they go to an engine that runs it itself, and come back. */
struct apic_state {
	uint64_t base;     /* IA32_APIC_BASE */
	uint64_t deadline; /* IA32_TSC_DEADLINE; 0: disarmed */
	uint32_t id;       /* as x2APIC shows it; not in `reg` */
	uint32_t reg[64];  /* by MMIO offset / 16; with the timer's current count */
};
enum { APIC_REG_ID = 0x02, APIC_REG_ISR = 0x10, APIC_REG_TMR = 0x18, APIC_REG_IRR = 0x20 };

/* A vCPU's interrupt controller, as the CPU core sees it. vCPU thread, device lock held. */
struct intc_ops {
	/* The vector that would be delivered now (priority against TPR applied), or -1. For
	 * ExtINT, whose vector only the INTA cycle tells, 0. */
	int (*pending)(void *arg);
	/* Takes it: INTA cycle. Returns the vector, or -1 when it went away. */
	int (*acknowledge)(void *arg);
	/* MSRs: APIC_BASE, TSC_DEADLINE, x2APIC 0x800-0x8ff. false: #GP. */
	bool (*rdmsr)(void *arg, uint32_t index, uint64_t *value);
	bool (*wrmsr)(void *arg, uint32_t index, uint64_t value);
	uint8_t (*get_tpr)(void *arg); /* CR8: bits 7:4 of TPR */
	void (*set_tpr)(void *arg, uint8_t cr8);
	/* vcpu->tsc_offset changed. May be NULL. */
	void (*tsc_moved)(void *arg);
	/* An engine takes the local APIC: *out is all of it, and until back() its timer stands
	 * still and nothing asks it. Both NULL: it cannot be taken. */
	void (*lend)(void *arg, struct apic_state *out);
	void (*back)(void *arg, const struct apic_state *in);
};

struct irq {
	uint8_t level[IRQ_LINES];
	struct irq_sink sink[IRQ_SINKS];
	unsigned sinks;
	/* The APIC bus: set by the local APICs' code. true: somebody took the message. */
	bool (*message)(void *arg, const struct apic_message *m);
	void *message_arg;
	/* EOI of a level-triggered vector, broadcast to the IOAPIC. */
	void (*eoi)(void *arg, uint8_t vector);
	void *eoi_arg;
	/* Would a line, as the IOAPIC is set up, reach a CPU that has interrupts off (NMI, INIT)?
	 * NULL: none would. */
	bool (*nmi_routed)(void *arg);
	void *nmi_routed_arg;
	/* ExtINT: the 8259 pair. intr() says whether INTR is high, inta() takes a vector. */
	bool (*extint_intr)(void *arg);
	uint8_t (*extint_inta)(void *arg);
	void *extint_arg;
};

/* Subscribes to every line; sinks beyond IRQ_SINKS are refused (false). At board set-up. */
bool irq_add_sink(struct vm *vm, void (*line)(void *, unsigned, int), void *arg);
/* Drives a line; a level that does not change is not passed on. One driver a line. */
void irq_set(struct vm *vm, unsigned gsi, int level);
/* true: at least one local APIC accepted it. */
bool irq_message(struct vm *vm, const struct apic_message *m);
void irq_eoi(struct vm *vm, uint8_t vector);

/* Tells the vCPU to look at its intc again, soon: what the 8259 or local APIC calls
 * whenever pending() may have changed from -1. Any thread. */
void irq_notice(struct vm *vm, unsigned vcpu_index);
/* NMI, INIT, SIPI to a vCPU: noted there, and the vCPU is woken. Device lock held. */
void irq_nmi(struct vm *vm, unsigned vcpu_index);
void irq_init(struct vm *vm, unsigned vcpu_index);
void irq_sipi(struct vm *vm, unsigned vcpu_index, uint8_t vector);
/* Does what INIT and SIPI asked for. The run loop calls it on the vCPU's own thread, device
 * lock held, while the engine's run() is not on the stack. 0, or host trouble. */
int irq_take_signals(struct vcpu *vcpu, struct fail *why);
/* No INIT, SIPI or NMI waits any more: machine reset. */
void irq_drop_signals(struct vcpu *vcpu);

#endif
