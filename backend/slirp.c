/*
 * slirp.c - --net user: a network that needs no privilege, by libslirp.
 *
 * libslirp is a TCP/IP stack that plays the rest of the network - a gateway, a DHCP and a DNS
 *server
 * - and turns what the guest sends into sockets of this process. It owns no thread and no clock:
 * one thread here calls it, and nothing else does. The guest's frames wait for that
 * thread in `sent`; what it says goes through a queue, and while that waits for the guest, no
 * socket is read: a slow guest slows the sender down and loses nothing.
 *
 *	10.0.2.0/24   10.0.2.2 gateway and this host, 10.0.2.3 DNS, 10.0.2.15 the guest (by DHCP)
 *
 * Not state: connections. A machine that was saved finds them gone when it is loaded.
 *
 * Spec: libslirp.h. Tested by test/unit/net.c, test/guest/network.c.
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/frames.h"
#include "backend/handover.h"
#include "backend/net_internal.h"
#include "backend/offload.h"
#include "host/host.h"

#define WINDOW        (256u << 10) /* bytes of the guest's frames under way */
#define FORWARDS_MOST 64
#define POLL_MOST     4096
#define MTU_DEFAULT   1500

struct forward {
	bool udp;
	struct in_addr host, guest;
	unsigned host_port, guest_port;
};

/* One of libslirp's timers. */
struct timer {
	struct timer *next;
	SlirpTimerCb fn;
	void *arg;
	int64_t at; /* ms; -1: not set */
};

/* A frame of 14 bytes is counted as such in the window, and takes this much more. */
#define SENT_BYTES                                                                                 \
	(WINDOW / NET_FRAME_LEAST * (sizeof(struct net_header) + 4) + WINDOW + NET_FRAME_MOST)

struct user {
	struct net net;
	struct forward forward[FORWARDS_MOST];
	unsigned forwards;
	const char *tftp, *bootfile, *hostname;
	bool isolated;

	Slirp *slirp;
	struct timer *timers;
	struct frames frames;
	struct pollfd poll[POLL_MOST];
	unsigned polls;
	struct handover sent; /* each frame after its header */
	uint32_t told_not;    /* bytes taken whose NET_INPUT_SENT could not be posted */
	uint8_t frame[NET_FRAME_MOST], scratch[NET_FRAME_MOST];
};

/* --- Words --- */

static int parse_port(const char *text, unsigned *port)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	n = strtoul(text, &end, 10);
	*port = (unsigned)n;
	return *end || n < 1 || n > 65535 ? -EINVAL : 0;
}

/* [ADDRESS:]PORT from the front of *rest, which may end there. */
static int parse_end(char **rest, struct in_addr *address, unsigned *port)
{
	char *word = strsep(rest, ":");

	if (word && strchr(word, '.')) {
		if (inet_pton(AF_INET, word, address) != 1)
			return -EINVAL;
		word = strsep(rest, ":");
	}
	return word ? parse_port(word, port) : -EINVAL;
}

/* PROTO:[ADDRESS:]PORT:[ADDRESS:]PORT */
static int parse_forward(struct user *u, const char *value, struct fail *why)
{
	char copy[128], *rest = copy, *protocol;
	struct forward f = {
		.host.s_addr = htonl(INADDR_LOOPBACK),
		.guest.s_addr = htonl(0x0a00020f),
	};

	if (u->forwards == FORWARDS_MOST)
		return fail(why, -EINVAL, "--net user: at most %d forwards", FORWARDS_MOST);
	snprintf(copy, sizeof(copy), "%s", value);
	protocol = strsep(&rest, ":");
	f.udp = strcmp(protocol, "udp") == 0;
	if ((!f.udp && strcmp(protocol, "tcp") != 0) || parse_end(&rest, &f.host, &f.host_port) ||
	    parse_end(&rest, &f.guest, &f.guest_port) || rest)
		return fail(why, -EINVAL,
			    "--net user: forward=%s is not tcp:HOSTPORT:GUESTPORT or udp:...",
			    value);
	u->forward[u->forwards++] = f;
	return 0;
}

static int user_option(struct net *net, const char *key, const char *value, struct fail *why)
{
	struct user *u = (struct user *)net;

	if (strcmp(key, "forward") == 0)
		return parse_forward(u, value, why);
	if (strcmp(key, "isolated") == 0) {
		u->isolated = strcmp(value, "yes") == 0;
		return u->isolated || strcmp(value, "no") == 0
			       ? 0
			       : fail(why, -EINVAL, "--net user: isolated is yes or no");
	}
	if (strcmp(key, "tftp") == 0)
		u->tftp = value;
	else if (strcmp(key, "bootfile") == 0)
		u->bootfile = value;
	else if (strcmp(key, "hostname") == 0)
		u->hostname = value;
	else
		return -ENOENT;
	return 0;
}

