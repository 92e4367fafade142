/*
 * integer.c - tests of the integer, string and control instructions where the instruction
 * test (test/insn) cannot go: real mode, 16-bit stacks, BCD against values taken from
 * hardware, repeats that have to give way, counted random numbers, watched pages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/alu.h"
#include "engine/interp/bind.h"
#include "engine/interp/decode.h"
#include "test/unit/interp_guest.h"

#define DATA UINT64_C(0x20000)

/* A guest with memory but no code yet. */
static struct guest fresh(void)
{
	return guest_with("\xf4", 1);
}

/* Real mode with every segment at 0; an exception ends at an HLT of its own, see real_vector(). */
static struct x86_state real_state(struct guest *g, uint64_t ip)
{
	struct x86_state s;

	x86_state_reset(&s, true);
	memset(s.gpr, 0, sizeof(s.gpr));
	for (unsigned n = 0; n < SEG_COUNT; n++) {
		s.seg[n].base = 0;
		s.seg[n].selector = 0;
	}
	s.rip = ip;
	s.gpr[RSP] = 0x8000;
	for (unsigned v = 0; v < 32; v++) {
		uint32_t handler = 0x500 + v * 16;

		memcpy(g->ram + v * 4, &handler, 4);
		g->ram[handler] = 0xf4;
	}
	return s;
}

static int real_vector(const struct x86_state *s)
{
	return s->rip > 0x500 && s->rip <= 0x500 + 32 * 16 ? (int)(s->rip - 0x501) / 16 : -1;
}

/* Puts the code at s->rip with HLT after it and runs to an HLT. */
static struct x86_state run(struct guest *g, const struct x86_state *s, const void *code,
			    size_t bytes)
{
	/* Not into g->ram: the block cache has to know. */
	assert_int_equal(mem_write(&g->vm->mem, gpa(s->rip), code, bytes), 0);
	assert_int_equal(mem_write(&g->vm->mem, gpa(s->rip + bytes), "\xf4", 1), 0);
	guest_set(g, s);
	assert_int_equal(guest_run(g, 100000), EXIT_HLT);
	return guest_get(g);
}
#define RUN(g, s, text) run(g, s, text, sizeof(text) - 1)

/* AX, flags before and after, as an Intel processor has them in 32-bit code. */
static void test_bcd(void **state)
{
	static const struct {
		const char *code;
		size_t bytes;
		uint16_t ax, ax_after;
		uint32_t flags, flags_after;
	} rows[] = {
		{"\x37",      1, 0x00ff, 0x0205, 0x000, 0x015}, /* AAA */
		{ "\x37",     1, 0x0104, 0x0104, 0x8c1, 0x000}, /* AAA */
		{ "\x3f",     1, 0x0200, 0x000a, 0x010, 0x015}, /* AAS */
		{ "\x27",     1, 0x009a, 0x0000, 0x000, 0x055}, /* DAA */
		{ "\x27",     1, 0x0012, 0x0072, 0x001, 0x005}, /* DAA */
		{ "\x2f",     1, 0x0005, 0x00ff, 0x010, 0x095}, /* DAS */
		{ "\xd4\x0a", 2, 0x1163, 0x0909, 0x811, 0x004}, /* AAM */
		{ "\xd5\x0a", 2, 0x0909, 0x0063, 0x001, 0x014}, /* AAD */
	};
	struct guest g = fresh();

	(void)state;
	for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		struct x86_state s = real_state(&g, 0x1000);

		s.gpr[RAX] = rows[n].ax;
		s.rflags |= rows[n].flags;
		s = run(&g, &s, rows[n].code, rows[n].bytes);
		assert_int_equal(s.gpr[RAX], rows[n].ax_after);
		assert_int_equal(s.rflags & FLAG_ARITH, rows[n].flags_after);
	}
	guest_close(&g);
}

static void test_aam_by_zero(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000);

	(void)state;
	s.gpr[RAX] = 0x1234;
	s = RUN(&g, &s, "\xd4\x00");
	assert_int_equal(real_vector(&s), VEC_DE);
	assert_int_equal(s.gpr[RAX], 0x1234);
	guest_close(&g);
}

