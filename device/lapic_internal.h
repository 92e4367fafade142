/*
 * lapic_internal.h - what lapic.c, lapic_bus.c and lapic_timer.c share: the local APIC's
 * registers and their layout.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_LAPIC_INTERNAL_H
#define DEVICE_LAPIC_INTERNAL_H

#include "machine/vm.h"

/* IA32_APIC_BASE, SDM vol. 3 11.4.4 and 11.12.1. */
#define BASE_BSP      (1u << 8)
#define BASE_EXTD     (1u << 10) /* x2APIC mode */
#define BASE_EN       (1u << 11)
#define BASE_RESERVED UINT64_C(0x2ff)

/* Register numbers: MMIO offset / 16 = MSR index - 0x800. SDM vol. 3 tables 11-1 and 11-6. */
enum lapic_reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10, /* eight of each */
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32, /* LVT_COUNT of them */
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
	REG_COUNT = 0x40,
};

/* Local vector table, in register order. SDM vol. 3 11.5.1. */
enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define LVT_VECTOR      0x000000ffu
#define LVT_MODE        0x00000700u
#define LVT_MODE_SHIFT  8
#define LVT_STATUS      0x00001000u /* read-only */
#define LVT_POLARITY    0x00002000u
#define LVT_REMOTE_IRR  0x00004000u /* read-only */
#define LVT_LEVEL       0x00008000u
#define LVT_MASKED      0x00010000u
#define LVT_TIMER_MODE  0x00060000u
#define LVT_TIMER_SHIFT 17

#define SVR_VECTOR       0x000000ffu
#define SVR_ENABLE       0x00000100u
#define SVR_SUPPRESS_EOI 0x00001000u /* suppress EOI broadcast */
#define SVR_WRITABLE     0x000013ffu

#define DFR_ONES 0x0fffffffu

#define ESR_SEND_VECTOR    0x20u
#define ESR_RECEIVE_VECTOR 0x40u
#define ESR_REGISTER       0x80u
#define ESR_BITS           0xe0u

#define ICR_VECTOR          0x000000ffu
#define ICR_MODE_SHIFT      8
#define ICR_LOGICAL         0x00000800u
#define ICR_STATUS          0x00001000u /* read-only: always idle */
#define ICR_ASSERT          0x00004000u
#define ICR_LEVEL           0x00008000u
#define ICR_SHORTHAND_SHIFT 18
#define ICR_WRITABLE        0x000ccfffu

#define DIVIDE_WRITABLE 0x0000000bu

struct lapic {
	struct device dev;
	struct vcpu *vcpu;
	uint32_t id;
	bool virtual_wire;
	char name[16];

	uint64_t base; /* IA32_APIC_BASE */
	uint32_t tpr, ldr, dfr, svr;
	uint32_t esr;    /* what a read shows */
	uint32_t errors; /* seen since the last write to ESR */
	uint32_t icr, icr_high;
	uint32_t lvt[LVT_COUNT];
	uint32_t isr[8], tmr[8], irr[8]; /* 256 bits each, vector order */
	uint8_t extint;                  /* an ExtINT message waits for its INTA cycle */

	uint32_t timer_initial, timer_divide;
	uint64_t timer_zero_at; /* virtual ns at which the count reaches 0; ALARM_NONE: stopped */
	uint64_t deadline;      /* IA32_TSC_DEADLINE; 0: disarmed */
};

static inline bool lapic_enabled(const struct lapic *l)
{
	return l->base & BASE_EN;
}

static inline bool lapic_x2apic(const struct lapic *l)
{
	return (l->base & (BASE_EN | BASE_EXTD)) == (BASE_EN | BASE_EXTD);
}

/* lapic.c */
extern const struct intc_ops lapic_intc;
extern const uint32_t lapic_lvt_writable[LVT_COUNT];
uint32_t lapic_read(struct lapic *l, unsigned reg);
/* Highest vector set in a 256-bit register, or -1. */
int lapic_highest(const uint32_t bits[8]);
uint32_t lapic_ppr(const struct lapic *l);
/* Registers as after INIT: all but the ID and IA32_APIC_BASE. */
void lapic_init_state(struct lapic *l);
/* Tells the vCPU when an interrupt became deliverable. */
void lapic_update(struct lapic *l);
/* Records an error and raises the error interrupt if it is a new one. */
void lapic_error(struct lapic *l, uint32_t bit);
/* Raises what a local vector table entry asks for, unless masked. */
void lapic_local(struct lapic *l, enum lapic_lvt which);
/* Puts a fixed interrupt into IRR. false: not accepted. */
bool lapic_accept(struct lapic *l, uint8_t vector, bool level);

/* lapic_bus.c */
bool lapic_bus_message(void *vm, const struct apic_message *m);
/* A write to ICR: sends what it says. */
void lapic_send(struct lapic *l, uint32_t icr, uint32_t dest);
void lapic_self_ipi(struct lapic *l, uint8_t vector);

/* lapic_lend.c */
void lapic_lend(void *arg, struct apic_state *out);
void lapic_back(void *arg, const struct apic_state *in);

/* lapic_timer.c. Each first lets pass what was due. */
void lapic_timer_alarm(struct lapic *l);
void lapic_timer_write_lvt(struct lapic *l, uint32_t value);
void lapic_timer_write_initial(struct lapic *l, uint32_t value);
void lapic_timer_write_divide(struct lapic *l, uint32_t value);
uint32_t lapic_timer_current(struct lapic *l);
uint64_t lapic_timer_deadline(struct lapic *l);
void lapic_timer_write_deadline(struct lapic *l, uint64_t tsc);
/* Sets the alarm that the registers ask for (after reset, load, or a change of the TSC). */
void lapic_timer_arm(struct lapic *l);
/* The current count becomes `count`, from now on. */
void lapic_timer_restart(struct lapic *l, uint32_t count, uint64_t deadline);
/* Are the loaded timer registers a state the timer can be in? */
bool lapic_timer_valid(const struct lapic *l);

#endif
