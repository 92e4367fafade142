/*
 * virtio_console.c - tests of the console device: bytes both ways, ports and their messages,
 * credit.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_console.h"
#include "device/virtio.h"
#include "test/device/virtio_rig.h"

#define F_SIZE      UINT64_C(1)
#define F_MULTIPORT UINT64_C(2)
#define F_EMERGENCY UINT64_C(4)
#define FIFO        1024u

/* Queues of the rig's driver. */
enum { RX, TX, CONTROL_RX, CONTROL_TX };

static struct far {
	uint8_t got[200000];
	size_t bytes, limit, room, opens, closes;
} far[3];

static size_t far_write(void *arg, const void *data, size_t bytes)
{
	struct far *f = arg;
	size_t n = f->limit - f->bytes < bytes ? f->limit - f->bytes : bytes;

	memcpy(f->got + f->bytes, data, n);
	f->bytes += n;
	return n;
}

static void far_room(void *arg, size_t bytes)
{
	((struct far *)arg)->room += bytes;
}

static void far_opened(void *arg, bool open)
{
	*(open ? &((struct far *)arg)->opens : &((struct far *)arg)->closes) += 1;
}

static void build_ports(struct rig *rig, unsigned ports, bool console)
{
	struct virtio_console_config config = { .id = "vcon", .devfn = VR_DEVFN, .ports = ports };
	static const char *const names[] = { NULL, "one", "two" };

	memset(far, 0, sizeof(far));
	for (unsigned i = console ? 0 : 1; i < ports; i++) {
		far[i].limit = sizeof(far[i].got);
		config.port[i] = (struct virtio_console_port){
			.name = names[i],
			.open = i == 0,
			.backend = {far_write, far_room, far_opened, &far[i]},
		};
	}
	assert_int_equal(virtio_console_create(vr_machine(rig), &config, &rig->dev, NULL), 0);
}

static void build_one(struct rig *rig)
{
	build_ports(rig, 1, true);
}

static void build_three(struct rig *rig)
{
	build_ports(rig, 3, true);
}

static void build_named(struct rig *rig)
{
	build_ports(rig, 3, false);
}

/* What the driver uses: queues `first`, first + 1 as RX and TX, and the control queues if any. */
static void open_device(struct vr *d, struct rig *rig, rig_build *with, uint64_t features,
			unsigned first)
{
	rig_open(rig, with);
	vr_open(d, rig, features, VR_MSIX);
	vr_queue(d, RX, first, 16);
	vr_queue(d, TX, first + 1, 16);
	if (features & F_MULTIPORT) {
		vr_queue(d, CONTROL_RX, 2, 16);
		vr_queue(d, CONTROL_TX, 3, 16);
	}
	vr_start(d);
}

static uint64_t offer(struct vr *d, unsigned queue, uint32_t bytes)
{
	struct vr_buffer b = { .at = vr_alloc(d, bytes), .bytes = bytes, .device_writes = true };

	vr_add(d, &d->queue[queue], &b, 1);
	vr_kick(d, &d->queue[queue]);
	return b.at;
}

static void transmit(struct vr *d, const void *data, uint32_t bytes)
{
	struct vr_buffer b = { .at = vr_alloc(d, bytes), .bytes = bytes };

	memcpy(vr_ram(d, b.at), data, bytes);
	vr_add(d, &d->queue[TX], &b, 1);
	vr_kick(d, &d->queue[TX]);
}

static void say(struct vr *d, uint32_t port, uint16_t event, uint16_t value)
{
	struct vr_buffer b = { .at = vr_alloc(d, 8), .bytes = 8 };

	vr_set(d, b.at, 4, port);
	vr_set(d, b.at + 4, 2, event);
	vr_set(d, b.at + 6, 2, value);
	vr_add(d, &d->queue[CONTROL_TX], &b, 1);
	vr_kick(d, &d->queue[CONTROL_TX]);
}

/* The device's next control message. */
static void hear(struct vr *d, uint64_t at, uint32_t port, uint16_t event, uint16_t value,
		 const char *name)
{
	uint32_t written;

	assert_true(vr_used(d, &d->queue[CONTROL_RX], &written) >= 0);
	assert_int_equal(written, 8 + strlen(name));
	assert_int_equal(vr_get(d, at, 4), port);
	assert_int_equal(vr_get(d, at + 4, 2), event);
	assert_int_equal(vr_get(d, at + 6, 2), value);
	assert_memory_equal(vr_ram(d, at + 8), name, strlen(name));
}

static void hear_nothing(struct vr *d)
{
	uint32_t written;

	assert_int_equal(vr_used(d, &d->queue[CONTROL_RX], &written), -1);
}

