/*
 * sections.c - the list of a machine's parts (see sections.h).
 *
 * Alarms are not state of their own: a device's loaded() sets them again from its
 * registers. Only the order of two alarms due at the same nanosecond would be
 * lost, and with it a counted run's exactness; so their ranks are saved beside.
 *
 * SPDX-License-Identifier: MIT
 */
#include "save/sections.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char save_magic[8] = "TRAPEZE";

/* clang-format off */
static const struct field machine_fields[] = {
	FIELD(machine_values, tsc_khz, 1),
	FIELD(machine_values, wall_base_ns, 1),
	FIELD(machine_values, now_ns, 1),
	FIELD(machine_values, kvm_wall_msr, 1),
	FIELD(machine_values, cpu_model, 1),
	FIELD_ARRAY(machine_values, irq_level, 1),
	FIELD(machine_values, kvm_services, 3),
	FIELD(machine_values, bhi_control, 4),
	FIELD(machine_values, turn, 2),
	FIELD(machine_values, turn_left, 2),
	FIELD(machine_values, turn_aside, 5),
	FIELD_END,
};

static const struct field vcpu_fields[] = {
	FIELD(vcpu_values, kvm_system_time, 1),
	FIELD(vcpu_values, kvm_clock_version, 1),
	FIELD(vcpu_values, init_waiting, 1),
	FIELD(vcpu_values, sipi_waiting, 1),
	FIELD(vcpu_values, sipi_vector, 1),
	FIELD(vcpu_values, kicked, 2),
	FIELD(vcpu_values, kvm_steal_time, 2),
	FIELD(vcpu_values, steal_since, 2),
	FIELD(vcpu_values, storm_events, 3),
	FIELD_END,
};
/* clang-format on */

static const struct field alarm_fields[] = {
	FIELD_ARRAY(alarm_values, rank, 1),
	FIELD_END,
};

#define STATE_VERSION 2

static void add(struct parts *p, uint16_t version, const struct field *fields, void *data,
		const char *kind, const char *id)
{
	struct section *s = &p->section[p->count++];

	snprintf(s->name, sizeof(s->name), "%s%s%s", kind, id[0] ? " " : "", id);
	s->version = version;
	s->fields = fields;
	s->data = data;
}

static void gather_machine(struct parts *p, struct vm *vm)
{
	p->machine = (struct machine_values){
		.tsc_khz = vm->clock.tsc_khz,
		.wall_base_ns = vm->clock.wall_base_ns,
		.now_ns = clock_now(&vm->clock),
		.kvm_wall_msr = vm->kvm_wall_msr,
		.cpu_model = cpu_model_id(vm->cpu_model),
		.turn = vm_turn(vm),
		.turn_left = vm->vcpus > 1 ? vm->turns.left : 0,
		.turn_aside = turns_aside(vm),
		.kvm_services = vm->kvm_services,
		.bhi_control = vm->bhi_control,
	};
	memcpy(p->machine.irq_level, vm->irq.level, sizeof(p->machine.irq_level));
	add(p, 5, machine_fields, &p->machine, "machine", "");
}

static void gather_vcpu(struct parts *p, struct vcpu *vcpu)
{
	unsigned i = vcpu->index;
	char id[16];

	snprintf(id, sizeof(id), "%u", i);
	vcpu_get_state(vcpu, &p->state[i]);
	p->vcpu[i] = (struct vcpu_values){
		.kvm_system_time = vcpu->kvm_system_time,
		.kvm_clock_version = vcpu->kvm_clock_version,
		.init_waiting = vcpu->init_waiting,
		.sipi_waiting = vcpu->sipi_waiting,
		.sipi_vector = vcpu->sipi_vector,
		.kicked = vcpu->kicked,
		.kvm_steal_time = vcpu->kvm_steal_time,
		.steal_since = vcpu->steal_since,
		.storm_events = storm_events(vcpu),
	};
	add(p, STATE_VERSION, x86_state_fields, &p->state[i], "cpu", id);
	add(p, 3, vcpu_fields, &p->vcpu[i], "vcpu", id);
}

/* How many of the clock's alarms were set before `a`, and itself. */
static uint32_t alarm_rank(const struct vm *vm, const struct alarm *a)
{
	uint32_t rank = 1;

	if (a->at == ALARM_NONE)
		return 0;
	for (const struct alarm *b = vm->clock.first; b; b = b->next)
		rank += b->order < a->order;
	return rank;
}

static void gather_device(struct parts *p, struct vm *vm, struct device *dev, unsigned n)
{
	for (unsigned i = 0; i < DEVICE_ALARMS; i++)
		p->alarms[n].rank[i] = alarm_rank(vm, &dev->alarms[i]);
	add(p, dev->ops->state_version, dev->ops->state, dev, "device", dev->id);
	add(p, 1, alarm_fields, &p->alarms[n], "alarms", dev->id);
}

