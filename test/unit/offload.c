/*
 * offload.c - frames finished in software against a slow and obvious checksum; segments joined and
 * cut up again give the same bytes; headers that lie.
 *
 * SPDX-License-Identifier: MIT
 */
#include <malloc.h>
#include <string.h>

#include "backend/frames.h"
#include "backend/offload.h"
#include "test/cmocka.h"

enum { TCP = 6, UDP = 17 };

static uint8_t scratch[NET_FRAME_MOST];

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* RFC 1071, word by word: 0xffff over data that contains its right checksum. */
static unsigned slow_sum(const uint8_t *p, size_t bytes, unsigned total)
{
	for (size_t i = 0; i < bytes; i++) {
		total += i & 1 ? p[i] : (unsigned)p[i] << 8;
		total = (total & 0xffff) + (total >> 16);
	}
	return total;
}

struct shape {
	bool v6, vlan;
	uint8_t protocol;
	size_t payload;
};

static size_t ip_at(const struct shape *s)
{
	return s->vlan ? 18 : 14;
}

static size_t l4_at(const struct shape *s)
{
	return ip_at(s) + (s->v6 ? 40 : 20);
}

static size_t payload_at(const struct shape *s)
{
	return l4_at(s) + (s->protocol == TCP ? 32 : 8);
}

/* A frame of that shape with no checksums. Returns its bytes. */
static size_t make(uint8_t *f, const struct shape *s, uint32_t seq)
{
	size_t bytes = payload_at(s) + s->payload;
	uint8_t *ip = f + ip_at(s), *l4 = f + l4_at(s);

	memset(f, 0, payload_at(s));
	memcpy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
	if (s->vlan)
		memcpy(f + 12, "\x81\x00\x00\x05", 4);
	put16(ip - 2, s->v6 ? 0x86dd : 0x0800);
	ip[0] = s->v6 ? 0x60 : 0x45;
	if (s->v6) {
		put16(ip + 4, (unsigned)(bytes - l4_at(s)));
		ip[6] = s->protocol;
		memcpy(ip + 8, "\xfe\x80\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e", 16);
		memcpy(ip + 24, "\xfe\x80\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0f", 16);
	} else {
		put16(ip + 2, (unsigned)(bytes - ip_at(s)));
		put16(ip + 4, 0xfffe); /* identification: wraps */
		ip[8] = 64;
		ip[9] = s->protocol;
		memcpy(ip + 12, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
	}
	memcpy(l4, "\x12\x34\x00\x50", 4);
	if (s->protocol == TCP) {
		put16(l4 + 4, seq >> 16);
		put16(l4 + 6, seq & 0xffff);
		l4[12] = 0x80; /* 32 bytes */
		l4[13] = 0x10;
	} else {
		put16(l4 + 4, (unsigned)(bytes - l4_at(s)));
	}
	for (size_t i = 0; i < s->payload; i++)
		f[payload_at(s) + i] = (uint8_t)(i * 7 + (i >> 8) + seq);
	return bytes;
}

static void check_sums(const uint8_t *f, size_t bytes, const struct shape *s)
{
	const uint8_t *ip = f + ip_at(s);
	size_t length = bytes - l4_at(s);
	unsigned pseudo = (unsigned)length + s->protocol;

	pseudo = s->v6 ? slow_sum(ip + 8, 32, pseudo) : slow_sum(ip + 12, 8, pseudo);
	assert_int_equal(slow_sum(f + l4_at(s), length, pseudo), 0xffff);
	if (!s->v6) {
		assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
		assert_int_equal(get16(ip + 2), bytes - ip_at(s));
	} else {
		assert_int_equal(get16(ip + 4), length);
	}
}

struct cut {
	const struct shape *shape;
	const uint8_t *whole;
	size_t off;
	unsigned count;
};

static void check_segment(void *arg, const uint8_t *f, size_t bytes)
{
	struct cut *c = arg;
	const struct shape *s = c->shape;
	size_t part = bytes - payload_at(s);
	bool last = c->off + part == s->payload;

	check_sums(f, bytes, s);
	assert_memory_equal(f + payload_at(s), c->whole + payload_at(s) + c->off, part);
	if (s->protocol == TCP) {
		assert_int_equal(get32(f + l4_at(s) + 4),
				 get32(c->whole + l4_at(s) + 4) + (uint32_t)c->off);
		assert_int_equal(f[l4_at(s) + 13], 0x10 | (last ? 0x09 : 0) | (c->off ? 0 : 0x80));
	} else {
		assert_int_equal(get16(f + l4_at(s) + 4), bytes - l4_at(s));
	}
	if (!s->v6)
		assert_int_equal(get16(f + ip_at(s) + 4), (0xfffe + c->count) & 0xffff);
	c->off += part;
	c->count++;
}

static void test_segments(void **state)
{
	static const struct shape shapes[] = {
		{false,  false, TCP, 60001},
                { false, true,  TCP, 4000 },
		{ true,  false, TCP, 2801 },
                { true,  true,  UDP, 1401 },
		{ false, false, UDP, 9999 },
	};
	static uint8_t f[NET_FRAME_MOST];

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		const struct shape *s = &shapes[i];
		struct net_header h = { .flags = NET_NEEDS_CSUM, .gso_size = 1400 };
		struct cut cut = { s, f, 0, 0 };
		size_t bytes = make(f, s, 0xfffffff0);

		h.gso_type = s->protocol == UDP ? NET_GSO_UDP_L4
			     : s->v6            ? NET_GSO_TCPV6
						: NET_GSO_TCPV4;
		if (s->protocol == TCP)
			f[l4_at(s) + 13] |= 0x89; /* CWR, PSH, FIN */
		assert_true(offload_finish(&h, f, bytes, scratch, check_segment, &cut));
		assert_int_equal(cut.off, s->payload);
		assert_int_equal(cut.count, (s->payload + 1399) / 1400);
	}
}

