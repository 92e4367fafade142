/*
 * virtio_9p.c - virtio 9P transport: messages between the guest's queue and a backend.
 *
 * The device does not know what a message says, only how long it is. It copies it out of guest
 * memory, so that the guest cannot change it while it is being read, and the answer back when it is
 * there: the backend's thread touches no guest memory.
 *
 * A request in flight is state, as a disk's is (virtio_blk.c): where the machine is loaded it is
 * submitted anew. Before a machine is saved those with the host are waited for, since most cannot
 * be done twice; and the backend puts down what the guest has open, which is opened again after a
 * load.
 *
 * In a counted machine the host's work is done, and waited for, at the alarm that completes it.
 *
 * Spec: virtio 1.2, 5.8 only reserves the device ID; the configuration space (a mount tag) and the
 * single queue are what Linux's net/9p/trans_virtio.c drives. Tested by test/device/virtio_9p.c
 * and test/guest/share.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_9p.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "device/virtio.h"
#include "host/host.h"
#include "machine/vm.h"

#define F_MOUNT_TAG UINT64_C(1)
#define FLIGHTS     16
#define SEGMENTS    160 /* of one request; Linux uses up to 128 */
#define RLERROR     7u
#define FIDS_WORDS  8192 /* of what the guest has open: 64 KiB for some thousand files */

struct config_space {
	uint16_t tag_len;
	uint8_t tag[P9_TAG_MOST];
} __attribute__((packed));

struct error_answer {
	uint32_t size;
	uint8_t type;
	uint16_t tag;
	uint32_t code;
} __attribute__((packed));
_Static_assert(sizeof(struct error_answer) == P9_ERROR_BYTES, "9P2000.L, Rlerror");

struct flight {
	bool busy;
	uint16_t id, slots, in, out; /* of the chain */
	uint64_t due;                /* virtual ns; 0: when the host is done */
};

/* The host's side of a flight: not state. */
struct landing {
	struct virtio_9p *d;
	struct p9_request request;
	uint8_t *in, *out; /* kept for the next one, and grown when it needs more */
	size_t in_room, out_room;
	bool submitted;
	atomic_bool done;
};

struct virtio_9p {
	struct virtio v;
	struct config_space space;
	struct p9_backend backend;
	uint64_t latency_ns;
	struct landing landing[FLIGHTS];
	struct virtio_chain chain;

	/* State. */
	struct flight flight[FLIGHTS];
	uint64_t segment_at[FLIGHTS * SEGMENTS];
	uint32_t segment_bytes[FLIGHTS * SEGMENTS];
	bool used; /* the backend has been asked for something */
	/* What the guest has open: only valid from saving() on. */
	uint32_t open_bytes;
	uint64_t open[FIDS_WORDS];
};

static struct virtio_9p *of(struct virtio *v)
{
	return (struct virtio_9p *)v;
}

/* --- A chain, kept --- */

static void keep_chain(struct virtio_9p *d, unsigned n, const struct virtio_chain *c)
{
	struct flight *f = &d->flight[n];

	f->id = c->id;
	f->slots = c->slots;
	f->in = c->in;
	f->out = c->out;
	virtio_keep(c, d->segment_at + SEGMENTS * n, d->segment_bytes + SEGMENTS * n, SEGMENTS);
}

static struct virtio_chain *chain_of(struct virtio_9p *d, unsigned n)
{
	const struct flight *f = &d->flight[n];
	struct virtio_chain *c = &d->chain;

	c->id = f->id;
	c->slots = f->slots;
	c->in = f->in;
	c->out = f->out;
	virtio_kept(c, d->segment_at + SEGMENTS * n, d->segment_bytes + SEGMENTS * n);
	return c;
}

/* --- The end of a request --- */

static void land(struct virtio_9p *d, unsigned n, const void *answer, size_t bytes)
{
	struct virtio_chain *c = chain_of(d, n);

	d->flight[n].busy = false;
	bytes = virtio_put(&d->v, c, 0, answer, bytes);
	virtio_push(&d->v, 0, c, (uint32_t)bytes);
	virtio_flush(&d->v, 0);
}

static void land_error(struct virtio_9p *d, unsigned n, uint16_t tag, int err)
{
	struct error_answer e = { sizeof(e), RLERROR, tag, (uint32_t)-err };

	land(d, n, &e, sizeof(e));
}

/* --- The host's work --- */

static void host_done(struct p9_request *request)
{
	struct landing *l = request->arg;

	atomic_store(&l->done, true);
	device_ring(&l->d->v.pci.dev);
}

static bool room_for(uint8_t **at, size_t *room, size_t bytes)
{
	if (bytes <= *room)
		return true;
	host_free(*at);
	*at = host_alloc(bytes);
	*room = *at ? bytes : 0;
	return *at;
}

