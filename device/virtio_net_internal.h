/*
 * virtio_net_internal.h - between the data path and the control queue of the network device.
 *
 * Spec: virtio 1.2, 5.1. SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_VIRTIO_NET_INTERNAL_H
#define DEVICE_VIRTIO_NET_INTERNAL_H

#include "device/backlog.h"
#include "device/virtio.h"
#include "device/virtio_net.h"

#define NET_BIT(n) (UINT64_C(1) << (n))
/* Features, 5.1.3. */
#define NET_F_CSUM                NET_BIT(0)
#define NET_F_GUEST_CSUM          NET_BIT(1)
#define NET_F_CTRL_GUEST_OFFLOADS NET_BIT(2)
#define NET_F_MTU                 NET_BIT(3)
#define NET_F_MAC                 NET_BIT(5)
#define NET_F_GUEST_TSO4          NET_BIT(7)
#define NET_F_GUEST_TSO6          NET_BIT(8)
#define NET_F_GUEST_ECN           NET_BIT(9)
#define NET_F_HOST_TSO4           NET_BIT(11)
#define NET_F_HOST_TSO6           NET_BIT(12)
#define NET_F_HOST_ECN            NET_BIT(13)
#define NET_F_MRG_RXBUF           NET_BIT(15)
#define NET_F_STATUS              NET_BIT(16)
#define NET_F_CTRL_VQ             NET_BIT(17)
#define NET_F_CTRL_RX             NET_BIT(18)
#define NET_F_CTRL_VLAN           NET_BIT(19)
#define NET_F_CTRL_RX_EXTRA       NET_BIT(20)
#define NET_F_GUEST_ANNOUNCE      NET_BIT(21)
#define NET_F_MQ                  NET_BIT(22)
#define NET_F_CTRL_MAC_ADDR       NET_BIT(23)
#define NET_F_GUEST_USO4          NET_BIT(54)
#define NET_F_GUEST_USO6          NET_BIT(55)
#define NET_F_HOST_USO            NET_BIT(56)
#define NET_F_GUEST_USO           (NET_F_GUEST_USO4 | NET_F_GUEST_USO6)
/* What CTRL_GUEST_OFFLOADS may switch. */
#define NET_GUEST_OFFLOADS                                                                         \
	(NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN | NET_F_GUEST_USO)

enum { NET_S_LINK_UP = 1, NET_S_ANNOUNCE = 2 }; /* status */

#define NET_MACS      64  /* of a kind that the filter holds; beyond: all of the kind pass */
#define NET_FLOWS     256 /* a power of two */
#define NET_RX_CHAINS 64  /* that one frame may take */

/* Configuration space, 5.1.4. */
struct virtio_net_space {
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
};
_Static_assert(sizeof(struct virtio_net_space) == 12, "virtio 1.2, 5.1.4");

/* The addresses of a kind, unicast or multicast. */
struct net_macs {
	uint32_t count;
	bool overflow; /* the driver gave more than fit: all pass */
	uint8_t mac[6 * NET_MACS];
};

struct virtio_net {
	struct virtio v;
	struct virtio_net_config config;

	/* State. */
	struct virtio_net_space space;
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast; /* 5.1.6.5.1 */
	struct net_macs unicast, multicast;
	uint64_t vlan[4096 / 64];
	uint16_t pairs;          /* in use */
	uint64_t guest_offloads; /* NET_GUEST_OFFLOADS bits in force */
	uint8_t flow[NET_FLOWS]; /* which pair the guest used last */
	bool blocked;            /* frames wait in a transmit queue for the window */

	/* The host's side, not state: frames that the guest had no buffers for, credit, and whether
	 * the cable is plugged in. A wire forgets, too. */
	struct backlog backlog;
	size_t window_used;
	bool plugged;
	struct virtio_chain *chain; /* NET_RX_CHAINS, while a frame is put into them */
	struct virtio_chain sending;
	uint8_t *frame; /* NET_FRAME_MOST, while it is sent */
};

/* virtio_net_ctrl.c */
void net_filter_reset(struct virtio_net *n);
/* Is the frame (NET_FRAME_LEAST bytes or more) for this guest? */
bool net_filter_passes(const struct virtio_net *n, const uint8_t *frame, size_t bytes);
/* The control queue has commands. */
void net_control(struct virtio_net *n, unsigned q);

/* virtio_net.c: guest_offloads changed. */
void net_tell_offloads(struct virtio_net *n);

#endif
