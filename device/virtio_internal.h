/*
 * virtio_internal.h - between the parts of the virtio core.
 *
 * Spec: virtio 1.2. SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_INTERNAL_H
#define DEVICE_VIRTIO_INTERNAL_H

#include "device/virtio.h"

/* Device status, 2.1. */
enum {
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64,
	STATUS_FAILED = 128,
};

/* ISR status, 4.1.4.5. */
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* Descriptor flags of both kinds of ring, 2.7.5 and 2.8.13. */
#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u
#define DESC_BYTES    16u

/* Memory that the driver named; false: not RAM, and the device needs a reset. */
bool virtio_fetch(struct virtio *v, uint64_t at, void *to, size_t n);
bool virtio_store(struct virtio *v, uint64_t at, const void *from, size_t n);

/* One buffer for the chain. false: the driver broke a rule. */
bool virtio_chain_add(struct virtio *v, struct virtio_chain *c, uint64_t at, uint32_t bytes,
		      bool device_writes);

/* The next chain; true: `c` holds it and the queue has moved on. */
bool virtio_split_pop(struct virtio *v, struct virtio_queue *q, struct virtio_chain *c);
bool virtio_packed_pop(struct virtio *v, struct virtio_queue *q, struct virtio_chain *c);
/* Is there a chain? When not, the driver is asked to notify, and it is looked at once more. */
bool virtio_split_waiting(struct virtio *v, struct virtio_queue *q);
bool virtio_packed_waiting(struct virtio *v, struct virtio_queue *q);
void virtio_split_unpop(struct virtio_queue *q);
void virtio_packed_unpop(struct virtio_queue *q, const struct virtio_chain *c);
/* Prepares a used entry; flush makes all prepared ones visible. */
void virtio_split_push(struct virtio *v, struct virtio_queue *q, const struct virtio_chain *c,
		       uint32_t written);
void virtio_packed_push(struct virtio *v, struct virtio_queue *q, const struct virtio_chain *c,
			uint32_t written);
/* true: the driver wants an interrupt. */
bool virtio_split_flush(struct virtio *v, struct virtio_queue *q);
bool virtio_packed_flush(struct virtio *v, struct virtio_queue *q);

/* 2.7.10: did an index go past `event` on its way from `old` to `now`? */
static inline bool virtio_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* virtio.c, for the transport; valid: the size that the driver chose can be. */
void virtio_set_status(struct virtio *v, uint8_t status);
void virtio_queue_clear(struct virtio *v, struct virtio_queue *q);
bool virtio_queue_valid(const struct virtio *v, const struct virtio_queue *q);
void virtio_kick(struct virtio *v, unsigned q);

/* virtio_pci.c */
void virtio_pci_describe(struct virtio *v);
void virtio_interrupt(struct virtio *v, uint16_t vector, uint8_t isr);

#endif
