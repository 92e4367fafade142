/*
 * cpuid.h - the CPU models a guest may be shown, and the CPUID answer for each.
 *
 * A model is a named, versioned, fixed set of features: state saved under it
 * loads on any host and engine that has them. The host's own CPUID never leaks
 * through; what the model has and the host lacks makes cpu_model_usable() fail.
 *
 * Spec: SDM vol. 2 CPUID; KVM's paravirtual leaves 0x4000_0000, 0x4000_0001.
 * Tested by test/unit/cpuid.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_CPUID_H
#define CPU_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/state.h"
#include "host/fail.h"

struct cpu_model; /* cpu/cpuid.c */

struct cpuid_answer {
	uint32_t eax, ebx, ecx, edx;
};

struct cpuid_topology {
	uint32_t apic_id; /* of the vCPU that asks */
	uint32_t vcpus;
	uint64_t tsc_khz;
	bool kvm_services; /* KVM's for several vCPUs are there: vm.h */
	/* Leaf 7.2 shows BHI_CTRL: SPEC_CTRL.BHI_DIS_S answers branch history injection, for which
	 * a system that does not find it executes a hundred branches in each system call. */
	bool bhi_control;
};

/* NULL-terminated, default first. */
extern const struct cpu_model *const cpu_models[];
/* A number for saved machines: stable for ever. */
uint32_t cpu_model_id(const struct cpu_model *m);
const char *cpu_model_name(const struct cpu_model *m); /* "trapeze-v1" */
const struct cpu_model *cpu_model_find(const char *name); /* NULL: no such model */

uint32_t cpu_model_signature(const struct cpu_model *m); /* CPUID.1:EAX, and EDX after RESET */

/* Has this host every feature that the software engines execute natively? 0 or -ENOTSUP. */
int cpu_model_usable(const struct cpu_model *m, struct fail *why);

/* The same, of a processor that `host` describes: its CPUID, and (XCR0_LEAF) in EAX what its
 * system enabled in XCR0. */
typedef struct cpuid_answer (*host_cpuid_fn)(uint32_t leaf, uint32_t sub);
#define XCR0_LEAF 0xffffffffu
int cpu_model_usable_on(const struct cpu_model *m, host_cpuid_fn host, struct fail *why);
/* The first model that this host can run. NULL: none, and *why says what the first one needs. */
const struct cpu_model *cpu_model_best(struct fail *why);
const struct cpu_model *cpu_model_best_on(host_cpuid_fn host, struct fail *why);

/*
 * What the guest sees. `s` gives the dynamic bits (OSXSAVE, OSPKE, XCR0 size, the limit of
 * MISC_ENABLE). A leaf beyond the last basic, hypervisor or extended one answers as Intel's
 * processors do: with the data of the last basic leaf. A leaf or sub-leaf in between
 * that is not there reads zero.
 */
struct cpuid_answer cpuid_query(const struct cpu_model *m, const struct x86_state *s,
				const struct cpuid_topology *t, uint32_t leaf, uint32_t sub);

/* Frequency of the local APIC timer and of leaf 15H's crystal: one tick a nanosecond. */
#define APIC_TIMER_HZ 1000000000u

/* Bits that may be set; anything else is #GP. */
uint64_t cpu_model_cr4_mask(const struct cpu_model *m);
uint64_t cpu_model_efer_mask(const struct cpu_model *m);
uint64_t cpu_model_xcr0_mask(const struct cpu_model *m);
unsigned cpu_model_phys_bits(const struct cpu_model *m); /* MAXPHYADDR */

/* check.c: can a CPU of the model be in this state? 0, or -EINVAL and which combination it cannot
 * be in: what every engine's set_state() asks first. */
int x86_state_check(const struct cpu_model *m, const struct x86_state *s, struct fail *why);

/* One feature, for engines that must refuse an instruction the model lacks.
 * X(name, leaf, sub, register, bit): rows in cpu/features.h */
enum cpu_feature {
#define X(name, leaf, sub, reg, bit) FEATURE_##name,
#include "cpu/features.h"
#undef X
	FEATURE_COUNT
};
bool cpu_model_has(const struct cpu_model *m, enum cpu_feature f);

#endif
