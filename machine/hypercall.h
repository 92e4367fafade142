/*
 * hypercall.h - what VMCALL and VMMCALL reach: one table of services a guest may ask for.
 *
 * The convention is KVM's: number in RAX, arguments in RBX, RCX, RDX, RSI, the answer in
 * RAX, negative values being errors; 32 bits of each outside 64-bit mode. KVM's own numbers
 * are below 0x100; this monitor's lie in 0x54500000 .. 0x545fffff ("TP"). Of KVM's those below are
 * served when CPUID offers them, to guests of several vCPUs; the others answer like every unknown
 * one.
 *
 * Spec: Linux Documentation/virt/kvm/x86/hypercalls.rst. Tested by test/unit/hypercall.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_HYPERCALL_H
#define MACHINE_HYPERCALL_H

struct vcpu;
struct exit;

#define HYPERCALL_BASE 0x54500000u

/*
 * X(NAME, offset from HYPERCALL_BASE, what it does):
 * VERSION  answers HYPERCALL_VERSION_VALUE
 * PRINT    guest-physical address, bytes (at most HYPERCALL_PRINT_MAX): gives the text to
 *          the embedder; answers the bytes, or -HYPERCALL_EFAULT when it is not all RAM, or
 *          -HYPERCALL_E2BIG. No embedder listening: the text is dropped.
 * EXIT     status (low 31 bits): ends the run with VM_DEBUG_EXIT and that status
 * YIELD    returns to the run loop: input, alarms and other guests get their turn
 */
#define HYPERCALLS(X)                                                                              \
	X(VERSION, 0, "version of this interface")                                                 \
	X(PRINT, 1, "print text")                                                                  \
	X(EXIT, 2, "end the run")                                                                  \
	X(YIELD, 3, "give up the rest of the slice")

enum hypercall {
#define X(name, offset, text) HYPERCALL_##name = HYPERCALL_BASE + (offset),
	HYPERCALLS(X)
#undef X
};

/* KVM's, by their names there. */
enum {
	KVM_HC_KICK_CPU = 5,  /* flags, APIC ID: wakes who halted waiting for a lock */
	KVM_HC_SEND_IPI = 10, /* bitmap (two words), APIC ID of its bit 0, ICR: to many at once */
	KVM_HC_SCHED_YIELD = 11, /* APIC ID: whom the caller waits for */
};

#define HYPERCALL_VERSION_VALUE 1
#define HYPERCALL_PRINT_MAX     4096

/* Errors: KVM's values, negated in the answer. */
#define HYPERCALL_EPERM  1 /* CPL was not 0 */
#define HYPERCALL_E2BIG  7
#define HYPERCALL_EFAULT 14
#define HYPERCALL_EINVAL 22
#define HYPERCALL_ENOSYS 1000

/* exit->reason is EXIT_HYPERCALL; fills exit->hypercall.result. vCPU thread, no lock held. */
void hypercall_handle(struct vcpu *vcpu, struct exit *exit);

#endif