static void test_checksums(void **state)
{
	static uint8_t f[2000];

	(void)state;
	for (size_t payload = 0; payload < 1000; payload += 37) {
		struct shape s = { payload & 1, false, TCP, payload };
		size_t bytes = make(f, &s, 5);
		struct net_header h = { .flags = NET_NEEDS_CSUM,
					.csum_start = (uint16_t)l4_at(&s),
					.csum_offset = 16 };
		const uint8_t *ip = f + ip_at(&s);
		unsigned pseudo = (unsigned)(bytes - l4_at(&s)) + TCP;

		pseudo = s.v6 ? slow_sum(ip + 8, 32, pseudo) : slow_sum(ip + 12, 8, pseudo);
		put16(f + l4_at(&s) + 16, pseudo);
		assert_true(offload_checksum(&h, f, bytes));
		assert_int_equal(h.flags, 0);
		if (!s.v6)
			put16(f + ip_at(&s) + 10, ~slow_sum(ip, 20, 0));
		check_sums(f, bytes, &s);
	}
}

static void ignore(void *arg, const uint8_t *f, size_t bytes)
{
	(void)f;
	assert_true(bytes <= NET_FRAME_MOST);
	++*(unsigned *)arg;
}

static void test_lies(void **state)
{
	static uint8_t f[4096];
	struct shape s = { false, false, TCP, 3000 };
	uint64_t x = 88172645463325252u;
	unsigned emitted = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		struct net_header h;
		size_t bytes = make(f, &s, 1);

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		memcpy(&h, &x, 8);
		h.csum_offset = (uint16_t)(x >> 40);
		h.csum_start = (uint16_t)(x >> 17);
		if (i & 1)
			h.gso_type = (uint8_t[]){ 0, 1, 4, 5 }[x >> 60 & 3];
		f[12 + (x >> 8) % 60] = (uint8_t)(x >> 32);
		f[12 + (x >> 16) % 60] = (uint8_t)(x >> 50);
		if (x & 0x100)
			bytes = 14 + (x >> 20) % (bytes - 14);
		offload_finish(&h, f, bytes, scratch, ignore, &emitted);
	}
	assert_true(emitted > 1000);
}

static void test_what_fits(void **state)
{
	struct net_header h = { 0 };

	(void)state;
	assert_true(net_fits(&h, 0));
	h.flags = NET_NEEDS_CSUM;
	assert_false(net_fits(&h, 0));
	assert_true(net_fits(&h, NET_OFFLOAD_CSUM));
	h.gso_type = NET_GSO_TCPV4;
	assert_false(net_fits(&h, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO6));
	assert_true(net_fits(&h, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4));
	h.gso_type |= NET_GSO_ECN;
	assert_false(net_fits(&h, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4));
	h.gso_type = 3;
	assert_false(net_fits(&h, ~0u));
}

