/*
 * hypercall.c - the hypercall table.
 *
 * The idea: a hypercall is a device access without a device. It is rare and
 * slow, so each service takes the whole exit and checks everything itself; the
 * text of PRINT passes through a bounded buffer, in one piece, so that a print
 * from the guest is one call of the embedder's hook.
 *
 * KVM's own services are there when CPUID offers them, to guests of several vCPUs (vm.h).
 *
 * Not modelled: KVM's clock pairing, page-encryption status, APIC polling; CPUID does not advertise
 * them.
 *
 * Spec: hypercall.h. Tested by test/unit/hypercall.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/hypercall.h"

#include <stddef.h>

#include "machine/vm.h"

typedef int64_t (*service)(struct vcpu *vcpu, const struct exit *exit);

static int64_t do_version(struct vcpu *vcpu, const struct exit *exit)
{
	(void)vcpu;
	(void)exit;
	return HYPERCALL_VERSION_VALUE;
}

static int64_t do_print(struct vcpu *vcpu, const struct exit *exit)
{
	const uint64_t *arg = exit->hypercall.arg;
	struct vm *vm = vcpu->vm;
	char text[HYPERCALL_PRINT_MAX];
	int err;

	if (arg[1] > sizeof(text))
		return -HYPERCALL_E2BIG;
	if (arg[1] == 0)
		return 0;
	host_mutex_lock(vm->lock);
	err = mem_read(&vm->mem, gpa(arg[0]), text, arg[1]);
	/* With the lock: one at a time, whichever vCPU's. */
	if (!err && vm->hooks.print)
		vm->hooks.print(vm->hooks.arg, text, arg[1]);
	host_mutex_unlock(vm->lock);
	return err ? -HYPERCALL_EFAULT : (int64_t)arg[1];
}

static int64_t do_exit(struct vcpu *vcpu, const struct exit *exit)
{
	vm_request(vcpu->vm, VM_DEBUG_EXIT, (int)(exit->hypercall.arg[0] & 0x7fffffff));
	return 0;
}

static int64_t do_yield(struct vcpu *vcpu, const struct exit *exit)
{
	(void)exit;
	turns_give_up(vcpu->vm);
	atomic_store(&vcpu->notice, true);
	return 0;
}

/* --- KVM's --- */

/* APIC ID, as a vCPU; NULL: no such. A vCPU's ID is its index. */
static struct vcpu *by_apic_id(struct vm *vm, uint64_t id)
{
	return id < vm->vcpus ? vm->vcpu[id] : NULL;
}

/* Flags, APIC ID: ends that vCPU's HLT, or the next one, whether it takes interrupts or not. */
static int64_t do_kick(struct vcpu *vcpu, const struct exit *exit)
{
	struct vcpu *to = by_apic_id(vcpu->vm, exit->hypercall.arg[1]);

	if (!to)
		return 0;
	atomic_store(&to->kicked, true);
	vm_wake(vcpu->vm, to->index);
	return 0;
}

/* The interrupt command register's fields. SDM vol. 3 11.6.1 */
#define ICR_VECTOR     0xffu
#define ICR_MODE(icr)  ((icr) >> 8 & 7)
#define ICR_LOGICAL    0x800u
#define ICR_ASSERT     0x4000u
#define ICR_LEVEL      0x8000u
#define ICR_SHORTHANDS 0xc0000u

/* A bitmap of APIC IDs in two words, the ID of its bit 0, ICR's low half: sends to each. Answers
 * how many took it. */
static int64_t do_send_ipi(struct vcpu *vcpu, const struct exit *exit)
{
	const uint64_t *arg = exit->hypercall.arg;
	unsigned width = exit->hypercall.wide ? 64 : 32;
	uint32_t icr = (uint32_t)arg[3];
	struct apic_message m = {
		.vector = icr & ICR_VECTOR,
		.mode = ICR_MODE(icr),
		.level = !!(icr & ICR_LEVEL),
		.assert = !(icr & ICR_LEVEL) || icr & ICR_ASSERT,
	};
	int64_t count = 0;

	if (icr & (ICR_LOGICAL | ICR_SHORTHANDS))
		return -HYPERCALL_EINVAL;
	host_mutex_lock(vcpu->vm->lock);
	for (unsigned bit = 0; bit < 2 * width; bit++) {
		uint64_t id = (uint32_t)arg[2] + (uint64_t)bit;

		if (!(arg[bit / width] >> bit % width & 1) || !by_apic_id(vcpu->vm, id))
			continue;
		m.dest = (uint32_t)id;
		count += irq_message(vcpu->vm, &m);
	}
	host_mutex_unlock(vcpu->vm->lock);
	return count;
}

/* APIC ID: that vCPU is waited for. */
static int64_t do_sched_yield(struct vcpu *vcpu, const struct exit *exit)
{
	struct vcpu *to = by_apic_id(vcpu->vm, exit->hypercall.arg[0]);

	if (!to || to == vcpu)
		return 0;
	if (vcpu->vm->crew.used) {
		host_yield();
		return 0;
	}
	turns_give_to(vcpu->vm, to->index);
	atomic_store(&vcpu->notice, true);
	return 0;
}

static const struct {
	uint32_t number;
	service run;
} services[] = {
	{HYPERCALL_VERSION, do_version},
	{ HYPERCALL_PRINT,  do_print  },
	{ HYPERCALL_EXIT,   do_exit   },
	{ HYPERCALL_YIELD,  do_yield  },
};
_Static_assert(sizeof(services) / sizeof(services[0]) ==
#define X(name, offset, text) +1
		       HYPERCALLS(X),
#undef X
	       "every hypercall has its row");

static service kvm_service(const struct vm *vm, uint64_t number)
{
	if (!vm->kvm_services)
		return NULL;
	switch (number) {
	case KVM_HC_KICK_CPU: return do_kick;
	case KVM_HC_SEND_IPI: return do_send_ipi;
	case KVM_HC_SCHED_YIELD: return do_sched_yield;
	default: return NULL;
	}
}

void hypercall_handle(struct vcpu *vcpu, struct exit *exit)
{
	service run = kvm_service(vcpu->vm, exit->hypercall.number);

	if (exit->hypercall.cpl != 0) {
		exit->hypercall.result = (uint64_t)-HYPERCALL_EPERM;
		return;
	}
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (services[i].number == exit->hypercall.number)
			run = services[i].run;
	exit->hypercall.result = (uint64_t)(run ? run(vcpu, exit) : -HYPERCALL_ENOSYS);
}
