/*
 * bt_programs.h - programs that repeat something that a translator may get wrong: the table of
 * bt.c, and those about code that changes, address spaces, exceptions and modes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_BT_PROGRAMS_H
#define TEST_UNIT_BT_PROGRAMS_H

#include "test/unit/bt_programs_memory.h"

/* --- code that changes ------------------------------------------------------------------ */

ASSEMBLE(self_modifying,
	 "mov r12d, 200\n"
	 "1: mov [rip + 2f + 1], r12b; 2: mov al, 0; add rbx, rax\n" /* the next instruction */
	 "lea rdi, [rip + 3f + 1]; mov [rdi], r12d; jmp 30f; 30:\n"
	 "3: mov ecx, 0; add rbx, rcx\n"            /* a block that is linked */
	 "call 5f; 4: mov edx, 0; add rbx, rdx\n"   /* the caller, by the callee */
	 "mov al, [rip + 1b]; mov [rip + 1b], al\n" /* the loop's head */
	 "10:\n"
	 "lea rsi, [rip + 6f]; test r12d, 1; jz 11f; add rsi, 8; 11: lea rdi, [rip + 7f]; mov ecx, "
	 "8\n"
	 "rep movsb; 7: .fill 8, 1, 0x90\n" /* string over the code ahead */
	 "lea r9, [rip + 12f + 3]; or r9, 0xffffffff80000000; mov [r9], r12b\n" /* an alias */
	 "12: add rbx, 1; cmp r12d, 50; jnz 13f; mov word ptr [rip + 14f], 0x9090; 13:\n"
	 "14: add edx, ebx; dec r12d; jnz 1b; hlt\n"
	 "5: mov [rip + 4b + 1], r12w; ret\n"
	 "6: add rbx, 5; nop; nop; nop; nop; inc rax; sub rbx, rax; nop; nop")

/* Bytes of an instruction that lies in two pages, and of the one before it. */
ASSEMBLE(straddling,
	 "mov r12d, 150; 1: mov [rip + 3f + 2], r12b; call 2f; mov [rip + 3f + 4], r12b\n"
	 "call 2f; rol qword ptr [0x100000], 3; mov [rip + 4f + 1], r12b; dec r12d; jnz 1b; hlt\n"
	 ".org straddling + 0xff3\n"
	 "2: nop; 4: mov al, 1; nop; add rbx, rax; nop; nop\n"
	 "3: mov ecx, 0x11223344; add rbx, rcx; ret")

/*
 * Instructions in two pages that stay what they are, most of the time: a constant, a branch back
 * into the first page, a call, a vector instruction. 0x146000 is 0x144000 again, with another page
 * behind it.
 */
ASSEMBLE(straddled,
	 "mov r12d, 150; 1: mov rbp, 0x144ff0; call 2f; mov rbp, 0x146ff0; call 2f\n"
	 "mov rbp, 0x148ff0; call 2f; mov rbp, 0x14aff0; call 2f; mov rbp, 0x14cff0; call 2f\n"
	 "test r12d, 31; jnz 3f; xor byte ptr [0x145001], 4; xor byte ptr [0x14aff8], 1\n"
	 "mov rax, cr3; mov cr3, rax; 3: dec r12d; jnz 1b; hlt; 2: jmp rbp")
ASSEMBLE(straddled_a, ".fill 13, 1, 0x90; mov ecx, 0x11223344; add rbx, rcx; ret")
ASSEMBLE(straddled_b, ".byte 0x55, 0x66; sub rbx, rcx; ret")
ASSEMBLE(straddled_c,
	 "mov ecx, 5; 1: add rbx, rcx; dec ecx; nop; nop; .byte 0x0f, 0x85; .long 1b - . - "
	 "4; ret")
ASSEMBLE(straddled_d, "jmp 2f; 3: rol rbx, 5; ret; 2: add al, 7; add rbx, rax; nop; call 3b; ret")
ASSEMBLE(straddled_e,
	 ".fill 14, 1, 0x90; vaddps ymm1, ymm1, ymm2; movd eax, xmm1; add rbx, rax; ret")

static void setup_straddled(struct guest *g, struct x86_state *s)
{
	(void)s;
	memcpy(g->ram + 0x144ff0, straddled_a, (size_t)(straddled_a_end - straddled_a));
	memcpy(g->ram + 0x147000, straddled_b, (size_t)(straddled_b_end - straddled_b));
	memcpy(g->ram + 0x148ff0, straddled_c, (size_t)(straddled_c_end - straddled_c));
	memcpy(g->ram + 0x14aff0, straddled_d, (size_t)(straddled_d_end - straddled_d));
	memcpy(g->ram + 0x14cff0, straddled_e, (size_t)(straddled_e_end - straddled_e));
	guest_put64(g, GUEST_PT + 0x146 * 8, 0x144000 | PTE_P | PTE_W | PTE_US);
}

/* Data beside code in one page, written all the time; and code that is made, run, made anew. */
ASSEMBLE(
	jit,
	"mov r12d, 250; mov rdi, 0x150000\n"
	"1: mov eax, r12d; and eax, 15; lea rsi, [rdi + rax*8 + 0x200]\n"
	"mov byte ptr [rsi], 0xb8; mov [rsi + 1], r12d; mov byte ptr [rsi + 5], 0xc3\n"
	"call rsi; add rbx, rax; lock inc qword ptr [rip + 8f]; add [rip + 8f], rbx\n"
	"test r12d, 7; jnz 2f; lea rsi, [rdi + 0xffb]; mov dword ptr [rsi], 0x05eb9090\n"
	"mov word ptr [rsi + 4], 0x9090; mov [rsi + 6], r12b; mov dword ptr [rsi + 9], 0xc3c3c3c3\n"
	"call rsi; 2: dec r12d; jnz 1b; hlt; 8: .quad 0")

/* --- address spaces ----------------------------------------------------------------------- */

/* Two address spaces: a function at 0x140000 differs, the callers do not; with PCIDs or not. */
ASSEMBLE(
	spaces,
	"mov r12d, 120; mov r8, cr3; mov r9, 0x1d0000; mov r10d, r8d; mov rbp, 0x140000\n"
	"1: call rbp; add rbx, rax; mov ecx, 3; 2: call rbp; loop 2b\n"
	"xchg r8, r9; mov cr3, r8; call rbp; sub rbx, rax; test r12d, 3; jnz 3f; invlpg [rbp]; 3:\n"
	"dec r12d; jnz 1b; hlt")
ASSEMBLE(spaces_a, "mov eax, 5; jmp 1f; .org spaces_a + 64; 1: ret")
ASSEMBLE(spaces_b, "mov eax, 9; add rbx, 1; jmp 1f; .org spaces_b + 64; 1: ret")

