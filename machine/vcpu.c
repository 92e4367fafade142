/*
 * vcpu.c - the run loop: take input, fire alarms, inject, run, handle the exit, again; and with
 * several vCPUs, each in its turn or each on its own thread.
 *
 * Everything outside the guest happens here, between two instructions: that is
 * what makes a counted run repeatable. Virtual time bounds each run() by an
 * instruction budget, so in counted mode an alarm fires at its exact instruction.
 *
 * Sleeping: a thread whose vCPUs are all idle waits for the next alarm or for vm_wake(). notice
 * and sleeping form the usual pair: the sleeper sets `sleeping`, then looks at notice;
 * the waker sets notice, then looks at `sleeping`.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "machine/post.h"
#include "machine/vm.h"

void vcpu_get_state(struct vcpu *vcpu, struct x86_state *out)
{
	vcpu->vm->engine->get_state(vcpu, out);
	/* Who sleeps in HLT is the machine's affair; shutdown and waiting for SIPI are the
	 * engine's. */
	if (vcpu->halted)
		out->activity = ACTIVITY_HALT;
	else if (out->activity == ACTIVITY_HALT)
		out->activity = ACTIVITY_RUN;
	/* One may wait in the engine already. */
	out->nmi_pending |= vcpu->nmi_waiting;
}

int vcpu_settle(struct vcpu *vcpu)
{
	struct exit exit = { .reason = EXIT_KICK };

	return vcpu->vm->engine->settle ? vcpu->vm->engine->settle(vcpu, &exit) : 0;
}

int vm_rest(struct vm *vm)
{
	bells_rest(vm);
	return vm->engine->give_back ? vm->engine->give_back(vm) : 0;
}

int vcpu_set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	struct x86_state s = *in;
	int err;

	s.nmi_pending = 0; /* it waits here */
	err = vcpu->vm->engine->set_state(vcpu, &s, why);
	if (err)
		return err;
	vcpu->halted = in->activity == ACTIVITY_HALT;
	vcpu->wait_sipi = in->activity == ACTIVITY_WAIT_SIPI;
	vcpu->nmi_waiting = in->nmi_pending;
	vcpu->tsc_offset = in->tsc_offset;
	if (vcpu->intc && vcpu->intc->tsc_moved) {
		host_mutex_lock(vcpu->vm->lock);
		vcpu->intc->tsc_moved(vcpu->intc_arg);
		host_mutex_unlock(vcpu->vm->lock);
	}
	atomic_store(&vcpu->notice, true);
	return 0;
}

struct cpuid_answer vcpu_cpuid(struct vcpu *vcpu, const struct x86_state *s, uint32_t leaf,
			       uint32_t sub)
{
	struct cpuid_topology t = {
		.apic_id = vcpu->index,
		.vcpus = vcpu->vm->vcpus,
		.tsc_khz = vcpu->vm->clock.tsc_khz,
		.kvm_services = vcpu->vm->kvm_services,
		.bhi_control = vcpu->vm->bhi_control,
	};

	return cpuid_query(vcpu->vm->cpu_model, s, &t, leaf, sub);
}

static void dump_segment(char *line, size_t room, const char *name, const struct x86_seg *seg)
{
	snprintf(line, room, "  %-4s %04x base %016" PRIx64 " limit %08x attr %05x\n", name,
		 seg->selector, seg->base, seg->limit, seg->attr);
	host_log(line, strlen(line));
}

