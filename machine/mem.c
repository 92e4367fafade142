/*
 * mem.c - the machine map: sorted slots of host memory (see mem.h).
 *
 * A machine has two to five slots and nearly every look-up hits the one found
 * last, so a list with a memory of its last answer is all it takes.
 *
 * Tested by test/unit/mem.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/mem.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "machine/vm.h"

static int check_slot(const struct mem *m, gpa_t start, uint64_t bytes, struct fail *why)
{
	if ((start.v | bytes) & PAGE_MASK || bytes == 0 || start.v + bytes < start.v)
		return fail(why, -EINVAL, "memory at 0x%llx is not whole pages",
			    (unsigned long long)start.v);
	for (const struct mem_slot *s = m->slots; s; s = s->next) {
		if (start.v < s->start.v + s->bytes && s->start.v < start.v + bytes)
			return fail(why, -EEXIST, "memory at 0x%llx overlaps that at 0x%llx",
				    (unsigned long long)start.v, (unsigned long long)s->start.v);
	}
	return 0;
}

static size_t page_words(uint64_t bytes)
{
	return (bytes >> PAGE_SHIFT) * sizeof(atomic_ullong);
}

static void free_slot(struct mem_slot *slot)
{
	if (slot->owned && slot->host)
		host_unmap(slot->host, slot->bytes);
	host_free(slot->taken);
	host_unmap(slot->marks, slot->bytes >> PAGE_SHIFT);
	host_unmap(slot->coders, page_words(slot->bytes));
	host_unmap(slot->writers, page_words(slot->bytes));
	host_free(slot);
}

static struct mem_slot *new_slot(const struct vm *vm, gpa_t start, uint64_t bytes, void *host,
				 bool readonly)
{
	struct mem_slot *slot = host_alloc(sizeof(*slot));

	if (!slot)
		return NULL;
	slot->start = start;
	slot->bytes = bytes;
	slot->readonly = readonly;
	slot->owned = slot->discards = !host;
	slot->host = host ? host : host_map(bytes);
	slot->marks = host_map(bytes >> PAGE_SHIFT);
	if (vm->gate.used) {
		slot->coders = host_map(page_words(bytes));
		slot->writers = host_map(page_words(bytes));
	}
	if (slot->host && slot->marks && (!vm->gate.used || (slot->coders && slot->writers)))
		return slot;
	free_slot(slot);
	return NULL;
}

int mem_add(struct vm *vm, gpa_t start, uint64_t bytes, void *host, bool readonly, struct fail *why)
{
	struct mem *m = &vm->mem;
	struct mem_slot **at, *slot;
	int err = check_slot(m, start, bytes, why);

	if (err)
		return err;
	slot = new_slot(vm, start, bytes, host, readonly);
	if (!slot)
		return fail(why, -ENOMEM, "the host has no %llu MiB for guest memory",
			    (unsigned long long)(bytes >> 20));
	err = vm->engine->map ? vm->engine->map(vm, slot) : 0;
	if (err) {
		free_slot(slot);
		return fail(why, err, "engine %s cannot map memory at 0x%llx", vm->engine->name,
			    (unsigned long long)start.v);
	}
	for (at = &m->slots; *at && (*at)->start.v < start.v; at = &(*at)->next)
		;
	slot->next = *at;
	*at = slot;
	if (!readonly)
		m->ram_bytes += bytes;
	return 0;
}

int mem_add_ram(struct vm *vm, gpa_t start, uint64_t bytes, void *host, bool discards,
		struct fail *why)
{
	int err = mem_add(vm, start, bytes, host, false, why);

	if (!err)
		mem_find(&vm->mem, start)->discards = discards;
	return err;
}

int mem_expect(struct vm *vm, gpa_t in_slot, struct fail *why)
{
	struct mem_slot *slot = mem_find(&vm->mem, in_slot);

	slot->taken = host_alloc(mem_huge_page(slot, slot->host + slot->bytes - 1) + 1u);
	return slot->taken ? 0 : fail(why, -ENOMEM, "no memory for a virtual machine");
}

static bool was_touched(const struct mem_slot *slot, unsigned n)
{
	return n <= mem_huge_page(slot, slot->host + slot->bytes - 1) &&
	       __atomic_load_n(&slot->taken[n], __ATOMIC_RELAXED) == MEM_TOUCHED;
}

/* Huge page n, if all of it is the slot's. */
static void take_ahead(struct vm *vm, struct mem_slot *slot, unsigned n)
{
	const uint64_t huge = UINT64_C(1) << MEM_HUGE_SHIFT;
	uint8_t *base = slot->host - ((uintptr_t)slot->host & (huge - 1));
	uint8_t *at = base + ((uint64_t)n << MEM_HUGE_SHIFT), none = MEM_UNTAKEN;

	if ((int)n <= 0 || at + huge > slot->host + slot->bytes ||
	    !__atomic_compare_exchange_n(&slot->taken[n], &none, MEM_TAKING, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	host_ahead_touch_unless(vm->ahead, at, huge, &slot->taken[n]);
}

/* The next one is needed last: a guest that copies reaches it before another thread has it. */
void mem_touch_slow(struct vm *vm, struct mem_slot *slot, const uint8_t *host)
{
	unsigned n = mem_huge_page(slot, host);
	bool upwards = was_touched(slot, n - 1);

	__atomic_store_n(&slot->taken[n], MEM_TOUCHED, __ATOMIC_RELAXED);
	if (upwards == was_touched(slot, n + 1))
		return;
	take_ahead(vm, slot, upwards ? n + 2 : n - 2);
	take_ahead(vm, slot, upwards ? n + 1 : n - 1);
}

void mem_free(struct vm *vm)
{
	struct mem *m = &vm->mem;

	while (m->slots) {
		struct mem_slot *slot = m->slots;

		m->slots = slot->next;
		if (vm->engine->unmap)
			vm->engine->unmap(vm, slot);
		free_slot(slot);
	}
	m->recent = NULL;
	m->ram_bytes = 0;
}

struct mem_slot *mem_find(struct mem *m, gpa_t at)
{
	struct mem_slot *s = atomic_load_explicit(&m->recent, memory_order_relaxed);

	if (s && at.v - s->start.v < s->bytes)
		return s;
	for (s = m->slots; s; s = s->next) {
		if (at.v - s->start.v < s->bytes) {
			atomic_store_explicit(&m->recent, s, memory_order_relaxed);
			return s;
		}
	}
	return NULL;
}

struct mem_slot *mem_find_host(struct mem *m, const void *host, gpa_t *at)
{
	struct mem_slot *s = m->slots;

	while (s && (uintptr_t)host - (uintptr_t)s->host >= s->bytes)
		s = s->next;
	if (s)
		*at = gpa(s->start.v + ((uintptr_t)host - (uintptr_t)s->host));
	return s;
}

void *mem_host(struct mem *m, gpa_t at, uint64_t bytes)
{
	struct mem_slot *s = mem_find(m, at);

	if (!s || bytes > s->bytes - (at.v - s->start.v))
		return NULL;
	return s->host + (at.v - s->start.v);
}

enum copy_kind { COPY_OUT, COPY_IN, COPY_IN_ROM };

/* Is all of it memory of the right kind? Slots may adjoin. */
static bool all_memory(struct mem *m, gpa_t at, uint64_t bytes, enum copy_kind kind)
{
	while (bytes > 0) {
		struct mem_slot *s = mem_find(m, at);
		uint64_t here;

		if (!s || (s->readonly && kind == COPY_IN))
			return false;
		here = s->bytes - (at.v - s->start.v);
		if (here >= bytes)
			return true;
		bytes -= here;
		at.v += here;
	}
	return true;
}

bool mem_is_memory(struct mem *m, gpa_t at, uint64_t bytes, bool writable)
{
	return at.v + bytes >= at.v && all_memory(m, at, bytes, writable ? COPY_IN : COPY_OUT);
}

static int copy(struct mem *m, gpa_t at, void *to, const void *from, uint64_t bytes,
		enum copy_kind kind)
{
	gpa_t first = at;
	uint64_t done = 0;

	if (at.v + bytes < at.v || !all_memory(m, at, bytes, kind))
		return -EFAULT;
	while (done < bytes) {
		struct mem_slot *s = mem_find(m, at);
		uint64_t here = s->bytes - (at.v - s->start.v);
		uint8_t *host = s->host + (at.v - s->start.v);

		if (here > bytes - done)
			here = bytes - done;
		if (kind == COPY_OUT)
			memcpy((uint8_t *)to + done, host, here);
		else
			memcpy(host, (const uint8_t *)from + done, here);
		done += here;
		at.v += here;
	}
	if (kind != COPY_OUT)
		mem_written(m, first, bytes);
	return 0;
}

int mem_read(struct mem *m, gpa_t from, void *to, uint64_t bytes)
{
	return copy(m, from, to, NULL, bytes, COPY_OUT);
}

int mem_write(struct mem *m, gpa_t to, const void *from, uint64_t bytes)
{
	return copy(m, to, NULL, from, bytes, COPY_IN);
}

int mem_load(struct mem *m, gpa_t to, const void *from, uint64_t bytes)
{
	return copy(m, to, NULL, from, bytes, COPY_IN_ROM);
}

void mem_written(struct mem *m, gpa_t at, uint64_t bytes)
{
	while (bytes > 0) {
		struct mem_slot *s = mem_find(m, at);
		uint64_t here = PAGE_SIZE - (at.v & PAGE_MASK);

		if (!s)
			return;
		if (here > bytes)
			here = bytes;
		__atomic_and_fetch(mem_mark(s, at), (uint8_t)~MARK_CLEAN, __ATOMIC_RELAXED);
		/* After the write: who decodes sets its bit, then reads. */
		atomic_thread_fence(memory_order_seq_cst);
		if (mem_marks(s, at) & MARK_CODE && m->code_written)
			m->code_written(m->code_arg, at, here);
		at.v += here;
		bytes -= here;
	}
}

static void mark_all(struct mem *m, bool clean)
{
	for (struct mem_slot *s = m->slots; s; s = s->next) {
		for (uint64_t i = 0; i < s->bytes >> PAGE_SHIFT; i++) {
			if (clean)
				__atomic_or_fetch(&s->marks[i], MARK_CLEAN, __ATOMIC_RELAXED);
			else
				__atomic_and_fetch(&s->marks[i], (uint8_t)~MARK_CLEAN,
						   __ATOMIC_RELAXED);
		}
	}
}

/* What the engine cannot log counts as written: too much is sent, never too little. */
static void engine_log(struct mem *m, struct mem_slot *slot, enum dirty_step step)
{
	if (!m->dirty || m->dirty(m->dirty_arg, slot, step) == 0)
		return;
	for (uint64_t i = 0; i < slot->bytes >> PAGE_SHIFT; i++)
		__atomic_and_fetch(&slot->marks[i], (uint8_t)~MARK_CLEAN, __ATOMIC_RELAXED);
}

void mem_dirty_start(struct mem *m)
{
	m->logging = true;
	mark_all(m, true);
	for (struct mem_slot *s = m->slots; s; s = s->next)
		engine_log(m, s, DIRTY_START);
}

void mem_dirty_stop(struct mem *m)
{
	m->logging = false;
	for (struct mem_slot *s = m->slots; s; s = s->next)
		engine_log(m, s, DIRTY_STOP);
	mark_all(m, false);
}

void mem_dirty_sync(struct mem *m)
{
	for (struct mem_slot *s = m->slots; m->logging && s; s = s->next)
		engine_log(m, s, DIRTY_FETCH);
}

void mem_dirty_collect(struct mem *m, struct mem_slot *slot, uint64_t *bits)
{
	engine_log(m, slot, DIRTY_FETCH);
	for (uint64_t i = 0; i < slot->bytes >> PAGE_SHIFT; i++) {
		if (slot->marks[i] & MARK_CLEAN)
			continue;
		bits[i / 64] |= UINT64_C(1) << (i % 64);
		__atomic_or_fetch(&slot->marks[i], MARK_CLEAN, __ATOMIC_RELAXED);
	}
}
