/*
 * syscall.c - the fast ways between user and system, and the segment bases that go with them.
 *
 * SYSCALL and SYSENTER read no descriptor: CS and SS get fixed contents, and the stack is
 * the handler's own business.
 *
 * Intel's behaviour: SYSCALL and SYSRET exist in 64-bit mode only; SYSRET to a non-canonical
 * address faults at CPL 0. Not modelled: shadow stacks.
 *
 * Spec: SDM vol. 2 SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, RDFSBASE. Tested by
 * test/unit/system.c, test/unit/sysenter.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

#define FLAT_CODE  (SEG_ACCESSED | SEG_WRITE | SEG_CODE | SEG_S | SEG_P | SEG_G)
#define FLAT_DATA  (SEG_ACCESSED | SEG_WRITE | SEG_S | SEG_P | SEG_G | SEG_DB)
#define DPL(level) ((uint32_t)(level) << 5)
#define DR6_BS     UINT64_C(0x4000)

static void flat_pair(struct x86_seg pair[2], unsigned cs, unsigned ss, unsigned cpl, bool code64)
{
	pair[0] = (struct x86_seg){
		.limit = 0xffffffff,
		.attr = FLAT_CODE | DPL(cpl) | (code64 ? SEG_L : SEG_DB),
		.selector = (uint16_t)cs,
	};
	pair[1] = (struct x86_seg){
		.limit = 0xffffffff,
		.attr = FLAT_DATA | DPL(cpl),
		.selector = (uint16_t)ss,
	};
}

static void load_pair(struct interp *c, const struct x86_seg pair[2])
{
	c->s.seg[CS] = pair[0];
	c->s.seg[SS] = pair[1];
}

static void flat_segments(struct interp *c, unsigned cs, unsigned ss, unsigned cpl, bool code64)
{
	struct x86_seg pair[2];

	flat_pair(pair, cs, ss, cpl, code64);
	load_pair(c, pair);
}

void syscall_segments(const struct x86_state *s, struct x86_seg pair[2])
{
	unsigned star = (uint16_t)(s->star >> 32);

	flat_pair(pair, star & 0xfffc, star + 8, 0, true);
}

void sysret_segments(const struct x86_state *s, bool wide, struct x86_seg pair[2])
{
	unsigned star = (s->star >> 48) & 0xffff;

	flat_pair(pair, (star + (wide ? 16 : 0)) | 3, (star + 8) | 3, 3, wide);
}

enum step syscall64(struct interp *c, const struct insn *i)
{
	struct x86_seg pair[2];

	if (c->code_bits != 64 || !(c->s.efer & EFER_SCE))
		return raise_ud(c);
	c->r[RCX] = rip_after(c, i);
	c->r[R11] = interp_rflags(c) & ~(uint64_t)FLAG_RF;
	c->s.rflags = (c->r[R11] & ~(c->s.fmask & 0xffffffff)) | FLAG_FIXED;
	interp_set_arith(c, c->s.rflags);
	syscall_segments(&c->s, pair);
	load_pair(c, pair);
	c->stepping &= c->s.rflags >> 8 & 1; /* TF counts as FMASK left it */
	c->r[R_RIP] = c->s.lstar;
	interp_mode_changed(c);
	return STEP_JUMP;
}

enum step sysret(struct interp *c, const struct insn *i)
{
	struct x86_seg pair[2];
	bool wide = i->osz == 8;

	if (c->code_bits != 64 || !(c->s.efer & EFER_SCE))
		return raise_ud(c);
	if (c->cpl != 0 || (wide && !gva_canonical(c->r[RCX])))
		return raise_gp(c, 0);
	if (c->r[R11] & FLAG_TF) /* traps as if SYSCALL had just completed */
		debug_pend(c, DR6_BS);
	c->stepping = false;
	c->s.rflags = (c->r[R11] & SYSRET_KEPT) | FLAG_FIXED;
	interp_set_arith(c, c->s.rflags);
	sysret_segments(&c->s, wide, pair);
	load_pair(c, pair);
	c->r[R_RIP] = wide ? c->r[RCX] : (uint32_t)c->r[RCX];
	interp_mode_changed(c);
	return STEP_JUMP;
}

enum step sysenter(struct interp *c, const struct insn *i)
{
	unsigned cs = c->s.sysenter_cs & 0xfffc;
	bool lm = x86_long_mode(&c->s);

	(void)i;
	if (x86_real_mode(&c->s) || cs == 0)
		return raise_gp(c, 0);
	c->s.rflags &= ~(uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF);
	flat_segments(c, cs, cs + 8, 0, lm);
	c->r[RSP] = lm ? c->s.sysenter_esp : (uint32_t)c->s.sysenter_esp;
	c->r[R_RIP] = lm ? c->s.sysenter_eip : (uint32_t)c->s.sysenter_eip;
	interp_mode_changed(c);
	return STEP_JUMP;
}

enum step sysexit(struct interp *c, const struct insn *i)
{
	unsigned base = c->s.sysenter_cs & 0xfffc;
	bool wide = i->osz == 8;
	unsigned cs = base + (wide ? 32 : 16);

	if (x86_real_mode(&c->s) || c->cpl != 0 || base == 0)
		return raise_gp(c, 0);
	if (wide && (!gva_canonical(c->r[RCX]) || !gva_canonical(c->r[RDX])))
		return raise_gp(c, 0);
	flat_segments(c, cs | 3, (cs + 8) | 3, 3, wide);
	c->r[RSP] = wide ? c->r[RCX] : (uint32_t)c->r[RCX];
	c->r[R_RIP] = wide ? c->r[RDX] : (uint32_t)c->r[RDX];
	interp_mode_changed(c);
	return STEP_JUMP;
}

enum step swapgs(struct interp *c, const struct insn *i)
{
	uint64_t base = c->s.seg[GS].base;

	(void)i;
	if (c->code_bits != 64)
		return raise_ud(c);
	if (c->cpl != 0)
		return raise_gp(c, 0);
	c->s.seg[GS].base = c->s.kernel_gs_base;
	c->s.kernel_gs_base = base;
	return STEP_NEXT;
}

/* op: FS or GS */
enum step rdfsgsbase(struct interp *c, const struct insn *i)
{
	if (c->code_bits != 64 || !(c->s.cr4 & CR4_FSGSBASE))
		return raise_ud(c);
	set_reg(c, i->a, i->osz, c->s.seg[i->op].base);
	return STEP_NEXT;
}

enum step wrfsgsbase(struct interp *c, const struct insn *i)
{
	uint64_t base = get_reg(c, i->a, i->osz);

	if (c->code_bits != 64 || !(c->s.cr4 & CR4_FSGSBASE))
		return raise_ud(c);
	if (!gva_canonical(base))
		return raise_gp(c, 0);
	c->s.seg[i->op].base = base;
	return STEP_NEXT;
}
