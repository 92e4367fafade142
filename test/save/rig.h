/*
 * rig.h - a PC with a small guest that goes through every kind of exit, and streams in memory.
 *
 * The guest runs in 32-bit protected mode with paging, on 64 KiB:
 *
 *	1000  GDT, IDT		2000  page directory (4 MiB pages)
 *	3000  code		4000  counters, a buffer		6000  end of the stack
 *
 * It sets up both interrupt controllers and five sources of interrupts (8254, MC146818, serial
 * port, local APIC timer, exceptions), then goes round in a loop for ever. Each round counts
 * in memory, so that machines that differ once go on to differ.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SAVE_RIG_H
#define TEST_SAVE_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/engines.h"
#include "board/pc.h"
#include "cpu/segment.h"

#define RIG_MEMORY UINT64_C(0x10000)
enum {
	RIG_GDT = 0x1000,
	RIG_IDT = 0x1100,
	RIG_PAGES = 0x2000,
	RIG_CODE = 0x3000,
	RIG_STACK = 0x6000
};

/* clang-format off */
asm(	".pushsection .rodata\n"
	".code32\n"
	".macro put port, value; mov $\\value, %al; mov $\\port, %dx; out %al, %dx; .endm\n"
	".macro get port; mov $\\port, %dx; in %dx, %al; .endm\n"
	"rig_code:\n"
	/* 8259 pair: vectors 20h and 28h; lines 0, 2, 4, 8 open. */
	"put 0x20, 0x11; put 0x21, 0x20; put 0x21, 4; put 0x21, 1; put 0x21, 0xea\n"
	"put 0xa0, 0x11; put 0xa1, 0x28; put 0xa1, 2; put 0xa1, 1; put 0xa1, 0xfe\n"
	/* 8254: counter 0, mode 2, 40 pulses; counter 2 counts for nobody. */
	"put 0x43, 0x34; put 0x40, 40; put 0x40, 0\n"
	"put 0x43, 0xb6; put 0x42, 0x34; put 0x42, 0x12; put 0x61, 3\n"
	/* MC146818: periodic interrupt at 8192 Hz. */
	"put 0x70, 0x0a; put 0x71, 0x23; put 0x70, 0x0b; put 0x71, 0x42\n"
	/* Serial port: FIFOs, trigger at 8, divisor 12, all interrupts. */
	"put 0x3fb, 0x83; put 0x3f8, 12; put 0x3f9, 0; put 0x3fb, 3\n"
	"put 0x3fa, 0x81; put 0x3f9, 0x0f; put 0x3fc, 0x0b\n"
	/* Local APIC: on, ExtINT on LINT0, periodic timer at vector 30h. I/O APIC: a masked pin. */
	"movl $0x1ff, 0xfee000f0; movl $0x700, 0xfee00350; movl $0xb, 0xfee003e0\n"
	"movl $0x20030, 0xfee00320; movl $20001, 0xfee00380\n"
	"movl $0x15, 0xfec00000; movl $0x10077, 0xfec00010\n"
	/* FPU and SSE on. */
	"mov %cr4, %eax; or $0x600, %eax; mov %eax, %cr4; fninit\n"

	"round: incl 0x4000\n"
	"sti; nop\n"
	"xor %eax, %eax; cpuid; add %ebx, 0x4004\n"
	"mov $0x10, %ecx; rdmsr; add %eax, 0x4008\n"
	"mov $0xc0000103, %ecx; mov 0x4000, %eax; xor %edx, %edx; wrmsr\n"
	"rdtsc; add %eax, 0x400c\n"
	"rdrand %eax; add %eax, 0x4010\n"
	"mov $0x54500001, %eax; mov $0x4000, %ebx; mov $40, %ecx; vmcall; add %eax, 0x4014\n"
	"mov $0x54500003, %eax; vmcall\n"
	/* Exceptions: breakpoint, undefined, divide, page fault (resumes at EBP), single step. */
	"int3; ud2; xor %ecx, %ecx; div %ecx\n"
	"mov $(1f - rig_code + 0x3000), %ebp; mov 0x400000, %eax; 1: invlpg 0x400000\n"
	"pushf; orl $0x100, (%esp); popf; nop; nop; pushf; andl $~0x100, (%esp); popf\n"
	/* A data breakpoint; one that MOV SS holds back. */
	"mov $0x4018, %eax; mov %eax, %dr0; mov $0xd0602, %eax; mov %eax, %dr7\n"
	"incl 0x4018; mov %ss, %ax; mov %eax, %ss; incl 0x4018; xor %eax, %eax; mov %eax, %dr7\n"
	/* x87 and SSE. */
	"fld1; fldpi; faddp; fstps 0x4020; movd 0x4000, %xmm0; paddd %xmm0, %xmm1\n"
	"movups %xmm1, 0x4040; cvtdq2ps %xmm1, %xmm2\n"
	/* The devices: counts, the clock, the serial port in loop-back with half a FIFO. */
	"put 0x43, 0xd2; get 0x40; get 0x40; add %al, 0x4030; get 0x61; add %al, 0x4031\n"
	"put 0x70, 0; get 0x71; add %al, 0x4032; get 0x608; add %al, 0x4033\n"
	"put 0x3fc, 0x1b; put 0x3f8, 0x41; put 0x3f8, 0x42; put 0x3f8, 0x43; get 0x3f8\n"
	"put 0x3fc, 0x0b; put 0x3f8, 0x44; get 0x3fd; add %al, 0x4034\n"
	"mov 0xfee00390, %eax; add %eax, 0x4038; mov 0xfec00010, %eax; add %eax, 0x403c\n"
	/* Strings: memory, and out of a port. */
	"mov $0x4100, %edi; mov $900, %ecx; mov 0x4000, %al; rep stosb\n"
	"mov $0x4100, %esi; mov $20, %ecx; mov $0x3f8, %dx; rep outsb\n"
	"mov $0x4500, %edi; mov $9, %ecx; mov $0x3f8, %dx; rep insb\n"
	"mov $0x4100, %esi; mov $0x4800, %edi; mov $100, %ecx; rep movsl\n"
	/* Interrupts held back until a window opens; then sleep. */
	"cli; mov $1200, %ecx; 2: loop 2b; sti; nop\n"
	"sti; hlt; jmp round\n"

	".balign 16\n"
	"rig_breakpoint: incl 0x4050; iret\n"
	"rig_debug: incl 0x4054; mov %dr6, %ebp; add %ebp, 0x4058; xor %ebp, %ebp; mov %ebp, %dr6; iret\n"
	"rig_skip_two: incl 0x405c; addl $2, (%esp); iret\n"
	"rig_page_fault: incl 0x4060; add $4, %esp; mov %ebp, (%esp); iret\n"
	"rig_timer: push %eax; push %edx; incl 0x4064; put 0x20, 0x20; pop %edx; pop %eax; iret\n"
	"rig_clock: push %eax; push %edx; incl 0x4068; put 0x70, 0x0c; get 0x71; add %al, 0x406c\n"
	"	put 0xa0, 0x20; put 0x20, 0x20; pop %edx; pop %eax; iret\n"
	"rig_serial: push %eax; push %edx; incl 0x4070; get 0x3fa; add %al, 0x4074; get 0x3fd\n"
	"	get 0x3f8; add %al, 0x4075; get 0x3fe; put 0x20, 0x20; pop %edx; pop %eax; iret\n"
	"rig_apic: incl 0x4078; movl $0, 0xfee000b0; iret\n"
	"rig_spurious: incl 0x407c; iret\n"
	"rig_code_end:\n"
	".code64\n"
	".popsection\n");
