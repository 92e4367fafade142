/*
 * lapic_bus.c - messages between local APICs, and from the IOAPIC and MSI to them.
 *
 * The idea: there is no bus and no arbitration to wait for. Whoever sends calls
 * straight into the receivers, in vCPU order, with the device lock held; so the
 * delivery status bits always read idle. Lowest-priority delivery goes to the
 * receiver with the lowest processor priority, the first one when several tie.
 *
 * Not modelled: SMI, remote read, focus processors, bus errors.
 *
 * Spec: SDM vol. 3 11.6, 11.7, 11.12.9-11.12.11. Tested by test/device/lapic.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/lapic_internal.h"

enum shorthand { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS };

#define EVERYONE_X2 UINT32_MAX
#define EVERYONE    0xffu

static struct lapic *lapic_of(struct vm *vm, unsigned vcpu_index)
{
	struct vcpu *vcpu = vm->vcpu[vcpu_index];

	return vcpu->intc == &lapic_intc ? vcpu->intc_arg : NULL;
}

/* SDM vol. 3 11.6.2.2, 11.12.10.1 */
static bool matches_logical(const struct lapic *l, uint32_t dest)
{
	uint32_t ldr = l->ldr >> 24;

	if (lapic_x2apic(l))
		return dest >> 16 == l->ldr >> 16 && (dest & l->ldr & 0xffff);
	if (dest == EVERYONE)
		return true;
	switch (l->dfr >> 28) {
	case 0xf: return dest <= 0xff && (dest & ldr);
	case 0: return dest <= 0xff && dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
	default: return false;
	}
}

static bool matches(const struct lapic *l, const struct apic_message *m)
{
	if (!lapic_enabled(l))
		return false;
	if (m->dest == EVERYONE_X2)
		return true;
	if (m->logical)
		return matches_logical(l, m->dest);
	return m->dest == EVERYONE || m->dest == l->id;
}

static void receive_init(struct lapic *l, const struct apic_message *m)
{
	if (m->level && !m->assert) /* de-assert: for old arbitration IDs only */
		return;
	lapic_init_state(l);
	irq_init(l->dev.vm, l->vcpu->index);
}

/* true: accepted. */
static bool receive(struct lapic *l, const struct apic_message *m)
{
	switch (m->mode) {
	case APIC_FIXED:
	case APIC_LOWEST: return lapic_accept(l, m->vector, m->level);
	case APIC_NMI: irq_nmi(l->dev.vm, l->vcpu->index); return true;
	case APIC_INIT: receive_init(l, m); return true;
	case APIC_SIPI: irq_sipi(l->dev.vm, l->vcpu->index, m->vector); return true;
	case APIC_EXTINT:
		l->extint = 1;
		lapic_update(l);
		return true;
	default:
		device_trace(&l->dev, "message with delivery mode %u dropped", m->mode);
		return false;
	}
}

/* Does the message go to `l`? `from`: the sender, NULL when it is not a local APIC. */
static bool addressed(const struct lapic *l, const struct apic_message *m, enum shorthand to,
		      const struct lapic *from)
{
	switch (to) {
	case TO_SELF: return l == from;
	case TO_ALL: return lapic_enabled(l);
	case TO_OTHERS: return l != from && lapic_enabled(l);
	default: return matches(l, m);
	}
}

static bool send_lowest(struct vm *vm, const struct apic_message *m, enum shorthand to,
			const struct lapic *from)
{
	struct lapic *best = NULL;

	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct lapic *l = lapic_of(vm, i);

		if (!l || !addressed(l, m, to, from) || !(l->svr & SVR_ENABLE))
			continue;
		if (!best || lapic_ppr(l) < lapic_ppr(best))
			best = l;
	}
	return best && receive(best, m);
}

static bool send(struct vm *vm, const struct apic_message *m, enum shorthand to,
		 const struct lapic *from)
{
	bool taken = false;

	if (m->mode == APIC_LOWEST)
		return send_lowest(vm, m, to, from);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct lapic *l = lapic_of(vm, i);

		if (l && addressed(l, m, to, from))
			taken |= receive(l, m);
	}
	return taken;
}

bool lapic_bus_message(void *vm, const struct apic_message *m)
{
	return send(vm, m, TO_DEST, NULL);
}

void lapic_send(struct lapic *l, uint32_t icr, uint32_t dest)
{
	struct apic_message m = {
		.dest = dest,
		.vector = icr & ICR_VECTOR,
		.mode = (icr >> ICR_MODE_SHIFT) & 7,
		.logical = icr & ICR_LOGICAL,
		.level = icr & ICR_LEVEL,
		.assert = icr & ICR_ASSERT,
	};
	enum shorthand to = (icr >> ICR_SHORTHAND_SHIFT) & 3;
	bool fixed = m.mode == APIC_FIXED || m.mode == APIC_LOWEST;

	if (fixed && m.vector < 16) {
		lapic_error(l, ESR_SEND_VECTOR);
		return;
	}
	/* 11.12.9: all are FFFFFFFFH there, and nobody has the ID 255. */
	if (lapic_x2apic(l) && !m.logical && to == TO_DEST && dest == EVERYONE)
		return;
	if (fixed) /* only INIT looks at the trigger mode: 11.6.1 */
		m.level = false;
	/* 11.6.1, table 11-3: shorthands that include the sender are for fixed interrupts. NMI
	 * works on all processors known. */
	if ((to == TO_SELF || to == TO_ALL) && m.mode != APIC_FIXED && m.mode != APIC_NMI) {
		device_trace(&l->dev, "IPI mode %u to self dropped", m.mode);
		return;
	}
	send(l->dev.vm, &m, to, l);
}

void lapic_self_ipi(struct lapic *l, uint8_t vector)
{
	lapic_send(l, vector | TO_SELF << ICR_SHORTHAND_SHIFT, 0);
}
