/*
 * system.c - tests of control and debug registers, flags, segment loads, descriptor questions, the
 * I/O bitmap, single stepping, breakpoints and interrupt shadows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

#define TARGET 0x12000

/* ---- One instruction with RAX, and its fault ---- */

CODE(to_cr0, 64, "movq %rax, %cr0");
CODE(to_cr3, 64, "movq %rax, %cr3");
CODE(to_cr4, 64, "movq %rax, %cr4");
CODE(to_cr8, 64, "movq %rax, %cr8");
CODE(to_dr4, 64, "movq %rax, %dr4");
CODE(to_dr6, 64, "movq %rax, %dr6");
CODE(to_dr7, 64, "movq %rax, %dr7");
CODE(do_xsetbv, 64, "xsetbv");
CODE(do_invpcid, 64, "invpcid (%rbx), %rax");
CODE(do_wrpkru, 64, "wrpkru");
CODE(do_hlt, 64, "hlt");
CODE(do_monitor, 64, "monitor");
CODE(do_mwait, 64, "mwait");
CODE(do_clac, 64, "clac");
CODE(do_in, 64, "inb %dx, %al");
CODE(do_in_4, 64, "inl %dx, %eax");
CODE(do_cli, 64, "cli");
CODE(do_clts, 64, "clts");
CODE(do_lmsw, 64, "lmsw %ax");
CODE(do_lgdt, 64, "lgdt (%rbx)");
CODE(do_lldt, 64, "lldt %ax");
CODE(do_ltr, 64, "ltr %ax");
CODE(do_sgdt, 64, "sgdt (%rbx)");
CODE(do_smsw, 64, "smsw %eax");
CODE(do_ds, 64, "movl %eax, %ds");
CODE(do_ss, 64, "movl %eax, %ss");
CODE(do_rdmsr, 64, "rdmsr");
CODE(do_rdtsc, 64, "rdtsc");
CODE(do_swapgs, 64, "swapgs");
CODE(do_wrfsbase, 64, "wrfsbase %rax");
CODE(ds_32, 32, "movl %eax, %ds");
CODE(ss_32, 32, "movl %eax, %ss");
CODE(lldt_32, 32, "lldt %ax");
CODE(ltr_32, 32, "ltr %ax");

struct one {
	const char *name;
	enum rig_mode mode;
	unsigned cpl;
	const uint8_t *begin, *end;
	uint64_t rax;
	uint64_t cr4; /* added */
	int fault;
};

static struct rig one_open(const struct one *k)
{
	struct rig r = rig_open(k->mode, k->cpl);

	r.s.gpr[RAX] = k->rax;
	r.s.gpr[RDX] = 0;
	r.s.gpr[RBX] = 0x13000;
	r.s.cr4 |= k->cr4;
	for (uint64_t n = 0; k->cr4 & CR4_SMAP && n < (k->cpl ? 9 : 16); n++)
		rig_put(&r, PT_AT + n * 8, n << 12 | 3, 8);
	return r;
}

static int one_fault(const struct one *k)
{
	struct rig r = one_open(k);
	unsigned bytes = rig_long(&r) ? 8 : 4;
	int v, fault;

	assert_int_equal(rig_run_bytes(&r, k->begin, k->end), EXIT_HLT);
	v = rig_vector(&r);
	fault = rig_fault(&r, bytes, v >= VEC_TS && v <= VEC_PF);
	if (fault != NO_FAULT)
		assert_int_equal(rig_stack(&r, v >= VEC_TS && v <= VEC_PF, bytes), CODE_AT);
	rig_close(&r);
	return fault;
}

#define GP0 FAULT(VEC_GP, 0)
#define UD  FAULT(VEC_UD, 0)
#define ONE(mode, cpl, code, rax, cr4, fault)                                                      \
	{                                                                                          \
#code " " #rax " at " #cpl, mode, cpl, code##_begin, code##_end, rax, cr4, fault   \
	}
#define L0(code, rax, cr4, fault) ONE(MODE_64, 0, code, rax, cr4, fault)
#define L3(code, rax, cr4, fault) ONE(MODE_64, 3, code, rax, cr4, fault)