/* clang-format on */
extern const uint8_t rig_code[], rig_code_end[], rig_breakpoint[], rig_debug[], rig_skip_two[],
	rig_page_fault[], rig_timer[], rig_clock[], rig_serial[], rig_apic[], rig_spurious[];

static const struct {
	uint8_t vector;
	const uint8_t *handler;
} rig_handlers[] = {
	{VEC_DE,  rig_skip_two  },
        { VEC_DB, rig_debug     },
        { VEC_BP, rig_breakpoint},
	{ VEC_UD, rig_skip_two  },
        { VEC_PF, rig_page_fault},
        { 0x20,   rig_timer     },
	{ 0x24,   rig_serial    },
        { 0x27,   rig_spurious  },
        { 0x28,   rig_clock     },
	{ 0x30,   rig_apic      },
};

static inline void rig_store(struct pc *pc, uint64_t at, const void *from, uint64_t bytes)
{
	if (mem_load(&pc->vm->mem, gpa(at), from, bytes))
		abort();
}

static inline void rig_tables(struct pc *pc)
{
	static const uint64_t gdt[3] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	uint32_t directory[1024] = { 0x83 };

	directory[0xfec00000u >> 22] = 0xfec00083u;
	rig_store(pc, RIG_GDT, gdt, sizeof(gdt));
	rig_store(pc, RIG_PAGES, directory, sizeof(directory));
	rig_store(pc, RIG_CODE, rig_code, (uint64_t)(rig_code_end - rig_code));
	for (unsigned i = 0; i < sizeof(rig_handlers) / sizeof(rig_handlers[0]); i++) {
		uint64_t at = RIG_CODE + (uint64_t)(rig_handlers[i].handler - rig_code);
		/* Bits 15-0 of the address, the code selector, an interrupt gate. */
		uint64_t gate = at | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32;

		rig_store(pc, RIG_IDT + 8u * rig_handlers[i].vector, &gate, 8);
	}
}

