/*
 * virtio_rig.h - a driver for virtio devices, and the machine it drives them in.
 *
 * The driver follows virtio 1.2 from the other side: it finds the device's structures through
 * the PCI capabilities, negotiates, lays out split or packed rings in RAM and uses them.
 * virtio_fuzz() is the other kind of driver: one that keeps no rule.
 *
 *	0 - 1 MiB RAM		b0000000 ECAM		c0000000 BARs
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_VIRTIO_RIG_H
#define TEST_VIRTIO_RIG_H

#include <stdlib.h>

#include "device/ich9_lpc.h"
#include "device/pci_host.h"
#include "device/virtio.h"
#include "test/device/harness.h"

#define VR_RAM      UINT64_C(0x100000)
#define VR_ECAM     UINT64_C(0xb0000000)
#define VR_BAR      UINT64_C(0xc0000000)
#define VR_DEVFN    (1 << 3)
#define VR_VECTOR   0x40 /* MSI-X entry n sends this + n */
#define VR_SIZE_MAX 64   /* entries of a queue */

/* RAM, the bridges and a listener on the APIC bus; the device under test goes to VR_DEVFN. */
static inline struct pci_host *vr_machine(struct rig *rig)
{
	struct pci_host_config host = {
		.id = "pci",
		.address_port = 0xcf8,
		.ecam = VR_ECAM,
		.mem32 = {VR_BAR,             0x1000000        },
		.mem64 = { UINT64_C(1) << 38, UINT64_C(1) << 38},
		.io_first = 0x1000,
		.io_last = 0xffff,
	};
	struct ich9_lpc_config lpc = { .id = "lpc", .first_gsi = 16, .pm_base = 0x600 };
	struct device *lpc_dev;
	struct pci_host *pci;

	assert_int_equal(mem_add(rig->vm, gpa(0), VR_RAM, NULL, false, NULL), 0);
	assert_int_equal(pci_host_create(rig->vm, &host, &pci, NULL), 0);
	assert_int_equal(ich9_lpc_create(pci, &lpc, &lpc_dev, NULL), 0);
	rig_listen(rig);
	return pci;
}

struct vr_queue {
	unsigned n; /* which */
	uint16_t size;
	uint64_t desc, driver, device; /* also where the buffers of this driver are */
	uint16_t next, used;           /* split: free-running; packed: slots */
	bool next_wrap, used_wrap;
	uint16_t free_desc;          /* split: the next descriptor to hand out */
	uint16_t slots[VR_SIZE_MAX]; /* packed: of each buffer ID */
	uint16_t next_id;
};

struct vr {
	struct rig *rig;
	uint64_t config; /* ECAM of the function */
	uint64_t common, isr, device, notify;
	uint32_t multiplier;
	bool packed, msix;
	uint64_t features;
	uint64_t room; /* next free byte of RAM */
	struct vr_queue queue[4];
};

struct vr_buffer {
	uint64_t at;
	uint32_t bytes;
	bool device_writes;
};

/* --- RAM --- */

static inline void *vr_ram(struct vr *d, uint64_t at)
{
	assert_true(at < VR_RAM);
	return d->rig->vm->mem.slots->host + at;
}

static inline uint64_t vr_alloc(struct vr *d, uint64_t bytes)
{
	uint64_t at = d->room;

	d->room = (at + bytes + 15) & ~UINT64_C(15);
	assert_true(d->room <= VR_RAM);
	return at;
}

static inline uint64_t vr_get(struct vr *d, uint64_t at, unsigned bytes)
{
	uint64_t v = 0;

	memcpy(&v, vr_ram(d, at), bytes);
	return v;
}

static inline void vr_set(struct vr *d, uint64_t at, unsigned bytes, uint64_t v)
{
	memcpy(vr_ram(d, at), &v, bytes);
}

/* --- Finding the device --- */

static inline uint32_t vr_cfg(struct vr *d, unsigned off, unsigned size)
{
	return (uint32_t)rig_read(d->rig, d->config + off, size);
}

