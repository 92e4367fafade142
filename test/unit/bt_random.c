/*
 * bt_random.c - lockstep of the translator and the interpreter over random programs.
 *
 * A program is a loop, so that its blocks become hot. Its data pointer moves up through pages that
 * share bytes with code (writes there go the slow way, some hit the code), that are plain, and that
 * are not present. It may lie across a page end. Exceptions end it, but for some that its handler
 * passes over.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "test/unit/random_runs.h"

#define PROGRAMS   500
#define ITERATIONS 120
#define BODY       60 /* instructions */
#define CODE_BYTES 0x800
#define DATA       (GUEST_CODE + 0x1800)
#define HOLE       (GUEST_CODE + 0x6000) /* not present */
#define FAR_DATA   0x100000

static uint64_t seed;
static bool much_x87, much_mmx; /* does the program have? */

static uint32_t any(uint32_t below)
{
	return chance(&seed, below);
}

/* RSP and R13, the data pointer, are seldom destinations. */
static unsigned any_register(void)
{
	unsigned r = any(16);

	if ((r == RSP || r == R13) && any(32))
		r = R12;
	return r;
}

static uint8_t any_rex(unsigned reg, unsigned index, unsigned rm)
{
	return code_rex(any(2), reg, index, rm);
}

/* FS or GS now and then: their bases are small and unequal. */
static void any_segment(struct code *e)
{
	static const uint8_t prefix[] = { 0x64, 0x65, 0x3e };

	if (!any(much_x87 ? 4 : 10))
		code8(e, prefix[any(3)]);
}

static void small_index(struct code *e, unsigned index)
{
	CODE(e, (uint8_t)(0x40 | index >> 3), 0x83, (uint8_t)(0xe0 | (index & 7)), 0x3f);
}

/* ModRM and what follows, after REX and the opcode, which `opcode` gives. `memory`: never a
 * register. */
