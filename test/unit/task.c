/*
 * task.c - tests of the hardware task switch: what is saved and loaded, busy bits, back links, NT,
 * the T bit, and faults before and after the point of no return.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

#define TARGET 0x12000
#define STACKB 0x9400

CODE(jmp_task, 32, "ljmp *(%ebx)");
CODE(call_task, 32, "lcall *(%ebx)");

static uint8_t access_of(const struct rig *r, unsigned selector)
{
	return r->ram[GDT_AT + selector + 5];
}

/* TSS B: ring 0, HLT at TARGET, registers 0xb0..0xb7. */
static void put_task(struct rig *r)
{
	rig_put(r, TSS_B_AT + 28, 0, 4);
	rig_put(r, TSS_B_AT + 32, TARGET, 4);
	rig_put(r, TSS_B_AT + 36, FLAG_FIXED | FLAG_CF, 4);
	for (unsigned n = 0; n < 8; n++)
		rig_put(r, TSS_B_AT + 40 + 4 * n, n == RSP ? STACKB : 0xb0 + n, 4);
	for (unsigned n = 0; n < 6; n++)
		rig_put(r, TSS_B_AT + 72 + 4 * n, n == CS ? SEL(CODE32) : SEL(DATA32), 2);
	r->ram[TARGET] = 0xf4;
	rig_put(r, 0x13000, (uint64_t)SEL(TSS_B) << 32, 6);
	r->s.gpr[RBX] = 0x13000;
}

static void test_jmp(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	put_task(&r);
	r.s.gpr[RSI] = 0x51;
	r.s.dr7 = 0x400 | 0x155;
	assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(r.s.gpr[RAX], 0xb0);
	assert_int_equal(r.s.gpr[RDI], 0xb7);
	assert_int_equal(r.s.gpr[RSP], STACKB);
	assert_int_equal(r.s.rflags, FLAG_FIXED | FLAG_CF);
	assert_int_equal(r.s.tr.selector, SEL(TSS_B));
	assert_true(r.s.cr0 & CR0_TS);
	assert_int_equal(r.s.dr7, 0x400); /* local breakpoints end */
	assert_int_equal(access_of(&r, SEL(TSS)), 0x89);
	assert_int_equal(access_of(&r, SEL(TSS_B)), 0x8b);
	assert_int_equal(rig_get(&r, TSS_AT + 32, 4), CODE_AT + 2);
	assert_int_equal(rig_get(&r, TSS_AT + 36, 4), FLAG_FIXED);
	assert_int_equal(rig_get(&r, TSS_AT + 40 + 4 * RSI, 4), 0x51);
	assert_int_equal(rig_get(&r, TSS_AT + 40 + 4 * RSP, 4), STACK_NOW);
	assert_int_equal(rig_get(&r, TSS_AT + 72 + 4 * CS, 2), SEL(CODE32));
	assert_int_equal(rig_get(&r, TSS_AT + 72 + 4 * DS, 2), SEL(DATA32));
	rig_close(&r);
}

/* CALL, and IRET back through the link. */
static void test_call_and_iret(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	put_task(&r);
	r.ram[TARGET] = 0xcf;
	r.ram[CODE_AT + 2] = 0xf4;
	assert_int_equal(rig_run(&r, call_task), EXIT_HLT);
	assert_int_equal(r.s.rip, CODE_AT + 3);
	assert_int_equal(r.s.tr.selector, SEL(TSS));
	assert_int_equal(access_of(&r, SEL(TSS)), 0x8b);
	assert_int_equal(access_of(&r, SEL(TSS_B)), 0x89);
	assert_int_equal(rig_get(&r, TSS_B_AT, 2), SEL(TSS));
	assert_int_equal(rig_get(&r, TSS_B_AT + 32, 4), TARGET + 1);
	assert_false(rig_get(&r, TSS_B_AT + 36, 4) & FLAG_NT); /* was set while it ran */
	assert_false(r.s.rflags & FLAG_NT);
	rig_close(&r);

	r = rig_open(MODE_32, 0);
	put_task(&r);
	assert_int_equal(rig_run(&r, call_task), EXIT_HLT);
	assert_true(r.s.rflags & FLAG_NT);
	assert_int_equal(access_of(&r, SEL(TSS)), 0x8b);
	rig_close(&r);
}

