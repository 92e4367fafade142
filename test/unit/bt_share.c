/*
 * bt_share.c - what several vCPUs share of engine bt: translated once, each with data of its own,
 * gone for all.
 *
 * vCPUs run in turns here, by hand; on threads of their own test/guest/bare/smp_*.c have them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

#define DATA       UINT64_C(0x150000)
#define OTHER_DATA UINT64_C(0x160000)
#define FUNCTION   UINT64_C(0x11000)
#define OTHER      UINT64_C(0x13000)
#define TABLES     UINT64_C(0x20000) /* vCPU 1's own, where it has its own */

#define ASSEMBLE(name, text)                                                                       \
	__asm__(".pushsection .rodata\n.intel_syntax noprefix\n" #name ":\n" text "\n" #name       \
		"_end:\n.att_syntax\n.popsection");                                                \
	extern const uint8_t name[], name##_end[]

/* Up to the end of its page, where MOV lies in two and a function follows. */
ASSEMBLE(
	program,
	"mov ecx, 200; mov rbx, 0x150000; xor eax, eax\n"
	"1: mov rdx, [rbx]; inc rdx; mov [rbx], rdx; add rax, rdx; jmp 2f\n"
	".fill 0xffd - (. - program), 1, 0x90\n"
	"2: mov r8d, 0x1000; call 3f; dec ecx; jnz 1b; hlt; .fill 0x1100 - (. - program), 1, 0x90\n"
	"3: add rax, r8; ret");

/* Calls and branches within the page, at every distance from a boundary of 4 bytes. */
ASSEMBLE(near, "mov ecx, 40\n"
	       "1: call 9f; nop; call 9f; .byte 0x66, 0x90; call 9f; nop dword ptr [rax]; call 9f\n"
	       "test ecx, ecx; jz 3f; dec ecx; jnz 1b; nop; inc ecx; jmp 1b; 3: hlt; 9: ret");
/* RBX times the function on the next page. */
ASSEMBLE(calls, "1: call 1b + 0x1000; add rax, rdx; dec rbx; jnz 1b; hlt");
ASSEMBLE(gives_1, "mov edx, 1; ret");
ASSEMBLE(gives_2, "mov edx, 2; ret");
/* Of 5 bytes each, in a row; every one is called, EBX times. */
ASSEMBLE(many, "1: mov edi, 0x150000; 2: call rdi; add edi, 37; cmp edi, 0x19f000; jb 2b\n"
	       "dec ebx; jnz 1b; hlt");
ASSEMBLE(writes, "mov byte ptr [0x11001], 2; hlt");
/* A trace: what it is for the interpreter ends at the first JMP. */
ASSEMBLE(follows, "mov ecx, 100; 1: inc rax; jmp 3f; 2: inc rax; inc rax; dec ecx; jnz 1b; hlt\n"
		  "3: inc rax; inc rax; inc rax; jmp 2b");
/* The second part of one reads from two pages; and the only part of the same in between. */
ASSEMBLE(crosses, "mov ecx, 4000; mov ebx, 0x150ffc; 1: inc rdx; jmp 3f; 2: dec ecx; jnz 1b; hlt\n"
		  "3: add rax, [rbx]; add rdx, [rbx + 8]; jmp 2b");
/* A JMP into an instruction before it: what follows lies among what was there. */
ASSEMBLE(within, "mov ecx, 40; 1: call 2f; dec ecx; jnz 1b; hlt; .fill 64 - (. - within), 1, 0x90\n"
		 "2: mov edx, 0xc3c0ff90; jmp 2b + 1; .byte 0xff, 0xc0, 0xff, 0xc0, 0xc3");
ASSEMBLE(writes_within, "mov byte ptr [0x11046], 0; hlt"); /* the JMP: to what comes behind it */

struct pair {
	struct guest g[2];
	struct bt *t[2];
};

static struct pair open_pair(struct engine_options options)
{
	struct vm_config config = {
		.engine = &bt_ops, .vcpus = 2, .counted = true, .engine_options = options
	};
	struct pair p = { .g[0] = guest_open_config(&config) };

