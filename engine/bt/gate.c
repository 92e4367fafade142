/*
 * gate.c - SYSCALL and SYSRET, and RDTSC: subroutines in place of handlers.
 *
 * The idea: what SYSCALL loads follows from a few MSRs that a kernel writes once. So CS and SS are
 * made beforehand (struct interp's x.gate), the TLB has its arrays ready for every context, and a
 * system call is a row of moves. Whatever is out of the ordinary - single-stepping, somebody who
 * waits for IF, a kernel that keeps arithmetic flags - is the handler's: gate_ok says so.
 *
 * Supervisor and user have a hint stack each, so that a system call costs the user none of
 * its hints.
 *
 * Spec: SDM vol. 2 SYSCALL, SYSRET, RDTSC. Tested by test/unit/bt.c (gates).
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/gate.h"

#include "engine/bt/translation.h"
#include "engine/interp/system.h"

#define KEPT_SIMPLE (FLAG_ARITH | FLAG_TF | FLAG_AC) /* FMASK has to clear them */
#define CC_S        8

static bool gate_ok(const struct x86_state *s)
{
	return s->efer & EFER_SCE && (s->fmask & KEPT_SIMPLE) == KEPT_SIMPLE && s->lstar >> 63;
}

void bt_gate_make(struct interp *c)
{
	syscall_segments(&c->s, c->x.gate[0]);
	sysret_segments(&c->s, true, c->x.gate[1]);
	c->x.gate_ok = gate_ok(&c->s);
}

int bt_gate_slow(struct interp *c, uint32_t name)
{
	const struct bt *t = c->executor;

	if (!c->x.gate_ok)
		bt_gate_make(c);
	return t->torture ? bt_torture_slow(c, name) : bt_slow(c, name);
}

/* --- the stubs --------------------------------------------------------------------------- */

/* gs:[to] = gs:[from], 8 bytes, by RCX */
static void copy(struct code *e, uint32_t to, uint32_t from)
{
	code_state(e, OP_LOAD, RCX, from);
	code_state(e, OP_STORE, RCX, to);
}

static void copy_segment(struct code *e, enum seg seg, unsigned user)
{
	uint32_t to = AT(s.seg) + seg * (uint32_t)sizeof(struct x86_seg);
	uint32_t from = AT(x.gate) + (user * 2 + (seg == SS)) * (uint32_t)sizeof(struct x86_seg);

	_Static_assert(sizeof(struct x86_seg) % 8 == 0, "it is copied by quadwords");
	for (uint32_t at = 0; at < sizeof(struct x86_seg); at += 8)
		copy(e, to + at, from + at);
}

/* The TLB's arrays for the context: tlb_set_context(). */
static void set_context(struct code *e, enum tlb_context context)
{
	uint32_t view = AT(tlb.view) + context * (uint32_t)sizeof(struct tlb_view);

	for (uint32_t half = 0; half < 2; half++) {
		copy(e, AT(tlb.now) + half * 8,
		     view + (uint32_t)offsetof(struct tlb_view, now) + half * 8);
		copy(e, AT(tlb.code_now) + half * 8,
		     view + (uint32_t)offsetof(struct tlb_view, code) + half * 8);
		code_state(e, OP_LOAD, RCX,
			   view + (uint32_t)offsetof(struct tlb_view, generation) + half * 8);
		code_mem(e, OP_LOAD, RCX, RCX, 0);
		code_state(e, OP_STORE, RCX, AT(tlb.generation_now) + half * 8);
	}
	code_state_set32(e, AT(tlb.context), context);
}

static void set_level(struct code *e, unsigned user)
{
	copy_segment(e, CS, user);
	copy_segment(e, SS, user);
	code_state_set8(e, AT(cpl), user ? 3 : 0);
	code_state_set8(e, AT(user), (uint8_t)user);
	set_context(e, user ? TLB_USER : TLB_SUPERVISOR);
}

static void generations(struct code *e, uint32_t to, uint32_t from)
{
	for (uint32_t half = 0; half < 2; half++)
		copy(e, to + half * 8, from + half * 8);
}

