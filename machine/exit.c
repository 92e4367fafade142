/*
 * exit.c - what the machine does for each exit reason: one table.
 *
 * A software engine calls exit_handle() from inside an instruction, a hardware
 * engine's run() returns first and vcpu.c calls it: the handlers cannot tell.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/exit.h"

#include <inttypes.h>
#include <stddef.h>

#include "cpu/msr.h"
#include "machine/hypercall.h"
#include "machine/kvmclock.h"
#include "machine/vm.h"

static const struct {
	const char *name, *text;
} exit_words[EXIT_REASON_COUNT] = {
#define X(reason, id, sentence) [EXIT_##reason] = { id, sentence },
	EXIT_REASONS(X)
#undef X
};

const char *exit_name(enum exit_reason reason)
{
	return exit_words[reason].name;
}

const char *exit_text(enum exit_reason reason)
{
	return exit_words[reason].text;
}

static void handle_pio(struct vcpu *vcpu, struct exit *exit)
{
	bus_access(vcpu->vm, &vcpu->vm->port, &exit->io);
	if (TRACE(vcpu->vm, exits))
		vm_trace(vcpu->vm, "%s port 0x%" PRIx64 " size %u data 0x%" PRIx64,
			 exit->io.write ? "out" : "in", exit->io.addr, exit->io.size,
			 exit->io.data);
}

static void handle_mmio(struct vcpu *vcpu, struct exit *exit)
{
	bus_access_from(vcpu, &vcpu->vm->mmio, &exit->io);
	if (TRACE(vcpu->vm, exits))
		vm_trace(vcpu->vm, "mmio %s 0x%" PRIx64 " size %u data 0x%" PRIx64,
			 exit->io.write ? "write" : "read", exit->io.addr, exit->io.size,
			 exit->io.data);
}

static bool intc_msr(uint32_t index)
{
	return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
	       (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);
}

static void handle_rdmsr(struct vcpu *vcpu, struct exit *exit)
{
	struct vm *vm = vcpu->vm;
	uint32_t index = exit->msr.index;
	bool ok = false;

	host_mutex_lock(vm->lock);
	if (intc_msr(index) && vcpu->intc)
		ok = vcpu->intc->rdmsr(vcpu->intc_arg, index, &exit->msr.value);
	else if (!intc_msr(index))
		ok = kvmclock_rdmsr(vcpu, index, &exit->msr.value) ||
		     steal_rdmsr(vcpu, index, &exit->msr.value);
	host_mutex_unlock(vm->lock);
	exit->msr.fault = !ok;
	if (TRACE(vm, exits))
		vm_trace(vm, "rdmsr 0x%x = 0x%" PRIx64 "%s", index, ok ? exit->msr.value : 0,
			 ok ? "" : " #GP");
}

static void handle_wrmsr(struct vcpu *vcpu, struct exit *exit)
{
	struct vm *vm = vcpu->vm;
	uint32_t index = exit->msr.index;
	bool ok = false;

	host_mutex_lock(vm->lock);
	if (intc_msr(index) && vcpu->intc)
		ok = vcpu->intc->wrmsr(vcpu->intc_arg, index, exit->msr.value);
	else if (!intc_msr(index))
		ok = kvmclock_wrmsr(vcpu, index, exit->msr.value) ||
		     steal_wrmsr(vcpu, index, exit->msr.value);
	host_mutex_unlock(vm->lock);
	exit->msr.fault = !ok;
	if (TRACE(vm, exits))
		vm_trace(vm, "wrmsr 0x%x = 0x%" PRIx64 "%s", index, exit->msr.value,
			 ok ? "" : " #GP");
}

static void handle_hlt(struct vcpu *vcpu, struct exit *exit)
{
	(void)exit;
	vcpu->halted = true;
	/* What came before the HLT has not been looked at, and whose turn it is may pass. */
	if (vcpu->want_window || atomic_load(&vcpu->kicked))
		atomic_store(&vcpu->notice, true);
}

static void handle_shutdown(struct vcpu *vcpu, struct exit *exit)
{
	(void)exit;
	atomic_store(&vcpu->vm->blamed, vcpu->index);
	vm_request(vcpu->vm, VM_CRASHED, 0);
}

static void handle_stuck(struct vcpu *vcpu, struct exit *exit)
{
	host_warn("the engine cannot go on (reason 0x%x, 0x%" PRIx64 ", 0x%" PRIx64 ")",
		  exit->stuck.hw_reason, exit->stuck.info[0], exit->stuck.info[1]);
	atomic_store(&vcpu->vm->blamed, vcpu->index);
	vm_request(vcpu->vm, VM_STUCK, 0);
}

static void handle_hypercall(struct vcpu *vcpu, struct exit *exit)
{
	hypercall_handle(vcpu, exit);
	if (TRACE(vcpu->vm, exits))
		vm_trace(vcpu->vm, "hypercall 0x%" PRIx64 " = 0x%" PRIx64, exit->hypercall.number,
			 exit->hypercall.result);
}

static void handle_cpuid(struct vcpu *vcpu, struct exit *exit)
{
	if (TRACE(vcpu->vm, exits))
		vm_trace(vcpu->vm, "cpuid 0x%x.%u = 0x%08x 0x%08x 0x%08x 0x%08x", exit->cpuid.leaf,
			 exit->cpuid.sub, exit->cpuid.eax, exit->cpuid.ebx, exit->cpuid.ecx,
			 exit->cpuid.edx);
}

/* No handler: there is nothing to do but to count it and look around. */
static void (*const handlers[EXIT_REASON_COUNT])(struct vcpu *, struct exit *) = {
	[EXIT_PIO] = handle_pio,     [EXIT_MMIO] = handle_mmio,
	[EXIT_CPUID] = handle_cpuid, [EXIT_RDMSR] = handle_rdmsr,
	[EXIT_WRMSR] = handle_wrmsr, [EXIT_HYPERCALL] = handle_hypercall,
	[EXIT_HLT] = handle_hlt,     [EXIT_SHUTDOWN] = handle_shutdown,
	[EXIT_STUCK] = handle_stuck,
};

void exit_handle(struct vcpu *vcpu, struct exit *exit)
{
	bool inside = gate_step_out(vcpu);

	vcpu->exits[exit->reason]++;
	if (handlers[exit->reason])
		handlers[exit->reason](vcpu, exit);
	gate_step_back(vcpu, inside);
}

void exit_count(struct vcpu *vcpu, enum exit_reason reason)
{
	vcpu->exits[reason]++;
}
