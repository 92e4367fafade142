/*
 * vsock.c - guest sockets on Unix sockets, with a guest that the test plays: both sides call,
 * credit is kept, and who breaks the rules loses the connection.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/vsock.h"
#include "host/host.h"
#include "machine/post.h"
#include "test/directory.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define SECONDS 60
#define CID     77u
#define ROOM    (256u << 10)

static char words[100];

/* The guest's side: the packets that came, the last one's data. */
struct guest {
	struct device dev;
	struct vsock_header got[64];
	unsigned count, seen;
	uint8_t data[65536]; /* of all RW packets */
	size_t bytes, sent_told;
	struct vsock_backend seam;
};

static void guest_reset(struct device *dev)
{
	(void)dev;
}

static void guest_input(struct device *dev, const void *message, size_t bytes)
{
	struct guest *g = (struct guest *)dev;
	struct vsock_input input;

	memcpy(&input, message, sizeof(input));
	if (input.kind == VSOCK_INPUT_SENT) {
		g->sent_told += input.bytes;
		return;
	}
	assert_int_equal(bytes, sizeof(input) + input.header.len);
	g->got[g->count++ % 64] = input.header;
	if (g->bytes + input.header.len <= sizeof(g->data))
		memcpy(g->data + g->bytes, (const uint8_t *)message + sizeof(input),
		       input.header.len);
	g->bytes += input.header.len;
	g->seam.room(g->seam.arg, bytes);
}

static const struct field no_fields[] = { FIELD_END };
static const struct device_ops guest_ops = {
	.type = "guest", .reset = guest_reset, .input = guest_input, .state = no_fields
};

struct rig {
	struct vm *vm;
	struct guest *g;
	struct vsock *v;
};

static void rig_open(struct rig *r, size_t room)
{
	struct fail why = { 0 };

	r->vm = fake_vm(false);
	r->g = host_alloc(sizeof(*r->g));
	device_add(r->vm, &r->g->dev, &guest_ops, "vsock");
	r->v = vsock_open(words, &why);
	if (!r->v)
		print_error("%s\n", why.text);
	assert_non_null(r->v);
	assert_int_equal(vsock_cid(r->v), CID);
	r->g->seam = vsock_backend(r->v);
	r->g->seam.room(r->g->seam.arg, room);
	assert_int_equal(vsock_start(r->v, &r->g->dev, &why), 0);
}

static void rig_close(struct rig *r)
{
	vsock_close(r->v);
	vm_close(r->vm);
}

static void guest_sends(struct rig *r, uint16_t op, uint32_t from, uint32_t to, uint32_t alloc,
			uint32_t fwd, const void *data, uint32_t len)
{
	struct vsock_header h = { .src_cid = CID,
				  .dst_cid = VSOCK_HOST_CID,
				  .src_port = from,
				  .dst_port = to,
				  .len = len,
				  .type = VSOCK_STREAM,
				  .op = op,
				  .buf_alloc = alloc,
				  .fwd_cnt = fwd };

	if (op == VSOCK_SHUTDOWN)
		h.flags = VSOCK_NO_RECEIVE | VSOCK_NO_SEND;
	r->g->seam.send(r->g->seam.arg, &h, data);
}

/* Lets input in until `done` says so. */
static void until(struct rig *r, bool (*done)(struct rig *r, size_t arg), size_t arg)
{
	uint64_t end = host_monotonic_ns() + SECONDS * UINT64_C(1000000000);

	for (;;) {
		posted_take(r->vm);
		if (done(r, arg))
			return;
		assert_true(host_monotonic_ns() < end);
		usleep(200);
	}
}

static bool a_packet(struct rig *r, size_t arg)
{
	(void)arg;
	return r->g->count > r->g->seen;
}

static bool bytes_came(struct rig *r, size_t bytes)
{
	return r->g->bytes >= bytes;
}

static bool all_told(struct rig *r, size_t bytes)
{
	return r->g->sent_told >= bytes;
}

/* The next packet that is not one of credit or data. */
static struct vsock_header next(struct rig *r)
{
	struct vsock_header h;

	do {
		until(r, a_packet, 0);
		h = r->g->got[r->g->seen++ % 64];
	} while (h.op == VSOCK_CREDIT_UPDATE || h.op == VSOCK_RW);
	assert_int_equal(h.src_cid, VSOCK_HOST_CID);
	assert_int_equal(h.dst_cid, CID);
	return h;
}

static void path_of(struct sockaddr_un *at, const char *suffix)
{
	*at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(at->sun_path, sizeof(at->sun_path), "%s/v%s", directory, suffix);
}

