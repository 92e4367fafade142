/*
 * aio_threads.c - asynchronous I/O by threads that make the ordinary calls (see aio.h).
 *
 * For hosts without io_uring. Four threads a disk: enough to keep a disk's queue from being
 * empty, few enough to be free when idle.
 *
 * Tested by test/unit/aio.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "backend/aio.h"
#include "host/host.h"

#define POOL_THREADS 4

struct pool {
	struct aio aio;
	struct host_mutex *lock; /* what follows */
	struct host_cond *work, *news;
	struct aio_op *todo, **todo_tail, *done;
	bool woken, ending;
	struct host_thread *threads[POOL_THREADS];
};

static void work(void *arg)
{
	struct pool *p = arg;

	host_mutex_lock(p->lock);
	for (;;) {
		struct aio_op *op;

		while (!p->todo && !p->ending)
			host_cond_wait(p->work, p->lock, UINT64_MAX);
		op = p->todo;
		if (!op)
			break;
		p->todo = op->next;
		if (!p->todo)
			p->todo_tail = &p->todo;
		host_mutex_unlock(p->lock);
		op->result = aio_perform(op);
		host_mutex_lock(p->lock);
		op->next = p->done;
		p->done = op;
		host_cond_signal(p->news);
	}
	host_cond_signal(p->work); /* the next one may end too */
	host_mutex_unlock(p->lock);
}

static void pool_close(struct aio *aio)
{
	struct pool *p = (struct pool *)aio;

	if (p->lock) {
		host_mutex_lock(p->lock);
		p->ending = true;
		if (p->work)
			host_cond_signal(p->work);
		host_mutex_unlock(p->lock);
	}
	for (int i = 0; i < POOL_THREADS; i++)
		host_thread_join(p->threads[i]);
	host_cond_free(p->work);
	host_cond_free(p->news);
	host_mutex_free(p->lock);
	host_free(p);
}

static struct aio *pool_open(struct fail *why)
{
	struct pool *p = host_alloc(sizeof(*p));
	bool whole;

	if (!p) {
		fail(why, -ENOMEM, "no memory");
		return NULL;
	}
	p->aio.ops = &aio_threads_ops;
	p->todo_tail = &p->todo;
	p->lock = host_mutex_new();
	p->work = host_cond_new();
	p->news = host_cond_new();
	whole = p->lock && p->work && p->news;
	for (int i = 0; whole && i < POOL_THREADS; i++) {
		p->threads[i] = host_thread_start(work, p, "disk-io");
		whole = p->threads[i] != NULL;
	}
	if (whole)
		return &p->aio;
	fail(why, -EAGAIN, "the host starts no thread for disk I/O");
	pool_close(&p->aio);
	return NULL;
}

static void pool_submit(struct aio *aio, struct aio_op *op)
{
	struct pool *p = (struct pool *)aio;

	host_mutex_lock(p->lock);
	op->next = NULL;
	*p->todo_tail = op;
	p->todo_tail = &op->next;
	host_cond_signal(p->work);
	host_mutex_unlock(p->lock);
}

static struct aio_op *pool_wait(struct aio *aio, uint64_t until_ns)
{
	struct pool *p = (struct pool *)aio;
	struct aio_op *done;

	host_mutex_lock(p->lock);
	while (!p->done && !p->woken && (until_ns == UINT64_MAX || host_monotonic_ns() < until_ns))
		host_cond_wait(p->news, p->lock, until_ns);
	p->woken = false;
	done = p->done;
	p->done = NULL;
	host_mutex_unlock(p->lock);
	return done;
}

static void pool_wake(struct aio *aio)
{
	struct pool *p = (struct pool *)aio;

	host_mutex_lock(p->lock);
	p->woken = true;
	host_cond_signal(p->news);
	host_mutex_unlock(p->lock);
}

const struct aio_ops aio_threads_ops = {
	.name = "threads",
	.open = pool_open,
	.submit = pool_submit,
	.wait = pool_wait,
	.wake = pool_wake,
	.close = pool_close,
};
