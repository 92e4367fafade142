/*
 * check.c - is this architectural state one that a CPU of the model can be in?
 *
 * State comes from files and networks: hostile until proven. What passes here can be run without
 * any further doubt; what the guest can set to any value is not looked at.
 * The rules are those of a VM entry's guest-state checks.
 *
 * Spec: SDM vol. 3 27.3.1. Tested by test/unit/interp_run.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>

#include "cpu/cpuid.h"
#include "cpu/paging.h"

#define CR0_DEFINED                                                                                \
	((uint64_t)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |        \
		    CR0_NW | CR0_CD | CR0_PG))
#define RFLAGS_DEFINED                                                                             \
	((uint64_t)(FLAG_ARITH | FLAG_FIXED | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT |  \
		    FLAG_RF | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID))
#define MXCSR_DEFINED 0xffffu

/* The first rule that does not hold ends the check with its sentence. */
#define REQUIRE(condition, text)                                                                   \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return text;                                                               \
	} while (0)

static bool fits32(uint64_t v)
{
	return v >> 32 == 0;
}

static const char *check_control(const struct cpu_model *m, const struct x86_state *s)
{
	uint64_t phys = UINT64_C(1) << cpu_model_phys_bits(m);
	bool lma = s->efer & EFER_LMA, pg = s->cr0 & CR0_PG;

	REQUIRE(!(s->cr0 & ~CR0_DEFINED), "CR0 has reserved bits set");
	REQUIRE(!pg || s->cr0 & CR0_PE, "paging is on without protected mode");
	REQUIRE(!(s->cr0 & CR0_NW) || s->cr0 & CR0_CD, "CR0.NW is set without CR0.CD");
	REQUIRE(!(s->cr4 & ~cpu_model_cr4_mask(m)), "CR4 has bits that the CPU model lacks");
	REQUIRE(!(s->efer & ~(cpu_model_efer_mask(m) | EFER_LMA)),
		"EFER has bits that the CPU model lacks");
	REQUIRE(lma == (pg && s->efer & EFER_LME), "EFER.LMA does not follow from LME and paging");
	REQUIRE(!lma || s->cr4 & CR4_PAE, "long mode is active without PAE");
	REQUIRE(lma || !(s->cr4 & CR4_PCIDE), "CR4.PCIDE is set outside long mode");
	REQUIRE((s->cr3 & ~(UINT64_C(1) << 63)) < phys, "CR3 is beyond the physical addresses");
	REQUIRE(s->xcr0 & 1 && !(s->xcr0 & ~cpu_model_xcr0_mask(m)),
		"XCR0 is not possible on the CPU model");
	REQUIRE(!(s->xcr0 & 4) || s->xcr0 & 2, "XCR0 enables AVX without SSE");
	REQUIRE(fits32(s->dr6) && fits32(s->dr7), "DR6 or DR7 has reserved bits set");
	return NULL;
}

static const char *check_rflags(const struct x86_state *s)
{
	bool v86 = x86_v86(s);

	REQUIRE(s->rflags & FLAG_FIXED && !(s->rflags & ~RFLAGS_DEFINED),
		"RFLAGS has impossible bits");
	REQUIRE(!v86 || (s->cr0 & CR0_PE && !(s->efer & EFER_LMA)),
		"virtual-8086 mode needs protected mode and no long mode");
	if (x86_code64(s))
		REQUIRE(gva_canonical(s->rip), "RIP is not canonical");
	else
		REQUIRE(fits32(s->rip), "RIP does not fit outside 64-bit mode");
	return NULL;
}

static const char *check_code(const struct x86_state *s)
{
	const struct x86_seg *cs = &s->seg[CS];
	unsigned cpl = x86_cpl(s);

	REQUIRE(!(cs->attr & SEG_UNUSABLE) && cs->attr & SEG_S && cs->attr & SEG_P,
		"CS is not usable");
	if (x86_real_mode(s)) {
		REQUIRE(cpl == 0, "real mode runs at CPL 0");
		return NULL;
	}
	if (x86_v86(s)) {
		REQUIRE(cpl == 3, "virtual-8086 mode runs at CPL 3");
		return NULL;
	}
	/* Between MOV CR0 and the jump CS still is what real mode has. */
	REQUIRE(cs->attr & SEG_CODE || (SEG_TYPE(cs->attr) == 3 && cpl == 0),
		"CS is not a code segment");
	REQUIRE(!(x86_long_mode(s) && cs->attr & SEG_L && cs->attr & SEG_DB),
		"CS has both L and D set");
	if (cs->attr & SEG_DOWN)
		REQUIRE(SEG_DPL(cs->attr) <= cpl, "CS is conforming with a DPL above the CPL");
	else
		REQUIRE(SEG_DPL(cs->attr) == cpl, "CS and SS disagree about the CPL");
	return NULL;
}

