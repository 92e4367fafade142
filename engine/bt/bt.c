/*
 * bt.c - engine bt as an engine: the interpreter, which hands its blocks to a translator.
 *
 * The idea: a block that has run a few times is translated to host code; whatever that cannot
 * do, and every block until then, is interpreted. State, memory, faults and counting
 * are the interpreter's, so that the two cannot differ in them.
 *
 * Translated: 64-bit code, and 32-bit code in flat segments, without alignment checking (CPL 3,
 * CR0.AM, EFLAGS.AC). All else is interpreted.
 *
 * Tested by test/unit/bt.c, and by `make lockstep`.
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/translation.h"

#include <errno.h>

#include "engine/bt/engine_bt.h"
#include "engine/interp/alu.h"
#include "engine/interp/engine_interp.h"
#include "engine/interp/run.h"
#include "engine/interp/vector.h"

#define FLAT_SEGMENTS  (1u << ES | 1u << CS | 1u << SS | 1u << DS)
#define BASED_SEGMENTS (1u << FS | 1u << GS)
#define MXCSR_MASKS    0x1f80u

/* Translated code adds FS and GS bases and nothing else. */
bool bt_translatable(const struct interp *c)
{
	if (c->mode == DECODE_32)
		return c->flat32;
	return c->mode == DECODE_64 && (c->flat_write & FLAT_SEGMENTS) == FLAT_SEGMENTS &&
	       c->based == BASED_SEGMENTS;
}

