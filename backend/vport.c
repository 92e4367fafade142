/*
 * vport.c - what a named port of the guest leads to: a Unix socket, or a file (see vport.h).
 *
 * The guest's bytes wait in a ring that the vCPU fills and the port's thread empties; when it is
 * full the guest's bytes stay in the guest. A socket serves one peer after the other. Who has
 * closed one direction (`echo date | socat - UNIX:...`) is still answered, until it is gone.
 *
 * Tested by test/guest/vconsole.c, test/unit/crowded.c and test/api/cli.
 * SPDX-License-Identifier: MIT
 */
#include "backend/vport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/port.h"
#include "backend/unix_socket.h"
#include "host/host.h"

#define RING_BYTES  65536u
#define INPUT_BYTES 1024u
#define AGAIN_MS    10 /* until the machine's queue of input may have room */

struct vport {
	char *words;
	const char *name, *path;
	bool file;
	struct port port; /* its credit is for bytes of data */
	unsigned number;
	struct host_thread *thread;

	/* The ring. */
	struct host_mutex *lock;
	uint8_t *ring;
	size_t first, count;
	bool refused;  /* the device waits for VCONSOLE_READY */
	bool attached; /* somebody is at the end: a peer, or the file */

	atomic_bool announce; /* the device wants to hear whether somebody is */

	/* The thread's. */
	int listener, fd;
	bool crowded;   /* no descriptor for who connects: it is not polled for a while */
	bool ended;     /* the peer sends no more */
	bool told_open; /* what the device was told last */
	bool complained;
	struct {
		struct vconsole_input in;
		uint8_t data[INPUT_BYTES];
	} message;
	size_t waiting; /* bytes of data in `message` that the machine had no room for */
};

/* --- Words --- */

static int parse(struct vport *p, const char *text, struct fail *why)
{
	char *kind;

	p->words = strdup(text);
	if (!p->words)
		return fail(why, -ENOMEM, "no memory for --port");
	kind = strchr(p->words, '=');
	if (!kind || kind == p->words)
		return fail(why, -EINVAL, "--port: '%s' is not NAME=socket:PATH or NAME=file:FILE",
			    text);
	*kind++ = '\0';
	p->name = p->words;
	if (strlen(p->name) > VCONSOLE_NAME_MOST)
		return fail(why, -EINVAL, "--port: a name has at most %d letters",
			    VCONSOLE_NAME_MOST);
	p->file = strncmp(kind, "file:", 5) == 0;
	if (!p->file && strncmp(kind, "socket:", 7) != 0)
		return fail(why, -EINVAL, "--port %s: '%s' is not socket:PATH or file:FILE",
			    p->name, kind);
	p->path = strchr(kind, ':') + 1;
	return *p->path ? 0
			: fail(why, -EINVAL, "--port %s: which %s?", p->name,
			       p->file ? "file" : "socket");
}

int vport_check(const char *text, struct fail *why)
{
	struct vport p = { .words = NULL };
	int err = parse(&p, text, why);

	free(p.words);
	return err;
}

/* --- The seam: vCPU thread --- */

static size_t vport_write(void *arg, const void *data, size_t bytes)
{
	struct vport *p = arg;
	const uint8_t *from = data;
	size_t n = bytes;

	host_mutex_lock(p->lock);
	if (!p->attached) { /* just gone */
		host_mutex_unlock(p->lock);
		return bytes;
	}
	if (n > RING_BYTES - p->count)
		n = RING_BYTES - p->count;
	for (size_t i = 0; i < n; i++)
		p->ring[(p->first + p->count++) % RING_BYTES] = from[i];
	p->refused |= n < bytes;
	host_mutex_unlock(p->lock);
	port_wake(&p->port);
	return n;
}

static void vport_room(void *arg, size_t bytes)
{
	port_room(&((struct vport *)arg)->port, bytes);
}

static void vport_opened(void *arg, bool open)
{
	struct vport *p = arg;

	(void)open;
	atomic_store(&p->announce, true);
	port_wake(&p->port);
}

/* --- The thread --- */

