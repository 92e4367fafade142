/*
 * irqchip.c - the local APICs inside KVM ("split" irqchip); IOAPIC, 8259s and timers stay the
 *machine's.
 *
 * The idea: a local APIC is here, in the machine's own device, or there, in the kernel. It goes
 *there when the guest is entered and comes back when somebody wants the machine's state, so that
 *there is one form of it and one moment, under the device lock, at which the two change. While it
 *is there, its struct intc_ops are those below: of an interrupt controller that has only the 8259s
 *left. HLT is then the kernel's too; a CPU that has slept for HALT_WATCH_NS comes back to the
 *machine, which knows whether that is for ever.
 *
 *	here --give(), before KVM_RUN--> there --take(), settle(), a write to IA32_APIC_BASE--> here
 *
 * Messages of the IOAPIC and MSIs go in by KVM_SIGNAL_MSI. The kernel tells of an EOI only for
 *vectors that its routing table says are level-triggered: they are put there when the first such
 *message comes.
 *
 * Not modelled: ExtINT as a message, several vCPUs.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst, KVM_CAP_SPLIT_IRQCHIP; SDM vol. 3 11.11 (messages).
 * Tested by test/rig/interrupts.c, test/rig/exits.c, test/unit/kvm.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

#define HALT_WATCH_NS   UINT64_C(2000000) /* at first, */
#define HALT_WATCH_MOST 7                 /* and so often doubled */

#define FIRST_VECTOR 16
#define VECTORS      (256 - FIRST_VECTOR)

enum { REG_LVT_TIMER = 0x32, REG_INITIAL = 0x38, REG_CURRENT = 0x39 };
#define TIMER_BY_TSC 0x40000u

int kvm_irqchip_open(struct kvm_vm *v, struct fail *why)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { VECTORS } };
	struct kvm_enable_cap ids = { .cap = KVM_CAP_X2APIC_API,
				      .args = { KVM_X2APIC_API_USE_32BIT_IDS } };
	enum irqchip wanted = v->vm->engine_options.irqchip;
	long err;

	v->split = wanted == IRQCHIP_SPLIT ||
		   (wanted == IRQCHIP_AUTO && v->device.caps.split && !v->vm->crew.used);
	if (!v->split)
		return 0;
	if (v->vm->crew.used)
		return fail(why, -ENOTSUP, "--irqchip split: for one vCPU only");
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
	struct kvm_irq_routing_entry entry[VECTORS];
};
_Static_assert(offsetof(struct routes, entry) == sizeof(struct kvm_irq_routing), "KVM's layout");

static struct kvm_msi msi_of(const struct apic_message *m)
{
	return (struct kvm_msi){
		.address_lo = 0xfee00000u | (m->dest & 0xff) << 12 | (m->logical ? 4u : 0),
		.address_hi = m->dest & 0xffffff00,
		.data = m->vector | (uint32_t)m->mode << 8 | (m->assert ? 1u << 14 : 0) |
			(m->level ? 1u << 15 : 0),
	};
}

/* Has the kernel tell of the ends of all level-triggered vectors seen. */
static int route(struct kvm_vm *v, struct fail *why)
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
		struct kvm_msi msi = msi_of(&m);

		if (!v->level[m.vector])
			continue;
		r->entry[r->nr++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {msi.address_lo, msi.address_hi, msi.data, { 0 }}
		};
	}
	err = KVM_DO(v->fd, KVM_SET_GSI_ROUTING, r, why);
	host_free(r);
	return err < 0 ? (int)err : 0;
}

static int expect_end(struct kvm_vm *v, uint8_t vector, struct fail *why)
{
	if (vector < FIRST_VECTOR || v->level[vector])
		return 0;
	v->level[vector] = true;
	return route(v, why);
}

