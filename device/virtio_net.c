/*
 * virtio_net.c - virtio network device: frames between the guest's queues and a backend.
 *
 * Sending copies a frame out of the ring and hands it on; while a backend's window is full,
 * frames stay in the ring. Receiving is posted input: a frame goes into the guest's buffers at
 * once, or waits here for buffers, within the room that the backend was granted. What
 * waits is not state: a wire may lose frames, and a saved machine's was unplugged.
 *
 * With several queue pairs, a flow's frames come in on the pair that the guest last sent the
 * flow's frames on, as 5.1.6.5.6.1 asks.
 *
 * Not modelled: legacy devices, UFO, hash reporting, RSS, notification coalescing.
 *
 * Spec: virtio 1.2, 5.1. Tested by test/device/virtio_net.c, test/guest/network.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_net.h"

#include <errno.h>
#include <string.h>

#include "device/virtio_net_internal.h"
#include "machine/vm.h"

static struct virtio_net *of(struct virtio *v)
{
	return (struct virtio_net *)v;
}

static unsigned control_queue(const struct virtio_net *n)
{
	return virtio_has(&n->v, NET_F_MQ) ? 2u * n->space.max_pairs : 2u;
}

/* --- Flows --- */

/* The same number for both directions of a TCP or UDP flow. */
static unsigned flow_of(const uint8_t *frame, size_t bytes)
{
	size_t at = 14, ports;
	uint32_t sum = 0;
	bool v6;

	if (bytes < 14 + 40 || frame[12] == 0x81)
		return 0;
	v6 = frame[12] == 0x86 && frame[13] == 0xdd;
	if (!v6 && (frame[12] != 0x08 || frame[13] != 0x00))
		return 0;
	ports = at + (v6 ? 40 : 4u * (frame[at] & 15));
	for (size_t i = v6 ? at + 8 : at + 12, end = v6 ? at + 40 : at + 20; i < end; i++)
		sum += (uint32_t)frame[i] << 8 * (i & 1);
	if (ports + 4 <= bytes && (frame[v6 ? at + 6 : at + 9] | 0x17) == 0x17)
		sum += (uint32_t)(frame[ports] << 8 | frame[ports + 1]) +
		       (uint32_t)(frame[ports + 2] << 8 | frame[ports + 3]);
	return (sum ^ sum >> 8 ^ sum >> 16) % NET_FLOWS;
}

/* --- Receiving --- */

static unsigned offloads_taken(const struct virtio_net *n)
{
	uint64_t f = n->guest_offloads;
	unsigned mask = 0;

	if (!(f & NET_F_GUEST_CSUM))
		return 0;
	if (f & NET_F_GUEST_TSO4)
		mask |= NET_OFFLOAD_TSO4;
	if (f & NET_F_GUEST_TSO6)
		mask |= NET_OFFLOAD_TSO6;
	if (f & NET_F_GUEST_ECN)
		mask |= NET_OFFLOAD_ECN;
	if ((f & NET_F_GUEST_USO) == NET_F_GUEST_USO)
		mask |= NET_OFFLOAD_USO;
	return mask | NET_OFFLOAD_CSUM;
}

void net_tell_offloads(struct virtio_net *n)
{
	if (n->config.backend.accepts)
		n->config.backend.accepts(n->config.backend.arg, offloads_taken(n));
}

/* Takes buffers for `bytes` out of queue q. 0: there are not enough now; -1: there cannot be. */
static int take_buffers(struct virtio_net *n, unsigned q, size_t bytes)
{
	unsigned most = virtio_has(&n->v, NET_F_MRG_RXBUF) ? NET_RX_CHAINS : 1, count = 0;
	uint64_t room = 0;

	while (room < bytes && count < most && virtio_pop(&n->v, q, &n->chain[count]))
		room += n->chain[count++].out_bytes;
	if (room >= bytes)
		return (int)count;
	for (unsigned i = count; i-- > 0;)
		virtio_unpop(&n->v, q, &n->chain[i]);
	return count == most ? -1 : 0;
}

/* Fills the buffers taken: header, then frame. */
static void fill_buffers(struct virtio_net *n, unsigned q, int count, struct net_header *header,
			 const uint8_t *frame, size_t bytes)
{
	size_t done = 0;

	header->num_buffers = (uint16_t)count;
	for (int i = 0; i < count; i++) {
		size_t used = 0;

		if (i == 0)
			used = virtio_put(&n->v, &n->chain[i], 0, header, sizeof(*header));
		used += virtio_put(&n->v, &n->chain[i], used, frame + done, bytes - done);
		done += used - (i == 0 ? sizeof(*header) : 0);
		virtio_push(&n->v, q, &n->chain[i], (uint32_t)used);
	}
	virtio_flush(&n->v, q);
}