/* A 16-bit stack wraps at 64 KiB and leaves the rest of RSP alone. */
static void test_stack16(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000);

	(void)state;
	s.gpr[RSP] = 0xabcd0000;
	s.gpr[RAX] = 0x11112222;
	s = RUN(&g, &s, "\x50");
	assert_int_equal(s.gpr[RSP], 0xabcdfffe);
	assert_int_equal(g.ram[0xfffe] | g.ram[0xffff] << 8, 0x2222);
	/* push eax; pop ecx; pop dx */
	s.rip = 0x1000;
	s = RUN(&g, &s, "\x66\x50\x66\x59\x5a");
	assert_int_equal(s.gpr[RCX], 0x11112222);
	assert_int_equal(s.gpr[RDX], 0x2222);
	assert_int_equal(s.gpr[RSP], 0xabcd0000);
	guest_close(&g);
}

/* PUSHA stores the old SP; POPA skips it. */
static void test_push_all(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000), t;

	(void)state;
	for (unsigned n = 0; n < 8; n++)
		if (n != RSP)
			s.gpr[n] = 0x1111 * (n + 1);
	/* pusha; xor ax, ax; xor di, di; popa */
	t = RUN(&g, &s, "\x60\x31\xc0\x31\xff\x61");
	for (unsigned n = 0; n < 8; n++)
		assert_int_equal(t.gpr[n], s.gpr[n]);
	assert_int_equal(g.ram[0x8000 - 10] | g.ram[0x8000 - 9] << 8, 0x8000);
	guest_close(&g);
}

static void test_pop_to_stack_memory(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE);

	(void)state;
	s.gpr[RSP] = DATA;
	guest_put64(&g, DATA, 0x1122334455667788);
	/* pop qword [rsp]: the address is made with RSP after the pop */
	s = RUN(&g, &s, "\x8f\x04\x24");
	assert_int_equal(s.gpr[RSP], DATA + 8);
	assert_int_equal(guest_get64(&g, DATA + 8), 0x1122334455667788);
	/* push rsp: the old value; pop rsp: the loaded one */
	s.rip = GUEST_CODE;
	s = RUN(&g, &s, "\x54\x5c");
	assert_int_equal(s.gpr[RSP], DATA + 8);
	guest_close(&g);
}

static void test_enter_leave(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;

	(void)state;
	s.gpr[RSP] = DATA;
	s.gpr[RBP] = DATA + 0x100;
	guest_put64(&g, DATA + 0xf8, 0xf1);
	guest_put64(&g, DATA + 0xf0, 0xf2);
	/* enter 32, 3 */
	t = RUN(&g, &s, "\xc8\x20\x00\x03");
	assert_int_equal(guest_get64(&g, DATA - 8), DATA + 0x100);
	assert_int_equal(guest_get64(&g, DATA - 16), 0xf1);
	assert_int_equal(guest_get64(&g, DATA - 24), 0xf2);
	assert_int_equal(guest_get64(&g, DATA - 32), DATA - 8);
	assert_int_equal(t.gpr[RBP], DATA - 8);
	assert_int_equal(t.gpr[RSP], DATA - 64);
	t.rip = GUEST_CODE;
	t = RUN(&g, &t, "\xc9");
	assert_int_equal(t.gpr[RBP], s.gpr[RBP]);
	assert_int_equal(t.gpr[RSP], s.gpr[RSP]);
	guest_close(&g);
}

/* Beyond the CS limit: #GP of the branch itself, nothing changed. */
static void test_branch_beyond_limit(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000), t;

	(void)state;
	s.gpr[RBX] = 0x12345;
	s.gpr[RCX] = 5;
	/* o32 jmp ebx */
	t = RUN(&g, &s, "\x66\xff\xe3");
	assert_int_equal(real_vector(&t), VEC_GP);
	assert_int_equal(g.ram[0x7ffa] | g.ram[0x7ffb] << 8, 0x1000);
	/* o32 jmp $ + 0x10000 */
	t = RUN(&g, &s, "\x66\xe9\x00\x00\x01\x00");
	assert_int_equal(real_vector(&t), VEC_GP);
	/* o32 call ebx: SP has moved by the frame of the exception alone */
	t = RUN(&g, &s, "\x66\xff\xd3");
	assert_int_equal(real_vector(&t), VEC_GP);
	assert_int_equal(t.gpr[RSP], 0x8000 - 6);
	/* a 16-bit target is cut to 16 bits: jmp back over 0 */
	g.ram[0xf103] = 0xf4;
	t = RUN(&g, &s, "\xe9\x00\xe1");
	assert_int_equal(t.rip, 0xf104);
	guest_close(&g);
}

