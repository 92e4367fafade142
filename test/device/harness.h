/*
 * harness.h - a machine with chips and no guest: the test is the guest.
 *
 * Port accesses go through the bus, time passes only in rig_step(), and a listener on
 * the interrupt lines keeps their levels and counts their edges. fuzz_registers() runs
 * two rigs side by side, the second one loaded from the first one's field tables: a
 * member missing there, or an alarm not set again, soon makes them differ.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_DEVICE_HARNESS_H
#define TEST_DEVICE_HARNESS_H

#include <string.h>

#include "machine/post.h"
#include "machine/vm.h"
#include "test/cmocka.h"
#include "test/unit/fake_engine.h"

#define RIG_WALL_S UINT64_C(1704067200) /* 2024-01-01 00:00:00 UTC, a Monday, at virtual time 0 */

struct rig {
	struct vm *vm;
	struct device *dev;           /* the chip under test, for input and fields */
	uint8_t level[IRQ_LINES];     /* of each line */
	unsigned rises[IRQ_LINES];    /* since rig_open() */
	uint64_t risen_at[IRQ_LINES]; /* virtual ns of the last rise */
	unsigned messages[256];       /* on the APIC bus, by vector, when rig_listen() was called */
};

/* cmocka's fail_msg(), whose expansion needs the name that host/fail.h has. */
#define rig_fail(...)                                                                              \
	do {                                                                                       \
		print_error(__VA_ARGS__);                                                          \
		_fail(__FILE__, __LINE__);                                                         \
	} while (0)

/* Adds the chips of a test to rig->vm and sets rig->dev. */
typedef void rig_build(struct rig *rig);

static inline void rig_line(void *arg, unsigned gsi, int level)
{
	struct rig *rig = arg;

	if (level && !rig->level[gsi]) {
		rig->rises[gsi]++;
		rig->risen_at[gsi] = clock_now(&rig->vm->clock);
	}
	rig->level[gsi] = (uint8_t)level;
}

static inline void rig_open(struct rig *rig, rig_build *build)
{
	memset(rig, 0, sizeof(*rig));
	rig->vm = fake_vm(true);
	assert_non_null(rig->vm);
	assert_true(irq_add_sink(rig->vm, rig_line, rig));
	build(rig);
	if (!rig->dev)
		rig->dev = rig->vm->devices;
	atomic_store(&rig->vm->vcpu[0]->notice, false);
}

static inline void rig_close(struct rig *rig)
{
	vm_close(rig->vm);
}

static inline bool rig_message(void *arg, const struct apic_message *m)
{
	((struct rig *)arg)->messages[m->vector]++;
	return true;
}

/* Counts messages on the APIC bus, which has nobody else on it. */
static inline void rig_listen(struct rig *rig)
{
	rig->vm->irq.message = rig_message;
	rig->vm->irq.message_arg = rig;
}

/* --- Memory-mapped registers --- */

static inline uint64_t rig_read(struct rig *rig, uint64_t at, unsigned size)
{
	struct io_access io = { .addr = at, .size = (uint8_t)size };

	bus_access(rig->vm, &rig->vm->mmio, &io);
	return io.data;
}

static inline void rig_write(struct rig *rig, uint64_t at, uint64_t value, unsigned size)
{
	struct io_access io = { .addr = at, .data = value, .size = (uint8_t)size, .write = true };

	bus_access(rig->vm, &rig->vm->mmio, &io);
}

/* --- Ports --- */

static inline uint32_t rig_in(struct rig *rig, uint16_t port, unsigned size)
{
	struct io_access io = { .addr = port, .size = (uint8_t)size };

	bus_access(rig->vm, &rig->vm->port, &io);
	return (uint32_t)io.data;
}

static inline void rig_out(struct rig *rig, uint16_t port, uint32_t value, unsigned size)
{
	struct io_access io = { .addr = port, .data = value, .size = (uint8_t)size, .write = true };

	bus_access(rig->vm, &rig->vm->port, &io);
}

static inline uint8_t inb(struct rig *rig, uint16_t port)
{
	return (uint8_t)rig_in(rig, port, 1);
}

