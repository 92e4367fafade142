/*
 * disk_model.h - random requests on an open disk beside a flat copy of what it must hold.
 *
 * Many requests are in flight at once, so the ranges of those in flight never overlap: each byte
 * has one right value. Every sixteenth request waits for all others and checks the whole.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_DISK_MODEL_H
#define TEST_UNIT_DISK_MODEL_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/cmocka.h"

#include "backend/block.h"
#include "host/host.h"

#define MODEL_IN_FLIGHT 24
#define MODEL_LONGEST   (192 * 1024)

static uint64_t model_seed = 1;

static inline uint32_t model_random(uint32_t below)
{
	model_seed = model_seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(model_seed >> 33) % below;
}

struct model_slot {
	struct blk_request request;
	struct iovec iov[4];
	uint8_t *data; /* MODEL_LONGEST */
	bool busy;
	_Atomic(int) err; /* 1: not ended */
};

struct model {
	struct blk *blk;
	uint8_t *shadow;
	uint64_t bytes;
	struct model_slot slots[MODEL_IN_FLIGHT];
};

static inline void model_done(struct blk_request *request, int err)
{
	atomic_store(&((struct model_slot *)request->arg)->err, err);
}

static inline void model_init(struct model *m, struct blk *blk)
{
	memset(m, 0, sizeof(*m));
	m->blk = blk;
	m->bytes = blk_info(blk)->bytes;
	m->shadow = malloc(m->bytes);
	assert_non_null(m->shadow);
	for (int i = 0; i < MODEL_IN_FLIGHT; i++)
		assert_non_null(m->slots[i].data = aligned_alloc(4096, MODEL_LONGEST));
	for (uint64_t at = 0; at < m->bytes; at += MODEL_LONGEST) {
		uint64_t n = m->bytes - at < MODEL_LONGEST ? m->bytes - at : MODEL_LONGEST;

		assert_int_equal(blk_run(blk, BLK_READ, at, m->slots[0].data, n), 0);
		memcpy(m->shadow + at, m->slots[0].data, n);
	}
}

static inline void model_free(struct model *m)
{
	free(m->shadow);
	for (int i = 0; i < MODEL_IN_FLIGHT; i++)
		free(m->slots[i].data);
}

/* Waits for one request and takes its effect into the copy. */
static inline void model_settle(struct model *m, struct model_slot *s)
{
	struct blk_request *r = &s->request;

	if (!s->busy)
		return;
	blk_wait(m->blk, r);
	s->busy = false;
	assert_int_equal(atomic_load(&s->err), 0);
	switch (r->op) {
	case BLK_READ: assert_memory_equal(s->data, m->shadow + r->offset, r->bytes); break;
	case BLK_WRITE: memcpy(m->shadow + r->offset, s->data, r->bytes); break;
	case BLK_ZERO: memset(m->shadow + r->offset, 0, r->bytes); break;
	case BLK_DISCARD: /* it may read as before, or as zero: ask */
		for (uint64_t at = 0; at < r->bytes; at += MODEL_LONGEST) {
			uint64_t n = r->bytes - at < MODEL_LONGEST ? r->bytes - at : MODEL_LONGEST;

			assert_int_equal(blk_run(m->blk, BLK_READ, r->offset + at, s->data, n), 0);
			for (uint64_t i = 0; i < n; i++)
				assert_true(s->data[i] == 0 ||
					    s->data[i] == m->shadow[r->offset + at + i]);
			memcpy(m->shadow + r->offset + at, s->data, n);
		}
		break;
	case BLK_FLUSH: break;
	}
}

static inline void model_settle_all(struct model *m)
{
	for (int i = 0; i < MODEL_IN_FLIGHT; i++)
		model_settle(m, &m->slots[i]);
}

static inline void model_check(struct model *m)
{
	uint8_t *data = m->slots[0].data;

	model_settle_all(m);
	for (uint64_t at = 0; at < m->bytes; at += MODEL_LONGEST) {
		uint64_t n = m->bytes - at < MODEL_LONGEST ? m->bytes - at : MODEL_LONGEST;

		assert_int_equal(blk_run(m->blk, BLK_READ, at, data, n), 0);
		assert_memory_equal(data, m->shadow + at, n);
	}
}

