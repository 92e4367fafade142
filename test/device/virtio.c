/*
 * virtio.c - tests of the virtio core: transport, both kinds of ring, and drivers that break them.
 *
 * The device under test echoes: what a chain gives it to read it writes back, backwards.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/device/virtio_rig.h"

#define F_CONFIG (UINT64_C(1) << 5) /* a feature of its own */
#define HOLD     4

struct echo {
	struct virtio v;
	uint8_t space[10];
	/* What the test told it; not state. */
	bool hold, put_back;
	unsigned refill; /* chains that another CPU makes available while the device works */
	struct virtio_chain held[HOLD];
	unsigned held_count, starts, resets;
	/* State. */
	uint32_t chains;
};

static struct echo *echo;

static uint32_t reply(struct virtio *v, const struct virtio_chain *c)
{
	uint8_t in[4096], out[4096];
	size_t n = virtio_get(v, c, 0, in, sizeof(in));

	for (size_t i = 0; i < n; i++)
		out[i] = in[n - 1 - i];
	((struct echo *)v)->chains++;
	return (uint32_t)virtio_put(v, c, 0, out, n);
}

/* The driver's CPU is quick: the chain that was just used is available again. */
static void refill(struct virtio *v, unsigned q)
{
	const struct virtio_queue *queue = &v->queue[q];
	struct device *dev = &v->pci.dev;
	uint16_t word;

	if (!virtio_has(v, VIRTIO_F_RING_PACKED)) {
		word = (uint16_t)(queue->avail + 1u);
		device_dma_write(dev, gpa(queue->driver + 2), &word, sizeof(word));
		return;
	}
	word = vr_lap_flags(queue->avail_wrap);
	device_dma_write(dev, gpa(queue->desc + 16u * queue->avail + 14), &word, sizeof(word));
}

static void echo_notify(struct virtio *v, unsigned q)
{
	struct echo *e = (struct echo *)v;
	struct virtio_chain c;

	if (e->hold) {
		while (e->held_count < HOLD && virtio_pop(v, q, &e->held[e->held_count]))
			e->held_count++;
		return;
	}
	while (virtio_pop(v, q, &c)) {
		if (e->put_back) {
			virtio_unpop(v, q, &c);
			e->put_back = false;
			continue;
		}
		virtio_push(v, q, &c, reply(v, &c));
		virtio_flush(v, q);
		if (e->refill && e->refill--)
			refill(v, q);
	}
}

static void echo_start(struct virtio *v)
{
	((struct echo *)v)->starts++;
}

static void echo_reset(struct virtio *v)
{
	struct echo *e = (struct echo *)v;

	e->resets++;
	e->held_count = 0;
	e->chains = 0;
}

static void echo_queue_reset(struct virtio *v, unsigned q)
{
	(void)q;
	((struct echo *)v)->held_count = 0;
}

static void echo_config_write(struct virtio *v, unsigned off, unsigned size, uint64_t value)
{
	memcpy(((struct echo *)v)->space + off, &value, size);
}

static const struct virtio_class echo_class = {
	.id = 42,
	.class_code = 0xff0000,
	.notify = echo_notify,
	.start = echo_start,
	.reset = echo_reset,
	.queue_reset = echo_queue_reset,
	.config_write = echo_config_write,
};

static const struct field echo_fields[] = { VIRTIO_FIELDS(echo, v), FIELD_ARRAY(echo, space, 1),
					    FIELD(echo, chains, 1), FIELD_END };

static const struct device_ops echo_ops = {
	VIRTIO_DEVICE_OPS,
	.type = "echo",
	.state = echo_fields,
	.state_version = 1,
};

static void build(struct rig *rig)
{
	struct pci_host *host = vr_machine(rig);
	struct virtio_config config = { .id = "echo",
					.features = F_CONFIG,
					.queues = 3,
					.queue_size = 64,
					.config_bytes = sizeof(echo->space),
					.devfn = VR_DEVFN };

	echo = host_alloc(sizeof(*echo));
	config.config = echo->space;
	assert_int_equal(virtio_add(host, &echo->v, &echo_class, &echo_ops, &config, NULL), 0);
}

