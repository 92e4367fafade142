/*
 * bt_program.h - what a program of bt.c's table is, and where its memory lies (bt_programs.h).
 *
 * The page tables map the memory one to one, and once more at HIGH; the last page of either half
 * of the address space leads to EDGE_PAGE. Exceptions lead to what the program has at HANDLER from
 * its start: the same for every vector, on a stack of its own (IST 1), with R14 holding the error
 * code or 0.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_BT_PROGRAM_H
#define TEST_UNIT_BT_PROGRAM_H

#include "test/unit/lockstep.h"

#define HIGH      UINT64_C(0xffffffff80000000) /* the whole memory again */
#define LOW_EDGE  UINT64_C(0x00007ffffffff000)
#define HIGH_EDGE UINT64_C(0xfffffffffffff000)
#define EDGE_PAGE 0x1a0000
#define TABLES    0x1c0000 /* for the three above */
#define TSS       0x1800
#define IST_STACK 0x1f0000
#define STACK     0x120000
#define ENTRIES   0x1e0000 /* of vectors, 16 bytes each */
#define PCID_PML4 0x1d0000 /* a second address space: page 0x140000 is page 0x141000 */
#define SPACE_PT  0x1d3000
#define HANDLER   0x800

/* X(name, assembly): position-independent, its handler at HANDLER. */
#define ASSEMBLE(name, text)                                                                       \
	__asm__(".pushsection .rodata\n.intel_syntax noprefix\n.balign 16\n" #name ":\n" text      \
		"\n" #name "_end:\n.att_syntax\n.popsection\n");                                   \
	extern const uint8_t name[], name##_end[];

/* Passes over: R15 says where to go on. R13 remembers which exception, where and with which
 * error; RDX the stack. */
#define PASS_OVER                                                                                  \
	"\n.org . + 0x800 - (. - 9b)\n"                                                            \
	"  rol r13, 5; add r13, r14; add r13, [rsp]; add rdx, [rsp + 24]; xor r13, [rsp + 16]\n"   \
	"  mov [rsp], r15; iretq\n"

struct program {
	const char *name;
	const uint8_t *code, *end;
	void (*setup)(struct guest *g, struct x86_state *s);
	uint64_t most;    /* instructions */
	bool old_entries; /* sees stale entries of the TLB: another TLB, another result */
	bool real_time;   /* is the same at its end in a real-time machine, too */
};

#endif