/* --- From the guest: vCPU thread --- */

/* The device keeps to the window, so there is room. */
static void user_send(void *arg, const struct net_header *header, const void *frame, size_t bytes)
{
	struct user *u = arg;
	bool first;

	if (handover_put(&u->sent, header, sizeof(*header), frame, bytes, &first) && first)
		port_wake(&u->net.port);
}

/* --- What libslirp asks for: the thread --- */

static ssize_t from_slirp(const void *data, size_t bytes, void *opaque)
{
	struct user *u = opaque;

	frames_add(&u->frames, data, bytes, atomic_load(&u->net.accepts));
	return (ssize_t)bytes; /* or lost, as on a wire */
}

static void guest_error(const char *text, void *opaque)
{
	(void)text; /* the guest's mistakes are its own */
	(void)opaque;
}

static int64_t clock_ns(void *opaque)
{
	(void)opaque;
	return (int64_t)host_monotonic_ns();
}

static void *timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
	struct user *u = opaque;
	struct timer *t = host_alloc(sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct timer){ .next = u->timers, .fn = fn, .arg = arg, .at = -1 };
	u->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;

	for (struct timer **at = &u->timers; *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = ((struct timer *)timer)->next;
			break;
		}
	}
	host_free(timer);
}

static void timer_mod(void *timer, int64_t at, void *opaque)
{
	(void)opaque;
	if (timer)
		((struct timer *)timer)->at = at;
}

static void nothing_to_register(int fd, void *opaque)
{
	(void)fd; /* the set is built anew each time */
	(void)opaque;
}

static void notify(void *opaque)
{
	port_wake(&((struct user *)opaque)->net.port);
}

static const SlirpCb callbacks = {
	.send_packet = from_slirp,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = nothing_to_register,
	.unregister_poll_fd = nothing_to_register,
	.notify = notify,
};

/* --- The thread --- */

static void feed(void *arg, const uint8_t *frame, size_t bytes)
{
	slirp_input(((struct user *)arg)->slirp, frame, (int)bytes);
}

/* A TCP segment of 64 KiB is a segment to libslirp, too; datagrams must be the size they have. */
static void feed_unfinished(struct user *u, struct net_header *header, size_t bytes)
{
	unsigned type = header->gso_type & ~NET_GSO_ECN;

	if (type == NET_GSO_TCPV4 || type == NET_GSO_TCPV6)
		header->gso_type = NET_GSO_NONE;
	offload_finish(header, u->frame, bytes, u->scratch, feed, u);
}

/* Gives libslirp what the guest has sent. */
static void take_sent(struct user *u)
{
	struct net_input told = { .kind = NET_INPUT_SENT };
	const uint8_t *record;
	size_t bytes;

	while ((record = handover_next(&u->sent, &bytes))) {
		struct net_header header;

		memcpy(&header, record, sizeof(header));
		bytes -= sizeof(header);
		memcpy(u->frame, record + sizeof(header), bytes);
		feed_unfinished(u, &header, bytes);
		u->told_not += (uint32_t)bytes;
		if (u->told_not >= WINDOW / 4)
			break;
	}
	told.bytes = u->told_not;
	if (told.bytes && port_tell(&u->net.port, &told, sizeof(told)))
		u->told_not = 0;
	if (record) /* there is more, and other things to do first */
		port_wake(&u->net.port);
}

/* Frames for the guest, as far as it has room. */
static void give_frames(struct user *u)
{
	struct frame *f;

	while ((f = frames_first(&u->frames))) {
		size_t bytes = sizeof(f->input) + f->bytes;

		if (port_lacks(&u->net.port, bytes) || !port_post(&u->net.port, &f->input, bytes))
			return;
		frames_drop_first(&u->frames);
	}
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	short wanted = 0;

	if (u->polls == POLL_MOST)
		return -1;
	if (events & SLIRP_POLL_IN)
		wanted |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		wanted |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		wanted |= POLLPRI;
	u->poll[u->polls] = (struct pollfd){ .fd = fd, .events = wanted };
	return (int)u->polls++;
}

