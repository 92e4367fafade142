/*
 * start.S - the beginning of every bare test guest: from multiboot's 32-bit entry to main() in
 * 64-bit mode, and the 256 stubs that save the registers for trap().
 *
 * The first 4 GiB are mapped one to one by 2 MiB pages, for the supervisor.
 *
 * SPDX-License-Identifier: MIT
 */
#define MAGIC 0x1badb002
#define FLAGS 3

	.section .multiboot, "a"
	.align 4
	.long MAGIC, FLAGS, -(MAGIC + FLAGS)

	.section .bss
	.align 4096
	.globl pml4, pdpt, pd
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.skip 32768
stack:
	.globl ist_stack, user_stack, tss
	.skip 8192
ist_stack:
	.skip 8192
user_stack:
tss:	.skip 104

	.data
	.globl gdt, gdt_pointer, multiboot_info
	.align 16
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 08 code 64 */
	.quad 0x00cf93000000ffff	/* 10 data */
	.quad 0x00cf9b000000ffff	/* 18 code 32 */
	.quad 0x00cff3000000ffff	/* 23 data, ring 3 */
	.quad 0x00affb000000ffff	/* 2b code 64, ring 3 */
	.quad 0x00cffb000000ffff	/* 33 code 32, ring 3 */
	.quad 0x00009b000000ffff	/* 38 code 16 */
	.quad 0, 0			/* 40 TSS */
	.quad 0				/* 50 spare */
	.quad 0, 0, 0, 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
multiboot_info:
	.quad 0

	.text
	.code32
	.globl _start
_start:
	cld
	movl %ebx, multiboot_info
	movl $stack, %esp
	movl $pdpt + 3, pml4
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $12, %eax
	addl $pd + 3, %eax
	movl %eax, pdpt(,%ecx,8)
	incl %ecx
	cmpl $4, %ecx
	jb 1b
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $21, %eax
	orl $0x83, %eax
	movl %eax, pd(,%ecx,8)
	incl %ecx
	cmpl $2048, %ecx
	jb 1b
	movl %cr4, %eax
	orl $0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax		/* SCE, LME, NXE */
	wrmsr
	movl $0x80010023, %eax		/* PG, WP, NE, MP, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $1f
	.code64
1:	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl $stack, %esp
	call begin
2:	pause
	jmp 2b

	/* struct frame of bare.h */
common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call trap
	movq %rbp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.globl stubs
	.align 16
stubs:
	.set vector, 0
	.rept 256
	.align 16
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
	.else
	pushq $0
	.endif
	pushq $vector
	jmp common
	.set vector, vector + 1
	.endr

	/* enter_user(rip, cs, flags): ring 3 until INT 0x80, which leave_user() ends. RAX of ring 3. */
	.globl enter_user, leave_user
enter_user:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, saved_rsp(%rip)
	leaq -512(%rsp), %rax
	movq %rax, tss + 4(%rip)
	pushq $0x23
	pushq $user_stack
	pushq %rdx
	pushq %rsi
	pushq %rdi
	iretq
leave_user:
	movq saved_rsp(%rip), %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.bss
saved_rsp:
	.quad 0
	.section .note.GNU-stack, "", @progbits
