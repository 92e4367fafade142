/*
 * frames.h - frames on their way to a guest, TCP segments of one stream joined.
 *
 * A user-mode network stack produces what a wire would carry: 1460 bytes at a time. A guest
 * that takes segmentation offload gets consecutive segments as one frame of up to 64 KiB
 * instead, as a network card with receive coalescing would give them.
 *
 * One thread's. Tested by test/unit/offload.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_FRAMES_H
#define BACKEND_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "machine/net.h"

struct frames {
	struct frame *first, **tail;
	struct frame **last; /* what points to the last, or NULL: there is none */
	size_t used;         /* bytes of memory */
};

struct frame {
	struct frame *next;
	size_t bytes, room;     /* room: for data, a joined one's may grow into it */
	struct net_input input; /* as it is posted, */
	uint8_t data[];         /* the frame behind it */
};
_Static_assert(sizeof(struct frame) % 4 == 0, "no gap between input and data");

void frames_init(struct frames *f);
void frames_free(struct frames *f);
/* Adds a frame whose checksums are right. `accepts`: enum net_offload of the guest. false: too many
 * wait already, it is dropped. */
bool frames_add(struct frames *f, const uint8_t *data, size_t bytes, unsigned accepts);
/* The first, ready to be posted (input and data, in one piece), or NULL. */
struct frame *frames_first(struct frames *f);
void frames_drop_first(struct frames *f);

#endif
