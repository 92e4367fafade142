/*
 * cache.c - tests of the block cache: invalidation is exact, marks come and go, memory is bounded.
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/mem.h"
#include "test/unit/interp_guest.h"

/* Two functions of one page with data between and after them. */
static const uint8_t code[] = {
	0xb0, 0x01,                               /* 00 mov al, 1 */
	0xeb, 0x0c,                               /* 02 jmp 10 */
	0,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* 04 data */
	0xb3, 0x02,                               /* 10 mov bl, 2 */
	0xf4,                                     /* 12 hlt */
};

static uint8_t *mark_of(struct guest *g, uint64_t at)
{
	return mem_mark(mem_find(&g->vm->mem, gpa(at)), gpa(at));
}

static struct block *block_at(struct guest *g, uint64_t at)
{
	return cache_find(g->c->cache, g->ram + at, DECODE_64);
}

static struct guest ran(void)
{
	struct guest g = guest_with(code, sizeof(code));

	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	return g;
}

static void again(struct guest *g)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);

	guest_set(g, &s);
	assert_int_equal(guest_run(g, 100), EXIT_HLT);
}

static void test_blocks_are_found_again(void **state)
{
	struct guest g = ran();
	struct block *first = block_at(&g, GUEST_CODE);

	(void)state;
	assert_non_null(first);
	assert_int_equal(first->count, 2);
	assert_int_equal(first->bytes, 4);
	assert_int_equal(g.c->cache->blocks, 2);
	again(&g);
	assert_int_equal(g.c->cache->blocks, 2);
	assert_ptr_equal(block_at(&g, GUEST_CODE), first);
	assert_null(cache_find(g.c->cache, g.ram + GUEST_CODE, DECODE_32));
	guest_close(&g);
}

static void test_data_beside_code(void **state)
{
	struct guest g = ran();

	(void)state;
	assert_int_equal(*mark_of(&g, GUEST_CODE), MARK_CODE);
	for (uint64_t off = 4; off < 16; off++)
		assert_true(mem_write_slow(g.c, DS, GUEST_CODE + off, "x", 1));
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 0x13, "12345678", 8));
	assert_int_equal(g.c->cache->killed, 0);
	guest_close(&g);
}

/* Each byte of code, written alone, kills exactly the block that holds it. */
static void test_every_code_byte(void **state)
{
	(void)state;
	for (uint64_t off = 0; off < sizeof(code); off++) {
		struct guest g = ran();
		bool first = off < 4, second = off >= 0x10;

		assert_true(mem_write_slow(g.c, DS, GUEST_CODE + off, &code[off], 1));
		assert_int_equal(block_at(&g, GUEST_CODE) == NULL, first);
		assert_int_equal(block_at(&g, GUEST_CODE + 0x10) == NULL, second);
		assert_int_equal(g.c->cache->killed, first || second);
		guest_close(&g);
	}
}

static void test_mark_goes_with_the_last_block(void **state)
{
	struct guest g = ran();

	(void)state;
	/* A write that spans both. */
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 3, "0123456789abcdef", 16));
	assert_int_equal(g.c->cache->killed, 2);
	assert_int_equal(*mark_of(&g, GUEST_CODE), 0);
	/* And the page is written at full speed again. */
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 3, "x", 1));
	assert_non_null(tlb_hit(&g.c->tlb, GUEST_CODE, 8, ACCESS_WRITE));
	guest_close(&g);
}

/* The write tag goes away when code is first decoded from a page that was being written. */
static void test_watching_takes_the_write_tag(void **state)
{
	struct guest g = guest_with(code, sizeof(code));

	(void)state;
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 0x100, "x", 1));
	assert_non_null(tlb_hit(&g.c->tlb, GUEST_CODE, 8, ACCESS_WRITE));
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_null(tlb_hit(&g.c->tlb, GUEST_CODE, 8, ACCESS_WRITE));
	assert_non_null(tlb_hit(&g.c->tlb, GUEST_CODE, 8, ACCESS_READ));
	guest_close(&g);
}

static void test_device_writes_code(void **state)
{
	struct guest g = ran();

	(void)state;
	assert_int_equal(mem_write(&g.vm->mem, gpa(GUEST_CODE + 1), "\x07", 1), 0);
	assert_null(block_at(&g, GUEST_CODE));
	assert_non_null(block_at(&g, GUEST_CODE + 0x10));
	again(&g);
	assert_int_equal(g.c->r[RAX], 7);
	guest_close(&g);
}

/* The same physical page through another linear address. */
static void test_alias(void **state)
{
	struct guest g = ran();

	(void)state;
	guest_put64(&g, GUEST_PT + 0x100 * 8, GUEST_CODE | PTE_P | PTE_W);
	assert_true(mem_write_slow(g.c, DS, 0x100001, "\x09", 1));
	again(&g);
	assert_int_equal(g.c->r[RAX], 9);
	guest_close(&g);
}

