/*
 * far.c - tests of far JMP, CALL and RET: checks of the target, call gates of all widths with
 * parameters, returns to outer rings, and what SYSCALL and SYSENTER do instead.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

CODE(far_jmp_32, 32, "pushl %ebx\npushl %ecx\nljmp *(%esp)");
CODE(far_call_32, 32, "pushl %ebx\npushl %ecx\nlcall *(%esp)");
CODE(far_jmp_64, 64, "pushq %rbx\nmovl %ecx, -4(%rsp)\nljmp *-4(%rsp)");
CODE(ret_far_32, 32, "pushl %ebx\npushl %ecx\nlretl");

#define TARGET 0x12000

struct far_case {
	uint64_t selector, offset;
	int fault;
};

/* The fault of a transfer to selector:offset, or NO_FAULT when HLT at TARGET was reached. */
static int transfer(enum rig_mode mode, const struct far_case *k, const uint8_t *begin,
		    const uint8_t *end)
{
	struct rig r = rig_open(mode, 0);
	int fault = NO_FAULT;

	r.s.gpr[RBX] = k->selector;
	r.s.gpr[RCX] = k->offset;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run_bytes(&r, begin, end), EXIT_HLT);
	if (r.s.rip != TARGET + 1)
		fault = rig_fault(&r, rig_long(&r) ? 8 : 4, true);
	else
		assert_int_equal(r.s.seg[CS].selector, k->selector & ~UINT64_C(3));
	rig_close(&r);
	return fault;
}

static void transfers(enum rig_mode mode, const struct far_case *k, unsigned count,
		      const uint8_t *begin, const uint8_t *end)
{
	for (unsigned n = 0; n < count; n++) {
		int fault = transfer(mode, &k[n], begin, end);

		if (fault != k[n].fault)
			print_error("case %u: %#x, not %#x\n", n, (unsigned)fault,
				    (unsigned)k[n].fault);
		assert_int_equal(fault, k[n].fault);
	}
}

/* clang-format off */
static const struct far_case direct32[] = {
	{ SEL(CODE32), TARGET, NO_FAULT },
	{ SEL(CONFORMING), TARGET, NO_FAULT },
	{ 0, TARGET, FAULT(VEC_GP, 0) },
	{ 3, TARGET, FAULT(VEC_GP, 0) },
	{ 0x7ff8, TARGET, FAULT(VEC_GP, 0x7ff8) },
	{ SEL(DATA32), TARGET, FAULT(VEC_GP, SEL(DATA32)) },
	{ SEL(CODE32) | 3, TARGET, FAULT(VEC_GP, SEL(CODE32)) },
	{ SEL(CODE32_3), TARGET, FAULT(VEC_GP, SEL(CODE32_3)) },
	{ SEL(CODE_ABSENT), TARGET, FAULT(VEC_NP, SEL(CODE_ABSENT)) },
	{ SEL(SMALL_CODE), TARGET, FAULT(VEC_GP, 0) },
	{ SEL(INT_GATE), TARGET, FAULT(VEC_GP, SEL(INT_GATE)) },
	{ SEL(LDT), TARGET, FAULT(VEC_GP, SEL(LDT)) },
	{ SEL(TSS), TARGET, FAULT(VEC_GP, SEL(TSS)) }, /* busy */
	{ SEL(TSS_ABSENT), TARGET, FAULT(VEC_NP, SEL(TSS_ABSENT)) },
	{ SEL(CODE32) | 4, TARGET, FAULT(VEC_GP, SEL(CODE32) | 4) }, /* no LDT */
};
static const struct far_case direct64[] = {
	{ SEL(CODE64), TARGET, NO_FAULT },
	{ SEL(CODE32), TARGET, NO_FAULT },
	{ SEL(CODE_LD), TARGET, FAULT(VEC_GP, SEL(CODE_LD)) },
	{ SEL(SMALL_CODE), TARGET, FAULT(VEC_GP, 0) },
	{ SEL(TSS_B), TARGET, FAULT(VEC_GP, SEL(TSS_B)) }, /* no tasks in long mode */
};
static const struct far_case returns32[] = {
	{ SEL(CODE32), TARGET, NO_FAULT },
	{ SEL(CONFORMING), TARGET, NO_FAULT },
	{ 0, TARGET, FAULT(VEC_GP, 0) },
	{ SEL(CODE32_3), TARGET, FAULT(VEC_GP, SEL(CODE32_3)) },
	{ SEL(DATA32), TARGET, FAULT(VEC_GP, SEL(DATA32)) },
	{ SEL(CODE_ABSENT), TARGET, FAULT(VEC_NP, SEL(CODE_ABSENT)) },
	{ SEL(SMALL_CODE), TARGET, FAULT(VEC_GP, 0) },
	{ SEL(TSS_B), TARGET, FAULT(VEC_GP, SEL(TSS_B)) },
	{ SEL(CODE32) | 3, TARGET, FAULT(VEC_GP, SEL(CODE32)) }, /* DPL 0 is not RPL 3 */
};
/* clang-format on */
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_targets(void **state)
{
	(void)state;
	transfers(MODE_32, direct32, COUNT(direct32), far_jmp_32_begin, far_jmp_32_end);
	transfers(MODE_32, direct32, COUNT(direct32), far_call_32_begin, far_call_32_end);
	transfers(MODE_64, direct64, COUNT(direct64), far_jmp_64_begin, far_jmp_64_end);
	transfers(MODE_32, returns32, COUNT(returns32), ret_far_32_begin, ret_far_32_end);
}