static int call(void)
{
	struct timeval patience = { .tv_sec = SECONDS };
	struct sockaddr_un at;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	path_of(&at, "");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* A connection to guest port 5000; *h: the REQUEST. */
static int connected(struct rig *r, uint32_t alloc, struct vsock_header *h)
{
	char line[32] = "", expected[32];
	int fd = call();

	assert_int_equal(write(fd, "CONNECT 5000\n", 13), 13);
	*h = next(r);
	assert_int_equal(h->op, VSOCK_REQUEST);
	assert_int_equal(h->dst_port, 5000);
	guest_sends(r, VSOCK_RESPONSE, 5000, h->src_port, alloc, 0, NULL, 0);
	snprintf(expected, sizeof(expected), "OK %u\n", h->src_port);
	assert_int_equal(recv(fd, line, strlen(expected), MSG_WAITALL), strlen(expected));
	assert_string_equal(line, expected);
	return fd;
}

static void test_words(void **state)
{
	static const char *const bad[] = {
		"", ",cid=3", "v,cid=2", "v,cid=4294967295", "v,cid=x", "v,size=3", "v,cid=3,cid=4"
	};
	struct fail why;
	char path[300];

	(void)state;
	assert_int_equal(vsock_check("v", &why), 0);
	assert_int_equal(vsock_check("/run/v,cid=4294967294", &why), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vsock_check(bad[i], &why), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[299] = '\0';
	assert_int_equal(vsock_check(path, &why), -EINVAL);
	assert_null(vsock_open("/no/such/directory/v", &why));
	assert_int_equal(why.code, -ENOENT);
}

static void test_one_owner(void **state)
{
	struct rig r;
	struct fail why;

	(void)state;
	rig_open(&r, ROOM);
	assert_null(vsock_open(words, &why));
	assert_int_equal(why.code, -EADDRINUSE);
	rig_close(&r);
	rig_open(&r, ROOM); /* it left nothing behind */
	rig_close(&r);
}

static void test_host_calls(void **state)
{
	struct vsock_header h;
	struct rig r;
	char text[16];
	int fd;

	(void)state;
	rig_open(&r, ROOM);
	fd = connected(&r, 4096, &h);
	assert_int_equal(write(fd, "question", 8), 8);
	until(&r, bytes_came, 8);
	assert_memory_equal(r.g->data, "question", 8);
	guest_sends(&r, VSOCK_RW, 5000, h.src_port, 4096, 8, "answer", 6);
	assert_int_equal(recv(fd, text, 6, MSG_WAITALL), 6);
	assert_memory_equal(text, "answer", 6);
	shutdown(fd, SHUT_WR);
	h = next(&r);
	assert_int_equal(h.op, VSOCK_SHUTDOWN);
	assert_int_equal(h.flags, VSOCK_NO_SEND);
	guest_sends(&r, VSOCK_RW, 5000, h.src_port, 4096, 8, "more", 4);
	assert_int_equal(recv(fd, text, 4, MSG_WAITALL), 4);
	guest_sends(&r, VSOCK_SHUTDOWN, 5000, h.src_port, 4096, 8, NULL, 0);
	assert_int_equal(recv(fd, text, 1, 0), 0);
	assert_int_equal(next(&r).op, VSOCK_RST);
	close(fd);
	rig_close(&r);
}

static void test_bad_commands(void **state)
{
	static const char *const bad[] = { "CONNECT\n",
					   "CONNECT x\n",
					   "CONNECT 5000 \n",
					   "CONNECT -1\n",
					   "CONNECT 4294967296\n",
					   "connect 5\n",
					   "\n",
					   "CONNECT 00000000000000000000000000000005\n" };
	struct rig r;
	char byte;

	(void)state;
	rig_open(&r, ROOM);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = call();

		assert_int_equal(send(fd, bad[i], strlen(bad[i]), MSG_NOSIGNAL), strlen(bad[i]));
		assert_true(recv(fd, &byte, 1, 0) <= 0);
		close(fd);
	}
	posted_take(r.vm);
	assert_int_equal(r.g->count, 0);
	rig_close(&r);
}

static void test_guest_calls(void **state)
{
	struct sockaddr_un at;
	struct rig r;
	char text[8];
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	(void)state;
	rig_open(&r, ROOM);
	guest_sends(&r, VSOCK_REQUEST, 1024, 6000, 4096, 0, NULL, 0);
	assert_int_equal(next(&r).op, VSOCK_RST); /* nobody listens */
	path_of(&at, "_6000");
	assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(listener, 1), 0);
	guest_sends(&r, VSOCK_REQUEST, 1024, 6000, 4096, 0, NULL, 0);
	assert_int_equal(next(&r).op, VSOCK_RESPONSE);
	fd = accept(listener, NULL, NULL);
	guest_sends(&r, VSOCK_RW, 1024, 6000, 4096, 0, "hello", 5);
	assert_int_equal(recv(fd, text, 5, MSG_WAITALL), 5);
	guest_sends(&r, VSOCK_RST, 1024, 6000, 4096, 0, NULL, 0);
	assert_int_equal(recv(fd, text, 1, 0), 0);
	close(fd);
	close(listener);
	unlink(at.sun_path);
	rig_close(&r);
}

