/*
 * network.c - Debian's kernel on the network: an address by DHCP, a fetch from the host, a
 * connection in through a forward, and two machines that reach each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "test/guest/guest.h"

#define FETCH_MIB  4
#define ECHO_BYTES 100000

/* A socket on a free port of the loopback interface. */
static int bound(int *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static bool write_all(int fd, const void *data, size_t bytes)
{
	const char *from = data;

	while (bytes) {
		ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		from += n;
		bytes -= (size_t)n;
	}
	return true;
}

/* A web server for one request: FETCH_MIB of a pattern. */
static void *serve(void *arg)
{
	static const char head[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";
	static char line[64 * 1024];
	int fd = accept(*(int *)arg, NULL, NULL);
	char request[1000];

	memset(line, 'x', sizeof(line));
	for (size_t i = 0; i < sizeof(line); i += 64)
		line[i] = '\n';
	if (fd < 0 || read(fd, request, sizeof(request)) <= 0)
		return NULL;
	if (write_all(fd, head, sizeof(head) - 1))
		for (unsigned i = 0; i < FETCH_MIB * 16; i++)
			if (!write_all(fd, line, sizeof(line)))
				break;
	close(fd);
	return NULL;
}

static void lease(struct session *s)
{
	guest_type(s, "udhcpc -i eth0 -n -q");
	session_expect(s, "lease of 10.0.2.15 obtained", GUEST_SECONDS);
}

static void test_fetch(void **state)
{
	int port, listener = bound(&port);
	pthread_t server;
	struct session s;
	char text[200];

	(void)state;
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(pthread_create(&server, NULL, serve, &listener), 0);
	guest_boot(&s, GUEST_WORDS("--net", "user"));
	lease(&s);
	snprintf(text, sizeof(text), "wget -q -O - http://10.0.2.2:%d/ | wc -lc", port);
	guest_type(&s, text);
	snprintf(text, sizeof(text), "%d   %d", FETCH_MIB << 14, FETCH_MIB << 20);
	session_expect(&s, text, GUEST_SECONDS);
	pthread_join(server, NULL);
	close(listener);
	guest_type(&s, "dmesg | grep -c -E 'BUG|WARNING|Call Trace'");
	session_expect(&s, "\n0\r", GUEST_SECONDS);
	guest_poweroff(&s);
}

/* Files of one directory, and of no other, by TFTP. */
static void test_tftp(void **state)
{
	char dir[] = "/tmp/trapeze-tftp-XXXXXX", text[300], expected[40] = "";
	struct session s;
	FILE *sum;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text),
		 "mkdir %s/given && seq 1 20000 >%s/given/file && echo no >%s/secret && "
		 "md5sum <%s/given/file",
		 dir, dir, dir, dir);
	sum = popen(text, "r");
	assert_int_equal(fread(expected, 1, 32, sum), 32);
	assert_int_equal(pclose(sum), 0);
	snprintf(text, sizeof(text), "user,tftp=%s/given", dir);
	guest_boot(&s, GUEST_WORDS("--net", text));
	lease(&s);
	guest_type(&s, "tftp -g -r file -l /tmp/file 10.0.2.2; md5sum </tmp/file");
	session_expect(&s, expected, GUEST_SECONDS);
	guest_type(&s, "tftp -g -r ../secret -l /tmp/secret 10.0.2.2; echo status $?.");
	session_expect(&s, "status 1.", GUEST_SECONDS);
	guest_poweroff(&s);
	snprintf(text, sizeof(text), "rm -r %s", dir);
	assert_int_equal(system(text), 0);
}

/* Connects to the forward; what is sent comes back. */
static void echo_through(int port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static char out[ECHO_BYTES], in[ECHO_BYTES];
	struct timeval patience = { .tv_sec = GUEST_SECONDS };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t got = 0;

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 31 + (i >> 8));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_true(write_all(fd, out, sizeof(out)));
	while (got < sizeof(in)) {
		ssize_t n = recv(fd, in + got, sizeof(in) - got, 0);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_memory_equal(in, out, sizeof(out));
	close(fd);
}

static void test_forward(void **state)
{
	int port, reserved = bound(&port);
	struct session s;
	char words[80];

	(void)state;
	close(reserved);
	snprintf(words, sizeof(words), "user,forward=tcp:%d:7777", port);
	guest_boot(&s, GUEST_WORDS("--net", words));
	lease(&s);
	guest_type(&s, "nc -l -p 7777 -e cat & sleep 1; echo listen''ing");
	session_expect(&s, "listening", GUEST_SECONDS);
	echo_through(port);
	guest_poweroff(&s);
}

static void test_two_machines(void **state)
{
	char directory[] = "/tmp/trapeze-network-XXXXXX", words[2][100];
	struct session s[2];

	(void)state;
	assert_non_null(mkdtemp(directory));
	for (unsigned i = 0; i < 2; i++) {
		snprintf(words[i], sizeof(words[i]), "switch:%s/sw,mac=02:00:00:00:00:0%u",
			 directory, i + 1);
		guest_boot(&s[i], GUEST_WORDS("--net", words[i]));
		snprintf(words[i], sizeof(words[i]),
			 "ip addr add 10.9.9.%u/24 dev eth0; ip link set eth0 up", i + 1);
		guest_type(&s[i], words[i]);
		session_expect(&s[i], GUEST_PROMPT, GUEST_SECONDS);
	}
	guest_type(&s[0], "ping -c 3 -A -W 100 10.9.9.2");
	session_expect(&s[0], "0% packet loss", GUEST_SECONDS);
	/* A stream with large segments. */
	guest_type(&s[1], "nc -l -p 99 | md5sum & sleep 1; echo listen''ing");
	session_expect(&s[1], "listening", GUEST_SECONDS);
	guest_type(&s[0], "seq 1 200000 | nc 10.9.9.2 99; seq 1 200000 | md5sum");
	session_expect(&s[1], "0e10426a1d5bddffcef02f1345787128", GUEST_SECONDS);
	/* The machine that runs the switch goes; the other one takes over, and is well. */
	guest_poweroff(&s[0]);
	guest_type(&s[1], "cat /sys/class/net/eth0/carrier | sed s/^/carrier=/");
	session_expect(&s[1], "carrier=1", GUEST_SECONDS);
	guest_poweroff(&s[1]);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_tftp),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_two_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
