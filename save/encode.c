/*
 * encode.c - the writing half of save.h, and the state hash.
 *
 * Both are one walk over the same parts; they differ in where the bytes go.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "machine/post.h"
#include "save/save.h"
#include "save/sections.h"

struct encoder {
	const struct save_sink *sink;
	XXH3_state_t *sum; /* of the section being written */
	int err;
};

static void put(struct encoder *e, const void *data, size_t bytes)
{
	if (e->err)
		return;
	XXH3_64bits_update(e->sum, data, bytes);
	e->err = e->sink->write(e->sink->arg, data, bytes);
}

/* x86 is little-endian and so is the stream: numbers are copied. */
static void put_number(struct encoder *e, uint64_t value, unsigned width)
{
	put(e, &value, width);
}

static void put_unsummed(struct encoder *e, uint64_t value, unsigned width)
{
	if (!e->err)
		e->err = e->sink->write(e->sink->arg, &value, width);
}

static void begin(struct encoder *e, const char *name, uint16_t version, uint64_t payload)
{
	XXH3_64bits_reset(e->sum);
	put_number(e, SAVE_SECTION, 4);
	put_number(e, version, 2);
	put_number(e, strlen(name), 2);
	put_number(e, payload, 8);
	put(e, name, strlen(name));
}

static void end(struct encoder *e)
{
	put_unsummed(e, XXH3_64bits_digest(e->sum), 8);
}

static uint64_t field_bytes(const struct field *f)
{
	return 6 + strlen(f->name) + (uint64_t)f->width * f->count;
}

static void put_fields(struct encoder *e, const struct section *s)
{
	uint64_t payload = 0;

	for (const struct field *f = s->fields; f && f->name; f++)
		payload += field_bytes(f);
	begin(e, s->name, s->version, payload);
	for (const struct field *f = s->fields; f && f->name; f++) {
		const uint8_t *at = (const uint8_t *)s->data + f->offset;

		put_number(e, strlen(f->name), 1);
		put_number(e, f->width, 1);
		put_number(e, f->count, 4);
		put(e, f->name, strlen(f->name));
		for (uint32_t i = 0; i < f->count; i++)
			put(e, at + (size_t)i * f->stride, f->width);
	}
	end(e);
}

static bool is_zero(const uint8_t *page)
{
	uint64_t word;

	/* A page is zero when it starts with zero and equals itself moved by a word. */
	memcpy(&word, page, sizeof(word));
	return word == 0 && memcmp(page, page + 8, PAGE_SIZE - 8) == 0;
}

static void put_memory(struct encoder *e, const struct mem_slot *slot)
{
	uint64_t pages = slot->bytes >> PAGE_SHIFT, used = 0;

	for (uint64_t i = 0; i < pages; i++)
		used += !is_zero(slot->host + (i << PAGE_SHIFT));
	begin(e, "memory", 1, 17 + used * (8 + PAGE_SIZE));
	put_number(e, slot->start.v, 8);
	put_number(e, slot->bytes, 8);
	put_number(e, slot->readonly, 1);
	for (uint64_t i = 0; i < pages && !e->err; i++) {
		const uint8_t *page = slot->host + (i << PAGE_SHIFT);

		if (is_zero(page))
			continue;
		put_number(e, i, 8);
		put(e, page, PAGE_SIZE);
	}
	end(e);
}

static void prepare(struct vm *vm)
{
	host_mutex_lock(vm->lock);
	for (struct device *dev = vm->devices; dev; dev = dev->next) {
		if (dev->ops->saving)
			dev->ops->saving(dev);
	}
	host_mutex_unlock(vm->lock);
}

static int encode(struct vm *vm, const struct save_sink *sink, struct fail *why)
{
	struct encoder e = { .sink = sink, .sum = XXH3_createState() };
	struct parts parts;
	int err;

	if (!e.sum)
		return fail(why, -ENOMEM, "no memory to save a machine");
	prepare(vm);
	err = parts_open(&parts, vm, why);
	if (!err) {
		e.err = sink->write(sink->arg, save_magic, sizeof(save_magic));
		put_unsummed(&e, SAVE_FORMAT, 4);
		put_unsummed(&e, 0, 4);
		for (unsigned i = 0; i < parts.count; i++)
			put_fields(&e, &parts.section[i]);
		for (const struct mem_slot *s = vm->mem.slots; s && !e.err; s = s->next)
			put_memory(&e, s);
		begin(&e, "end", 1, 0);
		end(&e);
		parts_close(&parts);
		err = e.err ? fail(why, e.err, "cannot write the saved machine: %s",
				   strerror(-e.err))
			    : 0;
	}
	XXH3_freeState(e.sum);
	return err;
}

int save_machine(struct vm *vm, const struct save_sink *sink, struct fail *why)
{
	int err;

	posted_take(vm);
	host_mutex_lock(vm->lock);
	clock_fire(&vm->clock);
	host_mutex_unlock(vm->lock);
	err = encode(vm, sink, why);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->engine->forget)
			vm->engine->forget(vm->vcpu[i]);
	}
	return err;
}

static int hash_write(void *arg, const void *data, size_t bytes)
{
	XXH3_128bits_update(arg, data, bytes);
	return 0;
}

struct save_hash save_hash(struct vm *vm)
{
	XXH3_state_t *state = XXH3_createState();
	struct save_sink sink = { .write = hash_write, .arg = state };
	struct save_hash hash = { 0, 0 };
	XXH128_hash_t h;

	if (!state)
		return hash;
	XXH3_128bits_reset(state);
	if (encode(vm, &sink, NULL) == 0) {
		h = XXH3_128bits_digest(state);
		hash = (struct save_hash){ h.low64, h.high64 };
	}
	XXH3_freeState(state);
	return hash;
}
