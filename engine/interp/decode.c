/*
 * decode.c - guest bytes to one struct insn: Zydis decodes, a binder picks the handler.
 *
 * What every instruction has is filled in here; what is particular to a mnemonic is left
 * to its binder (bind.h). MPX, CET and CLDEMOTE are switched off in Zydis, so that their
 * encodings are the NOPs they are on a CPU without them.
 *
 * Not modelled: AVX-512, XOP and 3DNow! (always #UD, as in every CPU model).
 *
 * Spec: SDM vol. 2 ch. 2. Tested by test/unit/decode.c.
 * SPDX-License-Identifier: MIT
 */
#include "engine/interp/decode.h"

#include <string.h>

#include "engine/interp/bind.h"

static const struct bind_row *const tables[] = {
	interp_binds_integer, interp_binds_string, interp_binds_control,
	interp_binds_system,  interp_binds_vector,
};
#define TABLES    (sizeof(tables) / sizeof(tables[0]))
#define MNEMONICS (ZYDIS_MNEMONIC_MAX_VALUE + 1)

struct decoder {
	const struct cpu_model *model;
	ZydisDecoder zydis[DECODE_MODES];
	const struct bind_row *row[MNEMONICS][TABLES];
	struct decoding work; /* large: not on the stack */
};

enum step op_invalid(struct interp *c, const struct insn *i)
{
	(void)i;
	return raise_ud(c);
}

/* More than 15 bytes. */
static enum step op_too_long(struct interp *c, const struct insn *i)
{
	(void)i;
	return raise_gp(c, 0);
}

enum step op_stale(struct interp *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return STEP_STALE;
}

enum step op_end(struct interp *c, const struct insn *i)
{
	(void)c;
	(void)i;
	return STEP_END;
}

static bool model_has(const struct decoder *d, enum cpu_feature f)
{
	return !d->model || cpu_model_has(d->model, f);
}

static void init_zydis(struct decoder *d, enum decode_mode mode)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} as[DECODE_MODES] = {
		[DECODE_REAL16] = {ZYDIS_MACHINE_MODE_REAL_16,         ZYDIS_STACK_WIDTH_16},
		[DECODE_16] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
		[DECODE_32] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		[DECODE_64] = { ZYDIS_MACHINE_MODE_LONG_64,        ZYDIS_STACK_WIDTH_64},
	};
	ZydisDecoder *z = &d->zydis[mode];

	ZydisDecoderInit(z, as[mode].machine, as[mode].stack);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	/* Without the feature, F3 means nothing and the instruction is BSF or BSR. */
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_TZCNT, model_has(d, FEATURE_BMI1));
	ZydisDecoderEnableMode(z, ZYDIS_DECODER_MODE_LZCNT, model_has(d, FEATURE_ABM));
}

struct decoder *decoder_new(const struct cpu_model *model)
{
	struct decoder *d = host_alloc(sizeof(*d));

	if (!d)
		return NULL;
	d->model = model;
	for (unsigned m = 0; m < DECODE_MODES; m++)
		init_zydis(d, m);
	for (unsigned t = 0; t < TABLES; t++)
		for (const struct bind_row *r = tables[t]; r->mnemonic; r++)
			d->row[r->mnemonic][t] = r;
	return d;
}

void decoder_free(struct decoder *d)
{
	host_free(d);
}

uint8_t bind_gpr(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return (uint8_t)((reg - ZYDIS_REGISTER_AH) * 8 + 1);
	if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
		return (uint8_t)((reg - ZYDIS_REGISTER_AL) * 8);
	/* SPL follows the four high bytes; its number is 4. */
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
		return (uint8_t)((reg - ZYDIS_REGISTER_SPL + RSP) * 8);
	return (uint8_t)(ZydisRegisterGetId(reg) * 8);
}

/* Index into interp.r of an address register. */
static uint8_t address_register(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return (uint8_t)ZydisRegisterGetId(reg);
	case ZYDIS_REGCLASS_IP: return R_RIP;
	default: return R_ZERO;
	}
}

/* The segment of a memory operand: an override, else SS for a stack-based address, else DS.
 * In 64-bit mode only FS and GS override. */
