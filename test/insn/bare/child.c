/*
 * child.c - the bare CPU's side: a program that runs cases and tells how each ended.
 *
 * It enters a case by loading every register, the last ones with IRETQ, which user code may
 * use to go to any user code segment; it gets back control in a signal handler, which finds all
 * registers in the signal frame and jumps back into the loop.
 *
 * Memory that cases do not have must be missing here, too. So this program is linked to HOME_AT
 * (insn.h), keeps its stack in itself, unmaps all that the kernel put elsewhere, and has no C
 * library, which would keep some.
 *
 * A case may not reach the system: a seccomp filter turns every system call from within the sandbox
 * into a signal. Never built with a sanitizer: those keep tables where cases find nothing mapped,
 * and their handlers know nothing of such registers.
 *
 * usage: insn-bare SHARED ORDER ANSWER MOST, file descriptors from native.c
 *
 * SPDX-License-Identifier: MIT
 */
#include <asm/ldt.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "test/insn/insn.h"

#define STACK_BYTES 65536

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
uint64_t insn_saved_rsp, insn_caught_bases[2], insn_caught_selectors[4];
void insn_enter(const struct image *image, const struct xsave_area *area);
void insn_signal(int sig, siginfo_t *info, void *context);
void insn_caught(int sig, siginfo_t *info, void *context);
void insn_begin(const uint64_t *kernels);
extern uint8_t insn_stack[];
static __attribute__((noreturn)) void leave(int status);

