/*
 * virtio_9p.c - tests of the 9P device: messages both ways, flights, counted time, loads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_9p.h"
#include "device/virtio.h"
#include "test/device/virtio_rig.h"

/* Answers with the message itself, its type + 1, at once or when it is told to. */
static struct far {
	bool later;
	struct p9_request *waiting[64];
	unsigned waits, submits, resets, loads;
} far;
static uint64_t latency;

static void far_answer(struct p9_request *r)
{
	size_t n = r->in_bytes < r->out_room ? r->in_bytes : r->out_room;

	assert_true(r->in_bytes >= P9_HEADER && r->in_bytes <= P9_MESSAGE_MOST);
	assert_true(r->out_room >= P9_ERROR_BYTES && r->out_room <= P9_MESSAGE_MOST);
	memcpy(r->out, r->in, n);
	r->out[4]++;
	r->out_bytes = n;
	r->done(r);
}

static void far_drain(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < far.waits; i++)
		far_answer(far.waiting[i]);
	far.waits = 0;
}

static void far_submit(void *arg, struct p9_request *r)
{
	(void)arg;
	far.submits++;
	far.waiting[far.waits++] = r;
	if (!far.later)
		far_drain(NULL);
}

static void far_reset(void *arg)
{
	(void)arg;
	far.resets++;
}

static size_t far_save(void *arg, void *to, size_t room)
{
	(void)arg;
	assert_true(far.waits == 0 && room >= P9_SAVED_LEAST);
	memcpy(to, "saved", 5);
	return 5;
}

static void far_load(void *arg, const void *from, size_t bytes)
{
	(void)arg;
	(void)from;
	assert_true(bytes <= 65536);
	far.loads += bytes != 5 || memcmp(from, "saved", 5) == 0;
}

static void build(struct rig *rig)
{
	struct virtio_9p_config config = {
		.id = "share0",
		.devfn = VR_DEVFN,
		.tag = "home",
		.latency_ns = latency,
		.backend = {.submit = far_submit,
                            .drain = far_drain,
                            .reset = far_reset,
                            .save = far_save,
                            .load = far_load},
	};

	assert_int_equal(virtio_9p_create(vr_machine(rig), &config, NULL), 0);
	rig->dev = (struct device *)(uintptr_t)vr_device(rig);
}

static void open_device(struct vr *d, struct rig *rig, uint64_t features, uint64_t counted)
{
	memset(&far, 0, sizeof(far));
	latency = counted;
	rig_open(rig, build);
	vr_open(d, rig, features | 1, VR_MSIX);
	vr_queue(d, 0, 0, 64);
	vr_start(d);
}

/* A message of `bytes` that says it has `size`; where its answer will be. */
static uint64_t ask(struct vr *d, uint32_t size, uint32_t bytes, uint32_t room)
{
	struct vr_buffer b[2] = {
		{.at = vr_alloc(d, bytes),        .bytes = bytes       },
		{ .at = vr_alloc(d,           room), .bytes = room, .device_writes = true }
	};

	memset(vr_ram(d, b[0].at), 0x11, bytes);
	vr_set(d, b[0].at, 4, size);
	vr_add(d, &d->queue[0], b, 2);
	vr_kick(d, &d->queue[0]);
	posted_take(d->rig->vm);
	return b[1].at;
}

static void both_ways(uint64_t features)
{
	struct rig rig;
	struct vr d;
	uint32_t written;
	uint64_t at;

	open_device(&d, &rig, features, 0);
	assert_int_equal(rig_read(&rig, d.device, 2), 4);
	assert_int_equal(rig_read(&rig, d.device + 2, 4), 0x656d6f68); /* "home" */
	at = ask(&d, 30, 30, 100);
	assert_true(vr_used(&d, &d.queue[0], &written) >= 0);
	assert_int_equal(written, 30);
	assert_int_equal(vr_get(&d, at + 4, 1), 0x12);
	assert_int_equal(vr_get(&d, at + 29, 1), 0x11);
	rig_close(&rig);
}

