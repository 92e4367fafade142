/*
 * names.c - names of stubs, blocks and members of struct interp (see names.h).
 *
 * The idea of a stub's end: stubs lie one behind the other, so it is the next one that has a name.
 * What follows a stub without a name of its own counts as that stub's.
 *
 * Tested by test/unit/bt_look.c. SPDX-License-Identifier: MIT
 */
#include "engine/bt/names.h"

#include <stdio.h>

#include "engine/bt/translation.h"

struct stub {
	const char *name;
	const uint8_t *at; /* executable address */
};
#define STUBS 40u

static const uint8_t *exec(const struct bt *t, const uint8_t *at)
{
	return at ? bt_exec(t, at) : NULL;
}

static unsigned list(const struct bt *t, struct stub stub[STUBS])
{
	/* clang-format off */
	const struct stub all[] = {
		{ "bt_vector", exec(t, t->vector) },
		{ "bt_x87", exec(t, t->x87) },
		{ "bt_enter", (const uint8_t *)(uintptr_t)t->enter },
		{ "bt_edge", exec(t, t->edge) },
		{ "bt_boundary", exec(t, t->boundary) },
		{ "bt_page_miss", exec(t, t->page_miss) },
		{ "bt_indirect_low", exec(t, t->indirect[0]) },
		{ "bt_indirect_high", exec(t, t->indirect[1]) },
		{ "bt_either_read", exec(t, t->either[ACCESS_READ]) },
		{ "bt_either_write", exec(t, t->either[ACCESS_WRITE]) },
		{ "bt_refill_low_read", exec(t, t->refill[0][ACCESS_READ]) },
		{ "bt_refill_low_write", exec(t, t->refill[0][ACCESS_WRITE]) },
		{ "bt_refill_high_read", exec(t, t->refill[1][ACCESS_READ]) },
		{ "bt_refill_high_write", exec(t, t->refill[1][ACCESS_WRITE]) },
		{ "bt_slow", exec(t, t->slow) },
		{ "bt_gate_slow", exec(t, t->gate_slow) },
		{ "bt_group_slow", exec(t, t->group_slow) },
		{ "bt_syscall", exec(t, t->syscall) },
		{ "bt_sysret", exec(t, t->sysret) },
		{ "bt_tsc", exec(t, t->tsc) },
		{ "bt_rep_movsb", exec(t, t->rep_movs[0]) },
		{ "bt_rep_movsw", exec(t, t->rep_movs[1]) },
		{ "bt_rep_movsd", exec(t, t->rep_movs[2]) },
		{ "bt_rep_movsq", exec(t, t->rep_movs[3]) },
		{ "bt_rep_stosb", exec(t, t->rep_stos[0]) },
		{ "bt_rep_stosw", exec(t, t->rep_stos[1]) },
		{ "bt_rep_stosd", exec(t, t->rep_stos[2]) },
		{ "bt_rep_stosq", exec(t, t->rep_stos[3]) },
		{ "bt_settle", exec(t, t->settle) },
		{ "bt_mismatch", exec(t, t->mismatch) },
		{ "bt_underflow", t->underflow },
	};
	/* clang-format on */
	unsigned count = 0;

	_Static_assert(sizeof(all) / sizeof(all[0]) <= STUBS, "room");
	for (unsigned n = 0; n < sizeof(all) / sizeof(all[0]); n++)
		if (all[n].at)
			stub[count++] = all[n];
	return count;
}

const char *bt_stub_name(const struct bt *t, uint64_t address)
{
	struct stub stub[STUBS];
	unsigned count = list(t, stub);

	for (unsigned n = 0; n < count; n++)
		if ((uintptr_t)stub[n].at == address)
			return stub[n].name;
	return NULL;
}

/* clang-format off */
#define SEG(X, name) X(s.seg[name].base) X(s.seg[name].selector)
#define FIELDS(X) \
	X(x.left) X(x.code_va) X(x.host_rsp) X(x.hint_rsp) X(x.target) X(x.jumps) X(x.data) X(x.code) X(x.self) X(x.insn) \
	X(x.place) X(x.kind) X(x.host_mxcsr) X(x.flags) X(x.full) X(x.vector_live) X(x.vector_ok) \
	X(x.x87_live) X(x.x87_ok) X(x.image) X(x.scratch) X(x.hops) X(x.cells) X(x.cells_end) X(tlb.now[0]) X(tlb.now[1]) \
	X(tlb.generation_now[0]) X(tlb.generation_now[1]) X(cpl) X(code_bits) X(unlimited) X(user) X(vcpu) X(s.cr4) X(s.tsc_aux) X(s.rflags) \
	X(s.kernel_gs_base) X(s.fpu.mxcsr) X(s.fpu.fcw) X(s.fpu.fip) X(s.fpu.fdp) \
	SEG(X, ES) SEG(X, CS) SEG(X, SS) SEG(X, DS) SEG(X, FS) SEG(X, GS)
/* clang-format on */

static const struct field_name {
	const char *name;
	uint32_t at, bytes;
} fields[] = {
#define X(member) { #member, AT(member), sizeof(((struct interp *)0)->member) },
	FIELDS(X)
#undef X
};

const char *bt_field_name(char *name, uint64_t at)
{
	if (at < (uint64_t)GPR_COUNT * 8 && at % 8 == 0) {
		snprintf(name, BT_NAME_BYTES, "guest %s",
			 ZydisRegisterGetString((ZydisRegister)(ZYDIS_REGISTER_RAX + at / 8)));
		return name;
	}
	for (unsigned n = 0; n < sizeof(fields) / sizeof(fields[0]); n++) {
		uint64_t in = at - fields[n].at;

		if (in >= fields[n].bytes)
			continue;
		if (in == 0)
			return fields[n].name;
		snprintf(name, BT_NAME_BYTES, "%s+%u", fields[n].name, (unsigned)in);
		return name;
	}
	return NULL;
}

void bt_name_stubs(const struct bt *t, const struct interp *c)
{
	const struct engine_options *o = &c->vcpu->vm->engine_options;
	struct stub stub[STUBS];
	unsigned count = list(t, stub);

	if (!o->code_made)
		return;
	for (unsigned n = 0; n < count; n++) {
		const uint8_t *end = bt_exec(t, t->room->begin);

		for (unsigned k = 0; k < count; k++)
			if (stub[k].at > stub[n].at && stub[k].at < end)
				end = stub[k].at;
		o->code_made(o->code_made_arg, stub[n].at, (size_t)(end - stub[n].at),
			     stub[n].name);
	}
}

void bt_name_block(const struct translation *x)
{
	const struct engine_options *o = &x->c->vcpu->vm->engine_options;
	const struct bt_room *r = x->t->room;
	char name[BT_NAME_BYTES];

	if (!o->code_made)
		return;
	snprintf(name, sizeof(name), "guest_%llx", (unsigned long long)x->c->r[R_RIP]);
	for (unsigned n = 0; n < 2 * r->users; n++) {
		const struct bt_piece *p = &x->piece[n % 2];

		o->code_made(o->code_made_arg, bt_exec(r->user[n / 2]->executor, p->begin),
			     (size_t)(p->end - p->begin), name);
	}
}
