/*
 * exit.h - why a vCPU needs the machine: one vocabulary for all engines, so
 * that devices, traces, statistics and tests never learn which engine is
 * underneath.
 *
 * A hardware engine returns the exit from run(); a software engine may call
 * exit_handle() from inside the instruction. Both end in the same table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_EXIT_H
#define MACHINE_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/addr.h"

struct vcpu;

/* X(name, text). The enum, exit_name(), the handler table and the counters come from this. */
#define EXIT_REASONS(X)                                                                            \
	X(KICK, "kick", "another thread or a due event asked for attention")                       \
	X(BUDGET, "budget", "the instruction budget is used up")                                   \
	X(PIO, "pio", "IN or OUT to an emulated port")                                             \
	X(MMIO, "mmio", "load or store outside RAM and ROM")                                       \
	X(CPUID, "cpuid", "CPUID")                                                                 \
	X(RDMSR, "rdmsr", "RDMSR")                                                                 \
	X(WRMSR, "wrmsr", "WRMSR")                                                                 \
	X(HYPERCALL, "hypercall", "VMCALL or VMMCALL")                                             \
	X(HLT, "hlt", "HLT with nothing to deliver")                                               \
	X(IRQ_WINDOW, "irq_window", "a held interrupt can now be injected")                        \
	X(DEBUG, "debug", "breakpoint or single step for the monitor's debugger")                  \
	X(SHUTDOWN, "shutdown", "triple fault")                                                    \
	X(STUCK, "stuck", "the engine cannot go on; see exit.stuck")                               \
	/* Handled inside a software engine, counted under these names. */                         \
	X(CONTROL_REG, "control_reg", "MOV to or from CR, CLTS, LMSW, XSETBV")                     \
	X(DEBUG_REG, "debug_reg", "MOV to or from DR")                                             \
	X(TLB_FLUSH, "tlb_flush", "INVLPG, INVPCID, WBINVD and the like")                          \
	X(INTERRUPT, "interrupt", "external interrupt or NMI delivered to the guest")              \
	X(EXCEPTION, "exception", "exception delivered to the guest")                              \
	X(TASK_SWITCH, "task_switch", "hardware task switch")

enum exit_reason {
#define X(name, id, text) EXIT_##name,
	EXIT_REASONS(X)
#undef X
		EXIT_REASON_COUNT
};

/* One access on a bus. Reads fill `data`; unused high bytes are zero. */
struct io_access {
	uint64_t addr; /* port number, or guest-physical address */
	uint64_t data;
	uint8_t size; /* bytes: 1, 2, 4 or 8 (port: up to 4) */
	bool write;
};

struct exit {
	enum exit_reason reason;
	union {
		struct io_access io; /* PIO, MMIO */
		struct {
			uint32_t leaf, sub;
			uint32_t eax, ebx, ecx, edx; /* the answer */
		} cpuid;
		struct {
			uint32_t index;
			uint64_t value;
			bool fault; /* answer: deliver #GP(0) instead */
		} msr;
		struct {
			/* RAX; RBX, RCX, RDX, RSI. Only 32 bits of each outside 64-bit mode. */
			uint64_t number, arg[4];
			uint8_t cpl;
			bool wide; /* 64-bit mode */
			uint64_t result;
		} hypercall;
		struct {
			uint32_t hw_reason;
			uint64_t info[2];
		} stuck;
	};
};

/* "pio", as in --stats; and a sentence. */
const char *exit_name(enum exit_reason reason);
const char *exit_text(enum exit_reason reason);

/* Counts and handles one exit; the answer goes back into *exit. vCPU thread. */
void exit_handle(struct vcpu *vcpu, struct exit *exit);
/* Counts one event that the engine handled itself. */
void exit_count(struct vcpu *vcpu, enum exit_reason reason);

#endif
