/*
 * vsock.c - guest sockets as Unix sockets of the host: words, listening, polling (see vsock.h).
 *
 * One thread owns every connection. The guest's packets are taken only while few answers wait
 * for room in the guest: a guest that reads nothing stops being listened to.
 *
 * Spec: the host's side of Firecracker, docs/vsock.md. Tested by test/unit/vsock.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/vsock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/unix_socket.h"
#include "backend/vsock_internal.h"
#include "host/host.h"

#define WINDOW     (256u << 10)
#define SENT_BYTES (WINDOW + WINDOW / 8 + 2 * VSOCK_DATA_MOST)

/* --- Words --- */

static int parse_cid(const char *text, uint32_t *cid, struct fail *why)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < VSOCK_CID_LEAST || n > VSOCK_CID_MOST)
		return fail(why, -EINVAL, "--vsock: cid=%s is not from %u to %u", text,
			    VSOCK_CID_LEAST, VSOCK_CID_MOST);
	*cid = (uint32_t)n;
	return 0;
}

static int parse(struct vsock *v, const char *text, struct fail *why)
{
	char *option;

	v->cid = VSOCK_CID_LEAST;
	v->words = strdup(text);
	if (!v->words)
		return fail(why, -ENOMEM, "no memory for guest sockets");
	v->path = v->words;
	option = strchr(v->words, ',');
	if (option)
		*option++ = '\0';
	if (!*v->path)
		return fail(why, -EINVAL, "--vsock: which socket? SOCKET[,cid=N]");
	/* What is added for a guest's connection: _4294967295 */
	if (strlen(v->path) + 11 > UNIX_PATH_MOST)
		return fail(why, -EINVAL, "--vsock: a socket's name has at most %u bytes",
			    UNIX_PATH_MOST - 11);
	if (option && strncmp(option, "cid=", 4) != 0)
		return fail(why, -EINVAL, "--vsock has no option '%s', only cid=N", option);
	return option ? parse_cid(option + 4, &v->cid, why) : 0;
}

int vsock_check(const char *text, struct fail *why)
{
	struct vsock v = { .listener = -1 };
	int err = parse(&v, text, why);

	free(v.words);
	return err;
}

/* --- The seam: vCPU thread --- */

static void vsock_send(void *arg, const struct vsock_header *header, const void *data)
{
	struct vsock *v = arg;
	bool first;

	if (handover_put(&v->sent, header, sizeof(*header), data, header->len, &first) && first)
		port_wake(&v->port);
}

static void vsock_room(void *arg, size_t bytes)
{
	port_room(&((struct vsock *)arg)->port, bytes);
}

/* As a packet of no kind, so that it keeps its place among them. */
static void vsock_reset(void *arg)
{
	struct vsock_header all = { 0 };

	vsock_send(arg, &all, NULL);
}

/* --- The thread --- */

static void end_all(struct vsock *v)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		if (v->conn[i].state > CONN_COMMAND)
			conn_end(v, &v->conn[i], false);
	}
	conn_forget_waiting(v);
}

static void take_packets(struct vsock *v)
{
	struct vsock_input told = { .kind = VSOCK_INPUT_SENT };
	const uint8_t *record = NULL;
	size_t bytes;

	while (!v->first && (record = handover_next(&v->sent, &bytes))) {
		struct vsock_header h;

		memcpy(&h, record, sizeof(h));
		if (h.type == VSOCK_STREAM) {
			conn_packet(v, &h, record + sizeof(h));
			v->told_not += (uint32_t)bytes;
		} else {
			end_all(v);
		}
		if (v->told_not >= WINDOW / 4)
			break;
	}
	told.bytes = v->told_not;
	if (told.bytes && port_tell(&v->port, &told, sizeof(told)))
		v->told_not = 0;
	if (record && !v->first) /* there is more, and others have their turn first */
		port_wake(&v->port);
}

static void admit(struct vsock *v)
{
	int fd = unix_accept(v->listener, &v->crowded);

	if (fd >= 0 && !conn_new(v, fd, CONN_COMMAND))
		close(fd);
}

