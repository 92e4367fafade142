/*
 * bt_system.c - the instructions that a kernel uses all the time stay in translated code: emitted,
 * or called from it and returned to; POPF opens the interrupt window where it should; and a page
 * that the TLB does not know costs a group of accesses one call.
 *
 * What they do is compared with the interpreter in bt.c (popping, counts, controls, finding,
 * selectors, gates, rings) and bt_random.c; here it is counted how often translated code was left.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/lockstep.h"

#define ROUNDS 1000
#define HIGH   UINT64_C(0xffffff8000000000) /* all memory again */
#define PTE_G  UINT64_C(0x100)
#define FEW    40 /* until a block is translated and linked; slices */

enum how { EMITTED, CALLED };

/* X(how, width, real time only, assembly): of each round; RBP, RBX, RSP and [RSP - 64] are not
 * theirs. */
/* clang-format off */
#define FORMS(X) \
	X(EMITTED, 64, false, "cli; sti; nop") \
	X(EMITTED, 64, false, "pushfq; popfq") \
	X(EMITTED, 64, false, "pushfq; cli; popfq") \
	X(EMITTED, 64, false, "pushfq; pop rax; xor eax, 0x200ad5; push rax; popfq") \
	X(EMITTED, 64, false, "swapgs; swapgs") \
	X(EMITTED, 64, false, "stac; clac") \
	X(EMITTED, 64, true, "rdtsc; rdtscp") \
	X(EMITTED, 64, false, "rdfsbase rax; wrfsbase rax; rdgsbase rax; wrgsbase rax") \
	X(EMITTED, 64, false, "mov rax, cr0; mov rax, cr2; mov rax, cr3; mov rax, cr4") \
	X(EMITTED, 64, false, "mov eax, ds; mov ax, fs; mov r10w, es; mov [rsp], cs") \
	X(EMITTED, 64, false, "xor ecx, ecx; rdpkru") \
	X(EMITTED, 64, false, "mov ecx, 3; 2: loop 2b") \
	X(EMITTED, 64, false, "mov ecx, 3; cmp ecx, 7; 2: loopne 2b; mov ecx, 3; cmp ecx, 3; 3: loope 3b") \
	X(EMITTED, 64, false, "mov ecx, 3; 2: dec eax; addr32 loop 2b") \
	X(EMITTED, 64, false, "xor ecx, ecx; jrcxz 2f; 2: inc ecx; jrcxz 3f; 3: addr32 jrcxz 4f; 4:") \
	X(EMITTED, 32, false, "mov [esp], cs; mov eax, ss; mov cx, gs") \
	X(EMITTED, 32, false, "pushfd; popfd") \
	X(EMITTED, 32, false, "pushfd; cli; popfd") \
	X(EMITTED, 32, false, "cli; sti; nop") \
	X(EMITTED, 32, false, "mov ecx, 3; 2: loop 2b; mov ecx, 3; 3: sub eax, ecx; loopne 3b") \
	X(EMITTED, 32, false, "xor ecx, ecx; jecxz 2f; 2: inc ecx; jecxz 3f; 3:") \
	X(CALLED, 64, false, "invlpg [rsp]") \
	X(CALLED, 64, false, "mov rax, cr3; mov cr3, rax") \
	X(CALLED, 64, false, "mov rax, cr3; xor rax, 1; bts rax, 63; mov cr3, rax") \
	X(CALLED, 64, false, "mov rax, cr0; mov cr0, rax") \
	X(CALLED, 64, false, "mov rax, cr4; mov cr4, rax") \
	X(CALLED, 64, false, "mov cr2, rax") \
	X(CALLED, 64, false, "mov ecx, 0xc0000102; xor eax, eax; xor edx, edx; wrmsr; rdmsr") \
	X(CALLED, 64, false, "mov ecx, 0xc0000100; xor eax, eax; xor edx, edx; wrmsr; rdmsr") \
	X(CALLED, 64, false, "mov ecx, 0x48; xor eax, eax; xor edx, edx; wrmsr; rdmsr") \
	X(CALLED, 64, false, "xor eax, eax; push rbx; cpuid; pop rbx") \
	X(CALLED, 64, false, "clts") \
	X(CALLED, 32, false, "invlpg [esp]") \
	X(CALLED, 32, false, "mov eax, cr0; mov cr0, eax; clts") \
	X(CALLED, 32, false, "mov ecx, 0xc0000102; xor eax, eax; xor edx, edx; wrmsr; rdmsr")