/* --- The driver's side of an echo --- */

static struct rig rig;
static struct vr d;
static struct vr_queue *q;

static void open_echo(uint64_t features, uint16_t size, int interrupts)
{
	rig_open(&rig, build);
	vr_open(&d, &rig, features, interrupts);
	vr_queue(&d, 0, 0, size);
	vr_start(&d);
	q = &d.queue[0];
}

struct sent {
	struct vr_buffer b[6];
	unsigned in, out;
	uint32_t bytes;
	uint16_t id;
};

/* `in` buffers with bytes that depend on `seed`, `out` buffers for the answer. */
static struct sent compose(unsigned in, unsigned out, uint32_t each, uint8_t seed)
{
	struct sent s = { .in = in, .out = out, .bytes = in * each };

	for (unsigned i = 0; i < in + out; i++) {
		bool writes = i >= in;
		uint32_t bytes = !writes ? each : (s.bytes + out - 1) / out;
		uint8_t *ram;

		s.b[i] = (struct vr_buffer){ vr_alloc(&d, bytes), bytes, writes };
		ram = vr_ram(&d, s.b[i].at);
		for (unsigned k = 0; k < bytes; k++)
			ram[k] = writes ? 0xee : (uint8_t)(seed + i * each + k);
	}
	return s;
}

static void check(const struct sent *s, uint8_t seed)
{
	for (uint32_t k = 0; k < s->bytes; k++) {
		const struct vr_buffer *b = &s->b[s->in + k / s->b[s->in].bytes];
		uint8_t got = *(uint8_t *)vr_ram(&d, b->at + k % s->b[s->in].bytes);

		assert_int_equal(got, (uint8_t)(seed + s->bytes - 1 - k));
	}
}

static struct sent send(unsigned in, unsigned out, uint8_t seed, bool table)
{
	struct sent s = compose(in, out, 5, seed);

	s.id = (table ? vr_add_table : vr_add)(&d, q, s.b, in + out);
	return s;
}

static void receive(const struct sent *s, uint8_t seed)
{
	uint32_t written;

	assert_int_equal(vr_used(&d, q, &written), s->id);
	assert_int_equal(written, s->bytes);
	check(s, seed);
}

/* --- Transport --- */

static void test_negotiation(void **state)
{
	uint64_t wanted;

	(void)state;
	rig_open(&rig, build);
	vr_open(&d, &rig, F_CONFIG, VR_MSIX);
	assert_int_equal(vr_cfg(&d, 0, 4), 0x106a1af4);
	assert_int_equal(vr_common(&d, 0x12, 2), 3);
	wanted = F_CONFIG | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC |
		 VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET;
	assert_true(vr_offered(&d) == wanted);
	vr_set_common(&d, 0, 2, 4);
	assert_int_equal(vr_common(&d, 4, 4), 0);
	/* Fixed once accepted; a bit of the status stays until the reset. */
	vr_set_common(&d, 8, 0, 4);
	vr_set_common(&d, 12, 0, 4);
	assert_int_equal(vr_common(&d, 12, 4), F_CONFIG);
	vr_set_common(&d, 0x14, 3, 1);
	assert_int_equal(vr_common(&d, 0x14, 1), 11);
	/* Without VERSION_1, or with something that was not offered: no. */
	vr_set_common(&d, 0x14, 0, 1);
	vr_set_common(&d, 0x14, 11, 1);
	assert_int_equal(vr_common(&d, 0x14, 1), 3);
	vr_set_common(&d, 8, 1, 4);
	vr_set_common(&d, 12, 1 | 1 << 10, 4);
	vr_set_common(&d, 0x14, 11, 1);
	assert_int_equal(vr_common(&d, 0x14, 1), 3);
	vr_set_common(&d, 0x14, 15, 1); /* nor can it be skipped */
	assert_int_equal(vr_common(&d, 0x14, 1), 3);
	vr_set_common(&d, 12, 1, 4);
	vr_set_common(&d, 0x14, 15, 1);
	assert_int_equal(vr_common(&d, 0x14, 1), 15);
	assert_int_equal(echo->starts, 1);
	rig_close(&rig);
}

