/*
 * vector_thunk.c - generates the host code that executes one guest vector instruction.
 *
 * The guest's encoding is rebuilt, not assembled anew, so that ignored bits and odd
 * forms reach the host's decoder as they were: the prefixes that select the opcode, W
 * and L, the opcode and the immediate are kept; registers become slots (vector.h), a general
 * register becomes RAX, a memory operand becomes [RSI]. Equal results share one thunk.
 *
 * A SIMD exception inside a thunk lands in the arena's first bytes, which save MXCSR and return
 * 1: nothing was stored, so the guest's registers are as before the instruction.
 *
 * Spec: SDM vol. 2 ch. 2. Tested by test/unit/vector.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/interp/vector.h"
#include "host/host.h"

#define THUNK_MAX  192 /* bytes of the longest thunk, rounded up generously */
#define AT(member) ((uint8_t)offsetof(struct vector_call, member))

struct emit {
	uint8_t *at;
};

static void emit(struct emit *e, const void *bytes, size_t n)
{
	memcpy(e->at, bytes, n);
	e->at += n;
}
#define EMIT(e, ...)                                                                               \
	emit(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Where the landing and the first thunk are. */
#define LANDING_BYTES 64

static void emit_landing(struct emit *e)
{
	EMIT(e, 0x0f, 0xae, 0x5f, AT(mxcsr));      /* stmxcsr [rdi + mxcsr] */
	EMIT(e, 0x0f, 0xae, 0x57, AT(host_mxcsr)); /* ldmxcsr [rdi + host_mxcsr] */
	EMIT(e, 0xdb, 0xe3);                       /* fninit */
	EMIT(e, 0xc5, 0xf8, 0x77);                 /* vzeroupper */
	EMIT(e, 0xb8, 1, 0, 0, 0, 0xc3);           /* mov eax, 1; ret */
}

int interp_vector_open(struct interp *c, struct fail *why)
{
	struct vector_unit *v = host_alloc(sizeof(*v));
	struct emit e;
	int err;

	if (v == NULL)
		return fail(why, -ENOMEM, "no memory for the vector unit");
	err = host_code_open(&v->code, VECTOR_ARENA_BYTES, 0, why);
	if (err == 0)
		err = host_code_catch(&v->code, v->code.exec_at, why);
	if (err != 0) {
		host_code_close(&v->code);
		host_free(v);
		return err;
	}
	e.at = v->code.write_at;
	emit_landing(&e);
	v->used = LANDING_BYTES;
	v->chunk_used = VECTOR_CHUNK;
	c->vector = v;
	return 0;
}

void interp_vector_close(struct interp *c)
{
	struct vector_unit *v = c->vector;

	if (v == NULL)
		return;
	while (v->chunks != NULL) {
		struct vector_chunk *next = v->chunks->next;

		host_free(v->chunks);
		v->chunks = next;
	}
	host_code_close(&v->code);
	host_free(v);
	c->vector = NULL;
}

static struct vector_thunk **bucket_of(struct vector_unit *v, const uint8_t key[16])
{
	uint64_t a, b;

	memcpy(&a, key, 8);
	memcpy(&b, key + 8, 8);
	a = (a ^ (b * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xd6e8feb86659fd93);
	return &v->bucket[(a >> 40) & (VECTOR_BUCKETS - 1)];
}

static struct vector_thunk *find(struct vector_unit *v, const uint8_t key[16])
{
	struct vector_thunk *t = *bucket_of(v, key);

	while (t != NULL && memcmp(t->key, key, 16) != 0)
		t = t->next;
	return t;
}

/* A new thunk with room for its code, or NULL. */
static struct vector_thunk *new_thunk(struct vector_unit *v, const uint8_t key[16], struct emit *e)
{
	struct vector_thunk *t, **bucket = bucket_of(v, key);
	union {
		const uint8_t *code;
		int (*run)(struct vector_call *);
	} exec;

	if (v->code.bytes - v->used < THUNK_MAX)
		return NULL;
	if (v->chunk_used == VECTOR_CHUNK) {
		struct vector_chunk *chunk = host_alloc(sizeof(*chunk));

		if (chunk == NULL)
			return NULL;
		chunk->next = v->chunks;
		v->chunks = chunk;
		v->chunk_used = 0;
	}
	t = &v->chunks->thunk[v->chunk_used++];
	memcpy(t->key, key, 16);
	exec.code = v->code.exec_at + v->used;
	t->run = exec.run;
	t->next = *bucket;
	*bucket = t;
	v->thunks++;
	e->at = v->code.write_at + v->used;
	return t;
}

static void end_thunk(struct vector_unit *v, const struct emit *e)
{
	size_t end = (size_t)(e->at - v->code.write_at);

	v->used = (end + 15) & ~(size_t)15;
}

/* --- renaming --------------------------------------------------------------------------- */

/* What the operands say, collected before generating. */
struct plan {
	uint16_t flags;
	uint8_t mem_bytes, mm_written;
	uint8_t xmm, mm;       /* bit n: slot n is a vector / an MMX register */
	uint8_t read, written; /* bit n: slot n is read / written */
	bool reg, rm;          /* ModRM.reg / .rm is a register to rename */
	bool reg_gpr, rm_gpr;
	bool vvvv, is4;
	bool rcx_out, rax_rdx_in, gpr_out;
};

static int slot_of(ZydisOperandEncoding encoding)
{
	switch (encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: return SLOT_REG;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: return SLOT_RM;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: return SLOT_VVVV;
	case ZYDIS_OPERAND_ENCODING_IS4: return SLOT_IS4;
	default: return SLOT_XMM0;
	}
}

static void plan_gpr(struct plan *p, const ZydisDecodedOperand *op, int slot)
{
	bool reads = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
	bool writes = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (slot == SLOT_XMM0) { /* hidden: RAX, RDX in, RCX out */
		p->rax_rdx_in |= reads;
		p->rcx_out |= writes;
		return;
	}
	p->flags |= THUNK_GPR;
	p->reg_gpr |= slot == SLOT_REG;
	p->rm_gpr |= slot == SLOT_RM;
	p->gpr_out |= writes;
	if (reads)
		p->flags |= THUNK_GPR_IN;
}

static void plan_register(struct plan *p, const ZydisDecodedOperand *op)
{
	int slot = slot_of(op->encoding);

	switch (ZydisRegisterGetClass(op->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		p->xmm |= (uint8_t)(1u << slot);
		p->flags |= THUNK_XMM;
		break;
	case ZYDIS_REGCLASS_MMX:
		p->mm |= (uint8_t)(1u << slot);
		p->flags |= THUNK_MMX;
		if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			p->mm_written = (uint8_t)slot;
		break;
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: plan_gpr(p, op, slot); return;
	default: return;
	}
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		p->read |= (uint8_t)(1u << slot);
	if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		p->written |= (uint8_t)(1u << slot);
	p->vvvv |= slot == SLOT_VVVV;
	p->is4 |= slot == SLOT_IS4;
	p->reg |= slot == SLOT_REG;
	p->rm |= slot == SLOT_RM;
	if (slot == SLOT_XMM0 || slot == SLOT_IS4)
		p->flags |= THUNK_SLOTS;
}

static bool plan_mxcsr(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11: return true;
	default: return zi->meta.category == ZYDIS_CATEGORY_CONVERT;
	}
}

/* Legacy 16-byte operands are aligned but for a few; VEX operands only where the name says. */
static bool plan_align(const ZydisDecodedInstruction *zi, unsigned mem_bytes)
{
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return false;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA: return true;
	default: return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && mem_bytes == 16;
	}
}

static void plan_make(struct plan *p, const struct decoding *d)
{
	memset(p, 0, sizeof(*p));
	for (unsigned n = 0; n < d->zi.operand_count; n++) {
		const ZydisDecodedOperand *op = &d->op[n];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			plan_register(p, op);
		} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			p->mem_bytes = (uint8_t)(op->size / 8);
			if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
				p->flags |= THUNK_LOAD;
			if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				p->flags |= THUNK_STORE;
		}
	}
	if (d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		p->flags |= THUNK_VEX;
	if (plan_mxcsr(&d->zi))
		p->flags |= THUNK_MXCSR;
	if (p->mem_bytes && plan_align(&d->zi, p->mem_bytes))
		p->flags |= THUNK_ALIGN;
	if (d->zi.cpu_flags != NULL && d->zi.cpu_flags->modified)
		p->flags |= THUNK_FLAGS;
	if (p->rax_rdx_in)
		p->flags |= THUNK_IMPLICIT;
	if (p->rcx_out)
		p->flags |= THUNK_RCX;
}

