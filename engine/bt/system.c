/*
 * system.c - what kernels do all the time, without leaving translated code.
 *
 * The idea: CLI, STI, SWAPGS, STAC, CLAC, PUSHF, POPF, the bases of FS and GS, PKRU and what is
 * read of control registers only move bits in struct interp, once it is known that nobody waits for
 * the change and no privilege is missing; else the handler does it.
 *
 * STI's shadow is never set: the instruction after it follows in the same piece of code, with
 * nothing between them. Where none follows, the handler does it.
 *
 * Spec: SDM vol. 2. Tested by test/unit/bt_random.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/gate.h"
#include "engine/bt/translation.h"

/* The handler does it unless the byte at `at` has the value. Flags given. */
static void unless(struct translation *x, uint32_t at, uint8_t value)
{
	code_state_cmp8(&x->e, at, value);
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
}

/* and (4) or or (1) dword gs:[s.rflags], mask */
static void rflags(struct translation *x, unsigned extension, uint32_t mask)
{
	CODE(&x->e, PREFIX_GS, 0x81);
	code_modrm_state(&x->e, extension, AT(s.rflags));
	code32(&x->e, mask);
}

static bool cli(struct translation *x)
{
	unsigned first = x->colds;

	bt_flags_give(x);
	unless(x, AT(cpl), 0);
	rflags(x, 4, ~(uint32_t)FLAG_IF);
	bt_join(x, first);
	return true;
}

/* The handler does it if somebody waits for IF. Flags given. */
static void unless_window(struct translation *x)
{
	code_state(&x->e, OP_LOAD, RCX, AT(vcpu));
	CODE(&x->e, 0x80); /* cmp byte [rcx + want_window], 0 */
	code_modrm_mem(&x->e, 7, RCX, offsetof(struct vcpu, want_window));
	code8(&x->e, 0);
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
}

static bool sti(struct translation *x)
{
	unsigned first = x->colds;

	if (x->i->n + 1u >= x->segment_end)
		return false;
	bt_flags_give(x);
	unless(x, AT(cpl), 0);
	unless_window(x);
	rflags(x, 1, FLAG_IF);
	bt_join(x, first);
	return true;
}

static bool swapgs(struct translation *x)
{
	uint32_t base = AT(s.seg) + GS * (uint32_t)sizeof(struct x86_seg) +
			(uint32_t)offsetof(struct x86_seg, base);
	unsigned first = x->colds;
	struct code *e = &x->e;

	bt_flags_give(x);
	unless(x, AT(cpl), 0);
	code_state(e, OP_LOAD, RCX, base);
	code_state(e, OP_LOAD, R11, AT(s.kernel_gs_base));
	code_state(e, OP_STORE, R11, base);
	code_state(e, OP_STORE, RCX, AT(s.kernel_gs_base));
	bt_join(x, first);
	return true;
}

/* Under SMAP, which has an array of the low half for either value. */
static bool set_ac(struct translation *x, bool ac)
{
	unsigned first = x->colds;
	struct code *e = &x->e;

	bt_flags_give(x);
	unless(x, AT(cpl), 0);
	CODE(e, PREFIX_GS, 0xf7); /* test dword [s.cr4], SMAP */
	code_modrm_state(e, 0, AT(s.cr4));
	code32(e, CR4_SMAP);
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_E));
	rflags(x, ac ? 1 : 4, ac ? FLAG_AC : ~(uint32_t)FLAG_AC);
	code_state(e, OP_LOAD, RCX, AT(tlb.low_ac) + ac * 8);
	code_state(e, OP_STORE, RCX, AT(tlb.now));
	code_state_set32(e, AT(tlb.context), ac ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR);
	bt_join(x, first);
	return true;
}

static bool pushf(struct translation *x)
{
	unsigned first = x->colds, home = bt_home(RSP);
	struct code *e = &x->e;

	if (x->i->osz != x->word)
		return false;
	bt_flags_give(x);
	bt_flags_gather(e);
	code_state(e, OP_LOAD, R11, AT(s.rflags));
	CODE(e, 0x41, 0x81, 0xe3); /* and r11d, the others */
	code32(e, ~(uint32_t)(FLAG_ARITH | FLAG_RF | FLAG_VM));
	CODE(e, 0x4c, 0x09, 0xd9); /* or rcx, r11 */
	code_state(e, OP_STORE, RCX, AT(x.target));
	code_lea(e, x->wide, R11, home, NO_REGISTER, 0, -(int32_t)x->word);
	bt_check(x, x->word, ACCESS_WRITE, 1);
	code_state(e, OP_LOAD, RCX, AT(x.target));
	code_mem_of(e, x->wide, OP_STORE, RCX, R11, 0);
	code_lea(e, x->wide, home, home, NO_REGISTER, 0, -(int32_t)x->word);
	bt_join(x, first);
	return true;
}

