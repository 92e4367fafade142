/*
 * msr.c - the model-specific registers that are plain CPU state.
 *
 * Most are a 64-bit member of struct x86_state and a rule for what may be written; those
 * are rows of one table. The rest have a line in a switch. What is in neither is
 * an unknown MSR, which is #GP, as operating systems that probe expect.
 *
 * Not modelled: machine-check banks (MCG_CAP says there are none), last-branch records
 * (DEBUGCTL.LBR is stored and records nothing), performance counters, the memory
 * types of PAT and MTRRs (checked and stored; all memory is coherent).
 *
 * Spec: SDM vol. 4 table 2-2; vol. 3 12.11 (MTRR), 12.12 (PAT). Tested by test/unit/msr.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/msr.h"

#include <stddef.h>

#include "cpu/paging.h"

#define MICROCODE_REVISION    UINT64_C(1)
#define FEATURE_CONTROL_LOCK  UINT64_C(1)
#define PRED_CMD_IBPB         UINT64_C(1)
#define SPEC_CTRL_IBRS        UINT64_C(1)
#define SPEC_CTRL_STIBP       UINT64_C(2) /* one thread a core: has no effect */
#define DEBUGCTL_LBR          UINT64_C(1)
#define DEBUGCTL_BTF          UINT64_C(2)
#define MTRR_DEF_TYPE_ENABLES (UINT64_C(3) << 10)
#define MTRR_VALID            (UINT64_C(1) << 11)

/* TM1, EIST, MONITOR, xTPR disable: parts of a processor that are not there. Writes are
 * ignored, since firmware and systems switch them without asking CPUID. */
#define MISC_ENABLE_IGNORED                                                                        \
	(UINT64_C(1) << 3 | UINT64_C(1) << 16 | UINT64_C(1) << 18 | UINT64_C(1) << 23)
#define MISC_ENABLE_WRITABLE  (MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_LIMIT_CPUID)
#define MISC_ENABLE_READ_ONLY (MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS | UINT64_C(1) << 7)

#define ARCH_CAPABILITIES_VALUE                                                                    \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_SKIP_L1DFL_VMENTRY | ARCH_CAP_SSB_NO |    \
	 ARCH_CAP_MDS_NO | ARCH_CAP_IF_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO |  \
	 ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO |              \
	 ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO | ARCH_CAP_ITS_NO)

typedef bool (*check_fn)(uint64_t value);

static bool any(uint64_t value)
{
	(void)value;
	return true;
}

static bool low_half(uint64_t value)
{
	return value <= UINT32_MAX;
}

static bool spec_ctrl(uint64_t value)
{
	return !(value & ~(SPEC_CTRL_IBRS | SPEC_CTRL_STIBP | SPEC_CTRL_BHI_DIS_S));
}

static bool debugctl(uint64_t value)
{
	return !(value & ~(DEBUGCTL_LBR | DEBUGCTL_BTF));
}

/* Is each byte of `value` a number whose bit is set in `types`? */
static bool bytes_among(uint64_t value, unsigned types)
{
	for (; value; value >>= 8)
		if ((value & 0xff) > 7 || !(types >> (value & 0xff) & 1))
			return false;
	return true; /* 0, uncacheable, is always valid */
}

static bool memory_type(uint64_t value) /* UC, WC, WT, WP, WB */
{
	return bytes_among(value, 1u << 0 | 1u << 1 | 1u << 4 | 1u << 5 | 1u << 6);
}

static bool pat(uint64_t value) /* those and UC- */
{
	return bytes_among(value, 1u << 0 | 1u << 1 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7);
}

static bool mtrr_def_type(uint64_t value)
{
	return !(value & ~(UINT64_C(0xff) | MTRR_DEF_TYPE_ENABLES)) && memory_type(value & 0xff);
}

