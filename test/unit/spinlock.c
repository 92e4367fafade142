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
#include "engine/bt/engine_bt.h"
#include "host/order.h"
#include "test/processors.h"
#include "test/unit/interp_guest.h"

#define VCPUS 4
#define SLICE 10000
#define LOCK  UINT64_C(0x100000)

/* clang-format off */
/* RBP times: takes a ticket and says whose it is, waits, holds the lock for 2 * ESI instructions, lets
 * the next one in. Nobody holds it before all have their first tickets. R12: this vCPU. How it waits is
 * what a test is about. */
#define PROGRAM_OF(name, text) \
	__asm__(".pushsection .rodata\n.intel_syntax noprefix\n" #name ": " text "\n" #name \
		"_end:\n.att_syntax\n.popsection"); \
	extern const uint8_t name[], name##_end[];
#define PROGRAM(name, wait) \
	PROGRAM_OF(name, "mov edi, 0x100000\n" \
		"1: mov r8d, 1; lock xadd [rdi], r8d\n" \
		"mov r9d, r8d; and r9d, 7; mov [rdi + r9 * 4 + 64], r12d\n" \
		"lock inc dword ptr [rdi + 12]; 0: pause; cmp dword ptr [rdi + 12], 4; jb 0b\n" \
		"2: cmp [rdi + 4], r8d; je 3f\n" wait "; jmp 2b\n" \
		"3: mov edx, esi; 4: dec edx; jnz 4b; inc dword ptr [rdi + 8]; inc dword ptr [rdi + 4]\n" \
		"dec ebp; jnz 1b; hlt")

PROGRAM(by_pause, "pause")
PROGRAM(by_mwait, "xor ecx, ecx; xor eax, eax; monitor; mwait")
PROGRAM(by_hypercall, "mov r9d, [rdi + 4]; and r9d, 7; mov ebx, [rdi + r9 * 4 + 64]; mov eax, 11; vmcall")
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

/* Two who wait for a third, each of whom gives its turn to the other: by name, or since the other
 * is next. RBX: to whom. */
PROGRAM_OF(yields, "1: mov eax, 11; vmcall; cmp dword ptr [0x100000], 0; je 1b; hlt")
PROGRAM_OF(pauses, "1: pause; cmp dword ptr [0x100000], 0; je 1b; hlt")
PROGRAM_OF(works, "mov ecx, 30000; 1: dec ecx; jnz 1b; inc dword ptr [0x100000]; hlt")

static void put(struct guest *g, unsigned vcpu, uint64_t at, const uint8_t *code, size_t bytes,
		uint64_t rbx)
{
	struct x86_state s = guest_state64(0, at);

	memcpy(g->ram + at, code, bytes);
	s.gpr[RBX] = rbx;
	assert_int_equal(vcpu_set_state(g->vm->vcpu[vcpu], &s, NULL), 0);
}

static void third_of(bool by_name)
{
	struct vm_config config = {
		.engine = &interp_ops, .vcpus = 3, .counted = true, .slice = SLICE
	};
	struct guest g = guest_open_config(&config);
	int status;

	guest_tables(&g);
	if (by_name)
		put(&g, 0, GUEST_CODE, yields, (size_t)(yields_end - yields), 1);
	else
		put(&g, 0, GUEST_CODE, pauses, (size_t)(pauses_end - pauses), 0);
	put(&g, 1, GUEST_CODE + 0x1000, yields, (size_t)(yields_end - yields), 0);
	put(&g, 2, GUEST_CODE + 0x2000, works, (size_t)(works_end - works), 0);
	g.vm->halt_ends = true;
	vm_input_ended(g.vm);
	assert_int_equal(vm_run(g.vm, 10 * 60000, &status, NULL), VM_HALTED);
	assert_in_range(vm_retired(g.vm), 60000, 60200);
	guest_close(&g);
}

static void test_nobody_starves(void **state)
{
	(void)state;
	third_of(false);
	third_of(true);
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
	cpu_set_t all = processors_give(0, 0);

	(void)state;
	threads(&interp_ops);
	threads(&bt_ops);
	processors_return(&all);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_turns),
		cmocka_unit_test(test_nobody_starves),
		cmocka_unit_test(test_threads),
	};

	host_order_checked = true;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
