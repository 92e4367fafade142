/*
 * child.c - the bare CPU's side: a program that runs cases and tells how each ended.
 *
 * It enters a case by loading every register, the last ones with IRETQ, which user code may
 * use to go to any user code segment; it gets back control in a signal handler, which finds all
 * registers in the signal frame and jumps back into the loop. Nothing of the C library works
 * while the case's FS base is loaded, hence the assembly at both ends.
 *
 * A case may not reach the system: a seccomp filter turns every system call from within the sandbox
 * into a signal. A program of its own, and never built with a sanitizer: those keep tables where
 * cases find nothing mapped, and their handlers know nothing of such registers.
 *
 * usage: insn-bare SHARED ORDER ANSWER MOST, file descriptors from native.c
 *
 * SPDX-License-Identifier: MIT
 */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* The ELF program header's; cpu/state.h has the page fault's. */
#undef PF_R
#undef PF_W
#include "test/insn/insn.h"

#define ALT_STACK 65536

struct xsave_area {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved0;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	struct {
		uint64_t mant, exp;
	} st[8];
	uint64_t xmm[16][2];
	uint64_t unused[12];
	uint64_t xstate_bv, xcomp_bv, header[6];
	uint64_t ymm_high[16][2];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct xsave_area) == 832, "SDM vol. 1 13.4");

/* What native_enter() pops, in this order, and what it loads before. */
struct image {
	uint64_t gpr[15]; /* all but RSP */
	uint64_t rip, cs, rflags, rsp, ss;
	uint64_t fs_base, gs_base, set_bases;
	uint64_t ds, es, fs, gs;
};
_Static_assert(offsetof(struct image, fs_base) == 160 && offsetof(struct image, ds) == 184,
	       "as native_enter() has it");

/* Left by the signal entry for caught(). */
uint64_t insn_saved_rsp, insn_saved_fs, insn_caught_bases[2], insn_caught_selectors[4];
void insn_enter(const struct image *image, const struct xsave_area *area);
void insn_signal(int sig, siginfo_t *info, void *context);
void insn_caught(int sig, siginfo_t *info, void *context);

__asm__(".text\n"
	".globl insn_enter\n"
	"insn_enter:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n"
	"	push %r14\n	push %r15\n	pushfq\n"
	"	mov %rsp, insn_saved_rsp(%rip)\n"
	"	rdfsbase %rax\n"
	"	mov %rax, insn_saved_fs(%rip)\n"
	"	mov $7, %eax\n"
	"	xor %edx, %edx\n"
	"	xrstor64 (%rsi)\n"
	"	mov 184(%rdi), %ds\n"
	"	mov 192(%rdi), %es\n"
	"	mov 200(%rdi), %fs\n"
	"	mov 208(%rdi), %gs\n"
	"	cmpq $0, 176(%rdi)\n"
	"	je 1f\n"
	"	mov 160(%rdi), %rax\n"
	"	wrfsbase %rax\n"
	"	mov 168(%rdi), %rax\n"
	"	wrgsbase %rax\n"
	"1:	mov %rdi, %rsp\n"
	"	pop %rax\n	pop %rcx\n	pop %rdx\n	pop %rbx\n	pop %rbp\n"
	"	pop %rsi\n	pop %rdi\n	pop %r8\n	pop %r9\n	pop %r10\n"
	"	pop %r11\n	pop %r12\n	pop %r13\n	pop %r14\n	pop %r15\n"
	"	iretq\n"
	/* AC and NT may be set. Arguments are in RDI, RSI, RDX. */
	".globl insn_signal\n"
	"insn_signal:\n"
	"	pushq $2\n"
	"	popfq\n"
	"	xor %eax, %eax\n"
	"	mov %ds, %eax\n	mov %rax, insn_caught_selectors(%rip)\n"
	"	mov %es, %eax\n	mov %rax, insn_caught_selectors+8(%rip)\n"
	"	mov %fs, %eax\n	mov %rax, insn_caught_selectors+16(%rip)\n"
	"	mov %gs, %eax\n	mov %rax, insn_caught_selectors+24(%rip)\n"
	"	rdfsbase %rax\n	mov %rax, insn_caught_bases(%rip)\n"
	"	rdgsbase %rax\n	mov %rax, insn_caught_bases+8(%rip)\n"
	"	xor %eax, %eax\n"
	"	mov %eax, %ds\n	mov %eax, %es\n	mov %eax, %fs\n	mov %eax, %gs\n"
	"	mov insn_saved_fs(%rip), %rax\n"
	"	wrfsbase %rax\n"
	"	sub $8, %rsp\n"
	"	and $-16, %rsp\n"
	"	call insn_caught\n"
	"	mov insn_saved_rsp(%rip), %rsp\n"
	"	popfq\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	"
	"pop %rbx\n"
	"	ret\n");