static void input(struct rig *rig, unsigned port, enum vconsole_kind kind, unsigned value)
{
	struct vconsole_input in = {
		.port = (uint8_t)port, .kind = (uint8_t)kind, .value = (uint16_t)value, .rows = 33
	};

	rig_input(rig, &in, sizeof(in));
}

static void arrive(struct rig *rig, unsigned port, const char *text)
{
	struct {
		struct vconsole_input in;
		char text[FIFO + 8];
	} m = {
		.in = {.port = (uint8_t)port, .kind = VCONSOLE_DATA}
	};

	strcpy(m.text, text);
	rig_input(rig, &m, sizeof(m.in) + strlen(text));
}

static void both_ways(uint64_t features)
{
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	open_device(&d, &rig, build_one, features, 0);
	assert_int_equal(vr_common(&d, 0x12, 2), 2); /* queues */
	assert_int_equal(far[0].room, FIFO);
	arrive(&rig, 0, "typed ahead"); /* before there is a buffer */
	at = offer(&d, RX, 5);
	assert_true(vr_used(&d, &d.queue[RX], &written) >= 0);
	assert_int_equal(written, 5);
	assert_memory_equal(vr_ram(&d, at), "typed", 5);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 1);
	at = offer(&d, RX, 100);
	assert_true(vr_used(&d, &d.queue[RX], &written) >= 0);
	assert_memory_equal(vr_ram(&d, at), " ahead", 6);
	transmit(&d, "hello", 5);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	assert_int_equal(far[0].bytes, 5);
	assert_memory_equal(far[0].got, "hello", 5);
	rig_close(&rig);
}

static void test_one_port(void **state)
{
	(void)state;
	both_ways(0);
	both_ways(VIRTIO_F_RING_PACKED);
}

/* All that was granted fits; more room is granted for what the guest takes; a reset loses nothing.
 */
static void test_credit(void **state)
{
	char text[FIFO + 1];
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	memset(text, 'x', FIFO);
	text[FIFO] = '\0';
	open_device(&d, &rig, build_one, 0, 0);
	arrive(&rig, 0, text);
	arrive(&rig, 0, "beyond the room");
	offer(&d, RX, 100);
	assert_int_equal(far[0].room, FIFO);
	offer(&d, RX, 200);
	assert_int_equal(far[0].room, FIFO + 300);
	vr_open(&d, &rig, 0, VR_MSIX);
	vr_queue(&d, RX, 0, 16);
	vr_start(&d);
	offer(&d, RX, 2000);
	assert_true(vr_used(&d, &d.queue[RX], &written) >= 0);
	assert_int_equal(written, FIFO - 300);
	rig_close(&rig);
}

static void test_size_and_emergency(void **state)
{
	struct rig rig;
	struct vr d;

	(void)state;
	open_device(&d, &rig, build_one, F_SIZE | F_EMERGENCY, 0);
	assert_int_equal(rig_read(&rig, d.device, 4), 80 | 25 << 16);
	assert_int_equal(rig_read(&rig, d.device + 4, 4), 1);
	input(&rig, 0, VCONSOLE_SIZE, 132);
	assert_int_equal(rig_read(&rig, d.device, 4), 132 | 33 << 16);
	assert_int_equal(rig.messages[VR_VECTOR], 1);
	input(&rig, 0, VCONSOLE_SIZE, 132);
	assert_int_equal(rig.messages[VR_VECTOR], 1);
	rig_write(&rig, d.device + 8, '!', 4);
	assert_int_equal(far[0].bytes, 1);
	assert_int_equal(far[0].got[0], '!');
	rig_close(&rig);
}

/* The greeting of 5.3.5: which ports there are, what they are called, and who is there. */
static void test_greeting(void **state)
{
	struct rig rig;
	struct vr d;
	uint64_t at[10];

	(void)state;
	open_device(&d, &rig, build_three, F_MULTIPORT, 0);
	assert_int_equal(vr_common(&d, 0x12, 2), 8);
	assert_int_equal(rig_read(&rig, d.device + 4, 4), 3);
	for (unsigned i = 0; i < 10; i++)
		at[i] = offer(&d, CONTROL_RX, 64);
	hear_nothing(&d);
	say(&d, 0, 0, 1);
	for (unsigned i = 0; i < 3; i++)
		hear(&d, at[i], i, 1, 1, "");
	hear_nothing(&d);
	say(&d, 0, 3, 1);
	hear(&d, at[3], 0, 4, 1, "");
	hear(&d, at[4], 0, 6, 1, "");
	say(&d, 2, 3, 1);
	hear(&d, at[5], 2, 7, 1, "two");
	hear(&d, at[6], 2, 6, 0, "");
	input(&rig, 2, VCONSOLE_OPEN, 1);
	hear(&d, at[7], 2, 6, 1, "");
	input(&rig, 2, VCONSOLE_OPEN, 1);
	hear_nothing(&d);
	/* Of a port that the driver does not know, of none at all, and without a buffer. */
	input(&rig, 1, VCONSOLE_OPEN, 1);
	say(&d, 3, 3, 1);
	say(&d, UINT32_MAX, 6, 1);
	hear_nothing(&d);
	say(&d, 1, 3, 1);
	hear(&d, at[8], 1, 7, 1, "one");
	hear(&d, at[9], 1, 6, 1, "");
	input(&rig, 1, VCONSOLE_OPEN, 0);
	input(&rig, 1, VCONSOLE_OPEN, 1);
	hear(&d, offer(&d, CONTROL_RX, 64), 1, 6, 1, "");
	hear_nothing(&d);
	rig_close(&rig);
}

