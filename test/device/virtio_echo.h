/*
 * virtio_echo.h - a virtio device that echoes, and the driver's side of it, for the tests of the
 * core: what a chain gives the device to read it writes back, backwards.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_VIRTIO_ECHO_H
#define TEST_VIRTIO_ECHO_H

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
static inline void refill(struct virtio *v, unsigned q)
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

static inline void echo_notify(struct virtio *v, unsigned q)
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

static inline void echo_start(struct virtio *v)
{
	((struct echo *)v)->starts++;
}

static inline void echo_reset(struct virtio *v)
{
	struct echo *e = (struct echo *)v;

	e->resets++;
	e->held_count = 0;
	e->chains = 0;
}

static inline void echo_queue_reset(struct virtio *v, unsigned q)
{
	(void)q;
	((struct echo *)v)->held_count = 0;
}

static inline void echo_config_write(struct virtio *v, unsigned off, unsigned size, uint64_t value)
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

static inline void build(struct rig *rig)
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

static inline void open_echo(uint64_t features, uint16_t size, int interrupts)
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
static inline struct sent compose(unsigned in, unsigned out, uint32_t each, uint8_t seed)
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

static inline void check(const struct sent *s, uint8_t seed)
{
	for (uint32_t k = 0; k < s->bytes; k++) {
		const struct vr_buffer *b = &s->b[s->in + k / s->b[s->in].bytes];
		uint8_t got = *(uint8_t *)vr_ram(&d, b->at + k % s->b[s->in].bytes);

		assert_int_equal(got, (uint8_t)(seed + s->bytes - 1 - k));
	}
}

static inline struct sent send(unsigned in, unsigned out, uint8_t seed, bool table)
{
	struct sent s = compose(in, out, 5, seed);

	s.id = (table ? vr_add_table : vr_add)(&d, q, s.b, in + out);
	return s;
}

static inline void receive(const struct sent *s, uint8_t seed)
{
	uint32_t written;

	assert_int_equal(vr_used(&d, q, &written), s->id);
	assert_int_equal(written, s->bytes);
	check(s, seed);
}

#endif