static void test_loop_count_width(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000);

	(void)state;
	s.gpr[RCX] = 0xabcd0003;
	s.gpr[RAX] = 0;
	/* again: inc ax; loop again; jcxz over; inc ax; over: */
	s = RUN(&g, &s, "\x40\xe2\xfd\xe3\x01\x40");
	assert_int_equal(s.gpr[RAX], 3);
	assert_int_equal(s.gpr[RCX], 0xabcd0000);
	guest_close(&g);
}

static void test_bound(void **state)
{
	static const struct {
		int16_t index;
		int vector;
	} rows[] = {
		{-6,  VEC_BR},
                { -5, -1    },
                { 7,  -1    },
                { 8,  VEC_BR}
	};
	struct guest g = fresh();

	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		struct x86_state s = real_state(&g, 0x1000);

		memcpy(g.ram + 0x2000, "\xfb\xff\x07\x00", 4);
		s.gpr[RAX] = (uint16_t)rows[n].index;
		s = RUN(&g, &s, "\x62\x06\x00\x20");
		assert_int_equal(real_vector(&s), rows[n].vector);
	}
	guest_close(&g);
}

struct division {
	const char *code;
	size_t bytes;
	uint64_t rax, rdx, rcx;
	int vector;
	uint64_t quotient, remainder;
};

static void test_division_limits(void **state)
{
	static const uint64_t min = UINT64_C(1) << 63;
	static const struct division rows[] = {
		{"\x48\xf7\xf9",  3, min,    UINT64_MAX, UINT64_MAX, VEC_DE, min,        UINT64_MAX},
		{ "\x48\xf7\xf9", 3, min,    UINT64_MAX, 1,          -1,     min,        0         },
		{ "\x48\xf7\xf9", 3, min,    0,          UINT64_MAX, -1,     min,        0         },
		{ "\x48\xf7\xf9", 3, min,    0,          1,          VEC_DE, min,        0         },
		{ "\x48\xf7\xf9", 3, 7,      0,          -2,         -1,     -3,         1         },
		{ "\x48\xf7\xf9", 3, 7,      0,          0,          VEC_DE, 7,          0         },
		{ "\x48\xf7\xf1", 3, 5,      1,          1,          VEC_DE, 5,          1         },
		{ "\x48\xf7\xf1", 3, 5,      1,          2,          -1,     min + 2,    1         },
		{ "\xf6\xf9",     2, 0xff80, 0,          1,          -1,     0x0080,     0         },
		{ "\xf6\xf9",     2, 0x0080, 0,          1,          VEC_DE, 0x0080,     0         },
		{ "\xf6\xf9",     2, 0x0080, 0,          0xff,       -1,     0x0080,     0         },
		{ "\xf7\xf9",     2, 1,      0x80000000, 0x80000000, VEC_DE, 1,          0x80000000},
		{ "\xf7\xf1",     2, 0,      0x7fffffff, 0x80000000, -1,     0xfffffffe, 0         },
	};
	struct guest g = fresh();

	(void)state;
	for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		struct x86_state s = guest_state64(0, GUEST_CODE);

		s.gpr[RAX] = rows[n].rax;
		s.gpr[RDX] = rows[n].rdx;
		s.gpr[RCX] = rows[n].rcx;
		s = run(&g, &s, rows[n].code, rows[n].bytes);
		assert_int_equal(guest_vector(&g), rows[n].vector);
		assert_int_equal(s.gpr[RAX], rows[n].quotient);
		assert_int_equal(s.gpr[RDX], rows[n].remainder);
	}
	guest_close(&g);
}

