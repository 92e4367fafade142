/*
 * bt_random32.c - lockstep of the translator and the interpreter over random 32-bit programs, in
 * compatibility mode and in protected mode with and without paging.
 *
 * As bt_random.c, and what only 32-bit code has: addresses and a stack that wrap at 4 GiB, segments
 * that are loaded with something not flat and back, upper halves of registers, code that goes to
 * 64-bit mode and back and has functions that both call.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "test/unit/random_runs.h"

#define PROGRAMS   400
#define ITERATIONS 120
#define BODY       50 /* instructions */
#define CODE_BYTES 0x800
#define DATA       (GUEST_CODE + 0x1800)
#define HOLE       (GUEST_CODE + 0x6000) /* not present */
#define FAR_DATA   0x100000
#define WRAP       0xffff0000u /* EDI in some operands */

#define PD32  0xb000
#define PT32  0xc000
#define PDPTE 0xd000
#define TSS   0xe000

/* Ways to have 32-bit code. */
enum way { COMPATIBILITY, PAGING_OFF, PAGING_PAE, PAGING_32, WAYS };

/* Descriptors: X(name, value at DPL 0). Selector: index * 8, with the CPL. */
#define DESCRIPTORS(X)                                                                             \
	X(NONE, 0)                                                                                 \
	X(CODE_64_0, 0x00af9b000000ffff) /* exception handlers' */                                 \
	X(DATA_0, 0x00cf93000000ffff)                                                              \
	X(CODE_32_0, 0x00cf9b000000ffff)                                                           \
	X(CODE_32, 0x00cf9b000000ffff)                                                             \
	X(FLAT, 0x00cf93000000ffff)                                                                \
	X(CODE_64, 0x00af9b000000ffff)                                                             \
	X(BASED, 0x00cf93000040ffff)                                                               \
	X(BASED_HIGH, 0xffcf93ffff80ffff)                                                          \
	X(LIMITED, 0x004193000000ffff)                                                             \
	X(LIMITED_BASED, 0x0042930000201fff)                                                       \
	X(DOWN, 0x00cf970000000000)                                                                \
	X(READ_ONLY, 0x00cf91000000ffff)                                                           \
	X(STACK_16, 0x008f93000000ffff)
enum descriptor_index {
#define X(name, value) name,
	DESCRIPTORS(X)
#undef X
		DESCRIPTOR_COUNT
};
static const uint64_t descriptors[] = {
#define X(name, value) UINT64_C(value),
	DESCRIPTORS(X)
#undef X
};

static uint64_t seed;
static enum way way;
static unsigned cpl;
static bool much_segments, much_units; /* does the program have? */

static uint32_t any(uint32_t below)
{
	return chance(&seed, below);
}

static uint16_t selector(enum descriptor_index d)
{
	return d == NONE ? 0 : (uint16_t)(d * 8 | cpl);
}

/* ESP and ESI, the data pointer, are seldom destinations. */
static unsigned any_register(void)
{
	unsigned r = any(8);

	if ((r == RSP || r == RSI) && any(32))
		r = RBX;
	return r;
}

static void any_segment(struct code *e)
{
	static const uint8_t prefix[] = { 0x64, 0x65, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e };

	if (!any(6))
		code8(e, prefix[any(sizeof(prefix))]);
}

static void modrm32(struct code *e, unsigned reg, unsigned rm, uint32_t disp)
{
	code8(e, (uint8_t)((rm == RBP && !disp ? 5 : 0x80 | rm) | reg << 3));
	code32(e, disp);
}