/* Ten segments of one stream, one of another, and one that leaves a gap. */
static void test_segments_are_joined(void **state)
{
	static uint8_t f[2000];
	struct shape s = { false, false, TCP, 1000 };
	struct frames frames;
	struct frame *first;
	struct cut cut = { &s, NULL, 0, 0 };
	struct shape all = { false, false, TCP, 10000 };
	static uint8_t whole[11000];

	(void)state;
	frames_init(&frames);
	for (unsigned i = 0; i < 12; i++) {
		size_t bytes = make(f, &s, i * 1000 + (i == 11));

		f[l4_at(&s) + 1] = i == 10 ? 0x99 : 0x34; /* another port */
		put16(f + ip_at(&s) + 4, 0xfffe + i);
		assert_true(frames_add(&frames, f, bytes, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4));
		memcpy(whole + 66 + 1000 * (i % 10), f + 66, i < 10 ? 1000 : 0);
		if (i == 0)
			memcpy(whole, f, 66);
	}
	first = frames_first(&frames);
	assert_int_equal(first->bytes, 66 + 10000);
	assert_int_equal(first->input.header.gso_type, NET_GSO_TCPV4);
	assert_int_equal(first->input.header.gso_size, 1000);
	assert_int_equal(slow_sum(first->data + 14, 20, 0), 0xffff);
	cut.shape = &all;
	cut.whole = whole;
	memcpy(f, first->data, 66);
	f[l4_at(&s) + 13] = 0x10;
	first->data[l4_at(&s) + 13] |= 0x89; /* as check_segment expects it */
	assert_true(offload_finish(&first->input.header, first->data, first->bytes, scratch,
				   check_segment, &cut));
	assert_int_equal(cut.count, 10);
	frames_drop_first(&frames);
	assert_int_equal(frames_first(&frames)->bytes, 66 + 1000);
	frames_drop_first(&frames);
	assert_int_equal(frames_first(&frames)->bytes, 66 + 1000);
	frames_free(&frames);
	assert_null(frames_first(&frames));
}

static void test_a_guest_that_takes_no_segments(void **state)
{
	static uint8_t f[2000];
	struct shape s = { false, false, TCP, 1000 };
	struct frames frames;
	unsigned n = 0;

	(void)state;
	frames_init(&frames);
	for (unsigned i = 0; i < 4; i++)
		assert_true(frames_add(&frames, f, make(f, &s, i * 1000), NET_OFFLOAD_CSUM));
	for (struct frame *p = frames_first(&frames); p; p = p->next, n++)
		assert_int_equal(p->bytes, 1066);
	assert_int_equal(n, 4);
	while (frames_add(&frames, f, 1066, 0))
		assert_true(++n < 100000); /* bounded */
	frames_free(&frames);
}

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* A guest that takes nothing, and makes many short streams of two segments each: what they are
 * joined in is counted in full, and none of it is lost count of when they go. */
static void test_memory_is_bounded(void **state)
{
	static uint8_t f[100];
	const unsigned all = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
	const size_t most = 5u << 20;
	struct shape s = { false, false, TCP, 2 };
	size_t before = in_use(), bytes;
	struct frames frames;
	unsigned n = 0;

	(void)state;
	frames_init(&frames);
	for (unsigned stream = 0;; stream++) {
		bytes = make(f, &s, 0);
		put16(f + 34, stream);
		if (!frames_add(&frames, f, bytes, all))
			break;
		bytes = make(f, &s, 2);
		put16(f + 34, stream);
		if (frames_add(&frames, f, bytes, all))
			n++;
		if (stream % 64 == 0) /* to ask takes long */
			assert_in_range(in_use(), before, before + most);
	}
	assert_in_range(n, 1000, 100000);
	while (frames_first(&frames)) {
		if (frames_first(&frames)->next)
			assert_int_equal(frames_first(&frames)->bytes, 66 + 4);
		frames_drop_first(&frames);
	}
	assert_int_equal(frames.used, 0);
	/* The last of one that is emptied is joined still. */
	for (unsigned i = 0; i < 3; i++) {
		bytes = make(f, &s, 2 * i);
		if (i == 0) {
			put16(f + 34, 1);
			assert_true(frames_add(&frames, f, bytes, all));
			put16(f + 34, 2);
		} else {
			put16(f + 34, 2);
		}
		assert_true(frames_add(&frames, f, bytes, all));
		if (i == 1)
			frames_drop_first(&frames);
	}
	assert_int_equal(frames_first(&frames)->bytes, 66 + 6);
	assert_null(frames_first(&frames)->next);
	frames_free(&frames);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_what_fits),
		cmocka_unit_test(test_segments_are_joined),
		cmocka_unit_test(test_a_guest_that_takes_no_segments),
		cmocka_unit_test(test_memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
