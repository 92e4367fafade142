/*
 * virtio_net.c - tests of the network card: frames both ways, offloads, the control queue, credit.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_net.h"
#include "device/virtio_net_internal.h"
#include "test/device/virtio_rig.h"

#define HEADER    12u
#define SENT_MOST 16
#define ALL                                                                                        \
	(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN | NET_OFFLOAD_USO)
#define WINDOW 3000

enum { RX = 0, TX = 1, CTRL = 2 };

/* The far end: remembers what came. */
static struct far {
	struct {
		struct net_header header;
		size_t bytes;
		uint8_t frame[256]; /* its beginning */
	} sent[SENT_MOST];
	unsigned sends;
	size_t room;
	unsigned accepts;
} far;

static void far_send(void *arg, const struct net_header *header, const void *frame, size_t bytes)
{
	unsigned i = far.sends++ % SENT_MOST;

	(void)arg;
	assert_true(bytes >= NET_FRAME_LEAST && bytes <= NET_FRAME_MOST);
	far.sent[i].header = *header;
	far.sent[i].bytes = bytes;
	memcpy(far.sent[i].frame, frame, bytes < 256 ? bytes : 256);
}

static void far_room(void *arg, size_t bytes)
{
	(void)arg;
	far.room += bytes;
}

static void far_accepts(void *arg, unsigned offloads)
{
	(void)arg;
	far.accepts = offloads;
}

static void build_card(struct rig *rig, unsigned pairs, size_t window)
{
	struct virtio_net_config config = {
		.id = "net0",
		.devfn = VR_DEVFN,
		.mac = {2,  0,                0, 0, 0, 1 },
		.mtu = 1500,
		.pairs = pairs,
		.backend = { .send = far_send,
                        .room = far_room,
                        .accepts = far_accepts,
                        .offloads = ALL,
                        .window = window              },
	};

	memset(&far, 0, sizeof(far));
	assert_int_equal(virtio_net_create(vr_machine(rig), &config, &rig->dev, NULL), 0);
}

static void build(struct rig *rig)
{
	build_card(rig, 1, 0);
}

static void build_window(struct rig *rig)
{
	build_card(rig, 1, WINDOW);
}

static void build_pairs(struct rig *rig)
{
	build_card(rig, 4, 0);
}

static struct virtio_net *card_of(struct rig *rig)
{
	return (struct virtio_net *)rig->dev;
}

/* Queues RX, TX, CTRL of a card with one pair. */
static void open_card(struct vr *d, struct rig *rig, rig_build *how, uint64_t features)
{
	rig_open(rig, how);
	vr_open(d, rig, features, VR_MSIX);
	for (unsigned i = 0; i < 3; i++)
		vr_queue(d, i, i, 64);
	vr_start(d);
}

static void transmit(struct vr *d, const struct net_header *h, const void *frame, size_t bytes)
{
	struct vr_buffer b[2] = {
		{.at = vr_alloc(d,  HEADER), .bytes = HEADER         },
		{ .at = vr_alloc(d, bytes),  .bytes = (uint32_t)bytes}
	};

	memcpy(vr_ram(d, b[0].at), h, HEADER);
	memcpy(vr_ram(d, b[1].at), frame, bytes);
	vr_add(d, &d->queue[TX], b, 2);
	vr_kick(d, &d->queue[TX]);
}

/* Gives the card a receive buffer; where it is. */
static uint64_t offer(struct vr *d, unsigned queue, uint32_t bytes)
{
	struct vr_buffer b = { .at = vr_alloc(d, bytes), .bytes = bytes, .device_writes = true };

	memset(vr_ram(d, b.at), 0xee, bytes);
	vr_add(d, &d->queue[queue], &b, 1);
	vr_kick(d, &d->queue[queue]);
	return b.at;
}

