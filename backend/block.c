/*
 * block.c - disks: opening them, their thread, and the way requests come in and go out
 * (see block.h).
 *
 * The thread sleeps in aio_wait(). A submitter puts its request into a queue and wakes it; the
 * thread makes jobs of requests (block_job.c) and calls back when they have ended.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/block.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/block_disk.h"

void disk_say(struct disk *d, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d->say)
		d->say(d->say_arg, text);
	else
		host_warn("%s", text);
}

static void disk_submit(struct blk *blk, struct blk_request *request)
{
	struct disk *d = (struct disk *)blk;

	host_mutex_lock(d->lock);
	request->next = NULL;
	*d->queue_tail = request;
	d->queue_tail = &request->next;
	d->in_flight++;
	host_mutex_unlock(d->lock);
	aio_wake(d->aio);
}

/* With the lock held. */
static bool in_flight(const struct disk *d, const struct blk_request *request)
{
	for (const struct blk_request *r = d->queue; r; r = r->next) {
		if (r == request)
			return true;
	}
	for (const struct job *j = d->jobs; j; j = j->next) {
		if (j->request == request)
			return true;
	}
	return false;
}

static void disk_wait(struct blk *blk, struct blk_request *request)
{
	struct disk *d = (struct disk *)blk;

	host_mutex_lock(d->lock);
	while (in_flight(d, request))
		host_cond_wait(d->news, d->lock, UINT64_MAX);
	host_mutex_unlock(d->lock);
}

static void disk_drain(struct blk *blk)
{
	struct disk *d = (struct disk *)blk;

	host_mutex_lock(d->lock);
	d->draining++;
	aio_wake(d->aio);
	while (d->in_flight > 0)
		host_cond_wait(d->news, d->lock, UINT64_MAX);
	d->draining--;
	host_mutex_unlock(d->lock);
}

static const struct blk_ops disk_ops = { disk_submit, disk_wait, disk_drain };

/* `done` runs with the job still in the list, so that a waiter sees it in flight until it returned;
 * the request itself may be gone by then. */
void job_report(struct job *job, int err)
{
	struct disk *d = job->disk;

	job->request->done(job->request, err);
	host_mutex_lock(d->lock);
	*(job->prev ? &job->prev->next : &d->jobs) = job->next;
	*(job->next ? &job->next->prev : &d->jobs_last) = job->prev;
	d->in_flight--;
	host_cond_broadcast(d->news);
	host_mutex_unlock(d->lock);
}

/* Makes jobs of what was submitted. True: the thread shall end. */
static bool take_queue(struct disk *d)
{
	bool end;

	for (;;) {
		struct blk_request *r;

		host_mutex_lock(d->lock);
		r = d->queue;
		if (!r)
			break;
		host_mutex_unlock(d->lock);
		job_new(d, r);
	}
	d->drain_seen = d->draining > 0;
	if (d->parked || !d->told_full) { /* who asks while a look is under way gets another */
		d->asked |= d->retry && d->parked;
		d->retry = false;
	}
	end = d->ending && !d->jobs;
	host_mutex_unlock(d->lock);
	if (d->parked && (d->drain_seen || d->asked || host_monotonic_ns() >= d->retry_at))
		jobs_unpark(d);
	return end;
}

static void disk_main(void *arg)
{
	struct disk *d = arg;

	while (!take_queue(d)) {
		while (d->look_again) {
			d->look_again = false;
			jobs_look(d);
		}
		aio_wait(d->aio, d->parked ? d->retry_at : UINT64_MAX);
	}
}

static struct image *open_image(const struct blk_options *o, struct fail *why)
{
	struct image_options options = {
		.path = o->path,
		.format = o->format,
		.writable = !o->readonly && !o->overlay,
		.direct = o->cache == BLK_CACHE_NONE,
		.unsafe = o->cache == BLK_CACHE_UNSAFE,
	};
	struct image *image = image_open(&options, why), *top;

	if (!image || !o->overlay || o->readonly)
		return image;
	top = image_overlay(image, why);
	if (!top)
		image_close(image);
	return top;
}

static int start(struct disk *d, enum blk_aio aio, struct fail *why)
{
	d->queue_tail = &d->queue;
	d->lock = host_mutex_new();
	d->news = host_cond_new();
	if (!d->lock || !d->news)
		return fail(why, -ENOMEM, "no memory");
	d->aio = aio_open(aio, why);
	if (!d->aio)
		return -ENOSYS;
	d->blk.info.aio = d->aio->ops->name;
	d->thread = host_thread_start(disk_main, d, "disk");
	if (!d->thread)
		return fail(why, -EAGAIN, "the host starts no thread for a disk");
	return 0;
}

static void stop(struct disk *d)
{
	if (d->thread) {
		host_mutex_lock(d->lock);
		d->ending = true;
		host_mutex_unlock(d->lock);
		aio_wake(d->aio);
		host_thread_join(d->thread);
	}
	jobs_free(d);
	aio_close(d->aio);
	host_cond_free(d->news);
	host_mutex_free(d->lock);
	image_close(d->image);
	host_free(d);
}

struct blk *blk_open(const struct blk_options *options, struct fail *why)
{
	struct image *image = open_image(options, why);
	struct disk *d;

	if (!image)
		return NULL;
	d = host_alloc(sizeof(*d));
	if (!d) {
		image_close(image);
		fail(why, -ENOMEM, "no memory");
		return NULL;
	}
	d->image = image;
	d->on_enospc = options->on_enospc;
	d->say = options->say;
	d->say_arg = options->say_arg;
	d->stalled = options->stalled;
	d->stalled_arg = options->stalled_arg;
	d->blk.ops = &disk_ops;
	d->blk.info = (struct blk_info){
		.bytes = image->bytes,
		.block = image->fd_direct >= 0 ? image->align : BLK_SECTOR,
		.cluster = image->cluster ? image->cluster : 4096,
		.readonly = !image->writable,
		.format = image->ops->name,
	};
	if (start(d, options->aio, why)) {
		stop(d);
		return NULL;
	}
	return &d->blk;
}

int blk_close(struct blk *blk, struct fail *why)
{
	struct disk *d = (struct disk *)blk;
	int err = 0;

	if (!d)
		return 0;
	disk_drain(blk);
	host_mutex_lock(d->lock);
	d->ending = true;
	host_mutex_unlock(d->lock);
	aio_wake(d->aio);
	host_thread_join(d->thread);
	d->thread = NULL;
	if (d->image->writable)
		err = image_settle(d->image);
	if (!err)
		err = d->image->sync_error;
	if (err)
		fail(why, err, "%s: what was written last may be lost: %s", d->image->path,
		     strerror(-err));
	stop(d);
	return err;
}

void blk_retry(struct blk *blk)
{
	struct disk *d = (struct disk *)blk;

	host_mutex_lock(d->lock);
	d->retry = true;
	host_mutex_unlock(d->lock);
	aio_wake(d->aio);
}

struct run {
	struct blk_request request;
	struct iovec iov;
	int err;
};

static void run_done(struct blk_request *request, int err)
{
	((struct run *)request->arg)->err = err;
}

int blk_run(struct blk *blk, enum blk_op op, uint64_t offset, void *buffer, uint64_t bytes)
{
	struct run run = {
		.iov = {buffer, bytes}
	};

	run.request = (struct blk_request){
		.op = op,
		.offset = offset,
		.bytes = bytes,
		.iov = &run.iov,
		.iovs = 1,
		.done = run_done,
		.arg = &run,
	};
	blk_submit(blk, &run.request);
	blk_wait(blk, &run.request);
	return run.err;
}
