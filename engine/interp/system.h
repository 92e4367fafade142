/*
 * system.h - what the files of privileged and mode-changing instructions share.
 *
 * Two building blocks: a descriptor fetched with its checks, and a stack that is not
 * (yet) the current one. Everything is checked and pushed through them first; registers
 * are assigned only when nothing can fault any more.
 *
 * `ext` is bit 0 of the error codes raised meanwhile: 1 while an exception, an
 * interrupt or INT1 is being delivered, else 0 (SDM vol. 3 6.13).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_SYSTEM_H
#define ENGINE_INTERP_SYSTEM_H

#include "engine/interp/bind.h"
#include "engine/interp/interp.h"
#include "engine/interp/mem.h"

/* System segment and gate types, SDM vol. 3 table 3-2. */
enum system_type {
	TYPE_TSS16 = 1,
	TYPE_LDT = 2,
	TYPE_TSS16_BUSY = 3,
	TYPE_CALL16 = 4,
	TYPE_TASK_GATE = 5,
	TYPE_INT16 = 6,
	TYPE_TRAP16 = 7,
	TYPE_TSS32 = 9, /* 64-bit TSS in long mode */
	TYPE_TSS32_BUSY = 11,
	TYPE_CALL32 = 12, /* 64-bit call gate in long mode */
	TYPE_INT32 = 14,
	TYPE_TRAP32 = 15,
};
#define TYPE_BUSY 2u

struct descriptor {
	uint64_t raw;
	struct x86_seg seg; /* unpacked; 16-byte forms: with the whole base */
	uint64_t linear;    /* where it was read */
};

static inline bool is_system(const struct x86_seg *seg)
{
	return !(seg->attr & SEG_S);
}
static inline bool is_code(const struct x86_seg *seg)
{
	return (seg->attr & (SEG_S | SEG_CODE)) == (SEG_S | SEG_CODE);
}
static inline bool is_conforming(const struct x86_seg *seg)
{
	return is_code(seg) && (seg->attr & SEG_DOWN);
}
static inline bool is_null(uint16_t selector)
{
	return (selector & 0xfffc) == 0;
}
static inline uint32_t selector_error(uint16_t selector, uint32_t ext)
{
	return (selector & 0xfffcu) | ext;
}
static inline bool in_real_or_v86(const struct interp *c)
{
	return x86_real_mode(&c->s) || x86_v86(&c->s);
}
static inline uint64_t size_mask(unsigned bytes)
{
	return bytes >= 8 ? ~UINT64_C(0) : (UINT64_C(1) << (bytes * 8)) - 1;
}
/* Where the guest goes on after `i`. 16-bit code runs on beyond 64 KiB if its limit allows. */
static inline uint64_t rip_after(const struct interp *c, const struct insn *i)
{
	return c->code_bits == 64 ? insn_next_rip(c, i) : (uint32_t)insn_next_rip(c, i);
}
/* A base plus an offset as a linear address: 32 bits wide outside long mode. */
static inline uint64_t linear_of(const struct interp *c, uint64_t address)
{
	return x86_long_mode(&c->s) ? address : (uint32_t)address;
}
/* A number of bytes that the compiler does not know would be copied byte by byte, and what was
 * stored whole waited for. */
static inline void set_reg(struct interp *c, uint8_t offset, unsigned bytes, uint64_t value)
{
	void *to = reg_at(c, offset);

	switch (bytes) {
	case 4: value = (uint32_t)value; /* fall through */
	case 8: __builtin_memcpy(to, &value, 8); break;
	default: __builtin_memcpy(to, &value, bytes); break;
	}
}
static inline uint64_t get_reg(struct interp *c, uint8_t offset, unsigned bytes)
{
	const void *from = reg_at(c, offset);
	uint64_t value = 0;

	switch (bytes) {
	case 8: __builtin_memcpy(&value, from, 8); break;
	case 4: __builtin_memcpy(&value, from, 4); break;
	default: __builtin_memcpy(&value, from, bytes); break;
	}
	return value;
}