/* clang-format on */

#define X(how, width, real_time, form)                                                             \
	".code" #width "\n1: " form "\ndec ebp; jnz 1b; hlt; 9: .pushsection .data.sys\n"          \
	".quad 1b, 9b\n.popsection\n"
__asm__(".pushsection .data.sys, \"aw\"\nsystem_code:\n.popsection\n"
	".pushsection .rodata\n.intel_syntax noprefix\n" FORMS(
		X) ".code64\n.att_syntax\n.popsection\n");
#undef X
extern const uint8_t *const system_code[][2];
static const struct form {
	enum how how;
	unsigned width;
	bool real_time;
	const char *text;
} forms[] = {
#define X(how, width, real_time, form) { how, width, real_time, form },
	FORMS(X)
#undef X
};

/* Ways out of translated code, to the run loop and by it. */
static uint64_t ways_out(const struct bt *t)
{
	uint64_t all = t->hops;

	for (unsigned n = 0; n < sizeof(t->exits) / sizeof(t->exits[0]); n++)
		all += t->exits[n];
	for (unsigned n = 0; n <= STEP_END; n++)
		all += t->figures.steps[n];
	return all;
}

/* It runs high, on a page that is global, as a kernel does. */
static void set_high(struct guest *g, struct x86_state *s)
{
	guest_put64(g, GUEST_PML4 + 511 * 8, GUEST_PDPT | PTE_P | PTE_W);
	guest_put64(g, GUEST_PT + (GUEST_CODE >> 12) * 8, GUEST_CODE | PTE_P | PTE_G);
	s->cr4 |= CR4_PGE | CR4_PCIDE;
	s->rip = HIGH + GUEST_CODE;
}

static void set_form(struct guest *g, unsigned n)
{
	size_t bytes = (size_t)(system_code[n][1] - system_code[n][0]);
	struct x86_state s = guest_state64(0, GUEST_CODE);

	memcpy(g->ram + GUEST_CODE, system_code[n][0], bytes);
	s.gpr[RSP] = 0x120000;
	s.gpr[RBP] = ROUNDS;
	s.cr4 |= CR4_FSGSBASE | CR4_PKE;
	if (strstr(forms[n].text, "stac")) /* all memory is the user's */
		s.cr4 |= CR4_SMAP;
	if (forms[n].width == 32)
		s.seg[CS].attr ^= SEG_L | SEG_DB;
	guest_tables(g);
	if (strstr(forms[n].text, "mov cr3"))
		set_high(g, &s);
	guest_set(g, &s);
}

static bool stays(const struct form *f, unsigned n, bool counted)
{
	struct guest g = guest_open_on(&bt_ops, counted, (struct engine_options){ 0 });
	const struct bt *t = g.c->executor;
	struct clock *clock = &g.vm->clock;
	bool ok;

	while (!counted && clock->line.steady && !clock->line.limit)
		clock_tsc(clock); /* code reads the clock by itself only once it has its line */
	set_form(&g, n);
	if (guest_run(&g, 100 * ROUNDS) != EXIT_HLT)
		print_error("%s: did not come to its end\n", f->text);
	ok = t->native > 0 && ways_out(t) < FEW && (f->how == CALLED || t->slows < FEW);
	if (!ok)
		print_error("%u bits, counted %u: %s: %llu ways out, %llu calls\n", f->width,
			    counted, f->text, (unsigned long long)ways_out(t),
			    (unsigned long long)t->slows);
	guest_close(&g);
	return ok;
}

