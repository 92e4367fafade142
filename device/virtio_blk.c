/*
 * virtio_blk.c - virtio block device.
 *
 * A request that was taken from the ring is a "flight", and everything about it is state: which
 * chain, what to do, where its buffers are. Data goes straight between the image and guest RAM;
 * nothing of it is copied here. A saved machine is one with flights in the air: they are
 * started anew where it is loaded, which does no harm since the guest has not been told that they
 * landed.
 *
 * In real time the host's work runs beside the guest and the disk's thread rings when it is
 * done. In a counted machine nothing happens until the alarm at the end of a fixed latency: then
 * the work is done and waited for, so guest memory changes at exactly that instruction.
 *
 * A driver that has not accepted FLUSH believes that what was written is safe: each write of
 * its is followed by a flush before it hears of it.
 *
 * Not modelled: zoned devices, secure erase, lifetime, configurable write-back, legacy SCSI.
 *
 * Spec: virtio 1.2, 5.2. Tested by test/device/virtio_blk.c and test/guest/disk.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "device/virtio.h"
#include "machine/vm.h"

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
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define RANGE_UNMAP 1u

struct request_header {
	uint32_t type, reserved;
	uint64_t sector;
};
struct request_range { /* of DISCARD and WRITE_ZEROES */
	uint64_t sector;
	uint32_t sectors, flags;
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
	atomic_bool done; /* set on the disk's thread after err */
	int err;
};

struct virtio_blk {
	struct virtio v;
	struct config_space space;
	struct blk *disk;
	uint64_t latency_ns;
	char serial[VIRTIO_BLK_SERIAL];
	struct landing landing[FLIGHTS];

	/* State. */
	struct flight flight[FLIGHTS];
	uint64_t segment_at[FLIGHTS * SEGMENTS];
	uint32_t segment_bytes[FLIGHTS * SEGMENTS];
};

static struct virtio_blk *of(struct virtio *v)
{
	return (struct virtio_blk *)v;
}

/* --- A chain, kept --- */

static void keep_chain(struct virtio_blk *b, unsigned n, const struct virtio_chain *c)
{
	struct flight *f = &b->flight[n];

	f->id = c->id;
	f->slots = c->slots;
	f->in = c->in;
	f->out = c->out;
	for (unsigned i = 0; i < SEGMENTS; i++) {
		bool used = i < (unsigned)c->in + c->out;

		b->segment_at[SEGMENTS * n + i] = used ? c->segment[i].at : 0;
		b->segment_bytes[SEGMENTS * n + i] = used ? c->segment[i].bytes : 0;
	}
}

static void chain_of(const struct virtio_blk *b, unsigned n, struct virtio_chain *c)
{
	const struct flight *f = &b->flight[n];

	c->id = f->id;
	c->slots = f->slots;
	c->in = f->in;
	c->out = f->out;
	c->in_bytes = c->out_bytes = 0;
	for (unsigned i = 0; i < (unsigned)f->in + f->out; i++) {
		c->segment[i].at = b->segment_at[SEGMENTS * n + i];
		c->segment[i].bytes = b->segment_bytes[SEGMENTS * n + i];
		*(i < f->in ? &c->in_bytes : &c->out_bytes) += c->segment[i].bytes;
	}
}

/* --- The end of a request --- */

static uint8_t status_of(int err)
{
	return err == 0 ? S_OK : err == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;
}

/* The status is the last byte the device writes. `data` bytes before it are valid. */
static void answer(struct virtio_blk *b, unsigned q, const struct virtio_chain *c, uint64_t data,
		   int err)
{
	uint8_t status = status_of(err);
	uint64_t last = c->out_bytes - 1;

	virtio_put(&b->v, c, last, &status, 1);
	virtio_push(&b->v, q, c, (uint32_t)(data == last ? last + 1 : data));
}

static void land(struct virtio_blk *b, unsigned n, int err)
{
	struct flight *f = &b->flight[n];
	struct virtio_chain c;
	uint64_t data = 0;

	chain_of(b, n, &c);
	if (f->type == T_IN && !err) {
		data = c.out_bytes - 1;
		virtio_wrote(&b->v, &c, 0, data);
	}
	f->busy = false;
	answer(b, f->queue, &c, data, err);
	virtio_flush(&b->v, f->queue);
}

