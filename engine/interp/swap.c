/*
 * swap.c - XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B.
 *
 * The idea: these are the instructions that guests build locks from. Their memory forms
 * always execute the host's locked instruction on the guest's own memory, which is right
 * with and without LOCK, between vCPUs and with devices.
 *
 * A failed comparison stores the old value back: the operand must be writable all the same.
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

#define XCHG(bits, s)                                                                              \
	static enum step xchg_r##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t v = reg_get##bits(c, i->a), w = reg_get##bits(c, i->b);             \
		reg_set##bits(c, i->a, w);                                                         \
		reg_set##bits(c, i->b, v);                                                         \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step xchg_m##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t w = reg_get##bits(c, i->b);                                         \
		struct rmw m;                                                                      \
		void *p = rmw_open(c, i, sizeof(w), &m);                                           \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		__asm__ volatile("xchg" s " %[w], %[m]"                                            \
				 : [w] "+r"(w), [m] "+m"(*(alu_mem##bits *)p)                      \
				 :                                                                 \
				 : "memory");                                                      \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->b, w);                                                         \
		return STEP_NEXT;                                                                  \
	}
ALU_SIZES(XCHG)

bool bind_xchg(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[2][4] = { FORM_ROW(xchg_r), FORM_ROW(xchg_m) };
	enum form form = form_bind2(d, i);

	if (form == FORM_RM) /* the operands are symmetric: memory first */
		i->b = i->a;
	if (form != FORM_RR)
		i->flags |= INSN_LOCK;
	i->fn = rows[form != FORM_RR][form_size(&d->op[0])];
	return true;
}