/* irq.message while the local APICs are there. Device lock held. */
static bool message(void *arg, const struct apic_message *m)
{
	struct kvm_vm *v = arg;
	struct fail *why = &v->vm->vcpu[0]->trouble;
	struct kvm_msi msi = msi_of(m);

	if (m->level && m->mode <= APIC_LOWEST && expect_end(v, m->vector, why))
		return false;
	return KVM_DO(v->fd, KVM_SIGNAL_MSI, &msi, why) > 0;
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

static int acknowledge(void *arg)
{
	const struct irq *irq = &((struct kvm_vcpu *)arg)->vcpu->vm->irq;

	return irq->extint_inta(irq->extint_arg);
}

/* The kernel has answered for all that are legal. */
static bool refuse_read(void *arg, uint32_t index, uint64_t *value)
{
	(void)arg;
	(void)index;
	(void)value;
	return false;
}

static int take_locked(struct kvm_vcpu *k, struct fail *why);

/* The rules of IA32_APIC_BASE are the machine's. */
static bool write_base(void *arg, uint32_t index, uint64_t value)
{
	struct kvm_vcpu *k = arg;

	if (index != MSR_APIC_BASE || take_locked(k, &k->vcpu->trouble))
		return false;
	return k->vcpu->intc->wrmsr(k->vcpu->intc_arg, index, value);
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

static const struct intc_ops there = {
	.pending = pending,
	.acknowledge = acknowledge,
	.rdmsr = refuse_read,
	.wrmsr = write_base,
	.get_tpr = no_tpr,
	.set_tpr = ignore_tpr,
};

/* --- There and back --- */

static void to_kvm(struct kvm_lapic_state *to, const struct apic_state *from)
{
	bool x2apic = from->base & 0x400;

	memset(to, 0, sizeof(*to));
	for (unsigned i = 0; i < 64; i++)
		memcpy(to->regs + 16 * i, &from->reg[i], 4);
	memcpy(to->regs + 16 * APIC_REG_ID, &(uint32_t){ x2apic ? from->id : from->id << 24 }, 4);
}

static int set_apic(struct kvm_vcpu *k, const struct apic_state *s, struct fail *why)
{
	struct kvm_mp_state running = { KVM_MP_STATE_RUNNABLE };
	struct kvm_lapic_state regs;
	long err = kvm_set_msr(k, MSR_APIC_BASE, s->base, why);

	to_kvm(&regs, s);
	if (err >= 0)
		err = KVM_DO(k->fd, KVM_SET_LAPIC, &regs, why);
	if (err >= 0 && s->reg[REG_LVT_TIMER] & TIMER_BY_TSC)
		err = kvm_set_msr(k, MSR_TSC_DEADLINE, s->deadline, why);
	if (err >= 0)
		err = KVM_DO(k->fd, KVM_SET_MP_STATE, &running, why);
	/* Level-triggered vectors on their way: their ends are wanted. */
	for (unsigned v = 0; err >= 0 && v < 256; v++)
		if (s->reg[APIC_REG_TMR + v / 32] >> (v % 32) & 1)
			err = expect_end(k->vm, (uint8_t)v, why);
	return err < 0 ? (int)err : 0;
}

int kvm_apic_give(struct kvm_vcpu *k)
{
	struct vcpu *vcpu = k->vcpu;
	struct irq *irq = &vcpu->vm->irq;
	struct apic_state s;
	int err;

	if (!vcpu->intc || !vcpu->intc->lend)
		return 0;
	host_mutex_lock(vcpu->vm->lock);
	vcpu->intc->lend(vcpu->intc_arg, &s);
	err = set_apic(k, &s, &vcpu->trouble);
	if (err) {
		vcpu->intc->back(vcpu->intc_arg, &s);
	} else {
		k->intc = vcpu->intc;
		k->intc_arg = vcpu->intc_arg;
		vcpu->intc = &there;
		vcpu->intc_arg = k;
		if (irq->message != message) {
			k->vm->message = irq->message;
			k->vm->message_arg = irq->message_arg;
		}
		irq->message = message;
		irq->message_arg = k->vm;
		k->apic_there = true;
		atomic_store(&vcpu->vm->hands_free, true);
	}
	host_mutex_unlock(vcpu->vm->lock);
	return err;
}

/* struct kvm_signal_mask, with room. */
struct no_signals {
	uint32_t len;
	uint8_t set[8];
};
_Static_assert(offsetof(struct no_signals, set) == sizeof(struct kvm_signal_mask), "KVM's layout");

/* A tick that the kernel's timer has given and its APIC not yet taken: KVM_RUN takes it, and with a
 * signal waiting it does nothing else. */
static int take_tick(struct kvm_vcpu *k, struct fail *why)
{
	struct no_signals mask = { .len = sizeof(mask.set) };
	sigset_t mine, before;
	long err;

	sigemptyset(&mine);
	sigaddset(&mine, KVM_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &mine, &before);
	raise(KVM_SIGNAL);
	__atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_RELAXED);
	err = KVM_DO(k->fd, KVM_SET_SIGNAL_MASK, &mask, why);
	if (err >= 0)
		err = kvm_kernel->ioctl(k->fd, KVM_RUN, 0);
	if (err >= 0 || err == -EINTR)
		err = KVM_DO(k->fd, KVM_SET_SIGNAL_MASK, NULL, why);
	else
		fail(why, (int)err, "KVM: KVM_RUN: %s", strerror((int)-err));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err < 0 ? (int)err : 0;
}

static uint32_t reg_of(const struct kvm_lapic_state *s, unsigned reg)
{
	uint32_t value;

	memcpy(&value, s->regs + 16 * reg, 4);
	return value;
}

static int get_apic(struct kvm_vcpu *k, struct apic_state *s, struct fail *why)
{
	struct kvm_lapic_state regs;
	long err = KVM_DO(k->fd, KVM_GET_LAPIC, &regs, why);
	uint32_t was = reg_of(&regs, REG_CURRENT);

	*s = (struct apic_state){ 0 };
	while (err >= 0 && reg_of(&regs, REG_INITIAL) &&
	       !(reg_of(&regs, REG_LVT_TIMER) & TIMER_BY_TSC)) {
		err = take_tick(k, why);
		if (err >= 0)
			err = KVM_DO(k->fd, KVM_GET_LAPIC, &regs, why);
		if (was == 0 || reg_of(&regs, REG_CURRENT) > 0)
			break;
		was = 0; /* it has run out meanwhile */
	}
	if (err >= 0 && reg_of(&regs, REG_LVT_TIMER) & TIMER_BY_TSC)
		err = kvm_get_msr(k, MSR_TSC_DEADLINE, &s->deadline, why);
	for (unsigned i = 0; i < 64; i++)
		s->reg[i] = reg_of(&regs, i);
	return err < 0 ? (int)err : 0;
}

static int take_locked(struct kvm_vcpu *k, struct fail *why)
{
	struct vcpu *vcpu = k->vcpu;
	struct kvm_mp_state mp;
	struct apic_state s;
	int err = get_apic(k, &s, why);

	if (!err)
		err = (int)KVM_DO(k->fd, KVM_GET_MP_STATE, &mp, why);
	if (err < 0)
		return err;
	vcpu->halted = mp.mp_state == KVM_MP_STATE_HALTED;
	vcpu->intc = k->intc;
	vcpu->intc_arg = k->intc_arg;
	vcpu->vm->irq.message = k->vm->message;
	vcpu->vm->irq.message_arg = k->vm->message_arg;
	k->apic_there = false;
	atomic_store(&vcpu->vm->hands_free, false);
	vcpu->intc->back(vcpu->intc_arg, &s);
	return 0;
}

int kvm_apic_take(struct kvm_vcpu *k)
{
	int err;

	if (!k->apic_there)
		return 0;
	host_mutex_lock(k->vcpu->vm->lock);
	err = take_locked(k, &k->vcpu->trouble);
	host_mutex_unlock(k->vcpu->vm->lock);
	return err;
}

/* --- HLT, which does not come out --- */

void kvm_halt_watch(struct kvm_vcpu *k, uint64_t now)
{
	if (!k->vm->split || !k->vcpu->vm->halt_ends) {
		k->watch_at = ALARM_NONE;
	} else if (k->watch_at <= now || k->watch_at == ALARM_NONE) {
		k->watch_at = now + (HALT_WATCH_NS << k->watched);
		k->watched += k->watched < HALT_WATCH_MOST;
	}
}

bool kvm_halt_seen(struct kvm_vcpu *k)
{
	struct kvm_mp_state mp;

	if (!k->vm->split || clock_now(&k->vcpu->vm->clock) < k->watch_at)
		return false;
	if (KVM_VCPU_DO(k, KVM_GET_MP_STATE, &mp) < 0 || mp.mp_state != KVM_MP_STATE_HALTED)
		return false;
	return kvm_apic_take(k) == 0;
}

/* --- Interrupts of the machine's, by hand: seen in the state as soon as they are given --- */

bool kvm_apic_can_inject(struct kvm_vcpu *k)
{
	struct kvm_vcpu_events e;
	struct kvm_regs r;

	if (KVM_VCPU_DO(k, KVM_GET_REGS, &r) < 0 || KVM_VCPU_DO(k, KVM_GET_VCPU_EVENTS, &e) < 0)
		return false;
	return r.rflags & FLAG_IF && !e.interrupt.shadow && !e.interrupt.injected &&
	       !e.nmi.injected && !e.exception.injected && !e.exception.pending;
}

int kvm_apic_inject(struct kvm_vcpu *k, uint8_t vector)
{
	struct kvm_mp_state running = { KVM_MP_STATE_RUNNABLE };
	struct kvm_vcpu_events e;
	long err = KVM_VCPU_DO(k, KVM_GET_VCPU_EVENTS, &e);

	e.interrupt.injected = 1;
	e.interrupt.soft = 0;
	e.interrupt.nr = vector;
	if (err >= 0)
		err = KVM_VCPU_DO(k, KVM_SET_VCPU_EVENTS, &e);
	if (err >= 0)
		err = KVM_VCPU_DO(k, KVM_SET_MP_STATE, &running);
	return err < 0 ? (int)err : 0;
}