static inline void vr_find(struct vr *d)
{
	unsigned cap = vr_cfg(d, 0x34, 1);

	d->common = d->isr = d->device = d->notify = 0;
	for (; cap; cap = vr_cfg(d, cap + 1, 1)) {
		uint64_t at = VR_BAR + vr_cfg(d, cap + 8, 4);

		if (vr_cfg(d, cap, 1) != 0x09)
			continue;
		switch (vr_cfg(d, cap + 3, 1)) {
		case 1: d->common = at; break;
		case 2:
			d->notify = at;
			d->multiplier = vr_cfg(d, cap + 16, 4);
			break;
		case 3: d->isr = at; break;
		case 4: d->device = at; break;
		default: break;
		}
	}
	assert_true(d->common && d->notify && d->isr);
}

static inline uint64_t vr_common(struct vr *d, unsigned off, unsigned size)
{
	return rig_read(d->rig, d->common + off, size);
}

static inline void vr_set_common(struct vr *d, unsigned off, uint64_t value, unsigned size)
{
	rig_write(d->rig, d->common + off, value, size);
}

static inline uint64_t vr_offered(struct vr *d)
{
	uint64_t f;

	vr_set_common(d, 0, 0, 4);
	f = vr_common(d, 4, 4);
	vr_set_common(d, 0, 1, 4);
	return f | vr_common(d, 4, 4) << 32;
}

enum { VR_INTX, VR_MSIX };

/* Resets the device, switches it on and accepts `features` (VERSION_1 is added). */
static inline void vr_open(struct vr *d, struct rig *rig, uint64_t features, int interrupts)
{
	memset(d, 0, sizeof(*d));
	d->rig = rig;
	d->config = VR_ECAM + ((uint64_t)VR_DEVFN << 12);
	d->room = 0x10000;
	d->features = features | VIRTIO_F_VERSION_1;
	d->packed = features & VIRTIO_F_RING_PACKED;
	rig_write(rig, d->config + 0x10, VR_BAR, 4);
	rig_write(rig, d->config + 4, 6, 2);
	vr_find(d);
	vr_set_common(d, 0x14, 0, 1);
	assert_int_equal(vr_common(d, 0x14, 1), 0);
	vr_set_common(d, 0x14, 1, 1);
	vr_set_common(d, 0x14, 3, 1);
	assert_int_equal(vr_offered(d) & d->features, d->features);
	for (unsigned i = 0; i < 2; i++) {
		vr_set_common(d, 8, i, 4);
		vr_set_common(d, 12, d->features >> (32 * i) & 0xffffffff, 4);
	}
	vr_set_common(d, 0x14, 11, 1);
	assert_int_equal(vr_common(d, 0x14, 1), 11);
	d->msix = interrupts == VR_MSIX;
	if (d->msix) {
		unsigned cap = vr_cfg(d, 0x34, 1);

		while (vr_cfg(d, cap, 1) != 0x11)
			cap = vr_cfg(d, cap + 1, 1);
		rig_write(rig, d->config + cap + 2, 0x8000, 2);
		for (unsigned i = 0; i <= vr_common(d, 0x12, 2); i++) {
			uint64_t entry = VR_BAR + (vr_cfg(d, cap + 4, 4) & ~7u) + 16 * i;

			rig_write(rig, entry, 0xfee00000, 4);
			rig_write(rig, entry + 8, VR_VECTOR + i, 4);
			rig_write(rig, entry + 12, 0, 4);
		}
		vr_set_common(d, 0x10, 0, 2);
		assert_int_equal(vr_common(d, 0x10, 2), 0);
	}
}

