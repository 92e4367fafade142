/*
 * block_step.c - one step of a job: where is this piece of the range, start the transfers (see
 * block_disk.h).
 *
 * A write that needs a new cluster first reads what surrounds it there, then writes all of it with
 * one transfer, and only then links it into the image's tables: at any moment the guest, or
 * the next start after a crash, sees the old contents or the new.
 *
 * Tested by test/unit/block.c and test/unit/qcow2.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "backend/block_disk.h"

#define ZERO_BYTES 65536u
#define ZERO_STEP  (8 * ZERO_BYTES)

static const uint8_t zeroes[ZERO_BYTES];

/* The iovecs of [skip, skip + bytes) of a list, into `to`: how many. */
static unsigned slice(const struct iovec *from, uint64_t skip, uint64_t bytes, struct iovec *to)
{
	unsigned n = 0;

	for (; bytes > 0; from++) {
		uint64_t take = from->iov_len;

		if (skip >= take) {
			skip -= take;
			continue;
		}
		take -= skip;
		if (take > bytes)
			take = bytes;
		to[n].iov_base = (uint8_t *)from->iov_base + skip;
		to[n++].iov_len = take;
		skip = 0;
		bytes -= take;
	}
	return n;
}

/* Copies into part of a list; from NULL: zeroes. */
static void scatter(const struct iovec *to, uint64_t skip, uint64_t bytes, const uint8_t *from)
{
	for (; bytes > 0; to++) {
		uint64_t n = to->iov_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n -= skip;
		if (n > bytes)
			n = bytes;
		if (from) {
			memcpy((uint8_t *)to->iov_base + skip, from, n);
			from += n;
		} else {
			memset((uint8_t *)to->iov_base + skip, 0, n);
		}
		skip = 0;
		bytes -= n;
	}
}

static void gather(const struct iovec *from, uint64_t bytes, uint8_t *to)
{
	for (; bytes > 0; from++) {
		uint64_t n = from->iov_len < bytes ? from->iov_len : bytes;

		memcpy(to, from->iov_base, n);
		to += n;
		bytes -= n;
	}
}

static void part_done(struct aio_op *op, int err)
{
	struct job *job = op->arg;

	if (err && !job->err)
		job->err = err;
	if (--job->pending == 0)
		job_go(job);
}

/* Direct I/O needs everything aligned; what is not goes through the page cache, which the
 * kernel keeps in agreement. */
static int choose_fd(const struct image *image, uint64_t offset, const struct iovec *iov,
		     unsigned iovs)
{
	uint64_t all = offset;

	if (image->fd_direct < 0)
		return image->fd;
	for (unsigned i = 0; i < iovs; i++)
		all |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
	return all & (image->align - 1) ? image->fd : image->fd_direct;
}

static void transfer(struct job *job, const struct image *image, enum aio_kind kind,
		     uint64_t offset, struct iovec *iov, unsigned iovs)
{
	struct aio_op *op = &job->parts[job->pending++];

	*op = (struct aio_op){
		.kind = kind,
		.fd = choose_fd(image, offset, iov, iovs),
		.offset = offset,
		.iov = iov,
		.iovs = iovs,
		.done = part_done,
		.arg = job,
	};
	aio_submit(job->disk->aio, op);
}

static int step_done(struct job *job)
{
	if (job->err)
		return job->err;
	job->then = NULL;
	job->pos += job->step;
	job->step = 0;
	return 0;
}

int step_read(struct job *job)
{
	const struct blk_request *r = job->request;
	unsigned used = 0;

	job->then = step_done;
	while (job->pos + job->step < r->bytes && job->pending < JOB_PARTS) {
		uint64_t skip = job->pos + job->step, offset = r->offset + skip;
		const uint8_t *cluster;
		struct image *where;
		struct extent e;
		int err = image_find(job->disk->image, offset, r->bytes - skip, &e, &where);

		if (!err && e.kind == EXTENT_PACKED)
			err = where->ops->unpack(where, &e, offset, &cluster);
		if (err) { /* after what is under way */
			job->err = err;
			return job->pending ? 0 : err;
		}
		if (e.kind == EXTENT_DATA) {
			unsigned n = slice(r->iov, skip, e.bytes, job->iov + used);

			transfer(job, where, AIO_READ, e.host, job->iov + used, n);
			used += n;
		} else {
			scatter(r->iov, skip, e.bytes,
				e.kind == EXTENT_PACKED ? cluster + offset % where->cluster : NULL);
		}
		job->step += e.bytes;
	}
	return 0;
}

