/*
 * virtio_console.c - virtio console device: bytes between the guest's ports and their backends.
 *
 * Port 0 is the guest's console (hvc0 in Linux), the others are named streams. What comes in waits
 * in a FIFO of the port, which is state: keys typed ahead are there after a load. What goes out
 * stays in the guest's ring until the backend takes it. Messages about ports ("there is one", "it
 * is called", "somebody is at its end") are owed until the guest has a buffer for them, and so
 * never more than one of a kind.
 *
 * With one port there is no control queue, and the guest hears of the terminal's size in
 * configuration space; with several, drivers do not agree about the order of its two numbers in a
 * control message, and none is sent.
 *
 * Spec: virtio 1.2, 5.3. Tested by test/device/virtio_console.c and test/guest/vconsole.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_console.h"

#include <errno.h>
#include <string.h>

#include "device/virtio.h"
#include "host/host.h"
#include "machine/vm.h"

#define F_SIZE        UINT64_C(1)
#define F_MULTIPORT   (UINT64_C(1) << 1)
#define F_EMERG_WRITE (UINT64_C(1) << 2)

enum { QUEUE_CONTROL_RX = 2, QUEUE_CONTROL_TX = 3 };

/* 5.3.6.2 */
enum {
	DEVICE_READY = 0,
	DEVICE_ADD = 1,
	PORT_READY = 3,
	CONSOLE_PORT = 4,
	PORT_OPEN = 6,
	PORT_NAME = 7,
};
/* What a port's `owed` says, a bit each, in the order in which they are sent. X(bit, event) */
#define OWED(X)                                                                                    \
	X(0, DEVICE_ADD)                                                                           \
	X(1, CONSOLE_PORT)                                                                         \
	X(2, PORT_NAME)                                                                            \
	X(3, PORT_OPEN)
#define OWED_BITS 4u

#define FIFO_BYTES 1024u            /* of input, each port's */
#define GRANT      (FIFO_BYTES / 4) /* less is not worth a call */
#define DATA_BYTES 4096u
#define TURN_BYTES 65536u /* of output, in one entry */

struct config_space {
	uint16_t cols, rows;
	uint32_t max_ports, emergency;
};

struct control {
	uint32_t port;
	uint16_t event, value;
};

struct port {
	bool ready;            /* the driver knows it */
	bool guest_open;       /* a program of the guest has it open */
	bool host_open;        /* somebody is at the host's end */
	bool stalled;          /* the backend's room is used up */
	uint8_t owed;          /* control messages */
	uint16_t first, count; /* of the FIFO */
	uint32_t sent;         /* bytes of the first chain in the ring that the backend has */
};

struct virtio_console {
	struct virtio v;
	struct virtio_console_config config;
	size_t credit[VCONSOLE_PORTS_MAX]; /* granted, and not yet come; not state */
	struct virtio_chain chain;
	uint8_t data[DATA_BYTES];

	/* State. */
	struct config_space space;
	struct port port[VCONSOLE_PORTS_MAX];
	uint8_t fifo[VCONSOLE_PORTS_MAX * FIFO_BYTES];
};

static struct virtio_console *of(struct virtio *v)
{
	return (struct virtio_console *)v;
}

static bool multiport(const struct virtio_console *d)
{
	return virtio_has(&d->v, F_MULTIPORT);
}

static bool exists(const struct virtio_console *d, uint32_t n)
{
	return n < d->config.ports && d->config.port[n].backend.write;
}