/* Sets up queue n as d->queue[i], with MSI-X entry n + 1. */
static inline void vr_queue(struct vr *d, unsigned i, unsigned n, uint16_t size)
{
	struct vr_queue *q = &d->queue[i];

	*q = (struct vr_queue){ .n = n, .size = size, .next_wrap = true, .used_wrap = true };
	q->desc = vr_alloc(d, 16 * size);
	q->driver = vr_alloc(d, d->packed ? 4 : 6 + 2 * size);
	q->device = vr_alloc(d, d->packed ? 4 : 6 + 8 * size);
	memset(vr_ram(d, q->desc), 0, d->room - q->desc);
	vr_set_common(d, 0x16, n, 2);
	vr_set_common(d, 0x18, size, 2);
	if (d->msix) {
		vr_set_common(d, 0x1a, n + 1, 2);
		assert_int_equal(vr_common(d, 0x1a, 2), n + 1);
	}
	/* 64-bit registers are written in halves by 32-bit drivers. */
	vr_set_common(d, 0x20, q->desc, 8);
	vr_set_common(d, 0x28, q->driver, 4);
	vr_set_common(d, 0x2c, 0, 4);
	vr_set_common(d, 0x30, q->device, 8);
	vr_set_common(d, 0x1c, 1, 2);
	assert_int_equal(vr_common(d, 0x1c, 2), 1);
}

static inline void vr_start(struct vr *d)
{
	vr_set_common(d, 0x14, 15, 1);
	assert_int_equal(vr_common(d, 0x14, 1), 15);
}

static inline bool vr_broken(struct vr *d)
{
	return vr_common(d, 0x14, 1) & 0x40;
}

/* --- Rings --- */

static inline void vr_desc(struct vr *d, uint64_t at, const struct vr_buffer *b, uint16_t flags,
			   uint16_t other, bool packed)
{
	flags = (uint16_t)(flags | (b->device_writes ? 2 : 0));
	vr_set(d, at, 8, b->at);
	vr_set(d, at + 8, 4, b->bytes);
	vr_set(d, at + 12, 2, packed ? other : flags);
	vr_set(d, at + 14, 2, packed ? flags : other);
}

/* A table in memory of its own; the descriptor that points there. */
static inline struct vr_buffer vr_table(struct vr *d, const struct vr_buffer *b, unsigned count)
{
	uint64_t at = vr_alloc(d, 16 * count);

	for (unsigned i = 0; i < count; i++)
		vr_desc(d, at + 16 * i, &b[i], !d->packed && i + 1 < count ? 1 : 0,
			(uint16_t)(d->packed ? 0 : i + 1), d->packed);
	return (struct vr_buffer){ at, 16 * count, false };
}

static inline uint16_t vr_lap_flags(bool wrap)
{
	return wrap ? 0x0080 : 0x8000;
}

static inline uint16_t vr_add_packed(struct vr *d, struct vr_queue *q, const struct vr_buffer *b,
				     unsigned count, uint16_t extra)
{
	uint16_t id = q->next_id, first = q->next, first_flags = 0;

	q->next_id = (uint16_t)((id + 1) % q->size);
	q->slots[id] = (uint16_t)count;
	for (unsigned i = 0; i < count; i++) {
		uint16_t flags =
			(uint16_t)(vr_lap_flags(q->next_wrap) | extra | (i + 1 < count ? 1 : 0));

		vr_desc(d, q->desc + 16 * q->next, &b[i], i ? flags : 0, id, true);
		if (i == 0)
			first_flags = (uint16_t)(flags | (b[0].device_writes ? 2 : 0));
		if (++q->next == q->size) {
			q->next = 0;
			q->next_wrap = !q->next_wrap;
		}
	}
	vr_set(d, q->desc + 16 * first + 14, 2, first_flags); /* last */
	return id;
}

static inline uint16_t vr_add_split(struct vr *d, struct vr_queue *q, const struct vr_buffer *b,
				    unsigned count, uint16_t extra)
{
	uint16_t head = q->free_desc;

	for (unsigned i = 0; i < count; i++) {
		uint16_t at = (uint16_t)((head + i) % q->size);

		vr_desc(d, q->desc + 16 * at, &b[i], (uint16_t)(extra | (i + 1 < count ? 1 : 0)),
			(uint16_t)((at + 1) % q->size), false);
	}
	q->free_desc = (uint16_t)((head + count) % q->size);
	vr_set(d, q->driver + 4 + 2 * (q->next % q->size), 2, head);
	vr_set(d, q->driver + 2, 2, ++q->next);
	return head;
}