static void arrive(struct rig *rig, const struct net_header *h, const uint8_t *frame, size_t bytes)
{
	static struct {
		struct net_input input;
		uint8_t frame[NET_FRAME_MOST];
	} m;

	memset(&m.input, 0, sizeof(m.input));
	m.input.kind = NET_INPUT_FRAME;
	m.input.bytes = (uint32_t)bytes;
	if (h)
		m.input.header = *h;
	memcpy((uint8_t *)&m + sizeof(m.input), frame, bytes);
	rig_input(rig, &m, sizeof(m.input) + bytes);
}

static uint8_t pattern[NET_FRAME_MOST];

/* A frame to `to` (its last byte; 0xff: everybody). */
static const uint8_t *frame_to(uint8_t to)
{
	for (unsigned i = 14; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i ^ i >> 8);
	memset(pattern, to == 0xff ? 0xff : 0, 6);
	pattern[0] = to == 0xff ? 0xff : 2;
	pattern[5] = to;
	memcpy(pattern + 6, "\2\0\0\0\0\x63\x88\xb5", 8);
	return pattern;
}

static void both_rings(void (*test)(uint64_t features))
{
	test(0);
	test(VIRTIO_F_RING_PACKED);
}

static void frames_both_ways(uint64_t ring)
{
	static const struct net_header none;
	struct net_header got;
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	open_card(&d, &rig, build, ring | NET_F_MAC | NET_F_STATUS | NET_F_CTRL_VQ);
	assert_int_equal(rig_read(&rig, d.device, 1), 2);
	assert_int_equal(rig_read(&rig, d.device + 6, 2), NET_S_LINK_UP);
	transmit(&d, &none, frame_to(7), 100);
	assert_int_equal(far.sends, 1);
	assert_int_equal(far.sent[0].bytes, 100);
	assert_memory_equal(far.sent[0].frame, pattern, 100);
	assert_int_equal(vr_used(&d, &d.queue[TX], &written), 0);
	assert_int_equal(written, 0);

	at = offer(&d, RX, 1600);
	arrive(&rig, NULL, frame_to(1), 1514);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 0);
	assert_int_equal(written, HEADER + 1514);
	memcpy(&got, vr_ram(&d, at), HEADER);
	assert_int_equal(got.num_buffers, 1);
	assert_int_equal(got.flags | got.gso_type, 0);
	assert_memory_equal(vr_ram(&d, at + HEADER), pattern, 1514);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 1);

	/* Without mergeable buffers what does not fit one is lost; the buffer is not. */
	at = offer(&d, RX, 600);
	arrive(&rig, NULL, frame_to(1), 1514);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	arrive(&rig, NULL, frame_to(1), 60);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 1);
	assert_int_equal(written, HEADER + 60);
	rig_close(&rig);
}

static void test_frames(void **state)
{
	(void)state;
	both_rings(frames_both_ways);
}

/* 4000 bytes in buffers of 1000: five of them, or none. */
static void merged(uint64_t ring)
{
	struct net_header got;
	struct rig rig;
	struct vr d;
	uint32_t written, all = 0;
	uint64_t at[8];

	open_card(&d, &rig, build, ring | NET_F_MRG_RXBUF);
	for (unsigned i = 0; i < 3; i++)
		at[i] = offer(&d, RX, 1000);
	arrive(&rig, NULL, frame_to(1), 4000);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	for (unsigned i = 3; i < 6; i++)
		at[i] = offer(&d, RX, 1000);
	memcpy(&got, vr_ram(&d, at[0]), HEADER);
	assert_int_equal(got.num_buffers, 5);
	assert_memory_equal(vr_ram(&d, at[0] + HEADER), pattern, 1000 - HEADER);
	assert_memory_equal(vr_ram(&d, at[1]), pattern + 1000 - HEADER, 1000);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(vr_used(&d, &d.queue[RX], &written), i);
		all += written;
	}
	assert_int_equal(all, HEADER + 4000);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	rig_close(&rig);
}

static void test_mergeable(void **state)
{
	(void)state;
	both_rings(merged);
}

