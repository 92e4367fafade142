/*
 * trapeze.h - virtual machines as a library.
 *
 * A machine is one virtual CPU, memory at guest-physical addresses that you choose, and, when
 * you ask for it, the chips of a small PC. You run it for an exact number of instructions at a
 * time, on your own thread; nothing of the guest runs in between, and machines share no data.
 *
 *	trapeze_open -> trapeze_add_memory -> trapeze_write -> trapeze_enter
 *	             -> trapeze_run, again and again -> trapeze_close
 *
 * Errors: functions returning int return 0, or a negative errno value and, when `error` is not
 * NULL, one English sentence in *error. What a guest does is never an error: it ends a run.
 *
 * Threads: a machine belongs to one thread at a time (any); only trapeze_stop() may be called
 * meanwhile from another. Different machines may run on different threads.
 *
 * Addresses: `gva` is guest-linear (what the guest's own page tables translate), `gpa` is
 * guest-physical, `void *` is the host's. All sizes are bytes.
 *
 * Version 0: the interface may still change; the shared library's name carries the version.
 * Example: examples/four-guests.c. Tested by test/unit/api.c, test/api/four-guests.
 * SPDX-License-Identifier: MIT
 */
#ifndef TRAPEZE_H
#define TRAPEZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct trapeze; /* one virtual machine */

struct trapeze_error {
	int code; /* the negative errno value returned */
	char text[300];
};

/* Members that are zero mean the default, so new ones can be added. */
struct trapeze_config {
	const char *engine; /* a name as in `trapeze engines`; NULL or "auto": the best
			     * here that counts instructions */
	int counted; /* time is derived from retired instructions, and every run is repeatable */
	int pc;      /* with the chips of `trapeze run`'s PC (serial port, timers, interrupt
		      * controllers, ACPI power-off); else CPU and memory only */
	/* The guest printed (hypercall PRINT, one call each), or wrote to its serial port (pc).
	 * Called inside trapeze_run(), one at a time, on the thread of any CPU. The text is not NUL-terminated and is the guest's: any
	 * bytes. May be NULL. */
	void (*print)(void *arg, const char *text, size_t bytes);
	void (*serial)(void *arg, const char *text, size_t bytes);
	void *arg; /* handed to both */
	/* pc: network cards, each as `trapeze run --net` has it ("user", "user,forward=tcp:2222:22",
	 * "tap:tap0", "switch:/tmp/lan"); NULL ends the list. A network has a thread of its own, and
	 * a guest that waits for it in HLT is waited for: trapeze_stop() ends that. */
	const char *const *net;
	/* pc: CPUs, up to 64; 0: 1. Each has a thread while trapeze_run() runs, and its instruction
	 * limit is reached a little late; counted, they take turns on the caller's, and it is exact.
	 * Registers and translations asked for are the first one's, counts all ones'. */
	unsigned cpus;
};

/* "0.1.0"; static. */
const char *trapeze_version(void);

/*
 * A new machine without memory, its CPU at power-on. NULL and *error: -ENOENT no such engine,
 * -ENOTSUP this host cannot run it, -ENOMEM, -EINVAL or what the host says of a network. Strings in
 * *config are not kept.
 */
struct trapeze *trapeze_open(const struct trapeze_config *config, struct trapeze_error *error);
/* Frees everything but memory that the caller provided. NULL is allowed. */
void trapeze_close(struct trapeze *vm);

/*
 * Puts `bytes` of memory at `gpa`; both are multiples of 4096. `host` is that memory, aligned
 * to 4096, left to the machine until trapeze_close(); while the guest may have executed code
 * from it, change it with trapeze_write() only. NULL: allocated, zeroed, the machine's own.
 * `readonly`: the guest's writes have no effect. What is nowhere reads as all-ones.
 * -EINVAL not whole pages; -EEXIST overlaps memory added before; -ENOMEM.
 */
int trapeze_add_memory(struct trapeze *vm, uint64_t gpa, uint64_t bytes, void *host, int readonly,
		       struct trapeze_error *error);

/* Copies between the caller and memory, all or nothing; writes reach read-only memory too.
 * -EFAULT: not all of it is memory. */
int trapeze_read(struct trapeze *vm, uint64_t gpa, void *to, size_t bytes,
		 struct trapeze_error *error);
int trapeze_write(struct trapeze *vm, uint64_t gpa, const void *from, size_t bytes,
		  struct trapeze_error *error);

/* The CPU as far as a loader or debugger needs it. */
struct trapeze_regs {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags; /* bit 1 of RFLAGS is always set */
	uint64_t cr0, cr2, cr3, cr4, efer;
	struct {
		uint64_t base;
		uint16_t limit;
	} gdt, idt;
};

enum trapeze_mode {
	TRAPEZE_REAL16,      /* real mode: every segment's base is 0, its limit 64 KiB */
	TRAPEZE_PROTECTED32, /* flat 4 GiB segments at CPL 0; paging when CR0.PG (bit 31) is set */
	TRAPEZE_LONG64,      /* 64-bit code at CPL 0; CR3 names 4-level page tables */
};

/*
 * Power-on state but for what is given: *regs, and the mode's segments. CS has selector 0x08,
 * the data segments 0x10 (real mode: 0); a guest that takes exceptions or interrupts
 * needs the same two in a GDT of its own. Control bits that the mode stands for
 * are set or cleared for you. -EINVAL: no CPU can be in that state.
 */
