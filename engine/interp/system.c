/*
 * system.c - binds the privileged, sensitive and mode-changing instructions.
 *
 * A row says which handler; what the operand is (a control register's number, a segment,
 * a port in an immediate) is found by the few functions above the table.
 *
 * Tested by test/unit/decode.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

static enum seg seg_number(ZydisRegister reg)
{
	return (enum seg)(reg - ZYDIS_REGISTER_ES);
}
_Static_assert(ZYDIS_REGISTER_GS - ZYDIS_REGISTER_ES == GS, "segments are numbered as encoded");

static bool is_class(const ZydisDecodedOperand *o, ZydisRegisterClass wanted)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o->reg.value) == wanted;
}

static bool is_special(const ZydisDecodedOperand *o)
{
	return is_class(o, ZYDIS_REGCLASS_SEGMENT) || is_class(o, ZYDIS_REGCLASS_CONTROL) ||
	       is_class(o, ZYDIS_REGCLASS_DEBUG);
}

bool bind_is_system(const struct decoding *d)
{
	if (d->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return true;
	for (unsigned n = 0; n < d->zi.operand_count_visible; n++) {
		if (is_special(&d->op[n]))
			return true;
	}
	return false;
}

/* A general register in operand n, if it is one. */
static uint8_t gpr_operand(const struct decoding *d, unsigned n)
{
	const ZydisDecodedOperand *o = &d->op[n];

	return o->type == ZYDIS_OPERAND_TYPE_REGISTER ? bind_gpr(o->reg.value) : 0;
}

static bool bind_mov(const struct decoding *d, struct insn *i)
{
	bool to = is_special(&d->op[0]);
	const ZydisDecodedOperand *o = &d->op[to ? 0 : 1];

	i->a = gpr_operand(d, to ? 1 : 0);
	if (is_class(o, ZYDIS_REGCLASS_SEGMENT)) {
		i->op = (uint8_t)seg_number(o->reg.value);
		i->fn = to ? mov_to_seg : mov_from_seg;
		if (to && i->op == SS)
			bind_last(i);
		return !(to && i->op == CS);
	}
	i->osz = d->code_bits == 64 ? 8 : 4;
	bind_last(i);
	if (is_class(o, ZYDIS_REGCLASS_DEBUG)) {
		i->op = (uint8_t)(o->reg.value - ZYDIS_REGISTER_DR0);
		i->fn = to ? mov_to_dr : mov_from_dr;
		return i->op < 8;
	}
	i->op = (uint8_t)(o->reg.value - ZYDIS_REGISTER_CR0);
	i->fn = to ? mov_to_cr : mov_from_cr;
	return i->op == 0 || (i->op >= 2 && i->op <= 4) || i->op == 8;
}

static bool bind_push_pop(const struct decoding *d, struct insn *i)
{
	i->op = (uint8_t)seg_number(d->op[0].reg.value);
	if (d->zi.mnemonic == ZYDIS_MNEMONIC_PUSH) {
		i->fn = push_seg;
		return true;
	}
	i->fn = pop_seg;
	bind_last(i);
	return i->op != CS;
}

static bool bind_far(const struct decoding *d, struct insn *i)
{
	bind_last(i);
	if (d->op[0].type == ZYDIS_OPERAND_TYPE_POINTER)
		i->imm = (uint32_t)d->op[0].ptr.offset | (uint64_t)d->op[0].ptr.segment << 32;
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_JMP: i->fn = far_jmp; return true;
	case ZYDIS_MNEMONIC_CALL: i->fn = far_call; return true;
	case ZYDIS_MNEMONIC_RET: i->fn = far_ret; return true;
	default: return false;
	}
}