/* X(MSR, member of struct x86_state, what may be written) */
#define PLAIN(X)                                                                                   \
	X(SPEC_CTRL, spec_ctrl, spec_ctrl)                                                         \
	X(SYSENTER_CS, sysenter_cs, any)                                                           \
	X(SYSENTER_ESP, sysenter_esp, gva_canonical)                                               \
	X(SYSENTER_EIP, sysenter_eip, gva_canonical)                                               \
	X(DEBUGCTL, debugctl, debugctl)                                                            \
	X(PAT, pat, pat)                                                                           \
	X(MTRR_DEF_TYPE, mtrr_def_type, mtrr_def_type)                                             \
	X(STAR, star, any)                                                                         \
	X(LSTAR, lstar, gva_canonical)                                                             \
	X(CSTAR, cstar, gva_canonical)                                                             \
	X(FMASK, fmask, low_half)                                                                  \
	X(FS_BASE, seg[FS].base, gva_canonical)                                                    \
	X(GS_BASE, seg[GS].base, gva_canonical)                                                    \
	X(KERNEL_GS_BASE, kernel_gs_base, gva_canonical)                                           \
	X(TSC_AUX, tsc_aux, low_half)

static const struct plain {
	uint32_t index, offset;
	check_fn check;
} plain[] = {
#define X(name, member, check) { MSR_##name, offsetof(struct x86_state, member), check },
	PLAIN(X)
#undef X
};

static const struct plain *find_plain(uint32_t index)
{
	for (unsigned i = 0; i < sizeof plain / sizeof plain[0]; i++)
		if (plain[i].index == index)
			return &plain[i];
	return NULL;
}

/* Which of mtrr_fixed[] this is; -1: none. */
static int fixed_range(uint32_t index)
{
	if (index == MSR_MTRR_FIX64K_00000)
		return 0;
	if (index == MSR_MTRR_FIX16K_80000 || index == MSR_MTRR_FIX16K_A0000)
		return 1 + (int)(index - MSR_MTRR_FIX16K_80000);
	if (index >= MSR_MTRR_FIX4K_C0000 && index <= MSR_MTRR_FIX4K_F8000)
		return 3 + (int)(index - MSR_MTRR_FIX4K_C0000);
	return -1;
}

static bool elsewhere(uint32_t index)
{
	switch (index) {
	case MSR_TSC:
	case MSR_APIC_BASE:
	case MSR_TSC_DEADLINE:
	case MSR_KVM_WALL_CLOCK_NEW:
	case MSR_KVM_SYSTEM_TIME_NEW:
	case MSR_KVM_STEAL_TIME: return true;
	default: return index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST;
	}
}

static bool is_variable(uint32_t index)
{
	return index >= MSR_MTRR_PHYSBASE0 && index <= MSR_MTRR_PHYSMASK7;
}

static uint64_t *variable_range(struct x86_state *s, uint32_t index)
{
	unsigned n = index - MSR_MTRR_PHYSBASE0;

	return n & 1 ? &s->mtrr_mask[n / 2] : &s->mtrr_base[n / 2];
}

/* The ones that are not a plain member. */
static enum msr_result read_other(const struct x86_state *s, uint32_t index, uint64_t *value)
{
	switch (index) {
	case MSR_PLATFORM_ID:
	case MSR_MCG_CAP: /* no banks */
	case MSR_MCG_STATUS: *value = 0; return MSR_OK;
	case MSR_FEATURE_CONTROL: *value = FEATURE_CONTROL_LOCK; return MSR_OK;
	case MSR_TSC_ADJUST: *value = s->tsc_adjust; return MSR_OK;
	case MSR_BIOS_SIGN_ID: *value = MICROCODE_REVISION << 32; return MSR_OK;
	case MSR_MTRRCAP: *value = MTRRCAP_VALUE; return MSR_OK;
	case MSR_ARCH_CAPABILITIES: *value = ARCH_CAPABILITIES_VALUE; return MSR_OK;
	case MSR_MISC_ENABLE: *value = s->misc_enable; return MSR_OK;
	case MSR_EFER: *value = s->efer; return MSR_OK;
	default: return MSR_GP;
	}
}

