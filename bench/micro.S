/*
 * micro.S - a bare 64-bit guest that runs one tight loop: how fast an engine is at one kind of
 * integer work. KIND, given on the assembler's command line, chooses the loop.
 *
 * Multiboot 1 (ELF32) starts it in 32-bit protected mode; it maps the first 2 MiB to themselves,
 * enters long mode, runs the loop and ends the run through debug-exit. There is no IDT: nothing interrupts.
 * It says nothing about paging, devices or system instructions: the boot does.
 *
 * SPDX-License-Identifier: MIT
 */
#define ALU 1    /* arithmetic in registers, each on the one before */
#define MEMORY 2 /* loads, stores and read-modify-write over 32 KiB */
#define BRANCH 3 /* a branch that data decide, one in two */
#define CALL 4   /* call, ret, push, pop */

#define ROUNDS 30000000

	.section .text
	.code32
	.balign 4
	.long 0x1badb002, 0, -0x1badb002 /* Multiboot 1, 3.1.1 */

	.globl _start
_start:
	movl $pdpt + 3, pml4
	movl $pd + 3, pdpt
	movl $0x83, pd /* present, writable, 2 MiB */
	mov $pml4, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x20, %eax /* PAE */
	mov %eax, %cr4
	mov $0xc0000080, %ecx /* EFER */
	rdmsr
	or $0x100, %eax /* LME */
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax /* PG */
	mov %eax, %cr0
	lgdt gdtr
	ljmp $8, $long_mode

	.code64
long_mode:
	mov $stack_top, %esp
	mov $ROUNDS, %ecx
	mov $12345, %eax
	xor %ebx, %ebx
	xor %edx, %edx
	mov $data, %esi
	.balign 64
again:
#if KIND == ALU
	add %rcx, %rax
	imul $3, %rax, %rbx
	xor %rbx, %rdx
	shr $3, %rbx
	sub %rdx, %rbx
	lea 7(%rbx, %rdx, 2), %rax
	and %rcx, %rdx
	or %rbx, %rdx
#elif KIND == MEMORY
	mov %ecx, %ebx
	and $0x7ff8, %ebx
	mov (%rsi, %rbx), %rax
	add %rcx, %rax
	mov %rax, (%rsi, %rbx)
	add %rcx, 8(%rsi, %rbx)
	movzbl 3(%rsi, %rbx), %edx
	mov %edx, 4(%rsi, %rbx)
#elif KIND == BRANCH
	imul $1103515245, %eax, %eax
	add $12345, %eax
	test $0x10000, %eax
	jz 1f
	inc %ebx
	test $0x20000, %eax
	jz 1f
	inc %edx
1:	cmp %ebx, %edx
	ja 2f
	xor %ebx, %edx
2:
#elif KIND == CALL
	push %rax
	call function
	pop %rbx
	call function
#else
#error "KIND: 1 to 4"
#endif
	dec %ecx
	jnz again
	xor %eax, %eax
	mov $0xf4, %dx
	out %al, %dx
halt:
	hlt
	jmp halt

#if KIND == CALL
function:
	push %rbp
	mov %rsp, %rbp
	inc %eax
	pop %rbp
	ret
#endif

	.balign 8
gdt:
	.quad 0, 0x00209a0000000000 /* 64-bit code */
gdtr:
	.word . - gdt - 1
	.long gdt

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096
data:	.skip 65536
stack:	.skip 4096
stack_top:

	.section .note.GNU-stack, "", @progbits
