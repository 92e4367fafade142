/*
 * bt_frames.c - what the frames of faults in translated code show of the flags.
 *
 * In a counted machine all of it, exactly. In a real-time machine all but this: arithmetic flags
 * that the program overwrites before it reads them may be those of an instruction further back
 * when a memory operand faults, or DIV (engine/bt/flow.c). A program that goes on where it was
 * comes to the same: the frames of two engines may differ, and what the program does may not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/lockstep.h"

#define LOG    0x140000 /* RFLAGS of each frame */
#define STACK  0x120000
#define HOLE   0x180000 /* not present */
#define ROUNDS 200u
#define PF     0x200 /* handlers, from the beginning of the program */
#define OTHER  0x280

/* The faulting instruction of each has the label where R15 says that execution goes on. */
/* clang-format off */
#define CASES(X)                                                                                   \
	X("read later, all of them", true,                                                         \
	  "sub eax, ebx; mov rdx, [rbp]; 2: pushfq; pop rcx; add rsi, rcx")                        \
	X("read later, one of them", true,                                                         \
	  "add eax, ebx; mov [rbp], rdx; 2: adc rsi, rax; xor eax, r12d")                          \
	X("read in the next block", true,                                                          \
	  "cmp eax, esi; push rax; mov rcx, [rbp]; 2: pop rax; jmp 3f; 3: seto cl; rol rsi, cl")   \
	X("read where a branch leads", true,                                                       \
	  "imul eax, esi; mov [rbp], rdx; 2: jno 3f; inc rsi; 3: xor esi, eax")             \
	X("left to its handler", true, "neg esi; ud2; 2: cmp eax, ebx")                            \
	X("overwritten after a read", false, "sub eax, esi; mov rdx, [rbp]; 2: add esi, eax")      \
	X("overwritten after a write", false, "shl esi, 3; mov [rbp + 4], esi; 2: cmp eax, esi")   \
	X("overwritten by what faults", false, "add eax, 77; cmp [rbp], eax; 2: test eax, eax")    \
	X("overwritten by DIV", false, "xor edx, edx; add ecx, esi; div edx; 2: sub esi, ecx")
/* clang-format on */

#define X(name, exact, text) "lea r15, [rip + 2f]; " text "\n"
__asm__(".pushsection .rodata\n.intel_syntax noprefix\nframes_code: 9: mov r12d, 200\n"
	"1:\n" CASES(X) "dec r12d; jnz 1b; hlt\n"
			".org . + 0x200 - (. - 9b)\n"
			"add rsp, 8\n"
			".org . + 0x280 - (. - 9b), 0x90\n"
			"push rcx; mov rcx, [rsp + 24]; mov [rdi], rcx; add rdi, 8; pop rcx\n"
			"mov [rsp], r15; iretq\n"
			"frames_end:\n.att_syntax\n.popsection\n");
#undef X
extern const uint8_t frames_code[], frames_end[];

static const struct {
	const char *name;
	bool exact;
} cases[] = {
#define X(name, exact, text) { name, exact },
	CASES(X)
#undef X
};
#define COUNT (sizeof(cases) / sizeof(cases[0]))

static void lead(struct guest *g, unsigned vector, uint64_t to)
{
	guest_put64(g, GUEST_IDT + vector * 16,
		    (to & 0xffff) | UINT64_C(8) << 16 | UINT64_C(0x8e00) << 32 | (to >> 16) << 48);
}

/* PF leads on to OTHER: NOPs are what ADD leaves room for. */
static void set_up(struct pair *p)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);
	struct guest *g = &p->a;

	guest_tables(g);
	guest_put64(g, GUEST_PT + (HOLE >> PAGE_SHIFT) * 8, 0);
	memcpy(g->ram + GUEST_CODE, frames_code, (size_t)(frames_end - frames_code));
	lead(g, 0, GUEST_CODE + OTHER);
	lead(g, 6, GUEST_CODE + OTHER);
	lead(g, 14, GUEST_CODE + PF);
	s.gpr[RSP] = STACK;
	s.gpr[RDI] = LOG;
	s.gpr[RBP] = HOLE;
	s.gpr[RBX] = 0x7fff1234;
	s.gpr[RSI] = 0x123456789;
	pair_set(p, &s);
}

static void check_frames(const struct pair *p, bool counted)
{
	for (unsigned n = 0; n < ROUNDS * COUNT; n++) {
		uint64_t a = guest_get64((struct guest *)&p->a, LOG + n * 8);
		uint64_t b = guest_get64((struct guest *)&p->b, LOG + n * 8);
		uint64_t free = counted || cases[n % COUNT].exact ? 0 : FLAG_ARITH;

		if (!((a ^ b) & ~free))
			continue;
		print_error("%s, round %u: flags %llx %llx (interp, bt)\n", cases[n % COUNT].name,
			    n / (unsigned)COUNT, (unsigned long long)a, (unsigned long long)b);
		assert_true(false);
	}
}

/* Beside them the two must be the same. */
static void forget_frames(struct guest *g)
{
	memset(g->ram + LOG, 0, ROUNDS * COUNT * 8);
	memset(g->ram + STACK - PAGE_SIZE, 0, PAGE_SIZE);
}

static void run(bool counted, unsigned torture)
{
	struct pair p = pair_open("frames", counted, torture, 0);

	set_up(&p);
	for (unsigned n = 0; n < 2; n++)
		assert_int_equal(guest_run(n ? &p.b : &p.a, 1000000), EXIT_HLT);
	assert_int_equal(p.a.c->r[RDI], LOG + ROUNDS * COUNT * 8);
	assert_in_range(pair_native(&p), 20, UINT64_MAX);
	check_frames(&p, counted);
	forget_frames(&p.a);
	forget_frames(&p.b);
	pair_same(&p, EXIT_HLT, EXIT_HLT);
	pair_close(&p);
}

static void test_counted(void **state)
{
	(void)state;
	run(true, 0);
	run(true, TORTURE(HOT));
}

static void test_real_time(void **state)
{
	(void)state;
	run(false, 0);
	run(false, TORTURE(HOT));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counted),
		cmocka_unit_test(test_real_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