void vcpu_dump(struct vcpu *vcpu)
{
	static const char names[GPR_COUNT][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
						  "rsi", "rdi", "r8",  "r9",  "r10", "r11",
						  "r12", "r13", "r14", "r15" };
	static const char segs[SEG_COUNT][3] = { "es", "cs", "ss", "ds", "fs", "gs" };
	struct x86_state s;
	char line[200];

	vcpu_get_state(vcpu, &s);
	snprintf(line, sizeof(line),
		 "vCPU %u after %" PRIu64 " instructions\n  rip  %016" PRIx64 " rflags %08" PRIx64
		 "\n",
		 vcpu->index, s.instructions, s.rip, s.rflags);
	host_log(line, strlen(line));
	for (unsigned i = 0; i < GPR_COUNT; i++) {
		snprintf(line, sizeof(line), "  %-4s %016" PRIx64 "%s", names[i], s.gpr[i],
			 i % 4 == 3 ? "\n" : "");
		host_log(line, strlen(line));
	}
	for (unsigned i = 0; i < SEG_COUNT; i++)
		dump_segment(line, sizeof(line), segs[i], &s.seg[i]);
	dump_segment(line, sizeof(line), "ldtr", &s.ldtr);
	dump_segment(line, sizeof(line), "tr", &s.tr);
	snprintf(line, sizeof(line),
		 "  gdtr %016" PRIx64 " limit %04x  idtr %016" PRIx64 " limit %04x\n", s.gdtr.base,
		 s.gdtr.limit, s.idtr.base, s.idtr.limit);
	host_log(line, strlen(line));
	snprintf(line, sizeof(line),
		 "  cr0  %08" PRIx64 " cr2 %016" PRIx64 " cr3 %016" PRIx64 " cr4 %08" PRIx64
		 " efer %04" PRIx64 "\n",
		 s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
	host_log(line, strlen(line));
}

/* The vector waiting at the interrupt controller, or -1. */
static int waiting_vector(struct vcpu *vcpu)
{
	int vector;

	if (!vcpu->intc)
		return -1;
	host_mutex_lock(vcpu->vm->lock);
	vector = vcpu->intc->pending(vcpu->intc_arg);
	host_mutex_unlock(vcpu->vm->lock);
	return vector;
}

static int inject(struct vcpu *vcpu, const struct event *event)
{
	int err;

	if (vcpu->away)
		steal_enter(vcpu);
	gate_enter(vcpu);
	err = vcpu->vm->engine->inject(vcpu, event);
	gate_leave(vcpu);
	return err;
}

/* Delivers what can be delivered; asks for a window for what cannot yet. */
static int deliver(struct vcpu *vcpu)
{
	const struct engine_ops *engine = vcpu->vm->engine;
	struct event event = { .kind = EVENT_NMI, .vector = VEC_NMI };
	int vector;

	vcpu->want_window = false;
	if (vcpu->wait_sipi) /* what comes waits as long as the CPU does */
		return 0;
	if (vcpu->nmi_waiting && engine->can_inject(vcpu, &event)) {
		vcpu->nmi_waiting = false;
		vcpu->halted = false;
		return inject(vcpu, &event);
	}
	vector = waiting_vector(vcpu);
	if (vector < 0) {
		vcpu->want_window = vcpu->nmi_waiting;
		return 0;
	}
	event.kind = EVENT_IRQ;
	if (!engine->can_inject(vcpu, &event)) {
		vcpu->want_window = true;
		return 0;
	}
	host_mutex_lock(vcpu->vm->lock);
	vector = vcpu->intc->acknowledge(vcpu->intc_arg);
	host_mutex_unlock(vcpu->vm->lock);
	if (vector < 0)
		return 0;
	if (TRACE(vcpu->vm, irq))
		vm_trace(vcpu->vm, "interrupt vector 0x%x", vector);
	event.vector = (uint8_t)vector;
	vcpu->halted = false;
	/* Another may follow at once (an NMI behind it, a higher priority): look again. */
	atomic_store(&vcpu->notice, true);
	return inject(vcpu, &event);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool vcpu_deaf(struct vcpu *vcpu)
{
	static const struct event event = { .kind = EVENT_IRQ };
	struct vm *vm = vcpu->vm;
	bool routed;

	if (!vcpu->wait_sipi && vm->engine->can_inject(vcpu, &event))
		return false;
	host_mutex_lock(vm->lock);
	routed = vm->irq.nmi_routed && vm->irq.nmi_routed(vm->irq.nmi_routed_arg);
	host_mutex_unlock(vm->lock);
	return !routed;
}

/* All vCPUs are idle: can nothing from outside reach any of them? */
static bool all_deaf(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		if (!vcpu_deaf(vm->vcpu[i]))
			return false;
	return true;
}

static bool noticed(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		if (atomic_load(&vm->vcpu[i]->notice))
			return true;
	return false;
}

/* All vCPUs are idle, and nothing will end that: no interrupt is taken, or no timer is set and no
 * input comes. */
static bool halted_for_ever(struct vm *vm)
{
	/* Notice after input_ended: the last input may just have been posted. */
	return (all_deaf(vm) || vm_quiet(vm)) && !noticed(vm);
}

/* Waits until `until` (host ns) or until somebody calls vm_wake(); wake_lock held. true: it is
 * that late. */
static bool sleep_until(struct vcpu *vcpu, bool (*awake)(const struct vcpu *), uint64_t until)
{
	bool late = false;

	while (!awake(vcpu) && !vcpu->woken && !late) {
		host_cond_wait(vcpu->wake, vcpu->vm->wake_lock, until);
		late = until != UINT64_MAX && host_monotonic_ns() >= until;
	}
	vcpu->woken = false;
	return late;
}

static bool any_noticed(const struct vcpu *vcpu)
{
	return noticed(vcpu->vm);
}

/* All vCPUs are idle: until the next alarm, or until somebody calls vm_wake(). */
static void sleep_halted(struct vm *vm)
{
	uint64_t next = clock_next(&vm->clock);
	struct vcpu *vcpu = vm->vcpu[0];
	uint64_t until = UINT64_MAX;

	if (vm->clock.source == CLOCK_SOURCE_REAL) {
		if (next != ALARM_NONE)
			until = next + vm->clock.real_base_ns;
	} else if (next != ALARM_NONE && !all_deaf(vm)) {
		clock_skip_to(&vm->clock, next);
		return;
	} else if (next != ALARM_NONE) {
		/* Nothing will wake it: time goes on, but no faster than the host's. */
		until = host_monotonic_ns() + (next - least(next, clock_now(&vm->clock)));
	}
	host_mutex_lock(vm->wake_lock);
	atomic_store(&vcpu->sleeping, true);
	if (sleep_until(vcpu, any_noticed, until))
		clock_skip_to(&vm->clock, next);
	atomic_store(&vcpu->sleeping, false);
	host_mutex_unlock(vm->wake_lock);
}

/* The vCPU whose turn it is has nothing to do. */
static void idle_in_turn(struct vm *vm)
{
	if (turns_pass(vm))
		return;
	if (vm->halt_ends && halted_for_ever(vm))
		vm_request(vm, VM_HALTED, 0);
	else
		sleep_halted(vm);
}

/* --- the same for a vCPU with a thread of its own --- */

static bool must_look(const struct vcpu *vcpu)
{
	return atomic_load(&vcpu->notice) || atomic_load(&vcpu->vm->crew.parking);
}

/* Every thread sleeps, and nothing will end that. wake_lock held. */
static bool asleep_for_ever(const struct vm *vm)
{
	bool quiet = vm_quiet(vm);

	for (unsigned i = 0; i < vm->vcpus; i++)
		if (!atomic_load(&vm->vcpu[i]->sleeping) || !(vm->vcpu[i]->deaf || quiet) ||
		    must_look(vm->vcpu[i]))
			return false;
	return true;
}

/* vCPU 0 is who fires alarms in time; the others look at them while they run. */
static void idle_alone(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	uint64_t next = vcpu->index == 0 ? clock_next(&vm->clock) : ALARM_NONE;
	bool is_deaf = vcpu_deaf(vcpu), for_ever;

	steal_leave(vcpu);
	host_mutex_lock(vm->wake_lock);
	vcpu->deaf = is_deaf;
	atomic_store(&vcpu->sleeping, true);
	for_ever = vm->halt_ends && asleep_for_ever(vm);
	if (!for_ever)
		sleep_until(vcpu, must_look,
			    next == ALARM_NONE ? UINT64_MAX : next + vm->clock.real_base_ns);
	atomic_store(&vcpu->sleeping, false);
	host_mutex_unlock(vm->wake_lock);
	if (for_ever)
		vm_request(vm, VM_HALTED, 0);
}

static void idle(struct vcpu *vcpu)
{
	if (vcpu->vm->crew.used)
		idle_alone(vcpu);
	else
		idle_in_turn(vcpu->vm);
}

/* How many instructions may retire before the loop has to look around. */
static uint64_t budget_for(struct vm *vm, uint64_t left)
{
	uint64_t budget = least(left, vm->slice);

	if (vm->vcpus > 1 && !vm->crew.used)
		budget = least(budget, vm->turns.left);
	if (vm->clock.source == CLOCK_SOURCE_COUNTED && vm->clock.first) {
		uint64_t now = clock_now(&vm->clock), next = clock_next(&vm->clock);

		budget = least(budget, next > now ? next - now : 1);
	}
	return budget;
}

static void fire_alarms(struct vm *vm)
{
	if (clock_next(&vm->clock) > clock_now(&vm->clock))
		return;
	host_mutex_lock(vm->lock);
	clock_fire(&vm->clock);
	host_mutex_unlock(vm->lock);
}

static int take_signals(struct vcpu *vcpu)
{
	int err;

	if (!vcpu->init_waiting && !vcpu->sipi_waiting)
		return 0;
	err = vcpu_settle(vcpu);
	if (err)
		return err;
	host_mutex_lock(vcpu->vm->lock);
	err = irq_take_signals(vcpu, &vcpu->trouble);
	host_mutex_unlock(vcpu->vm->lock);
	return err;
}

/* The vCPU has retired so many, and taken events that count as as many as that. */
static void count(struct vcpu *vcpu, uint64_t instructions, uint64_t events)
{
	struct vm *vm = vcpu->vm;

	if (!vm->crew.used)
		turns_count(vm, instructions + events);
	else if (atomic_fetch_add(&vm->retired, instructions) + instructions >=
		 atomic_load(&vm->limit))
		vm_look(vm);
}

static int run(struct vcpu *vcpu, uint64_t left)
{
	struct exit exit = { .reason = EXIT_KICK };
	uint64_t before = *vcpu->retired;
	int err;

	vcpu->entries++;
	/* Not sooner: who wakes for nothing, after a change of engines, has not run. */
	if (vcpu->away)
		steal_enter(vcpu);
	steal_measure(vcpu);
	vcpu->budget = budget_for(vcpu->vm, left);
	bells_run(vcpu->vm);
	gate_enter(vcpu);
	err = vcpu->vm->engine->run(vcpu, &exit);
	gate_leave(vcpu);
	if (err)
		return err;
	exit_handle(vcpu, &exit);
	count(vcpu, *vcpu->retired - before, storm_look(vcpu));
	return 0;
}

int vcpu_round(struct vcpu *vcpu, uint64_t left)
{
	struct vm *vm = vcpu->vm;
	int err;

	if (vcpu->trouble.code)
		return vcpu->trouble.code;
	vm_wait_resumed(vm);
	atomic_store(&vcpu->notice, false);
	/* In the order in which it was posted, so always on one thread. */
	if (vcpu->index == 0 || !vm->crew.used)
		posted_take(vm);
	fire_alarms(vm);
	err = take_signals(vcpu);
	if (!err)
		err = deliver(vcpu);
	if (err)
		return err;
	if (vcpu->storm.due) { /* by what was delivered: a request must not find it so */
		count(vcpu, 0, storm_look(vcpu));
		return 0;
	}
	if (vcpu->halted && atomic_exchange(&vcpu->kicked, false))
		vcpu->halted = false;
	if (atomic_load(&vm->request) != VM_NONE)
		return 0;
	if ((!vcpu->halted && !vcpu->wait_sipi) || atomic_load(&vm->hands_free))
		return run(vcpu, left);
	idle(vcpu);
	return 0;
}

/* Takes the request, if any. */
static enum vm_request take_request(struct vm *vm, int *status)
{
	enum vm_request request;

	host_mutex_lock(vm->wake_lock);
	request = (enum vm_request)atomic_exchange(&vm->request, VM_NONE);
	*status = atomic_load(&vm->request_status);
	host_mutex_unlock(vm->wake_lock);
	return request;
}

static bool restarts(const struct vm *vm, enum vm_request request)
{
	return (request == VM_RESET || request == VM_CRASHED) && !vm->no_reboot && vm->booted;
}

/* A reset the guest asked for, or deserved. VM_NONE: go on running. */
static enum vm_request restart(struct vm *vm, int *status, struct fail *why)
{
	vm_reset(vm);
	*status = vm->booted(vm->booted_arg, why);
	return *status ? VM_STUCK : VM_NONE;
}

/* The host failed under the engine, which may have said how. */
static enum vm_request stuck(struct vcpu *vcpu, int err, int *status, struct fail *why)
{
	const char *name = vcpu->vm->engine->name;

	if (vcpu->trouble.code)
		fail(why, err, "engine %s failed: %s", name, vcpu->trouble.text);
	else
		fail(why, err, "engine %s failed: %s", name, strerror(-err));
	*status = err;
	return VM_STUCK;
}

/* Parks all vCPUs, each with its last instruction finished, and all that the machine is in its own
 * hands. 0, or what kept *which from that. */
static int stop_all(struct vm *vm, struct vcpu **which)
{
	int err = 0, rest;

	crew_park(vm);
	for (unsigned i = 0; !err && i < vm->vcpus; i++) {
		*which = vm->vcpu[i];
		if (vm->crew.used && i > 0) /* done on its own thread */
			err = (*which)->trouble.code;
		else
			err = vcpu_settle(*which);
	}
	rest = vm_rest(vm);
	if (!err && rest)
		*which = vm->vcpu[0];
	return err ? err : rest;
}

/* One look at the whole machine, which stands still. VM_NONE to go on, unless `done`. */
static enum vm_request look_around(struct vm *vm, bool done, int *status, struct fail *why)
{
	enum vm_request request = VM_NONE;
	struct vcpu *vcpu = NULL;
	int err;

	atomic_store(&vm->stand_still, false);
	err = stop_all(vm, &vcpu);
	if (err)
		return stuck(vcpu, err, status, why);
	if (atomic_load(&vm->request) != VM_NONE)
		request = take_request(vm, status);
	if (restarts(vm, request))
		request = restart(vm, status, why);
	if (request == VM_NONE && vm_retired(vm) >= vm->stop_at)
		request = VM_STOP_AT;
	if (request == VM_NONE && !done) {
		err = switch_take(vm, why);
		if (err) {
			*status = err;
			return VM_STUCK;
		}
		crew_go(vm);
	}
	return request;
}

static enum vm_request run_machine(struct vm *vm, uint64_t instructions, int *status,
				   struct fail *why)
{
	uint64_t start = vm_retired(vm);

	for (;;) {
		uint64_t now = vm_retired(vm), left = instructions - (now - start);
		bool done = now - start >= instructions;
		enum vm_request request = VM_NONE;
		struct vcpu *vcpu;
		int err;

		if (atomic_load(&vm->request) != VM_NONE || done || now >= vm->stop_at ||
		    atomic_load(&vm->stand_still) || switch_wanted(vm))
			request = look_around(vm, done, status, why);
		if (request != VM_NONE || done)
			return request;
		left = least(left, vm->stop_at - now);
		left = least(left, switch_due(vm) - now);
		atomic_store(&vm->limit, left > UINT64_MAX - now ? UINT64_MAX : now + left);
		vcpu = vm->vcpu[vm_turn(vm)];
		err = vcpu_round(vcpu, left);
		if (err)
			return stuck(vcpu, err, status, why);
	}
}

enum vm_request vm_run(struct vm *vm, uint64_t instructions, int *status, struct fail *why)
{
	enum vm_request request;
	int err;

	atomic_store(&vm->retired, vm_retired(vm));
	err = crew_start(vm, why);
	if (err) {
		*status = err;
		return VM_STUCK;
	}
	request = run_machine(vm, instructions, status, why);
	crew_stop(vm);
	if (atomic_load(&vm->hands_free)) /* the engine failed, and has it still */
		vm_rest(vm);
	return request;
}
