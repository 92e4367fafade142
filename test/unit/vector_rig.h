/*
 * vector_rig.h - one instruction on the interpreter's vector handlers and on this CPU.
 *
 * native_run() loads a whole register state - every YMM register, MXCSR, the x87 unit, all
 * general registers but RSP, the flags -, executes the bytes as they are and saves everything.
 * guest_run() does the same through decoding, binder and handler. Both have a 4 KiB
 * buffer at RBX (and RDI, RSI) with equal alignment, so results can be compared bit by bit.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_VECTOR_RIG_H
#define TEST_VECTOR_RIG_H

#include <signal.h>
#include <stdlib.h>

#include "engine/interp/vector.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define BUFFER_BYTES 4096u
#define GUEST_BUFFER UINT64_C(0x8000)
#define GUEST_RIP    UINT64_C(0x400000)
#define FAULT_NONE   0xff

/* Everything an instruction may read or change. */
struct machine_state {
	uint64_t ymm[16][4];
	uint8_t fx[512] __attribute__((aligned(64))); /* FXSAVE64 image: x87 part counts */
	uint64_t gpr[16];
	uint64_t flags;
	uint32_t mxcsr, host_mxcsr;
	uint8_t fault; /* exception vector, or FAULT_NONE */
};

struct rig {
	struct interp *c;
	struct vm *vm;
	struct host_code code;
	uint8_t *buffer;         /* the native one */
	uint8_t *guest;          /* the guest's, in guest RAM */
	unsigned next;           /* where in code the next entry goes */
	uint64_t insn_at;        /* host address of the native instruction */
	ZydisDecoder decoder[3]; /* 64, 32, 16 bits */
};

/* Only in a program that has no exception.c. */
__attribute__((weak)) enum step raise_error(struct interp *c, enum vector v, uint32_t error)
{
	c->fault = (struct fault){ .vector = (uint8_t)v, .has_error = true, .error = error };
	return STEP_FAULT;
}
__attribute__((weak)) enum step raise_vector(struct interp *c, enum vector v)
{
	c->fault = (struct fault){ .vector = (uint8_t)v };
	return STEP_FAULT;
}
__attribute__((weak)) enum step raise_pf(struct interp *c, uint64_t linear, uint32_t error)
{
	c->fault = (struct fault){
		.vector = VEC_PF, .has_error = true, .error = error, .cr2 = linear
	};
	return STEP_FAULT;
}

