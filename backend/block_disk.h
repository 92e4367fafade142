/*
 * block_disk.h - the inside of an open disk: its thread, and the jobs that requests become.
 *
 * A job goes through its request's range in steps. A step asks the image where a piece of the range
 * is, starts the transfers and ends with the last of them; then comes the next step. Everything
 * happens on the disk's thread but submitting and waiting.
 *
 * Two jobs collide when they touch a common cluster and one of them changes where it lies: the
 * later one then waits for the earlier. Writes that change no table never collide.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_BLOCK_DISK_H
#define BACKEND_BLOCK_DISK_H

#include "backend/aio.h"
#include "backend/block_image.h"
#include "host/host.h"

#define JOB_PARTS 16 /* transfers of one step */

/*
 * States, and who takes a job from one to the next:
 *
 *   WAITING --job_start--> RUNNING --job_end--> gone
 *      ^                    |   |
 *      |   (no room on the  |   | (link during a commit)
 *      |    host's disk)    v   v
 *      +---- PARKED <-------+   STALLED --commit goes on--> RUNNING
 */
enum job_state { JOB_WAITING, JOB_RUNNING, JOB_PARKED, JOB_STALLED };

struct job;

struct job {
	struct disk *disk;
	struct blk_request *request;
	struct job *next, *prev; /* every job, in order of arrival */
	enum job_state state;
	bool exclusive; /* changes tables */
	bool was_parked;
	uint64_t lo, hi;              /* clusters touched: guest offsets */
	uint64_t pos, step;           /* bytes done, bytes of this step */
	unsigned pending;             /* transfers of this step */
	int err;                      /* the first error of this step */
	int (*then)(struct job *job); /* when pending is 0: looks at err, goes on; 0 or -E* */
	struct placement place;
	uint8_t *fill; /* what stands around the guest's data in a fresh place */
	uint64_t fill_bytes;
	unsigned commit_step;
	struct iovec *iov; /* room for what the parts transfer */
	unsigned iov_room;
	struct aio_op parts[JOB_PARTS];
};

struct disk {
	struct blk blk;
	struct image *image;
	struct aio *aio;
	struct host_thread *thread;
	enum blk_enospc on_enospc;
	void (*say)(void *arg, const char *text);
	void *say_arg;
	void (*stalled)(void *arg, bool waits);
	void *stalled_arg;

	struct host_mutex
		*lock; /* from here to `jobs`; jobs: changed with it by the disk's thread */
	struct host_cond *news; /* a job has ended */
	struct blk_request *queue, **queue_tail;
	unsigned in_flight;
	unsigned draining;
	bool ending;
	bool retry; /* blk_retry() */
	struct job *jobs, *jobs_last;

	/* The disk's thread. */
	struct job *spare;
	struct job *flushing; /* the commit under way */
	bool look_again;      /* a job ended or stalled ones may go on: others may start */
	bool told_full, told_damaged, told_guard;
	bool drain_seen; /* somebody drains: nothing parks */
	bool asked;      /* somebody wants to know whether there is room now */
	unsigned parked;
	uint64_t retry_at; /* host_monotonic_ns() */
};

/* block_job.c; disk's thread. */
void job_new(struct disk *d, struct blk_request *r);
/* Starts what may start. */
void jobs_look(struct disk *d);
/* Parked jobs try again, or end with -ENOSPC while somebody drains. */
void jobs_unpark(struct disk *d);
void jobs_free(struct disk *d);

/* block.c: calls back, and takes the job out of the list. */
void job_report(struct job *job, int err);
__attribute__((format(printf, 2, 3))) void disk_say(struct disk *d, const char *fmt, ...);

/* block_step.c: one step of a job; 0 or -E*. It has ended when pending is 0. */
int step_read(struct job *job);
int step_write(struct job *job);
int step_erase(struct job *job);
int step_flush(struct job *job);
/* The job goes on, now that `then` of it can. */
void job_go(struct job *job);

#endif
