/*
 * msr.c - which MSRs KVM keeps, and answering for the others.
 *
 * The filter lets through to KVM only those whose value the processor itself uses. Every
 * other MSR comes out as an exit and gets the answer that it has under every engine: from
 * cpu/msr.c, or from the machine.
 *
 * A machine that began on an engine that shows BHI_CTRL shows it here, whatever the processor has.
 * Then SPEC_CTRL, too, comes out, and the processor gets as much of its value as it takes.
 *
 * Not modelled: DEBUGCTL (stored, without effect); IBPB and, on hosts whose KVM does not offer
 * it, SPEC_CTRL.
 *
 * Spec: Documentation/virt/kvm/api.rst, KVM_X86_SET_MSR_FILTER, KVM_EXIT_X86_RDMSR.
 * Tested by test/unit/kvm_exits.c, test/rig/exits.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/msr.h"

#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define LIST_MOST 4096

/* X(MSR, member): what the processor uses, where the host's KVM has it. EFER and the bases of FS
 * and GS travel with the segments. */
#define NATIVE(X)                                                                                  \
	X(SYSENTER_CS, sysenter_cs)                                                                \
	X(SYSENTER_ESP, sysenter_esp)                                                              \
	X(SYSENTER_EIP, sysenter_eip)                                                              \
	X(PAT, pat)                                                                                \
	X(SPEC_CTRL, spec_ctrl)                                                                    \
	X(STAR, star)                                                                              \
	X(LSTAR, lstar)                                                                            \
	X(CSTAR, cstar)                                                                            \
	X(FMASK, fmask)                                                                            \
	X(KERNEL_GS_BASE, kernel_gs_base)                                                          \
	X(TSC_AUX, tsc_aux)

static const struct kvm_msr native[] = {
#define X(name, member) { MSR_##name, offsetof(struct x86_state, member) },
	NATIVE(X)
#undef X
};
#define NATIVE_COUNT (sizeof(native) / sizeof(native[0]))
_Static_assert(NATIVE_COUNT <= KVM_NATIVE_MSRS, "they fit");

/* Always let through: not kept by KVM_GET_MSRS here. */
static const uint32_t through[] = { MSR_EFER, MSR_FS_BASE, MSR_GS_BASE };

static bool listed(const struct kvm_msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

static int choose(struct kvm_vm *v, struct fail *why)
{
	struct kvm_msr_list *list = host_alloc(sizeof(*list) + LIST_MOST * sizeof(uint32_t));
	long err;

	if (!list)
		return fail(why, -ENOMEM, "no memory for KVM's list of MSRs");
	list->nmsrs = LIST_MOST;
	err = KVM_DO(v->device.fd, KVM_GET_MSR_INDEX_LIST, list, why);
	v->msrs = 0;
	v->bhi = v->vm->bhi_control;
	v->spec_ctrl = v->bhi && err >= 0 && listed(list, MSR_SPEC_CTRL);
	for (size_t i = 0; err >= 0 && i < NATIVE_COUNT; i++)
		if (listed(list, native[i].index) && !(v->bhi && native[i].index == MSR_SPEC_CTRL))
			v->msr[v->msrs++] = native[i];
	host_free(list);
	return err < 0 ? (int)err : 0;
}

/* Two ranges hold them all but those of which KVM gets only some accesses: one bit each. */
struct ranges {
	uint8_t low[0x300 / 8];  /* MSRs 0 - 2ffH */
	uint8_t high[0x180 / 8]; /* from c000_0000H */
	uint8_t one[8];          /* KVM reads whole words */
};

static void allow(struct ranges *r, uint32_t index)
{
	uint8_t *bits = index < 0x300 ? r->low : r->high;
	uint32_t n = index < 0x300 ? index : index - 0xc0000000;

	bits[n / 8] |= (uint8_t)(1u << (n % 8));
}

static void add_range(struct kvm_msr_filter *f, uint32_t first, unsigned count, uint8_t *bits,
		      uint32_t flags)
{
	for (unsigned i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		if (f->ranges[i].nmsrs)
			continue;
		f->ranges[i] = (struct kvm_msr_filter_range){ flags, count, first, bits };
		return;
	}
}

int kvm_filter_msrs(struct kvm_vm *v, struct fail *why)
{
	const uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	struct ranges r = { .one = { 1 } };
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };
	int err = choose(v, why);

	if (err)
		return err;
	for (unsigned i = 0; i < v->msrs; i++)
		allow(&r, v->msr[i].index);
	for (size_t i = 0; i < sizeof(through) / sizeof(through[0]); i++)
		allow(&r, through[i]);
	/* The first that matches decides: reads only before both. */
	add_range(&filter, MSR_TSC, 1, r.one, KVM_MSR_FILTER_READ);
	if (v->split) {
		add_range(&filter, MSR_APIC_BASE, 1, r.one, KVM_MSR_FILTER_READ);
		add_range(&filter, MSR_TSC_DEADLINE, 1, r.one, both);
	}
	add_range(&filter, 0, sizeof(r.low) * 8, r.low, both);
	add_range(&filter, 0xc0000000, sizeof(r.high) * 8, r.high, both);
	return (int)KVM_DO(v->fd, KVM_X86_SET_MSR_FILTER, &filter, why);
}

/* struct kvm_msrs, with room. */
struct batch {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry[KVM_NATIVE_MSRS];
};
_Static_assert(offsetof(struct batch, entry) == sizeof(struct kvm_msrs), "KVM's layout");

static uint64_t *member(struct x86_state *s, const struct kvm_msr *m)
{
	return (uint64_t *)((uint8_t *)s + m->offset);
}

static struct batch gather(struct kvm_vcpu *k)
{
	struct batch b = { .nmsrs = k->vm->msrs };

