/*
 * vsock_conn.c - the connections between guest ports and Unix sockets.
 *
 * A connection holds what the guest sent until the Unix socket takes it, never more than the
 * credit it gave the guest; in the other direction nothing is read that the guest has no
 * credit for. So neither side can make the monitor grow. A guest that breaks the rules loses the
 * connection it broke them on.
 *
 * Spec: virtio 1.2, 5.10.6. Tested by test/unit/vsock.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/vsock_internal.h"
#include "host/host.h"

#define PORT_FIRST 0x40000000u /* the host's side of a connection that it began */

struct reply {
	struct reply *next;
	struct vsock_input input;
};

/* --- Packets to the guest --- */

static struct vsock_input packet(const struct vsock *v, uint32_t host, uint32_t guest, uint16_t op,
				 uint32_t flags)
{
	return (struct vsock_input){
		.kind = VSOCK_INPUT_PACKET,
		.header = {.src_cid = VSOCK_HOST_CID,
                           .dst_cid = v->cid,
                           .src_port = host,
                           .dst_port = guest,
                           .type = VSOCK_STREAM,
                           .op = op,
                           .flags = flags,
                           .buf_alloc = CONN_BUFFER},
	};
}

/* Posts the packet, or lets it wait: one without data is never lost. */
static void send_packet(struct vsock *v, const struct vsock_input *input)
{
	struct reply *r;

	if (!v->first && !port_lacks(&v->port, sizeof(*input)) &&
	    port_post(&v->port, input, sizeof(*input)))
		return;
	r = host_alloc(sizeof(*r));
	if (!r)
		return;
	r->input = *input;
	*v->tail = r;
	v->tail = &r->next;
}

void conn_send_waiting(struct vsock *v)
{
	struct reply *r;

	while ((r = v->first)) {
		if (port_lacks(&v->port, sizeof(r->input)) ||
		    !port_post(&v->port, &r->input, sizeof(r->input)))
			return;
		v->first = r->next;
		if (!v->first)
			v->tail = &v->first;
		host_free(r);
	}
}

void conn_forget_waiting(struct vsock *v)
{
	while (v->first) {
		struct reply *r = v->first;

		v->first = r->next;
		host_free(r);
	}
	v->tail = &v->first;
}

/* A REQUEST that the guest has not seen. false: it has been posted. */
static bool take_back(struct vsock *v, const struct conn *c)
{
	for (struct reply **link = &v->first; *link; link = &(*link)->next) {
		struct reply *r = *link;
		const struct vsock_header *h = &r->input.header;

		if (h->op != VSOCK_REQUEST || h->src_port != c->host || h->dst_port != c->guest)
			continue;
		*link = r->next;
		if (!r->next)
			v->tail = link;
		host_free(r);
		return true;
	}
	return false;
}

static void tell(struct vsock *v, struct conn *c, uint16_t op, uint32_t flags)
{
	struct vsock_input input = packet(v, c->host, c->guest, op, flags);

	input.header.fwd_cnt = c->fwd;
	c->fwd_told = c->fwd;
	send_packet(v, &input);
}

/* --- Begin and end --- */

struct conn *conn_new(struct vsock *v, int fd, enum conn_state state)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &v->conn[i];

		if (c->state != CONN_FREE)
			continue;
		*c = (struct conn){ .state = state, .fd = fd, .out = host_map(CONN_BUFFER) };
		if (c->out)
			return c;
		c->state = CONN_FREE;
		break;
	}
	return NULL;
}

void conn_end(struct vsock *v, struct conn *c, bool told)
{
	/* Whoever calls and hangs up leaves nothing behind, however often. */
	if (c->state == CONN_ASKED && take_back(v, c))
		told = false;
	if (told && c->state != CONN_COMMAND)
		tell(v, c, VSOCK_RST, 0);
	close(c->fd);
	host_unmap(c->out, CONN_BUFFER);
	c->state = CONN_FREE;
}

