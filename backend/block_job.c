/*
 * block_job.c - requests become jobs, wait for each other, wait for room on the host's disk,
 * and end (see block_disk.h).
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/block_disk.h"

#include <errno.h>
#include <string.h>

#define RETRY_NS UINT64_C(1000000000) /* between two looks whether there is room again */

static struct job *job_alloc(struct disk *d, unsigned iovs)
{
	struct job *job = d->spare;
	unsigned room = iovs + JOB_PARTS + 2;

	if (job)
		d->spare = job->next;
	else
		job = host_alloc(sizeof(*job));
	if (!job)
		return NULL;
	if (job->iov_room < room) {
		host_free(job->iov);
		job->iov = host_alloc(room * sizeof(*job->iov));
		job->iov_room = job->iov ? room : 0;
	}
	if (!job->iov) {
		host_free(job);
		return NULL;
	}
	return job;
}

static void job_free(struct job *job)
{
	struct disk *d = job->disk;

	host_free(job->fill);
	job->fill = NULL;
	job->prev = NULL;
	job->next = d->spare;
	d->spare = job;
}

void jobs_free(struct disk *d)
{
	while (d->spare) {
		struct job *next = d->spare->next;

		host_free(d->spare->iov);
		host_free(d->spare);
		d->spare = next;
	}
}

/* What is wrong with a request; 0: nothing. */
static int refuse(const struct disk *d, const struct blk_request *r)
{
	const struct blk_info *info = &d->blk.info;
	uint64_t sum = 0;

	if (r->op > BLK_ZERO)
		return -EINVAL;
	if (r->op != BLK_READ && r->op != BLK_FLUSH && info->readonly)
		return -EROFS;
	if (r->op == BLK_FLUSH)
		return 0;
	if (r->offset % BLK_SECTOR || r->bytes % BLK_SECTOR || r->offset > info->bytes ||
	    r->bytes > info->bytes - r->offset)
		return -EINVAL;
	if (r->op != BLK_READ && r->op != BLK_WRITE)
		return 0;
	if (r->bytes > BLK_BYTES_MAX || r->iovs > BLK_IOVS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < r->iovs; i++) {
		if (r->iov[i].iov_len > r->bytes - sum)
			return -EINVAL;
		sum += r->iov[i].iov_len;
	}
	return sum == r->bytes ? 0 : -EINVAL;
}

/* Out of the queue, into the list of jobs. */
static void enlist(struct disk *d, struct job *job)
{
	host_mutex_lock(d->lock);
	d->queue = job->request->next;
	if (!d->queue)
		d->queue_tail = &d->queue;
	job->prev = d->jobs_last;
	job->next = NULL;
	*(d->jobs_last ? &d->jobs_last->next : &d->jobs) = job;
	d->jobs_last = job;
	host_mutex_unlock(d->lock);
}

static void drop_unserved(struct disk *d, struct blk_request *r)
{
	host_mutex_lock(d->lock);
	d->queue = r->next;
	if (!d->queue)
		d->queue_tail = &d->queue;
	host_mutex_unlock(d->lock);
	r->done(r, -ENOMEM);
	host_mutex_lock(d->lock);
	d->in_flight--;
	host_cond_broadcast(d->news);
	host_mutex_unlock(d->lock);
}

/* Nothing waits any more; err: it did not end well. */
static void say_room(struct disk *d, int err)
{
	d->told_full = d->asked = false;
	if (!err)
		disk_say(d, "%s: there is room again: the guest's writes have gone on",
			 d->image->path);
	if (d->stalled)
		d->stalled(d->stalled_arg, false);
}

static void job_end(struct job *job, int err)
{
	struct disk *d = job->disk;

	if (d->flushing == job)
		d->flushing = NULL;
	if (job->was_parked && d->told_full && d->parked == 0)
		say_room(d, err);
	job_report(job, err);
	job_free(job);
	d->look_again = true;
}

void job_new(struct disk *d, struct blk_request *r)
{
	int err = refuse(d, r);
	struct job *job = job_alloc(d, r->op == BLK_READ || r->op == BLK_WRITE ? r->iovs : 0);
	uint32_t cluster = d->image->cluster;

	if (!job) {
		drop_unserved(d, r);
		return;
	}
	job->disk = d;
	job->request = r;
	job->state = JOB_WAITING;
	job->pos = job->step = job->pending = 0;
	job->err = 0;
	job->commit_step = 0;
	job->was_parked = false;
	job->exclusive = cluster && r->op != BLK_READ && r->op != BLK_FLUSH;
	job->lo = job->hi = 0;
	if (!err && r->op != BLK_FLUSH) {
		job->lo = cluster ? r->offset & ~(uint64_t)(cluster - 1) : r->offset;
		job->hi = r->offset + r->bytes;
		if (cluster)
			job->hi = (job->hi + cluster - 1) & ~(uint64_t)(cluster - 1);
	}
	enlist(d, job);
	if (err)
		job_end(job, err);
	else
		d->look_again = true;
}

