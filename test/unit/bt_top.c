/*
 * bt_top.c - 32-bit code around 4 GiB, where addresses start again: lockstep of translator and
 * interpreter.
 *
 * The last page of the 32-bit address space and the first call and jump into one another, and
 * straight code leads from one to the other. With the stack there, too, it overwrites code.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/unit/lockstep.h"

#define TOP_PD   0x180000
#define TOP_PT   0x181000
#define TOP_PAGE 0x182000
#define TOP      0xfffff000u

static void put_at(struct guest *g, uint64_t at, const void *bytes, unsigned count)
{
	memcpy(g->ram + at, bytes, count);
}
#define PUT_AT(g, at, ...)                                                                         \
	put_at(g, at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Straight code, jumps, calls and returns across 4 GiB. */
static void top_page(struct guest *g, bool call_at_end)
{
	memset(g->ram + TOP_PAGE + 0xff0, 0x43, 16); /* inc ebx, off the end */
	PUT_AT(g, TOP_PAGE + 0xf00, 0x42, 0xc3);     /* inc edx; ret */
	if (call_at_end)                             /* call ffffff00h, which returns to 0 */
		PUT_AT(g, TOP_PAGE + 0xffb, 0xe8, 0x00, 0xff, 0xff, 0xff);
	PUT_AT(g, TOP_PAGE + 0xfe0, 0xe9, 0x1b, 0, 0, 0);                   /* jmp 0 */
	PUT_AT(g, TOP_PAGE + 0xfd0, 0x39, 0xdb, 0x0f, 0x84, 0x28, 0, 0, 0); /* jz 0 */
	PUT_AT(g, TOP_PAGE + 0xfc0, 0xe8, 0x3b, 0, 0, 0, 0xc3);             /* call 0 */
	PUT_AT(g, 0, 0x41, 0xc3);                                           /* inc ecx; ret */
	PUT_AT(g, 0x10, 0xe9, 0xeb, 0xfe, 0xff, 0xff);                      /* jmp ffffff00h */
}

static void top_program(struct guest *g)
{
	static const uint32_t to[] = { TOP + 0xff0, TOP + 0xfe0, TOP + 0xfd0,
				       TOP + 0xfc0, TOP + 0xffb, 0x10 };
	struct code e = { g->ram + GUEST_CODE };

	for (unsigned n = 0; n < sizeof(to) / sizeof(to[0]); n++) {
		code8(&e, 0xb8); /* mov eax, to; call eax */
		code32(&e, to[n]);
		CODE(&e, 0xff, 0xd0);
		code8(&e, 0xe8); /* call to, by 32 bits */
		code32(&e, to[n] - (uint32_t)(e.at + 4 - g->ram));
	}
	CODE(&e, 0x4d, 0x74, 2, 0xeb); /* dec ebp; jz over the jump */
	code8(&e, (uint8_t)(GUEST_CODE - 1 - (e.at - g->ram)));
	code8(&e, 0xf4);
}

static void test_top(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 8; n++) {
		struct pair p = pair_open("4 GiB", true, n & 2 ? TORTURE(FLUSH) : 0, 0);
		struct x86_state s = guest_state64(0, GUEST_CODE);

		p.chance = n + 1;
		guest_tables(&p.a);
		top_page(&p.a, n & 1);
		top_program(&p.a);
		guest_put64(&p.a, GUEST_PDPT + 3 * 8, TOP_PD | PTE_P | PTE_W);
		guest_put64(&p.a, TOP_PD + 511 * 8, TOP_PT | PTE_P | PTE_W);
		guest_put64(&p.a, TOP_PT + 511 * 8, TOP_PAGE | PTE_P | PTE_W);
		s.seg[CS].attr ^= SEG_L | SEG_DB;
		s.gpr[RBP] = 150;
		s.gpr[RSP] = n & 4 ? 4 : GUEST_STACK;
		guest_put64(&p.a, TOP_PT + 510 * 8, 0);
		pair_set(&p, &s);
		(void)pair_run(&p, 20000);
		assert_in_range(pair_native(&p), n & 4 ? 0 : 20, UINT64_MAX);
		pair_close(&p);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_top),
};

int main(void)
{
	return cmocka_run_group_tests(tests, NULL, NULL);
}