/* The user's hints wait; the supervisor has none. */
static void hints_to_supervisor(struct code *e)
{
	code_state(e, OP_STORE, RSP, AT(x.user_hint_rsp));
	generations(e, AT(x.user_generation), AT(x.hint_generation));
	code_state(e, OP_LOAD, RSP, AT(x.hint_empty));
	generations(e, AT(x.hint_generation), AT(tlb.generation_now));
}

/* The user's are good if its code is mapped as it was, and no user has run since: once. */
static void hints_to_user(struct code *e)
{
	uint8_t *other[2], *done;

	generations(e, AT(x.hint_generation), AT(tlb.generation_now));
	for (uint32_t half = 0; half < 2; half++) {
		code_state(e, OP_LOAD, RCX, AT(x.user_generation) + half * 8);
		code_state(e, OP_CMP, RCX, AT(tlb.generation_now) + half * 8);
		other[half] = code_jump_if(e, CC_NE);
	}
	code_state(e, OP_LOAD, RSP, AT(x.user_hint_rsp));
	done = code_go(e, OP_JMP, NULL);
	code_here(e, other[0]);
	code_here(e, other[1]);
	code_state(e, OP_LOAD, RSP, AT(x.hint_empty) + 8);
	code_here(e, done);
	code_constant(e, RCX, 0);
	code_state(e, OP_STORE, RCX, AT(x.user_generation));
}

/* The handler does it; it ends the block, so it does not come back. */
static void put_handler(struct bt *t, struct code *e, uint8_t *const *from, unsigned count)
{
	for (unsigned n = 0; n < count; n++)
		code_here(e, from[n]);
	code_state32(e, OP_LOAD, R11, AT(x.insn));
	code_go(e, OP_CALL, t->gate_slow);
	CODE(e, 0x0f, 0x0b);
}

/* R11 = RIP of the next instruction, ECX names the SYSCALL. */
const uint8_t *bt_put_syscall(struct bt *t, struct code *e)
{
	const uint8_t *begin = e->at;
	uint8_t *out;

	code_state32(e, OP_STORE, RCX, AT(x.insn));
	code_state_cmp8(e, AT(x.gate_ok), 0);
	out = code_jump_if(e, CC_E);
	bt_write(e, RCX, R11);
	bt_flags_gather(e);
	code_state(e, OP_LOAD, R11, AT(s.rflags));
	CODE(e, 0x41, 0x81, 0xe3); /* and r11d, the others */
	code32(e, ~(uint32_t)(FLAG_ARITH | FLAG_RF));
	CODE(e, 0x49, 0x09, 0xcb); /* or r11, rcx */
	bt_write(e, R11, R11);
	code_state(e, OP_LOAD, RCX, AT(s.fmask));
	CODE(e, 0x48, 0xf7, 0xd1, 0x49, 0x21, 0xcb); /* not rcx; and r11, rcx */
	CODE(e, 0x49, 0x83, 0xcb, FLAG_FIXED);       /* or r11, 2 */
	code_state(e, OP_STORE, R11, AT(s.rflags));
	CODE(e, 0x66, PREFIX_GS, 0xc7); /* mov word [x.flags]: none of them */
	code_modrm_state(e, 0, AT(x.flags));
	CODE(e, 0x00, FLAG_FIXED);
	set_level(e, 0);
	hints_to_supervisor(e);
	code_state(e, OP_LOAD, R11, AT(s.lstar));
	code_go(e, OP_JMP, t->indirect[1]);
	put_handler(t, e, &out, 1);
	return begin;
}