/* A frame to the guest. false: its queue has no buffers now. Frames it does not want are gone. */
static bool receive(struct virtio_net *n, const uint8_t *message, size_t bytes)
{
	const uint8_t *frame = message + sizeof(struct net_input);
	struct net_input input;
	unsigned q = 0;
	int count;

	memcpy(&input, message, sizeof(input));
	bytes -= sizeof(input);
	if (!virtio_running(&n->v) || !(n->space.status & NET_S_LINK_UP) ||
	    bytes < NET_FRAME_LEAST || bytes > NET_FRAME_MOST)
		return true;
	if (!net_fits(&input.header, offloads_taken(n)) || !net_filter_passes(n, frame, bytes))
		return true;
	if (!(n->guest_offloads & NET_F_GUEST_CSUM))
		input.header.flags = 0;
	if (n->pairs > 1)
		q = 2u * (n->flow[flow_of(frame, bytes)] % n->pairs);
	count = take_buffers(n, q, sizeof(input.header) + bytes);
	if (count > 0)
		fill_buffers(n, q, count, &input.header, frame, bytes);
	/* A queue that the driver never enabled has none, and would hold up all others. */
	return count != 0 || !n->v.queue[q].enabled;
}

/* The guest has new buffers: what waits goes first. */
static void receive_waiting(struct virtio_net *n)
{
	const struct waiting *w;

	while ((w = n->backlog.first) && receive(n, w->message, w->bytes))
		backlog_drop_first(&n->backlog);
}

static void frame_arrived(struct virtio_net *n, const void *message, size_t bytes)
{
	if (!backlog_admit(&n->backlog, bytes)) {
		device_trace(&n->v.pci.dev, "%zu bytes beyond the room granted", bytes);
		return;
	}
	receive_waiting(n);
	if (!n->backlog.first && receive(n, message, bytes))
		backlog_done(&n->backlog, bytes);
	else
		backlog_keep(&n->backlog, message, bytes);
}

/* --- Sending --- */

static unsigned offloads_given(const struct virtio_net *n)
{
	unsigned mask = 0;

	if (!virtio_has(&n->v, NET_F_CSUM))
		return 0;
	if (virtio_has(&n->v, NET_F_HOST_TSO4))
		mask |= NET_OFFLOAD_TSO4;
	if (virtio_has(&n->v, NET_F_HOST_TSO6))
		mask |= NET_OFFLOAD_TSO6;
	if (virtio_has(&n->v, NET_F_HOST_ECN))
		mask |= NET_OFFLOAD_ECN;
	if (virtio_has(&n->v, NET_F_HOST_USO))
		mask |= NET_OFFLOAD_USO;
	return mask | NET_OFFLOAD_CSUM;
}

/* One frame out of n->sending. What the driver may not send is dropped. */
static void send_frame(struct virtio_net *n, unsigned pair)
{
	const struct net_backend *b = &n->config.backend;
	const struct virtio_chain *c = &n->sending;
	struct net_header header;
	size_t bytes;

	if (c->in_bytes < sizeof(header) + NET_FRAME_LEAST ||
	    c->in_bytes > sizeof(header) + NET_FRAME_MOST)
		return;
	bytes = (size_t)c->in_bytes - sizeof(header);
	if (virtio_get(&n->v, c, 0, &header, sizeof(header)) != sizeof(header) ||
	    virtio_get(&n->v, c, sizeof(header), n->frame, bytes) != bytes)
		return;
	header.flags &= NET_NEEDS_CSUM;
	header.num_buffers = 0;
	if (n->pairs > 1)
		n->flow[flow_of(n->frame, bytes)] = (uint8_t)pair;
	if (!b->send || !(n->space.status & NET_S_LINK_UP) || !net_fits(&header, offloads_given(n)))
		return;
	if (b->window)
		n->window_used += bytes;
	b->send(b->arg, &header, n->frame, bytes);
}

static void transmit(struct virtio_net *n, unsigned q)
{
	while (virtio_waiting(&n->v, q)) {
		if (n->config.backend.window && n->window_used >= n->config.backend.window) {
			n->blocked = true;
			break;
		}
		if (!virtio_pop(&n->v, q, &n->sending))
			break;
		send_frame(n, q / 2);
		virtio_push(&n->v, q, &n->sending, 0);
	}
	virtio_flush(&n->v, q);
}

