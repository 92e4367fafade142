/*
 * virtio_split.c - split virtqueues: a descriptor table, and two rings of indexes.
 *
 * The driver's ring says which chains are available, the device's which are used; each side
 * writes only its own. The indexes run free and are taken modulo the size, so "how many are
 * waiting" is a subtraction, and a driver that claims more than the ring holds has broken it.
 *
 * Spec: virtio 1.2, 2.7. Tested by test/device/virtio.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_internal.h"

/* Available ring, 2.7.6: flags, idx, ring[size], used_event. Used ring, 2.7.8: flags, idx,
 * ring[size] of {id, len}, avail_event. */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 };
#define AVAIL_ENTRY        2u
#define USED_ENTRY         8u
#define AVAIL_NO_INTERRUPT 1u

struct descriptor { /* 2.7.5 */
	uint64_t at;
	uint32_t bytes;
	uint16_t flags, next;
};

static bool available(struct virtio *v, struct virtio_queue *q, uint16_t *waiting)
{
	uint16_t idx;

	if (!virtio_fetch(v, q->driver + RING_IDX, &idx, sizeof(idx)))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	*waiting = (uint16_t)(idx - q->avail);
	if (*waiting > q->size) {
		virtio_needs_reset(v, "the available index runs ahead of the ring");
		return false;
	}
	return true;
}

bool virtio_split_waiting(struct virtio *v, struct virtio_queue *q)
{
	uint16_t waiting;

	if (!available(v, q, &waiting))
		return false;
	if (waiting || !virtio_has(v, VIRTIO_F_EVENT_IDX))
		return waiting;
	if (!virtio_store(v, q->device + RING_ENTRIES + USED_ENTRY * q->size, &q->avail,
			  sizeof(q->avail)))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return available(v, q, &waiting) && waiting;
}

/* `d` describes a table of its own, 2.7.5.3. */
static bool table_valid(struct virtio *v, const struct descriptor *d, bool indirect)
{
	if (indirect || d->flags & DESC_NEXT || d->bytes == 0 || d->bytes % DESC_BYTES ||
	    d->bytes / DESC_BYTES > UINT16_MAX || !virtio_has(v, VIRTIO_F_INDIRECT_DESC)) {
		virtio_needs_reset(v, "an indirect descriptor is wrong");
		return false;
	}
	return true;
}

static bool follow(struct virtio *v, const struct virtio_queue *q, struct virtio_chain *c)
{
	uint64_t table = q->desc;
	uint32_t count = q->size, next = c->id;
	bool indirect = false;

	for (unsigned seen = 0; seen <= VIRTIO_SEGMENTS_MAX; seen++) {
		struct descriptor d;

		if (next >= count) {
			virtio_needs_reset(v, "a descriptor index is beyond its table");
			return false;
		}
		if (!virtio_fetch(v, table + DESC_BYTES * next, &d, sizeof(d)))
			return false;
		if (d.flags & DESC_INDIRECT) {
			if (!table_valid(v, &d, indirect))
				return false;
			table = d.at;
			count = d.bytes / DESC_BYTES;
			next = 0;
			indirect = true;
			continue;
		}
		if (!virtio_chain_add(v, c, d.at, d.bytes, d.flags & DESC_WRITE))
			return false;
		if (!(d.flags & DESC_NEXT))
			return true;
		next = d.next;
	}
	virtio_needs_reset(v, "a descriptor chain is too long");
	return false;
}

bool virtio_split_pop(struct virtio *v, struct virtio_queue *q, struct virtio_chain *c)
{
	uint16_t slot = (uint16_t)(q->avail % q->size);

	if (!virtio_split_waiting(v, q) ||
	    !virtio_fetch(v, q->driver + RING_ENTRIES + AVAIL_ENTRY * slot, &c->id, sizeof(c->id)))
		return false;
	c->slots = 1;
	if (!follow(v, q, c))
		return false;
	q->avail++;
	return true;
}

void virtio_split_unpop(struct virtio_queue *q)
{
	q->avail--;
}

void virtio_split_push(struct virtio *v, struct virtio_queue *q, const struct virtio_chain *c,
		       uint32_t written)
{
	uint32_t entry[2] = { c->id, written };
	uint16_t slot = (uint16_t)((uint16_t)(q->used + q->used_new) % q->size);

	if (virtio_store(v, q->device + RING_ENTRIES + USED_ENTRY * slot, entry, sizeof(entry)))
		q->used_new++;
}

static bool wanted(struct virtio *v, struct virtio_queue *q, uint16_t old)
{
	uint16_t word;

	if (!virtio_has(v, VIRTIO_F_EVENT_IDX))
		return virtio_fetch(v, q->driver + RING_FLAGS, &word, sizeof(word)) &&
		       !(word & AVAIL_NO_INTERRUPT);
	return virtio_fetch(v, q->driver + RING_ENTRIES + AVAIL_ENTRY * q->size, &word,
			    sizeof(word)) &&
	       virtio_passed(word, q->used, old);
}

bool virtio_split_flush(struct virtio *v, struct virtio_queue *q)
{
	uint16_t old = q->used;

	q->used = (uint16_t)(q->used + q->used_new);
	q->used_new = 0;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (!virtio_store(v, q->device + RING_IDX, &q->used, sizeof(q->used)))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return wanted(v, q, old);
}
