/*
 * wires.c - messages that an eventfd sends (KVM's irqfd).
 *
 * The idea: an MSI says everything by its address and data, and a device sends the same few again
 * and again. One that was sent WIRE_AFTER times gets a wire: an entry of KVM's routing table that
 * stands for it, and an eventfd that sends it. From then on sending it is a write of eight bytes,
 * which KVM turns into the interrupt on the spot. Nothing depends on that: a message without
 * a wire goes by KVM_SIGNAL_MSI, and where KVM refuses one, all do.
 *
 * A guest may change its messages as often as it likes; a new wire costs KVM a grace period. So one
 * is made only for what was sent often, and the table forgets by and by what is not.
 *
 * What was written may still be on its way inside KVM, which is why no wire outlives the moment at
 * which the local APICs come back: closing one waits for it.
 *
 * Not modelled: level-triggered messages (who sends those wants to know whether they were taken).
 *
 * Spec: Linux Documentation/virt/kvm/api.rst, KVM_IRQFD, KVM_SET_GSI_ROUTING.
 * Tested by test/rig/messages.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"

#define WIRE_AFTER 64

static bool irqfd(struct kvm_vm *v, const struct kvm_wire *w, uint32_t flags)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t)w->fd,
		.gsi = kvm_wire_gsi(v, w),
		.flags = flags,
	};

	return KVM_DO(v->fd, KVM_IRQFD, &request, NULL) >= 0;
}

static void cut(struct kvm_vm *v, struct kvm_wire *w)
{
	if (w->fd > 0) {
		irqfd(v, w, KVM_IRQFD_FLAG_DEASSIGN);
		close(w->fd);
	}
	*w = (struct kvm_wire){ 0 };
}

/* Its entry in the routing table is there before it can be used, and everywhere the same. */
static void lay(struct kvm_vm *v, struct kvm_wire *w)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	w->tried = true;
	if (fd < 0)
		return;
	w->fd = fd;
	if (kvm_route(v, NULL) == 0 && irqfd(v, w, 0))
		return;
	close(fd);
	w->fd = 0;
}

/* The one that is longest without use makes room, unless it was used a lot. */
static struct kvm_wire *make_room(struct kvm_vm *v)
{
	struct kvm_wire *w = &v->wire[v->oldest_wire++ % KVM_WIRES];

	w->sent /= 2;
	if (w->sent)
		return NULL;
	cut(v, w);
	return w;
}

static bool same(const struct kvm_msi *a, const struct kvm_msi *b)
{
	return a->address_lo == b->address_lo && a->address_hi == b->address_hi &&
	       a->data == b->data;
}

bool kvm_wire_send(struct kvm_vm *v, const struct kvm_msi *msi)
{
	struct kvm_wire *w = NULL;

	if (!v->device.caps.irqfd)
		return false;
	for (unsigned i = 0; !w && i < KVM_WIRES; i++)
		if (v->wire[i].sent && same(&v->wire[i].msi, msi))
			w = &v->wire[i];
	if (!w) {
		w = make_room(v);
		if (w)
			*w = (struct kvm_wire){ .msi = *msi, .sent = 1 };
		return false;
	}
	w->sent += w->sent < UINT32_MAX;
	if (w->sent >= WIRE_AFTER && !w->tried)
		lay(v, w);
	if (w->fd <= 0)
		return false;
	host_bell_ring(w->fd);
	v->by_wire++;
	return true;
}

void kvm_wires_cut(struct kvm_vm *v)
{
	for (unsigned i = 0; i < KVM_WIRES; i++)
		cut(v, &v->wire[i]);
}
