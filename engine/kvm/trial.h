/*
 * trial.h - a machine of one vCPU and six pages, for asking KVM by trying.
 *
 * It has no state worth keeping, no local APIC, and is in 64-bit ring 0, where linear addresses
 * below 2 MiB are physical ones. For one thread at a time.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_KVM_TRIAL_H
#define ENGINE_KVM_TRIAL_H

#include "engine/kvm/kvm.h"

#define TRIAL_CODE UINT64_C(0x4000) /* code goes here: two pages */

struct kvm_trial {
	struct kvm_device device;
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory; /* the machine's, from address 0 */
};

/* `prepare`, unless NULL, is called with the machine's descriptor in t->vm before there is a vCPU.
 * 0, or -E* and why; kvm_trial_close() comes after either. */
int kvm_trial_open(struct kvm_trial *t, int (*prepare)(struct kvm_trial *t, struct fail *why),
		   struct fail *why);
void kvm_trial_close(struct kvm_trial *t);

/* The vCPU will go on at `rip`; all other registers but RCX become 0. */
int kvm_trial_at(struct kvm_trial *t, uint64_t rip, uint64_t rcx, struct fail *why);

#endif
