/*
 * device.h - what a chip model may see of the world: its registers, its
 * interrupt lines, the virtual clock, guest RAM through checked copies.
 * Nothing else: no vcpu, no engine, no host time, no globals. That is why
 * the same object runs under every engine and under a test with no guest.
 *
 * Locking. Every entry in device_ops is called with the machine's device lock
 * held (bus.c and clock.c take it; order: vm -> device -> posted events). A device
 * may call anything declared here from inside an entry.
 *
 * The guest is hostile. Any offset inside the claimed region, any value,
 * any order, at any moment. Odd accesses get the data sheet's answer, or
 * all-ones and a trace event; never an assertion.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_DEVICE_H
#define MACHINE_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/addr.h"
#include "cpu/field.h"
#include "host/fail.h"
#include "machine/clock.h"

struct vm;
struct device;

struct device_ops {
	const char *type;                  /* "i8254" */
	void (*reset)(struct device *dev); /* power-on values */

	/* `off` and `off + size` lie inside the region named at claim time; size is 1, 2, 4
	 * or 8. bus.c splits wider and straddling accesses. Return data zero-extended. */
	uint64_t (*read)(struct device *dev, unsigned region, uint64_t off, unsigned size);
	void (*write)(struct device *dev, unsigned region, uint64_t off, unsigned size,
		      uint64_t value);

	/* The alarm set with device_alarm() is due. now: virtual ns, at or past the time set. */
	void (*alarm)(struct device *dev, unsigned which, uint64_t now);

	/* Outside input, taken at an instruction boundary (device_post). May be NULL. */
	void (*input)(struct device *dev, const void *data, size_t bytes);

	/* What to save; NULL name ends. Host handles are never in it. */
	const struct field *state;
	uint16_t state_version;

	/* The machine is about to be saved: fields that cannot follow all the time are brought up
	 * to date, and work that is with the host may end. May be NULL. */
	void (*saving)(struct device *dev);

	/* Loaded fields are untrusted: range-check, rebuild, re-arm alarms. 0 or -E*. Alarms must
	 * come out as they were: at any time a pure function of the fields. */
	int (*loaded)(struct device *dev, struct fail *why);
	void (*destroy)(struct device *dev);
};

#define DEVICE_ALARMS 4 /* alarms a device can hold: which = 0 .. 3 */

/* First member of every device's struct. */
struct device {
	const struct device_ops *ops;
	struct vm *vm;
	const char *id; /* "uart0": names it in traces, snapshots; static or outlives the device */
	struct device *next;
	struct alarm alarms[DEVICE_ALARMS];
	atomic_bool rung; /* device_ring() was called */
};

/* Adds a device to the machine: sets up `dev`, calls ops->reset. `dev` comes from
 * host_alloc; the machine frees it by ops->destroy (or host_free when that is NULL). */
void device_add(struct vm *vm, struct device *dev, const struct device_ops *ops, const char *id);

int device_claim_ports(struct device *dev, unsigned region, uint16_t first, uint32_t count,
		       struct fail *why);
int device_claim_mmio(struct device *dev, unsigned region, gpa_t first, uint64_t bytes,
		      struct fail *why);

/* Drives the interrupt line `gsi` (0-15: ISA IRQ, also to the 8259s; 0-23: IOAPIC pins). */
void device_irq(struct device *dev, unsigned gsi, int level);

uint64_t device_now(struct device *dev); /* virtual ns */
/* Sets alarm `which` for virtual time `at` (ns); ALARM_NONE cancels. Past times fire soon. */
void device_alarm(struct device *dev, unsigned which, uint64_t at);

/* Copies between guest RAM and a buffer. -EFAULT: not all of it is RAM (nothing is copied). */
int device_dma_read(struct device *dev, gpa_t from, void *to, size_t n);
int device_dma_write(struct device *dev, gpa_t to, const void *from, size_t n);

/*
 * Outside input from any thread: queued, then given to ops->input on the vCPU
 * thread at an instruction boundary. Data is copied. -ENOSPC: queue full, try later.
 */
int device_post(struct device *dev, const void *data, size_t bytes);

/*
 * From any thread, and never refused: ops->input will be called with no data. Rings before that
 * are one. For a backend's thread that has left its news where the device looks.
 */
void device_ring(struct device *dev);
/* Work that will end in a ring has begun (+1) or is done (-1): a guest that sleeps for it does not
 * sleep for ever. Device lock held. */
void device_expect(struct device *dev, int change);

/*
 * A write to memory at `at`, where ops->write finds one of this device's registers, only says
 * "look": it may arrive late, once for several, and as two zero bytes. Again with on == false
 * before that is no longer so. Device lock held.
 */
void device_bell(struct device *dev, gpa_t at, bool on);

/* Asks the machine to stop or restart at the next instruction boundary. */
enum vm_request {
	VM_NONE,
	VM_POWEROFF,
	VM_RESET,
	VM_DEBUG_EXIT, /* status: the exit status asked for */
	VM_CRASHED,    /* triple fault */
	VM_STUCK,      /* the engine gave up; a dump was printed */
	VM_QUIT,       /* the user asked */
	VM_STOP_AT,    /* --stop-at reached */
	VM_HALTED,     /* vm->halt_ends: in HLT for ever */
	VM_STORM,      /* vm->storm_ends: exceptions, and no instruction between them */
};
void device_request(struct device *dev, enum vm_request what, int status);

/* Rate-limited trace line, shown under --trace devices. */
__attribute__((format(printf, 2, 3))) void device_trace(struct device *dev, const char *fmt, ...);

#endif