static void test_queue_registers(void **state)
{
	(void)state;
	rig_open(&rig, build);
	vr_open(&d, &rig, VIRTIO_F_RING_RESET, VR_MSIX);
	vr_set_common(&d, 0x16, 2, 2);
	assert_int_equal(vr_common(&d, 0x18, 2), 64);
	assert_int_equal(vr_common(&d, 0x1a, 2), 0xffff);
	assert_int_equal(vr_common(&d, 0x1e, 2), 2);
	vr_set_common(&d, 0x1a, 4, 2); /* there are four entries: 0-3 */
	assert_int_equal(vr_common(&d, 0x1a, 2), 0xffff);
	for (unsigned size = 0; size < 200;
	     size += 33) { /* 0, and no power of two, and too large */
		vr_set_common(&d, 0x18, size, 2);
		vr_set_common(&d, 0x1c, 1, 2);
		assert_int_equal(vr_common(&d, 0x1c, 2), 0);
	}
	vr_set_common(&d, 0x18, 16, 2);
	vr_set_common(&d, 0x20, UINT64_C(0x1122334455667788), 8);
	assert_true(vr_common(&d, 0x20, 8) == UINT64_C(0x1122334455667788));
	assert_int_equal(vr_common(&d, 0x24, 4), 0x11223344);
	assert_int_equal(vr_common(&d, 0x26, 1), 0x22);
	vr_set_common(&d, 0x27, 0x99, 1);
	assert_int_equal(vr_common(&d, 0x24, 4), 0x99223344);
	vr_set_common(&d, 0x1c, 1, 2);
	vr_set_common(&d, 0x18, 8, 2); /* too late */
	vr_set_common(&d, 0x20, 0, 8);
	assert_int_equal(vr_common(&d, 0x18, 2), 16);
	assert_int_equal(vr_common(&d, 0x24, 4), 0x99223344);
	vr_set_common(&d, 0x3a, 1, 2);
	assert_int_equal(vr_common(&d, 0x1c, 2), 0);
	assert_int_equal(vr_common(&d, 0x18, 2), 64);
	vr_set_common(&d, 0x16, 3, 2); /* no such queue */
	assert_int_equal(vr_common(&d, 0x18, 2), 0);
	vr_set_common(&d, 0x1c, 1, 2);
	assert_int_equal(vr_common(&d, 0x1c, 2), 0);
	rig_close(&rig);
}

/* Enabled before the features are known; what does not fit them then is not. */
static void test_early_queues(void **state)
{
	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		rig_open(&rig, build);
		vr_open(&d, &rig, VIRTIO_F_RING_PACKED, VR_MSIX);
		vr_set_common(&d, 0x14, 0, 1);
		vr_set_common(&d, 8, 1, 4);
		vr_set_common(&d, 12, 1 | 1 << 2, 4);
		vr_queue(&d, 0, 0, 8);
		vr_queue(&d, 1, 1, 7);
		vr_set_common(&d, 12, packed ? 1 | 1 << 2 : 1, 4);
		vr_set_common(&d, 0x14, 15, 1);
		assert_int_equal(vr_common(&d, 0x14, 1), 15);
		assert_int_equal(vr_common(&d, 0x1c, 2), packed);
		vr_set_common(&d, 0x16, 0, 2);
		assert_int_equal(vr_common(&d, 0x1c, 2), 1);
		rig_close(&rig);
	}
}