/* Prefix and opcode, then the operand. `memory`: never a register. */
static void operand(struct code *e, const uint8_t *opcode, unsigned bytes, unsigned reg,
		    unsigned prefix, bool memory)
{
	static const uint8_t indices[] = { RCX, RBX, RDX, RBP, RDI };
	unsigned kind = memory ? any(5) : any(9), index = indices[any(sizeof(indices))];

	if (kind == 1)
		CODE(e, 0x83, (uint8_t)(0xe0 | index), 0x3f); /* and index, 63 */
	if (kind == 3) {
		code8(e, 0xbf); /* mov edi, */
		code32(e, WRAP + any(2) * any(64));
	}
	if (kind == 4)
		CODE(e, 0x89, 0xf5); /* mov ebp, esi */
	if (kind < 5)
		any_segment(e);
	if (prefix)
		code8(e, (uint8_t)prefix);
	code_put(e, opcode, bytes);
	reg &= 7;
	switch (kind) {
	case 0: modrm32(e, reg, RSI, any(0x500) - 0x100); break;
	case 1:
		CODE(e, (uint8_t)(0x44 | reg << 3), (uint8_t)(any(4) << 6 | index << 3 | RSI),
		     (uint8_t)any(128));
		break;
	case 2:
		code8(e, (uint8_t)(reg << 3 | 5));
		code32(e, DATA + any(0x1000));
		break;
	case 3: modrm32(e, reg, RDI, DATA + any(0x1000) - WRAP); break;
	case 4: CODE(e, (uint8_t)(0x45 | reg << 3), (uint8_t)any(256)); break;
	default: code8(e, (uint8_t)(0xc0 | reg << 3 | any_register()));
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
	ONE(0x00), ONE(0x01), ONE(0x02), ONE(0x03), ONE(0x08), ONE(0x0b), ONE(0x10), ONE(0x11),
	ONE(0x12), ONE(0x13), ONE(0x19), ONE(0x1b), ONE(0x20), ONE(0x21), ONE(0x22), ONE(0x23),
	ONE(0x28), ONE(0x29), ONE(0x2a), ONE(0x2b), ONE(0x31), ONE(0x33), ONE(0x38), ONE(0x39),
	ONE(0x3a), ONE(0x3b), ONE(0x84), ONE(0x85), ONE(0x86), ONE(0x87), ONE(0x88), ONE(0x89),
	ONE(0x8a), ONE(0x8b), ONE(0x89), ONE(0x8b), ONE(0x8d), ONE(0x63),
	{ 1, { 0x80 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0x82 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0x83 }, 1, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0x81 }, 9, { 0, 1, 2, 3, 4, 5, 6, 7 }, 8 },
	{ 1, { 0xc0 }, 1, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xc1 }, 1, { 0, 1, 2, 3, 4, 5, 7 }, 7 },
	{ 1, { 0xd1 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xd2 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 },
	{ 1, { 0xd3 }, 0, { 0, 1, 2, 3, 4, 5, 7 }, 7 }, { 1, { 0xf6 }, 0, { 2, 3, 4, 5, 6 }, 5 },
	{ 1, { 0xf7 }, 0, { 2, 3, 4, 5, 6, 7 }, 6 }, { 1, { 0xfe }, 0, { 0, 1 }, 2 },
	{ 1, { 0xff }, 0, { 0, 1 }, 2 }, { 1, { 0xc6 }, 1, { 0 }, 1 },
	{ 1, { 0x69 }, 9, { 0 }, 0 }, { 1, { 0x6b }, 1, { 0 }, 0 }, { 1, { 0xc7 }, 9, { 0 }, 1 },
	TWO(0xaf), TWO(0xb6), TWO(0xb7), TWO(0xbe), TWO(0xbf), TWO(0xad), TWO(0xa5), TWO(0xa3),
	TWO(0xab), TWO(0xb3), TWO(0xb0), TWO(0xb1), TWO(0xc0), TWO(0xc1), TWO(0xbc), TWO(0xbd),
	{ 2, { 0x0f, 0xa4 }, 1, { 0 }, 0 }, { 2, { 0x0f, 0xac }, 1, { 0 }, 0 },
	{ 2, { 0x0f, 0xba }, 1, { 4, 5, 6, 7 }, 4 }, TWO(0x1f), { 2, { 0x0f, 0xc7 }, 0, { 1 }, 1 },
	TWO(0x42), TWO(0x4f), TWO(0x94), TWO(0x9c),
  /* clang-format on */
};

static void any_form(struct code *e)
{
	const struct form *f = &forms[any(sizeof(forms) / sizeof(forms[0]))];
	unsigned reg = f->group_count ? f->groups[any(f->group_count)] : any_register();
	unsigned prefix = f->imm != 9 && !any(8) ? 0x66 : 0;

	operand(e, f->opcode, f->bytes, reg, prefix,
		f->opcode[0] == 0x8d || (f->opcode[0] == 0x0f && f->opcode[1] == 0xc7));
	if (f->imm == 1)
		code8(e, (uint8_t)any(256));
	else if (f->imm == 9)
		code32(e, any(UINT32_MAX));
}

