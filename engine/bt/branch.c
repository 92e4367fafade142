/*
 * branch.c - how translated code goes from block to block.
 *
 * The idea: a direct jump within the page is a host jump, patched once its target is
 * translated. One that leaves the page first asks whether code is mapped as it was when
 * it was linked: the TLB gives its mappings of code a generation (engine/mmu/tlb.h), and a cell
 * beside the code holds the one that was. Indirect jumps look into a table by address. Returns are
 * described in bt.h. Whatever is not as it was comes out, to be looked up as the interpreter does.
 *
 * Spec: engine/interp/run.c. Tested by test/unit/bt.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/gate.h"
#include "engine/bt/translation.h"

static struct bt_place *new_place(struct translation *x, enum place_kind kind, int32_t target,
				  const struct insn *i)
{
	struct bt *t = x->t;
	struct bt_place *p = &t->room->place[t->room->places++];

	*p = (struct bt_place){ .kind = (uint8_t)kind,
				.target = target,
				.i = i,
				.page = (uint32_t)(x->b->key >> (2 + PAGE_SHIFT)),
				.half = (uint8_t)x->half,
				.variant = (uint8_t)x->variant };
	if (kind == PLACE_CROSS)
		p->cell = (uint32_t)((uint8_t *)bt_cell_new(t) - t->code.data);
	return p;
}

/* Where an instruction in two pages lies on the host is not known, so nothing is in its page. */
bool bt_in_page(const struct translation *x, int32_t target)
{
	return target >= 0 && target < (int32_t)PAGE_SIZE && !block_straddles(x->b);
}

/* Leaves if the cell is not of the current generation. */
static uint8_t *check_generation(struct translation *x, const uint8_t *cell)
{
	code_state(&x->e, OP_LOAD, RCX, AT(tlb.generation_now) + x->half * 8);
	code_rip(&x->e, OP_CMP, RCX, cell + offsetof(struct bt_cell, generation));
	return code_jump_if(&x->e, CC_NE);
}

/* Where place `p` leads when it is not linked. */
static struct cold *unlinked(struct translation *x, struct bt_place *p, uint8_t *from,
			     enum flags_at flags)
{
	struct cold *k = bt_cold(x, COLD_EDGE, from);

	k->place = p;
	k->save = flags == FLAGS_HOST;
	k->again = flags == FLAGS_AGAIN;
	return k;
}

/* The next jump, whose distance is its bytes from `at` on, will be aimed anew while other vCPUs may
 * execute it: in one store. A prefix without a meaning there fills up. */
static void patchable(struct translation *x, unsigned at)
{
	while (x->t->room->shared && ((uintptr_t)x->e.at + at) % 4)
		code8(&x->e, 0x2e);
}

static struct bt_place *same_page(struct translation *x, const struct insn *i, int32_t target,
				  uint8_t *jump, enum flags_at flags)
{
	struct bt_place *p = new_place(x, PLACE_SAME_PAGE, target, i);

	if (!jump) {
		patchable(x, 1);
		jump = code_go(&x->e, OP_JMP, NULL);
	}
	p->jump = jump;
	unlinked(x, p, p->jump, flags);
	return p;
}

struct bt_place *bt_edge(struct translation *x, const struct insn *i, int32_t target,
			 enum flags_at flags)
{
	struct code *e = &x->e;
	const uint8_t *cell;
	struct bt_place *p;
	struct cold *k;

	if (flags == FLAGS_HOST && (x->exact || !bt_in_page(x, target))) {
		bt_flags_save(e);
		flags = FLAGS_MEMORY;
	}
	if (bt_in_page(x, target))
		return same_page(x, i, target, NULL, flags);
	if (flags == FLAGS_AGAIN && x->t->room->shared) { /* there is one jump only, see below */
		bt_again(x);
		bt_flags_save(e);
		flags = FLAGS_MEMORY;
	}
	p = new_place(x, PLACE_CROSS, target, i);
	cell = bt_data(x->t, bt_cell_of(x->t, p));
	code_state(e, OP_LOAD, RCX, AT(x.code_va));
	code_rip(e, OP_CMP, RCX, cell + offsetof(struct bt_cell, from));
	k = unlinked(x, p, code_jump_if(e, CC_NE), flags);
	k->others[0] = check_generation(x, cell);
	code_rip(e, OP_LOAD, RCX, cell + offsetof(struct bt_cell, to));
	code_state(e, OP_STORE, RCX, AT(x.code_va));
	if (x->t->room->shared) {
		CODE(e, 0xff, 0x25); /* jmp [next] */
		code32(e, (uint32_t)(cell + offsetof(struct bt_cell, next) - (e->at + 4)));
		return p;
	}
	p->jump = k->others[1] = code_go(e, OP_JMP, NULL);
	return p;
}