static void test_device_configuration(void **state)
{
	uint8_t before;

	(void)state;
	open_echo(0, 16, VR_MSIX);
	rig_write(&rig, d.device + 4, 0x11223344, 4);
	assert_memory_equal(echo->space + 4, "\x44\x33\x22\x11", 4);
	assert_int_equal(rig_read(&rig, d.device + 5, 2), 0x2233);
	assert_int_equal(rig_read(&rig, d.device + 6, 8), 0x1122); /* zeros beyond the end */
	rig_write(&rig, d.device + 8, 0xffffffff, 4);              /* not wholly inside: dropped */
	assert_int_equal(echo->space[8], 0);
	before = (uint8_t)vr_common(&d, 0x15, 1);
	virtio_config_changed(&echo->v);
	assert_int_equal(vr_common(&d, 0x15, 1), (uint8_t)(before + 1));
	assert_int_equal(rig.messages[VR_VECTOR], 1);
	rig_close(&rig);
}

/* The window in configuration space, for who cannot map the BAR. */
static void test_window(void **state)
{
	unsigned cap;

	(void)state;
	open_echo(0, 16, VR_INTX);
	cap = vr_cfg(&d, 0x34, 1);
	while (vr_cfg(&d, cap, 1) != 9 || vr_cfg(&d, cap + 3, 1) != 5)
		cap = vr_cfg(&d, cap + 1, 1);
	rig_write(&rig, d.config + cap + 8, 0x12, 4);
	rig_write(&rig, d.config + cap + 12, 2, 4);
	assert_int_equal(vr_cfg(&d, cap + 16, 2), 3); /* num_queues */
	rig_write(&rig, d.config + cap + 8, 0x2004, 4);
	rig_write(&rig, d.config + cap + 12, 1, 4);
	rig_write(&rig, d.config + cap + 16, 0x5a, 1);
	assert_int_equal(echo->space[4], 0x5a);
	/* Nonsense is not done. */
	rig_write(&rig, d.config + cap + 12, 3, 4);
	rig_write(&rig, d.config + cap + 16, 0xff, 4);
	rig_write(&rig, d.config + cap + 12, 4, 4);
	rig_write(&rig, d.config + cap + 8, 0x7fffffff, 4);
	rig_write(&rig, d.config + cap + 16, 0xff, 4);
	rig_write(&rig, d.config + cap + 8, 0x2004, 4);
	rig_write(&rig, d.config + cap + 4, 1, 1); /* another BAR */
	rig_write(&rig, d.config + cap + 16, 0xff, 4);
	assert_int_equal(echo->space[4], 0x5a);
	rig_close(&rig);
}

/* --- Rings --- */

static void round_and_round(uint64_t features, uint16_t size)
{
	open_echo(features, size, VR_MSIX);
	for (unsigned i = 0; i < 300; i++) {
		uint8_t seed = (uint8_t)(i * 3);
		unsigned in = 1 + i % 2, out = 1 + i % 3 % 2;
		bool table = features & VIRTIO_F_INDIRECT_DESC && i % 3 == 0;
		struct sent s[2];

		d.room = 0x20000;
		s[0] = send(in, out, seed, table);
		s[1] = send(1, 0, seed, false);
		vr_kick(&d, q);
		receive(&s[0], seed);
		s[1].bytes = 0;
		receive(&s[1], seed);
	}
	assert_false(vr_broken(&d));
	assert_int_equal(rig.messages[VR_VECTOR + 1], 600);
	rig_close(&rig);
}

static void test_rings(void **state)
{
	(void)state;
	round_and_round(0, 8);
	round_and_round(VIRTIO_F_INDIRECT_DESC, 64);
	round_and_round(VIRTIO_F_RING_PACKED, 8);
	round_and_round(VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC, 7);
	round_and_round(VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC, 61);
}

/* A chain is the sum of direct descriptors and a table at its end. */
static void test_mixed_chain(void **state)
{
	struct sent s;
	struct vr_buffer table;

	(void)state;
	open_echo(VIRTIO_F_INDIRECT_DESC, 8, VR_MSIX);
	s = compose(2, 1, 5, 9);
	table = vr_table(&d, &s.b[1], 2);
	vr_desc(&d, q->desc, &s.b[0], 1, 5, false);
	vr_desc(&d, q->desc + 5 * 16, &table, 4, 0, false);
	vr_set(&d, q->driver + 4, 2, 0);
	vr_set(&d, q->driver + 2, 2, 1);
	vr_kick(&d, q);
	receive(&s, 9);
	rig_close(&rig);
}

