/*
 * irq.c - lines fan out to the controllers, messages reach the local APICs.
 *
 * The idea: nothing here decides. A line's level is remembered only so that a
 * controller hears of changes; priority, masking and edge detection are the
 * controllers' own. INIT and SIPI are the exception: they change the CPU, not
 * an interrupt controller, and so end here.
 *
 * Not modelled: several drivers on one line, SMM (SMI messages go nowhere),
 * the blocking of INIT in SMM or VMX operation.
 *
 * Spec: SDM vol. 3 9.1 (state after INIT), 9.4 (multiple-processor
 * initialization), 11.4.7. Tested by test/unit/irq.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/irq.h"

#include "machine/vm.h"

bool irq_add_sink(struct vm *vm, void (*line)(void *, unsigned, int), void *arg)
{
	struct irq *irq = &vm->irq;

	if (irq->sinks == IRQ_SINKS)
		return false;
	irq->sink[irq->sinks++] = (struct irq_sink){ .line = line, .arg = arg };
	return true;
}

void irq_set(struct vm *vm, unsigned gsi, int level)
{
	struct irq *irq = &vm->irq;

	level = !!level;
	if (gsi >= IRQ_LINES || irq->level[gsi] == level)
		return;
	irq->level[gsi] = (uint8_t)level;
	if (TRACE(vm, irq))
		vm_trace(vm, "irq: line %u %s", gsi, level ? "up" : "down");
	for (unsigned i = 0; i < irq->sinks; i++)
		irq->sink[i].line(irq->sink[i].arg, gsi, level);
}

bool irq_message(struct vm *vm, const struct apic_message *m)
{
	if (TRACE(vm, irq))
		vm_trace(vm, "irq: message vector 0x%02x mode %u to %s 0x%x", m->vector, m->mode,
			 m->logical ? "logical" : "physical", (unsigned)m->dest);
	return vm->irq.message && vm->irq.message(vm->irq.message_arg, m);
}

void irq_eoi(struct vm *vm, uint8_t vector)
{
	if (vm->irq.eoi)
		vm->irq.eoi(vm->irq.eoi_arg, vector);
}

void irq_notice(struct vm *vm, unsigned vcpu_index)
{
	vm_wake(vm, vcpu_index);
}

void irq_nmi(struct vm *vm, unsigned vcpu_index)
{
	if (vcpu_index >= vm->vcpus)
		return;
	vm->vcpu[vcpu_index]->nmi_waiting = true;
	vm_wake(vm, vcpu_index);
}

void irq_init(struct vm *vm, unsigned vcpu_index)
{
	if (vcpu_index >= vm->vcpus)
		return;
	vm->vcpu[vcpu_index]->init_waiting = true;
	vm->vcpu[vcpu_index]->sipi_waiting = false; /* one sent before the INIT is lost */
	vm_wake(vm, vcpu_index);
}

void irq_sipi(struct vm *vm, unsigned vcpu_index, uint8_t vector)
{
	struct vcpu *vcpu;

	if (vcpu_index >= vm->vcpus)
		return;
	vcpu = vm->vcpu[vcpu_index];
	if (vcpu->sipi_waiting) /* the first of the usual two counts */
		return;
	vcpu->sipi_waiting = true;
	vcpu->sipi_vector = vector;
	vm_wake(vm, vcpu_index);
}

void irq_drop_signals(struct vcpu *vcpu)
{
	vcpu->nmi_waiting = false;
	vcpu->init_waiting = false;
	vcpu->sipi_waiting = false;
	vcpu->sipi_vector = 0;
	vcpu->kicked = false;
}

/* A processor that waits for SIPI starts in real mode at vector * 4 KiB; any other ignores it. */
static bool sipi_state(struct x86_state *s, uint8_t vector)
{
	if (s->activity != ACTIVITY_WAIT_SIPI)
		return false;
	s->seg[CS].selector = (uint16_t)(vector << 8);
	s->seg[CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	s->activity = ACTIVITY_RUN;
	return true;
}

int irq_take_signals(struct vcpu *vcpu, struct fail *why)
{
	struct x86_state s;
	bool changed = false;
	int err;

	if (!vcpu->init_waiting && !vcpu->sipi_waiting)
		return 0;
	vcpu->vm->engine->get_state(vcpu, &s);
	if (vcpu->init_waiting) {
		x86_state_init(&s, vcpu->index == 0);
		vcpu->nmi_waiting = false;
		vcpu->kicked = false;
		steal_reset(vcpu);
		changed = true;
	}
	if (vcpu->sipi_waiting)
		changed |= sipi_state(&s, vcpu->sipi_vector);
	vcpu->init_waiting = false;
	vcpu->sipi_waiting = false;
	if (!changed)
		return 0;
	vcpu->halted = s.activity == ACTIVITY_HALT;
	vcpu->wait_sipi = s.activity == ACTIVITY_WAIT_SIPI;
	gate_enter(vcpu);
	err = vcpu->vm->engine->set_state(vcpu, &s, why);
	gate_leave(vcpu);
	return err;
}