/* Is it a return like any other? Leaves guest R11 in R11. */
static unsigned check_sysret(struct code *e, uint8_t *out[6])
{
	unsigned n = 0;

	code_state_cmp8(e, AT(x.gate_ok), 0);
	out[n++] = code_jump_if(e, CC_E);
	code_state_cmp8(e, AT(cpl), 0);
	out[n++] = code_jump_if(e, CC_NE);
	code_state(e, OP_LOAD, R11, AT(vcpu));
	CODE(e, 0x41, 0x80); /* cmp byte [r11 + want_window], 0 */
	code_modrm_mem(e, 7, R11, offsetof(struct vcpu, want_window));
	code8(e, 0);
	out[n++] = code_jump_if(e, CC_NE);
	bt_read(e, R11, R11);
	CODE(e, 0x41, 0xf7, 0xc3); /* test r11d, TF | AC */
	code32(e, FLAG_TF | FLAG_AC);
	out[n++] = code_jump_if(e, CC_NE);
	code_move(e, RCX, bt_home(RCX));
	CODE(e, 0x48, 0xc1, 0xe9, 47); /* shr rcx, 47: is it of the canonical low half? */
	out[n++] = code_jump_if(e, CC_NE);
	return n;
}

/* ECX names the SYSRET, of 64 bits. */
const uint8_t *bt_put_sysret(struct bt *t, struct code *e)
{
	const uint8_t *begin = e->at;
	uint8_t *out[6];
	unsigned outs;

	code_state32(e, OP_STORE, RCX, AT(x.insn));
	outs = check_sysret(e, out);
	CODE(e, 0x44, 0x89, 0xd9, 0x81, 0xe1); /* mov ecx, r11d; and ecx, those of AH */
	code32(e, FLAG_ARITH & 0xff);
	CODE(e, 0x83, 0xc9, FLAG_FIXED, PREFIX_GS, 0x88); /* or ecx, 2; mov [x.flags + 1], cl */
	code_modrm_state(e, RCX, AT(x.flags) + 1);
	/* mov ecx, r11d; shr ecx, 11; and ecx, 1; mov [x.flags], cl: OF */
	CODE(e, 0x44, 0x89, 0xd9, 0xc1, 0xe9, 11, 0x83, 0xe1, 1, PREFIX_GS, 0x88);
	code_modrm_state(e, RCX, AT(x.flags));
	CODE(e, 0x41, 0x81, 0xe3); /* and r11d, what it takes */
	code32(e, SYSRET_KEPT);
	CODE(e, 0x49, 0x83, 0xcb, FLAG_FIXED); /* or r11, 2 */
	code_state(e, OP_STORE, R11, AT(s.rflags));
	set_level(e, 1);
	hints_to_user(e);
	code_move(e, R11, bt_home(RCX));
	code_go(e, OP_JMP, t->indirect[0]);
	put_handler(t, e, out, outs);
	return begin;
}

/* Called by translated code, on the host's stack, with the guest's vector registers in the host's.
 */
__attribute__((target("general-regs-only"))) static uint64_t now(const struct vcpu *vcpu)
{
	return vcpu_tsc(vcpu);
}

/* Registers that a C function may change, and that hold the guest's. */
static void c_registers(struct code *e, uint8_t opcode)
{
	static const unsigned guest[] = { RCX, RSP, RSI, RDI, R8 };

	for (unsigned n = 0; n < sizeof(guest) / sizeof(guest[0]); n++)
		code_state(e, opcode, bt_home(guest[n]), AT_REGISTER(guest[n]));
}

static void line_member(struct code *e, uint8_t opcode, unsigned reg, size_t member)
{
	code_mem(e, opcode, reg, RCX, (int32_t)member);
}

#define LINE(member) offsetof(struct clock_line, member)

/* RAX = the time-stamp counter, as clock_tsc() makes it of the host's; else jumps to *out. */
static void put_line(struct code *e, uint8_t *out[3])
{
	code_state(e, OP_LOAD, RCX, AT(x.line));
	/* rdtsc; shl rdx, 32; or rax, rdx */
	CODE(e, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 0x09, 0xd0);
	code_mem_of(e, false, OP_LOAD, RDX, RCX, LINE(version));
	CODE(e, 0xf6, 0xc2, 1); /* test dl, 1 */
	out[0] = code_jump_if(e, CC_NE);
	line_member(e, OP_SUB, RAX, LINE(host));
	line_member(e, OP_CMP, RAX, LINE(limit));
	out[1] = code_jump_if(e, CC_AE);
	CODE(e, 0x48, 0x0f, 0xaf); /* imul rax, [scale] */
	code_modrm_mem(e, RAX, RCX, LINE(scale));
	CODE(e, 0x48, 0xc1, 0xe8, 32); /* shr rax, 32 */
	line_member(e, OP_ADD, RAX, LINE(ticks));
	code_mem_of(e, false, OP_CMP, RDX, RCX, LINE(version));
	out[2] = code_jump_if(e, CC_NE);
	code_state(e, OP_LOAD, RCX, AT(vcpu));
	code_mem(e, OP_ADD, RAX, RCX, offsetof(struct vcpu, tsc_offset));
}