/* Held back by the device: nothing is seen until the flush, then all of it, in any order. */
static void completes_in_its_own_order(uint64_t features)
{
	struct sent s[3];
	uint32_t written;

	open_echo(features, 8, VR_MSIX);
	echo->hold = true;
	for (unsigned i = 0; i < 3; i++)
		s[i] = send(1, 1, (uint8_t)(i * 50), false);
	vr_kick(&d, q);
	assert_int_equal(echo->held_count, 3);
	for (unsigned i = 3; i-- > 0;)
		virtio_push(&echo->v, 0, &echo->held[i], reply(&echo->v, &echo->held[i]));
	assert_int_equal(vr_used(&d, q, &written), -1);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 0);
	virtio_flush(&echo->v, 0);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 1);
	for (unsigned i = 3; i-- > 0;)
		receive(&s[i], (uint8_t)(i * 50));
	assert_int_equal(vr_used(&d, q, &written), -1);
	virtio_flush(&echo->v, 0); /* nothing new */
	assert_int_equal(rig.messages[VR_VECTOR + 1], 1);
	rig_close(&rig);
}

static void test_batches(void **state)
{
	(void)state;
	completes_in_its_own_order(0);
	completes_in_its_own_order(VIRTIO_F_RING_PACKED);
}

static void test_put_back(void **state)
{
	static const uint64_t kinds[] = { 0, VIRTIO_F_RING_PACKED };

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		open_echo(kinds[k], 5 + 3 * !k, VR_MSIX);
		for (unsigned i = 0; i < 20; i++) {
			struct sent s;

			d.room = 0x20000;
			echo->put_back = true;
			s = send(1, 2, 7, false);
			vr_kick(&d, q);
			receive(&s, 7);
		}
		rig_close(&rig);
	}
}

/* --- Notifications both ways --- */

static void events(uint64_t features)
{
	struct sent s[4];

	open_echo(features | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC, 8, VR_MSIX);
	for (unsigned lap = 0; lap < 20; lap++) { /* past the end of the ring at every offset */
		unsigned before = rig.messages[VR_VECTOR + 1];

		d.room = 0x20000;
		vr_event(&d, q, 2); /* not before the third */
		for (unsigned i = 0; i < 4; i++) {
			s[i] = send(1, 1, 7, true);
			if (lap || i)
				assert_true(i > 0 || vr_kick_wanted(&d, q));
			vr_kick(&d, q);
			assert_int_equal(rig.messages[VR_VECTOR + 1], before + (i >= 2));
		}
		for (unsigned i = 0; i < 3; i++)
			receive(&s[i], 7);
		vr_event(&d, q, 7); /* far away: one chain is in the ring at most */
		receive(&s[3], 7);
	}
	rig_close(&rig);
}

static void test_events(void **state)
{
	(void)state;
	events(0);
	events(VIRTIO_F_RING_PACKED);
}

static void test_interrupts_off(void **state)
{
	struct sent s;

	(void)state;
	open_echo(0, 8, VR_MSIX);
	vr_set(&d, q->driver, 2, 1); /* VIRTQ_AVAIL_F_NO_INTERRUPT */
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	receive(&s, 7);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 0);
	rig_close(&rig);
	open_echo(VIRTIO_F_RING_PACKED, 8, VR_MSIX);
	vr_set(&d, q->driver + 2, 2, 1); /* RING_EVENT_FLAGS_DISABLE */
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	receive(&s, 7);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 0);
	rig_close(&rig);
}

