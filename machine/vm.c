/*
 * vm.c - building, resetting and taking down one virtual machine.
 *
 * Order matters only here: the engine is opened before memory is mapped, devices
 * come after the vCPUs they talk to, and everything goes in reverse.
 *
 * SPDX-License-Identifier: MIT
 */
#include "machine/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/order.h"
#include "machine/post.h"

/* Counted machines start on this day unless told otherwise: 2024-01-01 00:00:00 UTC. */
#define COUNTED_WALL_NS (UINT64_C(1704067200) * UINT64_C(1000000000))

/* About a millisecond of the interpreter: how late a host-side event may be seen. With several
 * vCPUs on one thread, how long one waits for the others. */
#define DEFAULT_SLICE 100000
#define DEFAULT_TURN  10000

static void earlier_alarm(void *arg)
{
	/* The run loop must look again: its instruction budget was cut for a later alarm. */
	vm_look(arg);
}

static int open_vcpu(struct vm *vm, unsigned index, struct fail *why)
{
	struct vcpu *vcpu = host_alloc(sizeof(*vcpu));
	int err;

	if (!vcpu)
		return fail(why, -ENOMEM, "no memory for a vCPU");
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->wake = host_cond_new();
	err = vcpu->wake ? vm->engine->vcpu_open(vcpu, why)
			 : fail(why, -ENOMEM, "no memory for a vCPU");
	if (err) {
		host_cond_free(vcpu->wake);
		host_free(vcpu);
		return err;
	}
	vm->vcpu[index] = vcpu;
	vm->vcpus = index + 1;
	return 0;
}

static int open_host_things(struct vm *vm, const struct vm_config *config, struct fail *why)
{
	vm->lock = host_mutex_in_order(ORDER_DEVICE);
	vm->wake_lock = host_mutex_in_order(ORDER_WAKE);
	vm->resumed = host_cond_new();
	vm->posted = posted_new();
	vm->ahead = host_ahead_new();
	if (!vm->ahead || !vm->lock || !vm->wake_lock || !vm->resumed || !vm->posted)
		return fail(why, -ENOMEM, "no memory for a virtual machine");
	if (config->vcpus > 1 && !config->counted && config->engine->caps & ENGINE_THREADS &&
	    crew_open(vm))
		return fail(why, -ENOMEM, "no memory for threads of vCPUs");
	return 0;
}

static void start_clock(struct vm *vm, const struct vm_config *config)
{
	clock_init(&vm->clock, config->counted ? CLOCK_SOURCE_COUNTED : CLOCK_SOURCE_REAL,
		   vm->vcpu[0]->retired);
	if (config->tsc_khz)
		vm->clock.tsc_khz = config->tsc_khz;
	else if (vm->engine->tsc_khz && vm->engine->tsc_khz())
		vm->clock.tsc_khz = vm->engine->tsc_khz();
	vm->clock.wall_base_ns = config->wall_ns   ? config->wall_ns
				 : config->counted ? COUNTED_WALL_NS
						   : host_wall_ns();
	vm->clock.earlier = earlier_alarm;
	vm->clock.earlier_arg = vm;
}

static const struct cpu_model *choose_model(const struct vm_config *config, struct fail *why)
{
	if (config->cpu)
		return config->cpu;
	return config->engine->cpu_model ? config->engine->cpu_model(why) : cpu_model_best(why);
}

static int check_engine(const struct vm_config *config, struct fail *why)
{
	if (config->counted && !(config->engine->caps & ENGINE_COUNTED))
		return fail(why, -EINVAL,
			    "engine %s does not count instructions: a counted machine cannot run "
			    "on it",
			    config->engine->name);
	if (config->vcpus > 1 && !(config->engine->caps & (ENGINE_COUNTED | ENGINE_THREADS)))
		return fail(why, -EINVAL, "engine %s does not run several vCPUs",
			    config->engine->name);
	return 0;
}

bool vm_hypercalls(const struct vm *vm)
{
	return !vm->engine->hypercalls || vm->engine->hypercalls();
}