static uint8_t rename_modrm(const struct plan *p, const struct decoding *d)
{
	uint8_t reg = p->reg_gpr ? RAX : p->reg ? SLOT_REG : d->zi.raw.modrm.reg;

	if (p->flags & (THUNK_LOAD | THUNK_STORE))
		return (uint8_t)(reg << 3 | RSI); /* mod 00: [rsi] */
	return (uint8_t)(0xc0 | reg << 3 |
			 (p->rm_gpr ? RAX
			  : p->rm   ? SLOT_RM
				    : d->zi.raw.modrm.rm));
}

/* The width of a general register, or of what memory holds in place of one. */
static bool w_is_width(const struct plan *p, const struct decoding *d)
{
	switch (d->zi.mnemonic) {
	case ZYDIS_MNEMONIC_VCVTSI2SD:
	case ZYDIS_MNEMONIC_VCVTSI2SS:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_VPEXTRQ:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPINSRQ: return true;
	default: return p->flags & (THUNK_GPR | THUNK_IMPLICIT);
	}
}

/* W counts where a general register's width depends on it; outside 64-bit mode it is then 0. */
static bool keep_w(const struct plan *p, const struct decoding *d, bool w)
{
	if (d->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return w && d->code_bits == 64;
	return w && (d->code_bits == 64 || !w_is_width(p, d));
}

static void rename_vex(struct emit *e, const struct plan *p, const struct decoding *d)
{
	uint8_t vvvv = p->vvvv ? SLOT_VVVV : 0;
	bool w = keep_w(p, d, d->zi.raw.vex.W);

	EMIT(e, 0xc4, (uint8_t)(0xe0 | d->zi.raw.vex.m_mmmm),
	     (uint8_t)((w ? 0x80 : 0) | (~vvvv & 15) << 3 | d->zi.raw.vex.L << 2 |
		       d->zi.raw.vex.pp));
}

static void rename_legacy(struct emit *e, const struct plan *p, const struct decoding *d)
{
	for (unsigned n = 0; n < d->zi.raw.prefix_count; n++)
		if (d->zi.raw.prefixes[n].type == ZYDIS_PREFIX_TYPE_MANDATORY)
			EMIT(e, d->zi.raw.prefixes[n].value);
	if (keep_w(p, d, d->zi.raw.rex.W))
		EMIT(e, 0x48);
	EMIT(e, 0x0f);
	if (d->zi.opcode_map == ZYDIS_OPCODE_MAP_0F38)
		EMIT(e, 0x38);
	if (d->zi.opcode_map == ZYDIS_OPCODE_MAP_0F3A)
		EMIT(e, 0x3a);
}

/* The renamed encoding in key[0..14], its length in key[15]. */
static void rename_all(uint8_t key[16], const struct plan *p, const struct decoding *d)
{
	struct emit e = { key };

	memset(key, 0, 16);
	if (p->flags & THUNK_VEX)
		rename_vex(&e, p, d);
	else
		rename_legacy(&e, p, d);
	EMIT(&e, d->zi.opcode, rename_modrm(p, d));
	if (p->is4)
		EMIT(&e, SLOT_IS4 << 4);
	else if (d->zi.raw.imm[0].size != 0)
		EMIT(&e, (uint8_t)d->zi.raw.imm[0].value.u);
	key[15] = (uint8_t)(e.at - key);
}

/* --- generating ------------------------------------------------------------------------- */

/*
 * Legacy instructions never touch the upper half, so only 16 bytes go in and out: the guest's
 * upper half stays in memory, and the host's is never dirty, which would cost a legacy
 * instruction hundreds of cycles. VEX instructions get and give whole registers.
 */
static void emit_slots(struct emit *e, const struct plan *p, unsigned slots, bool store)
{
	uint8_t width = p->flags & THUNK_VEX ? 0xfe : 0xfa;

	for (unsigned n = 0; n < SLOT_COUNT; n++) {
		uint8_t modrm = (uint8_t)(n << 3 | RAX); /* register n, [rax] */

		if (!(slots & 1u << n))
			continue;
		/* mov rax, [rdi + slot n] */
		EMIT(e, 0x48, 0x8b, 0x47, (uint8_t)(AT(slot) + 8 * n));
		if (p->xmm & 1u << n) /* vmovdqu */
			EMIT(e, 0xc5, width, store ? 0x7f : 0x6f, modrm);
		else /* movq mm */
			EMIT(e, 0x0f, store ? 0x7f : 0x6f, modrm);
	}
}

/*
 * Loading MXCSR is slow when it changes something, so it is loaded only if it differs, and
 * afterwards the host gets its control bits back but not its exception flags, which the ABI lets
 * every function change: the next thunk then finds the guest's value in place.
 */
static void emit_before(struct emit *e, const struct plan *p)
{
	unsigned load = p->read | p->written;

	if (p->flags & THUNK_VEX)
		load = p->read;             /* what it writes is written whole */
	EMIT(e, 0x48, 0x8b, 0x77, AT(mem)); /* mov rsi, [rdi + mem] */
	emit_slots(e, p, load, false);
	if (p->flags & THUNK_MXCSR) {
		EMIT(e, 0x0f, 0xae, 0x5f, AT(host_mxcsr)); /* stmxcsr [rdi + host_mxcsr] */
		EMIT(e, 0x8b, 0x47, AT(host_mxcsr));       /* mov eax, [rdi + host_mxcsr] */
		EMIT(e, 0x3b, 0x47, AT(mxcsr));            /* cmp eax, [rdi + mxcsr] */
		EMIT(e, 0x74, 4);                          /* je over the next */
		EMIT(e, 0x0f, 0xae, 0x57, AT(mxcsr));      /* ldmxcsr [rdi + mxcsr] */
	}
	if (p->flags & (THUNK_GPR_IN | THUNK_IMPLICIT))
		EMIT(e, 0x48, 0x8b, 0x47, AT(gpr[0])); /* mov rax, [rdi + gpr] */
	if (p->flags & THUNK_IMPLICIT)
		EMIT(e, 0x48, 0x8b, 0x57, AT(gpr[2])); /* mov rdx, ... */
}

static void emit_after(struct emit *e, const struct plan *p)
{
	if (p->gpr_out)
		EMIT(e, 0x48, 0x89, 0x47, AT(gpr[0])); /* mov [rdi + gpr], rax */
	if (p->rcx_out)
		EMIT(e, 0x48, 0x89, 0x4f, AT(gpr[1]));
	if (p->flags & THUNK_FLAGS)
		EMIT(e, 0x9c, 0x8f, 0x47, AT(flags)); /* pushfq; pop [rdi + flags] */
	if (p->flags & THUNK_MXCSR) {
		EMIT(e, 0x0f, 0xae, 0x5f, AT(mxcsr));      /* stmxcsr [rdi + mxcsr] */
		EMIT(e, 0x8b, 0x47, AT(mxcsr));            /* mov eax, [rdi + mxcsr] */
		EMIT(e, 0x33, 0x47, AT(host_mxcsr));       /* xor eax, [rdi + host_mxcsr] */
		EMIT(e, 0xa9, 0xc0, 0xff, 0, 0);           /* test eax, 0xffc0 */
		EMIT(e, 0x74, 4);                          /* jz over the next */
		EMIT(e, 0x0f, 0xae, 0x57, AT(host_mxcsr)); /* ldmxcsr [rdi + host_mxcsr] */
	}
	emit_slots(e, p, p->written, true);
	if (p->flags & THUNK_VEX)
		EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	if (p->mm)
		EMIT(e, 0x0f, 0x77); /* emms */
	EMIT(e, 0x31, 0xc0, 0xc3);   /* xor eax, eax; ret */
}

struct vector_thunk *vector_thunk(struct interp *c, const struct decoding *d)
{
	struct vector_unit *v = c->vector;
	struct vector_thunk *t;
	struct plan p;
	struct emit e;
	uint8_t key[16];

	plan_make(&p, d);
	rename_all(key, &p, d);
	t = find(v, key);
	if (t != NULL)
		return t;
	t = new_thunk(v, key, &e);
	if (t == NULL)
		return NULL;
	t->flags = p.flags;
	t->mem_bytes = p.mem_bytes;
	t->mm_written = p.mm_written;
	emit_before(&e, &p);
	emit(&e, key, key[15]);
	emit_after(&e, &p);
	end_thunk(v, &e);
	return t;
}

/*
 * x87: the whole unit is loaded from v->image, which is at a fixed distance from the call block,
 * and saved there again, by FRSTOR and FNSAVE: XSAVE takes twice as long, and FNSAVE also leaves
 * the host an initial unit. It does not wait, so a pending exception is not raised here.
 */
struct vector_thunk *vector_thunk_x87(struct interp *c, uint8_t opcode, uint8_t modrm, bool flags)
{
	struct vector_unit *v = c->vector;
	uint8_t key[16] = { opcode, modrm };
	uint32_t image = offsetof(struct vector_unit, image) - offsetof(struct vector_unit, call);
	const uint8_t *at = (const uint8_t *)&image;
	struct vector_thunk *t;
	struct emit e;

	if (modrm < 0xc0)
		key[1] = (uint8_t)((modrm & 0x38) | RSI); /* [rsi] */
	key[15] = 2;
	t = find(v, key);
	if (t != NULL)
		return t;
	t = new_thunk(v, key, &e);
	if (t == NULL)
		return NULL;
	t->flags = flags ? THUNK_FLAGS : 0;
	EMIT(&e, 0x48, 0x8b, 0x77, AT(mem));              /* mov rsi, [rdi + mem] */
	EMIT(&e, 0xdd, 0xa7, at[0], at[1], at[2], at[3]); /* frstor [rdi + image] */
	if (flags)
		EMIT(&e, 0xff, 0x77, AT(flags), 0x9d); /* push [rdi + flags]; popfq */
	emit(&e, key, 2);
	if (flags)
		EMIT(&e, 0x9c, 0x8f, 0x47, AT(flags));    /* pushfq; pop [rdi + flags] */
	EMIT(&e, 0xdd, 0xb7, at[0], at[1], at[2], at[3]); /* fnsave [rdi + image] */
	EMIT(&e, 0x31, 0xc0, 0xc3);                       /* xor eax, eax; ret */
	end_thunk(v, &e);
	return t;
}