/* Forms that are REX, invalid or of another width in 64-bit code. */
static void any_short(struct code *e)
{
	static const uint8_t odd[] = { 0x27, 0x2f, 0x37, 0x3f, 0x98, 0x99, 0x9e, 0x9f, 0xd6,
				       0xf5, 0xf8, 0xf9, 0xce, 0xfa, 0xfb, 0xfc, 0x90 };
	unsigned r = any_register();

	switch (any(9)) {
	case 0:
	case 1:
		if (!any(6))
			code8(e, 0x66);
		CODE(e, (uint8_t)(0x40 | any(2) << 3 | r)); /* inc, dec */
		break;
	case 2:
	case 3: /* mov eax, [address] and the like */
		any_segment(e);
		if (!any(6))
			code8(e, 0x66);
		code8(e, (uint8_t)(0xa0 | any(4)));
		code32(e, DATA + any(0x1000));
		break;
	case 4: CODE(e, (uint8_t)(0x90 | r)); break; /* xchg eax, r */
	case 5: CODE(e, odd[any(sizeof(odd))]); break;
	case 6: CODE(e, 0xd4 | (uint8_t)any(2), (uint8_t)(1 + any(255))); break; /* aam, aad */
	case 7: /* lea with addresses of 16 bits */
		CODE(e, 0x67, 0x8d, (uint8_t)(0x40 | r << 3 | any(8)), (uint8_t)any(256));
		break;
	default: /* bound, of something within bounds */
		CODE(e, 0xc7, 0x44, 0x24, 0xf8, 0, 0, 0, 0x80, 0xc7, 0x44, 0x24, 0xfc, 0xff, 0xff,
		     0xff, 0x7f, 0x62, (uint8_t)(0x44 | r << 3), 0x24, 0xf8);
	}
}

/* String instructions, of which few are repeated. */
static void any_string(struct code *e)
{
	static const uint8_t opcode[] = { 0xa4, 0xaa, 0xac, 0xae, 0xa6 };

	CODE(e, 0x8d, 0x7e, (uint8_t)any(256), 0xfc); /* lea edi, [esi + ..]; cld */
	if (!any(8))                                  /* across 4 GiB */
		CODE(e, 0x83, 0xcf, 0xff);
	for (unsigned n = 0; n < 3; n++) {
		if (!any(6))
			any_segment(e);
		if (!any(8)) /* and ecx, 31 */
			CODE(e, 0x83, 0xe1, 0x1f, (uint8_t)(0xf2 | any(2)));
		if (!any(3))
			code8(e, 0x66);
		code8(e, opcode[any(sizeof(opcode))] | (uint8_t)any(2));
	}
}

static void any_stack(struct code *e)
{
	unsigned r = any_register();

	switch (any(12)) {
	case 0:
		CODE(e, 0x68);
		code32(e, any(UINT32_MAX));
		CODE(e, 0x59);
		break;
	case 1: CODE(e, 0x6a, (uint8_t)any(256), 0x5d); break;
	case 2: CODE(e, 0x9c, 0x9d); break;           /* pushfd; popfd */
	case 3: CODE(e, 0xc8, 16, 0, 0, 0xc9); break; /* enter 16, 0; leave */
	case 4: CODE(e, 0x54, 0x5c); break;           /* push esp; pop esp */
	case 5: CODE(e, 0x60, 0x61); break;           /* pushad; popad */
	case 6: CODE(e, 0x66, 0x50, 0x66, 0x5a); break;
	case 7: /* push [esi + 4]; pop [esi + 20h] */
		CODE(e, 0xff, 0x76, 4, 0x8f, 0x46, 0x20);
		break;
	case 8: CODE(e, 0x50, 0x53, 0x51, 0x52, 0x5a, 0x59, 0x5b, 0x58); break; /* rows */
	case 9: CODE(e, 0x89, 0xe5, 0x53, 0x57, 0xc9); break; /* mov ebp, esp; ...; leave */
	default: CODE(e, (uint8_t)(0x50 | r), (uint8_t)(0x58 | any_register()));
	}
}

