/*
 * post.c - the queue of outside input (see post.h).
 *
 * One ring of bytes: a header (device, length) and then the data, so that a
 * terminal's single keystrokes and a disk's completions cost what they weigh.
 *
 * Tested by test/unit/post.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/post.h"

#include <errno.h>
#include <string.h>

#include "machine/vm.h"

#define POSTED_BYTES 65536u
#define POSTED_MOST  4096u /* in one message */

struct message {
	struct device *dev;
	size_t bytes;
};

struct posted {
	struct host_mutex *lock;
	size_t used;
	uint8_t data[POSTED_BYTES];
	uint8_t taken[POSTED_BYTES]; /* what posted_take works on while posters go on */
};

struct posted *posted_new(void)
{
	struct posted *p = host_alloc(sizeof(*p));

	if (p)
		p->lock = host_mutex_new();
	if (p && !p->lock) {
		host_free(p);
		return NULL;
	}
	return p;
}

void posted_free(struct posted *p)
{
	if (!p)
		return;
	host_mutex_free(p->lock);
	host_free(p);
}

int device_post(struct device *dev, const void *data, size_t bytes)
{
	struct posted *p = dev->vm->posted;
	struct message m = { dev, bytes };
	int err = -ENOSPC;

	if (bytes > POSTED_MOST)
		return -EINVAL;
	host_mutex_lock(p->lock);
	if (p->used + sizeof(m) + bytes <= POSTED_BYTES) {
		memcpy(p->data + p->used, &m, sizeof(m));
		memcpy(p->data + p->used + sizeof(m), data, bytes);
		p->used += sizeof(m) + bytes;
		err = 0;
	}
	host_mutex_unlock(p->lock);
	if (!err)
		vm_wake(dev->vm, 0);
	return err;
}

void posted_take(struct vm *vm)
{
	struct posted *p = vm->posted;
	size_t used, at = 0;

	host_mutex_lock(p->lock);
	used = p->used;
	memcpy(p->taken, p->data, used);
	p->used = 0;
	host_mutex_unlock(p->lock);
	if (used == 0)
		return;
	host_mutex_lock(vm->lock);
	while (at < used) {
		struct message m;

		memcpy(&m, p->taken + at, sizeof(m));
		if (m.dev->ops->input)
			m.dev->ops->input(m.dev, p->taken + at + sizeof(m), m.bytes);
		at += sizeof(m) + m.bytes;
	}
	host_mutex_unlock(vm->lock);
}