/* May vector instructions run as they are? They must not fault. */
static bool vector_ok(const struct bt *t, const struct interp *c)
{
	return t->vectors && vector_sse_ok(c) && vector_vex_ok(c) &&
	       (c->s.fpu.mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
}

void bt_units_ok(const struct bt *t, struct interp *c)
{
	c->x.vector_ok = vector_ok(t, c);
	c->x.x87_ok = bt_x87_ok(c);
}

/* May the block's translation run at all? */
static bool may_run(const struct bt *t, struct interp *c, const struct block *b)
{
	return (!(b->native_flags & BT_VECTOR) || vector_ok(t, c)) &&
	       (!(b->native_flags & BT_X87) || bt_x87_ok(c)) &&
	       (!block_straddles(b) || bt_straddle_ready(c, b));
}

/* Translated code comes back at the next end of a block. */
void bt_come_back(struct bt *t, struct interp *c)
{
	t->end -= c->x.left;
	c->x.left = 0;
}

bool bt_attention(const struct interp *c)
{
	return atomic_load_explicit(&c->kicked, memory_order_relaxed) ||
	       atomic_load_explicit(&c->vcpu->notice, memory_order_relaxed);
}

/* After a handler said STEP_NEXT: may its block's translation go on? */
static int go_on(struct bt *t, struct interp *c, const struct insn *i, bool x87_was)
{
	uint8_t flags = bt_native_flags(c->block);
	bool wanted = flags & BT_VECTOR && c->x.vector_live;
	bool x87 = flags & BT_X87 && x87_was;

	if (UNLIKELY(__atomic_load_n(&i[1].fn, __ATOMIC_RELAXED) == op_stale)) {
		c->current = i + 1;
		return BT_STEP + STEP_STALE;
	}
	bt_units_ok(t, c);
	c->x.vector_live = wanted && c->x.vector_ok;
	c->x.x87_live = x87 && c->x.x87_ok;
	if (UNLIKELY(wanted != c->x.vector_live || x87 != c->x.x87_live || !bt_translatable(c))) {
		c->current = i + 1;
		return BT_STEP + (i[1].fn == op_end ? STEP_END : STEP_STALE);
	}
	return 0;
}

static const struct insn *bt_named(const struct interp *c, uint32_t name)
{
	const struct bt *t = c->executor;

	bt_share_seen(t);
	return (const struct insn *)(const void *)(t->names + (name & ((1u << BT_PAID_SHIFT) - 1)));
}

/* Hints are no good when code is mapped differently, or executes with another CPL or width. */
void bt_hints_check(struct bt *t, struct interp *c, unsigned kept)
{
	uint64_t *was = c->x.hint_generation, *now = c->tlb.generation_now;
	uint64_t *to = (uint64_t *)(uintptr_t)c->x.hint_empty[c->user];

	if (LIKELY(was[0] == now[0] && was[1] == now[1] && t->hint_mode == c->mode))
		return;
	was[0] = now[0];
	was[1] = now[1];
	if (t->hint_mode != c->mode || c->user)
		c->x.user_generation[0] = 0; /* nor are those that wait; or they are overwritten */
	t->hint_mode = c->mode;
	c->x.jumps = t->jumps[c->mode == DECODE_32];
	if (kept) /* the return address of the stub that called */
		to[-1] = *(uint64_t *)(uintptr_t)c->x.hint_rsp;
	c->x.hint_rsp = c->x.hint_empty[c->user] - kept;
}

/* Is the translation one for the half of the address space and the CPL of now? */
bool bt_fits(const struct interp *c, const struct block *b, uint64_t rip)
{
	return (b->native_flags & (BT_HIGH | BT_USER)) == bt_variant(c, rip);
}

/* Next time the instruction looks into the TLB at once. The code that runs now stays readable. */
static void translate_again(struct interp *c, const struct insn *i)
{
	c->x.hops = NULL;
	bt_share_again(c->executor, c, i, INSN_HOPS);
}

/* Translated code has come to the instruction. */
static const struct insn *arrive(struct interp *c, uint32_t name)
{
	const struct insn *i = bt_named(c, name);
	const struct bt *t = c->executor;

	c->block = (struct block *)(i - i->n) - 1;
	c->current = i;
	c->retired_before = t->end - c->x.left - ((name >> BT_PAID_SHIFT) + 1);
	c->r[R_RIP] = c->x.code_va + c->block->offset;
	return i;
}

int bt_slow(struct interp *c, uint32_t name)
{
	const struct insn *i = arrive(c, name);
	uint64_t generation = tlb_code_generation(&c->tlb, c->x.code_va);
	struct bt *t = c->executor;
	bool x87 = c->x.x87_live;
	enum step step;

	if (x87)
		bt_x87_take(c);
	c->arith = alu_unpack(c->x.flags);
	t->slows++;
	t->figures.slow[i->tag]++;
	if (UNLIKELY(c->x.hops != NULL))
		translate_again(c, i);
	for (unsigned half = 0; half < 2; half++)
		if (UNLIKELY(c->x.cells[half] == c->x.cells_end[half]))
			bt_cells_die(&c->tlb, half);
	step = i->fn(c, i);
	c->x.flags = (uint16_t)alu_pack(c->arith);
	if (UNLIKELY(step != STEP_NEXT) && !(step == STEP_LEAVE && bt_stays(c, generation)))
		return bt_hop(t, c, &step) ? BT_HOP : BT_STEP + (int)step;
	/* Where the code of the other half lies is asked on the way there. */
	if (UNLIKELY(bt_attention(c)) ||
	    UNLIKELY(tlb_code_generation(&c->tlb, c->x.code_va) != generation))
		bt_come_back(t, c);
	bt_hints_check(t, c, 8);
	return go_on(t, c, i, x87);
}

/* The group at i lies in two pages. Too often? */
static bool crosses_often(struct bt *t, const struct interp *c, const struct insn *i)
{
	struct bt_crossing *k = &t->crossing[(uintptr_t)i / sizeof(*i) % 64];
	uint64_t now = t->end - c->x.left;

	if (k->i != i)
		*k = (struct bt_crossing){ .i = i };
	else if (now - k->at < BT_SELDOM)
		k->times++;
	else
		k->times = 0;
	k->at = now;
	return k->times >= BT_CROSSINGS;
}

int bt_group_slow(struct interp *c, uint32_t name, uint32_t extent)
{
	const struct insn *i = arrive(c, name); /* so the block stays if this has to wait */
	struct bt *t = c->executor;

	if (bt_group_crosses(c, i, extent)) {
		if (crosses_often(t, c, i))
			bt_share_again(t, c, i, INSN_ALONE);
	} else if (bt_group_find(c, i, extent)) {
		if (c->x.x87_live) { /* what was saved is what comes back */
			bt_x87_take(c);
			c->x.x87_live = 1;
		}
		t->found++;
		return BT_RETRY;
	}
	return t->torture ? bt_torture_slow(c, name) : bt_slow(c, name);
}

/* --- the executor --- */

static enum step at_boundary(struct bt *t, struct interp *c)
{
	c->retired_before = t->end - c->x.left;
	c->current = &t->boundary_insn;
	t->boundary_insn.aux = NULL; /* it has no one successor */
	return STEP_END;
}

/* A relative branch out of the canonical addresses. */
static enum step refuse(struct bt *t, struct interp *c, const struct bt_place *p)
{
	c->block = (struct block *)(p->i - p->i->n) - 1;
	c->current = p->i;
	c->retired_before = t->end - c->x.left - (p->i->n + 1u);
	c->r[R_RIP] = c->x.code_va + c->block->offset;
	if (p->is_call)
		c->r[RSP] += 8;
	return raise_gp(c, 0);
}

static bool is_call(const struct bt *t, const struct interp *c, const struct insn *i)
{
	const uint8_t *bytes = block_code(c->block) + i->at;
	ZydisDecodedInstruction zi;

	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&t->zydis, NULL, bytes, i->len, &zi)) &&
	       zi.mnemonic == ZYDIS_MNEMONIC_CALL;
}

