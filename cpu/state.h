/*
 * state.h - the one architectural form of a virtual CPU.
 *
 * Everything that survives between two guest instructions is here and nowhere
 * else: an engine may work on its own copy, but between runs get_state() and
 * set_state() speak this. Snapshots, migration, the debugger and the
 * cross-engine tests see nothing else. cpu/state.c lists every member in one
 * field table (x86_state_fields): a member that is not in the table does not exist.
 *
 * Spec: Intel SDM vol. 1 ch. 3, vol. 3 ch. 2-4; AMD APM vol. 2 ch. 1-5.
 * Tested by test/unit/state.c.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CPU_STATE_H
#define CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/field.h"

/* Order is the encoding order of the instruction set. */
enum gpr {
	RAX,
	RCX,
	RDX,
	RBX,
	RSP,
	RBP,
	RSI,
	RDI,
	R8,
	R9,
	R10,
	R11,
	R12,
	R13,
	R14,
	R15,
	GPR_COUNT
};
enum seg { ES, CS, SS, DS, FS, GS, SEG_COUNT };

/*
 * attr holds bits 40-47 and 52-55 of the descriptor at bits 0-7 and 12-15 (the
 * "access rights" form of SDM 25.4.1), plus bit 16: unusable (null selector).
 */
struct x86_seg {
	uint64_t base;
	uint32_t limit; /* bytes, already scaled by G */
	uint32_t attr;
	uint16_t selector;
};

#define SEG_TYPE(attr) ((attr)&0xfu)
#define SEG_ACCESSED   (1u << 0)
#define SEG_WRITE      (1u << 1) /* data: writable; code: readable */
#define SEG_DOWN       (1u << 2) /* data: expand-down; code: conforming */
#define SEG_CODE       (1u << 3)
#define SEG_S          (1u << 4) /* 1: code or data; 0: system */
#define SEG_DPL(attr)  (((attr) >> 5) & 3u)
#define SEG_P          (1u << 7)
#define SEG_AVL        (1u << 12)
#define SEG_L          (1u << 13)
#define SEG_DB         (1u << 14)
#define SEG_G          (1u << 15)
#define SEG_UNUSABLE   (1u << 16)

struct x86_table { /* GDTR, IDTR */
	uint64_t base;
	uint16_t limit;
};

/* x87, SSE, AVX. st[] is in stack order as FXSAVE stores it: st[0] is ST(0). */
struct x86_fpu {
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged: bit n set = physical register n is not empty */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr;
	struct {
		uint64_t mant;
		uint64_t exp; /* low 16 bits: sign and exponent */
	} st[8];
	uint64_t ymm[16][4] __attribute__((aligned(32)));
};

enum x86_activity { ACTIVITY_RUN, ACTIVITY_HALT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI };

#define SHADOW_STI      1u /* the instruction after STI is still to run */
#define SHADOW_MOVSS    2u /* the instruction after MOV SS / POP SS is still to run */
#define SHADOW_DB_SHIFT 4  /* bits 4-7: DR6.B0-B3 that MOV SS held back (SDM vol. 3 6.8.3) */

#define MTRR_VAR_COUNT 8

struct x86_state {
	uint64_t gpr[GPR_COUNT];
	uint64_t rip;
	uint64_t rflags;

	struct x86_seg seg[SEG_COUNT];
	struct x86_seg ldtr, tr;
	struct x86_table gdtr, idtr;

	/* CR8 is the local APIC's task priority and is saved there. */
	uint64_t cr0, cr2, cr3, cr4, xcr0;
	uint64_t dr[4], dr6, dr7;
	uint64_t pdpte[4]; /* PAE paging: loaded with CR3, SDM vol. 3 4.4.1 */

	uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux, tsc_offset, tsc_adjust, misc_enable, debugctl, spec_ctrl;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[MTRR_VAR_COUNT],
		mtrr_mask[MTRR_VAR_COUNT];
	uint32_t pkru;

	struct x86_fpu fpu;