static struct outcome *caught_here;
static volatile bool inside;

static void catch_fpu(struct x86_fpu *f, const struct xsave_area *x)
{
	bool x87 = x->xstate_bv & 1, sse = x->xstate_bv & 2, avx = x->xstate_bv & 4;

	memset(f, 0, sizeof(*f));
	f->fcw = x87 ? x->fcw : 0x37f;
	if (x87) {
		f->fsw = x->fsw;
		f->ftw = x->ftw;
		f->fop = x->fop & 0x7ff;
		f->fip = x->fip;
		f->fdp = x->fdp;
	}
	f->mxcsr = x->mxcsr;
	for (unsigned n = 0; n < 8 && x87; n++) {
		f->st[n].mant = x->st[n].mant;
		f->st[n].exp = x->st[n].exp & 0xffff;
	}
	for (unsigned n = 0; n < 16; n++) {
		if (sse)
			memcpy(f->ymm[n], x->xmm[n], 16);
		if (avx)
			memcpy(f->ymm[n] + 2, x->ymm_high[n], 16);
	}
}

static const uint8_t frame_gpr[GPR_COUNT] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
					      REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
					      REG_R12, REG_R13, REG_R14, REG_R15 };

void insn_caught(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;
	const greg_t *g = u->uc_mcontext.gregs;
	struct outcome *o = caught_here;

	(void)info;
	if (!inside)
		_exit(2); /* our own mistake */
	inside = false;
	o->how = sig == SIGSYS ? HOW_SYSCALL : HOW_EXCEPTION;
	o->vector = (uint8_t)g[REG_TRAPNO];
	o->error = (uint32_t)g[REG_ERR];
	o->cr2 = (uint64_t)g[REG_CR2];
	for (unsigned n = 0; n < GPR_COUNT; n++)
		o->out.gpr[n] = (uint64_t)g[frame_gpr[n]];
	o->out.rip = (uint64_t)g[REG_RIP];
	o->out.rflags = (uint64_t)g[REG_EFL];
	o->out.selector[CS] = (uint16_t)g[REG_CSGSFS];
	o->out.selector[SS] = (uint16_t)(g[REG_CSGSFS] >> 48);
	o->out.selector[DS] = (uint16_t)insn_caught_selectors[0];
	o->out.selector[ES] = (uint16_t)insn_caught_selectors[1];
	o->out.selector[FS] = (uint16_t)insn_caught_selectors[2];
	o->out.selector[GS] = (uint16_t)insn_caught_selectors[3];
	o->out.fs_base = insn_caught_bases[0];
	o->out.gs_base = insn_caught_bases[1];
	catch_fpu(&o->out.fpu, (const struct xsave_area *)(const void *)u->uc_mcontext.fpregs);
}

static void fill_image(struct image *im, const struct insn_case *c)
{
	const struct user_state *in = &c->in;

	for (unsigned n = 0, k = 0; n < GPR_COUNT; n++)
		if (n != RSP)
			im->gpr[k++] = in->gpr[n];
	im->rip = in->rip;
	im->cs = in->selector[CS];
	im->rflags = in->rflags;
	im->rsp = in->gpr[RSP];
	im->ss = in->selector[SS];
	im->fs_base = in->fs_base;
	im->gs_base = in->gs_base;
	im->set_bases = c->bits == 64;
	im->ds = in->selector[DS];
	im->es = in->selector[ES];
	im->fs = in->selector[FS];
	im->gs = in->selector[GS];
}

static void fill_area(struct xsave_area *x, const struct x86_fpu *f)
{
	memset(x, 0, sizeof(*x));
	x->fcw = f->fcw;
	x->fsw = f->fsw;
	x->ftw = f->ftw;
	x->fop = f->fop;
	x->fip = f->fip;
	x->fdp = f->fdp;
	x->mxcsr = f->mxcsr;
	for (unsigned n = 0; n < 8; n++) {
		x->st[n].mant = f->st[n].mant;
		x->st[n].exp = f->st[n].exp;
	}
	for (unsigned n = 0; n < 16; n++) {
		memcpy(x->xmm[n], f->ymm[n], 16);
		memcpy(x->ymm_high[n], f->ymm[n] + 2, 16);
	}
	x->xstate_bv = 7;
}

static int answer;

/* What this host does not have: the reason goes to native.c instead of the word that all is well.
 */
static void lacking(const char *what, const char *why)
{
	char text[NATIVE_WHY];
	int n = snprintf(text, sizeof(text), "%s: %s", what, why);

	if (write(answer, text, (size_t)n) < 0)
		_exit(1);
	_exit(0);
}

static void die(const char *what)
{
	lacking(what, strerror(errno));
}