__asm__(".text\n"
	".globl insn_enter\n"
	"insn_enter:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n"
	"	push %r14\n	push %r15\n	pushfq\n"
	"	mov %rsp, insn_saved_rsp(%rip)\n"
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
		leave(2); /* our own mistake */
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

static long sys(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = 0;
	long result = number;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static uint64_t place(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		sys(SYS_exit_group, (uint64_t)status, 0, 0, 0, 0);
}

/* To native.c. error: what a system call returned, or 0. */
static void tell(const char *lacks, long error)
{
	struct native_word w = { .error = (int)-error };

	for (unsigned k = 0; lacks[k]; k++)
		w.lacks[k] = lacks[k];
	if (sys(SYS_write, (uint64_t)answer, place(&w), sizeof(w), 0, 0) != sizeof(w))
		leave(1);
}

/* What this host may not have: `result` is a system call's. */
static void need(long result, const char *what)
{
	if (result >= 0 || result < -4095)
		return;
	tell(what, result);
	leave(0);
}

/* At exactly `at`. fd -1: memory of its own. */
static void *map_at(uint64_t at, size_t bytes, int fd, const char *what)
{
	int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_FIXED_NOREPLACE;

	need(sys(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, (uint64_t)flags,
		 (uint64_t)(int64_t)fd),
	     what);
	return (void *)(uintptr_t)at;
}

/* The kernel's stack and vDSO: nothing needs them any more. */
static void unmap_all_else(void)
{
	need(sys(SYS_munmap, 0, HOME_AT, 0, 0, 0), "unmapping");
	need(sys(SYS_munmap, HOME_END, USER_END - HOME_END, 0, 0, 0), "unmapping");
}

static void map_sandbox(struct view *v)
{
	static uint8_t base[PAGES][PAGE_BYTES];
#define X(at, exec, write) PROT_READ | ((exec) ? PROT_EXEC : 0) | ((write) ? PROT_WRITE : 0),
	static const int prot[PAGES] = { SANDBOX_PAGES(X) };
#undef X

	v->base = base;
	map_at(ENTRY_AT, PAGE_BYTES, -1, "entry");
	for (unsigned p = 0; p < PAGES; p++)
		v->live[p] = map_at(page_at[p], PAGE_BYTES, -1, "sandbox");
	view_fill(v);
	for (unsigned p = 0; p < PAGES; p++)
		need(sys(SYS_mprotect, page_at[p], PAGE_BYTES, (uint64_t)prot[p], 0, 0),
		     "sandbox protection");
}

static void set_ldt(void)
{
#define X(n, base, limit, what, ro, bits32, absent)                                                \
	{ n, base, limit, bits32, what, ro, 0, absent, 1, 0 },
	static const struct user_desc entry[LDT_COUNT] = { LDT_ROWS(X) };
#undef X

	for (unsigned n = 0; n < LDT_COUNT; n++)
		need((int)sys(SYS_modify_ldt, 0x11, place(&entry[n]), sizeof(entry[n]), 0, 0),
		     "modify_ldt");
}

/* As the kernel has it. */
struct handler {
	void (*entry)(int sig, siginfo_t *info, void *context);
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* Never returned to: insn_caught()'s caller goes back into the loop. */
static void restorer(void)
{
	leave(2);
}

static void set_signals(void)
{
	static const int some[] = { SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS, SIGSYS };
	static uint8_t alternate[STACK_BYTES];
	const stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	const struct handler h = { insn_signal, SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000,
				   restorer, 0 };

	need(sys(SYS_sigaltstack, place(&stack), 0, 0, 0, 0), "alternate stack");
	for (unsigned n = 0; n < sizeof(some) / sizeof(some[0]); n++)
		need(sys(SYS_rt_sigaction, (uint64_t)some[n], place(&h), 0, sizeof(h.mask), 0),
		     "signals");
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

	need(sys(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "seccomp");
	need(sys(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, place(&program), 0, 0), "seccomp");
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

/* The segment of 32-bit cases. */
static void check_host(void)
{
	uint64_t valid;

	__asm__("xor %0, %0\n"
		"lar %w1, %w1\n"
		"setz %b0"
		: "=&r"(valid)
		: "r"(SEL_CODE32));
	if (!valid) {
		tell("32-bit code", 0);
		leave(0);
	}
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

static uint64_t number(const char *text)
{
	uint64_t n = 0;

	for (; *text; text++)
		n = n * 10 + (uint64_t)(*text - '0');
	return n;
}

/* At the stack's end. Where the kernel made one are the count of arguments and they. */
__attribute__((noreturn)) void insn_begin(const uint64_t *kernels)
{
	static struct view v;
	char **argv = (char **)(uintptr_t)(kernels + 1);
	struct native_shared *shared;
	unsigned range[2];
	uint64_t order;

	if (kernels[0] != 5)
		leave(2);
	order = number(argv[2]);
	answer = (int)number(argv[3]);
	sys(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	shared = map_at(HOME_SHARED, native_shared_bytes((unsigned)number(argv[4])),
			(int)number(argv[1]), "shared memory");
	unmap_all_else();
	check_host();
	map_sandbox(&v);
	set_ldt();
	set_signals();
	forbid_system_calls();
	do {
		tell("", 0);
		if (sys(SYS_read, order, place(range), sizeof(range), 0, 0) != sizeof(range))
			leave(0);
		run_range(shared, &v, range);
	} while (true);
}

uint8_t insn_stack[STACK_BYTES] __attribute__((aligned(16)));

__asm__(".globl _start\n"
	"_start:\n"
	"	mov %rsp, %rdi\n"
	"	lea insn_stack+65536(%rip), %rsp\n"
	"	xor %ebp, %ebp\n"
	"	call insn_begin\n");
_Static_assert(STACK_BYTES == 65536, "as _start has it");

/* What compilers take to be there. */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
	return to;
}

void *memset(void *to, int value, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(value) : "memory");
	return to;
}

int memcmp(const void *one, const void *other, size_t bytes)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) word;
	const uint8_t *a = one, *b = other;

	for (; bytes >= 8 && *(const word *)a == *(const word *)b; bytes -= 8) {
		a += 8;
		b += 8;
	}
	for (; bytes; bytes--, a++, b++)
		if (*a != *b)
			return *a - *b;
	return 0;
}