	p.g[1] = p.g[0];
	p.g[1].vcpu = p.g[0].vm->vcpu[1];
	p.g[1].c = p.g[1].vcpu->engine;
	guest_tables(&p.g[0]);
	for (unsigned n = 0; n < 2; n++) {
		p.t[n] = p.g[n].c->executor;
		p.t[n]->verify = true;
	}
	return p;
}

static void put(struct pair *p, uint64_t at, const uint8_t *code, const uint8_t *end)
{
	memcpy(p->g[0].ram + at, code, (size_t)(end - code));
}

static void set(struct pair *p, unsigned n, uint64_t rip, uint64_t rbx)
{
	struct x86_state s = guest_state64(0, rip);

	s.gpr[RBX] = rbx;
	s.gpr[RSP] = GUEST_STACK - n * 0x800;
	guest_set(&p->g[n], &s);
}

/* vCPU 1 reaches `to` where vCPU 0 reaches `at`. */
static void map_otherwise(struct pair *p, uint64_t at, uint64_t to)
{
	uint8_t *ram = p->g[0].ram;
	struct x86_state s = guest_get(&p->g[1]);

	memcpy(ram + TABLES, ram + GUEST_PML4, 4 * PAGE_SIZE);
	guest_put64(&p->g[0], TABLES, (TABLES + 0x1000) | PTE_P | PTE_W | PTE_US);
	guest_put64(&p->g[0], TABLES + 0x1000, (TABLES + 0x2000) | PTE_P | PTE_W | PTE_US);
	guest_put64(&p->g[0], TABLES + 0x2000, (TABLES + 0x3000) | PTE_P | PTE_W | PTE_US);
	guest_put64(&p->g[0], TABLES + 0x3000 + (at >> 12) * 8, to | PTE_P | PTE_W | PTE_US);
	s.cr3 = TABLES;
	guest_set(&p->g[1], &s);
}

static uint64_t run(struct pair *p, unsigned n)
{
	assert_int_equal(guest_run(&p->g[n], 2000000), EXIT_HLT);
	return guest_get(&p->g[n]).gpr[RAX];
}

static void test_translated_once(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });
	uint64_t blocks, rax;

	(void)state;
	put(&p, GUEST_CODE, program, program_end);
	set(&p, 0, GUEST_CODE, 0);
	rax = run(&p, 0);
	assert_int_equal(rax, 200 * 201 / 2 + 200 * 0x1000);
	assert_in_range(p.t[0]->mismatches, 0, 0);
	blocks = p.t[0]->blocks;
	assert_in_range(blocks, 4, 20);
	assert_int_equal(p.t[0]->figures.traces, 0); /* an instruction in two pages is none */
	guest_put64(&p.g[0], DATA, 0);
	set(&p, 1, GUEST_CODE, 0);
	assert_int_equal(run(&p, 1), rax);
	assert_int_equal(p.t[1]->blocks, 0);
	assert_in_range(p.t[1]->figures.adopted, 1, blocks);
	assert_true(p.t[1]->figures.instructions > 200 * 5);
	assert_int_equal(p.t[0]->blocks, blocks);
	guest_close(&p.g[0]);
}

/* Who aims a jump does it while others may execute it: in one store that no fetch sees half of. */
static void test_aimed_at_once(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });
	const struct bt_room *r = p.t[0]->room;
	unsigned found = 0;

	(void)state;
	put(&p, GUEST_CODE, near, near_end);
	set(&p, 0, GUEST_CODE, 0);
	guest_run(&p.g[0], 5000);
	for (const struct bt_place *at = r->place; at < r->place + r->places; at++) {
		found += at->is_call;
		assert_int_equal((uintptr_t)at->jump % 4, 0);
		assert_int_equal((uintptr_t)at->save_jump % 4, 0);
	}
	assert_in_range(found, 4, 100);
	guest_close(&p.g[0]);
}

