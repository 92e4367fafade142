/*
 * apic.c - the local APICs go to KVM and come back.
 *
 * The idea: a local APIC is here, in the machine's own device, or there, in the kernel; and all of
 * them are in the same place, since an IPI does not cross over. They go when the first vCPU enters
 * the guest and come back when the machine stands still, so that there is one form of their state
 * and one moment, under the device lock, at which the two change.
 *
 *	here --the first KVM_RUN: kvm_apics_enter()--> there --all settled: kvm_give_back()--> here
 *
 * Who sleeps goes and comes with them: HLT and waiting for SIPI are KVM's mp_state there. Each
 * vCPU's thread tells it so itself, before its KVM_RUN: only then may messages have changed it.
 *
 * Not modelled: the initial count of a one-shot timer that had run out before its local APIC went
 * reads as 0 there.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst, KVM_SET_LAPIC, KVM_SET_MP_STATE; SDM vol. 3 ch. 11.
 * Tested by test/rig/interrupts.c, test/rig/smp.c, test/rig/exits.c, test/unit/kvm_apic.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

enum { REG_LVT_TIMER = 0x32, REG_INITIAL = 0x38, REG_CURRENT = 0x39 };
#define TIMER_MODE   0x60000u
#define TIMER_BY_TSC 0x40000u
#define REMOTE_READ  3 /* APIC_DM_REMRD: KVM_HC_KICK_CPU */
#define LATE_NS      1000000

static void to_kvm(struct kvm_lapic_state *to, const struct apic_state *from)
{
	bool x2apic = from->base & 0x400;

	memset(to, 0, sizeof(*to));
	for (unsigned i = 0; i < 64; i++)
		memcpy(to->regs + 16 * i, &from->reg[i], 4);
	memcpy(to->regs + 16 * APIC_REG_ID, &(uint32_t){ x2apic ? from->id : from->id << 24 }, 4);
}

/* A one-shot timer that has given its tick. KVM starts what it is given: with an initial count and
 * none left it would give that tick again. */
static bool has_run_out(const struct apic_state *s)
{
	return !(s->reg[REG_LVT_TIMER] & TIMER_MODE) && !s->reg[REG_CURRENT];
}