/* Tables in which page 0x140000 is page 0x141000. */
static void second_space(struct guest *g)
{
	memcpy(g->ram + 0x140000, spaces_a, (size_t)(spaces_a_end - spaces_a));
	memcpy(g->ram + 0x141000, spaces_b, (size_t)(spaces_b_end - spaces_b));
	memcpy(g->ram + PCID_PML4, g->ram + GUEST_PML4, 4096);
	memcpy(g->ram + SPACE_PT, g->ram + GUEST_PT, 4096);
	guest_put64(g, PCID_PML4, (PCID_PML4 + 0x1000) | PTE_P | PTE_W | PTE_US);
	guest_put64(g, PCID_PML4 + 0x1000, (PCID_PML4 + 0x2000) | PTE_P | PTE_W | PTE_US);
	guest_put64(g, PCID_PML4 + 0x2000, SPACE_PT | PTE_P | PTE_W | PTE_US);
	guest_put64(g, SPACE_PT + 0x140 * 8, 0x141000 | PTE_P | PTE_W | PTE_US);
}

static void setup_spaces(struct guest *g, struct x86_state *s)
{
	(void)s;
	second_space(g);
}

/* CR3 with PCID 1 and 2, and bit 63: nothing is flushed. */
ASSEMBLE(pcids,
	 "mov r12d, 120; movabs r8, 0x8000000000006001; movabs r9, 0x80000000001d0002\n"
	 "mov rbp, 0x140000\n"
	 "1: call rbp; add rbx, rax; mov ecx, 3; 2: call rbp; loop 2b\n"
	 "xchg r8, r9; mov cr3, r8; call rbp; sub rbx, rax; test r12d, 7; jnz 3f; invlpg [rbp]\n"
	 "btr r8, 63; mov cr3, r8; bts r8, 63; 3: dec r12d; jnz 1b; hlt")

static void setup_pcids(struct guest *g, struct x86_state *s)
{
	second_space(g);
	s->cr4 |= CR4_PCIDE;
	s->cr3 |= 1;
}

/* The mapping of the callee, then of the page that its return leads to, changes: without INVLPG
 * now and then, so that the TLB shows. */
ASSEMBLE(remapped, "mov r12d, 160; mov rbp, 0x140000; mov rdi, 0x9000 + 0x140*8\n"
		   "1: call rbp; add rbx, rax; xor dword ptr [rdi], 0x1000; test r12d, 3; jz 2f\n"
		   "invlpg [rbp]; 2: call rbp; add rbx, rax; dec r12d; jnz 1b; hlt")

/*
 * One page of code at two addresses, each with another page behind it: a call at its end
 * returns to the next page. 0x144000 and 0x146000 are the same; 0x145000 and 0x147000 are not.
 */
ASSEMBLE(aliases, "mov r12d, 120; 1: mov rbp, 0x144ffb; call 2f; mov rbp, 0x146ffb; call 2f\n"
		  "mov rbp, 0x144ff0; call 2f; mov rbp, 0x146ff0; call 2f\n"
		  "dec r12d; jnz 1b; hlt; 2: jmp rbp")
/* At ff0h: jumps over the end. At ffbh: call +1000h, so it ends with the page. */
ASSEMBLE(alias_page, "nop; 81: jmp 81b + 0x20; .org alias_page + 11; 82: call 82b + 0x1005")
ASSEMBLE(alias_next, "add rbx, 3; ret; .org alias_next + 0x11; add rbx, 17; ret")
ASSEMBLE(alias_other, "sub rbx, 5; ret; .org alias_other + 0x11; rol rbx, 3; ret")

static void setup_aliases(struct guest *g, struct x86_state *s)
{
	(void)s;
	memcpy(g->ram + 0x144ff0, alias_page, (size_t)(alias_page_end - alias_page));
	guest_put64(g, GUEST_PT + 0x146 * 8, 0x144000 | PTE_P | PTE_W | PTE_US);
	memcpy(g->ram + 0x145000, alias_next, (size_t)(alias_next_end - alias_next));
	memcpy(g->ram + 0x147000, alias_other, (size_t)(alias_other_end - alias_other));
	memset(g->ram + 0x148000 - 0x1000 + 0x800, 0x90, 0x800);
	/* What the calls lead to, behind either: 0x146000 (the page itself) and 0x148000. */
	g->ram[0x144000] = 0xc3;
	g->ram[0x148000] = 0xc3;
}

/* A frame made at one address of a page, returned to after the page moved away from there. */
ASSEMBLE(moved, "mov r12d, 120; 1: mov rbp, 0x146100; call rbp; mov rbp, 0x144100; call rbp\n"
		"dec r12d; jnz 1b; hlt")
ASSEMBLE(moved_page, "mov rdx, 0x10400; call rdx; add rbx, 3; ret")
ASSEMBLE(moved_other, "mov rdx, 0x10400; call rdx; sub rbx, 7; ret")
/* 0x146000: 0x144000 or 0x145000, in turn, changed by the callee. */
ASSEMBLE(moved_callee, "mov rdi, 0x9000 + 0x146*8; xor dword ptr [rdi], 0x1000; invlpg [0x146000]\n"
		       "test r12d, 1; jz 1f; mov rdx, 0x10480; call rdx; 1: ret")

static void setup_moved(struct guest *g, struct x86_state *s)
{
	(void)s;
	memcpy(g->ram + 0x144100, moved_page, (size_t)(moved_page_end - moved_page));
	memcpy(g->ram + 0x145100, moved_other, (size_t)(moved_other_end - moved_other));
	memcpy(g->ram + 0x10400, moved_callee, (size_t)(moved_callee_end - moved_callee));
	g->ram[0x10480] = 0xc3;
	guest_put64(g, GUEST_PT + 0x146 * 8, 0x144000 | PTE_P | PTE_W | PTE_US);
}

/* --- exceptions and modes --------------------------------------------------------------- */

ASSEMBLE(divisions,
	 "9: mov r12d, 150; 1: mov eax, r12d; cdq; mov ecx, r12d; and ecx, 3\n"
	 "lea r15, [rip + 2f]; div ecx; 2: lea r15, [rip + 3f]; idiv cl; 3: mov ah, 0xff\n"
	 "lea r15, [rip + 4f]; div bl; 4: mov rax, 1; ror rax, 1; mov rdx, -1; mov r9, -1\n"
	 "lea r15, [rip + 5f]; idiv r9; 5: lea r15, [rip + 6f]; mov r11d, 3; mov edx, 3; div r11\n"
	 "6: mov edx, 2; div r11; lea r15, [rip + 7f]; idiv word ptr [0x100000]\n"
	 "7: lea r15, [rip + 8f]; ud2; 8: lea r15, [rip + 81f]; int3; 81: lea r15, [rip + 82f]; "
	 "int 0x21\n"
	 "82: add rbx, rax; dec r12d; jnz 1b; hlt" PASS_OVER)

