/*
 * exits.c - from KVM's exits to the machine's.
 *
 * What can be answered is answered here, in run(), by exit_handle(), the same way a software
 * engine does it: the guest is entered again without a turn of the run loop. The
 * instruction is then half done: the answer lies in the shared page, and KVM
 * puts it into the guest at the next entry.
 *
 * Not modelled: exits of features that are never switched on.
 *
 * Spec: Documentation/virt/kvm/api.rst, "The kvm_run structure". Tested by
 * test/unit/kvm_exits.c, test/rig/exits.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/kvm/kvm.h"

/* INS and OUTS come several elements at a time. */
static void port_exit(struct kvm_vcpu *k)
{
	const struct kvm_run *run = k->run;
	uint8_t *data = (uint8_t *)k->run + run->io.data_offset;
	struct exit exit = { .reason = EXIT_PIO };

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		exit.io = (struct io_access){ .addr = run->io.port,
					      .size = run->io.size,
					      .write = run->io.direction == KVM_EXIT_IO_OUT };
		if (exit.io.write)
			memcpy(&exit.io.data, data, run->io.size);
		exit_handle(k->vcpu, &exit);
		if (!exit.io.write)
			memcpy(data, &exit.io.data, run->io.size);
	}
}

/* A device sees naturally aligned pieces, under every engine; and of an access that crosses a
 * page KVM gives parts of any size up to eight. */
static unsigned piece(uint64_t at, unsigned left)
{
	unsigned size = 8;

	while (size > left || at & (size - 1))
		size /= 2;
	return size;
}

static void mmio_access(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct exit exit = { .reason = EXIT_MMIO };

	for (unsigned at = 0; at < run->mmio.len && at < sizeof(run->mmio.data);
	     at += exit.io.size) {
		exit.io = (struct io_access){ .addr = run->mmio.phys_addr + at,
					      .size = (uint8_t)piece(run->mmio.phys_addr + at,
								     run->mmio.len - at),
					      .write = run->mmio.is_write };
		if (exit.io.write)
			memcpy(&exit.io.data, run->mmio.data + at, exit.io.size);
		exit_handle(k->vcpu, &exit);
		if (!exit.io.write)
			memcpy(run->mmio.data + at, &exit.io.data, exit.io.size);
	}
}

/* A locked instruction is brought to its end before anybody else's begins. */
static void mmio_exit(struct kvm_vcpu *k)
{
	if (k->bus_locked || !kvm_locked_read(k)) {
		mmio_access(k);
		return;
	}
	kvm_lock_bus(k);
	mmio_access(k);
	kvm_finish(k);
	kvm_unlock_bus(k);
}

/* The convention is KVM's; Xen's way out only carries it here. */
static void hypercall_exit(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct exit exit = { .reason = EXIT_HYPERCALL };
	uint64_t mask = run->xen.u.hcall.longmode ? UINT64_MAX : UINT32_MAX;
	struct kvm_regs r;

	if (KVM_VCPU_DO(k, KVM_GET_REGS, &r) < 0)
		return;
	exit.hypercall.number = r.rax & mask;
	exit.hypercall.arg[0] = r.rbx & mask;
	exit.hypercall.arg[1] = r.rcx & mask;
	exit.hypercall.arg[2] = r.rdx & mask;
	exit.hypercall.arg[3] = r.rsi & mask;
	exit.hypercall.cpl = (uint8_t)run->xen.u.hcall.cpl;
	exit.hypercall.wide = run->xen.u.hcall.longmode;
	exit_handle(k->vcpu, &exit);
	run->xen.u.hcall.result = exit.hypercall.result & mask;
}

static void stuck(struct kvm_vcpu *k, struct exit *exit)
{
	const struct kvm_run *run = k->run;

	*exit = (struct exit){ .reason = EXIT_STUCK, .stuck.hw_reason = run->exit_reason };
	switch (run->exit_reason) {
	case KVM_EXIT_FAIL_ENTRY:
		exit->stuck.info[0] = run->fail_entry.hardware_entry_failure_reason;
		exit->stuck.info[1] = run->fail_entry.cpu;
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit->stuck.info[0] = run->internal.suberror;
		exit->stuck.info[1] = run->internal.ndata ? run->internal.data[0] : 0;
		break;
	default: exit->stuck.info[0] = run->hw.hardware_exit_reason; break;
	}
}

/* An NMI that KVM holds wakes the CPU before it sleeps; only KVM knows of it. An emulated IRET has
 * unblocked it without looking: setting the events makes KVM look. */
static void halt(struct kvm_vcpu *k, struct exit *exit)
{
	struct kvm_vcpu_events e = { 0 };

	if (k->nmi_given)
		(void)KVM_VCPU_DO(k, KVM_GET_VCPU_EVENTS, &e);
	if (e.nmi.pending)
		(void)KVM_VCPU_DO(k, KVM_SET_VCPU_EVENTS, &e);
	k->nmi_given = e.nmi.pending;
	exit->reason = e.nmi.pending ? EXIT_KICK : EXIT_HLT;
}

static void shutdown(struct kvm_vcpu *k, struct exit *exit)
{
	k->s.activity = ACTIVITY_SHUTDOWN;
	exit->reason = EXIT_SHUTDOWN;
}

void kvm_exit(struct kvm_vcpu *k, struct exit *exit)
{
	k->half_done = true;
	switch (k->run->exit_reason) {
	case KVM_EXIT_IO: port_exit(k); return;
	case KVM_EXIT_MMIO: mmio_exit(k); return;
	case KVM_EXIT_X86_RDMSR: kvm_rdmsr_exit(k); return;
	case KVM_EXIT_X86_WRMSR: kvm_wrmsr_exit(k); return;
	case KVM_EXIT_XEN: hypercall_exit(k); return;
	default: break;
	}
	k->half_done = false;
	switch (k->run->exit_reason) {
	case KVM_EXIT_SET_TPR: return; /* its value is in run->cr8 */
	case KVM_EXIT_DIRTY_RING_FULL: kvm_take_rings(k->vm, &k->vcpu->trouble); return;
	case KVM_EXIT_IOAPIC_EOI: kvm_eoi_exit(k); return;
	case KVM_EXIT_INTR: exit->reason = EXIT_KICK; return;
	case KVM_EXIT_HLT: halt(k, exit); return;
	case KVM_EXIT_IRQ_WINDOW_OPEN: exit->reason = EXIT_IRQ_WINDOW; return;
	case KVM_EXIT_SHUTDOWN: shutdown(k, exit); return;
	default: stuck(k, exit); return;
	}
}
