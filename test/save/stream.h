/*
 * stream.h - saved machines in memory: making, taking apart, putting checksums right.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SAVE_STREAM_H
#define TEST_SAVE_STREAM_H

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "board/pc.h"
#include "save/save.h"

struct stream {
	uint8_t *data;
	size_t bytes, room;
};

static inline int stream_write(void *arg, const void *data, size_t bytes)
{
	struct stream *s = arg;

	if (s->bytes + bytes > s->room) {
		s->room = 2 * (s->bytes + bytes);
		s->data = realloc(s->data, s->room);
		if (!s->data)
			abort();
	}
	if (bytes)
		memcpy(s->data + s->bytes, data, bytes);
	s->bytes += bytes;
	return 0;
}

static inline struct stream stream_of(struct pc *pc)
{
	struct stream s = { NULL, 0, 0 };
	struct save_sink sink = { .write = stream_write, .arg = &s };

	if (save_machine(pc->vm, &sink, NULL))
		abort();
	return s;
}

static inline int stream_load(const struct stream *s, struct pc *pc, struct fail *why)
{
	return save_load(pc->vm, s->data, s->bytes, why);
}

#define STREAM_HEADER  16 /* bytes before the first section */
#define SECTION_HEADER 16

/* The section at `at`: bytes of its name and payload together, or SIZE_MAX when none fits. */
static inline size_t stream_section(const uint8_t *data, size_t bytes, size_t at)
{
	uint16_t name;
	uint64_t payload;

	if (at > bytes || bytes - at < SECTION_HEADER + 8)
		return SIZE_MAX;
	memcpy(&name, data + at + 6, 2);
	memcpy(&payload, data + at + 8, 8);
	if (payload > bytes || name + payload > bytes - at - SECTION_HEADER - 8)
		return SIZE_MAX;
	return (size_t)(name + payload);
}

/* Makes the checksums right, as somebody who means harm would. */
static inline void stream_fix(uint8_t *data, size_t bytes)
{
	size_t at = STREAM_HEADER, inside;

	while ((inside = stream_section(data, bytes, at)) != SIZE_MAX) {
		uint64_t sum = XXH3_64bits(data + at, SECTION_HEADER + inside);

		at += SECTION_HEADER + inside;
		memcpy(data + at, &sum, 8);
		at += 8;
	}
}

/* Where a field is in a stream. */
struct place {
	char section[64], field[64];
	size_t section_at;      /* of the section's header */
	size_t record_at;       /* of the field's record */
	size_t at;              /* of its data */
	size_t width, elements; /* bytes an element */
};

/* Calls fn for every field of a good stream; stops when it returns true. */
static inline bool each_field(const struct stream *s, bool (*fn)(const struct place *p, void *arg),
			      void *arg)
{
	size_t at = STREAM_HEADER, inside;

	for (; (inside = stream_section(s->data, s->bytes, at)) != SIZE_MAX;
	     at += SECTION_HEADER + inside + 8) {
		const uint8_t *d = s->data;
		struct place p = { .section_at = at };
		size_t name = d[at + 6], end = at + SECTION_HEADER + inside;

		memcpy(p.section, d + at + SECTION_HEADER, name);
		if (strcmp(p.section, "memory") == 0 || strcmp(p.section, "end") == 0)
			continue;
		for (size_t f = at + SECTION_HEADER + name; f < end;) {
			uint32_t elements;

			memset(p.field, 0, sizeof(p.field));
			memcpy(p.field, d + f + 6, d[f]);
			memcpy(&elements, d + f + 2, 4);
			p.record_at = f;
			p.at = f + 6 + d[f];
			p.width = d[f + 1];
			p.elements = elements;
			if (fn(&p, arg))
				return true;
			f = p.at + p.width * p.elements;
		}
	}
	return false;
}

#endif
