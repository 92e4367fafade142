/*
 * virtio_vsock.c - tests of the socket device: packets both ways, pieces, credit, events.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_vsock.h"
#include "device/virtio.h"
#include "test/device/virtio_rig.h"

#define HEADER 44u
#define CID    42u
#define WINDOW 5000u

enum { RX, TX, EVENT };

static struct far {
	struct vsock_header last;
	uint8_t data[256];
	unsigned sends, resets;
	size_t room;
} far;

static void far_send(void *arg, const struct vsock_header *h, const void *data)
{
	(void)arg;
	assert_true(h->len <= VSOCK_DATA_MOST && h->type == VSOCK_STREAM);
	far.last = *h;
	if (h->len)
		memcpy(far.data, data, h->len < 256 ? h->len : 256);
	far.sends++;
}

static void far_room(void *arg, size_t bytes)
{
	(void)arg;
	far.room += bytes;
}

static void far_reset(void *arg)
{
	(void)arg;
	far.resets++;
}

static void build(struct rig *rig)
{
	struct virtio_vsock_config config = {
		.id = "vsock",
		.devfn = VR_DEVFN,
		.cid = CID,
		.backend = {.send = far_send,
                            .room = far_room,
                            .reset = far_reset,
                            .window = WINDOW},
	};

	memset(&far, 0, sizeof(far));
	assert_int_equal(virtio_vsock_create(vr_machine(rig), &config, &rig->dev, NULL), 0);
}

static void open_device(struct vr *d, struct rig *rig, uint64_t features)
{
	rig_open(rig, build);
	vr_open(d, rig, features, VR_MSIX);
	for (unsigned i = 0; i < 3; i++)
		vr_queue(d, i, i, 32);
	vr_start(d);
}

static struct vsock_header header(uint64_t from, uint64_t to, uint32_t len)
{
	return (struct vsock_header){ .src_cid = from,
				      .dst_cid = to,
				      .src_port = 5,
				      .dst_port = 6,
				      .len = len,
				      .type = VSOCK_STREAM,
				      .op = VSOCK_RW };
}

/* Sends h with `bytes` of data behind it, whatever h says. */
static void transmit(struct vr *d, const struct vsock_header *h, uint32_t bytes)
{
	struct vr_buffer b = { .at = vr_alloc(d, HEADER + bytes), .bytes = HEADER + bytes };

	memcpy(vr_ram(d, b.at), h, HEADER);
	memset(vr_ram(d, b.at + HEADER), 0x5a, bytes);
	vr_add(d, &d->queue[TX], &b, 1);
	vr_kick(d, &d->queue[TX]);
}

static uint64_t offer(struct vr *d, unsigned queue, uint32_t bytes)
{
	struct vr_buffer b = { .at = vr_alloc(d, bytes), .bytes = bytes, .device_writes = true };

	vr_add(d, &d->queue[queue], &b, 1);
	vr_kick(d, &d->queue[queue]);
	return b.at;
}

static void arrive(struct rig *rig, uint32_t len)
{
	static struct {
		struct vsock_input input;
		uint8_t data[32768];
	} m;

	m.input = (struct vsock_input){ .kind = VSOCK_INPUT_PACKET };
	m.input.header = header(VSOCK_HOST_CID, CID, len);
	for (uint32_t i = 0; i < len; i++)
		m.data[i] = (uint8_t)(i * 3 + (i >> 8));
	rig_input(rig, &m, sizeof(m.input) + len);
}

static void both_ways(uint64_t features)
{
	struct vsock_header h = header(CID, VSOCK_HOST_CID, 100);
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	open_device(&d, &rig, features);
	assert_int_equal(rig_read(&rig, d.device, 8), CID);
	transmit(&d, &h, 100);
	assert_int_equal(far.sends, 1);
	assert_memory_equal(&far.last, &h, HEADER);
	assert_int_equal(far.data[99], 0x5a);
	assert_int_equal(vr_used(&d, &d.queue[TX], &written), 0);
	at = offer(&d, RX, 4096);
	arrive(&rig, 50);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 0);
	assert_int_equal(written, HEADER + 50);
	assert_int_equal(vr_get(&d, at + HEADER + 49, 1), 49 * 3);
	at = offer(&d, RX, 4096);
	arrive(&rig, 0);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), 1);
	assert_int_equal(written, HEADER);
	rig_close(&rig);
}

static void test_packets(void **state)
{
	(void)state;
	both_ways(0);
	both_ways(VIRTIO_F_RING_PACKED);
}

/* What is not the guest's to say, or not what it says, is not passed on. */
static void test_lies(void **state)
{
	struct vsock_header h[5];
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, 0);
	for (unsigned i = 0; i < 5; i++)
		h[i] = header(CID, VSOCK_HOST_CID, 10);
	h[0].src_cid = CID + 1;
	h[1].dst_cid = CID;
	h[2].type = 2;
	h[3].len = 11;
	h[4].len = 0xffffffff;
	for (unsigned i = 0; i < 5; i++)
		transmit(&d, &h[i], 10);
	assert_int_equal(far.sends, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	assert_false(vr_broken(&d));
	rig_close(&rig);
}

