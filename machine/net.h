/*
 * net.h - the far end of a network cable, as a network device sees it.
 *
 * Frames cross in both directions by credit, so that nobody waits and nothing is lost in
 * between. To the guest: the backend's thread posts each frame with device_post(), never
 * more bytes than the device has made room for. From the guest: send() takes the frame at
 * once, and a backend that hands it on to a thread of its own tells by a posted
 * NET_INPUT_SENT how far that came; the device leaves frames in the guest's ring while
 * `window` bytes are under way. So all that a device does follows from what was posted.
 *
 * With each frame goes what its checksum and segmentation still need: a guest that sends
 * 64 KiB at once lets the far end cut it up, or never.
 *
 * Spec: virtio 1.2, 5.1.6 (the header). Tested by test/unit/net.c, test/device/virtio_net.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_NET_H
#define MACHINE_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_FRAME_LEAST 14u            /* an Ethernet header */
#define NET_FRAME_MOST  (65535u + 18u) /* the largest IP packet, Ethernet and VLAN headers */

enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };                                     /* flags */
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_UDP_L4 = 5 }; /* gso_type */
#define NET_GSO_ECN 0x80 /* with a TCP type: the first segment alone has CWR */

/* As it stands before each frame in a virtio ring and in a tap's queue; little-endian. */
struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len;  /* of the headers each segment repeats: a hint, not to be trusted */
	uint16_t gso_size; /* payload bytes a segment */
	uint16_t csum_start,
		csum_offset;  /* NEEDS_CSUM: sum from start on, store at start + offset */
	uint16_t num_buffers; /* the device's; else 0 */
};
_Static_assert(sizeof(struct net_header) == 12, "virtio 1.2, 5.1.6");

/* What one side takes unfinished. TSO and USO come with CSUM only. */
enum net_offload {
	NET_OFFLOAD_CSUM = 1,
	NET_OFFLOAD_TSO4 = 2,
	NET_OFFLOAD_TSO6 = 4,
	NET_OFFLOAD_ECN = 8, /* TSO with CWR set */
	NET_OFFLOAD_USO = 16,
};

/* Does a side that takes `offloads` take a frame with this header as it is? */
static inline bool net_fits(const struct net_header *header, unsigned offloads)
{
	if (header->flags & NET_NEEDS_CSUM && !(offloads & NET_OFFLOAD_CSUM))
		return false;
	if (header->gso_type & NET_GSO_ECN && !(offloads & NET_OFFLOAD_ECN))
		return false;
	switch (header->gso_type & ~NET_GSO_ECN) {
	case NET_GSO_NONE: return true;
	case NET_GSO_TCPV4: return offloads & NET_OFFLOAD_TSO4;
	case NET_GSO_TCPV6: return offloads & NET_OFFLOAD_TSO6;
	case NET_GSO_UDP_L4: return offloads & NET_OFFLOAD_USO;
	default: return false;
	}
}

/* What a backend posts to its device: this, and for a frame its bytes behind it. */
enum net_input_kind {
	NET_INPUT_FRAME,
	NET_INPUT_SENT,     /* `bytes` of those sent left the window */
	NET_INPUT_LINK,     /* `up`: the cable is plugged in (at first it is) */
	NET_INPUT_ANNOUNCE, /* the far end is another one now: the guest should say where it is */
};
struct net_input {
	uint8_t kind, up;
	uint16_t zero;
	uint32_t bytes;
	struct net_header header;
};

/* A backend, copied into the device. The entries are called on the vCPU's thread with the device
 * lock held, and must not wait. */
struct net_backend {
	/* The guest sent a frame of NET_FRAME_LEAST to NET_FRAME_MOST bytes; header and contents
	 * are the guest's: anything. What cannot be sent is dropped. */
	void (*send)(void *arg, const struct net_header *header, const void *frame, size_t bytes);
	/* The device has room for `bytes` more (a message counts with its struct net_input).
	 * Called already while the device is being created. */
	void (*room)(void *arg, size_t bytes);
	/* What the guest's driver takes unfinished from now on: enum net_offload bits. */
	void (*accepts)(void *arg, unsigned offloads);
	void *arg;
	unsigned offloads; /* what send() takes unfinished */
	size_t window;     /* bytes sent and not yet told as NET_INPUT_SENT; 0: no limit */
};

#endif