/* In turns of a few instructions, the same code at the same addresses, other data. */
static void test_data_of_its_own(void **state)
{
	struct pair p = open_pair((struct engine_options){ .torture = TORTURE(HOT) });

	(void)state;
	put(&p, GUEST_CODE, program, program_end);
	set(&p, 0, GUEST_CODE, 0);
	set(&p, 1, GUEST_CODE, 0);
	map_otherwise(&p, DATA, OTHER_DATA);
	guest_put64(&p.g[0], DATA, 1000);
	guest_put64(&p.g[0], OTHER_DATA, 5000);
	for (unsigned n = 0; n < 100; n++) {
		assert_int_equal(guest_run(&p.g[0], 17), EXIT_BUDGET);
		assert_int_equal(guest_run(&p.g[1], 13), EXIT_BUDGET);
	}
	assert_int_equal(run(&p, 0), 200 * 201 / 2 + 200 * 0x1000 + 200 * 1000);
	assert_int_equal(run(&p, 1), 200 * 201 / 2 + 200 * 0x1000 + 200 * 5000);
	assert_int_equal(guest_get64(&p.g[0], DATA), 1200);
	assert_int_equal(guest_get64(&p.g[0], OTHER_DATA), 5200);
	guest_close(&p.g[0]);
}

/* What one vCPU writes is gone for the other, by its own way or by a device's. */
static void test_written(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });

	(void)state;
	put(&p, FUNCTION - 0x1000, calls, calls_end);
	put(&p, FUNCTION, gives_1, gives_1_end);
	put(&p, OTHER, writes, writes_end);
	for (unsigned n = 0; n < 2; n++) {
		set(&p, n, FUNCTION - 0x1000, 100);
		assert_int_equal(run(&p, n), 100);
	}
	assert_int_equal(p.t[1]->blocks, 0);
	set(&p, 1, OTHER, 0);
	run(&p, 1);
	for (unsigned n = 0; n < 2; n++) {
		set(&p, n, FUNCTION - 0x1000, 100);
		assert_int_equal(run(&p, n), 200);
	}
	assert_int_equal(mem_write(&p.g[0].vm->mem, gpa(FUNCTION + 1), "\3", 1), 0);
	for (unsigned n = 0; n < 2; n++) {
		set(&p, n, FUNCTION - 0x1000, 100);
		assert_int_equal(run(&p, n), 300);
	}
	guest_close(&p.g[0]);
}

/* Turns shorter than the trace that was made elsewhere. */
static void test_short_turns(void **state)
{
	struct pair p = open_pair((struct engine_options){ .torture = TORTURE(HOT) });
	unsigned turns = 0;

	(void)state;
	put(&p, GUEST_CODE, follows, follows_end);
	for (unsigned n = 0; n < 2; n++)
		set(&p, n, GUEST_CODE, 0);
	assert_int_equal(run(&p, 0), 600);
	assert_in_range(p.t[0]->figures.traces, 1, 4);
	while (guest_run(&p.g[1], 1 + turns % 12) == EXIT_BUDGET)
		turns++;
	assert_int_equal(guest_get(&p.g[1]).gpr[RAX], 600);
	assert_in_range(turns, 100, 200);
	assert_in_range(p.t[1]->figures.adopted, 1, 10);
	guest_close(&p.g[0]);
}

/* What one learnt of an instruction that the other's block does not have: translated again once. */
static void test_learnt(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });

	(void)state;
	put(&p, GUEST_CODE, crosses, crosses_end);
	for (unsigned n = 0; n < 2; n++)
		set(&p, n, GUEST_CODE, 0);
	for (unsigned n = 0; n < 600; n++)
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(guest_run(&p.g[k], 30), EXIT_BUDGET);
	assert_in_range(p.t[0]->blocks + p.t[1]->blocks, 3, 20);
	for (unsigned n = 0; n < 2; n++)
		run(&p, n);
	assert_in_range(p.t[0]->blocks + p.t[1]->blocks, 3, 20);
	guest_close(&p.g[0]);
}