/* --- The host's work --- */

static void host_done(struct blk_request *request, int err)
{
	struct landing *l = request->arg;

	l->err = err;
	atomic_store(&l->done, true);
	device_ring(&l->b->v.pci.dev);
}

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
static int prepare(struct virtio_blk *b, unsigned n)
{
	struct flight *f = &b->flight[n];
	struct landing *l = &b->landing[n];
	struct virtio_chain c;

	l->request = (struct blk_request){ .done = host_done, .arg = l, .op = BLK_FLUSH };
	if (f->type == T_FLUSH || f->flushing)
		return 0;
	chain_of(b, n, &c);
	if (f->type != T_IN && b->v.offered & F_RO)
		return -EROFS;
	return f->type == T_IN || f->type == T_OUT ? prepare_data(b, n, &c)
						   : prepare_range(b, n, &c);
}

static void submit(struct virtio_blk *b, unsigned n)
{
	struct landing *l = &b->landing[n];

	atomic_store(&l->done, false);
	l->submitted = true;
	device_expect(&b->v.pci.dev, +1);
	blk_submit(b->disk, &l->request);
}

/* What the host has finished; true: the flight goes on with its flush. */
static bool next_leg(struct virtio_blk *b, unsigned n, int err)
{
	struct flight *f = &b->flight[n];

	if (err || f->flushing || f->type != T_OUT || virtio_has(&b->v, F_FLUSH))
		return false;
	f->flushing = true;
	return true;
}

static void take_landed(struct virtio_blk *b, unsigned n)
{
	struct landing *l = &b->landing[n];
	int err = l->err;

	l->submitted = false;
	device_expect(&b->v.pci.dev, -1);
	if (next_leg(b, n, err)) {
		prepare(b, n);
		submit(b, n);
	} else {
		land(b, n, err);
	}
}

/* Starts the host's work, or, in a counted machine, the wait for the time to do it. */
static void depart(struct virtio_blk *b, unsigned n)
{
	int err;

	if (b->flight[n].due)
		return;
	err = prepare(b, n);
	if (err)
		land(b, n, err);
	else
		submit(b, n);
}

/* Requests in the air have no order of their own: those due at the same time overlap. */
static void do_now(struct virtio_blk *b, unsigned n)
{
	struct landing *l = &b->landing[n];
	int err = prepare(b, n);

	while (!err) {
		submit(b, n);
		blk_wait(b->disk, &l->request);
		err = l->err;
		l->submitted = false;
		device_expect(&b->v.pci.dev, -1);
		if (!next_leg(b, n, err))
			break;
		err = prepare(b, n);
	}
	land(b, n, err);
}

static void set_alarm(struct virtio_blk *b)
{
	uint64_t first = ALARM_NONE;

	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (b->flight[n].busy && b->flight[n].due && b->flight[n].due < first)
			first = b->flight[n].due;
	}
	device_alarm(&b->v.pci.dev, 0, first);
}

/* --- Requests --- */

static int free_flight(const struct virtio_blk *b)
{
	for (int n = 0; n < FLIGHTS; n++) {
		if (!b->flight[n].busy)
			return n;
	}
	return -1;
}

static void give_id(struct virtio_blk *b, unsigned q, const struct virtio_chain *c)
{
	uint64_t room = c->out_bytes - 1;
	uint64_t n = room < sizeof(b->serial) ? room : sizeof(b->serial);

	virtio_put(&b->v, c, 0, b->serial, n);
	answer(b, q, c, n, 0);
}

/* false: the ring is broken. */
static bool accept(struct virtio_blk *b, unsigned q, unsigned n, const struct virtio_chain *c)
{
	struct request_header h;

	if (c->out_bytes < 1 || virtio_get(&b->v, c, 0, &h, sizeof(h)) != sizeof(h)) {
		virtio_needs_reset(&b->v, "a request without header or status");
		return false;
	}
	switch (h.type) {
	case T_GET_ID: give_id(b, q, c); return true;
	case T_IN:
	case T_OUT:
	case T_FLUSH:
	case T_DISCARD:
	case T_WRITE_ZEROES: break;
	default: answer(b, q, c, 0, -EOPNOTSUPP); return true;
	}
	if (c->in + c->out > SEGMENTS) {
		answer(b, q, c, 0, -EIO); /* more than seg_max */
		return true;
	}
	b->flight[n] = (struct flight){
		.busy = true,
		.queue = (uint16_t)q,
		.type = h.type,
		.sector = h.sector,
		.due = b->latency_ns ? device_now(&b->v.pci.dev) + b->latency_ns : 0,
	};
	keep_chain(b, n, c);
	depart(b, n);
	return true;
}