/* Bytes go in when a program has the port open, and out when somebody listens. */
static void test_named_port(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	(void)state;
	open_device(&d, &rig, build_named, F_MULTIPORT, 4); /* port 1 */
	arrive(&rig, 1, "early");
	at = offer(&d, RX, 64);
	assert_int_equal(vr_used(&d, &d.queue[RX], &written), -1);
	say(&d, 1, 6, 1);
	assert_int_equal(far[1].opens, 1);
	assert_true(vr_used(&d, &d.queue[RX], &written) >= 0);
	assert_memory_equal(vr_ram(&d, at), "early", 5);
	transmit(&d, "lost", 4);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	assert_int_equal(far[1].bytes, 0);
	input(&rig, 1, VCONSOLE_OPEN, 1);
	transmit(&d, "heard", 5);
	assert_memory_equal(far[1].got, "heard", 5);
	assert_int_equal(far[2].bytes, 0);
	/* Port 0 is none: nothing is added, and nothing happens. */
	offer(&d, CONTROL_RX, 64);
	say(&d, 0, 3, 1);
	hear_nothing(&d);
	vr_set_common(&d, 0x14, 0, 1);
	assert_int_equal(far[1].closes, 1);
	rig_close(&rig);
}

/* The backend takes a part; the rest of the chain follows when it is ready, or nobody is there. */
static void test_backpressure(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, build_named, F_MULTIPORT, 4);
	input(&rig, 1, VCONSOLE_OPEN, 1);
	far[1].limit = 3;
	transmit(&d, "abcdefgh", 8);
	transmit(&d, "ij", 2);
	assert_int_equal(vr_used(&d, &d.queue[TX], &written), -1);
	far[1].limit = 6;
	vr_kick(&d, &d.queue[TX]);
	assert_int_equal(far[1].bytes, 3);
	input(&rig, 1, VCONSOLE_READY, 0);
	assert_int_equal(far[1].bytes, 6);
	far[1].limit = 100;
	input(&rig, 1, VCONSOLE_READY, 0);
	assert_memory_equal(far[1].got, "abcdefghij", 10);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	far[1].limit = 0;
	transmit(&d, "k", 1);
	input(&rig, 1, VCONSOLE_OPEN, 0);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	rig_close(&rig);
}

/* A long chain does not keep the device for long. */
static void test_long_chain(void **state)
{
	struct vr_buffer b = { .bytes = 150000 };
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, build_one, 0, 0);
	b.at = vr_alloc(&d, b.bytes);
	memset(vr_ram(&d, b.at), 7, b.bytes);
	vr_add(&d, &d.queue[TX], &b, 1);
	vr_kick(&d, &d.queue[TX]);
	assert_int_equal(far[0].bytes, 65536);
	rig_step(&rig, 10000);
	assert_int_equal(far[0].bytes, b.bytes);
	assert_true(vr_used(&d, &d.queue[TX], &written) >= 0);
	rig_close(&rig);
}

/* The fuzzed backends take everything. */
static size_t endless(void *arg, const void *data, size_t bytes)
{
	(void)arg;
	(void)data;
	return bytes;
}

static void build_fuzzed(struct rig *rig)
{
	struct virtio_console_config config = { .id = "vcon", .devfn = VR_DEVFN, .ports = 3 };

	for (unsigned i = 0; i < 3; i++) {
		config.port[i] = (struct virtio_console_port){ .name = i ? "name" : NULL,
							       .open = i != 1,
							       .backend = { .write = endless } };
	}
	assert_int_equal(virtio_console_create(vr_machine(rig), &config, &rig->dev, NULL), 0);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build_fuzzed, 60);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_port),           cmocka_unit_test(test_credit),
		cmocka_unit_test(test_size_and_emergency), cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_named_port),         cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_long_chain),         cmocka_unit_test(test_hostile_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
