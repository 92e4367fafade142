/*
 * bt.h - the inside of engine bt: one vCPU's translator, and one block's translation.
 *
 * What executes is the interpreter's decoded block, as host code. Everything the guest can see
 * is still the interpreter's: blocks, TLB, the handlers of whatever is not translated, counting.
 * Translated code leaves, wherever somebody may look, exactly what the interpreter
 * would have left.
 *
 * Where things are while translated code runs:
 *
 *   GS base   struct interp
 *   RSP       the hint stack, see below
 *   R9, R10   guest RCX, guest RSP
 *   RCX, R11  scratch, within one instruction
 *   others    the guest's register of the same name
 *   memory    guest R9, R10, R11: struct interp's r[]
 *   RFLAGS    at the beginning and the end of a block nothing; the arithmetic flags are in x.flags
 *   YMM       the guest's if x.vector_live, MXCSR too
 *   x87 unit  the guest's if x.x87_live, but for its pointers
 *
 * Code is position-independent for the guest: x.code_va is the linear address of the page that
 * executes, so one translation serves every mapping of the page.
 *
 * The hint stack holds pairs (return address in translated code, guest return address). A
 * guest CALL pushes one and is a host CALL, a guest RET is a host RET; the landing compares
 * what the guest's stack says with what was pushed. So the host's return predictor
 * works for the guest. Losing the hint stack's contents is always right: the frame beyond its top
 * leads to a look-up. It is emptied when mappings of code or the CPL change.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_BT_H
#define ENGINE_BT_BT_H

#include <Zydis/Zydis.h>

#include "engine/bt/code.h"
#include "engine/bt/figures.h"
#include "engine/bt/names.h"
#include "engine/interp/cache.h"
#include "host/host.h"

#define BT_CELLS       16u                  /* one in so many bytes of code memory is of a cell */
#define BT_ROOM        (UINT64_C(32) << 10) /* more than any block takes */
#define BT_PLACES      (1u << 18)
#define BT_PLACES_ROOM 128u   /* more than any block takes */
#define BT_HOT         16u    /* interpreted as often before it is translated */
#define BT_SLICE       32768u /* instructions between two looks at kicked and notice */

/* The hint stack: HINT_BYTES above as many, which are slack for wrapping and signal handlers;
 * the address where it begins has the bit HINT_BYTES set. */
#define HINT_BYTES UINT64_C(0x10000)

/* Of a jump that leaves its page: while it comes from this page and code is mapped as it was, it
 * leads to that page. A return looks at `to` and the generation. */
struct bt_cell {
	uint64_t from, generation, to;
	uint64_t unused;
};

/*
 * Of a memory operand: the TLB entry that it used last, so that the check needs no look-up: while
 * `limit` allows, [tag, +4096) lies at host. Dead cells have the limit 0. The TLB kills them
 * (engine/mmu/tlb.h). After BT_SCORE_MAX rapid changes of page the instruction is translated
 * again, to look into the TLB.
 */
struct bt_memory {
	uint64_t tag, limit, host;
	uint16_t full; /* the limit of a live one: 4096 - size of the operand + 1 */
	uint8_t score;
	uint8_t half;
	uint32_t stamp; /* x.left when it was filled */
};
#define BT_MEMORIES  (UINT32_C(1) << 18)
#define BT_SCORE_MAX 64
#define BT_RAPID     64 /* instructions: a page change after fewer counts */

enum place_kind { PLACE_SAME_PAGE, PLACE_CROSS };

/* A direct jump from one block to another. */
struct bt_place {
	struct block *to;        /* linked to, or NULL */
	const uint8_t *native;   /* where that is, or NULL; */
	uint64_t host;           /* its page */
	struct bt_place *next;   /* of those linked to the same block */
	struct bt_cell *cell;    /* write address; NULL: same page */
	uint8_t *jump;           /* end of its rel32, write address */
	uint8_t *save_jump;      /* behind code at `unlinked` that saves the flags, or NULL */
	uint8_t *out;            /* where save_jump goes otherwise */
	const uint8_t *unlinked; /* where it goes otherwise, write address */
	const struct insn *i;    /* the branch; NULL: none (the block's end, a return) */
	int32_t target;          /* relative to x.code_va when the unlinked way is taken */
	uint8_t kind;
	uint8_t half;
	uint8_t variant; /* BT_HIGH, BT_USER */
	uint32_t page;   /* its own, as part of struct block's key */
	bool is_call;
};

