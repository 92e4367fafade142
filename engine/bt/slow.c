/*
 * slow.c - how translated code calls C, and what may come of it.
 *
 * The idea: an instruction's handler finds the guest where the interpreter has it: registers in
 * memory, vector and x87 units saved if they are the guest's, the host's stack. It says whether the
 * code that called goes on, other code does (hop.c), or the run loop.
 *
 * Spec: engine/bt/bt.h; System V ABI 3.2. Tested by test/unit/bt.c, test/unit/bt_system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/stubs.h"
#include "engine/bt/translation.h"

/* live: which byte says that it is */
static void call_if_live(struct code *e, uint32_t live, const uint8_t *subroutine)
{
	uint8_t *skip;

	code_state_cmp8(e, live, 0);
	skip = code_jump_if(e, CC_E);
	code_go(e, OP_CALL, subroutine);
	code_here(e, skip);
}

void bt_to_host_stack(struct code *e)
{
	bt_store_all(e);
	code_state(e, OP_STORE, RSP, AT(x.hint_rsp));
	code_state(e, OP_LOAD, RSP, AT(x.host_rsp));
}

void bt_units_out(struct code *e, const struct bt_common *s)
{
	if (s->out)
		call_if_live(e, AT(x.vector_live), s->out);
	call_if_live(e, AT(x.x87_live), s->x87_out);
}

/* Back from C to translated code. */
static void to_hint_stack(struct code *e, const struct bt_common *s)
{
	if (s->in)
		call_if_live(e, AT(x.vector_live), s->in);
	call_if_live(e, AT(x.x87_live), s->x87_in);
	code_state(e, OP_LOAD, RSP, AT(x.hint_rsp));
	bt_load_all(e);
}

static void put_slow_call(struct code *e, const struct bt_common *s, uintptr_t slow)
{
	bt_to_host_stack(e);
	code_move32(e, RDX, RCX);
	bt_units_out(e, s);
	code_state(e, OP_LOAD, RDI, AT(x.self));
	code_move32(e, RSI, R11);
	code_constant(e, RAX, slow);
	CODE(e, 0xff, 0xd0, 0x85, 0xc0); /* call rax; test eax, eax */
}

/* It did not return to where it was called: EAX. */
static void put_slow_out(struct code *e, const struct bt_common *s)
{
	CODE(e, PREFIX_GS, 0x48, 0x83); /* add qword [x.hint_rsp], 8 */
	code_modrm_state(e, 0, AT(x.hint_rsp));
	CODE(e, 8, 0x83, 0xf8, BT_HOP); /* cmp eax, BT_HOP */
	code_aim(code_jump_if(e, CC_NE), s->back);
	code_state(e, OP_LOAD, RSP, AT(x.hint_rsp));
	bt_load_all(e);
	CODE(e, PREFIX_GS, 0xff); /* jmp [x.target] */
	code_modrm_state(e, 4, AT(x.target));
}

/* `slow` for the instruction that R11D names; a subroutine. */
const uint8_t *bt_put_slow(struct code *e, const struct bt_common *s, uintptr_t slow)
{
	const uint8_t *begin = e->at;
	uint8_t *out;

	put_slow_call(e, s, slow);
	out = code_jump_if(e, CC_NE);
	to_hint_stack(e, s);
	code8(e, 0xc3);
	code_here(e, out);
	put_slow_out(e, s);
	return begin;
}

/* The same of a group's leader, with ECX. R11 becomes the address for which it shall be tried
 * again, or 0, and the flags are as TEST makes them. */
const uint8_t *bt_put_group_slow(struct code *e, const struct bt_common *s)
{
	const uint8_t *begin = e->at;
	uint8_t *other, *out;

	put_slow_call(e, s, (uintptr_t)bt_group_slow);
	other = code_jump_if(e, CC_NE);
	to_hint_stack(e, s);
	CODE(e, 0x45, 0x31, 0xdb, 0xc3); /* xor r11d, r11d; ret */
	code_here(e, other);
	CODE(e, 0x83, 0xf8, BT_RETRY); /* cmp eax, BT_RETRY */
	out = code_jump_if(e, CC_NE);
	to_hint_stack(e, s);
	code_state(e, OP_LOAD, R11, AT(x.target));
	CODE(e, 0x4d, 0x85, 0xdb, 0xc3); /* test r11, r11; ret */
	code_here(e, out);
	put_slow_out(e, s);
	return begin;
}
