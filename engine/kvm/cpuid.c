/*
 * cpuid.c - which CPU models this host's KVM can show a guest, and telling KVM what CPUID answers.
 *
 * A model is taken whole or not at all: a bit that the host silently lacked would be a
 * machine that cannot move. What the machine answers by itself (local APIC, MSRs that are plain
 * state) or what is only a promise of speed asks nothing of the host.
 *
 * Not modelled: MISC_ENABLE's limit on CPUID, once the guest has run. The bits that follow CR4
 * and XCR0, KVM keeps up to date by itself.
 *
 * Spec: Documentation/virt/kvm/api.rst, KVM_SET_CPUID2. Tested by test/unit/kvm_state.c.
 * SPDX-License-Identifier: MIT
 */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define ENTRIES 256
#define PKRU    9 /* XSAVE component */
#define bit_SVM (1u << 2)

/* struct kvm_cpuid2, with room. */
struct table {
	uint32_t nent, padding;
	struct kvm_cpuid_entry2 entry[ENTRIES];
};
_Static_assert(offsetof(struct table, entry) == sizeof(struct kvm_cpuid2), "KVM's layout");

/* CPUID bits that ask nothing of the host's processor. */
static const enum cpu_feature own[] = {
	FEATURE_APIC,
	FEATURE_X2APIC,
	FEATURE_TSC_DEADLINE,
	FEATURE_HYPERVISOR,
	FEATURE_MTRR,
	FEATURE_MCE,
	FEATURE_MCA,
	FEATURE_TSC_ADJUST,
	FEATURE_SPEC_CTRL,
	FEATURE_OSXSAVE,
	FEATURE_OSPKE,
	FEATURE_ARCH_CAPABILITIES,
	FEATURE_ERMS,
	FEATURE_FSRM,
	FEATURE_PREFETCHW,
	FEATURE_INVARIANT_TSC,
	FEATURE_PSE36,
	FEATURE_ZERO_FCS_FDS,
	FEATURE_FDP_EXCPTN_ONLY,
};

static const struct {
	uint32_t leaf, sub, bit;
	size_t reg; /* offset in struct kvm_cpuid_entry2 */
	const char *name;
} features[] = {
#define X(name, leaf, sub, reg, bit)                                                               \
	{ leaf, sub, bit, offsetof(struct kvm_cpuid_entry2, reg), #name },
#include "cpu/features.h"
#undef X
};

static bool is_own(enum cpu_feature f)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (own[i] == f)
			return true;
	return false;
}

static int get_supported(const struct kvm_device *d, struct table *t, struct fail *why)
{
	memset(t, 0, sizeof(*t));
	t->nent = ENTRIES;
	return (int)KVM_DO(d->fd, KVM_GET_SUPPORTED_CPUID, t, why);
}

static bool supports(const struct table *t, enum cpu_feature f)
{
	for (uint32_t i = 0; i < t->nent && i < ENTRIES; i++) {
		const struct kvm_cpuid_entry2 *e = &t->entry[i];
		uint32_t word;

		if (e->function != features[f].leaf || e->index != features[f].sub)
			continue;
		memcpy(&word, (const uint8_t *)e + features[f].reg, 4);
		return word >> features[f].bit & 1;
	}
	return false;
}

/* PKRU's place in the XSAVE area is the processor's, and the model says Intel's. */
static bool same_place(const struct cpu_model *m)
{
	struct cpuid_topology t = { .vcpus = 1 };
	struct x86_state s;
	unsigned eax, ebx = 0, ecx, edx;

	x86_state_reset(&s, true);
	__get_cpuid_count(0xd, PKRU, &eax, &ebx, &ecx, &edx);
	return cpuid_query(m, &s, &t, 0xd, PKRU).ebx == ebx;
}

