/*
 * lapic.c - a vCPU's local APIC: its registers, seen through a page of memory
 * (xAPIC) or through MSRs (x2APIC), and the priority logic between IRR and ISR.
 *
 * The idea: both views are the same 64 registers, numbered by MMIO offset / 16,
 * which is also the MSR index - 0x800. One table says who may read and write which;
 * the xAPIC view ignores what it does not like, the x2APIC view answers #GP.
 *
 * This is the one device that knows its vCPU: it is half of the CPU, and fills in
 * the CPU's view of interrupts, struct intc_ops.
 *
 * Not modelled: moving the page, writing the APIC ID, CMCI, the sources of LINT1,
 * thermal and performance interrupts (nothing drives them), LINT0 other than
 * as ExtINT from the 8259s. See lapic_bus.c and lapic_timer.c for theirs.
 *
 * Spec: SDM vol. 3 ch. 11. Tested by test/device/lapic.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/lapic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpu/msr.h"
#include "cpu/paging.h"
#include "device/lapic_internal.h"

/* Version 0x14 (integrated, xAPIC), entries of the LVT less one, EOI broadcast suppressible. */
#define VERSION (0x14u | (LVT_COUNT - 1) << 16 | 1u << 24)

#define BASE_ADDRESS (((UINT64_C(1) << PAGING_PHYS_BITS) - 1) & ~PAGE_MASK)