static void test_blocks_may_overlap(void **state)
{
	struct guest g = ran();
	struct x86_state s = guest_state64(0, GUEST_CODE + 2);

	(void)state;
	guest_set(&g, &s);
	assert_int_equal(guest_run(&g, 100), EXIT_HLT);
	assert_non_null(block_at(&g, GUEST_CODE + 2));
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 1, "\x05", 1));
	assert_null(block_at(&g, GUEST_CODE));
	assert_non_null(block_at(&g, GUEST_CODE + 2));
	assert_true(mem_write_slow(g.c, DS, GUEST_CODE + 3, "\x0c", 1));
	assert_null(block_at(&g, GUEST_CODE + 2));
	guest_close(&g);
}

static void test_flush(void **state)
{
	struct guest g = ran();

	(void)state;
	interp_ops.forget(g.vcpu);
	assert_null(block_at(&g, GUEST_CODE));
	assert_int_equal(*mark_of(&g, GUEST_CODE), 0);
	again(&g);
	assert_int_equal(g.c->cache->blocks, 4);
	guest_close(&g);
}

/* With the least of room for code. */
static struct guest open_small(void)
{
	return guest_open_on(&interp_ops, true,
			     (struct engine_options){ .code_cache = CODE_CACHE_LEAST });
}

/* More code than the arena holds: what is oldest goes, nothing else. */
static void test_memory_is_bounded(void **state)
{
	const uint64_t last = GUEST_CODE + 69999;
	struct guest g = open_small();

	(void)state;
	guest_tables(&g);
	memset(g.ram + GUEST_CODE, 0x90, GUEST_BYTES - GUEST_CODE);
	for (uint64_t at = GUEST_CODE; at <= last; at++) {
		struct x86_state s = guest_state64(0, at);

		g.c->r[R_RIP] = at;
		if (at == GUEST_CODE)
			guest_set(&g, &s);
		assert_int_equal(guest_run(&g, 1), EXIT_BUDGET);
	}
	assert_int_equal(g.c->cache->flushes, 1);
	assert_in_range(g.c->cache->evictions, CACHE_REGIONS, 3 * CACHE_REGIONS);
	assert_int_equal(*g.vcpu->retired, 70000);
	assert_null(block_at(&g, GUEST_CODE));
	assert_int_equal(*mark_of(&g, GUEST_CODE), 0);
	for (uint64_t at = last; at > last - 20000; at--)
		assert_non_null(block_at(&g, at));
	assert_int_equal(*mark_of(&g, last), MARK_CODE);
	guest_close(&g);
}

/* The same blocks again and again, each the other's successor, and never room for all of them. */
static void test_round_and_round(void **state)
{
	const unsigned count = 200000;
	struct x86_state s = guest_state64(0, GUEST_CODE);
	struct guest g = open_small();
	uint8_t *end = g.ram + GUEST_CODE + (size_t)count * 4;
	int32_t back = -(int32_t)count * 4 - 5;

	(void)state;
	guest_tables(&g);
	for (unsigned n = 0; n < count; n++) /* inc eax; jmp to the next */
		memcpy(g.ram + GUEST_CODE + (size_t)n * 4, "\xff\xc0\xeb\x00", 4);
	*end = 0xe9;
	memcpy(end + 1, &back, 4);
	s.gpr[RAX] = 0;
	guest_set(&g, &s);
	for (unsigned round = 1; round <= 2; round++) {
		assert_int_equal(guest_run(&g, count * 2 + 1), EXIT_BUDGET);
		assert_int_equal(guest_get(&g).gpr[RAX], round * count);
		assert_int_equal(guest_get(&g).rip, GUEST_CODE);
	}
	assert_in_range(g.c->cache->evictions, CACHE_REGIONS, 3 * CACHE_REGIONS);
	guest_close(&g);
}

/* Several threads: an instruction that goes on in the next page is no block, and nobody is its
 * coder. */
static void test_nothing_to_watch(void **state)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 2 };
	struct guest g = guest_open_config(&config);
	struct mem_slot *slot = mem_find(&g.vm->mem, gpa(GUEST_CODE));
	atomic_ullong *coders = &slot->coders[GUEST_CODE >> PAGE_SHIFT];

	(void)state;
	g.ram[GUEST_CODE + 0xfff] = 0xb8; /* mov eax, imm32 */
	g.ram[GUEST_CODE] = 0xf4;
	gate_enter(g.vcpu);
	assert_null(cache_block(g.c->cache, gpa(GUEST_CODE + 0xfff), g.ram + GUEST_CODE + 0xfff,
				DECODE_64));
	assert_int_equal(atomic_load(coders), 0);
	assert_non_null(cache_block(g.c->cache, gpa(GUEST_CODE), g.ram + GUEST_CODE, DECODE_64));
	assert_int_equal(atomic_load(coders), 1);
	assert_null(cache_block(g.c->cache, gpa(GUEST_CODE + 0xfff), g.ram + GUEST_CODE + 0xfff,
				DECODE_64));
	assert_int_equal(atomic_load(coders), 1);
	gate_leave(g.vcpu);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks_are_found_again),
		cmocka_unit_test(test_data_beside_code),
		cmocka_unit_test(test_every_code_byte),
		cmocka_unit_test(test_mark_goes_with_the_last_block),
		cmocka_unit_test(test_watching_takes_the_write_tag),
		cmocka_unit_test(test_device_writes_code),
		cmocka_unit_test(test_alias),
		cmocka_unit_test(test_nothing_to_watch),
		cmocka_unit_test(test_blocks_may_overlap),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_round_and_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
