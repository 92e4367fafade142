/*
 * probe.c - what KVM on this host is worth, found out by trying it.
 *
 * There are builds of KVM that have no virtualization under them: they emulate every
 * instruction of ring 0, some microseconds each, and a kernel that takes a second elsewhere
 * takes an hour. No capability says so. So a loop in 64-bit ring 0 is timed against the
 * same loop outside; and, since it costs nothing more, an exit to this program. Times are of this
 * thread, of which the guest's is a part: what else the host does meanwhile does not count.
 *
 * And there are hosts whose kernel does not trust the processors' counters. There KVM has each
 * vCPU's counter go on, at every entry, from where it was when that last came out: it stands still
 * in between, the clocks of several vCPUs part by seconds, and what no capability says shows when
 * the counter is read twice.
 *
 * Tested by test/unit/kvm_probe.c, test/rig/api.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <x86intrin.h>

#include "cpu/msr.h"
#include "engine/kvm/kvm.h"

#define MEMORY   UINT64_C(0x6000)
#define PML4     0x1000
#define PDPT     0x2000
#define PD       0x3000
#define CODE     0x4000
#define CODE_OUT 0x4100
#define ENTRY    3u                 /* present, writable */
#define LARGE    (ENTRY | 0x80u)    /* 2 MiB */
#define FEW      UINT64_C(1000)     /* turns of the loop to begin with, */
#define MANY     UINT64_C(16384000) /* and at most */
#define LONG     UINT64_C(2000000)  /* ns that are enough to tell */
#define EXITS    50
#define COUNTS   1000000 /* of the host's counter: enough to see another stand still */
#define TRIES    4
#define SLOW_BY  10 /* times slower than outside: emulated */

static const uint8_t loop_code[] = { 0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4 }; /* dec rcx; jnz; hlt */
static const uint8_t out_code[] = { 0xe6, 0x80, 0xeb, 0xfc };              /* out 80h, al; jmp */

struct trial {
	struct kvm_device device;
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
};

static void close_trial(struct trial *t)
{
	if (t->run)
		kvm_kernel->unmap(t->run, t->device.run_bytes);
	if (t->vcpu >= 0)
		kvm_kernel->close(t->vcpu);
	if (t->vm >= 0)
		kvm_kernel->close(t->vm);
	kvm_device_close(&t->device);
	host_unmap(t->memory, MEMORY);
}

static void fill_memory(uint8_t *m)
{
	const uint64_t pml4 = PDPT | ENTRY, pdpt = PD | ENTRY, pd = LARGE;

	memcpy(m + PML4, &pml4, 8);
	memcpy(m + PDPT, &pdpt, 8);
	memcpy(m + PD, &pd, 8);
	memcpy(m + CODE, loop_code, sizeof(loop_code));
	memcpy(m + CODE_OUT, out_code, sizeof(out_code));
}

static int open_trial(struct trial *t, struct fail *why)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	int err = kvm_device_open(&t->device, why);

	if (err)
		return err;
	t->memory = host_map(MEMORY);
	if (!t->memory)
		return fail(why, -ENOMEM, "no memory to try KVM");
	fill_memory(t->memory);
	region.userspace_addr = (uint64_t)(uintptr_t)t->memory;
	t->vm = (int)KVM_DO(t->device.fd, KVM_CREATE_VM, 0, why);
	if (t->vm < 0)
		return t->vm;
	err = (int)KVM_DO(t->vm, KVM_SET_TSS_ADDR, 0xfeffd000, why);
	if (err >= 0)
		err = (int)KVM_DO(t->vm, KVM_SET_USER_MEMORY_REGION, &region, why);
	if (err < 0)
		return err;
	t->vcpu = (int)KVM_DO(t->vm, KVM_CREATE_VCPU, 0, why);
	if (t->vcpu < 0)
		return t->vcpu;
	t->run = kvm_kernel->map(t->vcpu, t->device.run_bytes, 0);
	return t->run ? 0 : fail(why, -ENOMEM, "KVM: cannot map the page shared with a vCPU");
}

static int enter_long_mode(struct trial *t, struct fail *why)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = 0xffffffff,
				    .selector = 16,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_sregs s;
	long err = KVM_DO(t->vcpu, KVM_GET_SREGS, &s, why);

	if (err < 0)
		return (int)err;
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr3 = PML4;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	s.efer = EFER_LME | EFER_LMA;
	return (int)KVM_DO(t->vcpu, KVM_SET_SREGS, &s, why);
}

/* Runs from `rip` until `exits` exits of kind `reason`; *ns: how long that took. */
static int timed(struct trial *t, uint64_t rip, uint64_t rcx, uint32_t reason, unsigned exits,
		 uint64_t *ns, struct fail *why)
{
	struct kvm_regs r = { .rip = rip, .rcx = rcx, .rflags = FLAG_FIXED };
	long err = KVM_DO(t->vcpu, KVM_SET_REGS, &r, why);
	uint64_t start = host_thread_cpu_ns();

	for (unsigned i = 0; err >= 0 && i < exits; i++) {
		err = KVM_DO(t->vcpu, KVM_RUN, 0, why);
		if (err >= 0 && t->run->exit_reason != reason)
			return fail(why, -ENOTSUP,
				    "KVM does not get through a loop of two instructions (exit "
				    "%u)",
				    t->run->exit_reason);
	}
	*ns = host_thread_cpu_ns() - start;
	return err < 0 ? (int)err : 0;
}

