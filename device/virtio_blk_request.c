/*
 * virtio_blk_request.c - what a virtio block device's driver asks for, as a request to the host.
 *
 * The header was copied when the request was taken, so type and sector cannot change any more; the
 * range of a discard is read once, here. What lies outside the disk is refused here already,
 * where sectors become bytes and a sum could wrap.
 *
 * Spec: virtio 1.2, 5.2.6. Tested by test/device/virtio_blk.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/virtio_blk_internal.h"
#include "machine/vm.h"

#define RANGE_UNMAP 1u

struct request_range { /* of DISCARD and WRITE_ZEROES */
	uint64_t sector;
	uint32_t sectors, flags;
};

/* --- A chain, kept --- */

void virtio_blk_keep_chain(struct virtio_blk *b, unsigned n, const struct virtio_chain *c)
{
	struct flight *f = &b->flight[n];

	f->id = c->id;
	f->slots = c->slots;
	f->in = c->in;
	f->out = c->out;
	virtio_keep(c, b->segment_at + SEGMENTS * n, b->segment_bytes + SEGMENTS * n, SEGMENTS);
}

void virtio_blk_chain(const struct virtio_blk *b, unsigned n, struct virtio_chain *c)
{
	const struct flight *f = &b->flight[n];

	c->id = f->id;
	c->slots = f->slots;
	c->in = f->in;
	c->out = f->out;
	virtio_kept(c, b->segment_at + SEGMENTS * n, b->segment_bytes + SEGMENTS * n);
}

/* --- The host's request --- */

static bool in_range(const struct virtio_blk *b, uint64_t sector, uint64_t sectors)
{
	return sector <= b->space.capacity && sectors <= b->space.capacity - sector;
}

static int prepare_data(struct virtio_blk *b, unsigned n, const struct virtio_chain *c)
{
	struct flight *f = &b->flight[n];
	struct landing *l = &b->landing[n];
	bool in = f->type == T_IN;
	uint64_t bytes = in ? c->out_bytes - 1 : c->in_bytes - sizeof(struct request_header),
		 got = 0;

	if (bytes % BLK_SECTOR || !in_range(b, f->sector, bytes / BLK_SECTOR) ||
	    bytes > BLK_BYTES_MAX)
		return -EIO;
	l->request.op = in ? BLK_READ : BLK_WRITE;
	l->request.offset = f->sector * BLK_SECTOR;
	l->request.bytes = bytes;
	l->request.iov = l->iov;
	l->request.iovs = virtio_iov(&b->v, c, in, in ? 0 : sizeof(struct request_header), bytes,
				     l->iov, IOVS);
	for (unsigned i = 0; i < l->request.iovs; i++)
		got += l->iov[i].iov_len;
	return got == bytes ? 0 : -EIO;
}

static int prepare_range(struct virtio_blk *b, unsigned n, const struct virtio_chain *c)
{
	struct landing *l = &b->landing[n];
	bool zero = b->flight[n].type == T_WRITE_ZEROES;
	struct request_range r;

	/* One range a request: max_*_seg is 1. */
	if (c->in_bytes != sizeof(struct request_header) + sizeof(r))
		return -EIO;
	virtio_get(&b->v, c, sizeof(struct request_header), &r, sizeof(r));
	if (r.flags & ~(zero ? RANGE_UNMAP : 0))
		return -EOPNOTSUPP;
	if (r.sectors > RANGE_MOST || !in_range(b, r.sector, r.sectors))
		return -EIO;
	l->request.op = zero ? BLK_ZERO : BLK_DISCARD;
	l->request.unmap = r.flags & RANGE_UNMAP;
	l->request.offset = r.sector * BLK_SECTOR;
	l->request.bytes = (uint64_t)r.sectors * BLK_SECTOR;
	return 0;
}

/* Makes the host's request of a flight; -E*: it is wrong, and over. */
int virtio_blk_prepare(struct virtio_blk *b, unsigned n)
{
	struct flight *f = &b->flight[n];
	struct landing *l = &b->landing[n];
	struct virtio_chain c;

	l->request = (struct blk_request){ .op = BLK_FLUSH };
	if (f->type == T_FLUSH || f->flushing)
		return 0;
	virtio_blk_chain(b, n, &c);
	if (f->type != T_IN && b->v.offered & F_RO)
		return -EROFS;
	return f->type == T_IN || f->type == T_OUT ? prepare_data(b, n, &c)
						   : prepare_range(b, n, &c);
}
