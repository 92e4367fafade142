/*
 * steal.h - KVM's steal time: what a guest may know of its vCPUs that wait for a processor.
 *
 * Spec: Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_STEAL_TIME; cpuid.rst,
 * KVM_FEATURE_PV_TLB_FLUSH. Tested by test/unit/steal.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_STEAL_H
#define MACHINE_STEAL_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* false: #GP. Device lock held, vCPU's thread. */
bool steal_rdmsr(struct vcpu *vcpu, uint32_t index, uint64_t *value);
bool steal_wrmsr(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* Another engine runs the vCPU, or it was loaded: vcpu->kvm_steal_time is as the guest set it. */
void steal_attach(struct vcpu *vcpu);
/* Nobody asks any more: INIT, reset. */
void steal_reset(struct vcpu *vcpu);

/* The vCPU's thread, or whoever's turn it is; no lock held. From leave() on it does not run: its
 * TLB need not be flushed by a message. enter(): before it touches guest memory again; but not for
 * nothing, or two runs of a counted machine differ. */
void steal_leave(struct vcpu *vcpu);
void steal_enter(struct vcpu *vcpu);
/* Its thread is about to run it, and may have waited for a processor of the host's. */
void steal_measure(struct vcpu *vcpu);

#endif
