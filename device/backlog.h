/*
 * backlog.h - posted messages that wait for the guest's buffers, within the room granted.
 *
 * What waits is the host's side and not state: after a load it is empty.
 *
 * vCPU thread. Tested by test/device/virtio_net.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_BACKLOG_H
#define DEVICE_BACKLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKLOG_ROOM (512u << 10) /* granted to a backend, in bytes */

struct waiting {
	struct waiting *next;
	size_t bytes;
	uint8_t message[];
};

struct backlog {
	struct waiting *first, **tail;
	size_t held;                           /* bytes posted and not yet given back as room */
	size_t spent;                          /* of these, bytes that are done with */
	void (*room)(void *arg, size_t bytes); /* may be NULL */
	void *arg;
};

void backlog_init(struct backlog *b, void (*room)(void *arg, size_t bytes), void *arg);
/* Grants all the room there is: once, when the device can be posted to. */
void backlog_open(struct backlog *b);
/* A message of `bytes` came in. false: it is beyond the room granted, and not taken. */
bool backlog_admit(struct backlog *b, size_t bytes);
/* The message is done with; its room is given back in portions. */
void backlog_done(struct backlog *b, size_t bytes);
/* The message waits. Lost when there is no memory. */
void backlog_keep(struct backlog *b, const void *message, size_t bytes);
/* The first one is done with. */
void backlog_drop_first(struct backlog *b);
void backlog_clear(struct backlog *b);

#endif