/* Where the host's return arrives: R11 is the guest's return address, ECX its RET. */
static void landing(struct translation *x, int32_t back)
{
	struct code *e = &x->e;

	CODE(e, 0x4c, 0x3b, 0x1c, 0x24); /* cmp r11, [rsp] */
	code_aim(code_jump_if(e, CC_NE), x->t->mismatch);
	CODE(e, 0x48, 0x8d, 0x64, 0x24, 0x08); /* lea rsp, [rsp + 8] */
	code_lea(e, x->wide, bt_home(RSP), bt_home(RSP), NO_REGISTER, 0, (int32_t)x->word);
	code_lea(e, x->wide, R11, R11, NO_REGISTER, 0, -back);
	code_state(e, OP_STORE, R11, AT(x.code_va));
	bt_edge(x, NULL, back, FLAGS_MEMORY);
}

/* R11 = value of the operand that an indirect branch names. Flags given, or can be made again. */
static void indirect_target(struct translation *x)
{
	if (!(x->i->flags & INSN_MEM)) {
		bt_flags_lose(x);
		bt_read(&x->e, R11, x->i->a / 8);
		if (!x->wide)
			code_move32(&x->e, R11, R11);
	} else {
		bt_address(x);
		bt_check(x, x->word, ACCESS_READ, 1);
		code_mem_of(&x->e, x->wide, OP_LOAD, R11, R11, 0);
	}
}

/* Should R11 not be canonical, that is found out where the table does not know it. */
static void by_table(struct translation *x)
{
	code_state_set32(&x->e, AT(x.insn), bt_name(x, x->i));
}

/* Did the indirect jump at hand stay in its page when it was last interpreted? */
static bool stayed(const struct translation *x, const struct insn *i)
{
	const struct block *to = i->aux;

	return to && !block_straddles(to) &&
	       to->key >> (2 + PAGE_SHIFT) == x->b->key >> (2 + PAGE_SHIFT);
}

static const struct bt_page_jumps *table_of(const struct translation *x, unsigned n)
{
	return stayed(x, &x->b->insn[n]) ? bt_jumps_of(x->t, x->b, x->variant) : NULL;
}

