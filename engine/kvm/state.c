/*
 * state.c - struct x86_state in and out of a vCPU of KVM.
 *
 * The one architectural form is nearly what KVM's ioctls speak; this file is the difference.
 * An event that KVM has taken and not yet delivered is state: an exception, or an interrupt
 * that was acknowledged. Soft ones (INT3, INTO, INT n) are not: RIP still points at them.
 *
 * Not modelled: a debug exception held back by MOV SS (KVM does not show it); SMM.
 *
 * Spec: Documentation/virt/kvm/api.rst; SDM vol. 3 25.4.1 (access rights), 7.5.
 * Tested by test/unit/kvm_state.c, test/rig/.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

/* The order of struct kvm_regs and of enum gpr differ in the middle. */
#define GPRS(X)                                                                                    \
	X(RAX, rax)                                                                                \
	X(RCX, rcx)                                                                                \
	X(RDX, rdx)                                                                                \
	X(RBX, rbx)                                                                                \
	X(RSP, rsp)                                                                                \
	X(RBP, rbp)                                                                                \
	X(RSI, rsi)                                                                                \
	X(RDI, rdi)                                                                                \
	X(R8, r8)                                                                                  \
	X(R9, r9)                                                                                  \
	X(R10, r10)                                                                                \
	X(R11, r11)                                                                                \
	X(R12, r12)                                                                                \
	X(R13, r13)                                                                                \
	X(R14, r14)                                                                                \
	X(R15, r15)

#define SEGMENTS(X)                                                                                \
	X(seg[ES], es)                                                                             \
	X(seg[CS], cs)                                                                             \
	X(seg[SS], ss)                                                                             \
	X(seg[DS], ds)                                                                             \
	X(seg[FS], fs)                                                                             \
	X(seg[GS], gs)                                                                             \
	X(ldtr, ldt)                                                                               \
	X(tr, tr)

static struct kvm_segment segment_to_kvm(const struct x86_seg *g)
{
	return (struct kvm_segment){
		.base = g->base,
		.limit = g->limit,
		.selector = g->selector,
		.type = SEG_TYPE(g->attr),
		.s = !!(g->attr & SEG_S),
		.dpl = SEG_DPL(g->attr),
		.present = g->attr & SEG_P && !(g->attr & SEG_UNUSABLE),
		.avl = !!(g->attr & SEG_AVL),
		.l = !!(g->attr & SEG_L),
		.db = !!(g->attr & SEG_DB),
		.g = !!(g->attr & SEG_G),
		.unusable = !!(g->attr & SEG_UNUSABLE),
	};
}

static struct x86_seg segment_from_kvm(const struct kvm_segment *g)
{
	struct x86_seg seg = { .base = g->base, .limit = g->limit, .selector = g->selector };

	/* Of an unusable one nothing is defined but the privilege level that SS holds. */
	if (g->unusable)
		seg.attr = SEG_UNUSABLE | (uint32_t)(g->dpl & 3) << 5;
	else
		seg.attr = (g->type & 15u) | (g->s ? SEG_S : 0) | (uint32_t)(g->dpl & 3) << 5 |
			   (g->present ? SEG_P : 0) | (g->avl ? SEG_AVL : 0) | (g->l ? SEG_L : 0) |
			   (g->db ? SEG_DB : 0) | (g->g ? SEG_G : 0);
	return seg;
}

/* --- Registers --- */

static int get_regs(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_regs r;
	long err = KVM_DO(k->fd, KVM_GET_REGS, &r, why);

	if (err < 0)
		return (int)err;
#define X(n, name) k->s.gpr[n] = r.name;
	GPRS(X)
#undef X
	k->s.rip = r.rip;
	k->s.rflags = r.rflags;
	return 0;
}

static int set_regs(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_regs r = { .rip = k->s.rip, .rflags = k->s.rflags };

#define X(n, name) r.name = k->s.gpr[n];
	GPRS(X)
#undef X
	return (int)KVM_DO(k->fd, KVM_SET_REGS, &r, why);
}

