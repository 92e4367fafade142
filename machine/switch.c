/*
 * switch.c - changing the engine of a running machine (see switch.h).
 *
 * The idea: what an engine knows of a machine hangs on a few pointers, its seat. The new engine
 * takes the seat while the old one's pointers are kept aside; whichever of the two
 * then loses is given the seat once more, to be closed in it.
 *
 * Tested by test/unit/engine_switch.c, test/guest/counted.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/switch.h"

#include <errno.h>
#include <stddef.h>

#include "machine/vm.h"

struct seat {
	const struct engine_ops *ops;
	void *data;
	bool open;
	void *vcpu_data[VCPUS_MAX];
	const uint64_t *retired[VCPUS_MAX];
	void (*code_written)(void *arg, gpa_t at, uint64_t bytes);
	void *code_arg;
	int (*dirty)(void *arg, struct mem_slot *slot, enum dirty_step step);
	void *dirty_arg;
};

static struct seat seat_of(const struct vm *vm)
{
	struct seat seat = {
		.ops = vm->engine,
		.data = vm->engine_data,
		.open = vm->engine_open,
		.code_written = vm->mem.code_written,
		.code_arg = vm->mem.code_arg,
		.dirty = vm->mem.dirty,
		.dirty_arg = vm->mem.dirty_arg,
	};

	for (unsigned i = 0; i < vm->vcpus; i++) {
		seat.vcpu_data[i] = vm->vcpu[i]->engine;
		seat.retired[i] = vm->vcpu[i]->retired;
	}
	return seat;
}

/* Under the lock that a waker holds while it calls the engine: see vm_wake(). */
static void sit_down(struct vm *vm, const struct seat *seat)
{
	host_mutex_lock(vm->wake_lock);
	vm->engine = seat->ops;
	vm->engine_data = seat->data;
	vm->engine_open = seat->open;
	vm->mem.code_written = seat->code_written;
	vm->mem.code_arg = seat->code_arg;
	vm->mem.dirty = seat->dirty;
	vm->mem.dirty_arg = seat->dirty_arg;
	for (unsigned i = 0; i < vm->vcpus; i++) {
		vm->vcpu[i]->engine = seat->vcpu_data[i];
		vm->vcpu[i]->retired = seat->retired[i];
	}
	vm->clock.instructions = vm->vcpu[vm_turn(vm)]->retired;
	host_mutex_unlock(vm->wake_lock);
}

/* Closes the engine that sits there, as far as it was opened. */
static void close_engine(struct vm *vm)
{
	bool whole = vm->engine_open;

	for (unsigned i = 0; i < vm->vcpus; i++)
		whole &= vm->vcpu[i]->engine != NULL;
	for (struct mem_slot *slot = vm->mem.slots; slot && whole; slot = slot->next) {
		if (vm->engine->unmap)
			vm->engine->unmap(vm, slot);
	}
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu[i]->engine)
			vm->engine->vcpu_close(vm->vcpu[i]);
		vm->vcpu[i]->engine = NULL;
	}
	if (vm->engine_open && vm->engine->vm_close)
		vm->engine->vm_close(vm);
	vm->engine_open = false;
}

static int map_memory(struct vm *vm, struct fail *why)
{
	for (struct mem_slot *slot = vm->mem.slots; slot; slot = slot->next) {
		int err = vm->engine->map ? vm->engine->map(vm, slot) : 0;

		if (err)
			return fail(why, err, "engine %s cannot map memory at 0x%llx",
				    vm->engine->name, (unsigned long long)slot->start.v);
	}
	return 0;
}

/* Opens the engine that sits there, for a machine that has memory and state. */
static int open_engine(struct vm *vm, const struct x86_state *state, struct fail *why)
{
	int err = vm->engine->vm_open ? vm->engine->vm_open(vm, why) : 0;

	vm->engine_open = !err;
	if (!err && vm->kvm_services && !vm_hypercalls(vm))
		err = fail(why, -ENOTSUP,
			   "engine %s cannot hand on the hypercalls that the guest was offered",
			   vm->engine->name);
	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		err = vm->engine->vcpu_open(vm->vcpu[i], why);
	if (!err)
		err = map_memory(vm, why);
	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		err = vcpu_set_state(vm->vcpu[i], &state[i], why);
	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		steal_attach(vm->vcpu[i]);
	return err;
}

/* Code marks are the closed engine's; so is the part of the dirty log that it holds. */
static void drop_code_marks(struct mem *m)
{
	for (struct mem_slot *s = m->slots; s; s = s->next) {
		for (uint64_t i = 0; i < s->bytes >> PAGE_SHIFT; i++)
			__atomic_and_fetch(&s->marks[i], (uint8_t)~MARK_CODE, __ATOMIC_RELAXED);
		for (uint64_t i = 0; s->coders && i < s->bytes >> PAGE_SHIFT; i++) {
			atomic_store_explicit(&s->coders[i], 0, memory_order_relaxed);
			atomic_store_explicit(&s->writers[i], 0, memory_order_relaxed);
		}
	}
}

/* What the engine has failed in, and tells when it is next run. */
static int trouble_of(const struct vm *vm, struct fail *why)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		const struct fail *trouble = &vm->vcpu[i]->trouble;

		if (trouble->code)
			return fail(why, trouble->code, "%s", trouble->text);
	}
	return 0;
}

/* *why has it: it is nothing to the engine that goes on. */
static void drop_trouble(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		vm->vcpu[i]->trouble = (struct fail){ 0 };
}

