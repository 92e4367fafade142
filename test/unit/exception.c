/*
 * exception.c - tests of event delivery and IRET in every mode: frames, stacks, error codes, faults
 * on the way, double and triple faults.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/rings.h"

CODE(ud32, 32, "ud2");
CODE(ud64, 64, "ud2");
CODE(int42_32, 32, "int $0x42");
CODE(int43_32, 32, "int $0x43");
CODE(int42_64, 64, "int $0x42");
CODE(int43_64, 64, "int $0x43");
CODE(int42_16, 16, "int $0x42");
CODE(bad_ds, 32, "movl $0x1234, %eax\nmovl %eax, %ds");

static void test_same_ring_32(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	r.s.rflags = FLAG_FIXED | FLAG_IF | FLAG_NT | FLAG_CF;
	assert_int_equal(rig_run(&r, ud32), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_UD);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW - 12);
	assert_int_equal(rig_stack(&r, 0, 4), CODE_AT);
	assert_int_equal(rig_stack(&r, 1, 4), SEL(CODE32));
	assert_int_equal(rig_stack(&r, 2, 4), FLAG_FIXED | FLAG_IF | FLAG_NT | FLAG_CF | FLAG_RF);
	assert_int_equal(r.s.rflags & (FLAG_IF | FLAG_NT | FLAG_RF | FLAG_CF), FLAG_CF);
	rig_close(&r);
}

static void test_trap_gate_keeps_if(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	rig_gate(&r, 0x42, SEL(CODE32), 15, 0, 0);
	r.s.rflags |= FLAG_IF;
	assert_int_equal(rig_run(&r, int42_32), EXIT_HLT);
	assert_int_equal(r.s.rip, HANDLERS_AT + 0x421);
	assert_true(r.s.rflags & FLAG_IF);
	assert_int_equal(rig_stack(&r, 0, 4), CODE_AT + 2);
	assert_int_equal(rig_stack(&r, 2, 4), FLAG_FIXED | FLAG_IF);
	rig_close(&r);
}

static void test_gate_16_bit(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	rig_gate(&r, VEC_UD, SEL(CODE32), 6, 0, 0);
	assert_int_equal(rig_run(&r, ud32), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_UD);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW - 6);
	assert_int_equal(rig_stack(&r, 0, 2), CODE_AT & 0xffff);
	assert_int_equal(rig_stack(&r, 1, 2), SEL(CODE32));
	rig_close(&r);
}

static void test_inner_ring_32(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	assert_int_equal(rig_run(&r, bad_ds), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_GP);
	assert_int_equal(r.s.gpr[RSP], STACK0 - 24);
	assert_int_equal(rig_stack(&r, 0, 4), 0x1234);
	assert_int_equal(rig_stack(&r, 1, 4), CODE_AT + 5);
	assert_int_equal(rig_stack(&r, 2, 4), SEL(CODE32_3) | 3);
	assert_int_equal(rig_stack(&r, 4, 4), STACK_NOW);
	assert_int_equal(rig_stack(&r, 5, 4), SEL(DATA32_3) | 3);
	assert_int_equal(r.s.seg[CS].selector, SEL(CODE32));
	assert_int_equal(r.s.seg[SS].selector, SEL(DATA32));
	assert_int_equal(x86_cpl(&r.s), 0);
	assert_true(r.s.seg[CS].attr & SEG_ACCESSED);
	assert_int_equal(rig_get(&r, GDT_AT + SEL(CODE32) + 5, 1), 0x9b);
	rig_close(&r);
}

static void test_middle_ring_32(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	rig_gate(&r, 0x43, SEL(CODE32_1), 14, 3, 0);
	rig_put(&r, HANDLERS_AT + 0x430, 0x0b0f, 2); /* ud2 at ring 1: HLT would be #GP */
	assert_int_equal(rig_run(&r, int43_32), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_UD);
	assert_int_equal(rig_stack(&r, 1, 4), SEL(CODE32_1) | 1);
	assert_int_equal(rig_stack(&r, 3, 4), STACK1 - 20);
	assert_int_equal(rig_stack(&r, 4, 4), SEL(DATA32_1) | 1);
	assert_int_equal(rig_get(&r, STACK1 - 20, 4), CODE_AT + 2);
	rig_close(&r);
}