static void operand(struct code *e, const uint8_t *opcode, unsigned bytes, unsigned reg,
		    unsigned prefix, bool memory)
{
	static const uint8_t indices[] = { R8, R9, R10, R11, RCX, RBX };
	unsigned rm = any_register(), index = indices[any(sizeof(indices))], kind = any(8);
	bool bare = reg < 8 && rm < 8 && !any(3); /* no REX: AH to BH */
	uint32_t aligned = counted ? ~0u : ~15u;  /* else most end with the first #GP */

	if (memory && !counted)
		kind = 0;
	if (kind == 1)
		small_index(e, index);
	if (kind < 3 || memory)
		any_segment(e);
	if (prefix)
		code8(e, (uint8_t)prefix);
	if (kind == 1) { /* [r13 + index * scale + disp] */
		code8(e, any_rex(reg, index, R13));
		code_put(e, opcode, bytes);
		code8(e, (uint8_t)(0x44 | (reg & 7) << 3));
		code8(e, (uint8_t)(any(4) << 6 | (index & 7) << 3 | (R13 & 7)));
		code8(e, (uint8_t)any(128));
	} else if (kind == 2) { /* [rip + disp] */
		code8(e, any_rex(reg, 0, 0));
		code_put(e, opcode, bytes);
		code8(e, (uint8_t)(5 | (reg & 7) << 3));
		code32(e, 0x1800 + any(0x1000));
	} else if (kind == 0 || memory) { /* [r13 + disp] */
		bool no_rex = reg < 8 && !any(4);

		if (no_rex) { /* high bytes with memory: mov ebx, r13d first */
			e->at -= prefix != 0;
			CODE(e, 0x44, 0x89, 0xeb);
			if (prefix)
				code8(e, (uint8_t)prefix);
		} else {
			code8(e, any_rex(reg, 0, R13));
		}
		code_put(e, opcode, bytes);
		code8(e, (uint8_t)(0x80 | (reg & 7) << 3 | (no_rex ? RBX : R13 & 7)));
		code32(e, ((uint32_t)any(0x500) & aligned) - 0x100);
	} else {
		if (!bare)
			code8(e, any_rex(reg, 0, rm));
		code_put(e, opcode, bytes);
		code8(e, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
	}
}

/* Opcode, how many bytes of immediate follow (9: by operand size), and which ModRM.reg values
 * there are (0: a register). */
static const struct form {
	uint8_t bytes, opcode[2], imm, groups[8], group_count;
} forms[] = {
  /* clang-format off */
#define ONE(op) { 1, { op }, 0, { 0 }, 0 }
#define TWO(op) { 2, { 0x0f, op }, 0, { 0 }, 0 }
	ONE(0x00), ONE(0x01), ONE(0x02), ONE(0x03), ONE(0x08), ONE(0x09), ONE(0x0a), ONE(0x0b),
	ONE(0x10), ONE(0x11), ONE(0x12), ONE(0x13), ONE(0x18), ONE(0x19), ONE(0x1a), ONE(0x1b),
	ONE(0x20), ONE(0x21), ONE(0x22), ONE(0x23), ONE(0x28), ONE(0x29), ONE(0x2a), ONE(0x2b),
	ONE(0x30), ONE(0x31), ONE(0x32), ONE(0x33), ONE(0x38), ONE(0x39), ONE(0x3a), ONE(0x3b),
	ONE(0x84), ONE(0x85), ONE(0x86), ONE(0x87), ONE(0x88), ONE(0x89), ONE(0x8a), ONE(0x8b),
	ONE(0x89), ONE(0x8b), ONE(0x63),
	{ 1, { 0x80 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0x83 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0x83 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0xc0 }, 1, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xc1 }, 1, { 0, 1, 2, 3, 4, 5, 7 }, 7 },
	{ 1, { 0xd0 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xd1 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 },
	{ 1, { 0xd2 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xd3 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 },
	{ 1, { 0xf6 }, 0, { 2, 3, 4, 5 }, 4 }, { 1, { 0xf7 }, 0, { 2, 3, 4, 5 }, 4 },
	{ 1, { 0xfe }, 0, { 0, 1 }, 2 }, { 1, { 0xff }, 0, { 0, 1 }, 2 }, { 1, { 0xc6 }, 1, { 0 }, 1 },
	{ 1, { 0x69 }, 9, { 0 }, 0 }, { 1, { 0x6b }, 1, { 0 }, 0 }, { 1, { 0xc7 }, 9, { 0 }, 1 },
	TWO(0xaf), TWO(0xb6), TWO(0xb7), TWO(0xbe), TWO(0xbf), TWO(0xad), TWO(0xa5), TWO(0xa3),
	TWO(0xab), TWO(0xb0), TWO(0xb1), TWO(0xc0), TWO(0xc1), TWO(0xbc), TWO(0xbd), TWO(0xb8),
	{ 2, { 0x0f, 0xa4 }, 1, { 0 }, 0 }, { 2, { 0x0f, 0xac }, 1, { 0 }, 0 },
	{ 2, { 0x0f, 0xba }, 1, { 4, 5, 6, 7 }, 4 }, TWO(0x1f),
  /* clang-format on */
};

static void any_form(struct code *e)
{
	const struct form *f = &forms[any(sizeof(forms) / sizeof(forms[0]))];
	unsigned reg = f->group_count ? f->groups[any(f->group_count)] : any_register(), prefix = 0;
	bool two = f->opcode[0] == 0x0f;

	if (two && f->opcode[1] == 0xb8)
		prefix = 0xf3; /* popcnt */
	else if (two && (f->opcode[1] & 0xfe) == 0xbc)
		prefix = any(2) ? 0xf3 : 0;
	else if (f->imm != 9 && !any(8))
		prefix = 0x66;
	operand(e, f->opcode, f->bytes, reg, prefix, false);
	if (f->imm == 1)
		code8(e, (uint8_t)any(256));
	else if (f->imm == 9)
		code32(e, any(UINT32_MAX));
}

/* Legacy SSE and its prefix; VEX ones with map 1. */
static void any_vector(struct code *e)
{
	static const struct {
		uint8_t prefix, opcode, imm;
	} sse[] = {
		{0,     0x10, 0},
                { 0,    0x11, 0},
                { 0,    0x28, 0},
                { 0,    0x29, 0},
		{ 0x66, 0x6f, 0},
                { 0x66, 0x7f, 0},
                { 0xf3, 0x6f, 0},
                { 0xf3, 0x7f, 0},
		{ 0x66, 0xfe, 0},
                { 0x66, 0xd4, 0},
                { 0x66, 0xef, 0},
                { 0x66, 0xdb, 0},
		{ 0,    0x58, 0},
                { 0x66, 0x59, 0},
                { 0xf2, 0x58, 0},
                { 0xf3, 0x5e, 0},
		{ 0xf2, 0x2a, 0},
                { 0xf2, 0x2c, 0},
                { 0xf3, 0x2d, 0},
                { 0x66, 0x6e, 0},
		{ 0x66, 0x7e, 0},
                { 0x66, 0x2e, 0},
                { 0,    0x2f, 0},
                { 0x66, 0x70, 1},
		{ 0,    0xc6, 1},
                { 0x66, 0xd6, 0},
                { 0xf3, 0x7e, 0},
                { 0x66, 0x60, 0},
	};
	unsigned n = any(sizeof(sse) / sizeof(sse[0]));
	uint8_t opcode[2] = { 0x0f, sse[n].opcode };
	unsigned reg = any(16), rm = any(16);

	if (any(4) == 0 && sse[n].opcode >= 0x58 && sse[n].prefix != 0xf3 &&
	    sse[n].opcode != 0x7e && sse[n].opcode != 0x6e &&
	    sse[n].opcode < 0xd6) { /* VEX, 128 or 256 bits, from memory */
		unsigned pp = sse[n].prefix == 0x66 ? 1 : sse[n].prefix == 0xf2 ? 3 : 0;
		bool one = sse[n].opcode == 0x6f || sse[n].opcode == 0x7f || sse[n].opcode == 0x70;
		bool wide = pp < 2 && any(2);

		CODE(e, 0xc4, (uint8_t)((~reg >> 3 & 1) << 7 | 1 << 6 | 1),
		     (uint8_t)((one ? 15 : ~any(16) & 15) << 3 | wide << 2 | pp), sse[n].opcode,
		     (uint8_t)(0x80 | (reg & 7) << 3 | (R13 & 7)));
		code32(e, any(2) ? any(0x500) : any(32) * 32);
		if (sse[n].imm)
			code8(e, (uint8_t)any(256));
		return;
	}
	if (any(3)) {
		operand(e, opcode, 2, reg, sse[n].prefix, true);
	} else {
		if (sse[n].prefix)
			code8(e, sse[n].prefix);
		code8(e, code_rex(any(2) && sse[n].opcode != 0xd6, reg, 0, rm));
		CODE(e, 0x0f, sse[n].opcode, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
	}
	if (sse[n].imm)
		code8(e, (uint8_t)any(256));
}

/* MMX: prefix and opcode. */
static void any_mmx(struct code *e)
{
	static const uint8_t mmx[][2] = {
		{0,     0x6f},
                { 0,    0x7f},
                { 0,    0xfc},
                { 0,    0xef},
		{ 0,    0x6e},
                { 0,    0x7e},
                { 0,    0xd9},
                { 0,    0xf5},
		{ 0,    0x60},
                { 0,    0x2a},
                { 0,    0x2d},
                { 0x66, 0x2a},
		{ 0x66, 0x2c},
                { 0xf3, 0xd6},
                { 0xf2, 0xd6},
                { 0xf2, 0xf0},
	};
	unsigned n = any(sizeof(mmx) / sizeof(mmx[0])), reg = any(8);
	uint8_t opcode[2] = { 0x0f, mmx[n][1] };

	if (!any(6))
		CODE(e, 0x0f, 0x77); /* emms */
	if (any(2) && mmx[n][1] != 0xd6) {
		operand(e, opcode, 2, reg, mmx[n][0], true);
		return;
	}
	if (mmx[n][0])
		code8(e, mmx[n][0]);
	CODE(e, 0x0f, mmx[n][1], (uint8_t)(0xc0 | reg << 3 | any(8)));
}

/* mov word [rsp - 16], control word; fldcw [rsp - 16] */
static void control_word(struct code *e, unsigned masks)
{
	CODE(e, 0x66, 0xc7, 0x44, 0x24, 0xf0, (uint8_t)(0x40 | masks), (uint8_t)any(16));
	CODE(e, 0xd9, 0x6c, 0x24, 0xf0);
}

/* Environments that loads and stores and the save areas of other units go to: [rsp - 800h]. */
static void x87_area(struct code *e)
{
	static const uint8_t area[][3] = {
		{0xd9,  4, 1}, /* fldenv */
		{ 0xd9, 6, 1}, /* fnstenv */
		{ 0xdd, 4, 1}, /* frstor */
		{ 0xdd, 6, 1}, /* fnsave */
		{ 0xae, 0, 2}, /* fxsave */
		{ 0xae, 1, 2}, /* fxrstor */
		{ 0xae, 4, 2}, /* xsave */
	};
	const uint8_t *a = area[any(sizeof(area) / sizeof(area[0]))];

	CODE(e, 0x48); /* fxsave64; the others do not mind */
	if (a[2] == 2)
		code8(e, 0x0f);
	CODE(e, a[0], (uint8_t)(0x84 | a[1] << 3), 0x24);
	code32(e, (uint32_t)-0x800);
}

static void any_x87(struct code *e)
{
	static const uint8_t other[][2] = {
		{0xdf,  0xe0},
                { 0x9b, 0x9b},
                { 0xdb, 0xe2},
                { 0xdb, 0xe3},
                { 0x9e, 0x9f},
		{ 0xd9, 0xe8},
                { 0xd9, 0xeb},
                { 0xd9, 0xee},
                { 0xd9, 0xfa},
                { 0xd9, 0xf6},
	};
	uint8_t opcode = (uint8_t)(0xd8 + any(8)), reg = (uint8_t)any(8);
	unsigned n = any(sizeof(other) / sizeof(other[0]));

	switch (much_mmx ? any(4) : any(10)) {
	case 0: /* exceptions unmasked, for a while */
		control_word(e, any(3) || !counted ? 0x3f : any(64));
		if (any(2)) {
			any_x87(e);
			control_word(e, 0x3f);
		}
		break;
	case 1: CODE(e, other[n][0], other[n][1]); break;
	case 2:
		if (much_mmx || !any(4))
			any_mmx(e);
		break;
	case 3:
		if (!any(6))
			x87_area(e);
		else if (!any(20)) /* CR0.TS: mov rax, cr0; xor al, 8; mov cr0, rax */
			CODE(e, 0x0f, 0x20, 0xc0, 0x34, 8, 0x0f, 0x22, 0xc0);
		break;
	case 4:
	case 5:
	case 6:
		if ((opcode & 0xfb) == 0xd9 && (reg == 4 || (opcode == 0xd9 && reg == 5)))
			break; /* random control words: see above */
		operand(e, &opcode, 1, reg, 0, true);
		break;
	case 7: /* fcomi and fcmov */
		CODE(e, (uint8_t)(0xda + any(2)), (uint8_t)(0xc0 | any(4) << 3 | any(8)));
		CODE(e, (uint8_t)(any(2) ? 0xdb : 0xdf), (uint8_t)(0xe8 | any(2) << 4 | any(8)));
		break;
	default: /* not those that are none: #UD */
		if (opcode != 0xd9 || reg < 2 || reg > 6)
			CODE(e, opcode, (uint8_t)(0xc0 | reg << 3 | any(8)));
	}
}

/* Control flow that comes back to the next instruction. */
static void any_flow(struct code *e)
{
	switch (any(11)) {
	case 0: /* call +2; jmp +1; ret */ CODE(e, 0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3); break;
	case 1: /* a mismatched return: call +0; add qword [rsp], 6; ret */
		CODE(e, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0x04, 0x24, 6, 0xc3);
		break;
	case 2: /* lea rax, [rip + 2]; jmp rax */
		CODE(e, 0x48, 0x8d, 0x05, 2, 0, 0, 0, 0xff, 0xe0);
		break;
	case 3: /* the same with r11 */
		CODE(e, 0x4c, 0x8d, 0x1d, 3, 0, 0, 0, 0x41, 0xff, 0xe3);
		break;
	case 4: /* lea rcx, [rip + 4]; call rcx; jmp +1; ret */
		CODE(e, 0x48, 0x8d, 0x0d, 4, 0, 0, 0, 0xff, 0xd1, 0xeb, 1, 0xc3);
		break;
	case 5: /* push a return address and return: lea rdx, [rip + 2]; push rdx; ret */
		CODE(e, 0x48, 0x8d, 0x15, 2, 0, 0, 0, 0x52, 0xc3);
		break;
	case 6: /* a call whose frame is dropped: call +0; pop rdi */
		CODE(e, 0xe8, 0, 0, 0, 0, 0x5f);
		break;
	case 7: /* a loop inside: and ecx, 7; L: dec r12; loop L */
		CODE(e, 0x83, 0xe1, 7, 0x83, 0xc1, 1, 0x49, 0xff, 0xcc, 0xe2, 0xfb);
		break;
	case 8: /* jecxz, jrcxz over a nop */
		if (any(2))
			code8(e, 0x67);
		CODE(e, 0xe3, 1, 0x90);
		break;
	case 9: /* on, back and on: jmp A; B: neg rax; jmp C; A: inc edx; jmp B; C: */
		CODE(e, 0xeb, 5, 0x48, 0xf7, 0xd8, 0xeb, 4, 0xff, 0xc2, 0xeb, 0xf7);
		break;
	case 10: /* into what was before: mov edx, "inc eax; jmp +2"; jmp -6 */
		CODE(e, 0xba, 0xff, 0xc0, 0xeb, 2, 0xeb, 0xfa);
		break;
	}
}

/* String instructions, of which few are repeated, and few go downwards. */
static void any_string(struct code *e)
{
	static const uint8_t opcode[] = { 0xa4, 0xaa, 0xac, 0xae, 0xa6 };
	bool down = !any(8);

	CODE(e, 0x49, 0x8d, 0x75, (uint8_t)any(256));       /* lea rsi, [r13 + ..] */
	CODE(e, 0x49, 0x8d, 0x7d, (uint8_t)any(256), 0xfc); /* lea rdi; cld */
	if (down)
		code8(e, 0xfd);
	for (unsigned n = 0; n < 3; n++) {
		if (!any(8))
			code8(e, 0x67);
		if (!any(6))
			any_segment(e);
		if (!any(6)) /* rcx is small */
			code8(e, (uint8_t)(0xf2 | any(2)));
		if (any(3))
			code8(e, any(2) ? 0x66 : 0x48);
		code8(e, opcode[any(sizeof(opcode))] | (uint8_t)any(2));
	}
	if (down)
		code8(e, 0xfc);
}

static void any_stack(struct code *e)
{
	unsigned r = any_register();

	switch (any(6)) {
	case 0:
		CODE(e, 0x68);
		code32(e, any(UINT32_MAX));
		CODE(e, 0x59);
		break;
	case 1: CODE(e, 0x6a, (uint8_t)any(256), 0x41, 0x5a); break; /* push imm8; pop r10 */
	case 2: CODE(e, 0x9c, 0x9d); break;                          /* pushfq; popfq */
	case 3: CODE(e, 0xc8, 16, 0, 0, 0xc9); break;                /* enter 16, 0; leave */
	case 4: CODE(e, 0x54, 0x5c); break;                          /* push rsp; pop rsp */
	default:
		CODE(e, (uint8_t)(0x40 | r >> 3), (uint8_t)(0x50 | (r & 7)));
		r = any_register();
		CODE(e, (uint8_t)(0x40 | r >> 3), (uint8_t)(0x58 | (r & 7)));
	}
}

static void any_insn(struct code *e)
{
	static const uint8_t single[] = { 0x98, 0x99, 0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0xfc, 0x90 };
	uint8_t opcode[2] = { 0x0f };
	unsigned r;

	if (much_x87 && any(3)) {
		any_x87(e);
		return;
	}
	switch (any(18)) {
	case 0: /* cmov, setcc */
		opcode[1] = (uint8_t)((any(2) ? 0x40 : 0x90) | any(16));
		operand(e, opcode, 2, any_register(), 0, false);
		break;
	case 1: /* jcc forward, over one instruction of 7 bytes */
		CODE(e, (uint8_t)(0x70 | any(16)), 7);
		CODE(e, 0x48, 0x81, 0xc0);
		code32(e, any(0x1000000));
		break;
	case 2: any_flow(e); break;
	case 3: any_stack(e); break;
	case 4: /* lea */
		r = any_register();
		CODE(e, any_rex(r, RCX, R13), 0x8d, (uint8_t)(0x44 | (r & 7) << 3),
		     (uint8_t)(any(4) << 6 | RCX << 3 | (R13 & 7)), (uint8_t)any(256));
		break;
	case 5: CODE(e, single[any(sizeof(single))]); break;
	case 10: any_string(e); break;
	case 6: /* a write of the next instruction's immediate: mov [rip + 1], al; mov dl, .. */
		if (!any(4))
			CODE(e, 0x88, 0x05, 1, 0, 0, 0, 0xb2, 0);
		break;
	case 7:
	case 8:
	case 9: any_vector(e); break;
	default: any_form(e);
	}
}

/* Where handlers of the exceptions that some programs pass over go on: at the end of the loop. */
static uint64_t end_of_loop;

/* Loads the data pointer, moves it on, makes small indices; the body; counts. */
static void program(uint8_t *bytes, uint64_t at)
{
	struct code e = { bytes };
	uint8_t *top = bytes;

	CODE(&e, 0x4c, 0x8b, 0x2c, 0x25); /* mov r13, [FAR_DATA] */
	code32(&e, FAR_DATA);
	CODE(&e, 0x48, 0x81, 0x04, 0x25); /* add qword [FAR_DATA], stride */
	code32(&e, FAR_DATA);
	code32(&e, (const uint32_t[]){ 0, 0, 0x38, 0x1f1 }[any(4)]);
	CODE(&e, 0xbc); /* mov esp, */
	code32(&e, any(4) ? GUEST_STACK : DATA + 0x301);
	if (any(2) || !counted)
		CODE(&e, 0x49, 0x83, 0xe5, 0xf0); /* and r13, -16 */
	for (unsigned r = R8; r < R12; r++)
		CODE(&e, 0x41, 0x83, (uint8_t)(0xe0 | (r & 7)), 0x3f); /* and r, 63 */
	CODE(&e, 0x83, 0xe1, 0x1f, 0x83, 0xe3, 0x7f); /* and ecx, 31; and ebx, 127 */
	for (unsigned n = 5 + any(BODY); n > 0 && e.at - bytes < CODE_BYTES - 0x100; n--)
		any_insn(&e);
	end_of_loop = at + (uint64_t)(e.at - bytes);
	CODE(&e, 0xff, 0x0c, 0x25); /* dec dword [FAR_DATA + 8] */
	code32(&e, FAR_DATA + 8);
	CODE(&e, 0x0f, 0x84); /* jz: over the jump */
	code32(&e, 5);
	code_go(&e, OP_JMP, top);
	code8(&e, 0xf4);
}

/* Faults go on at the end of the loop, with the stack as it was. */
static void handlers(struct guest *g)
{
	/* At vector 96's: mov qword [rsp], end_of_loop; iretq */
	struct code e = { g->ram + GUEST_HANDLERS + 0x60 * 16 };

	CODE(&e, 0x48, 0xc7, 0x04, 0x24);
	code32(&e, (uint32_t)end_of_loop);
	CODE(&e, 0x48, 0xcf);
	for (unsigned v = 0; v < 20; v++) {
		struct code h = { g->ram + GUEST_HANDLERS + v * 16 };
		bool error =
			v == 8 || v == 10 || v == 11 || v == 12 || v == 13 || v == 14 || v == 17;

		if (v == 16)
			CODE(&h, 0xdb, 0xe2); /* fnclex */
		if (v == 7)
			CODE(&h, 0x0f, 0x06); /* clts */
		if (v != 0 && v != 6 && v != 7 && v != 16 && v != 13 && v != 14 && v != 19)
			continue;
		if (error)
			CODE(&h, 0x58);
		code_go(&h, OP_JMP, g->ram + GUEST_HANDLERS + 0x60 * 16);
	}
}

static void prepare(struct guest *g)
{
	/* At a page's middle, or across its end. */
	uint64_t at = GUEST_CODE + (any(3) ? 0 : 0xe00 + any(0x100));

	guest_tables(g);
	much_x87 = !any(3);
	much_mmx = much_x87 && any(2);
	program(g->ram + at, at);
	if (any(6) && counted)
		handlers(g);
	for (uint64_t hole = HOLE; hole < HOLE + 0x4000; hole += PAGE_SIZE)
		guest_put64(g, GUEST_PT + hole / PAGE_SIZE * 8, 0);
	guest_put64(g, FAR_DATA, DATA + any(2) * any(0x800));
	guest_put64(g, FAR_DATA + 8, ITERATIONS);
	for (unsigned n = 0; n < 0x2000; n += 4) {
		uint32_t v = any(UINT32_MAX);

		memcpy(g->ram + DATA + n, &v, 4);
	}
	end_of_loop = at; /* of the state, now */
}

static void any_state(struct x86_state *s)
{
	for (unsigned r = 0; r < GPR_COUNT; r++)
		s->gpr[r] = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX);
	for (unsigned r = 0; r < 16; r++)
		for (unsigned q = 0; q < 4; q++)
			s->fpu.ymm[r][q] = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX);
	for (unsigned r = 0; r < 8; r++) {
		s->fpu.st[r].mant = (uint64_t)any(UINT32_MAX) << 32 | (uint64_t)any(2) << 63;
		s->fpu.st[r].exp = any(3) ? 0x3ff0 + any(0x20) : any(0x10000);
	}
	s->fpu.ftw = (uint8_t)any(256);
	s->fpu.fsw = (uint16_t)(any(256) << 8 & 0x7f00);
	s->fpu.fcw = (uint16_t)((any(8) || !counted ? 0x7f : 0x40 | any(64)) | any(16) << 8);
	s->fpu.fip = s->fpu.fdp = any(UINT32_MAX);
	s->seg[FS].base = counted ? any(64) : 48;
	s->seg[GS].base = any(2) ? any(64) * 16 : 0;
	s->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s->xcr0 = 7;
	if (!any(4) && counted)
		s->fpu.mxcsr = 0x1f80 & ~(0x80u << any(6)); /* one exception unmasked */
	if (!any(8))
		s->fpu.mxcsr |= 0x8040 | any(4) << 13;
}

/* Not counted: to its end, if that is not an exception, whose frame shows flags. */
static void run_pair(struct pair *p)
{
	if (counted)
		(void)pair_run(p, 25000);
	else if (guest_run(&p->a, 100000) == EXIT_HLT && guest_vector(&p->a) < 0)
		pair_same(p, EXIT_HLT, guest_run(&p->b, 100000));
}

static uint64_t run_both(unsigned n, unsigned torture, uint64_t code_cache)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);
	char name[80];
	struct pair p;
	uint64_t native;

	snprintf(name, sizeof(name), "program %u torture %x", n, torture);
	p = pair_open(name, counted, torture, code_cache);
	seed = p.chance = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
	prepare(&p.a);
	any_state(&s);
	s.rip = end_of_loop;
	pair_set(&p, &s);
	if (!any(4)) /* from now on: FDP follows every operand */
		p.a.vm->cpu_model = p.b.vm->cpu_model = cpu_model_find("trapeze-v1-base");
	run_pair(&p);
	native = pair_native(&p);
	pair_close(&p);
	return native;
}

/* bt_random [FIRST [PROGRAMS]] */
int main(int argc, char **argv)
{
	return random_main(argc, argv, (struct random_runs){ PROGRAMS, 12, run_both });
}