/* A copy onto its own source, `distance` bytes on, against a model of single elements. */
static void overlapping_copy(struct guest *g, const char *code, unsigned size, int distance,
			     bool down)
{
	static uint8_t model[0x4000];
	struct x86_state s = guest_state64(0, GUEST_CODE);
	uint64_t count = 9000 / size, by = down ? -(uint64_t)size : size;
	uint64_t from = down ? 0x2fed : 0x123, to = from + (uint64_t)distance;

	for (unsigned n = 0; n < sizeof(model); n++)
		model[n] = g->ram[DATA + n] = (uint8_t)(n * 7 + (n >> 8));
	s.gpr[RSI] = DATA + from;
	s.gpr[RDI] = DATA + to;
	s.gpr[RCX] = count;
	s.rflags |= down ? FLAG_DF : 0;
	s = run(g, &s, code, strlen(code));
	for (uint64_t n = 0; n < count; n++, from += by, to += by) {
		uint8_t element[8];

		memcpy(element, model + from, size);
		memcpy(model + to, element, size);
	}
	assert_memory_equal(g->ram + DATA, model, sizeof(model));
	assert_int_equal(s.gpr[RCX], 0);
	assert_int_equal(s.gpr[RSI], DATA + from);
	assert_int_equal(s.gpr[RDI], DATA + to);
}

/* Both ways, with distances below and above one element. */
static void test_overlapping_copies(void **state)
{
	static const struct {
		const char *code;
		unsigned size;
	} kinds[] = {
		{"\xf3\xa4",      1},
		{ "\xf3\x66\xa5", 2},
		{ "\xf3\xa5",     4},
		{ "\xf3\x48\xa5", 8},
	};
	static const int distances[] = { -100, -9, -8, -3, -1, 0, 1, 3, 7, 8, 13, 100 };
	struct guest g = fresh();

	(void)state;
	for (unsigned kind = 0; kind < 4; kind++)
		for (unsigned d = 0; d < sizeof(distances) / sizeof(distances[0]); d++)
			for (int down = 0; down < 2; down++)
				overlapping_copy(&g, kinds[kind].code, kinds[kind].size,
						 distances[d], down);
	guest_close(&g);
}

/* REP STOS downwards over ends of pages. */
static void test_stores_downwards(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE);

	(void)state;
	memset(g.ram + DATA, 0, 0x4000);
	s.gpr[RAX] = 0x1122334455667788;
	s.gpr[RDI] = DATA + 0x3003;
	s.gpr[RCX] = 0x400;
	s.rflags |= FLAG_DF;
	s = RUN(&g, &s, "\xf3\x48\xab");
	assert_int_equal(s.gpr[RDI], DATA + 0x1003);
	for (unsigned n = 0; n < 0x4000; n++)
		assert_int_equal(g.ram[DATA + n],
				 n - 0x100b < 0x2000 ? 0x88 - (n - 0x100b) % 8 * 0x11 : 0);
	guest_close(&g);
}

/* SI and DI wrap within 64 KiB; downwards with DF. */
static void test_string_wrap16(void **state)
{
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000), t;

	(void)state;
	memcpy(g.ram + 0xfffc, "\x01\x02\x03\x04", 4);
	memcpy(g.ram + 0x400, "\x09\x09\x09\x09\x09\x09", 6);
	s.gpr[RSI] = 0xfffc;
	s.gpr[RDI] = 0x400;
	s.gpr[RCX] = 3;
	t = RUN(&g, &s, "\xf3\xa5"); /* three words: the last is the first of the IVT */
	assert_memory_equal(g.ram + 0x400, "\x01\x02\x03\x04\x00\x05", 6);
	assert_int_equal(t.gpr[RSI], 2);
	s.gpr[RSI] = 0x402;
	s.gpr[RDI] = 0x3000;
	s.gpr[RCX] = 2;
	t = RUN(&g, &s, "\xfd\xf3\xa5"); /* std; rep movsw */
	assert_memory_equal(g.ram + 0x2ffe, "\x01\x02\x03\x04", 4);
	assert_int_equal(t.gpr[RSI], 0x3fe);
	assert_int_equal(t.gpr[RDI], 0x2ffc);
	guest_close(&g);
}

