/*
 * translation.h - one block on its way to host code: what the files that emit it share.
 *
 * The idea: an instruction is emitted by the first of bt_branch(), bt_insn() and what that asks
 * that knows it, else as a call of its handler. Whatever is seldom executed is noted as a struct
 * cold and emitted behind the block.
 *
 * Where things are while the code runs: bt.h. SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_TRANSLATION_H
#define ENGINE_BT_TRANSLATION_H

#include "engine/bt/bt.h"
#include "engine/bt/group.h"

#define SCRATCH_A R11 /* an address */
#define SCRATCH_T RCX
#define BUDGET    R15 /* x.left */

/* Where the guest's arithmetic flags are. */
enum flags_at { FLAGS_MEMORY, FLAGS_HOST, FLAGS_BOTH, FLAGS_AGAIN /* nowhere: again.c */ };

enum cold_kind {
	COLD_CELL,
	COLD_TABLE,
	COLD_SLOW,
	COLD_TAKEN,
	COLD_BUDGET,
	COLD_VECTOR,
	COLD_X87,
	COLD_CALL,
	COLD_EDGE,
	COLD_SETTLE
};

/* Code that goes behind the block. */
struct cold {
	uint8_t *from, *join; /* join NULL: does not come back */
	const struct insn *i;
	unsigned row;    /* handlers of as many that follow come after i's */
	uint32_t extent; /* of the group that i leads, see group.h; 0: none. Where its address, in
			    R11, */
	uint8_t *retry;  /* is tried again */
	uint32_t name;   /* of i */
	enum cold_kind kind;
	int32_t target;
	int32_t fip; /* of x87.c, at `from` */
	bool save;   /* flags are in RFLAGS at `from` only */
	bool load;   /* and have to be there at `join` */
	bool again;  /* flags are FLAGS_AGAIN at `from`, as the next one made them */
	uint8_t maker;
	struct bt_place *place; /* COLD_EDGE */
	const uint8_t *memory;  /* COLD_CELL: the cell, executable address */
	unsigned base;          /* COLD_CELL: R11 + base + target is the address, or NO_REGISTER */
	enum access access;     /* COLD_CELL, COLD_TABLE; a COLD_SLOW follows it */
	unsigned limit;         /* COLD_TABLE: as of a cell; COLD_BUDGET: what was taken */
	uint8_t *others[2];     /* more that come here, or NULL */
};

struct translation {
	struct bt *t;
	struct interp *c;
	struct block *b;
	struct code e;
	const struct insn *i;              /* the instruction at hand */
	const ZydisDecodedInstruction *zi; /* of all_zi and all_op */
	ZydisDecodedOperand *op;
	const uint8_t *bytes; /* the block's */
	enum flags_at flags;
	unsigned maker;   /* the instruction that made them, unless they are in memory */
	unsigned half;    /* of the address space: where its data likely lies, too */
	unsigned variant; /* see bt_variant() */
	bool wide;        /* 64-bit code */
	unsigned word;    /* bytes: 8, or 4 in 32-bit code */
	bool cells;       /* its data accesses may have them */
	bool vector, x87;
	int32_t fip; /* x87 FIP is x.code_va + this, if that is not negative */
	bool exact;  /* see flow.c */
	bool flags_in;
	unsigned row;       /* instructions after the one at hand that share its check */
	struct group group; /* the last one */
	bool no_groups;
	bool broken;           /* a group was not what it was thought to be */
	unsigned first_vector; /* the first instruction of the vector unit; count: none */
	unsigned price, skip;  /* of struct bt_head */
	unsigned segment_end;  /* instructions that were paid for before the one at hand runs */
	unsigned colds;
	struct cold cold[10 * BLOCK_INSNS];
	bool wanted[BLOCK_INSNS]; /* somebody may read flags after it */
	bool need[BLOCK_INSNS];   /* it needs the guest's flags in RFLAGS */
	ZydisDecodedInstruction all_zi[BLOCK_INSNS];
	ZydisDecodedOperand all_op[BLOCK_INSNS][ZYDIS_MAX_OPERAND_COUNT];
	bool known[BLOCK_INSNS];
	const uint8_t *begin[BLOCK_INSNS + 2]; /* of each one's code, of what follows the last, and
						* the end of that */
	struct bt_piece piece[2]; /* all of it: what is often executed, and the cold parts */
};

/* registers.c: where guest register n is; NO_REGISTER: in memory. */
unsigned bt_home(unsigned guest);
static inline bool bt_in_memory(unsigned guest)
{
	return (guest >= R9 && guest <= R11) || guest == BUDGET;
}
/* Emits code that brings guest register n to host register `to`, or back. */
void bt_read(struct code *e, unsigned to, unsigned guest);
void bt_write(struct code *e, unsigned guest, unsigned from);
void bt_load_all(struct code *e);
void bt_store_all(struct code *e);
void bt_flags_save(struct code *e); /* both clobber RCX */
void bt_flags_load(struct code *e);
void bt_flags_gather(struct code *e); /* RCX = those in memory, as in RFLAGS */
/* A general register as an operand names it: is it one, is it AH to BH, which guest register it is
 * or lies in. */
bool bt_is_gpr(ZydisRegister reg);
bool bt_is_high_byte(ZydisRegister reg);
unsigned bt_guest_of(ZydisRegister reg);
/* The next code will destroy RFLAGS, or needs the guest's flags in it. Clobber RCX. */
void bt_flags_give(struct translation *x); /* they are in memory now */
void bt_flags_lose(struct translation *x); /* or can be made again */
void bt_flags_need(struct translation *x);
/* The instruction at hand has made them. */
void bt_flags_out(struct translation *x);