static void test_frame_64(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	r.s.gpr[RSP] = STACK_NOW - 3;
	assert_int_equal(rig_run(&r, ud64), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_UD);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW - 16 - 40); /* aligned first */
	assert_int_equal(rig_stack(&r, 0, 8), CODE_AT);
	assert_int_equal(rig_stack(&r, 3, 8), STACK_NOW - 3);
	assert_int_equal(rig_stack(&r, 4, 8), SEL(DATA32));
	assert_int_equal(r.s.seg[SS].selector, SEL(DATA32)); /* same level: kept */
	rig_close(&r);
}

static void test_from_user_64_and_compat(void **state)
{
	(void)state;
	for (unsigned compat = 0; compat < 2; compat++) {
		struct rig r = rig_open(compat ? MODE_COMPAT : MODE_64, 3);

		assert_int_equal(rig_run(&r, ud64), EXIT_HLT);
		assert_int_equal(rig_vector(&r), VEC_UD);
		assert_int_equal(r.s.gpr[RSP], STACK0 - 40);
		assert_int_equal(rig_stack(&r, 1, 8), (compat ? SEL(CODE32_3) : SEL(CODE64_3)) | 3);
		assert_int_equal(rig_stack(&r, 3, 8), STACK_NOW);
		assert_int_equal(rig_stack(&r, 4, 8), SEL(DATA32_3) | 3);
		assert_int_equal(r.s.seg[SS].selector, 0);
		assert_true(r.s.seg[SS].attr & SEG_UNUSABLE);
		assert_int_equal(x86_cpl(&r.s), 0);
		rig_close(&r);
	}
}

static void test_ist(void **state)
{
	(void)state;
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		struct rig r = rig_open(MODE_64, cpl);

		rig_gate(&r, VEC_UD, SEL(CODE64), 14, 0, 1);
		assert_int_equal(rig_run(&r, ud64), EXIT_HLT);
		assert_int_equal(rig_vector(&r), VEC_UD);
		assert_int_equal(r.s.gpr[RSP], STACK_IST - 40);
		rig_close(&r);
	}
}

static void small_idt(struct rig *r)
{
	r->s.idtr.limit = (uint16_t)((rig_long(r) ? 16 : 8) * 0x42 - 2);
}
static void gate_absent(struct rig *r)
{
	r->ram[IDT_AT + 0x43 * (rig_long(r) ? 16 : 8) + 5] &= 0x7f;
}
static void gate_type(struct rig *r)
{
	r->ram[IDT_AT + 0x43 * (rig_long(r) ? 16 : 8) + 5] = 0xec; /* call gate */
}
static void gate_null(struct rig *r)
{
	rig_gate(r, 0x43, 3, 14, 3, 0);
}
static void gate_to_data(struct rig *r)
{
	rig_gate(r, 0x43, SEL(DATA32), 14, 3, 0);
}
static void gate_to_absent(struct rig *r)
{
	rig_gate(r, 0x43, SEL(CODE_ABSENT), 14, 3, 0);
}
static void gate_outward(struct rig *r)
{
	rig_gate(r, 0x43, SEL(CODE32_3), 14, 3, 0);
}
static void gate_beyond(struct rig *r)
{
	rig_gate(r, 0x43, 0x7ff8, 14, 3, 0);
}
static void gate_past_limit(struct rig *r)
{
	rig_gate(r, 0x43, SEL(SMALL_CODE), 14, 3, 0);
}
static void tss_small(struct rig *r)
{
	r->s.tr.limit = 8;
}
static void tss_null_ss(struct rig *r)
{
	rig_put(r, TSS_AT + 8, 0, 2);
}
static void tss_ss_of_3(struct rig *r)
{
	rig_put(r, TSS_AT + 8, SEL(DATA32_3) | 3, 2);
}
static void tss_ss_absent(struct rig *r)
{
	rig_put(r, TSS_AT + 8, SEL(DATA_ABSENT), 2);
}
static void tss_ss_code(struct rig *r)
{
	rig_put(r, TSS_AT + 8, SEL(CODE32), 2);
}
static void gate_to_32(struct rig *r)
{
	rig_gate(r, 0x43, SEL(CODE32), 14, 3, 0);
}
static void gate_not_canonical(struct rig *r)
{
	rig_put(r, IDT_AT + 0x43 * 16 + 8, 0x8000, 4);
}
static void ist_beyond(struct rig *r)
{
	rig_gate(r, 0x43, SEL(CODE64), 14, 3, 7);
	r->s.tr.limit = 90;
}

