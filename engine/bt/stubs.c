/*
 * stubs.c - the code between C and translated code, made once for each vCPU.
 *
 * The idea: everything reachable by GS, so that entering and leaving are a row of moves. C runs on
 * the host's stack, translated code on the hint stack.
 *
 * Spec: engine/bt/bt.h; System V ABI 3.2. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/stubs.h"

#include "engine/bt/gate.h"
#include "engine/bt/translation.h"

#define VECTORS 16u

/* vmovdqu between YMM n and its place: 6fh loads, 7fh stores. */
static void move_ymm(struct code *e, uint8_t opcode, unsigned n)
{
	CODE(e, PREFIX_GS, 0xc5, n < 8 ? 0xfe : 0x7e, opcode);
	code_modrm_state(e, n, AT(s.fpu.ymm) + n * 32);
}

/* stmxcsr (3) or ldmxcsr (2) gs:[at] */
static void move_mxcsr(struct code *e, unsigned extension, uint32_t at)
{
	CODE(e, PREFIX_GS, 0x0f, 0xae);
	code_modrm_state(e, extension, at);
}

/* Subroutines: guest's vector state in, and out again. */
static const uint8_t *put_vectors_in(struct code *e)
{
	const uint8_t *begin = e->at;

	for (unsigned n = 0; n < VECTORS; n++)
		move_ymm(e, 0x6f, n);
	move_mxcsr(e, 3, AT(x.host_mxcsr));
	move_mxcsr(e, 2, AT(s.fpu.mxcsr));
	code_state_set8(e, AT(x.vector_live), 1);
	code8(e, 0xc3);
	return begin;
}

static const uint8_t *put_vectors_out(struct code *e)
{
	const uint8_t *begin = e->at;

	for (unsigned n = 0; n < VECTORS; n++)
		move_ymm(e, 0x7f, n);
	move_mxcsr(e, 3, AT(s.fpu.mxcsr));
	move_mxcsr(e, 2, AT(x.host_mxcsr));
	CODE(e, 0xc5, 0xf8, 0x77, 0xc3); /* vzeroupper; ret */
	return begin;
}

static void put_enter(struct bt *t, struct code *e)
{
	union {
		const uint8_t *code;
		int (*enter)(struct interp *c, const uint8_t *native);
	} enter = { bt_exec(t, e->at) };

	t->enter = enter.enter;
	/* push rbx, rbp, r12-r15; sub rsp, 8 */
	CODE(e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x48, 0x83, 0xec, 8);
	code_state(e, OP_STORE, RSP, AT(x.host_rsp));
	code_state(e, OP_LOAD, RSP, AT(x.hint_rsp));
	code_move(e, R11, RSI);
	bt_load_all(e);
	CODE(e, 0x41, 0xff, 0xe3); /* jmp r11 */
}

/* Returns from enter() with EAX. Returns its own address. */
static const uint8_t *put_return(struct code *e)
{
	const uint8_t *begin = e->at;

	code_state_set8(e, AT(x.vector_live), 0);
	/* add rsp, 8; pop r15-r12, rbp, rbx; ret */
	CODE(e, 0x48, 0x83, 0xc4, 8, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b);
	code8(e, 0xc3);
	return begin;
}

/* x.kind says why. */
static const uint8_t *put_leave(struct code *e, const struct bt_common *s)
{
	const uint8_t *begin = e->at;

	bt_to_host_stack(e);
	bt_units_out(e, s);
	code_state32(e, OP_LOAD, RAX, AT(x.kind));
	code_go(e, OP_JMP, s->back);
	return begin;
}

/* mov reg, gs:[scratch n], or the other way round */
static void scratch(struct code *e, uint8_t opcode, unsigned reg, unsigned n)
{
	code_state(e, opcode, reg, AT(x.scratch) + n * 8);
}

/* op to, gs:[index * 8 + at] */
static void code_indexed(struct code *e, uint8_t opcode, unsigned to, unsigned index, uint32_t at)
{
	CODE(e, PREFIX_GS, 0x48, opcode, (uint8_t)(to << 3 | 4), (uint8_t)(0xc0 | index << 3 | 5));
	code32(e, at);
}

