/*
 * virtio_blk_internal.h - between the parts of the virtio block device.
 *
 * Spec: virtio 1.2, 5.2. SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_BLK_INTERNAL_H
#define DEVICE_VIRTIO_BLK_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>

#include "device/virtio.h"
#include "device/virtio_blk.h"
#include "host/host.h"

/* Feature bits, 5.2.3. */
#define F_SEG_MAX      (UINT64_C(1) << 2)
#define F_RO           (UINT64_C(1) << 5)
#define F_BLK_SIZE     (UINT64_C(1) << 6)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_TOPOLOGY     (UINT64_C(1) << 10)
#define F_MQ           (UINT64_C(1) << 12)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

/* Requests, 5.2.6. */
enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
};
struct request_header {
	uint32_t type, reserved;
	uint64_t sector;
};
/* 5.2.4. */
struct config_space {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};
_Static_assert(sizeof(struct config_space) == 64 && offsetof(struct config_space, num_queues) == 34,
	       "virtio 1.2, 5.2.4");

#define FLIGHTS      64
#define SEGMENTS     128                 /* of one request, header and status included */
#define IOVS         (SEGMENTS + 8)      /* a few may lie across the seam of two slots */
#define RANGE_MOST   (UINT32_C(1) << 22) /* sectors of one discard: 2 GiB */
#define DATA_SEGMENT (SEGMENTS - 2)

struct flight {
	bool busy;
	bool flushing; /* a write whose flush is under way */
	uint16_t queue;
	uint16_t id, slots, in, out; /* of the chain */
	uint32_t type;
	uint64_t sector;
	uint64_t due; /* virtual ns; 0: when the host is done */
};

/* The host's side of a flight: not state. */
struct landing {
	struct virtio_blk *b;
	struct blk_request request;
	struct iovec iov[IOVS];
	bool submitted;
	atomic_bool done; /* set on the disk's thread after err, with b->lock held */
	int err;
};

struct virtio_blk {
	struct virtio v;
	struct config_space space;
	struct blk *disk;
	uint64_t latency_ns;
	char serial[VIRTIO_BLK_SERIAL];
	struct landing landing[FLIGHTS];
	struct host_mutex *lock; /* of `done` below while somebody waits for it */
	struct host_cond *landed;

	/* State. */
	struct flight flight[FLIGHTS];
	uint64_t segment_at[FLIGHTS * SEGMENTS];
	uint32_t segment_bytes[FLIGHTS * SEGMENTS];
};

/* The chain of flight n, kept as state and made again. */
void virtio_blk_keep_chain(struct virtio_blk *b, unsigned n, const struct virtio_chain *c);
void virtio_blk_chain(const struct virtio_blk *b, unsigned n, struct virtio_chain *c);
/* Makes the host's request of flight n. -E*: what the guest asks is wrong. */
int virtio_blk_prepare(struct virtio_blk *b, unsigned n);

#endif
