/*
 * tap.c - --net tap:NAME: a tap interface of the host, made beforehand for this user.
 *
 * A tap speaks the virtio header: what the guest left unfinished the host's own stack finishes,
 * or never has to. The interface is the host's: when it is deleted, the
 * guest's cable is unplugged and a message says so.
 *
 * Not done: several queues of one tap; the guest's queues share one.
 *
 * Spec: Linux, Documentation/networking/tuntap.rst. Tested by test/guest/tap.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/net_internal.h"
#include "host/host.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#define TUN_F_USO (TUN_F_USO4 | TUN_F_USO6)

unsigned if_nametoindex(const char *name); /* <net/if.h> does not go with <linux/if.h> */

struct tap {
	struct net net;
	int fd;
	bool uso;                   /* the host's kernel knows UDP segmentation */
	struct net_message message; /* the thread's */
};

/* Tells the kernel what the guest takes unfinished. vCPU thread. */
static void tap_accepts(void *arg, unsigned offloads)
{
	struct tap *tap = arg;
	unsigned flags = 0;

	if (offloads & NET_OFFLOAD_CSUM)
		flags |= TUN_F_CSUM;
	if (offloads & NET_OFFLOAD_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_OFFLOAD_TSO6)
		flags |= TUN_F_TSO6;
	if (offloads & NET_OFFLOAD_ECN && flags & (TUN_F_TSO4 | TUN_F_TSO6))
		flags |= TUN_F_TSO_ECN;
	if (offloads & NET_OFFLOAD_USO && tap->uso)
		flags |= TUN_F_USO;
	/* It fails only when the interface is gone, which the thread sees too. */
	(void)ioctl(tap->fd, TUNSETOFFLOAD, flags);
}

/* vCPU thread. The tap is not blocking: a full queue loses the frame, as a wire would. */
static void tap_send(void *arg, const struct net_header *header, const void *frame, size_t bytes)
{
	struct tap *tap = arg;
	struct net_header copy = *header;
	struct iovec iov[2] = {
		{.iov_base = &copy,          .iov_len = sizeof(copy)},
		{ .iov_base = (void *)frame, .iov_len = bytes       },
	};

	if (writev(tap->fd, iov, 2) < 0)
		return; /* refused (what it says of itself is wrong), no room, or no interface */
}

static int attach(struct tap *tap, const char *name, struct fail *why)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int bytes = sizeof(struct net_header), err;

	memcpy(request.ifr_name, name, strlen(name));
	err = ioctl(tap->fd, TUNSETIFF, &request);
	if (err < 0 && errno == EINVAL) { /* made for several queues: then this is one of them */
		request.ifr_flags |= IFF_MULTI_QUEUE;
		err = ioctl(tap->fd, TUNSETIFF, &request);
	}
	if (err < 0 && errno == EPERM)
		return fail(why, -EPERM,
			    "tap %s belongs to somebody else (ip tuntap add %s mode tap user NAME)",
			    name, name);
	if (err < 0)
		return fail(why, -errno, "tap %s: %s", name, strerror(errno));
	if (ioctl(tap->fd, TUNSETVNETHDRSZ, &bytes) < 0)
		return fail(why, -errno, "tap %s: no virtio header: %s", name, strerror(errno));
	tap->uso = ioctl(tap->fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO) == 0;
	(void)ioctl(tap->fd, TUNSETOFFLOAD, 0);
	return 0;
}

static int tap_open(struct net *net, struct fail *why)
{
	struct tap *tap = (struct tap *)net;

	tap->fd = -1;
	if (strlen(net->name) >= IFNAMSIZ)
		return fail(why, -EINVAL, "--net: '%s' is too long for an interface", net->name);
	/* The kernel would make a new one, which is connected to nothing. */
	if (if_nametoindex(net->name) == 0)
		return fail(why, -ENODEV,
			    "there is no interface %s (ip tuntap add %s mode tap user NAME)",
			    net->name, net->name);
	tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return fail(why, -errno, "tap %s: /dev/net/tun: %s", net->name, strerror(errno));
	net->seam.send = tap_send;
	net->seam.accepts = tap_accepts;
	net->seam.offloads =
		NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	if (attach(tap, net->name, why))
		return why->code;
	if (tap->uso)
		net->seam.offloads |= NET_OFFLOAD_USO;
	return 0;
}

/* Hands frames to the device while it has room. false: the interface is gone. */
static bool take_frames(struct tap *tap)
{
	struct net_message *m = &tap->message;

	while (!port_lacks(&tap->net.port, sizeof(*m))) {
		ssize_t n = read(tap->fd, net_received(m), NET_RECEIVED_MOST);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		n -= (ssize_t)sizeof(m->input.header);
		if (n >= (ssize_t)NET_FRAME_LEAST)
			net_post(&tap->net, m, (size_t)n);
	}
	return true;
}

static void tap_run(void *arg)
{
	struct tap *tap = arg;
	bool there = true;

	while (!atomic_load(&tap->net.port.stop)) {
		struct pollfd p[2] = {
			{.fd = tap->net.port.wake, .events = POLLIN},
			{ .fd = -1,                .events = POLLIN},
		};

		if (there && !port_lacks(&tap->net.port, sizeof(tap->message)))
			p[1].fd = tap->fd;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			port_woken(&tap->net.port);
		if (p[1].revents && (p[1].revents & POLLERR || !take_frames(tap))) {
			there = false;
			host_warn("tap %s is gone: the guest's cable is unplugged", tap->net.name);
			net_link(&tap->net, false);
		}
	}
}

static void tap_close(struct net *net)
{
	struct tap *tap = (struct tap *)net;

	if (tap->fd >= 0)
		close(tap->fd);
}

const struct net_kind net_tap = {
	.name = "tap",
	.takes = "NAME",
	.bytes = sizeof(struct tap),
	.open = tap_open,
	.run = tap_run,
	.close = tap_close,
};