	/* Between two instructions. */
	uint8_t activity;    /* enum x86_activity */
	uint8_t shadow;      /* SHADOW_* */
	uint8_t nmi_blocked; /* until IRET */
	uint8_t nmi_pending;
	uint8_t event_pending; /* an exception to deliver before the next instruction, */
	uint8_t event_external; /* or an interrupt, acknowledged already; vector 2: an NMI */
	uint8_t event_vector;
	uint8_t event_has_error;
	uint32_t event_error;

	uint64_t instructions; /* retired since reset */
	uint64_t random_state; /* counted mode: where the sequence that RDRAND returns is */
};

/* Power-on and RESET values, SDM vol. 3 table 10-1. `bsp`: bootstrap processor. RDX is the
 * signature of the default CPU model. */
void x86_state_reset(struct x86_state *s, bool bsp);
/* INIT: as RESET, but x87, SSE and AVX registers, XCR0, PKRU, the MSRs except EFER, CR0.CD and
 * CR0.NW, and the instruction count stay. An application processor then waits for its SIPI. */
void x86_state_init(struct x86_state *s, bool bsp);

extern const struct field x86_state_fields[];

/* RFLAGS */
#define FLAG_CF    (1u << 0)
#define FLAG_FIXED (1u << 1)
#define FLAG_PF    (1u << 2)
#define FLAG_AF    (1u << 4)
#define FLAG_ZF    (1u << 6)
#define FLAG_SF    (1u << 7)
#define FLAG_TF    (1u << 8)
#define FLAG_IF    (1u << 9)
#define FLAG_DF    (1u << 10)
#define FLAG_OF    (1u << 11)
#define FLAG_IOPL  (3u << 12)
#define FLAG_NT    (1u << 14)
#define FLAG_RF    (1u << 16)
#define FLAG_VM    (1u << 17)
#define FLAG_AC    (1u << 18)
#define FLAG_VIF   (1u << 19)
#define FLAG_VIP   (1u << 20)
#define FLAG_ID    (1u << 21)
#define FLAG_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* Control registers */
#define CR0_PE (1u << 0)
#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)
#define CR0_PG (1u << 31)

#define CR4_VME        (1u << 0)
#define CR4_PVI        (1u << 1)
#define CR4_TSD        (1u << 2)
#define CR4_DE         (1u << 3)
#define CR4_PSE        (1u << 4)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_PCE        (1u << 8)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_LA57       (1u << 12)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_PCIDE      (1u << 17)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)
#define CR4_PKE        (1u << 22)

#define EFER_SCE (1u << 0)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NX  (1u << 11)

/* IA32_MISC_ENABLE, SDM vol. 4 2.1 */
#define MISC_ENABLE_FAST_STRINGS (UINT64_C(1) << 0)
#define MISC_ENABLE_NO_BTS       (UINT64_C(1) << 11) /* branch trace storage unavailable */
#define MISC_ENABLE_NO_PEBS      (UINT64_C(1) << 12)
#define MISC_ENABLE_LIMIT_CPUID  (UINT64_C(1) << 22) /* CPUID leaf 0 reports at most 2 */
#define MISC_ENABLE_RESET        (MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS)

/* Exception vectors, SDM vol. 3 6.3. */
enum vector {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XM = 19,
};

/* Page-fault error code, SDM vol. 3 4.7. */
#define PF_P  (1u << 0)
#define PF_W  (1u << 1)
#define PF_U  (1u << 2)
#define PF_R  (1u << 3)
#define PF_I  (1u << 4)
#define PF_PK (1u << 5)

/* Long mode active. */
static inline bool x86_long_mode(const struct x86_state *s)
{
	return s->efer & EFER_LMA;
}

/* 64-bit code segment running. */
static inline bool x86_code64(const struct x86_state *s)
{
	return (s->efer & EFER_LMA) && (s->seg[CS].attr & SEG_L);
}

/* Current privilege level: the DPL of SS (SDM vol. 3 25.4.1). v86 and real mode keep it at 3 and 0.
 */
static inline unsigned x86_cpl(const struct x86_state *s)
{
	return SEG_DPL(s->seg[SS].attr);
}

static inline bool x86_real_mode(const struct x86_state *s)
{
	return !(s->cr0 & CR0_PE);
}

static inline bool x86_v86(const struct x86_state *s)
{
	return s->rflags & FLAG_VM;
}

#endif