/* clang-format off */
static const struct one ones[] = {
	L0(to_cr0, 0x80010021, 0, NO_FAULT),
	L0(to_cr0, 0x180010021, 0, GP0),			/* reserved half */
	L0(to_cr0, 0x80000020, 0, GP0),				/* PG without PE */
	L0(to_cr0, 0xa0010021, 0, GP0),				/* NW without CD */
	L0(to_cr0, 0xe0010021, 0, NO_FAULT),
	L0(to_cr0, 0x00010021, 0, GP0),				/* out of paging from 64-bit code */
	L0(to_cr0, 0x8001ffc1 | 0x10, 0, NO_FAULT),		/* reserved low bits are ignored */
	L3(to_cr0, 0x80010021, 0, GP0),
	L0(to_cr3, PML4_AT, 0, NO_FAULT),
	L0(to_cr3, PML4_AT | 1ull << 63, 0, GP0),
	L0(to_cr3, PML4_AT | 1ull << 63, CR4_PCIDE, NO_FAULT),
	L0(to_cr3, 1ull << 60, 0, GP0),
	L0(to_cr4, CR4_PAE, 0, NO_FAULT),
	L0(to_cr4, 0, 0, GP0),					/* PAE is needed in long mode */
	L0(to_cr4, CR4_PAE | 1ull << 31, 0, GP0),
	L0(to_cr4, CR4_PAE | 1ull << 33, 0, GP0),
	L0(to_cr4, CR4_PAE | CR4_PCIDE, 0, NO_FAULT),
	L0(to_cr8, 15, 0, NO_FAULT),
	L0(to_cr8, 16, 0, GP0),
	L0(to_dr4, 0, CR4_DE, UD),
	L0(to_dr4, 0, 0, NO_FAULT),
	L3(to_dr4, 0, 0, GP0),
	L0(to_dr6, 1ull << 32, 0, GP0),
	L0(to_dr7, 1ull << 32, 0, GP0),
	L0(to_dr7, 0xffffdfff & ~0xff, 0, NO_FAULT),
	L0(do_xsetbv, 1, 0, UD),
	L0(do_xsetbv, 3, CR4_OSXSAVE, NO_FAULT),
	L0(do_xsetbv, 0, CR4_OSXSAVE, GP0),
	L0(do_xsetbv, 5, CR4_OSXSAVE, GP0),			/* AVX without SSE */
	L0(do_xsetbv, 1u << 31 | 1, CR4_OSXSAVE, GP0),
	L3(do_xsetbv, 1, CR4_OSXSAVE, GP0),
	L0(do_invpcid, 0, 0, NO_FAULT),
	L0(do_invpcid, 3, 0, NO_FAULT),
	L0(do_invpcid, 4, 0, GP0),
	L3(do_invpcid, 0, 0, GP0),
	L0(do_wrpkru, 0, 0, UD),
	L3(do_hlt, 0, 0, GP0),
	L0(do_monitor, 0, 0, NO_FAULT), /* hints, though CPUID does not offer them */
	L3(do_monitor, 0, 0, UD),
	L0(do_mwait, 0, 0, NO_FAULT),
	L3(do_mwait, 0, 0, UD),
	L3(do_clac, 0, CR4_SMAP, UD),
	L0(do_clac, 0, CR4_SMAP, NO_FAULT),
	L3(do_in, 0, 0, GP0),
	L3(do_cli, 0, 0, GP0),
	L3(do_clts, 0, 0, GP0),
	L3(do_lmsw, 0, 0, GP0),
	L3(do_lgdt, 0, 0, GP0),
	L3(do_sgdt, 0, 0, NO_FAULT),
	L3(do_sgdt, 0, CR4_UMIP, GP0),
	L3(do_smsw, 0, CR4_UMIP, GP0),
	L0(do_smsw, 0, CR4_UMIP, NO_FAULT),
	L3(do_rdmsr, 0, 0, GP0),
	L3(do_rdtsc, 0, CR4_TSD, GP0),
	L3(do_rdtsc, 0, 0, NO_FAULT),
	L0(do_rdtsc, 0, CR4_TSD, NO_FAULT),
	L3(do_swapgs, 0, 0, GP0),
	L3(do_wrfsbase, 0, 0, UD),
	L3(do_wrfsbase, 1, CR4_FSGSBASE, NO_FAULT),
	L3(do_wrfsbase, 1ull << 47, CR4_FSGSBASE, GP0),
	L0(do_lldt, 0, 0, NO_FAULT),
	L0(do_lldt, SEL(LDT), 0, NO_FAULT),
	L0(do_lldt, SEL(DATA32), 0, FAULT(VEC_GP, SEL(DATA32))),
	L0(do_lldt, SEL(LDT) | 4, 0, FAULT(VEC_GP, SEL(LDT) | 4)),
	L0(do_lldt, SEL(LDT_ABSENT), 0, FAULT(VEC_GP, SEL(LDT_ABSENT))), /* upper half beyond the limit */
	L0(do_ltr, SEL(TSS_B), 0, NO_FAULT),
	L0(do_ltr, SEL(TSS), 0, FAULT(VEC_GP, SEL(TSS))),	/* busy */
	L0(do_ltr, SEL(TSS16), 0, FAULT(VEC_GP, SEL(TSS16))),
	L0(do_ltr, 0, 0, GP0),
	L3(do_ltr, SEL(TSS_B), 0, GP0),
	L0(do_ds, 0, 0, NO_FAULT),
	L0(do_ss, 0, 0, NO_FAULT),
	L0(do_ss, 1, 0, GP0),
	L3(do_ss, 3, 0, GP0),
	ONE(MODE_32, 0, ss_32, 0, 0, GP0),
	ONE(MODE_32, 0, ss_32, SEL(DATA32), 0, NO_FAULT),
	ONE(MODE_32, 0, ss_32, SEL(DATA32) | 1, 0, FAULT(VEC_GP, SEL(DATA32))),
	ONE(MODE_32, 0, ss_32, SEL(DATA32_3), 0, FAULT(VEC_GP, SEL(DATA32_3))),
	ONE(MODE_32, 0, ss_32, SEL(READ_ONLY), 0, FAULT(VEC_GP, SEL(READ_ONLY))),
	ONE(MODE_32, 0, ss_32, SEL(CODE32), 0, FAULT(VEC_GP, SEL(CODE32))),
	ONE(MODE_32, 0, ss_32, SEL(DATA_ABSENT), 0, FAULT(VEC_SS, SEL(DATA_ABSENT))),
	ONE(MODE_32, 0, ds_32, 3, 0, NO_FAULT),
	ONE(MODE_32, 0, ds_32, SEL(READ_ONLY), 0, NO_FAULT),
	ONE(MODE_32, 0, ds_32, SEL(CODE32), 0, NO_FAULT),
	ONE(MODE_32, 0, ds_32, SEL(EXPAND_DOWN), 0, NO_FAULT),
	ONE(MODE_32, 0, ds_32, SEL(EXECUTE_ONLY), 0, FAULT(VEC_GP, SEL(EXECUTE_ONLY))),
	ONE(MODE_32, 0, ds_32, SEL(LDT), 0, FAULT(VEC_GP, SEL(LDT))),
	ONE(MODE_32, 0, ds_32, SEL(DATA_ABSENT), 0, FAULT(VEC_NP, SEL(DATA_ABSENT))),
	ONE(MODE_32, 0, ds_32, SEL(DATA32) | 3, 0, FAULT(VEC_GP, SEL(DATA32))),
	ONE(MODE_32, 3, ds_32, SEL(DATA32), 0, FAULT(VEC_GP, SEL(DATA32))),
	ONE(MODE_32, 3, ds_32, SEL(CONFORMING) | 3, 0, NO_FAULT),
	ONE(MODE_32, 0, ds_32, 0xfff8, 0, FAULT(VEC_GP, 0xfff8)),
	ONE(MODE_32, 0, lldt_32, SEL(LDT_ABSENT), 0, FAULT(VEC_NP, SEL(LDT_ABSENT))),
	ONE(MODE_32, 0, ltr_32, SEL(TSS_ABSENT), 0, FAULT(VEC_NP, SEL(TSS_ABSENT))),
	ONE(MODE_32, 0, ltr_32, SEL(TSS16), 0, NO_FAULT),
};
/* clang-format on */

