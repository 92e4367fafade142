/*
 * interp_mem.c - tests of guest memory as instructions reach it: faults, crossings, devices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/mem.h"
#include "test/unit/interp_guest.h"

#define PAGE_A UINT64_C(0x20000)
#define PAGE_B UINT64_C(0x21000)
#define ROM    UINT64_C(0xf0000000)
#define DEVICE UINT64_C(0xfe000000)

static void map_page(struct guest *g, uint64_t linear, uint64_t entry)
{
	guest_put64(g, GUEST_PT + (linear >> PAGE_SHIFT) * 8, entry);
	tlb_flush_all(&g->c->tlb);
}

static struct guest in_mode(unsigned cpl)
{
	struct guest g = guest_with("\xf4", 1);
	struct x86_state s = guest_state64(cpl, GUEST_CODE);

	guest_set(&g, &s);
	return g;
}

static uint64_t entry_of(struct guest *g, uint64_t linear)
{
	return guest_get64(g, GUEST_PT + (linear >> PAGE_SHIFT) * 8);
}

static void test_load_and_store(void **state)
{
	struct guest g = in_mode(0);
	uint64_t value;
	uint8_t byte;

	(void)state;
	for (int again = 0; again < 2; again++) {
		assert_true(mem_store64(g.c, DS, PAGE_A, UINT64_C(0x1122334455667788) + again));
		assert_true(mem_load64(g.c, DS, PAGE_A, &value));
		assert_true(value == UINT64_C(0x1122334455667788) + again);
		assert_true(mem_load8(g.c, DS, PAGE_A + 7, &byte));
		assert_int_equal(byte, 0x11);
	}
	assert_int_equal(entry_of(&g, PAGE_A) & 0x60, 0x60); /* A and D */
	guest_close(&g);
}

static void test_accessed_and_dirty(void **state)
{
	struct guest g = in_mode(0);
	uint8_t byte;

	(void)state;
	assert_int_equal(entry_of(&g, PAGE_A) & 0x60, 0);
	assert_true(mem_load8(g.c, DS, PAGE_A, &byte));
	assert_int_equal(entry_of(&g, PAGE_A) & 0x60, 0x20);
	assert_true(mem_store8(g.c, DS, PAGE_A, 1));
	assert_int_equal(entry_of(&g, PAGE_A) & 0x60, 0x60);
	guest_close(&g);
}

static void test_crossing(void **state)
{
	struct guest g = in_mode(0);
	uint64_t value;

	(void)state;
	/* Neighbours in linear, not in physical memory. */
	map_page(&g, PAGE_B, 0x40000 | PTE_P | PTE_W);
	for (unsigned n = 1; n < 8; n++) {
		assert_true(mem_store64(g.c, DS, PAGE_B - n, UINT64_C(0x0807060504030201)));
		assert_true(mem_load64(g.c, DS, PAGE_B - n, &value));
		assert_true(value == UINT64_C(0x0807060504030201));
		assert_int_equal(g.ram[PAGE_B - 1], n);
		assert_int_equal(g.ram[0x40000], n + 1);
	}
	guest_close(&g);
}

static void test_crossing_into_a_fault(void **state)
{
	struct guest g = in_mode(0);
	uint64_t value = 0;

	(void)state;
	map_page(&g, PAGE_B, 0);
	assert_false(mem_store64(g.c, DS, PAGE_B - 3, ~UINT64_C(0)));
	assert_int_equal(g.c->fault.vector, VEC_PF);
	assert_int_equal(g.c->fault.cr2, PAGE_B);
	assert_int_equal(g.c->fault.error, PF_W);
	assert_int_equal(g.ram[PAGE_B - 3], 0);
	assert_false(mem_load64(g.c, DS, PAGE_B - 3, &value));
	assert_int_equal(g.c->fault.error, 0);
	assert_false(mem_probe_write(g.c, DS, PAGE_B - 3, 8));
	assert_true(mem_probe_write(g.c, DS, PAGE_B - 8, 8));
	guest_close(&g);
}

