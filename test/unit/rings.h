/*
 * rings.h - a machine of 1 MiB for tests of the privileged instructions: a GDT with one of
 * everything, an IDT, task-state segments, a stack for each ring.
 *
 * CODE() assembles a few instructions of any mode; rig_run() executes them at CODE_AT until HLT.
 * Each vector's handler is an HLT of its own: rig_vector() says which was reached.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_RINGS_H
#define TEST_UNIT_RINGS_H

#include <string.h>

#include "engine/interp/engine_interp.h"
#include "engine/interp/interp.h"
#include "test/cmocka.h"

#define RIG_BYTES   0x100000
#define GDT_AT      0x1000
#define IDT_AT      0x2000
#define LDT_AT      0x3000
#define TSS_AT      0x4000 /* the running task's */
#define TSS_B_AT    0x4400 /* another, 32-bit */
#define TSS16_AT    0x4800
#define HANDLERS_AT 0x5000 /* 16 bytes a vector */
#define STACK0      0x7000 /* tops */
#define STACK1      0x7400
#define STACK3      0x8000
#define STACK_IST   0x9000
#define STACK_NOW   0x9800 /* what the test starts with */
#define PML4_AT     0xa000
#define PDPT_AT     0xb000
#define PD_AT       0xc000
#define PT_AT       0xd000
#define CODE_AT     0x10000

/* X(name, descriptor) in the order of the GDT; some take two slots in long mode. */
#define DESCRIPTORS(X)                                                                             \
	X(NULL_SLOT, 0)                                                                            \
	X(CODE32, 0x00cf9a000000ffff)                                                              \
	X(DATA32, 0x00cf92000000ffff)                                                              \
	X(CODE32_3, 0x00cffa000000ffff)                                                            \
	X(DATA32_3, 0x00cff2000000ffff)                                                            \
	X(CODE64, 0x00af9a000000ffff)                                                              \
	X(CODE64_3, 0x00affa000000ffff)                                                            \
	X(CODE16, 0x00009a000000ffff)                                                              \
	X(DATA16, 0x000092000000ffff)                                                              \
	X(CODE32_1, 0x00cfba000000ffff)                                                            \
	X(DATA32_1, 0x00cfb2000000ffff)                                                            \
	X(CONFORMING, 0x00cf9e000000ffff)                                                          \
	X(CODE_ABSENT, 0x00cf1a000000ffff)                                                         \
	X(DATA_ABSENT, 0x00cf12000000ffff)                                                         \
	X(READ_ONLY, 0x00cf90000000ffff)                                                           \
	X(EXECUTE_ONLY, 0x00cf98000000ffff)                                                        \
	X(SMALL_CODE, 0x00409a0000000fff)                                                          \
	X(CODE_LD, 0x00ef9a000000ffff)                                                             \
	X(EXPAND_DOWN, 0x0040960000000fff)                                                         \
	X(TSS, 0x00008b0000000067 | (uint64_t)TSS_AT << 16)                                        \
	X(TSS_UPPER, 0)                                                                            \
	X(TSS_B, 0x0000890000000067 | (uint64_t)TSS_B_AT << 16)                                    \
	X(TSS_B_UPPER, 0)                                                                          \
	X(TSS16, 0x000081000000002b | (uint64_t)TSS16_AT << 16)                                    \
	X(LDT, 0x000082000000000f | (uint64_t)LDT_AT << 16)                                        \
	X(LDT_UPPER, 0)                                                                            \
	X(GATE, 0)                                                                                 \
	X(GATE_UPPER, 0)                                                                           \
	X(INT_GATE, 0x00008e0000080000)                                                            \
	X(TSS_ABSENT, 0x0000090000000067)                                                          \
	X(LDT_ABSENT, 0x000002000000000f)
enum descriptor_slot {
#define X(name, raw) SLOT_##name,
	DESCRIPTORS(X)
#undef X
		SLOT_COUNT
};
#define SEL(name) (SLOT_##name * 8)

/* Machine code of these instructions in a mode of `bits`: NAME_begin to NAME_end. */
#define CODE(name, bits, text)                                                                     \
	extern const uint8_t name##_begin[], name##_end[];                                         \
	__asm__(".pushsection .rodata\n.code" #bits "\n" #name "_begin:\n" text "\n" #name         \
		"_end:\n.code64\n.popsection")

struct rig {
	struct vm *vm;
	struct vcpu *vcpu;
	struct interp *c;
	uint8_t *ram;
	struct x86_state s; /* what rig_run() starts from */
};

enum rig_mode { MODE_REAL, MODE_16, MODE_32, MODE_COMPAT, MODE_64 };

static inline void rig_put(struct rig *r, uint64_t at, uint64_t value, unsigned bytes)
{
	memcpy(r->ram + at, &value, bytes);
}

static inline uint64_t rig_get(const struct rig *r, uint64_t at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, r->ram + at, bytes);
	return value;
}