static inline void outb(struct rig *rig, uint16_t port, uint8_t value)
{
	rig_out(rig, port, value, 1);
}

/* --- Time, lines, input, requests --- */

static inline uint64_t rig_now(const struct rig *rig)
{
	return clock_now(&rig->vm->clock);
}

/* Virtual time moves to `at`, stopping at every alarm on the way. */
static inline void rig_step_to(struct rig *rig, uint64_t at)
{
	struct clock *c = &rig->vm->clock;

	host_mutex_lock(rig->vm->lock);
	while (clock_next(c) <= at) {
		clock_skip_to(c, clock_next(c));
		clock_fire(c);
	}
	clock_skip_to(c, at);
	host_mutex_unlock(rig->vm->lock);
}

static inline void rig_step(struct rig *rig, uint64_t ns)
{
	rig_step_to(rig, rig_now(rig) + ns);
}

/* Time moves in one jump, as on a busy host: alarms are late. */
static inline void rig_jump(struct rig *rig, uint64_t ns)
{
	clock_skip_to(&rig->vm->clock, rig_now(rig) + ns);
	rig_step(rig, 0);
}

static inline void rig_set_line(struct rig *rig, unsigned gsi, int level)
{
	host_mutex_lock(rig->vm->lock);
	irq_set(rig->vm, gsi, level);
	host_mutex_unlock(rig->vm->lock);
}

static inline void rig_input(struct rig *rig, const void *data, size_t bytes)
{
	assert_int_equal(device_post(rig->dev, data, bytes), 0);
	posted_take(rig->vm);
}

/* What the chip asked the machine for, once. */
static inline enum vm_request rig_request(struct rig *rig)
{
	return (enum vm_request)atomic_exchange(&rig->vm->request, VM_NONE);
}

/* --- Fuzzing --- */

struct fuzz {
	rig_build *build;
	struct {
		uint16_t first, count;
	} ports[4];
	unsigned rounds;
	uint64_t longest_ns; /* of one step */
	/* Something beside ports and time, the same on both rigs; may be NULL. */
	uint32_t (*stir)(struct rig *rig, uint64_t random);
	bool mostly_stir; /* ports and time are the lesser part */
	uint64_t seed;    /* 0: always the same one */
};

static inline uint64_t fuzz_random(uint64_t *seed)
{
	/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators" */
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(0x2545f4914f6cdd1d);
}

static inline uint8_t *fuzz_element(struct device *dev, const struct field *f, uint32_t i)
{
	return (uint8_t *)dev + f->offset + (size_t)i * f->stride;
}

/* `to` becomes what `from` is, through the field tables and loaded(). */
static inline void fuzz_load(struct rig *to, struct rig *from)
{
	struct device *a = from->vm->devices, *b = to->vm->devices;
	struct fail why;

	clock_restore(&to->vm->clock, rig_now(from));
	memcpy(to->vm->irq.level, from->vm->irq.level, sizeof(to->vm->irq.level));
	memcpy(to->level, from->level, sizeof(to->level));
	for (struct mem_slot *s = from->vm->mem.slots, *t = to->vm->mem.slots; s;
	     s = s->next, t = t->next)
		memcpy(t->host, s->host, s->bytes);
	for (; a; a = a->next, b = b->next)
		for (const struct field *f = a->ops->state; f->name; f++)
			for (uint32_t i = 0; i < f->count; i++)
				memcpy(fuzz_element(b, f, i), fuzz_element(a, f, i), f->width);
	for (b = to->vm->devices; b; b = b->next)
		if (b->ops->loaded(b, &why))
			rig_fail("loading a good state: %s", why.text);
}

static inline void fuzz_compare(struct rig *one, struct rig *two)
{
	struct device *a = one->vm->devices, *b = two->vm->devices;

	for (; a; a = a->next, b = b->next)
		for (const struct field *f = a->ops->state; f->name; f++)
			for (uint32_t i = 0; i < f->count; i++)
				if (memcmp(fuzz_element(a, f, i), fuzz_element(b, f, i), f->width))
					rig_fail("%s: field %s[%u] differs", a->id, f->name, i);
	for (struct mem_slot *s = one->vm->mem.slots, *t = two->vm->mem.slots; s;
	     s = s->next, t = t->next)
		assert_memory_equal(s->host, t->host, s->bytes);
	assert_memory_equal(one->level, two->level, sizeof(one->level));
	assert_int_equal(clock_next(&one->vm->clock), clock_next(&two->vm->clock));
}

