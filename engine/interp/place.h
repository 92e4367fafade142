/*
 * place.h - what lies behind a linear address: both translation steps, and the access itself.
 *
 * Used by mem.c (data) and run.c (code). Tested by test/unit/interp_mem.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_PLACE_H
#define ENGINE_INTERP_PLACE_H

#include "engine/interp/interp.h"

struct place {
	uint8_t *host; /* NULL: a device, or nothing, answers */
	gpa_t gpa;
	bool readonly; /* ROM: writes are ignored */
	bool watched;  /* code was decoded from this page: writes must be told */
};

/*
 * Where [linear, +size), within one page, is, for an access with the rights of the current TLB
 * context. Fills the TLB when the page is memory that may be reached directly.
 * false: #PF is recorded. `linear` is canonical.
 */
bool place_find(struct interp *c, uint64_t linear, unsigned size, enum access access,
		struct place *p);

/* The same, without a walk, for a write that only has to be told of: it has a tag that says so.
 * false: ask place_find(). */
bool place_told(struct interp *c, uint64_t linear, unsigned size, struct place *p);

void place_read(struct interp *c, const struct place *p, void *to, unsigned size);
void place_write(struct interp *c, const struct place *p, const void *from, unsigned size);

/* Records the data breakpoints that [linear, +size) touches in db_hit and db_bits. */
void place_watchpoints(struct interp *c, uint64_t linear, unsigned size, bool write);

/* Guest memory as the page walk needs it; *m lives in the caller. */
struct walk_scratch {
	struct interp *c;
	uint64_t copy; /* of an entry that lies in ROM */
};
struct walk_memory walk_memory_of(struct walk_scratch *w, struct interp *c);

#endif
