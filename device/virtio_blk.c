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
#include "device/virtio_blk_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "machine/vm.h"

#define LOOK_AGAIN_NS UINT64_C(100000000)

enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

static struct virtio_blk *of(struct virtio *v)
{
	return (struct virtio_blk *)v;
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

	virtio_blk_chain(b, n, &c);
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

	host_mutex_lock(l->b->lock);
	l->err = err;
	atomic_store(&l->done, true);
	host_cond_signal(l->b->landed);
	host_mutex_unlock(l->b->lock);
	device_ring(&l->b->v.pci.dev);
}

static void submit(struct virtio_blk *b, unsigned n)
{
	struct landing *l = &b->landing[n];

	l->request.done = host_done;
	l->request.arg = l;
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
		virtio_blk_prepare(b, n);
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
	err = virtio_blk_prepare(b, n);
	if (err)
		land(b, n, err);
	else
		submit(b, n);
}

/*
 * Waits for the host. It may stand still for long, when its disk is full and a user has to make
 * room: if the machine is to end meanwhile, what waits is given up.
 */
static void wait_for(struct virtio_blk *b, struct landing *l)
{
	bool done = false;

	while (!done) {
		if (atomic_load(&b->v.pci.dev.vm->request) != VM_NONE)
			blk_drain(b->disk);
		host_mutex_lock(b->lock);
		if (!atomic_load(&l->done))
			host_cond_wait(b->landed, b->lock, host_monotonic_ns() + LOOK_AGAIN_NS);
		done = atomic_load(&l->done);
		host_mutex_unlock(b->lock);
	}
	l->submitted = false;
	device_expect(&b->v.pci.dev, -1);
}

/* Requests in the air have no order of their own: those due at the same time overlap. */
static void do_now(struct virtio_blk *b, unsigned n)
{
	struct landing *l = &b->landing[n];
	int err = virtio_blk_prepare(b, n);

	while (!err) {
		submit(b, n);
		wait_for(b, l);
		err = l->err;
		if (!next_leg(b, n, err))
			break;
		err = virtio_blk_prepare(b, n);
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
	virtio_blk_keep_chain(b, n, c);
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

		if (l->submitted && b->flight[n].queue == q)
			wait_for(b, l);
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
	virtio_blk_chain(b, n, &c);
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
	blk_drain(of(v)->disk); /* until the last callback has returned, too */
	host_cond_free(of(v)->landed);
	host_mutex_free(of(v)->lock);
}

static const struct virtio_class blk_class = {
	.id = VIRTIO_ID_BLOCK,
	.class_code = 0x018000, /* other mass storage */
	.notify = notify,
	.reset = blk_reset,
	.queue_reset = queue_reset,
	.alarm = blk_alarm,
	.input = blk_input,
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
	VIRTIO_DEVICE_OPS,
	.type = "virtio_blk",
	.state = blk_fields,
	.state_version = 1,
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

	if (b) {
		b->lock = host_mutex_new();
		b->landed = host_cond_new();
	}
	if (!b || !b->lock || !b->landed) {
		if (b) {
			host_cond_free(b->landed);
			host_mutex_free(b->lock);
		}
		host_free(b);
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	}
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
