/*
 * virtio_vsock.c - virtio socket device: packets between the guest's queues and a backend.
 *
 * The device knows no connections. It checks that a packet is what it says, hands it on while
 * the backend's window is open, and puts what comes in into the guest's buffers, data in pieces
 * as large as those are: a stream has no packet borders.
 *
 * Connections live on the host and end with a load: the guest is then told so by an event. While
 * no driver runs the device answers who calls: nobody is there.
 *
 * Not modelled: SEQPACKET sockets; they are not offered.
 *
 * Spec: virtio 1.2, 5.10. Tested by test/device/virtio_vsock.c, test/guest/vsock.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_vsock.h"

#include <errno.h>
#include <string.h>

#include "device/backlog.h"
#include "device/virtio.h"
#include "machine/vm.h"

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUES };
#define VSOCK_F_STREAM        UINT64_C(1)
#define EVENT_TRANSPORT_RESET 0u

struct virtio_vsock {
	struct virtio v;
	struct virtio_vsock_config config;
	uint64_t cid; /* configuration space */

	/* State. */
	bool used;    /* packets have crossed since the driver started */
	bool event;   /* it is to be told that the connections are gone */
	bool blocked; /* packets wait in the ring for the window */

	/* The host's side, not state. */
	struct backlog backlog;
	size_t window_used;
	uint32_t done; /* bytes of the first waiting packet's data that the guest has */
	struct virtio_chain chain;
	uint8_t data[VSOCK_DATA_MOST];
};

static struct virtio_vsock *of(struct virtio *v)
{
	return (struct virtio_vsock *)v;
}

/* --- To the guest --- */

/* Puts a piece of the packet into one buffer. false: there is none now. */
static bool receive_piece(struct virtio_vsock *s, const struct vsock_header *whole,
			  const uint8_t *data)
{
	struct vsock_header h = *whole;
	struct virtio_chain *c = &s->chain;
	uint64_t room;

	if (!virtio_pop(&s->v, QUEUE_RX, c))
		return false;
	room = c->out_bytes > sizeof(h) ? c->out_bytes - sizeof(h) : 0;
	h.len -= s->done;
	if (h.len > room)
		h.len = (uint32_t)room;
	if (c->out_bytes < sizeof(h) || (whole->len && room == 0)) {
		virtio_needs_reset(&s->v, "a receive buffer has no room for a packet");
		return true;
	}
	virtio_put(&s->v, c, 0, &h, sizeof(h));
	virtio_put(&s->v, c, sizeof(h), data + s->done, h.len);
	virtio_push(&s->v, QUEUE_RX, c, (uint32_t)sizeof(h) + h.len);
	s->done += h.len;
	return true;
}

/* To a caller, when there is no driver that could. Its RST takes room in the window, as others. */
static void refuse(struct virtio_vsock *s, const struct vsock_header *call)
{
	const struct vsock_backend *b = &s->config.backend;
	struct vsock_header h = { .src_cid = s->cid,
				  .dst_cid = VSOCK_HOST_CID,
				  .src_port = call->dst_port,
				  .dst_port = call->src_port,
				  .type = VSOCK_STREAM,
				  .op = VSOCK_RST };

	s->window_used += sizeof(h);
	b->send(b->arg, &h, NULL);
}

/* A packet to the guest. false: the rest of it waits. */
static bool receive(struct virtio_vsock *s, const uint8_t *message, size_t bytes)
{
	struct vsock_input input;

	memcpy(&input, message, sizeof(input));
	if (input.header.len != bytes - sizeof(input))
		return true;
	if (!virtio_running(&s->v) && input.header.op == VSOCK_REQUEST)
		refuse(s, &input.header);
	s->used |= virtio_running(&s->v);
	while (virtio_running(&s->v)) {
		bool given = receive_piece(s, &input.header, message + sizeof(input));

		if (!given) {
			virtio_flush(&s->v, QUEUE_RX);
			return false;
		}
		if (s->done >= input.header.len)
			break;
	}
	virtio_flush(&s->v, QUEUE_RX);
	s->done = 0;
	return true;
}

static void receive_waiting(struct virtio_vsock *s)
{
	const struct waiting *w;

	while ((w = s->backlog.first) && receive(s, w->message, w->bytes))
		backlog_drop_first(&s->backlog);
}

static void packet_arrived(struct virtio_vsock *s, const void *message, size_t bytes)
{
	if (!backlog_admit(&s->backlog, bytes)) {
		device_trace(&s->v.pci.dev, "%zu bytes beyond the room granted", bytes);
		return;
	}
	/* Always through the list: what is done of a packet belongs to its first. */
	backlog_keep(&s->backlog, message, bytes);
	receive_waiting(s);
}

/* 5.10.6.7 */
static void send_event(struct virtio_vsock *s)
{
	uint32_t id = EVENT_TRANSPORT_RESET;

	if (!s->event || !virtio_pop(&s->v, QUEUE_EVENT, &s->chain))
		return;
	s->event = false;
	virtio_push(&s->v, QUEUE_EVENT, &s->chain,
		    (uint32_t)virtio_put(&s->v, &s->chain, 0, &id, sizeof(id)));
	virtio_flush(&s->v, QUEUE_EVENT);
}

/* --- From the guest --- */