static void transmit_blocked(struct virtio_net *n)
{
	if (!n->blocked)
		return;
	n->blocked = false;
	for (unsigned pair = 0; pair < n->pairs; pair++)
		transmit(n, 2 * pair + 1);
}

/* --- Entries --- */

static void net_notify(struct virtio *v, unsigned q)
{
	struct virtio_net *n = of(v);

	if (q == control_queue(n) && virtio_has(v, NET_F_CTRL_VQ))
		net_control(n, q);
	else if (q >= 2u * n->space.max_pairs)
		return;
	else if (q & 1)
		transmit(n, q);
	else
		receive_waiting(n);
}

static void link_changed(struct virtio_net *n, bool up)
{
	uint16_t status = (uint16_t)((n->space.status & ~NET_S_LINK_UP) | (up ? NET_S_LINK_UP : 0));

	n->plugged = up;
	if (status == n->space.status)
		return;
	n->space.status = status;
	if (virtio_has(&n->v, NET_F_STATUS))
		virtio_config_changed(&n->v);
}

static void announce(struct virtio_net *n)
{
	if (!virtio_has(&n->v, NET_F_GUEST_ANNOUNCE | NET_F_STATUS | NET_F_CTRL_VQ))
		return;
	n->space.status |= NET_S_ANNOUNCE;
	virtio_config_changed(&n->v);
}

static void net_device_input(struct device *dev, const void *data, size_t bytes)
{
	struct virtio_net *n = (struct virtio_net *)dev;
	struct net_input input;

	if (bytes < sizeof(input))
		return;
	memcpy(&input, data, sizeof(input));
	switch (input.kind) {
	case NET_INPUT_FRAME: frame_arrived(n, data, bytes); break;
	case NET_INPUT_SENT:
		n->window_used -= input.bytes < n->window_used ? input.bytes : n->window_used;
		transmit_blocked(n);
		break;
	case NET_INPUT_LINK: link_changed(n, input.up); break;
	case NET_INPUT_ANNOUNCE: announce(n); break;
	default: break;
	}
}

static void net_class_start(struct virtio *v)
{
	struct virtio_net *n = of(v);

	n->guest_offloads = v->features & NET_GUEST_OFFLOADS;
	if (!virtio_has(v, NET_F_CTRL_VLAN))
		memset(n->vlan, 0xff, sizeof(n->vlan));
	net_tell_offloads(n);
}

/* Also at power-on, when half of the device is not there yet. */
static void net_class_reset(struct virtio *v)
{
	struct virtio_net *n = of(v);

	memcpy(n->space.mac, n->config.mac, sizeof(n->space.mac));
	n->space.status &= NET_S_LINK_UP;
	net_filter_reset(n);
	n->pairs = 1;
	n->guest_offloads = 0;
	memset(n->flow, 0, sizeof(n->flow));
	n->blocked = false;
	backlog_clear(&n->backlog);
	net_tell_offloads(n);
}

static void net_queue_reset(struct virtio *v, unsigned q)
{
	(void)v;
	(void)q; /* no chain is kept between two entries */
}

static void net_class_destroy(struct virtio *v)
{
	struct virtio_net *n = of(v);

	n->backlog.room = NULL; /* the backend may be gone */
	backlog_clear(&n->backlog);
	host_unmap(n->chain, NET_RX_CHAINS * sizeof(*n->chain));
	host_unmap(n->frame, NET_FRAME_MOST);
}

/* --- State --- */

static int net_class_loaded(struct virtio *v, struct fail *why)
{
	struct virtio_net *n = of(v);
	struct net_input sent = { .kind = NET_INPUT_SENT };
	struct net_input link = { .kind = NET_INPUT_LINK, .up = n->plugged };

	if (n->space.status & ~(NET_S_LINK_UP | NET_S_ANNOUNCE) || n->pairs < 1 ||
	    n->pairs > n->space.max_pairs ||
	    n->guest_offloads & ~(v->features & NET_GUEST_OFFLOADS) ||
	    n->unicast.count > NET_MACS || n->multicast.count > NET_MACS)
		return fail(why, -EINVAL, "%s: the saved network card is not a possible one",
			    v->pci.dev.id);
	backlog_clear(&n->backlog);
	n->window_used = 0;
	net_tell_offloads(n);
	if (n->blocked) /* by a window that is wide open here */
		(void)device_post(&v->pci.dev, &sent, sizeof(sent));
	if (n->plugged != !!(n->space.status & NET_S_LINK_UP))
		(void)device_post(&v->pci.dev, &link, sizeof(link));
	return 0;
}

