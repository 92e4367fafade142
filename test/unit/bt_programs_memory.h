/*
 * bt_programs_memory.h - programs of bt.c's table: calls and returns, addresses, operands in
 * memory.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_BT_PROGRAMS_MEMORY_H
#define TEST_UNIT_BT_PROGRAMS_MEMORY_H

#include "test/unit/bt_program.h"

/* --- calls and returns ------------------------------------------------------------------ */

ASSEMBLE(recursion, "9: mov r8d, 3; 1: mov edi, 6000; call 2f; dec r8d; jnz 1b; hlt\n"
		    "2: dec edi; jz 3f; call 2b; 3: add rax, rdi; ret")

ASSEMBLE(coroutines,
	 "lea rax, [rip + 3f]; mov [0x12fff8], rax; mov qword ptr [0x100000], 0x12fff8\n"
	 "mov ecx, 300\n"
	 "2: call 4f; add rbx, 3; push rcx; call 4f; pop rcx; dec ecx; jnz 2b; hlt\n"
	 "3: add rbx, 5; call 4f; xor rdx, rbx; call 4f; jmp 3b\n"
	 "4: xchg rsp, [0x100000]; ret")

/* Returns that go elsewhere, frames that are dropped, returns with nothing called. */
ASSEMBLE(returns, "mov r12d, 150\n"
		  "1: call 2f; add rax, 7; call 3f; nop; nop; add rax, 11; call 4f; add rax, 13\n"
		  "lea rcx, [rip + 6f]; push rcx; ret; hlt; 6: call 7f; dec r12d; jnz 1b; hlt\n"
		  "2: add rbx, rax; ret\n"
		  "3: add qword ptr [rsp], 2; ret\n" /* passes over the NOPs */
		  "4: call 5f; hlt; 5: add rsp, 8; ret 0\n"
		  "7: push r12; and dword ptr [rsp], 3; pop rcx; jz 8f; ret; 8: pop rcx; jmp rcx")

ASSEMBLE(ret_imm, "mov r12d, 150; 1: push rax; push rbx; call 2f; add rax, rsp\n"
		  "enter 32, 0; call 3f; leave; dec r12d; jnz 1b; hlt\n"
		  "2: add rbx, [rsp + 8]; ret 16\n"
		  "3: add rax, rbp; ret")

/* --- addresses that are not canonical --------------------------------------------------- */

ASSEMBLE(non_canonical, "9: mov r12d, 200; movabs rax, 0x800000000000; mov [0x100000], rax\n"
			"1: mov rsp, 0x120000; lea r15, [rip + 2f]; jmp rax\n"
			"2: lea r15, [rip + 3f]; call rax\n"
			"3: lea r15, [rip + 4f]; push rax; ret\n"
			"4: lea r15, [rip + 5f]; jmp [0x100000]\n"
			"5: lea r15, [rip + 6f]; call [0x100000]\n"
			"6: lea r15, [rip + 7f]; push rax; ret 8\n"
			"7: lea r15, [rip + 8f]; call 70f; hlt\n"
			"8: mov r11, rax; not r11; lea r15, [rip + 81f]; jmp r11\n"
			"81: lea r15, [rip + 82f]; mov rbx, [rax]\n"
			"82: lea r15, [rip + 83f]; mov [rax - 1], rbx\n"
			"83: lea r15, [rip + 84f]; xchg rsp, rax; push rbx\n"
			"84: xchg rsp, rax; lea r15, [rip + 85f]; mov rbx, [rax - 4]\n"
			"85: lea r15, [rip + 86f]; movups xmm1, [rax - 15]\n"
			"86: dec r12d; jnz 1b; hlt\n"
			"70: mov [rsp], rax; ret" PASS_OVER)

/* EDGE_PAGE runs as the last page of either half: branches and straight code that leave it. */
ASSEMBLE(edge_page,
	 ".fill 0xf40, 1, 0xf4\n"
	 "81: call 81b + 0x200; nop; nop; nop; ret; .fill 0xf60 - (. - edge_page), 1, 0xf4\n"
	 "cmp ebx, ebx; 82: jz 82b + 0x100; ret; .fill 0xf80 - (. - edge_page), 1, 0xf4\n"
	 "cmp ebx, ebx; 83: jnz 83b + 0x100; ret; .fill 0xfa0 - (. - edge_page), 1, 0xf4\n"
	 "84: jmp 84b + 0x80; .fill 0xfe8 - (. - edge_page), 1, 0xf4\n"
	 "add rbx, 1; add rax, rbx\n"
	 ".fill 0x1000 - (. - edge_page), 1, 0x90\n")