static void notify(struct virtio *v, unsigned q)
{
	struct virtio_blk *b = of(v);
	struct virtio_chain c;
	int n;

	while ((n = free_flight(b)) >= 0 && virtio_pop(v, q, &c)) {
		if (!accept(b, q, (unsigned)n, &c))
			break;
	}
	virtio_flush(v, q);
	set_alarm(b);
}

/* Queues that waited for a flight to become free. */
static void look_again(struct virtio_blk *b)
{
	for (unsigned q = 0; q < b->v.queues; q++)
		notify(&b->v, q);
}

static void blk_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct virtio_blk *b = (struct virtio_blk *)dev;

	(void)which;
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (b->flight[n].busy && b->flight[n].due && b->flight[n].due <= now)
			do_now(b, n);
	}
	look_again(b);
}

static void blk_input(struct device *dev, const void *data, size_t bytes)
{
	struct virtio_blk *b = (struct virtio_blk *)dev;

	(void)data;
	(void)bytes;
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (b->landing[n].submitted && atomic_load(&b->landing[n].done))
			take_landed(b, n);
	}
	look_again(b);
}

/* --- Reset, save, load --- */

/* Nothing of the host's touches guest memory any more. */
static void ground(struct virtio_blk *b)
{
	bool any = false;

	for (unsigned n = 0; n < FLIGHTS; n++)
		any |= b->landing[n].submitted;
	if (!any)
		return;
	blk_drain(b->disk);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (b->landing[n].submitted)
			device_expect(&b->v.pci.dev, -1);
		b->landing[n].submitted = false;
	}
}

static void forget_flights(struct virtio_blk *b, unsigned first, unsigned last)
{
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (!b->flight[n].busy || b->flight[n].queue < first || b->flight[n].queue > last)
			continue;
		b->flight[n] = (struct flight){ .busy = false };
	}
}

static void blk_reset(struct virtio *v)
{
	struct virtio_blk *b = of(v);

	ground(b);
	memset(b->flight, 0, sizeof(b->flight));
	memset(b->segment_at, 0, sizeof(b->segment_at));
	memset(b->segment_bytes, 0, sizeof(b->segment_bytes));
	set_alarm(b);
}

/* Other queues' requests that the host has finished meanwhile are taken as usual: it has rung. */
static void queue_reset(struct virtio *v, unsigned q)
{
	struct virtio_blk *b = of(v);

	for (unsigned n = 0; n < FLIGHTS; n++) {
		struct landing *l = &b->landing[n];

		if (!l->submitted || b->flight[n].queue != q)
			continue;
		blk_wait(b->disk, &l->request);
		l->submitted = false;
		device_expect(&v->pci.dev, -1);
	}
	forget_flights(b, q, q);
	set_alarm(b);
}

static bool flight_possible(const struct virtio_blk *b, unsigned n)
{
	const struct flight *f = &b->flight[n];
	bool known = f->type == T_IN || f->type == T_OUT || f->type == T_FLUSH ||
		     f->type == T_DISCARD || f->type == T_WRITE_ZEROES;
	struct virtio_chain c;

	if (!f->busy)
		return true;
	if (!known || f->queue >= b->v.queues || !b->v.queue[f->queue].enabled ||
	    f->in + f->out > SEGMENTS || f->slots == 0 || f->slots > b->v.queue[f->queue].size ||
	    !f->due != !b->latency_ns || f->due > CLOCK_END || (f->flushing && f->type != T_OUT))
		return false;
	chain_of(b, n, &c);
	for (unsigned i = 0; i < (unsigned)c.in + c.out; i++) {
		if (!mem_is_memory(&b->v.pci.dev.vm->mem, gpa(c.segment[i].at), c.segment[i].bytes,
				   i >= c.in))
			return false;
	}
	return c.in_bytes >= sizeof(struct request_header) && c.out_bytes >= 1 &&
	       c.in_bytes + c.out_bytes <= UINT32_MAX;
}

