/*
 * hypercall.h - what VMCALL and VMMCALL reach.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_HYPERCALL_H
#define MACHINE_HYPERCALL_H

struct vcpu;
struct exit;

/* exit->reason is EXIT_HYPERCALL; fills exit->hypercall.result. */
void hypercall_handle(struct vcpu *vcpu, struct exit *exit);

#endif