static int check_against(const struct table *t, const struct cpu_model *m, struct fail *why)
{
	char missing[160] = "";
	size_t used = 0;

	for (unsigned f = 0; f < FEATURE_COUNT; f++) {
		bool there = is_own(f) || supports(t, f);

		if (f == FEATURE_PKU && there)
			there = same_place(m);
		if (!cpu_model_has(m, f) || there || used + 20 > sizeof(missing))
			continue;
		used += (size_t)snprintf(missing + used, sizeof(missing) - used, "%s%s",
					 used ? ", " : "", features[f].name);
	}
	if (!used)
		return 0;
	return fail(why, -ENOTSUP, "this host's KVM lacks what CPU model %s needs: %s",
		    cpu_model_name(m), missing);
}

int kvm_check_model(const struct kvm_device *d, const struct cpu_model *m, struct fail *why)
{
	struct table t;
	int err = get_supported(d, &t, why);

	return err < 0 ? err : check_against(&t, m, why);
}

const struct cpu_model *kvm_cpu_model(struct fail *why)
{
	const struct cpu_model *best = NULL;
	struct kvm_device d;
	struct table t;

	if (kvm_device_open(&d, why))
		return NULL;
	if (get_supported(&d, &t, why) >= 0)
		for (unsigned i = 0; cpu_models[i] && !best; i++)
			if (check_against(&t, cpu_models[i], why) == 0)
				best = cpu_models[i];
	kvm_device_close(&d);
	return best;
}

static void add(struct kvm_vcpu *k, const struct x86_state *s, struct table *t, uint32_t leaf,
		uint32_t sub, bool has_subs)
{
	struct cpuid_answer a = vcpu_cpuid(k->vcpu, s, leaf, sub);

	if (t->nent == ENTRIES)
		return;
	t->entry[t->nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = sub,
		.flags = has_subs ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = a.eax,
		.ebx = a.ebx,
		.ecx = a.ecx,
		.edx = a.edx,
	};
}

/* The sub-leaves that say something. */
static void add_leaf(struct kvm_vcpu *k, const struct x86_state *s, struct table *t, uint32_t leaf)
{
	static const struct {
		uint32_t leaf, subs;
	} many[] = {
		/* clang-format off */
		{ 4, 4 }, { 7, 3 }, { 0xb, 2 }, { 0xd, 64 },
		/* clang-format on */
	};
	uint32_t subs = 0;

	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		if (many[i].leaf == leaf)
			subs = many[i].subs;
	add(k, s, t, leaf, 0, subs > 0);
	for (uint32_t sub = 1; sub < subs; sub++) {
		struct cpuid_answer a = vcpu_cpuid(k->vcpu, s, leaf, sub);

		if (a.eax | a.ebx | a.edx)
			add(k, s, t, leaf, sub, true);
	}
}

int kvm_set_cpuid(struct kvm_vcpu *k, struct fail *why)
{
	static const uint32_t first[] = { 0, 0x40000000, 0x80000000 };
	struct x86_state s;
	struct table t = { 0 };

	x86_state_reset(&s, true);
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		uint32_t last = vcpu_cpuid(k->vcpu, &s, first[i], 0).eax;

		for (uint32_t leaf = first[i]; leaf <= last; leaf++)
			add_leaf(k, &s, &t, leaf);
	}
	return (int)KVM_DO(k->fd, KVM_SET_CPUID2, &t, why);
}

/*
 * The models say that the processor is Intel's, so guests use VMCALL. On one with SVM that is #UD,
 * which KVM answers by writing VMMCALL over it - and as the guest: a kernel whose code is
 * read-only crashes.
 */
static bool has_svm(void)
{
	unsigned eax, ebx, ecx = 0, edx;

	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & bit_SVM;
}

bool kvm_hypercalls(void)
{
	struct kvm_device d;
	bool there;

	if (kvm_device_open(&d, NULL))
		return true;
	there = d.caps.hypercalls && !has_svm();
	kvm_device_close(&d);
	return there;
}
