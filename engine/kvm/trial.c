/*
 * trial.c - a machine for asking KVM by trying.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst; SDM vol. 3 4.5 (its page tables). Tested by
 * test/unit/kvm_probe.c, test/rig/api.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/trial.h"

#define MEMORY UINT64_C(0x6000)
#define PML4   0x1000
#define PDPT   0x2000
#define PD     0x3000
#define ENTRY  3u              /* present, writable */
#define LARGE  (ENTRY | 0x80u) /* 2 MiB */

void kvm_trial_close(struct kvm_trial *t)
{
	if (t->run)
		kvm_kernel->unmap(t->run, t->device.run_bytes);
	if (t->vcpu >= 0)
		kvm_kernel->close(t->vcpu);
	if (t->vm >= 0)
		kvm_kernel->close(t->vm);
	kvm_device_close(&t->device);
	host_unmap(t->memory, MEMORY);
}

static void fill_memory(uint8_t *m)
{
	const uint64_t pml4 = PDPT | ENTRY, pdpt = PD | ENTRY, pd = LARGE;

	memcpy(m + PML4, &pml4, 8);
	memcpy(m + PDPT, &pdpt, 8);
	memcpy(m + PD, &pd, 8);
}

static int make_machine(struct kvm_trial *t, int (*prepare)(struct kvm_trial *t, struct fail *why),
			struct fail *why)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	int err;

	t->memory = host_map(MEMORY);
	if (!t->memory)
		return fail(why, -ENOMEM, "no memory to try KVM");
	fill_memory(t->memory);
	region.userspace_addr = (uint64_t)(uintptr_t)t->memory;
	t->vm = (int)KVM_DO(t->device.fd, KVM_CREATE_VM, 0, why);
	if (t->vm < 0)
		return t->vm;
	err = (int)KVM_DO(t->vm, KVM_SET_TSS_ADDR, 0xfeffd000, why);
	if (err >= 0)
		err = (int)KVM_DO(t->vm, KVM_SET_USER_MEMORY_REGION, &region, why);
	if (err >= 0 && prepare)
		err = prepare(t, why);
	return err < 0 ? err : 0;
}

static int make_vcpu(struct kvm_trial *t, struct fail *why)
{
	t->vcpu = (int)KVM_DO(t->vm, KVM_CREATE_VCPU, 0, why);
	if (t->vcpu < 0)
		return t->vcpu;
	t->run = kvm_kernel->map(t->vcpu, t->device.run_bytes, 0);
	return t->run ? 0 : fail(why, -ENOMEM, "KVM: cannot map the page shared with a vCPU");
}

static int enter_long_mode(struct kvm_trial *t, struct fail *why)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 16,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_sregs s;
	long err = KVM_DO(t->vcpu, KVM_GET_SREGS, &s, why);

	if (err < 0)
		return (int)err;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr3 = PML4;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	s.efer = EFER_LME | EFER_LMA;
	return (int)KVM_DO(t->vcpu, KVM_SET_SREGS, &s, why);
}

int kvm_trial_open(struct kvm_trial *t, int (*prepare)(struct kvm_trial *t, struct fail *why),
		   struct fail *why)
{
	int err;

	*t = (struct kvm_trial){ .device.fd = -1, .vm = -1, .vcpu = -1 };
	err = kvm_device_open(&t->device, why);
	if (!err)
		err = make_machine(t, prepare, why);
	if (!err)
		err = make_vcpu(t, why);
	return err ? err : enter_long_mode(t, why);
}

int kvm_trial_at(struct kvm_trial *t, uint64_t rip, uint64_t rcx, struct fail *why)
{
	struct kvm_regs r = { .rip = rip, .rcx = rcx, .rflags = FLAG_FIXED };

	return (int)KVM_DO(t->vcpu, KVM_SET_REGS, &r, why);
}