/* RDX = linear address that the place at R11 leads to, RCX = its half. */
static uint8_t *put_place_target(struct code *e)
{
	uint8_t *wide;

	CODE(e, 0x49, 0x63); /* movsxd rdx, dword [r11 + target] */
	code_modrm_mem(e, RDX, R11, offsetof(struct bt_place, target));
	code_state(e, OP_ADD, RDX, AT(x.code_va));
	code_state_cmp8(e, AT(code_bits), 64);
	wide = code_jump_if(e, CC_E);
	code_move32(e, RDX, RDX);
	code_here(e, wide);
	code_move(e, RCX, RDX);
	CODE(e, 0x48, 0xc1, 0xe9, 63, 0x41, 0x3a); /* shr rcx, 63; cmp cl, [r11 + half] */
	code_modrm_mem(e, RCX, R11, offsetof(struct bt_place, half));
	return code_jump_if(e, CC_NE);
}

/* Is code at RDX where it was when the place at R11 was linked? */
static void put_place_check(struct code *e, uint8_t *out[2])
{
	code_move(e, RAX, RDX);
	CODE(e, 0x48, 0xc1, 0xe8, 7, 0x25); /* shr rax, 7; and eax, mask */
	code32(e, (TLB_ENTRIES - 1) * (uint32_t)sizeof(struct tlb_entry));
	code_indexed(e, OP_ADD, RAX, RCX, AT(tlb.code_now));
	code_mem(e, OP_LOAD, RCX, RAX, ACCESS_EXEC * 8);
	CODE(e, 0x48, 0x31, 0xd1, 0x48, 0x81, 0xf9); /* xor rcx, rdx; cmp rcx, 4095 */
	code32(e, PAGE_SIZE - 1);
	out[0] = code_jump_if(e, CC_A);
	code_mem(e, OP_LOAD, RCX, RAX, offsetof(struct tlb_entry, host));
	code_mem(e, OP_CMP, RCX, R11, offsetof(struct bt_place, host));
	out[1] = code_jump_if(e, CC_NE);
}

/* The cell of the place at R11 is made good, and the place taken. */
static void put_place_renew(const struct bt *t, struct code *e)
{
	code_mem_of(e, false, OP_LOAD, RCX, R11, offsetof(struct bt_place, cell));
	code_state(e, OP_ADD, RCX, AT(x.data));
	code_state(e, OP_LOAD, RAX, AT(x.code_va));
	code_mem(e, OP_STORE, RAX, RCX, offsetof(struct bt_cell, from));
	CODE(e, 0x41, 0x0f, 0xb6); /* movzx eax, byte [r11 + half] */
	code_modrm_mem(e, RAX, R11, offsetof(struct bt_place, half));
	code_indexed(e, OP_LOAD, RAX, RAX, AT(tlb.generation_now));
	code_mem(e, OP_STORE, RAX, RCX, offsetof(struct bt_cell, generation));
	CODE(e, 0x48, 0x81, 0xe2); /* and rdx, -4096 */
	code32(e, (uint32_t) - (int32_t)PAGE_SIZE);
	code_mem(e, OP_STORE, RDX, RCX, offsetof(struct bt_cell, to));
	code_state(e, OP_STORE, RDX, AT(x.code_va));
	CODE(e, 0x45, OP_LOAD); /* mov r11d, [r11 + native] */
	code_modrm_mem(e, R11, R11, offsetof(struct bt_place, native));
	code_state(e, OP_ADD, R11, AT(x.code));
	if (t->room->shared) /* another vCPU has linked it */
		code_mem(e, OP_STORE, R11, RCX, offsetof(struct bt_cell, next));
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	CODE(e, 0x41, 0xff, 0xe3); /* jmp r11 */
}

/*
 * A place in R11D. It may be linked, only that mappings of code have changed since: if not those
 * that it needs, it goes on being linked.
 */
static const uint8_t *put_edge(const struct bt *t, struct code *e, const struct bt_common *s)
{
	const uint8_t *begin = e->at;
	uint8_t *out[5];

	code_state32(e, OP_STORE, R11, AT(x.place));
	scratch(e, OP_STORE, RAX, 0);
	scratch(e, OP_STORE, RDX, 1);
	CODE(e, 0x4d, 0x69, 0xdb); /* imul r11, r11, size */
	code32(e, (uint32_t)sizeof(struct bt_place));
	code_state(e, OP_ADD, R11, AT(x.places));
	for (unsigned n = 0; n < 2; n++) {
		CODE(e, 0x41, 0x83); /* cmp dword [r11 + cell or native], 0 */
		code_modrm_mem(e, 7, R11,
			       n ? offsetof(struct bt_place, native)
				 : offsetof(struct bt_place, cell));
		code8(e, 0);
		out[n] = code_jump_if(e, CC_E);
	}
	out[2] = put_place_target(e);
	put_place_check(e, out + 3);
	put_place_renew(t, e);
	for (unsigned n = 0; n < 5; n++)
		code_here(e, out[n]);
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	code_state_set32(e, AT(x.kind), BT_EDGE);
	code_go(e, OP_JMP, s->leave);
	return begin;
}