static bool may_start(struct job *job)
{
	const struct blk_request *r = job->request;
	struct disk *d = job->disk;

	if (r->op == BLK_FLUSH)
		return !d->flushing;
	if (!d->image->cluster)
		return true;
	for (struct job *e = job->prev; e; e = e->prev) {
		if (e->lo < job->hi && job->lo < e->hi && (e->exclusive || job->exclusive)) {
			/* A write whose clusters are all there by now needs no room of its own. */
			if (r->op != BLK_WRITE || e->exclusive ||
			    !d->image->ops->in_place(d->image, r->offset, r->bytes))
				return false;
			job->exclusive = false;
		}
	}
	if (r->op == BLK_WRITE && job->exclusive)
		job->exclusive = !d->image->ops->in_place(d->image, r->offset, r->bytes);
	return true;
}

static void say_full(struct disk *d, int err)
{
	if (!d->told_full)
		disk_say(d,
			 "%s: %s: the guest's writes wait until there is room (--on-enospc "
			 "stop), then go on",
			 d->image->path, strerror(-err));
	else if (d->asked)
		disk_say(d, "%s: there is still no room", d->image->path);
	d->asked = false;
	if (!d->told_full && d->stalled)
		d->stalled(d->stalled_arg, true);
	d->told_full = true;
}

/* The step failed: the end of the job, or a wait for room. */
static void job_failed(struct job *job, int err)
{
	struct disk *d = job->disk;

	if ((err == -ENOSPC || err == -EDQUOT) && d->on_enospc == BLK_ENOSPC_STOP &&
	    !d->drain_seen) {
		say_full(d, err);
		if (d->flushing == job)
			d->flushing = NULL;
		job->state = JOB_PARKED;
		job->was_parked = true;
		job->commit_step = 0;
		d->parked++;
		d->retry_at = host_monotonic_ns() + RETRY_NS;
		return;
	}
	if ((err == -EUCLEAN || err == -EIO || err == -EFBIG) && !d->told_damaged) {
		d->told_damaged = true;
		disk_say(d, "%s: %s; the guest sees an I/O error", d->image->path,
			 err == -EUCLEAN ? "the image is damaged" : strerror(-err));
	}
	job_end(job, err == -EUCLEAN || err == -EDQUOT ? -EIO : err);
}

static int step(struct job *job)
{
	switch (job->request->op) {
	case BLK_READ: return step_read(job);
	case BLK_WRITE: return step_write(job);
	case BLK_FLUSH: return step_flush(job);
	case BLK_DISCARD:
	case BLK_ZERO: return step_erase(job);
	}
	return -EINVAL;
}

static bool job_finished(const struct job *job)
{
	return job->request->op == BLK_FLUSH ? job->then == NULL && job->commit_step > 0
					     : job->pos == job->request->bytes;
}

void job_go(struct job *job)
{
	job->state = JOB_RUNNING;
	for (;;) {
		int err = job->err;

		if (job->then)
			err = job->then(job);
		else if (!err && !job_finished(job))
			err = step(job);
		else if (!err) {
			job_end(job, 0);
			return;
		}
		if (err) {
			job->err = 0;
			job->then = NULL;
			job_failed(job, err);
			return;
		}
		if (job->pending || job->state != JOB_RUNNING)
			return;
	}
}

void jobs_look(struct disk *d)
{
	struct job *job = d->jobs, *next;

	for (; job; job = next) {
		next = job->next;
		if (job->state == JOB_STALLED ? d->image->linking_waits : job->state != JOB_WAITING)
			continue;
		if (job->state == JOB_WAITING && !may_start(job))
			continue;
		if (job->state == JOB_WAITING && job->request->op == BLK_FLUSH)
			d->flushing = job;
		job_go(job);
	}
}

void jobs_unpark(struct disk *d)
{
	for (struct job *job = d->jobs, *next; job; job = next) {
		next = job->next;
		if (job->state != JOB_PARKED)
			continue;
		d->parked--;
		job->state = JOB_WAITING;
		if (d->drain_seen)
			job_end(job, -ENOSPC);
	}
	d->look_again = true;
}