static inline bool rig_long(const struct rig *r)
{
	return r->s.efer & EFER_LMA;
}

/* type: 14 interrupt gate, 15 trap gate, 6 and 7 their 16-bit forms, 5 task gate. */
static inline void rig_gate(struct rig *r, unsigned vector, uint16_t selector, unsigned type,
			    unsigned dpl, unsigned ist)
{
	uint64_t offset = HANDLERS_AT + vector * 16;
	unsigned size = rig_long(r) ? 16 : 8;

	if (rig_long(r))
		rig_put(r, IDT_AT + vector * size + 8, 0, 8);
	rig_put(r, IDT_AT + vector * size,
		(offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 |
			(uint64_t)(0x80 | dpl << 5 | type) << 40,
		8);
}

static inline struct x86_seg rig_segment(const struct rig *r, uint16_t selector)
{
	struct x86_seg seg = segment_unpack(selector, rig_get(r, GDT_AT + (selector & 0xfff8), 8));

	if (seg.attr & SEG_S)
		seg.attr |= SEG_ACCESSED;
	return seg;
}

static inline void rig_tables(struct rig *r)
{
	static const uint64_t gdt[] = {
#define X(name, raw) raw,
		DESCRIPTORS(X)
#undef X
	};
	bool lm = rig_long(r);

	memset(r->ram, 0, CODE_AT);
	memcpy(r->ram + GDT_AT, gdt, sizeof(gdt));
	for (unsigned v = 0; v < 256; v++) {
		rig_gate(r, v, lm ? SEL(CODE64) : SEL(CODE32), 14, v == 0x43 ? 3 : 0, 0);
		r->ram[HANDLERS_AT + v * 16] = 0xf4;
	}
	if (lm) {
		rig_put(r, TSS_AT + 4, STACK0, 8);
		rig_put(r, TSS_AT + 12, STACK1, 8);
		rig_put(r, TSS_AT + 36, STACK_IST, 8);
	} else {
		rig_put(r, TSS_AT + 4, STACK0, 4);
		rig_put(r, TSS_AT + 8, SEL(DATA32), 2);
		rig_put(r, TSS_AT + 12, STACK1, 4);
		rig_put(r, TSS_AT + 16, SEL(DATA32_1) | 1, 2);
	}
	rig_put(r, TSS_AT + 102, 104, 2);
	rig_put(r, PML4_AT, PDPT_AT | 7, 8);
	rig_put(r, PDPT_AT, PD_AT | 7, 8);
	rig_put(r, PD_AT, PT_AT | 7, 8);
	for (uint64_t n = 0; n < 256; n++)
		rig_put(r, PT_AT + n * 8, n << 12 | 7, 8);
}

static inline void rig_code_segment(struct rig *r, enum rig_mode mode, unsigned cpl)
{
	static const uint16_t cs[][2] = {
		[MODE_16] = {SEL(CODE16),  SEL(CODE16)  },
		[MODE_32] = { SEL(CODE32), SEL(CODE32_3)},
		[MODE_COMPAT] = { SEL(CODE32), SEL(CODE32_3)},
		[MODE_64] = { SEL(CODE64), SEL(CODE64_3)},
	};
	uint16_t code = cpl == 1 ? SEL(CODE32_1) : cs[mode][cpl == 3];
	uint16_t data = cpl == 3          ? SEL(DATA32_3)
			: cpl == 1        ? SEL(DATA32_1)
			: mode == MODE_16 ? SEL(DATA16)
					  : SEL(DATA32);

	r->s.seg[CS] = rig_segment(r, (uint16_t)(code | cpl));
	for (unsigned n = 0; n < SEG_COUNT; n++)
		if (n != CS)
			r->s.seg[n] = rig_segment(r, (uint16_t)(data | cpl));
}

/* Opens a machine that is about to execute CODE_AT at this level, stack at STACK_NOW. */
static inline struct rig rig_open(enum rig_mode mode, unsigned cpl)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 1, .counted = true };
	struct rig r = { 0 };
	struct fail why;

	r.vm = vm_open(&config, &why);
	assert_non_null(r.vm);
	assert_int_equal(mem_add(r.vm, gpa(0), RIG_BYTES, NULL, false, &why), 0);
	r.vcpu = r.vm->vcpu[0];
	r.c = r.vcpu->engine;
	r.ram = mem_host(&r.vm->mem, gpa(0), RIG_BYTES);
	x86_state_reset(&r.s, true);
	if (mode >= MODE_COMPAT)
		r.s.efer = EFER_LME | EFER_LMA | EFER_NX | EFER_SCE;
	rig_tables(&r);
	r.s.cr0 = CR0_NE | CR0_ET | (mode == MODE_REAL ? 0 : CR0_PE);
	if (mode >= MODE_COMPAT) {
		r.s.cr0 |= CR0_PG | CR0_WP;
		r.s.cr3 = PML4_AT;
		r.s.cr4 = CR4_PAE;
	}
	r.s.gdtr = (struct x86_table){ GDT_AT, SLOT_COUNT * 8 - 1 };
	r.s.idtr = (struct x86_table){ IDT_AT, mode >= MODE_COMPAT ? 0xfff : 0x7ff };
	r.s.gpr[RSP] = STACK_NOW;
	r.s.rip = CODE_AT;
	if (mode == MODE_REAL) {
		for (unsigned n = 0; n < SEG_COUNT; n++)
			segment_load_real(&r.s.seg[n], 0);
		segment_load_real(&r.s.seg[CS], CODE_AT >> 4);
		r.s.rip = 0;
		r.s.idtr = (struct x86_table){ 0, 0x3ff };
		return r;
	}
	if (mode == MODE_16) {
		rig_put(&r, GDT_AT + SEL(CODE16) + 4, 0x9a, 1); /* base CODE_AT, so that IP fits */
		rig_put(&r, GDT_AT + SEL(CODE16), UINT64_C(0x00009a010000ffff), 8);
		r.s.rip = 0;
	}
	rig_code_segment(&r, mode, cpl);
	r.s.tr = rig_segment(&r, SEL(TSS));
	return r;
}

