/*
 * bt.h - the inside of engine bt: one vCPU's translator.
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
 *   R15       x.left, the budget: a counter in memory would be what short loops wait for
 *   others    the guest's register of the same name
 *   memory    guest R9, R10, R11, R15: struct interp's r[]
 *   RFLAGS    at the beginning and the end of a block nothing; the arithmetic flags are in x.flags,
 *             unless nobody reads them (flow.c says what a fault then shows)
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
 * leads to a look-up. It is emptied when mappings of code, the CPL or the width of code change.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_BT_H
#define ENGINE_BT_BT_H

#include <Zydis/Zydis.h>

#include "engine/bt/code.h"
#include "engine/bt/figures.h"
#include "engine/bt/names.h"
#include "engine/bt/room.h"
#include "engine/bt/verify.h"
#include "engine/interp/cache.h"
#include "engine/mmu/guest.h"
#include "host/host.h"

#define BT_HOT   16u    /* interpreted as often before it is translated */
#define BT_SLICE 32768u /* instructions between two looks at kicked and notice */

/* A hint stack: HINT_BYTES above as many, which are slack for wrapping and signal handlers;
 * the address where it begins has the bit HINT_BYTES set. Supervisor and user have one each. */
#define HINT_BYTES UINT64_C(0x10000)
#define HINT_ROOM  (6 * HINT_BYTES) /* two, at an address that is a multiple of both */

/* Of a jump that leaves its page: while it comes from this page and code is mapped as it was, it
 * leads to that page. A return looks at `to` and the generation. */
struct bt_cell {
	uint64_t from, generation, to;
	uint64_t next; /* straddle.c: where the second part lies; `to` is of the first. Of jumps:
			* native code, for those whose code is shared */
};

/*
 * Of a memory operand: the TLB entry that it used last, so that the check needs no look-up: while
 * `limit` allows, [tag, +4096) lies at host, or, of a `based` one, everything in it `host` after
 * its linear address. Dead cells have the limit 0. The TLB kills them (engine/mmu/tlb.h). After
 * BT_SCORE_MAX rapid changes of page the instruction is translated again, to look into the TLB.
 */
struct bt_memory {
	uint64_t tag, limit, host;
	/* Of cells of shared code x.full says these two. */
	uint16_t full; /* the limit of a live one: 4096 - size of the operand + 1 */
	uint8_t score;
	uint8_t based;
	uint32_t stamp; /* x.left when it was filled */
};
#define BT_SCORE_MAX 64

/* A cell that was filled from a TLB entry, whose list of them begins at its tag[ACCESS_EXEC]. The
 * cell may have been filled anew from another entry since. */
struct bt_live {
	struct bt_memory *cell;
	struct bt_live *next;
	struct tlb_entry *entry;
};
#define BT_LIVE  (1u << 14)
#define BT_RAPID 112 /* instructions: a page change after fewer counts */

/* A group that lay in two pages when its leader was executed. One that does so BT_CROSSINGS times,
 * with fewer than BT_SELDOM instructions between, is none any more. */
struct bt_crossing {
	const struct insn *i;
	uint64_t at; /* retired instructions */
	unsigned times;
};
#define BT_CROSSINGS 8u
#define BT_SELDOM    8192u

enum place_kind { PLACE_SAME_PAGE, PLACE_CROSS };

/*
 * Before each block's code: whose it is (NULL: nobody's any more), and how far the next one is. Who
 * has paid for `price` instructions may begin `skip` bytes later; price 0: nobody may.
 */
struct bt_head {
	struct block *b;
	uint32_t bytes;
	uint16_t price, skip;
};

/* A direct jump from one block to another. */
struct bt_place {
	struct block *to;       /* linked to, or NULL */
	uint64_t host;          /* its page */
	struct bt_place *next;  /* of those linked to the same block */
	struct bt_place **back; /* what points to this one among them */
	uint8_t *jump;      /* end of its rel32, write address; NULL: it goes where its cell says */
	uint8_t *save_jump; /* behind code at `unlinked` that saves the flags, or NULL */
	uint8_t *out;       /* where save_jump goes otherwise */
	const uint8_t *unlinked; /* where it goes otherwise, write address */
	const struct insn *i;    /* the branch; NULL: none (the block's end, a return) */
	int32_t target;          /* relative to x.code_va when the unlinked way is taken */
	uint8_t *refund;         /* the byte of code that says how much is given back, or NULL */
	uint32_t native;         /* where `to` begins, from the code's beginning; 0: nowhere */
	uint32_t cell;           /* where its cell is, from the data's beginning; 0: same page */
	uint8_t kind;
	uint8_t half;
	uint8_t variant; /* BT_HIGH, BT_USER */
	uint8_t due;     /* what is given back when it is not linked */
	uint32_t page;   /* its own, as part of struct block's key */
	bool is_call;
};

