/*
 * handover.c - from the vCPU to a backend's thread (see handover.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include "backend/handover.h"

#include <errno.h>
#include <string.h>

#include "host/host.h"

int handover_open(struct handover *h, size_t room)
{
	*h = (struct handover){ .room = room };
	h->lock = host_mutex_new();
	h->fill = host_map(room);
	h->take = host_map(room);
	return h->lock && h->fill && h->take ? 0 : -ENOMEM;
}

void handover_close(struct handover *h)
{
	host_mutex_free(h->lock);
	host_unmap(h->fill, h->room);
	host_unmap(h->take, h->room);
}

bool handover_put(struct handover *h, const void *a, size_t a_bytes, const void *b, size_t b_bytes,
		  bool *first)
{
	uint32_t bytes = (uint32_t)(a_bytes + b_bytes);
	bool fits;

	host_mutex_lock(h->lock);
	*first = h->filled == 0;
	fits = h->filled + sizeof(bytes) + bytes <= h->room;
	if (fits) {
		memcpy(h->fill + h->filled, &bytes, sizeof(bytes));
		h->filled += sizeof(bytes);
		memcpy(h->fill + h->filled, a, a_bytes);
		if (b_bytes)
			memcpy(h->fill + h->filled + a_bytes, b, b_bytes);
		h->filled += bytes;
	}
	host_mutex_unlock(h->lock);
	return fits;
}

static void exchange(struct handover *h)
{
	uint8_t *empty = h->take;

	host_mutex_lock(h->lock);
	h->take = h->fill;
	h->taken = h->filled;
	h->fill = empty;
	h->filled = 0;
	host_mutex_unlock(h->lock);
	h->at = 0;
}

const uint8_t *handover_next(struct handover *h, size_t *bytes)
{
	const uint8_t *record;
	uint32_t length;

	if (h->at == h->taken)
		exchange(h);
	if (h->at == h->taken)
		return NULL;
	memcpy(&length, h->take + h->at, sizeof(length));
	record = h->take + h->at + sizeof(length);
	h->at += sizeof(length) + length;
	*bytes = length;
	return record;
}