static void test_pin(void **state)
{
	unsigned gsi = 16 + pci_pirq_of(VR_DEVFN >> 3, 1);
	struct sent s;

	(void)state;
	open_echo(0, 8, VR_INTX);
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	receive(&s, 7);
	assert_int_equal(rig.level[gsi], 1);
	virtio_config_changed(&echo->v);
	assert_int_equal(rig_read(&rig, d.isr, 1), 3);
	assert_int_equal(rig.level[gsi], 0);
	assert_int_equal(rig_read(&rig, d.isr, 1), 0);
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	assert_int_equal(rig.level[gsi], 1);
	vr_set_common(&d, 0x14, 0, 1); /* a reset takes the interrupt back */
	assert_int_equal(rig.level[gsi], 0);
	rig_close(&rig);
}

static void test_not_running(void **state)
{
	struct sent s;
	uint32_t written;

	(void)state;
	rig_open(&rig, build);
	vr_open(&d, &rig, 0, VR_MSIX);
	vr_queue(&d, 0, 0, 8);
	q = &d.queue[0];
	s = send(1, 1, 7, false);
	vr_kick(&d, q); /* too early */
	assert_int_equal(vr_used(&d, q, &written), -1);
	vr_start(&d); /* what came early is found */
	receive(&s, 7);
	rig_write(&rig, d.config + 4, 2, 2); /* no bus mastering: no touch of memory */
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	assert_int_equal(vr_used(&d, q, &written), -1);
	rig_write(&rig, d.config + 4, 6, 2);
	vr_kick(&d, q);
	receive(&s, 7);
	rig_write(&rig, d.notify + 4 * 2, 2, 2); /* a queue that is not enabled, and no queue */
	rig_write(&rig, d.notify + 4 * 63, 2, 2);
	assert_false(vr_broken(&d));
	rig_close(&rig);
}

/* --- Drivers that break the ring --- */

static void breaks(uint64_t features, void (*wrong)(void))
{
	struct sent s;
	uint32_t written;

	open_echo(features, 8, VR_MSIX);
	wrong();
	vr_kick(&d, q);
	assert_true(vr_broken(&d));
	assert_int_equal(rig.messages[VR_VECTOR], 1);
	assert_int_equal(echo->chains, 0);
	assert_int_equal(vr_used(&d, q, &written), -1);
	s = send(1, 1, 7, false);
	vr_kick(&d, q); /* nothing more happens, until a reset */
	assert_int_equal(echo->chains, 0);
	vr_open(&d, &rig, features, VR_MSIX);
	vr_queue(&d, 0, 0, 8);
	vr_start(&d);
	s = send(1, 1, 7, false);
	vr_kick(&d, q);
	receive(&s, 7);
	rig_close(&rig);
}

static void available(uint16_t head)
{
	vr_set(&d, q->driver + 4, 2, head);
	vr_set(&d, q->driver + 2, 2, 1);
}

static void split_desc(unsigned n, uint64_t to, uint32_t bytes, uint16_t flags, uint16_t next)
{
	struct vr_buffer b = { to, bytes, false };

	vr_desc(&d, q->desc + 16 * n, &b, flags, next, false);
}

static void packed_desc(unsigned n, uint64_t to, uint32_t bytes, uint16_t flags)
{
	struct vr_buffer b = { to, bytes, false };

	vr_desc(&d, q->desc + 16 * n, &b, flags | 0x80, 0, true);
}