/* RIP in R11. */
static const uint8_t *put_rip(struct code *e, const struct bt_common *s, enum bt_kind kind)
{
	const uint8_t *begin = e->at;

	code_state(e, OP_STORE, R11, AT_REGISTER(R_RIP));
	code_state_set32(e, AT(x.kind), kind);
	code_go(e, OP_JMP, s->leave);
	return begin;
}

/*
 * The jump at RCX to R11 was noted when code was mapped otherwise. Is its target where it was?
 * Jumps to *out if not; RAX and RDX are in scratch memory.
 */
static void put_jump_check(struct code *e, unsigned half, uint8_t *out[2])
{
	scratch(e, OP_STORE, RAX, 0);
	scratch(e, OP_STORE, RDX, 1);
	code_move(e, RAX, R11);
	CODE(e, 0x48, 0xc1, 0xe8, 7, 0x25); /* shr rax, 7; and eax, mask */
	code32(e, (TLB_ENTRIES - 1) * (uint32_t)sizeof(struct tlb_entry));
	code_state(e, OP_ADD, RAX, AT(tlb.code_now) + half * 8);
	code_mem(e, OP_LOAD, RDX, RAX, ACCESS_EXEC * 8);
	CODE(e, 0x4c, 0x31, 0xda, 0x48, 0x81, 0xfa); /* xor rdx, r11; cmp rdx, 4095 */
	code32(e, PAGE_SIZE - 1);
	out[0] = code_jump_if(e, CC_A);
	code_mem(e, OP_LOAD, RDX, RAX, offsetof(struct tlb_entry, host));
	CODE(e, PREFIX_GS, 0x0f, 0xb6); /* movzx eax, byte [user] */
	code_modrm_state(e, RAX, AT(user));
	CODE(e, 0x48, 0x09, 0xc2); /* or rdx, rax */
	code_mem(e, OP_CMP, RDX, RCX, offsetof(struct bt_jump, host));
	out[1] = code_jump_if(e, CC_NE);
	code_state(e, OP_LOAD, RDX, AT(tlb.generation_now) + half * 8);
	code_mem(e, OP_STORE, RDX, RCX, offsetof(struct bt_jump, generation));
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
}

/* Linear address in R11, of half `half`. */
static const uint8_t *put_indirect(struct code *e, const struct bt_common *s, unsigned half)
{
	const uint8_t *begin = e->at;
	uint8_t *miss, *fresh, *out[2];

	_Static_assert(sizeof(struct bt_jump) == 32, "the index is shifted by 5");
	code_move(e, RCX, R11);
	/* shr rcx, 4; xor rcx, r11; and ecx, mask; shl ecx, 5 */
	CODE(e, 0x48, 0xc1, 0xe9, 4, 0x4c, 0x31, 0xd9, 0x81, 0xe1);
	code32(e, BT_JUMPS - 1);
	CODE(e, 0xc1, 0xe1, 5);
	code_state(e, OP_ADD, RCX, AT(x.jumps));
	code_mem(e, OP_CMP, R11, RCX, offsetof(struct bt_jump, va));
	miss = code_jump_if(e, CC_NE);
	code_state(e, OP_LOAD, R11, AT(tlb.generation_now) + half * 8);
	code_mem(e, OP_CMP, R11, RCX, offsetof(struct bt_jump, generation));
	code_mem(e, OP_LOAD, R11, RCX, offsetof(struct bt_jump, va));
	fresh = code_jump_if(e, CC_E);
	put_jump_check(e, half, out);
	code_here(e, fresh);
	CODE(e, 0x49, 0x81, 0xe3); /* and r11, -4096 */
	code32(e, (uint32_t) - (int32_t)PAGE_SIZE);
	code_state(e, OP_STORE, R11, AT(x.code_va));
	code8(e, 0xff); /* jmp [rcx + native] */
	code_modrm_mem(e, 4, RCX, offsetof(struct bt_jump, native));
	code_here(e, out[0]);
	code_here(e, out[1]);
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	code_here(e, miss);
	put_rip(e, s, BT_INDIRECT);
	return begin;
}

