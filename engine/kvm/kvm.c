/*
 * kvm.c - KVM as an engine: the machine's file descriptors, its memory slots, its vCPUs.
 *
 * Guest memory is the machine's own: each slot of the map is one slot of KVM's.
 *
 * Not modelled: instruction counts (the guest's are not seen, so a counted machine cannot run
 * here), several address spaces (SMM).
 *
 * Spec: Linux Documentation/virt/kvm/api.rst. Tested by test/unit/kvm.c, test/rig/.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "cpu/msr.h"
#include "engine/kvm/engine_kvm.h"
#include "engine/kvm/kvm.h"

/* Three pages for a TSS and one for page tables, which Intel's processors need to run real mode
 * under KVM when they lack "unrestricted guest". Nothing of the machine is there. */
#define IDENTITY_MAP UINT64_C(0xfeffc000)
#define TSS_PAGES    UINT64_C(0xfeffd000)

/* What KVM must believe of its own local APIC, which it does not use: that CPUID shows one. */
#define APIC_BASE_ON UINT64_C(0xfee00900)

int kvm_set_region(struct kvm_vm *v, const struct kvm_slot *s, struct fail *why)
{
	return (int)KVM_DO(v->fd, KVM_SET_USER_MEMORY_REGION, &s->region, why);
}

struct kvm_slot *kvm_slot_of(struct kvm_vm *v, const struct mem_slot *slot)
{
	for (unsigned i = 0; i < v->slot_room; i++)
		if (v->slots[i].slot == slot)
			return &v->slots[i];
	return NULL;
}

/* A number that is free; its place in the table is the number. */
static struct kvm_slot *new_slot(struct kvm_vm *v)
{
	struct kvm_slot *s = kvm_slot_of(v, NULL), *more;
	unsigned room = v->slot_room ? 2 * v->slot_room : 16;

	if (s)
		return s;
	more = host_alloc(room * sizeof(*more));
	if (!more)
		return NULL;
	if (v->slot_room)
		memcpy(more, v->slots, v->slot_room * sizeof(*more));
	host_free(v->slots);
	s = &more[v->slot_room];
	v->slots = more;
	v->slot_room = room;
	return s;
}

static int map(struct vm *vm, const struct mem_slot *slot)
{
	struct kvm_vm *v = vm->engine_data;
	struct kvm_slot *s = new_slot(v);
	int err;

	if (!s)
		return -ENOMEM;
	s->region = (struct kvm_userspace_memory_region){
		.slot = (uint32_t)(s - v->slots),
		.flags = (slot->readonly ? KVM_MEM_READONLY : 0u) |
			 (vm->mem.logging && !slot->readonly ? KVM_MEM_LOG_DIRTY_PAGES : 0u),
		.guest_phys_addr = slot->start.v,
		.memory_size = slot->bytes,
		.userspace_addr = (uint64_t)(uintptr_t)slot->host,
	};
	err = kvm_set_region(v, s, NULL); /* told by the caller */
	if (!err)
		s->slot = slot;
	return err;
}

static void unmap(struct vm *vm, const struct mem_slot *slot)
{
	struct kvm_vm *v = vm->engine_data;
	struct kvm_slot *s = kvm_slot_of(v, slot);

	if (!s)
		return;
	s->region.memory_size = 0;
	kvm_set_region(v, s, NULL); /* it goes away anyway, and the machine may go on elsewhere */
	s->slot = NULL;
}

static int bell(struct vm *vm, gpa_t at, int fd, bool on)
{
	struct kvm_vm *v = vm->engine_data;
	struct kvm_ioeventfd e = {
		.addr = at.v,
		.fd = fd,
		.flags = on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return v->device.caps.bells ? (int)KVM_DO(v->fd, KVM_IOEVENTFD, &e, NULL) : -ENOTSUP;
}

static int prepare_vm(struct kvm_vm *v, struct fail *why)
{
	uint64_t identity = IDENTITY_MAP;
	struct kvm_xen_hvm_config calls = { .flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL };
	struct kvm_enable_cap msrs = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			  KVM_MSR_EXIT_REASON_FILTER },
	};
	long err = kvm_irqchip_open(v, why);

	if (err >= 0)
		err = kvm_dirty_open(v, why);
	if (err >= 0)
		err = KVM_DO(v->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity, why);
	if (err >= 0)
		err = KVM_DO(v->fd, KVM_SET_TSS_ADDR, TSS_PAGES, why);
	if (err >= 0)
		err = KVM_DO(v->fd, KVM_ENABLE_CAP, &msrs, why);
	/* Xen's way out of a hypercall is the one that gives every number to the monitor. */
	if (err >= 0 && v->device.caps.hypercalls)
		err = KVM_DO(v->fd, KVM_XEN_HVM_CONFIG, &calls, why);
	return err < 0 ? (int)err : kvm_filter_msrs(v, why);
}

