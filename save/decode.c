/*
 * decode.c - the reading half of save.h: a hostile stream against this machine's tables.
 *
 * Two passes. The first only reads: every length, name, width, count and checksum
 * must be right and every part of this machine must be there exactly once, in
 * order. Then nothing can go wrong but values, which devices check themselves.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "save/save.h"
#include "save/sections.h"

struct reader {
	const uint8_t *at, *end;
};

struct found { /* one section of the stream */
	char name[64];
	uint16_t version;
	struct reader payload;
};

/* The next `bytes`, or NULL when there are not so many. */
static const uint8_t *take(struct reader *r, uint64_t bytes)
{
	const uint8_t *p = r->at;

	if (bytes > (uint64_t)(r->end - r->at))
		return NULL;
	r->at += bytes;
	return p;
}

static bool take_number(struct reader *r, unsigned width, uint64_t *value)
{
	const uint8_t *p = take(r, width);

	*value = 0;
	if (p)
		memcpy(value, p, width);
	return p != NULL;
}

static int next_section(struct reader *r, struct found *f, struct fail *why)
{
	uint64_t tag, version, name_bytes, payload, sum;
	const uint8_t *start = r->at, *name, *data;

	if (!take_number(r, 4, &tag) || !take_number(r, 2, &version) ||
	    !take_number(r, 2, &name_bytes) || !take_number(r, 8, &payload))
		return fail(why, -EINVAL, "the saved machine is truncated");
	if (tag != SAVE_SECTION || name_bytes == 0 || name_bytes >= sizeof(f->name))
		return fail(why, -EINVAL,
			    "the saved machine is damaged: no section where one belongs");
	name = take(r, name_bytes);
	data = name ? take(r, payload) : NULL;
	if (!data || !take_number(r, 8, &sum))
		return fail(why, -EINVAL, "the saved machine is truncated");
	if (XXH3_64bits(start, (size_t)(data + payload - start)) != sum)
		return fail(why, -EINVAL, "the saved machine is damaged: a checksum is wrong");
	memset(f->name, 0, sizeof(f->name));
	memcpy(f->name, name, name_bytes);
	f->version = (uint16_t)version;
	f->payload = (struct reader){ data, data + payload };
	return 0;
}

/* One field record of the payload, which must be `f`. `data`: where its elements start. */
static int next_field(struct reader *r, const struct field *f, const char *section,
		      const uint8_t **data, struct fail *why)
{
	uint64_t name_bytes, width, count;
	const uint8_t *name;

	if (!take_number(r, 1, &name_bytes) || !take_number(r, 1, &width) ||
	    !take_number(r, 4, &count) || !(name = take(r, name_bytes)))
		return fail(why, -EINVAL, "section '%s' ends before field '%s'", section, f->name);
	if (name_bytes != strlen(f->name) || memcmp(name, f->name, name_bytes) != 0)
		return fail(why, -EINVAL, "section '%s': field '%s' is missing", section, f->name);
	if (width != f->width || count != f->count)
		return fail(why, -EINVAL, "section '%s': field '%s' has another size", section,
			    f->name);
	*data = take(r, width * count);
	if (!*data)
		return fail(why, -EINVAL, "section '%s' ends inside field '%s'", section, f->name);
	for (uint32_t i = 0; f->boolean && i < count; i++) {
		if ((*data)[i] > 1)
			return fail(why, -EINVAL, "section '%s': field '%s' is neither 0 nor 1",
				    section, f->name);
	}
	return 0;
}

/* Checks, and with `apply` stores, the fields of one section. Fields newer than the stream's
 * version keep the values the machine has. */
static int read_fields(const struct section *s, const struct found *f, bool apply, struct fail *why)
{
	struct reader r = f->payload;

	if (strcmp(s->name, f->name) != 0)
		return fail(why, -EINVAL, "the saved machine has '%s' where this one has '%s'",
			    f->name, s->name);
	if (f->version > s->version)
		return fail(why, -EINVAL, "section '%s' is of version %u; this program knows %u",
			    f->name, f->version, s->version);
	for (const struct field *field = s->fields; field && field->name; field++) {
		const uint8_t *data = NULL;
		int err;

		if (field->since > f->version)
			continue;
		err = next_field(&r, field, s->name, &data, why);
		if (err)
			return err;
		for (uint32_t i = 0; apply && i < field->count; i++)
			memcpy((uint8_t *)s->data + field->offset + (size_t)i * field->stride,
			       data + (size_t)i * field->width, field->width);
	}
	if (r.at != r.end)
		return fail(why, -EINVAL, "section '%s' has a field too many", f->name);
	return 0;
}

