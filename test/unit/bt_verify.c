/*
 * bt_verify.c - the verifier of translated code refuses whatever must not be there.
 *
 * That it takes everything which the translator makes is shown by the other tests of bt: they have
 * every block verified (test/unit/lockstep.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/verify.h"

#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

/* clang-format off */
#define REFUSED(X) \
	X("syscall") X("sysenter") X("sysretq") X("sysexitq") X("int 0x80") X("int3") X(".byte 0xf1") \
	X("iretq") X("hlt") X("cli") X("sti") X("clts") X("swapgs") X("ud2") X("cpuid") X("rdtsc") \
	X("in al, dx") X("in eax, 0x60") X("out dx, al") X("out 0x80, al") X("insb") X("outsb") \
	X("rep insb") X("rep outsb") \
	X(".byte 0x0f, 0x01, 0xef") /* wrpkru */ X(".byte 0x0f, 0x01, 0xee") /* rdpkru */ \
	X("xsetbv") X("xgetbv") X("xrstor gs:[0]") X("fxrstor gs:[0]") X("xsave gs:[0]") \
	X("ldmxcsr gs:[0]") X("vmcall") X("vmfunc") X("monitor") X("mwait") X("invlpg gs:[0]") \
	X("mov ds, eax") X("mov es, gs:[0]") X("mov ss, ecx") X("mov fs, eax") X("mov gs, eax") \
	X("mov eax, ds") X("mov gs:[0], ds") X("pop fs") X("pop gs") X("push fs") \
	X("lss eax, gs:[0]") X("lfs eax, gs:[0]") X("lgs eax, gs:[0]") \
	X("wrfsbase rax") X("wrgsbase rax") X("rdfsbase rax") X("rdgsbase rax") \
	X("mov cr0, rax") X("mov rax, cr3") X("mov dr7, rax") X("mov rax, dr0") X("lgdt gs:[0]") \
	X("lidt gs:[0]") X("lldt ax") X("ltr ax") X("sgdt gs:[0]") X("rdmsr") X("wrmsr") X("rdpmc") \
	X("smsw eax") X("lmsw ax") X("wbinvd") X("popfq") X("pushfq") X("enter 8, 0") X("leave") \
	X("pop rax") X("push 5") X("push qword ptr gs:[0]") X("push ax") X("push rsp") \
	X("movsb") X("stosq") X("lodsb") X("cmpsb") X("scasb") X("rep movsb") X("rep stosq") \
	X("xlatb") X("maskmovdqu xmm0, xmm1") X("vpgatherdd xmm0, [r11 + xmm1], xmm2") \
	X("fld qword ptr [rax]") X("fldcw [r11]") X("fldenv gs:[0]") X("frstor [r11]") X("fnsave [r11]") X("fninit") X("fnclex") X("maskmovq mm0, mm1") X("movq mm0, [rbx]") \
	X("xbegin 1b + 8") X("xabort 1") \
	/* memory that nobody checked */ \
	X("mov rax, [rax]") X("mov [rbx], eax") X("mov rax, [r12]") X("mov rax, [r9]") \
	X("mov rax, [r10]") X("mov rax, ds:[0x1000]") X("movabs rax, [0x1122334455667788]") \
	X("mov rax, [r11 + rax * 2]") X("mov rax, [r11 + rcx]") X("mov rax, [r11 + r11]") X("mov eax, gs:[r11 + rax]") X("mov rax, [rcx + rax]") X("mov rax, [rcx + r11 * 2]") X("mov rax, [r11 - 8]") \
	X("mov rax, [rcx + 0x1000]") X("mov rax, [r11 + 0xffc]") X("mov eax, [ecx]") \
	X("mov eax, [r11d]") X("mov rax, fs:[0]") X("mov rax, fs:[r11]") X("mov rax, gs:[r11]") \
	X("mov rax, gs:[rcx + 8]") X("mov rax, gs:[-8]") X("mov rax, gs:[0x7ffffff0]") \
	X("movups xmm0, [rsi]") X("vmovdqu [rdi], ymm0") X("lock add [rax], eax") \
	X("mov rax, [rip + 0x10]") X("mov [rip - 0x10], rax") X("mov rax, [rip + 0x7ffffff0]") \
	/* the hint stack */ \
	X("mov rax, [rsp + 16]") X("mov rax, [rsp - 8]") X("mov [rsp], rax") X("mov rsp, rax") \
	X("mov rax, rsp") X("add rsp, 8") X("lea rsp, [rax + 8]") X("lea rsp, [rsp + rax]") \
	X("lea esp, [rsp + 8]") X("or rsp, 0x20000") X("or rsp, rax") X("xchg rsp, rax") \
	X("mov spl, 1") X("cmp rax, rsp") \
	/* the budget */ \
	X("mov rax, r15") X("mov r15d, 5") X("sub r15, rax") X("sub r15, 0x1000") X("sub r15d, 5") X("add r15, 8") \
	X("lea r15, [r15 - 8]") X("lea r15, [r15 + rax]") X("lea r15, [rax + 8]") X("mov rax, [r11 + r15]") \
	/* branches */ \
	X("jmp rax") X("jmp [rcx + r11 * 4]") X("jmp [rcx + rax * 8]") X("jmp [r11 + rcx * 8]") X("jmp [rcx + r11 * 8 + 8]") X("call [rcx + r11 * 8]") X("call rcx") X("jmp [r11]") X("call [r11]") X("jmp gs:[0]") X("ret 8") \
	X("retfq") X("jmp fword ptr [r11]") X("call fword ptr [r11]") X("jmp 1b + 0x100") \
	X("jmp 1b - 0x100") X("jmp 1b + 3; mov eax, 1") X("jnz 1b + 3; mov eax, 1") X("call 1b + 0x1000") \
	X("loop 1b + 0x40") X(".byte 0x06") X(".byte 0x48") X("nop; .byte 0x0f")