static inline void model_range(struct model *m, struct blk_request *r)
{
	uint32_t sectors = (uint32_t)(m->bytes / BLK_SECTOR), most;

	r->offset = model_random(sectors);
	switch (model_random(4)) {
	case 0: most = MODEL_LONGEST / BLK_SECTOR; break;
	case 1: most = 128; break;
	default: most = 16; break;
	}
	r->bytes = 1 + model_random(most);
	if (model_random(3) == 0) /* aligned: whole clusters */
		r->offset &= ~(uint64_t)127, r->bytes = (r->bytes + 127) & ~(uint64_t)127;
	if (r->bytes > MODEL_LONGEST / BLK_SECTOR)
		r->bytes = MODEL_LONGEST / BLK_SECTOR;
	if (r->bytes > sectors - r->offset)
		r->bytes = sectors - r->offset;
	r->offset *= BLK_SECTOR;
	r->bytes *= BLK_SECTOR;
}

/* Splits the slot's buffer into up to four pieces, not at sector boundaries. */
static inline void model_pieces(struct model_slot *s)
{
	uint64_t at = 0;

	s->request.iov = s->iov;
	s->request.iovs = 0;
	for (int i = 0; i < 4 && at < s->request.bytes; i++) {
		uint64_t left = s->request.bytes - at;
		uint64_t n = i == 3 || model_random(2) ? left : 1 + model_random((uint32_t)left);

		s->iov[s->request.iovs++] = (struct iovec){ s->data + at, n };
		at += n;
	}
}

static inline void model_one(struct model *m)
{
	static const enum blk_op ops[] = {
		BLK_READ,  BLK_READ,  BLK_READ,    BLK_WRITE, BLK_WRITE,
		BLK_WRITE, BLK_WRITE, BLK_DISCARD, BLK_ZERO,  BLK_FLUSH
	};
	struct model_slot *s = &m->slots[model_random(MODEL_IN_FLIGHT)];
	struct blk_request *r = &s->request;

	model_settle(m, s);
	*r = (struct blk_request){ .op = ops[model_random(10)], .done = model_done, .arg = s };
	model_range(m, r);
	r->unmap = model_random(2);
	for (int i = 0; i < MODEL_IN_FLIGHT; i++) {
		struct model_slot *o = &m->slots[i];

		if (o->busy && o->request.offset < r->offset + r->bytes &&
		    r->offset < o->request.offset + o->request.bytes)
			model_settle(m, o);
	}
	model_pieces(s);
	if (r->op == BLK_WRITE) {
		uint64_t word = model_seed;

		for (uint64_t i = 0; i < r->bytes; i += 8, word += 0x9e3779b97f4a7c15)
			memcpy(s->data + i, &word, 8);
		if (r->offset == 0)
			s->data[0] = 0; /* not the head of another format */
	}
	s->err = 1;
	s->busy = true;
	blk_submit(m->blk, r);
}

static inline void model_run(struct model *m, unsigned requests)
{
	for (unsigned i = 0; i < requests; i++) {
		model_one(m);
		if (i % 256 == 255)
			model_check(m);
	}
	model_check(m);
}

/* A directory for the images of one program; removed by model_leave(). */
static char model_dir[64];

static inline const char *model_path(const char *name)
{
	static char path[8][128];
	static unsigned next;
	char *p = path[next++ % 8];

	snprintf(p, 128, "%s/%s", model_dir, name);
	return p;
}

static inline int model_enter(void **state)
{
	(void)state;
	snprintf(model_dir, sizeof(model_dir), "%s/trapeze-disk-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(model_dir) ? 0 : -1;
}

static inline int model_leave(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", model_dir);
	return system(command);
}

/* What a shell command answers: its status. */
__attribute__((format(printf, 1, 2))) static inline int model_shell(const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	int n;

	n = snprintf(command, sizeof(command), "cd %s && ", model_dir);
	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	return system(command);
}

#endif