/* Makes a chain available; its ID. The caller keeps at most `size` descriptors in the ring. */
static inline uint16_t vr_add(struct vr *d, struct vr_queue *q, const struct vr_buffer *b,
			      unsigned count)
{
	return d->packed ? vr_add_packed(d, q, b, count, 0) : vr_add_split(d, q, b, count, 0);
}

/* The same through an indirect table. */
static inline uint16_t vr_add_table(struct vr *d, struct vr_queue *q, const struct vr_buffer *b,
				    unsigned count)
{
	struct vr_buffer table = vr_table(d, b, count);

	return d->packed ? vr_add_packed(d, q, &table, 1, 4) : vr_add_split(d, q, &table, 1, 4);
}

static inline void vr_kick(struct vr *d, struct vr_queue *q)
{
	vr_set_common(d, 0x16, q->n, 2);
	rig_write(d->rig, d->notify + d->multiplier * vr_common(d, 0x1e, 2), q->n, 2);
}

/* Takes a used buffer: its ID, or -1; *written its length. */
static inline int vr_used(struct vr *d, struct vr_queue *q, uint32_t *written)
{
	uint64_t at;
	uint16_t id;

	if (d->packed) {
		uint16_t flags = (uint16_t)vr_get(d, q->desc + 16 * q->used + 14, 2);

		if (!(flags & 0x80) == q->used_wrap || !(flags & 0x8000) == q->used_wrap)
			return -1;
		*written = (uint32_t)vr_get(d, q->desc + 16 * q->used + 8, 4);
		id = (uint16_t)vr_get(d, q->desc + 16 * q->used + 12, 2);
		assert_true(id < q->size);
		q->used = (uint16_t)(q->used + q->slots[id]);
		if (q->used >= q->size) {
			q->used = (uint16_t)(q->used - q->size);
			q->used_wrap = !q->used_wrap;
		}
		return id;
	}
	if (vr_get(d, q->device + 2, 2) == q->used)
		return -1;
	at = q->device + 4 + 8 * (q->used++ % q->size);
	*written = (uint32_t)vr_get(d, at + 4, 4);
	return (int)vr_get(d, at, 4);
}

/* With EVENT_IDX: interrupt when the buffer that vr_used() finds next, or the one `later` after
 * it, is used. Packed: counted in slots. */
static inline void vr_event(struct vr *d, struct vr_queue *q, uint16_t later)
{
	uint16_t at = (uint16_t)(q->used + later);
	bool wrap = q->used_wrap;

	if (!d->packed) {
		vr_set(d, q->driver + 4 + 2 * q->size, 2, at);
		return;
	}
	if (at >= q->size) {
		at = (uint16_t)(at - q->size);
		wrap = !wrap;
	}
	vr_set(d, q->driver, 2, at | (wrap ? 0x8000u : 0));
	vr_set(d, q->driver + 2, 2, 2);
}

/* Does the device want to be notified of the chain that vr_add() made last? (EVENT_IDX; packed: of
 * one slot.) */
static inline bool vr_kick_wanted(struct vr *d, const struct vr_queue *q)
{
	if (!d->packed)
		return (uint16_t)vr_get(d, q->device + 4 + 8 * q->size, 2) ==
		       (uint16_t)(q->next - 1);
	return vr_get(d, q->device + 2, 2) == 2 &&
	       (vr_get(d, q->device, 2) & 0x7fff) == (q->next ? q->next : q->size) - 1u;
}

/* --- A driver that keeps no rule --- */

#define VR_FUZZ_QUEUES 4
#define VR_FUZZ_AREA   UINT64_C(0x4000) /* of each queue: descriptors, 1000 driver, 2000 device */

static inline uint64_t vr_fuzz_area(uint64_t q)
{
	return 0x1000 + VR_FUZZ_AREA * (q % VR_FUZZ_QUEUES);
}