/* again.c: can the flags that x->maker made be made again until the block ends? In RFLAGS; clobbers
 * RCX. */
bool bt_again_can(const struct translation *x);
void bt_again(struct translation *x);

/* memory.c: R11 = linear address of the memory operand. Flags given, RCX clobbered. */
bool bt_address_known(const struct insn *i); /* is it one that bt_address() can do? */
void bt_address(struct translation *x);
void bt_address_at(struct translation *x, int32_t further); /* plus that */
/* R11 = host address of [R11, +size), or the handler does the instruction. align: power of two. */
/* The same of R11 = host register `base` + disp, but that R11 + base + disp is the host address. */
void bt_check_based(struct translation *x, unsigned size, enum access access, unsigned align,
		    unsigned base, int32_t disp);
/* Can it be had? The register, or NO_REGISTER. */
unsigned bt_check_base(const struct translation *x);
void bt_check(struct translation *x, unsigned size, enum access access, unsigned align);
struct cold *bt_cold(struct translation *x, enum cold_kind kind, uint8_t *from);
/* The current instruction's slow ways, from number `first` on, come back here. */
void bt_join(struct translation *x, unsigned first);
void bt_slow_call(struct translation *x, uint32_t name); /* the handler, by the stub */
void bt_group_call(struct translation *x, uint32_t name, uint32_t extent); /* a group's leader's */

/* insn.c: what is known of an instruction; 0: nothing. */
#define RULE_PLAIN 1u  /* runs as it is */
#define RULE_IN    2u  /* flags go in (if only because it may leave some alone) */
#define RULE_OUT   4u  /* flags come out */
#define RULE_PURE  8u  /* a destination of 32 or 64 bits is only written */
#define RULE_NONE  16u /* does nothing */
#define RULE_SHIFT 32u /* the count may be 0, or in CL */
#define RULE_OWN   64u /* has a function of its own */
unsigned bt_rule(ZydisMnemonic m);
bool bt_is_bit_test(ZydisMnemonic m); /* BT, BTS, BTR, BTC */
/* Is it a PAUSE that lets other vCPUs run? The handler does that. */
bool bt_pauses(const struct translation *x, ZydisMnemonic m);
/* flow.c: fills in wanted, need and flags_in. */
void bt_flow(struct translation *x);
/* Emits the instruction. false: nothing was emitted, its handler must do it. */
bool bt_insn(struct translation *x);
bool bt_is_vector(const struct translation *x); /* does it touch XMM or YMM registers? */
bool bt_is_mmx(const struct translation *x);    /* MMX registers? Then it needs the x87 unit */

/* arith.c, system.c: the same, each for its own. */
bool bt_stack(struct translation *x);
/* stack.c: what instruction n does to the stack if it is one that moves RSP by a constant: PUSH or
 * POP of a register, near CALL or RET, ADD or SUB. */
bool bt_stack_uses(const struct translation *x, unsigned n, struct bt_stack_use *u);
bool bt_arith(struct translation *x);
bool bt_string(struct translation *x);
const uint8_t *bt_put_rep_movs(struct code *e, unsigned log2);
const uint8_t *bt_put_rep_stos(struct code *e, unsigned log2);
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

/* straddle.c: leaves unless the instruction's bytes are what was translated. */
void bt_straddle_check(struct translation *x);
/* The next cell. */
static inline struct bt_cell *bt_cell_new(struct bt *t)
{
	struct bt_cell *cell = &t->cell[t->room->cells++];

	*cell = (struct bt_cell){ 0 };
	return cell;
}

/* Is it an indirect JMP, the block's last, that has a table of its page (jumps.c)? */
bool bt_page_jump(const struct translation *x, unsigned n);

/* Is instruction n a JMP to the one that follows it in the block? */
static inline bool bt_followed(const struct translation *x, unsigned n)
{
	return n + 1 < x->b->count && insn_is_jump(&x->b->insn[n]);
}

/* branch.c */
bool bt_branch(struct translation *x, bool *ended); /* false: not one that is known here */
/* Jumps to x.code_va + target. i: the branch, or NULL: the block's end. */
struct bt_place *bt_edge(struct translation *x, const struct insn *i, int32_t target,
			 enum flags_at flags);
bool bt_ends_segment(const struct translation *x); /* a loop's branch: nothing is paid beyond */
bool bt_in_page(const struct translation *x, int32_t target); /* the block's own */
/* To the target of the branch at hand, if `cc`, or CC_ALWAYS; else on with what follows. */
#define CC_ALWAYS 16
void bt_lead(struct translation *x, uint8_t cc);
void bt_warm_code(struct translation *x); /* ways to other blocks: near what leads there */
void bt_cold_code(struct translation *x);

/* count.c: as bt_insn(), of a branch by a count. */
bool bt_count(struct translation *x);

/* translate.c: instruction n becomes the one at hand. */
void bt_take(struct translation *x, unsigned n);
/* Pays for the instructions from the one at hand to the segment's end. */
void bt_pay(struct translation *x);
/* Names an instruction in 32 bits: place in the arena, and how many of its block were paid for. */
#define BT_PAID_SHIFT 27
uint32_t bt_name(const struct translation *x, const struct insn *i);

#endif