static void test_tss_16(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	put_task(&r);
	rig_put(&r, 0x13000, (uint64_t)SEL(TSS16) << 32, 6);
	rig_put(&r, TSS16_AT + 14, TARGET & 0xffff, 2);
	rig_put(&r, TSS16_AT + 16, FLAG_FIXED | FLAG_ZF, 2);
	for (unsigned n = 0; n < 8; n++)
		rig_put(&r, TSS16_AT + 18 + 2 * n, 0x1600 + n, 2);
	for (unsigned n = 0; n < 4; n++)
		rig_put(&r, TSS16_AT + 34 + 2 * n, n == CS ? SEL(CODE32) : SEL(DATA32), 2);
	r.ram[TARGET & 0xffff] = 0xf4;
	assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
	assert_int_equal(r.s.rip, (TARGET & 0xffff) + 1);
	assert_int_equal(r.s.gpr[RBP] & 0xffff, 0x1605);
	assert_int_equal(r.s.rflags, FLAG_FIXED | FLAG_ZF);
	assert_int_equal(r.s.seg[FS].selector, 0);
	assert_int_equal(access_of(&r, SEL(TSS16)), 0x83);
	rig_close(&r);
}

/* An exception through a task gate: the error code is on the new task's stack. */
CODE(load_bad, 32, "movl $0x1234, %eax\nmovl %eax, %ds");
static void test_task_gate(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	put_task(&r);
	rig_gate(&r, VEC_GP, SEL(TSS_B), 5, 0, 0);
	assert_int_equal(rig_run(&r, load_bad), EXIT_HLT);
	assert_int_equal(r.s.rip, TARGET + 1);
	assert_int_equal(x86_cpl(&r.s), 0);
	assert_int_equal(r.s.gpr[RSP], STACKB - 4);
	assert_int_equal(rig_stack(&r, 0, 4), 0x1234);
	assert_int_equal(rig_get(&r, TSS_AT + 32, 4), CODE_AT + 5);
	assert_true(rig_get(&r, TSS_AT + 36, 4) & FLAG_RF);
	assert_int_equal(rig_get(&r, TSS_B_AT, 2), SEL(TSS));
	rig_close(&r);
}

static void test_trap_bit(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	put_task(&r);
	rig_put(&r, TSS_B_AT + 100, 1, 2);
	assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DB);
	assert_int_equal(rig_stack(&r, 0, 4), TARGET);
	assert_int_equal(r.s.dr6, 0xffff8ff0);
	rig_close(&r);

	/* The task gate for #DB leads to the running task, which is busy: #GP. */
	r = rig_open(MODE_32, 0);
	put_task(&r);
	rig_put(&r, TSS_B_AT + 100, 1, 2);
	rig_gate(&r, VEC_DB, SEL(TSS_B), 5, 0, 0);
	assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 4, true), FAULT(VEC_GP, SEL(TSS_B) | 1));
	rig_close(&r);
}

/* ---- Faults ---- */

static void b_busy(struct rig *r)
{
	r->ram[GDT_AT + SEL(TSS_B) + 5] |= 2;
}
static void b_absent(struct rig *r)
{
	r->ram[GDT_AT + SEL(TSS_B) + 5] &= 0x7f;
}
static void b_small(struct rig *r)
{
	r->ram[GDT_AT + SEL(TSS_B)] = 0x66;
}
static void b_cs_null(struct rig *r)
{
	rig_put(r, TSS_B_AT + 76, 0, 2);
}
static void b_cs_data(struct rig *r)
{
	rig_put(r, TSS_B_AT + 76, SEL(DATA32), 2);
}
static void b_cs_absent(struct rig *r)
{
	rig_put(r, TSS_B_AT + 76, SEL(CODE_ABSENT), 2);
}
static void b_ss_of_3(struct rig *r)
{
	rig_put(r, TSS_B_AT + 80, SEL(DATA32_3), 2);
}
static void b_ss_absent(struct rig *r)
{
	rig_put(r, TSS_B_AT + 80, SEL(DATA_ABSENT), 2);
}
static void b_ds_absent(struct rig *r)
{
	rig_put(r, TSS_B_AT + 84, SEL(DATA_ABSENT), 2);
}
static void b_ds_system(struct rig *r)
{
	rig_put(r, TSS_B_AT + 84, SEL(LDT), 2);
}
static void b_ldt_bad(struct rig *r)
{
	rig_put(r, TSS_B_AT + 96, SEL(DATA32), 2);
}
static void b_ldt_absent(struct rig *r)
{
	rig_put(r, TSS_B_AT + 96, SEL(LDT_ABSENT), 2);
}
static void b_eip(struct rig *r)
{
	rig_put(r, TSS_B_AT + 76, SEL(SMALL_CODE), 2);
}

