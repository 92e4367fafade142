/*
 * console.c - keys and signals: one thread that waits for both; and serial output.
 *
 * The guest's receiver has limited room, so input is read from the host only when
 * the guest has said it can take it (room); the rest waits where it is, in the file or
 * the pipe, and nothing is lost. A terminal is read in any case, for its escape keys: what
 * the guest cannot take yet waits in `typed`. Signals arrive through a signalfd, so no
 * handler runs in the middle of the monitor.
 *
 * Keys go to the serial port or the virtio console as they are, or (--display text) to the keyboard
 * as the keys that they stand for (keys.c); then the screen is display.c's.
 *
 * Output waits for whoever reads it, and the guest with it; but not beyond the end of
 * the run, or a full pipe would keep the monitor from being ended.
 *
 * In counted mode input from a regular file is repeatable: it is read by the vCPU
 * thread itself, as soon as the receiver has room. A terminal or a pipe is not.
 *
 * Tested by test/guest/console.c.
 * SPDX-License-Identifier: MIT
 */
#include "control/console.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/engines.h"
#include "control/cursor.h"
#include "control/display.h"
#include "control/keys.h"
#include "control/terminal.h"
#include "host/host.h"
#include "machine/vm.h"

#define CTRL(key)  ((key)&0x1f)
#define READ_MOST  256
#define ESCAPE_MS  50    /* that the rest of a function key may take */
#define TYPED_MOST 65536 /* a paste; beyond it keys are lost, as beyond any terminal's buffer */

struct console {
	enum console_kind kind;
	struct vm *vm;
	struct device *sink;      /* the serial port or the keyboard; NULL: not running */
	struct display *display;  /* CONSOLE_text */
	void (*go_on)(void *arg); /* Ctrl-A c */
	void *go_on_arg;
	struct host_thread *thread;
	int signals, wake; /* signalfd, eventfd */
	int ending;        /* eventfd: readable from when the run is asked to end */
	bool terminal;     /* standard input is one: escape keys work */
	bool seen;         /* standard output is a terminal */
	bool shared;       /* it is where the monitor's messages go, too */
	bool file;         /* standard input is a regular file; vCPU thread */
	bool polled;       /* standard input is anything else; the input thread reads it */
	bool prefix;       /* Ctrl-A was the last key */
	bool help_waits;   /* the terminal takes nothing now */
	bool helped;       /* help is on the guest's screen, until the next key */
	bool partial;      /* what is left of typed[] may be the beginning of a function key */
	uint8_t typed[TYPED_MOST];
	size_t typed_count;
	struct cursor cursor; /* where the guest left it */
	atomic_size_t room;
	atomic_bool stop;
	atomic_int signal;
};

static void raise_event(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is raised */
}

static void end_run(struct console *c)
{
	vm_request(c->vm, VM_QUIT, 0);
	raise_event(c->ending);
}

/* Waits until standard output takes a byte. false: the run is to end, or nobody listens. */
static bool output_ready(struct console *c)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = STDOUT_FILENO, .events = POLLOUT},
			{ .fd = c->ending,    .events = POLLIN },
		};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return false;
		if (p[0].revents & POLLOUT)
			return true;
		if (p[0].revents || p[1].revents)
			return false;
	}
}

/* What a guest's escape sequences did to the terminal ends with the run: SeaBIOS, for one, lets
 * long lines not wrap. */
static void note_escapes(const struct console *c, const void *data, size_t bytes)
{
	if (c->seen && memchr(data, '\033', bytes))
		terminal_farewell("\033[0m\033[?25h\033[?7h");
}

/* The monitor's messages begin on a line of their own. */
static void note_line(struct console *c, const void *data, size_t bytes)
{
	if (!c->shared)
		return;
	c->cursor.mid_line = host_log_is_mid_line(); /* not if one has come since */
	cursor_follow(&c->cursor, data, bytes);
	host_log_mid_line(c->cursor.mid_line);
}

/* A device of this machine wrote. A pipe that is ready takes PIPE_BUF bytes without waiting. */
static void console_write(void *arg, const void *data, size_t bytes)
{
	const uint8_t *from = data;

	note_escapes(arg, data, bytes);
	while (bytes > 0 && output_ready(arg)) {
		ssize_t n = write(STDOUT_FILENO, from, bytes < PIPE_BUF ? bytes : PIPE_BUF);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return; /* nobody listens: not the guest's fault */
		if (n <= 0)
			continue;
		note_line(arg, from, (size_t)n);
		from += n;
		bytes -= (size_t)n;
	}
}

/* The same for a port of the virtio console: all of it is taken. */
static size_t console_put(void *arg, const void *data, size_t bytes)
{
	console_write(arg, data, bytes);
	return bytes;
}

static void console_print(void *arg, const char *text, size_t bytes)
{
	console_write(arg, text, bytes);
}

/* The screen is the guest's: by hypercall it prints beside it. */
static void print_beside(void *arg, const char *text, size_t bytes)
{
	(void)arg;
	host_log(text, bytes);
}

