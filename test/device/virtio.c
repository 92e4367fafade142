/*
 * virtio.c - tests of the virtio core: the transport, by an echo.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/virtio_echo.h"

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_negotiation),  cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_early_queues), cmocka_unit_test(test_device_configuration),
		cmocka_unit_test(test_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