static bool tell(struct vport *p, enum vconsole_kind kind, bool value)
{
	struct vconsole_input in = { .port = (uint8_t)p->number,
				     .kind = (uint8_t)kind,
				     .value = value };

	return port_tell(&p->port, &in, sizeof(in));
}

/* What the device has to know. false: the machine's queue is full; again later. */
static bool tell_all(struct vport *p)
{
	bool attached, ready;

	host_mutex_lock(p->lock);
	attached = p->attached;
	ready = p->refused && p->count <= RING_BYTES / 2;
	host_mutex_unlock(p->lock);
	if (atomic_exchange(&p->announce, false))
		p->told_open = !attached;
	if (p->told_open != attached && !tell(p, VCONSOLE_OPEN, attached))
		return false;
	p->told_open = attached;
	if (!ready)
		return true;
	host_mutex_lock(p->lock);
	p->refused = false;
	host_mutex_unlock(p->lock);
	if (tell(p, VCONSOLE_READY, true))
		return true;
	host_mutex_lock(p->lock);
	p->refused = true;
	host_mutex_unlock(p->lock);
	return false;
}

static void attach(struct vport *p, int fd)
{
	p->fd = fd;
	p->ended = false;
	host_mutex_lock(p->lock);
	p->attached = true;
	host_mutex_unlock(p->lock);
}

static void detach(struct vport *p)
{
	close(p->fd);
	p->fd = -1;
	host_mutex_lock(p->lock);
	p->attached = p->refused = false;
	p->first = p->count = 0;
	host_mutex_unlock(p->lock);
}

/* The peer is gone, or the file takes no more: a file's output is then lost, and the user is told.
 */
static void output_failed(struct vport *p)
{
	if (!p->file) {
		detach(p);
		return;
	}
	if (!p->complained)
		host_warn("--port %s: %s: %s; what the guest writes there is lost", p->name,
			  p->path, strerror(errno));
	p->complained = true;
	host_mutex_lock(p->lock);
	p->first = p->count = 0;
	host_mutex_unlock(p->lock);
}