/* May IF change as it likes, and is there nothing to be seen to? */
static void popf_allowed(struct translation *x)
{
	if (x->variant & BT_USER) {
		CODE(&x->e, PREFIX_GS, 0xf7); /* test dword [s.rflags], IOPL */
		code_modrm_state(&x->e, 0, AT(s.rflags));
		code32(&x->e, FLAG_IOPL);
		bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
	} else {
		unless(x, AT(cpl), 0);
		unless_window(x);
	}
	/* mov ecx, r11d; xor ecx, [s.rflags]; test ecx, TF | AC: TF was 0 */
	CODE(&x->e, 0x44, OP_STORE, 0xd9);
	code_state32(&x->e, OP_XOR, RCX, AT(s.rflags));
	CODE(&x->e, 0xf7, 0xc1);
	code32(&x->e, FLAG_TF | FLAG_AC);
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_NE));
}

/* R11D becomes RFLAGS, as far as the CPL lets it. */
static void flags_from(struct translation *x)
{
	uint32_t may = FLAG_DF | FLAG_NT | FLAG_ID;
	struct code *e = &x->e;

	if (!(x->variant & BT_USER))
		may |= FLAG_IF | FLAG_IOPL;
	rflags(x, 4, ~(may | FLAG_RF));
	/* mov ecx, r11d; and ecx, may; or [s.rflags], ecx */
	CODE(e, 0x44, OP_STORE, 0xd9, 0x81, 0xe1);
	code32(e, may);
	code_state32(e, 0x09, RCX, AT(s.rflags));
	/* mov ecx, r11d; shr r11d, 11; and r11d, 1; and ecx, those of AH; or ecx, 2; shl ecx, 8 */
	CODE(e, 0x44, OP_STORE, 0xd9, 0x41, 0xc1, 0xeb, 11, 0x41, 0x83, 0xe3, 1, 0x81, 0xe1);
	code32(e, FLAG_ARITH & 0xff);
	CODE(e, 0x83, 0xc9, FLAG_FIXED, 0xc1, 0xe1, 8);
	/* or ecx, r11d; mov [x.flags], cx */
	CODE(e, 0x44, 0x09, 0xd9, 0x66, PREFIX_GS, OP_STORE);
	code_modrm_state(e, RCX, AT(x.flags));
}

static bool popf(struct translation *x)
{
	unsigned first = x->colds, home = bt_home(RSP);
	struct code *e = &x->e;

	if (x->i->osz != x->word)
		return false;
	bt_flags_lose(x);
	code_move_of(e, x->wide, R11, home);
	bt_check(x, x->word, ACCESS_READ, 1);
	code_mem_of(e, false, OP_LOAD, R11, R11, 0);
	popf_allowed(x);
	flags_from(x);
	code_lea(e, x->wide, home, home, NO_REGISTER, 0, (int32_t)x->word);
	x->flags = FLAGS_MEMORY;
	bt_join(x, first);
	return true;
}

/* movzx `to`, word [the selector] */
static void selector(struct translation *x, unsigned to)
{
	CODE(&x->e, PREFIX_GS, code_rex(false, to, 0, 0), 0x0f, 0xb7);
	code_modrm_state(&x->e, to,
			 AT(s.seg) + x->i->op * (uint32_t)sizeof(struct x86_seg) +
				 (uint32_t)offsetof(struct x86_seg, selector));
}

/* The lower 16 bits of guest register g, which lives in `home`. */
static void selector_to_word(struct translation *x, unsigned g, unsigned home)
{
	struct code *e = &x->e;

	selector(x, RCX);
	if (home == NO_REGISTER) {
		CODE(e, 0x66, PREFIX_GS, OP_STORE); /* mov [its place], cx */
		code_modrm_state(e, RCX, AT_REGISTER(g));
	} else {
		CODE(e, 0x66, code_rex(false, RCX, 0, home), OP_STORE,
		     (uint8_t)(0xc0 | RCX << 3 | (home & 7))); /* mov home, cx */
	}
}

/* Of 16 bits, whatever the operand size. */
static bool segment_to_memory(struct translation *x)
{
	unsigned first = x->colds;

	if (!bt_address_known(x->i))
		return false;
	bt_address(x);
	bt_check(x, 2, ACCESS_WRITE, 1);
	selector(x, RCX);
	CODE(&x->e, 0x66, code_rex(false, RCX, 0, R11), OP_STORE); /* mov [r11], cx */
	code_modrm_mem(&x->e, RCX, R11, 0);
	bt_join(x, first);
	return true;
}

/* mov r32, segment register: the upper bits are zero, except of a 16-bit destination. */
static bool mov_from_segment(struct translation *x)
{
	const ZydisDecodedOperand *to = &x->op[0], *from = &x->op[1];
	unsigned g, home;

	if (ZydisRegisterGetClass(from->reg.value) != ZYDIS_REGCLASS_SEGMENT)
		return false;
	if (to->type == ZYDIS_OPERAND_TYPE_MEMORY)
		return segment_to_memory(x);
	g = (unsigned)ZydisRegisterGetId(to->reg.value);
	home = bt_home(g);
	if (to->size == 16) {
		selector_to_word(x, g, home);
		return true;
	}
	if (home == NO_REGISTER)
		home = R11;
	selector(x, home);
	bt_write(&x->e, g, home);
	return true;
}

