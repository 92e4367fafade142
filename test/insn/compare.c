/*
 * compare.c - are two outcomes the same, and a case in print.
 *
 * Everything is compared, what the manuals leave undefined too. What may differ is masked in
 * known() below, each with its reason.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "test/insn/insn.h"

/* Of several accesses to one operand, which is made first is the processor's business; and so
 * is then which byte of the page that is missing CR2 tells. */
static bool many_accesses(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64: return true;
	default: return false;
	}
}

/* The architecture leaves to the processor which bytes it looks at before it applies the mask. */
static bool masked_move(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
	case ZYDIS_MNEMONIC_VGATHERDPD:
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VGATHERQPD:
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
	case ZYDIS_MNEMONIC_VPGATHERQD:
	case ZYDIS_MNEMONIC_VPGATHERQQ: return true;
	default: return false;
	}
}

static bool repeated_store(const struct insn_case *c)
{
	switch (c->mnemonic) {
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ: return true;
	default: return false;
	}
}

/* x87 operands of ten bytes (among others): two accesses. */
static bool ten_bytes(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_FLD || m == ZYDIS_MNEMONIC_FSTP || m == ZYDIS_MNEMONIC_FBLD ||
	       m == ZYDIS_MNEMONIC_FBSTP;
}

bool peculiar(ZydisMnemonic m)
{
	struct insn_case c = { .mnemonic = m };

	return many_accesses(m) || masked_move(m) || repeated_store(&c) ||
	       m == ZYDIS_MNEMONIC_FSTP || m == ZYDIS_MNEMONIC_FBSTP || m == ZYDIS_MNEMONIC_CALL;
}

/* Has the guest missed a page where the native side lives? Or has it come to an instruction that
 * the CPU model lacks or that Linux emulates, or asked what the machine is? That in a block, after
 * a store onto it or a jump into the middle of another. */
bool at_skipped(const struct insn_case *c, const struct outcome *g)
{
	struct encoding e;

	if (g->how != HOW_EXCEPTION)
		return false;
	if (g->vector == VEC_PF && g->cr2 >= HOME_AT && g->cr2 < HOME_END)
		return true;
	if (c->count == 1)
		return false;
	if (g->asked)
		return true;
	memcpy(e.byte, g->code, INSN_BYTES);
	decode_bytes(c->bits, &e, INSN_BYTES);
	return (g->vector == VEC_GP || g->vector == VEC_UD) &&
	       generate_skip(&e, c->bits) != SKIP_NONE;
}

/* A whole case whose outcome depends on the processor. */
static bool unspecified(const struct insn_case *c, const struct outcome *n, const struct outcome *g)
{
	bool at_end = c->patch[0].at + INSN_BYTES > CODE_AT + CODE_BYTES;

	/* An undefined opcode that goes on behind the last page, or the limit: whether it is
	 * found undefined before the rest is missed depends on the opcode. */
	if (!c->mnemonic && at_end && (g->vector == VEC_UD || n->vector == VEC_UD))
		return true;
	/* The page from which cases are entered natively: the guest does not have it. */
	if (g->vector == VEC_PF && (uint32_t)g->cr2 - ENTRY_AT < PAGE_BYTES)
		return true;
	/* A rep that overwrites itself: how many elements are one piece. */
	if (repeated_store(c) && n->changed && n->diff[0].at < DATA_AT)
		return true;
	/* Linux has a data segment there, whose limit is the number of the CPU. */
	if (g->vector == VEC_GP && g->error == 0x78)
		return true;
	/* Several accesses: which of two different faults is met first. Alignment checks of
	 * what is masked. */
	if (many_accesses(c->mnemonic) || masked_move(c->mnemonic))
		return n->vector != g->vector || n->out.rip != g->out.rip;
	if (c->mnemonic == ZYDIS_MNEMONIC_CALL && g->vector == VEC_GP)
		return n->vector == VEC_PF || n->vector == VEC_SS;
	if (ten_bytes(c->mnemonic))
		return n->vector == VEC_PF && (g->vector == VEC_GP || g->vector == VEC_SS);
	return false;
}

