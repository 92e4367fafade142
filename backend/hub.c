/*
 * hub.c - the switch that virtual machines plug into (see hub.h).
 *
 * The table of addresses is a hash without chains: a collision forgets the older one,
 * whose frames then go to everybody until it speaks again. So a peer that makes
 * up addresses costs speed and no memory.
 *
 * Not modelled: VLANs (tags travel with the frame), spanning tree; ageing is by collision.
 *
 * Spec: IEEE 802.1D, 7.8 (learning), 7.7 (forwarding). Tested by test/unit/switch.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/unix_socket.h"
#include "host/host.h"
#include "machine/net.h"

#define TABLE 1024 /* a power of two */
#define BURST 64   /* frames from one peer before the next has its turn */

struct place {
	uint8_t mac[6];
	bool used;
	int peer;
};

struct hub {
	struct host_thread *thread;
	const char *path;
	int listener, wake;
	bool crowded; /* no descriptor for who connects: the listener is not polled for a while */
	atomic_bool stop;
	bool warned;             /* of one address in two machines */
	int peer[HUB_PEERS_MAX]; /* -1: free */
	struct place table[TABLE];
	uint8_t message[sizeof(struct net_header) + NET_FRAME_MOST];
};

static struct place *place_of(struct hub *hub, const uint8_t *mac)
{
	uint32_t hash = 0;

	for (unsigned i = 0; i < 6; i++)
		hash = hash * 31 + mac[i];
	return &hub->table[(hash ^ hash >> 10) % TABLE];
}

static void warn_of_twins(struct hub *hub, const uint8_t *mac)
{
	if (hub->warned)
		return;
	hub->warned = true;
	host_warn(
		"switch %s: two machines have the address %02x:%02x:%02x:%02x:%02x:%02x; give one "
		"another (mac=)",
		hub->path, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void learn(struct hub *hub, const uint8_t *source, int from)
{
	struct place *p = place_of(hub, source);

	if (source[0] & 1) /* a group does not send */
		return;
	if (p->used && p->peer != from && memcmp(p->mac, source, 6) == 0)
		warn_of_twins(hub, source);
	p->used = true;
	p->peer = from;
	memcpy(p->mac, source, 6);
}

static void drop_peer(struct hub *hub, int i)
{
	close(hub->peer[i]);
	hub->peer[i] = -1;
	for (unsigned k = 0; k < TABLE; k++) {
		if (hub->table[k].peer == i)
			hub->table[k].used = false;
	}
}

static void send_to(struct hub *hub, int i, size_t bytes)
{
	/* No room, or it is just going: its poll tells. */
	if (send(hub->peer[i], hub->message, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void forward(struct hub *hub, int from, size_t bytes)
{
	const uint8_t *frame = hub->message + sizeof(struct net_header);
	const struct place *to = place_of(hub, frame);

	learn(hub, frame + 6, from);
	if (!(frame[0] & 1) && to->used && memcmp(to->mac, frame, 6) == 0) {
		if (to->peer != from)
			send_to(hub, to->peer, bytes);
		return;
	}
	for (int i = 0; i < HUB_PEERS_MAX; i++) {
		if (i != from && hub->peer[i] >= 0)
			send_to(hub, i, bytes);
	}
}

static void serve_peer(struct hub *hub, int i)
{
	for (unsigned n = 0; n < BURST; n++) {
		ssize_t got = recv(hub->peer[i], hub->message, sizeof(hub->message),
				   MSG_DONTWAIT | MSG_TRUNC);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			drop_peer(hub, i);
			return;
		}
		if ((size_t)got >= sizeof(struct net_header) + NET_FRAME_LEAST &&
		    (size_t)got <= sizeof(hub->message))
			forward(hub, i, (size_t)got);
	}
}

static void admit(struct hub *hub)
{
	int fd, i;

	while ((fd = unix_accept(hub->listener, &hub->crowded)) >= 0) {
		for (i = 0; i < HUB_PEERS_MAX && hub->peer[i] >= 0; i++)
			;
		if (i == HUB_PEERS_MAX)
			close(fd); /* it says so: the connection ends */
		else
			hub->peer[i] = fd;
	}
}

static void hub_run(void *arg)
{
	struct hub *hub = arg;

	while (!atomic_load(&hub->stop)) {
		struct pollfd p[HUB_PEERS_MAX + 2];

		for (int i = 0; i < HUB_PEERS_MAX; i++)
			p[i] = (struct pollfd){ .fd = hub->peer[i], .events = POLLIN };
		p[HUB_PEERS_MAX] = (struct pollfd){ .fd = hub->crowded ? -1 : hub->listener,
						    .events = POLLIN };
		p[HUB_PEERS_MAX + 1] = (struct pollfd){ .fd = hub->wake, .events = POLLIN };
		if (poll(p, HUB_PEERS_MAX + 2, hub->crowded ? UNIX_CROWDED_MS : -1) < 0 &&
		    errno != EINTR)
			return;
		hub->crowded = false;
		/* First: who connected before a frame was sent gets it. */
		if (p[HUB_PEERS_MAX].revents)
			admit(hub);
		for (int i = 0; i < HUB_PEERS_MAX; i++) {
			if (p[i].revents && hub->peer[i] == p[i].fd)
				serve_peer(hub, i);
		}
	}
}

struct hub *hub_start(int listener, const char *path, struct fail *why)
{
	struct hub *hub = host_alloc(sizeof(*hub));

	if (!hub) {
		fail(why, -ENOMEM, "no memory for a network switch");
		close(listener);
		return NULL;
	}
	hub->listener = listener;
	(void)fcntl(listener, F_SETFL, O_NONBLOCK);
	hub->path = path;
	for (int i = 0; i < HUB_PEERS_MAX; i++)
		hub->peer[i] = -1;
	hub->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (hub->wake >= 0)
		hub->thread = host_thread_start(hub_run, hub, "switch-hub");
	if (!hub->thread) {
		fail(why, -EAGAIN, "cannot start the thread of a network switch");
		hub_stop(hub);
		return NULL;
	}
	return hub;
}

void hub_stop(struct hub *hub)
{
	uint64_t one = 1;

	if (!hub)
		return;
	atomic_store(&hub->stop, true);
	if (hub->wake >= 0 && write(hub->wake, &one, sizeof(one)) < 0)
		host_warn("switch %s: cannot wake its thread", hub->path);
	host_thread_join(hub->thread);
	for (int i = 0; i < HUB_PEERS_MAX; i++) {
		if (hub->peer[i] >= 0)
			close(hub->peer[i]);
	}
	close(hub->listener);
	if (hub->wake >= 0)
		close(hub->wake);
	host_free(hub);
}