/* MXCSR with all masked, then with something not; CR0.TS, XCR0; vectors across handlers. */
ASSEMBLE(vectors,
	 "9: fninit; mov r12d, 120; mov dword ptr [0x100000], 0x1f80; mov dword ptr [0x100004], "
	 "0x1d00\n"
	 "mov dword ptr [0x100008], 0x7f80; mov dword ptr [0x10000c], 0xffc0\n"
	 "1: lea r15, [rip + 2f]; mov eax, r12d; and eax, 3; ldmxcsr [0x100000 + rax*4]\n"
	 "cvtsi2sd xmm1, r12; pxor xmm2, xmm2; divsd xmm1, xmm2; addpd xmm3, xmm1\n"
	 "2: lea r15, [rip + 3f]; sqrtps xmm4, xmm3; vmulps ymm5, ymm4, ymm3; cvttsd2si rcx, xmm3\n"
	 "3: stmxcsr [0x100010]; ldmxcsr [0x100000]; pcmpistri xmm3, xmm4, 0x1a; movd xmm6, ecx\n"
	 "paddd xmm6, xmm3; fxsave [0x101000]; paddd xmm6, xmm6; fxrstor [0x101000]; psubd xmm6, "
	 "xmm3\n"
	 "mov eax, 7; xor edx, edx; xsave [0x102000]; vaddps ymm6, ymm6, ymm5; xrstor [0x102000]\n"
	 "vextracti128 xmm7, ymm6, 1; vzeroupper; paddq xmm8, xmm7; vinserti128 ymm9, ymm8, xmm7, "
	 "1\n"
	 "test r12d, 7; jnz 4f; mov rax, cr0; or eax, 8; mov cr0, rax; lea r15, [rip + 31f]\n"
	 "paddd xmm8, xmm9; 31: lea r15, [rip + 32f]; vpaddd ymm8, ymm8, ymm9; 32: clts\n"
	 "xor ecx, ecx; mov eax, 3; xor edx, edx; xsetbv; lea r15, [rip + 33f]; vpaddd ymm1, ymm1, "
	 "ymm1\n"
	 "33: paddd xmm1, xmm1; mov eax, 7; xor edx, edx; xsetbv; 4: vpaddd ymm8, ymm8, ymm9; "
	 "cpuid; paddd xmm8, "
	 "xmm8\n"
	 "fld1; movq mm0, rax; paddd mm0, mm0; emms; crc32 rbx, r12; pextrq rax, xmm8, 1; add rbx, "
	 "rax\n"
	 "dec r12d; jnz 1b; hlt" PASS_OVER)

/* Single steps, shadows, breakpoints in code that is hot. */
ASSEMBLE(steps,
	 "9: mov r12d, 80; 1: mov ecx, 20; 2: add rax, rcx; loop 2b; sti; cli; mov eax, ss\n"
	 "mov ss, eax; add rbx, 1; test r12d, 7; jnz 3f; pushfq; or dword ptr [rsp], 0x100; popfq\n"
	 "add rax, 1; push rax; pop rcx; call 4f; pushfq; and dword ptr [rsp], 0xfffffeff; popfq\n"
	 "3: dec r12d; jnz 1b; hlt; 4: ret\n"
	 ".org . + 0x800 - (. - 9b)\n add r13, [rsp]; iretq")

/* Bases of FS and GS, PKRU, control registers: wide and narrow, refused for CR4, for what they are
 * given, and in user code. */
ASSEMBLE(registers,
	 "9: mov r12d, 120; 1: mov rbx, 0x7fff12345678; mov r9d, r12d; mov r11, -0x1000; xor ecx, "
	 "ecx\n"
	 "lea r15, [rip + 10f]; wrfsbase rbx; wrgsbase r9; 10: lea r15, [rip + 11f]; wrfsbase ebx\n"
	 "rdgsbase rax; 11: add r13, rax; lea r15, [rip + 12f]; stc; rdfsbase r10; rdfsbase ebp\n"
	 "12: adc r13, r10; add r13, rbp; lea r15, [rip + 13f]; wrgsbase r11; rdgsbase r11d; 13: "
	 "add "
	 "r13, r11\n"
	 "lea r15, [rip + 14f]; shl rbx, 1; wrfsbase rbx; 14: mov edx, -1; lea r15, [rip + 15f]; "
	 "rdpkru\n"
	 "15: add r13, rax; add r13, rdx; mov ecx, 1; lea r15, [rip + 16f]; rdpkru; 16: add r13, "
	 "rax\n"
	 "mov rax, cr2; mov r10, cr3; mov rcx, cr0; cmp rcx, r10; mov r9, cr4; adc r13, r9; add "
	 "r13, rax\n"
	 "add r13, r10; add r13, rcx; test r12d, 15; jnz 2f; mov rax, cr4\n"
	 "xor eax, 0x410000; mov cr4, rax; mov eax, 4; xor ecx, ecx; xor edx, edx; test r12d, 32; "
	 "jz 2f\n"
	 "lea r15, [rip + 2f]; wrpkru; 2: lea r15, [rip + 4f]; push 0x23; push 0x119000; push 2\n"
	 "push 0x2b; lea rax, [rip + 3f]; push rax; iretq\n"
	 "3: rdfsbase rax; add r13, rax; mov rax, cr2\n" /* #UD or #GP */
	 "4: mov rsp, 0x120000; dec r12d; jnz 1b; hlt\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " rol r13, 5; add r13, [rsp]; mov [rsp], r15; mov qword ptr [rsp + 8], 8\n"
	 " mov qword ptr [rsp + 32], 16; mov qword ptr [rsp + 24], 0x120000; iretq")

static void setup_rings(struct guest *g, struct x86_state *s);
static void setup_registers(struct guest *g, struct x86_state *s)
{
	setup_rings(g, s);
	s->cr4 |= CR4_FSGSBASE | CR4_PKE;
	s->cr2 = 0x123456789;
}