/* Takes out of a pair of outcomes what is known to differ and is no mistake. */
static void known(const struct insn_case *c, struct outcome *native, struct outcome *guest)
{
	bool apart = many_accesses(c->mnemonic) || masked_move(c->mnemonic);

	if (apart && native->vector == VEC_PF && native->cr2 - guest->cr2 + 512 < 1024) {
		native->cr2 = guest->cr2;
		native->error = guest->error;
	}
	/* An interrupt that the host takes where RIP is not canonical or beyond the limit ends in
	 * an IRET that faults, in the kernel: without RF. */
	if (native->vector == VEC_GP && native->out.rip != c->in.rip)
		native->out.rflags |= guest->out.rflags & FLAG_RF;
	/* Linux tells user code nothing about what is mapped in the kernel's half. */
	if (native->vector == VEC_PF && native->cr2 >= USER_END) {
		native->error &= ~PF_P;
		guest->error &= ~PF_P;
	}
	if (native->vector != VEC_PF)
		native->cr2 = guest->cr2;
	/* The IRET with which the kernel comes back to the signal handler clears the RPL of null
	 * selectors. */
	for (unsigned k = 0; k < SEG_COUNT; k++)
		if (k != CS && k != SS && guest->out.selector[k] < 4 && !native->out.selector[k])
			guest->out.selector[k] = 0;
	/* An x87 operand of ten bytes goes in two pieces, of which one may be done when the other
	 * faults. */
	if (ten_bytes(c->mnemonic) && native->out.rip == c->in.rip)
		native->memory = guest->memory;
	/* A far call to a bad target leaves the return address behind. */
	if (c->mnemonic == ZYDIS_MNEMONIC_CALL && native->vector == VEC_GP)
		native->memory = guest->memory;
	/* Which of the upper bits of the x87 pointers are kept. */
	if (c->mnemonic == ZYDIS_MNEMONIC_XRSTOR64 || c->mnemonic == ZYDIS_MNEMONIC_FXRSTOR64) {
		native->out.fpu.fip = guest->out.fpu.fip;
		native->out.fpu.fdp = guest->out.fpu.fdp;
	}
	/* Bases of FS and GS are no part of what 32-bit code sees. */
	if (c->bits != 64) {
		native->out.fs_base = guest->out.fs_base;
		native->out.gs_base = guest->out.gs_base;
	}
}

#define DIFFERS(member, text)                                                                      \
	do {                                                                                       \
		if (memcmp(&n->member, &g->member, sizeof(n->member)) != 0)                        \
			return text;                                                               \
	} while (0)

static const char *compare_fpu(const struct x86_fpu *n, const struct x86_fpu *g)
{
	DIFFERS(fcw, "FCW");
	DIFFERS(fsw, "FSW");
	DIFFERS(ftw, "FTW");
	DIFFERS(st, "ST");
	DIFFERS(fop, "FOP");
	DIFFERS(fip, "FIP");
	DIFFERS(fdp, "FDP");
	DIFFERS(mxcsr, "MXCSR");
	DIFFERS(ymm, "YMM");
	return NULL;
}

static const char *compare_all(const struct outcome *n, const struct outcome *g)
{
	DIFFERS(vector, "exception");
	DIFFERS(out.rip, "RIP");
	DIFFERS(error, "error code");
	DIFFERS(cr2, "CR2");
	DIFFERS(out.gpr, "registers");
	DIFFERS(out.rflags, "flags");
	DIFFERS(out.selector, "selectors");
	DIFFERS(out.fs_base, "FS base");
	DIFFERS(out.gs_base, "GS base");
	DIFFERS(memory, "memory");
	return compare_fpu(&n->out.fpu, &g->out.fpu);
}

const char *compare(const struct insn_case *c, const struct outcome *native,
		    const struct outcome *guest)
{
	struct outcome n = *native, g = *guest;

	if (g.how == HOW_LOST)
		return "the engine's run ended in no exception";
	if (c->skip == SKIP_EXPECT_UD || c->skip == SKIP_EXPECT_GP) {
		unsigned want = c->skip == SKIP_EXPECT_UD ? VEC_UD : VEC_GP;

		return g.how == HOW_EXCEPTION && g.vector == want && g.out.rip == c->in.rip
			       ? NULL
			       : "expected exception";
	}
	if (c->skip != SKIP_NONE || n.how == HOW_SYSCALL)
		return NULL;
	if (n.how == HOW_LOST)
		return "the native run did not come back";
	if (unspecified(c, &n, &g))
		return NULL;
	known(c, &n, &g);
	return compare_all(&n, &g);
}

static void print_bytes(const uint8_t *b, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		printf(" %02x", b[i]);
	printf("\n");
}

static void print_code(const struct insn_case *c)
{
	ZydisFormatter f;
	struct encoding e;
	char text[128];
	unsigned at = 0;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	for (unsigned k = 0; k < c->count && at < c->patch[0].bytes; k++, at += e.length) {
		unsigned left = c->patch[0].bytes - at;

		memcpy(e.byte, c->patch[0].byte + at, left < INSN_BYTES ? left : INSN_BYTES);
		if (!decode_bytes(c->bits, &e, left < INSN_BYTES ? left : INSN_BYTES)) {
			printf("  %08x: (undefined or cut off)", c->patch[0].at + at);
			print_bytes(e.byte, left);
			return;
		}
		ZydisFormatterFormatInstruction(&f, &e.z, e.op, e.z.operand_count_visible, text,
						sizeof(text), c->patch[0].at + at, NULL);
		printf("  %08x: %-44s", c->patch[0].at + at, text);
		print_bytes(e.byte, e.length);
	}
}

