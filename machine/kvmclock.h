/*
 * kvmclock.h - KVM's paravirtual clock MSRs, which stock Linux prefers.
 *
 * Spec: Linux Documentation/virt/kvm/x86/msr.rst. Tested by test/unit/kvmclock.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_KVMCLOCK_H
#define MACHINE_KVMCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

/* false: #GP. Device lock held. */
bool kvmclock_rdmsr(struct vcpu *vcpu, uint32_t index, uint64_t *value);
bool kvmclock_wrmsr(struct vcpu *vcpu, uint32_t index, uint64_t value);
/* Writes the guest's copy again, if it asked for one: vcpu->tsc_offset changed. */
void kvmclock_update(struct vcpu *vcpu);
/* The guest stood still while time went on: it shall not take that for a CPU that is stuck. Device
 * lock held. */
void kvmclock_stopped(struct vcpu *vcpu);

#endif
