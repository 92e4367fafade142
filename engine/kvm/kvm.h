/*
 * kvm.h - what the files of this engine share.
 *
 * KVM is used as a processor: IOAPIC, 8259s and timers are the machine's own, so that state has
 * one form whatever the engine. So are the local APICs, unless KVM is asked to run them while the
 * guest runs (irqchip.c). Without that an interrupt goes in by KVM_INTERRUPT, the task priority
 * through kvm_run.cr8.
 *
 * Everything asked of the kernel goes through one table (kernel.c), in which a test puts
 * its own: one that fails at the Nth call, or one that plays KVM.
 *
 * Spec: Linux Documentation/virt/kvm/api.rst.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_KVM_KVM_H
#define ENGINE_KVM_KVM_H

#include <linux/kvm.h>
#include <sys/types.h>
#include <time.h>

#include "machine/vm.h"

/* Each returns what the system call does, or -E*. */
struct kvm_kernel {
	int (*open)(const char *path);
	long (*ioctl)(int fd, unsigned long request, unsigned long arg);
	void *(*map)(int fd, size_t bytes, off_t from); /* NULL: refused */
	void (*unmap)(void *at, size_t bytes);
	void (*close)(int fd);
};
extern const struct kvm_kernel *kvm_kernel; /* tests replace it, while no machine is open */

/* An ioctl by its name; on failure -E* and a sentence that names it. */
#define KVM_DO(fd, request, arg, why) kvm_do(fd, request, #request, (unsigned long)(arg), why)
long kvm_do(int fd, unsigned long request, const char *name, unsigned long arg, struct fail *why);

/* Capabilities that are used when there. */
struct kvm_caps {
	bool sregs2, tsc_control, tsc_offset, hypercalls, split, bells, irqfd;
	size_t ring_bytes; /* of a dirty ring, at most; 0: none */
};

/* /dev/kvm, open and known to be good enough. */
struct kvm_device {
	int fd;
	size_t run_bytes; /* of a vCPU's mapping */
	struct kvm_caps caps;
};
int kvm_device_open(struct kvm_device *d, struct fail *why);
void kvm_device_close(struct kvm_device *d);

#define KVM_NATIVE_MSRS 16
/* MSRs that KVM keeps, by which member of struct x86_state shows them. */
struct kvm_msr {
	uint32_t index;
	uint32_t offset;
};

struct kvm_slot {
	const struct mem_slot *slot; /* NULL: this number is free */
	struct kvm_userspace_memory_region region;
};

/* wires.c: a message, and what sends it. */
#define KVM_WIRES 32
struct kvm_wire {
	struct kvm_msi msi;
	uint32_t sent; /* so often, not counting what is long ago; 0: this place is free */
	bool tried;    /* to lay it */
	int fd;        /* an eventfd; 0: none */
};

/* A machine's. */
struct kvm_vm {
	struct vm *vm;
	struct kvm_device device;
	int fd;
	unsigned host_khz; /* frequency of an unscaled guest TSC; set with the first vCPU */
	struct kvm_msr msr[KVM_NATIVE_MSRS];
	unsigned msrs;
	bool bhi;       /* what the filter of MSRs was made for: vm->bhi_control; and so */
	bool spec_ctrl; /* KVM has SPEC_CTRL, but does not get it from the guest itself */
	struct kvm_slot *slots;
	unsigned slot_room;
	/* tsc.c: the offset from the host's counter that a vCPU with tsc_offset 0 has; how far the
	 * counter has moved against the clock since that was set; and which of the clock's bases it
	 * was set for, 0: not yet. */
	_Atomic uint64_t tsc_zero, tsc_drift, tsc_base;
	bool rings; /* dirty.c: the dirty log is in rings */
	/* irqchip.c */
	bool split;      /* KVM runs the local APICs */
	bool level[256]; /* vectors whose ends it tells */
	/* wires.c. Device lock */
	struct kvm_wire wire[KVM_WIRES];
	unsigned oldest_wire;
	uint64_t by_wire, by_call; /* messages so far */
	/* apic.c */
	atomic_bool there; /* the local APICs are in KVM; under the device lock */
	bool (*message)(void *arg, const struct apic_message *m); /* the machine's, meanwhile */
	void *message_arg;
	atomic_ullong asleep; /* vCPUs, a bit each, that slept when last looked at */
};