static void head_beyond(void)
{
	available(8);
}
static void index_ahead(void)
{
	vr_set(&d, q->driver + 2, 2, 9);
}
static void next_beyond(void)
{
	split_desc(0, 0x1000, 8, 1, 8);
	available(0);
}
static void loop(void)
{
	split_desc(0, 0x1000, 8, 1, 1);
	split_desc(1, 0x1000, 8, 1, 0);
	available(0);
}
static void loop_of_nothing(void)
{
	split_desc(0, 0x1000, 0, 1, 0);
	available(0);
}
static void not_memory(void)
{
	split_desc(0, VR_RAM - 4, 8, 0, 0);
	available(0);
}
static void wraps(void)
{
	split_desc(0, ~UINT64_C(0) - 3, 8, 0, 0);
	available(0);
}
static void bar(void)
{
	split_desc(0, VR_BAR, 8, 2, 0);
	available(0);
}
static void write_then_read(void)
{
	split_desc(0, 0x1000, 8, 3, 1);
	split_desc(1, 0x1000, 8, 0, 0);
	available(0);
}
static void long_table(void)
{
	split_desc(0, 0x80000, 16 * 257, 4, 0);
	for (unsigned i = 0; i < 257; i++) {
		struct vr_buffer b = { 0, 1, false };

		vr_desc(&d, 0x80000 + 16 * i, &b, i < 256 ? 1 : 0, (uint16_t)(i + 1), false);
	}
	available(0);
}
static void table_in_table(void)
{
	split_desc(0, 0x1000, 16, 4, 0);
	vr_set(&d, 0x1000, 8, 0x2000);
	vr_set(&d, 0x1008, 4, 16);
	vr_set(&d, 0x100c, 2, 4);
	available(0);
}
static void table_and_next(void)
{
	split_desc(0, 0x1000, 16, 5, 1);
	available(0);
}
static void table_of_bytes(void)
{
	split_desc(0, 0x1000, 17, 4, 0);
	available(0);
}
static void empty_table(void)
{
	split_desc(0, 0x1000, 0, 4, 0);
	available(0);
}
static void table_nowhere(void)
{
	split_desc(0, UINT64_C(1) << 40, 16, 4, 0);
	available(0);
}
static void packed_endless(void)
{
	for (unsigned i = 0; i < 8; i++)
		packed_desc(i, 0x1000, 8, 1);
}
static void packed_not_memory(void)
{
	packed_desc(0, VR_RAM, 8, 0);
}
static void packed_table_in_table(void)
{
	packed_desc(0, 0x1000, 16, 4);
	vr_set(&d, 0x100e, 2, 4);
}
static void packed_table_and_next(void)
{
	packed_desc(0, 0x1000, 16, 5);
}
static void packed_large_table(void)
{
	packed_desc(0, 0x1000, 16 * 257, 4);
}

static void test_broken_rings(void **state)
{
	static void (*const split[])(void) = {
		head_beyond, index_ahead, next_beyond, loop,       loop_of_nothing,
		not_memory,  wraps,       bar,         long_table, write_then_read,
	};
	static void (*const tables[])(void) = {
		table_in_table, table_and_next, table_of_bytes, empty_table, table_nowhere,
	};
	static void (*const packed[])(void) = {
		packed_endless,        packed_not_memory,  packed_table_in_table,
		packed_table_and_next, packed_large_table,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(split) / sizeof(split[0]); i++)
		breaks(VIRTIO_F_INDIRECT_DESC, split[i]);
	for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		breaks(VIRTIO_F_INDIRECT_DESC, tables[i]);
	for (unsigned i = 0; i < sizeof(packed) / sizeof(packed[0]); i++)
		breaks(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED, packed[i]);
	breaks(0, table_of_bytes); /* tables were not agreed on */
	breaks(VIRTIO_F_RING_PACKED, packed_table_and_next);
}

/* Each of the three areas nowhere. */
static void test_rings_outside_memory(void **state)
{
	(void)state;
	for (unsigned where = 0x20; where <= 0x30; where += 8) {
		for (unsigned packed = 0; packed < 2; packed++) {
			rig_open(&rig, build);
			vr_open(&d, &rig, packed ? VIRTIO_F_RING_PACKED : 0, VR_MSIX);
			vr_queue(&d, 0, 0, 8);
			q = &d.queue[0];
			send(1, 1, 7, false);
			echo->v.queue[0].enabled = false;
			vr_set_common(&d, where, VR_RAM + 0x1000, 8);
			vr_set_common(&d, 0x1c, 1, 2);
			vr_set_common(&d, 0x14, 15, 1);
			vr_kick(&d, q);
			/* Without event indexes a packed ring's device area is never touched. */
			assert_int_equal(vr_broken(&d), !(packed && where == 0x30));
			rig_close(&rig);
		}
	}
}

