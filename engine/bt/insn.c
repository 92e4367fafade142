/*
 * insn.c - instructions that run as they are, on host registers.
 *
 * The idea: the guest's encoding is kept - prefixes, opcode, immediate - and only its registers are
 * replaced, by those that hold the guest's (places.c), and its memory operand, by [R11]. So an
 * instruction needs no code of its own here; one line of the list below says how it
 * treats flags. What does not fit is left to the handler.
 *
 * Spec: SDM vol. 2 ch. 2. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/places.h"

#define PLAIN RULE_PLAIN
#define IN    RULE_IN
#define OUT   RULE_OUT
#define PURE  RULE_PURE
#define NONE  RULE_NONE
#define SHIFT RULE_SHIFT
#define OWN   RULE_OWN

/* clang-format off */
#define CONDITIONS(X, prefix, rule) \
	X(prefix##O, rule) X(prefix##NO, rule) X(prefix##B, rule) X(prefix##NB, rule) \
	X(prefix##Z, rule) X(prefix##NZ, rule) X(prefix##BE, rule) X(prefix##NBE, rule) \
	X(prefix##S, rule) X(prefix##NS, rule) X(prefix##P, rule) X(prefix##NP, rule) \
	X(prefix##L, rule) X(prefix##NL, rule) X(prefix##LE, rule) X(prefix##NLE, rule)
#define RULES(X) \
	X(ADD, OUT) X(OR, OUT) X(AND, OUT) X(SUB, OUT) X(XOR, OUT) X(CMP, OUT) X(TEST, OUT) \
	X(NEG, OUT) X(XADD, OUT) X(CMPXCHG, OUT) \
	X(ADC, IN | OUT) X(SBB, IN | OUT) X(INC, IN | OUT) X(DEC, IN | OUT) \
	X(ROL, IN | OUT | SHIFT) X(ROR, IN | OUT | SHIFT) X(RCL, IN | OUT | SHIFT) \
	X(RCR, IN | OUT | SHIFT) X(SHL, IN | OUT | SHIFT) X(SHR, IN | OUT | SHIFT) \
	X(SAR, IN | OUT | SHIFT) X(SHLD, IN | OUT | SHIFT) X(SHRD, IN | OUT | SHIFT) \
	X(MUL, IN | OUT) X(IMUL, IN | OUT) \
	X(BT, IN | OUT) X(BTS, IN | OUT) X(BTR, IN | OUT) X(BTC, IN | OUT) \
	X(BSF, IN | OUT) X(BSR, IN | OUT) X(TZCNT, IN | OUT) X(LZCNT, IN | OUT) X(POPCNT, IN | OUT) \
	X(CLC, IN | OUT) X(STC, IN | OUT) X(CMC, IN | OUT) X(SAHF, IN | OUT) X(LAHF, IN) \
	X(NOT, 0) X(XCHG, 0) X(BSWAP, 0) X(CRC32, 0) \
	X(CBW, 0) X(CWDE, 0) X(CDQE, 0) X(CWD, 0) X(CDQ, 0) X(CQO, 0) \
	X(MOV, PURE) X(MOVZX, PURE) X(MOVSX, PURE) X(MOVSXD, PURE) X(MOVBE, PURE) X(MOVNTI, PURE) \
	X(ANDN, IN | OUT | PURE) X(BEXTR, IN | OUT | PURE) X(BLSI, IN | OUT | PURE) \
	X(BLSR, IN | OUT | PURE) X(BLSMSK, IN | OUT | PURE) X(BZHI, IN | OUT | PURE) \
	X(SHLX, PURE) X(SHRX, PURE) X(SARX, PURE) X(RORX, PURE) X(PDEP, PURE) X(PEXT, PURE) \
	X(ADCX, IN | OUT) X(ADOX, IN | OUT) X(MULX, PURE) \
	CONDITIONS(X, CMOV, IN) CONDITIONS(X, SET, IN) \
	X(NOP, NONE) X(ENDBR32, NONE) X(ENDBR64, NONE) X(PREFETCHW, NONE) X(PREFETCHNTA, NONE) \
	X(PREFETCHT0, NONE) X(PREFETCHT1, NONE) X(PREFETCHT2, NONE) X(PAUSE, NONE) \
	X(LFENCE, 0) X(MFENCE, 0) X(SFENCE, 0) \
	X(CMPXCHG16B, IN | OUT | OWN) X(CMPXCHG8B, IN | OUT | OWN) X(STAC, OWN) X(CLAC, OWN) \
	X(DIV, IN | OUT | OWN) X(IDIV, IN | OUT | OWN) X(CLI, OWN) X(STI, OWN) X(SWAPGS, OWN) \
	X(RDFSBASE, OWN) X(RDGSBASE, OWN) X(WRFSBASE, OWN) X(WRGSBASE, OWN) X(RDPKRU, OWN) \
	X(POPFD, OUT | OWN) X(POPFQ, OUT | OWN) \
	X(LEA, OWN) X(PUSH, OWN) X(POP, OWN) X(LEAVE, OWN) X(CLD, OWN) \
	X(LODSB, OWN) X(LODSW, OWN) X(LODSD, OWN) X(LODSQ, OWN) \
	X(STOSB, OWN) X(STOSW, OWN) X(STOSD, OWN) X(STOSQ, OWN) \
	X(MOVSB, OWN) X(MOVSW, OWN) X(MOVSD, OWN) X(MOVSQ, OWN) \
	X(SCASB, OUT | OWN) X(SCASW, OUT | OWN) X(SCASD, OUT | OWN) \
	X(SCASQ, OUT | OWN)

#define ALIGNED(X) \
	X(VMOVAPS) X(VMOVAPD) X(VMOVDQA) X(VMOVNTPS) X(VMOVNTPD) X(VMOVNTDQ) X(VMOVNTDQA)
#define UNALIGNED(X) \
	X(MOVUPS) X(MOVUPD) X(MOVDQU) X(LDDQU) \
	X(PCMPISTRI) X(PCMPESTRI) X(PCMPISTRM) X(PCMPESTRM)
/* clang-format on */

static const uint8_t rules[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define X(name, rule) [ZYDIS_MNEMONIC_##name] = (rule) & (OWN | NONE) ? (rule) : PLAIN | (rule),
	RULES(X)
#undef X
};

unsigned bt_rule(ZydisMnemonic m)
{
	return rules[m];
}

/* --- the instruction ---------------------------------------------------------------------- */

struct form {
	unsigned reg, rm, vvvv, low;
	unsigned index; /* of memory at [rm + index + disp]; NO_REGISTER: [rm + disp] */
	bool mem, modrm;
};

static struct form form_of(const struct translation *x, const struct places *p)
{
	const ZydisDecodedInstruction *zi = x->zi;
	struct form f = { .reg = zi->raw.modrm.reg,
			  .low = zi->opcode & 7,
			  .index = p->base,
			  .mem = p->mem != NULL,
			  .rm = p->mem ? p->address : zi->raw.modrm.rm,
			  .modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM };

	for (unsigned n = 0; n < zi->operand_count; n++) {
		if (x->op[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		switch (x->op[n].encoding) {
		case ZYDIS_OPERAND_ENCODING_MODRM_REG: f.reg = p->host[n]; break;
		case ZYDIS_OPERAND_ENCODING_MODRM_RM: f.rm = p->host[n]; break;
		case ZYDIS_OPERAND_ENCODING_NDSNDD: f.vvvv = p->host[n]; break;
		case ZYDIS_OPERAND_ENCODING_OPCODE: f.low = p->host[n]; break;
		default: break;
		}
	}
	if (p->state == NO_REGISTER)
		return f;
	if (p->swapped)
		f.reg = f.rm;
	f.rm = 0;
	return f;
}

static void put_prefixes(struct translation *x)
{
	const ZydisDecodedInstruction *zi = x->zi;

	for (unsigned n = 0; n < zi->raw.prefix_count; n++) {
		uint8_t p = zi->raw.prefixes[n].value;

		if (p == 0x66 || (p == 0xf0 && zi->attributes & ZYDIS_ATTRIB_HAS_LOCK) ||
		    ((p == 0xf2 || p == 0xf3) &&
		     zi->raw.prefixes[n].type == ZYDIS_PREFIX_TYPE_MANDATORY))
			code8(&x->e, p);
	}
}

static void put_legacy(struct translation *x, const struct form *f)
{
	const ZydisDecodedInstruction *zi = x->zi;
	uint8_t rex = code_rex(zi->raw.rex.W, f->modrm ? f->reg : 0,
			       f->index == NO_REGISTER ? 0 : f->index, f->modrm ? f->rm : f->low);

	put_prefixes(x);
	if (rex != 0x40 || zi->attributes & ZYDIS_ATTRIB_HAS_REX)
		code8(&x->e, rex);
	if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		code8(&x->e, 0x0f);
	if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F38)
		code8(&x->e, 0x38);
	if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		code8(&x->e, 0x3a);
}

/* Always the three-byte form. */
static void put_vex(struct translation *x, const struct form *f)
{
	const ZydisDecodedInstruction *zi = x->zi;

	code8(&x->e, 0xc4);
	code8(&x->e, (uint8_t)((~f->reg >> 3 & 1) << 7 |
			       (f->index == NO_REGISTER ? 1 : ~f->index >> 3 & 1) << 6 |
			       (~f->rm >> 3 & 1) << 5 | zi->raw.vex.m_mmmm));
	code8(&x->e, (uint8_t)(zi->raw.vex.W << 7 | (~f->vvvv & 15) << 3 | zi->raw.vex.L << 2 |
			       zi->raw.vex.pp));
}

/* INC and DEC of 32-bit code, whose opcodes are REX elsewhere. */
static bool is_short_step(const struct translation *x)
{
	return !x->wide && x->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       x->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (x->zi->opcode & 0xf0) == 0x40;
}

/* 82h means 80h in 32-bit code. */
static uint8_t opcode_of(const struct translation *x, const struct places *p)
{
	const ZydisDecodedInstruction *zi = x->zi;

	if (p->swapped && (zi->opcode & 0xfe) != 0x84)
		return zi->opcode ^ 2;
	return !x->wide && zi->opcode == 0x82 && zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT
		       ? 0x80
		       : zi->opcode;
}

static void put_modrm(struct translation *x, const struct places *p, const struct form *f)
{
	bool small = p->disp == (int8_t)p->disp;

	if (p->state != NO_REGISTER) {
		code_modrm_state(&x->e, f->reg, AT_REGISTER(p->state));
	} else if (!f->mem) {
		code8(&x->e, (uint8_t)(0xc0 | (f->reg & 7) << 3 | (f->rm & 7)));
	} else if (f->index == NO_REGISTER) {
		code_modrm_mem(&x->e, f->reg, f->rm, p->disp);
	} else {
		CODE(&x->e,
		     (uint8_t)((!p->disp ? 0
				: small  ? 0x40
					 : 0x80) |
			       (f->reg & 7) << 3 | 4),
		     (uint8_t)((f->index & 7) << 3 | (f->rm & 7)));
		if (p->disp && small)
			code8(&x->e, (uint8_t)p->disp);
		else if (p->disp)
			code32(&x->e, (uint32_t)p->disp);
	}
}

/* The guest's instruction with the host's registers. */
static void put_insn(struct translation *x, const struct places *p)
{
	const ZydisDecodedInstruction *zi = x->zi;
	struct form f = form_of(x, p);

	if (p->state != NO_REGISTER)
		code8(&x->e, PREFIX_GS);
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		put_vex(x, &f);
	else
		put_legacy(x, &f);
	if (is_short_step(x)) {
		CODE(&x->e, 0xff, (uint8_t)(0xc0 | (zi->opcode & 8) | (f.low & 7)));
	} else if (f.modrm) {
		code8(&x->e, opcode_of(x, p));
		put_modrm(x, p, &f);
	} else {
		code8(&x->e, (uint8_t)((zi->opcode & ~7u) | (f.low & 7)));
	}
	if (zi->raw.imm[0].size)
		code_put(&x->e, x->bytes + x->i->at + zi->raw.imm[0].offset,
			 zi->raw.imm[0].size / 8u);
}

static void scratch_in(struct translation *x, const struct places *p)
{
	if (p->count)
		bt_read(&x->e, RCX, RCX);
	if (p->rcx != NO_REGISTER && p->read >> p->rcx & 1)
		bt_read(&x->e, RCX, p->rcx);
	if (p->r11 != NO_REGISTER && p->read >> p->r11 & 1)
		bt_read(&x->e, R11, p->r11);
}

static void scratch_out(struct translation *x, const struct places *p)
{
	if (p->rcx != NO_REGISTER && p->written >> p->rcx & 1)
		bt_write(&x->e, p->rcx, RCX);
	if (p->r11 != NO_REGISTER && p->written >> p->r11 & 1)
		bt_write(&x->e, p->r11, R11);
}

/* R11 = where [at, +size) relative to the operand at hand lies on the host, if possible less base.
 */
static void check_from(struct translation *x, struct places *p, int32_t at, unsigned size,
		       enum access access, unsigned align)
{
	bt_address_at(x, at);
	if (p->base == NO_REGISTER)
		bt_check(x, size, access, align);
	else
		bt_check_based(x, size, access, align, p->base, (int32_t)x->i->disp + at);
}

/* R11 becomes the host address of the memory operand, or is that of its group. */
static void put_address(struct translation *x, struct places *p, unsigned align)
{
	const ZydisDecodedOperand *m = p->mem;
	struct group *g = &x->group;

	bt_group_begin(x);
	if (!g->end || x->i->n == g->begin)
		g->base = p->address == R11 ? bt_check_base(x) : NO_REGISTER;
	p->base = g->base;
	if (!g->end) {
		check_from(x, p, 0, m->size / 8u,
			   m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACCESS_WRITE
									: ACCESS_READ,
			   align);
	} else if (x->i->n == g->begin) {
		x->row = g->end - 1 - g->begin;
		check_from(x, p, g->lo - (int32_t)x->i->disp, g->size,
			   g->write ? ACCESS_WRITE : ACCESS_READ, 1);
		x->row = 0;
	}
	if (p->base != NO_REGISTER)
		p->disp = (int32_t)x->i->disp;
	else if (g->end)
		p->disp = bt_group_at(x, (int32_t)x->i->disp);
}

/* The slow ways come back here: after the instruction, or after the last of its group. */
static void put_join(struct translation *x, unsigned first)
{
	if (x->group.end)
		bt_group_join(x);
	else
		bt_join(x, first);
}

static void put(struct translation *x, struct places *p, unsigned rule, unsigned align)
{
	unsigned first = x->colds;

	if (p->mem)
		put_address(x, p, align);
	if (x->need[x->i->n])
		bt_flags_need(x);
	if (p->address == RCX)
		code_move(&x->e, RCX, R11);
	scratch_in(x, p);
	put_insn(x, p);
	scratch_out(x, p);
	if (rule & OUT)
		bt_flags_out(x);
	put_join(x, first);
}

static bool is_moffs(const struct translation *x)
{
	return x->zi->mnemonic == ZYDIS_MNEMONIC_MOV &&
	       x->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (x->zi->opcode & 0xfc) == 0xa0;
}

/* MOV of the accumulator from (A0, A1) or to an address that follows the opcode. */
static bool moffs(struct translation *x)
{
	static const uint8_t as[4] = { 0x8a, OP_LOAD, 0x88, OP_STORE };
	bool store = x->zi->opcode & 2;
	unsigned first = x->colds;

	if (!bt_address_known(x->i))
		return false;
	bt_address(x);
	bt_check(x, x->op[!store].size / 8u, store ? ACCESS_WRITE : ACCESS_READ, 1);
	put_prefixes(x);
	CODE(&x->e, code_rex(x->zi->raw.rex.W, RAX, 0, R11), as[x->zi->opcode & 3],
	     (uint8_t)(R11 & 7));
	bt_join(x, first);
	return true;
}

static bool plain(struct translation *x, unsigned rule)
{
	struct places p;

	if (is_moffs(x))
		return moffs(x);
	if (!bt_places(x, &p, rule))
		return false;
	put(x, &p, rule, 1);
	return true;
}

/* --- vectors ------------------------------------------------------------------------------- */

static unsigned vector_align(const struct translation *x, const ZydisDecodedOperand *m)
{
	switch (x->zi->mnemonic) {
#define X(name) case ZYDIS_MNEMONIC_##name:
		ALIGNED(X)
		return m->size / 8u;
		UNALIGNED(X)
		return 1;
#undef X
	default:
		return x->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && m->size == 128 ? 16
											      : 1;
	}
}

bool bt_is_mmx(const struct translation *x)
{
	for (unsigned n = 0; n < x->zi->operand_count; n++)
		if (x->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    bt_is_mmx_register(x->op[n].reg.value))
			return true;
	return false;
}

/* And nothing else that is not known here. */
bool bt_is_vector(const struct translation *x)
{
	bool vector = false;

	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_CVTPS2PI: /* need MXCSR */
	case ZYDIS_MNEMONIC_CVTTPS2PI:
	case ZYDIS_MNEMONIC_CVTPD2PI:
	case ZYDIS_MNEMONIC_CVTTPD2PI: return true;
	default: break;
	}
	for (unsigned n = 0; n < x->zi->operand_count; n++) {
		if (x->op[n].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (bt_is_vector_register(x->op[n].reg.value))
			vector = true;
		else if (!bt_is_gpr(x->op[n].reg.value) &&
			 !bt_is_mmx_register(x->op[n].reg.value) &&
			 ZydisRegisterGetClass(x->op[n].reg.value) != ZYDIS_REGCLASS_FLAGS &&
			 x->op[n].reg.value != ZYDIS_REGISTER_MXCSR)
			return false;
	}
	return vector;
}

/* MXCSR is a hidden operand: it is where it belongs. */
static void drop_mxcsr(struct translation *x)
{
	for (unsigned n = 0; n < x->zi->operand_count; n++)
		if (x->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    x->op[n].reg.value == ZYDIS_REGISTER_MXCSR)
			x->op[n].type = ZYDIS_OPERAND_TYPE_UNUSED;
}

/* 32-bit code has eight registers: vmovaps xmm, xmm, which clears the upper half; or vxorps. */
static bool vector_zero(struct translation *x)
{
	for (unsigned n = 0; n < 8; n++) {
		uint8_t modrm = (uint8_t)(0xc0 | n << 3 | n);

		if (x->zi->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER)
			CODE(&x->e, 0xc5, 0xf8, 0x28, modrm);
		else
			CODE(&x->e, 0xc5, (uint8_t)(0x80 | (~n & 15) << 3), 0x57, modrm);
	}
	return true;
}

static bool vector(struct translation *x)
{
	const ZydisAccessedFlags *flags = x->zi->cpu_flags;
	unsigned rule = PURE;
	struct places p;

	if (bt_is_vector(x) ? !x->t->vectors : !bt_is_mmx(x))
		return false;
	if (!x->wide && (x->zi->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER ||
			 x->zi->mnemonic == ZYDIS_MNEMONIC_VZEROALL))
		return vector_zero(x);
	drop_mxcsr(x);
	if (flags && (flags->modified | flags->set_0 | flags->set_1 | flags->undefined))
		rule |= OUT;
	if (!bt_places(x, &p, rule))
		return false;
	put(x, &p, rule, p.mem ? vector_align(x, p.mem) : 1);
	return true;
}

/* --- those that are not as encoded ---------------------------------------------------------- */

static bool lea(struct translation *x)
{
	unsigned g = bt_guest_of(x->op[0].reg.value), to = bt_home(g);
	unsigned base = NO_REGISTER, index = NO_REGISTER;
	const struct insn *i = x->i;
	int32_t disp = (int32_t)i->disp;

	if (x->op[0].size < 32 || !bt_address_known(i))
		return false;
	if (i->index != R_ZERO) {
		index = bt_home(i->index);
		if (index == NO_REGISTER)
			bt_read(&x->e, index = RCX, i->index);
	}
	if (i->base == R_RIP) {
		code_state(&x->e, OP_LOAD, base = R11, AT(x.code_va));
		disp += x->b->offset;
	} else if (i->base != R_ZERO) {
		base = bt_home(i->base);
		if (base == NO_REGISTER)
			bt_read(&x->e, base = R11, i->base);
	}
	code_lea(&x->e, x->op[0].size == 64 && i->asz == 8, to == NO_REGISTER ? R11 : to, base,
		 index, i->scale, disp);
	if (to == NO_REGISTER)
		bt_write(&x->e, g, R11);
	return true;
}

bool bt_pauses(const struct translation *x, ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_PAUSE && x->c->vcpu->vm->vcpus > 1;
}

bool bt_insn(struct translation *x)
{
	unsigned rule = rules[x->zi->mnemonic];

	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_LEA: return lea(x);
	case ZYDIS_MNEMONIC_PAUSE: return !bt_pauses(x, x->zi->mnemonic);
	default: break;
	}
	if (rule & NONE)
		return true;
	if (bt_arith(x) || bt_system(x) || bt_stack(x) || bt_x87(x) || bt_string(x))
		return true;
	return rule & PLAIN ? plain(x, rule) : vector(x);
}