static int exchange(struct vm *vm, const struct engine_ops *to, const struct x86_state *state,
		    struct fail *why)
{
	struct seat old = seat_of(vm), empty = { .ops = to }, new;
	int err;

	/* Until the new engine counts, counted time stands still. */
	for (unsigned i = 0; i < vm->vcpus; i++)
		empty.retired[i] = &state[i].instructions;
	bells_detach(vm);
	sit_down(vm, &empty);
	err = open_engine(vm, state, why);
	new = seat_of(vm);
	sit_down(vm, err ? &new : &old);
	close_engine(vm);
	if (err)
		drop_trouble(vm);
	else
		drop_code_marks(&vm->mem);
	sit_down(vm, err ? &old : &new);
	bells_attach(vm);
	return err;
}

/* All that the engine which runs has of the machine. Not all of it: the machine ends there. */
static int collect(struct vm *vm, struct x86_state *state, struct fail *why)
{
	int err = 0;

	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		err = vcpu_settle(vm->vcpu[i]);
	if (!err)
		err = vm_rest(vm);
	for (unsigned i = 0; !err && i < vm->vcpus; i++)
		vcpu_get_state(vm->vcpu[i], &state[i]);
	if (!err)
		mem_dirty_sync(&vm->mem);
	if (err && !trouble_of(vm, NULL))
		return fail(why, err, "engine %s does not give its state", vm->engine->name);
	return trouble_of(vm, why);
}

int vm_switch(struct vm *vm, const struct engine_ops *to, struct fail *why)
{
	struct x86_state *state;
	int err;

	if (to == vm->engine)
		return 0;
	if (vm->clock.source == CLOCK_SOURCE_COUNTED && !(to->caps & ENGINE_COUNTED))
		return fail(why, -EINVAL,
			    "engine %s does not count instructions: a counted machine cannot run "
			    "on it",
			    to->name);
	if (vm->vcpus > 1 && !(to->caps & (vm->crew.used ? ENGINE_THREADS : ENGINE_COUNTED)))
		return fail(why, -EINVAL, "engine %s does not run several vCPUs", to->name);
	state = host_alloc(vm->vcpus * sizeof(*state));
	if (!state)
		return fail(why, -ENOMEM, "no memory to change the engine");
	err = collect(vm, state, why);
	if (!err)
		err = exchange(vm, to, state, why);
	host_free(state);
	if (!err)
		vm->switches.done++;
	return err;
}

static void look(void *arg, uint64_t now)
{
	struct vm *vm = arg;

	(void)now;
	vm_look(vm);
}

/* A switch planned for a time: the run loop has to look around then. */
static void set_alarm(struct vm *vm)
{
	struct switches *s = &vm->switches;

	if (s->next < s->count && s->points[s->next].instruction == UINT64_MAX)
		clock_set_alarm(&vm->clock, &s->alarm, s->points[s->next].time_ns);
}

void vm_plan_switches(struct vm *vm, const struct switch_point *points, unsigned count)
{
	struct switches *s = &vm->switches;

	s->points = points;
	s->count = count;
	s->next = 0;
	s->alarm = (struct alarm){ .at = ALARM_NONE, .fn = look, .arg = vm };
	host_mutex_lock(vm->lock);
	set_alarm(vm);
	host_mutex_unlock(vm->lock);
}

void vm_ask_switch(struct vm *vm, switch_choice choice)
{
	atomic_store(&vm->switches.asked, choice);
	vm_look(vm);
}

uint64_t switch_due(const struct vm *vm)
{
	const struct switches *s = &vm->switches;

	return s->next < s->count ? s->points[s->next].instruction : UINT64_MAX;
}

static bool is_due(struct vm *vm)
{
	const struct switches *s = &vm->switches;
	const struct switch_point *p;

	if (s->next == s->count)
		return false;
	p = &s->points[s->next];
	if (p->instruction == UINT64_MAX)
		return clock_now(&vm->clock) >= p->time_ns;
	return vm_retired(vm) >= p->instruction;
}

static int take_planned(struct vm *vm, struct fail *why)
{
	int err = vm_switch(vm, vm->switches.points[vm->switches.next].to, why);

	vm->switches.next++;
	host_mutex_lock(vm->lock);
	set_alarm(vm);
	host_mutex_unlock(vm->lock);
	return err;
}

static void take_asked(struct vm *vm)
{
	switch_choice choice = atomic_exchange(&vm->switches.asked, NULL);
	unsigned caps = (vm->clock.source == CLOCK_SOURCE_COUNTED ? ENGINE_COUNTED : 0) |
			(vm->crew.used ? ENGINE_THREADS : 0);
	const struct engine_ops *to = choice(vm->engine, caps);
	struct fail why = { 0, "there is no other that this host can run" };
	int err = to ? vm_switch(vm, to, &why) : -ENODEV;

	if (err && to && trouble_of(vm, NULL))
		return; /* it does not even stay there, and the next run says so */
	if (err)
		host_warn("the machine stays on engine %s: %s", vm->engine->name, why.text);
	else
		host_warn("the machine now runs on engine %s", to->name);
}

bool switch_wanted(struct vm *vm)
{
	return is_due(vm) || atomic_load(&vm->switches.asked);
}

int switch_take(struct vm *vm, struct fail *why)
{
	int err = 0;

	while (!err && is_due(vm))
		err = take_planned(vm, why);
	if (!err && atomic_load(&vm->switches.asked))
		take_asked(vm);
	return err;
}