CODE(call_compat, 64, "lcall *(%rsi)");
static void test_call_to_compat(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	/* Pushed in the target's mode: only ESP counts, and SS has a limit again. */
	rig_put(&r, 0x12800, TARGET | (uint64_t)SEL(CODE32) << 32, 6);
	r.s.gpr[RSI] = 0x12800;
	r.s.gpr[RSP] |= UINT64_C(0xdead) << 48;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run(&r, call_compat), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW - 8);
	assert_int_equal(rig_get(&r, STACK_NOW - 8, 4),
			 CODE_AT + (call_compat_end - call_compat_begin));
	assert_int_equal(rig_get(&r, STACK_NOW - 4, 4), SEL(CODE64));
	rig_close(&r);

	r = rig_open(MODE_64, 0);
	rig_put(&r, 0x12800, TARGET | (uint64_t)SEL(CODE32) << 32, 6);
	r.s.gpr[RSI] = 0x12800;
	r.s.seg[SS].limit = 0xfff;
	r.s.seg[SS].attr &= ~(uint32_t)SEG_G;
	assert_int_equal(rig_run(&r, call_compat), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_SS);
	rig_close(&r);
}

/* ---- Call gates ---- */

static void put_call_gate(struct rig *r, unsigned type, unsigned dpl, uint16_t selector,
			  unsigned params)
{
	rig_put(r, GDT_AT + SEL(GATE),
		(TARGET & 0xffff) | (uint64_t)selector << 16 | (uint64_t)params << 32 |
			(uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(TARGET >> 16) << 48,
		8);
	rig_put(r, GDT_AT + SEL(GATE_UPPER), 0, 8);
}

CODE(call_gate_32, 32,
     "pushl $0x33\npushl $0x22\npushl $0x11\npushl %ebx\npushl $0\nlcall *(%esp)");

static void test_call_gate_32(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	put_call_gate(&r, 12, 3, SEL(CODE32) | 3, 3);
	r.s.gpr[RBX] = SEL(GATE) | 3;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run(&r, call_gate_32), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.seg[CS].selector, SEL(CODE32));
	assert_int_equal(r.s.gpr[RSP], STACK0 - 7 * 4);
	assert_int_equal(rig_stack(&r, 0, 4),
			 CODE_AT + (uint64_t)(call_gate_32_end - call_gate_32_begin));
	assert_int_equal(rig_stack(&r, 1, 4), SEL(CODE32_3) | 3);
	assert_int_equal(rig_stack(&r, 2, 4), 0); /* the far pointer's words are the parameters */
	assert_int_equal(rig_stack(&r, 3, 4), SEL(GATE) | 3);
	assert_int_equal(rig_stack(&r, 4, 4), 0x11);
	assert_int_equal(rig_stack(&r, 5, 4), STACK_NOW - 20);
	assert_int_equal(rig_stack(&r, 6, 4), SEL(DATA32_3) | 3);
	rig_close(&r);
}