/* clang-format off */
static const struct {
	const char *name;
	enum rig_mode mode;
	unsigned cpl;
	const uint8_t *begin, *end;
	void (*prepare)(struct rig *r);
	int fault;
} refusals[] = {
#define CASE(mode, cpl, code, prepare, fault)                                                      \
	{ #mode " " #cpl " " #code " " #prepare, mode, cpl, code##_begin, code##_end, prepare, fault }
	CASE(MODE_32, 3, int42_32, NULL, FAULT(VEC_GP, 0x42 * 8 + 2)),
	CASE(MODE_32, 0, int43_32, NULL, FAULT(0x43, 0)),
	CASE(MODE_64, 3, int42_64, NULL, FAULT(VEC_GP, 0x42 * 8 + 2)),
	CASE(MODE_32, 0, int42_32, small_idt, FAULT(VEC_GP, 0x42 * 8 + 2)),
	CASE(MODE_64, 0, int42_64, small_idt, FAULT(VEC_GP, 0x42 * 8 + 2)),
	CASE(MODE_32, 3, int43_32, gate_absent, FAULT(VEC_NP, 0x43 * 8 + 2)),
	CASE(MODE_64, 3, int43_64, gate_absent, FAULT(VEC_NP, 0x43 * 8 + 2)),
	CASE(MODE_32, 3, int43_32, gate_type, FAULT(VEC_GP, 0x43 * 8 + 2)),
	CASE(MODE_32, 3, int43_32, gate_null, FAULT(VEC_GP, 0)),
	CASE(MODE_32, 3, int43_32, gate_to_data, FAULT(VEC_GP, SEL(DATA32))),
	CASE(MODE_32, 3, int43_32, gate_to_absent, FAULT(VEC_NP, SEL(CODE_ABSENT))),
	CASE(MODE_32, 0, int43_32, gate_outward, FAULT(VEC_GP, SEL(CODE32_3))),
	CASE(MODE_32, 0, int43_32, gate_beyond, FAULT(VEC_GP, 0x7ff8)),
	CASE(MODE_32, 0, int43_32, gate_past_limit, FAULT(VEC_GP, 0)),
	CASE(MODE_32, 0, int43_32, tss_small, FAULT(0x43, 0)),
	CASE(MODE_64, 3, int43_64, gate_to_32, FAULT(VEC_GP, SEL(CODE32))),
	CASE(MODE_64, 3, int43_64, gate_not_canonical, FAULT(VEC_GP, 0)),
	CASE(MODE_64, 3, int43_64, ist_beyond, FAULT(VEC_TS, SEL(TSS))),
#undef CASE
};
/* clang-format on */

static void test_refusals(void **state)
{
	(void)state;
	for (unsigned n = 0; n < sizeof(refusals) / sizeof(refusals[0]); n++) {
		int fault = rig_fault_of(refusals[n].mode, refusals[n].cpl, refusals[n].begin,
					 refusals[n].end, refusals[n].prepare);

		if (fault != refusals[n].fault)
			print_error("%s: %#x, not %#x\n", refusals[n].name, (unsigned)fault,
				    (unsigned)refusals[n].fault);
		assert_int_equal(fault, refusals[n].fault);
	}
}

/* No ring 0 stack: #TS or #SS cannot be delivered either, nor can the double fault. But through a
 * conforming or same-ring gate they can. */
static void test_bad_inner_stack(void **state)
{
	static void (*const prepare[])(struct rig * r) = { tss_small, tss_null_ss, tss_ss_of_3,
							   tss_ss_absent, tss_ss_code };
	static const int expected[] = {
		FAULT(VEC_TS, SEL(TSS)),      FAULT(VEC_TS, 0),
		FAULT(VEC_TS, SEL(DATA32_3)), FAULT(VEC_SS, SEL(DATA_ABSENT)),
		FAULT(VEC_TS, SEL(CODE32)),
	};

	(void)state;
	for (unsigned n = 0; n < 5; n++) {
		struct rig r = rig_open(MODE_32, 3);

		prepare[n](&r);
		assert_int_equal(rig_run(&r, int43_32), EXIT_SHUTDOWN);
		rig_close(&r);

		r = rig_open(MODE_32, 3);
		prepare[n](&r);
		/* Handlers at ring 3: its HLT is #GP, whose handler loops. */
		rig_gate(&r, VEC_TS, SEL(CODE32_3), 14, 0, 0);
		rig_gate(&r, VEC_SS, SEL(CODE32_3), 14, 0, 0);
		r.ram[HANDLERS_AT + VEC_TS * 16] = r.ram[HANDLERS_AT + VEC_SS * 16] = 0xeb;
		r.ram[HANDLERS_AT + VEC_TS * 16 + 1] = r.ram[HANDLERS_AT + VEC_SS * 16 + 1] = 0xfe;
		assert_int_equal(rig_run(&r, int43_32), EXIT_BUDGET);
		assert_int_equal(r.s.rip, HANDLERS_AT + (expected[n] >> 16) * 16);
		assert_int_equal(rig_stack(&r, 0, 4), expected[n] & 0xffff);
		assert_int_equal(rig_stack(&r, 1, 4), CODE_AT);
		rig_close(&r);
	}
}

static void test_double_and_triple(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	rig_gate(&r, VEC_GP, SEL(DATA32), 14, 0, 0); /* #GP's gate faults: contributory twice */
	r.s.gpr[RAX] = 0x1234;
	CODE(load_ds, 64, "movl %eax, %ds");
	assert_int_equal(rig_run(&r, load_ds), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DF);
	assert_int_equal(rig_stack(&r, 0, 8), 0);
	assert_int_equal(rig_stack(&r, 1, 8), CODE_AT);
	assert_false(rig_stack(&r, 3, 8) & FLAG_RF);
	rig_close(&r);

	r = rig_open(MODE_64, 0);
	r.s.gpr[RAX] = 0x1234;
	rig_gate(&r, VEC_GP, SEL(DATA32), 14, 0, 0);
	rig_gate(&r, VEC_DF, SEL(DATA32), 14, 0, 0);
	assert_int_equal(rig_run(&r, load_ds), EXIT_SHUTDOWN);
	assert_int_equal(r.s.activity, ACTIVITY_SHUTDOWN);
	assert_int_equal(r.s.rip, CODE_AT);
	rig_close(&r);

	/* A benign exception and then a contributory one: the second is simply delivered. */
	r = rig_open(MODE_64, 0);
	rig_gate(&r, VEC_UD, SEL(DATA32), 14, 0, 0);
	assert_int_equal(rig_run(&r, ud64), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_GP);
	assert_int_equal(rig_stack(&r, 0, 8), SEL(DATA32) | 1); /* EXT */
	rig_close(&r);

	/* #GP, then #PF on the way to its handler: #PF. And #PF, then #PF: #DF. */
	r = rig_open(MODE_64, 0);
	r.s.gpr[RAX] = 0x1234;
	rig_gate(&r, VEC_GP, SEL(CODE64), 14, 0, 1);
	rig_put(&r, TSS_AT + 36, 0x200000, 8); /* not mapped */
	rig_gate(&r, VEC_DF, SEL(CODE64), 14, 0, 2);
	rig_put(&r, TSS_AT + 44, STACK_IST, 8);
	assert_int_equal(rig_run(&r, load_ds), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_PF);
	assert_int_equal(rig_stack(&r, 0, 8), PF_W);
	assert_int_equal(r.s.cr2, 0x200000 - 8);
	r.s.rip = CODE_AT;
	rig_gate(&r, VEC_PF, SEL(CODE64), 14, 0, 1);
	assert_int_equal(rig_run(&r, load_ds), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_DF);
	rig_close(&r);
}

/* The frame of an event in ring 3 may lie askew: else #AC would raise #AC for ever. */
static void test_no_alignment_check(void **state)
{
	struct rig r = rig_open(MODE_32, 3);

	(void)state;
	r.s.cr0 |= CR0_AM;
	r.s.rflags |= FLAG_AC;
	r.s.gpr[RSP] = STACK_NOW - 3;
	rig_gate(&r, VEC_UD, SEL(CODE32_3), 14, 0, 0);
	rig_gate(&r, VEC_AC, SEL(CODE32_3), 14, 0, 0);
	assert_int_equal(rig_run(&r, ud32), EXIT_HLT); /* HLT of ring 3 */
	assert_int_equal(rig_vector(&r), VEC_GP);
	assert_int_equal(rig_stack(&r, 1, 4), HANDLERS_AT + VEC_UD * 16);
	assert_int_equal(rig_stack(&r, 4, 4), STACK_NOW - 3 - 12);
	rig_close(&r);
}

/* ---- Real mode and v86 ---- */

static void test_real(void **state)
{
	struct rig r = rig_open(MODE_REAL, 0);

	(void)state;
	rig_put(&r, 0x42 * 4, 0x05000120, 4); /* 0500:0120 */
	r.ram[0x5120] = 0xf4;
	r.s.rflags = FLAG_FIXED | FLAG_IF | FLAG_TF | FLAG_AC;
	r.s.rflags &= ~(uint64_t)FLAG_TF;
	assert_int_equal(rig_run(&r, int42_16), EXIT_HLT);
	assert_int_equal(r.s.rip, 0x121);
	assert_int_equal(r.s.seg[CS].selector, 0x500);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW - 6);
	assert_int_equal(rig_stack(&r, 0, 2), 2);
	assert_int_equal(rig_stack(&r, 1, 2), CODE_AT >> 4);
	assert_int_equal(rig_stack(&r, 2, 2), FLAG_FIXED | FLAG_IF);
	assert_false(r.s.rflags & (FLAG_IF | FLAG_AC));
	rig_close(&r);

	/* Beyond the table everything is: #GP, #DF, shutdown. */
	r = rig_open(MODE_REAL, 0);
	r.s.idtr.limit = 3;
	assert_int_equal(rig_run(&r, int42_16), EXIT_SHUTDOWN);
	rig_close(&r);
}