/* A device that works, with features and sizes that may not make sense. */
static inline void vr_fuzz_setup(struct rig *rig, uint64_t *seed)
{
	struct vr d = { .rig = rig, .config = VR_ECAM + ((uint64_t)VR_DEVFN << 12) };
	uint64_t wanted = fuzz_random(seed) % 4 ? ~UINT64_C(0) : fuzz_random(seed);

	rig_write(rig, d.config + 0x10, VR_BAR, 4);
	rig_write(rig, d.config + 4, 6, 2);
	vr_find(&d);
	vr_set_common(&d, 0x14, 0, 1);
	wanted &= vr_offered(&d);
	if (fuzz_random(seed) % 2)
		wanted &= ~VIRTIO_F_RING_PACKED;
	for (unsigned i = 0; i < 2; i++) {
		vr_set_common(&d, 8, i, 4);
		vr_set_common(&d, 12, wanted >> (32 * i) & 0xffffffff, 4);
	}
	vr_set_common(&d, 0x14, 11, 1);
	for (unsigned i = 0; i < VR_FUZZ_QUEUES; i++) {
		uint64_t at = vr_fuzz_area(i);

		vr_set_common(&d, 0x16, i, 2);
		vr_set_common(
			&d, 0x18,
			fuzz_random(seed) % 8 ? 1u << fuzz_random(seed) % 6 : fuzz_random(seed), 2);
		vr_set_common(&d, 0x1a, fuzz_random(seed) % 4, 2);
		vr_set_common(&d, 0x20, at, 8);
		vr_set_common(&d, 0x28, at + 0x1000, 8);
		vr_set_common(&d, 0x30, fuzz_random(seed) % 16 ? at + 0x2000 : fuzz_random(seed),
			      8);
		vr_set_common(&d, 0x1c, 1, 2);
		memset(vr_ram(&d, at), 0, VR_FUZZ_AREA);
	}
	vr_set_common(&d, 0x14, 15, 1);
}

static inline uint64_t vr_fuzz_address(uint64_t *seed)
{
	uint64_t r = fuzz_random(seed);

	switch (r >> 8 & 15) {
	case 0: return r;
	case 1: return VR_RAM - (r >> 16 & 0xff);
	case 2: return vr_fuzz_area(r >> 20) + (r >> 32 & 0x3fff); /* the rings themselves */
	case 3: return ~UINT64_C(0) - (r >> 16 & 0xff);
	default: return 0x20000 + (r >> 16 & 0x7ffff);
	}
}

/* The device under test: the machine's last one. What its queues wait for is no secret here. */
static inline const struct virtio *vr_device(struct rig *rig)
{
	struct device *dev = rig->vm->devices;

	while (dev->next)
		dev = dev->next;
	return (const struct virtio *)dev;
}

/* Three descriptors where the device looks next: a header, something, and room for a status. */
static inline void vr_fuzz_request(struct rig *rig, unsigned n, uint64_t *seed)
{
	const struct virtio_queue *q = &vr_device(rig)->queue[n];
	bool packed = virtio_has(vr_device(rig), VIRTIO_F_RING_PACKED);
	uint16_t size = q->size ? q->size : 1, at = (uint16_t)(q->avail % size);
	struct vr d = { .rig = rig };
	uint64_t area = vr_fuzz_area(n), r = fuzz_random(seed);
	uint16_t slot = packed ? at : (uint16_t)(r >> 56 & 7);
	bool wrap = q->avail_wrap;

	for (unsigned i = 0; i < 3 && slot < 32; i++) {
		struct vr_buffer b = { 0x20000 + (r >> (8 * i) & 0xffff) * 4, i == 2 ? 1 : 16,
				       i == 2 };
		uint16_t next = (uint16_t)((slot + 1) % size);

		if (i == 0) {
			vr_set(&d, b.at, 4, r >> 40 & (r >> 51 & 1 ? 15 : 1));
			vr_set(&d, b.at + 8, 8, r >> 44 & 0x7f);
		} else if (i == 1) {
			b.bytes = (r >> 52 & 3) * 512 + (r >> 60 ? 0 : 16);
			b.device_writes = r & 1;
		}
		vr_desc(&d, area + 16 * slot, &b,
			(uint16_t)((i < 2 ? 1 : 0) | (packed ? vr_lap_flags(wrap) : 0)),
			packed ? at : next, packed);
		wrap ^= next == 0;
		slot = next;
	}
	if (packed)
		return;
	vr_set(&d, area + 0x1000 + 4 + 2 * at, 2, r >> 56 & 7);
	vr_set(&d, area + 0x1002, 2, q->avail + 1u);
}