static uint8_t segment_of(const struct decoding *d, uint8_t base)
{
	ZydisInstructionAttributes a = d->zi.attributes;

	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return FS;
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return GS;
	if (d->code_bits != 64) {
		if (a & ZYDIS_ATTRIB_HAS_SEGMENT_ES)
			return ES;
		if (a & ZYDIS_ATTRIB_HAS_SEGMENT_CS)
			return CS;
		if (a & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
			return SS;
		if (a & ZYDIS_ATTRIB_HAS_SEGMENT_DS)
			return DS;
	}
	return base == RSP || base == RBP ? SS : DS;
}

/*
 * A SIB byte with mod 0 and base 5 has a displacement in place of the base, whatever REX.B
 * says. Zydis 4.0 shows R13D as the base when addresses have 32 bits.
 */
static bool no_base(const struct decoding *d)
{
	return d->zi.raw.sib.offset && d->zi.raw.modrm.mod == 0 && d->zi.raw.sib.base == 5;
}

static void fill_memory(const struct decoding *d, struct insn *i)
{
	const ZydisDecodedOperandMem *m = NULL;

	for (unsigned n = 0; n < d->zi.operand_count_visible && !m; n++)
		if (d->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			m = &d->op[n].mem;
	i->base = i->index = R_ZERO;
	if (!m) {
		i->seg = segment_of(d, R_ZERO);
		return;
	}
	i->flags |= INSN_MEM;
	i->base = no_base(d) ? R_ZERO : address_register(m->base);
	i->index = address_register(m->index);
	i->scale = m->scale > 1 ? (uint8_t)__builtin_ctz(m->scale) : 0;
	i->disp = m->disp.has_displacement ? m->disp.value : no_base(d) ? d->zi.raw.disp.value : 0;
	if (i->base == R_RIP)
		i->disp += i->at + i->len;
	i->seg = segment_of(d, i->base);
}

static void fill_immediate(const struct decoding *d, struct insn *i)
{
	for (unsigned n = 0; n < d->zi.operand_count_visible; n++) {
		const ZydisDecodedOperand *o = &d->op[n];

		if (o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			continue;
		i->imm = o->imm.value.u;
		if (o->imm.is_relative)
			i->imm += i->at + i->len;
		return;
	}
}

/* F2 repeats as well as F3 does where the two are not told apart (MOVS, STOS, LODS, INS, OUTS). */
static bool repeats(const ZydisDecodedInstruction *zi)
{
	if (zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		return true;
	if (!(zi->attributes & ZYDIS_ATTRIB_ACCEPTS_REP))
		return false;
	for (unsigned n = 0; n < zi->raw.prefix_count; n++)
		if (zi->raw.prefixes[n].value == 0xf2)
			return true;
	return false;
}

static void fill(const struct decoding *d, struct insn *i)
{
	const ZydisDecodedInstruction *zi = &d->zi;

	i->len = zi->length;
	i->osz = zi->operand_width / 8;
	i->asz = zi->address_width / 8;
	if (repeats(zi))
		i->flags |= INSN_REP;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		i->flags |= INSN_REPNE;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		i->flags |= INSN_LOCK;
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && zi->raw.rex.W)
		i->flags |= INSN_REX;
	fill_memory(d, i);
	fill_immediate(d, i);
}

/* Binders of several subjects may know the mnemonic: the first that accepts the form wins. */
static bool bind(struct decoder *d, struct insn *i)
{
	const ZydisDecodedInstruction *zi = &d->work.zi;

	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	/* Zydis knows the VEX forms of another kind of processor: of TZCNT, for one. */
	if (zi->meta.isa_ext == ZYDIS_ISA_EXT_KNC || zi->meta.isa_ext == ZYDIS_ISA_EXT_KNCE ||
	    zi->meta.isa_ext == ZYDIS_ISA_EXT_KNCV)
		return false;
	for (unsigned t = 0; t < TABLES; t++) {
		const struct bind_row *r = d->row[zi->mnemonic][t];
		struct insn before = *i;

		if (!r || (r->feature && !model_has(d, r->feature - 1)))
			continue;
		if (r->bind(&d->work, i))
			return true;
		*i = before;
	}
	return false;
}

/* An instruction that only faults. It depends on all the bytes that were looked at. */
static void faulting(struct insn *i, insn_fn fn, unsigned count)
{
	int16_t at = i->at;

	memset(i, 0, sizeof(*i));
	i->fn = fn;
	i->at = at;
	i->len = (uint8_t)count;
	i->base = i->index = R_ZERO;
	i->flags = INSN_LAST;
}

/*
 * Zydis refuses in real mode what a CPU only refuses there or not at all: SYSENTER and SYSEXIT
 * are #GP in real mode, and SYSENTER works in v86. The rest of what it refuses is #UD.
 */
static ZyanStatus decode_sysenter(struct decoder *d, const uint8_t *bytes, unsigned count)
{
	struct decoding *w = &d->work;
	ZyanStatus status =
		ZydisDecoderDecodeFull(&d->zydis[DECODE_16], bytes, count, &w->zi, w->op);

	if (ZYAN_SUCCESS(status) && w->zi.mnemonic != ZYDIS_MNEMONIC_SYSENTER &&
	    w->zi.mnemonic != ZYDIS_MNEMONIC_SYSEXIT)
		return ZYDIS_STATUS_DECODING_ERROR;
	return status;
}

bool decode_insn(struct decoder *d, struct interp *c, enum decode_mode mode, const uint8_t *bytes,
		 unsigned count, int at, struct insn *i)
{
	static const uint8_t bits[DECODE_MODES] = { 16, 16, 32, 64 };
	struct decoding *w = &d->work;
	ZyanStatus status;

	if (count > INSN_BYTES_MAX)
		count = INSN_BYTES_MAX;
	memset(i, 0, sizeof(*i));
	i->at = (int16_t)at;
	status = ZydisDecoderDecodeFull(&d->zydis[mode], bytes, count, &w->zi, w->op);
	if (!ZYAN_SUCCESS(status) && status != ZYDIS_STATUS_NO_MORE_DATA && mode == DECODE_REAL16)
		status = decode_sysenter(d, bytes, count);
	if (status == ZYDIS_STATUS_NO_MORE_DATA && count < INSN_BYTES_MAX)
		return false;
	if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
		faulting(i, op_too_long, count);
		return true;
	}
	if (!ZYAN_SUCCESS(status)) {
		faulting(i, op_invalid, count);
		return true;
	}
	w->c = c;
	w->bytes = bytes;
	w->code_bits = bits[mode];
	fill(w, i);
	if (!bind(d, i))
		faulting(i, op_invalid, w->zi.length);
	return true;
}