/* descriptor.c. Each returns false with c->fault recorded. */
/* Fetches `selector` from its table; outside the table: `v` with the selector. */
bool descriptor_read(struct interp *c, uint16_t selector, enum vector v, uint32_t ext,
		     struct descriptor *d);
/* The same without the fault: *found says whether it is in the table; only #PF fails. */
bool descriptor_peek(struct interp *c, uint16_t selector, struct descriptor *d, bool *found);
/* Long mode: the upper half of a 16-byte descriptor, into seg.base or *upper. */
bool descriptor_upper(struct interp *c, struct descriptor *d, enum vector v, uint32_t ext,
		      uint64_t *upper);
bool descriptor_set_accessed(struct interp *c, struct descriptor *d);
/* Sets or clears the busy bit of the TSS descriptor at `linear`, whose type is `type`. */
bool descriptor_set_busy(struct interp *c, uint64_t linear, bool busy);
/* CS of a RET, IRET or transfer that passed its privilege checks: may it be loaded, with
 * `rip` as its first instruction? `cpl` becomes its RPL. Sets the accessed bit. */
bool code_check_target(struct interp *c, const struct x86_seg *cs, uint64_t rip, uint32_t ext);
/* Checks of RET and IRET on the popped CS; the descriptor is returned with its RPL. */
bool code_read_return(struct interp *c, uint16_t selector, struct descriptor *d);
/* SS for a known privilege level; the vectors are those of its caller. */
bool stack_read_segment(struct interp *c, uint16_t selector, unsigned cpl, enum vector v,
			uint32_t ext, struct descriptor *d);
/* SS as 64-bit mode has it after a change of privilege: null, RPL = DPL = cpl. */
struct x86_seg stack_null_segment(unsigned cpl);

struct stack {
	struct x86_seg seg;
	uint64_t sp;
	uint64_t mask;  /* bits of sp that move */
	uint32_t error; /* of #SS */
	bool flat;      /* 64-bit: no segment */
	bool user;
	bool event;     /* pushed by the delivery of an event: no #AC, no data breakpoint */
};
struct stack stack_current(const struct interp *c);
struct stack stack_flat(const struct interp *c, uint64_t sp, unsigned cpl, uint32_t error);
struct stack stack_new(const struct x86_seg *ss, uint64_t sp, unsigned cpl, uint32_t error);
bool stack_push(struct interp *c, struct stack *st, unsigned size, uint64_t value);
bool stack_pop(struct interp *c, struct stack *st, unsigned size, uint64_t *value);
static inline void stack_skip(struct stack *st, uint64_t bytes)
{
	st->sp = (st->sp & ~st->mask) | ((st->sp + bytes) & st->mask);
}
/* RSP becomes st->sp, at the width of the stack. */
void stack_commit(struct interp *c, const struct stack *st);
/* Stack pointer (and SS) of ring `cpl`, or of IST `ist`, from the TSS. */
bool stack_from_tss(struct interp *c, unsigned cpl, uint32_t ext, uint16_t *ss, uint64_t *sp);
bool stack_from_tss64(struct interp *c, unsigned slot_offset, uint32_t ext, uint64_t *sp);
/* After a return to an outer ring: data segments the new CPL may not see become null,
 * null selectors 0. */
void segments_drop_inner(struct interp *c, unsigned cpl);

/* far.c: m16:16, m16:32 or m16:64. */
bool far_pointer(struct interp *c, const struct insn *i, uint16_t *selector, uint64_t *offset);
/* segment_ops.c: the whole of MOV Sreg but for the interrupt shadow. */
bool segment_load(struct interp *c, enum seg seg, uint16_t selector);

/* exception.c and task.c */
enum outcome {
	OUTCOME_DONE,
	OUTCOME_FAULT, /* c->fault; nothing has changed */
	OUTCOME_LATE,  /* c->fault; but the task has been switched: RIP is the new task's */
};
struct delivery {
	uint64_t rip;    /* to be returned to */
	uint64_t rflags; /* image to be pushed */
	uint32_t error, ext;
	uint8_t vector;
	bool has_error;
	bool soft; /* the gate's DPL is checked */
};
/* Registers once an event's frame is written. */
void event_enter(struct interp *c, const struct x86_seg *cs, uint64_t rip, bool interrupt_gate);

