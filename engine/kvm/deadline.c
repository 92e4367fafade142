/*
 * deadline.c - does a guest's write of IA32_TSC_DEADLINE come out of KVM?
 *
 * It has to where the local APICs are the machine's own: it is their timer's. But a KVM that uses
 * the processor's timer for guests (VMX's preemption timer) takes this write before it looks
 * whether a local APIC of its own is there, or at its filter of MSRs, and drops it; and a kernel
 * that counts by deadlines never ticks again. No capability says so, and so it is tried. Where
 * guests may MWAIT, KVM leaves that timer alone and the write comes out: a machine is then made so.
 *
 * Spec: Documentation/virt/kvm/api.rst, KVM_X86_SET_MSR_FILTER, KVM_CAP_X86_DISABLE_EXITS; SDM vol.
 * 3 11.5.4.1. Tested by test/unit/kvm_probe.c, test/rig/. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "cpu/msr.h"
#include "engine/kvm/trial.h"

static const uint8_t code[] = { 0x0f, 0x30, 0xf4 }; /* wrmsr; hlt */

/* Its write would come out if it were like any other. */
static int filter(struct kvm_trial *t, struct fail *why)
{
	struct kvm_enable_cap out = { .cap = KVM_CAP_X86_USER_SPACE_MSR,
				      .args = { KVM_MSR_EXIT_REASON_FILTER } };
	uint8_t denied[8] = { 0 }; /* KVM reads whole words */
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
				    .ranges = { { KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, 1,
						  MSR_TSC_DEADLINE, denied } } };
	long err = KVM_DO(t->vm, KVM_ENABLE_CAP, &out, why);

	return err < 0 ? (int)err : (int)KVM_DO(t->vm, KVM_X86_SET_MSR_FILTER, &f, why);
}

static int let_mwait(int fd, struct fail *why)
{
	struct kvm_enable_cap free = { .cap = KVM_CAP_X86_DISABLE_EXITS,
				       .args = { KVM_X86_DISABLE_EXITS_MWAIT } };

	return (int)KVM_DO(fd, KVM_ENABLE_CAP, &free, why);
}

static int filter_and_let_mwait(struct kvm_trial *t, struct fail *why)
{
	int err = filter(t, why);

	return err < 0 ? err : let_mwait(t->vm, why);
}

/* What the trial's exit says. */
static int told(const struct kvm_trial *t, struct fail *why)
{
	switch (t->run->exit_reason) {
	case KVM_EXIT_X86_WRMSR: return 1;
	case KVM_EXIT_HLT: return 0;
	default:
		return fail(why, -EIO, "KVM does not get through a WRMSR (exit %u)",
			    t->run->exit_reason);
	}
}

/* 1: it comes out; 0: it does not; or -E*. */
static int comes(int (*prepare)(struct kvm_trial *t, struct fail *why), struct fail *why)
{
	struct kvm_trial t;
	int result = kvm_trial_open(&t, prepare, why);

	if (!result) {
		memcpy(t.memory + TRIAL_CODE, code, sizeof(code));
		result = kvm_trial_at(&t, TRIAL_CODE, MSR_TSC_DEADLINE, why);
	}
	if (result >= 0)
		result = (int)KVM_DO(t.vcpu, KVM_RUN, 0, why);
	if (result >= 0)
		result = told(&t, why);
	kvm_trial_close(&t);
	return result;
}

enum answer { COMES, COMES_WITH_MWAIT, NEVER_COMES };

static int find_out(const struct kvm_device *d, struct fail *why)
{
	long exits;
	int there = comes(filter, why);

	if (there < 0)
		return there;
	if (there)
		return COMES;
	exits = KVM_DO(d->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS, why);
	if (exits < 0)
		return (int)exits;
	there = exits & KVM_X86_DISABLE_EXITS_MWAIT ? comes(filter_and_let_mwait, why) : 0;
	if (there < 0)
		return there;
	return there ? COMES_WITH_MWAIT : NEVER_COMES;
}

int kvm_deadline_open(struct kvm_vm *v, struct fail *why)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct kvm_kernel *asked; /* once a process: the answer does not change */
	static int known;
	int answer;

	pthread_mutex_lock(&lock);
	answer = asked == kvm_kernel ? known : find_out(&v->device, why);
	if (answer >= 0) {
		asked = kvm_kernel;
		known = answer;
	}
	pthread_mutex_unlock(&lock);
	if (answer == NEVER_COMES)
		return fail(why, -ENOTSUP,
			    "KVM here keeps the guest's IA32_TSC_DEADLINE from local APICs that "
			    "are not its own: --irqchip split");
	return answer == COMES_WITH_MWAIT ? let_mwait(v->fd, why) : answer;
}
