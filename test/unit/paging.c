/*
 * paging.c - tests of cpu/paging.c.
 *
 * The heart is the permission matrix: every form of paging and page size, with each right
 * taken away at each level, under every combination of the control bits, for every kind
 * of access, against may_access(), which says again, rule by rule, what SDM 4.6 says.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/paging.h"
#include "test/cmocka.h"

#define P      UINT64_C(1)
#define W      UINT64_C(2)
#define U      UINT64_C(4)
#define A      UINT64_C(0x20)
#define D      UINT64_C(0x40)
#define PS     UINT64_C(0x80)
#define G      UINT64_C(0x100)
#define NX     (UINT64_C(1) << 63)
#define BIT(n) (UINT64_C(1) << (n))

/* Physical memory: one page for each level's table, the root at 1000H. */
#define RAM_BYTES 0x6000
static _Alignas(4096) uint8_t ram[RAM_BYTES];
static unsigned changes;
static void (*on_change)(gpa_t at); /* another processor, acting when the walk writes */

static void *entry(void *arg, gpa_t at, unsigned size)
{
	(void)arg;
	assert_int_equal(at.v % size, 0);
	return at.v + size <= RAM_BYTES ? ram + at.v : NULL;
}

static void changed(void *arg, gpa_t at, unsigned size)
{
	(void)arg;
	(void)size;
	changes++;
	if (on_change)
		on_change(at);
}

static const struct walk_memory memory = { entry, changed, NULL };