/* One vCPU's; what nobody asked for is not little. */
static uint64_t code_cache_share(const struct vm_config *config)
{
	uint64_t asked = config->engine_options.code_cache,
		 share = (asked ? asked : CODE_CACHE_DEFAULT) / config->vcpus,
		 least = asked ? CODE_CACHE_LEAST : CODE_CACHE_SMALL;

	return share > least ? share : least;
}

struct vm *vm_open(const struct vm_config *config, struct fail *why)
{
	struct vm *vm = host_alloc(sizeof(*vm));
	int err;

	if (!vm) {
		fail(why, -ENOMEM, "no memory for a virtual machine");
		return NULL;
	}
	vm->engine = config->engine;
	vm->engine_options = config->engine_options;
	vm->engine_options.code_cache = code_cache_share(config);
	vm->cpu_model = choose_model(config, why);
	vm->devices_tail = &vm->devices;
	vm->trace = config->trace;
	vm->vcpus_planned = config->vcpus;
	vm->stop_at = UINT64_MAX;
	err = vm->cpu_model ? check_engine(config, why) : -ENOTSUP;
	if (!err)
		err = open_host_things(vm, config, why);
	vm->slice = config->slice                         ? config->slice
		    : config->vcpus > 1 && !vm->crew.used ? DEFAULT_TURN
							  : DEFAULT_SLICE;
	if (!err && vm->engine->vm_open)
		err = vm->engine->vm_open(vm, why);
	vm->engine_open = !err;
	vm->bhi_control = vm->engine->caps & ENGINE_BHI_CONTROL;
	vm->kvm_services = config->vcpus > 1 && !config->no_kvm_services && vm_hypercalls(vm);
	for (unsigned i = 0; !err && i < config->vcpus; i++)
		err = open_vcpu(vm, i, why);
	if (err) {
		vm_close(vm);
		return NULL;
	}
	start_clock(vm, config);
	vm_reset(vm);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (!vm->vcpu[i]->trouble.code)
			continue;
		fail(why, vm->vcpu[i]->trouble.code, "%s", vm->vcpu[i]->trouble.text);
		vm_close(vm);
		return NULL;
	}
	return vm;
}

void vm_close(struct vm *vm)
{
	if (!vm)
		return;
	bells_stop(vm);
	host_ahead_free(vm->ahead);
	vm->ahead = NULL;
	while (vm->devices) {
		struct device *dev = vm->devices;

		vm->devices = dev->next;
		if (dev->ops->destroy)
			dev->ops->destroy(dev);
		else
			host_free(dev);
	}
	mem_free(vm);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		vm->engine->vcpu_close(vm->vcpu[i]);
		host_cond_free(vm->vcpu[i]->wake);
		host_free(vm->vcpu[i]);
	}
	if (vm->engine_open && vm->engine->vm_close)
		vm->engine->vm_close(vm);
	bus_free(&vm->port);
	bus_free(&vm->mmio);
	bells_free(vm);
	posted_free(vm->posted);
	crew_close(vm);
	host_cond_free(vm->resumed);
	host_mutex_free(vm->wake_lock);
	host_mutex_free(vm->lock);
	host_free(vm);
}

static void reset_vcpu(struct vcpu *vcpu)
{
	struct x86_state s, old;
	struct fail why;

	/* The instruction counter counts from power-on: virtual time must not jump back. */
	vcpu->vm->engine->get_state(vcpu, &old);
	x86_state_reset(&s, vcpu->index == 0);
	s.instructions = old.instructions;
	s.random_state = (uint64_t)vcpu->index << 58; /* each draws its own numbers */
	if (vcpu->vm->engine->set_state(vcpu, &s, &why))
		vcpu->trouble = why; /* told by the run loop */
	vcpu->halted = false;
	vcpu->wait_sipi = s.activity == ACTIVITY_WAIT_SIPI;
	irq_drop_signals(vcpu);
	vcpu->tsc_offset = s.tsc_offset;
	vcpu->want_window = false;
	vcpu->kvm_system_time = 0;
	vcpu->kvm_clock_version = 0;
	storm_set(vcpu, 0);
	steal_reset(vcpu);
	atomic_store(&vcpu->notice, true);
}