/* A stream in buffers smaller than its packets, which come late: cut up, in order, complete. */
static void test_pieces(void **state)
{
	struct vsock_header h;
	struct rig rig;
	struct vr d;
	uint32_t written, got = 0;

	(void)state;
	open_device(&d, &rig, 0);
	arrive(&rig, 3000);
	arrive(&rig, 10);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t at = offer(&d, RX, HEADER + 1000);

		assert_int_equal(vr_used(&d, &d.queue[RX], &written), i);
		memcpy(&h, vr_ram(&d, at), HEADER);
		assert_int_equal(h.len, i < 3 ? 1000 : 10);
		assert_int_equal(written, HEADER + h.len);
		for (uint32_t k = 0; k < h.len && i < 3; k++, got++)
			assert_int_equal(vr_get(&d, at + HEADER + k, 1),
					 (uint8_t)(got * 3 + (got >> 8)));
	}
	assert_int_equal(got, 3000);
	/* A buffer without room for anything would make the stream stand still. */
	arrive(&rig, 10);
	offer(&d, RX, HEADER);
	assert_true(vr_broken(&d));
	rig_close(&rig);
}

static void test_window(void **state)
{
	struct vsock_header h = header(CID, VSOCK_HOST_CID, 1000);
	struct vsock_input input = { .kind = VSOCK_INPUT_SENT, .bytes = 2 * (HEADER + 1000) };
	struct rig rig;
	struct vr d;

	(void)state;
	open_device(&d, &rig, 0);
	for (unsigned i = 0; i < 8; i++)
		transmit(&d, &h, 1000);
	assert_int_equal(far.sends, 5);
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(far.sends, 7);
	rig_input(&rig, &input, sizeof(input));
	assert_int_equal(far.sends, 8);
	rig_close(&rig);
}

/* A reset of the driver ends connections on the host; a load those of the guest, by an event. */
static void test_ends_of_connections(void **state)
{
	struct vsock_header h = header(CID, VSOCK_HOST_CID, 0);
	struct rig one, two;
	struct vr d;
	uint32_t written;
	uint64_t at;

	(void)state;
	open_device(&d, &one, 0);
	transmit(&d, &h, 0);
	rig_open(&two, build);
	memcpy(two.vm->mem.slots->host, one.vm->mem.slots->host, VR_RAM);
	fuzz_load(&two, &one);
	assert_int_equal(far.resets, 1);
	posted_take(two.vm);
	d.rig = &two;
	at = offer(&d, EVENT, 4);
	assert_int_equal(vr_used(&d, &d.queue[EVENT], &written), 0);
	assert_int_equal(written, 4);
	assert_int_equal(vr_get(&d, at, 4), 0);
	offer(&d, EVENT, 4); /* once */
	assert_int_equal(vr_used(&d, &d.queue[EVENT], &written), -1);
	vr_set_common(&d, 0x14, 0, 1);
	assert_int_equal(far.resets, 2);
	rig_close(&one);
	rig_close(&two);
}

/* A call to a guest whose driver does not run is refused, and forgotten by one that is reset. */
static void test_calls_to_nobody(void **state)
{
	struct vsock_input call = { .kind = VSOCK_INPUT_PACKET };
	struct rig rig;
	struct vr d;

	(void)state;
	rig_open(&rig, build);
	call.header = header(VSOCK_HOST_CID, CID, 0);
	rig_input(&rig, &call, sizeof(call)); /* no REQUEST */
	assert_int_equal(far.sends, 0);
	call.header.op = VSOCK_REQUEST;
	rig_input(&rig, &call, sizeof(call));
	assert_int_equal(far.sends, 1);
	assert_int_equal(far.last.op, VSOCK_RST);
	assert_int_equal(far.last.src_cid, CID);
	assert_int_equal(far.last.src_port, 6);
	assert_int_equal(far.last.dst_port, 5);
	rig_close(&rig);

	open_device(&d, &rig, 0);
	rig_input(&rig, &call, sizeof(call)); /* waits for a buffer */
	assert_int_equal(far.sends + far.resets, 0);
	vr_set_common(&d, 0x14, 0, 1);
	assert_int_equal(far.resets, 1);
	rig_close(&rig);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build, 60);
}

static void test_hostile_driver_with_traffic(void **state)
{
	uint64_t seed = 0x987654321;
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	for (unsigned i = 0; i < 30000; i++) {
		uint64_t r = fuzz_random(&seed);
		struct vsock_input input = { .kind = VSOCK_INPUT_SENT,
					     .bytes = (uint32_t)(r >> 20) };

		vr_fuzz_stir(&rig, r);
		if (r >> 60 == 0)
			arrive(&rig, (uint32_t)(r >> 16) % 5000); /* beyond the room: refused */
		else if (r >> 60 == 1)
			rig_input(&rig, &input, r & 2 ? sizeof(input) : 3);
		else if (r >> 56 == 0x20)
			input.kind = VSOCK_INPUT_RESET, rig_input(&rig, &input, sizeof(input));
	}
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_ends_of_connections),
		cmocka_unit_test(test_calls_to_nobody),
		cmocka_unit_test(test_hostile_driver),
		cmocka_unit_test(test_hostile_driver_with_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