static void test_messages(void **state)
{
	(void)state;
	both_ways(0);
	both_ways(VIRTIO_F_RING_PACKED);
}

/* Sizes that are not what came are answered with an error, without the backend. */
static void test_lies(void **state)
{
	static const uint32_t sizes[] = { 0, 6, 31, P9_MESSAGE_MOST + 1, UINT32_MAX };
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, 0, 0);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t at = ask(&d, sizes[i], 30, 100);

		assert_true(vr_used(&d, &d.queue[0], &written) >= 0);
		assert_int_equal(written, P9_ERROR_BYTES);
		assert_int_equal(vr_get(&d, at + 4, 1), 7);
		assert_int_equal(vr_get(&d, at + 5, 2), 0x1111);
	}
	assert_int_equal(far.submits, 0);
	assert_false(vr_broken(&d));
	ask(&d, 30, 30, 10); /* not even room for an error */
	assert_true(vr_broken(&d));
	rig_close(&rig);
}

/* More requests than the device takes at a time wait in the ring. */
static void test_many(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;
	unsigned done = 0;

	(void)state;
	open_device(&d, &rig, 0, 0);
	far.later = true;
	for (unsigned i = 0; i < 30; i++)
		ask(&d, 30, 30, 100);
	assert_true(far.submits > 1 && far.submits < 30);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), -1);
	for (unsigned i = 0; i < 30; i++) {
		far_drain(NULL);
		posted_take(rig.vm);
	}
	while (vr_used(&d, &d.queue[0], &written) >= 0)
		done++;
	assert_int_equal(done, 30);
	assert_int_equal(far.submits, 30);
	rig_close(&rig);
}

static void test_counted(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, 0, 5000);
	far.later = true;
	ask(&d, 30, 30, 100);
	rig_step(&rig, 4999);
	assert_int_equal(far.submits, 0);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), -1);
	rig_step(&rig, 1);
	assert_int_equal(far.submits, 1);
	assert_true(vr_used(&d, &d.queue[0], &written) >= 0);
	rig_close(&rig);
}

/* A request in flight is submitted again where the machine is loaded; what was open is not. */
static void test_load(void **state)
{
	struct rig one, two;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &one, 0, 0);
	far.later = true;
	ask(&d, 30, 30, 100);
	rig_open(&two, build);
	fuzz_load(&two, &one);
	assert_int_equal(far.resets, 1);
	assert_int_equal(far.submits, 2);
	far_drain(NULL);
	posted_take(two.vm);
	d.rig = &two;
	assert_true(vr_used(&d, &d.queue[0], &written) >= 0);
	assert_int_equal(written, 30);
	ask(&d, 30, 30, 100);
	vr_set_common(&d, 0x14, 0, 1); /* a reset with one in flight */
	assert_int_equal(far.waits, 0);
	assert_int_equal(far.resets, 2);
	rig_close(&one);
	rig_close(&two);
}

/* What is with the host when a machine is saved ends before: it cannot be done twice. */
static void test_saving(void **state)
{
	struct rig rig;
	struct vr d;
	uint32_t written;

	(void)state;
	open_device(&d, &rig, 0, 0);
	far.later = true;
	ask(&d, 30, 30, 100);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), -1);
	rig.dev->ops->saving(rig.dev);
	assert_true(vr_used(&d, &d.queue[0], &written) >= 0);
	assert_int_equal(far.submits, 1);
	assert_int_equal(rig.dev->ops->loaded(rig.dev, NULL), 0);
	assert_int_equal(far.loads, 1);
	assert_int_equal(far.submits, 1);
	rig_close(&rig);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	memset(&far, 0, sizeof(far));
	latency = 0;
	far.later = true;
	vr_fuzz(build, 60);
	latency = 1000;
	vr_fuzz(build, 60);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),       cmocka_unit_test(test_lies),
		cmocka_unit_test(test_many),           cmocka_unit_test(test_counted),
		cmocka_unit_test(test_load),           cmocka_unit_test(test_saving),
		cmocka_unit_test(test_hostile_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
