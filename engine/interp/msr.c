/*
 * msr.c - CPUID, MSRs, the time-stamp counter, hypercalls, HLT, MWAIT: trap and emulate made
 * visible.
 *
 * Each of these is an exit under every engine. What is plain CPU state is answered here and
 * counted; what belongs to the machine goes through interp_exit() to its table.
 *
 * Not modelled: performance counters (RDPMC is #GP).
 *
 * Spec: SDM vol. 2. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/msr.h"
#include "engine/interp/system.h"

static void set_edx_eax(struct interp *c, uint64_t value)
{
	c->r[RAX] = (uint32_t)value;
	c->r[RDX] = value >> 32;
}

enum step cpuid(struct interp *c, const struct insn *i)
{
	struct exit exit = { .reason = EXIT_CPUID };
	struct cpuid_answer a =
		vcpu_cpuid(c->vcpu, &c->s, (uint32_t)c->r[RAX], (uint32_t)c->r[RCX]);

	(void)i;
	exit.cpuid.leaf = (uint32_t)c->r[RAX];
	exit.cpuid.sub = (uint32_t)c->r[RCX];
	exit.cpuid.eax = a.eax;
	exit.cpuid.ebx = a.ebx;
	exit.cpuid.ecx = a.ecx;
	exit.cpuid.edx = a.edx;
	interp_exit(c, &exit);
	c->r[RAX] = a.eax;
	c->r[RBX] = a.ebx;
	c->r[RCX] = a.ecx;
	c->r[RDX] = a.edx;
	return STEP_NEXT;
}

static uint64_t read_tsc(struct interp *c)
{
	interp_sync(c);
	return vcpu_tsc(c->vcpu);
}

enum step rdmsr(struct interp *c, const struct insn *i)
{
	struct exit exit = { .reason = EXIT_RDMSR };
	uint32_t index = (uint32_t)c->r[RCX];

	(void)i;
	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit.msr.index = index;
	switch (msr_read(c->vcpu->vm->cpu_model, &c->s, index, &exit.msr.value)) {
	case MSR_OK: exit_count(c->vcpu, EXIT_RDMSR); break;
	case MSR_GP: exit_count(c->vcpu, EXIT_RDMSR); return raise_gp(c, 0);
	case MSR_ELSEWHERE:
		if (index != MSR_TSC) {
			interp_exit(c, &exit);
			break;
		}
		exit_count(c->vcpu, EXIT_RDMSR);
		exit.msr.value = read_tsc(c);
		break;
	}
	if (exit.msr.fault)
		return raise_gp(c, 0);
	set_edx_eax(c, exit.msr.value);
	return STEP_NEXT;
}

/* What the rest of the CPU must know about a register that was written. */
static void written(struct interp *c, uint32_t index)
{
	if (index == MSR_EFER) {
		tlb_flush_all(&c->tlb);
		interp_mode_changed(c);
	} else if (index == MSR_TSC_ADJUST) {
		interp_sync(c);
		vcpu_tsc_moved(c->vcpu, c->s.tsc_offset);
	}
}

enum step wrmsr(struct interp *c, const struct insn *i)
{
	struct exit exit = { .reason = EXIT_WRMSR };
	uint32_t index = (uint32_t)c->r[RCX];
	uint64_t value = (uint32_t)c->r[RAX] | c->r[RDX] << 32;

	(void)i;
	if (c->cpl != 0)
		return raise_gp(c, 0);
	switch (msr_write(c->vcpu->vm->cpu_model, &c->s, index, value)) {
	case MSR_OK:
		exit_count(c->vcpu, EXIT_WRMSR);
		c->x.gate_ok = false;
		written(c, index);
		return STEP_LEAVE;
	case MSR_GP: exit_count(c->vcpu, EXIT_WRMSR); return raise_gp(c, 0);
	case MSR_ELSEWHERE: break;
	}
	if (index == MSR_TSC) {
		interp_sync(c);
		exit_count(c->vcpu, EXIT_WRMSR);
		vcpu_set_tsc(c->vcpu, &c->s, value);
		return STEP_LEAVE;
	}
	exit.msr.index = index;
	exit.msr.value = value;
	interp_exit(c, &exit);
	return exit.msr.fault ? raise_gp(c, 0) : STEP_LEAVE;
}

static bool tsc_forbidden(const struct interp *c)
{
	return c->s.cr4 & CR4_TSD && c->cpl > 0;
}

enum step rdtsc(struct interp *c, const struct insn *i)
{
	(void)i;
	if (tsc_forbidden(c))
		return raise_gp(c, 0);
	set_edx_eax(c, read_tsc(c));
	return STEP_NEXT;
}

enum step rdtscp(struct interp *c, const struct insn *i)
{
	(void)i;
	if (tsc_forbidden(c))
		return raise_gp(c, 0);
	set_edx_eax(c, read_tsc(c));
	c->r[RCX] = (uint32_t)c->s.tsc_aux;
	return STEP_NEXT;
}

enum step rdpmc(struct interp *c, const struct insn *i)
{
	(void)i;
	return raise_gp(c, 0);
}

/* KVM's convention: number in RAX, arguments in RBX, RCX, RDX, RSI; 32 bits wide outside 64-bit
 * mode. */
enum step vmcall(struct interp *c, const struct insn *i)
{
	static const enum gpr args[4] = { RBX, RCX, RDX, RSI };
	struct exit exit = { .reason = EXIT_HYPERCALL };
	uint64_t mask = c->code_bits == 64 ? ~UINT64_C(0) : UINT64_C(0xffffffff);

	(void)i;
	exit.hypercall.number = c->r[RAX] & mask;
	for (unsigned n = 0; n < 4; n++)
		exit.hypercall.arg[n] = c->r[args[n]] & mask;
	exit.hypercall.cpl = c->cpl;
	exit.hypercall.wide = c->code_bits == 64;
	interp_exit(c, &exit);
	c->r[RAX] = exit.hypercall.result & mask;
	return STEP_NEXT;
}

/*
 * MONITOR and MWAIT are hints: MWAIT may end at once (SDM vol. 2), and does, as under KVM. CPUID
 * does not offer them, as QEMU with KVM does not: a kernel that has MWAIT idles by it, which here
 * would be a loop, and Linux then does without the flushes and yields that KVM's services offer.
 */
enum step monitor(struct interp *c, const struct insn *i)
{
	(void)i;
	return c->cpl != 0 ? raise_ud(c) : STEP_NEXT;
}

/* Who waits for another vCPU lets it run. */
enum step mwait(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl != 0)
		return raise_ud(c);
	if (c->vcpu->vm->vcpus == 1)
		return STEP_NEXT;
	interp_sync(c);
	return vcpu_pauses(c->vcpu) ? STEP_LEAVE : STEP_NEXT;
}

enum step hlt(struct interp *c, const struct insn *i)
{
	(void)i;
	return c->cpl != 0 ? raise_gp(c, 0) : STEP_HALT;
}