struct bt_jump { /* of the table of indirect jumps */
	uint64_t va, generation;
	const uint8_t *native;
	uint64_t page;
};
#define BT_JUMPS (1u << 12)

/* Why translated code came back; above BT_STEP an enum step for the run loop. */
/* BT_HOP: of bt_slow() only: on at x.target. */
enum bt_kind { BT_BOUNDARY, BT_EDGE, BT_INDIRECT, BT_HOP, BT_STEP = 16 };

struct bt {
	struct host_code code;
	uint8_t *at; /* write address of the next block's code */
	uint8_t *cell, *cells_end;
	uint8_t *begin; /* behind the stubs */
	/* Stubs, write addresses. */
	const uint8_t *edge, *boundary, *slow, *vector, *x87, *mismatch, *indirect[2];
	const uint8_t *underflow;    /* executable address */
	const uint8_t *either[2];    /* by access: the host address of R11 in either half */
	const uint8_t *refill[2][2]; /* by half and access: a cell in RCX for the address in R11 */
	struct bt_memory *memory;    /* cells, and how many are in use */
	unsigned memories;
	struct bt_memory **live[2]; /* lists of cells that are not dead */
	int (*enter)(struct interp *c, const uint8_t *native);
	uint8_t *hint;                           /* the whole mapping */
	uint64_t hint_empty, hint_generation[2]; /* code mappings that the hints are for */
	struct bt_place *place;
	unsigned places;
	struct bt_jump *jumps;
	struct insn boundary_insn; /* "between two blocks" */
	/* What the last run ended with, to be linked if it goes on there. */
	struct bt_place *pending;
	bool pending_indirect;
	uint64_t pending_rip, pending_va; /* where it goes; x.code_va at the exit */
	uint64_t end;                     /* s.instructions when x.left is 0 */
	uint64_t slice;                   /* BT_SLICE, BT_HOT, unless tortured */
	uint32_t hot;
	unsigned torture; /* TORTURE(name) bits */
	uint64_t chance;  /* torture.c's generator */
	ZydisDecoder zydis;
	struct translation *work;
	bool vectors; /* the host has AVX */
	bool exact;   /* a counted machine, see flow.c */
	bool full;    /* no room for another block: all have to go */
	uint64_t blocks, native, handled, links, exits[4], slows, hops, mismatches; /* figures */
	struct bt_figures figures;
};

#define BT_VECTOR 1u  /* block.native_flags: touches YMM registers */
#define BT_HIGH   2u  /* translated for the high half */
#define BT_JUMPED 4u  /* is in the table of indirect jumps */
#define BT_USER   16u /* translated for CPL 3 */
#define BT_FLAGS  8u  /* needs the flags in x.flags when it is entered */
#define BT_X87    32u /* touches the x87 unit */

#define SCRATCH_A R11 /* an address */
#define SCRATCH_T RCX

/* Where the guest's arithmetic flags are. */
enum flags_at { FLAGS_MEMORY, FLAGS_HOST, FLAGS_BOTH };

enum cold_kind {
	COLD_CELL,
	COLD_TABLE,
	COLD_SLOW,
	COLD_TAKEN,
	COLD_BUDGET,
	COLD_VECTOR,
	COLD_X87,
	COLD_CALL,
	COLD_EDGE
};

/* Code that goes behind the block. */
struct cold {
	uint8_t *from, *join; /* join NULL: does not come back */
	const struct insn *i;
	unsigned row;  /* handlers of as many that follow come after i's */
	uint32_t name; /* of i */
	enum cold_kind kind;
	int32_t target;
	int32_t fip;            /* of x87.c, at `from` */
	bool save;              /* flags are in RFLAGS at `from` only */
	bool load;              /* and have to be there at `join` */
	struct bt_place *place; /* COLD_EDGE */
	const uint8_t *memory;  /* COLD_CELL: see bt_memory() */
	enum access access;     /* COLD_CELL, COLD_TABLE; a COLD_SLOW follows it */
	unsigned limit;         /* COLD_TABLE: as of a cell */
	uint8_t *others[2];     /* more that come here, or NULL */
};