/* What is neither offered nor taken unfinished does not pass. */
static void test_offloads(void **state)
{
	struct net_header h = { .flags = NET_NEEDS_CSUM,
				.gso_type = NET_GSO_TCPV4,
				.gso_size = 1000,
				.csum_start = 34,
				.csum_offset = 16,
				.hdr_len = 54 };
	uint64_t all = NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 |
		       NET_F_MRG_RXBUF;
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	(void)state;
	open_card(&d, &rig, build, all);
	assert_int_equal(far.accepts, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	transmit(&d, &h, frame_to(7), 3000);
	assert_int_equal(far.sends, 1);
	assert_int_equal(far.sent[0].header.gso_size, 1000);
	h.gso_type = NET_GSO_TCPV6;
	transmit(&d, &h, frame_to(7), 3000);
	h.gso_type = 77;
	transmit(&d, &h, frame_to(7), 3000);
	assert_int_equal(far.sends, 1);
	at = offer(&d, RX, 8000);
	arrive(&rig, &h, frame_to(1), 3000);
	h.gso_type = NET_GSO_TCPV6;
	arrive(&rig, &h, frame_to(1), 3000);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	h.gso_type = NET_GSO_TCPV4;
	arrive(&rig, &h, frame_to(1), 3000);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 0);
	assert_int_equal(written, HEADER + 3000);
	h.num_buffers = 1;
	assert_memory_equal(vr_ram(&d, at), &h, HEADER);
	vr_set_common(&d, 0x14, 0, 1);
	assert_int_equal(far.accepts, 0);
	rig_close(&rig);
}

/* A frame too short or too long for any network is not sent, and its buffer comes back. */
static void test_sizes(void **state)
{
	static const struct net_header none;
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_card(&d, &rig, build, 0);
	transmit(&d, &none, frame_to(7), 13);
	transmit(&d, &none, frame_to(7), NET_FRAME_MOST);
	transmit(&d, &none, frame_to(7), 14);
	assert_int_equal(far.sends, 2);
	assert_int_equal(far.sent[0].bytes, NET_FRAME_MOST);
	assert_int_equal(far.sent[1].bytes, 14);
	for (unsigned i = 0; i < 3; i++)
		assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	assert_false(vr_broken(&d));
	rig_close(&rig);
}

/* --- The control queue --- */

static uint8_t control(struct vr *d, uint8_t class, uint8_t command, const void *data, size_t bytes)
{
	struct vr_buffer b[3] = {
		{.at = vr_alloc(d,    2),                       .bytes = 2},
		{                .at = vr_alloc(d, bytes ? bytes : 1), .bytes = (uint32_t)bytes         },
		{ .at = vr_alloc(d,         1),            .bytes = 1,          .device_writes = true }
	};
	uint32_t written;

	vr_set(d, b[0].at, 2, class | command << 8);
	memcpy(vr_ram(d, b[1].at), data, bytes);
	vr_set(d, b[2].at, 1, 0xee);
	if (!bytes)
		b[1] = b[2];
	vr_add(d, &d->queue[CTRL], b, bytes ? 3 : 2);
	vr_kick(d, &d->queue[CTRL]);
	assert_true(vr_used(d, &d->queue[CTRL], &written) >= 0);
	assert_int_equal(written, 1);
	return (uint8_t)vr_get(d, bytes ? b[2].at : b[1].at, 1);
}

/* Does a frame to `to` come in? */
static bool comes_in(struct vr *d, uint8_t to)
{
	uint32_t written;

	offer(d, RX, 200);
	arrive(d->rig, NULL, frame_to(to), 60);
	if (vr_used(d, &d->queue[RX], &written) >= 0)
		return true;
	/* Take the buffer back by a frame that passes in any case. */
	control(d, 0, 0, "\1", 1);
	arrive(d->rig, NULL, frame_to(to), 60);
	assert_true(vr_used(d, &d->queue[RX], &written) >= 0);
	control(d, 0, 0, "\0", 1);
	return false;
}