/* --- Pointers into guest memory --- */

static void code_written(void *arg, gpa_t at, uint64_t bytes)
{
	*(uint64_t *)arg += (at.v >= 0x40000 && at.v < 0x42000) ? bytes : 0;
}

static void test_pointers(void **state)
{
	struct vr_buffer b[3] = {
		{0x30000,  16, false},
                { 0x40ff0, 32, true },
                { 0x50000, 8,  true }
	};
	struct iovec iov[4];
	uint64_t told = 0;
	uint8_t *ram;

	(void)state;
	open_echo(0, 8, VR_MSIX);
	ram = rig.vm->mem.slots->host;
	echo->hold = true;
	vr_add(&d, q, b, 3);
	vr_kick(&d, q);
	assert_int_equal(echo->held_count, 1);
	assert_int_equal(echo->held[0].in_bytes, 16);
	assert_int_equal(echo->held[0].out_bytes, 40);
	assert_int_equal(virtio_iov(&echo->v, &echo->held[0], true, 4, 100, iov, 4), 2);
	assert_ptr_equal(iov[0].iov_base, ram + 0x40ff4);
	assert_int_equal(iov[0].iov_len, 28);
	assert_ptr_equal(iov[1].iov_base, ram + 0x50000);
	assert_int_equal(iov[1].iov_len, 8);
	assert_int_equal(virtio_iov(&echo->v, &echo->held[0], true, 0, 100, iov, 1), 1);
	assert_int_equal(virtio_iov(&echo->v, &echo->held[0], false, 10, 100, iov, 4), 1);
	assert_int_equal(iov[0].iov_len, 6);
	assert_int_equal(virtio_iov(&echo->v, &echo->held[0], false, 16, 100, iov, 4), 0);
	rig.vm->mem.code_written = code_written;
	rig.vm->mem.code_arg = &told;
	memset(rig.vm->mem.slots->marks, MARK_CODE | MARK_CLEAN, VR_RAM >> PAGE_SHIFT);
	virtio_wrote(&echo->v, &echo->held[0], 8, 30);
	assert_int_equal(told, 24); /* the part of it that is in that buffer */
	assert_false(*mem_mark(rig.vm->mem.slots, gpa(0x41000)) & MARK_CLEAN);
	assert_true(*mem_mark(rig.vm->mem.slots, gpa(0x42000)) & MARK_CLEAN);
	rig_close(&rig);
}

/* A ring that is never empty: each entry ends, the next one comes by itself, and all is done. */
static void full_for_ever(uint64_t features)
{
	struct vr_buffer b = { .bytes = 1 };

	open_echo(features, 1, VR_MSIX);
	b.at = vr_alloc(&d, 1);
	echo->refill = 5000;
	vr_add(&d, q, &b, 1);
	vr_kick(&d, q);
	assert_int_equal(echo->chains, VIRTIO_TURN);
	assert_int_equal(echo->v.again, 1);
	rig_step(&rig, 1000);
	assert_int_equal(echo->chains, 2 * VIRTIO_TURN);
	rig_step(&rig, 10000);
	assert_int_equal(echo->chains, 5001);
	assert_int_equal(echo->v.again, 0);
	rig_close(&rig);
}

static void test_turns(void **state)
{
	(void)state;
	full_for_ever(0);
	full_for_ever(VIRTIO_F_RING_PACKED);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build, 80);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_negotiation),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_early_queues),
		cmocka_unit_test(test_device_configuration),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_mixed_chain),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_put_back),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_interrupts_off),
		cmocka_unit_test(test_pin),
		cmocka_unit_test(test_not_running),
		cmocka_unit_test(test_broken_rings),
		cmocka_unit_test(test_rings_outside_memory),
		cmocka_unit_test(test_pointers),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_hostile_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