struct bt_jump { /* of the table of indirect jumps */
	uint64_t va, generation;
	const uint8_t *native;
	uint64_t host; /* address of its page, | 1 for CPL 3, | 2: nothing is there */
};
#define BT_JUMPS (1u << 12)

/* Of indirect jumps that stay in their page, by where in it they lead (jumps.c). */
struct bt_page_jumps {
	const uint8_t *native[PAGE_SIZE];
	const uint8_t *plain[PAGE_SIZE]; /* the same of those that need no flags, else bt_settle */
};

/* Why translated code came back; above BT_STEP an enum step for the run loop. */
/* BT_HOP: of bt_slow() only: on at x.target. BT_RETRY: of bt_group_slow(): the address is x.target.
 */
enum bt_kind { BT_BOUNDARY, BT_EDGE, BT_INDIRECT, BT_HOP, BT_RETRY, BT_STEP = 16 };

struct translation;

struct bt {
	struct host_code code;
	struct bt_room *room;
	bool joined;          /* it is among the room's users */
	const uint8_t *names; /* what bt_name() counts from */
	struct insn left_by;  /* what ended a shared block */
	/* Stubs, write addresses. */
	const uint8_t *edge, *boundary, *slow, *gate_slow, *group_slow, *syscall, *sysret, *tsc,
		*vector, *x87, *mismatch, *indirect[2], *page_miss, *settle;
	const uint8_t *rep_movs[4], *rep_stos[4]; /* by log2 of the element's size */
	const uint8_t *underflow;                 /* executable address */
	const uint8_t *either[2];    /* by access: the host address of R11 in either half */
	const uint8_t *refill[2][2]; /* by half and access: a cell in RCX for the address in R11 */
	struct bt_memory *memory;    /* at the data's beginning; */
	struct bt_cell *cell;        /* behind them */
	struct bt_live *live[2];     /* by half of the address space */
	unsigned live_all;
	int (*enter)(struct interp *c, const uint8_t *native);
	uint8_t *hint;            /* the whole mapping */
	uint8_t hint_mode;        /* enum decode_mode that the hints are for */
	struct bt_jump *jumps[2]; /* of 64-bit and of 32-bit code */
	bool jumps_used;
	struct bt_page_jumps *page_jump; /* behind the cells */
	struct insn boundary_insn;       /* "between two blocks" */
	/* What the last run ended with, to be linked if it goes on there. */
	struct bt_place *pending;
	bool pending_indirect;
	uint8_t pending_mode;             /* enum decode_mode of where it comes from */
	uint64_t pending_rip, pending_va; /* where it goes; x.code_va at the exit */
	uint64_t end;                     /* s.instructions when x.left is 0 */
	uint64_t slice;                   /* BT_SLICE, BT_HOT, unless tortured */
	uint32_t hot;
	unsigned torture;            /* TORTURE(name) bits */
	uint64_t chance;             /* torture.c's generator */
	ZydisDecoder zydis, zydis32; /* of 64-bit code, host's too, and of 32-bit code */
	struct translation *work;
	bool vectors; /* the host has AVX */
	bool exact;   /* a counted machine, see flow.c */
	bool verify;  /* every block, before it can run: a debug build, tests */
	uint64_t blocks, native, handled, links, exits[4], slows, hops, found,
		mismatches; /* figures */
	uint64_t evictions;
	struct bt_crossing crossing[64]; /* by address of the instruction */
	struct bt_figures figures;
};

#define BT_VECTOR 1u  /* block.native_flags: touches YMM registers */
#define BT_HIGH   2u  /* translated for the high half */
#define BT_JUMPED 4u  /* is in the table of indirect jumps */
#define BT_USER   16u /* translated for CPL 3 */
#define BT_FLAGS  8u  /* needs the flags in x.flags when it is entered */
#define BT_X87    32u /* touches the x87 unit */

#define AT(member)     ((uint32_t)offsetof(struct interp, member))
#define AT_REGISTER(n) ((uint32_t)(n)*8)

/* stubs.c */
void bt_stubs(struct bt *t);

/* region.c */
int bt_memory_open(struct bt *t, struct interp *c, struct fail *why); /* may follow a failed one: */
void bt_memory_close(struct bt *t, const struct interp *c);
void bt_regions_forget(struct bt *t);                 /* no block is translated any more */
void bt_regions_drop(struct bt *t, struct interp *c); /* the same of those that are shared */
void bt_region_join(const struct bt *t);
void bt_region_next(struct bt *t, struct interp *c); /* what is in it is no more */
/* When half of the one before is used. */
void bt_region_ahead(struct bt *t, const struct interp *c);

/* translate.c: makes b->native. Only between blocks. */
void bt_translate(struct bt *t, struct interp *c, struct block *b);

/* jumps.c */
void bt_jumps_open(struct bt *t); /* the stubs are made */
/* The table of b's page; NULL: it has none, and there are no more. */
const struct bt_page_jumps *bt_jumps_of(const struct bt *t, const struct block *b,
					unsigned variant);