static void test_filter(void **state)
{
	static const uint8_t table[] = { 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0 };
	uint64_t f = NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_RX_EXTRA | NET_F_CTRL_MAC_ADDR;
	struct rig rig;
	struct vr d;

	(void)state;
	open_card(&d, &rig, build, f);
	assert_true(comes_in(&d, 5)); /* before the driver has said what it wants */
	assert_int_equal(control(&d, 0, 0, "\0", 1), 0);
	assert_true(comes_in(&d, 1));
	assert_true(comes_in(&d, 0xff));
	assert_false(comes_in(&d, 5));
	assert_int_equal(control(&d, 1, 0, table, sizeof(table)), 0);
	assert_true(comes_in(&d, 9));
	assert_false(comes_in(&d, 5));
	assert_int_equal(control(&d, 1, 1, "\2\0\0\0\0\5", 6), 0);
	assert_true(comes_in(&d, 5));
	assert_false(comes_in(&d, 1));
	assert_int_equal(rig_read(&rig, d.device + 5, 1), 5);
	assert_int_equal(control(&d, 0, 5, "\1", 1), 0); /* no broadcast */
	assert_false(comes_in(&d, 0xff));
	assert_int_equal(control(&d, 0, 2, "\1", 1), 0); /* all unicast */
	assert_true(comes_in(&d, 77));
	rig_close(&rig);
}

static void test_vlan_filter(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint8_t tagged[60];

	(void)state;
	open_card(&d, &rig, build, NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN);
	memcpy(tagged, frame_to(1), sizeof(tagged));
	memcpy(tagged + 12, "\x81\0\xf1\x23", 4);
	offer(&d, RX, 200);
	assert_int_equal(control(&d, 0, 0, "\0", 1), 0);
	arrive(&rig, NULL, tagged, sizeof(tagged));
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	assert_int_equal(control(&d, 2, 0, "\x23\x01", 2), 0);
	arrive(&rig, NULL, tagged, sizeof(tagged));
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 0);
	assert_int_equal(control(&d, 2, 1, "\x23\x01", 2), 0);
	offer(&d, RX, 200);
	arrive(&rig, NULL, tagged, sizeof(tagged));
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	assert_int_equal(control(&d, 2, 0, "\x00\x10", 2), 1);
	rig_close(&rig);
}

/* What was not negotiated, does not exist, is cut off or lies is refused and changes nothing. */
static void test_bad_commands(void **state)
{
	static const uint8_t lie[] = { 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0, 0, 0, 0 };
	struct rig rig;
	struct vr d;

	(void)state;
	open_card(&d, &rig, build, NET_F_CTRL_VQ | NET_F_CTRL_RX);
	assert_int_equal(control(&d, 0, 0, "\2", 1), 1);
	assert_int_equal(control(&d, 0, 2, "\1", 1), 1);
	assert_int_equal(control(&d, 0, 6, "\1", 1), 1);
	assert_int_equal(control(&d, 0, 0, "", 0), 1);
	assert_int_equal(control(&d, 1, 0, lie, sizeof(lie)), 1);
	assert_int_equal(control(&d, 1, 0, "\1", 1), 1);
	assert_int_equal(control(&d, 1, 1, "\2\0\0\0\0\5", 6), 1);
	assert_int_equal(control(&d, 2, 0, "\1\0", 2), 1);
	assert_int_equal(control(&d, 3, 0, "", 0), 1);
	assert_int_equal(control(&d, 4, 0, "\1\0", 2), 1);
	assert_int_equal(control(&d, 5, 0, "\0\0\0\0\0\0\0\0", 8), 1);
	assert_int_equal(control(&d, 99, 0, "\1\0", 2), 1);
	assert_true(card_of(&rig)->promisc);
	assert_false(vr_broken(&d));
	rig_close(&rig);
}

static void test_guest_offloads(void **state)
{
	uint64_t some = NET_F_GUEST_CSUM, none = 0, more = NET_F_GUEST_TSO6;
	struct rig rig;
	struct vr d;

	(void)state;
	open_card(&d, &rig, build,
		  NET_F_CTRL_VQ | NET_F_CTRL_GUEST_OFFLOADS | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4);
	assert_int_equal(control(&d, 5, 0, &some, 8), 0);
	assert_int_equal(far.accepts, NET_OFFLOAD_CSUM);
	assert_int_equal(control(&d, 5, 0, &more, 8), 1);
	assert_int_equal(control(&d, 5, 0, &none, 8), 0);
	assert_int_equal(far.accepts, 0);
	rig_close(&rig);
}