ASSEMBLE(edges,
	 "9: mov r12d, 60\n"
	 "1: mov rbp, 0x7ffffffff000; call 2f; mov rbp, -4096; call 2f; dec r12d; jnz 1b; hlt\n"
	 "2: pop r9; lea r15, [rip + 3f]; lea r8, [rbp + 0xf40]; call r8\n"
	 "3: mov rsp, 0x120000; lea r15, [rip + 4f]; lea r8, [rbp + 0xf60]; call r8\n"
	 "4: mov rsp, 0x120000; lea r15, [rip + 5f]; lea r8, [rbp + 0xf80]; call r8\n"
	 "5: mov rsp, 0x120000; lea r15, [rip + 6f]; lea r8, [rbp + 0xfa0]; call r8\n"
	 "6: mov rsp, 0x120000; lea r15, [rip + 7f]; lea r8, [rbp + 0xfe8]; call r8\n"
	 "7: mov rsp, 0x120000; lea r15, [rip + 8f]; lea r8, [rbp + 0xff0]; call r8\n"
	 "8: mov rsp, 0x120000; jmp r9" PASS_OVER)

static void setup_edges(struct guest *g, struct x86_state *s)
{
	memcpy(g->ram + EDGE_PAGE, edge_page, (size_t)(edge_page_end - edge_page));
	memset(g->ram, 0xc3, 0x400); /* what the high half's end leads to: RET */
	(void)s;
}

/* --- memory ------------------------------------------------------------------------------- */

/* The same code in both halves, with data in both. */
ASSEMBLE(halves, "mov r12d, 100; mov rbp, 0xffffffff80100000; mov ebx, 0x100000\n"
		 "1: call 2f; lea rax, [rip + 2f]; or rax, 0xffffffff80000000; call rax\n"
		 "dec r12d; jnz 1b; hlt\n"
		 "2: add rcx, [rbp]; inc qword ptr [rbx]; add [rbp + 8], rcx; xor rcx, [rbx + 8]\n"
		 "push rcx; pop qword ptr [rbp + 16]; movups xmm2, [rbx]; movups [rbp + 32], xmm2\n"
		 "lea rdx, [rip + 2b]; add [rbx + 64], rdx; jmp 3f; 3: ret")

ASSEMBLE(bases, "9: mov r12d, 120; mov ecx, 0xc0000100\n"
		"1: mov ebx, 0x2010; mov rax, fs:[rbx]; add fs:[rbx + 8], r12\n"
		"movabs rdx, 0x5a5a5a5a00000100; mov eax, [edx + 0x100000]\n"
		"add gs:[edx + 8], r12; lea rax, [edx + edx*8 + 5]; lea r11d, [rdx + r12]\n"
		"mov r9, 0x100; mov r10, gs:[r9 + r12*8]; xadd gs:[r9 + 24], r10\n"
		"mov edi, 0x110; addr32 lea esi, [edi - 0x200]; mov rax, gs:[esi + 0x200]\n"
		"mov eax, r12d; and eax, 7; shl eax, 3; xor edx, edx; wrmsr\n" /* FS base: low */
		"mov r8d, 0x100040; add rsi, fs:[r8]; mov fs:[r8 + 8], rsi\n"
		"mov eax, 0xffffe000; mov edx, -1; wrmsr; swapgs; swapgs\n"
		"movups xmm0, fs:[rbx]; movups gs:[r9 + 32], xmm0\n"
		"dec r12d; jnz 1b; hlt")

static void setup_bases(struct guest *g, struct x86_state *s)
{
	(void)g;
	s->seg[FS].base = UINT64_C(0xffffffffffffe000); /* + 2010h wraps to 10h */
	s->seg[GS].base = 0x101000;
	s->kernel_gs_base = HIGH + 0x102000;
}

/* Each kind of access moved over the end of a page, into one that is not there, is read-only, or
 * is like the first. */
