/*
 * sections.h - what a machine consists of, as a list of field sections.
 *
 * Encoder, hash and decoder walk the same list, so none can forget a part.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SAVE_SECTIONS_H
#define SAVE_SECTIONS_H

#include "cpu/field.h"
#include "machine/vm.h"

/* Machine-wide values that live in several places, gathered to be saved. */
struct machine_values {
	uint64_t tsc_khz, wall_base_ns, now_ns;
	uint64_t kvm_wall_msr;
	uint32_t cpu_model; /* cpu_model_id() */
	uint8_t irq_level[IRQ_LINES];
	uint32_t turn; /* index of the vCPU whose turn it is, */
	uint64_t turn_left;
	uint32_t turn_aside; /* turns_aside() */
	bool kvm_services, bhi_control;
};

/* A vCPU outside x86_state. */
struct vcpu_values {
	uint64_t kvm_system_time;
	uint32_t kvm_clock_version;
	bool init_waiting, sipi_waiting;
	uint8_t sipi_vector;
	bool kicked;
	uint64_t kvm_steal_time, steal_since;
	uint64_t storm_events;
};

/* Which alarms of a device are set, and in what order they were: 0 not set, 1 first, ... */
struct alarm_values {
	uint32_t rank[DEVICE_ALARMS];
};

struct section {
	char name[64];
	uint16_t version;
	const struct field *fields;
	void *data; /* what the offsets in `fields` count from */
};

/* The parts of `vm` in stream order; `parts` owns copies of gathered values. */
struct parts {
	struct section *section;
	unsigned count;
	struct machine_values machine;
	struct vcpu_values vcpu[VCPUS_MAX];
	struct x86_state *state;     /* one a vCPU */
	struct alarm_values *alarms; /* one a device */
	unsigned devices;
};

int parts_open(struct parts *p, struct vm *vm, struct fail *why);
void parts_close(struct parts *p);
/* Puts changed values back: CPU states, clock, lines; then ops->loaded, then the alarms' order. */
int parts_apply(struct parts *p, struct vm *vm, struct fail *why);

#define SAVE_SECTION UINT32_C(0x54434553) /* "SECT" */
#define SAVE_FORMAT  1
extern const char save_magic[8];

#endif
