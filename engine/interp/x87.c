/*
 * x87.c - the x87 unit: arithmetic by thunk, control instructions in C.
 *
 * An x87 instruction depends on the whole stack, so its thunk loads the whole unit
 * (FRSTOR), executes it and saves the unit again. An
 * unmasked exception is not raised by the instruction that causes it but by the next one that
 * waits; here that is a test of FSW.ES, so the host never sees one.
 *
 * The instruction and data pointers are the guest's: FIP at every non-control instruction,
 * FDP with it (or, if the model has FDP_EXCPTN_ONLY, only when an unmasked exception became
 * pending), FOP only then. Selectors read as 0 (ZERO_FCS_FDS).
 *
 * Does not model: FERR#/IRQ 13 when CR0.NE = 0 (see vector_x87_pending()).
 *
 * Spec: SDM vol. 1 ch. 8, vol. 2. Tested by test/unit/x87.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "engine/interp/vector.h"

#define FSW_FLAGS 0x3fu /* IE DE ZE OE UE PE */
#define FSW_PE    0x20u
#define IMAGE_FSW 4
#define IMAGE_ST  28 /* byte offset of ST(0) in the image */

/* --- the state -------------------------------------------------------------------------- */

void x87_set_top(struct x86_fpu *f, unsigned top)
{
	unsigned turn = (top - (f->fsw >> 11)) & 7;
	uint8_t st[sizeof(f->st)];

	memcpy(st, f->st, sizeof(st));
	for (unsigned n = 0; n < 8; n++)
		memcpy(&f->st[n], st + ((n + turn) & 7) * sizeof(f->st[0]), sizeof(f->st[0]));
	f->fsw = (uint16_t)((f->fsw & ~FSW_TOP) | (top & 7) << 11);
}

void x87_summary(struct x86_fpu *f)
{
	f->fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	if (f->fsw & ~f->fcw & FSW_FLAGS)
		f->fsw |= FSW_ES | FSW_B;
}

void x87_init(struct x86_fpu *f)
{
	x87_set_top(f, 0);
	f->fcw = 0x37f;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
}

void x87_enter_mmx(struct x86_fpu *f)
{
	if (f->fsw & FSW_TOP)
		x87_set_top(f, 0);
	f->ftw = 0xff;
}

/* --- arithmetic ------------------------------------------------------------------------- */

/* insn: a first opcode byte, b ModRM, c bytes of memory operand. */

/* The 32-bit protected-mode form: seven doublewords, then ten bytes a register. */
static void image_fill(uint8_t *image, const struct x86_fpu *f, uint16_t fsw)
{
	uint32_t env[7] = { f->fcw, fsw }; /* FIP, FDP, FOP: never the guest's to the host */

	for (unsigned n = 0; n < 8; n++)
		if (!(f->ftw & 1u << n))
			env[2] |= 3u << 2 * n;
	memcpy(image, env, sizeof(env));
	for (unsigned n = 0; n < 8; n++) {
		memcpy(image + IMAGE_ST + 10 * n, &f->st[n].mant, 8);
		memcpy(image + IMAGE_ST + 10 * n + 8, &f->st[n].exp, 2);
	}
}

void x87_image_take(struct x86_fpu *f, const uint8_t *image, uint16_t hidden)
{
	uint32_t env[3];

	memcpy(env, image, sizeof(env));
	f->fsw = (uint16_t)env[1] | hidden;
	f->ftw = 0;
	for (unsigned n = 0; n < 8; n++) {
		uint16_t exp;

		if ((env[2] >> 2 * n & 3) != 3)
			f->ftw |= (uint8_t)(1u << n);
		memcpy(&f->st[n].mant, image + IMAGE_ST + 10 * n, 8);
		memcpy(&exp, image + IMAGE_ST + 10 * n + 8, 2);
		f->st[n].exp = exp;
	}
	x87_summary(f);
}

static void pointers_note(struct interp *c, const struct insn *i, bool unmasked)
{
	struct x86_fpu *f = &c->s.fpu;
	uint64_t mask = c->code_bits == 64 ? ~UINT64_C(0) : UINT64_C(0xffffffff);

	f->fip = insn_rip(c, i) & mask;
	if (unmasked)
		f->fop = (uint16_t)((i->a & 7) << 8 | i->b);
	if (i->b < 0xc0 &&
	    (unmasked || !cpu_model_has(c->vcpu->vm->cpu_model, FEATURE_FDP_EXCPTN_ONLY)))
		f->fdp = insn_ea(c, i) & mask;
}

static enum step x87_arith(struct interp *c, const struct insn *i)
{
	const struct vector_thunk *t = i->aux;
	struct vector_unit *v = vector_of(c);
	struct x86_fpu *f = &c->s.fpu;
	uint16_t fsw, hidden = 0;
	bool unmasked;

	if (UNLIKELY(c->s.cr0 & (CR0_EM | CR0_TS)) || vector_x87_pending(c))
		return vector_refuse_x87(c);
	v->call.mem = v->bounce;
	if (i->flags & INSN_MEM && !(i->op & THUNK_STORE)) {
		v->call.mem = vector_load(c, i, i->c, 1);
		if (v->call.mem == NULL)
			return STEP_FAULT;
	}
	if (f->fsw & FSW_ES) /* CR0.NE = 0: ignored, and the host must not see it */
		hidden = f->fsw & ~f->fcw & FSW_FLAGS;
	image_fill(v->image, f, f->fsw & (uint16_t) ~(hidden | FSW_ES | FSW_B));
	v->call.flags = c->arith & FLAG_ARITH;
	if (UNLIKELY(t->run(&v->call)))
		return vector_thunk_fault(c);
	memcpy(&fsw, v->image + IMAGE_FSW, 2);
	unmasked = fsw & ~f->fcw & FSW_FLAGS;
	if ((i->op & THUNK_STORE) && !(fsw & ~f->fcw & (FSW_FLAGS & ~FSW_PE)) &&
	    !mem_write_slow(c, (enum seg)i->seg, insn_ea(c, i), v->bounce, i->c))
		return STEP_FAULT;
	x87_image_take(f, v->image, hidden);
	if (t->flags & THUNK_FLAGS)
		interp_set_arith(c, v->call.flags);
	pointers_note(c, i, unmasked);
	return STEP_NEXT;
}

bool vector_bind_x87(const struct decoding *d, struct insn *i)
{
	bool flags =
		d->zi.cpu_flags != NULL && (d->zi.cpu_flags->modified || d->zi.cpu_flags->tested);
	uint8_t modrm =
		(uint8_t)(d->zi.raw.modrm.mod << 6 | d->zi.raw.modrm.reg << 3 | d->zi.raw.modrm.rm);

	switch (d->zi.mnemonic) { /* x87_env.c's */
	case ZYDIS_MNEMONIC_FLDCW:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
	case ZYDIS_MNEMONIC_FWAIT: return false;
	default: break;
	}
	if (d->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
	    d->zi.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || d->zi.opcode < 0xd8 ||
	    d->zi.opcode > 0xdf)
		return false;
	i->aux = vector_thunk_x87(d->c, d->zi.opcode, modrm, flags);
	if (i->aux == NULL)
		return false;
	i->fn = x87_arith;
	i->a = d->zi.opcode;
	i->b = modrm;
	i->op = i->c = 0;
	for (unsigned n = 0; n < d->zi.operand_count; n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			i->c = (uint8_t)(d->op[n].size / 8);
			i->op = d->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? THUNK_STORE
										   : THUNK_LOAD;
		}
	return true;
}
