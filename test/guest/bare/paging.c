/*
 * paging.c - every combination of page rights, control bits and kinds of access, against the rules
 * of SDM vol. 3 4.6 and 4.7 written down a second time here: fault or not, error code, A and D.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

#define PHYS   UINT64_C(0x600000)
#define TARGET (UINT64_C(1) << 39)
#define USER   (UINT64_C(2) << 39)
#define KEY1   (UINT64_C(1) << 59)

enum access { READ, WRITE, EXEC };

static uint64_t t3[512] __attribute__((aligned(4096))), t2[512] __attribute__((aligned(4096))),
	t1[512] __attribute__((aligned(4096))), u3[512] __attribute__((aligned(4096))),
	u2[512] __attribute__((aligned(4096))), u1[512] __attribute__((aligned(4096)));

/* What is tried; the first mismatch is kept for the report. */
struct setup {
	uint64_t *leaf, address;
	uint64_t upper, rights; /* U, W, NX */
	bool wp, smep, smap, pke, ac;
	uint32_t pkru;
	bool user;
	enum access access;
};

static bool faulted;
static uint64_t fault_error, fault_address;
static unsigned cases, wrong;
static struct setup first;
static uint64_t first_got, first_expected;

static bool has_smep, has_smap, has_pku, has_1g;

void leave_user(void);

static bool on_fault(struct frame *f)
{
	if (f->vector != 14)
		return false;
	faulted = true;
	fault_error = f->error;
	fault_address = read_cr2();
	if (f->cs & 3) {
		__asm__ volatile("jmp leave_user");
		__builtin_unreachable();
	}
	f->rip = resume_at;
	return true;
}

/* 0: allowed; else the error code, with P, which every denial has. */
static uint64_t expected(const struct setup *s)
{
	bool user_page = s->rights & s->upper & PTE_U, writable = s->rights & s->upper & PTE_W;
	bool nx = s->rights & PTE_NX, write = s->access == WRITE;
	bool key = s->pke && user_page && s->access != EXEC &&
		   ((s->pkru & 4) || (write && (s->pkru & 8) && (s->user || s->wp)));
	bool deny = key;

	if (s->user && !user_page)
		deny = true;
	else if (s->access == EXEC)
		deny = nx || (!s->user && user_page && s->smep);
	else if (!s->user && user_page && s->smap && !s->ac)
		deny = true;
	else if (write && !writable && (s->user || s->wp))
		deny = true;
	if (!deny)
		return 0;
	return 1 | (write ? 2 : 0) | (s->user ? 4 : 0) | (s->access == EXEC ? 16 : 0) |
	       (key ? 32 : 0);
}

static void access_kernel(const struct setup *s)
{
	uint64_t at = s->address;

	if (s->ac)
		__asm__ volatile("pushfq\norq $0x40000, (%rsp)\npopfq");
	switch (s->access) {
	case READ: PROBE("movb 64(%0), %%al", : : "r"(at) : "rax", "memory"); break;
	case WRITE: PROBE("movb $7, 64(%0)", : : "r"(at) : "memory"); break;
	case EXEC:
		__asm__ volatile("movq %%rsp, %%rbx\nmovq $1f, resume_at(%%rip)\ncall *%0\n"
				 "1: movq %%rbx, %%rsp\nmovq $0, resume_at(%%rip)"
				 :
				 : "r"(at)
				 : "rbx", "memory");
		break;
	}
	__asm__ volatile("pushfq\nandq $~0x40000, (%rsp)\npopfq");
}

/* The stubs at USER: load, store, jump; each takes its address from the quadword at 0x100. */
static void access_user(const struct setup *s)
{
	*(volatile uint64_t *)(PHYS + 0x1100) =
		s->access == EXEC ? s->address + 16 : s->address + 64;
	enter_user(USER + 32u * s->access, 0x2b, 2);
}

static void put_user_stubs(void)
{
	static const uint8_t code[3][16] = {
		{0x48,  0x8b, 0x05, 0xf9, 0x00, 0x00,    0x00, 0x8a, 0x08, 0xcd, 0x80 },
		{ 0x48, 0x8b, 0x05, 0xd9, 0x00,    0x00,       0x00, 0xc6, 0x00, 0x07, 0xcd, 0x80 },
		{ 0xff, 0x25, 0xba, 0x00, 0x00,0x00},
	};
	volatile uint8_t *page = (volatile uint8_t *)(PHYS + 0x1000);

	for (unsigned n = 0; n < 3; n++)
		for (unsigned k = 0; k < 16; k++)
			page[32 * n + k] = code[n][k];
	page = (volatile uint8_t *)PHYS;
	page[0] = 0xc3; /* ring 0: RET */
	page[16] = 0xcd;
	page[17] = 0x80;
}

