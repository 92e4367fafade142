/*
 * virtio_rng.c - tests of the entropy device.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_rng.h"
#include "test/device/virtio_rig.h"

static void build_with(struct rig *rig, uint8_t key)
{
	struct virtio_rng_config config = { .id = "rng", .devfn = VR_DEVFN };

	memset(config.key, key, sizeof(config.key));
	assert_int_equal(virtio_rng_create(vr_machine(rig), &config, NULL), 0);
}

static void build(struct rig *rig)
{
	build_with(rig, 0);
}

static void build_other(struct rig *rig)
{
	build_with(rig, 1);
}

/* Asks for `bytes` and gives them in `out`. */
static void ask(rig_build *with, uint64_t features, uint8_t *out, unsigned bytes)
{
	struct rig rig;
	struct vr d;
	struct vr_buffer b = { .bytes = bytes, .device_writes = true };
	uint32_t written;

	rig_open(&rig, with);
	vr_open(&d, &rig, features, VR_MSIX);
	vr_queue(&d, 0, 0, 8);
	vr_start(&d);
	b.at = vr_alloc(&d, bytes);
	vr_add(&d, &d.queue[0], &b, 1);
	vr_kick(&d, &d.queue[0]);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), 0);
	assert_int_equal(written, bytes);
	assert_int_equal(rig.messages[VR_VECTOR + 1], 1);
	memcpy(out, vr_ram(&d, b.at), bytes);
	rig_close(&rig);
}

static void test_stream(void **state)
{
	/* RFC 8439, A.1 test vector 2: key zero, block 1. */
	static const uint8_t expected[16] = { 0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a,
					      0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d };
	uint8_t one[100], two[100];

	(void)state;
	ask(build, 0, one, sizeof(one));
	assert_memory_equal(one, expected, sizeof(expected));
	ask(build, VIRTIO_F_RING_PACKED, two, sizeof(two));
	assert_memory_equal(one, two, sizeof(one)); /* the same key, the same bytes */
	ask(build_other, 0, two, sizeof(two));
	assert_memory_not_equal(one, two, sizeof(one));
}

/* What was given once is not given again, and readable buffers get nothing. */
static void test_requests(void **state)
{
	struct rig rig;
	struct vr d;
	struct vr_buffer b[2] = {
		{.bytes = 64           },
                { .bytes = 64, .device_writes = true }
	};
	uint8_t first[64];
	uint32_t written;

	(void)state;
	rig_open(&rig, build);
	vr_open(&d, &rig, 0, VR_INTX);
	vr_queue(&d, 0, 0, 8);
	vr_start(&d);
	b[0].at = vr_alloc(&d, 64);
	b[1].at = vr_alloc(&d, 64);
	vr_add(&d, &d.queue[0], b, 2);
	vr_kick(&d, &d.queue[0]);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), 0);
	assert_int_equal(written, 64);
	memcpy(first, vr_ram(&d, b[1].at), 64);
	vr_add(&d, &d.queue[0], b, 1);
	vr_add(&d, &d.queue[0], &b[1], 1);
	vr_kick(&d, &d.queue[0]);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), 2);
	assert_int_equal(written, 0);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), 3);
	assert_int_equal(written, 64);
	assert_memory_not_equal(first, vr_ram(&d, b[1].at), 64);
	assert_int_equal(rig.level[16 + pci_pirq_of(VR_DEVFN >> 3, 1)], 1);
	rig_close(&rig);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build, 60);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_hostile_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