CODE(iret_real, 16, "pushw $0x0ed7\npushw $0x600\npushw $0x10\niret");
static void test_iret_real(void **state)
{
	struct rig r = rig_open(MODE_REAL, 0);

	(void)state;
	r.ram[0x6010] = 0xf4;
	assert_int_equal(rig_run(&r, iret_real), EXIT_HLT);
	assert_int_equal(r.s.rip, 0x11);
	assert_int_equal(r.s.seg[CS].base, 0x6000);
	assert_int_equal(r.s.rflags, 0x0ed7);
	assert_int_equal(r.s.gpr[RSP], STACK_NOW);
	rig_close(&r);
}

/* IRETD into v86, where the 16-bit code at CODE_AT + 0x100 runs. */
CODE(to_v86, 32,
     "pushl $0x5006\npushl $0x4005\npushl $0x3004\npushl $0x2003\npushl $0x0900\npushl $0x800\n"
     "pushl %eax\npushl $0x1010\npushl $0\niretl");
CODE(v86_int, 16, "int $0x43");
CODE(v86_cli, 16, "cli");
CODE(v86_sti_pushf, 16, "sti\npushfw\npopw %bx\nint3");
static int v86(struct rig *r, const uint8_t *begin, const uint8_t *end, unsigned iopl)
{
	memcpy(r->ram + 0x10100, begin, (size_t)(end - begin));
	r->s.gpr[RAX] = FLAG_FIXED | FLAG_VM | iopl << 12;
	rig_gate(r, VEC_BP, SEL(CODE32), 14, 3, 0);
	rig_run_bytes(r, to_v86_begin, to_v86_end);
	return rig_vector(r);
}