static void test_checks(void **state)
{
	(void)state;
	for (unsigned n = 0; n < sizeof(ones) / sizeof(ones[0]); n++) {
		uint8_t code[32];
		size_t bytes = (size_t)(ones[n].end - ones[n].begin);
		struct one k = ones[n];
		int fault;

		/* Then UD2 in either ring: NO_FAULT is #UD behind the instruction. */
		memcpy(code, k.begin, bytes);
		memcpy(code + bytes, "\x0f\x0b", 2);
		struct rig r = one_open(&k);
		if (rig_run_bytes(&r, code, code + bytes + 2) != EXIT_HLT)
			print_error("%s: shutdown\n", k.name);
		fault = rig_vector(&r);
		if (fault == VEC_UD && rig_stack(&r, 0, rig_long(&r) ? 8 : 4) == CODE_AT + bytes)
			fault = NO_FAULT;
		rig_close(&r);
		if (fault != NO_FAULT)
			fault = one_fault(&k);
		if (fault != k.fault)
			print_error("%s: %#x, not %#x\n", k.name, (unsigned)fault,
				    (unsigned)k.fault);
		assert_int_equal(fault, k.fault);
	}
}

static void test_table_base_not_canonical(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	rig_put(&r, GDT_AT + SEL(LDT_UPPER), 0x8000, 8);
	r.s.gpr[RAX] = SEL(LDT);
	assert_int_equal(rig_run(&r, do_lldt), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 8, true), FAULT(VEC_GP, SEL(LDT)));
	rig_close(&r);
	r = rig_open(MODE_64, 0);
	r.s.gpr[RBX] = 0x13000;
	rig_put(&r, 0x13002, UINT64_C(0x800000000000), 8);
	assert_int_equal(rig_run(&r, do_lgdt), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 8, true), GP0);
	assert_int_equal(r.s.gdtr.base, GDT_AT);
	rig_close(&r);
}