/* What is decoded is noticed when it is written, wherever in the block it lies. */
static void test_within(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });

	(void)state;
	put(&p, FUNCTION, within, within_end);
	put(&p, OTHER, writes_within, writes_within_end);
	for (unsigned n = 0; n < 2; n++) {
		set(&p, n, FUNCTION, 0);
		assert_int_equal(run(&p, n), 40);
	}
	assert_in_range(p.t[0]->figures.traces, 1, 9);
	set(&p, 0, OTHER, 0);
	run(&p, 0);
	for (unsigned n = 2; n-- > 0;) { /* who took what the other had decoded, first */
		set(&p, n, FUNCTION, 0);
		assert_int_equal(run(&p, n), 80);
	}
	guest_close(&p.g[0]);
}

/* A page of code whose next page is another one for each. */
static void test_leads_elsewhere(void **state)
{
	struct pair p = open_pair((struct engine_options){ 0 });

	(void)state;
	put(&p, FUNCTION - 0x1000, calls, calls_end);
	put(&p, FUNCTION, gives_1, gives_1_end);
	put(&p, OTHER, gives_2, gives_2_end);
	for (unsigned n = 0; n < 4; n++) {
		set(&p, 0, FUNCTION - 0x1000, 100);
		assert_int_equal(run(&p, 0), 100);
		set(&p, 1, FUNCTION - 0x1000, 100);
		map_otherwise(&p, FUNCTION, OTHER);
		assert_int_equal(run(&p, 1), 200);
	}
	guest_close(&p.g[0]);
}

/* The sum of all is bounded; what goes, goes for both. */
static void check_bounded(unsigned torture)
{
	struct pair p =
		open_pair((struct engine_options){ .code_cache = 2 << 20, .torture = torture });
	const struct bt_room *r = p.t[0]->room;
	uint64_t all = r->places_all * sizeof(*r->place) + r->frozen_all +
		       r->pages_all * sizeof(*r->page) + p.t[0]->code.bytes;
	unsigned functions = 0;

	assert_ptr_equal(p.t[1]->room, r);
	for (unsigned n = 0; n < 2; n++)
		all += p.t[n]->code.data_bytes + 2 * p.t[n]->live_all * sizeof(*p.t[n]->live[0]);
	assert_in_range(all, 1 << 20, 2 << 20);
	put(&p, GUEST_CODE, many, many_end);
	for (uint64_t at = DATA; at < 0x19f000; at += 37, functions++)
		memcpy(p.g[0].ram + at, "\x48\x83\xc0\x01\xc3", 5); /* add rax, 1; ret */
	set(&p, 0, GUEST_CODE, 4);
	set(&p, 1, GUEST_CODE, 4);
	for (unsigned n = 0; n < 100; n++) {
		assert_int_equal(guest_run(&p.g[0], 300), EXIT_BUDGET);
		assert_int_equal(guest_run(&p.g[1], 100), EXIT_BUDGET);
	}
	assert_int_equal(run(&p, 0), 4 * functions);
	assert_int_equal(run(&p, 1), 4 * functions);
	assert_in_range(p.t[0]->evictions + p.t[1]->evictions, 2 * r->regions_all, 100000);
	guest_close(&p.g[0]);
}

static void test_bounded(void **state)
{
	(void)state;
	check_bounded(TORTURE(HOT));
	check_bounded(TORTURE(HOT) | TORTURE(EVICT) | TORTURE(FLUSH));
	check_bounded(TORTURE(HOT) | TORTURE(INVALIDATE) | TORTURE(KICK));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_translated_once), cmocka_unit_test(test_data_of_its_own),
		cmocka_unit_test(test_written),         cmocka_unit_test(test_leads_elsewhere),
		cmocka_unit_test(test_bounded),         cmocka_unit_test(test_aimed_at_once),
		cmocka_unit_test(test_short_turns),     cmocka_unit_test(test_learnt),
		cmocka_unit_test(test_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
