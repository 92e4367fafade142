/*
 * virtio_broken.c - tests of the virtio core: drivers that break their rings.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/virtio_echo.h"

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

static void test_hostile_driver(void **state)
{
	(void)state;
	vr_fuzz(build, 80);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken_rings),
		cmocka_unit_test(test_rings_outside_memory),
		cmocka_unit_test(test_hostile_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
