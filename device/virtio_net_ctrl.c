/*
 * virtio_net_ctrl.c - the network device's control queue, and the filter it sets.
 *
 * A command is two bytes (class, command), what they need, and one byte for the answer. Nothing is
 * changed before all of a command has been read and found good.
 *
 * Spec: virtio 1.2, 5.1.6.5. Tested by test/device/virtio_net.c.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "device/virtio_net_internal.h"

enum {
	CTRL_RX = 0,
	CTRL_MAC = 1,
	CTRL_VLAN = 2,
	CTRL_ANNOUNCE = 3,
	CTRL_MQ = 4,
	CTRL_OFFLOADS = 5
};
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST, RX_COMMANDS };
enum { MAC_TABLE_SET = 0, MAC_ADDR_SET = 1 };
enum { VLAN_ADD = 0, VLAN_DEL = 1 };
enum { ACK_OK = 0, ACK_ERR = 1 };

#define DATA_AT 2 /* behind class and command */

/* --- The filter --- */

void net_filter_reset(struct virtio_net *n)
{
	n->promisc = true; /* until the driver says what it wants */
	n->allmulti = n->alluni = n->nomulti = n->nouni = n->nobcast = false;
	memset(&n->unicast, 0, sizeof(n->unicast));
	memset(&n->multicast, 0, sizeof(n->multicast));
	memset(n->vlan, 0, sizeof(n->vlan));
}

static bool listed(const struct net_macs *list, const uint8_t *mac)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (memcmp(list->mac + 6 * i, mac, 6) == 0)
			return true;
	}
	return list->overflow;
}

bool net_filter_passes(const struct virtio_net *n, const uint8_t *frame, size_t bytes)
{
	static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (n->promisc)
		return true;
	if (bytes >= 18 && frame[12] == 0x81 && frame[13] == 0x00) {
		unsigned id = (unsigned)(frame[14] << 8 | frame[15]) & 0xfff;

		if (!(n->vlan[id / 64] >> id % 64 & 1))
			return false;
	}
	if (memcmp(frame, everybody, 6) == 0)
		return !n->nobcast;
	if (frame[0] & 1)
		return !n->nomulti && (n->allmulti || listed(&n->multicast, frame));
	return !n->nouni &&
	       (n->alluni || memcmp(frame, n->space.mac, 6) == 0 || listed(&n->unicast, frame));
}

/* --- Commands: each gives true when it was a good one --- */

static bool get(struct virtio_net *n, const struct virtio_chain *c, uint64_t off, void *to,
		size_t size)
{
	return virtio_get(&n->v, c, off, to, size) == size;
}

static bool set_rx(struct virtio_net *n, const struct virtio_chain *c, uint8_t command)
{
	bool *const mode[RX_COMMANDS] = { &n->promisc, &n->allmulti, &n->alluni,
					  &n->nomulti, &n->nouni,    &n->nobcast };
	uint8_t on;

	if (command >= RX_COMMANDS || !get(n, c, DATA_AT, &on, 1) || on > 1)
		return false;
	if (!virtio_has(&n->v, command < RX_ALLUNI ? NET_F_CTRL_RX : NET_F_CTRL_RX_EXTRA))
		return false;
	*mode[command] = on;
	return true;
}

/* A count and as many addresses, at *off; moves it on. Kept is what fits. */
static bool get_macs(struct virtio_net *n, const struct virtio_chain *c, uint64_t *off,
		     struct net_macs *to)
{
	uint32_t count, kept;

	memset(to, 0, sizeof(*to));
	if (!get(n, c, *off, &count, sizeof(count)))
		return false;
	*off += sizeof(count);
	if (count > (c->in_bytes - *off) / 6)
		return false;
	kept = count < NET_MACS ? count : NET_MACS;
	to->overflow = count > NET_MACS;
	to->count = to->overflow ? 0 : kept;
	if (!to->overflow && !get(n, c, *off, to->mac, 6 * (size_t)kept))
		return false;
	*off += 6 * (uint64_t)count;
	return true;
}