/* In place, or into the fresh cluster between what surrounds it. */
static void write_placed(struct job *job, const struct iovec *from, uint64_t skip)
{
	const struct placement *p = &job->place;
	uint64_t head = p->fresh ? p->offset - p->cover : 0, host = p->host;
	unsigned n = 0;

	if (job->fill && head > 0) {
		job->iov[n++] = (struct iovec){ job->fill, head };
	} else {
		host += head;
	}
	n += slice(from, skip, p->bytes, job->iov + n);
	if (job->fill && job->fill_bytes > head)
		job->iov[n++] = (struct iovec){ job->fill + head, job->fill_bytes - head };
	transfer(job, job->disk->image, AIO_WRITE, host, job->iov, n);
}

/* Reads what a fresh placement must hold besides the guest's data. */
static int read_fill(struct job *job)
{
	const struct placement *p = &job->place;
	struct image *image = job->disk->image;
	uint64_t head = p->offset - p->cover, tail = p->cover_bytes - head - p->bytes;
	int err;

	host_free(job->fill);
	job->fill = NULL;
	job->fill_bytes = 0;
	if (!p->fresh || head + tail == 0)
		return 0;
	if (p->blank && image_reads_zero(image, p->cover, head) &&
	    image_reads_zero(image, p->offset + p->bytes, tail))
		return 0;
	job->fill = host_alloc(head + tail);
	if (!job->fill)
		return -ENOMEM;
	job->fill_bytes = head + tail;
	err = image_read(image, p->cover, job->fill, head);
	return err ? err : image_read(image, p->offset + p->bytes, job->fill + head, tail);
}

/* The data is in the file: now the guest may see it. */
static int link_placed(struct job *job)
{
	struct image *image = job->disk->image;
	int err;

	if (image->linking_waits) {
		job->state = JOB_STALLED;
		return 0;
	}
	err = job->place.fresh ? image->ops->link(image, &job->place) : 0;
	if (err)
		image->ops->unplace(image, &job->place);
	return err ? err : step_done(job);
}

static int written(struct job *job)
{
	if (job->err && job->place.fresh)
		job->disk->image->ops->unplace(job->disk->image, &job->place);
	else if (job->place.fresh) {
		job->then = link_placed;
		return 0;
	}
	return step_done(job);
}

static int write_piece(struct job *job, const struct iovec *from, uint64_t skip, uint64_t bytes)
{
	struct image *image = job->disk->image;
	int err = image->ops->place(image, job->request->offset + job->pos, bytes, &job->place);

	if (err)
		return err;
	err = read_fill(job);
	if (err) {
		if (job->place.fresh)
			image->ops->unplace(image, &job->place);
		return err;
	}
	job->step = job->place.bytes;
	job->then = written;
	write_placed(job, from, skip);
	return 0;
}

/*
 * The first sector of an image that is raw because we found nothing else in it: its guest must not
 * turn it into something else for the next start. It is copied first: guest RAM may change between
 * the look and the transfer.
 */
static int write_guarded(struct job *job)
{
	struct disk *d = job->disk;
	uint8_t *copy = host_alloc(BLK_SECTOR);
	struct placement p;
	int err;

	if (!copy)
		return -ENOMEM;
	gather(job->request->iov, BLK_SECTOR, copy);
	if (image_probe(copy, BLK_SECTOR, "", NULL) != BLK_RAW) {
		host_free(copy);
		if (!d->told_guard)
			disk_say(d,
				 "%s: the guest may not write another image format's header into a "
				 "raw "
				 "image of unstated format: give format=raw to allow it",
				 d->image->path);
		d->told_guard = true;
		return -EPERM;
	}
	err = d->image->ops->place(d->image, 0, BLK_SECTOR, &p);
	if (err) {
		host_free(copy);
		return err;
	}
	host_free(job->fill);
	job->fill = copy;
	job->fill_bytes = BLK_SECTOR;
	job->iov[0] = (struct iovec){ copy, BLK_SECTOR };
	job->step = BLK_SECTOR;
	job->then = step_done;
	transfer(job, d->image, AIO_WRITE, p.host, job->iov, 1);
	return 0;
}