/* The same of an indirect one. RET asks before it comes here. */
static enum step refuse_indirect(struct bt *t, struct interp *c)
{
	const struct insn *i = bt_named(c, c->x.insn);

	c->block = (struct block *)(i - i->n) - 1;
	c->current = i;
	c->retired_before = t->end - c->x.left - (i->n + 1u);
	c->r[R_RIP] = c->x.code_va + c->block->offset;
	if (is_call(t, c, i))
		c->r[RSP] += 8;
	return raise_gp(c, 0);
}

static enum step at_edge(struct bt *t, struct interp *c)
{
	struct bt_place *p = &t->room->place[c->x.place];

	c->r[R_RIP] = c->x.code_va + (uint64_t)(int64_t)p->target;
	if (c->mode == DECODE_32)
		c->r[R_RIP] = (uint32_t)c->r[R_RIP];
	if (UNLIKELY(!gva_canonical(c->r[R_RIP])) && p->i)
		return refuse(t, c, p);
	t->pending = p;
	t->pending_va = c->x.code_va;
	t->pending_rip = c->r[R_RIP];
	return at_boundary(t, c);
}

/* The run loop remembers successors in the instruction that ended a block: not in a shared one. */
static void leave_shared(struct bt *t, struct interp *c, int step)
{
	if (step != STEP_BRANCH && step != STEP_END)
		return;
	t->left_by = *c->current;
	t->left_by.aux = NULL;
	c->current = &t->left_by;
}

static enum step run_native(struct bt *t, struct interp *c, const struct block *b)
{
	uint64_t begin = c->s.instructions, left = c->end - begin;
	int kind;

	c->x.left = left < t->slice ? left : t->slice;
	t->end = c->s.instructions + c->x.left;
	c->x.code_va = c->r[R_RIP] - b->offset;
	t->pending_mode = c->mode;
	c->x.flags = (uint16_t)alu_pack(c->arith);
	bt_units_ok(t, c);
	bt_hints_check(t, c, 0);
	kind = t->enter(c, b->native);
	bt_share_seen(t);
	if (c->x.x87_live)
		bt_x87_take(c);
	c->arith = alu_unpack(c->x.flags);
	if (kind >= BT_STEP) {
		if (t->room->shared)
			leave_shared(t, c, kind - BT_STEP);
		t->figures.steps[kind - BT_STEP]++;
		t->figures.instructions += c->retired_before + c->current->n - begin;
		return (enum step)(kind - BT_STEP);
	}
	t->figures.instructions += t->end - c->x.left - begin;
	t->exits[kind]++;
	if (kind == BT_EDGE)
		return at_edge(t, c);
	if (kind == BT_INDIRECT) {
		if (UNLIKELY(!gva_canonical(c->r[R_RIP])))
			return refuse_indirect(t, c);
		t->pending_indirect = true;
		t->pending_rip = c->r[R_RIP];
	}
	return at_boundary(t, c);
}

/* What takes b's place if it is worth a translation. */
static struct block *follow(struct interp *c, struct block *b)
{
	b = cache_follow(c->cache, b);
	c->block = b;
	c->current = b->insn;
	return b;
}