/* Segments with a base and a limit: whole pages at once, and the byte beyond the limit faults. */
static void test_rep_to_the_limit(void **state)
{
	enum { FROM = 0x1003, TO = 0x20, LIMIT = 0x3ff1, BASE = 0x12340, TARGET = 0x18000 };
	struct guest g = fresh();
	struct x86_state s = real_state(&g, 0x1000), t;
	const unsigned done = LIMIT + 1 - FROM;

	(void)state;
	for (unsigned n = 0; n < 0x5000; n++)
		g.ram[BASE + n] = (uint8_t)(n * 7 + (n >> 8));
	memset(g.ram + TARGET, 0xee, 0x5000);
	s.seg[DS].base = BASE;
	s.seg[DS].limit = LIMIT;
	s.seg[ES].base = TARGET;
	s.gpr[RSI] = FROM;
	s.gpr[RDI] = TO;
	s.gpr[RCX] = 0x4000;
	t = RUN(&g, &s, "\xf3\xa4"); /* rep movsb */
	assert_int_equal(t.rip, 0x500 + VEC_GP * 16 + 1);
	assert_int_equal(t.gpr[RSI], LIMIT + 1);
	assert_int_equal(t.gpr[RDI], TO + done);
	assert_int_equal(t.gpr[RCX], 0x4000 - done);
	assert_memory_equal(g.ram + TARGET + TO, g.ram + BASE + FROM, done);
	assert_int_equal(g.ram[TARGET + TO - 1], 0xee);
	assert_int_equal(g.ram[TARGET + TO + done], 0xee);
	guest_close(&g);
}

static void test_rep_address32_clears(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;
	uint64_t high = UINT64_C(0x55) << 32;

	(void)state;
	s.gpr[RCX] = high;
	s.gpr[RSI] = high + 1;
	s.gpr[RDI] = high + 2;
	t = RUN(&g, &s, "\xf3\x67\xa4"); /* MOVS */
	assert_int_equal(t.gpr[RCX], 0);
	assert_int_equal(t.gpr[RSI], 1);
	assert_int_equal(t.gpr[RDI], 2);
	t = RUN(&g, &s, "\xf3\x67\xaa"); /* STOS */
	assert_int_equal(t.gpr[RSI], high + 1);
	assert_int_equal(t.gpr[RDI], 2);
	t = RUN(&g, &s, "\xf3\x67\xa6"); /* CMPS */
	assert_int_equal(t.gpr[RCX], 0);
	assert_int_equal(t.gpr[RSI], high + 1);
	assert_int_equal(t.gpr[RDI], high + 2);
	guest_close(&g);
}

/* With work waiting a repeat gives way again and again, but always gets on. */
static void test_repeat_gives_way(void **state)
{
	static const char code[] = "\xf3\xa6"; /* repe cmpsb */
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE);
	struct decoder *decoder = decoder_new(NULL);
	struct insn i;
	enum step step;
	unsigned pauses = 0;

	(void)state;
	assert_non_null(decoder);
	assert_true(decode_insn(decoder, NULL, DECODE_64, (const uint8_t *)code, 2, 0, &i));
	s.gpr[RSI] = DATA + 5;
	s.gpr[RDI] = DATA + 0x8000;
	s.gpr[RCX] = 10000;
	s.rflags |= FLAG_OF;
	g.ram[DATA + 0x8000 + 8999] = 1;
	guest_set(&g, &s);
	atomic_store(&g.vcpu->notice, true);
	for (;;) {
		uint64_t before = g.c->r[RCX];

		step = i.fn(g.c, &i);
		assert_true(g.c->r[RCX] < before);
		assert_int_equal(g.c->r[RSI] - (DATA + 5), 10000 - g.c->r[RCX]);
		if (step != STEP_AGAIN)
			break;
		assert_int_equal(g.c->arith & FLAG_ARITH, FLAG_OF);
		pauses++;
	}
	assert_int_equal(step, STEP_NEXT);
	assert_true(pauses >= 2);
	assert_int_equal(g.c->r[RCX], 1000);
	assert_int_equal(g.c->arith & (FLAG_ZF | FLAG_CF | FLAG_OF), FLAG_CF);
	decoder_free(decoder);
	guest_close(&g);
}

/* A repeat counts as one instruction. */
static void test_repeat_retires_once(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;

	(void)state;
	s.gpr[RDI] = DATA;
	s.gpr[RCX] = 20000;
	t = RUN(&g, &s, "\xf3\xaa");
	assert_int_equal(t.instructions - s.instructions, 2); /* and HLT */
	guest_close(&g);
}