/* Registers that neither side changed are printed only where the list is short. */
static bool brief;

static void row(const char *name, uint64_t in, uint64_t n, uint64_t g)
{
	if (n != g)
		printf("    %-7s in %016" PRIx64 "  native %016" PRIx64 "  engine %016" PRIx64 "\n",
		       name, in, n, g);
	else if (in != n)
		printf("    %-7s in %016" PRIx64 "  both   %016" PRIx64 "\n", name, in, n);
	else if (!brief)
		printf("    %-7s in %016" PRIx64 "\n", name, in);
}

static void print_fpu(const struct x86_fpu *in, const struct x86_fpu *n, const struct x86_fpu *g)
{
	char name[12];

	row("fcw", in->fcw, n->fcw, g->fcw);
	row("fsw", in->fsw, n->fsw, g->fsw);
	row("ftw", in->ftw, n->ftw, g->ftw);
	row("fop", in->fop, n->fop, g->fop);
	row("fip", in->fip, n->fip, g->fip);
	row("fdp", in->fdp, n->fdp, g->fdp);
	row("mxcsr", in->mxcsr, n->mxcsr, g->mxcsr);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "st%u.m", i);
		row(name, in->st[i].mant, n->st[i].mant, g->st[i].mant);
		snprintf(name, sizeof(name), "st%u.e", i);
		row(name, in->st[i].exp, n->st[i].exp, g->st[i].exp);
	}
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < 4; k++) {
			snprintf(name, sizeof(name), "y%u.%u", i, k);
			row(name, in->ymm[i][k], n->ymm[i][k], g->ymm[i][k]);
		}
}

static void print_memory(const struct insn_case *c, const struct outcome *n,
			 const struct outcome *g)
{
	for (unsigned i = 1; i < PATCHES; i++)
		if (c->patch[i].bytes) {
			printf("    memory  in %08x:", c->patch[i].at);
			print_bytes(c->patch[i].byte, c->patch[i].bytes);
		}
	for (unsigned i = 0; i < n->changed && i < DIFFS; i++)
		if (memcmp(&n->diff[i], &g->diff[i], sizeof(n->diff[i])) != 0)
			printf("    memory  native %08x: %016" PRIx64 "\n", n->diff[i].at,
			       n->diff[i].now);
	for (unsigned i = 0; i < g->changed && i < DIFFS; i++)
		if (memcmp(&n->diff[i], &g->diff[i], sizeof(n->diff[i])) != 0)
			printf("    memory  engine %08x: %016" PRIx64 "\n", g->diff[i].at,
			       g->diff[i].now);
}

void print_case(const struct insn_case *c, const struct outcome *native,
		const struct outcome *guest, bool whole)
{
	static const char *const gpr[GPR_COUNT] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						    "rsi", "rdi", "r8",  "r9",  "r10", "r11",
						    "r12", "r13", "r14", "r15" };
	static const char *const seg[SEG_COUNT] = { "es", "cs", "ss", "ds", "fs", "gs" };
	static const char *const how[] = { "exception", "endless", "system call", "lost" };
	const struct user_state *i = &c->in, *n = &native->out, *g = &guest->out;

	printf("  seed %" PRIu64 " case %" PRIu64 ", %u-bit\n", c->seed, c->number, c->bits);
	print_code(c);
	printf("    native: %s %u error %x, engine: %s %u error %x\n", how[native->how],
	       native->vector, native->error, how[guest->how], guest->vector, guest->error);
	brief = false;
	row("cr2", 0, native->cr2, guest->cr2);
	for (unsigned k = 0; k < GPR_COUNT; k++)
		row(gpr[k], i->gpr[k], n->gpr[k], g->gpr[k]);
	row("rip", i->rip, n->rip, g->rip);
	row("rflags", i->rflags, n->rflags, g->rflags);
	for (unsigned k = 0; k < SEG_COUNT; k++)
		row(seg[k], i->selector[k], n->selector[k], g->selector[k]);
	row("fsbase", i->fs_base, n->fs_base, g->fs_base);
	row("gsbase", i->gs_base, n->gs_base, g->gs_base);
	print_memory(c, native, guest);
	brief = !whole;
	print_fpu(&i->fpu, &n->fpu, &g->fpu);
}