#define TAKEN(X) \
	X("mov rax, [r11 + rax]") X("mov [r11 + r12 - 8], bl") X("vpaddb ymm1, ymm2, [r11 + rbp + 0x1000]") X("jmp [rcx + r11 * 8]") X("add eax, gs:[8]") X("mov rax, gs:[0]") X("mov dword ptr gs:[8], 5") X("mov rax, [r11]") X("mov [r11], ax") \
	X("xor r11, [rcx + 8]") X("add r11, [rcx + 24]") X("mov rax, [r11 + 0xff8]") \
	X("lock xadd [r11], rbx") X("movups xmm3, [r11]") X("vpaddb ymm1, ymm2, [r11]") \
	X("test byte ptr gs:[8], 16") X("mov dword ptr [r11], 5") X("mov r9d, [r11]") X("cmp al, [r11]") \
	X("sub r15, 9") X("lea r15, [r15 + 9]") X("lea r10d, [r10 - 4]") X("vmovaps xmm1, xmm1") X("vzeroupper") X("pmovmskb eax, xmm1") X("lea rax, [rbx + rcx * 4 + 9]") X("div rcx") \
	X("cmp r11, [rsp]") X("lea rsp, [rsp + 8]") X("or rsp, 0x10000") X("push rcx") X("ret") \
	X("lahf; seto al; sahf") X("jz 1b + 7; mov eax, 1; ret") X("mov eax, 1; jmp 1b") \
	X("fld qword ptr [r11]") X("faddp") X("fnstsw ax") X("fldcw gs:[0]") X("fucomip st, st(1)") X("paddb mm0, [r11]") X("lock cmpxchg16b [r11]") X("mul rbx") X("shl rax, cl") X("mfence") X("movabs rax, 0x1122334455667788")
/* clang-format on */

struct form {
	const char *text;
	const uint8_t *code, *end;
};

/* One after the other, with a label before each and behind the last of a list. */
#define X(form) form "\n2: .pushsection .data.forms\n.quad 1b, 2b\n.popsection\n1: "
#define ASSEMBLE(list, LIST)                                                                       \
	__asm__(".pushsection .data.forms, \"aw\"\n.balign 8\n" #list ":\n.popsection\n"           \
		".pushsection .rodata\n.intel_syntax noprefix\n1: " LIST(                          \
			X) ".att_syntax\n.popsection\n");                                          \
	extern const uint8_t *const list[][2];

ASSEMBLE(refused_code, REFUSED)
ASSEMBLE(taken_code, TAKEN)
#undef X
#define X(form) form,
static const char *const refused[] = { REFUSED(X) }, *const taken[] = { TAKEN(X) };
#undef X

static const char *verify(const struct bt *t, const void *code, size_t bytes)
{
	const uint8_t *at;

	const struct bt_piece piece[2] = {
		{t->room->at, t->room->at + bytes}
	};

	memcpy(t->room->at, code, bytes);
	return bt_verify(t, piece, &at);
}

static void check_list(const char *const *text, const uint8_t *const code[][2], unsigned count,
		       bool take)
{
	struct guest g = guest_open_on(&bt_ops, true, (struct engine_options){ 0 });
	unsigned wrong = 0;

	for (unsigned n = 0; n < count; n++) {
		const char *why =
			verify(g.c->executor, code[n][0], (size_t)(code[n][1] - code[n][0]));

		if (!why == take)
			continue;
		print_error("%s: %s\n", text[n], why ? why : "taken");
		wrong++;
	}
	assert_int_equal(wrong, 0);
	guest_close(&g);
}

static void test_refused(void **state)
{
	(void)state;
	check_list(refused, refused_code, sizeof(refused) / sizeof(refused[0]), false);
}

static void test_taken(void **state)
{
	(void)state;
	check_list(taken, taken_code, sizeof(taken) / sizeof(taken[0]), true);
}

/* What depends on where it lies: cells and stubs. */
static void test_places(void **state)
{
	struct guest g = guest_open_on(&bt_ops, true, (struct engine_options){ 0 });
	const struct bt *t = g.c->executor;
	const struct {
		const uint8_t *to; /* write address */
		bool cell, branch;
	} places[] = {
		{t->code.write_at - 8,  true,          false         },
		{ t->code.write_at - 7, false,         false         }, /* into a stub */
		{ bt_data(t,            t->code.data), true,           false },
		{ bt_data(t,                    t->code.data) - 1,                        false,  false },
		{ t->slow + 1,                false,                            false                             },
		{ t->mismatch,                false, true},
		{ t->slow,                 false,                             true							     },
		{ t->room->begin,                 false, false},
		{ t->code.write_at + t->code.bytes,                false,                            false								      },
	};
	struct bt_piece piece[2] = { { 0 } };
	const uint8_t *at;

	(void)state;
	for (unsigned n = 0; n < sizeof(places) / sizeof(places[0]); n++) {
		struct code e = { t->room->at };

		code_rip(&e, OP_CMP, RCX, places[n].to);
		piece[0] = (struct bt_piece){ t->room->at, e.at };
		assert_int_equal(!bt_verify(t, piece, &at), places[n].cell);
		e.at = t->room->at + 16; /* `begin` is where the block begins */
		code_go(&e, OP_CALL, places[n].to);
		piece[0] = (struct bt_piece){ t->room->at + 16, e.at };
		assert_int_equal(!bt_verify(t, piece, &at), places[n].branch);
	}
	guest_close(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_refused),
	cmocka_unit_test(test_taken),
	cmocka_unit_test(test_places),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
