/*
 * x87_env.c - x87 control instructions: control and status words, environment, save areas.
 *
 * The environment has four layouts: 16- or 32-bit operand size, and a real-address form (also
 * in v86) that packs the opcode into the upper pointer bits. Its tag word has two bits for
 * each physical register, computed from the contents; only "empty" counts when it is loaded.
 *
 * Spec: SDM vol. 1 8.1, figures 8-9 to 8-12. Tested by test/unit/x87.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/vector.h"

#define FCW_WRITABLE 0x1f3fu
#define FCW_ONE      0x40u /* bit 6 reads as 1 */
#define ENV_MAX      28
#define SAVE_MAX     (ENV_MAX + 80)

/* EM or TS: #NM. `waits`: a pending exception first. */
static bool refused(struct interp *c, bool waits)
{
	if (!(c->s.cr0 & (CR0_EM | CR0_TS)) && !(waits && vector_x87_pending(c)))
		return false;
	vector_refuse_x87(c);
	return true;
}

/* Two tag bits of physical register n: 0 valid, 1 zero, 2 special, 3 empty. */
static unsigned tag_of(const struct x86_fpu *f, unsigned n)
{
	unsigned top = f->fsw >> 11;
	uint64_t mant = f->st[(n - top) & 7].mant;
	unsigned exp = f->st[(n - top) & 7].exp & 0x7fff;

	if (!(f->ftw & 1u << n))
		return 3;
	if (exp == 0 && mant == 0)
		return 1;
	return exp == 0 || exp == 0x7fff || !(mant >> 63) ? 2 : 0;
}

static uint16_t tags_full(const struct x86_fpu *f)
{
	unsigned tags = 0;

	for (unsigned n = 0; n < 8; n++)
		tags |= tag_of(f, n) << 2 * n;
	return (uint16_t)tags;
}

static bool real_form(const struct interp *c)
{
	return x86_real_mode(&c->s) || x86_v86(&c->s);
}

/* 7 words of the environment, each `w` (2 or 4) bytes. Returns its length. */
static unsigned env_pack(const struct interp *c, unsigned w, uint8_t *to)
{
	const struct x86_fpu *f = &c->s.fpu;
	uint32_t word[7] = {
		f->fcw | 0xffff0000u, f->fsw | 0xffff0000u,   tags_full(f) | 0xffff0000u,
		(uint32_t)f->fip,     (uint32_t)f->fop << 16, (uint32_t)f->fdp,
		0xffff0000u
	};

	if (w == 2)
		word[4] = 0;
	if (real_form(c)) {
		uint32_t high = w == 2 ? 0xf : 0xffff;

		word[3] = (uint16_t)f->fip | (w == 4 ? 0xffff0000u : 0);
		word[4] = ((uint32_t)f->fip >> 16 & high) << 12 | f->fop;
		word[5] = (uint16_t)f->fdp | (w == 4 ? 0xffff0000u : 0);
		word[6] = ((uint32_t)f->fdp >> 16 & high) << 12;
	}
	for (unsigned n = 0; n < 7; n++)
		memcpy(to + n * w, &word[n], w);
	return 7 * w;
}

static void env_unpack(struct interp *c, unsigned w, const uint8_t *from)
{
	struct x86_fpu *f = &c->s.fpu;
	uint32_t word[7] = { 0 };

	for (unsigned n = 0; n < 7; n++)
		memcpy(&word[n], from + n * w, w);
	x87_set_top(f, word[1] >> 11 & 7);
	f->fcw = (uint16_t)((word[0] & FCW_WRITABLE) | FCW_ONE);
	f->fsw = (uint16_t)word[1];
	f->ftw = 0;
	for (unsigned n = 0; n < 8; n++)
		if ((word[2] >> 2 * n & 3) != 3)
			f->ftw |= (uint8_t)(1u << n);
	f->fip = word[3];
	f->fdp = word[5];
	f->fop = w == 4 ? word[4] >> 16 & 0x7ff : 0;
	if (real_form(c)) {
		f->fip = (word[3] & 0xffff) | (uint64_t)(word[4] >> 12 & 0xffff) << 16;
		f->fdp = (word[5] & 0xffff) | (uint64_t)(word[6] >> 12 & 0xffff) << 16;
		f->fop = word[4] & 0x7ff;
	}
	x87_summary(f);
}

static unsigned env_word(const struct insn *i)
{
	return i->osz == 2 ? 2 : 4;
}

/* Its words are what alignment is checked for. */
static bool env_reachable(struct interp *c, const struct insn *i, bool write)
{
	uint64_t linear;

	return mem_linear(c, (enum seg)i->seg, insn_ea(c, i), env_word(i), write, &linear);
}

static enum step fnstenv(struct interp *c, const struct insn *i)
{
	uint8_t env[ENV_MAX];
	unsigned n;

	if (refused(c, false))
		return STEP_FAULT;
	n = env_pack(c, env_word(i), env);
	if (!env_reachable(c, i, true) || !vector_write_bytes(c, i, insn_ea(c, i), env, n))
		return STEP_FAULT;
	c->s.fpu.fcw |= 0x3f;
	x87_summary(&c->s.fpu);
	return STEP_NEXT;
}

static enum step fldenv(struct interp *c, const struct insn *i)
{
	uint8_t env[ENV_MAX];

