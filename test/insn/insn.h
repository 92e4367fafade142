/*
 * insn.h - the instruction test: one generated case, run by the bare CPU and by an
 * engine, the interpreter or the translator.
 *
 * A case is a few code bytes with the whole user-visible register state and some bytes of
 * memory. Both sides have the same small set of pages, the sandbox, at the same linear addresses,
 * with nothing mapped around them, and both run at CPL 3 until an exception ends the case:
 * mostly the #BP of the INT3 bytes that fill the code pages. An outcome is that exception and all
 * that may have changed. The two outcomes must be equal, flags that the manuals leave undefined
 * included, because engines compute with the host's own arithmetic.
 *
 * generate.c and operand.c make cases, native.c runs them in a child process, guest.c on the
 * engine, compare.c tells the outcomes apart, main.c is the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_INSN_H
#define TEST_INSN_H

#include <Zydis/Zydis.h>

#include "cpu/state.h"

/*
 * The sandbox. Between the runs of pages are holes where nothing is mapped. It lies below
 * 2 GiB, so that 32-bit code and 32-bit displacements reach it. Code is readable,
 * writable and executable, the rest is not executable.
 */
/* IRETQ to a 16-bit stack loads only SP: the rest of RSP is that of where it was executed, so
 * that is at a known place, and cases with such a stack begin with that in RSP. */
#define ENTRY_AT 0x2b5a0000u
/*
 * All else that the native side has mapped: its program, and what both processes see. Fixed, and
 * nothing beside it, so that an address that a case makes up is either always missing there or, in
 * here, known to be found: such a case is not run natively.
 */
#define HOME_AT       UINT64_C(0x5a5a00000000) /* insn.mk has it, too */
#define HOME_SHARED   (HOME_AT + 0x1000000)
#define HOME_END      (HOME_AT + 0x8000000)
#define SANDBOX_START 0x10000000u
#define SANDBOX_END   0x10040000u
#define CODE_AT       0x10001000u
#define DATA_AT       0x10011000u
#define RO_AT         0x10021000u
#define STACK_AT      0x10031000u
#define PAGE_BYTES    4096u
/* X(address, executable, writable): in the order in which a view keeps them. */
#define SANDBOX_PAGES(X)                                                                           \
	X(CODE_AT, 1, 1)                                                                           \
	X(CODE_AT + PAGE_BYTES, 1, 1)                                                              \
	X(DATA_AT, 0, 1)                                                                           \
	X(DATA_AT + PAGE_BYTES, 0, 1)                                                              \
	X(RO_AT, 0, 0)                                                                             \
	X(STACK_AT, 0, 1)
#define PAGES      6
#define CODE_PAGES 2u
#define CODE_BYTES (CODE_PAGES * PAGE_BYTES)
#define DATA_BYTES (2 * PAGE_BYTES)

/* Selectors that user code has on Linux; the guest has the same. */
#define SEL_CODE32 0x23
#define SEL_DATA   0x2b
#define SEL_CODE64 0x33
/* The local descriptor table: X(index, base, limit, contents, read-only, 32-bit, absent), as in
 * struct user_desc of modify_ldt(2). */
#define LDT_ROWS(X)                                                                                \
	X(0, DATA_AT, DATA_BYTES - 1, 0, 0, 1, 0)                                                  \
	X(1, DATA_AT, PAGE_BYTES - 1, 1, 0, 1, 0) /* expand-down */                                \
	X(2, DATA_AT, DATA_BYTES - 1, 0, 1, 1, 0) /* read-only */                                  \
	X(3, CODE_AT, CODE_BYTES - 1, 2, 0, 0, 0) /* 16-bit code */                                \
	X(4, CODE_AT, CODE_BYTES - 1, 2, 0, 1, 0)                                                  \
	X(5, DATA_AT, DATA_BYTES - 1, 0, 0, 1, 1) /* not present */                                \
	X(6, STACK_AT, PAGE_BYTES - 1, 0, 0, 0, 0)                                                 \
	X(7, CODE_AT, CODE_BYTES - 1, 2, 1, 1, 0) /* execute-only */
#define LDT_COUNT  8
#define LDT_SEL(n) ((n) << 3 | 7)

#define INSN_BYTES 15
#define USER_END   ((UINT64_C(1) << 47) - PAGE_BYTES) /* TASK_SIZE_MAX */
#define CODE_MOST  64                                 /* code bytes of a case */
#define PATCHES    4
#define PATCH_MOST 64
#define DIFFS      64

/* Bytes of memory that a case sets; never across a page end, never in the read-only page. */
struct patch {
	uint32_t at;
	uint32_t bytes; /* 0: unused */
	uint8_t byte[PATCH_MOST];
};

/* What user code can see and change. st[].exp has only 16 bits. */
struct user_state {
	uint64_t gpr[GPR_COUNT], rip, rflags;
	uint64_t fs_base, gs_base;
	uint16_t selector[SEG_COUNT];
	struct x86_fpu fpu;
};

/* Why the native CPU is not asked. */
enum skip { SKIP_NONE, SKIP_EXPECT_UD, SKIP_EXPECT_GP, SKIP_ALTOGETHER };