/* ---- POPF, IRET and who may change what ---- */

CODE(popf_32, 32, "pushl %eax\npopfl\npushfl\npopl %ebx\nud2");
CODE(popf_16, 32, "pushw %ax\npopfw\npushfl\npopl %ebx\nud2");

static uint64_t popf(unsigned cpl, unsigned iopl, uint64_t before, uint64_t flags, bool narrow)
{
	struct rig r = rig_open(MODE_32, cpl);
	uint64_t got;

	r.s.rflags = FLAG_FIXED | iopl << 12 | before;
	r.s.gpr[RAX] = flags;
	if (narrow)
		assert_int_equal(rig_run(&r, popf_16), EXIT_HLT);
	else
		assert_int_equal(rig_run(&r, popf_32), EXIT_HLT);
	got = r.s.gpr[RBX];
	rig_close(&r);
	return got;
}

static void test_popf(void **state)
{
	uint64_t all = 0xffffffff & ~(uint64_t)FLAG_TF, user = 0x254ed7 & ~(uint64_t)FLAG_RF;

	(void)state;
	user &= ~(uint64_t)FLAG_IF;
	user |= FLAG_DF | FLAG_OF;
	assert_int_equal(popf(0, 0, 0, all, false) | FLAG_TF,
			 (0x247fd7 | FLAG_TF) & ~(uint64_t)FLAG_RF);
	assert_int_equal(popf(3, 0, 0, all, false), (user & ~(uint64_t)FLAG_IOPL) | FLAG_FIXED);
	assert_int_equal(popf(3, 3, 0, all, false), user | FLAG_IOPL | FLAG_IF | FLAG_FIXED);
	assert_int_equal(popf(3, 0, FLAG_IF, 0, false), FLAG_FIXED | FLAG_IF);
	assert_int_equal(popf(0, 0, FLAG_AC | FLAG_ID, 0, true), FLAG_FIXED | FLAG_AC | FLAG_ID);
}

/* ---- LAR, LSL, VERR, VERW, ARPL ---- */

CODE(ask, 32,
     "lar %eax, %ebx\nsetz %ch\nlsl %eax, %edx\nsetz %cl\nmovzwl %cx, %esi\n"
     "verr %ax\nsetz %ch\nverw %ax\nsetz %cl\nmovzwl %cx, %edi\nint3");