int parts_open(struct parts *p, struct vm *vm, struct fail *why)
{
	unsigned n = 0;

	memset(p, 0, sizeof(*p));
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		p->devices++;
	p->section = host_alloc((1 + 2 * vm->vcpus + 2 * p->devices) * sizeof(*p->section));
	p->state = host_alloc(vm->vcpus * sizeof(*p->state));
	p->alarms = host_alloc((p->devices + 1) * sizeof(*p->alarms));
	if (!p->section || !p->state || !p->alarms) {
		parts_close(p);
		return fail(why, -ENOMEM, "no memory to save or load a machine");
	}
	gather_machine(p, vm);
	for (unsigned i = 0; i < vm->vcpus; i++)
		gather_vcpu(p, vm->vcpu[i]);
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		gather_device(p, vm, dev, n++);
	return 0;
}

void parts_close(struct parts *p)
{
	host_free(p->section);
	host_free(p->state);
	host_free(p->alarms);
	memset(p, 0, sizeof(*p));
}

static int apply_machine(const struct parts *p, struct vm *vm, struct fail *why)
{
	const struct machine_values *m = &p->machine;

	if (m->cpu_model != cpu_model_id(vm->cpu_model))
		return fail(why, -EINVAL, "it was saved with another CPU model than %s",
			    cpu_model_name(vm->cpu_model));
	if (m->tsc_khz == 0 || m->tsc_khz > UINT64_C(100000000))
		return fail(why, -EINVAL, "the saved TSC frequency is impossible");
	if (m->now_ns >= CLOCK_END)
		return fail(why, -EINVAL, "the saved time is impossible");
	if (m->turn >= vm->vcpus || m->turn_aside >= vm->vcpus)
		return fail(why, -EINVAL, "the saved turn is that of a CPU that there is not");
	for (unsigned i = 0; i < IRQ_LINES; i++) {
		if (m->irq_level[i] > 1)
			return fail(why, -EINVAL, "a saved interrupt line is neither 0 nor 1");
	}
	if (m->kvm_services && !vm_hypercalls(vm))
		return fail(why, -ENOTSUP,
			    "engine %s cannot hand on the hypercalls that the guest was offered",
			    vm->engine->name);
	vm->kvm_services = m->kvm_services;
	vm->bhi_control = m->bhi_control;
	vm->clock.tsc_khz = m->tsc_khz;
	vm->clock.wall_base_ns = m->wall_base_ns;
	vm->kvm_wall_msr = m->kvm_wall_msr;
	memcpy(vm->irq.level, m->irq_level, sizeof(vm->irq.level));
	return 0;
}

static int apply_vcpu(struct parts *p, struct vcpu *vcpu, struct fail *why)
{
	const struct vcpu_values *v = &p->vcpu[vcpu->index];
	int err = vcpu_set_state(vcpu, &p->state[vcpu->index], why);

	if (err)
		return err;
	vcpu->kvm_system_time = v->kvm_system_time;
	vcpu->kvm_clock_version = v->kvm_clock_version;
	vcpu->init_waiting = v->init_waiting;
	vcpu->sipi_waiting = v->sipi_waiting;
	vcpu->sipi_vector = v->sipi_vector;
	vcpu->kicked = v->kicked;
	vcpu->kvm_steal_time = v->kvm_steal_time;
	vcpu->steal_since = v->steal_since;
	storm_set(vcpu, v->storm_events);
	return 0;
}

/* Sets every alarm again in the order of the saved ranks. */
static void order_alarms(const struct parts *p, struct vm *vm)
{
	uint32_t most = p->devices * DEVICE_ALARMS;

	for (uint32_t rank = 1; rank <= most; rank++) {
		unsigned n = 0;

		for (struct device *dev = vm->devices; dev; dev = dev->next, n++) {
			for (unsigned i = 0; i < DEVICE_ALARMS; i++) {
				if (p->alarms[n].rank[i] == rank && dev->alarms[i].at != ALARM_NONE)
					device_alarm(dev, i, dev->alarms[i].at);
			}
		}
	}
}

static int load_devices(struct vm *vm, struct fail *why)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		int err = dev->ops->loaded ? dev->ops->loaded(dev, why) : 0;

		if (err)
			return err;
	}
	return 0;
}

/* Have the vCPUs together retired no more instructions than nanoseconds have passed? */
static bool counts_fit(const struct vm *vm, uint64_t now)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (*vm->vcpu[i]->retired > now)
			return false;
		now -= *vm->vcpu[i]->retired;
	}
	return true;
}

/* This machine's turns may be of another length. */
static uint64_t turn_left(const struct vm *vm, uint64_t saved)
{
	return saved > 0 && saved < vm->slice ? saved : vm->slice;
}

int parts_apply(struct parts *p, struct vm *vm, struct fail *why)
{
	int err = apply_machine(p, vm, why);

	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		err = apply_vcpu(p, vm->vcpu[i], why);
	if (err)
		return err;
	/* After the CPUs: counted time is their instruction count and what was skipped. */
	if (vm->clock.source == CLOCK_SOURCE_COUNTED && !counts_fit(vm, p->machine.now_ns))
		return fail(why, -EINVAL, "the saved time is before the saved instruction count");
	turns_set(vm, p->machine.turn, turn_left(vm, p->machine.turn_left), p->machine.turn_aside);
	for (unsigned i = 0; i < vm->vcpus; i++)
		steal_attach(vm->vcpu[i]);
	clock_restore(&vm->clock, p->machine.now_ns);
	host_mutex_lock(vm->lock);
	err = load_devices(vm, why);
	if (!err)
		order_alarms(p, vm);
	host_mutex_unlock(vm->lock);
	return err;
}