static void set_cr4(const struct setup *s)
{
	uint64_t cr4 = read_cr4() & ~UINT64_C(0x700000);

	write_cr4(cr4 | (s->smep ? 1u << 20 : 0) | (s->smap ? 1u << 21 : 0) |
		  (s->pke ? 1u << 22 : 0));
	if (s->pke)
		__asm__ volatile(".byte 0x0f, 0x01, 0xef"
				 :
				 : "a"(s->pkru), "c"(0), "d"(0)); /* WRPKRU */
	write_cr0((read_cr0() & ~UINT64_C(0x10000)) | (s->wp ? 0x10000 : 0));
}

static void try(const struct setup *s)
{
	uint64_t want = expected(s), got, used, leaf = *s->leaf & ~(PTE_A | PTE_D);

	*(volatile uint64_t *)s->leaf = leaf;
	flush_tlb();
	faulted = false;
	if (s->user)
		access_user(s);
	else
		access_kernel(s);
	got = faulted ? fault_error : 0;
	used = *(volatile uint64_t *)s->leaf & (PTE_A | PTE_D);
	cases++;
	if (got == want &&
	    used == (want                 ? 0
		     : s->access == WRITE ? PTE_A | PTE_D
					  : PTE_A) &&
	    (!want || fault_address == s->address + (s->access != EXEC ? 64
						     : s->user         ? 16
								       : 0)))
		return;
	if (!wrong++) {
		first = *s;
		first_got = got | used << 8;
		first_expected = want;
	}
}

static void accesses(struct setup *s)
{
	for (unsigned user = 0; user < 2; user++)
		for (unsigned access = READ; access <= EXEC; access++) {
			s->user = user;
			s->access = (enum access)access;
			try(s);
		}
}

static void controls(struct setup *s)
{
	static const uint32_t keys[] = { 0, 4, 8 };

	for (unsigned bits = 0; bits < 16; bits++) {
		s->wp = bits & 1;
		s->smep = bits & 2;
		s->smap = bits & 4;
		s->ac = bits & 8;
		if ((s->smep && !has_smep) || (s->smap && !has_smap))
			continue;
		for (unsigned key = 0; key < 3; key++) {
			s->pke = has_pku;
			s->pkru = keys[key];
			set_cr4(s);
			accesses(s);
			if (!has_pku)
				break;
		}
	}
}

static void matrix(const char *name, uint64_t *leaf, uint64_t value, uint64_t address)
{
	struct setup s = { .leaf = leaf, .address = address };

	cases = wrong = 0;
	for (unsigned n = 0; n < 32; n++) {
		s.rights = (n & 1 ? PTE_U : 0) | (n & 2 ? PTE_W : 0) | (n & 4 ? PTE_NX : 0);
		s.upper = (n & 8 ? 0 : PTE_U) | (n & 16 ? 0 : PTE_W);
		*leaf = value | s.rights | KEY1 | PTE_P;
		pml4[1] = (uint64_t)t3 | s.upper | PTE_P;
		controls(&s);
	}
	CHECK(name, wrong, 0);
	if (wrong) {
		put("first: rights ");
		put_hex(first.rights | first.upper << 8);
		put(" wp smep smap ac ");
		put_hex(first.wp * 0x1000u + first.smep * 0x100u + first.smap * 0x10u + first.ac);
		put(first.user ? " user" : " kernel");
		put(first.access == READ ? " read" : first.access == WRITE ? " write" : " exec");
		put(" pkru ");
		put_hex(first.pkru);
		put(": got ");
		put_hex(first_got);
		put(", not ");
		put_hex(first_expected);
		put("\n");
	}
}

static void cpuid(uint32_t leaf, uint32_t *b, uint32_t *c, uint32_t *d)
{
	uint32_t a = leaf;

	*c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(*b), "+c"(*c), "=d"(*d));
}

void test_main(void)
{
	uint32_t b, c, d;

	cpuid(7, &b, &c, &d);
	has_smep = b >> 7 & 1;
	has_smap = b >> 20 & 1;
	has_pku = c >> 3 & 1;
	cpuid(0x80000001, &b, &c, &d);
	has_1g = d >> 26 & 1;
	on_trap = on_fault;
	put_user_stubs();
	pml4[2] = (uint64_t)u3 | 7;
	u3[0] = (uint64_t)u2 | 7;
	u2[0] = (uint64_t)u1 | 7;
	u1[0] = (PHYS + 0x1000) | 7;
	t3[0] = (uint64_t)t2 | 7;
	t2[0] = (uint64_t)t1 | 7;
	matrix("rights of 4 KiB pages", &t1[0], PHYS, TARGET);
	matrix("rights of 2 MiB pages", &t2[1], PHYS | PTE_PS, TARGET + 0x200000);
	if (has_1g)
		matrix("rights of 1 GiB pages", &t3[1], PTE_PS, TARGET + 0x40000000 + PHYS);
}