static struct conn *find(struct vsock *v, uint32_t host, uint32_t guest)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &v->conn[i];

		if (c->state > CONN_COMMAND && c->host == host && c->guest == guest)
			return c;
	}
	return NULL;
}

/* --- To the Unix socket --- */

static void maybe_finished(struct vsock *v, struct conn *c)
{
	if (c->used || !c->guest_silent)
		return;
	if (c->guest_deaf || c->ended) {
		conn_end(v, c, true);
		return;
	}
	if (!c->shut)
		shutdown(c->fd, SHUT_WR);
	c->shut = true;
}

void conn_writable(struct vsock *v, struct conn *c)
{
	while (c->used) {
		uint32_t run = CONN_BUFFER - c->first;
		ssize_t n = send(c->fd, c->out + c->first, run < c->used ? run : c->used,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn_end(v, c, true);
			return;
		}
		c->first = (c->first + (uint32_t)n) % CONN_BUFFER;
		c->used -= (uint32_t)n;
		c->fwd += (uint32_t)n;
	}
	/* The guest waits for this only when its picture of our buffer is nearly full. */
	if (c->fwd - c->fwd_told >= CONN_BUFFER / 4)
		tell(v, c, VSOCK_CREDIT_UPDATE, 0);
	maybe_finished(v, c);
}

static void take_data(struct vsock *v, struct conn *c, const uint8_t *data, uint32_t bytes)
{
	uint32_t at = (c->first + c->used) % CONN_BUFFER, run = CONN_BUFFER - at;

	if (c->state != CONN_OPEN || c->guest_silent || bytes > CONN_BUFFER - c->used) {
		conn_end(v, c, true);
		return;
	}
	memcpy(c->out + at, data, bytes < run ? bytes : run);
	if (bytes > run)
		memcpy(c->out, data + run, bytes - run);
	c->used += bytes;
	conn_writable(v, c);
}

/* --- From the Unix socket --- */

static uint32_t credit(const struct conn *c)
{
	uint32_t under_way = c->sent - c->peer_fwd;

	return under_way < c->peer_alloc ? c->peer_alloc - under_way : 0;
}

bool conn_may_read(struct vsock *v, struct conn *c)
{
	if (c->state == CONN_COMMAND)
		return true;
	/* Asked: data may come early, and stays where it is. */
	if (c->state != CONN_OPEN || c->ended || c->guest_deaf || v->first)
		return false;
	return credit(c) > 0 && !port_lacks(&v->port, sizeof(v->message));
}

static void ended(struct vsock *v, struct conn *c, bool hangup)
{
	c->ended = true;
	tell(v, c, VSOCK_SHUTDOWN, hangup ? VSOCK_NO_SEND | VSOCK_NO_RECEIVE : VSOCK_NO_SEND);
	maybe_finished(v, c);
}

static void read_data(struct vsock *v, struct conn *c, bool hangup)
{
	uint32_t room = credit(c) < READ_MOST ? credit(c) : READ_MOST;
	ssize_t n = recv(c->fd, v->message.data, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		conn_end(v, c, true);
		return;
	}
	if (n == 0) {
		ended(v, c, hangup);
		return;
	}
	v->message.input = packet(v, c->host, c->guest, VSOCK_RW, 0);
	v->message.input.header.len = (uint32_t)n;
	v->message.input.header.fwd_cnt = c->fwd;
	c->fwd_told = c->fwd;
	if (port_post(&v->port, &v->message, sizeof(v->message.input) + (size_t)n))
		c->sent += (uint32_t)n;
	else /* there was room: the machine's queue is full, which nothing lost can be made good for
	      */
		conn_end(v, c, true);
}

/* A number that no connection to this guest port has. */
static uint32_t new_host_port(struct vsock *v, uint32_t guest)
{
	do {
		v->next_port = (v->next_port + 1) | PORT_FIRST;
	} while (find(v, v->next_port, guest) || v->next_port == UINT32_MAX);
	return v->next_port;
}