bool bt_page_jump(const struct translation *x, unsigned n)
{
	const ZydisDecodedInstruction *zi = &x->all_zi[n];

	return n + 1 == x->b->count && zi->mnemonic == ZYDIS_MNEMONIC_JMP &&
	       x->b->insn[n].osz == x->word &&
	       x->all_op[n][0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	       zi->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR && table_of(x, n);
}

/* Jumps to R11 if that is in this page. Else goes on, R11 as it was. */
static void within_page(struct translation *x)
{
	const struct bt_page_jumps *j = table_of(x, x->i->n);
	struct code *e = &x->e;
	uint8_t *far;

	if (!j)
		return;
	code_state(e, OP_XOR, R11, AT(x.code_va));
	CODE(e, 0x49, 0x81, 0xfb); /* cmp r11, 4095 */
	code32(e, PAGE_SIZE - 1);
	far = code_jump_if(e, CC_A);
	if (x->flags == FLAGS_AGAIN) {
		code_state_set32(e, AT(x.insn), 0);
		bt_cold(x, COLD_SETTLE, e->at);
		code_rip(e, 0x8d, RCX, bt_data(x->t, j->plain)); /* lea */
	} else {
		code_rip(e, 0x8d, RCX, bt_data(x->t, j->native));
	}
	CODE(e, 0x42, 0xff, 0x24, 0xd9); /* jmp [rcx + r11 * 8] */
	code_here(e, far);
	code_state(e, OP_XOR, R11, AT(x.code_va));
}

/* Pushes the return address on the guest's stack, at R11 + `at`, and the hint stack. */
static void push_return(struct translation *x, int32_t at, int32_t moves)
{
	struct code *e = &x->e;
	unsigned rsp = bt_home(RSP);

	code_state(e, OP_LOAD, RCX, AT(x.code_va));
	code_lea(e, x->wide, RCX, RCX, NO_REGISTER, 0, x->b->offset + x->i->at + x->i->len);
	code_mem_of(e, x->wide, OP_STORE, RCX, R11, at);
	code_lea(e, x->wide, rsp, rsp, NO_REGISTER, 0, moves);
	CODE(e, 0x48, 0x81, 0xcc); /* or rsp, HINT_BYTES */
	code32(e, (uint32_t)HINT_BYTES);
	code8(e, 0x51); /* push rcx */
}

static void check_push(struct translation *x)
{
	bt_flags_lose(x);
	code_lea(&x->e, x->wide, R11, bt_home(RSP), NO_REGISTER, 0, -(int32_t)x->word);
	bt_check(x, x->word, ACCESS_WRITE, 1);
}

/* To the target and back. */
static void go_relative(struct translation *x)
{
	int32_t target = x->b->offset + (int32_t)x->i->imm;
	bool same = bt_in_page(x, target);
	uint8_t *jump;

	if (same)
		patchable(x, 1);
	jump = code_go(&x->e, OP_CALL, NULL);
	if (same)
		same_page(x, x->i, target, jump, x->flags)->is_call = true;
	else
		bt_cold(x, COLD_CALL, jump)->target = target;
}

/* Checks for the word that CALL pushes, and pushes it. */
static void push_checked(struct translation *x, bool grouped)
{
	int32_t word = (int32_t)x->word;

	if (grouped) {
		bt_flags_lose(x);
		push_return(x, bt_group_at(x, -word), x->group.owed - word);
		x->group.end = 0;
		return;
	}
	check_push(x);
	push_return(x, 0, -word);
}

static bool call(struct translation *x, bool relative)
{
	int32_t back = x->b->offset + x->i->at + x->i->len;
	struct code *e = &x->e;

	if (!relative) {
		indirect_target(x);
		by_table(x);
		code_state(e, OP_STORE, R11, AT(x.target));
	}
	push_checked(x, relative && bt_group_stack(x));
	if (relative) {
		go_relative(x);
	} else {
		code_state(e, OP_LOAD, R11, AT(x.target));
		code_go(e, OP_CALL, x->t->indirect[x->half]);
	}
	landing(x, back);
	return true;
}

static bool jump(struct translation *x, bool relative)
{
	if (bt_followed(x, x->i->n))
		return true;
	if (relative) {
		bt_edge(x, x->i, x->b->offset + (int32_t)x->i->imm, x->flags);
		return true;
	}
	indirect_target(x);
	within_page(x);
	bt_flags_give(x);
	by_table(x);
	code_go(&x->e, OP_JMP, x->t->indirect[x->half]);
	return true;
}

/* RSP moves where the return arrives, which finds out whether the address is canonical. */
static void return_to(struct translation *x, int32_t at)
{
	code_mem_of(&x->e, x->wide, OP_LOAD, R11, R11, at);
	code_constant(&x->e, RCX, bt_name(x, x->i));
	code8(&x->e, 0xc3);
}

static void ret(struct translation *x)
{
	bt_flags_give(x);
	if (bt_group_stack(x)) {
		bt_group_settle(x);
		return_to(x, bt_group_at(x, 0));
		x->group.end = 0;
		return;
	}
	code_move_of(&x->e, x->wide, R11, bt_home(RSP));
	bt_check(x, x->word, ACCESS_READ, 1);
	return_to(x, 0);
}

bool bt_ends_segment(const struct translation *x)
{
	return x->zi->meta.category == ZYDIS_CATEGORY_COND_BR && (int64_t)x->i->imm <= x->i->at;
}

void bt_lead(struct translation *x, uint8_t cc)
{
	int32_t target = x->b->offset + (int32_t)x->i->imm;
	bool loop = !x->exact && bt_ends_segment(x) && bt_in_page(x, target);
	bool always = cc == CC_ALWAYS;
	uint8_t *jump;
	struct cold *k;

	if (loop)
		patchable(x, always ? 1 : 2);
	jump = always ? code_go(&x->e, OP_JMP, NULL) : code_jump_if(&x->e, cc);
	if (loop) {
		same_page(x, x->i, target, jump, x->flags);
		return;
	}
	k = bt_cold(x, COLD_TAKEN, jump);
	k->save = x->flags == FLAGS_HOST;
	k->target = target;
}

static void jcc(struct translation *x)
{
	bt_flags_need(x);
	bt_lead(x, x->zi->opcode & 15);
	if (!x->wanted[x->i->n])
		x->flags = FLAGS_MEMORY;
}

static bool is_jcc(const ZydisDecodedInstruction *zi)
{
	return (zi->opcode_map == ZYDIS_OPCODE_MAP_0F && (zi->opcode & 0xf0) == 0x80) ||
	       (zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (zi->opcode & 0xf0) == 0x70);
}

/* Is the target, from its page on, a number of 32 bits? */
static bool is_near(const struct translation *x)
{
	int64_t target = (int64_t)x->i->imm + x->b->offset;

	return target == (int32_t)target;
}

bool bt_branch(struct translation *x, bool *ended)
{
	bool near = x->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT ||
		    x->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR;
	bool relative = x->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;

	*ended = bt_gate(x);
	if (*ended)
		return true;
	if (!near || x->i->osz != x->word || (relative && !is_near(x)))
		return false;
	if (x->zi->meta.category == ZYDIS_CATEGORY_COND_BR) {
		if (!is_jcc(x->zi))
			return bt_count(x);
		jcc(x);
		return true;
	}
	if (x->i->flags & INSN_MEM && !bt_address_known(x->i))
		return false;
	*ended = !bt_followed(x, x->i->n);
	switch (x->zi->mnemonic) {
	case ZYDIS_MNEMONIC_JMP: return jump(x, relative);
	case ZYDIS_MNEMONIC_CALL: return call(x, relative);
	case ZYDIS_MNEMONIC_RET:
		if (x->i->imm == 0) {
			ret(x);
			return true;
		}
		break;
	default: break;
	}
	*ended = false;
	return false;
}

/* --- behind the block --------------------------------------------------------------------- */

/* x.left += n, leaving RFLAGS alone. Returns the byte that says n; NULL: n is 0. */
static uint8_t *give_back(struct code *e, unsigned n)
{
	if (n == 0)
		return NULL;
	CODE(e, 0x4d, 0x8d, 0x7f, (uint8_t)n); /* lea r15, [r15 + n] */
	return e->at - 1;
}

static void cold_slow(struct translation *x, const struct cold *k)
{
	bt_x87_fip(&x->e, k->fip);
	if (k->extent) {
		bt_group_call(x, k->name, k->extent);
		code_aim(code_jump_if(&x->e, CC_NE), k->retry);
	}
	for (unsigned n = k->extent != 0; n <= k->row; n++)
		bt_slow_call(x, k->name + n * (uint32_t)sizeof(struct insn));
	if (!k->join)
		return;
	if (k->load)
		bt_flags_load(&x->e);
	code_go(&x->e, OP_JMP, k->join);
}

/* Execution stops before an instruction, to go on when it may. */
static void cold_out(struct translation *x, const struct cold *k)
{
	code_state(&x->e, OP_LOAD, R11, AT(x.code_va));
	code_lea(&x->e, true, R11, R11, NO_REGISTER, 0, x->b->offset + k->i->at);
	code_go(&x->e, OP_JMP, x->t->boundary);
}

/* A unit is loaded by subroutine `in` unless the byte at `ok` is 0. */
static void cold_unit(struct translation *x, const struct cold *k, uint32_t ok, const uint8_t *in)
{
	uint8_t *refused;

	code_state_cmp8(&x->e, ok, 0);
	refused = code_jump_if(&x->e, CC_E);
	code_go(&x->e, OP_CALL, in);
	code_go(&x->e, OP_JMP, k->join);
	code_here(&x->e, refused);
	cold_out(x, k);
}

static void cold_taken(struct translation *x, const struct cold *k)
{
	unsigned paid = (k->name >> BT_PAID_SHIFT) + 1;

	unsigned due = paid - (k->i->n + 1u);
	uint8_t *refund = give_back(&x->e, due);
	struct bt_place *p;

	p = bt_edge(x, k->i, k->target, k->save ? FLAGS_HOST : FLAGS_MEMORY);
	if (p->kind != PLACE_SAME_PAGE)
		return;
	p->refund = refund;
	p->due = (uint8_t)due;
}

/* The flags are in memory, as far as k knows where they are. */
static void save_flags(struct translation *x, const struct cold *k)
{
	if (k->again)
		bt_again(x);
	if (k->again || k->save)
		bt_flags_save(&x->e);
}

/* What a jump within its page leaves in x.insn: where its flags are saved. */
static void cold_settle(struct translation *x, const struct cold *k)
{
	uint32_t at = (uint32_t)(x->e.at - x->t->code.write_at);

	memcpy(k->from - 4, &at, 4);
	save_flags(x, k);
	code8(&x->e, 0xc3);
}

/* A jump that leaves its page may be linked to a block that needs the flags; its checks, which come
 * here to be renewed, may not. */
static uint8_t *cold_checks(struct translation *x, const struct cold *k)
{
	if (k->others[0])
		code_here(&x->e, k->others[0]);
	if (!k->again || !k->others[1])
		return NULL;
	save_flags(x, k);
	return code_go(&x->e, OP_JMP, NULL);
}

static void cold_edge(struct translation *x, const struct cold *k)
{
	uint8_t *out = cold_checks(x, k);
	struct bt_place *p = k->place;

	p->unlinked = x->e.at;
	if (k->others[1])
		code_here(&x->e, k->others[1]);
	save_flags(x, k);
	if (k->again || k->save) {
		patchable(x, 1);
		p->save_jump = code_go(&x->e, OP_JMP, NULL);
		code_here(&x->e, p->save_jump);
		p->out = x->e.at;
	}
	if (out)
		code_here(&x->e, out);
	code_constant(&x->e, R11, (uint64_t)(p - x->t->room->place));
	code_go(&x->e, OP_JMP, x->t->edge);
}

/*
 * R11 is address XOR tag: makes it the address again, fills the cell and goes on, or aside. With a
 * base R11 has to be what is between that and the host's memory.
 */
static void cold_cell(struct translation *x, const struct cold *k, struct cold *slow)
{
	code_rip(&x->e, OP_XOR, R11, k->memory + offsetof(struct bt_memory, tag));
	slow->retry = x->e.at;
	code_rip(&x->e, 0x8d, RCX, k->memory); /* lea */
	if (x->t->room->shared)
		code_state_set32(&x->e, AT(x.full), k->limit | (k->base != NO_REGISTER) << 16);
	code_go(&x->e, OP_CALL, x->t->refill[x->half][k->access]);
	slow->from = code_jump_if(&x->e, CC_A);
	if (k->base != NO_REGISTER) {
		CODE(&x->e, code_rex(true, R11, 0, k->base), OP_SUB,
		     (uint8_t)(0xc0 | (R11 & 7) << 3 | (k->base & 7)));
		code_lea(&x->e, true, R11, R11, NO_REGISTER, 0, -k->target);
	}
	code_go(&x->e, OP_JMP, k->join);
}

/* R11 is address XOR tag, RCX the entry: perhaps the address is one of the other half. */
static void cold_table(struct translation *x, const struct cold *k, struct cold *slow)
{
	code_mem(&x->e, OP_XOR, R11, RCX, (int32_t)k->access * 8);
	slow->retry = x->e.at;
	code_constant(&x->e, RCX, k->limit);
	code_go(&x->e, OP_CALL, x->t->either[k->access]);
	slow->from = code_jump_if(&x->e, CC_A);
	code_go(&x->e, OP_JMP, k->join);
}

/* The others come to one that does, or do it where they know how. */
static bool makes_again(enum cold_kind kind)
{
	return kind == COLD_SLOW || kind == COLD_BUDGET || kind == COLD_VECTOR;
}

static void put_cold(struct translation *x, const struct cold *k, struct cold *next)
{
	if (k->kind != COLD_SETTLE)
		code_here(&x->e, k->from);
	x->maker = k->maker;
	if (k->again && makes_again(k->kind)) {
		bt_again(x);
		bt_flags_save(&x->e);
	}
	switch (k->kind) {
	case COLD_CELL: cold_cell(x, k, next); break;
	case COLD_TABLE: cold_table(x, k, next); break;
	case COLD_SLOW: cold_slow(x, k); break;
	case COLD_TAKEN: cold_taken(x, k); break;
	case COLD_BUDGET:
		give_back(&x->e, k->limit);
		cold_out(x, k);
		break;
	case COLD_VECTOR: cold_unit(x, k, AT(x.vector_ok), x->t->vector); break;
	case COLD_X87: cold_unit(x, k, AT(x.x87_ok), x->t->x87); break;
	case COLD_CALL:
		bt_edge(x, k->i, k->target, k->again ? FLAGS_AGAIN : FLAGS_MEMORY)->is_call = true;
		break;
	case COLD_EDGE: cold_edge(x, k); break;
	case COLD_SETTLE: cold_settle(x, k); break;
	}
}

static bool is_warm(const struct cold *k)
{
	return k->kind == COLD_TAKEN || k->kind == COLD_CALL;
}

static void put_all(struct translation *x, bool warm)
{
	for (unsigned n = 0; n < x->colds; n++) {
		struct cold k = x->cold[n];

		if (is_warm(&k) != warm)
			continue;
		x->i = k.i;
		put_cold(x, &k, &x->cold[n + 1]);
	}
}

void bt_warm_code(struct translation *x)
{
	put_all(x, true);
}

void bt_cold_code(struct translation *x)
{
	put_all(x, false);
}