static void test_questions(void **state)
{
	/* clang-format off */
	static const struct {
		enum rig_mode mode;
		unsigned cpl, selector, lar, lsl, verr, verw;
		uint32_t rights;
	} cases[] = {
		{ MODE_32, 3, 0, 0, 0, 0, 0, 0 },
		{ MODE_32, 3, SEL(CODE32), 0, 0, 0, 0, 0 },
		{ MODE_32, 3, SEL(CODE32_3), 1, 1, 1, 0, 0xcffb00 },
		{ MODE_32, 3, SEL(DATA32_3), 1, 1, 1, 1, 0xcff300 },
		{ MODE_32, 3, SEL(CONFORMING) | 3, 1, 1, 1, 0, 0xcf9e00 },
		{ MODE_32, 0, SEL(READ_ONLY), 1, 1, 1, 0, 0xcf9000 },
		{ MODE_32, 0, SEL(EXECUTE_ONLY), 1, 1, 0, 0, 0xcf9800 },
		{ MODE_32, 0, SEL(DATA32) | 3, 0, 0, 0, 0, 0 },
		{ MODE_32, 0, SEL(TSS16), 1, 1, 0, 0, 0x008100 },
		{ MODE_32, 0, SEL(INT_GATE), 0, 0, 0, 0, 0 },
		{ MODE_32, 0, SEL(DATA_ABSENT), 1, 1, 1, 1, 0xcf1200 },
		{ MODE_COMPAT, 0, SEL(TSS16), 0, 0, 0, 0, 0 },
		{ MODE_COMPAT, 0, SEL(TSS), 1, 1, 0, 0, 0x008b00 },
		{ MODE_32, 0, 0xfff8, 0, 0, 0, 0, 0 },
	};
	/* clang-format on */

	(void)state;
	for (unsigned n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		struct rig r = rig_open(cases[n].mode, cases[n].cpl);

		rig_gate(&r, VEC_BP, cases[n].mode == MODE_COMPAT ? SEL(CODE64) : SEL(CODE32), 14,
			 3, 0);
		r.s.gpr[RAX] = cases[n].selector;
		r.s.gpr[RBX] = r.s.gpr[RDX] = 0x5a5a5a5a;
		assert_int_equal(rig_run(&r, ask), EXIT_HLT);
		assert_int_equal(rig_vector(&r), VEC_BP);
		assert_int_equal(r.s.gpr[RSI], cases[n].lar << 8 | cases[n].lsl);
		assert_int_equal(r.s.gpr[RDI], cases[n].verr << 8 | cases[n].verw);
		if (!cases[n].lar)
			assert_int_equal(r.s.gpr[RBX], 0x5a5a5a5a);
		else if (cases[n].cpl) /* the accessed bits of segments in use are set */
			assert_int_equal(r.s.gpr[RBX] & 0xfffeff, cases[n].rights & 0xfffeff);
		else
			assert_int_equal(r.s.gpr[RBX], cases[n].rights);
		rig_close(&r);
	}
}

CODE(arpl_32, 32, "arpl %cx, %ax\nsetz %bl\nint3");
static void test_arpl(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	r.s.gpr[RAX] = 0x11;
	r.s.gpr[RCX] = 0x23;
	assert_int_equal(rig_run(&r, arpl_32), EXIT_HLT);
	assert_int_equal(r.s.gpr[RAX], 0x13);
	assert_int_equal(r.s.gpr[RBX], 1);
	rig_close(&r);
}

/* ---- The I/O bitmap ---- */

static int port(uint16_t port, unsigned limit, unsigned map, uint16_t bits, bool wide)
{
	struct rig r = rig_open(MODE_64, 3);
	int fault;

	r.s.tr.limit = limit;
	rig_put(&r, TSS_AT + 102, map, 2);
	if (map < 0x200)
		rig_put(&r, TSS_AT + map + port / 8, bits, 2);
	r.s.gpr[RDX] = port;
	rig_put(&r, CODE_AT + 1, 0x0b0f, 2);
	if (wide)
		assert_int_equal(rig_run(&r, do_in_4), EXIT_HLT);
	else
		assert_int_equal(rig_run(&r, do_in), EXIT_HLT);
	fault = rig_vector(&r) == VEC_UD ? NO_FAULT : rig_fault(&r, 8, true);
	rig_close(&r);
	return fault;
}

