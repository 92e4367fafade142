/*
 * state.c - the CPU's field table, and its values after RESET and INIT.
 *
 * The table is the file format of a saved processor: a name, once released, keeps
 * its meaning for ever; a new member gets a new row with the next version.
 *
 * Not modelled: the built-in self-test (EAX is 0 after RESET).
 *
 * Spec: SDM vol. 3 10.1.1 (table 10-1, 9-1 in older editions). Tested by test/unit/state.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/state.h"

#include <string.h>

#include "cpu/cpuid.h"

#define DATA_RW (SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED)

/* X(name in the file, member) */
#define SEGMENTS(X)                                                                                \
	X("es", seg[ES])                                                                           \
	X("cs", seg[CS])                                                                           \
	X("ss", seg[SS])                                                                           \
	X("ds", seg[DS])                                                                           \
	X("fs", seg[FS])                                                                           \
	X("gs", seg[GS])                                                                           \
	X("ldtr", ldtr)                                                                            \
	X("tr", tr)

#define ROW(name, member)                                                                          \
	{                                                                                          \
		name, offsetof(struct x86_state, member), 1, FIELD_MEMBER_SIZE(x86_state, member), \
			1, FIELD_MEMBER_SIZE(x86_state, member), 0                                 \
	}

const struct field x86_state_fields[] = {
	FIELD_ARRAY(x86_state, gpr, 1),
	FIELD(x86_state, rip, 1),
	FIELD(x86_state, rflags, 1),
#define X(name, member)                                                                            \
	ROW(name ".base", member.base), ROW(name ".limit", member.limit),                          \
		ROW(name ".attr", member.attr), ROW(name ".selector", member.selector),
	SEGMENTS(X)
#undef X
		FIELD(x86_state, gdtr.base, 1),
	FIELD(x86_state, gdtr.limit, 1),
	FIELD(x86_state, idtr.base, 1),
	FIELD(x86_state, idtr.limit, 1),
	FIELD(x86_state, cr0, 1),
	FIELD(x86_state, cr2, 1),
	FIELD(x86_state, cr3, 1),
	FIELD(x86_state, cr4, 1),
	FIELD(x86_state, xcr0, 1),
	FIELD_ARRAY(x86_state, dr, 1),
	FIELD(x86_state, dr6, 1),
	FIELD(x86_state, dr7, 1),
	FIELD_ARRAY(x86_state, pdpte, 1),
	FIELD(x86_state, efer, 1),
	FIELD(x86_state, star, 1),
	FIELD(x86_state, lstar, 1),
	FIELD(x86_state, cstar, 1),
	FIELD(x86_state, fmask, 1),
	FIELD(x86_state, kernel_gs_base, 1),
	FIELD(x86_state, sysenter_cs, 1),
	FIELD(x86_state, sysenter_esp, 1),
	FIELD(x86_state, sysenter_eip, 1),
	FIELD(x86_state, pat, 1),
	FIELD(x86_state, tsc_aux, 1),
	FIELD(x86_state, tsc_offset, 1),
	FIELD(x86_state, tsc_adjust, 1),
	FIELD(x86_state, misc_enable, 1),
	FIELD(x86_state, debugctl, 1),
	FIELD(x86_state, spec_ctrl, 1),
	FIELD(x86_state, mtrr_def_type, 1),
	FIELD_ARRAY(x86_state, mtrr_fixed, 1),
	FIELD_ARRAY(x86_state, mtrr_base, 1),
	FIELD_ARRAY(x86_state, mtrr_mask, 1),
	FIELD(x86_state, pkru, 1),
	FIELD(x86_state, fpu.fcw, 1),
	FIELD(x86_state, fpu.fsw, 1),
	FIELD(x86_state, fpu.ftw, 1),
	FIELD(x86_state, fpu.fop, 1),
	FIELD(x86_state, fpu.fip, 1),
	FIELD(x86_state, fpu.fdp, 1),
	FIELD(x86_state, fpu.mxcsr, 1),
	FIELD_EACH(x86_state, fpu.st, mant, 1),
	FIELD_EACH(x86_state, fpu.st, exp, 1),
	{ "fpu.ymm", offsetof(struct x86_state, fpu.ymm), 16 * 4, 8, 1, 8, 0 },
	FIELD(x86_state, activity, 1),
	FIELD(x86_state, shadow, 1),
	FIELD(x86_state, nmi_blocked, 1),
	FIELD(x86_state, nmi_pending, 1),
	FIELD(x86_state, event_pending, 1),
	FIELD(x86_state, event_external, 2),
	FIELD(x86_state, event_vector, 1),
	FIELD(x86_state, event_has_error, 1),
	FIELD(x86_state, event_error, 1),
	FIELD(x86_state, instructions, 1),
	FIELD(x86_state, random_state, 1),
	FIELD_END,
};

static void reset_segments(struct x86_state *s)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s->seg[i] = (struct x86_seg){ .limit = 0xffff, .attr = DATA_RW };
	s->seg[CS].selector = 0xf000;
	s->seg[CS].base = 0xffff0000;
	s->gdtr = s->idtr = (struct x86_table){ .limit = 0xffff };
	s->ldtr = (struct x86_seg){ .limit = 0xffff, .attr = SEG_P | 2 }; /* LDT */
	s->tr = (struct x86_seg){ .limit = 0xffff, .attr = SEG_P | 11 };  /* busy 32-bit TSS */
}

/* What RESET and INIT have in common. */
static void reset_common(struct x86_state *s, bool bsp)
{
	memset(s->gpr, 0, sizeof s->gpr);
	s->gpr[RDX] = cpu_model_signature(cpu_models[0]);
	s->rip = 0xfff0;
	s->rflags = FLAG_FIXED;
	reset_segments(s);
	s->cr0 = CR0_ET | (s->cr0 & (CR0_CD | CR0_NW));
	s->cr2 = s->cr3 = s->cr4 = 0;
	memset(s->pdpte, 0, sizeof s->pdpte);
	memset(s->dr, 0, sizeof s->dr);
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->efer = 0;
	s->activity = bsp ? ACTIVITY_RUN : ACTIVITY_WAIT_SIPI;
	s->shadow = s->nmi_blocked = s->nmi_pending = 0;
	s->event_pending = s->event_external = s->event_vector = s->event_has_error = 0;
	s->event_error = 0;
}

void x86_state_reset(struct x86_state *s, bool bsp)
{
	memset(s, 0, sizeof *s);
	s->cr0 = CR0_CD | CR0_NW;
	reset_common(s, bsp);
	s->xcr0 = 1;
	s->pat = UINT64_C(0x0007040600070406);
	s->misc_enable = MISC_ENABLE_RESET;
	s->fpu.fcw = 0x40;
	s->fpu.ftw = 0xff; /* every tag "zero", so none is empty */
	s->fpu.mxcsr = 0x1f80;
}

void x86_state_init(struct x86_state *s, bool bsp)
{
	reset_common(s, bsp);
}
