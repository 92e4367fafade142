/*
 * group.c - several accesses near each other, one check.
 *
 * The idea: code reads and writes one field of a struct after the other, one local variable after
 * the other. Where the next few instructions address memory by the same registers, the first of
 * them has the whole range checked, and R11 stays the host address for all: the group. Nothing in
 * it can come out but its first check; if that fails, all of its instructions are their handlers',
 * one after the other, so that no mapping can have changed where R11 is used. If the TLB only does
 * not know the page, what the first handler would do about that is done, and the check tried again.
 *
 * A range over the end of a page fails each time, so whoever often leads one is told to lead none.
 *
 * Tested by test/unit/bt_random.c, test/unit/bt.c (fields).
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/group.h"

#include "engine/bt/translation.h"
#include "engine/interp/place.h"

#define RANGE_MOST 128 /* bytes: a displacement of one byte reaches them all */

/* May a register be an operand of one in a group, as which no scratch register but RCX is used? */
static bool register_fits(const ZydisDecodedOperand *o, bool memory)
{
	ZydisRegister reg = o->reg.value;
	ZydisRegisterClass k = ZydisRegisterGetClass(reg);
	bool hidden = o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
	unsigned g;

	if (k == ZYDIS_REGCLASS_FLAGS)
		return true;
	if (k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM)
		return o->encoding != ZYDIS_OPERAND_ENCODING_IS4 && !hidden;
	if (!bt_is_gpr(reg))
		return reg == ZYDIS_REGISTER_MXCSR;
	g = bt_guest_of(reg);
	if (bt_is_high_byte(reg))
		return false;
	if (o->encoding == ZYDIS_OPERAND_ENCODING_NONE) /* implied: it must be where it belongs */
		return bt_home(g) == g;
	return memory || !bt_in_memory(g);
}

static bool operands_fit(const struct translation *x, unsigned n)
{
	const ZydisDecodedOperand *op = x->all_op[n];
	bool memory = x->b->insn[n].flags & INSN_MEM;
	unsigned memories = 0, in_memory = 0;

	for (unsigned k = 0; k < x->all_zi[n].operand_count; k++) {
		switch (op[k].type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (!register_fits(&op[k], true))
				return false;
			if (bt_is_gpr(op[k].reg.value) &&
			    bt_in_memory(bt_guest_of(op[k].reg.value)))
				in_memory |= 1u << bt_guest_of(op[k].reg.value);
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (op[k].encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM ||
			    op[k].mem.type != ZYDIS_MEMOP_TYPE_MEM || op[k].size == 0)
				return false;
			memories++;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE: break;
		default: return false;
		}
	}
	return memories == memory && (in_memory & (in_memory - 1)) == 0;
}

/* An instruction of an XMM or YMM register, and no alignment. */
static bool vector_fits(const struct translation *x, unsigned n)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];
	const ZydisDecodedOperand *op = x->all_op[n];
	bool vector = false;

	if (!x->vector || bt_rule(zi->mnemonic))
		return false;
	for (unsigned k = 0; k < zi->operand_count; k++) {
		ZydisRegisterClass c = ZydisRegisterGetClass(op[k].reg.value);

		if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER)
			vector |= c == ZYDIS_REGCLASS_XMM || c == ZYDIS_REGCLASS_YMM;
		if (op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && op[k].size > 64)
			return false;
	}
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPISTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRI: return false;
	default: return vector;
	}
}

static bool shift_fits(const struct translation *x, unsigned n)
{
	const ZydisDecodedOperand *op = x->all_op[n];

	for (unsigned k = 1; k < x->all_zi[n].operand_count_visible; k++)
		if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    op[k].reg.value == ZYDIS_REGISTER_CL)
			return false;
	return true;
}

static bool lea_fits(const struct insn *i)
{
	return i->asz == 8 && i->disp == (int32_t)i->disp && i->base != R_RIP &&
	       !bt_in_memory(i->base) && !bt_in_memory(i->index);
}