static void test_link_and_announcement(void **state)
{
	static const struct net_header none;
	struct net_input input = { .kind = NET_INPUT_LINK };
	struct rig rig;
	struct vr d;

	(void)state;
	open_card(&d, &rig, build, NET_F_CTRL_VQ | NET_F_STATUS | NET_F_GUEST_ANNOUNCE);
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(rig_read(&rig, d.device + 6, 2), 0);
	assert_int_equal(rig.messages[VR_VECTOR], 1);
	transmit(&d, &none, frame_to(7), 60);
	assert_int_equal(far.sends, 0);
	input.up = 1;
	rig_input(&rig, &input, sizeof(input));
	rig_input(&rig, &input, sizeof(input)); /* nothing new */
	assert_int_equal(rig.messages[VR_VECTOR], 2);
	input.kind = NET_INPUT_ANNOUNCE;
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(rig_read(&rig, d.device + 6, 2), NET_S_LINK_UP | NET_S_ANNOUNCE);
	assert_int_equal(control(&d, 3, 0, "", 0), 0);
	assert_int_equal(rig_read(&rig, d.device + 6, 2), NET_S_LINK_UP);
	rig_close(&rig);
}

/* --- Credit --- */

/* The far end is slow: frames stay in the ring, and go on when it says so. */
static void test_window(void **state)
{
	static const struct net_header none;
	struct net_input input = { .kind = NET_INPUT_SENT, .bytes = 1000 };
	struct rig rig;
	struct vr d;

	(void)state;
	open_card(&d, &rig, build_window, 0);
	for (unsigned i = 0; i < 8; i++)
		transmit(&d, &none, frame_to(7), 1000);
	assert_int_equal(far.sends, 3);
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(far.sends, 4);
	input.bytes = 3000;
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(far.sends, 7);
	input.bytes = 0xffffffff;
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(far.sends, 8);
	rig_close(&rig);
}

/* The guest is slow: frames wait up to the room granted, and room comes back. */
static void test_room(void **state)
{
	struct rig rig;
	struct vr d;
	size_t granted, used = 0;
	unsigned frames = 0;
	uint32_t written;

	(void)state;
	open_card(&d, &rig, build, NET_F_MRG_RXBUF);
	granted = far.room;
	while (used + sizeof(struct net_input) + 9000 <= granted) {
		arrive(&rig, NULL, frame_to(1), 9000);
		used += sizeof(struct net_input) + 9000;
		frames++;
	}
	assert_int_equal(far.room, granted);
	arrive(&rig, NULL, frame_to(1), 65000); /* beyond: a backend's mistake */
	for (unsigned i = 0; i < 60; i++) {
		d.room = 0x20000; /* the buffers may share memory */
		offer(&d, RX, 0x4000);
	}
	for (unsigned i = 0; i < frames && i < 60; i++)
		assert_true(vr_used(&d, &d.queue[RX], &written) >= 0);
	assert_true(far.room > granted);
	/* A reset throws away what waits, and gives the room back. */
	vr_set_common(&d, 0x14, 0, 1);
	assert_true(far.room + 65536 >= granted + used);
	assert_null(card_of(&rig)->backlog.first);
	rig_close(&rig);
}

/* --- Several queues --- */

/* A UDP frame of a flow, from the guest or to it. */
static const uint8_t *flow(bool from_guest)
{
	static uint8_t f[60];

	memcpy(f, frame_to(1), sizeof(f));
	memcpy(f + 12, "\x08\x00\x45", 3);
	f[23] = 17;
	memcpy(f + 26, from_guest ? "\x0a\0\0\1\x0a\0\0\2" : "\x0a\0\0\2\x0a\0\0\1", 8);
	memcpy(f + 34, from_guest ? "\x12\x34\x00\x07" : "\x00\x07\x12\x34", 4);
	return f;
}