/* Loads of segment registers: seldom flat ones. */
static void any_load(struct code *e)
{
	static const uint8_t data[] = { FLAT,       FLAT,    NONE,          BASED,
					BASED_HIGH, LIMITED, LIMITED_BASED, DOWN,
					READ_ONLY,  CODE_32, STACK_16 };
	static const uint8_t registers[] = { ES, DS, FS, GS, FS, GS, SS };
	unsigned seg = registers[any(sizeof(registers))];
	uint16_t to = selector(data[any(sizeof(data))]);

	if (seg == SS)
		to = selector(any(4) ? FLAT : STACK_16);
	code8(e, 0xb8); /* mov eax, selector; mov seg, eax */
	code32(e, to);
	CODE(e, 0x8e, (uint8_t)(0xc0 | seg << 3));
	if (any(2))
		CODE(e, 0x8c, (uint8_t)(0xc0 | seg << 3 | RDX)); /* mov edx, seg */
	if (any(3))
		return;
	CODE(e, 0x1e, 0x06, 0x07, 0x1f, 0x0f, 0xa0, 0x0f, 0xa1); /* push ds; push es; pop es; ... */
	if (!any(4)) {                                           /* les ebx, [esp - 8] */
		CODE(e, 0xc7, 0x44, 0x24, 0xfc);
		code32(e, to);
		CODE(e, 0xc4, 0x5c, 0x24, 0xf8);
	}
}

/* To 64-bit mode, where the same function is called, and back. */
static void visit_64(struct code *e, uint8_t *bytes, uint64_t at)
{
	uint8_t *function, *jump, *back;

	CODE(e, 0xeb, 2); /* over: F: inc/rex; ret */
	function = e->at;
	CODE(e, 0x40, 0xc3);
	code8(e, 0xb9); /* mov ecx, F; call ecx */
	code32(e, (uint32_t)(at + (uint64_t)(function - bytes)));
	CODE(e, 0xff, 0xd1, 0xea);
	jump = e->at;
	code32(e, 0);
	CODE(e, (uint8_t)selector(CODE_64), 0);
	code32((&(struct code){ jump }), (uint32_t)(at + (uint64_t)(e->at - bytes)));
	CODE(e, 0xff, 0xd1, 0x4d, 0x01, 0xd9, 0x49, 0xff,
	     0xca); /* call rcx; add r9, r11; dec r10 */
	if (any(2))
		code_go(e, OP_CALL, function);
	CODE(e, 0x6a, (uint8_t)selector(CODE_32), 0x68); /* push CS; push RIP */
	back = e->at;
	code32(e, 0);
	CODE(e, 0x48, 0xcb); /* retfq */
	code32((&(struct code){ back }), (uint32_t)(at + (uint64_t)(e->at - bytes)));
	if (any(2))
		code_go(e, OP_CALL, function);
}

/* Control flow that comes back to the next instruction. */
static void any_flow(struct code *e, uint8_t *bytes, uint64_t at)
{
	uint32_t here = (uint32_t)(at + (uint64_t)(e->at - bytes));

	switch (any(11)) {
	case 0: /* call +2; jmp +1; ret */ CODE(e, 0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3); break;
	case 1: /* a mismatched return: call +0; add dword [esp], 5; ret */
		CODE(e, 0xe8, 0, 0, 0, 0, 0x83, 0x04, 0x24, 5, 0xc3);
		break;
	case 2: /* mov eax, next; jmp eax */
		code8(e, 0xb8);
		code32(e, here + 7);
		CODE(e, 0xff, 0xe0);
		break;
	case 3: /* call +0; pop edi */ CODE(e, 0xe8, 0, 0, 0, 0, 0x5f); break;
	case 4: /* push next; ret */
		code8(e, 0x68);
		code32(e, here + 6);
		code8(e, 0xc3);
		break;
	case 5: /* mov dword [DATA], next; jmp [DATA] */
		CODE(e, 0xc7, 0x05);
		code32(e, DATA);
		code32(e, here + 16);
		CODE(e, 0xff, 0x25);
		code32(e, DATA);
		break;
	case 6: /* push 7; call +2; jmp +3; ret 4 */
		CODE(e, 0x6a, 7, 0xe8, 2, 0, 0, 0, 0xeb, 3, 0xc2, 4, 0);
		break;
	case 7: /* and ecx, 7; inc ecx; L: dec ebx; loop L */
		CODE(e, 0x83, 0xe1, 7, 0x41, 0x4b, 0xe2, 0xfd);
		break;
	case 8: CODE(e, 0xe3, 1, 0x90); break; /* jecxz */
	case 9:                                /* push cs; push next; retf */
		CODE(e, 0x0e, 0x68);
		code32(e, here + 7);
		code8(e, 0xcb);
		break;
	default:
		if (way == COMPATIBILITY)
			visit_64(e, bytes, at);
	}
}

