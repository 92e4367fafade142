/*
 * vm.h - one virtual machine: its vCPUs, memory, buses, clock and lines.
 *
 * Nothing here is global: any number of machines live in one process.
 *
 * Several vCPUs have a thread each (machine/crew.h, machine/gate.h); or they take turns on one
 * (machine/turns.h), which makes two counted runs alike.
 *
 * Lock order: host/order.h. Code that has the device lock never takes it again: devices are entered
 * from bus.c and clock.c alone.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_VM_H
#define MACHINE_VM_H

#include <stdatomic.h>

#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "host/host.h"
#include "machine/bells.h"
#include "machine/bus.h"
#include "machine/clock.h"
#include "machine/crew.h"
#include "machine/device.h"
#include "machine/engine.h"
#include "machine/exit.h"
#include "machine/gate.h"
#include "machine/irq.h"
#include "machine/mem.h"
#include "machine/steal.h"
#include "machine/storm.h"
#include "machine/switch.h"
#include "machine/turns.h"

#define VCPUS_MAX 64

struct vcpu {
	struct vm *vm;
	unsigned index;
	void *engine;            /* the engine's own per-vCPU data */
	uint64_t budget;         /* instructions run() may retire before EXIT_BUDGET */
	const uint64_t *retired; /* the engine's instruction counter: time is read through it */
	atomic_bool notice;      /* look again: interrupt, event or request waits. A software engine
				  * returns EXIT_KICK before the next instruction when an exit it
				  * handled inside an instruction has set it, and at the next block
				  * boundary when another thread did */
	/* The processor itself executes guest code, and so does not see `notice`: vm_wake() then
	 * calls the engine's kick() too. Set and cleared by such an engine's run(). */
	atomic_bool in_guest;
	bool want_window; /* run() returns EXIT_IRQ_WINDOW as soon as an interrupt can be injected
			   */
	const struct intc_ops *intc;
	void *intc_arg;
	uint64_t entries; /* calls of the engine's run() */
	uint64_t exits[EXIT_REASON_COUNT];
	/* Not while vm->hands_free, unless the engine has yet to be told. */
	bool halted;    /* in HLT: woken by an interrupt */
	bool wait_sipi; /* in the state after INIT: woken by a SIPI only */
	/* machine/irq.c. Set with the device lock held */
	atomic_bool nmi_waiting, init_waiting, sipi_waiting;
	uint8_t sipi_vector;
	/* Its thread, unless that is vm_run()'s, and where it sleeps (wake_lock). When vCPUs take
	 * turns all sleep as vCPU 0. */
	struct host_thread *thread;
	struct host_cond *wake;
	atomic_bool sleeping;
	bool woken;
	bool deaf;          /* asleep, and nothing from outside can end that: wake_lock */
	atomic_bool inside; /* machine/gate.h */
	unsigned pauses;    /* PAUSE instructions, modulo 2^32 */
	uint64_t gate_seen; /* closings of the gate that its thread knows of */
	/* Guest TSC = clock_tsc() + this. The machine's view of the x86_state member of the same
	 * name: set by vcpu_set_state() and vcpu_tsc_moved(). */
	uint64_t tsc_offset;
	/* KVM paravirtual clock (machine/kvmclock.c). */
	uint64_t kvm_system_time;
	uint32_t kvm_clock_version;
	/* KVM_HC_KICK_CPU: ends its HLT, or the next one. Set by any thread. */
	atomic_bool kicked;
	struct storm storm; /* events since an instruction retired */
	/* KVM steal time (machine/steal.c). The second: virtual ns since when it could run and has
	 * not its turn; 0: it has, or cannot. Not state: */
	uint64_t kvm_steal_time, steal_since;
	bool steal_elsewhere, away; /* the engine does it; the guest is told that it does not run */
	uint64_t steal_looked, steal_used; /* host ns and its thread's processor time; 0: not yet */
	struct fail trouble; /* what went wrong, from an engine whose run() or inject() fails */
};

/* What a hypercall may do beyond the machine: print, exit. Set by the embedder; may be NULL. */
struct vm_hooks {
	void (*print)(void *arg, const char *text, size_t bytes);
	void *arg;
};

struct posted; /* machine/post.c */

struct vm_config {
	const struct engine_ops *engine;
	const struct cpu_model *cpu; /* NULL: the default model */
	unsigned vcpus;              /* 1 .. VCPUS_MAX */
	bool counted;
	uint64_t tsc_khz;     /* 0: 1,000,000 */
	uint64_t wall_ns;     /* wall clock at power-on; 0: the host's (counted: a fixed date) */
	unsigned trace;       /* enum trace_topic bits */
	uint64_t slice;       /* 0: the default */
	bool no_kvm_services; /* vm.kvm_services: not even to several vCPUs */
	struct engine_options engine_options;
};

