/*
 * places.c - which host register, or place in memory, each operand of an instruction becomes.
 *
 * The idea: most guest registers have a host register of the same number, so most instructions need
 * nothing. A register that lives in memory is named there if the encoding allows, else it
 * is brought to one of the two scratch registers, RCX and R11. CL beside a high byte register,
 * which REX would rename, goes to a scratch register, too. If they do not suffice, the
 * instruction is its handler's.
 *
 * Spec: SDM vol. 2 ch. 2. Tested by test/unit/bt.c, test/unit/bt_random.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/places.h"

/* Does the encoding name the register, so that another can take its place? */
static bool is_encoded(const ZydisDecodedOperand *o)
{
	return o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ||
	       o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM ||
	       o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE ||
	       o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD;
}

static bool is_shift(ZydisMnemonic m)
{
	return bt_rule(m) & RULE_SHIFT;
}

/* A bit string in memory is addressed by the bit number, too. */
static bool is_bit_string(const struct translation *x)
{
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		return x->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		       x->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
	default: return false;
	}
}

static bool is_string_compare(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_PCMPISTRI || m == ZYDIS_MNEMONIC_PCMPESTRI ||
	       m == ZYDIS_MNEMONIC_VPCMPISTRI || m == ZYDIS_MNEMONIC_VPCMPESTRI;
}

static bool place_memory(struct translation *x, struct places *p)
{
	for (unsigned n = 0; n < x->zi->operand_count; n++) {
		const ZydisDecodedOperand *o = &x->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (p->mem || o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM ||
		    o->mem.type != ZYDIS_MEMOP_TYPE_MEM || !bt_address_known(x->i))
			return false;
		p->mem = o;
	}
	return true;
}

/* A scratch register for guest register g; NO_REGISTER: none is left. */
static unsigned place_scratch(struct places *p, unsigned g, bool only_rcx)
{
	if (p->rcx == g)
		return RCX;
	if (p->r11 == g)
		return R11;
	if (p->rcx == NO_REGISTER && !p->count) {
		p->rcx = g;
		return RCX;
	}
	if (only_rcx || p->r11 != NO_REGISTER || p->mem)
		return NO_REGISTER;
	p->r11 = g;
	return R11;
}

/* ADD to CMP, MOV and TEST of a register and ModRM.rm, whose operands may change places. */
static bool has_twin(const struct translation *x)
{
	uint8_t opcode = x->zi->opcode;

	return x->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       x->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
	       ((opcode & 0xc6) == 0 || (opcode & 0xfe) == 0x84 || (opcode & 0xfe) == 0x88);
}

bool bt_is_bit_test(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
	       m == ZYDIS_MNEMONIC_BTC;
}

/* May memory be its destination as well as a register? Of 32 bits it may not, the upper half
 * changes; and XCHG would lock. */
static bool writes_memory(const struct translation *x, const ZydisDecodedOperand *o)
{
	if (o->size != 64 || x->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG:
	case ZYDIS_MNEMONIC_NOT:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR: return true;
	default: return false;
	}
}

/* Can the guest register that the operand names be used where it lies in memory? */
static bool place_state(struct translation *x, struct places *p, const ZydisDecodedOperand *o)
{
	unsigned g = bt_guest_of(o->reg.value);
	bool writes = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if ((writes && !writes_memory(x, o)) || p->mem || p->high || p->count ||
	    p->state != NO_REGISTER || x->zi->raw.modrm.mod != 3 || bt_is_bit_test(x->zi->mnemonic))
		return false;
	for (unsigned n = 0; n < x->zi->operand_count; n++) {
		const ZydisDecodedOperand *other = &x->op[n];

		if (other != o && other->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    bt_is_gpr(other->reg.value) && bt_in_memory(bt_guest_of(other->reg.value)))
			return false;
	}
	if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && has_twin(x))
		p->swapped = true;
	else if (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
		return false;
	p->state = g;
	return true;
}

static bool place_gpr(struct translation *x, struct places *p, const ZydisDecodedOperand *o,
		      unsigned rule)
{
	unsigned g = bt_guest_of(o->reg.value), host = bt_home(g);
	bool whole = rule & RULE_PURE && o->size >= 32 && o->actions == ZYDIS_OPERAND_ACTION_WRITE;

	if (!is_encoded(o)) {
		if (g == RCX &&
		    is_string_compare(x->zi->mnemonic)) { /* the index comes out there */
			p->rcx = RCX;
			p->written |= 1u << RCX;
			return !p->count;
		}
		if (g == RCX && is_shift(x->zi->mnemonic)) /* placed by place_count() */
			return true;
		return host == g;
	}
	if (host == NO_REGISTER && place_state(x, p, o))
		return true;
	if (host == NO_REGISTER || (p->high && g == RCX)) {
		host = place_scratch(p, g, p->high);
		if (host == NO_REGISTER)
			return false;
		if (!whole)
			p->read |= (uint16_t)(1u << g);
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			p->written |= (uint16_t)(1u << g);
	}
	if (p->high && host >= 8)
		return false;
	p->host[o - x->op] = (uint8_t)(bt_is_high_byte(o->reg.value) ? 4 + host : host);
	return true;
}

static bool place_operand(struct translation *x, struct places *p, const ZydisDecodedOperand *o,
			  unsigned rule)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return o->type != ZYDIS_OPERAND_TYPE_POINTER;
	if (bt_is_gpr(o->reg.value))
		return place_gpr(x, p, o, rule);
	if (bt_is_vector_register(o->reg.value) || bt_is_mmx_register(o->reg.value)) {
		p->host[o - x->op] = (uint8_t)ZydisRegisterGetId(o->reg.value);
		return o->encoding != ZYDIS_OPERAND_ENCODING_IS4;
	}
	return ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_FLAGS;
}

static void place_count(struct translation *x, struct places *p)
{
	for (unsigned n = 0; n < x->zi->operand_count; n++) {
		const ZydisDecodedOperand *o = &x->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !bt_is_gpr(o->reg.value))
			continue;
		p->high |= bt_is_high_byte(o->reg.value);
		if (!is_encoded(o) && bt_guest_of(o->reg.value) == RCX && is_shift(x->zi->mnemonic))
			p->count = true;
	}
}

bool bt_places(struct translation *x, struct places *p, unsigned rule)
{
	*p = (struct places){ .rcx = NO_REGISTER,
			      .r11 = NO_REGISTER,
			      .address = R11,
			      .base = NO_REGISTER,
			      .state = NO_REGISTER };
	if (x->zi->raw.imm[1].size || is_bit_string(x))
		return false;
	if (!x->wide && x->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && x->zi->raw.vex.W)
		return false; /* 32-bit code has it ignored here and there */
	if (!place_memory(x, p))
		return false;
	place_count(x, p);
	if (p->high && (x->zi->attributes & ZYDIS_ATTRIB_HAS_REX || p->count))
		return false;
	for (unsigned n = 0; n < x->zi->operand_count; n++)
		if (!place_operand(x, p, &x->op[n], rule))
			return false;
	if (p->high && p->mem) {
		if (p->rcx != NO_REGISTER)
			return false;
		p->address = RCX;
	}
	return true;
}
