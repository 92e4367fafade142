/*
 * interp.h - the interpreter's inside: its CPU, a decoded instruction, and what
 * a handler may do.
 *
 * Guest code is decoded once into blocks (cache.h), an array of struct insn that
 * ends at a branch, at a page end or at something that changes the mode. The run
 * loop (run.c) calls insn->fn for one after the other. While a block runs,
 * r[R_RIP] is the address of the block's FIRST instruction: displacement of
 * RIP-relative operands and of relative branches were adjusted for that at decode
 * time, so no instruction pays for keeping RIP current.
 *
 * A handler checks every operand before it changes anything, so each instruction
 * can be restarted. It reads and writes memory through mem.h only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_INTERP_H
#define ENGINE_INTERP_INTERP_H

#include <stdatomic.h>

#include "cpu/paging.h"
#include "cpu/segment.h"
#include "cpu/state.h"
#include "engine/mmu/tlb.h"
#include "machine/vm.h"

#define R_ZERO     16 /* always 0: "no base", "no index" */
#define R_RIP      17 /* see above */
#define R_COUNT    18
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

struct interp;
struct insn;
struct block;

/* What became of an instruction. */
enum step {
	STEP_NEXT = 0,  /* retired; the next one in the block follows */
	STEP_BRANCH,    /* retired; r[R_RIP] is the target, the mode did not change */
	STEP_LEAVE,     /* retired; next sequential instruction, but leave the block first: mode,
			 * TLB, interrupt flag or code may have changed */
	STEP_JUMP,      /* retired; r[R_RIP] is the target and the mode may have changed */
	STEP_FAULT,     /* not retired; c->fault is to be delivered with RIP at this instruction */
	STEP_TRAP,      /* retired; then c->fault is to be delivered with RIP after it */
	STEP_AGAIN,     /* not retired; RIP stays (a rep that was interrupted part-way) */
	STEP_STALE,     /* this decoded form is out of date; nothing was done */
	STEP_HALT,      /* HLT retired */
	STEP_END,       /* the sentinel after a block's last instruction; handlers never return it */
};

typedef enum step (*insn_fn)(struct interp *c, const struct insn *i);

#define INSN_REP   1u /* F3 */
#define INSN_REPNE 2u /* F2 */
#define INSN_LOCK  4u
#define INSN_MEM   8u /* has a memory operand: base, index, scale, disp, seg */
#define INSN_LAST  16u /* ends its block */
#define INSN_HOPS  64u /* engine bt: its operand is hardly ever in the page where it was last */
#define INSN_ALONE 128u /* engine bt: it leads no group (engine/bt/group.c) */
#define INSN_REX   32u /* (8-bit registers were resolved at decode time; for FXSAVE64 and such: REX.W) */

struct insn {
	insn_fn fn;
	uint64_t imm;  /* immediate, sign-extended; relative branch: target - block start */
	int64_t disp;  /* RIP-relative: already relative to the block start; moffs: the address */
	void *aux;     /* belongs to the handler; lives as long as the block (vector thunks). Where
			* the block is left by STEP_BRANCH or STEP_END: the run loop's, see run.c */
	int16_t at;    /* bytes from the block start */
	uint8_t len;   /* bytes */
	uint8_t a, b;  /* register operands as byte offsets into interp.r (AH is 1) */
	uint8_t base, index; /* indices into interp.r; R_ZERO: none */
	uint8_t scale; /* shift count */
	uint8_t seg;   /* enum seg */
	uint8_t osz;   /* operand size: 1, 2, 4, 8 */
	uint8_t asz;   /* address size: 2, 4, 8 */
	uint8_t flags; /* INSN_* */
	uint8_t op;    /* per handler: condition code, register number, ... */
	uint8_t c;     /* third operand: register offset or a small number */
	uint8_t n;     /* instructions before it in its block (cache.c) */
	uint8_t tag;   /* another executor's own (engine/bt/figures.h) */
};

/* A fault or trap on its way to the guest. */
struct fault {
	uint8_t vector;
	bool has_error;
	bool soft;     /* INT n, INT3, INTO: privilege-checked, RIP after the instruction */
	bool icebp;    /* INT1 */
	uint32_t error;
	uint64_t cr2;  /* VEC_PF */
	uint64_t dr6;  /* VEC_DB: bits to set */
	bool resume;   /* VEC_DB: between the elements of a rep: pushes RF set */
};

