/*
 * vsock.c - Debian's kernel and the host echo to each other over AF_VSOCK, both sides calling.
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "test/guest/guest.h"

#define BYTES 300000

static char directory[] = "/tmp/trapeze-vsock-XXXXXX", words[100];

static void path_of(struct sockaddr_un *at, const char *suffix)
{
	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(at->sun_path, sizeof(at->sun_path), "%s/v%s", directory, suffix);
}

static int stream(void)
{
	struct timeval patience = { .tv_sec = GUEST_SECONDS };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return fd;
}

static void read_line(int fd, char *line, size_t room)
{
	for (size_t i = 0; i + 1 < room; i++) {
		assert_int_equal(read(fd, line + i, 1), 1);
		line[i + 1] = '\0';
		if (line[i] == '\n')
			return;
	}
}

/* The host calls the guest's port 5000: more than any buffer holds, and then the end. */
static void host_calls(struct session *s)
{
	static char out[BYTES], in[BYTES];
	struct sockaddr_un at;
	char line[64];
	int fd = stream();
	size_t got = 0;

	session_type(s, "vsock listen 5000\r");
	session_expect(s, "listening\r", GUEST_SECONDS);
	path_of(&at, "");
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(write(fd, "CONNECT 5000\n", 13), 13);
	read_line(fd, line, sizeof(line));
	assert_memory_equal(line, "OK ", 3);
	for (size_t i = 0; i < BYTES; i++)
		out[i] = (char)(i * 7 + (i >> 9));
	for (size_t sent = 0; sent < BYTES; sent += 50000)
		assert_int_equal(send(fd, out + sent, 50000, MSG_NOSIGNAL), 50000);
	shutdown(fd, SHUT_WR);
	while (got < BYTES) {
		ssize_t n = read(fd, in + got, BYTES - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_memory_equal(in, out, BYTES);
	assert_int_equal(read(fd, in, 1), 0); /* the guest's program ended */
	close(fd);
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
}

/* The guest calls port 6000 of the host. */
static void guest_calls(struct session *s)
{
	struct sockaddr_un at;
	int listener = stream(), fd;
	char text[100] = "";

	path_of(&at, "_6000");
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	session_type(s, "echo hel''lo | vsock connect 6000\r");
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	read_line(fd, text, sizeof(text));
	assert_string_equal(text, "hello\n");
	assert_int_equal(read(fd, text, 1), 0); /* half closed */
	assert_int_equal(write(fd, "and goodbye\n", 12), 12);
	close(fd);
	session_expect(s, "and goodbye", GUEST_SECONDS);
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
	close(listener);
	unlink(at.sun_path);
}

static void refusals(struct session *s)
{
	struct sockaddr_un at;
	char text[2];
	int fd = stream();

	session_type(s, "vsock connect 6001 </dev/null\r");
	session_expect(s, "cannot connect", GUEST_SECONDS);
	path_of(&at, "");
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(write(fd, "CONNECT 4999\n", 13), 13);
	assert_int_equal(read(fd, text, 1), 0); /* nobody listens there */
	close(fd);
}

static void test_echo(void **state)
{
	struct session s;

	(void)state;
	guest_boot(&s, GUEST_WORDS("--vsock", words));
	host_calls(&s);
	guest_calls(&s);
	refusals(&s);
	host_calls(&s);
	guest_poweroff(&s);
	assert_int_equal(rmdir(directory), 0); /* nothing is left there */
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_echo) };

	if (!mkdtemp(directory))
		return 1;
	snprintf(words, sizeof(words), "%s/v,cid=42", directory);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