/* RAX to EDX:EAX, and back to who called. */
static void put_answer(struct code *e)
{
	/* mov rdx, rax; shr rdx, 32; mov eax, eax; ret */
	CODE(e, 0x48, 0x89, 0xc2, 0x48, 0xc1, 0xea, 32, 0x89, 0xc0, 0xc3);
}

/*
 * A subroutine: EDX:EAX = the time-stamp counter of a real-time machine; R11D names the
 * RDTSC. By the machine's clock if its line does not say it; with the vector registers live by the
 * handler: C may use them.
 */
const uint8_t *bt_put_tsc(struct bt *t, struct code *e)
{
	const uint8_t *begin = e->at;
	uint8_t *out[3];

	put_line(e, out);
	put_answer(e);
	for (unsigned n = 0; n < 3; n++)
		code_here(e, out[n]);
	code_state_cmp8(e, AT(x.vector_live), 0);
	code_aim(code_jump_if(e, CC_NE), t->slow);
	c_registers(e, OP_STORE);
	code_state(e, OP_STORE, RSP, AT(x.hint_rsp));
	code_state(e, OP_LOAD, RSP, AT(x.host_rsp));
	code_state(e, OP_LOAD, RDI, AT(vcpu));
	code_constant(e, RAX, (uintptr_t)now);
	CODE(e, 0xff, 0xd0); /* call rax */
	code_state(e, OP_LOAD, RSP, AT(x.hint_rsp));
	c_registers(e, OP_LOAD);
	put_answer(e);
	return begin;
}

/* --- the instructions ---------------------------------------------------------------------- */

bool bt_gate(struct translation *x)
{
	struct code *e = &x->e;
	bool call = x->zi->mnemonic == ZYDIS_MNEMONIC_SYSCALL;

	if (x->word != 8 || (!call && (x->zi->mnemonic != ZYDIS_MNEMONIC_SYSRET || x->i->osz != 8)))
		return false;
	bt_flags_give(x);
	bt_x87_give(x);
	if (call) {
		code_state(e, OP_LOAD, R11, AT(x.code_va));
		code_lea(e, true, R11, R11, NO_REGISTER, 0, x->b->offset + x->i->at + x->i->len);
	}
	code_constant(e, RCX, bt_name(x, x->i));
	code_go(e, OP_JMP, call ? x->t->syscall : x->t->sysret);
	return true;
}

bool bt_tsc(struct translation *x)
{
	unsigned first = x->colds;
	struct code *e = &x->e;

	if (x->exact)
		return false;
	bt_flags_give(x);
	if (x->variant & BT_USER) {
		CODE(e, PREFIX_GS, 0xf7); /* test dword [s.cr4], TSD */
		code_modrm_state(e, 0, AT(s.cr4));
		code32(e, CR4_TSD);
	} else {
		code_state_cmp8(e, AT(cpl), 0);
	}
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_NE));
	if (x->zi->mnemonic == ZYDIS_MNEMONIC_RDTSCP)
		CODE(e, 0x0f, 0xae, 0xe8); /* lfence: not before what precedes it */
	code_constant(e, R11, bt_name(x, x->i));
	code_go(e, OP_CALL, x->t->tsc);
	if (x->zi->mnemonic == ZYDIS_MNEMONIC_RDTSCP) {
		CODE(e, PREFIX_GS, code_rex(false, bt_home(RCX), 0, 0), OP_LOAD);
		code_modrm_state(e, bt_home(RCX), AT(s.tsc_aux));
	}
	bt_join(x, first);
	return true;
}