/* "CONNECT port\n": a line of its own, read byte by byte so that what follows stays data. */
static void read_command(struct vsock *v, struct conn *c)
{
	char *end, byte;
	unsigned long port;

	for (;;) {
		ssize_t n = recv(c->fd, &byte, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || c->command_bytes == COMMAND_MOST - 1) {
			conn_end(v, c, false);
			return;
		}
		if (byte == '\n')
			break;
		c->command[c->command_bytes++] = byte;
	}
	c->command[c->command_bytes] = '\0';
	port = strncmp(c->command, "CONNECT ", 8) == 0 && c->command[8] >= '0' &&
			       c->command[8] <= '9'
		       ? strtoul(c->command + 8, &end, 10)
		       : UINT64_MAX;
	if (port >= UINT32_MAX || *end) {
		conn_end(v, c, false);
		return;
	}
	c->guest = (uint32_t)port;
	c->host = new_host_port(v, c->guest);
	c->state = CONN_ASKED;
	tell(v, c, VSOCK_REQUEST, 0);
}

void conn_readable(struct vsock *v, struct conn *c, bool hangup)
{
	if (c->state == CONN_COMMAND)
		read_command(v, c);
	else
		read_data(v, c, hangup);
}

/* --- From the guest --- */

/* The guest calls port h->dst_port: whoever listens on the socket named after it. */
static void guest_calls(struct vsock *v, const struct vsock_header *h)
{
	struct vsock_input refused = packet(v, h->dst_port, h->src_port, VSOCK_RST, 0);
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct conn *c = NULL;
	int fd = -1;

	if ((size_t)snprintf(at.sun_path, sizeof(at.sun_path), "%s_%u", v->path, h->dst_port) <
	    sizeof(at.sun_path))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		c = conn_new(v, fd, CONN_OPEN);
	if (!c) {
		if (fd >= 0)
			close(fd);
		send_packet(v, &refused);
		return;
	}
	c->host = h->dst_port;
	c->guest = h->src_port;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	tell(v, c, VSOCK_RESPONSE, 0);
}

static void guest_answers(struct vsock *v, struct conn *c)
{
	char text[32];
	int bytes = snprintf(text, sizeof(text), "OK %u\n", c->host);

	if (c->state != CONN_ASKED ||
	    send(c->fd, text, (size_t)bytes, MSG_DONTWAIT | MSG_NOSIGNAL) != bytes) {
		conn_end(v, c, true);
		return;
	}
	c->state = CONN_OPEN;
}

static void guest_shuts(struct vsock *v, struct conn *c, uint32_t flags)
{
	c->guest_deaf |= flags & VSOCK_NO_RECEIVE;
	c->guest_silent |= flags & VSOCK_NO_SEND;
	if (c->guest_deaf)
		shutdown(c->fd, SHUT_RD);
	maybe_finished(v, c);
}

static void unknown(struct vsock *v, const struct vsock_header *h)
{
	struct vsock_input reset = packet(v, h->dst_port, h->src_port, VSOCK_RST, 0);

	if (h->op == VSOCK_REQUEST)
		guest_calls(v, h);
	else if (h->op != VSOCK_RST)
		send_packet(v, &reset);
}

void conn_packet(struct vsock *v, const struct vsock_header *h, const uint8_t *data)
{
	struct conn *c = find(v, h->dst_port, h->src_port);

	if (!c) {
		unknown(v, h);
		return;
	}
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	switch (h->op) {
	case VSOCK_RESPONSE: guest_answers(v, c); break;
	case VSOCK_RST: conn_end(v, c, false); break;
	case VSOCK_SHUTDOWN: guest_shuts(v, c, h->flags); break;
	case VSOCK_RW: take_data(v, c, data, h->len); break;
	case VSOCK_CREDIT_UPDATE: break;
	case VSOCK_CREDIT_REQUEST: tell(v, c, VSOCK_CREDIT_UPDATE, 0); break;
	default: conn_end(v, c, true); break; /* a second REQUEST, or nothing known */
	}
}
