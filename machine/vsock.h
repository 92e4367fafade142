/*
 * vsock.h - the host's end of a guest's socket device, as the device sees it.
 *
 * Packets cross by credit in both directions, as frames do (machine/net.h). Connections are the
 * backend's; the device moves packets and knows of none.
 *
 * Spec: virtio 1.2, 5.10. Tested by test/unit/vsock.c, test/device/virtio_vsock.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_VSOCK_H
#define MACHINE_VSOCK_H

#include <stddef.h>
#include <stdint.h>

#define VSOCK_HOST_CID  2u
#define VSOCK_CID_LEAST 3u
#define VSOCK_CID_MOST  0xfffffffeu
#define VSOCK_DATA_MOST 65536u /* of one packet; drivers send no more */

struct vsock_header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* bytes that follow */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt; /* 5.10.6.3: the sender's buffer, and what left it */
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "virtio 1.2, 5.10.6");

enum { VSOCK_STREAM = 1 }; /* type */
enum vsock_op {
	VSOCK_REQUEST = 1,
	VSOCK_RESPONSE,
	VSOCK_RST,
	VSOCK_SHUTDOWN,
	VSOCK_RW,
	VSOCK_CREDIT_UPDATE,
	VSOCK_CREDIT_REQUEST,
};
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2 }; /* flags of SHUTDOWN */

/* What a backend posts: this, and for a packet its data behind it. */
enum vsock_input_kind {
	VSOCK_INPUT_PACKET,
	VSOCK_INPUT_SENT,  /* `bytes` of those sent left the window */
	VSOCK_INPUT_RESET, /* all connections are gone */
};
struct vsock_input {
	uint32_t kind, bytes;
	struct vsock_header header;
} __attribute__((packed));

/* A backend, copied into the device. vCPU thread, device lock held; nothing waits. */
struct vsock_backend {
	/* A stream packet from the guest's CID to the host's, `header->len` bytes of data; the rest
	 * of the header is the guest's: anything. Counts header and data in the window. */
	void (*send)(void *arg, const struct vsock_header *header, const void *data);
	/* The device has room for `bytes` more (with each message's struct vsock_input). */
	void (*room)(void *arg, size_t bytes);
	/* The guest's driver was reset: no connection is left. */
	void (*reset)(void *arg);
	void *arg;
	size_t window;
};

#endif