/* SSE, MMX, x87. */
static void any_unit(struct code *e)
{
	static const struct {
		uint8_t prefix, opcode;
	} sse[] = {
		{0,     0x10},
                { 0,    0x28},
                { 0x66, 0x6f},
                { 0xf3, 0x7f},
                { 0x66, 0xfe},
		{ 0,    0x58},
                { 0xf2, 0x2a},
                { 0xf2, 0x2c},
                { 0x66, 0x6e},
                { 0x66, 0x7e},
		{ 0x66, 0x2e},
                { 0x66, 0xef},
                { 0,    0x6f},
                { 0,    0xfc}
	};
	unsigned n = any(sizeof(sse) / sizeof(sse[0])), reg = any(8);
	uint8_t opcode[2] = { 0x0f, sse[n].opcode }, x87 = (uint8_t)(0xd8 + any(8));

	switch (any(6)) {
	case 0:
		CODE(e, 0xc5, (uint8_t)(0xf8 | any(2) << 2), 0x77);
		break; /* vzeroupper, vzeroall */
	case 1:        /* vpaddb, with W or without */
		CODE(e, 0xc4, 0xe1, (uint8_t)(any(2) << 7 | (8 + any(8)) << 3 | any(2) << 2 | 1),
		     0xfc, (uint8_t)(0xc0 | reg << 3 | any(8)));
		break;
	case 2: /* vmovd or vmovq, which W decides elsewhere */
		CODE(e, 0xc4, 0xe1, (uint8_t)(any(2) << 7 | 0x79), (uint8_t)(0x6e | any(2) << 4),
		     (uint8_t)(0xc0 | reg << 3 | any_register()));
		break;
	case 3:
		if (x87 == 0xd9 && (reg == 4 || reg == 5))
			break; /* random environments and control words */
		if ((x87 == 0xdd && reg == 4))
			break;
		operand(e, &x87, 1, reg, 0, true);
		break;
	case 4:
		if (x87 != 0xd9 || reg < 2)
			CODE(e, x87, (uint8_t)(0xc0 | reg << 3 | any(8)));
		break;
	default: operand(e, opcode, 2, reg, sse[n].prefix, any(3));
	}
}

static void any_insn(struct code *e, uint8_t *bytes, uint64_t at)
{
	if (much_segments && !any(8)) {
		any_load(e);
		return;
	}
	if (much_units && !any(3)) {
		any_unit(e);
		return;
	}
	switch (any(10)) {
	case 0: /* jcc forward, over one instruction of 6 bytes */
		CODE(e, (uint8_t)(0x70 | any(16)), 6, 0x81, 0xc0 | RBX);
		code32(e, any(0x1000000));
		break;
	case 1: any_flow(e, bytes, at); break;
	case 2: any_stack(e); break;
	case 6: any_string(e); break;
	case 3:
	case 4: any_short(e); break;
	case 5: /* a write of the next instruction's immediate: mov [..], al; mov dl, .. */
		if (any(4))
			break;
		CODE(e, 0x88, 0x05);
		code32(e, (uint32_t)(at + (uint64_t)(e->at - bytes)) + 5);
		CODE(e, 0xb2, 0);
		break;
	default: any_form(e);
	}
}