	if (refused(c, true))
		return STEP_FAULT;
	if (!env_reachable(c, i, false) ||
	    !vector_read_bytes(c, i, insn_ea(c, i), env, 7 * env_word(i)))
		return STEP_FAULT;
	env_unpack(c, env_word(i), env);
	return STEP_NEXT;
}

static enum step fnsave(struct interp *c, const struct insn *i)
{
	uint8_t area[SAVE_MAX];
	unsigned n;

	if (refused(c, false))
		return STEP_FAULT;
	n = env_pack(c, env_word(i), area);
	for (unsigned k = 0; k < 8; k++, n += 10) {
		memcpy(area + n, &c->s.fpu.st[k].mant, 8);
		memcpy(area + n + 8, &c->s.fpu.st[k].exp, 2);
	}
	if (!env_reachable(c, i, true) || !vector_write_bytes(c, i, insn_ea(c, i), area, n))
		return STEP_FAULT;
	x87_init(&c->s.fpu);
	return STEP_NEXT;
}

static enum step frstor(struct interp *c, const struct insn *i)
{
	unsigned n = 7 * env_word(i);
	uint8_t area[SAVE_MAX];

	if (refused(c, true))
		return STEP_FAULT;
	if (!env_reachable(c, i, false) || !vector_read_bytes(c, i, insn_ea(c, i), area, n + 80))
		return STEP_FAULT;
	env_unpack(c, env_word(i), area);
	for (unsigned k = 0; k < 8; k++, n += 10) {
		uint16_t exp;

		memcpy(&c->s.fpu.st[k].mant, area + n, 8);
		memcpy(&exp, area + n + 8, 2);
		c->s.fpu.st[k].exp = exp;
	}
	return STEP_NEXT;
}

static enum step fldcw(struct interp *c, const struct insn *i)
{
	uint16_t fcw;

	if (refused(c, true) || !mem_load16(c, (enum seg)i->seg, insn_ea(c, i), &fcw))
		return STEP_FAULT;
	c->s.fpu.fcw = (uint16_t)((fcw & FCW_WRITABLE) | FCW_ONE);
	x87_summary(&c->s.fpu);
	return STEP_NEXT;
}

static enum step fnstcw(struct interp *c, const struct insn *i)
{
	if (refused(c, false) || !mem_store16(c, (enum seg)i->seg, insn_ea(c, i), c->s.fpu.fcw))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step fnstsw(struct interp *c, const struct insn *i)
{
	if (refused(c, false) || !mem_store16(c, (enum seg)i->seg, insn_ea(c, i), c->s.fpu.fsw))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step fnstsw_ax(struct interp *c, const struct insn *i)
{
	(void)i;
	if (refused(c, false))
		return STEP_FAULT;
	memcpy(&c->r[RAX], &c->s.fpu.fsw, 2);
	return STEP_NEXT;
}

static enum step fnclex(struct interp *c, const struct insn *i)
{
	(void)i;
	if (refused(c, false))
		return STEP_FAULT;
	c->s.fpu.fsw &= 0x7f00;
	return STEP_NEXT;
}

static enum step fninit(struct interp *c, const struct insn *i)
{
	(void)i;
	if (refused(c, false))
		return STEP_FAULT;
	x87_init(&c->s.fpu);
	return STEP_NEXT;
}

/* FNENI, FNDISI, FNSETPM: of the 8087 and 80287, nothing since. */
static enum step nothing(struct interp *c, const struct insn *i)
{
	(void)i;
	return refused(c, false) ? STEP_FAULT : STEP_NEXT;
}

static enum step fwait(struct interp *c, const struct insn *i)
{
	(void)i;
	if ((c->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return raise_vector(c, VEC_NM);
	return vector_x87_pending(c) ? raise_vector(c, VEC_MF) : STEP_NEXT;
}

static enum step emms(struct interp *c, const struct insn *i)
{
	(void)i;
	if (!vector_mmx_ok(c))
		return vector_refuse_mmx(c);
	x87_set_top(&c->s.fpu, 0);
	c->s.fpu.ftw = 0;
	return STEP_NEXT;
}

bool vector_bind_x87_env(const struct decoding *d, struct insn *i)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_FLDCW: i->fn = fldcw; return true;
	case ZYDIS_MNEMONIC_FNSTCW: i->fn = fnstcw; return true;
	case ZYDIS_MNEMONIC_FNSTSW: i->fn = i->flags & INSN_MEM ? fnstsw : fnstsw_ax; return true;
	case ZYDIS_MNEMONIC_FLDENV: i->fn = fldenv; return true;
	case ZYDIS_MNEMONIC_FNSTENV: i->fn = fnstenv; return true;
	case ZYDIS_MNEMONIC_FRSTOR: i->fn = frstor; return true;
	case ZYDIS_MNEMONIC_FNSAVE: i->fn = fnsave; return true;
	case ZYDIS_MNEMONIC_FNCLEX: i->fn = fnclex; return true;
	case ZYDIS_MNEMONIC_FNINIT: i->fn = fninit; return true;
	case ZYDIS_MNEMONIC_FWAIT: i->fn = fwait; return true;
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: i->fn = nothing; return true;
	case ZYDIS_MNEMONIC_EMMS: i->fn = emms; return true;
	default: return false;
	}
}