struct translation {
	struct bt *t;
	struct interp *c;
	struct block *b;
	struct code e;
	const struct insn *i; /* the instruction at hand */
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	const uint8_t *bytes; /* the block's */
	enum flags_at flags;
	unsigned half;    /* of the address space: where its data likely lies, too */
	unsigned variant; /* see bt_variant() */
	bool cells;       /* its data accesses may have them */
	bool vector, x87;
	int32_t fip; /* x87 FIP is x.code_va + this, if that is not negative */
	bool exact;  /* see flow.c */
	bool flags_in;
	unsigned row;         /* instructions after the one at hand that share its check */
	unsigned segment_end; /* instructions that were paid for before the one at hand runs */
	unsigned colds;
	struct cold cold[10 * BLOCK_INSNS];
	bool wanted[BLOCK_INSNS]; /* somebody may read flags after it */
	bool need[BLOCK_INSNS];   /* it needs the guest's flags in RFLAGS */
	ZydisDecodedInstruction all_zi[BLOCK_INSNS];
	ZydisDecodedOperand all_op[BLOCK_INSNS][ZYDIS_MAX_OPERAND_COUNT];
	bool known[BLOCK_INSNS];
	const uint8_t *begin[BLOCK_INSNS + 2]; /* of each one's code, of what follows the last, of
						* the cold parts */
};

#define AT(member)     ((uint32_t)offsetof(struct interp, member))
#define AT_REGISTER(n) ((uint32_t)(n)*8)

/* registers.c: where guest register n is; NO_REGISTER: in memory. */
unsigned bt_home(unsigned guest);
static inline bool bt_in_memory(unsigned guest)
{
	return guest >= R9 && guest <= R11;
}
/* Emits code that brings guest register n to host register `to`, or back. */
void bt_read(struct code *e, unsigned to, unsigned guest);
void bt_write(struct code *e, unsigned guest, unsigned from);
void bt_load_all(struct code *e);
void bt_store_all(struct code *e);
void bt_flags_save(struct code *e); /* both clobber RCX */
void bt_flags_load(struct code *e);
/* The next code will destroy RFLAGS, or needs the guest's flags in it. Clobber RCX. */
void bt_flags_give(struct translation *x);
void bt_flags_need(struct translation *x);

/* memory.c: R11 = linear address of the memory operand. Flags given, RCX clobbered. */
bool bt_address_known(const struct insn *i); /* is it one that bt_address() can do? */
void bt_address(struct translation *x);
/* R11 = host address of [R11, +size), or the handler does the instruction. align: power of two. */
void bt_check(struct translation *x, unsigned size, enum access access, unsigned align);
struct cold *bt_cold(struct translation *x, enum cold_kind kind, uint8_t *from);
/* The current instruction's slow ways, from number `first` on, come back here. */
void bt_join(struct translation *x, unsigned first);
void bt_slow_call(struct translation *x, uint32_t name); /* the handler, by the stub */

/* insn.c: what is known of an instruction; 0: nothing. */
#define RULE_PLAIN 1u  /* runs as it is */
#define RULE_IN    2u  /* flags go in (if only because it may leave some alone) */
#define RULE_OUT   4u  /* flags come out */
#define RULE_PURE  8u  /* a destination of 32 or 64 bits is only written */
#define RULE_NONE  16u /* does nothing */
#define RULE_SHIFT 32u /* the count may be 0, or in CL */
#define RULE_OWN   64u /* has a function of its own */
unsigned bt_rule(ZydisMnemonic m);
/* flow.c: fills in wanted, need and flags_in. */
void bt_flow(struct translation *x);
/* Emits the instruction. false: nothing was emitted, its handler must do it. */
bool bt_insn(struct translation *x);
bool bt_is_vector(const struct translation *x); /* does it touch XMM or YMM registers? */
bool bt_is_mmx(const struct translation *x);    /* MMX registers? Then it needs the x87 unit */