static const char *check_segments(const struct x86_state *s)
{
	const struct x86_seg *tr = &s->tr;
	unsigned type = SEG_TYPE(tr->attr);

	for (unsigned n = 0; n < SEG_COUNT; n++) {
		const struct x86_seg *g = &s->seg[n];
		bool wide = n == FS || n == GS;

		REQUIRE(!(g->attr & ~0x1f0ffu), "a segment has reserved attribute bits set");
		REQUIRE(wide ? gva_canonical(g->base) : fits32(g->base),
			"a segment's base is out of range");
		if (n != CS && !(g->attr & SEG_UNUSABLE))
			REQUIRE(g->attr & SEG_S, "a data segment register holds a system segment");
		if (x86_v86(s))
			REQUIRE(g->base == (uint64_t)g->selector << 4 && g->limit == 0xffff,
				"a segment is not of virtual-8086 form");
	}
	if (!(s->seg[SS].attr & SEG_UNUSABLE) && !x86_real_mode(s))
		REQUIRE(!(s->seg[SS].attr & SEG_CODE), "SS is a code segment");
	REQUIRE(gva_canonical(tr->base) && gva_canonical(s->ldtr.base),
		"the base of TR or LDTR is not canonical");
	REQUIRE(tr->attr & SEG_UNUSABLE || (!(tr->attr & SEG_S) && (type & 5) == 1),
		"TR is not a TSS");
	REQUIRE(s->ldtr.attr & SEG_UNUSABLE ||
			(!(s->ldtr.attr & SEG_S) && SEG_TYPE(s->ldtr.attr) == 2),
		"LDTR is not a local descriptor table");
	REQUIRE(gva_canonical(s->gdtr.base) && gva_canonical(s->idtr.base),
		"the base of GDTR or IDTR is not canonical");
	return NULL;
}

static const char *check_msrs(const struct x86_state *s)
{
	REQUIRE(gva_canonical(s->lstar) && gva_canonical(s->cstar) &&
			gva_canonical(s->kernel_gs_base) && gva_canonical(s->sysenter_esp) &&
			gva_canonical(s->sysenter_eip),
		"an MSR that holds an address is not canonical");
	REQUIRE(fits32(s->fmask) && fits32(s->tsc_aux), "FMASK or TSC_AUX does not fit");
	for (unsigned n = 0; n < 8; n++) {
		unsigned type = s->pat >> (8 * n) & 0xff;

		REQUIRE(type <= 7 && type != 2 && type != 3, "PAT has an undefined memory type");
	}
	REQUIRE(!(s->fpu.mxcsr & ~MXCSR_DEFINED), "MXCSR has reserved bits set");
	return NULL;
}

static const char *check_activity(const struct x86_state *s)
{
	uint32_t with_error = 1u << VEC_DF | 1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS |
			      1u << VEC_GP | 1u << VEC_PF | 1u << VEC_AC;
	unsigned v = s->event_vector;

	REQUIRE(s->activity <= ACTIVITY_WAIT_SIPI, "the activity state is unknown");
	REQUIRE(!(s->shadow & ~(SHADOW_STI | SHADOW_MOVSS | 0xfu << SHADOW_DB_SHIFT)),
		"the interrupt shadow has unknown bits");
	REQUIRE(s->nmi_blocked <= 1 && s->nmi_pending <= 1 && s->event_pending <= 1 &&
			s->event_has_error <= 1 && s->event_external <= 1,
		"a flag is neither 0 nor 1");
	if (!s->event_pending)
		return NULL;
	if (s->event_external) {
		REQUIRE(!s->event_has_error, "an interrupt has no error code");
		return NULL;
	}
	REQUIRE(v < 32 && v != VEC_NMI, "the pending event is not an exception");
	REQUIRE(x86_real_mode(s) || s->event_has_error == (with_error >> v & 1),
		"the pending exception's error code does not fit its vector");
	return NULL;
}

int x86_state_check(const struct cpu_model *m, const struct x86_state *s, struct fail *why)
{
	const char *text = check_control(m, s);

	if (!text)
		text = check_rflags(s);
	if (!text)
		text = check_code(s);
	if (!text)
		text = check_segments(s);
	if (!text)
		text = check_msrs(s);
	if (!text)
		text = check_activity(s);
	if (text)
		return fail(why, -EINVAL, "CPU state: %s", text);
	return 0;
}