static void test_v86(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	assert_int_equal(v86(&r, v86_int_begin, v86_int_end, 3), 0x43);
	assert_int_equal(r.s.gpr[RSP], STACK0 - 36);
	assert_int_equal(rig_stack(&r, 0, 4), 2);
	assert_int_equal(rig_stack(&r, 1, 4), 0x1010);
	assert_int_equal(rig_stack(&r, 2, 4), FLAG_FIXED | FLAG_VM | FLAG_IOPL);
	assert_int_equal(rig_stack(&r, 3, 4), 0x800);
	assert_int_equal(rig_stack(&r, 4, 4), 0x900);
	assert_int_equal(rig_stack(&r, 5, 4), 0x2003); /* ES DS FS GS */
	assert_int_equal(rig_stack(&r, 6, 4), 0x3004);
	assert_int_equal(rig_stack(&r, 7, 4), 0x4005);
	assert_int_equal(rig_stack(&r, 8, 4), 0x5006);
	assert_int_equal(r.s.seg[DS].selector, 0);
	assert_true(r.s.seg[DS].attr & SEG_UNUSABLE);
	assert_false(r.s.rflags & FLAG_VM);
	rig_close(&r);

	r = rig_open(MODE_32, 0);
	assert_int_equal(v86(&r, v86_int_begin, v86_int_end, 0), VEC_GP);
	assert_int_equal(rig_stack(&r, 0, 4), 0);
	assert_int_equal(rig_stack(&r, 1, 4), 0);
	rig_close(&r);
	r = rig_open(MODE_32, 0);
	assert_int_equal(v86(&r, v86_cli_begin, v86_cli_end, 0), VEC_GP);
	rig_close(&r);
	r = rig_open(MODE_32, 0);
	assert_int_equal(v86(&r, v86_sti_pushf_begin, v86_sti_pushf_end, 3), VEC_BP);
	assert_int_equal(r.s.gpr[RBX], FLAG_FIXED | FLAG_IF | FLAG_IOPL);
	rig_close(&r);

	/* The handler must be at ring 0. */
	r = rig_open(MODE_32, 0);
	rig_gate(&r, 0x43, SEL(CODE32_3), 14, 3, 0);
	assert_int_equal(v86(&r, v86_int_begin, v86_int_end, 3), VEC_GP);
	assert_int_equal(rig_stack(&r, 0, 4), SEL(CODE32_3));
	rig_close(&r);
}