/* A vCPU's. */
struct kvm_vcpu {
	struct vcpu *vcpu;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	struct kvm_dirty_gfn *ring; /* NULL: none */
	uint32_t ring_next;         /* entry, modulo the ring's size */
	struct x86_state s;  /* what KVM does not keep is current; the rest as last fetched */
	bool half_done;      /* the exit handled last is finished by the next KVM_RUN */
	bool bus_locked;     /* by it: see locked.c */
	bool stale;          /* run->if_flag and the like are not of the present state */
	bool queued;         /* an interrupt was given to KVM since k->run last told anything */
	bool nmi_given;      /* by KVM_NMI; it may wait there until the guest can take it */
	bool entered;        /* guest code has run: CPUID and the TSC's frequency are fixed */
	uint64_t hw_offset;  /* of its TSC from the host's, as KVM was told */
	uint64_t tsc_drift;  /* that is in s.tsc_offset, */
	uint64_t tsc_base;   /* if that is of this base of the clock's */
	uint64_t tsc_khz;    /* what CPUID and the TSC were set to; 0: not yet */
	bool services, bhi;  /* and whether CPUID offers KVM's services, and BHI_CTRL */
	uint64_t tsc_looked; /* clock_now() when the offset was last measured */
	/* apic.c. Its local APIC here, while KVM's is used; */
	const struct intc_ops *intc;
	void *intc_arg;
	uint64_t apic_base; /* what KVM must believe; */
	uint32_t spent;     /* initial count of a one-shot timer that KVM was not told, or 0; */
	bool sleep_there;   /* KVM knows whether it sleeps, the machine does not; */
	bool kick_there;    /* and that its HLT shall end; */
	uint64_t watch_at;  /* virtual ns at which to look whether it sleeps inside KVM, */
	unsigned watched;   /* and so often it did not */
	atomic_bool kicked;
	pid_t thread;  /* which last ran it, */
	timer_t timer; /* its timer, */
	bool has_timer;
	uint64_t timer_at; /* and when that goes off: virtual ns */
};

/* A vCPU's ioctl for a function without `why`: the sentence goes to vcpu->trouble. */
#define KVM_VCPU_DO(k, request, arg) KVM_DO((k)->fd, request, arg, &(k)->vcpu->trouble)

/* kvm.c */
int kvm_set_region(struct kvm_vm *v, const struct kvm_slot *s, struct fail *why);
struct kvm_slot *kvm_slot_of(struct kvm_vm *v, const struct mem_slot *slot); /* NULL: none */

/* dirty.c */
int kvm_dirty_open(struct kvm_vm *v, struct fail *why); /* before the first vCPU */
int kvm_ring_open(struct kvm_vcpu *k, struct fail *why);
void kvm_ring_close(struct kvm_vcpu *k);
/* What the rings hold goes into the marks. The device lock is not held. */
int kvm_take_rings(struct kvm_vm *v, struct fail *why);
int kvm_dirty(void *arg, struct mem_slot *slot, enum dirty_step step); /* mem.h */

/* cpuid.c */
const struct cpu_model *kvm_cpu_model(struct fail *why);
int kvm_check_model(const struct kvm_device *d, const struct cpu_model *m, struct fail *why);
int kvm_set_cpuid(struct kvm_vcpu *k, struct fail *why);
/* Does a guest's VMCALL come out? true also where there is no KVM. */
bool kvm_hypercalls(void);

/* msr.c */
int kvm_filter_msrs(struct kvm_vm *v, struct fail *why);
int kvm_get_msrs(struct kvm_vcpu *k, struct fail *why);
int kvm_set_msrs(struct kvm_vcpu *k, struct fail *why);
int kvm_get_msr(struct kvm_vcpu *k, uint32_t index, uint64_t *value, struct fail *why);
int kvm_set_msr(struct kvm_vcpu *k, uint32_t index, uint64_t value, struct fail *why);
void kvm_rdmsr_exit(struct kvm_vcpu *k);
void kvm_wrmsr_exit(struct kvm_vcpu *k);