/* Locked and plain, across a page end and in the page of the running code. */
static void test_read_modify_write_places(void **state)
{
	static const uint64_t places[] = { DATA + 8, DATA + 0xffd, GUEST_CODE + 0x800 };
	struct guest g = fresh();

	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct x86_state s = guest_state64(0, GUEST_CODE);

		s.gpr[RBX] = places[n];
		s.gpr[RAX] = 0x12;
		guest_put64(&g, places[n], 0x00000000fffffff0);
		/* lock add [rbx], eax; adc dword [rbx], 0; lock xadd [rbx], eax */
		s = RUN(&g, &s, "\xf0\x01\x03\x83\x13\x00\xf0\x0f\xc1\x03");
		assert_int_equal(s.gpr[RAX], 3);
		assert_int_equal(guest_get64(&g, places[n]), 0x15);
		assert_int_equal(s.rflags & FLAG_CF, 0);
	}
	guest_close(&g);
}

static void test_cmpxchg_needs_write(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;

	(void)state;
	s.gpr[RBX] = DATA;
	s.gpr[RAX] = 1;
	guest_put64(&g, DATA, 2);
	guest_put64(&g, GUEST_PT + (DATA >> 12) * 8, DATA | PTE_P);
	t = RUN(&g, &s, "\x0f\xb1\x0b"); /* cmpxchg [rbx], ecx: would fail, faults all the same */
	assert_int_equal(guest_vector(&g), VEC_PF);
	assert_int_equal(t.cr2, DATA);
	assert_int_equal(t.gpr[RAX], 1);
	t = RUN(&g, &s, "\xd3\x23"); /* shl dword [rbx], cl: so does a shift by 0 */
	assert_int_equal(guest_vector(&g), VEC_PF);
	s.gpr[RBX] = DATA + 8;
	t = RUN(&g, &s, "\x48\x0f\xc7\x0b"); /* cmpxchg16b: misaligned comes first */
	assert_int_equal(guest_vector(&g), VEC_GP);
	guest_close(&g);
}

static void test_cmpxchg16b(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;

	(void)state;
	s.gpr[RSI] = DATA;
	s.gpr[RAX] = 1;
	s.gpr[RDX] = 2;
	s.gpr[RBX] = 3;
	s.gpr[RCX] = 4;
	s.rflags |= FLAG_CF | FLAG_SF;
	guest_put64(&g, DATA, 1);
	guest_put64(&g, DATA + 8, 2);
	t = RUN(&g, &s, "\xf0\x48\x0f\xc7\x0e");
	assert_int_equal(t.rflags & FLAG_ARITH, FLAG_CF | FLAG_SF | FLAG_ZF);
	assert_int_equal(guest_get64(&g, DATA), 3);
	assert_int_equal(guest_get64(&g, DATA + 8), 4);
	t = RUN(&g, &s, "\xf0\x48\x0f\xc7\x0e");
	assert_int_equal(t.rflags & FLAG_ARITH, FLAG_CF | FLAG_SF);
	assert_int_equal(t.gpr[RAX], 3);
	assert_int_equal(t.gpr[RDX], 4);
	guest_close(&g);
}

/* A bit number in a register reaches beyond the operand, in both directions. */
static void test_bit_strings(void **state)
{
	struct guest g = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t;

	(void)state;
	s.gpr[RBX] = DATA + 0x100;
	s.gpr[RAX] = (uint64_t)-65;
	guest_put64(&g, DATA + 0xf0, 0);
	t = RUN(&g, &s, "\x48\x0f\xab\x03"); /* bts [rbx], rax */
	assert_int_equal(guest_get64(&g, DATA + 0xf0), UINT64_C(1) << 63);
	assert_int_equal(t.rflags & FLAG_CF, 0);
	t = RUN(&g, &s, "\x48\x0f\xb3\x03"); /* btr */
	assert_int_equal(guest_get64(&g, DATA + 0xf0), 0);
	assert_int_equal(t.rflags & FLAG_CF, FLAG_CF);
	s.gpr[RAX] = 64 + 3;
	guest_put64(&g, DATA + 0x100, 0);
	t = RUN(&g, &s, "\x48\x0f\xba\x2b\x43"); /* bts [rbx], 67: an immediate does not */
	assert_int_equal(guest_get64(&g, DATA + 0x100), 8);
	guest_close(&g);
}