/* ---- IRET ---- */

CODE(iret_32, 32, "pushl %edi\npushl %esi\npushl %eax\npushl %ebx\npushl %ecx\niretl");
static void test_iret_to_ring_3(void **state)
{
	struct rig r = rig_open(MODE_32, 0);

	(void)state;
	r.ram[0x12000] = 0xf4; /* #GP at ring 3 */
	r.s.gpr[RDI] = SEL(DATA32_3) | 3;
	r.s.gpr[RSI] = STACK3;
	r.s.gpr[RAX] = FLAG_FIXED | FLAG_IOPL | FLAG_IF | FLAG_RF | FLAG_ID | FLAG_VIF;
	r.s.gpr[RBX] = SEL(CODE32_3) | 3;
	r.s.gpr[RCX] = 0x12000;
	r.s.seg[GS] =
		(struct x86_seg){ .selector = 3, .base = 0x1234, .attr = SEG_UNUSABLE | 3 << 5 };
	assert_int_equal(rig_run(&r, iret_32), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_GP);
	assert_int_equal(rig_stack(&r, 1, 4), 0x12000);
	assert_int_equal(rig_stack(&r, 3, 4),
			 FLAG_FIXED | FLAG_IOPL | FLAG_IF | FLAG_RF | FLAG_ID | FLAG_VIF);
	assert_int_equal(rig_stack(&r, 4, 4), STACK3);
	assert_int_equal(r.s.seg[DS].selector, 0); /* was of ring 0 */
	assert_int_equal(r.s.seg[GS].selector, 0); /* was null with an RPL */
	assert_int_equal(r.s.seg[GS].base, 0x1234);
	rig_close(&r);
}

