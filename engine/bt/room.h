/*
 * room.h - memory for translations: how much there is of each kind, and how far it is used.
 *
 * Spec: engine/bt/region.c. SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_ROOM_H
#define ENGINE_BT_ROOM_H

#include "engine/bt/figures.h"
#include "engine/bt/share.h"
#include "machine/vm.h"

struct bt_place;

#define BT_ROOM        (UINT64_C(32) << 10) /* more than any block takes */
#define BT_PLACES_ROOM 128u                 /* more than any block takes */

/* It is filled, and taken back, in pieces: see region.c. */
#define BT_REGIONS 16u
struct bt_region {
	uint8_t *end;    /* of the code in it */
	unsigned places; /* used */
};

#define BT_PAGE_JUMPS 32u

struct bt_room {
	uint8_t *at, *at_end;     /* write address of the next block's code, behind its head; the
				     end of the region's room for it */
	uint8_t *cold, *cold_end; /* the same of what is seldom executed */
	uint8_t *begin;           /* behind the stubs */
	size_t data_bytes;        /* of what lies before the code */
	/* The next one of each kind, the region's end, all. */
	unsigned cells, cells_end, cells_all;
	unsigned memories, memories_end, memories_all;
	/* Which page has which table of jumps.c, how many have one, all. */
	uint64_t page_jump[BT_PAGE_JUMPS];
	unsigned page_jumps, page_jumps_all;
	struct bt_place *place;
	unsigned places, places_end, places_all;
	struct bt_region regions[BT_REGIONS];
	unsigned region, regions_all; /* the one being filled; how many there are */
	unsigned ready;               /* bit n: region n has its memory, or will soon */
	const uint8_t *half;          /* when `at` is there, the next region is made ready */
	struct bt_tags tags;
	struct bt_learnt learnt[BT_LEARNT];
	struct interp *user[VCPUS_MAX];
	unsigned users;
	/* The rest with several vCPUs only, see share.h. */
	bool shared;
	atomic_bool busy;                      /* the lock */
	uint8_t *names;                        /* memory of shared blocks; */
	size_t frozen, frozen_end, frozen_all; /* as above, bytes */
	struct block **table;
	struct bt_page **page_table, *page, *page_free;
	unsigned pages, pages_all;
};

static inline bool bt_room_half_full(const struct bt_room *r)
{
	return r->half && r->at > r->half;
}

static inline bool bt_room_full(const struct bt_room *r)
{
	return r->at_end - r->at < (ptrdiff_t)BT_ROOM ||
	       r->cold_end - r->cold < (ptrdiff_t)BT_ROOM ||
	       r->cells_end - r->cells < BT_PLACES_ROOM ||
	       r->places_end - r->places < BT_PLACES_ROOM ||
	       r->memories_end - r->memories < BT_PLACES_ROOM ||
	       (r->shared && (r->frozen_end - r->frozen < BT_FROZEN_ROOM ||
			      (!r->page_free && r->pages == r->pages_all)));
}

#endif