static void test_rights(void **state)
{
	struct guest g = in_mode(3);
	uint64_t value;

	(void)state;
	map_page(&g, PAGE_A, PAGE_A | PTE_P | PTE_W); /* supervisor */
	assert_false(mem_load64(g.c, DS, PAGE_A + 8, &value));
	assert_int_equal(g.c->fault.error, PF_P | PF_U);
	assert_int_equal(g.c->fault.cr2, PAGE_A + 8);
	/* Descriptor tables are read with supervisor rights; then the user's hold again. */
	assert_true(mem_read_system(g.c, PAGE_A, &value, 8));
	assert_false(mem_load64(g.c, DS, PAGE_A, &value));
	assert_true(mem_write_as(g.c, PAGE_A, &value, 8, false));
	assert_false(mem_write_as(g.c, PAGE_A, &value, 8, true));
	map_page(&g, PAGE_A, PAGE_A | PTE_P | PTE_US); /* read-only */
	assert_true(mem_load64(g.c, DS, PAGE_A, &value));
	assert_false(mem_store64(g.c, DS, PAGE_A, 1));
	assert_int_equal(g.c->fault.error, PF_P | PF_W | PF_U);
	guest_close(&g);
}

static void test_canonical(void **state)
{
	struct guest g = in_mode(0);
	uint64_t value, edge = UINT64_C(0x0000800000000000);

	(void)state;
	assert_false(mem_load64(g.c, DS, edge, &value));
	assert_int_equal(g.c->fault.vector, VEC_GP);
	assert_false(mem_load64(g.c, SS, edge, &value));
	assert_int_equal(g.c->fault.vector, VEC_SS);
	assert_false(mem_load64(g.c, DS, edge - 4, &value)); /* begins below, ends above */
	assert_int_equal(g.c->fault.vector, VEC_GP);
	g.c->s.seg[FS].base = edge - 1;
	assert_false(mem_load64(g.c, FS, 1, &value));
	assert_int_equal(g.c->fault.vector, VEC_GP);
	guest_close(&g);
}

static void test_real_mode_limit(void **state)
{
	struct guest g = guest_open();
	struct x86_state s;
	uint16_t value;

	(void)state;
	x86_state_reset(&s, true);
	segment_load_real(&s.seg[DS], 0x2000);
	guest_set(&g, &s);
	assert_true(mem_store16(g.c, DS, 0xfffe, 0x1234));
	assert_int_equal(g.ram[0x2ffff], 0x12);
	assert_false(mem_load16(g.c, DS, 0xffff, &value));
	assert_int_equal(g.c->fault.vector, VEC_GP);
	assert_false(mem_load16(g.c, SS, 0xffff, &value));
	assert_int_equal(g.c->fault.vector, VEC_SS);
	guest_close(&g);
}

static void test_rom_ignores_writes(void **state)
{
	struct guest g = in_mode(0);
	uint8_t rom[PAGE_SIZE] __attribute__((aligned(4096))) = { 1, 2, 3, 4 };
	struct fail why;
	struct rmw m;
	uint32_t value;

	(void)state;
	assert_int_equal(mem_add(g.vm, gpa(ROM), PAGE_SIZE, rom, true, &why), 0);
	map_page(&g, PAGE_A, ROM | PTE_P | PTE_W);
	for (int again = 0; again < 2; again++) {
		assert_true(mem_store32(g.c, DS, PAGE_A, 0xffffffff));
		assert_true(mem_load32(g.c, DS, PAGE_A, &value));
		assert_int_equal(value, 0x04030201);
	}
	*(uint32_t *)mem_rmw_begin(g.c, DS, PAGE_A, 4, &m) = 5;
	assert_true(mem_rmw_end(g.c, &m));
	assert_int_equal(rom[0], 1);
	guest_close(&g);
}

static void test_devices_see_aligned_pieces(void **state)
{
	struct guest g = in_mode(0);
	uint64_t *exits = &g.vcpu->exits[EXIT_MMIO], value, before;
	uint8_t wide[64];

	(void)state;
	map_page(&g, PAGE_A, DEVICE | PTE_P | PTE_W);
	map_page(&g, PAGE_B, (DEVICE + 0x5000) | PTE_P | PTE_W);
	assert_true(mem_load64(g.c, DS, PAGE_A, &value));
	assert_true(value == ~UINT64_C(0)); /* nobody is there */
	assert_int_equal(*exits, 1);
	before = *exits;
	assert_true(mem_load64(g.c, DS, PAGE_A + 1, &value)); /* 1 + 2 + 4 + 1 */
	assert_int_equal(*exits - before, 4);
	before = *exits;
	assert_true(mem_store64(g.c, DS, PAGE_B - 2, 0)); /* 2, then 4 + 2 in the next page */
	assert_int_equal(*exits - before, 3);
	before = *exits;
	assert_true(mem_read_slow(g.c, DS, PAGE_A, wide, 64));
	assert_int_equal(*exits - before, 8);
	assert_null(tlb_hit(&g.c->tlb, PAGE_A, 1, ACCESS_READ));
	guest_close(&g);
}