struct iret_case {
	uint64_t ss, cs, rip;
	int fault;
};

static int iret_fault(enum rig_mode mode, const struct iret_case *k, const uint8_t *begin,
		      const uint8_t *end)
{
	struct rig r = rig_open(mode, 0);
	unsigned bytes = rig_long(&r) ? 8 : 4;
	int fault;

	r.s.gpr[RDI] = k->ss;
	r.s.gpr[RSI] = STACK3;
	r.s.gpr[RAX] = FLAG_FIXED;
	r.s.gpr[RBX] = k->cs;
	r.s.gpr[RCX] = k->rip;
	r.ram[0x12000] = 0xcc; /* int3: not from ring 3 */
	assert_int_equal(rig_run_bytes(&r, begin, end), EXIT_HLT);
	fault = rig_fault(&r, bytes, true);
	if (fault >> 16 == VEC_BP)
		fault = NO_FAULT;
	else if (rig_stack(&r, 1, bytes) == 0x12000)
		fault = NO_FAULT; /* it arrived, and INT3's gate is closed to ring 3 */
	else
		assert_int_equal(rig_stack(&r, 4, 8) == 0 ? r.s.gpr[RSP] < STACK_NOW : 1, 1);
	rig_close(&r);
	return fault;
}

CODE(iret_64, 64, "pushq %rdi\npushq %rsi\npushq %rax\npushq %rbx\npushq %rcx\niretq");
static void test_iret_refusals(void **state)
{
	/* clang-format off */
	static const struct iret_case cases32[] = {
		{ SEL(DATA32_3) | 3, SEL(CODE32_3) | 3, 0x12000, NO_FAULT },
		{ 0, SEL(CODE32), 0x12000, NO_FAULT },
		{ 0, 0, 0x12000, FAULT(VEC_GP, 0) },
		{ 0, SEL(DATA32), 0x12000, FAULT(VEC_GP, SEL(DATA32)) },
		{ 0, SEL(CODE32_3), 0x12000, FAULT(VEC_GP, SEL(CODE32_3)) },
		{ 0, SEL(CODE_ABSENT), 0x12000, FAULT(VEC_NP, SEL(CODE_ABSENT)) },
		{ 0, SEL(SMALL_CODE), 0x12000, FAULT(VEC_GP, 0) },
		{ 0, SEL(CODE32_3) | 3, 0x12000, FAULT(VEC_GP, 0) },
		{ SEL(DATA32_3), SEL(CODE32_3) | 3, 0x12000, FAULT(VEC_GP, SEL(DATA32_3)) },
		{ SEL(DATA32) | 3, SEL(CODE32_3) | 3, 0x12000, FAULT(VEC_GP, SEL(DATA32)) },
		{ 0x7ffb, SEL(CODE32_3) | 3, 0x12000, FAULT(VEC_GP, 0x7ff8) },
		{ SEL(CODE32_3) | 3, SEL(CODE32_3) | 3, 0x12000, FAULT(VEC_GP, SEL(CODE32_3)) },
	};
	static const struct iret_case cases64[] = {
		{ SEL(DATA32_3) | 3, SEL(CODE64_3) | 3, 0x12000, NO_FAULT },
		{ SEL(DATA32_3) | 3, SEL(CODE32_3) | 3, 0x12000, NO_FAULT },
		{ 0, SEL(CODE64), 0x12000, NO_FAULT },
		{ 0, SEL(CODE32), 0x12000, FAULT(VEC_GP, 0) },
		{ 0, SEL(CODE64_3) | 3, 0x12000, FAULT(VEC_GP, 0) },
		{ 1, SEL(CODE64), 0x12000, FAULT(VEC_GP, 0) },
		{ 0, SEL(CODE64), UINT64_C(0x800000000000), FAULT(VEC_GP, 0) },
		{ SEL(DATA32), SEL(CODE_LD), 0x12000, FAULT(VEC_GP, SEL(CODE_LD)) },
		{ SEL(DATA32), SEL(CODE32), UINT64_C(0x100012000), FAULT(VEC_GP, 0) },
	};
	/* clang-format on */

	(void)state;
	for (unsigned n = 0; n < sizeof(cases32) / sizeof(cases32[0]); n++) {
		int fault = iret_fault(MODE_32, &cases32[n], iret_32_begin, iret_32_end);

		if (fault != cases32[n].fault)
			print_error("32-bit case %u\n", n);
		assert_int_equal(fault, cases32[n].fault);
	}
	for (unsigned n = 0; n < sizeof(cases64) / sizeof(cases64[0]); n++) {
		int fault = iret_fault(MODE_64, &cases64[n], iret_64_begin, iret_64_end);

		if (fault != cases64[n].fault)
			print_error("64-bit case %u\n", n);
		assert_int_equal(fault, cases64[n].fault);
	}
}

