/*
 * kvmclock.c - KVM's paravirtual clock: two structures in guest memory from which
 * the guest makes time out of its TSC without leaving the CPU.
 *
 * The idea: guest time is virtual time, so the pair (TSC, nanoseconds) that the
 * guest extrapolates from can be the pair at power-on, (tsc_offset, 0): the same on
 * every vCPU and at every update, hence never a step. The wall clock is that
 * of virtual time 0.
 *
 * Not modelled: the old MSR numbers 0x11 and 0x12, leap seconds. An address that is not RAM is
 * accepted and ignored, as KVM does.
 *
 * Spec: Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst.
 * Tested by test/unit/kvmclock.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/kvmclock.h"

#include <stddef.h>

#include "cpu/msr.h"
#include "machine/vm.h"

#define SYSTEM_TIME_ENABLE UINT64_C(1)
#define TSC_STABLE         1u
#define GUEST_STOPPED      2u /* the guest clears it */
#define NS_PER_SECOND      UINT64_C(1000000000)

/* pvclock_vcpu_time_info */
struct time_info {
	uint32_t version; /* odd: being updated */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* ns at tsc_timestamp */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};
_Static_assert(sizeof(struct time_info) == 32, "the guest's layout");

/* pvclock_wall_clock */
struct wall_clock {
	uint32_t version;
	uint32_t sec, nsec; /* UTC at system_time 0 */
};
_Static_assert(sizeof(struct wall_clock) == 12, "the guest's layout");

/* ns = ((ticks << shift) * mul) >> 32, mul as large as 32 bits allow. shift may be negative. */
static void scale(uint64_t tsc_khz, struct time_info *t)
{
	const uint64_t ns_khz = 1000000; /* 1 GHz */
	int shift = 0;

	while (((unsigned __int128)ns_khz << 32) >= (unsigned __int128)tsc_khz << (32 + shift))
		shift++;
	while (((unsigned __int128)ns_khz << (32 - shift)) < (unsigned __int128)tsc_khz << 31)
		shift--;
	t->tsc_to_system_mul = (uint32_t)(((unsigned __int128)ns_khz << (32 - shift)) / tsc_khz);
	t->tsc_shift = (int8_t)shift;
}

/* Body between two writes of the version, so that the guest never trusts a half. */
static void publish(struct vm *vm, gpa_t at, void *what, size_t bytes, uint32_t *version)
{
	*version |= 1;
	if (mem_write(&vm->mem, at, what, bytes))
		return;
	atomic_thread_fence(memory_order_release);
	*version += 1;
	mem_write(&vm->mem, at, version, sizeof(*version));
}

static void update(struct vcpu *vcpu, uint8_t flags)
{
	struct time_info t = {
		.version = vcpu->kvm_clock_version,
		.tsc_timestamp = vcpu->tsc_offset,
		.flags = flags,
	};

	if (!(vcpu->kvm_system_time & SYSTEM_TIME_ENABLE))
		return;
	scale(vcpu->vm->clock.tsc_khz, &t);
	publish(vcpu->vm, gpa(vcpu->kvm_system_time & ~SYSTEM_TIME_ENABLE), &t, sizeof(t),
		&t.version);
	vcpu->kvm_clock_version = t.version;
}

void kvmclock_update(struct vcpu *vcpu)
{
	update(vcpu, TSC_STABLE);
}

void kvmclock_stopped(struct vcpu *vcpu)
{
	update(vcpu, TSC_STABLE | GUEST_STOPPED);
}

static void update_wall_clock(struct vm *vm)
{
	struct wall_clock w;
	gpa_t at = gpa(vm->kvm_wall_msr);

	if (mem_read(&vm->mem, at, &w, sizeof(w)))
		return;
	w.version += w.version & 1; /* the guest's own count goes on */
	w.sec = (uint32_t)(vm->clock.wall_base_ns / NS_PER_SECOND);
	w.nsec = (uint32_t)(vm->clock.wall_base_ns % NS_PER_SECOND);
	publish(vm, at, &w, sizeof(w), &w.version);
}

bool kvmclock_rdmsr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	switch (index) {
	case MSR_KVM_WALL_CLOCK_NEW: *value = vcpu->vm->kvm_wall_msr; return true;
	case MSR_KVM_SYSTEM_TIME_NEW: *value = vcpu->kvm_system_time; return true;
	default: return false;
	}
}

bool kvmclock_wrmsr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	switch (index) {
	case MSR_KVM_WALL_CLOCK_NEW:
		vcpu->vm->kvm_wall_msr = value;
		update_wall_clock(vcpu->vm);
		return true;
	case MSR_KVM_SYSTEM_TIME_NEW:
		vcpu->kvm_system_time = value;
		kvmclock_update(vcpu);
		return true;
	default: return false;
	}
}