bool bind_system(const struct decoding *d, struct insn *i)
{
	if (d->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return bind_far(d, i);
	return d->zi.mnemonic == ZYDIS_MNEMONIC_MOV ? bind_mov(d, i) : bind_push_pop(d, i);
}

/* Operands: a, b general registers where there are some. */
static void operands(const struct decoding *d, struct insn *i)
{
	if (d->zi.operand_count_visible > 0)
		i->a = gpr_operand(d, 0);
	if (d->zi.operand_count_visible > 1)
		i->b = gpr_operand(d, 1);
}

static bool bind_far_pointer(const struct decoding *d, struct insn *i)
{
	static const struct {
		ZydisMnemonic mnemonic;
		enum seg seg;
	} loads[] = {
		{ZYDIS_MNEMONIC_LDS, DS},
		{ ZYDIS_MNEMONIC_LES, ES},
		{ ZYDIS_MNEMONIC_LSS, SS},
		{ ZYDIS_MNEMONIC_LFS, FS},
		{ ZYDIS_MNEMONIC_LGS, GS},
	};

	operands(d, i);
	i->fn = load_far_pointer;
	bind_last(i);
	for (unsigned n = 0; n < sizeof(loads) / sizeof(loads[0]); n++) {
		if (loads[n].mnemonic == d->zi.mnemonic)
			i->op = (uint8_t)loads[n].seg;
	}
	return i->flags & INSN_MEM;
}

static bool bind_base(const struct decoding *d, struct insn *i)
{
	ZydisMnemonic m = d->zi.mnemonic;

	operands(d, i);
	i->osz = (uint8_t)(d->op[0].size / 8); /* 66 has no say */
	i->op = m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_WRFSBASE ? FS : GS;
	i->fn = m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_RDGSBASE ? rdfsgsbase :
									       wrfsgsbase;
	return true;
}

/* The size is that of the accumulator or the string element; the port DX or an immediate. */
static bool bind_port(const struct decoding *d, struct insn *i)
{
	bool in = d->zi.mnemonic == ZYDIS_MNEMONIC_IN;

	i->osz = (uint8_t)(d->op[in ? 0 : 1].size / 8);
	i->op = d->op[in ? 1 : 0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
	i->fn = in ? port_in : port_out;
	bind_last(i);
	return true;
}

static bool bind_port_string(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_INSB: i->osz = 1, i->fn = port_ins; break;
	case ZYDIS_MNEMONIC_INSW: i->osz = 2, i->fn = port_ins; break;
	case ZYDIS_MNEMONIC_INSD: i->osz = 4, i->fn = port_ins; break;
	case ZYDIS_MNEMONIC_OUTSB: i->osz = 1, i->fn = port_outs; break;
	case ZYDIS_MNEMONIC_OUTSW: i->osz = 2, i->fn = port_outs; break;
	default: i->osz = 4, i->fn = port_outs; break;
	}
	bind_last(i);
	return true;
}

/* X(mnemonic, handler, feature needed, ends its block) */
#define NEEDS(f) (FEATURE_##f + 1)
#define ROWS(X)                                                                                    \
	X(INT, int_n, 0, true)                                                                     \
	X(INT3, int_3, 0, true)                                                                    \
	X(INTO, int_o, 0, true)                                                                    \
	X(INT1, int_1, 0, true)                                                                    \
	X(IRET, iret, 0, true)                                                                     \
	X(IRETD, iret, 0, true)                                                                    \
	X(IRETQ, iret, 0, true)                                                                    \
	X(SYSCALL, syscall64, NEEDS(SYSCALL), true)                                                \
	X(SYSRET, sysret, NEEDS(SYSCALL), true)                                                    \
	X(SYSENTER, sysenter, NEEDS(SEP), true)                                                    \
	X(SYSEXIT, sysexit, NEEDS(SEP), true)                                                      \
	X(SWAPGS, swapgs, 0, false)                                                                \
	X(LMSW, lmsw, 0, true)                                                                     \
	X(SMSW, smsw, 0, false)                                                                    \
	X(CLTS, clts, 0, false)                                                                    \
	X(XSETBV, xsetbv, NEEDS(XSAVE), true)                                                      \
	X(XGETBV, xgetbv, NEEDS(XSAVE), false)                                                     \
	X(RDPKRU, rdpkru, NEEDS(PKU), false)                                                       \
	X(WRPKRU, wrpkru, NEEDS(PKU), false)                                                       \
	X(INVLPG, invlpg, 0, true)                                                                 \
	X(INVPCID, invpcid, NEEDS(INVPCID), true)                                                  \
	X(WBINVD, wbinvd, 0, false)                                                                \
	X(INVD, wbinvd, 0, false)                                                                  \
	X(CLI, cli, 0, false)                                                                      \
	X(STI, sti, 0, false)                                                                      \
	X(CLAC, clac, NEEDS(SMAP), false)                                                          \
	X(STAC, stac, NEEDS(SMAP), false)                                                          \
	X(PUSHF, pushf, 0, false)                                                                  \
	X(PUSHFD, pushf, 0, false)                                                                 \
	X(PUSHFQ, pushf, 0, false)                                                                 \
	X(POPF, popf, 0, true)                                                                     \
	X(POPFD, popf, 0, true)                                                                    \
	X(POPFQ, popf, 0, true)                                                                    \
	X(LGDT, lgdt, 0, false)                                                                    \
	X(LIDT, lidt, 0, false)                                                                    \
	X(SGDT, sgdt, 0, false)                                                                    \
	X(SIDT, sidt, 0, false)                                                                    \
	X(LLDT, lldt, 0, false)                                                                    \
	X(SLDT, sldt, 0, false)                                                                    \
	X(LTR, ltr, 0, false)                                                                      \
	X(STR, str, 0, false)                                                                      \
	X(LAR, lar, 0, false)                                                                      \
	X(LSL, lsl, 0, false)                                                                      \
	X(VERR, verr, 0, false)                                                                    \
	X(VERW, verw, 0, false)                                                                    \
	X(ARPL, arpl, 0, false)                                                                    \
	X(CPUID, cpuid, 0, false)                                                                  \
	X(RDMSR, rdmsr, NEEDS(MSR), false)                                                         \
	X(WRMSR, wrmsr, NEEDS(MSR), true)                                                          \
	X(RDTSC, rdtsc, NEEDS(TSC), false)                                                         \
	X(RDTSCP, rdtscp, NEEDS(RDTSCP), false)                                                    \
	X(RDPMC, rdpmc, 0, false)                                                                  \
	X(VMCALL, vmcall, 0, true)                                                                 \
	X(VMMCALL, vmcall, 0, true)                                                                \
	X(HLT, hlt, 0, true)                                                                       \
	X(MONITOR, monitor, 0, false)                                                              \
	X(MWAIT, mwait, 0, true)

#define X(mnemonic, handler, feature, last)                                                        \
	static bool bind_##mnemonic(const struct decoding *d, struct insn *i)                      \
	{                                                                                          \
		operands(d, i);                                                                    \
		i->fn = handler;                                                                   \
		if (last)                                                                          \
			bind_last(i);                                                              \
		return true;                                                                       \
	}
ROWS(X)
#undef X

const struct bind_row interp_binds_system[] = {
#define X(mnemonic, handler, feature, last) { ZYDIS_MNEMONIC_##mnemonic, bind_##mnemonic, feature },
	ROWS(X)
#undef X
	{ ZYDIS_MNEMONIC_LDS, bind_far_pointer, 0 },
	{ ZYDIS_MNEMONIC_LES, bind_far_pointer, 0 },
	{ ZYDIS_MNEMONIC_LSS, bind_far_pointer, 0 },
	{ ZYDIS_MNEMONIC_LFS, bind_far_pointer, 0 },
	{ ZYDIS_MNEMONIC_LGS, bind_far_pointer, 0 },
	{ ZYDIS_MNEMONIC_RDFSBASE, bind_base, NEEDS(FSGSBASE) },
	{ ZYDIS_MNEMONIC_RDGSBASE, bind_base, NEEDS(FSGSBASE) },
	{ ZYDIS_MNEMONIC_WRFSBASE, bind_base, NEEDS(FSGSBASE) },
	{ ZYDIS_MNEMONIC_WRGSBASE, bind_base, NEEDS(FSGSBASE) },
	{ ZYDIS_MNEMONIC_IN, bind_port, 0 },
	{ ZYDIS_MNEMONIC_OUT, bind_port, 0 },
	{ ZYDIS_MNEMONIC_INSB, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_INSW, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_INSD, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_OUTSB, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_OUTSW, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_OUTSD, bind_port_string, 0 },
	{ ZYDIS_MNEMONIC_INVALID, NULL, 0 },
};