static void test_read_modify_write(void **state)
{
	struct guest g = in_mode(0);
	struct rmw m;
	uint32_t *p, value;

	(void)state;
	map_page(&g, PAGE_B, 0x40000 | PTE_P | PTE_W);
	p = mem_rmw_begin(g.c, DS, PAGE_A, 4, &m);
	assert_ptr_equal(p, g.ram + PAGE_A);
	*p += 5;
	assert_true(mem_rmw_end(g.c, &m));
	p = mem_rmw_begin(g.c, DS, PAGE_B - 2, 4, &m);
	assert_true(m.bounced);
	assert_int_equal(*p, 0);
	*p = 0x04030201;
	assert_true(mem_rmw_end(g.c, &m));
	assert_true(mem_load32(g.c, DS, PAGE_B - 2, &value));
	assert_int_equal(value, 0x04030201);
	assert_int_equal(g.ram[0x40000], 3);
	map_page(&g, PAGE_B, 0x40000 | PTE_P); /* CR0.WP is set */
	assert_null(mem_rmw_begin(g.c, DS, PAGE_B - 2, 4, &m));
	assert_int_equal(g.c->fault.error, PF_P | PF_W);
	assert_int_equal(g.c->fault.cr2, PAGE_B);
	guest_close(&g);
}

/* --- a locked access to memory and a device --- */

/* A register of 32 bits. While it is accessed another vCPU's LOCK ADD reaches the memory beside it:
 * that is done here, at the worst of times. */
struct beside {
	struct device dev;
	uint32_t value;
	uint32_t *memory;
};

static void disturb(struct beside *b, uint32_t add)
{
	/* Who waits for a device keeps nobody from running. */
	assert_false(atomic_load(&b->dev.vm->gate.closed));
	__atomic_fetch_add(b->memory, add, __ATOMIC_SEQ_CST);
}

static uint64_t beside_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct beside *b = (struct beside *)dev;

	(void)region;
	(void)off;
	assert_int_equal(size, 4);
	disturb(b, 0x100);
	return b->value;
}

static void beside_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			 uint64_t value)
{
	struct beside *b = (struct beside *)dev;

	(void)region;
	(void)off;
	assert_int_equal(size, 4);
	disturb(b, 0x10000);
	b->value = (uint32_t)value;
}

static const struct device_ops beside_ops = { .type = "beside",
					      .read = beside_read,
					      .write = beside_write };

/* The memory ends where the device begins, or the other way round. */
static void locked_halves(bool device_first)
{
	struct vm_config config = { .engine = &interp_ops, .vcpus = 2 };
	struct guest g = guest_open_config(&config);
	uint64_t device = device_first ? DEVICE + PAGE_SIZE - 4 : DEVICE;
	struct beside b = {
		.dev = {.ops = &beside_ops, .id = "beside", .vm = g.vm},
                  .value = 10
	};
	struct x86_state s = guest_state64(0, GUEST_CODE);
	uint64_t closings;

	guest_tables(&g);
	assert_int_equal(bus_claim(&g.vm->mmio, &b.dev, 0, device, device + 3, NULL), 0);
	b.memory = (uint32_t *)(void *)(g.ram + (device_first ? PAGE_B : PAGE_B - 4));
	*b.memory = 20;
	map_page(&g, device_first ? PAGE_A : PAGE_B, DEVICE | PTE_P | PTE_W);
	memcpy(g.ram + GUEST_CODE, "\xf0\x48\x01\x03", 4); /* lock add [rbx], rax */
	s.gpr[RBX] = PAGE_B - 4;
	s.gpr[RAX] = UINT64_C(0x300000003);
	guest_set(&g, &s);
	closings = atomic_load(&g.vm->gate.closings);
	gate_enter(g.vcpu);
	guest_run(&g, 1); /* closing the gate has set its notice */
	gate_leave(g.vcpu);
	assert_int_equal(b.value, 13);
	assert_int_equal(*b.memory, 0x10100 + 23);
	assert_int_equal(atomic_load(&g.vm->gate.closings) - closings, 1);
	guest_close(&g);
}

static void test_locked_memory_and_device(void **state)
{
	(void)state;
	locked_halves(false);
	locked_halves(true);
}

static void test_alignment_check(void **state)
{
	struct guest g = in_mode(3);
	struct x86_state s = guest_state64(3, GUEST_CODE);
	uint64_t value;
	uint8_t byte;

	(void)state;
	assert_true(mem_load64(g.c, DS, PAGE_A + 1, &value));
	s.cr0 |= CR0_AM;
	s.rflags |= FLAG_AC;
	guest_set(&g, &s);
	assert_true(mem_load64(g.c, DS, PAGE_A, &value));
	assert_true(mem_load8(g.c, DS, PAGE_A + 1, &byte));
	assert_false(mem_load64(g.c, DS, PAGE_A + 4, &value));
	assert_int_equal(g.c->fault.vector, VEC_AC);
	assert_false(mem_store64(g.c, FS, PAGE_A + 1, value));
	assert_int_equal(g.c->fault.vector, VEC_AC);
	assert_true(mem_read_system(g.c, PAGE_A + 1, &value, 8));
	/* Across the end of canonical addresses #AC comes first, beyond it #GP. */
	assert_false(mem_load64(g.c, DS, UINT64_C(0x7ffffffffffd), &value));
	assert_int_equal(g.c->fault.vector, VEC_AC);
	assert_false(mem_load64(g.c, DS, UINT64_C(0x800000000001), &value));
	assert_int_equal(g.c->fault.vector, VEC_GP);
	guest_close(&g);
}

static void test_data_breakpoints(void **state)
{
	struct guest g = in_mode(0);
	struct x86_state s = guest_state64(0, GUEST_CODE);
	uint64_t value;

	(void)state;
	assert_true(mem_store64(g.c, DS, PAGE_A, 1)); /* in the TLB before it is watched */
	s.dr[1] = PAGE_A + 8;
	s.dr7 = 1u << 2 | 1u << 20 | 3u << 22; /* DR1: four bytes, writes */
	guest_set(&g, &s);
	for (int again = 0; again < 2; again++) {
		assert_true(mem_load64(g.c, DS, PAGE_A + 8, &value));
		assert_true(mem_store64(g.c, DS, PAGE_A + 12, 1));
		assert_true(mem_store64(g.c, DS, PAGE_A, 1));
		assert_false(g.c->db_hit);
		assert_true(mem_store8(g.c, DS, PAGE_A + 11, 1));
		assert_true(g.c->db_hit);
		assert_int_equal(g.c->db_bits, 2);
		g.c->db_hit = false;
		g.c->db_bits = 0;
		assert_true(mem_store64(g.c, DS, PAGE_A + 4, 1));
		assert_true(g.c->db_hit);
		g.c->db_hit = false;
		g.c->db_bits = 0;
	}
	s.dr7 = 0;
	guest_set(&g, &s);
	assert_true(mem_store8(g.c, DS, PAGE_A + 11, 1));
	assert_false(g.c->db_hit);
	guest_close(&g);
}

static void test_dirty_log(void **state)
{
	struct guest g = in_mode(0);
	struct mem_slot *slot = mem_find(&g.vm->mem, gpa(0));
	uint64_t bits[8] = { 0 };

	(void)state;
	mem_dirty_start(&g.vm->mem);
	assert_true(mem_store8(g.c, DS, PAGE_A, 1));
	assert_true(mem_store8(g.c, DS, PAGE_A, 2));
	mem_dirty_collect(&g.vm->mem, slot, bits);
	assert_true(bits[0] >> (PAGE_A >> PAGE_SHIFT) & 1);
	assert_false(bits[0] >> (PAGE_B >> PAGE_SHIFT) & 1);
	/* The walk's own writes to the page tables are in the log, too. */
	assert_true(bits[0] >> (GUEST_PT >> PAGE_SHIFT) & 1);
	mem_dirty_stop(&g.vm->mem);
	guest_close(&g);
}

static void test_runs(void **state)
{
	struct guest g = in_mode(0);
	uint64_t bytes = 0;
	bool told = false;

	(void)state;
	assert_null(mem_run(g.c, DS, PAGE_A + 16, &bytes, &told));
	assert_true(mem_store8(g.c, DS, PAGE_A + 16, 1));
	assert_ptr_equal(mem_run(g.c, DS, PAGE_A + 16, &bytes, &told), g.ram + PAGE_A + 16);
	assert_int_equal(bytes, PAGE_SIZE - 16);
	assert_false(told);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_and_store),
		cmocka_unit_test(test_accessed_and_dirty),
		cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_crossing_into_a_fault),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_real_mode_limit),
		cmocka_unit_test(test_rom_ignores_writes),
		cmocka_unit_test(test_devices_see_aligned_pieces),
		cmocka_unit_test(test_read_modify_write),
		cmocka_unit_test(test_locked_memory_and_device),
		cmocka_unit_test(test_alignment_check),
		cmocka_unit_test(test_data_breakpoints),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