/* Copies the message in. false: the flight is over. */
static bool prepare(struct virtio_9p *d, unsigned n)
{
	const struct virtio_chain *c = chain_of(d, n);
	struct landing *l = &d->landing[n];
	size_t out = c->out_bytes < P9_MESSAGE_MOST ? c->out_bytes : P9_MESSAGE_MOST;
	struct {
		uint32_t size;
		uint8_t type;
		uint16_t tag;
	} __attribute__((packed)) h = { 0 };

	virtio_get(&d->v, c, 0, &h, sizeof(h));
	if (h.size < P9_HEADER || h.size > c->in_bytes || h.size > P9_MESSAGE_MOST) {
		land_error(d, n, h.tag, -EMSGSIZE);
		return false;
	}
	if (!room_for(&l->in, &l->in_room, h.size) || !room_for(&l->out, &l->out_room, out)) {
		land_error(d, n, h.tag, -ENOMEM);
		return false;
	}
	virtio_get(&d->v, c, 0, l->in, h.size);
	l->request = (struct p9_request){
		.in = l->in,
		.in_bytes = h.size,
		.out = l->out,
		.out_room = out,
		.done = host_done,
		.arg = l,
	};
	return true;
}

static void submit(struct virtio_9p *d, unsigned n)
{
	struct landing *l = &d->landing[n];

	atomic_store(&l->done, false);
	l->submitted = true;
	d->used = true;
	device_expect(&d->v.pci.dev, +1);
	d->backend.submit(d->backend.arg, &l->request);
}

static void take_landed(struct virtio_9p *d, unsigned n)
{
	struct landing *l = &d->landing[n];

	l->submitted = false;
	device_expect(&d->v.pci.dev, -1);
	land(d, n, l->out, l->request.out_bytes);
}

static void depart(struct virtio_9p *d, unsigned n)
{
	if (!d->flight[n].due && prepare(d, n))
		submit(d, n);
}

static void set_alarm(struct virtio_9p *d)
{
	uint64_t first = ALARM_NONE;

	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (d->flight[n].busy && d->flight[n].due && d->flight[n].due < first)
			first = d->flight[n].due;
	}
	device_alarm(&d->v.pci.dev, 0, first);
}

/* --- Requests --- */

static int free_flight(const struct virtio_9p *d)
{
	for (int n = 0; n < FLIGHTS; n++) {
		if (!d->flight[n].busy)
			return n;
	}
	return -1;
}

static bool chain_possible(const struct virtio_chain *c)
{
	return c->in + c->out <= SEGMENTS && c->in_bytes >= P9_HEADER &&
	       c->out_bytes >= P9_ERROR_BYTES;
}

static void notify(struct virtio *v, unsigned q)
{
	struct virtio_9p *d = of(v);
	int n;

	while ((n = free_flight(d)) >= 0 && virtio_pop(v, q, &d->chain)) {
		if (!chain_possible(&d->chain)) {
			virtio_needs_reset(v, "a request without header or room for an answer");
			break;
		}
		d->flight[n] = (struct flight){
			.busy = true,
			.due = d->latency_ns ? device_now(&v->pci.dev) + d->latency_ns : 0,
		};
		keep_chain(d, (unsigned)n, &d->chain);
		depart(d, (unsigned)n);
	}
	set_alarm(d);
}

static void p9_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct virtio_9p *d = (struct virtio_9p *)dev;

	(void)which;
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (!d->flight[n].busy || !d->flight[n].due || d->flight[n].due > now)
			continue;
		if (!prepare(d, n))
			continue;
		submit(d, n);
		d->backend.drain(d->backend.arg);
		take_landed(d, n);
	}
	notify(&d->v, 0);
}

static void take_all_landed(struct virtio_9p *d)
{
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (d->landing[n].submitted && atomic_load(&d->landing[n].done))
			take_landed(d, n);
	}
}

static void p9_input(struct device *dev, const void *data, size_t bytes)
{
	struct virtio_9p *d = (struct virtio_9p *)dev;

	(void)data;
	(void)bytes;
	take_all_landed(d);
	notify(&d->v, 0);
}

/* --- Reset, save, load --- */

static void p9_saving(struct device *dev)
{
	struct virtio_9p *d = (struct virtio_9p *)dev;

	d->open_bytes = 0;
	memset(d->open, 0, sizeof(d->open));
	if (!d->used)
		return;
	d->backend.drain(d->backend.arg);
	take_all_landed(d);
	d->open_bytes = (uint32_t)d->backend.save(d->backend.arg, d->open, sizeof(d->open));
}

/* Nothing is with the backend any more. */
static void ground(struct virtio_9p *d)
{
	bool any = false;

	for (unsigned n = 0; n < FLIGHTS; n++)
		any |= d->landing[n].submitted;
	if (!any)
		return;
	d->backend.drain(d->backend.arg);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (d->landing[n].submitted)
			device_expect(&d->v.pci.dev, -1);
		d->landing[n].submitted = false;
	}
}