/* arith.c, system.c: the same, each for its own. */
bool bt_stack(struct translation *x);
/* A row of PUSH or POP from the instruction at hand on: how many were emitted, 0: it is none. */
unsigned bt_row(struct translation *x, bool *ended);
bool bt_arith(struct translation *x);
bool bt_system(struct translation *x);

/* x87.c */
bool bt_x87_ok(const struct interp *c);       /* may x87 instructions run as they are? */
void bt_x87_take(struct interp *c);           /* what the stubs saved becomes the guest's */
const uint8_t *bt_put_x87_in(struct code *e); /* subroutines; the first clobbers RCX, R11 */
const uint8_t *bt_put_x87_out(struct code *e);
bool bt_is_x87(const struct translation *x); /* one that is known there? */
bool bt_is_x87_compare(const struct translation *x);
bool bt_x87(struct translation *x);
void bt_x87_give(struct translation *x); /* FIP may be looked at. Clobbers RCX */
void bt_x87_fip(struct code *e, int32_t fip);

/* branch.c */
/* The CALL or RET at hand, whose word is checked: CALL's at R11, RET's at R11 + at. */
void bt_row_branch(struct translation *x, int32_t at);
bool bt_branch(struct translation *x, bool *ended); /* false: not one that is known here */
/* Jumps to x.code_va + target. i: the branch, or NULL: the block's end. */
struct bt_place *bt_edge(struct translation *x, const struct insn *i, int32_t target,
			 enum flags_at flags);
bool bt_ends_segment(const struct translation *x); /* a loop's branch: nothing is paid beyond */
void bt_cold_code(struct translation *x);

/* stubs.c */
int bt_stubs(struct bt *t, struct interp *c);

/* translate.c: instruction n becomes the one at hand. */
void bt_take(struct translation *x, unsigned n);
/* Pays for the instructions from the one at hand to the segment's end. */
void bt_pay(struct translation *x);
/* Names an instruction in 32 bits: place in the arena, and how many of its block were paid for. */
#define BT_PAID_SHIFT 27
uint32_t bt_name(const struct translation *x, const struct insn *i);
/* Makes b->native, or leaves it NULL when there is no room. */
void bt_translate(struct bt *t, struct interp *c, struct block *b);

/* link.c */
void bt_link(struct bt *t, struct interp *c, struct block *b); /* what is pending */
void bt_killed(struct interp *c, struct block *b);
void bt_flushed(struct interp *c);
void bt_hints_reset(struct bt *t, struct interp *c);

/* Which translation the CPU needs now: bits of native_flags. */
static inline unsigned bt_variant(const struct interp *c, uint64_t rip)
{
	return (rip >> 63 ? BT_HIGH : 0) | (c->user ? BT_USER : 0);
}

/* link.c: of struct tlb. */
void bt_cells_die(struct tlb *tlb, unsigned half);

/* What code_rip() takes for data that lies before the executable address of the code. */
static inline const uint8_t *bt_data(const struct bt *t, const void *data)
{
	return t->code.write_at + ((const uint8_t *)data - t->code.exec_at);
}

/* The executable address of what is written at `at`. */
static inline const uint8_t *bt_exec(const struct bt *t, const uint8_t *at)
{
	return t->code.exec_at + (at - t->code.write_at);
}

/* torture.c: */
void bt_torture(struct bt *t, struct interp *c, unsigned torture); /* before bt_stubs() */
int bt_torture_slow(struct interp *c, uint32_t name);              /* bt_slow(), tortured */

/* bt.c */
enum step bt_execute(struct interp *c, struct block *b); /* struct interp's `execute` */
void bt_come_back(struct bt *t, struct interp *c); /* translated code ends with the next block */

/* bt.c: executes the instruction `name` by its handler. 0: go on; else BT_STEP + step. Called
 * by t->slow. */
int bt_slow(struct interp *c, uint32_t name);

#endif