static void test_faults(void **state)
{
	/* late: the fault is the new task's, whose EIP its frame has. */
	static const struct {
		void (*prepare)(struct rig *r);
		int fault;
		bool late;
	} cases[] = {
		{b_busy,        FAULT(VEC_GP, SEL(TSS_B)),       false},
		{ b_absent,     FAULT(VEC_NP, SEL(TSS_B)),       false},
		{ b_small,      FAULT(VEC_TS, SEL(TSS_B)),       false},
		{ b_cs_null,    FAULT(VEC_TS, 0),                true },
		{ b_cs_data,    FAULT(VEC_TS, SEL(DATA32)),      true },
		{ b_cs_absent,  FAULT(VEC_NP, SEL(CODE_ABSENT)), true },
		{ b_ldt_bad,    FAULT(VEC_TS, SEL(DATA32)),      true },
		{ b_ldt_absent, FAULT(VEC_TS, SEL(LDT_ABSENT)),  true },
		{ b_ds_absent,  FAULT(VEC_NP, SEL(DATA_ABSENT)), true },
		{ b_ds_system,  FAULT(VEC_TS, SEL(LDT)),         true },
		{ b_eip,        FAULT(VEC_GP, 0),                true },
	};

	(void)state;
	for (unsigned n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		struct rig r = rig_open(MODE_32, 0);
		bool no_stack = n == 3 || n == 4 || n == 5 || n == 6 || n == 7;

		put_task(&r);
		cases[n].prepare(&r);
		/* Before SS is loaded there is no stack at this ring: the handler is a task. */
		if (no_stack) {
			rig_put(&r, TSS16_AT + 14, TARGET & 0xffff, 2);
			rig_put(&r, TSS16_AT + 26, STACKB, 2);
			for (unsigned k = 0; k < 4; k++)
				rig_put(&r, TSS16_AT + 34 + 2 * k,
					k == CS ? SEL(CODE32) : SEL(DATA32), 2);
			r.ram[TARGET & 0xffff] = 0xf4;
			rig_gate(&r, (unsigned)cases[n].fault >> 16, SEL(TSS16), 5, 0, 0);
		}
		assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
		if (no_stack) {
			assert_int_equal(r.s.rip, (TARGET & 0xffff) + 1);
			assert_int_equal(rig_stack(&r, 0, 2), cases[n].fault & 0xffff);
			assert_int_equal(rig_get(&r, TSS_B_AT + 32, 4), TARGET);
		} else {
			assert_int_equal(rig_fault(&r, 4, true), cases[n].fault);
			assert_int_equal(rig_stack(&r, 1, 4), cases[n].late ? TARGET : CODE_AT);
			assert_int_equal(r.s.tr.selector, cases[n].late ? SEL(TSS_B) : SEL(TSS));
		}
		rig_close(&r);
	}
}

/* A bad SS leaves nothing to push the fault on: the end, and run() says so. */
static void test_no_stack_at_all(void **state)
{
	static void (*const prepare[])(struct rig * r) = { b_ss_of_3, b_ss_absent };

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		struct rig r = rig_open(MODE_32, 0);

		put_task(&r);
		prepare[n](&r);
		assert_int_equal(rig_run(&r, jmp_task), EXIT_SHUTDOWN);
		assert_int_equal(r.s.activity, ACTIVITY_SHUTDOWN);
		rig_close(&r);
	}
}

static void test_into_v86(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	put_task(&r);
	rig_put(&r, TSS_B_AT + 32, 0x10, 4);
	rig_put(&r, TSS_B_AT + 36, FLAG_FIXED | FLAG_VM, 4);
	rig_put(&r, TSS_B_AT + 76, 0x1200, 2);
	rig_put(&r, TSS_B_AT + 4, STACK0, 4);
	rig_put(&r, TSS_B_AT + 8, SEL(DATA32), 2);
	r.ram[TARGET + 0x10] = 0xf4; /* #GP in v86 */
	assert_int_equal(rig_run(&r, jmp_task), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 4, true), FAULT(VEC_GP, 0));
	assert_int_equal(rig_stack(&r, 1, 4), 0x10);
	assert_int_equal(rig_stack(&r, 2, 4), 0x1200);
	assert_true(rig_stack(&r, 3, 4) & FLAG_VM);
	rig_close(&r);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_jmp),
	cmocka_unit_test(test_call_and_iret),
	cmocka_unit_test(test_tss_16),
	cmocka_unit_test(test_task_gate),
	cmocka_unit_test(test_trap_bit),
	cmocka_unit_test(test_faults),
	cmocka_unit_test(test_no_stack_at_all),
	cmocka_unit_test(test_into_v86),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
