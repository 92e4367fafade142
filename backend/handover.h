/*
 * handover.h - from the vCPU to a backend's thread: records, in order, without waiting.
 *
 * Two buffers: one is filled while the other is worked on, and they change places when
 * that is empty. The device's window bounds what is in them.
 *
 * Tested by test/unit/net.c and test/unit/vsock.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_HANDOVER_H
#define BACKEND_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handover {
	struct host_mutex *lock; /* of `fill` and `filled` */
	uint8_t *fill, *take;
	size_t room, filled, taken, at;
};

/* Room for records of `room` bytes in all, with 4 more for each. 0 or -ENOMEM. */
int handover_open(struct handover *h, size_t room);
void handover_close(struct handover *h);
/* Any thread: adds the record `a` and behind it `b`. *first: the thread has to be woken. false: no
 * room, and not added. */
bool handover_put(struct handover *h, const void *a, size_t a_bytes, const void *b, size_t b_bytes,
		  bool *first);
/* The thread: the next record, valid until the next call, or NULL: all are taken. */
const uint8_t *handover_next(struct handover *h, size_t *bytes);

#endif
