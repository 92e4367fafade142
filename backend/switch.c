/*
 * switch.c - --net switch:SOCKET: virtual machines connected to each other, without privilege.
 *
 * The machines that name the same socket are on one switch. There is no server to start: the first
 * one runs the switch (hub.c) for all, itself included; when it ends, the others notice
 * and one of them takes over. Who runs it is decided under a lock on the socket's
 * directory: connect, or else bind; so two cannot both decide to be the one.
 *
 *	connected --- the switch is gone ---> elect: connect, or bind and serve ---> connected
 *	                                       cannot (no directory) ---> unplugged, for good
 *
 * Frames travel unfinished (checksums, segmentation) and are finished for a guest that does not
 * take them so. What is under way when a switch ends is lost.
 *
 * Tested by test/unit/switch.c, test/guest/network.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/hub.h"
#include "backend/net_internal.h"
#include "backend/offload.h"
#include "host/host.h"

struct switched {
	struct net net;
	struct sockaddr_un at;
	int fd;          /* this machine's plug: one number for ever, so that send() may use it */
	struct hub *hub; /* when it runs here */
	struct net_message message, part; /* received; a segment of it */
	uint8_t scratch[NET_FRAME_MOST];
};

/* The lock under which it is decided who serves; close() releases it. */
static int lock_directory(const struct switched *s, struct fail *why)
{
	char copy[sizeof(s->at.sun_path)];
	int fd;

	memcpy(copy, s->at.sun_path, sizeof(copy));
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && flock(fd, LOCK_EX) == 0)
		return fd;
	fail(why, -errno, "switch %s: its directory: %s", s->net.name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return why->code;
}

static int new_socket(struct fail *why)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return fd >= 0 ? fd : fail(why, -errno, "no socket: %s", strerror(errno));
}

/* 0, or why not: -ECONNREFUSED and -ENOENT mean that nobody serves. */
static int plug_in(struct switched *s, struct fail *why)
{
	int fd = new_socket(why), err = 0;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&s->at, sizeof(s->at)) != 0)
		err = fail(why, -errno, "switch %s: %s", s->net.name, strerror(errno));
	else if (dup3(fd, s->fd, O_CLOEXEC) < 0)
		err = fail(why, -errno, "switch %s: %s", s->net.name, strerror(errno));
	close(fd);
	return err;
}

static int serve(struct switched *s, struct fail *why)
{
	struct stat st;
	int fd;

	if (lstat(s->at.sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return fail(why, -EEXIST, "switch %s: there is a file that is no socket",
			    s->net.name);
	unlink(s->at.sun_path);
	fd = new_socket(why);
	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&s->at, sizeof(s->at)) != 0 ||
	    listen(fd, HUB_PEERS_MAX) != 0) {
		fail(why, -errno, "switch %s: %s", s->net.name, strerror(errno));
		close(fd);
		return why->code;
	}
	s->hub = hub_start(fd, s->net.name, why);
	return s->hub ? 0 : why->code;
}

/* Connects to the switch, or becomes it. */
static int elect(struct switched *s, struct fail *why)
{
	int lock = lock_directory(s, why), err;

	if (lock < 0)
		return lock;
	err = plug_in(s, why);
	if (err == -ECONNREFUSED || err == -ENOENT) {
		err = serve(s, why);
		if (!err)
			err = plug_in(s, why);
	}
	close(lock);
	return err;
}

/* vCPU thread. */
static void switch_send(void *arg, const struct net_header *header, const void *frame, size_t bytes)
{
	struct switched *s = arg;
	struct iovec iov[2] = {
		{.iov_base = (void *)header, .iov_len = sizeof(*header)},
		{ .iov_base = (void *)frame, .iov_len = bytes          },
	};
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	if (sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* no room, or no switch just now */
}

static int switch_open(struct net *net, struct fail *why)
{
	struct switched *s = (struct switched *)net;

	s->fd = -1;
	if (strlen(net->name) >= sizeof(s->at.sun_path))
		return fail(why, -ENAMETOOLONG, "switch %s: a socket's name has at most %zu bytes",
			    net->name, sizeof(s->at.sun_path) - 1);
	s->at.sun_family = AF_UNIX;
	strcpy(s->at.sun_path, net->name);
	s->fd = new_socket(why); /* holds the number */
	if (s->fd < 0)
		return s->fd;
	net->seam.send = switch_send;
	net->seam.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
			     NET_OFFLOAD_ECN | NET_OFFLOAD_USO;
	return elect(s, why);
}

static void emit_part(void *arg, const uint8_t *frame, size_t bytes)
{
	struct switched *s = arg;

	memset(&s->part.input, 0, sizeof(s->part.input));
	memcpy(s->part.frame, frame, bytes);
	net_post(&s->net, &s->part, bytes); /* beyond the guest's room it is lost */
}

static void give(struct switched *s, size_t bytes)
{
	struct net_message *m = &s->message;

	m->input.header.num_buffers = 0;
	if (net_fits(&m->input.header, atomic_load(&s->net.accepts)))
		net_post(&s->net, m, bytes);
	else
		offload_finish(&m->input.header, m->frame, bytes, s->scratch, emit_part, s);
}

/* Hands frames to the device while it has room. false: the switch is gone. */
static bool take_frames(struct switched *s)
{
	struct net_message *m = &s->message;

	/* Twice: segments repeat their headers. */
	while (!port_lacks(&s->net.port, 2 * sizeof(*m))) {
		ssize_t n =
			recv(s->fd, net_received(m), NET_RECEIVED_MOST, MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		if ((size_t)n >= sizeof(m->input.header) + NET_FRAME_LEAST &&
		    (size_t)n <= NET_RECEIVED_MOST)
			give(s, (size_t)n - sizeof(m->input.header));
	}
	return true;
}

/* The switch's machine is gone. false: there cannot be another. */
static bool plug_in_again(struct switched *s)
{
	struct net_input announce = { .kind = NET_INPUT_ANNOUNCE };
	struct fail why;

	if (elect(s, &why) == 0) {
		port_tell(&s->net.port, &announce, sizeof(announce));
		return true;
	}
	host_warn("%s: the guest's cable is unplugged", why.text);
	net_link(&s->net, false);
	return false;
}

static void switch_run(void *arg)
{
	struct switched *s = arg;
	bool there = true;

	while (!atomic_load(&s->net.port.stop)) {
		struct pollfd p[2] = {
			{.fd = s->net.port.wake, .events = POLLIN},
			{ .fd = -1,              .events = POLLIN},
		};

		if (there && !port_lacks(&s->net.port, 2 * sizeof(s->message)))
			p[1].fd = s->fd;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			port_woken(&s->net.port);
		if (p[1].revents && !take_frames(s))
			there = plug_in_again(s);
	}
}

static void switch_close(struct net *net)
{
	struct switched *s = (struct switched *)net;
	struct fail why;
	int lock;

	if (s->hub) {
		/* Nobody may connect to what is about to go. */
		lock = lock_directory(s, &why);
		hub_stop(s->hub);
		if (lock >= 0) {
			unlink(s->at.sun_path);
			close(lock);
		}
	}
	if (s->fd >= 0)
		close(s->fd);
}

const struct net_kind net_switch = {
	.name = "switch",
	.takes = "SOCKET",
	.bytes = sizeof(struct switched),
	.option = NULL,
	.open = switch_open,
	.run = switch_run,
	.close = switch_close,
};
