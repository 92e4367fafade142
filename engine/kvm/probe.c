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
#include "engine/kvm/trial.h"

#define CODE     TRIAL_CODE
#define CODE_OUT (TRIAL_CODE + 0x100)
#define FEW      UINT64_C(1000)     /* turns of the loop to begin with, */
#define MANY     UINT64_C(16384000) /* and at most */
#define LONG     UINT64_C(2000000)  /* ns that are enough to tell */
#define EXITS    50
#define COUNTS   1000000 /* of the host's counter: enough to see another stand still */
#define TRIES    4
#define SLOW_BY  10 /* times slower than outside: emulated */

static const uint8_t loop_code[] = { 0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4 }; /* dec rcx; jnz; hlt */
static const uint8_t out_code[] = { 0xe6, 0x80, 0xeb, 0xfc };              /* out 80h, al; jmp */

/* Runs from `rip` until `exits` exits of kind `reason`; *ns: how long that took. */
static int timed(struct kvm_trial *t, uint64_t rip, uint64_t rcx, uint32_t reason, unsigned exits,
		 uint64_t *ns, struct fail *why)
{
	long err = kvm_trial_at(t, rip, rcx, why);
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
 * took without that.
 */
static int compare(struct kvm_trial *t, uint64_t turns, double *ratio, uint64_t *ns,
		   struct fail *why)
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
	*ns = most > least ? most - least : 0;
	*ratio = (double)*ns / (double)(native + 1);
	return err;
}

static int read_counter(struct kvm_trial *t, uint64_t *value, struct fail *why)
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
static int counter_runs(struct kvm_trial *t, bool *runs, struct fail *why)
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

static int judge(struct kvm_trial *t, struct fail *why)
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
	struct kvm_trial t;
	int err = kvm_trial_open(&t, NULL, why);

	if (!err) {
		memcpy(t.memory + CODE, loop_code, sizeof(loop_code));
		memcpy(t.memory + CODE_OUT, out_code, sizeof(out_code));
		err = judge(&t, why);
	}
	kvm_trial_close(&t);
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