static void test_queue_pairs(void **state)
{
	static const struct net_header none;
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t f = NET_F_MQ | NET_F_CTRL_VQ;

	(void)state;
	rig_open(&rig, build_pairs);
	vr_open(&d, &rig, f, VR_MSIX);
	assert_int_equal(rig_read(&rig, d.device + 8, 2), 4);
	vr_queue(&d, RX, 4, 16); /* the third pair, and the control queue */
	vr_queue(&d, TX, 5, 16);
	vr_queue(&d, CTRL, 8, 16);
	vr_start(&d);
	assert_int_equal(control(&d, 4, 0, "\5\0", 2), 1);
	assert_int_equal(control(&d, 4, 0, "\0\0", 2), 1);
	assert_int_equal(control(&d, 4, 0, "\4\0", 2), 0);
	transmit(&d, &none, flow(true), 60);
	assert_int_equal(far.sends, 1);
	offer(&d, RX, 200);
	arrive(&rig, NULL, flow(false), 60);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 0);
	/* A flow of a queue that the driver never set up is lost, and holds up nobody. */
	assert_int_equal(control(&d, 4, 0, "\1\0", 2), 0);
	arrive(&rig, NULL, flow(false), 60);
	assert_null(card_of(&rig)->backlog.first);
	rig_close(&rig);
}

/* --- Save and load; hostility --- */

static void test_waiting_frames_are_not_state(void **state)
{
	struct rig one, two;
	struct vr d;
	uint32_t written;
	struct net_header none = { 0 };
	struct net_input input = { .kind = NET_INPUT_SENT };

	(void)state;
	open_card(&d, &one, build_window, NET_F_MRG_RXBUF);
	arrive(&one, NULL, frame_to(1), 1000);
	for (unsigned i = 0; i < 5; i++)
		transmit(&d, &none, frame_to(7), 1000);
	assert_true(card_of(&one)->blocked);
	rig_open(&two, build_window);
	memcpy(two.vm->mem.slots->host, one.vm->mem.slots->host, VR_RAM);
	fuzz_load(&two, &one);
	posted_take(two.vm); /* the new far end has taken nothing yet: two frames go out */
	assert_int_equal(far.sends, 2);
	d.rig = &two;
	offer(&d, RX, 2000);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	input.bytes = 0;
	rig_input(&two, &input, sizeof(input));
	rig_close(&one);
	rig_close(&two);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build, 60);
	vr_fuzz(build_pairs, 30);
}

/* The same with frames coming in and a slow far end; nothing to compare, only to survive. */
static void test_hostile_driver_with_traffic(void **state)
{
	uint64_t seed = 0x123456789;
	struct rig rig;

	(void)state;
	rig_open(&rig, build_window);
	for (unsigned i = 0; i < 30000; i++) {
		uint64_t r = fuzz_random(&seed);
		struct net_input input;
		struct net_header h;

		vr_fuzz_stir(&rig, r);
		if (r >> 60 == 0) {
			memcpy(&h, &seed, 8);
			h.csum_start = h.csum_offset = (uint16_t)r;
			h.gso_type = (uint8_t)(r >> 8 & 7);
			if (card_of(&rig)->backlog.held < 400000)
				arrive(&rig, r & 1 ? &h : NULL, frame_to(0xff),
				       14 + (r >> 16) % 3000);
		} else if (r >> 60 == 1) {
			memcpy(&input, &seed, 8);
			input.kind = (uint8_t)(1 + (r >> 8) % 5);
			input.bytes = (uint32_t)(r >> 20);
			rig_input(&rig, &input, r & 2 ? sizeof(input) : 3);
		}
	}
	assert_true(far.sends > 10);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_mergeable),
		cmocka_unit_test(test_offloads),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_vlan_filter),
		cmocka_unit_test(test_bad_commands),
		cmocka_unit_test(test_guest_offloads),
		cmocka_unit_test(test_link_and_announcement),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_queue_pairs),
		cmocka_unit_test(test_waiting_frames_are_not_state),
		cmocka_unit_test(test_hostile_driver),
		cmocka_unit_test(test_hostile_driver_with_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
