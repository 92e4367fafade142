/*
 * spinlock.c - who waits for a lock lets its holder run: more vCPUs than the host has threads, or
 * processors, for them.
 *
 * What is measured is counted: instructions of the guest. Nobody has to wait longer than it takes
 * to find out that it waits; without PAUSE, MWAIT or KVM_HC_SCHED_YIELD giving the thread away,
 * everybody would wait until the end of its turn, or of the host's time slice.
 *
 * SPDX-License-Identifier: MIT
 */
#include <sched.h>

#include "engine/bt/engine_bt.h"
#include "host/order.h"
#include "test/unit/interp_guest.h"

#define VCPUS 4
#define SLICE 10000
#define LOCK  UINT64_C(0x100000)

/* clang-format off */
/* RBP times: takes a ticket and says whose it is, waits, holds the lock for 2 * ESI instructions, lets
 * the next one in. Nobody holds it before all have their first tickets. R12: this vCPU. How it waits is
 * what a test is about. */
#define PROGRAM(name, wait) \
	__asm__(".pushsection .rodata\n.intel_syntax noprefix\n" #name ": mov edi, 0x100000\n" \
		"1: mov r8d, 1; lock xadd [rdi], r8d\n" \
		"mov r9d, r8d; and r9d, 7; mov [rdi + r9 * 4 + 64], r12d\n" \
		"lock inc dword ptr [rdi + 12]; 0: pause; cmp dword ptr [rdi + 12], 4; jb 0b\n" \
		"2: cmp [rdi + 4], r8d; je 3f\n" wait "; jmp 2b\n" \
		"3: mov edx, esi; 4: dec edx; jnz 4b; inc dword ptr [rdi + 8]; inc dword ptr [rdi + 4]\n" \
		"dec ebp; jnz 1b; hlt\n" #name "_end:\n.att_syntax\n.popsection"); \
	extern const uint8_t name[], name##_end[]

PROGRAM(by_pause, "pause");
PROGRAM(by_mwait, "xor ecx, ecx; xor eax, eax; monitor; mwait");
PROGRAM(by_hypercall, "mov r9d, [rdi + 4]; and r9d, 7; mov ebx, [rdi + r9 * 4 + 64]; mov eax, 11; vmcall");
/* clang-format on */

static const struct waiting {
	const char *name;
	const uint8_t *code, *end;
} waitings[] = {
	{"PAUSE",               by_pause,     by_pause_end    },
	{ "MWAIT",              by_mwait,     by_mwait_end    },
	{ "KVM_HC_SCHED_YIELD", by_hypercall, by_hypercall_end},
};
#define WAITINGS (sizeof(waitings) / sizeof(waitings[0]))

/* `work` instructions in the lock, `rounds` times by each vCPU. Returns what all retired. */
static uint64_t run(const struct engine_ops *engine, bool counted, const struct waiting *w,
		    uint32_t work, uint32_t rounds)
{
	struct vm_config config = {
		.engine = engine, .vcpus = VCPUS, .counted = counted, .slice = SLICE
	};
	struct guest g = guest_open_config(&config);
	struct x86_state s = guest_state64(0, GUEST_CODE);
	uint64_t retired;
	int status;

	guest_tables(&g);
	memcpy(g.ram + GUEST_CODE, w->code, (size_t)(w->end - w->code));
	s.gpr[RBP] = rounds;
	s.gpr[RSI] = work / 2;
	for (unsigned i = 0; i < VCPUS; i++) {
		s.gpr[R12] = i;
		assert_int_equal(vcpu_set_state(g.vm->vcpu[i], &s, NULL), 0);
	}
	g.vm->halt_ends = true;
	vm_input_ended(g.vm);
	assert_int_equal(vm_run(g.vm, UINT64_MAX, &status, NULL), VM_HALTED);
	assert_int_equal((uint32_t)guest_get64(&g, LOCK + 8), VCPUS * rounds);
	retired = vm_retired(g.vm);
	guest_close(&g);
	return retired;
}

/* One thread. The holder's turn ends in the midst of its work, twice; those who wait have one turn
 * each meanwhile, of a few instructions. Spinning through their turns they would retire three
 * times what the holder does. */
static void test_in_turns(void **state)
{
	const uint32_t work = 5 * SLICE / 2, rounds = 20;

	(void)state;
	for (unsigned n = 0; n < WAITINGS; n++) {
		uint64_t interp = run(&interp_ops, true, &waitings[n], work, rounds);
		uint64_t bt = run(&bt_ops, true, &waitings[n], work, rounds);

		print_message("in turns, %s: %.4f of the work\n", waitings[n].name,
			      (double)interp / (VCPUS * work * rounds));
		assert_int_equal(interp, bt);
		assert_in_range(interp, VCPUS * work * rounds, VCPUS * work * rounds / 100 * 101);
	}
}

/* A thread each, one processor of the host for all. To wait through a time slice of the host would
 * be some hundred thousand instructions for each change of the holder. */
static void threads(const struct engine_ops *engine)
{
	const uint32_t work = 100, rounds = 25;

	for (unsigned n = 0; n < WAITINGS; n++) {
		uint64_t retired = run(engine, false, &waitings[n], work, rounds);
		uint64_t each = retired / (VCPUS * rounds);

		print_message("threads, %s, %s: %llu instructions a round\n", engine->name,
			      waitings[n].name, (unsigned long long)each);
		assert_in_range(each, work, 5000);
	}
}

static void test_threads(void **state)
{
	cpu_set_t all, one;
	int first = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	threads(&interp_ops);
	threads(&bt_ops);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_turns),
		cmocka_unit_test(test_threads),
	};

	host_order_checked = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