/* A jump within its page, to R11 in it, whose table does not know. */
static const uint8_t *put_page_miss(struct code *e, const struct bt_common *s)
{
	const uint8_t *begin = e->at;

	code_state(e, OP_ADD, R11, AT(x.code_va));
	put_rip(e, s, BT_INDIRECT);
	return begin;
}

/*
 * A jump within its page, to R11 in it, whose second table at RCX does not know, or knows that its
 * flags are needed: x.insn says where they are saved, from the code's beginning.
 */
static const uint8_t *put_settle(struct code *e)
{
	const uint8_t *begin = e->at;

	code8(e, 0x51); /* push rcx */
	code_state32(e, OP_LOAD, RCX, AT(x.insn));
	code_state(e, OP_ADD, RCX, AT(x.code));
	CODE(e, 0xff, 0xd1, 0x59);       /* call rcx; pop rcx */
	CODE(e, 0x42, 0xff, 0xa4, 0xd9); /* jmp [rcx + r11 * 8 - to the first table] */
	code32(e, (uint32_t)((int32_t)offsetof(struct bt_page_jumps, native) -
			     (int32_t)offsetof(struct bt_page_jumps, plain)));
	return begin;
}

/* RAX = the TLB entry of the address in R11, of either half; RDX = which half. */
static void put_entry(struct code *e)
{
	code_move(e, RDX, R11);
	CODE(e, 0x48, 0xc1, 0xea, 63); /* shr rdx, 63 */
	code_move(e, RAX, R11);
	CODE(e, 0x48, 0xc1, 0xe8, 7, 0x25); /* shr rax, 7; and eax, mask */
	code32(e, (TLB_ENTRIES - 1) * (uint32_t)sizeof(struct tlb_entry));
	CODE(e, PREFIX_GS, 0x48, OP_ADD, 0x04, 0xd5); /* add rax, gs:[rdx * 8 + tlb.now] */
	code32(e, AT(tlb.now));
}

/* The cell at RCX had another page: is it one that hops? Leaves RDX. Jumps to *done if so. */
static uint8_t *put_score(struct code *e)
{
	uint8_t *slowly, *few, *out;

	CODE(e, 0x8b);
	code_modrm_mem(e, RDX, RCX, offsetof(struct bt_memory, stamp));
	CODE(e, 0x44, 0x29, 0xfa);     /* sub edx, r15d: instructions since */
	CODE(e, 0x83, 0xfa, BT_RAPID); /* cmp edx */
	slowly = code_jump_if(e, CC_AE);
	CODE(e, 0xfe); /* inc byte [score] */
	code_modrm_mem(e, 0, RCX, offsetof(struct bt_memory, score));
	CODE(e, 0x80); /* cmp byte [score], max */
	code_modrm_mem(e, 7, RCX, offsetof(struct bt_memory, score));
	code8(e, BT_SCORE_MAX);
	few = code_jump_if(e, CC_B);
	code_state(e, OP_STORE, RCX, AT(x.hops));
	out = code_go(e, OP_JMP, NULL);
	code_here(e, slowly);
	code_here(e, few);
	return out;
}

/* The cell at RCX joins the list of the entry at RAX. Leaves RDX. Jumps to *full if there is no
 * room. */
static uint8_t *put_list(struct code *e, unsigned half)
{
	uint8_t *full;

	code_state(e, OP_LOAD, RDX, AT(x.cells) + half * 8);
	code_state(e, OP_CMP, RDX, AT(x.cells_end) + half * 8);
	full = code_jump_if(e, CC_E);
	code_mem(e, OP_STORE, RCX, RDX, offsetof(struct bt_live, cell));
	code_mem(e, OP_STORE, RAX, RDX, offsetof(struct bt_live, entry));
	code_mem(e, OP_LOAD, RCX, RAX, ACCESS_EXEC * 8);
	code_mem(e, OP_STORE, RCX, RDX, offsetof(struct bt_live, next));
	code_mem(e, OP_STORE, RDX, RAX, ACCESS_EXEC * 8);
	code_mem(e, OP_LOAD, RCX, RDX, offsetof(struct bt_live, cell));
	code_lea(e, true, RDX, RDX, NO_REGISTER, 0, sizeof(struct bt_live));
	code_state(e, OP_STORE, RDX, AT(x.cells) + half * 8);
	return full;
}

/* RDX = what the limit of the cell at RCX will be. Cells of shared code were not told, see
 * memory.c. */
