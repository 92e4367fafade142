/*
 * console.c - the serial console: one thread that waits for keys and signals.
 *
 * The guest's receiver has limited room, so input is read from the host only when
 * the guest has said it can take it (room); the rest waits where it is, in the
 * terminal or the pipe, and nothing is lost. Signals arrive through a signalfd, so no
 * handler runs in the middle of the monitor.
 *
 * In counted mode input from a regular file is repeatable: it is read by the vCPU
 * thread itself, as soon as the receiver has room. A terminal or a pipe is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "control/console.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/terminal.h"
#include "host/host.h"
#include "machine/vm.h"

#define CTRL(key) ((key)&0x1f)
#define READ_MOST 256

struct console {
	struct vm *vm;
	struct device *uart;
	struct host_thread *thread;
	int signals, wake; /* signalfd, eventfd */
	bool terminal;     /* standard input is one: escape keys work */
	bool file;         /* standard input is a regular file */
	bool prefix;       /* Ctrl-A was the last key */
	atomic_size_t room;
	atomic_bool stop;
	atomic_int signal;
};

static void wake_thread(struct console *c)
{
	uint64_t one = 1;

	if (write(c->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is awake */
}

static void write_all(const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(STDOUT_FILENO, data, bytes);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

			poll(&p, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody listens: not the guest's fault */
		data += n;
		bytes -= (size_t)n;
	}
}

static void console_write(void *arg, const void *data, size_t bytes)
{
	(void)arg;
	write_all(data, bytes);
}

/* A regular file: repeatable input, read at the guest's own pace. */
static void read_file(struct console *c)
{
	uint8_t buf[READ_MOST];
	size_t room = atomic_load(&c->room);
	ssize_t n = 1;

	while (room > 0 && n > 0) {
		n = read(STDIN_FILENO, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n > 0 && device_post(c->uart, buf, (size_t)n) == 0)
			room = atomic_fetch_sub(&c->room, (size_t)n) - (size_t)n;
		else
			c->file = false;
	}
}

/* The receiver can take `bytes` more than it was granted before. vCPU thread. */
static void console_room(void *arg, size_t bytes)
{
	struct console *c = arg;
	size_t before = atomic_fetch_add(&c->room, bytes);

	if (bytes == 0 || !c->uart)
		return;
	if (c->file)
		read_file(c);
	else if (before == 0)
		wake_thread(c);
}

struct char_backend console_backend(struct console *c)
{
	return (struct char_backend){ .write = console_write, .room = console_room, .arg = c };
}

static void help(void)
{
	static const char text[] = "\r\n  Ctrl-A h       this help\r\n"
				   "  Ctrl-A x       end the virtual machine\r\n"
				   "  Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

	write_all((const uint8_t *)text, sizeof(text) - 1);
}

/* Takes the escape keys out of buf; returns what is left for the guest. */
static size_t take_escapes(struct console *c, uint8_t *buf, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t key = buf[i];

		if (!c->prefix && key == CTRL('a')) {
			c->prefix = true;
			continue;
		}
		if (c->prefix && (key == 'x' || key == 'X'))
			vm_request(c->vm, VM_QUIT, 0);
		else if (c->prefix && (key == 'h' || key == 'H' || key == '?'))
			help();
		else
			buf[out++] = key;
		c->prefix = false;
	}
	return out;
}

/* false: standard input has ended. */
static bool take_keys(struct console *c)
{
	size_t room = atomic_load(&c->room);
	uint8_t buf[READ_MOST];
	ssize_t n;

	/* Escape keys must work while the guest takes no input: then read, and keep only those. */
	if (room == 0 && !c->terminal)
		return true;
	n = read(STDIN_FILENO, buf, room && room < sizeof(buf) ? room : sizeof(buf));
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	if (c->terminal)
		n = (ssize_t)take_escapes(c, buf, (size_t)n);
	if (n > 0 && room > 0 && device_post(c->uart, buf, (size_t)n) == 0)
		atomic_fetch_sub(&c->room, (size_t)n);
	return true;
}

static void take_signal(struct console *c)
{
	struct signalfd_siginfo info;

	if (read(c->signals, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		terminal_restore();
		kill(getpid(), SIGSTOP);
		break;
	case SIGCONT:
		if (c->terminal)
			terminal_continue();
		break;
	default:
		atomic_store(&c->signal, (int)info.ssi_signo);
		vm_request(c->vm, VM_QUIT, 0);
		break;
	}
}

static void input_thread(void *arg)
{
	struct console *c = arg;
	bool open = !c->file;

	while (!atomic_load(&c->stop)) {
		struct pollfd p[3] = {
			{.fd = c->signals, .events = POLLIN},
			{ .fd = c->wake,   .events = POLLIN},
			{ .fd = -1,        .events = POLLIN},
		};
		uint64_t count;

		if (open && (c->terminal || atomic_load(&c->room) > 0))
			p[2].fd = STDIN_FILENO;
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			take_signal(c);
		if (p[1].revents && read(c->wake, &count, sizeof(count)) < 0)
			continue;
		if (p[2].revents)
			open = take_keys(c);
	}
}

static bool is_regular_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

struct console *console_open(struct fail *why)
{
	static const int taken[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT };
	struct console *c = host_alloc(sizeof(*c));
	sigset_t set;

	if (!c) {
		fail(why, -ENOMEM, "no memory for the console");
		return NULL;
	}
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->signals < 0 || c->wake < 0) {
		fail(why, -errno, "cannot watch the console: %s", strerror(errno));
		console_close(c);
		return NULL;
	}
	c->file = is_regular_file(STDIN_FILENO);
	c->terminal = terminal_raw();
	return c;
}

int console_start(struct console *c, struct vm *vm, struct device *uart, struct fail *why)
{
	c->vm = vm;
	c->uart = uart;
	c->thread = host_thread_start(input_thread, c, "console");
	if (!c->thread)
		return fail(why, -EAGAIN, "cannot start the console thread");
	if (c->file)
		read_file(c);
	return 0;
}

void console_stop(struct console *c)
{
	atomic_store(&c->stop, true);
	wake_thread(c);
	host_thread_join(c->thread);
	c->thread = NULL;
	c->uart = NULL;
	terminal_restore();
}

int console_signal(const struct console *c)
{
	return atomic_load(&c->signal);
}

void console_close(struct console *c)
{
	if (!c)
		return;
	if (c->signals >= 0)
		close(c->signals);
	if (c->wake >= 0)
		close(c->wake);
	host_free(c);
}