/* Returns b or what took its place, with a translation that fits what the CPU is now, if possible.
 */
static struct block *prepare(struct bt *t, struct interp *c, struct block *b)
{
	if (LIKELY(b->native != NULL)) {
		if (LIKELY(bt_fits(c, b, c->r[R_RIP])))
			return b;
		bt_killed(c, b);
	}
	if (bt_share_adopt(t, c, b))
		return b;
	if (b->runs++ < t->hot || (block_straddles(b) && !bt_straddle_known(b)))
		return b;
	b = follow(c, b);
	bt_translate(t, c, b);
	return b;
}

enum step bt_execute(struct interp *c, struct block *b)
{
	struct bt *t = c->executor;
	enum step step;

	if (UNLIKELY(!bt_translatable(c)))
		return interp_run_block(c, b);
	b = prepare(t, c, b);
	if (b->native && may_run(t, c, b)) {
		if (t->pending || t->pending_indirect)
			bt_link(t, c, b);
		t->pending = NULL;
		t->pending_indirect = false;
		if (LIKELY(b->native != NULL)) /* linking may have waited for others */
			return run_native(t, c, b);
	}
	step = interp_run_block(c, b);
	t->pending = NULL;
	t->pending_indirect = false;
	return step;
}

/* --- opening and closing --- */

static void close_translator(struct interp *c)
{
	struct bt *t = c->executor;

	if (!t)
		return;
	if (t->room)
		bt_memory_close(t, c);
	host_unmap(t->hint, HINT_ROOM);
	host_free(t->jumps[0]);
	host_free(t->jumps[1]);
	host_free(t->work);
	host_free(t);
	c->executor = NULL;
}

/* As decode.c has it: BSF and BSR with F3 on a CPU without the newer meaning. */
static void decoder_init(ZydisDecoder *z, const struct cpu_model *m, bool wide)
{
	if (wide)
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else
		ZydisDecoderInit(z, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_TZCNT, cpu_model_has(m, FEATURE_BMI1));
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_LZCNT, cpu_model_has(m, FEATURE_ABM));
}

/* A hint stack is the half of 2 * HINT_BYTES, so aligned, that has the bit HINT_BYTES set. */
static void place_hints(const struct bt *t, struct interp *c)
{
	uint64_t at = (uintptr_t)t->hint;

	at = (at + 2 * HINT_BYTES - 1) & ~(2 * HINT_BYTES - 1);
	for (unsigned user = 0; user < 2; user++)
		c->x.hint_empty[user] = at + (user + 1) * 2 * HINT_BYTES - 16;
}

/* vCPU 0's is everybody's. */
static struct bt_room *room_of(const struct vcpu *vcpu)
{
	const struct interp *c;
	const struct bt *t;
	struct bt_room *r;

	if (vcpu->index > 0) {
		c = vcpu->vm->vcpu[0]->engine;
		t = c->executor;
		return t->room;
	}
	r = host_alloc(sizeof(*r));
	if (r)
		r->shared = vcpu->vm->vcpus_planned > 1;
	return r;
}

static int open_memory(struct bt *t, struct interp *c, struct fail *why)
{
	t->hint = host_map(HINT_ROOM);
	for (unsigned narrow = 0; narrow < 2; narrow++)
		t->jumps[narrow] = host_alloc(BT_JUMPS * sizeof(*t->jumps[narrow]));
	t->work = host_alloc(sizeof(*t->work));
	t->room = room_of(c->vcpu);
	if (!t->room || !t->hint || !t->jumps[0] || !t->jumps[1] || !t->work)
		return fail(why, -ENOMEM, "no memory for the translator");
	return bt_memory_open(t, c, why);
}