static void full_limit(const struct bt *t, struct code *e)
{
	if (t->room->shared) {
		CODE(e, PREFIX_GS, 0x0f, 0xb7); /* movzx edx, word [x.full] */
		code_modrm_state(e, RDX, AT(x.full));
		return;
	}
	CODE(e, 0x0f, 0xb7); /* movzx edx, word [full] */
	code_modrm_mem(e, RDX, RCX, offsetof(struct bt_memory, full));
}

/* The cell at RCX becomes that of the entry at RAX. */
static void put_fill(const struct bt *t, struct code *e, enum access access)
{
	uint8_t *plain;

	code_mem_of(e, false, OP_STORE, BUDGET, RCX, offsetof(struct bt_memory, stamp));
	code_mem(e, OP_LOAD, RDX, RAX, (int32_t)access * 8);
	code_mem(e, OP_STORE, RDX, RCX, offsetof(struct bt_memory, tag));
	code_mem(e, OP_LOAD, RDX, RAX, offsetof(struct tlb_entry, host));
	if (t->room->shared) {
		code_state_cmp8(e, AT(x.full) + 2, 0);
	} else {
		CODE(e, 0x80); /* cmp byte [based], 0 */
		code_modrm_mem(e, 7, RCX, offsetof(struct bt_memory, based));
		code8(e, 0);
	}
	plain = code_jump_if(e, CC_E);
	code_mem(e, OP_SUB, RDX, RAX, (int32_t)access * 8);
	code_here(e, plain);
	code_mem(e, OP_STORE, RDX, RCX, offsetof(struct bt_memory, host));
	full_limit(t, e);
	code_mem(e, OP_STORE, RDX, RCX, offsetof(struct bt_memory, limit));
}

/*
 * A subroutine: R11 linear address, RCX cell of code in half `half`. Flags: "not above", and R11 is
 * the host address; or "above", and the TLB does not know.
 */
static const uint8_t *put_refill(const struct bt *t, struct code *e, unsigned half,
				 enum access access)
{
	const uint8_t *begin = e->at;
	uint8_t *miss, *other, *ac, *dead, *full, *hops;

	scratch(e, OP_STORE, RAX, 0);
	scratch(e, OP_STORE, RDX, 1);
	put_entry(e);
	scratch(e, OP_STORE, RDX, 2);
	code_mem(e, OP_XOR, R11, RAX, (int32_t)access * 8);
	full_limit(t, e);
	CODE(e, 0x49, 0x39, 0xd3); /* cmp r11, rdx */
	miss = code_jump_if(e, CC_AE);
	code_state_cmp8(e, AT(x.scratch[2]), (uint8_t)half);
	other = code_jump_if(e, CC_NE);
	code_state_cmp8(e, AT(tlb.context), TLB_SUPERVISOR_AC); /* see struct tlb */
	ac = half ? NULL : code_jump_if(e, CC_E);
	CODE(e, 0x48, 0x83); /* cmp qword [limit], 0 */
	code_modrm_mem(e, 7, RCX, offsetof(struct bt_memory, limit));
	code8(e, 0);
	dead = code_jump_if(e, CC_E);
	hops = put_score(e);
	code_here(e, dead);
	full = put_list(e, half);
	put_fill(t, e, access);
	code_here(e, other);
	if (ac)
		code_here(e, ac);
	code_mem(e, OP_ADD, R11, RAX, offsetof(struct tlb_entry, host));
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	CODE(e, 0x39, 0xc9, 0xc3); /* cmp ecx, ecx; ret */
	code_here(e, miss);
	code_here(e, hops);
	code_here(e, full);
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	CODE(e, 0x48, 0x85, 0xc9, 0xc3); /* test rcx, rcx; ret */
	return begin;
}

/* A subroutine: R11 linear address, RCX limit of a cell for it. As put_refill(), without a cell. */
static const uint8_t *put_either(struct code *e, enum access access)
{
	const uint8_t *begin = e->at;
	uint8_t *miss;

	scratch(e, OP_STORE, RAX, 0);
	scratch(e, OP_STORE, RDX, 1);
	put_entry(e);
	code_mem(e, OP_XOR, R11, RAX, (int32_t)access * 8);
	CODE(e, 0x49, 0x39, 0xcb); /* cmp r11, rcx */
	miss = code_jump_if(e, CC_AE);
	code_mem(e, OP_ADD, R11, RAX, offsetof(struct tlb_entry, host));
	CODE(e, 0x31, 0xc9); /* xor ecx, ecx */
	code_here(e, miss);
	scratch(e, OP_LOAD, RAX, 0);
	scratch(e, OP_LOAD, RDX, 1);
	CODE(e, 0x48, 0x85, 0xc9, 0xc3); /* test rcx, rcx; ret: above unless zero */
	return begin;
}