/* 5.3.2: the control queues lie between those of port 0 and those of the others. */
static unsigned rx_queue(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static unsigned port_of(unsigned queue)
{
	return queue < 2 ? 0 : queue / 2 - 1;
}

/* --- To the guest --- */

static void grant(struct virtio_console *d, unsigned n)
{
	const struct vconsole_backend *b = &d->config.port[n].backend;
	size_t taken = d->port[n].count + d->credit[n];

	if (!b->room || taken + GRANT > FIFO_BYTES)
		return;
	d->credit[n] += FIFO_BYTES - taken;
	b->room(b->arg, FIFO_BYTES - taken);
}

/* Takes up to `most` bytes of the port's FIFO into d->data. */
static size_t take(struct virtio_console *d, unsigned n, size_t most)
{
	struct port *p = &d->port[n];
	size_t bytes = p->count < most ? p->count : most;

	for (size_t i = 0; i < bytes; i++)
		d->data[i] = d->fifo[FIFO_BYTES * n + (p->first + i) % FIFO_BYTES];
	p->first = (uint16_t)((p->first + bytes) % FIFO_BYTES);
	p->count = (uint16_t)(p->count - bytes);
	return bytes;
}

/* Nobody reads a port that no program has open; the console is the kernel's. */
static void receive(struct virtio_console *d, unsigned n)
{
	struct port *p = &d->port[n];

	if (multiport(d) && !p->guest_open)
		return;
	while (p->count && virtio_pop(&d->v, rx_queue(n), &d->chain)) {
		size_t bytes = take(d, n, d->chain.out_bytes);

		virtio_put(&d->v, &d->chain, 0, d->data, bytes);
		virtio_push(&d->v, rx_queue(n), &d->chain, (uint32_t)bytes);
	}
	virtio_flush(&d->v, rx_queue(n));
	grant(d, n);
}

static void data_arrived(struct virtio_console *d, unsigned n, const uint8_t *data, size_t bytes)
{
	struct port *p = &d->port[n];

	d->credit[n] -= bytes < d->credit[n] ? bytes : d->credit[n];
	if (bytes > FIFO_BYTES - p->count) {
		device_trace(&d->v.pci.dev, "%zu bytes of input beyond the room granted", bytes);
		bytes = FIFO_BYTES - p->count;
	}
	for (size_t i = 0; i < bytes; i++)
		d->fifo[FIFO_BYTES * n + (p->first + p->count++) % FIFO_BYTES] = data[i];
	receive(d, n);
}

/* --- From the guest --- */

/* The chain from where its port stopped. false: the rest of it is for later. */
static bool send_chain(struct virtio_console *d, unsigned n, size_t *left)
{
	const struct vconsole_backend *b = &d->config.port[n].backend;
	struct port *p = &d->port[n];
	size_t bytes, taken;

	while ((bytes = virtio_get(&d->v, &d->chain, p->sent, d->data, DATA_BYTES)) > 0) {
		if (*left < bytes) {
			virtio_again(&d->v, rx_queue(n) + 1);
			return false;
		}
		*left -= bytes;
		taken = exists(d, n) && p->host_open ? b->write(b->arg, d->data, bytes) : bytes;
		p->sent += (uint32_t)taken;
		p->stalled = taken < bytes;
		if (p->stalled)
			return false;
	}
	p->sent = 0;
	return true;
}

static void transmit(struct virtio_console *d, unsigned n)
{
	unsigned q = rx_queue(n) + 1;
	size_t left = TURN_BYTES;

	while (!d->port[n].stalled && virtio_pop(&d->v, q, &d->chain)) {
		if (!send_chain(d, n, &left)) {
			virtio_unpop(&d->v, q, &d->chain);
			break;
		}
		virtio_push(&d->v, q, &d->chain, 0);
	}
	virtio_flush(&d->v, q);
}

/* --- Control --- */

static void put_control(struct virtio_console *d, unsigned n, uint16_t event)
{
	struct control m = { .port = n, .event = event, .value = 1 };
	const char *name = d->config.port[n].name;
	size_t bytes;

	if (event == PORT_OPEN)
		m.value = d->port[n].host_open;
	bytes = virtio_put(&d->v, &d->chain, 0, &m, sizeof(m));
	if (event == PORT_NAME && name)
		bytes += virtio_put(&d->v, &d->chain, sizeof(m), name, strlen(name));
	virtio_push(&d->v, QUEUE_CONTROL_RX, &d->chain, (uint32_t)bytes);
}

static void send_control(struct virtio_console *d)
{
	static const uint16_t events[] = {
#define X(bit, event) [bit] = event,
		OWED(X)
#undef X
	};

	if (!multiport(d))
		return;
	for (unsigned n = 0; n < d->config.ports; n++) {
		for (unsigned bit = 0; bit < OWED_BITS; bit++) {
			if (!(d->port[n].owed >> bit & 1))
				continue;
			if (!virtio_pop(&d->v, QUEUE_CONTROL_RX, &d->chain))
				goto out;
			d->port[n].owed &= (uint8_t) ~(1u << bit);
			put_control(d, n, events[bit]);
		}
	}
out:
	virtio_flush(&d->v, QUEUE_CONTROL_RX);
}

static void owe(struct virtio_console *d, unsigned n, uint16_t event)
{
#define X(bit, which)                                                                              \
	if (event == which)                                                                        \
		d->port[n].owed |= 1u << bit;
	OWED(X)
#undef X
}

static void guest_opened(struct virtio_console *d, unsigned n, bool open)
{
	const struct vconsole_backend *b = &d->config.port[n].backend;

	if (d->port[n].guest_open == open)
		return;
	d->port[n].guest_open = open;
	if (b->opened)
		b->opened(b->arg, open);
	receive(d, n);
}

static void port_ready(struct virtio_console *d, unsigned n, bool ready)
{
	d->port[n].ready = ready;
	if (!ready)
		return;
	if (n == 0)
		owe(d, n, CONSOLE_PORT);
	if (d->config.port[n].name)
		owe(d, n, PORT_NAME);
	owe(d, n, PORT_OPEN);
}

static void take_control(struct virtio_console *d, const struct control *m)
{
	if (m->event == DEVICE_READY && m->value == 1) {
		for (unsigned n = 0; n < d->config.ports; n++) {
			if (exists(d, n))
				owe(d, n, DEVICE_ADD);
		}
	}
	if (!exists(d, m->port))
		return;
	if (m->event == PORT_READY)
		port_ready(d, m->port, m->value == 1);
	else if (m->event == PORT_OPEN)
		guest_opened(d, m->port, m->value == 1);
}

static void control(struct virtio_console *d)
{
	struct control m;

	while (virtio_pop(&d->v, QUEUE_CONTROL_TX, &d->chain)) {
		if (virtio_get(&d->v, &d->chain, 0, &m, sizeof(m)) == sizeof(m))
			take_control(d, &m);
		virtio_push(&d->v, QUEUE_CONTROL_TX, &d->chain, 0);
	}
	virtio_flush(&d->v, QUEUE_CONTROL_TX);
	send_control(d);
}

/* --- Entries --- */

static void console_notify(struct virtio *v, unsigned q)
{
	struct virtio_console *d = of(v);

	if (multiport(d) && q == QUEUE_CONTROL_RX)
		send_control(d);
	else if (multiport(d) && q == QUEUE_CONTROL_TX)
		control(d);
	else if (q & 1)
		transmit(d, port_of(q));
	else
		receive(d, port_of(q));
}

static void host_opened(struct virtio_console *d, unsigned n, bool open)
{
	struct port *p = &d->port[n];

	if (p->host_open == open)
		return;
	p->host_open = open;
	p->stalled = false;
	if (p->ready)
		owe(d, n, PORT_OPEN);
	send_control(d);
	transmit(d, n); /* to nobody: gone */
}

static void resized(struct virtio_console *d, uint16_t cols, uint16_t rows)
{
	if (d->space.cols == cols && d->space.rows == rows)
		return;
	d->space.cols = cols;
	d->space.rows = rows;
	if (virtio_has(&d->v, F_SIZE) && !multiport(d))
		virtio_config_changed(&d->v);
}

static void console_input(struct device *dev, const void *data, size_t bytes)
{
	struct virtio_console *d = (struct virtio_console *)dev;
	struct vconsole_input in;

	if (bytes < sizeof(in))
		return;
	memcpy(&in, data, sizeof(in));
	if (!exists(d, in.port))
		return;
	switch ((enum vconsole_kind)in.kind) {
	case VCONSOLE_DATA:
		data_arrived(d, in.port, (const uint8_t *)data + sizeof(in), bytes - sizeof(in));
		break;
	case VCONSOLE_OPEN: host_opened(d, in.port, in.value); break;
	case VCONSOLE_READY:
		d->port[in.port].stalled = false;
		transmit(d, in.port);
		break;
	case VCONSOLE_SIZE: resized(d, in.value, in.rows); break;
	}
}

/* Emergency write, 5.3.4: a character that needs no queue. */
static void config_write(struct virtio *v, unsigned off, unsigned size, uint64_t value)
{
	struct virtio_console *d = of(v);
	uint8_t c = (uint8_t)value;

	(void)size;
	if (off == offsetof(struct config_space, emergency) && exists(d, 0))
		(void)d->config.port[0].backend.write(d->config.port[0].backend.arg, &c, 1);
}

/* What waits for the guest is the host's, and stays: a driver begins with a reset. */
static void console_reset(struct virtio *v)
{
	struct virtio_console *d = of(v);

	for (unsigned n = 0; n < VCONSOLE_PORTS_MAX; n++) {
		struct port *p = &d->port[n];
		const struct vconsole_backend *b = &d->config.port[n].backend;

		if (p->guest_open && b->opened)
			b->opened(b->arg, false);
		p->ready = p->guest_open = p->stalled = false;
		p->owed = 0;
		p->sent = 0;
	}
}

static void queue_reset(struct virtio *v, unsigned q)
{
	if (q & 1 && (q != QUEUE_CONTROL_TX || !multiport(of(v))))
		of(v)->port[port_of(q)].sent = 0;
}

static bool port_possible(const struct virtio_console *d, unsigned n)
{
	const struct port *p = &d->port[n];

	if (p->first >= FIFO_BYTES || p->count > FIFO_BYTES || p->owed >> OWED_BITS)
		return false;
	return exists(d, n) || !(p->count | p->owed | p->ready | p->guest_open | p->host_open);
}

/* Backends are others than those that the machine was saved with: they are asked to say again what
 * they are. */
static int console_loaded(struct virtio *v, struct fail *why)
{
	struct virtio_console *d = of(v);

	for (unsigned n = 0; n < VCONSOLE_PORTS_MAX; n++) {
		if (!port_possible(d, n))
			return fail(why, -EINVAL, "%s: a saved port is not a possible one",
				    v->pci.dev.id);
	}
	for (unsigned n = 0; n < d->config.ports; n++) {
		const struct vconsole_backend *b = &d->config.port[n].backend;
		struct vconsole_input ready = { .port = (uint8_t)n, .kind = VCONSOLE_READY };

		if (b->opened)
			b->opened(b->arg, d->port[n].guest_open);
		if (d->port[n].stalled)
			(void)device_post(&v->pci.dev, &ready, sizeof(ready));
		if (exists(d, n))
			grant(d, n);
	}
	return 0;
}

static const struct virtio_class console_class = {
	.id = VIRTIO_ID_CONSOLE,
	.class_code = 0x078000,
	.notify = console_notify,
	.reset = console_reset,
	.config_write = config_write,
	.queue_reset = queue_reset,
	.input = console_input,
	.loaded = console_loaded,
};

static const struct field console_fields[] = {
	VIRTIO_FIELDS(virtio_console, v),
	FIELD(virtio_console, space.cols, 1),
	FIELD(virtio_console, space.rows, 1),
	FIELD_EACH(virtio_console, port, ready, 1),
	FIELD_EACH(virtio_console, port, guest_open, 1),
	FIELD_EACH(virtio_console, port, host_open, 1),
	FIELD_EACH(virtio_console, port, stalled, 1),
	FIELD_EACH(virtio_console, port, owed, 1),
	FIELD_EACH(virtio_console, port, first, 1),
	FIELD_EACH(virtio_console, port, count, 1),
	FIELD_EACH(virtio_console, port, sent, 1),
	FIELD_ARRAY(virtio_console, fifo, 1),
	FIELD_END,
};

static const struct device_ops console_ops = {
	VIRTIO_DEVICE_OPS,
	.type = "virtio_console",
	.state = console_fields,
	.state_version = 1,
};

int virtio_console_create(struct pci_host *host, const struct virtio_console_config *config,
			  struct device **out, struct fail *why)
{
	struct virtio_console *d = host_alloc(sizeof(*d));
	bool several = config->ports > 1;
	struct virtio_config virtio = {
		.id = config->id,
		.features = several ? F_MULTIPORT : 0,
		.queues = several ? 2 * config->ports + 2 : 2,
		.config_bytes = sizeof(d->space),
		.devfn = config->devfn,
	};
	int err;

	if (!d)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	d->config = *config;
	if (exists(d, 0))
		virtio.features |= F_SIZE | F_EMERG_WRITE;
	d->space = (struct config_space){ .cols = 80, .rows = 25, .max_ports = config->ports };
	virtio.config = &d->space;
	err = virtio_add(host, &d->v, &console_class, &console_ops, &virtio, why);
	if (err)
		return err;
	if (out)
		*out = &d->v.pci.dev;
	for (unsigned n = 0; n < config->ports; n++) {
		d->port[n].host_open = config->port[n].open;
		if (exists(d, n))
			grant(d, n);
	}
	return 0;
}
