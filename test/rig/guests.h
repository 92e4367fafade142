/*
 * guests.h - short guests for engines: the same program under two of them must leave the same
 * memory, the same registers and the same sequence of device accesses.
 *
 * Each starts in real mode at 0:1000h and ends with interrupts off in HLT. Its results are at
 * 0:4000h and up. They are short enough for a KVM that emulates each instruction.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_RIG_GUESTS_H
#define TEST_RIG_GUESTS_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_CODE 0x1000

/* GUEST(name, "assembly"): 16-bit code; AT(label) is the address of a label in it. */
#define GUEST(name, text)                                                                          \
	extern const uint8_t guest_##name[], guest_##name##_end[];                                 \
	__asm__(".pushsection .rodata\n.code16\n.macro AT16 label, reg\n movw $(\\label - "      \
		"guest_" #name " + 0x1000), \\reg\n.endm\n"                                     \
		".globl guest_" #name "\n.globl guest_" #name "_end\nguest_" #name ":\n" text        \
		"\nguest_" #name "_end:\n.purgem AT16\n.code64\n.popsection")

/* Ports and memory of a device, in every size; strings; a page boundary; ROM. */
GUEST(accesses, "\n\
	cli\n\
	cld\n\
	movw $0x500, %dx\n\
	movl $0x11223344, %eax\n\
	outb %al, %dx\n\
	incw %dx\n\
	outw %ax, %dx\n\
	outl %eax, %dx\n\
	inb %dx, %al\n\
	inw %dx, %ax\n\
	inl %dx, %eax\n\
	movl %eax, 0x4000\n\
	inb $0x99, %al\n\
	movb %al, 0x4004\n\
	AT16 1f, %si\n\
	movw $5, %cx\n\
	rep outsb\n\
	movw $0x4010, %di\n\
	movw $4, %cx\n\
	rep insw\n\
	movw $0xd000, %ax\n\
	movw %ax, %es\n\
	movb %es:0x1, %al\n\
	movw %es:0x2, %bx\n\
	movl %es:0x8, %ebx\n\
	movl %ebx, 0x4020\n\
	movl $0xcafebabe, %es:0x10\n\
	movw $0x1234, %es:0x21\n\
	movb $0x56, %es:0x31\n\
	movl %es:0xffe, %ecx\n\
	movl %ecx, 0x4024\n\
	movl $0x01020304, %es:0xffd\n\
	addb $1, %es:0x40\n\
	xorw %di, %di\n\
	AT16 1f, %si\n\
	movw $3, %cx\n\
	rep movsw\n\
	movw $0xe000, %ax\n\
	movw %ax, %es\n\
	movb $0x55, %es:0\n\
	movl %es:0, %eax\n\
	movl %eax, 0x4028\n\
	movw $0xc000, %ax\n\
	movw %ax, %es\n\
	movl %es:0, %eax\n\
	movl %eax, 0x402c\n\
	hlt\n\
1:	.ascii \"strings\"");

/* MSRs of every kind of owner; #GP where there is none. */
GUEST(msrs, "\n\
	cli\n\
	movw $0, 0x34\n\
	AT16 8f, %ax\n\
	movw %ax, 0x34\n\
	movw $0, 0x36\n\
	movw $0x4000, %di\n\
	xorl %esi, %esi\n\
	AT16 9f, %bp\n\
1:	movl %cs:(%bp), %ecx\n\
	addw $4, %bp\n\
	cmpl $-1, %ecx\n\
	je 2f\n\
	xorl %eax, %eax\n\
	xorl %edx, %edx\n\
	rdmsr\n\
	stosl\n\
	movl %edx, %eax\n\
	stosl\n\
	jmp 1b\n\
2:	movl $0x2ff, %ecx\n\
	movl $0xc06, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	rdmsr\n\
	stosl\n\
	movl $0xff, %eax\n\
	wrmsr\n\
	movl $0xc0000082, %ecx\n\
	movl $0x12345678, %eax\n\
	movl $0xffffffff, %edx\n\
	wrmsr\n\
	rdmsr\n\
	stosl\n\
	movl %edx, %eax\n\
	stosl\n\
	movl $0x3b, %ecx\n\
	movl $1000, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	rdmsr\n\
	stosl\n\
	movl $0x1b, %ecx\n\
	rdmsr\n\
	orl $0x400, %eax\n\
	wrmsr\n\
	movl $0x80f, %ecx\n\
	rdmsr\n\
	stosl\n\
	movl $0x803, %ecx\n\
	rdmsr\n\
	stosl\n\
	movl $0x808, %ecx\n\
	movl $0x20, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	rdmsr\n\
	stosl\n\
	movl %esi, 0x4400\n\
	hlt\n\
8:	incl %esi\n\
	pushw %bp\n\
	movw %sp, %bp\n\
	addw $2, 2(%bp)\n\
	popw %bp\n\
	iretw\n\
9:	.long 0x1b, 0x17, 0x3a, 0x8b, 0xfe, 0x10a, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9, 0x200\n\
	.long 0x201, 0x250, 0x258, 0x268, 0x26f, 0x277, 0x2ff, 0x6e0, 0x802, 0xc0000080, 0xc0000081\n\
	.long 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0x4b564d00, 0x12345, 0x3b, -1");

/* CPUID: all that a model says. */
GUEST(cpuid, "\n\
	cli\n\
	movw $0x4000, %di\n\
	AT16 7f, %bp\n\
3:	movl %cs:(%bp), %eax\n\
	cmpl $-1, %eax\n\
	je 4f\n\
	movl %cs:4(%bp), %ecx\n\
	cpuid\n\
	stosl\n\
	movl %ebx, %eax\n\
	stosl\n\
	movl %ecx, %eax\n\
	stosl\n\
	movl %edx, %eax\n\
	stosl\n\
	addw $8, %bp\n\
	jmp 3b\n\
4:	hlt\n\
7:	.long 0, 0, 1, 0, 2, 0, 4, 0, 4, 3, 6, 0, 7, 0, 7, 1, 0xb, 0, 0xb, 1, 0xd, 0, 0xd, 1, 0x15, 0\n\
	.long 0x16, 0, 0x40000000, 0, 0x40000001, 0, 0x40000010, 0, 0x80000000, 0, 0x80000001, 0\n\
	.long 0x80000002, 0, 0x80000006, 0, 0x80000007, 0, 0x80000008, 0, 0x17, 0, 0x80000009, 0, -1");

/* Exceptions and software interrupts in real mode, each noted by its vector. */
GUEST(exceptions, "\n\
	cli\n\
	movw $0x4000, %di\n\
	AT16 8f, %ax\n\
	xorw %bx, %bx\n\
	movw $20, %cx\n\
1:	movw %ax, (%bx)\n\
	movw $0, 2(%bx)\n\
	addw $4, %bx\n\
	addw $8, %ax\n\
	loop 1b\n\
	xorw %cx, %cx\n\
	int $18\n\
	AT16 2f, %bp\n\
	divw %cx\n\
2:	AT16 3f, %bp\n\
	ud2\n\
3:	xorw %bp, %bp\n\
	movb $0x7f, %al\n\
	addb $1, %al\n\
	into\n\
	int3\n\
	pushfw\n\
	popw %ax\n\
	stosw\n\
	pushfw\n\
	orw $0x100, (%esp)\n\
	popfw\n\
	nop\n\
	nop\n\
	pushfw\n\
	andw $0xfeff, (%esp)\n\
	popfw\n\
	movw %ss, %ax\n\
	movw %ax, %ss\n\
	sti\n\
	cli\n\
	hlt\n\
	.balign 8\n\
8:	.rept 20\n\
	pushw $(. - 8b)\n\
	jmp 9f\n\
	.balign 8, 0x90\n\
	.endr\n\
9:	popw %ax\n\
	stosw\n\
	movw %sp, %si\n\
	movw (%si), %ax\n\
	stosw\n\
	movw 4(%si), %ax\n\
	stosw\n\
	cmpw $0, %bp\n\
	je 10f\n\
	movw %bp, (%si)\n\
10:	iretw");

/* An access beyond a segment's limit. */
GUEST(limits, "\n\
	cli\n\
	movw $0x4000, %di\n\
	movw $0, 0x36\n\
	AT16 8f, %ax\n\
	movw %ax, 0x34\n\
	movw $0xffff, %bx\n\
	movw (%bx), %ax\n\
	hlt\n\
8:	popw %ax\n\
	stosw\n\
	hlt");

/* From real mode to flat 32-bit code, ES:EDI at the results. GDT: 8 code, 16 data, 24 a segment of
 * 4 KiB at 4000h, 32 a TSS at 7000h. Exceptions: #GP leads to label 5, INT 30h to label 6. */
#define ENTER32(name)                                                                              \
	"\n cli\n lgdtw %cs:(11f - guest_" #name " + 0x1000)\n"                                   \
	"lidtw %cs:(12f - guest_" #name " + 0x1000)\n"                                            \
	"movl %cr0, %eax\n orb $1, %al\n movl %eax, %cr0\n"                                      \
	"ljmpl $8, $(1f - guest_" #name " + 0x1000)\n .code32\n 1:\n"                             \
	"movw $16, %ax\n movw %ax, %ds\n movw %ax, %es\n movw %ax, %ss\n"                        \
	"xorl %eax, %eax\n movw %ax, %fs\n movl $0x8000, %esp\n"                                 \
	"movw $32, %ax\n ltr %ax\n movw $24, %ax\n movw %ax, %gs\n movl $0x4000, %edi\n cld\n"
#define TABLES32(name)                                                                             \
	"\n .balign 8\n 10: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"                    \
	".quad 0x0040930040000fff, 0x0000890070000067\n"                                          \
	"11: .word 39\n .long (10b - guest_" #name " + 0x1000)\n"                                \
	"12: .word 0x3ff\n .long (13f - guest_" #name " + 0x1000)\n .balign 8\n"                 \
	"13: .fill 13, 8, 0\n .word (5b - guest_" #name " + 0x1000), 8, 0x8e00, 0\n"             \
	".fill 34, 8, 0\n .word (6b - guest_" #name " + 0x1000), 8, 0x8f00, 0\n .code16\n"

/* Descriptors, strings, arithmetic, a device. */
GUEST(protected, ENTER32(protected) "\n\
	str %ax\n\
	stosl\n\
	movl $0x1000, %esi\n\
	movl $16, %ecx\n\
	rep movsl\n\
	movl $40, %ebx\n\
2:	leal -1(%ebx), %eax\n\
	imull %ebx, %eax\n\
	rorl $3, %eax\n\
	adcl %eax, %edx\n\
	decl %ebx\n\
	jnz 2b\n\
	movl %edx, %eax\n\
	stosl\n\
	movl %gs:0x10, %eax\n\
	stosl\n\
	sgdtl (%edi)\n\
	addl $8, %edi\n\
	movl 0xd0000, %eax\n\
	stosl\n\
	movl %eax, 0xd0004\n\
	lcalll $8, $(9f - guest_protected + 0x1000)\n\
	movl %eax, 0x4100\n\
5:6:	hlt\n\
9:	movl $0xca11, %eax\n\
	lretl\n" TABLES32(protected));

/* Faults and gates in it. RF goes from the frames: software processors differ about it. */
GUEST(gates, ENTER32(gates) "\n\
	movw $24, %ax\n\
	larl %eax, %eax\n\
	stosl\n\
	movw $0x77, %ax\n\
	movw %ax, %fs\n\
	nop\n\
	int $0x30\n\
	hlt\n\
5:	popl %eax\n\
	stosl\n\
	popl %eax\n\
	stosl\n\
	cmpb $0x65, (%eax)\n\
	je 7f\n\
	addl $3, %eax\n\
	jmp 8f\n\
7:	addl $6, %eax\n\
8:	pushl %eax\n\
	andb $0xfe, 10(%esp)\n\
	iretl\n\
6:	movl $0x30303030, %eax\n\
	stosl\n\
	iretl\n" TABLES32(gates));

/* From real mode to 64-bit code. GDT: 8 code, 16 data. #PF leads to label 2. */
#define ENTER64(name)                                                                              \
	"\n cli\n cld\n movl $0x9003, 0x8000\n movl $0xa003, 0x9000\n movl $0x83, 0xa000\n"      \
	"movl $0x8000, %eax\n movl %eax, %cr3\n movl $0x20, %eax\n movl %eax, %cr4\n"            \
	"movl $0xc0000080, %ecx\n movl $0x100, %eax\n xorl %edx, %edx\n wrmsr\n"                \
	"lgdtw %cs:(11f - guest_" #name " + 0x1000)\n movl $0x80000011, %eax\n"                  \
	"movl %eax, %cr0\n ljmpl $8, $(1f - guest_" #name " + 0x1000)\n .code64\n 1:\n"          \
	"movl $16, %eax\n movl %eax, %ds\n movl %eax, %es\n movl %eax, %ss\n"                   \
	"movl $0x7000, %esp\n lidtq (12f - guest_" #name " + 0x1000)\n movl $0x4000, %edi\n"
#define TABLES64(name)                                                                             \
	"\n .balign 8\n 10: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"                    \
	"11: .word 23\n .long (10b - guest_" #name " + 0x1000)\n"                                \
	"12: .word 0xef\n .quad (13f - guest_" #name " + 0x1000)\n .balign 8\n"                  \
	"13: .fill 28, 8, 0\n .word (2b - guest_" #name " + 0x1000), 8, 0x8e00, 0\n"             \
	".quad 0\n .code16\n"

/* Four-level paging, MSRs of segments, MMIO of eight bytes, CR8. */
GUEST(long, ENTER64(long) "\n\
	movabsq $0x123456789abcdef0, %rax\n\
	stosq\n\
	movq %rax, %rbx\n\
	rolq $13, %rbx\n\
	mulq %rbx\n\
	stosq\n\
	movq %rdx, %rax\n\
	stosq\n\
	movq 0xd0100, %rax\n\
	stosq\n\
	movq %rax, 0xd0108\n\
	movl $0xc0000101, %ecx\n\
	movl $0x4000, %eax\n\
	xorl %edx, %edx\n\
	wrmsr\n\
	movq %gs:0, %rax\n\
	stosq\n\
	movl $0x2000, %eax\n\
	movl $0xc0000102, %ecx\n\
	wrmsr\n\
	swapgs\n\
	movl $0xc0000101, %ecx\n\
	rdmsr\n\
	stosq\n\
	movl $5, %eax\n\
	movq %rax, %cr8\n\
	movq %cr8, %rax\n\
	stosq\n\
	hlt\n\
2:	hlt" TABLES64(long));

/* A page fault in it. */
GUEST(fault, ENTER64(fault) "\n\
	movq 0x40000000, %rax\n\
	stosq\n\
	hlt\n\
2:	popq %rax\n\
	stosq\n\
	movq %cr2, %rax\n\
	stosq\n\
	addq $8, (%rsp)\n\
	andb $0xfe, 18(%rsp)\n\
	iretq" TABLES64(fault));

/* x87 and SSE. */
GUEST(fpu, "\n\
	cli\n\
	movl %cr0, %eax\n\
	andb $0xf3, %al\n\
	orb $0x22, %al\n\
	movl %eax, %cr0\n\
	movl %cr4, %eax\n\
	orw $0x600, %ax\n\
	movl %eax, %cr4\n\
	fninit\n\
	fldpi\n\
	fld1\n\
	fld %st(1)\n\
	faddp\n\
	fsqrt\n\
	fstpt 0x4000\n\
	fnstsw 0x4010\n\
	fnstcw 0x4012\n\
	fldl2e\n\
	movl $0x3f800000, 0x4020\n\
	movss 0x4020, %xmm0\n\
	addss %xmm0, %xmm0\n\
	sqrtss %xmm0, %xmm1\n\
	movups %xmm1, 0x4030\n\
	divss 0x4028, %xmm0\n\
	stmxcsr 0x4040\n\
	fstpt 0x4050\n\
	fnstsw 0x4060\n\
	fldz\n\
	hlt");

/* The local APIC: its registers; a self-IPI that is served, its EOI not yet given, and one that waits. */
GUEST(apic, ENTER32(apic) "\n\
1:	movl $0xfee00000, %ebx\n\
	movl $0x1ff, 0xf0(%ebx)\n\
	movl $0x20, 0x80(%ebx)\n\
	movl $0x04000000, 0xd0(%ebx)\n\
	movl $0x10045, 0x370(%ebx)\n\
	movl $0x400, 0x360(%ebx)\n\
	movl $0xb, 0x3e0(%ebx)\n\
	movl $0x30033, 0x320(%ebx)\n\
	movl $0x40000000, 0x380(%ebx)\n\
	movl $0x40025, 0x300(%ebx)\n\
	movl $0x40030, 0x300(%ebx)\n\
	movl 0x220(%ebx), %eax\n\
	stosl\n\
	sti\n\
	nop\n\
	nop\n\
5:	hlt\n\
6:	cli\n\
	movl $0, (%esp)\n\
	movl $0, 8(%esp)\n\
	movl 0x20(%ebx), %eax\n\
	stosl\n\
	movl 0x30(%ebx), %eax\n\
	stosl\n\
	movl 0x80(%ebx), %eax\n\
	stosl\n\
	movl 0xa0(%ebx), %eax\n\
	stosl\n\
	movl 0xd0(%ebx), %eax\n\
	stosl\n\
	movl 0xe0(%ebx), %eax\n\
	stosl\n\
	movl 0xf0(%ebx), %eax\n\
	stosl\n\
	movl 0x110(%ebx), %eax\n\
	stosl\n\
	movl 0x210(%ebx), %eax\n\
	stosl\n\
	movl 0x220(%ebx), %eax\n\
	stosl\n\
	movl 0x300(%ebx), %eax\n\
	stosl\n\
	movl 0x320(%ebx), %eax\n\
	stosl\n\
	movl 0x350(%ebx), %eax\n\
	stosl\n\
	movl 0x360(%ebx), %eax\n\
	stosl\n\
	movl 0x370(%ebx), %eax\n\
	stosl\n\
	movl 0x380(%ebx), %eax\n\
	stosl\n\
	movl 0x3e0(%ebx), %eax\n\
	stosl\n\
	hlt" TABLES32(apic));

struct guest_image {
	const char *name;
	const uint8_t *code, *end;
	const char *emulated; /* what a KVM that emulates ring 0 does wrong in it, or NULL */
	const char *in_qemu;  /* what QEMU's processor without hardware does wrong in it, or NULL */
};

static const struct guest_image guest_images[] = {
	{ "accesses", guest_accesses, guest_accesses_end, NULL, NULL },
	{ "msrs", guest_msrs, guest_msrs_end, NULL, NULL },
	{ "cpuid", guest_cpuid, guest_cpuid_end, "CPUID is the host's", NULL },
	{ "exceptions", guest_exceptions, guest_exceptions_end, NULL, NULL },
	{ "limits", guest_limits, guest_limits_end, NULL, "segment limits are not checked" },
	{ "protected", guest_protected, guest_protected_end, NULL, NULL },
	{ "gates", guest_gates, guest_gates_end, "IRET is missing outside real mode", NULL },
	{ "long", guest_long, guest_long_end, NULL, NULL },
	{ "fault", guest_fault, guest_fault_end, "IRET is missing outside real mode", NULL },
	{ "apic", guest_apic, guest_apic_end, "its APIC forgets what is in service", NULL },
	{ "fpu", guest_fpu, guest_fpu_end, "the FPU's instructions are missing", NULL },
};
#define GUEST_IMAGES (sizeof(guest_images) / sizeof(guest_images[0]))

#endif