/* quick.c: the usual cases, of 64-bit kernels. false: it is another, and nothing has changed. */
bool event_quick(struct interp *c, const struct delivery *e);
struct iret_frame {
	uint64_t rip, rflags, sp;
	struct x86_seg cs, ss;
};
/* Finds what IRET loads; loads nothing. */
bool iret_quick(struct interp *c, const struct insn *i, struct iret_frame *f);

enum task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };
/* Descriptor checks of a TSS named by an instruction, a task gate or a back link. */
bool task_find(struct interp *c, uint16_t selector, enum vector v, uint32_t ext, bool busy,
	       struct descriptor *d);
enum outcome task_switch(struct interp *c, const struct descriptor *tss, enum task_reason why,
			 const struct delivery *e);
/* Step of an instruction that ended with `o`; LATE faults are delivered here. */
enum step outcome_step(struct interp *c, enum outcome o);

/* control_regs.c */
/* Loads the PDPTEs that `cr3` names. false: #GP(0) recorded. */
bool control_load_pdpte(struct interp *c, struct x86_state *s, uint64_t cr3);

/* debug.c: a #DB trap with these DR6 bits comes before the next instruction, whatever that
 * is: run() has to be left for it. */
void debug_pend(struct interp *c, uint64_t bits);

/* Is a port access allowed (IOPL, TSS bitmap)? false: the fault is recorded. */
bool port_allowed(struct interp *c, uint16_t port, unsigned size);

/* Handlers, by file; bound in system.c. */
#define HANDLERS(X)                                                                                \
	/* exception.c */                                                                          \
	X(int_n) X(int_3) X(int_o) X(int_1)                                                        \
	/* far.c, iret.c */                                                                        \
	X(far_jmp) X(far_call) X(far_ret) X(iret)                                                  \
	/* control_regs.c */                                                                       \
	X(mov_to_cr) X(mov_from_cr) X(lmsw) X(smsw) X(clts) X(xsetbv) X(xgetbv) X(rdpkru)          \
	X(wrpkru) X(invlpg) X(invpcid) X(wbinvd)                                                   \
	/* debug.c */                                                                              \
	X(mov_to_dr) X(mov_from_dr)                                                                \
	/* flags.c */                                                                              \
	X(cli) X(sti) X(clac) X(stac) X(pushf) X(popf)                                             \
	/* segment_ops.c */                                                                        \
	X(mov_to_seg) X(mov_from_seg) X(push_seg) X(pop_seg) X(load_far_pointer)                   \
	/* descriptor_ops.c */                                                                     \
	X(lgdt) X(lidt) X(sgdt) X(sidt) X(lldt) X(sldt) X(ltr) X(str) X(lar) X(lsl) X(verr)        \
	X(verw) X(arpl)                                                                            \
	/* syscall.c */                                                                            \
	X(syscall64) X(sysret) X(sysenter) X(sysexit) X(swapgs) X(rdfsgsbase) X(wrfsgsbase)        \
	/* io.c */                                                                                 \
	X(port_in) X(port_out) X(port_ins) X(port_outs)                                            \
	/* msr.c */                                                                                \
	X(cpuid) X(rdmsr) X(wrmsr) X(rdtsc) X(rdtscp) X(rdpmc) X(vmcall) X(hlt) \
	X(monitor) X(mwait)
#define X(name) enum step name(struct interp *c, const struct insn *i);
HANDLERS(X)
#undef X

/* syscall.c: CS and SS as SYSCALL, and SYSRET of either width, load them. */
#define SYSRET_KEPT UINT64_C(0x3c7fd7) /* flags that SYSRET takes from R11 */
void syscall_segments(const struct x86_state *s, struct x86_seg pair[2]);
void sysret_segments(const struct x86_state *s, bool wide, struct x86_seg pair[2]);

#endif