static int open_translator(struct interp *c, struct fail *why)
{
	const struct engine_options *o = &c->vcpu->vm->engine_options;
	struct bt *t = host_alloc(sizeof(*t));
	int err;

	if (!t)
		return fail(why, -ENOMEM, "no memory for the translator");
	c->executor = t;
	err = open_memory(t, c, why);
	if (err)
		return err;
	t->vectors = __builtin_cpu_supports("avx");
	t->boundary_insn.fn = op_end;
	for (unsigned half = 0; half < 2; half++) {
		c->x.cells[half] = t->live[half];
		c->x.cells_end[half] = t->live[half] + t->live_all;
	}
	c->tlb.cells_arg = c;
	c->tlb.cells_die = bt_cells_die;
	c->tlb.cells_of = bt_cells_of;
#ifdef TRAPEZE_DEBUG
	t->verify = true;
#endif
	t->slice = BT_SLICE;
	t->hot = BT_HOT;
	c->execute = bt_execute;
	bt_torture(t, c, o->torture);
	place_hints(t, c);
	bt_stubs(t);
	if (t->room->users == 1)
		bt_regions_forget(t);
	else
		bt_region_join(t);
	bt_jumps_open(t);
	bt_name_stubs(t, c);
	bt_links_forget(t, c);
	c->x.jumps = t->jumps[0];
	t->hint_mode = DECODE_64;
	c->x.places = t->room->place;
	c->x.data = t->code.data;
	c->x.code = t->code.exec_at;
	c->x.self = c;
	c->x.line = &c->vcpu->vm->clock.line;
	decoder_init(&t->zydis, c->vcpu->vm->cpu_model, true);
	decoder_init(&t->zydis32, c->vcpu->vm->cpu_model, false);
	c->flushed = bt_flushed;
	c->killed = bt_killed;
	return 0;
}

static void vcpu_close_bt(struct vcpu *vcpu)
{
	if (vcpu->engine)
		close_translator(vcpu->engine);
	interp_ops.vcpu_close(vcpu);
}

static int vcpu_open_bt(struct vcpu *vcpu, struct fail *why)
{
	int err = interp_ops.vcpu_open(vcpu, why);

	if (!err)
		err = open_translator(vcpu->engine, why);
	if (err)
		vcpu_close_bt(vcpu);
	return err;
}

static int run(struct vcpu *vcpu, struct exit *exit)
{
	struct interp *c = vcpu->engine;
	struct bt *t = c->executor;

	host_gs_base(c);
	t->exact = vcpu->vm->clock.source == CLOCK_SOURCE_COUNTED;
	c->x.gate_ok = false; /* the MSRs may have been set */
	return interp_ops.run(vcpu, exit);
}

/* The rest is the interpreter's as it is. */
static int probe(struct fail *why)
{
	return interp_ops.probe(why);
}

static int vm_open_bt(struct vm *vm, struct fail *why)
{
	return interp_ops.vm_open(vm, why);
}

static int map(struct vm *vm, const struct mem_slot *slot)
{
	return interp_ops.map(vm, slot);
}

static void unmap(struct vm *vm, const struct mem_slot *slot)
{
	interp_ops.unmap(vm, slot);
}

static void kick(struct vcpu *vcpu)
{
	interp_ops.kick(vcpu);
}

static int settle(struct vcpu *vcpu, struct exit *exit)
{
	return interp_ops.settle(vcpu, exit);
}

static int inject(struct vcpu *vcpu, const struct event *event)
{
	return interp_ops.inject(vcpu, event);
}

static uint64_t instructions(const struct vcpu *vcpu)
{
	return interp_ops.instructions(vcpu);
}

static void get_state(struct vcpu *vcpu, struct x86_state *out)
{
	interp_ops.get_state(vcpu, out);
}

static int set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	return interp_ops.set_state(vcpu, in, why);
}

static void forget(struct vcpu *vcpu)
{
	interp_ops.forget(vcpu);
}

static void flush_tlb(struct vcpu *vcpu)
{
	interp_ops.flush_tlb(vcpu);
}

const struct engine_ops bt_ops = {
	.name = "bt",
	.caps = ENGINE_DIRTY_LOG | ENGINE_STEP | ENGINE_COUNTED | ENGINE_THREADS |
		ENGINE_BHI_CONTROL,
	.probe = probe,
	.vm_open = vm_open_bt,
	.map = map,
	.unmap = unmap,
	.vcpu_open = vcpu_open_bt,
	.vcpu_close = vcpu_close_bt,
	.run = run,
	.kick = kick,
	.settle = settle,
	.can_inject = interp_can_inject,
	.inject = inject,
	.instructions = instructions,
	.get_state = get_state,
	.set_state = set_state,
	.forget = forget,
	.flush_tlb = flush_tlb,
	.figures_name = "translation",
	.figures = bt_figures,
};
