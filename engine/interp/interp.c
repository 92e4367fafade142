/*
 * interp.c - the interpreter as an engine: opening, closing, injecting, state in and out.
 *
 * While it runs, the general registers, RIP and the arithmetic flags live in struct
 * interp's own fields; everything else is in the architectural form all the time.
 *
 * Tested by test/unit/interp_run.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/interp/engine_interp.h"
#include "engine/interp/place.h"
#include "engine/interp/run.h"

static int probe(struct fail *why)
{
	return cpu_model_best(why) ? 0 : -ENOTSUP;
}

static void code_written(void *arg, gpa_t at, uint64_t bytes)
{
	cache_written_all(arg, NULL, at, bytes);
}

static int vm_open_interp(struct vm *vm, struct fail *why)
{
	(void)why;
	vm->mem.code_written = code_written;
	vm->mem.code_arg = vm;
	return 0;
}

static void vcpu_close_interp(struct vcpu *vcpu)
{
	struct interp *c = vcpu->engine;

	if (!c)
		return;
	interp_vector_close(c);
	cache_free(c->cache);
	decoder_free(c->decoder);
	tlb_fini(&c->tlb);
	host_free(c);
	vcpu->engine = NULL;
}

static int vcpu_open_interp(struct vcpu *vcpu, struct fail *why)
{
	struct interp *c = host_alloc(sizeof(*c));
	int err;

	if (!c)
		return fail(why, -ENOMEM, "no memory for a vCPU of the interpreter");
	c->vcpu = vcpu;
	vcpu->engine = c;
	vcpu->retired = &c->s.instructions;
	err = tlb_init(&c->tlb);
	c->tlb.lasting = vcpu->vm->clock.source == CLOCK_SOURCE_REAL;
	c->decoder = decoder_new(vcpu->vm->cpu_model);
	c->cache = cache_new(c);
	if (err || !c->decoder || !c->cache)
		err = fail(why, -ENOMEM, "no memory for the interpreter's caches");
	if (!err)
		err = interp_vector_open(c, why);
	if (err) {
		vcpu_close_interp(vcpu);
		return err;
	}
	x86_state_reset(&c->s, vcpu->index == 0);
	interp_mode_changed(c);
	interp_idle(c);
	return 0;
}

static void forget(struct vcpu *vcpu)
{
	struct interp *c = vcpu->engine;

	tlb_flush_all(&c->tlb);
	cache_flush(c->cache);
}

static void flush_tlb(struct vcpu *vcpu)
{
	struct interp *c = vcpu->engine;

	tlb_flush_all(&c->tlb);
}

/* Slots may come and go only while no vCPU runs; host addresses are what TLB and cache hold. */
static int map(struct vm *vm, const struct mem_slot *slot)
{
	(void)slot;
	for (unsigned i = 0; i < vm->vcpus; i++)
		forget(vm->vcpu[i]);
	return 0;
}

static void unmap(struct vm *vm, const struct mem_slot *slot)
{
	(void)map(vm, slot);
}

static void kick(struct vcpu *vcpu)
{
	struct interp *c = vcpu->engine;

	atomic_store(&c->kicked, true);
}

/* Instructions are never half done between runs. */
static int settle(struct vcpu *vcpu, struct exit *exit)
{
	(void)vcpu;
	(void)exit;
	return 0;
}

static int inject(struct vcpu *vcpu, const struct event *event)
{
	struct interp *c = vcpu->engine;
	bool nmi = event->kind == EVENT_NMI;

	storm_event(&vcpu->storm, c->s.instructions);
	if (!interp_deliver_interrupt(c, nmi ? VEC_NMI : event->vector, nmi))
		c->s.activity = ACTIVITY_SHUTDOWN;
	return 0;
}

static uint64_t instructions(const struct vcpu *vcpu)
{
	return *vcpu->retired;
}

static void get_state(struct vcpu *vcpu, struct x86_state *out)
{
	const struct interp *c = vcpu->engine;

	*out = c->s;
	memcpy(out->gpr, c->r, sizeof(out->gpr));
	out->rip = c->r[R_RIP];
	out->rflags = interp_rflags(c);
}

static int set_state(struct vcpu *vcpu, const struct x86_state *in, struct fail *why)
{
	struct interp *c = vcpu->engine;
	int err = x86_state_check(vcpu->vm->cpu_model, in, why);

	if (err)
		return err;
	c->s = *in;
	memcpy(c->r, in->gpr, sizeof(in->gpr));
	c->r[R_RIP] = in->rip;
	interp_set_arith(c, in->rflags);
	c->db_hit = false;
	c->db_bits = 0;
	tlb_flush_all(&c->tlb);
	tlb_switch(&c->tlb, in->cr4 & CR4_PCIDE ? (unsigned)in->cr3 & 0xfff : 0, true);
	interp_mode_changed(c);
	interp_idle(c);
	return 0;
}

static void figures(const struct vcpu *vcpu, figure_fn tell, void *arg)
{
	const struct interp *c = vcpu->engine;

	tell(arg, NULL, "blocks", c->cache->blocks);
	tell(arg, NULL, "blocks_killed", c->cache->killed);
	tell(arg, NULL, "cache_flushes", c->cache->flushes);
	tell(arg, NULL, "cache_evictions", c->cache->evictions);
	tell(arg, NULL, "tlb_fills", c->tlb.fills);
	tell(arg, NULL, "tlb_flushes", c->tlb.flushes);
}

const struct engine_ops interp_ops = {
	.name = "interp",
	.caps = ENGINE_DIRTY_LOG | ENGINE_STEP | ENGINE_COUNTED | ENGINE_THREADS |
		ENGINE_BHI_CONTROL,
	.probe = probe,
	.vm_open = vm_open_interp,
	.map = map,
	.unmap = unmap,
	.vcpu_open = vcpu_open_interp,
	.vcpu_close = vcpu_close_interp,
	.run = interp_run,
	.kick = kick,
	.settle = settle,
	.can_inject = interp_can_inject,
	.inject = inject,
	.instructions = instructions,
	.get_state = get_state,
	.set_state = set_state,
	.forget = forget,
	.flush_tlb = flush_tlb,
	.figures_name = "interpretation",
	.figures = figures,
};
