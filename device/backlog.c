/*
 * backlog.c - posted messages that wait for the guest's buffers (see backlog.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "device/backlog.h"

#include <string.h>

#include "host/host.h"

#define PORTION (BACKLOG_ROOM / 8)

void backlog_init(struct backlog *b, void (*room)(void *arg, size_t bytes), void *arg)
{
	*b = (struct backlog){ .tail = &b->first, .room = room, .arg = arg };
}

void backlog_open(struct backlog *b)
{
	if (b->room)
		b->room(b->arg, BACKLOG_ROOM);
}

bool backlog_admit(struct backlog *b, size_t bytes)
{
	if (b->held + bytes > BACKLOG_ROOM)
		return false;
	b->held += bytes;
	return true;
}

void backlog_done(struct backlog *b, size_t bytes)
{
	b->spent += bytes;
	if (b->spent < PORTION || !b->room)
		return;
	b->held -= b->spent;
	b->room(b->arg, b->spent);
	b->spent = 0;
}

void backlog_keep(struct backlog *b, const void *message, size_t bytes)
{
	struct waiting *w = host_alloc(sizeof(*w) + bytes);

	if (!w) {
		backlog_done(b, bytes);
		return;
	}
	w->bytes = bytes;
	memcpy(w->message, message, bytes);
	*b->tail = w;
	b->tail = &w->next;
}

void backlog_drop_first(struct backlog *b)
{
	struct waiting *w = b->first;

	b->first = w->next;
	if (!b->first)
		b->tail = &b->first;
	backlog_done(b, w->bytes);
	host_free(w);
}

void backlog_clear(struct backlog *b)
{
	while (b->first)
		backlog_drop_first(b);
}