void vm_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++)
		reset_vcpu(vm->vcpu[i]);
	vm->kvm_wall_msr = 0;
	turns_reset(vm);
	host_mutex_lock(vm->lock);
	memset(vm->irq.level, 0, sizeof(vm->irq.level));
	for (struct device *dev = vm->devices; dev; dev = dev->next)
		dev->ops->reset(dev);
	host_mutex_unlock(vm->lock);
}

void vm_request(struct vm *vm, enum vm_request what, int status)
{
	int before;
	bool restarts;

	host_mutex_lock(vm->wake_lock);
	before = atomic_load(&vm->request);
	restarts = (before == VM_RESET || before == VM_CRASHED) && !vm->no_reboot && vm->booted;
	/* A guest that resets all the time must not keep its user from quitting. */
	if (before == VM_NONE || (restarts && what == VM_QUIT)) {
		atomic_store(&vm->request_status, status);
		atomic_store(&vm->request, (int)what);
	}
	if (vm->crew.used) /* no more rounds before it is taken */
		atomic_store(&vm->crew.parking, true);
	host_cond_broadcast(vm->resumed); /* who is paused looks at requests, too */
	host_mutex_unlock(vm->wake_lock);
	/* Whoever asks stops after the instruction that did, the others soon. */
	for (unsigned i = 0; vm->crew.used && i < vm->vcpus; i++)
		vm_wake(vm, i);
	vm_look(vm);
}

void vm_input_ended(struct vm *vm)
{
	if (vm->connected)
		return;
	atomic_store(&vm->input_ended, true);
	vm_look(vm);
}

bool vm_quiet(const struct vm *vm)
{
	return clock_next(&vm->clock) == ALARM_NONE && atomic_load(&vm->input_ended) &&
	       atomic_load(&vm->expected) == 0;
}

/* The lock keeps the engine from being changed meanwhile. */
static void kick(struct vm *vm, struct vcpu *vcpu)
{
	host_mutex_lock(vm->wake_lock);
	if (atomic_load(&vcpu->in_guest))
		vm->engine->kick(vcpu);
	host_mutex_unlock(vm->wake_lock);
}

void vm_wake(struct vm *vm, unsigned vcpu_index)
{
	struct vcpu *sleeper;

	if (vcpu_index >= vm->vcpus)
		return;
	atomic_store(&vm->vcpu[vcpu_index]->notice, true);
	if (atomic_load(&vm->vcpu[vcpu_index]->in_guest))
		kick(vm, vm->vcpu[vcpu_index]);
	/* A running vCPU needs no more than the flag; the sleeper re-tests it under the lock. */
	sleeper = vm->vcpu[vm->crew.used ? vcpu_index : 0];
	if (!atomic_load(&sleeper->sleeping))
		return;
	host_mutex_lock(vm->wake_lock);
	sleeper->woken = true;
	host_cond_signal(sleeper->wake);
	host_mutex_unlock(vm->wake_lock);
}

void vm_look(struct vm *vm)
{
	vm_wake(vm, vm_turn(vm));
}

void vm_stand_still(struct vm *vm)
{
	atomic_store(&vm->stand_still, true);
	vm_look(vm);
}

uint64_t vm_retired(const struct vm *vm)
{
	uint64_t sum = 0;

	if (vm->crew.count)
		return atomic_load(&vm->retired);
	for (unsigned i = 0; i < vm->vcpus; i++)
		sum += *vm->vcpu[i]->retired;
	return sum;
}

void vm_trace(struct vm *vm, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n, m;

	n = snprintf(line, sizeof(line), "trace %.6f: ", (double)clock_now(&vm->clock) / 1e9);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n += m;
	if ((size_t)n > sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	line[n++] = '\n';
	host_log(line, (size_t)n);
}