static int get_revents(int index, void *opaque)
{
	const struct user *u = opaque;
	short got = index < 0 ? 0 : u->poll[index].revents;

	return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (got & POLLPRI ? SLIRP_POLL_PRI : 0) | (got & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Milliseconds to the next timer, at most `timeout`. */
static uint32_t until_timer(const struct user *u, uint32_t timeout)
{
	int64_t now = clock_ns(NULL) / 1000000;

	for (const struct timer *t = u->timers; t; t = t->next) {
		if (t->at >= 0 && t->at - now < (int64_t)timeout)
			timeout = t->at > now ? (uint32_t)(t->at - now) : 0;
	}
	return timeout;
}

static void fire_timers(struct user *u)
{
	int64_t now = clock_ns(NULL) / 1000000;
	struct timer *next;

	for (struct timer *t = u->timers; t; t = next) {
		next = t->next;
		if (t->at >= 0 && t->at <= now) {
			t->at = -1;
			t->fn(t->arg);
		}
	}
}

static void user_run(void *arg)
{
	struct user *u = arg;

	while (!atomic_load(&u->net.port.stop)) {
		uint32_t timeout = UINT32_MAX;
		bool slow = frames_first(&u->frames); /* the guest has no room */
		int n;

		u->poll[0] = (struct pollfd){ .fd = u->net.port.wake, .events = POLLIN };
		u->polls = 1;
		if (!slow)
			slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
		timeout = until_timer(u, timeout);
		n = poll(u->poll, u->polls, timeout > INT32_MAX ? -1 : (int)timeout);
		if (n < 0 && errno != EINTR)
			return;
		if (u->poll[0].revents)
			port_woken(&u->net.port);
		/* Before the poll, which also sends what waited for an answer to ARP. */
		take_sent(u);
		if (!slow)
			slirp_pollfds_poll(u->slirp, n < 0, get_revents, u);
		fire_timers(u);
		give_frames(u);
	}
}

/* --- Opening --- */

static int listen_for(struct user *u, const struct forward *f, struct fail *why)
{
	char at[INET_ADDRSTRLEN];

	errno = 0;
	if (slirp_add_hostfwd(u->slirp, f->udp, f->host, (int)f->host_port, f->guest,
			      (int)f->guest_port) == 0)
		return 0;
	return fail(why, errno ? -errno : -EIO, "--net user: cannot listen on %s port %s:%u: %s",
		    f->udp ? "UDP" : "TCP", inet_ntop(AF_INET, &f->host, at, sizeof(at)),
		    f->host_port, errno ? strerror(errno) : "libslirp refused");
}

static int start_slirp(struct user *u, struct fail *why)
{
	size_t mtu = u->net.card.mtu ? u->net.card.mtu : MTU_DEFAULT;
	SlirpConfig config = {
		.version = 1,
		.restricted = u->isolated,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(0x0a000200),
		.vnetmask.s_addr = htonl(0xffffff00),
		.vhost.s_addr = htonl(0x0a000202),
		.vdhcp_start.s_addr = htonl(0x0a00020f),
		.vnameserver.s_addr = htonl(0x0a000203),
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = u->hostname,
		.tftp_path = u->tftp,
		.bootfile = u->bootfile,
		.if_mtu = mtu,
		.if_mru = mtu,
	};

	inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &config.vhost6);
	inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
	u->slirp = slirp_new(&config, &callbacks, u);
	if (!u->slirp)
		return fail(why, -EINVAL, "--net user: libslirp does not start");
	for (unsigned i = 0; i < u->forwards; i++) {
		int err = listen_for(u, &u->forward[i], why);

		if (err)
			return err;
	}
	return 0;
}

/* libslirp looks there when the guest asks, and tells only the guest. */
static int check_tftp(const char *path, struct fail *why)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail(why, -errno, "--net user: tftp=%s: %s", path, strerror(errno));
	close(fd);
	return 0;
}

static int user_open(struct net *net, struct fail *why)
{
	struct user *u = (struct user *)net;

	frames_init(&u->frames);
	if (handover_open(&u->sent, SENT_BYTES))
		return fail(why, -ENOMEM, "no memory for a network");
	net->seam.send = user_send;
	net->seam.offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
			     NET_OFFLOAD_ECN | NET_OFFLOAD_USO;
	net->seam.window = WINDOW;
	if (u->tftp && check_tftp(u->tftp, why))
		return why->code;
	return start_slirp(u, why);
}

static void user_close(struct net *net)
{
	struct user *u = (struct user *)net;

	if (u->slirp)
		slirp_cleanup(u->slirp);
	frames_free(&u->frames);
	handover_close(&u->sent);
}

const struct net_kind net_user = {
	.name = "user",
	.bytes = sizeof(struct user),
	.option = user_option,
	.open = user_open,
	.run = user_run,
	.close = user_close,
};