static inline uint64_t rig_random(void)
{
	static uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* --- the host CPU ----------------------------------------------------------------------- */

struct rig_code {
	uint8_t *at;
};

static inline void rig_bytes(struct rig_code *e, const void *bytes, size_t n)
{
	memcpy(e->at, bytes, n);
	e->at += n;
}
#define RIG(e, ...)                                                                                \
	rig_bytes(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* op [rdi + offset], with 32-bit displacement; the ModRM.reg field is `reg`. */
static inline void rig_field(struct rig_code *e, unsigned reg, size_t offset)
{
	uint32_t disp = (uint32_t)offset;

	RIG(e, (uint8_t)(0x87 | (reg & 7) << 3));
	rig_bytes(e, &disp, 4);
}

static inline void rig_registers(struct rig_code *e, bool store)
{
	for (unsigned n = 0; n < 16; n++) { /* vmovdqu ymm n */
		RIG(e, 0xc5, n < 8 ? 0xfe : 0x7e, store ? 0x7f : 0x6f);
		rig_field(e, n, offsetof(struct machine_state, ymm) + 32 * n);
	}
}

static inline void rig_gprs(struct rig_code *e, bool store)
{
	for (unsigned n = 0; n < 16; n++) {
		if (n == RSP || n == RDI)
			continue;
		RIG(e, n < 8 ? 0x48 : 0x4c, store ? 0x89 : 0x8b);
		rig_field(e, n, offsetof(struct machine_state, gpr) + 8 * n);
	}
}

static inline void rig_mxcsr(struct rig_code *e, unsigned ext, size_t offset)
{
	RIG(e, 0x0f, 0xae);
	rig_field(e, ext, offset);
}

#define RIG_CODE_BYTES  (1u << 20)
#define RIG_ENTRY_BYTES 512u /* room for one instruction's code; the first holds the way out */

/* Where every run ends, by jump or by fault: saves the state and returns. */
static inline void rig_way_out(struct rig *r)
{
	static const uint8_t restore[] = { 0x41, 0x5f, 0x41, 0x5e, 0x41,
					   0x5d, 0x41, 0x5c, 0x5d, 0x5b };
	struct rig_code e = { r->code.write_at };

	RIG(&e, 0x48, 0x87, 0x3c, 0x24); /* xchg rdi, [rsp] */
	rig_gprs(&e, true);
	RIG(&e, 0x8f); /* pop guest RDI */
	rig_field(&e, 0, offsetof(struct machine_state, gpr) + 8 * RDI);
	RIG(&e, 0x9c, 0x8f); /* pushfq; pop flags */
	rig_field(&e, 0, offsetof(struct machine_state, flags));
	rig_mxcsr(&e, 3, offsetof(struct machine_state, mxcsr));
	RIG(&e, 0x48, 0x0f, 0xae); /* fxsave64 */
	rig_field(&e, 0, offsetof(struct machine_state, fx));
	rig_registers(&e, true);
	rig_mxcsr(&e, 2, offsetof(struct machine_state, host_mxcsr));
	RIG(&e, 0xdb, 0xe3, 0xc5, 0xf8, 0x77); /* fninit; vzeroupper */
	rig_bytes(&e, restore, sizeof(restore));
	RIG(&e, 0xc3);
	r->next = RIG_ENTRY_BYTES;
}

/* Code that loads a state, executes insn[] and jumps to the way out. */
static inline const uint8_t *rig_entry(struct rig *r, const uint8_t *insn, unsigned len)
{
	static const uint8_t save[] = {
		0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57
	};
	const uint8_t *entry = r->code.exec_at + r->next;
	struct rig_code e = { r->code.write_at + r->next };
	int32_t back;

	rig_bytes(&e, save, sizeof(save));
	rig_mxcsr(&e, 3, offsetof(struct machine_state, host_mxcsr));
	RIG(&e, 0x48, 0x0f, 0xae); /* fxrstor64 */
	rig_field(&e, 1, offsetof(struct machine_state, fx));
	rig_registers(&e, false);
	rig_mxcsr(&e, 2, offsetof(struct machine_state, mxcsr));
	RIG(&e, 0x57, 0xff); /* push rdi; push flags */
	rig_field(&e, 6, offsetof(struct machine_state, flags));
	RIG(&e, 0x9d); /* popfq */
	rig_gprs(&e, false);
	RIG(&e, 0x48, 0x8b); /* mov rdi */
	rig_field(&e, RDI, offsetof(struct machine_state, gpr) + 8 * RDI);
	r->insn_at = (uint64_t)(uintptr_t)(r->code.exec_at + (e.at - r->code.write_at));
	rig_bytes(&e, insn, len);
	back = (int32_t)(r->code.write_at - (e.at + 5));
	RIG(&e, 0xe9);
	rig_bytes(&e, &back, 4);
	r->next += RIG_ENTRY_BYTES;
	if (r->next + RIG_ENTRY_BYTES > RIG_CODE_BYTES)
		r->next = RIG_ENTRY_BYTES;
	return entry;
}

/* Runs insn[] on *s. `s->fault` tells how it ended. */
static inline void native_run(struct rig *r, const uint8_t *insn, unsigned len,
			      struct machine_state *s)
{
	union {
		const uint8_t *code;
		void (*run)(struct machine_state *s);
	} exec = { rig_entry(r, insn, len) };
	uint64_t rax = s->gpr[RAX];

	(void)host_code_caught();
	exec.run(s);
	switch (host_code_caught()) {
	case 0: s->fault = FAULT_NONE; return;
	case SIGFPE: s->fault = VEC_XM; break;
	case SIGILL: s->fault = VEC_UD; break;
	default: s->fault = VEC_GP; break;
	}
	s->gpr[RAX] = rax; /* the landing was told the program counter there */
}

static inline void rig_open(struct rig *r)
{
	struct interp *c = host_alloc(sizeof(*c));
	struct fail why;

	memset(r, 0, sizeof(*r));
	r->vm = fake_vm(true);
	assert_int_equal(mem_add(r->vm, gpa(0), 0x10000, NULL, false, &why), 0);
	c->vcpu = r->vm->vcpu[0];
	assert_int_equal(tlb_init(&c->tlb), 0);
	assert_int_equal(interp_vector_open(c, &why), 0);
	r->c = c;
	r->buffer = host_map(2 * BUFFER_BYTES);
	r->guest = mem_host(&r->vm->mem, gpa(GUEST_BUFFER), BUFFER_BYTES);
	assert_int_equal(host_code_open(&r->code, RIG_CODE_BYTES, 0, &why), 0);
	assert_int_equal(host_code_catch(&r->code, r->code.exec_at, &why), 0);
	rig_way_out(r);
	ZydisDecoderInit(&r->decoder[0], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderInit(&r->decoder[1], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&r->decoder[2], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
	c->s.cr0 = CR0_PE | CR0_NE | CR0_ET | CR0_MP;
	c->s.cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->s.xcr0 = 7;
	c->code_bits = 64;
	c->flat_read = c->flat_write = 0xf;
	for (unsigned n = 0; n < SEG_COUNT; n++)
		c->s.seg[n] = (struct x86_seg){ .limit = 0xffffffff, .attr = 0xc093 };
}

static inline void rig_close(struct rig *r)
{
	interp_vector_close(r->c);
	tlb_fini(&r->c->tlb);
	host_free(r->c);
	host_code_close(&r->code);
	host_unmap(r->buffer, 2 * BUFFER_BYTES);
	vm_close(r->vm);
}

/* --- the interpreter ---------------------------------------------------------------------- */

static inline void state_to_guest(struct rig *r, const struct machine_state *s)
{
	struct interp *c = r->c;
	struct x86_fpu *f = &c->s.fpu;

	memcpy(f->ymm, s->ymm, sizeof(f->ymm));
	memcpy(&f->fcw, s->fx, 2);
	memcpy(&f->fsw, s->fx + 2, 2);
	f->ftw = s->fx[4];
	memcpy(&f->fop, s->fx + 6, 2);
	memcpy(&f->fip, s->fx + 8, 8);
	memcpy(&f->fdp, s->fx + 16, 8);
	memcpy(f->st, s->fx + 32, 128);
	x87_summary(f);
	f->mxcsr = s->mxcsr;
	memcpy(c->r, s->gpr, sizeof(s->gpr));
	c->r[R_ZERO] = 0;
	c->r[R_RIP] = GUEST_RIP;
	c->arith = s->flags;
}

static inline void state_from_guest(struct rig *r, struct machine_state *s)
{
	const struct interp *c = r->c;
	const struct x86_fpu *f = &c->s.fpu;

	memcpy(s->ymm, f->ymm, sizeof(f->ymm));
	memcpy(s->fx, &f->fcw, 2);
	memcpy(s->fx + 2, &f->fsw, 2);
	s->fx[4] = f->ftw;
	memcpy(s->fx + 6, &f->fop, 2);
	memcpy(s->fx + 8, &f->fip, 8);
	memcpy(s->fx + 16, &f->fdp, 8);
	memcpy(s->fx + 32, f->st, 128);
	s->mxcsr = f->mxcsr;
	memcpy(s->gpr, c->r, sizeof(s->gpr));
	s->flags = c->arith;
}

static inline uint8_t rig_register(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return (uint8_t)ZydisRegisterGetId(reg);
	default: return R_ZERO;
	}
}

/* Decodes and binds as decode.c does, for the vector table alone. false: not one of its. */
static inline bool rig_bind(struct rig *r, const uint8_t *bytes, unsigned len, struct decoding *d,
			    struct insn *i)
{
	unsigned which = r->c->code_bits == 64 ? 0 : r->c->code_bits == 32 ? 1 : 2;

	memset(d, 0, sizeof(*d));
	memset(i, 0, sizeof(*i));
	d->c = r->c;
	d->code_bits = r->c->code_bits;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&r->decoder[which], bytes, len, &d->zi, d->op)))
		return false;
	i->len = d->zi.length;
	i->osz = d->zi.operand_width / 8;
	i->asz = d->zi.address_width / 8;
	i->base = i->index = R_ZERO;
	i->seg = DS;
	for (unsigned n = 0; n < d->zi.operand_count_visible; n++) {
		const ZydisDecodedOperandMem *m = &d->op[n].mem;

		if (d->op[n].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		i->flags |= INSN_MEM;
		i->base = rig_register(m->base);
		i->index = rig_register(m->index);
		i->scale = m->scale > 1 ? (uint8_t)__builtin_ctz(m->scale) : 0;
		i->disp = m->disp.value;
	}
	for (const struct bind_row *row = interp_binds_vector; row->bind; row++)
		if (row->mnemonic == d->zi.mnemonic)
			return row->bind(d, i);
	return false;
}

static inline void guest_run(struct rig *r, const struct insn *i, struct machine_state *s)
{
	state_to_guest(r, s);
	s->fault = i->fn(r->c, i) == STEP_FAULT ? r->c->fault.vector : FAULT_NONE;
	state_from_guest(r, s);
}

#endif