/* The forms of paging with each page size. */
static const struct shape {
	const char *name;
	unsigned entry_bytes, levels; /* levels: tables in memory that lead to the page */
	unsigned page_shift;
	bool pae, lma;
	uint64_t address; /* linear */
	uint64_t page;    /* guest-physical */
} shapes[] = {
	{"32-bit 4 KiB",   4, 2, 12, false, false, 0x12345678,                   0x89abc000            },
	{ "32-bit 4 MiB",  4, 1, 22, false, false, 0x12345678,                   0x89800000            },
	{ "PAE 4 KiB",     8, 2, 12, true,  false, 0xd2345678,                   UINT64_C(0x2123456000)},
	{ "PAE 2 MiB",     8, 1, 21, true,  false, 0xd2345678,                   UINT64_C(0x2123400000)},
	{ "4-level 4 KiB", 8, 4, 12, true,  true,  UINT64_C(0xffff923456789abc),
         UINT64_C(0x2123456789000) & (BIT(46) - 1)						     },
	{ "4-level 2 MiB", 8, 3, 21, true,  true,  UINT64_C(0x0000123456789abc),
         UINT64_C(0x212345600000)								      },
	{ "4-level 1 GiB", 8, 2, 30, true,  true,  UINT64_C(0x0000123456789abc),
         UINT64_C(0x212340000000)								      },
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

static struct x86_state s;

/* Guest-physical address of the entry of level `n` (0: root) for the shape's address. */
static uint64_t entry_at(const struct shape *h, unsigned n)
{
	unsigned bits = h->entry_bytes == 4 ? 10 : 9;
	unsigned top = h->lma ? 39 : h->pae ? 21 : 22;
	uint64_t index = h->address >> (top - bits * n) & ((1u << bits) - 1);

	return 0x1000 * (n + 1) + index * h->entry_bytes;
}

static uint64_t get(const struct shape *h, unsigned n)
{
	uint64_t value = 0;

	memcpy(&value, ram + entry_at(h, n), h->entry_bytes);
	return value;
}

static void put(const struct shape *h, unsigned n, uint64_t value)
{
	memcpy(ram + entry_at(h, n), &value, h->entry_bytes);
}

/* Maps the page with every right. NX allowed, WP set, nothing else. */
static void build(const struct shape *h)
{
	memset(ram, 0, sizeof ram);
	memset(&s, 0, sizeof s);
	s.cr0 = CR0_PE | CR0_PG | CR0_WP;
	s.cr4 = CR4_PSE | (h->pae ? CR4_PAE : 0);
	s.efer = EFER_NX | (h->lma ? EFER_LME | EFER_LMA : 0);
	s.cr3 = 0x1000;
	if (h->pae && !h->lma) {
		s.cr3 = 0x5000; /* not read: the walk uses the loaded PDPTEs */
		s.pdpte[h->address >> 30] = 0x1000 | P;
	}
	for (unsigned n = 0; n + 1 < h->levels; n++)
		put(h, n, 0x1000 * (n + 2) | P | W | U);
	put(h, h->levels - 1, h->page | P | W | U | (h->page_shift > 12 ? PS : 0));
	changes = 0;
	on_change = NULL;
}

static bool walk(const struct shape *h, enum access access, bool user, bool ac, struct walk *w)
{
	return page_walk(&s, &memory, gva(h->address), access, user, ac, w);
}

static uint32_t fault(const struct shape *h, enum access access, bool user)
{
	static uint8_t before[RAM_BYTES];
	struct walk w;

	memcpy(before, ram, sizeof ram);
	assert_false(walk(h, access, user, false, &w));
	assert_memory_equal(before, ram, sizeof ram);
	return w.error;
}

/* One row of the matrix. */
struct terms {
	bool us, rw, nx; /* of the translation as a whole */
	bool wp, smep, smap, nxe, ac, user, pke;
	bool ad, wd; /* PKRU for the page's key */
};

/* SDM vol. 3 4.6.1, one sentence a line; 4.6.2 for keys. */
static bool may_access(const struct shape *h, const struct terms *t, enum access access)
{
	bool keys = h->lma && t->pke && t->us;
	bool xd = h->entry_bytes == 8 && t->nxe && t->nx;

	if (t->user) {
		if (!t->us)
			return false;
		switch (access) {
		case ACCESS_READ: return !(keys && t->ad);
		case ACCESS_WRITE: return t->rw && !(keys && (t->ad || t->wd));
		default: return !xd;
		}
	}
	if (!t->us) {
		switch (access) {
		case ACCESS_READ: return true;
		case ACCESS_WRITE: return t->rw || !t->wp;
		default: return !xd;
		}
	}
	switch (access) {
	case ACCESS_READ: return (!t->smap || t->ac) && !(keys && t->ad);
	case ACCESS_WRITE:
		if (t->smap && !t->ac)
			return false;
		if (keys && (t->ad || (t->wd && t->wp)))
			return false;
		return t->rw || !t->wp;
	default: return !t->smep && !xd;
	}
}

static uint32_t expected_error(const struct shape *h, const struct terms *t, enum access access)
{
	bool key = h->lma && t->pke && t->us && access != ACCESS_EXEC &&
		   (t->ad || (access == ACCESS_WRITE && t->wd && (t->user || t->wp)));
	bool reserved = h->entry_bytes == 8 && t->nx && !t->nxe;
	uint32_t error = PF_P;

	if (access == ACCESS_WRITE)
		error |= PF_W;
	if (t->user)
		error |= PF_U;
	if (access == ACCESS_EXEC && ((h->pae && t->nxe) || t->smep))
		error |= PF_I;
	return error | (reserved ? PF_R : key ? PF_PK : 0);
}

static void configure(const struct shape *h, const struct terms *t, unsigned level)
{
	unsigned leaf = h->levels - 1;

	build(h);
	if (!t->us)
		put(h, level, get(h, level) & ~U);
	if (!t->rw)
		put(h, level, get(h, level) & ~W);
	if (t->nx && h->entry_bytes == 8)
		put(h, level, get(h, level) | NX);
	if (h->lma)
		put(h, leaf, get(h, leaf) | UINT64_C(5) << 59);
	s.cr0 = (s.cr0 & ~(uint64_t)CR0_WP) | (t->wp ? CR0_WP : 0);
	s.cr4 |= (t->smep ? CR4_SMEP : 0) | (t->smap ? CR4_SMAP : 0) | (t->pke ? CR4_PKE : 0);
	s.efer = (s.efer & ~(uint64_t)EFER_NX) | (t->nxe ? EFER_NX : 0);
	s.pkru = (t->ad ? 1u << 10 : 0) | (t->wd ? 2u << 10 : 0);
}

static void check_used(const struct shape *h, enum access access)
{
	for (unsigned n = 0; n < h->levels; n++) {
		bool leaf = n == h->levels - 1;

		assert_true(get(h, n) & A);
		assert_int_equal(!!(get(h, n) & D), leaf && access == ACCESS_WRITE);
	}
}

static void check_access(const struct shape *h, const struct terms *t, unsigned level,
			 enum access access)
{
	static uint8_t before[RAM_BYTES];
	bool reserved = h->entry_bytes == 8 && t->nx && !t->nxe;
	bool expect = !reserved && may_access(h, t, access);
	struct walk w;
	bool granted;

	configure(h, t, level);
	memcpy(before, ram, sizeof ram);
	granted = walk(h, access, t->user, t->ac, &w);
	if (granted != expect)
		print_error("%s level %u access %u: us %d rw %d nx %d wp %d smep %d smap %d nxe %d "
			    "ac %d user %d pke %d ad %d wd %d\n",
			    h->name, level, access, t->us, t->rw, t->nx, t->wp, t->smep, t->smap,
			    t->nxe, t->ac, t->user, t->pke, t->ad, t->wd);
	assert_int_equal(granted, expect);
	if (!expect) {
		assert_int_equal(w.error, expected_error(h, t, access));
		assert_memory_equal(before, ram, sizeof ram);
		return;
	}
	assert_int_equal(w.gpa.v, h->page | (h->address & (BIT(h->page_shift) - 1)));
	assert_int_equal(w.page_bytes, BIT(h->page_shift));
	assert_int_equal(w.readable, may_access(h, t, ACCESS_READ));
	assert_int_equal(w.executable, may_access(h, t, ACCESS_EXEC));
	assert_int_equal(w.writable, access == ACCESS_WRITE);
	assert_int_equal(w.pkru_bits, h->lma && t->us && t->pke ? 3u << 10 : 0);
	check_used(h, access);
	/* D is set now, as another processor's write would have left it */
	put(h, h->levels - 1, get(h, h->levels - 1) | D);
	assert_true(walk(h, access, t->user, t->ac, &w));
	assert_int_equal(w.writable, may_access(h, t, ACCESS_WRITE));
}

static void test_permission_matrix(void **state)
{
	(void)state;
	for (unsigned n = 0; n < SHAPES; n++) {
		for (unsigned level = 0; level < shapes[n].levels; level++) {
			for (unsigned bits = 0; bits < 1u << 12; bits++) {
				struct terms t = {
					.us = bits & 1,
					.rw = bits & 2,
					.nx = bits & 4,
					.wp = bits & 8,
					.smep = bits & 0x10,
					.smap = bits & 0x20,
					.nxe = bits & 0x40,
					.ac = bits & 0x80,
					.user = bits & 0x100,
					.pke = bits & 0x200,
					.ad = bits & 0x400,
					.wd = bits & 0x800,
				};

				for (unsigned k = 0; k < ACCESS_COUNT; k++)
					check_access(&shapes[n], &t, level, k);
			}
		}
	}
}

/* P clear at each level, also with reserved bits set: those do not matter then. */
static void test_not_present(void **state)
{
	(void)state;
	for (unsigned n = 0; n < SHAPES; n++) {
		const struct shape *h = &shapes[n];

		for (unsigned level = 0; level < h->levels; level++) {
			build(h);
			put(h, level, get(h, level) & ~P);
			assert_int_equal(fault(h, ACCESS_READ, false), 0);
			assert_int_equal(fault(h, ACCESS_WRITE, true), PF_W | PF_U);
			assert_int_equal(fault(h, ACCESS_EXEC, true), PF_U | (h->pae ? PF_I : 0));
			s.efer &= ~(uint64_t)EFER_NX;
			assert_int_equal(fault(h, ACCESS_EXEC, false), 0);
			s.cr4 |= CR4_SMEP;
			assert_int_equal(fault(h, ACCESS_EXEC, false), PF_I);
			put(h, level, ~P);
			assert_int_equal(fault(h, ACCESS_READ, false), 0);
		}
	}
}

/* The reserved bits of a present entry, from SDM figures 4-4, 4-7, 4-11 (MAXPHYADDR 46, NXE). */
static uint64_t reserved_of(const struct shape *h, unsigned level)
{
	bool leaf = level == h->levels - 1;

	if (h->entry_bytes == 4)
		return h->page_shift == 22 ? BIT(21) : 0;
	if (!h->lma) /* PAE: 62:46, and 20:13 in a 2-MiB PDE */
		return UINT64_C(0x7fffc00000000000) | (leaf && h->page_shift == 21 ? 0x1fe000 : 0);
	if (level == 0)
		return UINT64_C(0x000fc00000000000) | PS;
	if (leaf && h->page_shift == 21)
		return UINT64_C(0x000fc00000000000) | 0x1fe000;
	if (leaf && h->page_shift == 30)
		return UINT64_C(0x000fc00000000000) | 0x3fffe000;
	return UINT64_C(0x000fc00000000000);
}

static void test_reserved_bits(void **state)
{
	(void)state;
	for (unsigned n = 0; n < SHAPES; n++) {
		const struct shape *h = &shapes[n];

		for (unsigned level = 0; level < h->levels; level++) {
			bool leaf = level == h->levels - 1;

			for (unsigned bit = 9; bit < h->entry_bytes * 8; bit++) {
				struct walk w;

				if (!leaf && bit >= 12 && bit < 46)
					continue; /* address of the next table */
				build(h);
				put(h, level, get(h, level) | BIT(bit));
				if (reserved_of(h, level) >> bit & 1)
					assert_int_equal(fault(h, ACCESS_WRITE, true),
							 PF_P | PF_W | PF_U | PF_R);
				else
					assert_true(walk(h, ACCESS_READ, true, false, &w));
			}
		}
	}
}

static void test_ps_in_root_is_reserved(void **state)
{
	(void)state;
	build(&shapes[4]);
	put(&shapes[4], 0, get(&shapes[4], 0) | PS);
	assert_int_equal(fault(&shapes[4], ACCESS_READ, false), PF_P | PF_R);
}

/* A reserved bit above wins over anything below; rights are judged only on a whole walk. */
static void test_fault_order(void **state)
{
	const struct shape *h = &shapes[4];

	(void)state;
	build(h);
	put(h, 1, get(h, 1) | BIT(50));
	put(h, 2, 0);
	assert_int_equal(fault(h, ACCESS_READ, true), PF_P | PF_R | PF_U);
	build(h);
	put(h, 1, get(h, 1) & ~U);
	put(h, 3, 0);
	assert_int_equal(fault(h, ACCESS_READ, true), PF_U);
}

static void test_pse36(void **state)
{
	const struct shape *h = &shapes[1];
	struct walk w;

	(void)state;
	build(h);
	put(h, 0, UINT64_C(0x00c00000) | 0xa5u << 13 | PS | P | W | U);
	assert_true(walk(h, ACCESS_READ, false, false, &w));
	assert_int_equal(w.gpa.v, UINT64_C(0xa500c00000) | (h->address & 0x3fffff));
}

static void test_pse_off_ignores_ps(void **state)
{
	const struct shape *h = &shapes[0];
	struct walk w;

	(void)state;
	build(h);
	s.cr4 = 0;
	put(h, 0, get(h, 0) | PS);
	assert_true(walk(h, ACCESS_READ, false, false, &w));
	assert_int_equal(w.page_bytes, PAGE_SIZE);
	assert_int_equal(w.gpa.v, h->page | (h->address & 0xfff));
}

static void test_pat_bit_of_pte_is_not_ps(void **state)
{
	struct walk w;

	(void)state;
	for (unsigned n = 0; n < SHAPES; n++) {
		if (shapes[n].page_shift != 12)
			continue;
		build(&shapes[n]);
		put(&shapes[n], shapes[n].levels - 1, get(&shapes[n], shapes[n].levels - 1) | PS);
		assert_true(walk(&shapes[n], ACCESS_READ, true, false, &w));
		assert_int_equal(w.page_bytes, PAGE_SIZE);
	}
}

static void test_no_paging(void **state)
{
	struct walk w;

	(void)state;
	memset(&s, 0, sizeof s);
	s.cr0 = CR0_PE;
	assert_true(page_walk(&s, &memory, gva(0xfedcba98), ACCESS_WRITE, true, false, &w));
	assert_int_equal(w.gpa.v, 0xfedcba98);
	assert_int_equal(w.page_bytes, 1 << 30);
	assert_true(w.readable && w.writable && w.executable && !w.global);
}

static void test_global(void **state)
{
	struct walk w;

	(void)state;
	for (unsigned n = 0; n < SHAPES; n++) {
		const struct shape *h = &shapes[n];

		build(h);
		for (unsigned level = 0; level + 1 < h->levels; level++)
			put(h, level, get(h, level) | G);
		s.cr4 |= CR4_PGE;
		assert_true(walk(h, ACCESS_READ, false, false, &w));
		assert_false(w.global); /* G counts in the leaf only */
		put(h, h->levels - 1, get(h, h->levels - 1) | G);
		assert_true(walk(h, ACCESS_READ, false, false, &w));
		assert_true(w.global);
		s.cr4 &= ~(uint64_t)CR4_PGE;
		assert_true(walk(h, ACCESS_READ, false, false, &w));
		assert_false(w.global);
	}
}

static void test_cr3_low_bits_are_no_address(void **state)
{
	struct walk w;

	(void)state;
	build(&shapes[4]);
	s.cr3 |= 0xfff; /* PCID */
	assert_true(walk(&shapes[4], ACCESS_READ, false, false, &w));
	build(&shapes[0]);
	s.cr3 |= 0x18; /* PWT, PCD */
	assert_true(walk(&shapes[0], ACCESS_READ, false, false, &w));
}

/* Tables outside memory read as all-ones. */
static void test_tables_not_in_ram(void **state)
{
	struct walk w;

	(void)state;
	build(&shapes[4]);
	put(&shapes[4], 0, UINT64_C(0x3fffffff000) | P | W | U);
	assert_int_equal(fault(&shapes[4], ACCESS_READ, false), PF_P | PF_R);
	build(&shapes[0]);
	s.cr3 = 0xfffff000;
	assert_int_equal(fault(&shapes[0], ACCESS_READ, false),
			 PF_P | PF_R); /* 4-MiB PDE, bit 21 */
	s.cr4 = 0;
	assert_true(walk(&shapes[0], ACCESS_WRITE, true, false, &w)); /* all-ones PTE */
	assert_int_equal(w.gpa.v, 0xfffff000 | (shapes[0].address & 0xfff));
	assert_int_equal(changes, 0);
}

static void test_changed_told_once(void **state)
{
	struct walk w;

	(void)state;
	build(&shapes[4]);
	assert_true(walk(&shapes[4], ACCESS_READ, false, false, &w));
	assert_int_equal(changes, 4);
	assert_true(walk(&shapes[4], ACCESS_READ, false, false, &w));
	assert_int_equal(changes, 4);
	assert_true(walk(&shapes[4], ACCESS_WRITE, false, false, &w));
	assert_int_equal(changes, 5);
}

static void leaf_becomes_read_only(gpa_t at)
{
	if (at.v == entry_at(&shapes[4], 0))
		put(&shapes[4], 3, get(&shapes[4], 3) & ~W);
}

static void leaf_becomes_accessed(gpa_t at)
{
	if (at.v == entry_at(&shapes[4], 0))
		put(&shapes[4], 3, get(&shapes[4], 3) | A | BIT(9));
}

static void leaf_goes(gpa_t at)
{
	if (at.v == entry_at(&shapes[0], 0))
		put(&shapes[0], 1, 0);
}

/* Another processor changes the leaf between the walk's reading and its setting A and D. */
static void test_lost_race_walks_again(void **state)
{
	const struct shape *h = &shapes[4];
	struct walk w;

	(void)state;
	build(h);
	on_change = leaf_becomes_read_only;
	assert_false(walk(h, ACCESS_WRITE, true, false, &w));
	assert_int_equal(w.error, PF_P | PF_W | PF_U);
	assert_int_equal(get(h, 3) & (A | D), 0);
	build(h);
	on_change = leaf_becomes_accessed;
	assert_true(walk(h, ACCESS_WRITE, true, false, &w));
	assert_int_equal(get(h, 3) & (A | D | BIT(9)), A | D | BIT(9)); /* nothing is lost */
	build(&shapes[0]);
	on_change = leaf_goes;
	assert_false(walk(&shapes[0], ACCESS_READ, false, false, &w));
	assert_int_equal(w.error, 0);
	assert_int_equal(get(&shapes[0], 1), 0);
}

static uint64_t random_bits(void)
{
	return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
}

/* The bits, by their position in a byte, in which memory differs. */
static unsigned changed_bits(const uint8_t *before)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < RAM_BYTES; i++)
		bits |= ram[i] ^ before[i];
	return bits;
}

