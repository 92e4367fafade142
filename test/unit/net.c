/*
 * net.c - the words of --net; and the user's network: an address by DHCP, a forward, a slow guest.
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "test/unit/net_rig.h"

static void test_words(void **state)
{
	static const char *const good[] = {
		"user",
		"user,forward=tcp:2222:22",
		"user,forward=udp:0.0.0.0:53:10.0.2.16:53,forward=tcp:127.0.0.1:1:2",
		"user,mac=52:54:00:12:34:56,mtu=9000,queues=4,tftp=/srv,bootfile=x,isolated=yes",
		"tap:tap0",
		"switch:/run/sw",
		"switch:sw,mac=02:0:0:0:0:1",
	};
	static const char *const bad[] = {
		"",
		"usr",
		"user:x",
		"tap",
		"tap:",
		"switch",
		"user,x",
		"user,x=1",
		"user,forward=tcp:22",
		"user,forward=sctp:1:2",
		"user,forward=tcp:0:22",
		"user,forward=tcp:1:65536",
		"user,forward=tcp:1:2:3",
		"user,forward=tcp:1.2.3:1:2",
		"user,forward=tcp:1:2:",
		"user,mac=52:54:00:12:34",
		"user,mac=53:54:00:12:34:56",
		"user,mac=52:54:00:12:34:56:78",
		"user,mac=00:00:00:00:00:00",
		"user,mac=-2:0:0:0:0:1",
		"user,mac=2",
		"user,mac=",
		"user,mac=02:0:0:0:0:1,mac=02:0:0:0:0:1",
		"user,hostname=a,queues=2,hostname=b",
		"user,",
		"user,,queues=2",
		"user,mtu=67",
		"user,mtu=1e3",
		"user,queues=0",
		"user,queues=9",
		"user,isolated=maybe",
		"tap:x,forward=tcp:1:2",
	};
	struct fail why;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (net_check(good[i], &why)) {
			print_error("%s\n", why.text);
			assert_true(false);
		}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why.text[0] = '\0';
		if (net_check(bad[i], &why) != -EINVAL)
			print_error("taken: %s\n", bad[i]);
		assert_int_equal(net_check(bad[i], &why), -EINVAL);
		assert_true(why.text[0]);
	}
}

static void test_addresses(void **state)
{
	static const struct {
		const char *machine, *id, *words;
		bool same;
	} others[] = {
		{"disk.qcow2",   "net0", "user,forward=tcp:2222:22,mtu=9000", true },
		{ "disk.qcow2",  "net0", "tap:tap0",                          false},
		{ "disk.qcow2",  "net1", "user",                              false},
		{ "other.qcow2", "net0", "user",                              false},
	};
	uint8_t a[6], b[6];

	(void)state;
	net_mac_from("disk.qcow2", "net0", "user", a);
	assert_int_equal(a[0] & 3, 2);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		net_mac_from(others[i].machine, others[i].id, others[i].words, b);
		assert_int_equal(memcmp(a, b, 6) == 0, others[i].same);
	}
}

/* What cannot be opened is said in a sentence. */
static void test_refusals(void **state)
{
	struct fail why;
	char words[64];
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_null(net_open("tap:nosuchtap", &why));
	assert_int_equal(why.code, -ENODEV);
	assert_null(net_open("switch:/no/such/directory/sw", &why));
	assert_int_equal(why.code, -ENOENT);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	snprintf(words, sizeof(words), "user,forward=tcp:%d:22", ntohs(at.sin_port));
	assert_null(net_open(words, &why));
	assert_non_null(strstr(why.text, "in use"));
	close(fd);
}

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 9 };

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* An Ethernet and IPv4 header for `bytes` of protocol. */
static void put_ip(uint8_t *f, const uint8_t *to_mac, uint32_t from, uint32_t to, uint8_t protocol,
		   size_t bytes)
{
	uint32_t total = 0, word;

	memcpy(f, to_mac, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, 0x0800);
	memset(f + 14, 0, 20);
	f[14] = 0x45;
	put16(f + 16, (unsigned)(20 + bytes));
	f[22] = 64;
	f[23] = protocol;
	word = htonl(from);
	memcpy(f + 26, &word, 4);
	word = htonl(to);
	memcpy(f + 30, &word, 4);
	for (unsigned i = 14; i < 34; i += 2)
		total += (unsigned)(f[i] << 8 | f[i + 1]);
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	put16(f + 24, ~total);
}

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void test_user_gives_an_address(void **state)
{
	static const struct net_header none;
	struct net_rig r;
	uint8_t f[14 + 20 + 8 + 244] = { 0 };
	const uint8_t *offer = NULL;

	(void)state;
	net_rig_open(&r, "user", 0);
	put_ip(f, everybody, 0, 0xffffffff, 17, 8 + 244);
	put16(f + 34, 68);
	put16(f + 36, 67);
	put16(f + 38, 8 + 244);
	memcpy(f + 42, "\x01\x01\x06\x00\x12\x34\x56\x78", 8); /* BOOTREQUEST */
	memcpy(f + 42 + 28, guest_mac, 6);
	memcpy(f + 42 + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8); /* DHCPDISCOVER */
	net_rig_send(&r, &none, f, sizeof(f));
	for (unsigned i = 0; !offer; i++) {
		assert_true(net_rig_wait(&r, &r.card->frames, i));
		if (r.card->frame[i].bytes > 280 && r.card->frame[i].data[23] == 17)
			offer = r.card->frame[i].data;
	}
	assert_memory_equal(offer + 42 + 16, "\x0a\x00\x02\x0f", 4); /* yiaddr 10.0.2.15 */
	assert_int_equal(r.card->sent, sizeof(f));
	net_rig_close(&r);
}

