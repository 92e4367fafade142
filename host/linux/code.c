/*
 * code.c - executable memory that is never writable where it executes, and faults inside it.
 *
 * Shared memory is mapped twice: read-write for whoever generates code, and read-execute for
 * whoever calls it. It has no name, as a memory file would, so perf(1) looks for what lies
 * there in a perf map. A native fault inside such code is not the
 * monitor's end: the signal handler moves the program counter to a landing that the
 * generator provided. A fault anywhere else goes to whichever handler was there before
 * (a sanitizer's, the embedder's, or the default), so crashes still look like crashes.
 *
 * Does not model: asynchronous signals of these numbers sent by kill(2); they reach
 * the previous handler.
 *
 * Spec: Linux sigaction(2), mremap(2). Tested by test/unit/code.c.
 * SPDX-License-Identifier: MIT
 */
#include <asm/prctl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "host/host.h"

#define RANGES_MAX 256 /* areas with a landing at one time: one a vCPU */

/* `bytes` is written last and cleared first: 0 means that the slot is free. */
struct range {
	_Atomic(uintptr_t) start;
	_Atomic(uintptr_t) landing;
	_Atomic(size_t) bytes;
};

static struct range ranges[RANGES_MAX];
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static const int signals[] = { SIGFPE, SIGSEGV, SIGBUS, SIGILL };
#define SIGNAL_COUNT (sizeof(signals) / sizeof(signals[0]))
static struct sigaction previous[SIGNAL_COUNT];
static _Thread_local volatile sig_atomic_t caught;

/*
 * Areas lie where the first, the second, ... always lie: another process can have the same code at
 * the same address. Far from what the kernel chooses, and from what a sanitizer has for itself.
 */