static void test_io_bitmap(void **state)
{
	(void)state;
	assert_int_equal(port(0x80, 0xff, 104, 0, false), NO_FAULT);
	assert_int_equal(port(0x80, 0xff, 104, 1, false), GP0);
	assert_int_equal(port(0x80, 0xff, 104, 2, false), NO_FAULT);
	assert_int_equal(port(0x80, 0xff, 104, 8, true), GP0);
	assert_int_equal(port(0x80, 0xff, 104, 16, true), NO_FAULT);
	assert_int_equal(port(0x87, 0xff, 104, 0x400, true),
			 GP0); /* its last is in the next byte */
	assert_int_equal(port(0x80, 104 + 0x10 + 1, 104, 0, false), NO_FAULT);
	assert_int_equal(port(0x80, 104 + 0x10, 104, 0, false), GP0); /* two bytes are read */
	assert_int_equal(port(0x80, 102, 104, 0, false), GP0);
	assert_int_equal(port(0x80, 0xff, 0xfff0, 0, false), GP0);
}

/* ---- Single step, breakpoints, shadows ---- */

CODE(three_nops, 64, "nop\nnop\nnop\nhlt");
static void test_single_step(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.rflags |= FLAG_TF;
	assert_int_equal(rig_run(&r, three_nops), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 1);
	assert_true(rig_stack(&r, 2, 8) & FLAG_TF);
	assert_int_equal(r.s.dr6, 0xffff4ff0);
	assert_false(r.s.rflags & FLAG_TF);
	rig_close(&r);
}

CODE(popf_tf, 64, "pushfq\norq $0x100, (%rsp)\npopfq\nnop\nnop\nhlt");
CODE(step_int, 64, "pushfq\norq $0x100, (%rsp)\npopfq\nint $0x42");
CODE(step_ss, 64, "pushfq\norq $0x100, (%rsp)\npopfq\nmovl %eax, %ss\nnop\nnop\nhlt");
static void test_step_begins_after_popf(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	assert_int_equal(rig_run(&r, popf_tf), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 11); /* behind the first NOP */
	rig_close(&r);
	r = rig_open(MODE_64, 0); /* INT n is not stepped */
	assert_int_equal(rig_run(&r, step_int), EXIT_HLT);
	assert_int_equal(rig_vector(&r), 0x42);
	assert_true(rig_stack(&r, 2, 8) & FLAG_TF);
	rig_close(&r);
	r = rig_open(MODE_64, 0); /* MOV SS holds the trap back by one instruction */
	r.s.gpr[RAX] = SEL(DATA32);
	assert_int_equal(rig_run(&r, step_ss), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 13);
	rig_close(&r);
}

CODE(sysret_tf, 64, "sysretq");
static void test_sysret_steps_at_once(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.star = UINT64_C(0x0018) << 48;
	r.s.gpr[RCX] = TARGET;
	r.s.gpr[R11] = FLAG_FIXED | FLAG_TF;
	r.ram[TARGET] = 0x90;
	assert_int_equal(rig_run(&r, sysret_tf), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), TARGET);
	assert_int_equal(r.s.dr6, 0xffff4ff0);
	rig_close(&r);
}

static void test_instruction_breakpoint(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.dr[1] = CODE_AT + 1;
	r.s.dr7 = 0x400 | 4;
	r.s.dr6 = 0xffff0ff1; /* B0 of an earlier one */
	assert_int_equal(rig_run(&r, three_nops), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 1);
	assert_false(rig_stack(&r, 2, 8) & FLAG_RF);
	assert_int_equal(r.s.dr6, 0xffff0ff2);
	rig_close(&r);
	r = rig_open(MODE_64, 0); /* RF: once past it */
	r.s.dr[1] = CODE_AT;
	r.s.dr7 = 0x400 | 4;
	r.s.rflags |= FLAG_RF;
	assert_int_equal(rig_run(&r, three_nops), EXIT_HLT);
	assert_int_equal(r.s.rip, CODE_AT + 4);
	assert_false(r.s.rflags & FLAG_RF);
	rig_close(&r);
}