int step_write(struct job *job)
{
	const struct blk_request *r = job->request;

	if (job->disk->image->probed && r->offset + job->pos == 0)
		return write_guarded(job);
	return write_piece(job, r->iov, job->pos, r->bytes - job->pos);
}

/* Zeroes by writing them: of the next `bytes`, as many as one step takes. */
static int write_zeroes(struct job *job, uint64_t bytes)
{
	struct iovec from[ZERO_STEP / ZERO_BYTES];

	for (unsigned i = 0; i < ZERO_STEP / ZERO_BYTES; i++)
		from[i] = (struct iovec){ (void *)(uintptr_t)zeroes, ZERO_BYTES };
	return write_piece(job, from, 0, bytes < ZERO_STEP ? bytes : ZERO_STEP);
}

/* Not every file system can give space back, or make zeroes. */
static void erase_done(struct aio_op *op, int err)
{
	struct job *job = op->arg;

	job->pending--;
	if (err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL) {
		err = 0;
		if (job->request->op == BLK_ZERO) {
			job->step = 0;
			job->then = NULL;
			job->err = write_zeroes(job, job->request->bytes - job->pos);
			if (job->pending)
				return;
		}
	}
	if (err)
		job->err = err;
	job_go(job);
}

static int erase_file(struct job *job)
{
	const struct blk_request *r = job->request;
	bool punch = r->op == BLK_DISCARD || r->unmap;
	struct aio_op *op = &job->parts[0];

	job->step = r->bytes - job->pos;
	job->then = step_done;
	*op = (struct aio_op){
		.kind = AIO_ALLOCATE,
		.fd = job->disk->image->fd,
		.offset = r->offset + job->pos,
		.mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
		.bytes = job->step,
		.done = erase_done,
		.arg = job,
	};
	job->pending = 1;
	aio_submit(job->disk->aio, op);
	return 0;
}

/* Bytes from the job's position to the next cluster boundary, or to the range's end; 0: it is at a
 * boundary and whole clusters follow. */
static uint64_t ragged(const struct job *job, uint64_t left)
{
	const struct image *image = job->disk->image;
	uint64_t at = job->request->offset + job->pos, into = at & (image->cluster - 1);
	uint64_t to_edge = image->cluster - into;

	if (into == 0 && (left >= image->cluster || at + left == image->bytes))
		return 0;
	return left < to_edge ? left : to_edge;
}

int step_erase(struct job *job)
{
	const struct blk_request *r = job->request;
	struct image *image = job->disk->image;
	uint64_t at = r->offset + job->pos, left = r->bytes - job->pos, n;
	enum erase how = r->op == BLK_DISCARD ? ERASE_DISCARD
			 : r->unmap           ? ERASE_ZERO_FREE
					      : ERASE_ZERO;
	int err = -ENOTSUP;

	if (!image->ops->erase)
		return erase_file(job);
	if (image->linking_waits) {
		job->state = JOB_STALLED;
		return 0;
	}
	n = ragged(job, left);
	if (n == 0) {
		uint64_t whole =
			at + left == image->bytes ? left : left & ~(uint64_t)(image->cluster - 1);

		err = image->ops->erase(image, at, whole, how, &n);
	}
	if (err && err != -ENOTSUP)
		return err;
	if (n == 0)
		n = left < image->cluster ? left : image->cluster;
	if (err && how != ERASE_DISCARD && !image_reads_zero(image, at, n))
		return write_zeroes(job, n);
	job->step = n;
	return step_done(job);
}

static void sync_done(struct aio_op *op, int err)
{
	struct job *job = op->arg;

	part_done(op, err ? image_sync_failed(job->disk->image, err) : 0);
}

int step_flush(struct job *job)
{
	struct disk *d = job->disk;
	int more;

	if (job->err || d->image->sync_error) {
		d->image->linking_waits = false; /* what is linked from now on is never committed */
		d->look_again = true;
		return job->err ? job->err : d->image->sync_error;
	}
	more = d->image->ops->commit(d->image, job->commit_step++);
	d->look_again = true; /* those that waited for the next step of the commit */
	job->then = more > 0 ? step_flush : NULL;
	if (more > 0 && !d->image->unsafe) {
		job->parts[0] = (struct aio_op){
			.kind = AIO_SYNC, .fd = d->image->fd, .done = sync_done, .arg = job
		};
		job->pending = 1;
		aio_submit(d->aio, &job->parts[0]);
	}
	return more < 0 ? more : 0;
}
