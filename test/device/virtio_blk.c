/*
 * virtio_blk.c - tests of the block device, on a disk that is an array.
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_blk.h"

#include <errno.h>

#include "test/device/virtio_rig.h"

#define SECTORS  256u
#define LATENCY  100000u
#define HELD_MAX 128

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
#define F_FLUSH (UINT64_C(1) << 9)
#define F_MQ    (UINT64_C(1) << 12)

/* --- The disk --- */

struct array_disk {
	struct blk blk;
	uint8_t bytes[SECTORS * BLK_SECTOR];
	bool hold;   /* requests wait for release() */
	bool frozen; /* writes do nothing: two machines see the same disk, whatever else they do */
	struct blk_request *held[HELD_MAX];
	unsigned held_count, ops[5], drains;
};

static int array_run(struct array_disk *d, struct blk_request *r)
{
	uint64_t at = r->offset;

	d->ops[r->op]++;
	if (r->offset % BLK_SECTOR || r->bytes % BLK_SECTOR ||
	    r->offset + r->bytes > sizeof(d->bytes))
		return -EINVAL;
	for (unsigned i = 0; i < r->iovs; i++) {
		if (r->op == BLK_READ)
			memcpy(r->iov[i].iov_base, d->bytes + at, r->iov[i].iov_len);
		else if (!d->frozen)
			memcpy(d->bytes + at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
	if ((r->op == BLK_ZERO || r->op == BLK_DISCARD) && !d->frozen)
		memset(d->bytes + at, 0, r->bytes);
	return 0;
}

static void array_submit(struct blk *blk, struct blk_request *r)
{
	struct array_disk *d = (struct array_disk *)blk;

	if (d->hold)
		d->held[d->held_count++] = r;
	else
		r->done(r, array_run(d, r));
}

static void release(struct array_disk *d, unsigned n, int err)
{
	struct blk_request *r = d->held[n];

	memmove(&d->held[n], &d->held[n + 1], (--d->held_count - n) * sizeof(r));
	r->done(r, err ? err : array_run(d, r));
}

static void array_wait(struct blk *blk, struct blk_request *r)
{
	struct array_disk *d = (struct array_disk *)blk;

	for (unsigned i = 0; i < d->held_count; i++) {
		if (d->held[i] == r) {
			release(d, i, 0);
			return;
		}
	}
}

static void array_drain(struct blk *blk)
{
	struct array_disk *d = (struct array_disk *)blk;

	d->drains++;
	while (d->held_count)
		release(d, 0, -ENOSPC);
}

static const struct blk_ops array_ops = { array_submit, array_wait, array_drain };

static struct array_disk disks[2];
static unsigned disks_open;

static struct array_disk *new_disk(bool readonly)
{
	struct array_disk *d = &disks[disks_open++ % 2];

	memset(d, 0, sizeof(*d));
	d->blk.ops = &array_ops;
	d->blk.info = (struct blk_info){
		.bytes = sizeof(d->bytes), .block = 4096, .cluster = 65536, .readonly = readonly
	};
	for (unsigned i = 0; i < sizeof(d->bytes); i++)
		d->bytes[i] = (uint8_t)(i / BLK_SECTOR + i);
	return d;
}

static void build_with(struct rig *rig, bool readonly, uint64_t latency)
{
	struct virtio_blk_config config = { .id = "disk0",
					    .devfn = VR_DEVFN,
					    .disk = &new_disk(readonly)->blk,
					    .serial = "serial-of-the-disk-is-long",
					    .queues = 2,
					    .latency_ns = latency };

	assert_int_equal(virtio_blk_create(vr_machine(rig), &config, NULL), 0);
	rig->dev = rig->vm->devices;
	while (rig->dev->next)
		rig->dev = rig->dev->next;
}

static void build(struct rig *rig)
{
	build_with(rig, false, 0);
}

static void build_readonly(struct rig *rig)
{
	build_with(rig, true, 0);
}

static void build_counted(struct rig *rig)
{
	build_with(rig, false, LATENCY);
}

static void build_frozen(struct rig *rig)
{
	build_with(rig, false, LATENCY);
	disks[(disks_open - 1) % 2].frozen = true;
}

/* --- The driver --- */

struct session {
	struct rig rig;
	struct vr d;
	struct array_disk *disk;
};

static void open_blk(struct session *s, rig_build *with, uint64_t features)
{
	disks_open = 0;
	rig_open(&s->rig, with);
	vr_open(&s->d, &s->rig, features, VR_MSIX);
	vr_queue(&s->d, 0, 0, 64);
	vr_queue(&s->d, 1, 1, 64);
	vr_start(&s->d);
	s->disk = &disks[0];
}

struct request {
	uint64_t header, data, status;
	uint16_t id;
};

/* Makes a request available, without notification. */
static struct request start(struct session *s, unsigned q, uint32_t type, uint64_t sector,
			    const void *data, uint32_t bytes)
{
	struct vr *d = &s->d;
	bool in = type == IN || type == GET_ID;
	struct request r = { vr_alloc(d, 16), vr_alloc(d, bytes), vr_alloc(d, 1), 0 };
	/* The data in two pieces that no sector fits, as a driver may. */
	struct vr_buffer b[4] = {
		{r.header,            16,                false},
		{ r.data,             bytes / 3,         in   },
		{ r.data + bytes / 3, bytes - bytes / 3, in   },
		{ r.status,           1,                 true }
	};

	vr_set(d, r.header, 4, type);
	vr_set(d, r.header + 4, 4, 0);
	vr_set(d, r.header + 8, 8, sector);
	vr_set(d, r.status, 1, 0xee);
	if (data)
		memcpy(vr_ram(d, r.data), data, bytes);
	else
		memset(vr_ram(d, r.data), 0xdd, bytes);
	if (bytes == 0)
		b[1] = b[3];
	r.id = vr_add_table(d, &d->queue[q], b, bytes ? 4 : 2);
	return r;
}

/* The same, done; its status. */
static uint8_t run(struct session *s, uint32_t type, uint64_t sector, const void *data,
		   uint32_t bytes, struct request *r)
{
	struct request own;
	uint32_t written;

	r = r ? r : &own;
	*r = start(s, 0, type, sector, data, bytes);
	vr_kick(&s->d, &s->d.queue[0]);
	posted_take(s->rig.vm);
	assert_int_equal(vr_used(&s->d, &s->d.queue[0], &written), r->id);
	return (uint8_t)vr_get(&s->d, r->status, 1);
}

/* --- Tests --- */

static void test_configuration(void **state)
{
	struct session s;
	uint64_t at;

	(void)state;
	open_blk(&s, build, F_FLUSH | F_MQ);
	at = s.d.device;
	assert_int_equal(rig_read(&s.rig, at, 8), SECTORS);
	assert_int_equal(rig_read(&s.rig, at + 12, 4), 126);
	assert_int_equal(rig_read(&s.rig, at + 20, 4), 512);
	assert_int_equal(rig_read(&s.rig, at + 24, 1), 3);
	assert_int_equal(rig_read(&s.rig, at + 34, 2), 2);
	assert_int_equal(rig_read(&s.rig, at + 40, 4), 1);
	assert_int_equal(rig_read(&s.rig, at + 44, 4), 128);
	assert_int_equal(rig_read(&s.rig, at + 62, 8), 0); /* beyond its end */
	assert_int_equal(vr_offered(&s.d) & 0xffffff, 0x7644);
	rig_close(&s.rig);
	open_blk(&s, build_readonly, F_FLUSH);
	assert_int_equal(vr_offered(&s.d) & 0xffffff, 0x1664);
	rig_close(&s.rig);
}

static void data_goes_both_ways(uint64_t features)
{
	uint8_t data[3 * BLK_SECTOR];
	struct session s;
	struct request r;

	open_blk(&s, build, features);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (unsigned lap = 0; lap < 150; lap++) { /* round the rings more than twice */
		s.d.room = 0x20000;
		data[0] = (uint8_t)lap;
		assert_int_equal(run(&s, OUT, lap, data, sizeof(data), NULL), 0);
		assert_memory_equal(s.disk->bytes + lap * BLK_SECTOR, data, sizeof(data));
		assert_int_equal(run(&s, IN, lap, NULL, sizeof(data), &r), 0);
		assert_memory_equal(vr_ram(&s.d, r.data), data, sizeof(data));
	}
	assert_int_equal(run(&s, FLUSH, 0, NULL, 0, NULL), 0);
	assert_int_equal(s.disk->ops[BLK_FLUSH], 1);
	assert_int_equal(s.rig.messages[VR_VECTOR + 1], 301);
	rig_close(&s.rig);
}

static void test_data(void **state)
{
	(void)state;
	data_goes_both_ways(F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	data_goes_both_ways(F_FLUSH | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED);
}

static void test_identity(void **state)
{
	struct session s;
	struct request r;

	(void)state;
	open_blk(&s, build, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	assert_int_equal(run(&s, GET_ID, 0, NULL, 20, &r), 0);
	assert_memory_equal(vr_ram(&s.d, r.data), "serial-of-the-disk-is-long", 20);
	rig_close(&s.rig);
}

static void test_ranges(void **state)
{
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = { 10, 4, 0 }, two[2] = { { 1, 1, 0 }, { 2, 1, 0 } };
	struct session s;

	(void)state;
	open_blk(&s, build, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	assert_int_equal(run(&s, WRITE_ZEROES, 0, &range, 16, NULL), 0);
	assert_int_equal(s.disk->bytes[10 * BLK_SECTOR + 5], 0);
	assert_int_equal(s.disk->bytes[14 * BLK_SECTOR + 5], 14 + 5);
	range.flags = 1;
	range.sector = 20;
	assert_int_equal(run(&s, WRITE_ZEROES, 0, &range, 16, NULL), 0);
	assert_int_equal(run(&s, DISCARD, 0, &range, 16, NULL), 2); /* unmap is not for it */
	range.flags = 0;
	assert_int_equal(run(&s, DISCARD, 0, &range, 16, NULL), 0);
	assert_int_equal(s.disk->ops[BLK_ZERO], 2);
	assert_int_equal(s.disk->ops[BLK_DISCARD], 1);
	range.sector = SECTORS - 3;
	assert_int_equal(run(&s, DISCARD, 0, &range, 16, NULL), 1);
	range.sector = UINT64_MAX;
	assert_int_equal(run(&s, DISCARD, 0, &range, 16, NULL), 1);
	assert_int_equal(run(&s, DISCARD, 0, two, 32, NULL), 1);
	assert_int_equal(run(&s, DISCARD, 0, two, 8, NULL), 1);
	assert_int_equal(s.disk->ops[BLK_DISCARD], 1);
	rig_close(&s.rig);
}

static void test_refusals(void **state)
{
	uint8_t data[BLK_SECTOR] = { 1 };
	struct session s;

	(void)state;
	open_blk(&s, build, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	assert_int_equal(run(&s, OUT, 0, data, 511, NULL), 1);
	assert_int_equal(run(&s, IN, SECTORS, NULL, 512, NULL), 1);
	assert_int_equal(run(&s, IN, SECTORS - 1, NULL, 1024, NULL), 1);
	assert_int_equal(run(&s, OUT, UINT64_MAX, data, 512, NULL), 1);
	assert_int_equal(run(&s, OUT, UINT64_C(1) << 55, data, 512, NULL), 1); /* 0 in bytes */
	assert_int_equal(run(&s, 99, 0, data, 512, NULL), 2);
	assert_int_equal(s.disk->ops[BLK_WRITE] + s.disk->ops[BLK_READ], 0);
	rig_close(&s.rig);
	open_blk(&s, build_readonly, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	assert_int_equal(run(&s, OUT, 0, data, 512, NULL), 1);
	assert_int_equal(run(&s, IN, 0, NULL, 512, NULL), 0);
	assert_int_equal(s.disk->ops[BLK_WRITE], 0);
	rig_close(&s.rig);
}

static void test_no_header(void **state)
{
	struct session s;
	struct vr_buffer b = { .bytes = 16 };

	(void)state;
	open_blk(&s, build, F_FLUSH);
	b.at = vr_alloc(&s.d, 16);
	vr_add(&s.d, &s.d.queue[0], &b, 1);
	vr_kick(&s.d, &s.d.queue[0]);
	assert_true(vr_broken(&s.d));
	assert_int_equal(s.rig.messages[VR_VECTOR], 1);
	rig_close(&s.rig);
	open_blk(&s, build, F_FLUSH);
	b = (struct vr_buffer){ vr_alloc(&s.d, 512), 512, true };
	vr_add(&s.d, &s.d.queue[0], &b, 1);
	vr_kick(&s.d, &s.d.queue[0]);
	assert_true(vr_broken(&s.d));
	rig_close(&s.rig);
}

/* Without FLUSH, a write is complete when it is safe. */
static void test_write_through(void **state)
{
	uint8_t data[BLK_SECTOR] = { 1 };
	struct session s;
	struct request r;
	uint32_t written;

	(void)state;
	open_blk(&s, build, VIRTIO_F_INDIRECT_DESC);
	s.disk->hold = true;
	r = start(&s, 0, OUT, 3, data, 512);
	vr_kick(&s.d, &s.d.queue[0]);
	release(s.disk, 0, 0);
	posted_take(s.rig.vm);
	assert_int_equal(s.disk->held_count, 1);
	assert_int_equal(s.disk->held[0]->op, BLK_FLUSH);
	assert_int_equal(vr_used(&s.d, &s.d.queue[0], &written), -1);
	release(s.disk, 0, -EIO);
	posted_take(s.rig.vm);
	assert_int_equal(vr_used(&s.d, &s.d.queue[0], &written), r.id);
	assert_int_equal(vr_get(&s.d, r.status, 1), 1);
	rig_close(&s.rig);
}

/* Many at once on two queues, more than there are flights; completed from the last to the first. */
static void test_many(void **state)
{
	struct request r[2][60];
	struct session s;
	unsigned done[2] = { 0, 0 };
	uint32_t written;

	(void)state;
	open_blk(&s, build, F_FLUSH | F_MQ | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED);
	s.disk->hold = true;
	for (unsigned i = 0; i < 60; i++)
		for (unsigned q = 0; q < 2; q++)
			r[q][i] = start(&s, q, IN, 60 * q + i, NULL, 512);
	for (unsigned q = 0; q < 2; q++)
		vr_kick(&s.d, &s.d.queue[q]);
	assert_int_equal(s.disk->held_count, 64);
	while (s.disk->held_count) {
		release(s.disk, s.disk->held_count - 1, 0);
		posted_take(s.rig.vm);
	}
	for (unsigned q = 0; q < 2; q++) {
		while (vr_used(&s.d, &s.d.queue[q], &written) >= 0) {
			assert_int_equal(written, 513);
			done[q]++;
		}
		assert_int_equal(done[q], 60);
		for (unsigned i = 0; i < 60; i++)
			assert_memory_equal(vr_ram(&s.d, r[q][i].data),
					    s.disk->bytes + (60 * q + i) * BLK_SECTOR, 512);
		assert_true(s.rig.messages[VR_VECTOR + 1 + q] >= 1);
	}
	assert_int_equal(s.rig.vm->expected, 0);
	rig_close(&s.rig);
}

/* A reset waits for the host, and the driver hears nothing of what was under way. */
static void test_reset_in_flight(void **state)
{
	struct session s;
	struct request r;

	(void)state;
	open_blk(&s, build, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	s.disk->hold = true;
	r = start(&s, 0, IN, 0, NULL, 512);
	vr_kick(&s.d, &s.d.queue[0]);
	assert_int_equal(s.rig.vm->expected, 1);
	vr_set_common(&s.d, 0x14, 0, 1);
	assert_int_equal(s.disk->drains, 1);
	assert_int_equal(s.disk->held_count, 0);
	assert_int_equal(s.rig.vm->expected, 0);
	posted_take(s.rig.vm);
	assert_int_equal(vr_get(&s.d, r.status, 1), 0xee);
	assert_int_equal(s.rig.messages[VR_VECTOR + 1], 0);
	rig_close(&s.rig);
}

static void test_queue_reset(void **state)
{
	struct session s;
	struct request r[2];
	uint32_t written;

	(void)state;
	open_blk(&s, build, F_FLUSH | F_MQ | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_RESET);
	s.disk->hold = true;
	for (unsigned q = 0; q < 2; q++) {
		r[q] = start(&s, q, IN, q, NULL, 512);
		vr_kick(&s.d, &s.d.queue[q]);
	}
	release(s.disk, 0, 0); /* it has rung, and is reset before that is heard */
	vr_set_common(&s.d, 0x16, 0, 2);
	vr_set_common(&s.d, 0x3a, 1, 2);
	assert_int_equal(vr_common(&s.d, 0x3a, 2), 0);
	assert_int_equal(vr_common(&s.d, 0x1c, 2), 0);
	assert_int_equal(s.disk->held_count, 1);
	release(s.disk, 0, 0);
	posted_take(s.rig.vm);
	assert_int_equal(vr_used(&s.d, &s.d.queue[0], &written), -1);
	assert_int_equal(vr_used(&s.d, &s.d.queue[1], &written), r[1].id);
	vr_queue(&s.d, 0, 0, 32); /* and used anew */
	s.disk->hold = false;
	assert_int_equal(run(&s, IN, 0, NULL, 512, NULL), 0);
	rig_close(&s.rig);
}

/* Complete after exactly the latency; before that neither disk nor memory is touched. */
static void test_counted(void **state)
{
	struct session s;
	struct request r;
	uint32_t written;
	uint64_t started;

	(void)state;
	open_blk(&s, build_counted, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	rig_step(&s.rig, 777);
	started = rig_now(&s.rig);
	r = start(&s, 0, IN, 7, NULL, 1024);
	vr_kick(&s.d, &s.d.queue[0]);
	assert_int_equal(clock_next(&s.rig.vm->clock), started + LATENCY);
	rig_step(&s.rig, LATENCY - 1);
	assert_int_equal(s.disk->ops[BLK_READ], 0);
	assert_int_equal(vr_get(&s.d, r.data, 1), 0xdd);
	assert_int_equal(vr_used(&s.d, &s.d.queue[0], &written), -1);
	rig_step(&s.rig, 1);
	assert_int_equal(vr_used(&s.d, &s.d.queue[0], &written), r.id);
	assert_int_equal(vr_get(&s.d, r.status, 1), 0);
	assert_memory_equal(vr_ram(&s.d, r.data), s.disk->bytes + 7 * BLK_SECTOR, 1024);
	assert_int_equal(clock_next(&s.rig.vm->clock), ALARM_NONE);
	rig_close(&s.rig);
}

/* The host's disk is full and stands still; the machine shall end: it does. */
static void test_counted_gives_up(void **state)
{
	struct session s;
	struct request r;

	(void)state;
	open_blk(&s, build_counted, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	s.disk->hold = true;
	r = start(&s, 0, IN, 7, NULL, 1024);
	vr_kick(&s.d, &s.d.queue[0]);
	vm_request(s.rig.vm, VM_QUIT, 0);
	rig_step(&s.rig, LATENCY);
	assert_int_equal(s.disk->drains, 1);
	assert_int_equal(vr_get(&s.d, r.status, 1), 1);
	rig_close(&s.rig);
}

/* Saved with a request in the air, loaded elsewhere: it lands there. */
static void loads_in_flight(rig_build *with)
{
	struct session s;
	struct request r;
	struct rig other;
	struct vr d;
	uint32_t written;

	open_blk(&s, with, F_FLUSH | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED);
	rig_open(&other, with);
	s.disk->hold = true;
	r = start(&s, 0, IN, 7, NULL, 1024);
	vr_kick(&s.d, &s.d.queue[0]);
	fuzz_load(&other, &s.rig);
	d = s.d;
	d.rig = &other;
	posted_take(other.vm);
	rig_step(&other, LATENCY);
	assert_int_equal(vr_used(&d, &d.queue[0], &written), r.id);
	assert_int_equal(written, 1025);
	assert_memory_equal(vr_ram(&d, r.data), disks[1].bytes + 7 * BLK_SECTOR, 1024);
	assert_int_equal(other.messages[VR_VECTOR + 1], 1);
	rig_close(&other);
	rig_close(&s.rig);
}

static void test_load_in_flight(void **state)
{
	(void)state;
	loads_in_flight(build);
	loads_in_flight(build_counted);
}

/* Watched pages hear of what the disk wrote. */
static void code_written(void *arg, gpa_t at, uint64_t bytes)
{
	(void)at;
	*(uint64_t *)arg += bytes;
}

static void test_watched_pages(void **state)
{
	struct session s;
	struct mem_slot *slot;
	uint64_t told = 0;
	struct request r;

	(void)state;
	open_blk(&s, build, F_FLUSH | VIRTIO_F_INDIRECT_DESC);
	slot = s.rig.vm->mem.slots;
	s.rig.vm->mem.code_written = code_written;
	s.rig.vm->mem.code_arg = &told;
	s.d.room = 0x30000;
	r = start(&s, 0, IN, 0, NULL, 512);
	memset(slot->marks, MARK_CLEAN, VR_RAM >> PAGE_SHIFT);
	*mem_mark(slot, gpa(r.data)) |= MARK_CODE;
	vr_kick(&s.d, &s.d.queue[0]);
	posted_take(s.rig.vm);
	assert_true(told >= 512);
	assert_false(*mem_mark(slot, gpa(r.data)) & MARK_CLEAN);
	assert_true(*mem_mark(slot, gpa(0x50000)) & MARK_CLEAN);
	rig_close(&s.rig);
}

static void test_hostile_driver(void **state)
{
	(void)state;
	disks_open = 0;
	vr_fuzz(build_frozen, 80);
}

/* The other way of completion, alone: what a load starts anew here changes memory again. */
static void test_hostile_driver_real_time(void **state)
{
	uint64_t seed = 4711;
	struct rig rig;

	(void)state;
	disks_open = 0;
	rig_open(&rig, build);
	for (unsigned i = 0; i < 20000; i++) {
		vr_fuzz_stir(&rig, fuzz_random(&seed));
		disks[0].hold = fuzz_random(&seed) % 2;
		if (disks[0].held_count && fuzz_random(&seed) % 4 == 0)
			release(&disks[0], (unsigned)fuzz_random(&seed) % disks[0].held_count, 0);
		if (fuzz_random(&seed) % 4 == 0)
			posted_take(rig.vm);
	}
	assert_true(disks[0].ops[BLK_READ] > 100 && disks[0].ops[BLK_WRITE] > 10);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_data),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_header),
		cmocka_unit_test(test_write_through),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_reset_in_flight),
		cmocka_unit_test(test_queue_reset),
		cmocka_unit_test(test_counted),
		cmocka_unit_test(test_counted_gives_up),
		cmocka_unit_test(test_load_in_flight),
		cmocka_unit_test(test_watched_pages),
		cmocka_unit_test(test_hostile_driver),
		cmocka_unit_test(test_hostile_driver_real_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