/* Will it be emitted as itself, without R11? */
static bool insn_fits(const struct translation *x, unsigned n)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];
	const struct insn *i = &x->b->insn[n];
	unsigned rule;

	if (!x->known[n] || zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || zi->raw.imm[1].size)
		return false;
	rule = bt_rule(zi->mnemonic);
	if (rule & RULE_NONE)
		return !(i->flags & INSN_MEM) && !bt_pauses(x, zi->mnemonic);
	if (zi->mnemonic == ZYDIS_MNEMONIC_LEA) {
		const ZydisDecodedOperand *to = &x->all_op[n][0];

		return to->size >= 32 && x->wide && lea_fits(i) && register_fits(to, false);
	}
	if (!(rule & RULE_PLAIN) && !vector_fits(x, n))
		return false;
	if (bt_is_bit_test(zi->mnemonic) && i->flags & INSN_MEM)
		return false;
	return operands_fit(x, n) && (!(rule & RULE_SHIFT) || shift_fits(x, n));
}

/* A forward one, whose taken way leaves the group. */
static bool is_jcc_here(const struct translation *x, unsigned n)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];
	const struct insn *i = &x->b->insn[n];

	return x->known[n] && zi->meta.category == ZYDIS_CATEGORY_COND_BR &&
	       zi->mnemonic != ZYDIS_MNEMONIC_LOOP && zi->mnemonic != ZYDIS_MNEMONIC_LOOPE &&
	       zi->mnemonic != ZYDIS_MNEMONIC_LOOPNE && zi->mnemonic != ZYDIS_MNEMONIC_JCXZ &&
	       zi->mnemonic != ZYDIS_MNEMONIC_JECXZ && zi->mnemonic != ZYDIS_MNEMONIC_JRCXZ &&
	       i->osz == x->word && (int64_t)i->imm > i->at;
}