struct vm {
	const struct engine_ops *engine;
	struct engine_options engine_options; /* of every engine that it will have */
	void *engine_data;
	bool engine_open; /* vm_open() succeeded: vm_close() is owed */
	const struct cpu_model *cpu_model;
	struct mem mem;
	struct bus port, mmio;
	struct clock clock;
	struct irq irq;
	struct device *devices, **devices_tail;
	struct vcpu *vcpu[VCPUS_MAX];
	unsigned vcpus, vcpus_planned; /* so many when all are open */
	struct turns turns;            /* machine/turns.h */
	struct crew crew;              /* machine/crew.h */
	struct vcpu_gate gate;         /* machine/gate.h */
	/* Instructions that all have retired, and at which vCPU 0 has to look: while a crew runs.
	 */
	atomic_ullong retired, limit;
	struct host_mutex *lock;  /* the device lock */
	struct host_ahead *ahead; /* for engines, which settle it before they unmap anything */
	/* Whose access the bus is performing; NULL: not a vCPU's. Device lock held. For what
	 * answers each CPU differently at one address: the local APIC page. */
	struct vcpu *accessing;
	struct posted *posted;
	_Atomic(struct bells *) bells; /* machine/bells.h; NULL: none */
	atomic_bool bells_run; /* the guest runs: its bell thread may change the machine. Device
				  lock to change */
	/* The engine has the local APICs. Messages reach the guest without its vCPU's thread, and
	 * who sleeps sleeps in run(). Device lock to change. */
	atomic_bool hands_free;
	atomic_bool stand_still; /* vm_stand_still() */
	atomic_bool rung;        /* some device's `rung` is set */
	atomic_uint expected;    /* operations of backends that will ring: device_expect() */
	unsigned trace;
	struct vm_hooks hooks;

	/* The stop request: the first one wins until vm_run returns; but a quit wins over what
	 * would only restart the guest. Set with wake_lock held. */
	_Atomic(int) request; /* enum vm_request */
	_Atomic(int) request_status;
	atomic_uint blamed; /* index of the vCPU that crashed or got stuck last */
	bool no_reboot;
	bool halt_ends;          /* a CPU halted for ever ends the run (VM_HALTED) */
	bool storm_ends;         /* so do vCPUs that only take exceptions (VM_STORM): storm.h */
	bool connected;          /* to more than a console: input may come from there at any time */
	atomic_bool input_ended; /* nothing more will be posted: vm_input_ended() */
	/* Called after a reset to put the boot image back; 0, or the run ends (VM_STUCK). NULL: a
	 * reset ends the run. Set by the board. */
	int (*booted)(void *arg, struct fail *why);
	void *booted_arg;
	uint64_t stop_at;         /* retired instructions; UINT64_MAX: never */
	struct switches switches; /* machine/switch.c */
	uint64_t kvm_wall_msr;
	/* CPUID offers what KVM does for guests of several vCPUs: kicks, messages and yields by
	 * hypercall (hypercall.h), steal time and the flag beside it (steal.h). */
	bool kvm_services;
	bool bhi_control; /* and BHI_CTRL: as its first engine did, on each that it comes to */
	/* Most instructions one run() may retire before the loop looks around; with several vCPUs
	 * on one thread, those of a turn. */
	uint64_t slice;
	uint64_t trace_lines, trace_second; /* rate limit of device_trace */
	struct host_mutex *wake_lock;
	atomic_uint pauses; /* vm_pause() less vm_resume(); changed with wake_lock held */
	struct host_cond *resumed;
	atomic_bool stood_still; /* while time went on, and the guest has not been told */
};

/* Opens the machine with its vCPUs (no memory, no devices). NULL and *why on failure. */
struct vm *vm_open(const struct vm_config *config, struct fail *why);
void vm_close(struct vm *vm);

/* Power-on reset of every vCPU and device. Memory is kept. */
void vm_reset(struct vm *vm);

/*
 * Runs the machine on the calling thread until a request ends it, or until its vCPUs have
 * retired `instructions` more (UINT64_MAX: no limit; then VM_NONE is returned).
 * Returns the request; *status its status. Resets (unless no_reboot) are handled inside.
 * VM_STUCK with *status -E* and *why: the host failed; with *status 0 the engine has said what
 * it cannot do.
 */
enum vm_request vm_run(struct vm *vm, uint64_t instructions, int *status, struct fail *why);

/* Any thread; not from a signal handler (it may take a lock). */
void vm_request(struct vm *vm, enum vm_request what, int status);
/* Nothing more comes from outside: a CPU that could only wait for that is halted for ever. After
 * the last device_post(). Any thread. */
