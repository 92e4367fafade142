/*
 * run.c - entering the guest, getting out of it again, and putting interrupts in.
 *
 * Getting out: whoever wants a running vCPU's attention sets a flag and sends its thread a
 * signal; so does the timer that goes off with the machine's next alarm. The signal's handler
 * sets immediate_exit in the page shared with KVM. Wherever the signal arrives - before
 * the flags are looked at, between that and KVM_RUN, inside - the guest is left or
 * not entered; there is no moment at which it could be lost.
 *
 *	clear immediate_exit -> look at the flags -> KVM_RUN
 *
 * Putting in: KVM takes one interrupt when the guest can accept it, which it says in the shared
 * page after every exit; a window exit tells when. NMIs it keeps until they fit.
 *
 * Not modelled: single stepping, exact instruction budgets.
 *
 * Spec: Documentation/virt/kvm/api.rst (KVM_RUN, immediate_exit, KVM_INTERRUPT, KVM_NMI).
 * Tested by test/unit/kvm_exits.c, test/rig/.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"

/* What this thread runs, for the handler. */
static _Thread_local struct kvm_vcpu *volatile running;

static void on_signal(int number)
{
	struct kvm_vcpu *k = running;

	(void)number;
	if (!k)
		return;
	atomic_store(&k->kicked, true);
	__atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_RELAXED);
}

static pid_t this_thread(void)
{
	return (pid_t)syscall(SYS_gettid);
}

void kvm_forget_thread(struct kvm_vcpu *k)
{
	if (k->has_timer)
		timer_delete(k->timer);
	k->has_timer = false;
	k->thread = 0;
}

/* The thread that will run it, from now on: a handler, no block in its way, a timer. */
static int meet_thread(struct kvm_vcpu *k)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_SIGNAL };
	struct fail *why = &k->vcpu->trouble;
	sigset_t set;

	kvm_forget_thread(k);
	sigemptyset(&action.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, KVM_SIGNAL);
	if (sigaction(KVM_SIGNAL, &action, NULL) || pthread_sigmask(SIG_UNBLOCK, &set, NULL))
		return fail(why, -errno, "cannot take signal %d: %s", KVM_SIGNAL, strerror(errno));
	event._sigev_un._tid = this_thread();
	if (timer_create(CLOCK_MONOTONIC, &event, &k->timer))
		return fail(why, -errno, "cannot create a timer: %s", strerror(errno));
	k->has_timer = true;
	k->timer_at = ALARM_NONE;
	k->thread = this_thread();
	return 0;
}

/* Alarms fire on vCPU 0's thread: it has to be out of the guest when the next one is due. */
static int set_timer(struct kvm_vcpu *k)
{
	struct clock *clock = &k->vcpu->vm->clock;
	uint64_t at = k->vcpu->index == 0 ? clock_next(clock) : ALARM_NONE;
	uint64_t now = clock_now(clock), host;
	struct itimerspec when;

	kvm_halt_watch(k, now);
	at = k->watch_at < at ? k->watch_at : at;
	/* Once gone off it has to be set again, even for the same time. */
	if (at == k->timer_at &&
	    (at == ALARM_NONE || at + clock->real_base_ns > host_monotonic_ns()))
		return 0;
	k->timer_at = at;
	host = at == ALARM_NONE ? 0 : at + clock->real_base_ns;
	when = (struct itimerspec){
		.it_value = {(time_t)(host / 1000000000), (long)(host % 1000000000)}
	};
	if (timer_settime(k->timer, TIMER_ABSTIME, &when, NULL))
		return fail(&k->vcpu->trouble, -errno, "cannot set a timer: %s", strerror(errno));
	return 0;
}

void kvm_kick(struct vcpu *vcpu)
{
	struct kvm_vcpu *k = vcpu->engine;

	atomic_store(&k->kicked, true);
	if (atomic_load(&vcpu->in_guest))
		syscall(SYS_tgkill, getpid(), k->thread, KVM_SIGNAL);
}

/* --- The task priority: the machine's local APIC has it, MOV CR8 reaches KVM's copy --- */

static void give_tpr(struct kvm_vcpu *k)
{
	struct vcpu *vcpu = k->vcpu;

	if (!vcpu->intc)
		return;
	host_mutex_lock(vcpu->vm->lock);
	k->run->cr8 = vcpu->intc->get_tpr(vcpu->intc_arg);
	host_mutex_unlock(vcpu->vm->lock);
}

static void take_tpr(struct kvm_vcpu *k, uint64_t before)
{
	struct vcpu *vcpu = k->vcpu;

	if (!vcpu->intc || k->run->cr8 == before)
		return;
	host_mutex_lock(vcpu->vm->lock);
	vcpu->intc->set_tpr(vcpu->intc_arg, (uint8_t)k->run->cr8);
	host_mutex_unlock(vcpu->vm->lock);
}

/* --- Entering --- */