/* KVM_GET_SREGS and KVM_GET_SREGS2 give the same first part. */
static void take_sregs(struct x86_state *s, const struct kvm_sregs2 *r)
{
#define X(member, name) s->member = segment_from_kvm(&r->name);
	SEGMENTS(X)
#undef X
	s->gdtr = (struct x86_table){ r->gdt.base, r->gdt.limit };
	s->idtr = (struct x86_table){ r->idt.base, r->idt.limit };
	s->cr0 = r->cr0;
	s->cr2 = r->cr2;
	s->cr3 = r->cr3;
	s->cr4 = r->cr4;
	s->efer = r->efer;
	if (r->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		memcpy(s->pdpte, r->pdptrs, sizeof(s->pdpte));
}

static bool uses_pdptes(const struct x86_state *s)
{
	return s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !x86_long_mode(s);
}

static struct kvm_sregs2 give_sregs(const struct x86_state *s, uint64_t apic_base)
{
	struct kvm_sregs2 r = {
		.gdt = {.base = s->gdtr.base,  .limit = s->gdtr.limit},
		.idt = { .base = s->idtr.base, .limit = s->idtr.limit},
		.cr0 = s->cr0,
		.cr2 = s->cr2,
		.cr3 = s->cr3,
		.cr4 = s->cr4,
		.efer = s->efer,
		.apic_base = apic_base,
	};

#define X(member, name) r.name = segment_to_kvm(&s->member);
	SEGMENTS(X)
#undef X
	if (uses_pdptes(s)) {
		r.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(r.pdptrs, s->pdpte, sizeof(r.pdptrs));
	}
	return r;
}

#define COMMON offsetof(struct kvm_sregs2, flags)
_Static_assert(COMMON == offsetof(struct kvm_sregs, interrupt_bitmap), "the same first part");

static int get_sregs(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_sregs2 r = { 0 };
	struct kvm_sregs old;
	long err;

	if (k->vm->device.caps.sregs2) {
		err = KVM_DO(k->fd, KVM_GET_SREGS2, &r, why);
	} else {
		err = KVM_DO(k->fd, KVM_GET_SREGS, &old, why);
		memcpy(&r, &old, COMMON);
	}
	if (err >= 0)
		take_sregs(&k->s, &r);
	return err < 0 ? (int)err : 0;
}

static int set_sregs(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_sregs2 r = give_sregs(&k->s, k->apic_base);
	struct kvm_sregs old = { 0 };

	if (k->vm->device.caps.sregs2)
		return (int)KVM_DO(k->fd, KVM_SET_SREGS2, &r, why);
	memcpy(&old, &r, COMMON);
	return (int)KVM_DO(k->fd, KVM_SET_SREGS, &old, why);
}

static int get_debug(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_debugregs d;
	long err = KVM_DO(k->fd, KVM_GET_DEBUGREGS, &d, why);

	if (err < 0)
		return (int)err;
	memcpy(k->s.dr, d.db, sizeof(k->s.dr));
	k->s.dr6 = d.dr6;
	k->s.dr7 = d.dr7;
	return 0;
}

static int set_debug(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_debugregs d = { .dr6 = k->s.dr6, .dr7 = k->s.dr7 };

	memcpy(d.db, k->s.dr, sizeof(d.db));
	return (int)KVM_DO(k->fd, KVM_SET_DEBUGREGS, &d, why);
}

/* --- Events --- */

static void set_event(struct x86_state *s, bool external, uint8_t vector)
{
	s->event_pending = 1;
	s->event_external = external;
	s->event_vector = vector;
}

static void take_events(struct x86_state *s, const struct kvm_vcpu_events *e)
{
	bool exception = e->exception.injected || e->exception.pending;

	s->event_pending = s->event_external = s->event_vector = s->event_has_error = 0;
	s->event_error = 0;
	if (e->nmi.injected) {
		set_event(s, true, VEC_NMI);
	} else if (e->interrupt.injected && !e->interrupt.soft) {
		set_event(s, true, e->interrupt.nr);
	} else if (exception && e->exception.nr != VEC_BP && e->exception.nr != VEC_OF) {
		set_event(s, false, e->exception.nr);
		s->event_has_error = e->exception.has_error_code;
		s->event_error = e->exception.has_error_code ? e->exception.error_code : 0;
	}
	s->shadow = (e->interrupt.shadow & KVM_X86_SHADOW_INT_STI ? SHADOW_STI : 0) |
		    (e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_MOVSS : 0);
	s->nmi_blocked = !!e->nmi.masked;
	s->nmi_pending = !!e->nmi.pending;
}

static int get_events(struct kvm_vcpu *k, struct fail *why)
{
	struct kvm_vcpu_events e;
	long err = KVM_DO(k->fd, KVM_GET_VCPU_EVENTS, &e, why);

	if (err < 0)
		return (int)err;
	take_events(&k->s, &e);
	return 0;
}

static int set_events(struct kvm_vcpu *k, struct fail *why)
{
	const struct x86_state *s = &k->s;
	bool external = s->event_pending && s->event_external;
	bool nmi = external && s->event_vector == VEC_NMI;
	struct kvm_vcpu_events e = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
		.nmi = {.injected = nmi, .pending = s->nmi_pending, .masked = s->nmi_blocked},
		.interrupt.shadow = (s->shadow & SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
				    (s->shadow & SHADOW_MOVSS ? KVM_X86_SHADOW_INT_MOV_SS : 0),
	};

	if (external && !nmi) {
		e.interrupt.injected = 1;
		e.interrupt.nr = s->event_vector;
	} else if (s->event_pending && !external) {
		e.exception.injected = 1;
		e.exception.nr = s->event_vector;
		e.exception.has_error_code = s->event_has_error;
		e.exception.error_code = s->event_error;
	}
	return (int)KVM_DO(k->fd, KVM_SET_VCPU_EVENTS, &e, why);
}

/* --- All of it --- */

typedef int (*part_fn)(struct kvm_vcpu *k, struct fail *why);

void kvm_get_state(struct vcpu *vcpu, struct x86_state *out)
{
	static const part_fn parts[] = {
		get_regs, get_sregs, kvm_get_fpu, get_debug, kvm_get_msrs, get_events, kvm_tsc_get,
	};
	struct kvm_vcpu *k = vcpu->engine;
	int err = 0;

	/* A failure is told by the next run(); until then this is the last state known. */
	for (size_t i = 0; !err && !vcpu->trouble.code && i < sizeof(parts) / sizeof(parts[0]); i++)
		err = parts[i](k, &vcpu->trouble);
	*out = k->s;
}

int kvm_set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	/* CPUID says which of the other values KVM allows. */
	static const part_fn parts[] = {
		set_sregs, set_regs, kvm_set_fpu, set_debug, kvm_set_msrs, set_events, kvm_tsc_set,
	};
	struct kvm_vcpu *k = vcpu->engine;
	const struct vm *vm = vcpu->vm;
	int err = x86_state_check(vm->cpu_model, in, why);

	if (!err)
		err = kvm_tsc_frequency(k, why);
	if (!err && k->vm->bhi != vm->bhi_control)
		err = kvm_filter_msrs(k->vm, why);
	if (!err && (k->tsc_khz != vm->clock.tsc_khz || k->services != vm->kvm_services ||
		     k->bhi != vm->bhi_control))
		err = kvm_set_cpuid(k, why);
	if (err)
		return err;
	k->tsc_khz = vm->clock.tsc_khz;
	k->services = vm->kvm_services;
	k->bhi = vm->bhi_control;
	k->s = *in;
	k->half_done = false;
	k->queued = false;
	k->nmi_given = in->nmi_pending;
	k->stale = true;
	for (size_t i = 0; !err && i < sizeof(parts) / sizeof(parts[0]); i++)
		err = parts[i](k, why);
	return err < 0 ? err : 0;
}