/*
 * A guest RET that went elsewhere than the hint said: R11 the address, ECX the RET. RSP has yet to
 * move, unless the address is not canonical.
 */
static const uint8_t *put_mismatch(struct bt *t, struct code *e)
{
	const uint8_t *begin = e->at;
	uint8_t *bad, *narrow;

	CODE(e, 0x48, 0x8d, 0x64, 0x24, 0x08); /* lea rsp, [rsp + 8] */
	code_state32(e, OP_STORE, RCX, AT(x.insn));
	code_move(e, RCX, R11);
	/* shl rcx, 16; sar rcx, 16; cmp rcx, r11 */
	CODE(e, 0x48, 0xc1, 0xe1, 16, 0x48, 0xc1, 0xf9, 16, 0x4c, 0x39, 0xd9);
	bad = code_jump_if(e, CC_NE);
	code_state_cmp8(e, AT(code_bits), 64);
	narrow = code_jump_if(e, CC_NE);
	code_lea(e, true, bt_home(RSP), bt_home(RSP), NO_REGISTER, 0, 8);
	CODE(e, 0x4d, 0x85, 0xdb); /* test r11, r11 */
	code_aim(code_jump_if(e, 8 /* s */), t->indirect[1]);
	code_go(e, OP_JMP, t->indirect[0]);
	code_here(e, narrow);
	code_lea(e, false, bt_home(RSP), bt_home(RSP), NO_REGISTER, 0, 4);
	code_go(e, OP_JMP, t->indirect[0]);
	code_here(e, bad);
	code_state32(e, OP_LOAD, R11, AT(x.insn));
	code_go(e, OP_CALL, t->slow);
	CODE(e, 0x0f, 0x0b); /* the handler faults: never here */
	return begin;
}

/* Where a RET finds the hint stack empty. */
static const uint8_t *put_underflow(struct bt *t, struct code *e)
{
	const uint8_t *begin = e->at;

	CODE(e, 0x48, 0x8d, 0x64, 0x24, 0xf0); /* lea rsp, [rsp - 16] */
	code_go(e, OP_JMP, t->mismatch);
	return begin;
}

void bt_stubs(struct bt *t)
{
	struct code e = { t->code.write_at };
	struct bt_common s = { 0 };

	if (t->vectors) {
		t->vector = s.in = put_vectors_in(&e);
		s.out = put_vectors_out(&e);
	}
	t->x87 = s.x87_in = bt_put_x87_in(&e);
	s.x87_out = bt_put_x87_out(&e);
	put_enter(t, &e);
	s.back = put_return(&e);
	s.leave = put_leave(&e, &s);
	t->edge = put_edge(t, &e, &s);
	t->boundary = put_rip(&e, &s, BT_BOUNDARY);
	t->page_miss = put_page_miss(&e, &s);
	t->settle = put_settle(&e);
	for (unsigned half = 0; half < 2; half++) {
		t->indirect[half] = put_indirect(&e, &s, half);
		t->refill[half][ACCESS_READ] = put_refill(t, &e, half, ACCESS_READ);
		t->refill[half][ACCESS_WRITE] = put_refill(t, &e, half, ACCESS_WRITE);
	}
	t->either[ACCESS_READ] = put_either(&e, ACCESS_READ);
	t->either[ACCESS_WRITE] = put_either(&e, ACCESS_WRITE);
	t->slow = bt_put_slow(&e, &s, t->torture ? (uintptr_t)bt_torture_slow : (uintptr_t)bt_slow);
	t->gate_slow = bt_put_slow(&e, &s, (uintptr_t)bt_gate_slow);
	t->group_slow = bt_put_group_slow(&e, &s);
	t->syscall = bt_put_syscall(t, &e);
	t->sysret = bt_put_sysret(t, &e);
	t->tsc = bt_put_tsc(t, &e);
	t->mismatch = put_mismatch(t, &e);
	t->underflow = bt_exec(t, put_underflow(t, &e));
	for (unsigned log2 = 0; log2 < 4; log2++) {
		t->rep_movs[log2] = bt_put_rep_movs(&e, log2);
		t->rep_stos[log2] = bt_put_rep_stos(&e, log2);
	}
	t->room->begin = e.at + (-(uintptr_t)e.at & 15);
}