/* The host sends no more than the guest has room for; nor may the guest. */
static void test_credit(void **state)
{
	static uint8_t much[65536];
	struct vsock_header h;
	struct rig r;
	int fd;

	(void)state;
	rig_open(&r, ROOM);
	fd = connected(&r, 100, &h);
	assert_int_equal(write(fd, much, 1000), 1000);
	until(&r, bytes_came, 100);
	usleep(20000);
	posted_take(r.vm);
	assert_int_equal(r.g->bytes, 100);
	guest_sends(&r, VSOCK_CREDIT_UPDATE, 5000, h.src_port, 150, 50, NULL, 0);
	until(&r, bytes_came, 200);
	guest_sends(&r, VSOCK_CREDIT_UPDATE, 5000, h.src_port, 5000, 200, NULL, 0);
	until(&r, bytes_came, 1000);
	/* Nobody reads: what was promised is held, what was not ends the connection. */
	for (unsigned i = 0; i < 40; i++) {
		guest_sends(&r, VSOCK_RW, 5000, h.src_port, 5000, 1000, much, 65536);
		until(&r, all_told, 44 * 3 + 65580 * (i + 1));
	}
	assert_int_equal(next(&r).op, VSOCK_RST);
	close(fd);
	rig_close(&r);
}

/* A guest that reads nothing: answers wait, and it is no longer listened to. */
static void test_a_guest_without_room(void **state)
{
	struct rig r;

	(void)state;
	rig_open(&r, 3 * sizeof(struct vsock_input));
	for (unsigned i = 0; i < 1000; i++)
		guest_sends(&r, VSOCK_RW, 1, 2, 0, 0, NULL, 0);
	usleep(50000);
	assert_true(r.g->sent_told < 44 * 10);
	until(&r, all_told, 44 * 1000); /* room comes back as packets are taken */
	rig_close(&r);
}

static void test_reset_of_the_driver(void **state)
{
	struct vsock_header h;
	struct rig r;
	char byte;
	int fd;

	(void)state;
	rig_open(&r, ROOM);
	fd = connected(&r, 100, &h);
	r.g->seam.reset(r.g->seam.arg);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	rig_close(&r);
}

/* Who hangs up before the guest has answered makes room for others, and leaves no packet behind:
 * the guest, slow or not there, sees the first few only. */
static void test_callers_that_hang_up(void **state)
{
	struct vsock_header h;
	struct rig r;
	int fd;

	(void)state;
	rig_open(&r, 4 * sizeof(struct vsock_input));
	for (unsigned i = 0; i < 1000; i++) {
		fd = call();
		assert_int_equal(write(fd, "CONNECT 5000\n", 13), 13);
		assert_int_equal(shutdown(fd, SHUT_WR), 0); /* still there */
		close(fd);
	}
	fd = call();
	assert_int_equal(write(fd, "CONNECT 5001\n", 13), 13);
	do
		h = next(&r);
	while (h.dst_port != 5001);
	assert_int_equal(h.op, VSOCK_REQUEST);
	assert_true(r.g->count < 900);
	guest_sends(&r, VSOCK_RESPONSE, 5001, h.src_port, 100, 0, NULL, 0);
	assert_int_equal(recv(fd, &h, 3, MSG_WAITALL), 3);
	close(fd);
	rig_close(&r);
}

static void test_anything(void **state)
{
	static uint8_t data[300];
	uint64_t x = 88172645463325252u;
	size_t sent = 0;
	struct rig r;
	int fd[8];

	(void)state;
	rig_open(&r, ROOM);
	for (unsigned i = 0; i < 8; i++) {
		fd[i] = call();
		assert_int_equal(write(fd[i], "CONNECT 1\n", 10), 10);
	}
	for (unsigned i = 0; i < 20000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		guest_sends(&r, (uint16_t)(x % 9), 1 + (x >> 8) % 2,
			    x & 1 ? 0x40000001 + (x >> 16) % 10 : (uint32_t)(x >> 20) % 4,
			    (uint32_t)(x >> 30) % 1000, (uint32_t)(x >> 40), data, (x >> 50) % 300);
		sent += 44 + (x >> 50) % 300;
		while (r.g->sent_told + 100000 < sent) {
			posted_take(r.vm);
			usleep(20);
		}
		if (i % 64 == 0 && write(fd[i / 64 % 8], data, 100) < 0)
			continue; /* the guest may have ended it */
	}
	for (unsigned i = 0; i < 8; i++)
		close(fd[i]);
	rig_close(&r);
}

static int set_up(void **state)
{
	int err = directory_make(state);

	signal(SIGPIPE, SIG_IGN);
	snprintf(words, sizeof(words), "%s/v,cid=%u", directory, CID);
	return err;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_one_owner),
		cmocka_unit_test(test_host_calls),
		cmocka_unit_test(test_bad_commands),
		cmocka_unit_test(test_guest_calls),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_a_guest_without_room),
		cmocka_unit_test(test_reset_of_the_driver),
		cmocka_unit_test(test_callers_that_hang_up),
		cmocka_unit_test(test_anything),
	};

	return cmocka_run_group_tests(tests, set_up, directory_remove);
}