/* Kernel and user code, the same function in both; SYSCALL, INT, IRETQ, faults from user code. */
ASSEMBLE(rings,
	 "9: mov r12d, 100; mov ecx, 0xc0000082; lea rax, [rip + 5f]; xor edx, edx; wrmsr\n"
	 "1: call 7f; lea r15, [rip + 2f]; push 0x23; push 0x119000; push 0x40002; push 0x2b\n"
	 "lea rax, [rip + 3f]; push rax; iretq\n"
	 "2: mov rsp, 0x120000; dec r12d; jnz 1b; hlt\n"
	 "3: call 7f; syscall; add rbx, rcx; mov rax, [0x160000]; call 7f; mov rax, [0x118001]\n"
	 "hlt\n" /* #GP: back at 2 */
	 "5: swapgs; mov r10, rsp; mov rsp, 0x11f000; push r10; push rcx; push r11; call 7f\n"
	 "mov rcx, [0x161000]; pop r11; pop rcx; pop rsp; swapgs; sysretq\n"
	 "7: inc qword ptr [0x118008]; mov rdx, [0x118008]; movups xmm0, [0x118001]; ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " rol r13, 5; add r13, r14; add r13, [rsp]; test qword ptr [rsp + 8], 3; jz 8f\n"
	 " mov rax, [rsp]; cmp byte ptr [rax], 0xf4; jz 6f\n"
	 " add qword ptr [rsp], 8; iretq\n" /* over the MOV that faulted */
	 " 6: mov qword ptr [rsp + 8], 8; mov qword ptr [rsp + 32], 16\n"
	 " mov [rsp], r15; mov qword ptr [rsp + 24], 0x120000; and qword ptr [rsp + 16], "
	 "0xfffffffffffbffff\n"
	 " iretq; 8: hlt")

static void setup_rings(struct guest *g, struct x86_state *s)
{
	guest_put64(g, GUEST_GDT + 24, 0);
	guest_put64(g, GUEST_GDT + 32, UINT64_C(0x00cff3000000ffff)); /* 20h: user data */
	guest_put64(g, GUEST_GDT + 40, UINT64_C(0x00affb000000ffff)); /* 28h: user code */
	s->gdtr.limit = 47;
	s->star = UINT64_C(0x001b000800000000); /* SYSRET: CS 2bh, SS 23h; SYSCALL: 8, 10h */
	s->fmask = 0x40000;
	s->cr0 |= CR0_AM; /* user code runs with AC set */
	guest_put64(g, GUEST_PT + 0x160 * 8, UINT64_C(0x160000) | PTE_P | PTE_W); /* supervisor's */
	s->seg[GS].base = 0x100000;
	s->kernel_gs_base = 0x101000;
}

/* Instructions that fault, at either level, and are executed again once their page is there. */
ASSEMBLE(resumed,
	 "9: .set resumed_pte, 0x9890; fninit; mov r12d, 100\n"
	 "1: call 8f; mov rax, [0x112008]; adc rbx, rax; call 8f; add [0x112010], rbx; jc 2f\n"
	 "2: sbb rbx, 3; call 8f; mov rsp, 0x112800; call 7f; call 8f; pushfq; mov rsp, 0x120000\n"
	 "call 8f; mov esi, 0x111ff8; mov edi, 0x112ff4; mov ecx, 16; rep movsb; call 8f\n"
	 "lock xadd [0x112018], rbx; call 8f; movups xmm0, [0x112020]; addps xmm1, xmm0\n"
	 "movd eax, xmm1; fld qword ptr [0x112030]; fadd qword ptr [0x111030]; call 8f\n"
	 "fstp qword ptr [0x112038]; cli; call 8f; cmp rbx, [0x112008]; sti; call 8f\n"
	 "cmp [0x112008], rax; jbe 3f; inc rbx; 3: call 8f; lea rax, [rip + 7f]\n"
	 "mov [0x111040], rax; call [0x111040]; mov [0x112040], rax; call 8f; call [0x112040]\n"
	 "call 8f; lea r15, [rip + 5f]; push 0x23; push 0x119000; push 2; push 0x2b\n"
	 "lea rax, [rip + 4f]; push rax; iretq; 4: add rbx, [0x112028]; adc rbx, 1; hlt\n"
	 "5: dec r12d; jnz 1b; hlt; 7: rol rbx, 3; ret\n"
	 "8: mov qword ptr [resumed_pte], 0; invlpg [0x112000]; ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " test byte ptr [resumed_pte], 1; jz 6f; rol r13, 5; add r13, [rsp]; mov [rsp], r15\n"
	 " mov qword ptr [rsp + 8], 8; mov qword ptr [rsp + 32], 16\n"
	 " mov qword ptr [rsp + 24], 0x120000; iretq\n"
	 " 6: mov qword ptr [resumed_pte], 0x112007; add r13, [rsp + 16]; add r13, r14; iretq")

static void setup_resumed(struct guest *g, struct x86_state *s)
{
	_Static_assert(GUEST_PT + 0x112 * 8 == 0x9890, "as in the program");
	setup_rings(g, s);
	s->cr0 &= ~(uint64_t)CR0_AM;
}

/* SYSCALL and SYSRET as a kernel has them: LSTAR high, FMASK clearing all arithmetic flags but PF
 * now and then; vectors live across them; the trap flag by SYSRET. */