static inline void vr_fuzz_scribble(struct rig *rig, uint64_t *seed)
{
	struct vr d = { .rig = rig };
	uint64_t at = vr_fuzz_area(fuzz_random(seed)), r;
	unsigned first = (unsigned)(fuzz_random(seed) % 32);

	for (unsigned i = 0; i < 8; i++) {
		uint64_t desc = at + 16 * ((first + i) % 32);

		r = fuzz_random(seed);
		vr_set(&d, desc, 8, vr_fuzz_address(seed));
		vr_set(&d, desc + 8, 4, r % 16 ? r >> 8 & 0xfff : r >> 32);
		/* Read as flags and next, or as ID and flags. */
		vr_set(&d, desc + 12, 2, r >> 16 & (r >> 20 & 3 ? 3 : 7));
		vr_set(&d, desc + 14, 2,
		       r >> 24 & 1 ? r >> 32 & 31 : vr_lap_flags(r >> 25 & 1) | (r >> 26 & 7));
	}
	r = fuzz_random(seed);
	for (unsigned i = 0; i < 8; i++)
		vr_set(&d, at + 0x1000 + 4 + 2 * ((r + i) % 32), 2, (r >> (5 * i)) & 31);
	vr_set(&d, at + 0x1002, 2,
	       r >> 60 ? vr_get(&d, at + 0x1002, 2) + (r >> 50 & 3) : r >> 32 & 0xffff);
}

static inline uint32_t vr_fuzz_stir(struct rig *rig, uint64_t random)
{
	static const uint8_t sizes[] = { 1, 2, 4, 8 };
	uint64_t seed = random | 1, r = fuzz_random(&seed), at;
	unsigned size = sizes[r >> 4 & 3];

	switch (r % 16) {
	case 0: vr_fuzz_setup(rig, &seed); return 0;
	case 1:
		if (r >> 60 < 4)
			vr_fuzz_scribble(rig, &seed);
		return 0;
	case 2:
	case 3:
	case 4:
	case 8:
	case 9: vr_fuzz_request(rig, (unsigned)(r >> 8) % VR_FUZZ_QUEUES, &seed); return 0;
	case 5:
		rig_write(rig, VR_ECAM + (VR_DEVFN << 12) + (r >> 8 & 0xff), r >> 16, size);
		return 0;
	case 6:
	case 7:
		at = VR_BAR + (r >> 8) % 0x8000;
		if (r >> 40 & 1)
			at = VR_BAR + (r >> 8) % 0x40;
		if (r >> 41 & 1)
			return (uint32_t)rig_read(rig, at, size);
		rig_write(rig, at, r >> 42, size);
		return 0;
	default: rig_write(rig, VR_BAR + 0x3000 + (r >> 8) % VR_FUZZ_QUEUES * 4, 0, 2); return 0;
	}
}

/* A hostile driver on two machines, one loaded from the other now and then. $FUZZ_SECONDS: goes on
 * for that long, each time from another seed. */
static inline void vr_fuzz(rig_build *build, unsigned rounds)
{
	const char *seconds = getenv("FUZZ_SECONDS");
	uint64_t end =
		host_monotonic_ns() + (seconds ? strtoull(seconds, NULL, 10) : 0) * 1000000000;
	struct fuzz fuzz = {
		.build = build,
		.ports = { { 0xcf8, 8 } },
		.rounds = rounds,
		.longest_ns = 1000000,
		.stir = vr_fuzz_stir,
		.mostly_stir = true,
	};

	fuzz_registers(&fuzz);
	for (fuzz.seed = host_monotonic_ns() | 1; host_monotonic_ns() < end; fuzz.seed += 2) {
		print_message("seed %llu\n", (unsigned long long)fuzz.seed);
		fuzz_registers(&fuzz);
	}
}

#endif