static void test_in_translated_code(void **state)
{
	unsigned wrong = 0;

	(void)state;
	for (unsigned n = 0; n < sizeof(forms) / sizeof(forms[0]); n++)
		for (unsigned counted = 0; counted < 2; counted++)
			if (!(counted && forms[n].real_time))
				wrong += !stays(&forms[n], n, counted);
	assert_int_equal(wrong, 0);
}

/* Pages that the TLB has to look for cost a group one call, not one for each of its members. */
static void test_groups_found(void **state)
{
	static const uint8_t code[] = {
		0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, /* mov rax, cr3; mov cr3, rax */
		0x48, 0x8b, 0x13,                   /* mov rdx, [rbx] */
		0x48, 0x03, 0x53, 0x08,             /* add rdx, [rbx + 8] */
		0x48, 0x33, 0x53, 0x10,             /* xor rdx, [rbx + 16] */
		0x48, 0x89, 0x53, 0x18,             /* mov [rbx + 24], rdx */
		0xff, 0xcd, 0x75, 0xe7, 0xf4,       /* dec ebp; jnz; hlt */
	};
	struct guest g = guest_open_on(&bt_ops, true, (struct engine_options){ 0 });
	const struct bt *t = g.c->executor;
	struct x86_state s = guest_state64(0, GUEST_CODE);

	(void)state;
	guest_tables(&g);
	memcpy(g.ram + GUEST_CODE, code, sizeof(code));
	set_high(&g, &s);
	s.gpr[RBX] = 0x100000;
	s.gpr[RBP] = ROUNDS;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100 * ROUNDS), EXIT_HLT);
	assert_in_range(t->found, ROUNDS - FEW, ROUNDS);
	assert_in_range(t->slows, ROUNDS - FEW, ROUNDS + FEW); /* of MOV CR3 */
	guest_close(&g);
}

/* Somebody waits for IF: who sets it is the last before the window. */
__asm__(".pushsection .rodata\n.intel_syntax noprefix\n"
	"window64: 1: push 2; popfq; add eax, 1; push 0x202; popfq; add eax, 2; dec ebp; jnz 1b; "
	"hlt\n"
	"window64_end: .code32\n"
	"window32: 1: push 2; popfd; add eax, 1; push 0x202; popfd; add eax, 2; dec ebp; jnz 1b; "
	"hlt\n"
	"window32_end: .code64\n.att_syntax\n.popsection\n");
extern const uint8_t window64[], window64_end[], window32[], window32_end[];

static void window(const uint8_t *code, size_t bytes, bool narrow, unsigned torture)
{
	struct pair p = pair_open("window", true, torture, 0);
	struct x86_state s = guest_state64(0, GUEST_CODE);
	unsigned windows = 0;

	guest_tables(&p.a);
	memcpy(p.a.ram + GUEST_CODE, code, bytes);
	s.gpr[RBP] = 2000;
	if (narrow)
		s.seg[CS].attr ^= SEG_L | SEG_DB;
	pair_set(&p, &s);
	for (unsigned n = 0; n < 40; n++) {
		assert_int_equal(pair_step(&p, 1 + chance(&p.chance, 90)), EXIT_BUDGET);
		if (p.a.c->s.rflags & FLAG_IF)
			continue;
		p.a.vcpu->want_window = p.b.vcpu->want_window = true;
		assert_int_equal(pair_step(&p, 100), EXIT_IRQ_WINDOW);
		assert_true(p.a.c->s.rflags & FLAG_IF);
		p.a.vcpu->want_window = p.b.vcpu->want_window = false;
		windows++;
	}
	assert_in_range(windows, 5, 40);
	assert_in_range(pair_native(&p), 5, UINT64_MAX);
	pair_close(&p);
}

static void test_window(void **state)
{
	(void)state;
	for (unsigned t = 0; t <= TORTURE_COUNT; t++) {
		unsigned torture = t == TORTURE_COUNT ? 0 : 1u << t;

		window(window64, (size_t)(window64_end - window64), false, torture);
		window(window32, (size_t)(window32_end - window32), true, torture);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_in_translated_code),
	cmocka_unit_test(test_groups_found),
	cmocka_unit_test(test_window),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
