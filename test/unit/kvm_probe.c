/*
 * kvm_probe.c - test of what the trial of KVM (engine/kvm/probe.c) says of hosts whose times a
 * kernel that only plays KVM (fake_kvm.h) makes up: whether a loop inside is as fast as outside
 * must not depend on what an entry takes, nor on one that other work of the host's has held up.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <x86intrin.h>

#include "test/unit/kvm_rig.h"

#define US UINT64_C(1000)

/* The host, for as long as the trial takes. */
static struct {
	uint64_t entry_ns; /* an entry and its exit, a turn of the loop or none */
	uint64_t more_ns;  /* and more if there are several */
	uint64_t held_up;  /* of the runs of several turns, the first so many take HELD_NS */
	uint64_t turn_ns;  /* 0: the processor's own speed */
	bool counter_stands;
} host;
#define HELD_NS (3000 * US)

static void pass(uint64_t ns)
{
	uint64_t until = host_thread_cpu_ns() + ns;

	while (host_thread_cpu_ns() < until)
		;
}

static int play(struct kvm_run *run)
{
	const struct kvm_regs *r = (const struct kvm_regs *)fake.blob[0];
	uint64_t turns = r->rcx;

	run->exit_reason = turns ? KVM_EXIT_HLT : KVM_EXIT_IO;
	pass(host.entry_ns + (turns > 1 ? host.more_ns : 0));
	if (turns > 1 && host.held_up) {
		host.held_up--;
		pass(HELD_NS);
	}
	if (host.turn_ns)
		pass(turns * host.turn_ns);
	else if (turns)
		__asm__ volatile("1: dec %0; jnz 1b" : "+r"(turns) : : "cc");
	return 0;
}

static long host_ioctl(int fd, unsigned long request, unsigned long arg)
{
	struct kvm_msrs *m = (struct kvm_msrs *)arg;

	if (request != KVM_GET_MSRS || m->nmsrs != 1 || m->entries[0].index != MSR_TSC)
		return fake_kernel.ioctl(fd, request, arg);
	m->entries[0].data = host.counter_stands ? 1000 : __rdtsc();
	return 1;
}

/* An answer is kept as long as the kernel is the same. */
static void another_kernel(void)
{
	static struct kvm_kernel kernel[2];
	static unsigned n;

	n = !n;
	kernel[n] = fake_kernel;
	kernel[n].ioctl = host_ioctl;
	kvm_kernel = &kernel[n];
}

/* What it says of such a host. */
static int judged(struct fail *why)
{
	int result;

	another_kernel();
	fake.script = play;
	*why = (struct fail){ 0 };
	result = kvm_ops.probe(why);
	assert_nothing_open();
	return result;
}

static void says(const struct fail *why, const char *words)
{
	if (!strstr(why->text, words))
		print_error("'%s' lacks '%s'\n", why->text, words);
	assert_non_null(strstr(why->text, words));
}

static void test_own_speed(void **state)
{
	struct fail why;

	(void)state;
	assert_int_equal(judged(&why), 0);
	says(&why, "ring 0 runs at the processor's own speed");
}

/* Entries that take long, not all equally, and one that is held up: so long that a short loop
 * looked long enough to tell. */
static void test_held_up(void **state)
{
	struct fail why;

	(void)state;
	host.entry_ns = 100 * US;
	host.more_ns = 30 * US;
	host.held_up = 2;
	assert_int_equal(judged(&why), 0);
	says(&why, "ring 0 runs at the processor's own speed");
}

/* As far from the processor as a guest of a guest of a guest: an entry alone looks long enough. */
static void test_far_away(void **state)
{
	struct fail why;

	(void)state;
	host.entry_ns = 2500 * US;
	host.more_ns = 50 * US;
	assert_int_equal(judged(&why), 0);
	says(&why, "ring 0 runs at the processor's own speed");
}

static void test_emulated(void **state)
{
	struct fail why;
	double us = 0;

	(void)state;
	host.entry_ns = 10 * US;
	host.turn_ns = US;
	for (unsigned i = 0; i < 2; i++) {
		host.held_up = 3 * i;
		assert_int_equal(judged(&why), ENGINE_SLOW);
		assert_int_equal(sscanf(why.text, "ring 0 is emulated, %lf us an instruction", &us),
				 1);
		assert_true(us >= 0.5 && us < 2);
	}
}

static void test_counter_stands(void **state)
{
	struct fail why;

	(void)state;
	host.counter_stands = true;
	assert_int_equal(judged(&why), ENGINE_SLOW);
	says(&why, "does not trust its time-stamp counters");
}

/* With the machine's own local APICs. */
static void test_deadlines(void **state)
{
	struct fail why = { 0 };
	struct vm *vm;

	(void)state;
	another_kernel();
	vm = open_vm(&why);
	assert_non_null(vm);
	assert_false(fake.mwait);
	vm_close(vm);

	another_kernel();
	fake.keeps_deadline = true;
	for (unsigned i = 0; i < 2; i++) { /* the second is not tried again */
		vm = open_vm(&why);
		assert_non_null(vm);
		assert_true(fake.mwait);
		vm_close(vm);
	}

	another_kernel();
	fake.trial_exit = KVM_EXIT_FAIL_ENTRY; /* which is no answer, */
	assert_null(open_vm(&why));
	assert_string_equal(why.text, "KVM does not get through a WRMSR (exit 9)");
	fake.trial_exit = 0; /* and asked again */
	vm = open_vm(&why);
	assert_non_null(vm);
	vm_close(vm);

	another_kernel();
	fake.lacking = KVM_CAP_X86_DISABLE_EXITS;
	assert_null(open_vm(&why));
	assert_string_equal(why.text, "KVM here keeps the guest's IA32_TSC_DEADLINE from local "
				      "APICs that are not its own: --irqchip split");
	assert_nothing_open();
}

/* Whatever call fails: what was not found out is asked again. */
static void test_failure_is_no_answer(void **state)
{
	struct fail why;
	struct vm *vm;

	(void)state;
	for (unsigned n = 1, failed = 1; failed; n++) {
		fake_reset();
		another_kernel();
		fake.keeps_deadline = true;
		fake.fail_at = n;
		vm = open_vm(&why);
		failed = fake.failed != 0;
		if (vm)
			vm_close(vm);
		fake.fail_at = 0;
		vm = open_vm(&why);
		if (!vm)
			print_error("after call %u failed: %s\n", n, why.text);
		assert_non_null(vm);
		assert_true(fake.mwait);
		vm_close(vm);
	}
	assert_nothing_open();
}

static int fresh_host(void **state)
{
	memset(&host, 0, sizeof(host));
	return setup(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_own_speed, fresh_host),
		cmocka_unit_test_setup(test_held_up, fresh_host),
		cmocka_unit_test_setup(test_far_away, fresh_host),
		cmocka_unit_test_setup(test_emulated, fresh_host),
		cmocka_unit_test_setup(test_counter_stands, fresh_host),
		cmocka_unit_test_setup(test_deadlines, fresh_host),
		cmocka_unit_test_setup(test_failure_is_no_answer, fresh_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