static void forget_flights(struct virtio_9p *d)
{
	ground(d);
	memset(d->flight, 0, sizeof(d->flight));
	memset(d->segment_at, 0, sizeof(d->segment_at));
	memset(d->segment_bytes, 0, sizeof(d->segment_bytes));
	set_alarm(d);
}

static void p9_reset(struct virtio *v)
{
	struct virtio_9p *d = of(v);

	forget_flights(d);
	if (d->used)
		d->backend.reset(d->backend.arg);
	d->used = false;
}

static void queue_reset(struct virtio *v, unsigned q)
{
	(void)q;
	forget_flights(of(v));
}

static bool flight_possible(struct virtio_9p *d, unsigned n)
{
	const struct flight *f = &d->flight[n];
	const struct virtio_chain *c = &d->chain;

	if (!f->busy)
		return true;
	if (!d->v.queue[0].enabled || f->in + f->out > SEGMENTS || f->slots == 0 ||
	    f->slots > d->v.queue[0].size || !f->due != !d->latency_ns || f->due > CLOCK_END)
		return false;
	chain_of(d, n);
	for (unsigned i = 0; i < (unsigned)c->in + c->out; i++) {
		if (!mem_is_memory(&d->v.pci.dev.vm->mem, gpa(c->segment[i].at),
				   c->segment[i].bytes, i >= c->in))
			return false;
	}
	return chain_possible(c) && c->in_bytes + c->out_bytes <= UINT32_MAX;
}

static int p9_loaded(struct virtio *v, struct fail *why)
{
	struct virtio_9p *d = of(v);

	ground(d);
	d->backend.reset(d->backend.arg);
	if (d->open_bytes > sizeof(d->open))
		return fail(why, -EINVAL, "%s: more is open than can be", v->pci.dev.id);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (!flight_possible(d, n))
			return fail(why, -EINVAL, "%s: a saved request is impossible",
				    v->pci.dev.id);
	}
	if (d->used)
		d->backend.load(d->backend.arg, d->open, d->open_bytes);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		if (d->flight[n].busy)
			depart(d, n);
	}
	set_alarm(d);
	return 0;
}

static void p9_destroy(struct virtio *v)
{
	struct virtio_9p *d = of(v);

	d->backend.drain(d->backend.arg);
	for (unsigned n = 0; n < FLIGHTS; n++) {
		host_free(d->landing[n].in);
		host_free(d->landing[n].out);
	}
}

static const struct virtio_class p9_class = {
	.id = VIRTIO_ID_9P,
	.class_code = 0x018000,
	.notify = notify,
	.reset = p9_reset,
	.queue_reset = queue_reset,
	.alarm = p9_alarm,
	.input = p9_input,
	.loaded = p9_loaded,
	.destroy = p9_destroy,
};

static const struct field p9_fields[] = {
	VIRTIO_FIELDS(virtio_9p, v),
	FIELD_EACH(virtio_9p, flight, busy, 1),
	FIELD_EACH(virtio_9p, flight, id, 1),
	FIELD_EACH(virtio_9p, flight, slots, 1),
	FIELD_EACH(virtio_9p, flight, in, 1),
	FIELD_EACH(virtio_9p, flight, out, 1),
	FIELD_EACH(virtio_9p, flight, due, 1),
	FIELD_ARRAY(virtio_9p, segment_at, 1),
	FIELD_ARRAY(virtio_9p, segment_bytes, 1),
	FIELD(virtio_9p, used, 1),
	FIELD(virtio_9p, open_bytes, 1),
	FIELD_ARRAY(virtio_9p, open, 1),
	FIELD_END,
};

static const struct device_ops p9_ops = {
	VIRTIO_DEVICE_OPS,  .saving = p9_saving, .type = "virtio_9p",
	.state = p9_fields, .state_version = 1,
};

int virtio_9p_create(struct pci_host *host, const struct virtio_9p_config *config, struct fail *why)
{
	struct virtio_9p *d = host_alloc(sizeof(*d));
	struct virtio_config virtio = {
		.id = config->id,
		.features = F_MOUNT_TAG,
		.queues = 1,
		.devfn = config->devfn,
	};

	if (!d)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	d->backend = config->backend;
	d->latency_ns = config->latency_ns;
	d->space.tag_len = (uint16_t)strnlen(config->tag, P9_TAG_MOST);
	memcpy(d->space.tag, config->tag, d->space.tag_len);
	for (unsigned n = 0; n < FLIGHTS; n++)
		d->landing[n].d = d;
	virtio.config = &d->space;
	virtio.config_bytes = (unsigned)sizeof(d->space.tag_len) + d->space.tag_len;
	return virtio_add(host, &d->v, &p9_class, &p9_ops, &virtio, why);
}
