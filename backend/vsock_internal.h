/*
 * vsock_internal.h - between the connections (vsock_conn.c) and what opens and polls them
 * (vsock.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_VSOCK_INTERNAL_H
#define BACKEND_VSOCK_INTERNAL_H

#include <sys/un.h>

#include "backend/handover.h"
#include "backend/port.h"
#include "backend/vsock.h"

#define CONNS_MAX    256
#define CONN_BUFFER  (256u << 10) /* of what the guest sent, for each connection */
#define READ_MOST    (32u << 10)  /* from a Unix socket at once */
#define COMMAND_MOST 32

/*
 *	COMMAND --"CONNECT port"--> ASKED --RESPONSE--> OPEN      the host's side began
 *	                            REQUEST, connect() ---> OPEN  the guest's side began
 *	any --RST, trouble, both directions shut and all data flushed--> FREE
 */
enum conn_state { CONN_FREE, CONN_COMMAND, CONN_ASKED, CONN_OPEN };

struct conn {
	enum conn_state state;
	int fd;
	uint32_t host, guest; /* ports */
	char command[COMMAND_MOST];
	unsigned command_bytes;
	/* Credit, 5.10.6.3: the guest's buffer, what left it, what was sent to it; and what of the
	 * guest's data left ours, and was said to have. */
	uint32_t peer_alloc, peer_fwd, sent, fwd, fwd_told;
	uint8_t *out; /* CONN_BUFFER: a ring of what the guest sent */
	uint32_t first, used;
	bool ended;                    /* the Unix socket's other end sends no more */
	bool guest_silent, guest_deaf; /* the guest's SHUTDOWN */
	bool shut;                     /* our sending direction of the Unix socket */
};

struct reply; /* a packet that waits for room */

struct vsock {
	char *words;
	const char *path;
	uint32_t cid;
	int listener;
	bool crowded; /* no descriptor for who connects: it is not polled for a while */
	struct port port;
	struct host_thread *thread;
	struct handover sent;
	uint32_t told_not; /* bytes taken whose VSOCK_INPUT_SENT could not be posted */
	uint32_t next_port;
	struct conn conn[CONNS_MAX];
	struct reply *first, **tail;
	struct {
		struct vsock_input input;
		uint8_t data[READ_MOST];
	} __attribute__((packed)) message;
};

/* vsock_conn.c; the thread's. */
struct conn *conn_new(struct vsock *v, int fd, enum conn_state state);
/* Closes and forgets; told: the guest is told by RST. */
void conn_end(struct vsock *v, struct conn *c, bool tell);
/* The Unix socket has something to read, or has ended (hangup: in both directions). */
void conn_readable(struct vsock *v, struct conn *c, bool hangup);
/* The Unix socket takes data again. */
void conn_writable(struct vsock *v, struct conn *c);
/* May its Unix socket be read now? */
bool conn_may_read(struct vsock *v, struct conn *c);
/* A packet from the guest. */
void conn_packet(struct vsock *v, const struct vsock_header *h, const uint8_t *data);
/* Packets that wait for room go, as far as there is some. */
void conn_send_waiting(struct vsock *v);
void conn_forget_waiting(struct vsock *v);

#endif