static bool post(struct console *c, const void *data, size_t bytes)
{
	struct {
		struct vconsole_input in;
		uint8_t data[READ_MOST];
	} m = {
		.in = {.port = 0, .kind = VCONSOLE_DATA}
	};
	int err;

	if (c->kind == CONSOLE_hvc0) {
		memcpy(m.data, data, bytes);
		err = device_post(c->sink, &m, sizeof(m.in) + bytes);
	} else {
		err = device_post(c->sink, data, bytes);
	}
	if (!err)
		atomic_fetch_sub(&c->room, bytes);
	return !err;
}

/* The guest's console is as large as the terminal. */
static void post_size(struct console *c)
{
	struct vconsole_input in = { .kind = VCONSOLE_SIZE };
	unsigned columns, rows;

	if (c->kind != CONSOLE_hvc0 || !c->terminal || !terminal_size(&rows, &columns))
		return;
	in.value = (uint16_t)columns;
	in.rows = (uint16_t)rows;
	(void)device_post(c->sink, &in, sizeof(in)); /* full: it is told of the next change */
}

/* A regular file: repeatable input, read at the guest's own pace. */
static void read_file(struct console *c)
{
	uint8_t buf[READ_MOST];
	size_t room = atomic_load(&c->room);
	ssize_t n = 1;

	while (room > 0 && n > 0) {
		n = read(STDIN_FILENO, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n > 0 && post(c, buf, (size_t)n))
			room = atomic_load(&c->room);
		else
			c->file = false;
	}
}

/* The receiver can take `bytes` more than it was granted before. vCPU thread. */
static void console_room(void *arg, size_t bytes)
{
	struct console *c = arg;

	atomic_fetch_add(&c->room, bytes);
	if (bytes == 0 || !c->sink)
		return;
	if (c->file)
		read_file(c);
	else
		raise_event(c->wake);
}

void console_connect(struct console *c, struct pc_config *config)
{
	struct char_backend backend = { .room = console_room, .arg = c };

	config->hooks = (struct vm_hooks){ .print = console_print, .arg = c };
	if (c->kind == CONSOLE_text) {
		config->screen = true;
		config->keys = backend;
		config->picture = display_backend(c->display);
		config->hooks = (struct vm_hooks){ .print = print_beside };
	} else if (c->kind == CONSOLE_serial) {
		config->serial = backend;
		config->serial.write = console_write;
	} else if (c->kind == CONSOLE_hvc0) {
		config->hvc = (struct vconsole_backend){ .write = console_put,
							 .room = console_room,
							 .arg = c };
	}
}

static void help(struct console *c)
{
	static const char text[] = "\r\n  Ctrl-A h       this help\r\n"
				   "  Ctrl-A x       end the virtual machine\r\n"
				   "  Ctrl-A e       change to the next engine\r\n"
				   "  Ctrl-A c       paused by a full disk: look for room now\r\n"
				   "  Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n";

	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

	if (c->display) {
		c->helped = true;
		display_message(c->display, "Ctrl-A x ends the virtual machine, Ctrl-A Ctrl-A "
					    "sends Ctrl-A");
		return;
	}
	/* This thread takes the signals: it never waits for a reader, but may look again. */
	c->help_waits = poll(&p, 1, 0) != 1;
	if (!c->help_waits && write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		return;
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
		if (c->helped)
			display_repaint(c->display);
		c->helped = false;
		if (c->prefix && (key == 'x' || key == 'X'))
			end_run(c);
		else if (c->prefix && (key == 'e' || key == 'E'))
			vm_ask_switch(c->vm, engine_next);
		else if (c->prefix && (key == 'c' || key == 'C'))
			c->go_on(c->go_on_arg);
		else if (c->prefix && (key == 'h' || key == 'H' || key == '?'))
			help(c);
		else
			buf[out++] = key;
		c->prefix = false;
	}
	return out;
}

/* The first `n` bytes of what was typed are done with. */
static void drop_typed(struct console *c, size_t n)
{
	c->typed_count -= n;
	memmove(c->typed, c->typed + n, c->typed_count);
}

/* ended: nothing followed for a while. */
static void send_keys(struct console *c, bool ended)
{
	struct ps2_event events[KEYS_EVENTS_MAX];
	size_t count, used;

	c->partial = false;
	while (c->typed_count > 0 && atomic_load(&c->room) >= sizeof(events)) {
		used = keys_decode(c->typed, c->typed_count, ended, events, &count);
		c->partial = used == 0;
		if (c->partial || (count && !post(c, events, count * sizeof(events[0]))))
			return;
		drop_typed(c, used);
	}
}

/* Hands on what was typed, as far as the guest has room. */
static void send_typed(struct console *c, bool ended)
{
	size_t room;

	if (c->kind == CONSOLE_text) {
		send_keys(c, ended);
		return;
	}
	while (c->typed_count > 0 && (room = atomic_load(&c->room)) > 0) {
		size_t n = c->typed_count < room ? c->typed_count : room;

		n = n < READ_MOST ? n : READ_MOST;
		if (!post(c, c->typed, n))
			return;
		drop_typed(c, n);
	}
}