/* Indirect jumps to where c is lead to b. */
void bt_jumps_add(struct bt *t, struct interp *c, struct block *b);
void bt_jumps_kill(struct bt *t, const struct block *b); /* none leads to b */
void bt_jumps_forget(struct bt *t);
/* No jump leads to code in [from, end), executable addresses. */
void bt_jumps_drop(struct bt *t, const uint8_t *from, const uint8_t *end);

/* link.c */
void bt_link(struct bt *t, struct interp *c, struct block *b); /* what is pending */
void bt_unlink(struct bt *t, struct bt_place *p);
void bt_killed(struct interp *c, struct block *b);
void bt_flushed(struct interp *c);
void bt_hints_reset(struct bt *t, struct interp *c);
void bt_links_forget(struct bt *t, struct interp *c);

/* Which translation the CPU needs now: bits of native_flags. */
static inline unsigned bt_variant(const struct interp *c, uint64_t rip)
{
	return (rip >> 63 ? BT_HIGH : 0) | (c->user ? BT_USER : 0);
}

/* Of a shared block, of which another vCPU may be noting BT_JUMPED. */
static inline uint8_t bt_native_flags(const struct block *b)
{
	return __atomic_load_n(&b->native_flags, __ATOMIC_RELAXED);
}

/* Translated code has led here: what it is about was there before the code (bt_share_unlock()).
 * ThreadSanitizer does not see that pass by way of code. */
static inline void bt_share_seen(const struct bt *t)
{
#ifdef GUEST_UNSEEN
	(void)atomic_load_explicit(&t->room->busy, memory_order_acquire);
#else
	(void)t;
#endif
}

/* link.c: of struct tlb. */
void bt_cells_die(struct tlb *tlb, unsigned half);
void bt_cells_of(struct tlb *tlb, struct tlb_entry *entry);

/* What code_rip() takes for data that lies before the executable address of the code. */
static inline const uint8_t *bt_data(const struct bt *t, const void *data)
{
	return t->code.write_at + ((const uint8_t *)data - t->code.exec_at);
}

/* The cell of a place that leaves its page. */
static inline struct bt_cell *bt_cell_of(const struct bt *t, const struct bt_place *p)
{
	return (struct bt_cell *)(void *)(t->code.data + p->cell);
}

/* The executable address of what is written at `at`. */
static inline const uint8_t *bt_exec(const struct bt *t, const uint8_t *at)
{
	return t->code.exec_at + (at - t->code.write_at);
}

/* What lies before a block's code. */
static inline struct bt_head *bt_head(const struct bt *t, const uint8_t *native)
{
	uint8_t *code = t->code.write_at + (native - t->code.exec_at);

	return (struct bt_head *)(void *)code - 1;
}

/* bt.c: is code of the CPU's mode translated? */
bool bt_translatable(const struct interp *c);
bool bt_attention(const struct interp *c); /* somebody waits for the run loop */
/* Is the translation one for the half of the address space and the CPL of now? */
bool bt_fits(const struct interp *c, const struct block *b, uint64_t rip);
void bt_units_ok(const struct bt *t, struct interp *c);
/* Hints are no good when code is mapped differently, or executes with another CPL or width. `kept`:
 * bytes on top of them that stay. */
void bt_hints_check(struct bt *t, struct interp *c, unsigned kept);

/* hop.c: after the handler of an instruction that ended its block, or faulted: on with translated
 * code at x.target? Else *step is what the run loop has to be told. */
bool bt_hop(struct bt *t, struct interp *c, enum step *step);
/* The handler of a block's last instruction said STEP_LEAVE: may the translation go on behind its
 * call? `generation`: of mappings of code there, when it was called. */
bool bt_stays(const struct interp *c, uint64_t generation);

/* straddle.c: an instruction in two pages, not one outside of memory? */
bool bt_straddle_known(const struct block *b);
/* The bytes of `b` were just compared. false: its translation cannot run now. */
bool bt_straddle_ready(struct interp *c, const struct block *b);

/* torture.c: */
void bt_torture(struct bt *t, struct interp *c, unsigned torture); /* before bt_stubs() */
int bt_torture_slow(struct interp *c, uint32_t name);              /* bt_slow(), tortured */

/* bt.c */
enum step bt_execute(struct interp *c, struct block *b); /* struct interp's `execute` */
void bt_come_back(struct bt *t, struct interp *c); /* translated code ends with the next block */

/* bt.c: executes the instruction `name` by its handler. 0: go on; else BT_STEP + step. Called
 * by t->slow. */
int bt_slow(struct interp *c, uint32_t name);
/* The same of a group's leader, which leads no more if it cannot. Or it finds the group's page, and
 * is tried again. */
int bt_group_slow(struct interp *c, uint32_t name, uint32_t extent);

#endif
