/*
 * dirty.c - which pages the guest has written, told by KVM into the marks of mem.h.
 *
 * Stores of the guest do not look at the marks, so KVM notes the pages while that is wanted: in a
 *ring for each vCPU where it has rings, which costs what was written and not what there is; else in
 *a bitmap for each slot. A ring that is full ends KVM_RUN. Everything noted is taken at once,
 *whichever slot was asked for: a page that counts as written too early is sent twice, never
 *forgotten.
 *
 *	guest writes -> DIRTY in the ring -> taken: MARK_CLEAN goes, RESET in the ring ->
 *	KVM_RESET_DIRTY_RINGS: the page is watched again
 *
 * Spec: Linux Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING, KVM_GET_DIRTY_LOG.
 * Tested by test/rig/api.c, test/unit/kvm.c, test/unit/kvm_failures.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "engine/kvm/kvm.h"

#define RING_ENTRIES 4096u
#define RING_BYTES   (RING_ENTRIES * sizeof(struct kvm_dirty_gfn))

int kvm_dirty_open(struct kvm_vm *v, struct fail *why)
{
	struct kvm_enable_cap ring = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { RING_BYTES } };

	v->rings = v->vm->engine_options.dirty_ring && v->device.caps.ring_bytes >= RING_BYTES;
	return v->rings ? (int)KVM_DO(v->fd, KVM_ENABLE_CAP, &ring, why) : 0;
}

int kvm_ring_open(struct kvm_vcpu *k, struct fail *why)
{
	if (!k->vm->rings)
		return 0;
	k->ring = kvm_kernel->map(k->fd, RING_BYTES, (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE);
	return k->ring ? 0 : fail(why, -ENOMEM, "KVM: cannot map a vCPU's dirty ring");
}

void kvm_ring_close(struct kvm_vcpu *k)
{
	if (k->ring)
		kvm_kernel->unmap(k->ring, RING_BYTES);
}

static void written(const struct mem_slot *slot, uint64_t page)
{
	if (slot && page < slot->bytes >> PAGE_SHIFT)
		__atomic_and_fetch(&slot->marks[page], (uint8_t)~MARK_CLEAN, __ATOMIC_RELAXED);
}

/* How many entries were taken; all of them: too many to be sure. */
static unsigned take_ring(struct kvm_vcpu *k)
{
	struct kvm_vm *v = k->vm;
	unsigned taken = 0;

	for (;;) {
		struct kvm_dirty_gfn *e = &k->ring[k->ring_next % RING_ENTRIES];

		if (!(__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY) ||
		    taken == RING_ENTRIES)
			return taken;
		if (e->slot < v->slot_room)
			written(v->slots[e->slot].slot, e->offset);
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		k->ring_next++;
		taken++;
	}
}

int kvm_take_rings(struct kvm_vm *v, struct fail *why)
{
	struct vm *vm = v->vm;
	unsigned taken = 0;
	bool over = false;

	host_mutex_lock(vm->lock);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		unsigned n = take_ring(vm->vcpu[i]->engine);

		over |= n == RING_ENTRIES;
		taken += n;
	}
	host_mutex_unlock(vm->lock);
	if (over)
		return fail(why, -EOVERFLOW, "KVM: the ring of written pages ran over");
	return taken ? (int)KVM_DO(v->fd, KVM_RESET_DIRTY_RINGS, 0, why) : 0;
}

static int take_bitmap(struct kvm_vm *v, const struct kvm_slot *s)
{
	uint64_t pages = s->slot->bytes >> PAGE_SHIFT;
	uint64_t *bits = host_alloc((pages + 63) / 64 * 8);
	struct kvm_dirty_log log = { .slot = s->region.slot, .dirty_bitmap = bits };
	int err = -ENOMEM;

	if (bits)
		err = (int)KVM_DO(v->fd, KVM_GET_DIRTY_LOG, &log, NULL);
	for (uint64_t i = 0; !err && i < pages; i++)
		if (bits[i / 64] >> (i % 64) & 1)
			written(s->slot, i);
	host_free(bits);
	return err;
}

int kvm_dirty(void *arg, struct mem_slot *slot, enum dirty_step step)
{
	struct kvm_vm *v = arg;
	struct kvm_slot *s = kvm_slot_of(v, slot);
	int err;

	if (!s || slot->readonly)
		return 0;
	if (step == DIRTY_FETCH) {
		err = v->rings ? kvm_take_rings(v, &v->vm->vcpu[0]->trouble) : take_bitmap(v, s);
		return err < 0 ? err : 0;
	}
	s->region.flags = step == DIRTY_START ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	return kvm_set_region(v, s, &v->vm->vcpu[0]->trouble);
}