/* KVM_RUN. 0: an exit is in k->run; 1: nothing, it was told to come back; or -E*. */
static int enter(struct kvm_vcpu *k)
{
	uint64_t cr8;
	long err;

	if (!k->vm->split)
		give_tpr(k);
	cr8 = k->run->cr8;
	err = kvm_kernel->ioctl(k->fd, KVM_RUN, 0);
	if (err < 0 && err != -EINTR && err != -EAGAIN)
		return fail(&k->vcpu->trouble, (int)err, "KVM: KVM_RUN: %s", strerror((int)-err));
	k->stale = false;
	k->queued = false;
	if (!k->vm->split)
		take_tpr(k, cr8);
	if (err == 0)
		return 0;
	k->half_done = false;
	return 1;
}

int kvm_finish(struct kvm_vcpu *k)
{
	struct exit exit = { .reason = EXIT_REASON_COUNT };
	int r = 0;

	while (r == 0 && (k->half_done || k->stale)) {
		__atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_RELAXED);
		r = enter(k);
		if (r == 0) /* one more piece of the same access */
			kvm_exit(k, &exit);
		/* Anything else that ends run() comes again when it is entered. */
		if (exit.reason == EXIT_STUCK)
			r = fail(&k->vcpu->trouble, -EIO,
				 "KVM: exit %u in the middle of an instruction",
				 k->run->exit_reason);
	}
	return r < 0 ? r : 0;
}

int kvm_settle(struct vcpu *vcpu, struct exit *exit)
{
	struct kvm_vcpu *k = vcpu->engine;

	int err = vcpu->trouble.code;

	exit->reason = EXIT_KICK;
	if (!err && k->half_done)
		err = kvm_finish(k);
	return err;
}

/* An interrupt waits that the guest cannot take yet. One that waits for an NMI's sake only would
 * find the window open at once, and the guest would never run. */
static bool wants_window(struct kvm_vcpu *k)
{
	static const struct event irq = { .kind = EVENT_IRQ };

	return k->vcpu->want_window && !kvm_can_inject(k->vcpu, &irq);
}

/* Enters the guest until an exit ends run(): *exit says why. */
static int run_until(struct kvm_vcpu *k, struct exit *exit)
{
	exit->reason = EXIT_REASON_COUNT;
	do {
		int r;

		__atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_RELAXED);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load(&k->kicked) || atomic_load(&k->vcpu->notice)) {
			kvm_halt_look(k);
			exit->reason = EXIT_KICK;
			break;
		}
		r = k->vm->split ? kvm_apics_enter(k) : 0;
		if (r == 0)
			r = enter(k);
		if (r < 0)
			return r;
		k->entered = true;
		if (r == 0)
			kvm_exit(k, exit);
		if (k->vcpu->trouble.code)
			return k->vcpu->trouble.code;
	} while (exit->reason == EXIT_REASON_COUNT);
	atomic_store(&k->kicked, false);
	return 0;
}

static int run(struct vcpu *vcpu, struct exit *exit)
{
	struct kvm_vcpu *k = vcpu->engine;
	int err = vcpu->trouble.code;

	if (!err && (!k->thread || k->thread != this_thread()))
		err = meet_thread(k);
	if (err)
		return err;
	/* From here on a signal counts: a timer that is set for a time just past gives one at once.
	 */
	running = k;
	err = set_timer(k);
	if (!err) {
		k->run->request_interrupt_window = wants_window(k);
		atomic_store(&vcpu->in_guest, true);
		err = run_until(k, exit);
		atomic_store(&vcpu->in_guest, false);
	}
	running = NULL;
	return err;
}

int kvm_run_guest(struct vcpu *vcpu, struct exit *exit)
{
	const struct kvm_vcpu *k = vcpu->engine;
	bool inside;
	int err;

	if (k->s.activity == ACTIVITY_SHUTDOWN) {
		exit->reason = EXIT_SHUTDOWN;
		return 0;
	}
	/* It has no caches that another vCPU could change, and waits for locks. */
	inside = gate_step_out(vcpu);
	err = run(vcpu, exit);
	gate_step_back(vcpu, inside);
	return err;
}

/* --- Interrupts --- */

bool kvm_can_inject(struct vcpu *vcpu, const struct event *event)
{
	struct kvm_vcpu *k = vcpu->engine;
	struct kvm_vcpu_events e;

	if (k->s.activity == ACTIVITY_SHUTDOWN || vcpu->trouble.code)
		return false;
	if (event->kind == EVENT_NMI)
		return KVM_VCPU_DO(k, KVM_GET_VCPU_EVENTS, &e) >= 0 && !e.nmi.pending;
	if (k->stale && kvm_finish(k) < 0)
		return false;
	if (k->vm->split && !atomic_load(&k->vm->there))
		return kvm_apic_can_inject(k);
	return !k->queued && k->run->if_flag && k->run->ready_for_interrupt_injection;
}

int kvm_inject(struct vcpu *vcpu, const struct event *event)
{
	struct kvm_vcpu *k = vcpu->engine;
	struct kvm_interrupt irq = { .irq = event->vector };

	exit_count(vcpu, EXIT_INTERRUPT);
	if (event->kind == EVENT_NMI) {
		k->nmi_given = true;
		return (int)KVM_VCPU_DO(k, KVM_NMI, 0);
	}
	k->queued = true;
	if (k->vm->split)
		return kvm_apic_inject(k, event->vector);
	return (int)KVM_VCPU_DO(k, KVM_INTERRUPT, &irq);
}
