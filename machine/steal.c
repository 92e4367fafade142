/*
 * steal.c - steal time, and the flag that a vCPU does not run (see steal.h).
 *
 * The structure is in guest memory, its counter too; the machine adds to it. Two things are told:
 *
 * How long the vCPU could have run and did not. When vCPUs take turns that is the time of the
 * others' turns, exact to the instruction; on a thread of its own it is what the host's clock
 * says less what the thread's processor time says, looked at about once a millisecond.
 *
 * Whether it runs now. `preempted` is set while it sleeps in HLT, or has not its turn. A
 * guest whose kernel wants another CPU's TLB flushed then sets a bit beside the flag instead of
 * sending an interrupt and waiting for the answer: the flush is done before the vCPU's next
 * instruction. Also spinning for a lock makes no sense while its holder does not run. An engine
 * that cannot flush a TLB by itself never has the flag set.
 *
 * An engine may have its own way to do all of it (KVM in the kernel): then this is silent.
 *
 * Not modelled: that the host's scheduler has taken the processor from a vCPU's thread shows in the
 * counter, afterwards, not in the flag; what is stolen while the engine has the local APICs and
 * with them HLT.
 *
 * Spec: steal.h. Tested by test/unit/steal.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/steal.h"

#include <stddef.h>

#include "cpu/msr.h"
#include "machine/vm.h"

#define ENABLE   UINT64_C(1)
#define RESERVED UINT64_C(0x3e) /* the structure is aligned to 64 bytes */

#define PREEMPTED 1u
#define FLUSH_TLB 2u

/* How often a thread looks at its processor time, in host ns. */
#define LOOK_NS UINT64_C(1000000)

/* kvm_steal_time */
struct steal_time {
	uint64_t steal;   /* ns */
	uint32_t version; /* odd: being updated */
	uint32_t flags;
	uint8_t preempted;
	uint8_t pad[3];
	uint32_t rest[11];
};
_Static_assert(sizeof(struct steal_time) == 64, "the guest's layout");

static bool is_on(const struct vcpu *vcpu)
{
	return vcpu->kvm_steal_time & ENABLE && !vcpu->steal_elsewhere;
}

static gpa_t place(const struct vcpu *vcpu)
{
	return gpa(vcpu->kvm_steal_time & ~(ENABLE | RESERVED));
}

/* NULL: the guest gave an address that is not RAM, which is accepted and ignored. */
static struct steal_time *find(struct vcpu *vcpu)
{
	struct mem *m = &vcpu->vm->mem;
	gpa_t at = place(vcpu);

	if (!mem_is_memory(m, at, sizeof(struct steal_time), true))
		return NULL;
	return mem_host(m, at, sizeof(struct steal_time));
}

static void written(struct vcpu *vcpu)
{
	mem_written(&vcpu->vm->mem, place(vcpu), sizeof(struct steal_time));
}

static void add(struct vcpu *vcpu, struct steal_time *t, uint64_t ns)
{
	uint32_t version = __atomic_load_n(&t->version, __ATOMIC_RELAXED);

	version += version & 1; /* rubbish that was there */
	__atomic_store_n(&t->version, version + 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_release);
	__atomic_fetch_add(&t->steal, ns, __ATOMIC_RELAXED);
	__atomic_store_n(&t->version, version + 2, __ATOMIC_RELEASE);
	written(vcpu);
}

static void flush(struct vcpu *vcpu)
{
	exit_count(vcpu, EXIT_TLB_FLUSH);
	gate_enter(vcpu);
	vcpu->vm->engine->flush_tlb(vcpu);
	gate_leave(vcpu);
}

void steal_leave(struct vcpu *vcpu)
{
	struct steal_time *t = is_on(vcpu) ? find(vcpu) : NULL;

	if (!t || vcpu->away || !vcpu->vm->engine->flush_tlb)
		return;
	if (!vcpu->vm->crew.used && !vcpu->halted && !vcpu->wait_sipi)
		vcpu->steal_since = clock_now(&vcpu->vm->clock);
	vcpu->away = true;
	__atomic_store_n(&t->preempted, PREEMPTED, __ATOMIC_SEQ_CST);
	written(vcpu);
}

void steal_enter(struct vcpu *vcpu)
{
	struct steal_time *t = is_on(vcpu) ? find(vcpu) : NULL;
	uint64_t since = vcpu->steal_since, now;

	vcpu->away = false;
	vcpu->steal_since = 0;
	vcpu->steal_looked = 0;
	if (!t)
		return;
	if (__atomic_load_n(&t->preempted, __ATOMIC_RELAXED)) {
		uint8_t flag = __atomic_exchange_n(&t->preempted, 0, __ATOMIC_SEQ_CST);

		written(vcpu);
		if (flag & FLUSH_TLB && vcpu->vm->engine->flush_tlb)
			flush(vcpu);
	}
	/* Its turn may have come back at once: nobody else had anything to do. */
	now = clock_now(&vcpu->vm->clock);
	if (since && now > since)
		add(vcpu, t, now - since);
}

void steal_measure(struct vcpu *vcpu)
{
	uint64_t now, used, passed, ran;
	struct steal_time *t;

	if (!is_on(vcpu) || !vcpu->vm->crew.used)
		return;
	if (atomic_load(&vcpu->vm->hands_free)) { /* it may sleep in there */
		vcpu->steal_looked = 0;
		return;
	}
	now = host_monotonic_ns();
	if (vcpu->steal_looked && now - vcpu->steal_looked < LOOK_NS)
		return;
	used = host_thread_cpu_ns();
	passed = now - vcpu->steal_looked;
	ran = used - vcpu->steal_used;
	t = vcpu->steal_looked && ran < passed ? find(vcpu) : NULL;
	vcpu->steal_looked = now;
	vcpu->steal_used = used;
	if (t)
		add(vcpu, t, passed - ran);
}

void steal_attach(struct vcpu *vcpu)
{
	const struct engine_ops *engine = vcpu->vm->engine;

	vcpu->steal_elsewhere = vcpu->vm->kvm_services && engine->steal_time &&
				engine->steal_time(vcpu, vcpu->kvm_steal_time);
	vcpu->steal_looked = 0;
	/* Whose turn it is does not come back to it; on threads, whoever ran it may have left the
	 * flag set. */
	vcpu->away = is_on(vcpu) && (vcpu->vm->crew.used || vcpu->index != vm_turn(vcpu->vm));
}

void steal_reset(struct vcpu *vcpu)
{
	vcpu->kvm_steal_time = 0;
	vcpu->steal_since = 0;
	steal_attach(vcpu);
}

bool steal_rdmsr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	if (index != MSR_KVM_STEAL_TIME || !vcpu->vm->kvm_services)
		return false;
	*value = vcpu->kvm_steal_time;
	return true;
}

bool steal_wrmsr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	if (index != MSR_KVM_STEAL_TIME || !vcpu->vm->kvm_services || value & RESERVED)
		return false;
	vcpu->kvm_steal_time = value;
	vcpu->steal_since = 0;
	steal_attach(vcpu);
	if (is_on(vcpu) && find(vcpu)) {
		__atomic_store_n(&find(vcpu)->preempted, 0, __ATOMIC_RELAXED);
		written(vcpu);
	}
	return true;
}