void vm_input_ended(struct vm *vm);
/* No alarm is set, and nothing comes from outside: who is idle may stay so for ever. */
bool vm_quiet(const struct vm *vm);
/* Wakes a halted vCPU and sets notice. Any thread. */
void vm_wake(struct vm *vm, unsigned vcpu_index);
/* The same, for what is the machine's affair: a vCPU that runs or sleeps now will look. Any
 * thread. */
void vm_look(struct vm *vm);
/* The machine stands still once, soon, and goes on: what its engine knows alone is looked at then.
 * Any thread. */
void vm_stand_still(struct vm *vm);
/* Instructions that all vCPUs together have retired. vCPUs parked, or vCPU 0's thread. */
uint64_t vm_retired(const struct vm *vm);

/*
 * Something outside that the guest cannot know of has to be put right first: every vCPU stands
 * still from its next instruction boundary on, until there was a vm_resume() for each vm_pause(),
 * or until a request ends the run. Input waits. The host's time, and with it the guest's, goes on,
 * as it does for a stopped process, and the guest is told so (kvmclock.h); a counted machine's
 * stands. Any thread; neither waits for the vCPUs.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
/* This process itself was stopped, and goes on. Any thread. */
void vm_stood_still(struct vm *vm);
/* The run loop's part: returns when the machine is not paused, or a request waits. vCPU thread, no
 * lock held. */
void vm_wait_resumed(struct vm *vm);

/* Do a guest's hypercalls reach the machine under the present engine? */
bool vm_hypercalls(const struct vm *vm);
/* What CPUID answers on this vCPU; `s` gives the dynamic bits. */
struct cpuid_answer vcpu_cpuid(struct vcpu *vcpu, const struct x86_state *s, uint32_t leaf,
			       uint32_t sub);

/* The guest's time-stamp counter: RDTSC, RDTSCP, RDMSR of TSC. vCPU thread. */
uint64_t vcpu_tsc(const struct vcpu *vcpu);
/* WRMSR of TSC, for the engine that holds `s`: the offset changes, and TSC_ADJUST by as
 * much (SDM vol. 3 18.17.3). vCPU thread, lock not held. */
void vcpu_set_tsc(struct vcpu *vcpu, struct x86_state *s, uint64_t value);
/* The guest set its TSC (WRMSR to TSC or TSC_ADJUST): the engine tells the machine, whose
 * TSC-deadline timer and paravirtual clock follow. vCPU thread, lock not held. */
void vcpu_tsc_moved(struct vcpu *vcpu, uint64_t tsc_offset);

/* The architectural state of a vCPU, whatever the engine. Not while vm_run is on the stack. */
void vcpu_get_state(struct vcpu *vcpu, struct x86_state *out);
int vcpu_set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why);
/* Finishes the instruction whose exit was handled last: before its state is asked for. vm_run()
 * has done so when it returns. 0, or host trouble in vcpu->trouble. */
int vcpu_settle(struct vcpu *vcpu);
/* After all have been settled, and while none runs: what rang is heard, and what the engine keeps
 * of the machine comes back. 0, or host trouble in vCPU 0's trouble. */
int vm_rest(struct vm *vm);
/* One round of the run loop: takes what waits, and runs the vCPU until its engine returns, at
 * most `left` instructions. Its thread. 0, or host trouble. */
int vcpu_round(struct vcpu *vcpu, uint64_t left);
/* Interrupts are off, and no line leads to an NMI: nothing from outside reaches this idle CPU. The
 * thread that runs it. */
bool vcpu_deaf(struct vcpu *vcpu);
/* The guest waits in a loop (PAUSE): others may run. true: its turn is over, run() shall return.
 * vCPU thread, inside the gate. */
bool vcpu_pauses(struct vcpu *vcpu);
/* Registers, segments and code bytes, as the unknown-exit dump prints them, to standard error. */
void vcpu_dump(struct vcpu *vcpu);

/* Trace topics: X(name). --trace takes the lower-case names, comma-separated. */
#define TRACE_TOPICS(X)                                                                            \
	X(exits)                                                                                   \
	X(irq)                                                                                     \
	X(devices)                                                                                 \
	X(exceptions)                                                                              \
	X(boot)                                                                                    \
	X(translate)
enum trace_topic {
#define X(name) TRACE_BIT_##name,
	TRACE_TOPICS(X)
#undef X
		TRACE_TOPIC_COUNT
};
#define TRACE(vm, topic) __builtin_expect((vm)->trace &(1u << TRACE_BIT_##topic), 0)
__attribute__((format(printf, 2, 3))) void vm_trace(struct vm *vm, const char *fmt, ...);

#endif