/* See engine/bt/bt.h. It lies here because generated code finds all it needs from one base. */
struct executor_state {
	uint64_t left;    /* instructions until it has to come back */
	uint64_t code_va; /* linear address of the page whose code runs */
	uint64_t host_rsp, hint_rsp, target;
	const void *jumps, *places;
	uint32_t insn, place, kind, host_mxcsr;
	uint64_t scratch[3];
	void *hops; /* a cell whose operand hops from page to page, or NULL */
	void *cells[2];   /* next places in the lists of live cells, */
	void *cells_end[2]; /* and the ends of room for them */
	/* Hint stacks of supervisor and user: where they begin; for which code mappings the
	 * current one is; the user's while the supervisor runs. */
	uint64_t hint_empty[2], hint_generation[2], user_hint_rsp, user_generation[2];
	const void *data, *code; /* where they begin */
	struct interp *self;
	const struct clock_line *line; /* the machine's clock's */
	struct x86_seg gate[2][2]; /* CS and SS that SYSCALL, SYSRET load; good if gate_ok */
	uint8_t gate_ok;
	uint16_t flags; /* arithmetic: AH and AL as LAHF and SETO leave them */
	uint32_t full; /* struct bt_memory's `full` and, from bit 16 on, `based` */
	uint8_t vector_live, vector_ok;
	uint8_t x87_live, x87_ok;
	uint8_t image[108] __attribute__((aligned(64))); /* x87 unit as FRSTOR loads it */
};

/*
 * Of an executor whose vCPUs share what it makes of blocks. `host`: in a page of guest memory.
 * covers() and decoded() inside the gate, the others while it is closed.
 */
struct code_share {
	/* Was something made of these bytes? */
	bool (*covers)(const struct interp *c, const uint8_t *host, unsigned bytes);
	void (*written)(struct interp *c, const uint8_t *host, unsigned bytes);
	/* Was something made of the page? Then it is watched with MARK_CODE. */
	bool (*in_page)(const struct interp *c, const uint8_t *host);
	/* Instructions of a block that it knows, and their end. 0: it does not. */
	unsigned (*decoded)(const struct interp *c, uint64_t key, struct insn *insn);
};

struct interp {
	uint64_t r[R_COUNT];
	/*
	 * Arithmetic flags (CF PF AF ZF SF OF) in their RFLAGS positions, other bits
	 * garbage. s.rflags holds the rest. Use interp_rflags().
	 */
	uint64_t arith;
	struct x86_state s; /* everything but gpr, rip and the arithmetic flags is current */
	struct fault fault;
	struct tlb tlb;
	struct vcpu *vcpu;

	/* Derived from s by interp_mode_changed(). */
	uint8_t cpl;
	uint8_t code_bits;    /* 16, 32, 64 */
	uint8_t mode;         /* decode key: enum decode_mode */
	uint8_t flat_read;    /* bit n: segment n needs no check for reads */
	uint8_t flat_write;
	uint8_t based;        /* bit n: segment n needs its base added, and no check */
	uint8_t unlimited;    /* bit n: 32-bit code may read and write all of segment n */
	bool flat32;          /* 32-bit code in protected mode, to which segments but FS and GS
			       * mean nothing, and whose stack pointer has 32 bits */
	bool user;            /* cpl == 3 */
	bool has_breakpoints; /* DR7 enables a data or I/O breakpoint */
	bool single;          /* TF, an instruction breakpoint or a shadow: one at a time */

	/* Where the run loop is. */
	const struct insn *current; /* the instruction being executed */
	struct block *block;
	uint64_t retired_before;    /* retired when the block was entered */
	uint64_t dr_seen[5];        /* DR0-DR3 and DR7 that the TLB's tags were made for */
	bool db_hit;                /* data breakpoint hit by the current instruction */
	uint64_t db_bits;           /* its DR6 bits */
	bool stepping;              /* TF was set when the current instruction began (debug.c) */
	bool resuming;              /* RF was set then and ends with the instruction */
	uint8_t shadow_before;      /* s.shadow then */
	atomic_bool kicked;
	struct insn *cut;           /* interp_exit() put op_stale there, in place of cut_fn, to */
	insn_fn cut_fn;             /* end the block after the current instruction */
	struct block *cut_block;

	struct decoder *decoder;
	struct block_cache *cache;
	void *vector; /* vector.c: thunk arena */
	bool flush_wanted; /* a binder ran out of room: forget all blocks, then bind again */
	void (*flushed)(struct interp *c); /* if set: no block's aux is referred to any more */