static void send_packet(struct virtio_vsock *s)
{
	const struct vsock_backend *b = &s->config.backend;
	const struct virtio_chain *c = &s->chain;
	struct vsock_header h;

	if (virtio_get(&s->v, c, 0, &h, sizeof(h)) != sizeof(h) || h.len > VSOCK_DATA_MOST ||
	    virtio_get(&s->v, c, sizeof(h), s->data, h.len) != h.len)
		return;
	if (h.src_cid != s->cid || h.dst_cid != VSOCK_HOST_CID || h.type != VSOCK_STREAM)
		return;
	s->used = true;
	s->window_used += sizeof(h) + h.len;
	b->send(b->arg, &h, s->data);
}

static void transmit(struct virtio_vsock *s)
{
	while (virtio_waiting(&s->v, QUEUE_TX)) {
		if (s->window_used >= s->config.backend.window) {
			s->blocked = true;
			break;
		}
		if (!virtio_pop(&s->v, QUEUE_TX, &s->chain))
			break;
		send_packet(s);
		virtio_push(&s->v, QUEUE_TX, &s->chain, 0);
	}
	virtio_flush(&s->v, QUEUE_TX);
}

/* --- Entries --- */

static void vsock_notify(struct virtio *v, unsigned q)
{
	switch (q) {
	case QUEUE_RX: receive_waiting(of(v)); break;
	case QUEUE_TX: transmit(of(v)); break;
	default: send_event(of(v)); break;
	}
}

static void vsock_device_input(struct device *dev, const void *data, size_t bytes)
{
	struct virtio_vsock *s = (struct virtio_vsock *)dev;
	struct vsock_input input;

	if (bytes < sizeof(input))
		return;
	memcpy(&input, data, sizeof(input));
	switch (input.kind) {
	case VSOCK_INPUT_PACKET: packet_arrived(s, data, bytes); break;
	case VSOCK_INPUT_SENT:
		s->window_used -= input.bytes < s->window_used ? input.bytes : s->window_used;
		if (s->blocked) {
			s->blocked = false;
			transmit(s);
		}
		break;
	case VSOCK_INPUT_RESET:
		s->event = virtio_running(&s->v);
		send_event(s);
		break;
	default: break;
	}
}

/* Also at power-on, when half of the device is not there yet. */
static void vsock_class_reset(struct virtio *v)
{
	struct virtio_vsock *s = of(v);

	if (s->used)
		s->config.backend.reset(s->config.backend.arg);
	s->used = s->event = s->blocked = false;
	s->done = 0;
	backlog_clear(&s->backlog);
}

static void vsock_queue_reset(struct virtio *v, unsigned q)
{
	(void)v;
	(void)q; /* no chain is kept between two entries */
}

static void vsock_class_destroy(struct virtio *v)
{
	of(v)->backlog.room = NULL; /* the backend may be gone */
	backlog_clear(&of(v)->backlog);
}

static int vsock_class_loaded(struct virtio *v, struct fail *why)
{
	struct virtio_vsock *s = of(v);
	struct vsock_input sent = { .kind = VSOCK_INPUT_SENT };
	struct vsock_input reset = { .kind = VSOCK_INPUT_RESET };

	(void)why; /* any bools are possible */
	backlog_clear(&s->backlog);
	s->done = 0;
	s->window_used = 0;
	if (s->blocked) /* by a window that is wide open here */
		(void)device_post(&v->pci.dev, &sent, sizeof(sent));
	if (s->used) {
		s->config.backend.reset(s->config.backend.arg);
		(void)device_post(&v->pci.dev, &reset, sizeof(reset));
	}
	return 0;
}

static const struct virtio_class vsock_class = {
	.id = VIRTIO_ID_VSOCK,
	.class_code = 0x078000,
	.notify = vsock_notify,
	.reset = vsock_class_reset,
	.queue_reset = vsock_queue_reset,
	.input = vsock_device_input,
	.loaded = vsock_class_loaded,
	.destroy = vsock_class_destroy,
};

static const struct field vsock_fields[] = { VIRTIO_FIELDS(virtio_vsock, v),
					     FIELD(virtio_vsock, used, 1),
					     FIELD(virtio_vsock, event, 1),
					     FIELD(virtio_vsock, blocked, 1), FIELD_END };

static const struct device_ops vsock_ops = {
	VIRTIO_DEVICE_OPS,
	.type = "virtio_vsock",
	.state = vsock_fields,
	.state_version = 1,
};

int virtio_vsock_create(struct pci_host *host, const struct virtio_vsock_config *config,
			struct device **out, struct fail *why)
{
	struct virtio_vsock *s = host_alloc(sizeof(*s));
	struct virtio_config virtio = {
		.id = config->id,
		.features = VSOCK_F_STREAM,
		.queues = QUEUES,
		.config_bytes = sizeof(s->cid),
		.devfn = config->devfn,
	};
	int err;

	if (!s)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	s->config = *config;
	s->cid = config->cid;
	virtio.config = &s->cid;
	backlog_init(&s->backlog, config->backend.room, config->backend.arg);
	err = virtio_add(host, &s->v, &vsock_class, &vsock_ops, &virtio, why);
	if (err)
		return err;
	if (out)
		*out = &s->v.pci.dev;
	backlog_open(&s->backlog);
	return 0;
}