CODE(iret_nt, 64, "pushfq\norq $0x4000, (%rsp)\npopfq\niretq");
static void test_iret_nt_in_long_mode(void **state)
{
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	assert_int_equal(rig_run(&r, iret_nt), EXIT_HLT);
	assert_int_equal(rig_fault(&r, 8, true), FAULT(VEC_GP, 0));
	rig_close(&r);
}

/* An NMI blocks the next one until IRET. */
CODE(idle_64, 64, "nop\nhlt");
CODE(back_64, 64, "iretq");
static void test_nmi(void **state)
{
	static const struct event nmi = { .kind = EVENT_NMI, .vector = VEC_NMI };
	struct rig r = rig_open(MODE_64, 0);

	(void)state;
	memcpy(r.ram + HANDLERS_AT + VEC_NMI * 16 + 1, back_64_begin, 2);
	assert_int_equal(rig_run(&r, idle_64), EXIT_HLT);
	assert_true(interp_ops.can_inject(r.vcpu, &nmi));
	assert_int_equal(interp_ops.inject(r.vcpu, &nmi), 0);
	assert_false(interp_ops.can_inject(r.vcpu, &nmi));
	assert_int_equal(rig_go(&r, 100), EXIT_HLT);
	assert_int_equal(rig_vector(&r), VEC_NMI);
	assert_false(interp_ops.can_inject(r.vcpu, &nmi));
	assert_int_equal(rig_go(&r, 1), EXIT_BUDGET);
	assert_true(interp_ops.can_inject(r.vcpu, &nmi));
	assert_int_equal(r.s.rip, CODE_AT + 2);
	rig_close(&r);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_same_ring_32),
	cmocka_unit_test(test_trap_gate_keeps_if),
	cmocka_unit_test(test_gate_16_bit),
	cmocka_unit_test(test_inner_ring_32),
	cmocka_unit_test(test_middle_ring_32),
	cmocka_unit_test(test_frame_64),
	cmocka_unit_test(test_from_user_64_and_compat),
	cmocka_unit_test(test_ist),
	cmocka_unit_test(test_refusals),
	cmocka_unit_test(test_bad_inner_stack),
	cmocka_unit_test(test_double_and_triple),
	cmocka_unit_test(test_no_alignment_check),
	cmocka_unit_test(test_real),
	cmocka_unit_test(test_iret_real),
	cmocka_unit_test(test_v86),
	cmocka_unit_test(test_iret_to_ring_3),
	cmocka_unit_test(test_iret_refusals),
	cmocka_unit_test(test_iret_nt_in_long_mode),
	cmocka_unit_test(test_nmi),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