	for (unsigned i = 0; i < k->vm->msrs; i++)
		b.entry[i] = (struct kvm_msr_entry){ .index = k->vm->msr[i].index,
						     .data = *member(&k->s, &k->vm->msr[i]) };
	return b;
}

static int all_done(const struct batch *b, long n, const char *what, struct fail *why)
{
	if (n < 0)
		return (int)n;
	if (n < (long)b->nmsrs)
		return fail(why, -EIO, "KVM: %s refuses MSR 0x%x", what, b->entry[n].index);
	return 0;
}

int kvm_get_msrs(struct kvm_vcpu *k, struct fail *why)
{
	struct batch b = gather(k);
	int err = all_done(&b, KVM_DO(k->fd, KVM_GET_MSRS, &b, why), "KVM_GET_MSRS", why);

	for (unsigned i = 0; !err && i < k->vm->msrs; i++)
		*member(&k->s, &k->vm->msr[i]) = b.entry[i].data;
	return err;
}

/* struct kvm_msrs, with room. */
struct one_msr {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct one_msr, entry) == sizeof(struct kvm_msrs), "KVM's layout");

int kvm_get_msr(struct kvm_vcpu *k, uint32_t index, uint64_t *value, struct fail *why)
{
	struct one_msr m = { .nmsrs = 1, .entry.index = index };
	long n = KVM_DO(k->fd, KVM_GET_MSRS, &m, why);

	if (n < 0)
		return (int)n;
	if (n != 1)
		return fail(why, -EIO, "KVM: KVM_GET_MSRS does not give MSR 0x%x", index);
	*value = m.entry.data;
	return 0;
}

int kvm_set_msr(struct kvm_vcpu *k, uint32_t index, uint64_t value, struct fail *why)
{
	struct one_msr m = {
		.nmsrs = 1, .entry = {.index = index, .data = value}
	};
	long n = KVM_DO(k->fd, KVM_SET_MSRS, &m, why);

	if (n < 0)
		return (int)n;
	return n == 1 ? 0 : fail(why, -EIO, "KVM: KVM_SET_MSRS does not take MSR 0x%x", index);
}

static int give_spec_ctrl(struct kvm_vcpu *k, struct fail *why)
{
	uint64_t value = k->s.spec_ctrl;
	struct fail refusal;

	if (!k->vm->spec_ctrl ||
	    (value & SPEC_CTRL_BHI_DIS_S && !kvm_set_msr(k, MSR_SPEC_CTRL, value, &refusal)))
		return 0;
	return kvm_set_msr(k, MSR_SPEC_CTRL, value & ~SPEC_CTRL_BHI_DIS_S, why);
}

int kvm_set_msrs(struct kvm_vcpu *k, struct fail *why)
{
	struct batch b = gather(k);
	int err = all_done(&b, KVM_DO(k->fd, KVM_SET_MSRS, &b, why), "KVM_SET_MSRS", why);

	return err ? err : give_spec_ctrl(k, why);
}

/* KVM keeps it, and has refused the value. The filter does not reach the x2APIC's range. */
static bool refused(const struct kvm_run *run)
{
	uint32_t index = run->msr.index;

	return run->msr.reason == KVM_MSR_EXIT_REASON_INVAL &&
	       !(index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST);
}

void kvm_rdmsr_exit(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct exit exit = { .reason = EXIT_RDMSR, .msr.index = run->msr.index };
	enum msr_result r = MSR_GP;

	if (!refused(run))
		r = msr_read(k->vcpu->vm->cpu_model, &k->s, exit.msr.index, &exit.msr.value);
	if (r == MSR_ELSEWHERE && exit.msr.index == MSR_TSC)
		r = MSR_GP; /* KVM reads it by itself */
	if (r == MSR_ELSEWHERE)
		exit_handle(k->vcpu, &exit);
	else
		exit_count(k->vcpu, EXIT_RDMSR);
	run->msr.data = exit.msr.value;
	run->msr.error = r == MSR_GP || exit.msr.fault;
}

/* What the rest of the machine must know about a register that was written. */
static void written(struct kvm_vcpu *k, uint32_t index)
{
	if (index == MSR_SPEC_CTRL)
		give_spec_ctrl(k, &k->vcpu->trouble);
	if (index != MSR_TSC_ADJUST && index != MSR_TSC)
		return;
	if (index == MSR_TSC_ADJUST)
		vcpu_tsc_moved(k->vcpu, k->s.tsc_offset);
	kvm_tsc_set(k, &k->vcpu->trouble);
	kvm_apic_tsc_moved(k);
}

void kvm_wrmsr_exit(struct kvm_vcpu *k)
{
	struct kvm_run *run = k->run;
	struct exit exit = {
		.reason = EXIT_WRMSR, .msr = {.index = run->msr.index, .value = run->msr.data}
	};
	enum msr_result r = MSR_GP;

	if (exit.msr.index == MSR_TSC_DEADLINE || exit.msr.index == MSR_TSC)
		kvm_tsc_follow(k);
	if (!refused(run))
		r = msr_write(k->vcpu->vm->cpu_model, &k->s, exit.msr.index, exit.msr.value);
	if (r == MSR_ELSEWHERE && exit.msr.index != MSR_TSC) {
		exit_handle(k->vcpu, &exit);
	} else {
		exit_count(k->vcpu, EXIT_WRMSR);
		if (r == MSR_ELSEWHERE)
			vcpu_set_tsc(k->vcpu, &k->s, exit.msr.value);
		if (r != MSR_GP)
			written(k, exit.msr.index);
	}
	run->msr.error = r == MSR_GP || exit.msr.fault;
}
