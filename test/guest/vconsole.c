/*
 * vconsole.c - Debian's kernel with a virtio console: a shell on hvc0, and named ports to a Unix
 * socket and a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "test/directory.h"
#include "test/guest/guest.h"

#define BYTES 300000

static char socket_word[100], file_word[100], socket_path[100], file_path[100];

/* The terminal is hvc0; its size is the guest's, also when it changes. */
static void test_console(void **state)
{
	struct winsize size = { .ws_row = 30, .ws_col = 120 };
	struct session s;

	(void)state;
	session_start(&s, guest_command("console=hvc0 quiet", GUEST_WORDS("--display", "hvc0")));
	session_expect(&s, "This is Linux", GUEST_SECONDS);
	session_expect(&s, GUEST_PROMPT, GUEST_SECONDS);
	session_type(&s, "tty; echo $((6*7))\r");
	session_expect(&s, "/dev/hvc0", GUEST_SECONDS);
	session_expect(&s, "42", GUEST_SECONDS);
	ioctl(s.pty, TIOCSWINSZ, &size);
	kill(s.pid, SIGWINCH);
	session_type(&s, "while [ \"$(stty size)\" != '30 120' ]; do :; done; echo res''ized\r");
	session_expect(&s, "resized", GUEST_SECONDS);
	guest_poweroff(&s);
}

/* As udev would name them. */
static void name_ports(struct session *s)
{
	session_type(s, "for p in /sys/class/virtio-ports/*; do [ -s $p/name ] && "
			"ln -s ${p##*/} /dev/$(cat $p/name); done; ls /dev/log\r");
	session_expect(s, "\n/dev/log", GUEST_SECONDS);
}

static int call(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval patience = { .tv_sec = GUEST_SECONDS };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(at.sun_path, socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

/* More than any buffer holds goes to the guest, and comes back as it was. The guest writes first: a
 * write waits for somebody at the other end, where a read finds the end of the file. */
static void echo_through(struct session *s, int fd)
{
	static char out[BYTES], in[BYTES];
	size_t sent = 0, got = 0;

	session_type(s, "(echo; exec cat) <>/dev/org.test.talk >&0 &\r");
	assert_int_equal(read(fd, in, 1), 1);
	assert_int_equal(in[0], '\n');
	for (size_t i = 0; i < BYTES; i++)
		out[i] = (char)(i * 7 + (i >> 9));
	while (got < BYTES) {
		struct pollfd p = { .fd = fd,
				    .events = (short)(POLLIN | (sent < BYTES ? POLLOUT : 0)) };
		ssize_t n;

		assert_int_equal(poll(&p, 1, GUEST_SECONDS * 1000), 1);
		if (p.revents & POLLOUT) {
			n = send(fd, out + sent, BYTES - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		if (p.revents & POLLIN) {
			n = read(fd, in + got, BYTES - got);
			assert_true(n > 0);
			got += (size_t)n;
		}
	}
	assert_memory_equal(in, out, BYTES);
}

static void check_file(const char *expected)
{
	char text[100] = "";
	int fd = open(file_path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	assert_string_equal(text, expected);
}

static void ports(const char *counted)
{
	struct session s;
	char text[6] = "";
	int fd;

	guest_boot(&s, GUEST_WORDS("--port", socket_word, "--port", file_word, counted));
	session_type(&s, "cat /sys/class/virtio-ports/*/name | tr '\\n' ,\r");
	session_expect(&s, "org.test.talk,log,", GUEST_SECONDS);
	name_ports(&s);
	session_type(&s, "echo of the guest >/dev/log; echo done''.\r");
	session_expect(&s, "done.", GUEST_SECONDS);
	fd = call();
	echo_through(&s, fd);
	close(fd);
	/* It has heard of that when cat ends: what it writes before is lost with the peer. */
	session_type(&s, "wait; echo end''ed\r");
	session_expect(&s, "ended", GUEST_SECONDS);
	/* The next peer; a guest that writes before somebody is there waits. */
	session_type(&s, "echo again >/dev/org.test.talk; echo writ''ten\r");
	fd = call();
	for (size_t got = 0; got < 5; got++)
		assert_int_equal(read(fd, text + got, 1), 1);
	assert_string_equal(text, "again");
	session_expect(&s, "written", GUEST_SECONDS);
	close(fd);
	guest_poweroff(&s);
	check_file("of the guest\n");
	assert_int_equal(access(socket_path, F_OK), -1);
	unlink(file_path);
}

static void test_ports(void **state)
{
	(void)state;
	ports(NULL);
}

static void test_ports_counted(void **state)
{
	(void)state;
	session_need_counting();
	ports("--counted");
}

/* The console beside named ports: hvc0 is then a port among several. */
static void test_all(void **state)
{
	struct session s;

	(void)state;
	session_start(&s, guest_command("console=hvc0 quiet",
					GUEST_WORDS("--display", "hvc0", "--port", file_word)));
	session_expect(&s, GUEST_PROMPT, GUEST_SECONDS);
	name_ports(&s);
	session_type(&s, "tty >/dev/log; tty\r");
	session_expect(&s, "/dev/hvc0", GUEST_SECONDS);
	guest_poweroff(&s);
	check_file("/dev/hvc0\n");
	unlink(file_path);
}

static int set_up(void **state)
{
	int err = directory_make(state);

	snprintf(socket_path, sizeof(socket_path), "%s/s", directory);
	snprintf(file_path, sizeof(file_path), "%s/f", directory);
	snprintf(socket_word, sizeof(socket_word), "org.test.talk=socket:%s/s", directory);
	snprintf(file_word, sizeof(file_word), "log=file:%s/f", directory);
	return err;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_ports_counted),
		cmocka_unit_test(test_all),
	};

	return cmocka_run_group_tests(tests, set_up, directory_remove);
}
