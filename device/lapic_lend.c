/*
 * lapic_lend.c - the local APIC in the hands of an engine that runs it itself, as KVM can.
 *
 * The idea: there is one local APIC, and it is here or there. While it is there nothing asks this
 * one: the engine is the vCPU's struct intc_ops and the end of messages. What comes back is only
 * what an APIC can hold, whoever says otherwise.
 *
 * Not lent: errors not yet latched into ESR, and an ExtINT message that waits; they wait here.
 *
 * Spec: SDM vol. 3 ch. 11. Tested by test/device/lapic.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "device/lapic_internal.h"

void lapic_lend(void *arg, struct apic_state *out)
{
	struct lapic *l = arg;
	uint32_t left = lapic_timer_current(l); /* what is due now, first, and nothing later */

	*out = (struct apic_state){ .id = l->id, .base = l->base, .deadline = l->deadline };
	for (unsigned reg = 0; reg < REG_COUNT; reg++)
		out->reg[reg] = reg == REG_TIMER_CURRENT ? left : lapic_read(l, reg);
	device_alarm(&l->dev, 0, ALARM_NONE);
}

static void take_vectors(uint32_t to[8], const uint32_t *from)
{
	memcpy(to, from, 8 * sizeof(*to));
	to[0] &= ~UINT32_C(0xffff);
}

static void take_lvt(struct lapic *l, const uint32_t *from)
{
	uint32_t masked = l->svr & SVR_ENABLE ? 0 : LVT_MASKED;

	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = (from[i] & lapic_lvt_writable[i]) | masked;
}

void lapic_back(void *arg, const struct apic_state *in)
{
	struct lapic *l = arg;
	const uint32_t *reg = in->reg;

	l->tpr = reg[REG_TPR] & 0xff;
	l->ldr = reg[REG_LDR] & (lapic_x2apic(l) ? UINT32_MAX : 0xff000000);
	l->dfr = reg[REG_DFR] | DFR_ONES;
	l->svr = reg[REG_SVR] & SVR_WRITABLE;
	l->esr = reg[REG_ESR] & ESR_BITS;
	l->icr = reg[REG_ICR] & ICR_WRITABLE;
	l->icr_high = reg[REG_ICR_HIGH] & (lapic_x2apic(l) ? UINT32_MAX : 0xff000000);
	take_vectors(l->isr, reg + REG_ISR);
	take_vectors(l->tmr, reg + REG_TMR);
	take_vectors(l->irr, reg + REG_IRR);
	take_lvt(l, reg + REG_LVT);
	l->timer_initial = reg[REG_TIMER_INITIAL];
	l->timer_divide = reg[REG_TIMER_DIVIDE] & DIVIDE_WRITABLE;
	lapic_timer_restart(l, reg[REG_TIMER_CURRENT], in->deadline);
	lapic_update(l);
}