static uint8_t *map_at(uint32_t at)
{
	void *p = mmap((void *)(uintptr_t)at, PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED)
		die("sandbox");
	return p;
}

static void map_sandbox(struct view *v)
{
	static uint8_t base[PAGES][PAGE_BYTES];
#define X(at, exec, write) PROT_READ | ((exec) ? PROT_EXEC : 0) | ((write) ? PROT_WRITE : 0),
	static const int prot[PAGES] = { SANDBOX_PAGES(X) };
#undef X

	v->base = base;
	map_at(ENTRY_AT);
	for (unsigned p = 0; p < PAGES; p++)
		v->live[p] = map_at(page_at[p]);
	view_fill(v);
	for (unsigned p = 0; p < PAGES; p++)
		if (mprotect(v->live[p], PAGE_BYTES, prot[p]))
			die("sandbox protection");
}

static void set_ldt(void)
{
#define X(n, base, limit, what, ro, bits32, absent)                                                \
	{ n, base, limit, bits32, what, ro, 0, absent, 1, 0 },
	static const struct user_desc entry[LDT_COUNT] = { LDT_ROWS(X) };
#undef X

	for (unsigned n = 0; n < LDT_COUNT; n++)
		if (syscall(SYS_modify_ldt, 0x11, &entry[n], sizeof(entry[n])))
			die("modify_ldt");
}

static void set_signals(void)
{
	static const int some[] = { SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS, SIGSYS };
	stack_t stack = { .ss_sp = malloc(ALT_STACK), .ss_size = ALT_STACK };
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sa.sa_sigaction = insn_signal;
	if (!stack.ss_sp || sigaltstack(&stack, NULL))
		die("alternate stack");
	for (unsigned n = 0; n < sizeof(some) / sizeof(some[0]); n++)
		sigaction(some[n], &sa, NULL);
}

#define LOAD(member, plus)                                                                         \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member) + (plus))
#define BRANCH(how, value, yes, no) BPF_JUMP(BPF_JMP | BPF_K | (how), value, yes, no)

/* System calls of another architecture's table, or from within the sandbox: SIGSYS. */
static void forbid_system_calls(void)
{
	struct sock_filter f[] = {
		LOAD(arch, 0),
		BRANCH(BPF_JEQ, AUDIT_ARCH_X86_64, 0, 5),
		LOAD(instruction_pointer, 4),
		BRANCH(BPF_JEQ, 0, 0, 4),
		LOAD(instruction_pointer, 0),
		BRANCH(BPF_JGE, SANDBOX_START, 0, 2),
		BRANCH(BPF_JGE, SANDBOX_END + 1, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(f) / sizeof(f[0]), f };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		die("seccomp");
}

static void run_one(struct view *v, const struct insn_case *c, struct outcome *o)
{
	struct image *image = (struct image *)(uintptr_t)ENTRY_AT;
	static struct xsave_area area;

	memset(o, 0, sizeof(*o));
	o->how = HOW_LOST;
	fill_image(image, c);
	fill_area(&area, &c->in.fpu);
	view_begin(v, c);
	caught_here = o;
	inside = true;
	insn_enter(image, &area);
	view_end(v, c, o);
}

/* What the entry and the signal handler execute, and the segments of cases. */
static void check_host(void)
{
	uint64_t valid;

	if (!(getauxval(AT_HWCAP2) & 2)) /* HWCAP2_FSGSBASE */
		lacking("FSGSBASE", "not for programs on this host");
	__asm__("xor %0, %0\n"
		"lar %w1, %w1\n"
		"setz %b0"
		: "=&r"(valid)
		: "r"(SEL_CODE32));
	if (!valid)
		lacking("32-bit code", "not on this kernel");
}

static void run_range(struct native_shared *s, struct view *v, const unsigned range[2])
{
	for (unsigned k = range[0]; k < range[1]; k++) {
		s->current = k;
		if (s->slot[k].c.skip == SKIP_NONE)
			run_one(v, &s->slot[k].c, &s->slot[k].o);
	}
	s->current = range[1];
}

int main(int argc, char **argv)
{
	struct native_shared *s;
	struct view v = { 0 };
	unsigned range[2];
	int order;

	if (argc != 5)
		return 2;
	order = atoi(argv[2]);
	answer = atoi(argv[3]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	s = mmap(NULL, native_shared_bytes((unsigned)atoi(argv[4])), PROT_READ | PROT_WRITE,
		 MAP_SHARED, atoi(argv[1]), 0);
	if (s == MAP_FAILED)
		die("shared memory");
	check_host();
	map_sandbox(&v);
	set_ldt();
	set_signals();
	forbid_system_calls();
	do {
		if (write(answer, "", 1) != 1)
			return 1;
		if (read(order, range, sizeof(range)) != sizeof(range))
			return 0;
		run_range(s, &v, range);
	} while (true);
}
