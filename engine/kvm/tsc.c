/*
 * tsc.c - the guest's time-stamp counter on the processor, beside the machine's clock.
 *
 * The guest reads the host's counter plus an offset. Everywhere else in the machine a vCPU's TSC
 * is clock_tsc() + tsc_offset. Both run at the same nominal rate, but the host disciplines
 * its clock and leaves the counter alone, so they drift by some millionths. Whoever
 * compares the two - the deadline timer, a change of engines - measures first.
 *
 * Time never goes back: an offset is set from a clock read before the counter was, and taken
 * from a clock read after it.
 *
 * Spec: Documentation/virt/kvm/devices/vcpu.rst, KVM_VCPU_TSC_CTRL. Tested by test/unit/kvm.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

#define FOLLOW_NS UINT64_C(100000000) /* at 100 ppm the two part by 10 us in this time */

static int read_tsc(struct kvm_vcpu *k, uint64_t *value, struct fail *why)
{
	return kvm_get_msr(k, MSR_TSC, value, why);
}

static int write_tsc(struct kvm_vcpu *k, uint64_t value, struct fail *why)
{
	return kvm_set_msr(k, MSR_TSC, value, why);
}

static int set_offset(struct kvm_vcpu *k, uint64_t offset, struct fail *why)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&offset,
	};

	k->hw_offset = offset;
	return (int)KVM_DO(k->fd, KVM_SET_DEVICE_ATTR, &attr, why);
}

static int get_offset(struct kvm_vcpu *k, uint64_t *offset, struct fail *why)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return (int)KVM_DO(k->fd, KVM_GET_DEVICE_ATTR, &attr, why);
}

int kvm_tsc_frequency(struct kvm_vcpu *k, struct fail *why)
{
	uint64_t want = k->vcpu->vm->clock.tsc_khz;
	long host;

	if (k->tsc_khz == want)
		return 0;
	host = KVM_DO(k->fd, KVM_GET_TSC_KHZ, 0, why);
	if (host < 0)
		return (int)host;
	if (k->entered || (want != (uint64_t)host && !k->vm->device.caps.tsc_control))
		return fail(why, -ENOTSUP,
			    "the machine's time-stamp counter runs at %llu kHz, and on this host "
			    "KVM only does %ld",
			    (unsigned long long)want, host);
	if (want == (uint64_t)host)
		return 0;
	return (int)KVM_DO(k->fd, KVM_SET_TSC_KHZ, want, why);
}

/* vCPU 0 finds where the two stand, once: to measure again would put it some cycles behind the
 * others, and behind itself. */
static int lay(struct kvm_vcpu *k, struct fail *why)
{
	uint64_t want = clock_tsc(&k->vcpu->vm->clock) + k->s.tsc_offset, now, offset;
	int err = read_tsc(k, &now, why);

	if (!err)
		err = get_offset(k, &offset, why);
	if (err)
		return err;
	k->vm->tsc_zero = offset + want - now - k->s.tsc_offset;
	k->vm->tsc_drift = 0;
	k->vm->tsc_base = k->vcpu->vm->clock.real_base_ns;
	return 0;
}

int kvm_tsc_set(struct kvm_vcpu *k, struct fail *why)
{
	struct clock *clock = &k->vcpu->vm->clock;
	int err = 0;

	if (!k->vm->device.caps.tsc_offset)
		return write_tsc(k, clock_tsc(clock) + k->s.tsc_offset, why);
	if (k->vcpu->index == 0 && k->vm->tsc_base != clock->real_base_ns)
		err = lay(k, why);
	if (k->tsc_base != k->vm->tsc_base)
		k->tsc_drift = 0;
	k->tsc_base = k->vm->tsc_base;
	return err ? err : set_offset(k, k->vm->tsc_zero + k->s.tsc_offset - k->tsc_drift, why);
}

/* The guest's counter against the clock, now. */
static int measure(struct kvm_vcpu *k, struct fail *why)
{
	uint64_t tsc;
	int err = read_tsc(k, &tsc, why);

	if (err)
		return err;
	k->s.tsc_offset = tsc - clock_tsc(&k->vcpu->vm->clock);
	k->tsc_drift = k->s.tsc_offset - (k->hw_offset - k->vm->tsc_zero);
	return 0;
}

/* Of all at the same moment: what vCPU 0 has found. */
int kvm_tsc_get(struct kvm_vcpu *k, struct fail *why)
{
	int err = 0;

	if (k->vcpu->index > 0 && k->vm->device.caps.tsc_offset) {
		k->tsc_drift = k->vm->tsc_drift;
		k->s.tsc_offset = k->hw_offset - k->vm->tsc_zero + k->tsc_drift;
	} else {
		err = measure(k, why);
		if (!err)
			k->vm->tsc_drift = k->tsc_drift;
	}
	return err;
}

void kvm_tsc_follow(struct kvm_vcpu *k)
{
	struct vm *vm = k->vcpu->vm;
	uint64_t now = clock_now(&vm->clock);

	if (now - k->tsc_looked < FOLLOW_NS)
		return;
	k->tsc_looked = now;
	if (measure(k, &k->vcpu->trouble))
		return;
	host_mutex_lock(vm->lock);
	k->vcpu->tsc_offset = k->s.tsc_offset;
	host_mutex_unlock(vm->lock);
}

/* Asked once: a machine and a vCPU have to be made for it. 0: no KVM. */
uint64_t kvm_host_khz(void)
{
	static _Atomic uint64_t known = UINT64_MAX;
	uint64_t khz = atomic_load(&known);
	struct kvm_device d;
	long vm = -1, vcpu = -1, answer = 0;

	if (khz != UINT64_MAX)
		return khz;
	if (kvm_device_open(&d, NULL) == 0) {
		vm = KVM_DO(d.fd, KVM_CREATE_VM, 0, NULL);
		if (vm >= 0)
			vcpu = KVM_DO((int)vm, KVM_CREATE_VCPU, 0, NULL);
		if (vcpu >= 0)
			answer = KVM_DO((int)vcpu, KVM_GET_TSC_KHZ, 0, NULL);
	}
	if (vcpu >= 0)
		kvm_kernel->close((int)vcpu);
	if (vm >= 0)
		kvm_kernel->close((int)vm);
	kvm_device_close(&d);
	khz = answer > 0 ? (uint64_t)answer : 0;
	atomic_store(&known, khz);
	return khz;
}
