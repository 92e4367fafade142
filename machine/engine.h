/*
 * engine.h - the seam between the machine and whatever executes it.
 *
 * Five engines fill in this table: interp, bt (same-ISA translator), kvm, vmx,
 * svm. The run loop in machine/vcpu.c is the only caller:
 *
 *	inject pending event -> run() -> exit_handle() -> again
 *
 * State. While run() is not on the stack, get_state()/set_state() speak the
 * one architectural form, struct x86_state. An engine may cache state
 * privately; settle() finishes a half-done instruction first.
 *
 * Threads. kick() may come from any thread, with vm->wake_lock held. Everything taking a vcpu
 * runs on that vCPU's own thread, or while it is parked; run() and inject() inside the gate
 * (machine/gate.h). map()/unmap() run with every vCPU parked.
 *
 * Guest faults are not failures: an engine delivers them to the guest. The
 * int returns below report host trouble only (see host/fail.h).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_ENGINE_H
#define MACHINE_ENGINE_H

#include "cpu/state.h"
#include "machine/exit.h"
#include "machine/mem.h"

struct vm;
struct vcpu;
struct cpu_model;

#define ENGINE_SLOW 1 /* probe(): only when asked for by name */

enum engine_cap {
	ENGINE_DIRTY_LOG = 1 << 0,   /* dirty pages are tracked */
	ENGINE_STEP = 1 << 1,        /* can stop after one instruction */
	ENGINE_COUNTED = 1 << 2,     /* exact instruction count: replayable */
	ENGINE_THREADS = 1 << 3,     /* vCPUs may run on several threads */
	ENGINE_BHI_CONTROL = 1 << 4, /* machines that begin on it show it: struct cpuid_topology */
};

/*
 * What an engine may be told at its opening; each minds what it knows.
 *
 * Tortures, X(name in an enum, name as typed after --torture): a translator does in the ordinary
 * course what is rare, so that tests come there. The guest must not notice any of them.
 */
#define TORTURES(X)                                                                                \
	X(HOT, "hot")               /* translates code when it first runs */                       \
	X(NO_LINK, "no-link")       /* each block comes back to the run loop for the next */       \
	X(KICK, "kick")             /* the budget of translated code ends with each block */       \
	X(NO_TLB, "no-tlb")         /* the TLB is empty whenever it can be */                      \
	X(FLUSH, "flush")           /* the TLB is flushed at random */                             \
	X(EVICT, "evict")           /* translations are forgotten, region by region, at random */  \
	X(INVALIDATE, "invalidate") /* everything decoded and translated is forgotten at random */
enum torture {
#define X(name, typed) TORTURE_BIT_##name,
	TORTURES(X)
#undef X
		TORTURE_COUNT
};
#define TORTURE(name) (1u << TORTURE_BIT_##name)

/* Which interrupt controllers an engine may run itself: X(name in an enum, name as typed). */
#define IRQCHIPS(X)                                                                                \
	X(USER, "user")   /* none */                                                               \
	X(SPLIT, "split") /* the local APICs */                                                    \
	X(AUTO, "auto")   /* what is best where there are local APICs */
enum irqchip {
#define X(name, typed) IRQCHIP_##name,
	IRQCHIPS(X)
#undef X
};

struct engine_options {
	enum irqchip irqchip;
	bool dirty_ring; /* the dirty log costs what is written, not what there is, where it can */
	/* Bytes for code, decoded and translated. Of struct vm_config: all vCPUs', 0: default. Of
	 * struct vm: each vCPU's, from CODE_CACHE_LEAST on. */
	uint64_t code_cache;
	unsigned torture; /* TORTURE(name) bits */
	/* If set, a translator says which host code it has made: [at, +bytes) is `name`, and
	 * nothing that was there any more. Any vCPU's thread. */
	void (*code_made)(void *arg, const void *at, size_t bytes, const char *name);
	void *code_made_arg;
};
#define CODE_CACHE_LEAST   (UINT64_C(1) << 20)
#define CODE_CACHE_MOST    (UINT64_C(1) << 30) /* a direct jump reaches all of it */
#define CODE_CACHE_DEFAULT (UINT64_C(256) << 20)
#define CODE_CACHE_SMALL   (UINT64_C(64) << 20)
/* Of `bytes`, what is for translations. Of what is more than small, half is for decoded blocks,
 * which have a little of their own in any case. */
#define CODE_CACHE_TRANSLATED(bytes)                                                               \
	((bytes) <= CODE_CACHE_SMALL ? (bytes) : CODE_CACHE_SMALL + ((bytes)-CODE_CACHE_SMALL) / 2)