static uint64_t outside(uint64_t turns)
{
	uint64_t start = host_thread_cpu_ns();

	__asm__ volatile("1: dec %0; jnz 1b" : "+r"(turns) : : "cc");
	return host_thread_cpu_ns() - start;
}

/*
 * How many times longer the loop takes inside. Other work on the host, if only by its use of the
 * caches, makes any of the three times longer, never shorter: so each is the least of a few tries.
 * What a short loop takes, which is mostly getting in and out, is no part of it. *ns: what the loop
 * took.
 */
static int compare(struct trial *t, uint64_t turns, double *ratio, uint64_t *ns, struct fail *why)
{
	uint64_t most = UINT64_MAX, least = UINT64_MAX, native = UINT64_MAX, now;
	int err = 0;

	for (unsigned i = 0; !err && i < TRIES; i++) {
		now = outside(turns);
		native = now < native ? now : native;
		err = timed(t, CODE, 1, KVM_EXIT_HLT, 1, &now, why);
		least = now < least ? now : least;
		if (!err)
			err = timed(t, CODE, turns, KVM_EXIT_HLT, 1, &now, why);
		most = now < most ? now : most;
	}
	*ns = most;
	*ratio = (double)(most > least ? most - least : most) / (double)(native + 1);
	return err;
}

static int read_counter(struct trial *t, uint64_t *value, struct fail *why)
{
	struct { /* struct kvm_msrs, with room */
		uint32_t nmsrs, pad;
		struct kvm_msr_entry entry;
	} m = { .nmsrs = 1, .entry.index = MSR_TSC };
	long n = KVM_DO(t->vcpu, KVM_GET_MSRS, &m, why);

	*value = m.entry.data;
	if (n < 0)
		return (int)n;
	return n == 1 ? 0 : fail(why, -EIO, "KVM: KVM_GET_MSRS does not give the counter");
}

/* Does a guest's counter go on while the guest does not run? */
static int counter_runs(struct trial *t, bool *runs, struct fail *why)
{
	uint64_t before, after, from = 0, now = 0;
	int err = read_counter(t, &before, why);

	if (err)
		return err;
	for (from = now = __rdtsc(); now - from < COUNTS; now = __rdtsc())
		;
	err = read_counter(t, &after, why);
	*runs = after - before >= (now - from) / 2;
	return err;
}

static int judge(struct trial *t, struct fail *why)
{
	bool runs = true;
	uint64_t ns = 0, out_ns, turns = FEW / 4;
	double ratio = 0;
	int err = timed(t, CODE, FEW, KVM_EXIT_HLT, 1, &ns, why); /* makes its page tables */

	if (!err)
		err = timed(t, CODE_OUT, 0, KVM_EXIT_IO, EXITS, &out_ns, why);
	/* Turns enough for the entry not to matter; if one try of that many only seemed to take
	 * long enough, more. */
	do {
		turns *= 4;
		if (!err)
			err = timed(t, CODE, turns, KVM_EXIT_HLT, 1, &ns, why);
		if (!err && (ns >= LONG || turns >= MANY))
			err = compare(t, turns, &ratio, &ns, why);
	} while (!err && ns < LONG && turns < MANY);
	if (!err)
		err = counter_runs(t, &runs, why);
	if (err)
		return err;
	if (ratio <= SLOW_BY && !runs) {
		fail(why, 0,
		     "the host's kernel does not trust its time-stamp counters, so a guest's would "
		     "part: only when asked for by name");
		return ENGINE_SLOW;
	}
	if (ratio <= SLOW_BY) {
		fail(why, 0, "ring 0 runs at the processor's own speed; an exit takes %.1f us",
		     (double)out_ns / EXITS / 1000);
		return 0;
	}
	fail(why, 0,
	     "ring 0 is emulated, %.1f us an instruction (an exit takes %.1f us): only "
	     "when asked for by name",
	     (double)ns / (2.0 * (double)turns) / 1000, (double)out_ns / EXITS / 1000);
	return ENGINE_SLOW;
}

static int try_it(struct fail *why)
{
	struct trial t = { .device.fd = -1, .vm = -1, .vcpu = -1 };
	int err = open_trial(&t, why);

	if (!err)
		err = enter_long_mode(&t, why);
	if (err >= 0)
		err = judge(&t, why);
	close_trial(&t);
	return err;
}

/* Once a process: the answer does not change, and the trial takes milliseconds. */
int kvm_probe(struct fail *why)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct kvm_kernel *asked;
	static struct fail answer;
	static int result;
	struct fail none;
	int found;

	pthread_mutex_lock(&lock);
	if (asked != kvm_kernel) {
		answer = (struct fail){ 0 };
		result = try_it(&answer);
		if (result >= 0 && !kvm_cpu_model(&none))
			result = fail(&answer, -ENOTSUP, "%s", none.text);
		asked = kvm_kernel;
	}
	if (why)
		*why = answer;
	found = result;
	pthread_mutex_unlock(&lock);
	return found;
}
