/*
 * display.c - the guest's text screen on the terminal: one thread that paints.
 *
 * The adapter says once that the picture changed; the thread then looks at it, with the device
 * lock held, paints what differs, and rests for a moment, so that a guest that writes all
 * the time is painted 30 times a second and an idle one never.
 *
 * Tested by test/guest/firmware.c.
 * SPDX-License-Identifier: MIT
 */
#include "control/display.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "control/terminal.h"
#include "host/host.h"

#define REST_MS 33
#define LAST_MS 1000 /* how long the last picture may wait for the terminal */
#define ROWS    25   /* of a terminal that does not say */
#define COLUMNS 80
#define MESSAGE 160

struct display {
	struct vm *vm;
	struct device *vga;
	struct host_thread *thread;
	int wake, ending; /* eventfds */
	atomic_bool all;  /* paint all of it */
	struct host_mutex *lock;
	char message[MESSAGE]; /* lock held; empty: none */
	struct vga_screen shown, now;
	char bytes[DISPLAY_BYTES_MAX];
};

/* Said on every way out: colors, cursor, line wrap, and below what is on the screen. */
static const char farewell[] = "\033[0m\033[?25h\033[?7h\033[999;1H\r\n";
static const char greeting[] = "\033[?7l";

static void raise_event(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is raised */
}

static void display_changed(void *arg)
{
	struct display *d = arg;

	raise_event(d->wake);
}

struct vga_backend display_backend(struct display *d)
{
	return (struct vga_backend){ .changed = display_changed, .arg = d };
}

void display_repaint(struct display *d)
{
	host_mutex_lock(d->lock);
	d->message[0] = '\0';
	host_mutex_unlock(d->lock);
	atomic_store(&d->all, true);
	raise_event(d->wake);
}

void display_message(struct display *d, const char *text)
{
	host_mutex_lock(d->lock);
	snprintf(d->message, sizeof(d->message), "%s", text);
	host_mutex_unlock(d->lock);
	raise_event(d->wake);
}

/* Waits `ms` (-1: for ever) until standard output takes bytes; not beyond the end. */
static bool output_ready(struct display *d, int ms)
{
	struct pollfd p[2] = {
		{.fd = STDOUT_FILENO,            .events = POLLOUT},
		{ .fd = ms < 0 ? d->ending : -1, .events = POLLIN },
	};
	int n;

	do
		n = poll(p, 2, ms);
	while (n < 0 && errno == EINTR);
	return n > 0 && p[0].revents & POLLOUT;
}

static void write_all(struct display *d, const char *from, size_t bytes, int ms)
{
	while (bytes > 0 && output_ready(d, ms)) {
		ssize_t n = write(STDOUT_FILENO, from, bytes < PIPE_BUF ? bytes : PIPE_BUF);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return; /* nobody looks: not the guest's fault */
		from += n > 0 ? n : 0;
		bytes -= n > 0 ? (size_t)n : 0;
	}
}

static void picture_size(unsigned *rows, unsigned *columns)
{
	if (terminal_size(rows, columns))
		return;
	*rows = ROWS;
	*columns = COLUMNS;
}

static size_t put_message(struct display *d, char *to, unsigned rows)
{
	size_t n = 0;

	host_mutex_lock(d->lock);
	if (d->message[0])
		n = (size_t)sprintf(to, "\033[%u;1H\033[0;7m%s\033[0m\033[K", rows, d->message);
	host_mutex_unlock(d->lock);
	return n;
}

static void paint(struct display *d, int ms)
{
	bool all = atomic_exchange(&d->all, false);
	unsigned rows, columns;
	size_t n;

	picture_size(&rows, &columns);
	host_mutex_lock(d->vm->lock);
	vga_look(d->vga, &d->now);
	host_mutex_unlock(d->vm->lock);
	/* Whoever had the terminal meanwhile was told farewell, and changed its modes. */
	if (all) {
		terminal_farewell(farewell);
		write_all(d, greeting, sizeof(greeting) - 1, ms);
	}
	n = display_paint(d->bytes, &d->now, all ? NULL : &d->shown, rows, columns);
	n += put_message(d, d->bytes + n, rows);
	write_all(d, d->bytes, n, ms);
	d->shown = d->now;
}

/* false: it is to end. */
static bool wait_event(struct display *d, int fd, int ms)
{
	struct pollfd p[2] = {
		{.fd = d->ending, .events = POLLIN},
                { .fd = fd,       .events = POLLIN}
	};
	uint64_t count;

	if (poll(p, 2, ms) < 0 && errno != EINTR)
		return false;
	if (p[1].revents && read(fd, &count, sizeof(count)) < 0)
		return true;
	return !p[0].revents;
}

static void display_thread(void *arg)
{
	struct display *d = arg;

	while (wait_event(d, d->wake, -1)) {
		paint(d, -1);
		if (!wait_event(d, -1, REST_MS))
			return;
	}
}

struct display *display_open(struct fail *why)
{
	struct display *d = host_alloc(sizeof(*d));

	if (!d) {
		fail(why, -ENOMEM, "no memory for the display");
		return NULL;
	}
	d->lock = host_mutex_new();
	d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->lock && d->wake >= 0 && d->ending >= 0)
		return d;
	fail(why, -errno, "cannot open the display: %s", strerror(errno));
	display_close(d);
	return NULL;
}

int display_start(struct display *d, struct vm *vm, struct device *vga, struct fail *why)
{
	d->vm = vm;
	d->vga = vga;
	atomic_store(&d->all, true);
	d->thread = host_thread_start(display_thread, d, "display");
	if (!d->thread)
		return fail(why, -EAGAIN, "cannot start the display thread");
	raise_event(d->wake);
	return 0;
}

void display_stop(struct display *d)
{
	if (!d->thread)
		return;
	raise_event(d->ending);
	host_thread_join(d->thread);
	d->thread = NULL;
	paint(d, LAST_MS);
	write_all(d, farewell, sizeof(farewell) - 1, LAST_MS);
	terminal_farewell(NULL);
}

void display_close(struct display *d)
{
	if (!d)
		return;
	if (d->wake >= 0)
		close(d->wake);
	if (d->ending >= 0)
		close(d->ending);
	host_mutex_free(d->lock);
	host_free(d);
}