static inline void rig_close(struct rig *r)
{
	vm_close(r->vm);
}

static inline enum exit_reason rig_go(struct rig *r, uint64_t budget)
{
	struct exit exit = { .reason = EXIT_REASON_COUNT };

	do { /* a pending #DB leaves run() */
		atomic_store(&r->vcpu->notice, false);
		r->vcpu->budget = budget;
		assert_int_equal(interp_ops.run(r->vcpu, &exit), 0);
	} while (exit.reason == EXIT_KICK);
	interp_ops.get_state(r->vcpu, &r->s);
	return exit.reason;
}

/* Executes these bytes from r->s on; r->s becomes the state after it. */
static inline enum exit_reason rig_run_bytes(struct rig *r, const uint8_t *begin,
					     const uint8_t *end)
{
	struct fail why = { 0 };

	memcpy(r->ram + CODE_AT, begin, (size_t)(end - begin));
	if (vcpu_set_state(r->vcpu, &r->s, &why) != 0)
		print_error("%s\n", why.text);
	assert_string_equal(why.text, "");
	interp_ops.forget(r->vcpu);
	return rig_go(r, 1000);
}
#define rig_run(r, name) rig_run_bytes(r, name##_begin, name##_end)

/* The vector whose handler's HLT was executed last, or -1. */
static inline int rig_vector(const struct rig *r)
{
	uint64_t rip = r->s.rip + (x86_real_mode(&r->s) ? r->s.seg[CS].base : 0);

	if (rip <= HANDLERS_AT || rip > HANDLERS_AT + 256 * 16 || (rip - 1) % 16)
		return -1;
	return (int)((rip - 1 - HANDLERS_AT) / 16);
}

/* Slot n of the stack, counted from its top, of `bytes` each. */
static inline uint64_t rig_stack(const struct rig *r, unsigned n, unsigned bytes)
{
	return rig_get(r, r->s.gpr[RSP] + n * bytes, bytes);
}

/* The fault that `name` ends in at `mode` and `cpl`: vector << 16 | error, -1 for none. Its RIP
 * must be CODE_AT and nothing but the handler's registers may have changed. */
#define NO_FAULT (-1)
static inline int rig_fault(struct rig *r, unsigned bytes, bool has_error)
{
	if (rig_vector(r) < 0)
		return NO_FAULT;
	return rig_vector(r) << 16 | (has_error ? (int)(uint16_t)rig_stack(r, 0, bytes) : 0);
}

static inline int rig_fault_of(enum rig_mode mode, unsigned cpl, const uint8_t *begin,
			       const uint8_t *end, void (*prepare)(struct rig *r))
{
	struct rig r = rig_open(mode, cpl);
	bool error;
	int fault;

	if (prepare)
		prepare(&r);
	assert_int_equal(rig_run_bytes(&r, begin, end), EXIT_HLT);
	error = rig_vector(&r) == VEC_DF ||
		(rig_vector(&r) >= VEC_TS && rig_vector(&r) <= VEC_PF) || rig_vector(&r) == VEC_AC;
	fault = rig_fault(&r, rig_long(&r) ? 8 : 4, error);
	if (fault != NO_FAULT && fault >> 16 != VEC_DB && fault >> 16 < 32)
		assert_int_equal(rig_stack(&r, error, rig_long(&r) ? 8 : 4) & 0xffffff, CODE_AT);
	rig_close(&r);
	return fault;
}
#define FAULT(vector, error) ((vector) << 16 | (error))
#define FAULT_OF(mode, cpl, name, prepare)                                                         \
	rig_fault_of(mode, cpl, name##_begin, name##_end, prepare)

#endif