struct insn_case {
	uint64_t seed, number;
	struct user_state in;
	struct patch patch[PATCHES]; /* code is the first */
	uint8_t bits;                /* 16, 32 or 64 */
	uint8_t skip;                /* enum skip */
	uint8_t count;               /* instructions in the block; 1: a single one */
	ZydisMnemonic mnemonic;      /* of the first instruction; 0: no valid one */
};

struct diff {
	uint32_t at;
	uint64_t now; /* eight bytes */
};

enum how { HOW_EXCEPTION, HOW_ENDLESS, HOW_SYSCALL, HOW_LOST };

struct outcome {
	uint8_t how; /* enum how */
	uint8_t vector;
	bool asked; /* guest: CPUID, RDRAND or RDSEED */
	uint32_t error;
	uint64_t cr2; /* #PF */
	struct user_state out;
	uint8_t code[INSN_BYTES]; /* guest: what is at RIP, where that is a code page */
	uint64_t memory;          /* hash over everything that changed */
	uint32_t changed;
	struct diff diff[DIFFS]; /* the first of the `changed` quadwords */
};

/* One side's sandbox. */
struct view {
	uint8_t *live[PAGES];
	uint8_t (*base)[PAGE_BYTES]; /* [PAGES]: what the case started with */
	/* Bytes of a code page are about to run that were written from outside. */
	void (*written)(void *arg, unsigned page, unsigned offset, unsigned bytes);
	void *arg;
};

/* memory.c */
extern const uint32_t page_at[PAGES];
int view_page(uint32_t at); /* index, or -1 */
/* Fills base and live with the contents every case starts from. */
void view_fill(struct view *v);
void view_begin(struct view *v, const struct insn_case *c); /* applies patches */
/* Notes in *o what changed since view_begin(), and puts everything back. */
void view_end(struct view *v, const struct insn_case *c, struct outcome *o);
/* The byte that every case finds at `at` before its patches. */
uint8_t view_initial(uint32_t at);
uint64_t ldt_descriptor(unsigned index);

/* random.c: everything about a case follows from (seed, number). */
struct rng {
	uint64_t s[4];
};
void rng_start(struct rng *r, uint64_t seed, uint64_t number);
uint64_t rng_next(struct rng *r);
/* 0 .. n-1 */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}
/* true with a chance of percent in 100 */
static inline bool rng_chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}
uint64_t rng_integer(struct rng *r, unsigned bytes);           /* boundary values and any others */
void rng_elements(struct rng *r, uint8_t *to, unsigned bytes); /* integers, floats, patterns */
void rng_fpu(struct rng *r, struct x86_fpu *f);

/* generate.c */
struct encoding {
	uint8_t byte[INSN_BYTES];
	uint8_t length;
	bool valid; /* z and op are filled in */
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};
void generate_init(void);
bool decode_bytes(unsigned bits, struct encoding *e, unsigned bytes);
/* A random encoding, mostly a valid one. */
void generate_encoding(struct rng *r, unsigned bits, struct encoding *e);
enum skip generate_skip(const struct encoding *e, unsigned bits);

/* operand.c: registers and memory such that the instruction mostly finds its operands. */
void operand_place(struct rng *r, struct insn_case *c, struct encoding *e);

/* make.c: so many of 100 cases are 64-bit code, and are blocks. */
struct mix {
	unsigned long_mode, blocks;
};
extern struct mix case_mix;
void make_case(struct insn_case *c, uint64_t seed, uint64_t number);

/* native.c: the child (bare/) runs `count` cases; outcomes of skipped ones are left alone. It says
 * that it is ready for cases, at first and after each range of them. */
struct native_word {
	int error;      /* errno, or 0 */
	char lacks[60]; /* what this host does not have; "": ready */
};
struct native;
#define NATIVE_WHY 200
/* NULL: this host cannot run cases, for the reason in why[]. */
struct native *native_open(unsigned most, char why[NATIVE_WHY]);
void native_close(struct native *n);
struct insn_case *native_case(struct native *n, unsigned k);
struct outcome *native_outcome(struct native *n, unsigned k);
void native_run(struct native *n, unsigned count);
/* What both processes see. */
struct native_shared {
	_Atomic unsigned current; /* the case the child is at */
	struct {
		struct insn_case c;
		struct outcome o;
	} slot[];
};
static inline size_t native_shared_bytes(unsigned most)
{
	return sizeof(struct native_shared) +
	       most * sizeof(((struct native_shared *)NULL)->slot[0]);
}

/* guest.c */
struct guest;
/* translator: engine bt, which translates everything when it first runs; else interp. */
struct guest *guest_open(bool translator);
void guest_close(struct guest *g);
void guest_run(struct guest *g, const struct insn_case *c, struct outcome *o);

/* compare.c. Has the mnemonic exceptions of its own there? Such come alone, not in blocks. */
bool peculiar(ZydisMnemonic m);
/* The bare CPU would not do the same, or what is its own would suffer: do not ask it. */
bool at_skipped(const struct insn_case *c, const struct outcome *g);
/* NULL: equal; else what is not. */
const char *compare(const struct insn_case *c, const struct outcome *native,
		    const struct outcome *guest);
/* whole: vector and x87 registers that do not change, too. */
void print_case(const struct insn_case *c, const struct outcome *native,
		const struct outcome *guest, bool whole);

#endif