static void flat_again(struct code *e, bool stack)
{
	if (!much_segments)
		return;
	code8(e, 0xb8);
	code32(e, selector(FLAT));
	CODE(e, 0x8e, 0xd8, 0x8e, 0xc0);
	if (stack)
		CODE(e, 0x8e, 0xd0);
}

/* Where handlers of exceptions go on: at the end of the loop. */
static uint64_t end_of_loop;

/* Loads the data pointer, moves it on; the body; counts. */
static void program(uint8_t *bytes, uint64_t at)
{
	struct code e = { bytes };

	flat_again(&e, true);
	CODE(&e, 0x8b, 0x35); /* mov esi, [FAR_DATA] */
	code32(&e, FAR_DATA);
	CODE(&e, 0x81, 0x05); /* add dword [FAR_DATA], stride */
	code32(&e, FAR_DATA);
	code32(&e, (const uint32_t[]){ 0, 0, 0x38, 0x1f1 }[any(4)]);
	code8(&e, 0xbc); /* mov esp, */
	code32(&e, (const uint32_t[]){ GUEST_STACK, GUEST_STACK, DATA + 0x301, 6 }[any(4)]);
	if (any(2))
		CODE(&e, 0x83, 0xe6, 0xf0); /* and esi, -16 */
	for (unsigned n = 5 + any(BODY); n > 0 && e.at - bytes < CODE_BYTES - 0x100; n--)
		any_insn(&e, bytes, at);
	end_of_loop = at + (uint64_t)(e.at - bytes);
	flat_again(&e, false);
	CODE(&e, 0xff, 0x0d); /* dec dword [FAR_DATA + 8] */
	code32(&e, FAR_DATA + 8);
	CODE(&e, 0x0f, 0x84); /* jz: over the jump */
	code32(&e, 5);
	code_go(&e, OP_JMP, bytes);
	code8(&e, 0xf1); /* #DB */
}

/* Some exceptions go on at the end of the loop: mov [esp], end; and it may not have been 32-bit
 * code that they came from. */
static void handlers(struct guest *g)
{
	struct code e = { g->ram + GUEST_HANDLERS + 0x60 * 16 };

	CODE(&e, 0xc7, 0x04, 0x24);
	code32(&e, (uint32_t)end_of_loop);
	if (way == COMPATIBILITY) { /* mov dword [rsp + 8], CS */
		CODE(&e, 0xc7, 0x44, 0x24, 8);
		code32(&e, selector(CODE_32));
		code8(&e, 0x48);
	}
	code8(&e, 0xcf);
	for (unsigned v = 0; v < 20; v++) {
		struct code h = { g->ram + GUEST_HANDLERS + v * 16 };

		if (v != 0 && v != 5 && v != 6 && (v < 11 || v > 14))
			continue;
		if (v >= 11)
			CODE(&h, 0x58); /* the error code */
		code_go(&h, OP_JMP, g->ram + GUEST_HANDLERS + 0x60 * 16);
	}
}

static void put32(struct guest *g, uint64_t at, uint32_t v)
{
	memcpy(g->ram + at, &v, 4);
}

static void tables(struct guest *g)
{
	guest_tables(g);
	for (unsigned n = 0; n < DESCRIPTOR_COUNT; n++)
		guest_put64(g, GUEST_GDT + n * 8,
			    descriptors[n] | (n > CODE_32_0 ? (uint64_t)cpl << 45 : 0));
	guest_put64(g, TSS + 4, GUEST_STACK + 0x800); /* of either kind */
	if (way != COMPATIBILITY)
		put32(g, TSS + 8, DATA_0 * 8);
	guest_put64(g, PDPTE, GUEST_PD | PTE_P);
	put32(g, PD32, PT32 | PTE_P | PTE_W | PTE_US);
	for (unsigned n = 0; n < 512; n++)
		put32(g, PT32 + n * 4, n << 12 | PTE_P | PTE_W | PTE_US);
	for (uint64_t hole = HOLE; hole < HOLE + 0x4000; hole += PAGE_SIZE) {
		guest_put64(g, GUEST_PT + hole / PAGE_SIZE * 8, 0);
		put32(g, PT32 + hole / PAGE_SIZE * 4, 0);
	}
	for (unsigned v = 0; v < 256 && way != COMPATIBILITY; v++)
		guest_put64(g, GUEST_IDT + v * 8,
			    (GUEST_HANDLERS + v * 16) | (CODE_32_0 * 8) << 16 |
				    UINT64_C(0x8e00) << 32);
}