static void vm_close_kvm(struct vm *vm)
{
	struct kvm_vm *v = vm->engine_data;

	if (!v)
		return;
	kvm_wires_cut(v);
	if (v->fd >= 0)
		kvm_kernel->close(v->fd);
	kvm_device_close(&v->device);
	host_free(v->slots);
	host_free(v);
	vm->engine_data = NULL;
}

static int vm_open_kvm(struct vm *vm, struct fail *why)
{
	struct kvm_vm *v = host_alloc(sizeof(*v));
	int err;

	if (!v)
		return fail(why, -ENOMEM, "no memory for a virtual machine");
	v->vm = vm;
	v->fd = -1;
	vm->engine_data = v;
	err = kvm_device_open(&v->device, why);
	if (!err)
		err = kvm_check_model(&v->device, vm->cpu_model, why);
	if (!err) {
		v->fd = (int)KVM_DO(v->device.fd, KVM_CREATE_VM, 0, why);
		err = v->fd < 0 ? v->fd : prepare_vm(v, why);
	}
	if (err) {
		vm_close_kvm(vm);
		return err;
	}
	vm->mem.dirty = kvm_dirty;
	vm->mem.dirty_arg = v;
	return 0;
}

static void vcpu_close_kvm(struct vcpu *vcpu)
{
	struct kvm_vcpu *k = vcpu->engine;

	if (!k)
		return;
	kvm_forget_thread(k);
	kvm_ring_close(k);
	if (k->run)
		kvm_kernel->unmap(k->run, k->vm->device.run_bytes);
	if (k->fd >= 0)
		kvm_kernel->close(k->fd);
	host_free(k);
	vcpu->engine = NULL;
}

static int vcpu_open_kvm(struct vcpu *vcpu, struct fail *why)
{
	struct kvm_vcpu *k = host_alloc(sizeof(*k));
	int err = 0;

	if (!k)
		return fail(why, -ENOMEM, "no memory for a vCPU");
	k->vcpu = vcpu;
	k->vm = vcpu->vm->engine_data;
	k->apic_base = APIC_BASE_ON;
	vcpu->engine = k;
	vcpu->retired = &k->s.instructions;
	vcpu->trouble = (struct fail){ 0 };
	x86_state_reset(&k->s, vcpu->index == 0);
	k->fd = (int)KVM_DO(k->vm->fd, KVM_CREATE_VCPU, vcpu->index, why);
	if (k->fd < 0)
		err = k->fd;
	if (!err)
		k->run = kvm_kernel->map(k->fd, k->vm->device.run_bytes, 0);
	if (!err && !k->run)
		err = fail(why, -ENOMEM, "KVM: cannot map the page shared with a vCPU");
	if (!err)
		err = kvm_ring_open(k, why);
	if (err)
		vcpu_close_kvm(vcpu);
	return err;
}

static uint64_t instructions(const struct vcpu *vcpu)
{
	return *vcpu->retired;
}

static void figures(const struct vcpu *vcpu, figure_fn tell, void *arg)
{
	const struct kvm_vm *v = vcpu->vm->engine_data;

	if (vcpu->index > 0)
		return;
	tell(arg, NULL, "messages_by_ioctl", v->by_call);
	tell(arg, NULL, "messages_by_eventfd", v->by_wire);
}

/* KVM caches nothing that a snapshot could make wrong: it watches the host's page tables. */
static void forget(struct vcpu *vcpu)
{
	(void)vcpu;
}

/* KVM's own, where the host's kernel keeps account of waiting: it also knows when a thread has lost
 * its processor. */
static bool steal_time(struct vcpu *vcpu, uint64_t msr)
{
	struct fail why;

	return kvm_set_msr(vcpu->engine, MSR_KVM_STEAL_TIME, msr, &why) == 0;
}

const struct engine_ops kvm_ops = {
	.name = "kvm",
	.caps = ENGINE_DIRTY_LOG | ENGINE_THREADS,
	.probe = kvm_probe,
	.cpu_model = kvm_cpu_model,
	.tsc_khz = kvm_host_khz,
	.vm_open = vm_open_kvm,
	.vm_close = vm_close_kvm,
	.map = map,
	.unmap = unmap,
	.bell = bell,
	.vcpu_open = vcpu_open_kvm,
	.vcpu_close = vcpu_close_kvm,
	.run = kvm_run_guest,
	.kick = kvm_kick,
	.settle = kvm_settle,
	.give_back = kvm_give_back,
	.can_inject = kvm_can_inject,
	.inject = kvm_inject,
	.instructions = instructions,
	.get_state = kvm_get_state,
	.set_state = kvm_set_state,
	.forget = forget,
	.steal_time = steal_time,
	.hypercalls = kvm_hypercalls,
	.figures_name = "kvm",
	.figures = figures,
};