/* A pipe is read only when all of it can be handed on; a terminal always. */
static bool wants_keys(const struct console *c)
{
	size_t least = c->kind == CONSOLE_text ? KEYS_EVENTS_MAX * sizeof(struct ps2_event) : 1;

	return c->terminal || c->partial || (c->typed_count == 0 && atomic_load(&c->room) >= least);
}

/* false: standard input has ended. */
static bool take_keys(struct console *c)
{
	size_t left = sizeof(c->typed) - c->typed_count;
	uint8_t buf[READ_MOST];
	ssize_t n;

	if (c->terminal)
		terminal_claim();
	n = read(STDIN_FILENO, buf, sizeof(buf));
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0)
		return false;
	if (c->terminal)
		n = (ssize_t)take_escapes(c, buf, (size_t)n);
	if ((size_t)n < left)
		left = (size_t)n;
	memcpy(c->typed + c->typed_count, buf, left);
	c->typed_count += left;
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
		c->go_on(c->go_on_arg);
		vm_stood_still(c->vm);
		__attribute__((fallthrough)); /* who had the terminal has written to it */
	case SIGWINCH:
		if (c->display)
			display_repaint(c->display);
		post_size(c);
		break;
	default:
		atomic_store(&c->signal, (int)info.ssi_signo);
		end_run(c);
		break;
	}
}

/* Reading a terminal in the background stops the process, as it does every other. */
static void let_background_stop(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTTIN);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void input_thread(void *arg)
{
	struct console *c = arg;
	bool open = c->polled;
	int ready;

	let_background_stop();
	while (!atomic_load(&c->stop)) {
		bool ended = !open && c->typed_count == 0;

		struct pollfd p[4] = {
			{.fd = c->signals,                          .events = POLLIN },
			{ .fd = c->wake,                            .events = POLLIN },
			{ .fd = -1,                                 .events = POLLIN },
			{ .fd = c->help_waits ? STDOUT_FILENO : -1, .events = POLLOUT},
		};
		uint64_t count;

		/* A file is read while the guest makes room: while it sleeps, nothing comes. */
		if (ended && !atomic_load(&c->vm->input_ended))
			vm_input_ended(c->vm);
		if (open && wants_keys(c))
			p[2].fd = STDIN_FILENO;
		ready = poll(p, 4, c->partial ? ESCAPE_MS : -1);
		if (ready < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			take_signal(c);
		if (p[1].revents && read(c->wake, &count, sizeof(count)) < 0)
			continue;
		if (p[3].revents)
			help(c);
		if (p[2].revents)
			open = take_keys(c);
		send_typed(c, ready == 0 || !open);
	}
}

static void nothing_waits(void *arg)
{
	(void)arg;
}

void console_continue(struct console *c, void (*go_on)(void *arg), void *arg)
{
	c->go_on = go_on;
	c->go_on_arg = arg;
}

static bool is_regular_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

struct console *console_open(enum console_kind kind, struct fail *why)
{
	static const int taken[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
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
	c->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->signals < 0 || c->wake < 0 || c->ending < 0) {
		fail(why, -errno, "cannot watch the console: %s", strerror(errno));
		console_close(c);
		return NULL;
	}
	c->kind = kind;
	c->go_on = nothing_waits;
	c->file = (kind == CONSOLE_serial || kind == CONSOLE_hvc0) && is_regular_file(STDIN_FILENO);
	c->polled = kind != CONSOLE_none && !c->file;
	if (kind == CONSOLE_text)
		c->display = display_open(why);
	if (kind == CONSOLE_text && !c->display) {
		console_close(c);
		return NULL;
	}
	c->terminal = kind != CONSOLE_none && terminal_raw();
	c->seen = isatty(STDOUT_FILENO);
	c->shared = terminal_shared();
	return c;
}

int console_start(struct console *c, struct pc *pc, struct fail *why)
{
	int err = 0;

	c->vm = pc->vm;
	c->sink = c->kind == CONSOLE_text   ? pc->keyboard
		  : c->kind == CONSOLE_hvc0 ? pc->vconsole
					    : pc->uart;
	post_size(c);
	if (c->display)
		err = display_start(c->display, pc->vm, pc->vga, why);
	if (err)
		return err;
	c->thread = host_thread_start(input_thread, c, "console");
	if (!c->thread)
		return fail(why, -EAGAIN, "cannot start the console thread");
	if (c->file)
		read_file(c);
	return 0;
}

bool console_interactive(const struct console *c)
{
	return c->terminal;
}

void console_stop(struct console *c)
{
	atomic_store(&c->stop, true);
	raise_event(c->wake);
	host_thread_join(c->thread);
	c->thread = NULL;
	c->sink = NULL;
	if (c->display)
		display_stop(c->display);
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
	display_close(c->display);
	if (c->signals >= 0)
		close(c->signals);
	if (c->wake >= 0)
		close(c->wake);
	if (c->ending >= 0)
		close(c->ending);
	host_free(c);
}