static int blk_loaded(struct virtio *v, struct fail *why)
{
	struct virtio_blk *b = of(v);

	ground(b);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (!flight_possible(b, n))
			return fail(why, -EINVAL, "%s: a saved request is impossible",
				    v->pci.dev.id);
	}
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (b->flight[n].busy)
			depart(b, n);
	}
	set_alarm(b);
	return 0;
}

static void blk_destroy(struct virtio *v)
{
	ground(of(v));
}

static const struct virtio_class blk_class = {
	.id = VIRTIO_ID_BLOCK,
	.class_code = 0x018000, /* other mass storage */
	.notify = notify,
	.reset = blk_reset,
	.queue_reset = queue_reset,
	.loaded = blk_loaded,
	.destroy = blk_destroy,
};

static const struct field blk_fields[] = {
	VIRTIO_FIELDS(virtio_blk, v),
	FIELD_EACH(virtio_blk, flight, busy, 1),
	FIELD_EACH(virtio_blk, flight, flushing, 1),
	FIELD_EACH(virtio_blk, flight, queue, 1),
	FIELD_EACH(virtio_blk, flight, id, 1),
	FIELD_EACH(virtio_blk, flight, slots, 1),
	FIELD_EACH(virtio_blk, flight, in, 1),
	FIELD_EACH(virtio_blk, flight, out, 1),
	FIELD_EACH(virtio_blk, flight, type, 1),
	FIELD_EACH(virtio_blk, flight, sector, 1),
	FIELD_EACH(virtio_blk, flight, due, 1),
	FIELD_ARRAY(virtio_blk, segment_at, 1),
	FIELD_ARRAY(virtio_blk, segment_bytes, 1),
	FIELD_END,
};

static const struct device_ops blk_ops = {
	VIRTIO_DEVICE_OPS,  .type = "virtio_blk", .alarm = blk_alarm,
	.input = blk_input, .state = blk_fields,  .state_version = 1,
};

/* --- Making one --- */

static void describe(struct virtio_blk *b, unsigned queues)
{
	const struct blk_info *info = blk_info(b->disk);
	uint32_t block = info->block / BLK_SECTOR, exp = 0;

	while (exp < 8 && (2u << exp) <= block)
		exp++;
	b->space = (struct config_space){
		.capacity = info->bytes / BLK_SECTOR,
		.seg_max = DATA_SEGMENT,
		.blk_size = BLK_SECTOR,
		.physical_block_exp = (uint8_t)exp,
		.min_io_size = (uint16_t)(1u << exp),
		.num_queues = (uint16_t)queues,
		.max_discard_sectors = RANGE_MOST,
		.max_discard_seg = 1,
		.discard_sector_alignment =
			info->cluster > BLK_SECTOR ? info->cluster / BLK_SECTOR : 1,
		.max_write_zeroes_sectors = RANGE_MOST,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
}

int virtio_blk_create(struct pci_host *host, const struct virtio_blk_config *config,
		      struct fail *why)
{
	bool readonly = blk_info(config->disk)->readonly;
	struct virtio_config virtio = {
		.id = config->id,
		.devfn = config->devfn,
		.queues = config->queues,
		.features = F_SEG_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH |
			    (readonly ? F_RO : F_DISCARD | F_WRITE_ZEROES) |
			    (config->queues > 1 ? F_MQ : 0),
	};
	struct virtio_blk *b = host_alloc(sizeof(*b));

	if (!b)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	b->disk = config->disk;
	b->latency_ns = config->latency_ns;
	memcpy(b->serial, config->serial, strnlen(config->serial, sizeof(b->serial)));
	for (unsigned n = 0; n < FLIGHTS; n++)
		b->landing[n].b = b;
	describe(b, config->queues);
	virtio.config = &b->space;
	virtio.config_bytes = sizeof(b->space);
	return virtio_add(host, &b->v, &blk_class, &blk_ops, &virtio, why);
}