static void send_output(struct vport *p)
{
	size_t first, n;
	ssize_t sent;

	host_mutex_lock(p->lock);
	first = p->first;
	n = p->count < RING_BYTES - first ? p->count : RING_BYTES - first;
	host_mutex_unlock(p->lock);
	if (n == 0)
		return;
	/* The vCPU only adds behind these. */
	sent = p->file ? write(p->fd, p->ring + first, n)
		       : send(p->fd, p->ring + first, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (sent < 0) {
		output_failed(p);
		return;
	}
	host_mutex_lock(p->lock);
	p->first = (p->first + (size_t)sent) % RING_BYTES;
	p->count -= (size_t)sent;
	host_mutex_unlock(p->lock);
}

static void hand_on(struct vport *p)
{
	p->message.in =
		(struct vconsole_input){ .port = (uint8_t)p->number, .kind = VCONSOLE_DATA };
	if (!p->waiting || !port_tell(&p->port, &p->message, sizeof(p->message.in) + p->waiting))
		return;
	p->waiting = 0;
}

static void take_input(struct vport *p)
{
	size_t most = atomic_load(&p->port.credit);
	ssize_t n = read(p->fd, p->message.data, most < INPUT_BYTES ? most : INPUT_BYTES);

	if (n > 0) {
		atomic_fetch_sub(&p->port.credit, (size_t)n);
		p->waiting = (size_t)n;
		hand_on(p);
	} else if (n == 0) {
		p->ended = true;
	} else if (errno != EAGAIN && errno != EINTR) {
		detach(p);
	}
}

static short wanted(struct vport *p)
{
	short events = 0;

	host_mutex_lock(p->lock);
	if (p->count)
		events |= POLLOUT;
	host_mutex_unlock(p->lock);
	if (!p->file && !p->ended && !p->waiting && p->told_open && !port_lacks(&p->port, 1))
		events |= POLLIN;
	return events;
}

static void serve(struct vport *p, short got)
{
	if (got & POLLOUT)
		send_output(p);
	if (p->fd >= 0 && got & POLLIN)
		take_input(p);
	/* Nothing more comes, and nobody reads: both directions are closed. */
	if (p->fd >= 0 && !p->file && got & (POLLHUP | POLLERR) && (p->ended || got & POLLERR))
		detach(p);
}

/* How long to wait for something to happen, in ms. */
static int patience(const struct vport *p, bool told)
{
	if (!told || p->waiting)
		return AGAIN_MS;
	return p->crowded ? UNIX_CROWDED_MS : -1;
}

static void vport_run(void *arg)
{
	struct vport *p = arg;

	while (!atomic_load(&p->port.stop)) {
		bool told = tell_all(p);
		short events;
		struct pollfd w[3];

		hand_on(p);
		events = p->fd >= 0 ? wanted(p) : 0;
		/* A peer that is gone is reported all the time: it is looked at when what it sent
		 * can be taken. */
		w[0] = (struct pollfd){ .fd = events || p->ended ? p->fd : -1, .events = events };
		w[1] = (struct pollfd){ .fd = p->fd < 0 && !p->crowded ? p->listener : -1,
					.events = POLLIN };
		w[2] = (struct pollfd){ .fd = p->port.wake, .events = POLLIN };
		if (poll(w, 3, patience(p, told)) < 0 && errno != EINTR)
			return;
		p->crowded = false;
		if (w[2].revents)
			port_woken(&p->port);
		if (w[0].revents)
			serve(p, w[0].revents);
		if (w[1].revents) {
			int fd = unix_accept(p->listener, &p->crowded);

			if (fd >= 0)
				attach(p, fd);
		}
	}
}

/* --- Opening --- */

static int open_end(struct vport *p, struct fail *why)
{
	char what[VCONSOLE_NAME_MOST + 10] = "--port ";

	strcat(what, p->name);
	if (!p->file) {
		p->listener = unix_listen(what, p->path, why);
		return p->listener < 0 ? p->listener : 0;
	}
	p->fd = open(p->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
	if (p->fd < 0)
		return fail(why, -errno, "%s: %s: %s", what, p->path, strerror(errno));
	p->attached = p->told_open = true;
	return 0;
}

struct vport *vport_open(const char *text, struct fail *why)
{
	struct vport *p = host_alloc(sizeof(*p));

	if (!p) {
		fail(why, -ENOMEM, "no memory for --port");
		return NULL;
	}
	p->listener = p->fd = p->port.wake = -1;
	p->lock = host_mutex_new();
	p->ring = host_alloc(RING_BYTES);
	if (!p->lock || !p->ring)
		fail(why, -ENOMEM, "no memory for --port");
	else if (!parse(p, text, why) && !port_open(&p->port, why) && !open_end(p, why))
		return p;
	vport_close(p);
	return NULL;
}

const char *vport_name(const struct vport *p)
{
	return p->name;
}

bool vport_is_open(const struct vport *p)
{
	return p->file;
}

struct vconsole_backend vport_backend(struct vport *p)
{
	return (struct vconsole_backend){
		.write = vport_write, .room = vport_room, .opened = vport_opened, .arg = p
	};
}

int vport_start(struct vport *p, struct device *dev, unsigned number, struct fail *why)
{
	p->port.dev = dev;
	p->number = number;
	p->thread = host_thread_start(vport_run, p, "port");
	return p->thread ? 0 : fail(why, -EAGAIN, "cannot start the thread of --port");
}

/* What the guest wrote is in the file. */
static void finish_file(struct vport *p)
{
	while (p->file && p->fd >= 0 && p->count) {
		size_t before = p->count;

		send_output(p);
		if (p->count == before)
			return;
	}
}

void vport_stop(struct vport *p)
{
	if (!p || !p->thread)
		return;
	port_stop(&p->port);
	host_thread_join(p->thread);
	p->thread = NULL;
}

void vport_close(struct vport *p)
{
	if (!p)
		return;
	vport_stop(p);
	finish_file(p);
	if (p->listener >= 0) {
		unlink(p->path);
		close(p->listener);
	}
	if (p->fd >= 0)
		close(p->fd);
	port_close(&p->port);
	host_free(p->ring);
	host_mutex_free(p->lock);
	free(p->words);
	host_free(p);
}
