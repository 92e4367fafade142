/*
 * irqchip.c - the local APICs inside KVM ("split" irqchip); IOAPIC, 8259s and timers stay the
 * machine's.
 *
 * The idea: while the local APICs are in the kernel (apic.c), each vCPU's struct intc_ops are those
 * below: of an interrupt controller that has only the 8259s left. Messages of the IOAPIC and MSIs
 * go in by KVM_SIGNAL_MSI. The kernel tells of an EOI only for vectors that its routing table says
 * are level-triggered: they are put there when the first such message comes.
 *
 * Not modelled: ExtINT as a message.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst, KVM_CAP_SPLIT_IRQCHIP; SDM vol. 3 11.11 (messages).
 * Tested by test/rig/interrupts.c, test/rig/smp.c, test/unit/kvm_apic.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

#define FIRST_VECTOR 16
#define VECTORS      (256 - FIRST_VECTOR)

int kvm_irqchip_open(struct kvm_vm *v, struct fail *why)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { VECTORS } };
	struct kvm_enable_cap ids = { .cap = KVM_CAP_X2APIC_API,
				      .args = { KVM_X2APIC_API_USE_32BIT_IDS } };
	enum irqchip wanted = v->vm->engine_options.irqchip;
	long err;

	v->split = wanted == IRQCHIP_SPLIT || (wanted == IRQCHIP_AUTO && v->device.caps.split);
	if (!v->split)
		return kvm_deadline_open(v, why);
	if (!v->device.caps.split)
		return fail(
			why, -ENOTSUP,
			"KVM here cannot run the local APICs alone: it lacks "
			"KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API or KVM_CAP_TSC_DEADLINE_TIMER");
	err = KVM_DO(v->fd, KVM_ENABLE_CAP, &split, why);
	if (err >= 0)
		err = KVM_DO(v->fd, KVM_ENABLE_CAP, &ids, why);
	return err < 0 ? (int)err : 0;
}

/* --- Messages, and their ends --- */

struct routes {
	uint32_t nr, flags;
	struct kvm_irq_routing_entry entry[VECTORS + KVM_WIRES];
};
_Static_assert(offsetof(struct routes, entry) == sizeof(struct kvm_irq_routing), "KVM's layout");

struct kvm_msi kvm_msi_of(const struct apic_message *m)
{
	return (struct kvm_msi){
		.address_lo = 0xfee00000u | (m->dest & 0xff) << 12 | (m->logical ? 4u : 0),
		.address_hi = m->dest & 0xffffff00,
		.data = m->vector | (uint32_t)m->mode << 8 | (m->assert ? 1u << 14 : 0) |
			(m->level ? 1u << 15 : 0),
	};
}

uint32_t kvm_wire_gsi(const struct kvm_vm *v, const struct kvm_wire *w)
{
	return VECTORS + (uint32_t)(w - v->wire);
}

static void add(struct routes *r, uint32_t gsi, const struct kvm_msi *msi)
{
	r->entry[r->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {msi->address_lo, msi->address_hi, msi->data, { 0 }}
	};
}

/* Has the kernel tell of the ends of all level-triggered vectors seen. Of the GSIs below VECTORS,
 * that is; on those above are the wires. */
int kvm_route(struct kvm_vm *v, struct fail *why)
{
	struct routes *r = host_alloc(sizeof(*r));
	long err;

	if (!r)
		return fail(why, -ENOMEM, "no memory for interrupt routes");
	for (unsigned i = 0; i < VECTORS; i++) {
		struct apic_message m = { .dest = 0xff,
					  .vector = (uint8_t)(i + FIRST_VECTOR),
					  .level = true,
					  .assert = true };
		struct kvm_msi msi = kvm_msi_of(&m);

		if (v->level[m.vector])
			add(r, i, &msi);
	}
	for (unsigned i = 0; i < KVM_WIRES; i++)
		if (v->wire[i].fd > 0)
			add(r, kvm_wire_gsi(v, &v->wire[i]), &v->wire[i].msi);
	err = KVM_DO(v->fd, KVM_SET_GSI_ROUTING, r, why);
	host_free(r);
	return err < 0 ? (int)err : 0;
}

int kvm_expect_end(struct kvm_vm *v, uint8_t vector, struct fail *why)
{
	if (vector < FIRST_VECTOR || v->level[vector])
		return 0;
	v->level[vector] = true;
	return kvm_route(v, why);
}

#define NOBODY (-EPERM) /* KVM's -1: no local APIC has that address */

/* irq.message while the local APICs are there. Device lock held. */
bool kvm_message(void *arg, const struct apic_message *m)
{
	struct kvm_vm *v = arg;
	struct fail *why = &v->vm->vcpu[0]->trouble;
	struct kvm_msi msi = kvm_msi_of(m);
	long r;

	if (m->level && m->mode <= APIC_LOWEST && kvm_expect_end(v, m->vector, why))
		return false;
	if (!m->level && m->mode <= APIC_LOWEST && kvm_wire_send(v, &msi))
		return true;
	v->by_call++;
	r = kvm_kernel->ioctl(v->fd, KVM_SIGNAL_MSI, (unsigned long)&msi);
	if (r < 0 && r != NOBODY)
		fail(why, (int)r, "KVM: KVM_SIGNAL_MSI: %s", strerror((int)-r));
	return r > 0;
}

void kvm_eoi_exit(struct kvm_vcpu *k)
{
	struct vm *vm = k->vcpu->vm;

	host_mutex_lock(vm->lock);
	irq_eoi(vm, k->run->eoi.vector);
	host_mutex_unlock(vm->lock);
}

/* --- What is left of an interrupt controller: struct intc_ops --- */

static int pending(void *arg)
{
	const struct irq *irq = &((struct kvm_vcpu *)arg)->vcpu->vm->irq;

	return irq->extint_intr && irq->extint_intr(irq->extint_arg) ? 0 : -1;
}

/* They may have gone between the question and this. */
static int acknowledge(void *arg)
{
	const struct irq *irq = &((struct kvm_vcpu *)arg)->vcpu->vm->irq;

	return pending(arg) < 0 ? -1 : irq->extint_inta(irq->extint_arg);
}

/* The kernel has answered for all that are legal. */
static bool refuse_read(void *arg, uint32_t index, uint64_t *value)
{
	(void)arg;
	(void)index;
	(void)value;
	return false;
}

static bool write_base(void *arg, uint32_t index, uint64_t value)
{
	return index == MSR_APIC_BASE && kvm_apic_write_base(arg, value);
}

/* CR8 is the kernel's. */
static uint8_t no_tpr(void *arg)
{
	(void)arg;
	return 0;
}

static void ignore_tpr(void *arg, uint8_t cr8)
{
	(void)arg;
	(void)cr8;
}

const struct intc_ops kvm_intc = {
	.pending = pending,
	.acknowledge = acknowledge,
	.rdmsr = refuse_read,
	.wrmsr = write_base,
	.get_tpr = no_tpr,
	.set_tpr = ignore_tpr,
};