/* The destination is written last: XADD r, r with one register leaves the sum. */
#define XADD(bits, s)                                                                              \
	static enum step xadd_r##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t v = reg_get##bits(c, i->a), w = reg_get##bits(c, i->b);             \
		reg_set##bits(c, i->b, v);                                                         \
		reg_set##bits(c, i->a, alu_add##bits(&c->arith, v, w));                            \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step xadd_m##bits(struct interp *c, const struct insn *i)                      \
	{                                                                                          \
		uint##bits##_t w = reg_get##bits(c, i->b);                                         \
		uint32_t ax;                                                                       \
		struct rmw m;                                                                      \
		void *p = rmw_open(c, i, sizeof(w), &m);                                           \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		__asm__ volatile("lock xadd" s " %[w], %[m]" ALU_SAVE                              \
				 : [w] "+&r"(w), [m] "+m"(*(alu_mem##bits *)p), "=&a"(ax)          \
				 :                                                                 \
				 : "cc", "memory");                                                \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		reg_set##bits(c, i->b, w);                                                         \
		c->arith = alu_unpack(ax);                                                         \
		return STEP_NEXT;                                                                  \
	}
ALU_SIZES(XADD)

bool bind_xadd(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[2][4] = { FORM_ROW(xadd_r), FORM_ROW(xadd_m) };
	enum form form = form_bind2(d, i);

	i->fn = rows[form != FORM_RR][form_size(&d->op[0])];
	return true;
}

/* The register form lets the host decide what becomes of the upper halves: `reg` is whole. */
#define CMPXCHG(bits, s, modifier)                                                                 \
	static enum step cmpxchg_r##bits(struct interp *c, const struct insn *i)                   \
	{                                                                                          \
		uint64_t acc = c->r[RAX], ax;                                                      \
		uint##bits##_t w = reg_get##bits(c, i->b);                                         \
		uint8_t whole = bits == 8 ? i->a : i->a & ~7;                                      \
		uint64_t v = bits == 8 ? reg_get8(c, whole) : reg_get64(c, whole);                 \
		__asm__("mov %[acc], %%rax\n\tcmpxchg" s " %[w], %" modifier "[v]\n\t"             \
			"mov %%rax, %[acc]" ALU_SAVE                                               \
			: [v] "+&r"(v), [acc] "+&r"(acc), "=&a"(ax)                                \
			: [w] "r"(w)                                                               \
			: "cc");                                                                   \
		c->arith = alu_unpack((uint32_t)ax);                                               \
		c->r[RAX] = acc;                                                                   \
		if (alu_condition(c->arith, 4) || (i->a & ~7) != RAX * 8) {                        \
			if (bits == 8)                                                             \
				reg_set8(c, whole, (uint8_t)v);                                    \
			else                                                                       \
				reg_set64(c, whole, v);                                            \
		}                                                                                  \
		return STEP_NEXT;                                                                  \
	}                                                                                          \
	static enum step cmpxchg_m##bits(struct interp *c, const struct insn *i)                   \
	{                                                                                          \
		uint64_t acc = c->r[RAX], ax;                                                      \
		uint##bits##_t w = reg_get##bits(c, i->b);                                         \
		struct rmw m;                                                                      \
		void *p = rmw_open(c, i, sizeof(w), &m);                                           \
		if (UNLIKELY(!p))                                                                  \
			return STEP_FAULT;                                                         \
		__asm__ volatile("mov %[acc], %%rax\n\tlock cmpxchg" s " %[w], %[m]\n\t"           \
				 "mov %%rax, %[acc]" ALU_SAVE                                      \
				 : [acc] "+&r"(acc), [m] "+m"(*(alu_mem##bits *)p), "=&a"(ax)      \
				 : [w] "r"(w)                                                      \
				 : "cc", "memory");                                                \
		if (UNLIKELY(!rmw_close(c, &m)))                                                   \
			return STEP_FAULT;                                                         \
		c->arith = alu_unpack((uint32_t)ax);                                               \
		c->r[RAX] = acc;                                                                   \
		return STEP_NEXT;                                                                  \
	}
CMPXCHG(8, "b", "b")
CMPXCHG(16, "w", "w")
CMPXCHG(32, "l", "k")
CMPXCHG(64, "q", "q")

bool bind_cmpxchg(const struct decoding *d, struct insn *i)
{
	static const insn_fn rows[2][4] = { FORM_ROW(cmpxchg_r), FORM_ROW(cmpxchg_m) };
	enum form form = form_bind2(d, i);

	i->fn = rows[form != FORM_RR][form_size(&d->op[0])];
	return true;
}

static void set_zf(struct interp *c, bool equal)
{
	c->arith = (c->arith & ~(uint64_t)FLAG_ZF) | (equal ? FLAG_ZF : 0);
}

static enum step cmpxchg8b(struct interp *c, const struct insn *i)
{
	uint64_t old = c->r[RDX] << 32 | (uint32_t)c->r[RAX], expected = old;
	uint64_t new = c->r[RCX] << 32 | (uint32_t)c->r[RBX];
	struct rmw m;
	void *p = rmw_open(c, i, 8, &m);

	if (!p)
		return STEP_FAULT;
	__asm__ volatile("lock cmpxchgq %[new], %[m]"
			 : "+a"(old), [m] "+m"(*(alu_mem64 *)p)
			 : [new] "r"(new)
			 : "cc", "memory");
	if (!rmw_close(c, &m))
		return STEP_FAULT;
	set_zf(c, old == expected);
	if (old != expected) {
		reg_set32(c, RAX * 8, (uint32_t)old);
		reg_set32(c, RDX * 8, (uint32_t)(old >> 32));
	}
	return STEP_NEXT;
}

/* Aligned to 16, so never across pages; a bounce buffer is private and needs no atomic. */
static enum step cmpxchg16b(struct interp *c, const struct insn *i)
{
	uint64_t off = insn_ea(c, i), linear, lo = c->r[RAX], hi = c->r[RDX];
	uint64_t pair[2];
	bool equal;
	struct rmw m;
	void *p;

	if (!mem_linear(c, i->seg, off, 16, true, &linear))
		return STEP_FAULT;
	if (linear & 15)
		return raise_gp(c, 0);
	p = rmw_open(c, i, 16, &m);
	if (!p)
		return STEP_FAULT;
	if ((uintptr_t)p & 15) {
		__builtin_memcpy(pair, p, 16);
		equal = pair[0] == lo && pair[1] == hi;
		lo = pair[0];
		hi = pair[1];
		if (equal) {
			pair[0] = c->r[RBX];
			pair[1] = c->r[RCX];
			__builtin_memcpy(p, pair, 16);
		}
	} else {
		__asm__ volatile("lock cmpxchg16b (%[p])"
				 : "+a"(lo), "+d"(hi), "=@ccz"(equal)
				 : "b"(c->r[RBX]), "c"(c->r[RCX]), [p] "r"(p)
				 : "memory");
	}
	if (!rmw_close(c, &m))
		return STEP_FAULT;
	set_zf(c, equal);
	c->r[RAX] = lo;
	c->r[RDX] = hi;
	return STEP_NEXT;
}

bool bind_cmpxchg_pair(const struct decoding *d, struct insn *i)
{
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B ? cmpxchg8b : cmpxchg16b;
	return form_is_mem(&d->op[0]);
}
