/*
 * four-guests-code.S - the four guests: 32-bit code that runs at GVA_CODE, entered at its first
 * byte with the stack at the end of the data page.
 *
 * It is linked into the host's program as plain data. So an address inside a guest is written
 * as a distance: HERE(x) is where the guest finds x by its own page tables, PHYSICAL(x) is the
 * guest-physical address, which hypercalls take.
 *
 * SPDX-License-Identifier: MIT
 */
#include "four-guests.h"

#define HERE(x)     ((x) - 77b + GVA_CODE)
#define PHYSICAL(x) ((x) - 77b + GPA_CODE)

	/* A guest's bytes are between NAME and NAME_end; 77b is where the last one began. */
	.macro guest name
	.globl \name, \name\()_end
	.balign 16
\name:
77:
	.endm

	.macro print first, last
	mov $CALL_PRINT, %eax
	mov $PHYSICAL(\first), %ebx
	mov $(\last - \first), %ecx
	vmcall
	.endm

	.macro exit status
	mov \status, %ebx
	mov $CALL_EXIT, %eax
	vmcall
	.endm

	.section .note.GNU-stack, "", @progbits
	.section .rodata
	.code32

	/* Adds the numbers from 1 to 60000; the sum is its exit status. */
	guest guest_adder
	mov $60000, %ecx
	xor %eax, %eax
1:	add %ecx, %eax
	mov %eax, GVA_DATA
	dec %ecx
	jnz 1b
	print 2f, 3f
	exit GVA_DATA
2:	.ascii "1 + 2 + ... + 60000 is my exit status\n"
3:
guest_adder_end:

	/* Works for a while, then divides by zero. It has no interrupt table: nobody can take
	 * the exception, nor the one that this makes, and so on: a triple fault. */
	guest guest_divider
	mov $20000, %ecx
1:	incl GVA_DATA
	loop 1b
	print 2f, 3f
	xor %ecx, %ecx
	div %ecx
	exit $0 /* never reached */
2:	.ascii "now I divide by zero\n"
3:
guest_divider_end:

	/*
	 * Looks for what is not its own. First an address that its tables do not map: a page
	 * fault, which it takes itself; the handler goes on at EBP. Then it maps, in its
	 * own table, each of the twelve guest-physical pages behind its four, where the
	 * other guests would be, were host memory the guest's: it writes and reads back. Then it
	 * tries a port. Exit status: how often something was there.
	 */
	guest guest_prowler
	lgdt HERE(gdtr)
	lidt HERE(idtr)
	xor %esi, %esi /* findings */
	xor %edi, %edi /* page faults */

	mov $HERE(1f), %ebp
	mov GVA_DATA + 0x1000, %eax
	inc %esi
1:	mov $HERE(2f), %ebp
	movl $0x50524f57, 0x00300000
	inc %esi
2:	cmp $2, %edi
	je 3f
	inc %esi

3:	mov $GUEST_BYTES | 3, %edx /* an entry: page 4, present, writable */
4:	mov %edx, GVA_TABLE + (0x00100000 >> 12) * 4
	invlpg 0x00100000
	movl $0x50524f57, 0x00100000
	cmpl $-1, 0x00100000
	je 5f
	inc %esi
5:	add $0x1000, %edx
	cmp $(0x10000 | 3), %edx
	jne 4b

	mov $0x3f8, %dx
	in %dx, %al
	cmp $0xff, %al
	je 6f
	inc %esi
6:	print 7f, 8f
	exit %esi
7:	.ascii "I looked at 2 addresses, 12 pages and a port that are not mine\n"
8:

page_fault:
	inc %edi
	add $4, %esp /* the error code */
	mov %ebp, (%esp)
	iret

	.balign 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:	.word gdtr - gdt - 1
	.long HERE(gdt)
idt:	.fill 14, 8, 0
	.word page_fault - guest_prowler, 8, 0x8e00, GVA_CODE >> 16
idtr:	.word idtr - idt - 1
	.long HERE(idt)
guest_prowler_end:

	/* Counts the prime numbers below 3000 with a sieve in its data page, over and over. */
	guest guest_siever
	mov $3, %ebp
1:	xor %eax, %eax
	mov $GVA_DATA, %edi
	mov $3000, %ecx
	rep stosb
	xor %esi, %esi /* primes */
	mov $2, %ecx
2:	cmpb $0, GVA_DATA(%ecx)
	jne 4f
	inc %esi
	mov %ecx, %edx
3:	add %ecx, %edx
	cmp $3000, %edx
	jae 4f
	movb $1, GVA_DATA(%edx)
	jmp 3b
4:	inc %ecx
	cmp $3000, %ecx
	jb 2b
	xor %eax, %eax
	cpuid
	dec %ebp
	jnz 1b
	print 5f, 6f
	exit %esi
5:	.ascii "the primes below 3000 are as many as my exit status\n"
6:
guest_siever_end:
