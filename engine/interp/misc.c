/*
 * misc.c - flag instructions that any program may use, NOPs and hints, fences, cache lines, UD,
 * BOUND, RDRAND, RDSEED, RDPID.
 *
 * The idea: random numbers are outside input. In a counted machine they come from a
 * generator whose place is part of the CPU's state, else from the host.
 *
 * Not modelled: caches (CLFLUSH only checks its operand, as a load), the instructions of
 * CET and MPX (NOPs, as on a processor without them).
 *
 * Spec: SDM vol. 2. Tested by test/unit/integer.c and the instruction test.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/form.h"
#include "engine/interp/integer.h"

static enum step lahf(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set8(c, RAX * 8 + 1, (uint8_t)((c->arith & FLAG_ARITH) | FLAG_FIXED));
	return STEP_NEXT;
}

static enum step sahf(struct interp *c, const struct insn *i)
{
	(void)i;
	c->arith = (c->arith & FLAG_OF) | (reg_get8(c, RAX * 8 + 1) & FLAG_ARITH);
	return STEP_NEXT;
}

bool bind_flag_byte(const struct decoding *d, struct insn *i)
{
	i->fn = d->zi.mnemonic == ZYDIS_MNEMONIC_LAHF ? lahf : sahf;
	return d->code_bits != 64 || !d->c ||
	       cpu_model_has(d->c->vcpu->vm->cpu_model, FEATURE_LAHF_LM);
}

static enum step clc(struct interp *c, const struct insn *i)
{
	(void)i;
	c->arith &= ~(uint64_t)FLAG_CF;
	return STEP_NEXT;
}
static enum step stc(struct interp *c, const struct insn *i)
{
	(void)i;
	c->arith |= FLAG_CF;
	return STEP_NEXT;
}
static enum step cmc(struct interp *c, const struct insn *i)
{
	(void)i;
	c->arith ^= FLAG_CF;
	return STEP_NEXT;
}
static enum step cld(struct interp *c, const struct insn *i)
{
	(void)i;
	c->s.rflags &= ~(uint64_t)FLAG_DF;
	return STEP_NEXT;
}
static enum step std(struct interp *c, const struct insn *i)
{
	(void)i;
	c->s.rflags |= FLAG_DF;
	return STEP_NEXT;
}
static enum step salc(struct interp *c, const struct insn *i)
{
	(void)i;
	reg_set8(c, RAX * 8, c->arith & FLAG_CF ? 0xff : 0);
	return STEP_NEXT;
}

bool bind_flag(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_CLC: i->fn = clc; return true;
	case ZYDIS_MNEMONIC_STC: i->fn = stc; return true;
	case ZYDIS_MNEMONIC_CMC: i->fn = cmc; return true;
	case ZYDIS_MNEMONIC_CLD: i->fn = cld; return true;
	case ZYDIS_MNEMONIC_STD: i->fn = std; return true;
	default: i->fn = salc; return true;
	}
}

static enum step nop(struct interp *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return STEP_NEXT;
}

bool bind_nop(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = nop;
	return true;
}

/* Who waits for another vCPU lets it run. */
static enum step pause_others(struct interp *c, const struct insn *i)
{
	(void)i;
	interp_sync(c);
	return vcpu_pauses(c->vcpu) ? STEP_LEAVE : STEP_NEXT;
}

bool bind_pause(const struct decoding *d, struct insn *i)
{
	i->fn = d->c && d->c->vcpu->vm->vcpus > 1 ? pause_others : nop;
	return true;
}

/* vCPUs may be host threads: their memory order is the guest's. */
static enum step fence(struct interp *c, const struct insn *i)
{
	(void)c;
	(void)i;
	atomic_thread_fence(memory_order_seq_cst);
	return STEP_NEXT;
}

bool bind_fence(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = fence;
	return true;
}

static enum step flush_line(struct interp *c, const struct insn *i)
{
	uint8_t v;

	return mem_load8(c, i->seg, insn_ea(c, i), &v) ? STEP_NEXT : STEP_FAULT;
}

bool bind_flush_line(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = flush_line;
	return true;
}

static enum step undefined(struct interp *c, const struct insn *i)
{
	(void)i;
	return raise_ud(c);
}

bool bind_undefined(const struct decoding *d, struct insn *i)
{
	(void)d;
	i->fn = undefined;
	bind_last(i);
	return true;
}

static int64_t sign_extended(uint64_t v, unsigned size)
{
	return size == 2 ? (int16_t)v : (int32_t)v;
}

static enum step bound(struct interp *c, const struct insn *i)
{
	int64_t index = sign_extended(reg_get(c, i->a, i->osz), i->osz);
	uint64_t ea = insn_ea(c, i), low, high;

	if (!operand_load(c, i->seg, ea, i->osz, &low))
		return STEP_FAULT;
	if (index < sign_extended(low, i->osz))
		return raise_vector(c, VEC_BR);
	if (!operand_load(c, i->seg, (ea + i->osz) & asz_mask(i->asz), i->osz, &high))
		return STEP_FAULT;
	if (index > sign_extended(high, i->osz))
		return raise_vector(c, VEC_BR);
	return STEP_NEXT;
}

bool bind_bound(const struct decoding *d, struct insn *i)
{
	form_bind2(d, i);
	i->fn = bound;
	return true;
}

/* SplitMix64: a counter, mixed. */
static uint64_t next_random(struct x86_state *s)
{
	uint64_t z = s->random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Always succeeds: CF set, the other flags clear. */
static enum step random_number(struct interp *c, const struct insn *i)
{
	uint64_t v;

	if (c->vcpu->vm->clock.source == CLOCK_SOURCE_COUNTED)
		v = next_random(&c->s);
	else
		host_random(&v, sizeof(v));
	reg_set(c, i->a, i->osz, v);
	c->arith = FLAG_CF;
	return STEP_NEXT;
}

bool bind_random(const struct decoding *d, struct insn *i)
{
	form_bind1(d, i);
	i->fn = random_number;
	return true;
}

static enum step rdpid(struct interp *c, const struct insn *i)
{
	reg_set64(c, i->a, (uint32_t)c->s.tsc_aux);
	return STEP_NEXT;
}

bool bind_rdpid(const struct decoding *d, struct insn *i)
{
	form_bind1(d, i);
	i->fn = rdpid;
	return true;
}