/* Tables of noise that point at each other: the walk ends, and changes A and D bits at most. */
static void test_hostile_tables(void **state)
{
	static uint8_t before[RAM_BYTES];
	unsigned granted = 0;

	(void)state;
	srand(3);
	on_change = NULL;
	for (unsigned n = 0; n < 1500; n++) {
		const struct shape *h = &shapes[(unsigned)rand() % SHAPES];
		struct walk w;

		build(h);
		for (unsigned i = 0; i < RAM_BYTES / 8; i++) {
			uint64_t e = random_bits() & random_bits() & random_bits();

			e = (e & ~UINT64_C(0x3fffffff8000)) | (rand() % 8 ? 7 : 0);
			memcpy(ram + i * 8, &e, 8);
		}
		s.cr4 |= random_bits() & (CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PGE);
		s.pkru = (uint32_t)random_bits();
		s.cr3 = 0x1000 * (random_bits() % 7);
		memcpy(before, ram, sizeof ram);
		if (page_walk(&s, &memory, gva(random_bits()), rand() % ACCESS_COUNT, rand() & 1,
			      rand() & 1, &w)) {
			granted++;
			assert_true(w.gpa.v < BIT(46));
			assert_true(w.page_bytes >= PAGE_SIZE && w.page_bytes <= BIT(30));
		}
		assert_int_equal(changed_bits(before) & ~(A | D), 0);
	}
	assert_true(granted > 75);
}

