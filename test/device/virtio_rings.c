/*
 * virtio_rings.c - tests of the virtio core: both kinds of ring, notifications, pointers, turns.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/device/virtio_echo.h"

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rings),    cmocka_unit_test(test_mixed_chain),
		cmocka_unit_test(test_batches),  cmocka_unit_test(test_put_back),
		cmocka_unit_test(test_events),   cmocka_unit_test(test_interrupts_off),
		cmocka_unit_test(test_pin),      cmocka_unit_test(test_not_running),
		cmocka_unit_test(test_pointers), cmocka_unit_test(test_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
