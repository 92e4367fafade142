/*
 * post.c - the queue of outside input (see post.h).
 *
 * A list of messages, each as large as it is: a keystroke costs a few bytes, a received
 * packet 64 KiB. Taking it is one exchange of a pointer, so a poster never waits
 * for a device.
 *
 * Tested by test/unit/vcpu.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/post.h"

#include <errno.h>
#include <string.h>

#include "host/order.h"
#include "machine/vm.h"

#define POSTED_BYTES (4u << 20) /* in the whole queue; who needs more waits for its credit */
#define POSTED_MOST  69632u     /* in one message: the largest network frame and 4 KiB */

struct message {
	struct message *next;
	struct device *dev;
	size_t bytes;
	uint8_t data[];
};

struct posted {
	struct host_mutex *lock;
	struct message *first, **tail;
	size_t used;
};

struct posted *posted_new(void)
{
	struct posted *p = host_alloc(sizeof(*p));

	if (p)
		p->lock = host_mutex_in_order(ORDER_POSTED);
	if (p && !p->lock) {
		host_free(p);
		return NULL;
	}
	if (p)
		p->tail = &p->first;
	return p;
}

void posted_free(struct posted *p)
{
	if (!p)
		return;
	while (p->first) {
		struct message *m = p->first;

		p->first = m->next;
		host_free(m);
	}
	host_mutex_free(p->lock);
	host_free(p);
}

static int append(struct posted *p, struct message *m)
{
	size_t bytes = sizeof(*m) + m->bytes;
	int err = -ENOSPC;

	host_mutex_lock(p->lock);
	if (p->used + bytes <= POSTED_BYTES) {
		*p->tail = m;
		p->tail = &m->next;
		p->used += bytes;
		err = 0;
	}
	host_mutex_unlock(p->lock);
	return err;
}

int device_post(struct device *dev, const void *data, size_t bytes)
{
	struct message *m;
	int err;

	if (bytes > POSTED_MOST)
		return -EINVAL;
	m = host_alloc(sizeof(*m) + bytes);
	if (!m)
		return -ENOSPC;
	m->dev = dev;
	m->bytes = bytes;
	memcpy(m->data, data, bytes);
	err = append(dev->vm->posted, m);
	if (err)
		host_free(m);
	else if (!bells_posted(dev->vm))
		vm_look(dev->vm);
	return err;
}

static struct message *take_all(struct posted *p)
{
	struct message *first;

	host_mutex_lock(p->lock);
	first = p->first;
	p->first = NULL;
	p->tail = &p->first;
	p->used = 0;
	host_mutex_unlock(p->lock);
	return first;
}

static void answer_rings(struct vm *vm)
{
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		if (atomic_exchange(&dev->rung, false) && dev->ops->input)
			dev->ops->input(dev, NULL, 0);
	}
}

void posted_take_locked(struct vm *vm)
{
	struct message *m = take_all(vm->posted);

	if (atomic_load(&vm->rung) && atomic_exchange(&vm->rung, false))
		answer_rings(vm);
	while (m) {
		struct message *next = m->next;

		if (m->dev->ops->input)
			m->dev->ops->input(m->dev, m->data, m->bytes);
		host_free(m);
		m = next;
	}
}

static bool anything_posted(struct vm *vm)
{
	bool any;

	host_mutex_lock(vm->posted->lock);
	any = vm->posted->first != NULL;
	host_mutex_unlock(vm->posted->lock);
	return any || atomic_load(&vm->rung);
}

/* Taken under the device lock: who takes two messages after one another gives them in that order.
 */
void posted_take(struct vm *vm)
{
	if (!anything_posted(vm))
		return;
	host_mutex_lock(vm->lock);
	posted_take_locked(vm);
	host_mutex_unlock(vm->lock);
}