static void test_call_gate_16(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	put_call_gate(&r, 4, 3, SEL(CODE32), 2);
	r.s.gpr[RBX] = SEL(GATE) | 3;
	r.ram[TARGET & 0xffff] = 0xf4; /* 16 bits of offset */
	assert_int_equal(rig_run(&r, call_gate_32), EXIT_HLT);
	assert_int_equal(r.s.rip, (TARGET & 0xffff) + 1);
	assert_int_equal(r.s.gpr[RSP], STACK0 - 6 * 2);
	assert_int_equal(rig_stack(&r, 1, 2), SEL(CODE32_3) | 3);
	assert_int_equal(rig_stack(&r, 4, 2), (STACK_NOW - 20) & 0xffff);
	rig_close(&r);
}

CODE(call_gate_64, 64, "movl %ebx, -4(%rsp)\nlcall *-8(%rsp)");

static void test_call_gate_64(void **state)
{
	struct rig r = rig_open(MODE_64, 3);

	(void)state;
	put_call_gate(&r, 12, 3, SEL(CODE64), 31); /* no parameters in long mode */
	r.s.gpr[RBX] = SEL(GATE) | 3;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run(&r, call_gate_64), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.gpr[RSP], STACK0 - 32);
	assert_int_equal(rig_stack(&r, 1, 8), SEL(CODE64_3) | 3);
	assert_int_equal(rig_stack(&r, 2, 8), STACK_NOW);
	assert_int_equal(rig_stack(&r, 3, 8), SEL(DATA32_3) | 3);
	assert_int_equal(r.s.seg[SS].selector, 0);
	rig_close(&r);
}

static int through(enum rig_mode mode, unsigned cpl, unsigned type, unsigned dpl, uint16_t target,
		   uint64_t upper)
{
	struct rig r = rig_open(mode, cpl);
	int fault = NO_FAULT;

	put_call_gate(&r, type, dpl, target, 0);
	rig_put(&r, GDT_AT + SEL(GATE_UPPER), upper, 8);
	r.s.gpr[RBX] = SEL(GATE) | cpl;
	r.ram[TARGET] = 0xf4;
	if (mode == MODE_64)
		assert_int_equal(rig_run(&r, call_gate_64), EXIT_HLT);
	else
		assert_int_equal(rig_run(&r, call_gate_32), EXIT_HLT);
	if (r.s.rip != TARGET + 1)
		fault = rig_fault(&r, mode == MODE_64 ? 8 : 4, true);
	rig_close(&r);
	return fault;
}

static void test_call_gate_refusals(void **state)
{
	(void)state;
	assert_int_equal(through(MODE_32, 3, 12, 0, SEL(CODE32), 0), FAULT(VEC_GP, SEL(GATE)));
	assert_int_equal(through(MODE_32, 3, 12, 3, 0, 0), FAULT(VEC_GP, 0));
	assert_int_equal(through(MODE_32, 3, 12, 3, SEL(DATA32), 0), FAULT(VEC_GP, SEL(DATA32)));
	assert_int_equal(through(MODE_32, 0, 12, 3, SEL(CODE32_3), 0),
			 FAULT(VEC_GP, SEL(CODE32_3)));
	assert_int_equal(through(MODE_32, 3, 12, 3, SEL(CODE_ABSENT), 0),
			 FAULT(VEC_NP, SEL(CODE_ABSENT)));
	assert_int_equal(through(MODE_32, 3, 12, 3, SEL(SMALL_CODE), 0), FAULT(VEC_GP, 0));
	assert_int_equal(through(MODE_32, 0, 12, 3, SEL(CODE32), 0), NO_FAULT);
	assert_int_equal(through(MODE_64, 3, 12, 3, SEL(CODE64), 0), NO_FAULT);
	assert_int_equal(through(MODE_64, 3, 4, 3, SEL(CODE64), 0), FAULT(VEC_GP, SEL(GATE)));
	assert_int_equal(through(MODE_64, 3, 12, 3, SEL(CODE32), 0), FAULT(VEC_GP, SEL(CODE32)));
	assert_int_equal(through(MODE_64, 3, 12, 3, SEL(CODE64), UINT64_C(0x0c0000000000)),
			 FAULT(VEC_GP, SEL(GATE))); /* a type in the upper half */
	assert_int_equal(through(MODE_64, 3, 12, 3, SEL(CODE64), 0x8000), FAULT(VEC_GP, 0));
}