/* One random action. Returns what the guest would see of it. */
static inline uint32_t fuzz_act(struct rig *rig, const struct fuzz *fuzz, uint64_t random)
{
	unsigned ranges = 0, size = 1u << (random >> 8 & 3) % 3;
	uint16_t port;

	while (ranges < 4 && fuzz->ports[ranges].count)
		ranges++;
	if ((random & 7) == 0) {
		rig_step(rig, (random >> 16) % fuzz->longest_ns);
		return 0;
	}
	if (fuzz->stir && ((random & 7) == 1 || (fuzz->mostly_stir && (random & 7) != 2)))
		return fuzz->stir(rig, random >> 8);
	ranges = (random >> 12 & 15) % ranges;
	port = (uint16_t)(fuzz->ports[ranges].first + (random >> 16) % fuzz->ports[ranges].count);
	if (random >> 10 & 3) /* mostly bytes, as drivers do */
		size = 1;
	if (random & 8)
		return rig_in(rig, port, size);
	rig_out(rig, port, (uint32_t)(random >> 32), size);
	return 0;
}

/* Random bytes in some fields: refused with a reason, or run with. Those of a bool no stream can
 * bring but 0 and 1 (save/). */
static inline void fuzz_hostile(struct rig *rig, const struct fuzz *fuzz, uint64_t *seed)
{
	struct fail why = { 0 };
	bool refused = false;

	for (struct device *dev = rig->vm->devices; dev; dev = dev->next) {
		for (const struct field *f = dev->ops->state; f->name; f++)
			if (fuzz_random(seed) % 4 == 0)
				for (unsigned i = 0; i < f->width; i++)
					fuzz_element(dev, f,
						     (uint32_t)(fuzz_random(seed) % f->count))[i] =
						(uint8_t)(fuzz_random(seed) >> 32 &
							  (f->boolean ? 1 : 0xff));
		if (dev->ops->loaded(dev, &why)) {
			assert_true(why.code < 0 && why.text[0]);
			refused = true;
		}
	}
	for (unsigned i = 0; i < 50 && !refused; i++)
		fuzz_act(rig, fuzz, fuzz_random(seed));
	rig_request(rig);
}

/* Leads `two` somewhere else, so that what a load does not bring along shows. */
static inline void fuzz_stray(struct rig *two, struct rig *one, const struct fuzz *fuzz,
			      uint64_t *seed)
{
	fuzz_load(two, one);
	vm_reset(two->vm);
	for (unsigned i = 0; i < 50; i++)
		fuzz_act(two, fuzz, fuzz_random(seed));
	rig_request(two);
}

/* Random reads, writes and steps on two rigs, the second loaded anew from the first every so
 * often; both must do the same. Deterministic. */
static inline void fuzz_registers(const struct fuzz *fuzz)
{
	uint64_t seed = fuzz->seed ? fuzz->seed : UINT64_C(0x9e3779b97f4a7c15);
	struct rig one, two;

	rig_open(&one, fuzz->build);
	rig_open(&two, fuzz->build);
	for (unsigned i = 0; i < fuzz->rounds; i++) {
		fuzz_hostile(&two, fuzz, &seed);
		fuzz_stray(&two, &one, fuzz, &seed);
		fuzz_load(&two, &one);
		fuzz_compare(&one, &two);
		for (unsigned j = 0; j < 100; j++) {
			uint64_t random = fuzz_random(&seed);

			assert_int_equal(fuzz_act(&one, fuzz, random),
					 fuzz_act(&two, fuzz, random));
			assert_int_equal(rig_request(&one), rig_request(&two));
		}
		fuzz_compare(&one, &two);
	}
	rig_close(&one);
	rig_close(&two);
}

#endif
