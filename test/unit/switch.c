/*
 * switch.c - machines on one switch: learning, finishing for those who cannot, taking over.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "test/directory.h"
#include "test/unit/net_rig.h"

#define MACHINES 3
#define ALL                                                                                        \
	(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN | NET_OFFLOAD_USO)

static char words[128];

static int set_up(void **state)
{
	int err = directory_make(state);

	snprintf(words, sizeof(words), "switch:%s/sw", directory);
	return err;
}

static const struct net_header none;

static void send_frame(struct net_rig *r, uint8_t from, uint8_t to, const char *text)
{
	uint8_t f[64] = { 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5 };

	if (to == 0xff)
		memset(f, 0xff, 6);
	strcpy((char *)f + 14, text);
	net_rig_send(r, &none, f, sizeof(f));
}

static void expect(struct net_rig *r, const char *text)
{
	unsigned i = r->card->taken++;

	assert_true(net_rig_wait(r, &r->card->frames, i));
	assert_int_equal(r->card->frame[i].bytes, 64);
	assert_string_equal((char *)r->card->frame[i].data + 14, text);
}

static void test_it_learns(void **state)
{
	struct net_rig m[MACHINES];

	(void)state;
	for (unsigned i = 0; i < MACHINES; i++)
		net_rig_open(&m[i], words, 0);
	send_frame(&m[0], 1, 0xff, "to all");
	expect(&m[1], "to all");
	expect(&m[2], "to all");
	send_frame(&m[1], 2, 1, "to the first");
	expect(&m[0], "to the first");
	send_frame(&m[2], 3, 0xff, "again");
	expect(&m[0], "again");
	expect(&m[1], "again"); /* and not what was for the first alone */
	send_frame(&m[0], 1, 2, "to the second");
	expect(&m[1], "to the second");
	send_frame(&m[0], 1, 77, "to nobody known");
	expect(&m[1], "to nobody known");
	expect(&m[2], "to nobody known");
	for (unsigned i = 0; i < MACHINES; i++)
		net_rig_close(&m[i]);
}

/* While the switch changes hands frames are lost: send until one arrives. */
static void reaches(struct net_rig *from, uint8_t address, struct net_rig *to, const char *text)
{
	uint64_t end = host_monotonic_ns() + RIG_SECONDS * UINT64_C(1000000000);
	unsigned before = to->card->frames;

	while (to->card->frames == before) {
		assert_true(host_monotonic_ns() < end);
		send_frame(from, address, 0xff, text);
		usleep(2000);
		posted_take(from->vm);
		posted_take(to->vm);
	}
	assert_string_equal((char *)to->card->frame[before].data + 14, text);
}

static void test_another_takes_over(void **state)
{
	struct net_rig m[MACHINES];

	(void)state;
	for (unsigned i = 0; i < MACHINES; i++)
		net_rig_open(&m[i], words, 0);
	net_rig_close(&m[0]); /* the first serves */
	assert_true(net_rig_wait(&m[1], &m[1].card->announces, 0));
	assert_true(net_rig_wait(&m[2], &m[2].card->announces, 0));
	reaches(&m[1], 2, &m[2], "still there");
	net_rig_close(&m[1]); /* it may serve now, or not */
	net_rig_open(&m[0], words, 0);
	reaches(&m[0], 1, &m[2], "back");
	reaches(&m[2], 3, &m[0], "welcome");
	assert_int_equal(m[2].card->links, 0);
	net_rig_close(&m[2]);
	net_rig_close(&m[0]);
}

/* A directory that vanished: the cable is unplugged, and that is all. */
static void test_no_way_back(void **state)
{
	struct net_rig one, two;
	char path[80], moved[80];

	(void)state;
	net_rig_open(&one, words, 0);
	net_rig_open(&two, words, 0);
	snprintf(path, sizeof(path), "%s/sw", directory);
	snprintf(moved, sizeof(moved), "%s-gone", directory);
	assert_int_equal(rename(directory, moved), 0);
	net_rig_close(&one);
	assert_true(net_rig_wait(&two, &two.card->links, 0));
	assert_false(two.card->up);
	send_frame(&two, 2, 0xff, "into the void");
	net_rig_close(&two);
	assert_int_equal(rename(moved, directory), 0);
	assert_int_equal(unlink(path), 0); /* it could not be found when its owner ended */
}

static void test_a_file_in_the_way(void **state)
{
	struct fail why;
	char path[80];

	(void)state;
	snprintf(path, sizeof(path), "%s/sw", directory);
	directory_put("sw", "in the way\n");
	assert_null(net_open(words, &why));
	assert_non_null(strstr(why.text, "sw"));
	assert_int_equal(access(path, F_OK), 0); /* it is not ours to remove */
	unlink(path);
}

/* 1000 bytes of payload in segments of 400, for one who takes it as it is and one who does not. */
static void test_unfinished_frames(void **state)
{
	struct net_header h = { .flags = NET_NEEDS_CSUM,
				.gso_type = NET_GSO_TCPV4,
				.hdr_len = 54,
				.gso_size = 400,
				.csum_start = 34,
				.csum_offset = 16 };
	uint8_t f[54 + 1000] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0, 0x45 };
	struct net_rig from, able, not_able;

	(void)state;
	f[16] = (sizeof(f) - 14) >> 8;
	f[17] = (uint8_t)(sizeof(f) - 14);
	f[22] = 64;
	f[23] = 6;
	f[46] = 0x50;
	for (unsigned i = 0; i < 1000; i++)
		f[54 + i] = (uint8_t)i;
	net_rig_open(&from, words, 0);
	net_rig_open(&able, words, ALL);
	net_rig_open(&not_able, words, 0);
	net_rig_send(&from, &h, f, sizeof(f));
	assert_true(net_rig_wait(&able, &able.card->frames, 0));
	assert_true(net_rig_wait(&not_able, &not_able.card->frames, 2));
	assert_int_equal(able.card->frame[0].bytes, sizeof(f));
	assert_int_equal(able.card->frame[0].header.gso_size, 400);
	for (unsigned i = 0; i < 3; i++) {
		size_t part = i < 2 ? 400 : 200;

		assert_int_equal(not_able.card->frame[i].bytes, 54 + part);
		assert_int_equal(not_able.card->frame[i].header.gso_type, 0);
		assert_memory_equal(not_able.card->frame[i].data + 54, f + 54 + 400 * i, part);
	}
	net_rig_close(&not_able);
	net_rig_close(&able);
	net_rig_close(&from);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_learns),         cmocka_unit_test(test_another_takes_over),
		cmocka_unit_test(test_no_way_back),       cmocka_unit_test(test_a_file_in_the_way),
		cmocka_unit_test(test_unfinished_frames),
	};

	return cmocka_run_group_tests(tests, set_up, directory_remove);
}