ASSEMBLE(page_ends,
	 "9: mov r8d, 0x111fdd; mov r12d, 0x44\n"
	 "1: mov rdi, r8; call 2f; lea rdi, [r8 + 0x2000]; call 2f; lea rdi, [r8 + 0x4000]; call "
	 "2f\n"
	 "inc r8; dec r12d; jnz 1b; hlt\n"
	 "2: pop r9; mov rsi, rdi\n"
	 ".macro try insn:vararg\n lea r15, [rip + 800f]\n \\insn\n 800:\n .endm\n"
	 "try mov rax, [rdi]; try add [rdi], rbx; try adc dword ptr [rdi], 7; try mov al, [rdi]\n"
	 "try movzx ecx, word ptr [rdi]; try xchg rcx, [rdi]; try lock xadd [rdi], r10\n"
	 "try cmpxchg [rdi], r11; try movups xmm0, [rdi]; try movups [rdi], xmm0\n"
	 "try vmovups ymm1, [rdi]; try vmovups [rdi], ymm1; try movaps xmm3, [rdi]\n"
	 "try movapd [rdi], xmm3; try vmovdqa ymm4, [rdi]; try addps xmm0, [rdi]\n"
	 "try vaddps ymm0, ymm1, [rdi]; try movss xmm5, [rdi]; try movq [rdi], xmm5\n"
	 "try pextrw eax, xmm0, 3; try movnti [rdi], rcx; try bts dword ptr [rdi], 3\n"
	 "try bts [rdi], rax; try cmpxchg8b [rdi]; try cmpxchg16b [rdi]; try sete [rdi]\n"
	 "try div dword ptr [rdi]; try mul qword ptr [rdi]; try shl word ptr [rdi], 3\n"
	 "mov ecx, 3; try rep stosb; mov rdi, rsi; try fld tbyte ptr [rdi]; try fstp qword ptr "
	 "[rdi]\n"
	 "try lddqu xmm7, [rdi]; try movlps [rdi], xmm6; try fxsave [rdi]; try prefetcht0 [rdi]\n"
	 "mov rsp, rdi; try push rbx; mov rsp, rdi; try pop rbx; mov rsp, rdi\n"
	 "lea r15, [rip + 3f]; call 3f; 3: mov rsp, rdi; lea r15, [rip + 4f]; call [rip + 8f]\n"
	 "4: mov rsp, rdi; lea rax, [rip + 5f]; lea r15, [rip + 5f]; mov [rdi], rax; ret\n"
	 "5: mov rsp, rdi; lea r15, [rip + 6f]; push qword ptr [rdi - 3]\n"
	 "6: mov rbp, rdi; lea r15, [rip + 7f]; leave\n"
	 "7: mov rsp, rdi; lea r15, [rip + 71f]; pop qword ptr [rdi + 5]\n"
	 "71: mov rsp, rdi; lea r15, [rip + 72f]; enter 8, 1\n"
	 "72: mov rsp, rdi; lea r15, [rip + 73f]; pushfq; 73: lea r15, [rip + 74f]; lea rax, [rip "
	 "+ 74f]; mov [rdi], rax; jmp [rdi]\n"
	 "74: mov rsp, 0x120000; mov ecx, 3; jmp r9; 8: .quad 0x10000 + 4b - page_ends\n" PASS_OVER)

static void setup_page_ends(struct guest *g, struct x86_state *s)
{
	guest_put64(g, GUEST_PT + 0x112 * 8, 0);
	guest_put64(g, GUEST_PT + 0x114 * 8, UINT64_C(0x114000) | PTE_P);
	(void)s;
}

/* Fields of a struct that moves over the end of a page, into one that is not there, is read-only,
 * or is like the first; with branches and changes of its address between them. */
ASSEMBLE(
	fields,
	"9: mov r8d, 0x110fa0; mov r12d, 0x70\n"
	"1: mov rdi, r8; call 2f; lea rdi, [r8 + 0x1000]; call 2f; lea rdi, [r8 + 0x3000]; call "
	"2f\n"
	"inc r8; dec r12d; jnz 1b; hlt\n"
	"2: pop r9; lea r15, [rip + 3f]; mov rax, [rdi + 8]; add rax, [rdi + 16]; cmp rax, rbx\n"
	"mov [rdi + 24], eax; jc 21f; adc rbx, [rdi]; sub dword ptr [rdi + 40], 3; sbb rcx, rbx\n"
	"21: seto cl; mov r11, [rdi + 32]; add [rdi + 48], r11; lea rdx, [rax + rbx]\n"
	"3: lea r15, [rip + 4f]; xor rsi, [rdi]; add rsi, [rdi + 8]; jo 4f; rol rsi, 3\n"
	"movzx ecx, byte ptr [rdi + 60]; test byte ptr [rdi + 3], 4; jz 31f; xchg [rdi + 20], edx\n"
	"31: movsd xmm1, [rdi + 8]; addsd xmm1, [rdi + 16]; movsd [rdi + 24], xmm1\n"
	"4: lea r15, [rip + 5f]; push rdi; mov rax, [rsp]; inc dword ptr [rsp + 8]; sub eax, [rsp "
	"+ 4]\n"
	"add rsp, 8; adc rbx, [rsp - 8]; adc rbx, [rsp]; mov ebp, 0x110f80; lea rdx, [rsp - 16]\n"
	"mov rcx, [rbp + r12]; xor [rbp + r12 + 8], rcx; add ecx, [rbp + r12 + 16]; mov rbp, [rbp "
	"+ r12]\n"
	"5: mov rsp, 0x120000; lea r15, [rip + 6f]; mov rax, [rdi + 56]; mov rdi, [rdi + 48]\n"
	"mov rax, [rdi + 56]; 6: jmp r9" PASS_OVER)