int trapeze_enter(struct trapeze *vm, enum trapeze_mode mode, const struct trapeze_regs *regs,
		  struct trapeze_error *error);

/* The registers now, between two instructions; and changed ones, without changing the segments.
 * -EINVAL: no CPU can be in that state. */
void trapeze_get_regs(struct trapeze *vm, struct trapeze_regs *regs);
int trapeze_set_regs(struct trapeze *vm, const struct trapeze_regs *regs,
		     struct trapeze_error *error);

enum trapeze_reason {
	TRAPEZE_BUDGET,   /* all of the instructions asked for have retired */
	TRAPEZE_EXITED,   /* hypercall EXIT; status is what the guest gave */
	TRAPEZE_HALTED,   /* HLT with interrupts off, or with no timer set that would wake it */
	TRAPEZE_SHUTDOWN, /* triple fault: an exception that the guest could not take */
	TRAPEZE_POWEROFF, /* pc: ACPI S5 */
	TRAPEZE_RESET,    /* pc: the guest asked for a reset, which is the caller's to do */
	TRAPEZE_STOPPED,  /* trapeze_stop() */
	TRAPEZE_STORM,    /* 1000 exceptions in a row, and not one instruction of a handler */
};

struct trapeze_end {
	enum trapeze_reason reason;
	int status;            /* TRAPEZE_EXITED: 0 .. 0x7fffffff */
	uint64_t instructions; /* retired in this run */
};

/*
 * Runs at most `instructions` (UINT64_MAX: no limit), and on an engine that counts stops after
 * exactly that many. After any end but a failure it may be called again: after
 * TRAPEZE_HALTED and TRAPEZE_SHUTDOWN it ends at once in the same way. A guest whose every
 * exception raises another one, without a triple fault, retires nothing, and on an engine that
 * counts its run ends with TRAPEZE_STORM, unless another CPU goes on; the next run may find a way
 * out of it, by an interrupt or after 1000 more. On other engines only trapeze_stop() ends that.
 * A repeated string instruction counts once, when it is complete, however long that takes.
 * -EIO: the engine cannot go on; nothing but looking at the machine and closing it makes sense
 * then.
 */
int trapeze_run(struct trapeze *vm, uint64_t instructions, struct trapeze_end *end,
		struct trapeze_error *error);
/* Ends the run in progress, or else the next one, as soon as possible. Any thread; not from a
 * signal handler. */
void trapeze_stop(struct trapeze *vm);
/* "budget", "exited", ...; static. "?" for a number that is none. */
const char *trapeze_reason_name(enum trapeze_reason reason);

/*
 * Hypercalls (VMCALL or VMMCALL at CPL 0): number in RAX, arguments in RBX, RCX; the answer is
 * in RAX, negative values being errors.
 */
#define TRAPEZE_CALL_VERSION 0x54500000u /* answers 1 */
#define TRAPEZE_CALL_PRINT   0x54500001u /* RBX: gpa, RCX: bytes, at most 4096; answers RCX */
#define TRAPEZE_CALL_EXIT    0x54500002u /* RBX: status; ends the run */
#define TRAPEZE_CALL_YIELD   0x54500003u /* lets posted input and alarms have their turn */

/* Instructions retired since the machine was opened (or as the machine loaded says). */
uint64_t trapeze_instructions(const struct trapeze *vm);
/* How often guest execution was entered. A software engine goes on after most exits without. */
uint64_t trapeze_entries(const struct trapeze *vm);
/* What the guest needed the machine for, by reason: 0 .. trapeze_exit_reasons() - 1. Names
 * ("pio", "hypercall", ...) are static; NULL and 0 beyond the last. */
unsigned trapeze_exit_reasons(void);
const char *trapeze_exit_name(unsigned reason);
uint64_t trapeze_exit_count(const struct trapeze *vm, unsigned reason);

enum trapeze_access { TRAPEZE_READ, TRAPEZE_WRITE, TRAPEZE_EXECUTE };

/* First translation step, by the guest's page tables at its current privilege; accessed and
 * dirty bits stay as they are. -EFAULT: the access would be a page fault. */
int trapeze_gva_to_gpa(struct trapeze *vm, uint64_t gva, enum trapeze_access access, uint64_t *gpa,
		       struct trapeze_error *error);
/* Second step, by the machine's memory map: where these bytes are on the host until
 * trapeze_close(). -EFAULT: they are not all in one piece of memory. */
int trapeze_gpa_to_host(struct trapeze *vm, uint64_t gpa, uint64_t bytes, void **host,
			struct trapeze_error *error);

/*
 * Gives the whole machine - CPU, memory, chips - to `write` in portions, as a stream that does
 * not depend on the engine or the host. `write` returns 0, or a negative errno value,
 * which ends it and is returned.
 */
int trapeze_save(struct trapeze *vm, int (*write)(void *arg, const void *data, size_t bytes),
		 void *arg, struct trapeze_error *error);
/* Loads such a stream, however damaged or hostile, into a machine opened alike, with the same
 * memory. -EINVAL: it does not fit or is damaged; the machine may then only be closed. */
int trapeze_load(struct trapeze *vm, const void *data, size_t bytes, struct trapeze_error *error);
/* 128 bits over all that trapeze_save() would give: equal machines have equal hashes. */
int trapeze_hash(struct trapeze *vm, uint64_t hash[2], struct trapeze_error *error);

#ifdef __cplusplus
}
#endif

#endif