enum msr_result msr_read(const struct cpu_model *m, const struct x86_state *s, uint32_t index,
			 uint64_t *value)
{
	const struct plain *p = find_plain(index);

	(void)m;
	if (elsewhere(index))
		return MSR_ELSEWHERE;
	if (p)
		*value = *(const uint64_t *)((const uint8_t *)s + p->offset);
	else if (fixed_range(index) >= 0)
		*value = s->mtrr_fixed[fixed_range(index)];
	else if (is_variable(index))
		*value = *variable_range((struct x86_state *)s, index);
	else
		return read_other(s, index, value);
	return MSR_OK;
}

static enum msr_result write_efer(const struct cpu_model *m, struct x86_state *s, uint64_t value)
{
	if (value & ~cpu_model_efer_mask(m))
		return MSR_GP;
	if ((s->cr0 & CR0_PG) && ((value ^ s->efer) & EFER_LME))
		return MSR_GP;
	s->efer = (value & ~(uint64_t)EFER_LMA) | (s->efer & EFER_LMA);
	return MSR_OK;
}

static enum msr_result write_misc_enable(struct x86_state *s, uint64_t value)
{
	if (value & ~(MISC_ENABLE_WRITABLE | MISC_ENABLE_READ_ONLY | MISC_ENABLE_IGNORED))
		return MSR_GP;
	s->misc_enable = (s->misc_enable & ~MISC_ENABLE_WRITABLE) | (value & MISC_ENABLE_WRITABLE);
	return MSR_OK;
}

static enum msr_result write_variable(const struct cpu_model *m, struct x86_state *s,
				      uint32_t index, uint64_t value)
{
	bool mask = index & 1;
	uint64_t address = (UINT64_C(1) << cpu_model_phys_bits(m)) - PAGE_SIZE;

	if (value & ~(address | (mask ? MTRR_VALID : 0xff)))
		return MSR_GP;
	if (!mask && !memory_type(value & 0xff))
		return MSR_GP;
	*variable_range(s, index) = value;
	return MSR_OK;
}

static enum msr_result ok_if(bool valid)
{
	return valid ? MSR_OK : MSR_GP;
}

static enum msr_result write_other(const struct cpu_model *m, struct x86_state *s, uint32_t index,
				   uint64_t value)
{
	switch (index) {
	case MSR_EFER: return write_efer(m, s, value);
	case MSR_MISC_ENABLE: return write_misc_enable(s, value);
	case MSR_PRED_CMD: return ok_if(!(value & ~PRED_CMD_IBPB));
	case MSR_BIOS_SIGN_ID: return MSR_OK; /* systems write 0 before they read it */
	case MSR_MCG_STATUS: return ok_if(value == 0);
	case MSR_TSC_ADJUST: /* what is added here is added to the counter. SDM vol. 3 18.17.3 */
		s->tsc_offset += value - s->tsc_adjust;
		s->tsc_adjust = value;
		return MSR_OK;
	default: return MSR_GP; /* unknown, or read-only */
	}
}

enum msr_result msr_write(const struct cpu_model *m, struct x86_state *s, uint32_t index,
			  uint64_t value)
{
	const struct plain *p = find_plain(index);

	if (elsewhere(index))
		return MSR_ELSEWHERE;
	if (p) {
		if (!p->check(value))
			return MSR_GP;
		*(uint64_t *)((uint8_t *)s + p->offset) = value;
		return MSR_OK;
	}
	if (fixed_range(index) >= 0) {
		if (!memory_type(value))
			return MSR_GP;
		s->mtrr_fixed[fixed_range(index)] = value;
		return MSR_OK;
	}
	if (is_variable(index))
		return write_variable(m, s, index, value);
	return write_other(m, s, index, value);
}
