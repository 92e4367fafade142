/*
 * io.c - IN, OUT, INS, OUTS.
 *
 * IOPL guards the ports, and below it the bitmap in the TSS; a v86 task has the bitmap only. INS
 * checks that it can store before it reads the port, since a port cannot be unread.
 *
 * Spec: SDM vol. 1 ch. 19; vol. 2 IN, INS, OUT, OUTS. Tested by test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/system.h"

#define TSS_IO_MAP 102 /* offset of the bitmap's offset in a 32- or 64-bit TSS */

static bool bitmap_allows(struct interp *c, uint16_t port, unsigned size)
{
	const struct x86_seg *tr = &c->s.tr;
	uint16_t map, bits;
	uint64_t at;

	if (tr->attr & SEG_UNUSABLE || !(SEG_TYPE(tr->attr) & 8) || tr->limit < TSS_IO_MAP + 1) {
		raise_gp(c, 0);
		return false;
	}
	if (!mem_read_system(c, linear_of(c, tr->base + TSS_IO_MAP), &map, 2))
		return false;
	at = (uint64_t)map + port / 8;
	if (at + 1 > tr->limit) {
		raise_gp(c, 0);
		return false;
	}
	if (!mem_read_system(c, linear_of(c, tr->base + at), &bits, 2))
		return false;
	if (bits >> (port % 8) & ((1u << size) - 1)) {
		raise_gp(c, 0);
		return false;
	}
	return true;
}

bool port_allowed(struct interp *c, uint16_t port, unsigned size)
{
	unsigned iopl = (c->s.rflags & FLAG_IOPL) >> 12;

	if (x86_real_mode(&c->s) || (c->cpl <= iopl && !x86_v86(&c->s)))
		return true;
	return bitmap_allows(c, port, size);
}

/* op 1: the port is in imm; else in DX. */
static uint16_t port_of(const struct interp *c, const struct insn *i)
{
	return i->op ? (uint8_t)i->imm : (uint16_t)c->r[RDX];
}

enum step port_in(struct interp *c, const struct insn *i)
{
	uint16_t port = port_of(c, i);
	uint64_t value = 0;

	if (!port_allowed(c, port, i->osz))
		return STEP_FAULT;
	interp_port(c, port, i->osz, false, &value);
	set_reg(c, RAX * 8, i->osz, value);
	return STEP_NEXT;
}

enum step port_out(struct interp *c, const struct insn *i)
{
	uint16_t port = port_of(c, i);
	uint64_t value = get_reg(c, RAX * 8, i->osz);

	if (!port_allowed(c, port, i->osz))
		return STEP_FAULT;
	interp_port(c, port, i->osz, true, &value);
	return STEP_NEXT;
}

/* ---- Strings ---- */

static void move_register(struct interp *c, const struct insn *i, enum gpr r, uint64_t by)
{
	uint64_t mask = asz_mask(i->asz), value = (c->r[r] + by) & mask;

	c->r[r] = i->asz == 2 ? (c->r[r] & ~mask) | value : value;
}

static uint64_t stride(const struct interp *c, const struct insn *i)
{
	return c->s.rflags & FLAG_DF ? (uint64_t)0 - i->osz : i->osz;
}

static bool ins_one(struct interp *c, const struct insn *i)
{
	uint64_t off = c->r[RDI] & asz_mask(i->asz), value = 0;
	uint16_t port = (uint16_t)c->r[RDX];

	if (!port_allowed(c, port, i->osz) || !mem_probe_write(c, ES, off, i->osz))
		return false;
	interp_port(c, port, i->osz, false, &value);
	if (!mem_write_slow(c, ES, off, &value, i->osz))
		return false;
	move_register(c, i, RDI, stride(c, i));
	return true;
}

static bool outs_one(struct interp *c, const struct insn *i)
{
	uint64_t off = c->r[RSI] & asz_mask(i->asz), value = 0;
	uint16_t port = (uint16_t)c->r[RDX];

	if (!port_allowed(c, port, i->osz) || !mem_read_slow(c, i->seg, off, &value, i->osz))
		return false;
	interp_port(c, port, i->osz, true, &value);
	move_register(c, i, RSI, stride(c, i));
	return true;
}

/* A port's device may want attention after each element: then the rest waits. */
static enum step repeat(struct interp *c, const struct insn *i,
			bool (*one)(struct interp *c, const struct insn *i))
{
	if (!(i->flags & (INSN_REP | INSN_REPNE)))
		return one(c, i) ? STEP_NEXT : STEP_FAULT;
	/* Even if there is nothing to do. */
	if (!port_allowed(c, (uint16_t)c->r[RDX], i->osz))
		return STEP_FAULT;
	while (c->r[RCX] & asz_mask(i->asz)) {
		if (!one(c, i))
			return STEP_FAULT;
		move_register(c, i, RCX, ~UINT64_C(0));
		if (!(c->r[RCX] & asz_mask(i->asz)))
			break;
		if (c->single || atomic_load_explicit(&c->vcpu->notice, memory_order_relaxed))
			return STEP_AGAIN;
	}
	return STEP_NEXT;
}

enum step port_ins(struct interp *c, const struct insn *i)
{
	return repeat(c, i, ins_one);
}

enum step port_outs(struct interp *c, const struct insn *i)
{
	return repeat(c, i, outs_one);
}
