/*
 * registers.c - the guest's registers and flags, in host registers and in memory.
 *
 * The idea of x.flags: LAHF and SETO take the flags without the stack and in one cycle; ADD to AL
 * and SAHF bring them back. PUSHF takes four times as long, POPF twenty times.
 *
 * Spec: engine/bt/bt.h. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

unsigned bt_home(unsigned guest)
{
	if (guest == RCX)
		return R9;
	if (guest == RSP)
		return R10;
	return bt_in_memory(guest) ? NO_REGISTER : guest;
}

void bt_read(struct code *e, unsigned to, unsigned guest)
{
	unsigned home = bt_home(guest);

	if (home == NO_REGISTER)
		code_state(e, OP_LOAD, to, AT_REGISTER(guest));
	else if (home != to)
		code_move(e, to, home);
}

void bt_write(struct code *e, unsigned guest, unsigned from)
{
	unsigned home = bt_home(guest);

	if (home == NO_REGISTER)
		code_state(e, OP_STORE, from, AT_REGISTER(guest));
	else if (home != from)
		code_move(e, home, from);
}

void bt_load_all(struct code *e)
{
	for (unsigned g = 0; g < GPR_COUNT; g++)
		if (!bt_in_memory(g))
			code_state(e, OP_LOAD, bt_home(g), AT_REGISTER(g));
	code_state(e, OP_LOAD, BUDGET, AT(x.left));
}

void bt_store_all(struct code *e)
{
	for (unsigned g = 0; g < GPR_COUNT; g++)
		if (!bt_in_memory(g))
			code_state(e, OP_STORE, bt_home(g), AT_REGISTER(g));
	code_state(e, OP_STORE, BUDGET, AT(x.left));
}

void bt_flags_save(struct code *e)
{
	code_move(e, RCX, RAX);
	CODE(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	CODE(e, 0x66, PREFIX_GS, OP_STORE);
	code_modrm_state(e, RAX, AT(x.flags));
	code_move(e, RAX, RCX);
}

void bt_flags_load(struct code *e)
{
	code_move(e, RCX, RAX);
	CODE(e, PREFIX_GS, 0x0f, 0xb7); /* movzx eax, word */
	code_modrm_state(e, RAX, AT(x.flags));
	CODE(e, 0x04, 0x7f, 0x9e); /* add al, 7fh; sahf */
	code_move(e, RAX, RCX);
}

void bt_flags_give(struct translation *x)
{
	if (x->flags == FLAGS_AGAIN)
		bt_again(x);
	if (x->flags == FLAGS_HOST || x->flags == FLAGS_AGAIN)
		bt_flags_save(&x->e);
	x->flags = FLAGS_MEMORY;
}

void bt_flags_lose(struct translation *x)
{
	if (x->flags == FLAGS_HOST && bt_again_can(x))
		x->flags = FLAGS_AGAIN;
	if (x->flags != FLAGS_AGAIN)
		bt_flags_give(x);
}

void bt_flags_out(struct translation *x)
{
	x->flags = x->wanted[x->i->n] ? FLAGS_HOST : FLAGS_MEMORY;
	x->maker = x->i->n;
}

void bt_flags_need(struct translation *x)
{
	if (x->flags == FLAGS_AGAIN) {
		bt_again(x);
		x->flags = FLAGS_HOST;
	}
	if (x->flags != FLAGS_MEMORY)
		return;
	bt_flags_load(&x->e);
	x->flags = FLAGS_BOTH;
}

void bt_flags_gather(struct code *e)
{
	CODE(e, PREFIX_GS, 0x0f, 0xb6); /* movzx ecx, byte [x.flags]: OF */
	code_modrm_state(e, RCX, AT(x.flags));
	CODE(e, 0xc1, 0xe1, 11, PREFIX_GS, 0x0a); /* shl ecx, 11; or cl, [x.flags + 1] */
	code_modrm_state(e, RCX, AT(x.flags) + 1);
	CODE(e, 0x81, 0xe1); /* and ecx, arithmetic flags */
	code32(e, FLAG_ARITH);
}

/* --- of an operand -------------------------------------------------------------------------------
 */

bool bt_is_gpr(ZydisRegister reg)
{
	ZydisRegisterClass k = ZydisRegisterGetClass(reg);

	return k >= ZYDIS_REGCLASS_GPR8 && k <= ZYDIS_REGCLASS_GPR64;
}

bool bt_is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

unsigned bt_guest_of(ZydisRegister reg)
{
	return (unsigned)ZydisRegisterGetId(
		ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}