static inline void rig_enter(struct pc *pc)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s.seg[i] = i == CS ? segment_unpack(8, 0x00cf9b000000ffff)
				   : segment_unpack(16, 0x00cf93000000ffff);
	s.gdtr = (struct x86_table){ RIG_GDT, 23 };
	s.idtr = (struct x86_table){ RIG_IDT, 0x31 * 8 - 1 };
	s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	s.cr3 = RIG_PAGES;
	s.cr4 = CR4_PSE;
	s.rip = RIG_CODE;
	s.gpr[RSP] = RIG_STACK;
	if (vcpu_set_state(pc->vm->vcpu[0], &s, NULL))
		abort();
}

/* Runs something that may sleep for ever without being halted for good: for a millisecond. */
static inline void rig_quit(void *arg, uint64_t now)
{
	(void)now;
	vm_request(arg, VM_QUIT, 0);
}

static inline void rig_run_anything(struct pc *pc, uint64_t instructions)
{
	struct clock *clock = &pc->vm->clock;
	struct alarm quit = { .at = ALARM_NONE, .fn = rig_quit, .arg = pc->vm };
	int status;

	clock_set_alarm(clock, &quit, clock_now(clock) + 1000000);
	vm_run(pc->vm, instructions, &status, NULL);
	clock_set_alarm(clock, &quit, ALARM_NONE);
}

/* A machine of the rig's kind at power-on: what a stream is loaded into. */
static inline struct pc *rig_open_empty(void)
{
	struct pc_config config = {
		.engine = engine_auto(ENGINE_COUNTED, NULL),
		.vcpus = 1,
		.counted = true,
		.no_reboot = true,
		.debug_exit = true,
	};
	struct fail why = { 0, "no engine" };
	struct pc *pc = config.engine ? pc_open(&config, &why) : NULL;

	if (!pc || mem_add(pc->vm, gpa(0), RIG_MEMORY, NULL, false, &why)) {
		fprintf(stderr, "rig: %s\n", why.text);
		abort();
	}
	pc->vm->halt_ends = true;
	vm_input_ended(pc->vm);
	return pc;
}

/* The same with the guest about to run. */
static inline struct pc *rig_open_guest(void)
{
	struct pc *pc = rig_open_empty();

	rig_tables(pc);
	rig_enter(pc);
	return pc;
}

#endif
