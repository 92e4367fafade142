/*
 * bells.c - the bell thread (see bells.h).
 *
 * The idea: a bell is taken (read and so silenced) with the device lock held, and in the same
 *breath its write is made. So whoever holds the lock and finds no bell rung knows that every write
 *has arrived.
 *
 *	guest writes -> the engine rings -> the thread wakes, locks, takes, writes on the bus
 *	                                    or bells_rest() does the same before the thread
 *
 * Tested by test/unit/bells.c, test/rig/bells.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/bells.h"

#include "machine/post.h"
#include "machine/vm.h"

/* Names of bells: from 0 on those of places, and these two. */
#define POSTED UINT64_MAX
#define END    (UINT64_MAX - 1)

struct bell {
	gpa_t at;
	bool used, attached;
	int fd; /* -1: none yet */
};

struct bells {
	int set, posted, end; /* -1: none yet */
	struct host_thread *thread;
	atomic_bool listening; /* there is one */
	struct bell bell[BELLS_MOST];
};

static void hear(struct vm *vm, struct bell *b)
{
	struct io_access look = { .addr = b->at.v, .size = 2, .write = true };

	if (b->fd >= 0 && host_bell_take(b->fd))
		bus_access_locked(&vm->mmio, &look);
}

/* Something was posted: for this thread while it may, else for the vCPU's. */
static void take_posted(struct vm *vm)
{
	bool mine;

	host_bell_take(vm->bells->posted);
	host_mutex_lock(vm->lock);
	mine = atomic_load(&vm->bells_run) && atomic_load(&vm->hands_free) &&
	       !atomic_load(&vm->pauses);
	if (mine)
		posted_take_locked(vm);
	host_mutex_unlock(vm->lock);
	if (!mine)
		vm_look(vm);
}

static void listen(void *arg)
{
	struct vm *vm = arg;
	uint64_t name;

	while ((name = host_bells_wait(vm->bells->set)) != END) {
		if (name == POSTED) {
			take_posted(vm);
			continue;
		}
		host_mutex_lock(vm->lock);
		hear(vm, &vm->bells->bell[name]);
		host_mutex_unlock(vm->lock);
	}
}

static struct bells *make(void)
{
	struct bells *b = host_alloc(sizeof(*b));

	if (!b)
		return NULL;
	b->set = b->posted = b->end = -1;
	for (unsigned i = 0; i < BELLS_MOST; i++)
		b->bell[i].fd = -1;
	return b;
}

/* The thread and what it waits for, with the first engine that rings. */
static bool start(struct vm *vm)
{
	struct bells *b = vm->bells;

	if (b->thread)
		return true;
	if (b->set < 0)
		b->set = host_bells_open(NULL);
	if (b->set >= 0 && b->posted < 0)
		b->posted = host_bell_open(b->set, POSTED, NULL);
	if (b->posted >= 0 && b->end < 0)
		b->end = host_bell_open(b->set, END, NULL);
	if (b->end >= 0)
		b->thread = host_thread_start(listen, vm, "bells");
	atomic_store(&b->listening, b->thread != NULL);
	return b->thread != NULL;
}

static void attach(struct vm *vm, struct bell *b)
{
	if (!b->used || b->attached || !vm->engine->bell || !start(vm))
		return;
	if (b->fd < 0)
		b->fd = host_bell_open(vm->bells->set, (uint64_t)(b - vm->bells->bell), NULL);
	if (b->fd >= 0)
		b->attached = vm->engine->bell(vm, b->at, b->fd, true) == 0;
}

static void detach(struct vm *vm, struct bell *b)
{
	if (b->attached)
		vm->engine->bell(vm, b->at, b->fd, false);
	b->attached = false;
}

static struct bell *find(struct bells *bells, gpa_t at, bool used)
{
	for (unsigned i = 0; i < BELLS_MOST; i++) {
		struct bell *b = &bells->bell[i];

		if (used ? b->used && b->at.v == at.v : !b->used)
			return b;
	}
	return NULL;
}

void bells_place(struct vm *vm, gpa_t at, bool on)
{
	struct bell *b;

	if (vm->clock.source == CLOCK_SOURCE_COUNTED)
		return;
	if (!vm->bells && on)
		vm->bells = make();
	b = vm->bells ? find(vm->bells, at, !on) : NULL;
	if (!b)
		return;
	if (on) {
		*b = (struct bell){ .at = at, .used = true, .fd = -1 };
		attach(vm, b);
		return;
	}
	detach(vm, b);
	host_bell_close(b->fd);
	*b = (struct bell){ .fd = -1 };
}

void bells_attach(struct vm *vm)
{
	for (unsigned i = 0; vm->bells && i < BELLS_MOST; i++)
		attach(vm, &vm->bells->bell[i]);
}

void bells_detach(struct vm *vm)
{
	for (unsigned i = 0; vm->bells && i < BELLS_MOST; i++)
		detach(vm, &vm->bells->bell[i]);
}

void bells_run(struct vm *vm)
{
	if (atomic_load(&vm->bells_run))
		return;
	host_mutex_lock(vm->lock);
	atomic_store(&vm->bells_run, true);
	host_mutex_unlock(vm->lock);
}

void bells_rest(struct vm *vm)
{
	host_mutex_lock(vm->lock);
	atomic_store(&vm->bells_run, false);
	for (unsigned i = 0; vm->bells && i < BELLS_MOST; i++)
		hear(vm, &vm->bells->bell[i]);
	host_mutex_unlock(vm->lock);
}

void bells_stop(struct vm *vm)
{
	struct bells *b = vm->bells;

	if (!b || !b->thread)
		return;
	host_bell_ring(b->end);
	host_thread_join(b->thread);
	b->thread = NULL;
	atomic_store(&b->listening, false);
	bells_detach(vm);
}

void bells_free(struct vm *vm)
{
	struct bells *b = vm->bells;

	if (!b)
		return;
	for (unsigned i = 0; i < BELLS_MOST; i++)
		host_bell_close(b->bell[i].fd);
	host_bell_close(b->posted);
	host_bell_close(b->end);
	host_bell_close(b->set);
	host_free(b);
	vm->bells = NULL;
}

bool bells_posted(struct vm *vm)
{
	struct bells *b = atomic_load(&vm->hands_free) ? atomic_load(&vm->bells) : NULL;

	if (!b || !atomic_load(&b->listening))
		return false;
	host_bell_ring(b->posted);
	return true;
}