/* A datagram through a forward: the stack asks for our address, then gives it. */
static void test_user_forwards(void **state)
{
	struct net_rig r;
	struct fail why;
	char words[64];
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint8_t reply[42] = { 0 };
	static const struct net_header none;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool arrived = false;

	(void)state;
	for (int port = 40000 + getpid() % 10000;; port++) { /* any that is free */
		struct net *probe;

		snprintf(words, sizeof(words), "user,forward=udp:%d:7", port);
		at.sin_port = htons((uint16_t)port);
		probe = net_open(words, &why);
		net_close(probe);
		if (probe)
			break;
	}
	net_rig_open(&r, words, 0);
	assert_int_equal(sendto(fd, "hello, guest", 12, 0, (struct sockaddr *)&at, sizeof(at)), 12);
	for (unsigned i = 0; !arrived; i++) {
		const uint8_t *d;

		assert_true(net_rig_wait(&r, &r.card->frames, i));
		d = r.card->frame[i].data;
		if (d[12] == 8 && d[13] == 6 && d[21] == 1) { /* ARP: who has 10.0.2.15? */
			memcpy(reply, d + 6, 6);
			memcpy(reply + 6, guest_mac, 6);
			memcpy(reply + 12, d + 12, 8);
			reply[21] = 2;
			memcpy(reply + 22, guest_mac, 6);
			memcpy(reply + 28, d + 38, 4);
			memcpy(reply + 32, d + 22, 10);
			net_rig_send(&r, &none, reply, sizeof(reply));
		}
		arrived = memmem(d, r.card->frame[i].bytes, "hello, guest", 12);
	}
	close(fd);
	net_rig_close(&r);
}

/* Frames that say anything: the stack may drop them, and must live. */
static void test_user_takes_anything(void **state)
{
	static uint8_t f[NET_FRAME_MOST];
	struct net_rig r;
	uint64_t x = 88172645463325252u;
	size_t sent = 0;

	(void)state;
	net_rig_open(&r, "user,isolated=yes", NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	for (unsigned i = 0; i < 2000; i++) {
		struct net_header h;
		size_t bytes;

		for (unsigned k = 0; k < 128; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			f[k] = (uint8_t)x;
		}
		memcpy(&h, f + 100, sizeof(h));
		if (i % 2)
			h.gso_type = (uint8_t[]){ 0, 1, 4, 5 }[x % 4];
		bytes = NET_FRAME_LEAST + x % (i % 16 ? 200 : NET_FRAME_MOST - NET_FRAME_LEAST);
		if (x & 4)
			put_ip(f, everybody, 0x0a00020f, 0x0a000202, x & 8 ? 6 : 17, bytes - 20);
		net_rig_send(&r, &h, f, bytes);
		sent += bytes;
		while (r.card->sent + 65536 < sent) {
			posted_take(r.vm);
			usleep(50);
		}
		for (unsigned k = 0; k < r.card->frames; k++)
			host_free(r.card->frame[k].data);
		r.card->frames = 0;
	}
	net_rig_close(&r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),         cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_refusals),      cmocka_unit_test(test_user_gives_an_address),
		cmocka_unit_test(test_user_forwards), cmocka_unit_test(test_user_takes_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
