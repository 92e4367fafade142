/*
 * fake_engine.h - an engine that executes nothing, for tests of the machine alone.
 *
 * run() retires its whole budget at once; the test decides what else happens.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_FAKE_ENGINE_H
#define TEST_FAKE_ENGINE_H

#include <string.h>

#include "machine/vm.h"

struct fake {
	struct x86_state s;
	bool interruptible;
	int injected; /* last vector; -1: none */
	unsigned runs;
};

static int fake_vcpu_open(struct vcpu *vcpu, struct fail *why)
{
	struct fake *f = host_alloc(sizeof(*f));

	(void)why;
	f->injected = -1;
	f->interruptible = true;
	vcpu->engine = f;
	vcpu->retired = &f->s.instructions;
	return 0;
}

static void fake_vcpu_close(struct vcpu *vcpu)
{
	host_free(vcpu->engine);
}

static int fake_run(struct vcpu *vcpu, struct exit *exit)
{
	struct fake *f = vcpu->engine;

	f->runs++;
	f->s.instructions += vcpu->budget;
	exit->reason = EXIT_BUDGET;
	return 0;
}

static void fake_kick(struct vcpu *vcpu)
{
	atomic_store(&vcpu->notice, true);
}

static bool fake_can_inject(struct vcpu *vcpu, const struct event *event)
{
	(void)event;
	return ((struct fake *)vcpu->engine)->interruptible;
}

static int fake_inject(struct vcpu *vcpu, const struct event *event)
{
	((struct fake *)vcpu->engine)->injected = event->vector;
	return 0;
}

static uint64_t fake_instructions(const struct vcpu *vcpu)
{
	return ((struct fake *)vcpu->engine)->s.instructions;
}

static void fake_get_state(struct vcpu *vcpu, struct x86_state *out)
{
	*out = ((struct fake *)vcpu->engine)->s;
}

static int fake_set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	(void)why;
	((struct fake *)vcpu->engine)->s = *in;
	return 0;
}

static const struct engine_ops fake_engine_ops = {
	.name = "fake",
	.caps = ENGINE_COUNTED,
	.vcpu_open = fake_vcpu_open,
	.vcpu_close = fake_vcpu_close,
	.run = fake_run,
	.kick = fake_kick,
	.can_inject = fake_can_inject,
	.inject = fake_inject,
	.instructions = fake_instructions,
	.get_state = fake_get_state,
	.set_state = fake_set_state,
};

static inline struct vm *fake_vm(bool counted)
{
	struct vm_config config = { .engine = &fake_engine_ops, .vcpus = 1, .counted = counted };
	struct fail why;

	return vm_open(&config, &why);
}

#endif