static short wanted(struct vsock *v, struct conn *c)
{
	return (short)((conn_may_read(v, c) ? POLLIN : 0) | (c->used ? POLLOUT : 0));
}

static void serve(struct vsock *v, struct conn *c, short got)
{
	if (c->state == CONN_ASKED && got & (POLLERR | POLLHUP)) { /* nobody waits any more */
		conn_end(v, c, true);
		return;
	}
	if (c->state != CONN_FREE && c->used && got & (POLLOUT | POLLERR | POLLHUP))
		conn_writable(v, c);
	if (c->state != CONN_FREE && got & (POLLIN | POLLERR | POLLHUP) && conn_may_read(v, c))
		conn_readable(v, c, got & POLLHUP);
}

static void vsock_run(void *arg)
{
	struct vsock *v = arg;

	while (!atomic_load(&v->port.stop)) {
		struct pollfd p[CONNS_MAX + 2];

		for (unsigned i = 0; i < CONNS_MAX; i++) {
			struct conn *c = &v->conn[i];
			short events = c->state == CONN_FREE ? 0 : wanted(v, c);

			/* What is not waited for is not polled: it would report a hangup all the
			 * time. Asked waits for just that. */
			p[i] = (struct pollfd){
				.fd = events || c->state == CONN_ASKED ? c->fd : -1,
				.events = events,
			};
		}
		p[CONNS_MAX] =
			(struct pollfd){ .fd = v->crowded ? -1 : v->listener, .events = POLLIN };
		p[CONNS_MAX + 1] = (struct pollfd){ .fd = v->port.wake, .events = POLLIN };
		if (poll(p, CONNS_MAX + 2, v->crowded ? UNIX_CROWDED_MS : -1) < 0 && errno != EINTR)
			return;
		v->crowded = false;
		if (p[CONNS_MAX + 1].revents)
			port_woken(&v->port);
		for (unsigned i = 0; i < CONNS_MAX; i++) {
			if (p[i].revents)
				serve(v, &v->conn[i], p[i].revents);
		}
		if (p[CONNS_MAX].revents)
			admit(v);
		conn_send_waiting(v);
		take_packets(v);
	}
}

/* --- Opening --- */

struct vsock *vsock_open(const char *text, struct fail *why)
{
	struct vsock *v = host_alloc(sizeof(*v));
	struct fail unread;

	if (!why)
		why = &unread;
	if (!v) {
		fail(why, -ENOMEM, "no memory for guest sockets");
		return NULL;
	}
	v->listener = -1;
	v->port.wake = -1;
	v->tail = &v->first;
	if (parse(v, text, why) || port_open(&v->port, why)) {
		vsock_close(v);
		return NULL;
	}
	v->listener = unix_listen("--vsock", v->path, why);
	if (v->listener < 0) {
		vsock_close(v);
		return NULL;
	}
	if (handover_open(&v->sent, SENT_BYTES)) {
		fail(why, -ENOMEM, "no memory for guest sockets");
		vsock_close(v);
		return NULL;
	}
	return v;
}

uint32_t vsock_cid(const struct vsock *v)
{
	return v->cid;
}

struct vsock_backend vsock_backend(struct vsock *v)
{
	return (struct vsock_backend){
		.send = vsock_send,
		.room = vsock_room,
		.reset = vsock_reset,
		.arg = v,
		.window = WINDOW,
	};
}

int vsock_start(struct vsock *v, struct device *dev, struct fail *why)
{
	v->port.dev = dev;
	v->thread = host_thread_start(vsock_run, v, "vsock");
	return v->thread ? 0 : fail(why, -EAGAIN, "cannot start the thread of --vsock");
}

void vsock_close(struct vsock *v)
{
	if (!v)
		return;
	if (v->thread)
		port_stop(&v->port);
	host_thread_join(v->thread);
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		if (v->conn[i].state != CONN_FREE)
			conn_end(v, &v->conn[i], false);
	}
	conn_forget_waiting(v);
	if (v->listener >= 0) {
		unlink(v->path);
		close(v->listener);
	}
	handover_close(&v->sent);
	port_close(&v->port);
	free(v->words);
	host_free(v);
}