/* ---- RET to an outer ring ---- */

CODE(ret_outer_32, 32, "pushl %edx\npushl %esi\npushl $0x77\npushl %ebx\npushl %ecx\nlretl $4");

static int ret_outer(uint16_t cs, uint16_t ss, struct x86_state *after)
{
	struct rig r = rig_open(MODE_32, 0);
	int fault;

	r.s.gpr[RDX] = ss;
	r.s.gpr[RSI] = STACK3;
	r.s.gpr[RBX] = cs;
	r.s.gpr[RCX] = TARGET;
	r.s.seg[GS] = rig_segment(&r, SEL(DATA32_3) | 3);
	r.ram[TARGET] = 0xf4; /* #GP in ring 3 */
	assert_int_equal(rig_run(&r, ret_outer_32), EXIT_HLT);
	*after = r.s;
	fault = rig_fault(&r, 4, true);
	if (rig_stack(&r, 1, 4) == TARGET) {
		fault = NO_FAULT;
		assert_int_equal(rig_stack(&r, 2, 4), cs);
		assert_int_equal(rig_stack(&r, 4, 4), STACK3 + 4);
		assert_int_equal(rig_stack(&r, 5, 4), ss);
	}
	rig_close(&r);
	return fault;
}

static void test_ret_outer(void **state)
{
	struct x86_state after;

	(void)state;
	assert_int_equal(ret_outer(SEL(CODE32_3) | 3, SEL(DATA32_3) | 3, &after), NO_FAULT);
	assert_int_equal(after.seg[DS].selector, 0);
	assert_true(after.seg[DS].attr & SEG_UNUSABLE);
	assert_int_equal(after.seg[GS].selector, SEL(DATA32_3) | 3);
	assert_int_equal(ret_outer(SEL(CODE32_3) | 3, 0, &after), FAULT(VEC_GP, 0));
	assert_int_equal(ret_outer(SEL(CODE32_3) | 3, SEL(DATA32) | 3, &after),
			 FAULT(VEC_GP, SEL(DATA32)));
	assert_int_equal(ret_outer(SEL(CODE32_3) | 3, SEL(DATA32_3), &after),
			 FAULT(VEC_GP, SEL(DATA32_3)));
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

CODE(syscall_64, 64, "syscall");
CODE(sysret_64, 64, "sysretq");
CODE(sysret_32, 64, "sysretl");
CODE(sysenter_32, 32, "sysenter");
CODE(sysexit_64, 64, "sysexitq");

static void test_syscall(void **state)
{
	struct rig r = rig_open(MODE_64, 3);

	(void)state;
	r.s.star = UINT64_C(0x002b0013) << 32; /* RPL bits: kept in SS, not in CS */
	r.s.lstar = TARGET;
	r.s.fmask = FLAG_IF | FLAG_DF;
	r.s.rflags = FLAG_FIXED | FLAG_IF | FLAG_CF | FLAG_DF;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run(&r, syscall_64), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.gpr[RCX], CODE_AT + 2);
	assert_int_equal(r.s.gpr[R11], FLAG_FIXED | FLAG_IF | FLAG_CF | FLAG_DF);
	assert_int_equal(r.s.rflags, FLAG_FIXED | FLAG_CF);
	assert_int_equal(r.s.seg[CS].selector, 0x10);
	assert_int_equal(r.s.seg[SS].selector, 0x1b);
	assert_int_equal(x86_cpl(&r.s), 0);
	rig_close(&r);

	r = rig_open(MODE_64, 3);
	r.s.efer &= ~(uint64_t)EFER_SCE;
	assert_int_equal(rig_run(&r, syscall_64), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_UD);
	rig_close(&r);
	assert_int_equal(FAULT_OF(MODE_COMPAT, 3, syscall_64, NULL), FAULT(VEC_UD, 0));
}

