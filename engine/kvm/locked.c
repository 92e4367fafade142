/*
 * locked.c - LOCK ADD and the like on a device's register, when there are several vCPUs.
 *
 * KVM makes two exits of one: what is there is read, the result is written; and between the two it
 * keeps nobody out. So the first of them looks at the instruction. If it is a locked one, the vCPU
 * enters again at once, with immediate_exit, which brings the write and nothing else; and other
 * locked instructions that mean a device wait meanwhile, as they do in the interpreter
 * (gate_lock_bus).
 *
 * Not modelled: that plain writes of other vCPUs wait, too.
 *
 * Spec: SDM vol. 3 9.1.2; vol. 2 2.1.1 (prefixes). Tested by test/unit/kvm_exits.c,
 * test/guest/bare/smp_memory.c on KVM.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "engine/kvm/kvm.h"
#include "machine/gate.h"

#define LONGEST 15 /* bytes of an instruction */

/* A byte of code at a linear address; -1: not to be had. KVM is asked once a page. */
static int code_byte(struct kvm_vcpu *k, uint64_t linear, struct kvm_translation *page)
{
	uint64_t from = linear & ~(uint64_t)(PAGE_SIZE - 1);
	uint8_t byte;

	if (!page->valid || page->linear_address != from) {
		*page = (struct kvm_translation){ .linear_address = from };
		if (KVM_DO(k->fd, KVM_TRANSLATE, page, NULL) < 0)
			page->valid = 0;
	}
	if (!page->valid ||
	    mem_read(&k->vcpu->vm->mem, gpa(page->physical_address + linear - from), &byte, 1))
		return -1;
	return byte;
}

/* XCHG needs no prefix. 40h to 4fh are REX, or no instruction that means memory. */
static bool is_locked(struct kvm_vcpu *k, uint64_t linear)
{
	struct kvm_translation page = { 0 };

	for (unsigned i = 0; i < LONGEST; i++) {
		int byte = code_byte(k, linear + i, &page);

		switch (byte) {
		case 0xf0:
		case 0x86:
		case 0x87: return true;
		case 0xf2:
		case 0xf3:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x26:
		case 0x64:
		case 0x65:
		case 0x66:
		case 0x67: break;
		default:
			if (byte < 0x40 || byte > 0x4f)
				return false;
		}
	}
	return false;
}

bool kvm_locked_read(struct kvm_vcpu *k)
{
	struct kvm_sregs s;
	struct kvm_regs r;

	if (!k->vcpu->vm->gate.used || k->run->mmio.is_write ||
	    KVM_VCPU_DO(k, KVM_GET_REGS, &r) < 0 || KVM_VCPU_DO(k, KVM_GET_SREGS, &s) < 0)
		return false;
	return is_locked(k, s.cs.base + r.rip);
}

void kvm_lock_bus(struct kvm_vcpu *k)
{
	bool inside = gate_step_out(k->vcpu);

	host_mutex_lock(k->vcpu->vm->gate.bus);
	gate_step_back(k->vcpu, inside);
	k->bus_locked = true;
}

void kvm_unlock_bus(struct kvm_vcpu *k)
{
	k->bus_locked = false;
	host_mutex_unlock(k->vcpu->vm->gate.bus);
}
