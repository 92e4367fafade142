/*
 * thread.c - locks, wake-ups and threads on Linux, by pthreads.
 *
 * Conditions wait on the monotonic clock, so a step of the host's wall clock
 * wakes nobody. New threads block every signal: those belong to the main thread.
 *
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "host/host.h"
#include "host/order.h"

struct host_mutex {
	pthread_mutex_t m;
	enum host_order order;
};

struct host_cond {
	pthread_cond_t c;
};

struct host_thread {
	pthread_t t;
	void (*run)(void *arg);
	void *arg;
	char name[16];
};

struct host_mutex *host_mutex_in_order(enum host_order order)
{
	struct host_mutex *m = host_alloc(sizeof(*m));

	if (!m)
		return NULL;
	pthread_mutex_init(&m->m, NULL);
	m->order = order;
	return m;
}

struct host_mutex *host_mutex_new(void)
{
	return host_mutex_in_order(ORDER_LAST);
}

void host_mutex_free(struct host_mutex *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->m);
	host_free(m);
}

void host_mutex_lock(struct host_mutex *m)
{
	host_order_begin(m->order);
	pthread_mutex_lock(&m->m);
}

void host_mutex_unlock(struct host_mutex *m)
{
	host_order_end(m->order);
	pthread_mutex_unlock(&m->m);
}

struct host_cond *host_cond_new(void)
{
	struct host_cond *c = host_alloc(sizeof(*c));
	pthread_condattr_t attr;

	if (!c)
		return NULL;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
	return c;
}

void host_cond_free(struct host_cond *c)
{
	if (!c)
		return;
	pthread_cond_destroy(&c->c);
	host_free(c);
}

void host_cond_wait(struct host_cond *c, struct host_mutex *m, uint64_t until_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(until_ns / UINT64_C(1000000000)),
		.tv_nsec = (long)(until_ns % UINT64_C(1000000000)),
	};

	if (until_ns == UINT64_MAX)
		pthread_cond_wait(&c->c, &m->m);
	else
		pthread_cond_timedwait(&c->c, &m->m, &ts);
}

void host_cond_signal(struct host_cond *c)
{
	pthread_cond_signal(&c->c);
}

void host_cond_broadcast(struct host_cond *c)
{
	pthread_cond_broadcast(&c->c);
}

void host_yield(void)
{
	sched_yield();
}

static void *enter(void *p)
{
	struct host_thread *t = p;

	pthread_setname_np(pthread_self(), t->name);
	t->run(t->arg);
	return NULL;
}

struct host_thread *host_thread_start(void (*run)(void *arg), void *arg, const char *name)
{
	struct host_thread *t = host_alloc(sizeof(*t));
	sigset_t all, before;
	int err;

	if (!t)
		return NULL;
	t->run = run;
	t->arg = arg;
	for (unsigned i = 0; i < sizeof(t->name) - 1 && name[i]; i++)
		t->name[i] = name[i];
	sigfillset(&all);
	/* A fault in generated code is the thread's own business: never block those. */
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&t->t, NULL, enter, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		host_free(t);
		return NULL;
	}
	return t;
}

void host_thread_join(struct host_thread *t)
{
	if (!t)
		return;
	pthread_join(t->t, NULL);
	host_free(t);
}