struct event {
	enum { EVENT_IRQ, EVENT_NMI } kind;
	uint8_t vector;
};

/* One figure of those that an engine keeps: `part`/`name`, or only `name` when part is NULL. Both
 * strings are constant. */
typedef void (*figure_fn)(void *arg, const char *part, const char *name, uint64_t value);

struct engine_ops {
	const char *name; /* as typed after --engine */
	unsigned caps;    /* enum engine_cap */

	/* 0 if this host can run it, and ENGINE_SLOW if it can, but so slowly that another is
	 * better: *why may then say what was found. Else -E* and why not, for a person. */
	int (*probe)(struct fail *why);
	/* The best CPU model the engine can show on this host, or NULL with *why; and the one TSC
	 * frequency it can show, 0: any. Both may be NULL: as software engines. */
	const struct cpu_model *(*cpu_model)(struct fail *why);
	uint64_t (*tsc_khz)(void);

	int (*vm_open)(struct vm *vm, struct fail *why);
	void (*vm_close)(struct vm *vm);
	int (*map)(struct vm *vm, const struct mem_slot *slot);
	void (*unmap)(struct vm *vm, const struct mem_slot *slot);

	/* From now on (or no longer) a write of the guest to `at` rings `fd`, see host_bell_ring(),
	 * instead of leaving the guest. Device lock held; any thread. 0, or -E*: it leaves it.
	 * NULL: cannot. */
	int (*bell)(struct vm *vm, gpa_t at, int fd, bool on);

	int (*vcpu_open)(struct vcpu *vcpu, struct fail *why);
	void (*vcpu_close)(struct vcpu *vcpu);

	/*
	 * Runs the guest until something needs the machine, then describes it
	 * in *exit. Ends with EXIT_BUDGET after exactly vcpu->budget retired
	 * instructions (ENGINE_COUNTED engines; others treat it as a hint) and
	 * with EXIT_KICK when kicked or when vcpu->notice is set. One that
	 * counts calls storm_event() and heeds it: machine/storm.h.
	 */
	int (*run)(struct vcpu *vcpu, struct exit *exit);

	/* Makes a run() in progress, or the next one, return EXIT_KICK. Any thread. */
	void (*kick)(struct vcpu *vcpu);

	/*
	 * Finishes a half-done instruction without running the next one, so that get_state() tells
	 * the state between two instructions. May call exit_handle(). NULL: never half done.
	 */
	int (*settle)(struct vcpu *vcpu, struct exit *exit);
	/* Every vCPU is settled, and none runs: what the engine keeps that is no vCPU's alone (the
	 * local APICs, and with them who sleeps) becomes the machine's again, until the next run().
	 * 0, or -E* and vCPU 0's trouble. NULL: it keeps nothing. */
	int (*give_back)(struct vm *vm);

	/* Can an interrupt be delivered before the next instruction? (IF, shadows, NMI mask,
	 * no exception already pending.) */
	bool (*can_inject)(struct vcpu *vcpu, const struct event *event);
	/* Delivers it: the next instruction to run is the handler's first. Only after can_inject.
	 */
	int (*inject)(struct vcpu *vcpu, const struct event *event);

	/* Retired instructions since reset. */
	uint64_t (*instructions)(const struct vcpu *vcpu);

	void (*get_state)(struct vcpu *vcpu, struct x86_state *out);
	int (*set_state)(struct vcpu *vcpu, const struct x86_state *in, struct fail *why);

	/* Drops everything cached about the guest (TLB, decoded code): a snapshot was taken. */
	void (*forget)(struct vcpu *vcpu);

	/* Forgets what it knows of the guest's linear addresses: another vCPU changed page tables.
	 * NULL: guests are never told that they may leave that to the machine (steal.h). */
	void (*flush_tlb)(struct vcpu *vcpu);
	/* The guest wrote `msr` to MSR_KVM_STEAL_TIME. true: from now on the engine does what that
	 * asks for. NULL: the machine does. */
	bool (*steal_time)(struct vcpu *vcpu, uint64_t msr);
	/* false: on this host a guest's VMCALL does not come out. NULL: it does. */
	bool (*hypercalls)(void);

	/* For --stats: tells what the engine counted for this vCPU since it was opened, the figures
	 * of a part one after the other. They form the object `figures_name`. Not while vm_run is
	 * on the stack. Both NULL: it counts nothing. */
	const char *figures_name;
	void (*figures)(const struct vcpu *vcpu, figure_fn tell, void *arg);
};

#endif
