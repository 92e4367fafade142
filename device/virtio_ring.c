/*
 * virtio_ring.c - virtqueues as devices use them, whichever kind of ring is below.
 *
 * Popping reads the driver's descriptors once and checks each against the machine's map: after
 * that a chain is the device's own, and no change in guest memory alters where it points.
 *
 * Spec: virtio 1.2, 2.6. Tested by test/device/virtio.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_internal.h"
#include "machine/vm.h"

bool virtio_fetch(struct virtio *v, uint64_t at, void *to, size_t n)
{
	if (!device_dma_read(&v->pci.dev, gpa(at), to, n))
		return true;
	virtio_needs_reset(v, "a ring is not in memory");
	return false;
}

bool virtio_store(struct virtio *v, uint64_t at, const void *from, size_t n)
{
	if (!device_dma_write(&v->pci.dev, gpa(at), from, n))
		return true;
	virtio_needs_reset(v, "a ring is not in writable memory");
	return false;
}

bool virtio_chain_add(struct virtio *v, struct virtio_chain *c, uint64_t at, uint32_t bytes,
		      bool device_writes)
{
	const char *wrong = NULL;

	if (!device_writes && c->out)
		wrong = "a readable buffer follows a writable one";
	else if (c->in + c->out == VIRTIO_SEGMENTS_MAX)
		wrong = "a descriptor chain is too long";
	else if (c->in_bytes + c->out_bytes + bytes > UINT32_MAX)
		wrong = "a descriptor chain has more than 4 GiB";
	else if (!mem_is_memory(&v->pci.dev.vm->mem, gpa(at), bytes, device_writes))
		wrong = "a buffer is not in memory";
	if (wrong) {
		virtio_needs_reset(v, wrong);
		return false;
	}
	c->segment[c->in + c->out] = (struct virtio_segment){ at, bytes };
	if (device_writes) {
		c->out++;
		c->out_bytes += bytes;
	} else {
		c->in++;
		c->in_bytes += bytes;
	}
	return true;
}

static bool packed(const struct virtio *v)
{
	return virtio_has(v, VIRTIO_F_RING_PACKED);
}

static struct virtio_queue *usable(struct virtio *v, unsigned n)
{
	return n < v->queues && v->queue[n].enabled && virtio_running(v) ? &v->queue[n] : NULL;
}

bool virtio_waiting(struct virtio *v, unsigned n)
{
	struct virtio_queue *q = usable(v, n);

	if (!q)
		return false;
	return packed(v) ? virtio_packed_waiting(v, q) : virtio_split_waiting(v, q);
}

bool virtio_pop(struct virtio *v, unsigned n, struct virtio_chain *c)
{
	struct virtio_queue *q = usable(v, n);

	if (!q)
		return false;
	if (v->turn == 0) {
		virtio_again(v, n);
		return false;
	}
	v->turn--;
	c->in = c->out = 0;
	c->in_bytes = c->out_bytes = 0;
	return packed(v) ? virtio_packed_pop(v, q, c) : virtio_split_pop(v, q, c);
}

void virtio_unpop(struct virtio *v, unsigned n, const struct virtio_chain *c)
{
	if (packed(v))
		virtio_packed_unpop(&v->queue[n], c);
	else
		virtio_split_unpop(&v->queue[n]);
}

void virtio_push(struct virtio *v, unsigned n, const struct virtio_chain *c, uint32_t written)
{
	struct virtio_queue *q = usable(v, n);

	if (!q)
		return;
	if (packed(v))
		virtio_packed_push(v, q, c, written);
	else
		virtio_split_push(v, q, c, written);
}

void virtio_flush(struct virtio *v, unsigned n)
{
	struct virtio_queue *q = usable(v, n);

	if (!q || !q->used_new)
		return;
	if (packed(v) ? virtio_packed_flush(v, q) : virtio_split_flush(v, q))
		virtio_interrupt(v, q->vector, ISR_QUEUE);
}

/* --- Data --- */