static bool set_mac(struct virtio_net *n, const struct virtio_chain *c, uint8_t command)
{
	struct net_macs unicast, multicast;
	uint64_t off = DATA_AT;
	uint8_t mac[6];

	if (command == MAC_ADDR_SET) {
		if (!virtio_has(&n->v, NET_F_CTRL_MAC_ADDR) || !get(n, c, DATA_AT, mac, 6))
			return false;
		memcpy(n->space.mac, mac, 6);
		return true;
	}
	if (command != MAC_TABLE_SET || !virtio_has(&n->v, NET_F_CTRL_RX) ||
	    !get_macs(n, c, &off, &unicast) || !get_macs(n, c, &off, &multicast))
		return false;
	n->unicast = unicast;
	n->multicast = multicast;
	return true;
}

static bool set_vlan(struct virtio_net *n, const struct virtio_chain *c, uint8_t command)
{
	uint16_t id;

	if (!virtio_has(&n->v, NET_F_CTRL_VLAN) || command > VLAN_DEL ||
	    !get(n, c, DATA_AT, &id, sizeof(id)) || id >= 4096)
		return false;
	if (command == VLAN_ADD)
		n->vlan[id / 64] |= UINT64_C(1) << id % 64;
	else
		n->vlan[id / 64] &= ~(UINT64_C(1) << id % 64);
	return true;
}

static bool announced(struct virtio_net *n, uint8_t command)
{
	if (command != 0 || !virtio_has(&n->v, NET_F_GUEST_ANNOUNCE))
		return false;
	n->space.status &= (uint16_t)~NET_S_ANNOUNCE;
	return true;
}

static bool set_pairs(struct virtio_net *n, const struct virtio_chain *c, uint8_t command)
{
	uint16_t pairs;

	if (command != 0 || !virtio_has(&n->v, NET_F_MQ) ||
	    !get(n, c, DATA_AT, &pairs, sizeof(pairs)) || pairs < 1 || pairs > n->space.max_pairs)
		return false;
	n->pairs = pairs;
	return true;
}

static bool set_offloads(struct virtio_net *n, const struct virtio_chain *c, uint8_t command)
{
	uint64_t offloads;

	if (command != 0 || !virtio_has(&n->v, NET_F_CTRL_GUEST_OFFLOADS) ||
	    !get(n, c, DATA_AT, &offloads, sizeof(offloads)) ||
	    offloads & ~(n->v.features & NET_GUEST_OFFLOADS))
		return false;
	n->guest_offloads = offloads;
	net_tell_offloads(n);
	return true;
}

static bool obey(struct virtio_net *n, const struct virtio_chain *c)
{
	uint8_t head[DATA_AT];

	if (!get(n, c, 0, head, sizeof(head)))
		return false;
	switch (head[0]) {
	case CTRL_RX: return set_rx(n, c, head[1]);
	case CTRL_MAC: return set_mac(n, c, head[1]);
	case CTRL_VLAN: return set_vlan(n, c, head[1]);
	case CTRL_ANNOUNCE: return announced(n, head[1]);
	case CTRL_MQ: return set_pairs(n, c, head[1]);
	case CTRL_OFFLOADS: return set_offloads(n, c, head[1]);
	default: return false;
	}
}

void net_control(struct virtio_net *n, unsigned q)
{
	struct virtio_chain *c = &n->sending;

	for (unsigned left = 2 * VIRTIO_QUEUE_SIZE_MAX; left > 0 && virtio_pop(&n->v, q, c);
	     left--) {
		uint8_t ack = obey(n, c) ? ACK_OK : ACK_ERR;
		size_t written = virtio_put(&n->v, c, 0, &ack, sizeof(ack));

		virtio_push(&n->v, q, c, (uint32_t)written);
	}
	virtio_flush(&n->v, q);
}