static void count_exit(struct code *e, enum exit_reason reason)
{
	code_state(e, OP_LOAD, R11, AT(vcpu));
	CODE(e, 0x49, 0xff); /* inc qword [r11 + exits[reason]] */
	code_modrm_mem(e, 0, R11,
		       (int32_t)(offsetof(struct vcpu, exits) + reason * sizeof(uint64_t)));
}

static bool mov_from_control(struct translation *x)
{
	static const uint32_t at[] = {
		[0] = AT(s.cr0), [2] = AT(s.cr2), [3] = AT(s.cr3), [4] = AT(s.cr4)
	};
	unsigned first = x->colds, g, home;

	if (!x->wide || x->i->op >= sizeof(at) / sizeof(at[0]) || !at[x->i->op])
		return false;
	g = (unsigned)ZydisRegisterGetId(x->op[0].reg.value);
	home = bt_home(g) == NO_REGISTER ? R11 : bt_home(g);
	bt_flags_give(x);
	unless(x, AT(cpl), 0);
	count_exit(&x->e, EXIT_CONTROL_REG);
	code_state(&x->e, OP_LOAD, home, at[x->i->op]);
	bt_write(&x->e, g, home);
	bt_join(x, first);
	return true;
}

static bool mov(struct translation *x)
{
	const ZydisDecodedOperand *from = &x->op[1];

	if (x->zi->operand_count < 2 || from->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	return ZydisRegisterGetClass(from->reg.value) == ZYDIS_REGCLASS_CONTROL
		       ? mov_from_control(x)
		       : mov_from_segment(x);
}

/* The handler does it unless CR4 has the bit. Flags given. */
static void unless_cr4(struct translation *x, uint32_t bit)
{
	CODE(&x->e, PREFIX_GS, 0xf7); /* test dword [s.cr4], bit */
	code_modrm_state(&x->e, 0, AT(s.cr4));
	code32(&x->e, bit);
	bt_cold(x, COLD_SLOW, code_jump_if(&x->e, CC_E));
}

static bool base_of_segment(struct translation *x, bool write)
{
	uint32_t at = AT(s.seg) + x->i->op * (uint32_t)sizeof(struct x86_seg) +
		      (uint32_t)offsetof(struct x86_seg, base);
	unsigned first = x->colds, g = x->i->a / 8;
	struct code *e = &x->e;
	bool wide = x->i->osz == 8;

	bt_flags_give(x);
	unless_cr4(x, CR4_FSGSBASE);
	if (write) {
		bt_read(e, R11, g);
		if (!wide)
			code_move32(e, R11, R11);
		code_move(e, RCX, R11);
		/* shl rcx, 16; sar rcx, 16; cmp rcx, r11: is it canonical? */
		CODE(e, 0x48, 0xc1, 0xe1, 16, 0x48, 0xc1, 0xf9, 16, 0x4c, 0x39, 0xd9);
		bt_cold(x, COLD_SLOW, code_jump_if(e, CC_NE));
		code_state(e, OP_STORE, R11, at);
	} else {
		code_state(e, OP_LOAD, R11, at);
		if (!wide)
			code_move32(e, R11, R11);
		bt_write(e, g, R11);
	}
	bt_join(x, first);
	return true;
}

static bool rdpkru(struct translation *x)
{
	unsigned first = x->colds, rcx = bt_home(RCX);
	struct code *e = &x->e;

	bt_flags_give(x);
	unless_cr4(x, CR4_PKE);
	CODE(e, code_rex(false, rcx, 0, rcx), 0x85, (uint8_t)(0xc0 | (rcx & 7) << 3 | (rcx & 7)));
	bt_cold(x, COLD_SLOW, code_jump_if(e, CC_NE)); /* test ecx, ecx */
	code_state32(e, OP_LOAD, RAX, AT(s.pkru));
	code_constant(e, RDX, 0);
	bt_join(x, first);
	return true;
}

bool bt_system(struct translation *x)
{
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_CLI: return cli(x);
	case ZYDIS_MNEMONIC_STI: return sti(x);
	case ZYDIS_MNEMONIC_SWAPGS: return swapgs(x);
	case ZYDIS_MNEMONIC_STAC: return set_ac(x, true);
	case ZYDIS_MNEMONIC_CLAC: return set_ac(x, false);
	case ZYDIS_MNEMONIC_MOV: return mov(x);
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE: return base_of_segment(x, false);
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE: return base_of_segment(x, true);
	case ZYDIS_MNEMONIC_RDPKRU: return rdpkru(x);
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ: return pushf(x);
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: return popf(x);
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP: return bt_tsc(x);
	default: return false;
	}
}