static const struct virtio_class net_class = {
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000,
	.start = net_class_start,
	.notify = net_notify,
	.reset = net_class_reset,
	.queue_reset = net_queue_reset,
	.input = net_device_input,
	.loaded = net_class_loaded,
	.destroy = net_class_destroy,
};

/* clang-format off */
static const struct field net_fields[] = {
	VIRTIO_FIELDS(virtio_net, v),
	FIELD_ARRAY(virtio_net, space.mac, 1),
	FIELD(virtio_net, space.status, 1),
	FIELD(virtio_net, promisc, 1),
	FIELD(virtio_net, allmulti, 1),
	FIELD(virtio_net, alluni, 1),
	FIELD(virtio_net, nomulti, 1),
	FIELD(virtio_net, nouni, 1),
	FIELD(virtio_net, nobcast, 1),
	FIELD(virtio_net, unicast.count, 1),
	FIELD(virtio_net, unicast.overflow, 1),
	FIELD_ARRAY(virtio_net, unicast.mac, 1),
	FIELD(virtio_net, multicast.count, 1),
	FIELD(virtio_net, multicast.overflow, 1),
	FIELD_ARRAY(virtio_net, multicast.mac, 1),
	FIELD_ARRAY(virtio_net, vlan, 1),
	FIELD(virtio_net, pairs, 1),
	FIELD(virtio_net, guest_offloads, 1),
	FIELD_ARRAY(virtio_net, flow, 1),
	FIELD(virtio_net, blocked, 1),
	FIELD_END,
};
/* clang-format on */

static const struct device_ops net_ops = {
	VIRTIO_DEVICE_OPS,
	.type = "virtio_net",
	.state = net_fields,
	.state_version = 1,
};

/* --- Making one --- */

static uint64_t features(const struct virtio_net_config *config)
{
	unsigned o = config->backend.offloads;
	uint64_t f = NET_GUEST_OFFLOADS | NET_F_CTRL_GUEST_OFFLOADS | NET_F_MAC | NET_F_MRG_RXBUF |
		     NET_F_STATUS | NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN |
		     NET_F_CTRL_RX_EXTRA | NET_F_GUEST_ANNOUNCE | NET_F_CTRL_MAC_ADDR;

	if (o & NET_OFFLOAD_CSUM)
		f |= NET_F_CSUM;
	if (o & NET_OFFLOAD_TSO4)
		f |= NET_F_HOST_TSO4;
	if (o & NET_OFFLOAD_TSO6)
		f |= NET_F_HOST_TSO6;
	if (o & NET_OFFLOAD_ECN)
		f |= NET_F_HOST_ECN;
	if (o & NET_OFFLOAD_USO)
		f |= NET_F_HOST_USO;
	if (config->mtu)
		f |= NET_F_MTU;
	if (config->pairs > 1)
		f |= NET_F_MQ;
	return f;
}

int virtio_net_create(struct pci_host *host, const struct virtio_net_config *config,
		      struct device **out, struct fail *why)
{
	struct virtio_net *n = host_alloc(sizeof(*n));
	struct virtio_config virtio = {
		.id = config->id,
		.features = features(config),
		.queues = 2 * config->pairs + 1,
		.config_bytes = sizeof(n->space),
		.devfn = config->devfn,
	};
	int err;

	if (!n)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	n->config = *config;
	backlog_init(&n->backlog, config->backend.room, config->backend.arg);
	n->plugged = true;
	n->space.status = config->backend.send ? NET_S_LINK_UP : 0;
	n->space.max_pairs = (uint16_t)config->pairs;
	n->space.mtu = config->mtu;
	virtio.config = &n->space;
	n->chain = host_map(NET_RX_CHAINS * sizeof(*n->chain));
	n->frame = host_map(NET_FRAME_MOST);
	err = virtio_add(host, &n->v, &net_class, &net_ops, &virtio, why);
	if (!err && (!n->chain || !n->frame))
		err = fail(why, -ENOMEM, "%s: no memory", config->id);
	if (err)
		return err;
	if (out)
		*out = &n->v.pci.dev;
	backlog_open(&n->backlog);
	return 0;
}