/* The breakpoint of an instruction that is not even mapped comes before its page fault. */
static void test_breakpoint_before_fetch_fault(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	CODE(far_away, 64, "jmp *%rax");
	r.s.gpr[RAX] = 0x300000;
	r.s.dr[0] = 0x300000;
	r.s.dr7 = 0x401;
	assert_int_equal(rig_run(&r, far_away), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), 0x300000);
	rig_close(&r);
}

CODE(store, 64, "movl %eax, 0x13004\nnop\nhlt");
CODE(push_flags, 64, "pushfq\nnop\nhlt");
CODE(read_dr, 64, "movq %dr7, %rax");
static void test_data_breakpoint(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.dr[3] = 0x13006;
	r.s.dr7 = 0x400 | 0x40 | UINT64_C(5) << 28; /* writes, 2 bytes */
	assert_int_equal(rig_run(&r, store), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 7);
	assert_int_equal(r.s.dr6, 0xffff0ff8);
	rig_close(&r);
	r = rig_open(MODE_64, 0); /* a stack write by one of the system instructions */
	r.s.dr[0] = STACK_NOW - 8;
	r.s.dr7 = 0x401 | UINT64_C(0x9) << 16;
	rig_gate(&r, VEC_DB, SEL(CODE64), 14, 0, 1);
	assert_int_equal(rig_run(&r, push_flags), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 1);
	rig_close(&r);
	r = rig_open(MODE_64, 0); /* general detect */
	r.s.dr7 = 0x400 | 0x2000;
	assert_int_equal(rig_run(&r, read_dr), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT);
	assert_int_equal(r.s.dr6, 0xffff2ff0);
	assert_int_equal(r.s.dr7, 0x400);
	rig_close(&r);
}

/* A data breakpoint hit by MOV SS waits for the next instruction, in the saved state too. */
CODE(mov_ss_mem, 64, "movw 0x13000, %ss\nnop\nnop\nhlt");
static void test_breakpoint_on_mov_ss(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	rig_put(&r, 0x13000, SEL(DATA32), 2);
	r.s.dr[2] = 0x13000;
	r.s.dr7 = 0x400 | 0x10 | UINT64_C(7) << 24; /* reads and writes, 2 bytes */
	memcpy(r.ram + CODE_AT, mov_ss_mem_begin, (size_t)(mov_ss_mem_end - mov_ss_mem_begin));
	assert_int_equal(vcpu_set_state(r.vcpu, &r.s, NULL), 0);
	assert_int_equal(rig_go(&r, 1), EXIT_BUDGET);
	assert_int_equal(r.s.shadow, SHADOW_MOVSS | 4 << SHADOW_DB_SHIFT);
	assert_int_equal(vcpu_set_state(r.vcpu, &r.s, NULL), 0);
	assert_int_equal(rig_go(&r, 10), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 8),
			 CODE_AT + (uint64_t)(mov_ss_mem_end - mov_ss_mem_begin) - 2);
	assert_int_equal(r.s.dr6, 0xffff0ff4);
	rig_close(&r);
}