ASSEMBLE(gates,
	 "9: mov r12d, 150; mov ecx, 0xc0000082; lea rax, [rip + 5f]; or eax, 0x80000000\n"
	 "mov edx, -1; wrmsr; lea rcx, [rip + 3f]; mov r11d, 2; sysretq\n"
	 "3: mov rsp, 0x119000; 30: pushfq; pop rax; add rbx, rax; call 7f; add al, r12b; syscall\n"
	 "pushfq; pop rax; adc rbx, rax; add rbx, rcx; xor rbx, r11; call 7f; jmp 30b\n"
	 "5: swapgs; mov r10, rsp; mov rsp, 0x11f000; push rcx; push r11; pushfq; pop rax\n"
	 "add rbx, rax; call 7f; test r12d, 15; jnz 51f; mov ecx, 0xc0000084; rdmsr; xor eax, 4\n"
	 "wrmsr; 51: pop r11; pop rcx; dec r12d; jz 6f; mov rsp, r10; swapgs; xor r11d, 0x841\n"
	 "test r12d, 7; jnz 52f; or r11d, 0x100; 52: sysretq\n"
	 "6: lea rax, [rip + 61f]; and eax, 0x7fffffff; jmp rax; 61: hlt\n"
	 "7: inc qword ptr [0x118008]; mov rdx, [0x118008]; movups xmm0, [0x118001]; call 8f; 8: "
	 "ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " rol r13, 5; add r13, [rsp]; and dword ptr [rsp + 16], 0xfffffeff; iretq")

static void setup_gates(struct guest *g, struct x86_state *s)
{
	setup_rings(g, s);
	s->fmask = 0x47fd5;
	s->cr0 &= ~(uint64_t)CR0_AM;
}

/* A process in a system call, while another runs that calls from where it does, and is left by an
 * exception: with a PCID each, and nothing flushed. */
ASSEMBLE(sleepers,
	 "9: mov r12d, 400; mov ecx, 0xc0000082; lea rax, [rip + 5f]; or eax, 0x80000000\n"
	 "mov edx, -1; wrmsr; mov ecx, 0x140000; mov r11d, 2; sysretq; 6: hlt\n"
	 "5: mov [0x118000], rcx; mov [0x118008], r11; mov [0x118010], rsp; mov esp, 0x11f000\n"
	 "movabs rax, 0x80000000001d0002; mov cr3, rax; push 0x23; push 0x11a000; push 2\n"
	 "push 0x2b; push 0x140000; iretq\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 "test r12d, r12d; jz 6b; movabs rax, 0x8000000000006001; mov cr3, rax\n"
	 "mov rcx, [0x118000]; mov r11, [0x118008]; mov rsp, [0x118010]; sysretq")
ASSEMBLE(sleeper, "mov esp, 0x119000; 1: call 2f; add rbx, r12; rol rbx, 3; dec r12d; jnz 1b; hlt\n"
		  "2: syscall; ret")
ASSEMBLE(waker,
	 "mov esp, 0x11a000; 1: call 2f; sub rbx, 77; jmp 1b; 2: xor edi, 1; jz 3f; ret; 3: hlt")

static void setup_sleepers(struct guest *g, struct x86_state *s)
{
	setup_gates(g, s);
	setup_pcids(g, s);
	memcpy(g->ram + 0x140000, sleeper, (size_t)(sleeper_end - sleeper));
	memcpy(g->ram + 0x141000, waker, (size_t)(waker_end - waker));
}

/* The time-stamp counter, which is moved forward now and then, by either instruction, at either
 * level, forbidden to the user at times. RBX would know of any step back. */
ASSEMBLE(counter,
	 "9: mov r12d, 200; mov ecx, 0xc0000103; mov eax, 77; xor edx, edx; wrmsr; xor ebp, ebp\n"
	 "1: call 5f; call 6f; test r12d, 15; jnz 2f; mov edx, 300; sub edx, r12d; xor eax, eax\n"
	 "mov ecx, 0x3b; wrmsr; 2: mov rax, cr4; xor eax, 4; mov cr4, rax; lea r15, [rip + 4f]\n"
	 "push 0x23; push 0x119000; push 2; push 0x2b; lea rax, [rip + 3f]; push rax; iretq\n"
	 "3: call 5f; call 6f; hlt; 4: mov rsp, 0x120000; dec r12d; jnz 1b\n"
	 "xor eax, eax; cdq; mov ecx, eax; xor ebp, ebp; mov [0x118ff0], rbp; mov [0x118ff8], rbp\n"
	 "hlt; 5: rdtsc; shl rdx, 32; or rax, rdx; cmp rax, rbp; adc rbx, 0; mov rbp, rax; ret\n"
	 "6: rdtscp; add r8, rcx; shl rdx, 32; or rax, rdx; cmp rax, rbp; adc rbx, 0\n"
	 "mov rbp, rax; ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " rol r13, 5; add r13, [rsp]; mov [rsp], r15; mov qword ptr [rsp + 8], 8\n"
	 " mov qword ptr [rsp + 32], 16; mov qword ptr [rsp + 24], 0x120000; iretq")

/* 64-bit, compatibility and 64-bit code again. */
ASSEMBLE(modes,
	 "mov r12d, 100; 1: lea rax, [rip + 2f]; push 24; push rax; retfq\n"
	 "3: add rbx, rax; mov ecx, 12; 4: add rbx, rcx; loop 4b; dec r12d; jnz 1b; hlt\n"
	 ".code32\n"
	 "2: mov ecx, 12; 5: add eax, ecx; inc eax; dec ecx; jnz 5b; push 8; push 0x10300; retf\n"
	 ".code64\n")

static void setup_modes(struct guest *g, struct x86_state *s)
{
	static const uint8_t back[] = { 0xe9, 0x0c, 0xfd, 0xff, 0xff }; /* jmp GUEST_CODE + 11h */
	const uint8_t *three = memmem(g->ram + GUEST_CODE, 64, "\x48\x01\xc3\xb9", 4);
	int32_t to = (int32_t)(three - (g->ram + GUEST_CODE)) - 0x305;

	guest_put64(g, GUEST_GDT + 24, UINT64_C(0x00cf9b000000ffff));
	s->gdtr.limit = 31;
	memcpy(g->ram + 0x10300, back, sizeof(back));
	memcpy(g->ram + 0x10301, &to, sizeof(to));
}

/* Flags live over everything that keeps them. */
ASSEMBLE(
	flags,
	"mov r12d, 150; 1: add rax, r12; mov rcx, [0x100000]; lea rbx, [rax + rcx]; bswap rdx\n"
	"adc rdx, rbx; mov [0x100000], rdx; jo 2f; jc 3f; 2: setp cl; push rcx; pop r9; sbb r10, "
	"r9\n"
	"3: pushfq; pop r11; lahf; rcl r11, 3; rcr r9, 9; rol r10, cl; seto al; shl r11, cl; sahf\n"
	"jbe 4f; not r9; 4: inc r10; dec r9; adc r11, r10; cmc; rcl r10, 1; call 5f; jc 6f; stc\n"
	"6: adc rax, 0; mul r10; jo 7f; clc; 7: sbb rax, rdx; xor ecx, r12d; test cl, 5; jp 8f; "
	"adc rbx, 1\n"
	"8: shld rbx, rax, 5; shrd rdx, rbx, cl; adc rdx, rdx; mov ah, ch; add bh, dl; adc ch, bl\n"
	"xchg ah, al; cmp ah, bl; cmovl rdi, rax; movbe rsi, [0x100000]; std; cld; adc rsi, rdi\n"
	"xor [0x100008], rsi; cmpxchg [0x100010], rsi; xadd [0x100018], rdi; imul r8, rsi, 77\n"
	"andn r8, r9, rsi; bextr r9, r8, r10; pdep rsi, r8, r9; rorx rdi, rsi, 13; shlx r10, rdi, "
	"r9\n"
	"mulx r8, r11, rdi; adcx r8, r9; adox r11, r9; popcnt rcx, r8; tzcnt r9, rcx; lzcnt r10, "
	"r11\n"
	"add rax, r8; xor rax, r9; dec r12d; jnz 1b; hlt; 5: ret")

/* Flags that are overwritten soon, but seen in the frame of a fault before; and a displacement that
 * is the largest of branches. */
ASSEMBLE(faulting_flags,
	 "9: mov r12d, 150; mov ecx, 0xffff\n"
	 "1: lea r15, [rip + 2f]; sub eax, ebx; mov gs, cx; 2: cmp eax, r12d\n"
	 "lea r15, [rip + 3f]; add rbx, r12; mov cr8, rsp; add rbx, rbx\n"
	 "3: lea r15, [rip + 4f]; xor eax, ebx; ud2; 4: add eax, eax\n"
	 "xor edx, edx; lea r15, [rip + 5f]; add r12, 0; div edx; 5: sub r12, 0\n"
	 "lea r15, [rip + 6f]; add al, bl; .byte 0xe8; .long 0x7fffff00; 6: and eax, 77\n"
	 "lea r15, [rip + 7f]; sub eax, r12d; .byte 0xe9; .long 0x7fffff00; 7: or eax, 99\n"
	 "lea r15, [rip + 8f]; sub r12d, -1; .byte 0x0f, 0x83; .long 0x7fffff00; 8: dec r12d\n"
	 "mov rsp, 0x120000; dec r12d; jnz 1b; hlt" PASS_OVER)

/* Loops inside of blocks, after which nobody reads their flags but who stops there. */
/* Flags of registers that stay, on the way to who reads them or not, and seen by a fault. */
ASSEMBLE(again,
	 "9: mov r12d, 200; mov ebp, 0x100000\n"
	 "1: imul rbx, rbx, 77; add rbx, r12; mov rdx, rbx; ror rdx, 9\n"
	 "sub rbx, rdx; mov [rbp], rbx; jmp 2f; 2: adc rcx, rbx\n"
	 "add ebx, 0x7fffff0; mov eax, [rbp + 8]; jmp 3f; 3: seto al; rcl rcx, 1; add rcx, rax\n"
	 "cmp edx, ebx; mov [rbp + 16], ecx; call 8f; cmp rdx, -9; mov [rbp + 24], ecx; call 8f\n"
	 "add rdx, rbx; push rdx; call 8f; add edx, -128; pop rax; jmp 4f; 4: setnp al; add rcx, "
	 "rax\n"
	 "sub edx, -77; lea rcx, [rcx + rcx * 2]; call 8f; mov [rbp + 32], "
	 "rcx\n"
	 "xor edx, ebx; push rdx; jmp 5f; 5: pushfq; pop rax; and eax, 0x8c5; add rcx, rax; pop "
	 "rax\n"
	 "test edx, 0x80001; mov [rbp + 40], rdx; jz 6f; setp al; add rcx, rax; 6: sbb rcx, 0\n"
	 "test rdx, rbx; movups xmm0, [rbp]; jmp 7f; 7: sets al; add rcx, rax\n"
	 "lea r15, [rip + 71f]; sub rbx, rdx; mov rax, [0x112000]; jmp 71f; 71: adc rcx, 5\n"
	 "lea r15, [rip + 72f]; add ebx, 3; add rbp, 0; sub edx, ebx; mov eax, [rbp + 0x12000]; "
	 "call 8f\n"
	 "72: lea r15, [rip + 73f]; and edx, 0xff; mov rsp, 0x112004; call 8f; 73: mov esp, "
	 "0x120000\n"
	 "lea r15, [rip + 74f]; and rdx, 0x7f; and r9, rdx; or rdx, rbx; mov [0x112000], rdx; call "
	 "74f\n"
	 "74: seta al; add rcx, rax; mov esp, 0x120000; dec r12d; jnz 1b; hlt\n"
	 "8: setbe al; adc rcx, rax; ret" PASS_OVER)

/* Jumps within a page, and to where it lies elsewhere; one target changes. */
ASSEMBLE(switched,
	 "mov r12d, 500; lea rsi, [rip + 70f]; lea r11, [rip + 2f]; mov ebp, 0x100000\n"
	 "1: mov eax, r12d; and eax, 7; cmp r12d, 300; jmp [rsi + rax * 8]\n"
	 "80: adc rcx, 5; jmp 2f; 81: add rcx, 7; jmp 2f; 82: setc dl; add rcx, rdx; jmp 2f\n"
	 "83: xor rcx, 1; jmp 2f; 84: sbb rcx, 3; jmp r11; 85: lea rax, [rip + 80b]; add edx, ecx\n"
	 "mov [rbp], edx; jmp rax; 86: sub rdx, rcx; mov rax, [rsi + 24]; jmp rax\n"
	 "2: test r12b, 31; jnz 3f; inc byte ptr [rip + 83b + 3]; 3: dec r12d; jnz 1b; hlt\n"
	 "70: .quad 0x10000 + 80b - switched, 0x10000 + 81b - switched, 0x10000 + 82b - switched\n"
	 ".quad 0x10000 + 83b - switched, 0x10000 + 84b - switched, 0x10000 + 85b - switched\n"
	 ".quad 0x10000 + 86b - switched, 0xffffffff80010000 + 84b - switched")

ASSEMBLE(loops,
	 "mov r12d, 200; 1: mov ecx, 5; 2: add rax, rcx; dec ecx; jnz 2b; xor eax, r12d; mov ecx, "
	 "3\n"
	 "3: add rbx, rax; sub ecx, 1; jnz 3b; add rax, 1; mov ecx, 4; 4: adc rdx, rax; loop 4b\n"
	 "and edx, 0xfffff; 5: rol rdx, 7; test dl, 4; jz 5b; sub edx, ebx; dec r12d; jnz 1b; hlt")

/* Branches by a count: with flags in registers, in memory, and read; in 64 and 32 bits of it; too
 * far for one page. */
ASSEMBLE(counts,
	 "mov r12d, 150; 1: mov ecx, 6; 2: add rax, rcx; loop 2b; adc rbx, rax; mov ecx, 5\n"
	 "3: mov rdx, [0x100000 + rcx * 8]; xor rax, rdx; cmp dl, 0x80; mov [0x100400], rdx; "
	 "loopne 3b\n"
	 "setc dl; add rbx, rdx; movabs rcx, 0x700000004; 4: add rbx, rcx; test cl, 2; loope 4b\n"
	 "movabs rcx, 0x900000003; 5: sbb rbx, rcx; addr32 loop 5b; pushfq; pop rdx; add rbx, rdx\n"
	 "mov ecx, r12d; and ecx, 1; cmp r12d, 77; jrcxz 6f; sbb rbx, 5; 6: adc rbx, 9\n"
	 "movabs rcx, 0x500000000; addr32 jrcxz 7f; inc rbx; 7: jrcxz 8f; rol rbx, 3; 8: mov ecx, "
	 "3\n"
	 "mov rdi, 0x110000; 9: mov [rdi + rcx * 8], rbx; lea rdi, [rdi + 0xe00]; loop 9b\n"
	 "mov ecx, 4; lea rax, [rip + 10f]; and rax, 0xfffff; jmp rax; 11: dec r12d; jnz 1b; hlt\n"
	 ".org counts + 0xfe0; 10: add rbx, rcx; cmp ebx, 0x1234; .fill 20, 1, 0x90; adc rbx, 7\n"
	 "loop 10b; jmp 11b")

/* POPF: of every flag that it may change, at both levels, with IOPL 0 and 3; with its page missing;
 * with TF, and AC. */
ASSEMBLE(popping,
	 "9: .set popping_pte, 0x9890; mov r12d, 150; mov ebx, 77; mov eax, 1\n"
	 "1: call 7f; push rax; popfq; adc r8, rbx; call 6f\n"
	 "call 7f; mov [0x112800], rax; call 8f; cmp ebx, eax; mov rsp, 0x112800; popfq; mov rsp, "
	 "0x120000\n"
	 "adc r8, 3; call 6f; pushfw; pop ax; add r9, rax; call 7f; push ax; popfw; adc r8, 7; "
	 "call 6f\n"
	 "test r12d, 3; jnz 2f; push 0x40202; popfq; call 6f; sahf; call 6f; push 2; popfq; call "
	 "6f\n"
	 "2: push 2; popfq; lea r15, [rip + 5f]; push 0x23; push 0x119000; mov eax, r12d; and eax, "
	 "1\n"
	 "neg eax; and eax, 0x3000; or eax, 2; push rax; push 0x2b; lea rax, [rip + 3f]; push rax; "
	 "iretq\n"
	 "3: call 7f; push rax; popfq; adc r8, 1; call 6f; call 7f; or eax, 0x40000; push rax; "
	 "popfq; call 6f\n"
	 "test r12d, 7; jnz 4f; push 0x102; popfq; nop; inc r9; 4: mov rsp, 0x112800; popfq; call "
	 "6f; hlt\n"
	 "5: push 2; popfq; lea r15, [rip + 51f]; test r12d, 15; jnz 51f; push 0x102; popfq; nop; "
	 "51: dec r12d; jnz 1b; "
	 "hlt\n"
	 "6: lea rsi, [rip + 6b]; lodsb; add r9, rsi; cld; pushfq; pop rcx; rol r9, 5; add r9, "
	 "rcx; ret\n"
	 "7: imul ebx, ebx, 0x19660d; add ebx, 0x3c6ef35f; mov eax, ebx; ror eax, 5; and eax, "
	 "0x203ed5; ret\n"
	 "8: mov qword ptr [popping_pte], 0; invlpg [0x112000]; ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " test byte ptr [popping_pte], 1; jz 6f; rol r13, 5; add r13, [rsp]; xor r13, [rsp + 16]\n"
	 " mov [rsp], r15; mov qword ptr [rsp + 8], 8; mov qword ptr [rsp + 32], 16\n"
	 " mov qword ptr [rsp + 16], 2; mov qword ptr [rsp + 24], 0x120000; iretq\n"
	 " 6: mov qword ptr [popping_pte], 0x112007; add r13, [rsp + 16]; add r13, r14; add r13, "
	 "[rsp + 24]; "
	 "iretq")

/* What flushes the TLB, in code whose own page is led elsewhere by it now and then; MSRs and CPUID,
 * at both levels. */
ASSEMBLE(controls,
	 "9: .set controls_pte, 0x9a00; mov r12d, 150; mov ebp, 0x140000\n"
	 "1: mov rax, cr3; mov cr3, rax; add rbx, rax; invlpg [0x118000]; call 6f; mov cr2, rbx\n"
	 "mov rax, cr2; add r8, rax; mov ecx, 0xc0000102; mov eax, r12d; xor edx, edx; wrmsr; add "
	 "rbx, 7\n"
	 "rdmsr; add r8, rax; call 6f; mov ecx, 0x48; rdmsr; adc r8, rax; mov eax, r12d; and eax, "
	 "1; cpuid\n"
	 "add r8, rax; mov rbx, r8; mov rax, cr0; xor eax, 8; mov cr0, rax; clts; mov rax, cr4; "
	 "xor eax, 4\n"
	 "mov cr4, rax; adc r8, 1; call rbp; lea r15, [rip + 2f]; mov ecx, 0x7777; wrmsr; hlt\n"
	 "2: mov rsp, 0x120000; lea r15, [rip + 3f]; mov ecx, 0x7777; rdmsr; hlt\n"
	 "3: mov rsp, 0x120000; push 0x23; push 0x119000; push 2; push 0x2b; lea rax, [rip + 4f]; "
	 "push rax\n"
	 "lea r15, [rip + 5f]; iretq; 4: xor eax, eax; cpuid; add r8, rax; test r12d, 3; jz 41f; "
	 "jp 42f\n"
	 "mov rax, cr3; 41: invlpg [0x118000]; 42: wrmsr; hlt\n"
	 "5: mov rsp, 0x120000; dec r12d; jnz 1b; hlt; 6: add rbx, 3; ret\n"
	 ".org . + 0x800 - (. - 9b)\n"
	 " rol r13, 5; add r13, [rsp]; mov [rsp], r15; mov qword ptr [rsp + 8], 8\n"
	 " mov qword ptr [rsp + 32], 16; mov qword ptr [rsp + 24], 0x120000; iretq")
ASSEMBLE(controls_page,
	 "xor dword ptr [controls_pte], 0x1000; add rbx, 1; invlpg [0x140000]; add rbx, 2; nop; "
	 "nop\n"
	 "xor dword ptr [controls_pte], 0x1000; mov rax, cr3; mov cr3, rax; add rbx, 4; ret")
ASSEMBLE(controls_other,
	 "xor dword ptr [controls_pte], 0x1000; sub rbx, 1; invlpg [0x140000]; xor rbx, 7; nop; "
	 "nop\n"
	 "xor dword ptr [controls_pte], 0x1000; mov rax, cr3; mov cr3, rax; rol rbx, 4; ret")

static void setup_controls(struct guest *g, struct x86_state *s)
{
	_Static_assert(GUEST_PT + 0x140 * 8 == 0x9a00, "as in the program");
	setup_rings(g, s);
	s->cr0 &= ~(uint64_t)CR0_AM;
	memcpy(g->ram + 0x140000, controls_page, (size_t)(controls_page_end - controls_page));
	memcpy(g->ram + 0x141000, controls_other, (size_t)(controls_other_end - controls_other));
}

/* Groups on a page that the TLB does not know: with A and D clear or set, of which the first member
 * sets one or none; read-only and missing, so that a later one faults; pushed to. */
ASSEMBLE(finding,
	 "9: .set finding_pte, 0x9890; mov r12d, 160; mov ebp, 0x112000\n"
	 "1: mov eax, r12d; and eax, 7; lea rdx, [rip + 8f]; mov edx, [rdx + rax * 4]; call 7f\n"
	 "lea r15, [rip + 2f]; mov rcx, [rbp]; add rcx, [rbp + 8]; test r12b, 8; jz 2f; mov [rbp + "
	 "16], rcx; adc rbx, "
	 "[rbp + 24]\n"
	 "2: call 6f; lea r15, [rip + 3f]; mov [rbp + 32], rbx; add rbx, [rbp + 40]; xor rcx, [rbp "
	 "+ 16]\n"
	 "3: call 6f; lea r15, [rip + 4f]; mov rsp, 0x112800; push rbx; push rcx; pop rax; add "
	 "rbx, rax\n"
	 "4: mov rsp, 0x120000; call 6f; lea r15, [rip + 5f]; cmp [rbp + 48], rbx; sbb [rbp + 56], "
	 "rcx\n"
	 "movups xmm0, [rbp + 64]; adc qword ptr [rbp + 72], 3\n"
	 "5: call 6f; dec r12d; jnz 1b; hlt\n"
	 "6: mov rax, [finding_pte]; rol rbx, 7; add rbx, rax; 7: mov [finding_pte], rdx\n"
	 "invlpg [rbp]; ret\n"
	 "8: .long 0x112007, 0x112027, 0x112067, 0x112025, 0, 0x112047, 0x112065, "
	 "0x112005\n" PASS_OVER)

static void setup_finding(struct guest *g, struct x86_state *s)
{
	_Static_assert(GUEST_PT + 0x112 * 8 == 0x9890, "as in the program");
	(void)g;
	s->cr0 |= CR0_WP;
}

/* Selectors go to memory as words, whatever the operand size. */
ASSEMBLE(selectors,
	 "9: .set selectors_pte, 0x9890; mov r12d, 150; mov r10d, 0x100100\n"
	 "1: mov [r10 + 7], ds; mov [0x100200 + r12], cs; mov fs:[0x100300], ss; mov [r10d + 64], "
	 "gs\n"
	 "mov qword ptr [selectors_pte], 0; invlpg [0x112000]; lea r15, [rip + 2f]; cmp r12, rbx\n"
	 "mov [0x112000], cs; adc rbx, 1\n"
	 "2: mov qword ptr [selectors_pte], 0x112007; adc rbx, [0x100200 + r12]; mov eax, cs; add "
	 "rbx, rax\n"
	 "mov [0x111fff], ss; rol rbx, 3; dec r12d; jnz 1b; hlt\n" PASS_OVER)

/* JMPs in their page, which a block follows: on and back, ways out between, a fault behind one, and
 * writes to the part ahead, to one behind and between the parts. */
ASSEMBLE(followed,
	 "9: mov r12d, 300; mov ebp, 0x100000\n"
	 "1: mov eax, r12d; add rbx, rax; jmp 4f; 30: .quad 0\n"
	 "2: test r12d, 3; jnz 20f; mov [rip + 5f + 1], r12b; 20: jmp 5f; .quad 0\n"
	 "3: add rdx, 5; inc dword ptr [rip + 30b]; dec r12d; jz 8f; jmp 1b\n"
	 "4: mov rcx, [rbp + 8]; test r12d, 8; jnz 6f; xor rcx, rbx; add [rbp + 16], rcx; jmp 2b\n"
	 "5: mov al, 0; adc rdx, rax; lea r15, [rip + 7f]; test r12d, 14; jnz 7f; ud2; 7: jmp 3b\n"
	 "6: sub rbx, rcx; test r12d, 32; jz 3b; mov al, [rip + 4b + 3]; mov [rip + 4b + 3], al\n"
	 "jmp 3b; 8: hlt" PASS_OVER)

/* The same one instruction at a time, now and then. */
ASSEMBLE(followed_steps,
	 "9: mov r12d, 200; 1: add rax, 3; jmp 3f; 2: test r12d, 7; jnz 4f; pushfq\n"
	 "or dword ptr [rsp], 0x100; popfq; jmp 5f; 3: add rbx, rax; mov eax, ss; jmp 6f\n"
	 "4: dec r12d; jnz 1b; hlt; 5: add rcx, rbx; jmp 7f; 6: mov ss, eax; jmp 2b\n"
	 "7: pushfq; and dword ptr [rsp], 0xfffffeff; popfq; jmp 4b\n"
	 ".org . + 0x800 - (. - 9b)\n add r13, [rsp]; iretq")

static const struct program programs[] = {
#define PROGRAM(name, setup, most)                                                                 \
	{                                                                                          \
#name, name, name##_end, setup, most, false, false                                 \
	}
	PROGRAM(recursion, NULL, 200000),
	PROGRAM(coroutines, NULL, 20000),
	PROGRAM(returns, NULL, 20000),
	PROGRAM(ret_imm, NULL, 20000),
	PROGRAM(non_canonical, NULL, 50000),
	PROGRAM(edges, setup_edges, 50000),
	PROGRAM(halves, NULL, 20000),
	PROGRAM(bases, setup_bases, 20000),
	PROGRAM(page_ends, setup_page_ends, 60000),
	PROGRAM(fields, setup_page_ends, 30000),
	PROGRAM(strangers, NULL, 20000),
	PROGRAM(wrapping_fields, NULL, 20000),
	PROGRAM(repeats, NULL, 20000),
	PROGRAM(self_modifying, NULL, 20000),
	PROGRAM(straddling, NULL, 20000),
	PROGRAM(straddled, setup_straddled, 20000),
	PROGRAM(jit, NULL, 20000),
	PROGRAM(spaces, setup_spaces, 20000),
	PROGRAM(pcids, setup_pcids, 20000),
	{"remapped",  remapped, remapped_end, setup_spaces,    20000, true,  false},
	PROGRAM(aliases, setup_aliases, 20000),
	PROGRAM(moved, setup_moved, 20000),
	PROGRAM(divisions, NULL, 20000),
	PROGRAM(vectors, NULL, 20000),
	PROGRAM(steps, NULL, 20000),
	PROGRAM(rings, setup_rings, 20000),
	PROGRAM(registers, setup_registers, 40000),
	PROGRAM(resumed, setup_resumed, 40000),
	PROGRAM(gates, setup_gates, 30000),
	PROGRAM(sleepers, setup_sleepers, 60000),
	PROGRAM(modes, setup_modes, 20000),
	PROGRAM(flags, NULL, 20000),
	PROGRAM(faulting_flags, NULL, 20000),
	PROGRAM(loops, NULL, 30000),
	PROGRAM(followed, NULL, 20000),
	PROGRAM(followed_steps, NULL, 20000),
	PROGRAM(counts, NULL, 40000),
	PROGRAM(finding, setup_finding, 40000),
	PROGRAM(selectors, NULL, 20000),
	PROGRAM(popping, setup_resumed, 60000),
	{ "controls", controls, controls_end, setup_controls,  40000, true,  false},
	PROGRAM(frames, setup_page_ends, 30000),
	{ "again",    again,    again_end,    setup_page_ends, 40000, false, true },
	{ "counter",  counter,  counter_end,  setup_rings,     20000, false, true },
	{ "switched", switched, switched_end, NULL,            20000, false, true },
};

#endif