static const ZydisDecodedOperand *memory_of(const struct translation *x, unsigned n)
{
	for (unsigned k = 0; k < x->all_zi[n].operand_count; k++)
		if (x->all_op[n][k].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &x->all_op[n][k];
	return NULL;
}

static bool same_base(const struct insn *a, const struct insn *b)
{
	return a->base == b->base && a->index == b->index && a->scale == b->scale &&
	       a->asz == b->asz && a->seg == b->seg;
}

/* Does instruction n change a register that the address is made of? */
static bool moves(const struct translation *x, unsigned n, const struct insn *address)
{
	const ZydisDecodedOperand *op = x->all_op[n];

	for (unsigned k = 0; k < x->all_zi[n].operand_count; k++) {
		unsigned g;

		if (op[k].type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(op[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) ||
		    !bt_is_gpr(op[k].reg.value))
			continue;
		g = bt_guest_of(op[k].reg.value);
		if (g == address->base || g == address->index)
			return true;
	}
	return false;
}

/* The group with one member more, if it may have it. */
static bool take(struct group *g, const struct translation *x, unsigned n, bool branched)
{
	const ZydisDecodedOperand *m = memory_of(x, n);
	int64_t disp = x->b->insn[n].disp, lo = g->lo, hi = g->lo + (int64_t)g->size;
	bool write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (branched && write && !g->write) /* perhaps it is never written, and must not be */
		return false;
	lo = disp < lo ? disp : lo;
	hi = disp + m->size / 8 > hi ? disp + m->size / 8 : hi;
	if (hi - lo > RANGE_MOST || lo != (int32_t)lo)
		return false;
	g->lo = (int32_t)lo;
	g->size = (unsigned)(hi - lo);
	g->write |= write;
	g->end = n + 1;
	return true;
}

/* The group with [at, +size) more, if it may have it. */
static bool extend(struct group *g, const struct bt_stack_use *u, int32_t moved, bool branched)
{
	int32_t at = moved + u->at, lo = at, hi = at + (int32_t)u->size;

	if (branched && u->write && !g->write)
		return false;
	if (g->size) {
		lo = lo < g->lo ? lo : g->lo;
		hi = hi > g->lo + (int32_t)g->size ? hi : g->lo + (int32_t)g->size;
	}
	if (hi - lo > RANGE_MOST)
		return false;
	g->lo = lo;
	g->size = (unsigned)(hi - lo);
	g->write |= u->write;
	return true;
}

/* An operand at RSP plus a constant? */
static bool by_stack(const struct translation *x, unsigned n)
{
	const struct insn *i = &x->b->insn[n];

	return i->flags & INSN_MEM && i->base == RSP && i->index == R_ZERO && i->seg < FS &&
	       i->asz == x->word && i->disp >= -(int64_t)PAGE_SIZE && i->disp <= (int64_t)PAGE_SIZE;
}

/* May instruction n be in a group of the stack, and what does it do there? */
static bool stack_use(const struct translation *x, unsigned n, struct bt_stack_use *u)
{
	static const struct insn stack = { .base = RSP, .index = R_ZERO };
	const ZydisDecodedOperand *m;

	*u = (struct bt_stack_use){ 0 };
	if (bt_stack_uses(x, n, u))
		return true;
	if (!insn_fits(x, n) || moves(x, n, &stack))
		return false;
	m = memory_of(x, n);
	if (!m || x->all_zi[n].mnemonic == ZYDIS_MNEMONIC_LEA)
		return true;
	u->at = (int32_t)x->b->insn[n].disp;
	u->size = m->size / 8u;
	u->write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	return by_stack(x, n);
}

static struct group find_on_stack(const struct translation *x)
{
	struct group g = { .begin = x->i->n, .stack = true };
	bool branched = false;
	int32_t moved = 0;

	for (unsigned n = g.begin; n < x->segment_end; n++) {
		struct bt_stack_use u;

		if (is_jcc_here(x, n)) {
			branched = true;
			continue;
		}
		if (bt_followed(x, n))
			continue;
		if (!stack_use(x, n, &u) || moved != (int16_t)moved)
			break;
		if (u.size && !extend(&g, &u, moved, branched))
			break;
		if (u.size)
			g.end = n + 1;
		moved += u.moves;
		if (u.ends)
			break;
	}
	return g;
}

static struct group find_by_registers(const struct translation *x)
{
	const struct insn *first = x->i;
	const ZydisDecodedOperand *m = memory_of(x, first->n);
	struct group g = { .begin = first->n,
			   .end = first->n + 1u,
			   .lo = (int32_t)first->disp,
			   .size = m->size / 8u,
			   .write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE };
	bool branched = false;

	if (moves(x, first->n, first))
		return g;
	for (unsigned n = first->n + 1u; n < x->segment_end; n++) {
		if (is_jcc_here(x, n)) {
			branched = true;
			continue;
		}
		if (bt_followed(x, n))
			continue;
		if (!insn_fits(x, n))
			break;
		if (x->b->insn[n].flags & INSN_MEM && x->all_zi[n].mnemonic != ZYDIS_MNEMONIC_LEA &&
		    (!same_base(first, &x->b->insn[n]) || !take(&g, x, n, branched)))
			break;
		if (moves(x, n, first))
			break;
	}
	return g;
}

/* An address of 32 bits wraps before it is added to the base, so its neighbour may be far away. */
static bool wraps_first(const struct translation *x)
{
	return x->wide && x->i->asz == 4 && x->i->seg >= FS;
}

static void begin(struct translation *x, bool stack)
{
	struct group *g = &x->group;

	*g = (struct group){ .end = 0 };
	if (x->no_groups || x->i->flags & INSN_ALONE || block_straddles(x->b))
		return;
	*g = stack ? find_on_stack(x) : find_by_registers(x);
	if (g->end - g->begin < 2 || g->end == 0)
		g->end = 0;
	g->cold = x->colds;
	g->base = NO_REGISTER;
}

void bt_group_begin(struct translation *x)
{
	struct group *g = &x->group;

	if (x->i->n < g->end)
		return;
	g->end = 0;
	if (insn_fits(x, x->i->n) && !wraps_first(x))
		begin(x, by_stack(x, x->i->n));
}

bool bt_group_stack(struct translation *x)
{
	struct group *g = &x->group;
	struct bt_stack_use u;

	if (x->i->n < g->end)
		return true;
	g->end = 0;
	if (bt_stack_uses(x, x->i->n, &u))
		begin(x, true);
	if (!g->end)
		return false;
	bt_flags_lose(x);
	code_lea(&x->e, x->wide, R11, bt_home(RSP), NO_REGISTER, 0, g->lo);
	x->row = g->end - 1 - g->begin;
	bt_check(x, g->size, g->write ? ACCESS_WRITE : ACCESS_READ, 1);
	x->row = 0;
	return true;
}

int32_t bt_group_at(const struct translation *x, int32_t at)
{
	return x->group.moved + at - x->group.lo;
}

void bt_group_settle(struct translation *x)
{
	struct group *g = &x->group;

	if (g->owed)
		code_lea(&x->e, x->wide, bt_home(RSP), bt_home(RSP), NO_REGISTER, 0, g->owed);
	g->owed = 0;
}

/* Does the instruction at hand name RSP, other than as the address of an operand? */
static bool sees_rsp(const struct translation *x)
{
	for (unsigned k = 0; k < x->zi->operand_count; k++) {
		const ZydisDecodedOperand *o = &x->op[k];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    o->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN && bt_is_gpr(o->reg.value) &&
		    bt_guest_of(o->reg.value) == RSP)
			return true;
	}
	return x->zi->mnemonic == ZYDIS_MNEMONIC_LEA && x->i->base == RSP;
}

void bt_group_pass(struct translation *x)
{
	struct group *g = &x->group;
	struct bt_stack_use u;

	if (!g->stack || x->i->n >= g->end)
		return;
	if (x->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_NONE ? sees_rsp(x)
							      : is_jcc_here(x, x->i->n))
		bt_group_settle(x);
	if (bt_stack_uses(x, x->i->n, &u) && !u.size) /* the others do it themselves */
		g->moved += u.moves;
}

void bt_group_join(struct translation *x)
{
	struct group *g = &x->group;

	if (x->i->n + 1u < g->end)
		return;
	bt_group_settle(x);
	bt_join(x, g->cold);
	g->end = 0;
}

/* --- what its first check came to ------------------------------------------------------------ */

#define EXTENT_SIZE   0xffu
#define EXTENT_WRITES 0x100u

uint32_t bt_group_extent(const struct translation *x)
{
	const struct group *g = &x->group;
	int32_t disp = x->i->flags & INSN_MEM ? (int32_t)x->i->disp : 0;

	_Static_assert(RANGE_MOST <= EXTENT_SIZE, "it has a byte");
	return (uint32_t)(uint16_t)(g->lo - disp) << 16 | g->size | (g->write ? EXTENT_WRITES : 0);
}

/* Where it begins. */
static uint64_t address(const struct interp *c, const struct insn *i, uint32_t extent)
{
	uint64_t of = i->flags & INSN_MEM ? insn_ea(c, i) : c->r[RSP];
	uint64_t at = of + (uint64_t)(int64_t)(int16_t)(extent >> 16);

	return i->flags & INSN_MEM && i->seg >= FS ? at + c->s.seg[i->seg].base : at;
}

bool bt_group_crosses(const struct interp *c, const struct insn *i, uint32_t extent)
{
	return (address(c, i, extent) & PAGE_MASK) + (extent & EXTENT_SIZE) > PAGE_SIZE;
}

/* Whoever is in it is executed, or is a read behind a branch, so nothing is looked for, and no bit
 * set, that its handlers would not. */
bool bt_group_find(struct interp *c, const struct insn *i, uint32_t extent)
{
	enum access access = extent & EXTENT_WRITES ? ACCESS_WRITE : ACCESS_READ;
	uint64_t at = address(c, i, extent);
	struct place p;

	if (c->code_bits != 64 || (i->flags & INSN_MEM && i->asz != 8) || !gva_canonical(at) ||
	    tlb_hit(&c->tlb, at, 1, ACCESS_READ) || !place_find(c, at, 1, access, &p) ||
	    !tlb_hit(&c->tlb, at, 1, access))
		return false;
	c->x.target = at;
	return true;
}