CODE(mov_ss_int1, 64, "movw 0x13000, %ss\n.byte 0xf1\nhlt");
static void test_breakpoint_on_mov_ss_before_int1(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	rig_put(&r, 0x13000, SEL(DATA32), 2);
	r.s.dr[2] = 0x13000;
	r.s.dr7 = 0x400 | 0x10 | UINT64_C(7) << 24;
	assert_int_equal(rig_run(&r, mov_ss_int1), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	/* One #DB, of the instruction: a second would return to the handler. */
	assert_int_equal(rig_stack(&r, 0, 8),
			 CODE_AT + (uint64_t)(mov_ss_int1_end - mov_ss_int1_begin) - 1);
	assert_int_equal(r.s.dr6, 0xffff0ff4);
	assert_int_equal(r.s.shadow, 0);
	rig_close(&r);
}

CODE(out_80, 64, "outb %al, $0x80\nnop\nhlt");
static void test_io_breakpoint(void **state)
{
	(void)state;
	for (unsigned de = 0; de < 2; de++) {
		struct rig r = rig_open(MODE_64, 0);

		r.s.cr4 |= de ? CR4_DE : 0;
		r.s.dr[0] = 0x80;
		r.s.dr7 = 0x401 | UINT64_C(2) << 16;
		assert_int_equal(rig_run(&r, out_80), EXIT_HLT);
		assert_int_equal(rig_vector(&r), de ? VEC_DB : -1);
		if (de)
			assert_int_equal(rig_stack(&r, 0, 8), CODE_AT + 2);
		rig_close(&r);
	}
}

CODE(shadow_sti, 64, "sti\nnop\nnop\nhlt");
CODE(shadow_ss, 64, "movl %eax, %ss\nnop\nnop\nhlt");
static void test_shadows(void **state)
{
	static const struct event irq = { .kind = EVENT_IRQ, .vector = 0x42 };
	static const struct event nmi = { .kind = EVENT_NMI, .vector = VEC_NMI };

	(void)state;
	for (unsigned ss = 0; ss < 2; ss++) {
		struct rig r = rig_open(MODE_64, 0);

		r.s.gpr[RAX] = SEL(DATA32);
		r.s.rflags |= ss ? FLAG_IF : 0;
		memcpy(r.ram + CODE_AT, ss ? shadow_ss_begin : shadow_sti_begin, 5);
		assert_int_equal(vcpu_set_state(r.vcpu, &r.s, NULL), 0);
		assert_int_equal(interp_ops.can_inject(r.vcpu, &irq), ss);
		assert_int_equal(rig_go(&r, 1), EXIT_BUDGET);
		assert_false(interp_ops.can_inject(r.vcpu, &irq));
		assert_int_equal(interp_ops.can_inject(r.vcpu, &nmi), !ss);
		assert_int_equal(rig_go(&r, 1), EXIT_BUDGET);
		assert_true(interp_ops.can_inject(r.vcpu, &irq));
		assert_int_equal(r.s.shadow, 0);
		rig_close(&r);
	}
}

/* ---- SMAP and alignment on the stack ---- */

CODE(stac_push, 64, "stac\npushfq\nclac\npushfq");
static void test_smap_stack(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.cr4 |= CR4_SMAP;
	for (uint64_t n = 0; n < 9; n++) /* tables, handlers and their stack are the supervisor's */
		rig_put(&r, PT_AT + n * 8, n << 12 | 3, 8);
	rig_gate(&r, VEC_PF, SEL(CODE64), 14, 0, 1);
	assert_int_equal(rig_run(&r, stac_push), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_PF);
	assert_int_equal(rig_stack(&r, 0, 8), PF_P | PF_W);
	assert_int_equal(rig_stack(&r, 1, 8), CODE_AT + 7); /* the second PUSHFQ */
	assert_int_equal(r.s.cr2, STACK_NOW - 16);
	rig_close(&r);
}

static void test_alignment_of_stack(void **state)
{
	struct rig r = rig_open(MODE_64, 3);

	(void)state;
	r.s.cr0 |= CR0_AM;
	r.s.rflags |= FLAG_AC;
	r.s.gpr[RSP] = STACK_NOW - 3;
	assert_int_equal(rig_run(&r, push_flags), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 8, true), FAULT(VEC_AC, 0));
	rig_close(&r);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_checks),
	cmocka_unit_test(test_table_base_not_canonical),
	cmocka_unit_test(test_popf),
	cmocka_unit_test(test_questions),
	cmocka_unit_test(test_arpl),
	cmocka_unit_test(test_io_bitmap),
	cmocka_unit_test(test_single_step),
	cmocka_unit_test(test_step_begins_after_popf),
	cmocka_unit_test(test_sysret_steps_at_once),
	cmocka_unit_test(test_instruction_breakpoint),
	cmocka_unit_test(test_breakpoint_before_fetch_fault),
	cmocka_unit_test(test_data_breakpoint),
	cmocka_unit_test(test_breakpoint_on_mov_ss),
	cmocka_unit_test(test_breakpoint_on_mov_ss_before_int1),
	cmocka_unit_test(test_io_breakpoint),
	cmocka_unit_test(test_shadows),
	cmocka_unit_test(test_smap_stack),
	cmocka_unit_test(test_alignment_of_stack),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