static void clear(struct mem_slot *slot)
{
	if (slot->discards)
		host_discard(slot->host, slot->bytes);
	else
		memset(slot->host, 0, slot->bytes); /* may be a file: zeros, not what is in it */
}

static int read_memory(struct mem_slot *slot, const struct found *f, bool apply, struct fail *why)
{
	struct reader r = f->payload;
	uint64_t start, bytes, readonly, page, last = UINT64_MAX;

	if (strcmp(f->name, "memory") != 0 || f->version != 1 || !take_number(&r, 8, &start) ||
	    !take_number(&r, 8, &bytes) || !take_number(&r, 1, &readonly))
		return fail(why, -EINVAL, "the saved machine lacks memory that this one has");
	if (start != slot->start.v || bytes != slot->bytes || readonly != slot->readonly)
		return fail(why, -EINVAL,
			    "the saved machine's memory is not this one's: 0x%llx bytes at 0x%llx",
			    (unsigned long long)bytes, (unsigned long long)start);
	if (apply)
		clear(slot);
	while (r.at != r.end) {
		const uint8_t *data;

		if (!take_number(&r, 8, &page) || !(data = take(&r, PAGE_SIZE)) ||
		    page >= slot->bytes >> PAGE_SHIFT || (last != UINT64_MAX && page <= last))
			return fail(why, -EINVAL, "a saved memory page is out of place");
		last = page;
		if (apply)
			memcpy(slot->host + (page << PAGE_SHIFT), data, PAGE_SIZE);
	}
	return 0;
}

static int walk(struct vm *vm, struct parts *parts, struct reader r, bool apply, struct fail *why)
{
	struct found f;
	int err;

	for (unsigned i = 0; i < parts->count; i++) {
		err = next_section(&r, &f, why);
		if (!err)
			err = read_fields(&parts->section[i], &f, apply, why);
		if (err)
			return err;
	}
	for (struct mem_slot *slot = vm->mem.slots; slot; slot = slot->next) {
		err = next_section(&r, &f, why);
		if (!err)
			err = read_memory(slot, &f, apply, why);
		if (err)
			return err;
	}
	err = next_section(&r, &f, why);
	if (err)
		return err;
	if (strcmp(f.name, "end") != 0 || f.payload.at != f.payload.end || r.at != r.end)
		return fail(why, -EINVAL, "the saved machine has more in it than this one");
	return 0;
}

static int check_header(struct reader *r, struct fail *why)
{
	const uint8_t *magic = take(r, sizeof(save_magic));
	uint64_t format, zero;

	if (!magic || memcmp(magic, save_magic, sizeof(save_magic)) != 0)
		return fail(why, -EINVAL, "this is not a saved machine");
	if (!take_number(r, 4, &format) || !take_number(r, 4, &zero))
		return fail(why, -EINVAL, "the saved machine is truncated");
	if (format != SAVE_FORMAT || zero != 0)
		return fail(why, -EINVAL,
			    "the saved machine is of format %llu; this program knows %d",
			    (unsigned long long)format, SAVE_FORMAT);
	return 0;
}

int save_load(struct vm *vm, const void *data, size_t bytes, struct fail *why)
{
	struct reader r = { data, (const uint8_t *)data + bytes };
	struct parts parts;
	int err = check_header(&r, why);

	if (err)
		return err;
	err = parts_open(&parts, vm, why);
	if (err)
		return err;
	err = walk(vm, &parts, r, false, why);
	if (!err)
		err = walk(vm, &parts, r, true, why);
	if (!err)
		err = parts_apply(&parts, vm, why);
	parts_close(&parts);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->engine->forget)
			vm->engine->forget(vm->vcpu[i]);
	}
	return err;
}
