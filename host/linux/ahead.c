/*
 * ahead.c - a thread that makes memory ready before somebody needs it.
 *
 * Memory costs when it is first touched: the kernel takes a page and zeroes it, and where the
 * kernel is a guest itself its host does so, too, for each page of its own. Milliseconds for 2 MiB
 * have been seen. Who fills a large table from one end to the other knows what comes next, and
 * another processor can pay for it meanwhile.
 *
 * All are hints: what there is no room for is forgotten, an old kernel refuses. The thread starts
 * with the first one.
 *
 * Spec: madvise(2), MADV_POPULATE_WRITE. Tested by test/unit/ram.c. SPDX-License-Identifier: MIT
 */
#include <sys/mman.h>

#include "host/host.h"

#define HINTS     16u
#define HUGE_PAGE ((size_t)2 << 20)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct hint {
	const struct host_code *code; /* NULL: plain memory at `p` */
	void *p;
	const uint8_t *late; /* or NULL */
	size_t from, bytes;
};

struct host_ahead {
	struct host_mutex *lock;
	struct host_cond *news; /* a hint, the end, or nothing left to do */
	struct host_thread *thread;
	struct hint hint[HINTS];
	unsigned first, count;
	bool busy, ending;
};

struct host_ahead *host_ahead_new(void)
{
	struct host_ahead *a = host_alloc(sizeof(*a));

	if (!a)
		return NULL;
	a->lock = host_mutex_new();
	a->news = host_cond_new();
	if (a->lock && a->news)
		return a;
	host_ahead_free(a);
	return NULL;
}

static void follow(const struct hint *h)
{
	if (h->code)
		host_code_dense(h->code, h->from, h->bytes);
	else if (!h->late || __atomic_load_n(h->late, __ATOMIC_RELAXED) <= 1)
		madvise(h->p, h->bytes, MADV_POPULATE_WRITE);
}

static void ahead_main(void *arg)
{
	struct host_ahead *a = arg;

	host_mutex_lock(a->lock);
	while (!a->ending) {
		struct hint h = a->hint[a->first];

		if (a->count == 0) {
			host_cond_wait(a->news, a->lock, UINT64_MAX);
			continue;
		}
		a->first = (a->first + 1) % HINTS;
		a->count--;
		a->busy = true;
		host_mutex_unlock(a->lock);
		follow(&h);
		host_mutex_lock(a->lock);
		a->busy = false;
		host_cond_broadcast(a->news);
	}
	host_mutex_unlock(a->lock);
}

void host_ahead_free(struct host_ahead *a)
{
	if (!a)
		return;
	if (a->thread) {
		host_mutex_lock(a->lock);
		a->ending = true;
		host_cond_broadcast(a->news);
		host_mutex_unlock(a->lock);
		host_thread_join(a->thread);
	}
	host_cond_free(a->news);
	host_mutex_free(a->lock);
	host_free(a);
}

static void add(struct host_ahead *a, const struct hint *h)
{
	if (!a || h->bytes == 0)
		return;
	host_mutex_lock(a->lock);
	if (!a->thread)
		a->thread = host_thread_start(ahead_main, a, "ahead");
	if (a->thread && a->count < HINTS) {
		a->hint[(a->first + a->count++) % HINTS] = *h;
		host_cond_broadcast(a->news);
	}
	host_mutex_unlock(a->lock);
}

/* Whole pages, so that no other memory is touched. */
void host_ahead_touch_unless(struct host_ahead *a, void *p, size_t bytes, const uint8_t *late)
{
	size_t skip = -(uintptr_t)p & 4095;

	if (bytes > skip)
		add(a, &(struct hint){ .p = (uint8_t *)p + skip,
				       .late = late,
				       .bytes = (bytes - skip) & ~(size_t)4095 });
}

void host_ahead_touch(struct host_ahead *a, void *p, size_t bytes)
{
	host_ahead_touch_unless(a, p, bytes, NULL);
}

/* Its first huge page may be another's last one, who uses it. */
void host_ahead_dense(struct host_ahead *a, const struct host_code *code, size_t from, size_t bytes)
{
	size_t skip = -from & (HUGE_PAGE - 1);

	if (bytes > skip)
		add(a, &(struct hint){ .code = code, .from = from + skip, .bytes = bytes - skip });
}

/* When it comes into the second half of a huge page, the next one. */
void host_ahead_filled(struct host_ahead *a, void *at, size_t bytes, const void *end)
{
	uintptr_t now = (uintptr_t)at + HUGE_PAGE / 2;
	uintptr_t next = (now + bytes) & ~(uintptr_t)(HUGE_PAGE - 1), left = (uintptr_t)end - next;

	if (next > now && next < (uintptr_t)end)
		host_ahead_touch(a, (void *)next, left < HUGE_PAGE ? left : HUGE_PAGE);
}

void host_ahead_settle(struct host_ahead *a)
{
	if (!a)
		return;
	host_mutex_lock(a->lock);
	a->count = 0;
	while (a->busy)
		host_cond_wait(a->news, a->lock, UINT64_MAX);
	host_mutex_unlock(a->lock);
}