/* From any thread, while the vCPU is not in KVM_RUN. Device lock held. */
static int set_apic(struct kvm_vcpu *k, const struct apic_state *s, struct fail *why)
{
	struct kvm_lapic_state regs;
	struct apic_state given = *s;
	long err;

	k->apic_base = s->base;
	err = kvm_set_msr(k, MSR_APIC_BASE, s->base, why);
	k->spent = has_run_out(s) ? s->reg[REG_INITIAL] : 0;
	if (k->spent)
		given.reg[REG_INITIAL] = 0;
	to_kvm(&regs, &given);
	if (err >= 0)
		err = KVM_DO(k->fd, KVM_SET_LAPIC, &regs, why);
	if (err >= 0 && s->reg[REG_LVT_TIMER] & TIMER_BY_TSC)
		err = kvm_set_msr(k, MSR_TSC_DEADLINE, s->deadline, why);
	/* Level-triggered vectors on their way: their ends are wanted. */
	for (unsigned v = 0; err >= 0 && v < 256; v++)
		if (s->reg[APIC_REG_TMR + v / 32] >> (v % 32) & 1)
			err = kvm_expect_end(k->vm, (uint8_t)v, why);
	return err < 0 ? (int)err : 0;
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

/* A count of 0 does not say whether the kernel has noticed yet: its timer may be late. A CPU's
 * timers go off in the order of their times, so after one of ours that one has; another CPU gets
 * the same time for it. */
static void wait_for_late_tick(void)
{
	uint64_t at = host_monotonic_ns() + LATE_NS;
	struct timespec when = { (time_t)(at / 1000000000), (long)(at % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

static int get_apic(struct kvm_vcpu *k, struct apic_state *s, struct fail *why)
{
	struct kvm_lapic_state regs;
	long err = KVM_DO(k->fd, KVM_GET_LAPIC, &regs, why);
	bool out = false;

	*s = (struct apic_state){ 0 };
	while (err >= 0 && !out && reg_of(&regs, REG_INITIAL) &&
	       !(reg_of(&regs, REG_LVT_TIMER) & TIMER_BY_TSC)) {
		out = reg_of(&regs, REG_CURRENT) == 0;
		if (out)
			wait_for_late_tick();
		err = take_tick(k, why);
		if (err >= 0)
			err = KVM_DO(k->fd, KVM_GET_LAPIC, &regs, why);
		if (reg_of(&regs, REG_CURRENT) > 0)
			break; /* else it has run out meanwhile */
	}
	if (err >= 0 && reg_of(&regs, REG_LVT_TIMER) & TIMER_BY_TSC)
		err = kvm_get_msr(k, MSR_TSC_DEADLINE, &s->deadline, why);
	for (unsigned i = 0; i < 64; i++)
		s->reg[i] = reg_of(&regs, i);
	if (has_run_out(s) && !s->reg[REG_INITIAL]) /* and was not set since */
		s->reg[REG_INITIAL] = k->spent;
	return err < 0 ? (int)err : 0;
}

/* --- Who sleeps --- */

/* What the machine says goes to KVM, unless it is there already. Its thread, or while it is parked.
 */
static int tell_sleep(struct kvm_vcpu *k, struct fail *why)
{
	struct vcpu *vcpu = k->vcpu;
	struct kvm_mp_state mp = { vcpu->wait_sipi ? KVM_MP_STATE_INIT_RECEIVED
				   : vcpu->halted  ? KVM_MP_STATE_HALTED
						   : KVM_MP_STATE_RUNNABLE };
	long err;

	if (k->sleep_there && mp.mp_state == KVM_MP_STATE_RUNNABLE)
		return 0;
	err = KVM_DO(k->fd, KVM_SET_MP_STATE, &mp, why);
	if (err < 0)
		return (int)err;
	k->sleep_there = true;
	vcpu->halted = vcpu->wait_sipi = false;
	if (k->s.activity == ACTIVITY_WAIT_SIPI)
		k->s.activity = ACTIVITY_RUN;
	return 0;
}

static int ask_sleep(struct kvm_vcpu *k, struct fail *why)
{
	struct vcpu *vcpu = k->vcpu;
	struct kvm_mp_state mp = { 0 };
	long err = KVM_DO(k->fd, KVM_GET_MP_STATE, &mp, why);

	if (err < 0)
		return (int)err;
	k->sleep_there = false;
	vcpu->halted = mp.mp_state == KVM_MP_STATE_HALTED;
	vcpu->wait_sipi = mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
	if (k->s.activity != ACTIVITY_SHUTDOWN)
		k->s.activity = vcpu->wait_sipi ? ACTIVITY_WAIT_SIPI : ACTIVITY_RUN;
	return 0;
}

/* A kick by hypercall ends the present HLT or the next: KVM's own form of that is a message with a
 * delivery mode that is nobody else's. */
static int pass_kick(struct kvm_vcpu *k, struct fail *why)
{
	struct apic_message m = { .dest = k->vcpu->index, .mode = REMOTE_READ, .assert = true };
	struct kvm_msi msi = kvm_msi_of(&m);
	long err;

	if (!atomic_exchange(&k->vcpu->kicked, false))
		return 0;
	err = KVM_DO(k->vm->fd, KVM_SIGNAL_MSI, &msi, why);
	k->kick_there = true;
	return err < 0 ? (int)err : 0;
}

/* --- There and back --- */

static bool can_go(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		if (!vm->vcpu[i]->intc || !vm->vcpu[i]->intc->lend)
			return false;
	return true;
}

static void take_seat(struct kvm_vcpu *k)
{
	struct vcpu *vcpu = k->vcpu;

	k->intc = vcpu->intc;
	k->intc_arg = vcpu->intc_arg;
	vcpu->intc = &kvm_intc;
	vcpu->intc_arg = k;
}

/* Device lock held. */
static int give(struct vm *vm, struct fail *why)
{
	struct kvm_vm *v = vm->engine_data;
	struct apic_state s;
	int err = 0;

	for (unsigned i = 0; !err && i < vm->vcpus; i++) {
		vm->vcpu[i]->intc->lend(vm->vcpu[i]->intc_arg, &s);
		err = set_apic(vm->vcpu[i]->engine, &s, why);
	}
	if (err) /* they go on here, which those that were not lent do already */
		for (unsigned i = 0; i < vm->vcpus; i++) {
			vm->vcpu[i]->intc->lend(vm->vcpu[i]->intc_arg, &s);
			vm->vcpu[i]->intc->back(vm->vcpu[i]->intc_arg, &s);
		}
	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		take_seat(vm->vcpu[i]->engine);
	if (err)
		return err;
	v->message = vm->irq.message;
	v->message_arg = vm->irq.message_arg;
	vm->irq.message = kvm_message;
	vm->irq.message_arg = v;
	atomic_store(&v->there, true);
	atomic_store(&vm->hands_free, true);
	return 0;
}

int kvm_apics_enter(struct kvm_vcpu *k)
{
	struct vm *vm = k->vcpu->vm;
	bool first = false;
	int err = 0;

	if (!atomic_load(&k->vm->there)) {
		host_mutex_lock(vm->lock);
		first = !atomic_load(&k->vm->there) && can_go(vm);
		if (first)
			err = give(vm, &k->vcpu->trouble);
		host_mutex_unlock(vm->lock);
	}
	/* Who sleeps here would not hear what happens there. */
	for (unsigned i = 0; first && !err && i < vm->vcpus; i++)
		if (i != k->vcpu->index)
			vm_wake(vm, i);
	if (err || !atomic_load(&k->vm->there))
		return err;
	err = tell_sleep(k, &k->vcpu->trouble);
	return err ? err : pass_kick(k, &k->vcpu->trouble);
}

/* What could not be fetched stays as it was when it went. */
static int take(struct kvm_vcpu *k, struct fail *why)
{
	struct vcpu *vcpu = k->vcpu;
	struct apic_state s;
	int err = tell_sleep(k, why);

	if (!err)
		err = ask_sleep(k, why); /* takes INIT and SIPI that wait */
	if (!err)
		err = get_apic(k, &s, why);
	if (!err)
		err = ask_sleep(k, why); /* a tick may have woken it */
	/* Has the kick ended an HLT? Of one that sleeps it has; else the next may end too early. */
	if (k->kick_there && !vcpu->halted)
		atomic_store(&vcpu->kicked, true);
	k->kick_there = false;
	vcpu->intc = k->intc;
	vcpu->intc_arg = k->intc_arg;
	if (err)
		vcpu->intc->lend(vcpu->intc_arg, &s);
	vcpu->intc->back(vcpu->intc_arg, &s);
	return err;
}

int kvm_give_back(struct vm *vm)
{
	struct kvm_vm *v = vm->engine_data;
	struct fail *why = &vm->vcpu[0]->trouble;
	int err = 0;

	if (!atomic_load(&v->there))
		return 0;
	host_mutex_lock(vm->lock);
	kvm_wires_cut(v);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		int e = take(vm->vcpu[i]->engine, why);

		err = err ? err : e;
	}
	vm->irq.message = v->message;
	vm->irq.message_arg = v->message_arg;
	atomic_store(&v->there, false);
	atomic_store(&v->asleep, 0);
	atomic_store(&vm->hands_free, false);
	host_mutex_unlock(vm->lock);
	return err;
}

/* --- While they are there --- */

/* The rules of IA32_APIC_BASE are the machine's. Nothing sent meanwhile is lost: enabling keeps the
 * registers, and who is disabled receives nothing. Device lock held. */
bool kvm_apic_write_base(struct kvm_vcpu *k, uint64_t value)
{
	struct fail *why = &k->vcpu->trouble;
	struct apic_state s;

	if (!k->intc->wrmsr(k->intc_arg, MSR_APIC_BASE, value) ||
	    !k->intc->rdmsr(k->intc_arg, MSR_APIC_BASE, &k->apic_base) ||
	    kvm_set_msr(k, MSR_APIC_BASE, k->apic_base, why))
		return false;
	if (k->apic_base & APIC_BASE_ENABLED)
		return true;
	k->intc->lend(k->intc_arg, &s); /* as being disabled left it */
	return set_apic(k, &s, why) == 0;
}

/* Its timer counts to a value of the counter that has just been set. */
void kvm_apic_tsc_moved(struct kvm_vcpu *k)
{
	struct fail *why = &k->vcpu->trouble;
	uint64_t deadline = 0;

	if (atomic_load(&k->vm->there) && !kvm_get_msr(k, MSR_TSC_DEADLINE, &deadline, why) &&
	    deadline)
		kvm_set_msr(k, MSR_TSC_DEADLINE, deadline, why);
}

/* --- HLT, which does not come out: when all have slept for a while the machine stands still, and
 * then knows whether that is for ever --- */

#define HALT_WATCH_NS   UINT64_C(2000000) /* at first, */
#define HALT_WATCH_MOST 7                 /* and so often doubled */

void kvm_halt_watch(struct kvm_vcpu *k, uint64_t now)
{
	if (!k->vm->split || !k->vcpu->vm->halt_ends) { /* nobody asks, or it comes out */
		k->watch_at = ALARM_NONE;
	} else if (k->watch_at <= now || k->watch_at == ALARM_NONE) {
		k->watch_at = now + (HALT_WATCH_NS << k->watched);
		k->watched += k->watched < HALT_WATCH_MOST;
	}
}

void kvm_halt_look(struct kvm_vcpu *k)
{
	struct vm *vm = k->vcpu->vm;
	uint64_t bit = UINT64_C(1) << k->vcpu->index, all = UINT64_MAX >> (64 - vm->vcpus);
	struct kvm_mp_state mp;
	bool sleeps;

	/* Asking takes INIT and SIPI, for which KVM must know where it stands. */
	if (!k->sleep_there || clock_now(&vm->clock) < k->watch_at ||
	    KVM_VCPU_DO(k, KVM_GET_MP_STATE, &mp) < 0)
		return;
	sleeps = mp.mp_state == KVM_MP_STATE_HALTED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
	if (!sleeps)
		atomic_fetch_and(&k->vm->asleep, ~bit);
	else if ((atomic_fetch_or(&k->vm->asleep, bit) | bit) == all)
		vm_stand_still(vm);
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

	/* Nothing but the interrupt: an NMI or INIT may come this very moment. */
	e.flags = 0;
	e.interrupt.injected = 1;
	e.interrupt.soft = 0;
	e.interrupt.nr = vector;
	if (err >= 0)
		err = KVM_VCPU_DO(k, KVM_SET_VCPU_EVENTS, &e);
	if (err >= 0)
		err = KVM_VCPU_DO(k, KVM_SET_MP_STATE, &running);
	return err < 0 ? (int)err : 0;
}