static void test_pae_absent_pdpte(void **state)
{
	(void)state;
	build(&shapes[2]);
	s.pdpte[3] = 0;
	assert_int_equal(fault(&shapes[2], ACCESS_WRITE, true), PF_W | PF_U);
}

static void test_load_pdpte(void **state)
{
	static const uint64_t good[4] = { 0x1000 | P, 0x2000 | P | BIT(3) | BIT(4) | 0xe00, ~P,
					  UINT64_C(0x3fffffffe000) | P };

	(void)state;
	memset(&s, 0, sizeof s);
	memset(ram, 0, sizeof ram);
	memcpy(ram + 0x2fe0, good, sizeof good);
	assert_true(page_load_pdpte(&s, &memory, UINT64_C(0xabc00002fe0) | 0x1f, PAGING_PHYS_BITS));
	assert_memory_equal(s.pdpte, good, sizeof good);
	for (unsigned bit = 0; bit < 64; bit++) {
		bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 46;
		uint64_t bad = (good[3] ^ P) | P | BIT(bit);

		memcpy(ram + 0x2fe0 + 24, &bad, 8);
		memset(s.pdpte, 0x11, sizeof s.pdpte);
		assert_int_equal(page_load_pdpte(&s, &memory, 0x2fe0, PAGING_PHYS_BITS), !reserved);
		if (reserved) /* all or nothing */
			assert_int_equal(s.pdpte[0], UINT64_C(0x1111111111111111));
	}
	assert_false(page_load_pdpte(&s, &memory, 0xffffffe0, PAGING_PHYS_BITS)); /* no RAM */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_permission_matrix),
		cmocka_unit_test(test_not_present),
		cmocka_unit_test(test_reserved_bits),
		cmocka_unit_test(test_ps_in_root_is_reserved),
		cmocka_unit_test(test_fault_order),
		cmocka_unit_test(test_pse36),
		cmocka_unit_test(test_pse_off_ignores_ps),
		cmocka_unit_test(test_pat_bit_of_pte_is_not_ps),
		cmocka_unit_test(test_no_paging),
		cmocka_unit_test(test_global),
		cmocka_unit_test(test_cr3_low_bits_are_no_address),
		cmocka_unit_test(test_tables_not_in_ram),
		cmocka_unit_test(test_changed_told_once),
		cmocka_unit_test(test_lost_race_walks_again),
		cmocka_unit_test(test_hostile_tables),
		cmocka_unit_test(test_pae_absent_pdpte),
		cmocka_unit_test(test_load_pdpte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