/* tsc.c */
int kvm_tsc_frequency(struct kvm_vcpu *k, struct fail *why);
int kvm_tsc_set(struct kvm_vcpu *k, struct fail *why);
int kvm_tsc_get(struct kvm_vcpu *k, struct fail *why);
/* Before the guest's deadline is compared with the clock: follows the drift between the two. */
void kvm_tsc_follow(struct kvm_vcpu *k);
uint64_t kvm_host_khz(void);

/* irqchip.c */
int kvm_irqchip_open(struct kvm_vm *v, struct fail *why);  /* before the first vCPU */
extern const struct intc_ops kvm_intc;                     /* arg: struct kvm_vcpu */
bool kvm_message(void *arg, const struct apic_message *m); /* arg: struct kvm_vm */
struct kvm_msi kvm_msi_of(const struct apic_message *m);
int kvm_expect_end(struct kvm_vm *v, uint8_t vector, struct fail *why);
/* KVM's routing table becomes what vectors and wires make of it. */
int kvm_route(struct kvm_vm *v, struct fail *why);
uint32_t kvm_wire_gsi(const struct kvm_vm *v, const struct kvm_wire *w);
void kvm_eoi_exit(struct kvm_vcpu *k);

/* deadline.c: that deadlines reach the machine's local APICs. Before the first vCPU. */
int kvm_deadline_open(struct kvm_vm *v, struct fail *why);

/* wires.c. Device lock held. true: it is sent. */
bool kvm_wire_send(struct kvm_vm *v, const struct kvm_msi *msi);
/* All of them; what was sent has arrived. */
void kvm_wires_cut(struct kvm_vm *v);

/* apic.c */
#define APIC_BASE_ENABLED UINT64_C(0x800)
/* Before KVM_RUN: all local APICs go to KVM, and it knows whether this vCPU sleeps. The device lock
 * is not held. 0, or vcpu->trouble. */
int kvm_apics_enter(struct kvm_vcpu *k);
int kvm_give_back(struct vm *vm); /* engine.h */
bool kvm_apic_write_base(struct kvm_vcpu *k, uint64_t value);
void kvm_apic_tsc_moved(struct kvm_vcpu *k);
/* When to look next whether it sleeps: watch_at; and the look. */
void kvm_halt_watch(struct kvm_vcpu *k, uint64_t now);
void kvm_halt_look(struct kvm_vcpu *k);
bool kvm_apic_can_inject(struct kvm_vcpu *k);
int kvm_apic_inject(struct kvm_vcpu *k, uint8_t vector);

/* fpu.c */
int kvm_get_fpu(struct kvm_vcpu *k, struct fail *why);
int kvm_set_fpu(struct kvm_vcpu *k, struct fail *why);

/* state.c */
void kvm_get_state(struct vcpu *vcpu, struct x86_state *out);
int kvm_set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why);

/* run.c */
#define KVM_SIGNAL (SIGRTMAX - 1) /* one of the last real-time signals: few programs use those */
int kvm_run_guest(struct vcpu *vcpu, struct exit *exit);
int kvm_settle(struct vcpu *vcpu, struct exit *exit);
void kvm_kick(struct vcpu *vcpu);
bool kvm_can_inject(struct vcpu *vcpu, const struct event *event);
int kvm_inject(struct vcpu *vcpu, const struct event *event);
void kvm_forget_thread(struct kvm_vcpu *k);
/* What was begun is finished, without the next instruction. 0, or vcpu->trouble. */
int kvm_finish(struct kvm_vcpu *k);

/* exits.c: handles the exit in k->run, or describes in *exit why run() ends. */
void kvm_exit(struct kvm_vcpu *k, struct exit *exit);

/* locked.c. Is what has just read a device a locked instruction, and are there others? */
bool kvm_locked_read(struct kvm_vcpu *k);
/* Between the two no other locked instruction means a device. vCPU's thread, or all are parked. */
void kvm_lock_bus(struct kvm_vcpu *k);
void kvm_unlock_bus(struct kvm_vcpu *k);

/* probe.c */
int kvm_probe(struct fail *why);

#endif
