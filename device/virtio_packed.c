/*
 * virtio_packed.c - packed virtqueues: one ring of descriptors that both sides write.
 *
 * A descriptor is available when its AVAIL flag is what the driver's lap counter is and USED is
 * not; the device hands it back by making both equal to its own. The flags of the first
 * descriptor of a chain are written last by either side, so that is what is read first here.
 * A chain takes as many slots of the ring as it has descriptors, whichever it is returned in.
 *
 * Spec: virtio 1.2, 2.8. Tested by test/device/virtio.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_internal.h"

#include <stddef.h>

#define DESC_AVAIL 0x0080u
#define DESC_USED  0x8000u

/* 2.8.13: buffer ID, then flags: the other way round than in a split ring. */
struct packed_descriptor {
	uint64_t at;
	uint32_t bytes;
	uint16_t id, flags;
};

/* Event suppression, 2.8.14: the driver's and the device's area. */
struct event {
	uint16_t offset_wrap, flags;
};
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };
#define EVENT_WRAP 0x8000u

static uint64_t slot_at(const struct virtio_queue *q, uint16_t slot)
{
	return q->desc + (uint64_t)DESC_BYTES * slot;
}

static bool available(struct virtio *v, const struct virtio_queue *q)
{
	uint16_t flags;

	if (!virtio_fetch(v, slot_at(q, q->avail) + offsetof(struct packed_descriptor, flags),
			  &flags, sizeof(flags)))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !(flags & DESC_AVAIL) != q->avail_wrap && !(flags & DESC_USED) == q->avail_wrap;
}

bool virtio_packed_waiting(struct virtio *v, struct virtio_queue *q)
{
	struct event e = { .flags = EVENT_DESC };

	if (available(v, q))
		return true;
	if (!virtio_has(v, VIRTIO_F_EVENT_IDX) || !virtio_running(v))
		return false;
	e.offset_wrap = (uint16_t)(q->avail | (q->avail_wrap ? EVENT_WRAP : 0));
	if (!virtio_store(v, q->device, &e, sizeof(e)))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return available(v, q);
}

/* 2.8.8: a table is read from end to end; of its flags only WRITE counts. */
static bool add_table(struct virtio *v, struct virtio_chain *c, const struct packed_descriptor *d)
{
	uint32_t count = d->bytes / DESC_BYTES;

	if (!virtio_has(v, VIRTIO_F_INDIRECT_DESC) || d->flags & DESC_NEXT ||
	    d->bytes % DESC_BYTES || count == 0 || count > VIRTIO_SEGMENTS_MAX) {
		virtio_needs_reset(v, "an indirect descriptor is wrong");
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct packed_descriptor e;

		if (!virtio_fetch(v, d->at + DESC_BYTES * i, &e, sizeof(e)))
			return false;
		if (e.flags & DESC_INDIRECT) {
			virtio_needs_reset(v, "an indirect descriptor is inside a table");
			return false;
		}
		if (!virtio_chain_add(v, c, e.at, e.bytes, e.flags & DESC_WRITE))
			return false;
	}
	return true;
}

/* Goes `slots` round the ring. */
static void advance(const struct virtio_queue *q, uint16_t *at, bool *wrap, uint16_t slots)
{
	*at = (uint16_t)(*at + slots);
	if (*at >= q->size) {
		*at = (uint16_t)(*at - q->size);
		*wrap = !*wrap;
	}
}

static bool follow(struct virtio *v, const struct virtio_queue *q, struct virtio_chain *c)
{
	for (uint16_t i = 0; i < q->size; i++) {
		struct packed_descriptor d;

		if (!virtio_fetch(v, slot_at(q, (uint16_t)((q->avail + i) % q->size)), &d,
				  sizeof(d)))
			return false;
		c->slots++;
		c->id = d.id; /* the last one's counts, 2.8.6 */
		if (d.flags & DESC_INDIRECT)
			return add_table(v, c, &d);
		if (!virtio_chain_add(v, c, d.at, d.bytes, d.flags & DESC_WRITE))
			return false;
		if (!(d.flags & DESC_NEXT))
			return true;
	}
	virtio_needs_reset(v, "a descriptor chain is longer than the ring");
	return false;
}

bool virtio_packed_pop(struct virtio *v, struct virtio_queue *q, struct virtio_chain *c)
{
	c->slots = 0;
	if (!virtio_packed_waiting(v, q) || !follow(v, q, c))
		return false;
	advance(q, &q->avail, &q->avail_wrap, c->slots);
	return true;
}

void virtio_packed_unpop(struct virtio_queue *q, const struct virtio_chain *c)
{
	if (q->avail < c->slots) {
		q->avail = (uint16_t)(q->avail + q->size);
		q->avail_wrap = !q->avail_wrap;
	}
	q->avail = (uint16_t)(q->avail - c->slots);
}

void virtio_packed_push(struct virtio *v, struct virtio_queue *q, const struct virtio_chain *c,
			uint32_t written)
{
	struct packed_descriptor d = { .bytes = written, .id = c->id };
	bool first = q->used_new == 0;

	d.flags = (uint16_t)((q->used_wrap ? DESC_AVAIL | DESC_USED : 0) |
			     (written ? DESC_WRITE : 0));
	if (first) {
		q->first_slot = q->used;
		q->first_flags = d.flags;
		q->old_used = q->used;
		q->old_wrap = q->used_wrap;
	}
	/* The address is the driver's to keep; the first one's flags wait for the flush. */
	if (!virtio_store(v, slot_at(q, q->used) + offsetof(struct packed_descriptor, bytes),
			  &d.bytes, sizeof(d.bytes) + sizeof(d.id)))
		return;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (!first &&
	    !virtio_store(v, slot_at(q, q->used) + offsetof(struct packed_descriptor, flags),
			  &d.flags, sizeof(d.flags)))
		return;
	advance(q, &q->used, &q->used_wrap, c->slots);
	q->used_new++;
}

/* The driver asked for an interrupt at one place in the ring: was it passed? */
static bool passed(const struct virtio_queue *q, uint16_t offset_wrap)
{
	uint16_t event = offset_wrap & (uint16_t)~EVENT_WRAP, old = q->old_used;

	if (!(offset_wrap & EVENT_WRAP) == q->used_wrap)
		event = (uint16_t)(event - q->size); /* in the lap before this one */
	if (q->old_wrap != q->used_wrap)
		old = (uint16_t)(old - q->size);
	return virtio_passed(event, q->used, old);
}

bool virtio_packed_flush(struct virtio *v, struct virtio_queue *q)
{
	struct event e;

	q->used_new = 0;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (!virtio_store(v, slot_at(q, q->first_slot) + offsetof(struct packed_descriptor, flags),
			  &q->first_flags, sizeof(q->first_flags)))
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!virtio_fetch(v, q->driver, &e, sizeof(e)))
		return false;
	switch (e.flags & 3) {
	case EVENT_DISABLE: return false;
	case EVENT_DESC: return !virtio_has(v, VIRTIO_F_EVENT_IDX) || passed(q, e.offset_wrap);
	default: return true;
	}
}