const uint32_t lapic_lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
	[LVT_THERMAL] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
	[LVT_PERF] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
	[LVT_LINT0] = LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_LINT1] = LVT_VECTOR | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_MASKED,
	[LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

/* Who may do what. `legal`: bits that x2APIC does not answer with #GP when written as 1. */
enum { XR = 1, XW = 2, X2R = 4, X2W = 8 };
#define LVT_LEGAL  (LVT_STATUS | LVT_VECTOR | LVT_MASKED)
#define LINT_LEGAL (LVT_LEGAL | LVT_MODE | LVT_POLARITY | LVT_LEVEL | LVT_REMOTE_IRR)
static const struct {
	uint8_t may;
	uint32_t legal;
} rules[REG_COUNT] = {
	[REG_ID] = {XR | X2R,             0                         },
	[REG_VERSION] = { XR | X2R,            0                         },
	[REG_TPR] = { XR | XW | X2R | X2W, 0xff                      },
	[REG_PPR] = { XR | X2R,            0                         },
	[REG_EOI] = { XR | XW | X2W,       0                         },
	[REG_LDR] = { XR | XW | X2R,       0                         },
	[REG_DFR] = { XR | XW,             0                         },
	[REG_SVR] = { XR | XW | X2R | X2W, SVR_WRITABLE              },
	[REG_ISR... REG_ISR + 7] = { XR | X2R,            0                         },
	[REG_TMR... REG_TMR + 7] = { XR | X2R,            0                         },
	[REG_IRR... REG_IRR + 7] = { XR | X2R,            0                         },
	[REG_ESR] = { XR | XW | X2R | X2W, 0                         },
	[REG_ICR] = { XR | XW | X2R | X2W, ICR_WRITABLE | ICR_STATUS },
	[REG_ICR_HIGH] = { XR | XW,             0                         },
	[REG_LVT + LVT_TIMER] = { XR | XW | X2R | X2W, LVT_LEGAL | LVT_TIMER_MODE},
	[REG_LVT + LVT_THERMAL] = { XR | XW | X2R | X2W, LVT_LEGAL | LVT_MODE      },
	[REG_LVT + LVT_PERF] = { XR | XW | X2R | X2W, LVT_LEGAL | LVT_MODE      },
	[REG_LVT + LVT_LINT0] = { XR | XW | X2R | X2W, LINT_LEGAL                },
	[REG_LVT + LVT_LINT1] = { XR | XW | X2R | X2W, LINT_LEGAL                },
	[REG_LVT + LVT_ERROR] = { XR | XW | X2R | X2W, LVT_LEGAL                 },
	[REG_TIMER_INITIAL] = { XR | XW | X2R | X2W, UINT32_MAX                },
	[REG_TIMER_CURRENT] = { XR | X2R,            0                         },
	[REG_TIMER_DIVIDE] = { XR | XW | X2R | X2W, DIVIDE_WRITABLE           },
	[REG_SELF_IPI] = { X2W,                 0xff                      },
};

/* --- Priority: SDM vol. 3 11.8.3, 11.8.4 --- */

int lapic_highest(const uint32_t bits[8])
{
	for (int i = 7; i >= 0; i--)
		if (bits[i])
			return i * 32 + 31 - __builtin_clz(bits[i]);
	return -1;
}

static bool vector_bit(const uint32_t bits[8], unsigned vector)
{
	return bits[vector / 32] >> (vector % 32) & 1;
}

static void vector_set(uint32_t bits[8], unsigned vector, bool value)
{
	uint32_t bit = UINT32_C(1) << (vector % 32);

	bits[vector / 32] = value ? bits[vector / 32] | bit : bits[vector / 32] & ~bit;
}

uint32_t lapic_ppr(const struct lapic *l)
{
	int in_service = lapic_highest(l->isr);
	uint32_t isrv = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

	return (l->tpr & 0xf0) >= isrv ? l->tpr : isrv;
}

/* The vector in IRR that the priority lets through, or -1. */
static int eligible(const struct lapic *l)
{
	int vector = lapic_highest(l->irr);

	if (vector < 0 || ((uint32_t)vector & 0xf0) <= (lapic_ppr(l) & 0xf0))
		return -1;
	return vector;
}

/* INTR from the 8259s reaches the CPU through LINT0 as ExtINT, through an ExtINT message,
 * or directly when there is no local APIC in between. */
static bool extint_waits(const struct lapic *l)
{
	const struct irq *irq = &l->dev.vm->irq;
	uint32_t lint0 = l->lvt[LVT_LINT0] & (LVT_MASKED | LVT_MODE);

	if (lapic_enabled(l) && !l->extint && lint0 != APIC_EXTINT << LVT_MODE_SHIFT)
		return false;
	return irq->extint_intr && irq->extint_intr(irq->extint_arg);
}

static int intc_pending(void *arg)
{
	const struct lapic *l = arg;

	if (extint_waits(l))
		return 0;
	return eligible(l);
}

static int intc_acknowledge(void *arg)
{
	struct lapic *l = arg;
	int vector;

	if (extint_waits(l)) {
		l->extint = 0;
		return l->dev.vm->irq.extint_inta(l->dev.vm->irq.extint_arg);
	}
	vector = eligible(l);
	if (vector >= 0) {
		vector_set(l->irr, (unsigned)vector, false);
		vector_set(l->isr, (unsigned)vector, true);
	}
	return vector;
}

void lapic_update(struct lapic *l)
{
	if (intc_pending(l) >= 0)
		irq_notice(l->dev.vm, l->vcpu->index);
}

void lapic_error(struct lapic *l, uint32_t bit)
{
	if (l->errors & bit) /* also ends the recursion through an illegal error vector */
		return;
	l->errors |= bit;
	lapic_local(l, LVT_ERROR);
}

void lapic_local(struct lapic *l, enum lapic_lvt which)
{
	if (!(l->lvt[which] & LVT_MASKED))
		lapic_accept(l, l->lvt[which] & LVT_VECTOR, false);
}

bool lapic_accept(struct lapic *l, uint8_t vector, bool level)
{
	if (!(l->svr & SVR_ENABLE))
		return false;
	if (vector < 16) {
		lapic_error(l, ESR_RECEIVE_VECTOR);
		return false;
	}
	vector_set(l->irr, vector, true);
	vector_set(l->tmr, vector, level);
	lapic_update(l);
	return true;
}

static void end_of_interrupt(struct lapic *l)
{
	int vector = lapic_highest(l->isr);

	if (vector < 0)
		return;
	vector_set(l->isr, (unsigned)vector, false);
	if (vector_bit(l->tmr, (unsigned)vector) && !(l->svr & SVR_SUPPRESS_EOI))
		irq_eoi(l->dev.vm, (uint8_t)vector);
	lapic_update(l);
}

/* --- Registers --- */

static void write_lvt(struct lapic *l, enum lapic_lvt which, uint32_t value)
{
	value &= lapic_lvt_writable[which];
	if (!(l->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (which == LVT_TIMER)
		lapic_timer_write_lvt(l, value);
	else
		l->lvt[which] = value;
	lapic_update(l); /* LINT0 may have let ExtINT through */
}

/* Software disable masks the whole LVT; what is in IRR and ISR stays. 11.4.7.2 */
static void write_svr(struct lapic *l, uint32_t value)
{
	l->svr = value & SVR_WRITABLE;
	if (l->svr & SVR_ENABLE)
		return;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		write_lvt(l, i, l->lvt[i]);
}

uint32_t lapic_read(struct lapic *l, unsigned reg)
{
	switch (reg) {
	case REG_ID: return lapic_x2apic(l) ? l->id : l->id << 24;
	case REG_VERSION: return VERSION;
	case REG_TPR: return l->tpr;
	case REG_PPR: return lapic_ppr(l);
	case REG_LDR: return l->ldr;
	case REG_DFR: return l->dfr;
	case REG_SVR: return l->svr;
	case REG_ISR ... REG_ISR + 7: return l->isr[reg - REG_ISR];
	case REG_TMR ... REG_TMR + 7: return l->tmr[reg - REG_TMR];
	case REG_IRR ... REG_IRR + 7: return l->irr[reg - REG_IRR];
	case REG_ESR: return l->esr;
	case REG_ICR: return l->icr;
	case REG_ICR_HIGH: return l->icr_high;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1: return l->lvt[reg - REG_LVT];
	case REG_TIMER_INITIAL: return l->timer_initial;
	case REG_TIMER_CURRENT: return lapic_timer_current(l);
	case REG_TIMER_DIVIDE: return l->timer_divide;
	default: return 0;
	}
}

static void write_reg(struct lapic *l, unsigned reg, uint32_t value)
{
	switch (reg) {
	case REG_TPR:
		l->tpr = value & 0xff;
		lapic_update(l);
		break;
	case REG_EOI: end_of_interrupt(l); break;
	case REG_LDR: l->ldr = value & 0xff000000; break;
	case REG_DFR: l->dfr = value | DFR_ONES; break;
	case REG_SVR: write_svr(l, value); break;
	case REG_ESR: /* latches what was seen since the last write */
		l->esr = l->errors;
		l->errors = 0;
		break;
	case REG_ICR:
		l->icr = value & ICR_WRITABLE;
		lapic_send(l, l->icr, lapic_x2apic(l) ? l->icr_high : l->icr_high >> 24);
		break;
	case REG_ICR_HIGH: l->icr_high = value & 0xff000000; break;
	case REG_LVT ... REG_LVT + LVT_COUNT - 1: write_lvt(l, reg - REG_LVT, value); break;
	case REG_TIMER_INITIAL: lapic_timer_write_initial(l, value); break;
	case REG_TIMER_DIVIDE: lapic_timer_write_divide(l, value & DIVIDE_WRITABLE); break;
	case REG_SELF_IPI: lapic_self_ipi(l, value & ICR_VECTOR); break;
	default: break;
	}
}

/* --- The xAPIC page --- */

static struct lapic *accessed(struct device *dev)
{
	struct vcpu *by = dev->vm->accessing;

	return by && by->intc == &lapic_intc ? by->intc_arg : (struct lapic *)dev;
}

/* Registers are the first four of every sixteen bytes. 11.4.1 */
static uint64_t mmio_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct lapic *l = accessed(dev);
	unsigned reg = (unsigned)(off >> 4), byte = off & 15;

	(void)region;
	(void)size;
	if (!lapic_enabled(l) || lapic_x2apic(l))
		return UINT64_MAX;
	if (byte >= 4)
		return 0;
	if (reg >= REG_COUNT || !(rules[reg].may & XR)) {
		lapic_error(l, ESR_REGISTER);
		return 0;
	}
	return lapic_read(l, reg) >> (8 * byte);
}

static void mmio_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
		       uint64_t value)
{
	struct lapic *l = accessed(dev);
	unsigned reg = (unsigned)(off >> 4);

	(void)region;
	if (!lapic_enabled(l) || lapic_x2apic(l))
		return;
	if (size != 4 || (off & 15)) {
		device_trace(dev, "write of %u bytes at 0x%x dropped", size, (unsigned)off);
		return;
	}
	if (reg >= REG_COUNT || !rules[reg].may)
		lapic_error(l, ESR_REGISTER);
	else if (rules[reg].may & XW)
		write_reg(l, reg, (uint32_t)value);
}

/* --- MSRs --- */

static void set_x2apic_ldr(struct lapic *l) /* 11.12.10.2 */
{
	l->ldr = (l->id >> 4) << 16 | UINT32_C(1) << (l->id & 15);
}

static void reset_registers(struct lapic *l)
{
	l->tpr = 0;
	l->ldr = 0;
	l->dfr = UINT32_MAX;
	l->svr = 0xff;
	l->esr = l->errors = 0;
	l->icr = l->icr_high = 0;
	memset(l->isr, 0, sizeof(l->isr));
	memset(l->tmr, 0, sizeof(l->tmr));
	memset(l->irr, 0, sizeof(l->irr));
	l->extint = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	l->timer_initial = l->timer_divide = 0;
	l->timer_zero_at = ALARM_NONE;
	l->deadline = 0;
	lapic_timer_arm(l);
}

void lapic_init_state(struct lapic *l)
{
	reset_registers(l);
	if (lapic_x2apic(l))
		set_x2apic_ldr(l);
}

/* The mode only goes off -> xAPIC -> x2APIC, and from both to off. SDM vol. 3 fig. 11-27 */
static bool write_base(struct lapic *l, uint64_t value)
{
	uint32_t was = l->base & (BASE_EN | BASE_EXTD), is = value & (BASE_EN | BASE_EXTD);

	if (value & (BASE_RESERVED | ~(uint64_t)(BASE_ADDRESS | PAGE_MASK)))
		return false;
	if (is == BASE_EXTD || (is == (BASE_EN | BASE_EXTD) && !was) ||
	    (is == BASE_EN && (was & BASE_EXTD)))
		return false;
	l->base = LAPIC_BASE | (value & (BASE_BSP | BASE_EN | BASE_EXTD));
	if (is == was)
		return true;
	if (!is)
		reset_registers(l);
	if (is & BASE_EXTD) {
		l->icr_high = 0;
		set_x2apic_ldr(l);
	}
	lapic_update(l);
	return true;
}

static bool x2apic_read(struct lapic *l, unsigned reg, uint64_t *value)
{
	if (!lapic_x2apic(l) || reg >= REG_COUNT || !(rules[reg].may & X2R))
		return false;
	*value = lapic_read(l, reg);
	if (reg == REG_ICR)
		*value |= (uint64_t)l->icr_high << 32;
	return true;
}

static bool x2apic_write(struct lapic *l, unsigned reg, uint64_t value)
{
	if (!lapic_x2apic(l) || reg >= REG_COUNT || !(rules[reg].may & X2W))
		return false;
	if ((uint32_t)value & ~rules[reg].legal)
		return false;
	if (reg == REG_ICR)
		l->icr_high = (uint32_t)(value >> 32);
	else if (value >> 32)
		return false;
	write_reg(l, reg, (uint32_t)value);
	return true;
}

static bool intc_rdmsr(void *arg, uint32_t index, uint64_t *value)
{
	struct lapic *l = arg;

	switch (index) {
	case MSR_APIC_BASE: *value = l->base; return true;
	case MSR_TSC_DEADLINE: *value = lapic_timer_deadline(l); return true;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return x2apic_read(l, index - MSR_X2APIC_FIRST, value);
	default: return false;
	}
}

static bool intc_wrmsr(void *arg, uint32_t index, uint64_t value)
{
	struct lapic *l = arg;

	switch (index) {
	case MSR_APIC_BASE: return write_base(l, value);
	case MSR_TSC_DEADLINE: lapic_timer_write_deadline(l, value); return true;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return x2apic_write(l, index - MSR_X2APIC_FIRST, value);
	default: return false;
	}
}

static uint8_t intc_get_tpr(void *arg)
{
	return (uint8_t)(((struct lapic *)arg)->tpr >> 4);
}

static void intc_set_tpr(void *arg, uint8_t cr8)
{
	struct lapic *l = arg;

	l->tpr = (uint32_t)(cr8 & 15) << 4;
	lapic_update(l);
}

static void intc_tsc_moved(void *arg)
{
	lapic_timer_arm(arg);
}

const struct intc_ops lapic_intc = {
	.pending = intc_pending,
	.acknowledge = intc_acknowledge,
	.rdmsr = intc_rdmsr,
	.wrmsr = intc_wrmsr,
	.get_tpr = intc_get_tpr,
	.set_tpr = intc_set_tpr,
	.tsc_moved = intc_tsc_moved,
	.lend = lapic_lend,
	.back = lapic_back,
};

/* --- The device --- */

static void power_on(struct device *dev)
{
	struct lapic *l = (struct lapic *)dev;

	l->base = LAPIC_BASE | BASE_EN | (l->vcpu->index == 0 ? BASE_BSP : 0);
	reset_registers(l);
	if (l->virtual_wire && l->vcpu->index == 0) {
		l->svr |= SVR_ENABLE;
		l->lvt[LVT_LINT0] = APIC_EXTINT << LVT_MODE_SHIFT;
		l->lvt[LVT_LINT1] = APIC_NMI << LVT_MODE_SHIFT;
	}
}

static void alarm_due(struct device *dev, unsigned which, uint64_t now)
{
	(void)which;
	(void)now;
	lapic_timer_alarm((struct lapic *)dev);
}

static const struct field lapic_fields[] = {
	FIELD(lapic, base, 1),
	FIELD(lapic, tpr, 1),
	FIELD(lapic, ldr, 1),
	FIELD(lapic, dfr, 1),
	FIELD(lapic, svr, 1),
	FIELD(lapic, esr, 1),
	FIELD(lapic, errors, 1),
	FIELD(lapic, icr, 1),
	FIELD(lapic, icr_high, 1),
	FIELD_ARRAY(lapic, lvt, 1),
	FIELD_ARRAY(lapic, isr, 1),
	FIELD_ARRAY(lapic, tmr, 1),
	FIELD_ARRAY(lapic, irr, 1),
	FIELD(lapic, extint, 1),
	FIELD(lapic, timer_initial, 1),
	FIELD(lapic, timer_divide, 1),
	FIELD(lapic, timer_zero_at, 1),
	FIELD(lapic, deadline, 1),
	FIELD_END,
};

static bool valid(const struct lapic *l)
{
	uint32_t ldr_bits = lapic_x2apic(l) ? UINT32_MAX : 0xff000000;

	if ((l->base & (BASE_ADDRESS | BASE_RESERVED | ~(BASE_ADDRESS | PAGE_MASK))) !=
		    LAPIC_BASE ||
	    (l->base & (BASE_EN | BASE_EXTD)) == BASE_EXTD)
		return false;
	if (l->tpr > 0xff || (l->ldr & ~ldr_bits) || (l->dfr & DFR_ONES) != DFR_ONES ||
	    (l->svr & ~SVR_WRITABLE) || ((l->esr | l->errors) & ~ESR_BITS) ||
	    (l->icr & ~ICR_WRITABLE) || l->extint > 1)
		return false;
	if (!lapic_x2apic(l) && (l->icr_high & 0x00ffffff))
		return false;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		if ((l->lvt[i] & ~lapic_lvt_writable[i]) ||
		    (!(l->svr & SVR_ENABLE) && !(l->lvt[i] & LVT_MASKED)))
			return false;
	return !((l->isr[0] | l->tmr[0] | l->irr[0]) & 0xffff) && lapic_timer_valid(l);
}

static int loaded(struct device *dev, struct fail *why)
{
	struct lapic *l = (struct lapic *)dev;

	if (!valid(l)) {
		power_on(dev);
		return fail(why, -EINVAL, "%s: the saved registers are not possible ones", dev->id);
	}
	lapic_timer_arm(l);
	lapic_update(l);
	return 0;
}

static const struct device_ops lapic_ops = {
	.type = "lapic",
	.reset = power_on,
	.read = mmio_read,
	.write = mmio_write,
	.alarm = alarm_due,
	.state = lapic_fields,
	.state_version = 1,
	.loaded = loaded,
};

int lapic_create(struct vm *vm, unsigned vcpu_index, const struct lapic_config *config,
		 struct fail *why)
{
	struct lapic *l;

	if (vcpu_index >= vm->vcpus || config->apic_id >= 255)
		return fail(why, -EINVAL, "no vCPU %u or no APIC ID %u", vcpu_index,
			    (unsigned)config->apic_id);
	l = host_alloc(sizeof(*l));
	if (!l)
		return fail(why, -ENOMEM, "no memory for a local APIC");
	l->vcpu = vm->vcpu[vcpu_index];
	l->id = config->apic_id;
	l->virtual_wire = config->virtual_wire;
	snprintf(l->name, sizeof(l->name), "lapic%u", vcpu_index);
	device_add(vm, &l->dev, &lapic_ops, l->name);
	l->vcpu->intc = &lapic_intc;
	l->vcpu->intc_arg = l;
	vm->irq.message = lapic_bus_message;
	vm->irq.message_arg = vm;
	if (vcpu_index > 0)
		return 0;
	return device_claim_mmio(&l->dev, 0, gpa(LAPIC_BASE), LAPIC_BYTES, why);
}