#define AREA_FIRST UINT64_C(0x200000000000)
#define AREA_BYTES (UINT64_C(4) << 30)
/* TSan takes an address away that is not its programs', and leaves MAP_FIXED_NOREPLACE: what it
 * then asks for is address 0, and root gets it. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AREAS_MAX 0
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define AREAS_MAX 0
#endif
#ifndef AREAS_MAX
#define AREAS_MAX 4096
#endif

/* The first free area; where there is none, or the host refuses, anywhere. */
static void *map_area(size_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *at;

	for (int n = 0; n < AREAS_MAX && bytes <= AREA_BYTES; n++) {
		at = mmap((void *)(uintptr_t)(AREA_FIRST + (unsigned)n * AREA_BYTES), bytes,
			  PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if (at != MAP_FAILED)
			return at;
		if (errno != EEXIST)
			break;
	}
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
}

#define HUGE_PAGE ((size_t)2 << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* Shared memory that begins where a huge page can; MAP_FAILED: none. */
static void *map_writable(size_t bytes)
{
	uint8_t *room = mmap(NULL, bytes + HUGE_PAGE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before = -(uintptr_t)room & (HUGE_PAGE - 1);
	void *w;

	if (room == MAP_FAILED)
		return MAP_FAILED;
	w = mmap(room + before, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (w == MAP_FAILED)
		before = bytes + HUGE_PAGE;
	if (before)
		munmap(room, before);
	if (w != MAP_FAILED)
		munmap(room + before + bytes, HUGE_PAGE - before);
	return w;
}

/* Room for the data and behind it what is at `w`, executable. NULL: refused. */
static uint8_t *map_exec(void *w, size_t bytes, size_t data_bytes)
{
	uint8_t *at = map_area(data_bytes + bytes);

	if (at == MAP_FAILED)
		return NULL;
	if (data_bytes >= HUGE_PAGE)
		madvise(at, data_bytes, MADV_HUGEPAGE);
	/* An old size of 0 leaves the old mapping of shared memory where it is. */
	if (mremap(w, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at + data_bytes) != MAP_FAILED &&
	    mprotect(at + data_bytes, bytes, PROT_READ | PROT_EXEC) == 0)
		return at;
	munmap(at, data_bytes + bytes);
	return NULL;
}

int host_code_open(struct host_code *code, size_t bytes, size_t data_bytes, struct fail *why)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *x;
	void *w;

	if (data_bytes >= HUGE_PAGE) /* so that the code begins where the data ends, aligned */
		page = HUGE_PAGE;
	data_bytes = (data_bytes + page - 1) & ~(page - 1);
	page = (size_t)sysconf(_SC_PAGESIZE);
	bytes = (bytes + page - 1) & ~(page - 1);
	w = map_writable(bytes);
	if (w == MAP_FAILED)
		return fail(why, -errno, "memory for generated code: %s", strerror(errno));
	x = map_exec(w, bytes, data_bytes);
	if (!x) {
		munmap(w, bytes);
		return fail(why, -ENOMEM, "executable memory: the host refuses to map it");
	}
	*code = (struct host_code){ .write_at = w,
				    .exec_at = x + data_bytes,
				    .bytes = bytes,
				    .data = x,
				    .data_bytes = data_bytes };
	return 0;
}

int host_code_again(struct host_code *code, const struct host_code *from, struct fail *why)
{
	uint8_t *x = map_exec(from->write_at, from->bytes, from->data_bytes);

	if (!x)
		return fail(why, -ENOMEM, "executable memory: the host refuses to map it");
	*code = *from;
	code->data = x;
	code->exec_at = x + from->data_bytes;
	code->borrowed = true;
	return 0;
}

/*
 * Asked for piece by piece, and not of the kernel's settings, which keep shared memory in small
 * pages nearly everywhere. It wants a page to begin with.
 */
void host_code_dense(const struct host_code *code, size_t from, size_t bytes)
{
	size_t end = from + bytes;

	for (from &= ~(HUGE_PAGE - 1); from < end && code->bytes - from >= HUGE_PAGE;
	     from += HUGE_PAGE) {
		uint8_t *w = code->write_at + from;

		__atomic_fetch_or(w, 0, __ATOMIC_RELAXED);
		if (madvise(w, HUGE_PAGE, MADV_COLLAPSE) == 0)
			madvise((uint8_t *)code->exec_at + from, HUGE_PAGE, MADV_COLLAPSE);
	}
}

void host_code_close(struct host_code *code)
{
	if (code->write_at == NULL)
		return;
	pthread_mutex_lock(&ranges_lock);
	for (unsigned n = 0; n < RANGES_MAX; n++)
		if (atomic_load(&ranges[n].bytes) != 0 &&
		    atomic_load(&ranges[n].start) == (uintptr_t)code->exec_at)
			atomic_store(&ranges[n].bytes, 0);
	pthread_mutex_unlock(&ranges_lock);
	if (!code->borrowed)
		munmap(code->write_at, code->bytes);
	munmap(code->data, code->data_bytes + code->bytes);
	*code = (struct host_code){ 0 };
}

static const struct range *range_of(uintptr_t pc)
{
	for (unsigned n = 0; n < RANGES_MAX; n++) {
		size_t bytes = atomic_load(&ranges[n].bytes);

		if (pc - atomic_load(&ranges[n].start) < bytes)
			return &ranges[n];
	}
	return NULL;
}

/* Hands the signal on. The default action, or an ignored fault, ends the process: the
 * handler is taken out and the faulting instruction runs again. */
static void chain(int signo, siginfo_t *info, void *context)
{
	const struct sigaction *old = NULL;

	for (unsigned n = 0; n < SIGNAL_COUNT; n++)
		if (signals[n] == signo)
			old = &previous[n];
	if (old != NULL && (old->sa_flags & SA_SIGINFO)) {
		old->sa_sigaction(signo, info, context);
	} else if (old != NULL && old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(signo);
	} else {
		signal(signo, SIG_DFL);
		if (info->si_code <= 0) /* sent, not raised by an instruction */
			raise(signo);
	}
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	uintptr_t pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	const struct range *r = info->si_code > 0 ? range_of(pc) : NULL;

	if (r == NULL) {
		chain(signo, info, context);
		return;
	}
	caught = signo;
	u->uc_mcontext.gregs[REG_RAX] = (greg_t)pc;
	u->uc_mcontext.gregs[REG_RIP] = (greg_t)atomic_load(&r->landing);
}

/* Somebody may have put a handler of theirs over ours (a test framework does): it becomes
 * the previous one. */
static int install(struct fail *why)
{
	struct sigaction now,
		sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (unsigned n = 0; n < SIGNAL_COUNT; n++) {
		if (sigaction(signals[n], NULL, &now) != 0)
			return fail(why, -errno, "signal handler: %s", strerror(errno));
		if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
			continue;
		previous[n] = now;
		if (sigaction(signals[n], &sa, NULL) != 0)
			return fail(why, -errno, "signal handler: %s", strerror(errno));
	}
	return 0;
}

int host_code_catch(const struct host_code *code, const void *landing, struct fail *why)
{
	int err;

	pthread_mutex_lock(&ranges_lock);
	err = install(why);
	if (err == 0) {
		unsigned n = 0;

		while (n < RANGES_MAX && atomic_load(&ranges[n].bytes) != 0)
			n++;
		if (n == RANGES_MAX) {
			err = fail(why, -ENOSPC, "too many areas of generated code");
		} else {
			atomic_store(&ranges[n].start, (uintptr_t)code->exec_at);
			atomic_store(&ranges[n].landing, (uintptr_t)landing);
			atomic_store(&ranges[n].bytes, code->bytes);
		}
	}
	pthread_mutex_unlock(&ranges_lock);
	return err;
}

int host_code_caught(void)
{
	int signo = caught;

	caught = 0;
	return signo;
}

#define HWCAP2_HAS_FSGSBASE 2ul

void host_gs_base(const void *base)
{
	if (getauxval(AT_HWCAP2) & HWCAP2_HAS_FSGSBASE)
		__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

void host_serialize(void)
{
	uint32_t a = 0, c = 0, b, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