/* Among such fields an instruction that is its handler's after all; a displacement too large. */
ASSEMBLE(strangers,
	 "mov r12d, 120; mov ebx, 0x100000; lea rbp, [rbx - 0x7fffe800]\n"
	 "1: mov rax, [rbx + 8]; lea rdx, [rsi + 0x7fffffff]; add rax, [rbx + 16]; xor rsi, rdx\n"
	 "mov r10, [rbx + 24]; andn r9, r10, [rbx + 32]; add [rbx + 40], rax; add rsi, r9\n"
	 "mov rax, [rbp + 0x7fffeffe]; add rsi, [rbp + 0x7ffff006]; dec r12d; jnz 1b; hlt")

/* A stack that moves over such ends of pages: pushes, pops, locals and calls near each other. */
ASSEMBLE(frames,
	 "9: mov r8d, 0x110fa0; mov r12d, 0x80\n"
	 "1: mov rdi, r8; call 2f; lea rdi, [r8 + 0x1000]; call 2f; lea rdi, [r8 + 0x3000]; call "
	 "2f\n"
	 "inc r8; dec r12d; jnz 1b; hlt\n"
	 "2: pop r9; mov rsp, rdi; lea r15, [rip + 3f]; push rbx; mov ebx, eax; push r12; xor ebp, "
	 "ebp\n"
	 "push r10; sub rsp, 24; mov [rsp + 8], rdi; lea rax, [rsp + 4]; add rax, rsp; cmp rax, "
	 "rbx\n"
	 "jc 21f; push 77; adc [rsp + 16], rbx; pop rcx; 21: setbe cl; add rsp, 24; pop r10; sbb "
	 "rbx, 3\n"
	 "pop r12; pop rbx\n"
	 "3: mov rsp, rdi; lea r15, [rip + 4f]; push rax; sub eax, ebx; push rdx; mov [rsp - 16], "
	 "ebx\n"
	 "call 5f; adc rbx, rax; 4: mov rsp, rdi; lea r15, [rip + 6f]; push r9; add rbx, rdi\n"
	 "push -3; add rsp, 4; add [rsp], rbx; mov rcx, [rsp + 4]; xor rbx, rcx; jmp 6f\n"
	 "5: push rcx; mov rcx, [rsp + 8]; push r11; inc rbx; pop rdx; sbb rbx, rcx; pop rcx; ret\n"
	 "6: mov rsp, 0x120000; jmp r9" PASS_OVER)

/* Addresses of 32 bits wrap before the base is added. */
ASSEMBLE(wrapping_fields,
	 "9: mov r12d, 60; mov ecx, 0xc0000100; mov eax, 0x100100; mov edx, -1; wrmsr\n"
	 "mov ebx, 0xfffffff0; 1: lea r15, [rip + 2f]; mov eax, fs:[ebx]; add rdi, rax\n"
	 "mov eax, fs:[ebx + 16]; add rdi, rax; 2: dec r12d; jnz 1b; hlt" PASS_OVER)

/* REP MOVS and STOS: overlapping, over the ends of pages, none, downwards. */
ASSEMBLE(repeats,
	 "mov r12d, 150; 1: imul eax, r12d, 0x9e37; mov ebx, eax; and ebx, 0x7ff; lea rsi, [rbx + "
	 "0x100800]\n"
	 "lea rdi, [rbx + 0x100807]; mov ecx, r12d; and ecx, 63; cmp eax, ebx; rep movsb; adc rbp, "
	 "rdi\n"
	 "lea rdi, [rbx + 0x101000]; mov ecx, r12d; shr ecx, 1; rep stosq; mov ecx, 5; sub rsi, 3\n"
	 "rep movsd; mov ecx, 9; rep stosw; mov ecx, 33; mov rsi, rdi; sub rsi, 64; rep movsq\n"
	 "test r12d, 7; jnz 2f; std; mov ecx, 4; rep stosd; cld; xor ecx, ecx; rep movsb\n"
	 "2: add rbp, rdi; xor rbp, rsi; add rbp, [rbx + 0x101000]; dec r12d; jnz 1b; hlt")

#endif
