/*
 * msr.h - model-specific registers that are plain CPU state.
 *
 * The local APIC's, and the paravirtual ones, belong to the machine: msr_read
 * and msr_write answer MSR_ELSEWHERE for those and the machine asks their owner; for the TSC
 * the engine calls vcpu_tsc() and vcpu_set_tsc() (machine/vm.h).
 *
 * Spec: SDM vol. 4 ch. 2. Tested by test/unit/msr.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_MSR_H
#define CPU_MSR_H

#include "cpu/cpuid.h"
#include "cpu/state.h"

enum msr_result {
	MSR_OK,
	MSR_GP,        /* #GP(0): unknown, reserved bits, non-canonical */
	MSR_ELSEWHERE, /* local APIC, TSC, paravirtual: the machine's */
};

/* X(NAME, index): the architectural names */
#define MSRS(X)                                                                                    \
	X(TSC, 0x10)                                                                               \
	X(APIC_BASE, 0x1b)                                                                         \
	X(PLATFORM_ID, 0x17)                                                                       \
	X(FEATURE_CONTROL, 0x3a)                                                                   \
	X(TSC_ADJUST, 0x3b)                                                                        \
	X(SPEC_CTRL, 0x48)                                                                         \
	X(PRED_CMD, 0x49)                                                                          \
	X(BIOS_SIGN_ID, 0x8b)                                                                      \
	X(MTRRCAP, 0xfe)                                                                           \
	X(ARCH_CAPABILITIES, 0x10a)                                                                \
	X(SYSENTER_CS, 0x174)                                                                      \
	X(SYSENTER_ESP, 0x175)                                                                     \
	X(SYSENTER_EIP, 0x176)                                                                     \
	X(MCG_CAP, 0x179)                                                                          \
	X(MCG_STATUS, 0x17a)                                                                       \
	X(MISC_ENABLE, 0x1a0)                                                                      \
	X(DEBUGCTL, 0x1d9)                                                                         \
	X(MTRR_PHYSBASE0, 0x200)                                                                   \
	X(MTRR_PHYSMASK7, 0x20f)                                                                   \
	X(MTRR_FIX64K_00000, 0x250)                                                                \
	X(MTRR_FIX16K_80000, 0x258)                                                                \
	X(MTRR_FIX16K_A0000, 0x259)                                                                \
	X(MTRR_FIX4K_C0000, 0x268)                                                                 \
	X(MTRR_FIX4K_F8000, 0x26f)                                                                 \
	X(PAT, 0x277)                                                                              \
	X(MTRR_DEF_TYPE, 0x2ff)                                                                    \
	X(TSC_DEADLINE, 0x6e0)                                                                     \
	X(X2APIC_FIRST, 0x800)                                                                     \
	X(X2APIC_LAST, 0x8ff)                                                                      \
	X(KVM_WALL_CLOCK_NEW, 0x4b564d00)                                                          \
	X(KVM_SYSTEM_TIME_NEW, 0x4b564d01)                                                         \
	X(KVM_STEAL_TIME, 0x4b564d03)                                                              \
	X(EFER, 0xc0000080)                                                                        \
	X(STAR, 0xc0000081)                                                                        \
	X(LSTAR, 0xc0000082)                                                                       \
	X(CSTAR, 0xc0000083)                                                                       \
	X(FMASK, 0xc0000084)                                                                       \
	X(FS_BASE, 0xc0000100)                                                                     \
	X(GS_BASE, 0xc0000101)                                                                     \
	X(KERNEL_GS_BASE, 0xc0000102)                                                              \
	X(TSC_AUX, 0xc0000103)

/* IA32_ARCH_CAPABILITIES: what the processor is immune to. SDM vol. 4 table 2-2 */
#define ARCH_CAP_RDCL_NO            (UINT64_C(1) << 0)
#define ARCH_CAP_IBRS_ALL           (UINT64_C(1) << 1)
#define ARCH_CAP_SKIP_L1DFL_VMENTRY (UINT64_C(1) << 3)
#define ARCH_CAP_SSB_NO             (UINT64_C(1) << 4)
#define ARCH_CAP_MDS_NO             (UINT64_C(1) << 5)
#define ARCH_CAP_IF_PSCHANGE_MC_NO  (UINT64_C(1) << 6)
#define ARCH_CAP_TAA_NO             (UINT64_C(1) << 8)
#define ARCH_CAP_SBDR_SSDP_NO       (UINT64_C(1) << 13)
#define ARCH_CAP_FBSDP_NO           (UINT64_C(1) << 14)
#define ARCH_CAP_PSDP_NO            (UINT64_C(1) << 15)
#define ARCH_CAP_BHI_NO             (UINT64_C(1) << 20)
#define ARCH_CAP_PBRSB_NO           (UINT64_C(1) << 24)
#define ARCH_CAP_GDS_NO             (UINT64_C(1) << 26)
#define ARCH_CAP_RFDS_NO            (UINT64_C(1) << 27)
#define ARCH_CAP_ITS_NO             (UINT64_C(1) << 62)

#define SPEC_CTRL_BHI_DIS_S (UINT64_C(1) << 10) /* see struct cpuid_topology */

enum msr {
#define X(name, index) MSR_##name = index,
	MSRS(X)
#undef X
};

/* MTRRCAP: 8 variable ranges, fixed ranges, write-combining. */
#define MTRRCAP_VALUE ((UINT64_C(1) << 10) | (UINT64_C(1) << 8) | MTRR_VAR_COUNT)

enum msr_result msr_read(const struct cpu_model *m, const struct x86_state *s, uint32_t index,
			 uint64_t *value);
/* Checks everything before changing anything. An engine re-derives its mode after MSR_OK, and
 * calls vcpu_tsc_moved() when s->tsc_offset changed (TSC_ADJUST). */
enum msr_result msr_write(const struct cpu_model *m, struct x86_state *s, uint32_t index,
			  uint64_t value);

#endif