static void test_sysret(void **state)
{
	(void)state;
	for (unsigned wide = 0; wide < 2; wide++) {
		struct rig r = rig_open(MODE_64, 0);

		r.s.star = UINT64_C(0x0023) << 48;
		r.s.gpr[RCX] = UINT64_C(0x700000000) + TARGET;
		if (wide)
			r.s.gpr[RCX] = TARGET;
		r.s.gpr[R11] = ~(uint64_t)FLAG_TF;
		r.ram[TARGET] = 0xf4; /* #GP */
		if (wide)
			assert_int_equal(rig_run(&r, sysret_64), EXIT_HLT);
		else
			assert_int_equal(rig_run(&r, sysret_32), EXIT_HLT);
		assert_int_equal(rig_vector(&r), VEC_GP);
		assert_int_equal(rig_stack(&r, 1, 8), TARGET);
		assert_int_equal(rig_stack(&r, 2, 8), wide ? 0x33 : 0x23);
		assert_int_equal(rig_stack(&r, 3, 8), 0x3c7ed7 | FLAG_FIXED | FLAG_RF);
		assert_int_equal(rig_stack(&r, 5, 8), 0x2b);
		rig_close(&r);
	}
	assert_int_equal(FAULT_OF(MODE_64, 3, sysret_64, NULL), FAULT(VEC_GP, 0));
}

static void not_canonical(struct rig *r)
{
	r->s.gpr[RCX] = UINT64_C(0x800000000000);
	r->s.sysenter_cs = 0x30;
}

static void test_return_addresses(void **state)
{
	(void)state;
	assert_int_equal(FAULT_OF(MODE_64, 0, sysret_64, not_canonical), FAULT(VEC_GP, 0));
	assert_int_equal(FAULT_OF(MODE_64, 0, sysexit_64, not_canonical), FAULT(VEC_GP, 0));
	assert_int_equal(FAULT_OF(MODE_64, 0, sysexit_64, NULL), FAULT(VEC_GP, 0)); /* CS is 0 */
	assert_int_equal(FAULT_OF(MODE_32, 3, sysenter_32, NULL), FAULT(VEC_GP, 0));
}

static void test_sysenter(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	r.s.sysenter_cs = SEL(CODE32) | 3;
	r.s.sysenter_esp = STACK0;
	r.s.sysenter_eip = TARGET;
	r.s.rflags |= FLAG_IF;
	r.ram[TARGET] = 0xf4;
	assert_int_equal(rig_run(&r, sysenter_32), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.gpr[RSP], STACK0);
	assert_int_equal(r.s.seg[CS].selector, SEL(CODE32));
	assert_int_equal(r.s.seg[SS].selector, SEL(CODE32) + 8);
	assert_false(r.s.rflags & FLAG_IF);
	rig_close(&r);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_targets),      cmocka_unit_test(test_call_to_compat),
	cmocka_unit_test(test_call_gate_32), cmocka_unit_test(test_call_gate_16),
	cmocka_unit_test(test_call_gate_64), cmocka_unit_test(test_call_gate_refusals),
	cmocka_unit_test(test_ret_outer),    cmocka_unit_test(test_syscall),
	cmocka_unit_test(test_sysret),       cmocka_unit_test(test_return_addresses),
	cmocka_unit_test(test_sysenter),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