	/*
	 * Another executor of blocks (engine bt), or NULL: runs block `b`, of which the budget
	 * allows every instruction, as the run loop would, and may go on with what follows
	 * while `end` allows. Leaves block, current, retired_before and r[R_RIP] for the step.
	 */
	enum step (*execute)(struct interp *c, struct block *b);
	void (*killed)(struct interp *c, struct block *b); /* one with `native` is no more */
	const struct code_share *share; /* NULL: no vCPU knows of another's */
	void *executor;          /* its own */
	uint64_t end;            /* s.instructions when the budget is used up */
	struct executor_state x; /* what its code reaches by a fixed offset */
};

/* Raising: record the fault, return STEP_FAULT: `return raise_gp(c, 0);` */
enum step raise_vector(struct interp *c, enum vector v);                    /* no error code */
enum step raise_error(struct interp *c, enum vector v, uint32_t error);
enum step raise_pf(struct interp *c, uint64_t linear, uint32_t error);
static inline enum step raise_gp(struct interp *c, uint32_t error)
{
	return raise_error(c, VEC_GP, error);
}
static inline enum step raise_ud(struct interp *c)
{
	return raise_vector(c, VEC_UD);
}

/* exception.c: delivers c->fault (RIP already right) through the IDT, with double and triple
 * faults. c->current is still the instruction that raised it. false: triple fault, the CPU is
 * in shutdown. */
bool interp_deliver_fault(struct interp *c);
/* External interrupt or NMI: the same path, EXT set. false: triple fault. */
bool interp_deliver_interrupt(struct interp *c, uint8_t vector, bool nmi);

/* mode.c: call after s changed in a way that rights or decoding depend on (CR0, CR4,
 * EFER, CS, SS, other segments, RFLAGS.AC/TF/VM, DR7): re-derives the fields above and the TLB
 * context. The TLB itself is flushed by whoever knows that it must be. */
void interp_mode_changed(struct interp *c);
/* Cheaper: only the segment `seg` (not CS, SS) was loaded. */
void interp_segment_changed(struct interp *c, enum seg seg);

/* vector.c: what it keeps for each vCPU (c->vector). close() may follow a failed open(). */
int interp_vector_open(struct interp *c, struct fail *why);
void interp_vector_close(struct interp *c);

/*
 * debug.c. c->single is interp_debug_single(c): TF, RF, a shadow or an instruction breakpoint.
 * While it is set the run loop executes one instruction at a time and calls both of these.
 *
 * before(): r[R_RIP] is exactly at the instruction. true: an instruction breakpoint matches;
 * deliver c->fault as for STEP_FAULT, execute nothing.
 *
 * after(): for every step but FAULT and STALE, r[R_RIP] where the guest goes on, when c->single
 * or c->db_hit is set or the step is AGAIN (`again`). Ends the shadow of the instruction
 * before, clears RF, db_hit and db_bits. true: deliver c->fault, a #DB trap, with RIP as is.
 */
bool interp_debug_single(const struct interp *c);
bool interp_debug_before(struct interp *c);
bool interp_debug_after(struct interp *c, bool again);

static inline uint64_t interp_rflags(const struct interp *c)
{
	return (c->s.rflags & ~(uint64_t)FLAG_ARITH) | (c->arith & FLAG_ARITH);
}

static inline void interp_set_arith(struct interp *c, uint64_t rflags)
{
	c->arith = rflags;
}

/* RIP of, and after, the instruction that is being executed (before masking to 16 or 32 bits). */
static inline uint64_t insn_rip(const struct interp *c, const struct insn *i)
{
	return c->r[R_RIP] + i->at;
}

static inline uint64_t insn_next_rip(const struct interp *c, const struct insn *i)
{
	return c->r[R_RIP] + i->at + i->len;
}

/* Makes s.instructions (hence virtual time) exact in mid-block: before any exit_handle(). */
static inline void interp_sync(struct interp *c)
{
	c->s.instructions = c->retired_before + c->current->n;
}

/*
 * The way from inside an instruction to exit_handle(): makes time exact first, and ends the
 * block after this instruction when the device wants attention (vcpu->notice).
 */
void interp_exit(struct interp *c, struct exit *exit);

/* Register access by byte offset. A 32-bit write zeroes the upper half. */
static inline void *reg_at(struct interp *c, uint8_t offset)
{
	return (uint8_t *)c->r + offset;
}

static inline uint64_t asz_mask(uint8_t asz)
{
	return asz == 8 ? ~UINT64_C(0) : asz == 4 ? UINT64_C(0xffffffff) : UINT64_C(0xffff);
}

/* Offset within the segment of the memory operand. */
static inline uint64_t insn_ea(const struct interp *c, const struct insn *i)
{
	uint64_t off = c->r[i->base] + (c->r[i->index] << i->scale) + (uint64_t)(int64_t)i->disp;

	return i->asz == 8 ? off : off & asz_mask(i->asz);
}

#endif