/* A counted machine repeats its random numbers; the place in the sequence is state. */
static void test_counted_random(void **state)
{
	struct guest a = fresh(), b = fresh();
	struct x86_state s = guest_state64(0, GUEST_CODE), t, u;

	(void)state;
	s.rflags |= FLAG_OF | FLAG_ZF;
	t = RUN(&a, &s, "\x48\x0f\xc7\xf0\x48\x0f\xc7\xf9"); /* rdrand rax; rdseed rcx */
	u = RUN(&b, &s, "\x48\x0f\xc7\xf0\x48\x0f\xc7\xf9");
	assert_int_equal(t.gpr[RAX], u.gpr[RAX]);
	assert_int_equal(t.gpr[RCX], u.gpr[RCX]);
	assert_int_not_equal(t.gpr[RAX], t.gpr[RCX]);
	assert_int_equal(t.rflags & FLAG_ARITH, FLAG_CF);
	assert_int_not_equal(t.random_state, s.random_state);
	s.random_state = t.random_state;
	t = RUN(&a, &s, "\x48\x0f\xc7\xf0");
	assert_int_not_equal(t.gpr[RAX], u.gpr[RAX]);
	guest_close(&a);
	guest_close(&b);
}

/* The mnemonics that two subjects share. */
static void test_shared_mnemonics(void **state)
{
	static const char *const code[] = { "\xa5", "\xf2\x0f\x10\xc1", "\x89\xc8", "\x8c\xd8" };
	static const unsigned bytes[] = { 1, 4, 2, 2 };
	struct decoder *decoder = decoder_new(NULL);
	struct insn i[4];

	(void)state;
	for (unsigned n = 0; n < 4; n++)
		assert_true(decode_insn(decoder, NULL, DECODE_64, (const uint8_t *)code[n],
					bytes[n], 0, &i[n]));
	for (unsigned n = 0; n < 4; n++)
		for (unsigned m = 0; m < n; m++)
			assert_true(i[n].fn != i[m].fn);
	for (unsigned n = 0; n < 4; n++)
		assert_true(i[n].fn != op_invalid);
	decoder_free(decoder);
}

/* All sixteen conditions against their definitions. */
static void test_conditions(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 64; bits++) {
		bool of = bits & 1, cf = bits & 2, zf = bits & 4, sf = bits & 8, pf = bits & 16;
		bool want[8] = { of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of };
		uint64_t f = (of ? FLAG_OF : 0) | (cf ? FLAG_CF : 0) | (zf ? FLAG_ZF : 0) |
			     (sf ? FLAG_SF : 0) | (pf ? FLAG_PF : 0) |
			     (bits & 32 ? ~FLAG_ARITH : 0);

		for (unsigned cc = 0; cc < 16; cc++)
			assert_int_equal(alu_condition(f, cc), want[cc / 2] != (cc & 1));
		assert_int_equal(alu_unpack(alu_pack(f)) & FLAG_ARITH, f & FLAG_ARITH);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bcd),
		cmocka_unit_test(test_aam_by_zero),
		cmocka_unit_test(test_stack16),
		cmocka_unit_test(test_push_all),
		cmocka_unit_test(test_pop_to_stack_memory),
		cmocka_unit_test(test_enter_leave),
		cmocka_unit_test(test_branch_beyond_limit),
		cmocka_unit_test(test_loop_count_width),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_division_limits),
		cmocka_unit_test(test_overlapping_copies),
		cmocka_unit_test(test_stores_downwards),
		cmocka_unit_test(test_string_wrap16),
		cmocka_unit_test(test_rep_to_the_limit),
		cmocka_unit_test(test_rep_address32_clears),
		cmocka_unit_test(test_repeat_gives_way),
		cmocka_unit_test(test_repeat_retires_once),
		cmocka_unit_test(test_read_modify_write_places),
		cmocka_unit_test(test_cmpxchg_needs_write),
		cmocka_unit_test(test_cmpxchg16b),
		cmocka_unit_test(test_bit_strings),
		cmocka_unit_test(test_counted_random),
		cmocka_unit_test(test_shared_mnemonics),
		cmocka_unit_test(test_conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
