/*
 * kvm_rig.h - machines on a kernel that plays KVM (fake_kvm.h), and a state worth giving them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_KVM_RIG_H
#define TEST_UNIT_KVM_RIG_H

#include "cpu/msr.h"
#include "test/cmocka.h"
#include "test/unit/fake_kvm.h"

#define MEMORY UINT64_C(0x10000)

static inline int setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

static inline struct vm *open_vm(struct fail *why)
{
	struct vm_config config = { .engine = &kvm_ops, .vcpus = 1, .tsc_khz = 1000000 };

	return vm_open(&config, why);
}

static inline struct vm *open_whole(void)
{
	struct fail why = { 0 };
	struct vm *vm = open_vm(&why);

	if (!vm)
		print_error("%s\n", why.text);
	assert_non_null(vm);
	assert_int_equal(mem_add(vm, gpa(0), MEMORY, NULL, false, &why), 0);
	return vm;
}

static inline void assert_nothing_open(void)
{
	assert_int_equal(fake.fds, 0);
	assert_int_equal(fake.maps, 0);
}

/* Every field different from its neighbours, and one that a CPU can be in. */
static inline struct x86_state odd_state(void)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	for (unsigned i = 0; i < GPR_COUNT; i++)
		s.gpr[i] = UINT64_C(0x1111111111111111) * i + 1;
	s.rip = 0x12345;
	s.rflags = FLAG_FIXED | FLAG_IF | FLAG_ZF;
	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	s.cr2 = 0xdeadbeef000;
	s.cr3 = 0x5000;
	s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE;
	s.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NX;
	s.xcr0 = 7;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s.seg[i] = (struct x86_seg){ .base = i < FS ? 0 : UINT64_C(0xffff888000000000) + i,
					     .limit = 0xffffffff,
					     .attr = SEG_P | SEG_S | SEG_WRITE | SEG_ACCESSED |
						     SEG_DB | SEG_G,
					     .selector = (uint16_t)(8 * i + 8) };
	s.seg[CS].attr =
		SEG_P | SEG_S | SEG_CODE | SEG_WRITE | SEG_ACCESSED | SEG_L | SEG_G | SEG_AVL;
	s.seg[DS] = (struct x86_seg){ .attr = SEG_UNUSABLE };
	s.ldtr = (struct x86_seg){ .attr = SEG_UNUSABLE };
	s.tr = (struct x86_seg){ 0xffffffff81000000, 0x67, SEG_P | 11, 0x40 };
	s.gdtr = (struct x86_table){ 0xffffffff82000000, 0x7f };
	s.idtr = (struct x86_table){ 0xffffffff83000000, 0xfff };
	for (unsigned i = 0; i < 4; i++)
		s.dr[i] = 0x100 + i;
	s.dr6 = 0xffff0ff1;
	s.dr7 = 0x402;
	s.star = 0x23001000000000;
	s.lstar = 0xffffffff81800000;
	s.cstar = 0xffffffff81800100;
	s.fmask = 0x47700;
	s.kernel_gs_base = 0x7fff12345000;
	s.sysenter_cs = 0x10;
	s.sysenter_esp = 0xffffffff81900000;
	s.sysenter_eip = 0xffffffff81900100;
	s.pat = UINT64_C(0x0007040600070400);
	s.tsc_aux = 5;
	s.tsc_adjust = 77;
	s.mtrr_def_type = 0xc06;
	s.mtrr_base[3] = 0x80000000;
	s.mtrr_mask[3] = 0x3fff80000800;
	s.fpu.fcw = 0x27f;
	s.fpu.fsw = 0x3800;
	s.fpu.ftw = 0x81;
	s.fpu.fop = 0x123;
	s.fpu.fip = 0x1122334455667788;
	s.fpu.fdp = 0x8877665544332211;
	s.fpu.mxcsr = 0x1fa0;
	for (unsigned i = 0; i < 8; i++) {
		s.fpu.st[i].mant = UINT64_C(0x8000000000000000) + i;
		s.fpu.st[i].exp = 0x3fff + i;
	}
	for (unsigned i = 0; i < 16; i++)
		for (unsigned j = 0; j < 4; j++)
			s.fpu.ymm[i][j] = UINT64_C(0x0101010101010101) * i + j;
	s.shadow = SHADOW_STI;
	s.nmi_blocked = 1;
	s.instructions = 987654321;
	s.random_state = 42;
	return s;
}

#define T(name) cmocka_unit_test_setup(name, setup)

#endif