static void prepare(struct guest *g)
{
	/* At a page's middle, or across its end. */
	uint64_t at = GUEST_CODE + (any(3) ? 0 : 0xe00 + any(0x100));

	way = any(WAYS);
	cpl = any(2) ? 3 : 0;
	much_segments = !any(3);
	much_units = !any(3);
	tables(g);
	program(g->ram + at, at);
	if (any(6) && counted)
		handlers(g);
	guest_put64(g, FAR_DATA, DATA + any(2) * any(0x800));
	guest_put64(g, FAR_DATA + 8, ITERATIONS);
	for (unsigned n = 0; n < 0x2000; n += 4)
		put32(g, DATA + n, any(UINT32_MAX));
	end_of_loop = at; /* of the state, now */
}

static struct x86_seg segment(enum descriptor_index d)
{
	return segment_unpack(selector(d), descriptors[d] | (uint64_t)cpl << 45);
}

static void any_state(struct x86_state *s)
{
	static const uint8_t data[] = { BASED, BASED, BASED_HIGH, FLAT, LIMITED_BASED };

	for (unsigned r = 0; r < GPR_COUNT; r++)
		s->gpr[r] = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX);
	for (unsigned r = 0; r < 16; r++)
		for (unsigned q = 0; q < 4; q++)
			s->fpu.ymm[r][q] = (uint64_t)any(UINT32_MAX) << 32 | any(UINT32_MAX);
	s->fpu.ftw = (uint8_t)any(256);
	s->fpu.fcw = 0x37f;
	s->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	s->xcr0 = 7;
	for (unsigned seg = 0; seg < SEG_COUNT; seg++)
		s->seg[seg] = segment(seg == CS   ? CODE_32
				      : seg >= FS ? data[any(sizeof(data))]
						  : FLAT);
	s->gdtr = (struct x86_table){ GUEST_GDT, DESCRIPTOR_COUNT * 8 - 1 };
	s->tr = (struct x86_seg){
		.base = TSS, .limit = 0x67, .attr = SEG_P | 11, .selector = 0x80
	};
	if (way == COMPATIBILITY)
		return;
	s->efer = EFER_NX;
	s->cr4 &= ~CR4_PAE;
	if (way == PAGING_OFF)
		s->cr0 &= ~CR0_PG;
	if (way == PAGING_PAE)
		s->cr4 |= CR4_PAE;
	s->cr3 = way == PAGING_PAE ? PDPTE : PD32;
	if (way == PAGING_PAE)
		s->pdpte[0] = GUEST_PD | PTE_P;
}

/* Not counted: to its end, if that is no other exception, whose frame shows flags. */
static void run_pair(struct pair *p)
{
	if (counted)
		(void)pair_run(p, 15000);
	else if (guest_run(&p->a, 100000) == EXIT_HLT && guest_vector(&p->a) == VEC_DB)
		pair_same(p, EXIT_HLT, guest_run(&p->b, 100000));
}

static uint64_t run_both(unsigned n, unsigned torture, uint64_t code_cache)
{
	struct x86_state s;
	char name[80] = "";
	struct pair p;
	uint64_t native;

	seed = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
	p = pair_open(name, counted, torture, code_cache);
	p.chance = seed;
	prepare(&p.a);
	snprintf(name, sizeof(name), "program %u way %u cpl %u torture %x", n, way, cpl, torture);
	s = guest_state64(cpl, end_of_loop);
	any_state(&s);
	pair_set(&p, &s);
	if (!any(4)) /* FDP follows every operand */
		p.a.vm->cpu_model = p.b.vm->cpu_model = cpu_model_find("trapeze-v1-base");
	run_pair(&p);
	native = pair_native(&p);
	pair_close(&p);
	return native;
}

/* bt_random32 [FIRST [PROGRAMS]] */
int main(int argc, char **argv)
{
	return random_main(argc, argv, (struct random_runs){ PROGRAMS, 16, run_both });
}
