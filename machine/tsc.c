/*
 * tsc.c - a vCPU's time-stamp counter: virtual time in ticks, plus an offset.
 *
 * The idea: the counter itself does not exist. Setting it only moves the offset, and
 * whatever was computed from the old one follows: the TSC-deadline timer and the
 * paravirtual clock.
 *
 * Spec: SDM vol. 3 18.17. Tested by test/unit/tsc.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/kvmclock.h"
#include "machine/vm.h"

uint64_t vcpu_tsc(const struct vcpu *vcpu)
{
	return clock_tsc(&vcpu->vm->clock) + vcpu->tsc_offset;
}

void vcpu_tsc_moved(struct vcpu *vcpu, uint64_t tsc_offset)
{
	bool inside = gate_step_out(vcpu);

	host_mutex_lock(vcpu->vm->lock);
	vcpu->tsc_offset = tsc_offset;
	kvmclock_update(vcpu);
	if (vcpu->intc && vcpu->intc->tsc_moved)
		vcpu->intc->tsc_moved(vcpu->intc_arg);
	host_mutex_unlock(vcpu->vm->lock);
	gate_step_back(vcpu, inside);
}

void vcpu_set_tsc(struct vcpu *vcpu, struct x86_state *s, uint64_t value)
{
	uint64_t by = value - vcpu_tsc(vcpu);

	s->tsc_offset = vcpu->tsc_offset + by;
	s->tsc_adjust += by;
	vcpu_tsc_moved(vcpu, s->tsc_offset);
}