/* A place in the readable or writable part, moved along it. */
struct cursor {
	const struct virtio_segment *at, *end;
	uint64_t skip; /* bytes into *at */
};

static struct cursor cursor_at(const struct virtio_chain *c, bool out, uint64_t off)
{
	struct cursor k = { .at = c->segment, .skip = off };

	k.end = c->segment + c->in;
	if (out) {
		k.at = k.end;
		k.end += c->out;
	}
	while (k.at < k.end && k.skip >= k.at->bytes)
		k.skip -= (k.at++)->bytes;
	return k;
}

/* The next run of at most `n` bytes; 0: the part ends here. */
static uint64_t cursor_next(struct cursor *k, uint64_t n, uint64_t *at)
{
	uint64_t here;

	while (k->at < k->end && k->skip == k->at->bytes) {
		k->at++;
		k->skip = 0;
	}
	if (k->at == k->end)
		return 0;
	here = k->at->bytes - k->skip;
	if (here > n)
		here = n;
	*at = k->at->at + k->skip;
	k->skip += here;
	return here;
}

size_t virtio_get(struct virtio *v, const struct virtio_chain *c, uint64_t off, void *to, size_t n)
{
	struct cursor k = cursor_at(c, false, off);
	uint64_t at, here;
	size_t done = 0;

	while (done < n && (here = cursor_next(&k, n - done, &at)) > 0) {
		if (device_dma_read(&v->pci.dev, gpa(at), (uint8_t *)to + done, here))
			break;
		done += here;
	}
	return done;
}

size_t virtio_put(struct virtio *v, const struct virtio_chain *c, uint64_t off, const void *from,
		  size_t n)
{
	struct cursor k = cursor_at(c, true, off);
	uint64_t at, here;
	size_t done = 0;

	while (done < n && (here = cursor_next(&k, n - done, &at)) > 0) {
		if (device_dma_write(&v->pci.dev, gpa(at), (const uint8_t *)from + done, here))
			break;
		done += here;
	}
	return done;
}

/* A segment may go over the seam of two memory slots: then it takes two entries. */
unsigned virtio_iov(struct virtio *v, const struct virtio_chain *c, bool out, uint64_t off,
		    uint64_t n, struct iovec *iov, unsigned room)
{
	struct cursor k = cursor_at(c, out, off);
	struct mem *m = &v->pci.dev.vm->mem;
	unsigned count = 0;
	uint64_t at, here;

	while (n > 0 && count < room && (here = cursor_next(&k, n, &at)) > 0) {
		n -= here;
		while (here > 0 && count < room) {
			struct mem_slot *s = mem_find(m, gpa(at));
			uint64_t part;

			if (!s)
				return count;
			part = s->bytes - (at - s->start.v);
			if (part > here)
				part = here;
			iov[count++] = (struct iovec){ s->host + (at - s->start.v), part };
			at += part;
			here -= part;
		}
	}
	return count;
}

void virtio_wrote(struct virtio *v, const struct virtio_chain *c, uint64_t off, uint64_t n)
{
	struct cursor k = cursor_at(c, true, off);
	uint64_t at, here;

	while (n > 0 && (here = cursor_next(&k, n, &at)) > 0) {
		mem_written(&v->pci.dev.vm->mem, gpa(at), here);
		n -= here;
	}
}

void virtio_keep(const struct virtio_chain *c, uint64_t *at, uint32_t *bytes, unsigned room)
{
	for (unsigned i = 0; i < room; i++) {
		bool used = i < (unsigned)c->in + c->out;

		at[i] = used ? c->segment[i].at : 0;
		bytes[i] = used ? c->segment[i].bytes : 0;
	}
}

void virtio_kept(struct virtio_chain *c, const uint64_t *at, const uint32_t *bytes)
{
	c->in_bytes = c->out_bytes = 0;
	for (unsigned i = 0; i < (unsigned)c->in + c->out; i++) {
		c->segment[i].at = at[i];
		c->segment[i].bytes = bytes[i];
		*(i < c->in ? &c->in_bytes : &c->out_bytes) += bytes[i];
	}
}
