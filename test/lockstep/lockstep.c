/*
 * lockstep.c - Debian's boot on interp and on bt, side by side in one process, compared on the way.
 *
 * usage: lockstep [--to N] [--every N] [--hash N] [--slices N] [--swap N] [--torture LIST]
 *
 * After every so many instructions everything that the state hash is made of is compared: what a
 * saved machine would have of CPU, clock and devices, and those pages of memory that either
 * machine wrote meanwhile, by its dirty log. Every --hash instructions all of memory is, and the
 * hash itself. Up to --slices instructions the machines go in slices of random length, 1 to 200,
 * with the CPU compared after each. Every --swap instructions both machines are saved, and each
 * goes on from what the other saved. --to 0: to the end, where the guest has introduced itself and
 * powered off, saying the same.
 *
 * Named lockstep-quick (make test) it has fewer slices; make lockstep also runs it under tortures.
 * $GUEST is the directory with vmlinuz and initramfs.gz.
 *
 * SPDX-License-Identifier: MIT
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board/pc.h"
#include "engine/bt/engine_bt.h"
#include "engine/interp/engine_interp.h"
#include "save/save.h"
#include "save/sections.h"

#define MEMORY   (UINT64_C(160) << 20)
#define MILLION  UINT64_C(1000000)
#define SLICE    200
#define MEMORIES 5000 /* slices between two comparisons of memory */

struct side {
	const char *name;
	struct pc *pc;
	char *text;      /* what the guest printed */
	uint64_t *dirty; /* a bit a page of the slot at hand */
	size_t bytes;
};

struct options {
	uint64_t to, every, hash, slices, swap;
	unsigned torture;
};

static struct side sides[2] = { { .name = "interp" }, { .name = "bt" } };
static uint64_t comparisons, whole, pages, hashes, swaps;

static void die(const char *what, const char *why)
{
	printf("not ok - lockstep: %s: %s\n", what, why);
	exit(1);
}

static void print(void *arg, const void *data, size_t bytes)
{
	struct side *s = arg;

	s->text = realloc(s->text, s->bytes + bytes);
	memcpy(s->text + s->bytes, data, bytes);
	s->bytes += bytes;
}

static struct pc *open_pc(struct side *s, const struct engine_ops *engine, unsigned torture)
{
	static char kernel[4096], initrd[4096];
	const char *guest = getenv("GUEST");
	struct pc_config config = {
		.engine = engine,
		.memory = MEMORY,
		.vcpus = 1,
		.kernel = kernel,
		.initrd = initrd,
		.append = "console=ttyS0 trapeze.intro",
		.counted = true,
		.no_reboot = true,
		.stop_at = UINT64_MAX,
		.serial = {.write = print, .arg = s },
		.engine_options = { .torture = torture            }
	};
	struct fail why = { 0, "" };
	struct pc *pc;

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", guest ? guest : "build/guest");
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", guest ? guest : "build/guest");
	pc = pc_open(&config, &why);
	if (!pc)
		die(s->name, why.text);
	pc->vm->halt_ends = true;
	return pc;
}

static uint64_t now(const struct side *s)
{
	return *s->pc->vm->vcpu[0]->retired;
}

static void print_states(const struct x86_state *a, const struct x86_state *b)
{
	for (const struct field *f = x86_state_fields; f->name; f++)
		for (uint32_t n = 0; n < f->count; n++) {
			const uint8_t *x = (const uint8_t *)a + f->offset + n * f->stride;
			const uint8_t *y = (const uint8_t *)b + f->offset + n * f->stride;
			uint64_t u = 0, v = 0;

			memcpy(&u, x, f->width < 8 ? f->width : 8);
			memcpy(&v, y, f->width < 8 ? f->width : 8);
			if (memcmp(x, y, f->width) != 0)
				printf("  %s[%u]: interp %" PRIx64 " bt %" PRIx64 "\n", f->name, n,
				       u, v);
		}
	vcpu_dump(sides[0].pc->vm->vcpu[0]);
}

static void compare_cpu(void)
{
	struct x86_state a, b;
	bool same = true;

	vcpu_get_state(sides[0].pc->vm->vcpu[0], &a);
	vcpu_get_state(sides[1].pc->vm->vcpu[0], &b);
	comparisons++;
	for (const struct field *f = x86_state_fields; f->name && same; f++)
		for (uint32_t n = 0; n < f->count; n++)
			same &= memcmp((uint8_t *)&a + f->offset + n * f->stride,
				       (uint8_t *)&b + f->offset + n * f->stride, f->width) == 0;
	if (same)
		return;
	printf("# after %" PRIu64 " instructions\n", now(&sides[0]));
	print_states(&a, &b);
	die("the CPU", "interp and bt differ");
}

/* --- everything but memory ---------------------------------------------------------------------
 */

static void open_parts(struct parts *p, struct vm *vm)
{
	struct fail why = { 0, "" };

	for (struct device *dev = vm->devices; dev; dev = dev->next)
		if (dev->ops->saving)
			dev->ops->saving(dev);
	if (parts_open(p, vm, &why))
		die("the parts", why.text);
}

static void compare_section(const struct section *a, const struct section *b)
{
	for (const struct field *f = a->fields; f && f->name; f++)
		for (uint32_t n = 0; n < f->count; n++) {
			size_t at = f->offset + (size_t)n * f->stride;

			if (memcmp((const uint8_t *)a->data + at, (const uint8_t *)b->data + at,
				   f->width) == 0)
				continue;
			printf("# after %" PRIu64 " instructions: %s, %s[%u]\n", now(&sides[0]),
			       a->name, f->name, n);
			die("the machine", "interp and bt differ");
		}
}

static void compare_parts(void)
{
	struct parts p[2];

	for (unsigned n = 0; n < 2; n++)
		open_parts(&p[n], sides[n].pc->vm);
	if (p[0].count != p[1].count)
		die("the machine", "one has more parts");
	for (unsigned n = 0; n < p[0].count; n++)
		compare_section(&p[0].section[n], &p[1].section[n]);
	for (unsigned n = 0; n < 2; n++)
		parts_close(&p[n]);
}

/* --- memory ------------------------------------------------------------------------------------
 */

static void compare_page(const struct mem_slot *a, const struct mem_slot *b, uint64_t at)
{
	if (memcmp(a->host + at, b->host + at, PAGE_SIZE) == 0)
		return;
	while (a->host[at] == b->host[at])
		at++;
	printf("# after %" PRIu64 " instructions, at %" PRIx64 ": %02x, %02x\n", now(&sides[0]),
	       a->start.v + at, a->host[at], b->host[at]);
	die("memory", "interp and bt differ");
}

/* From now on each machine notes what it writes. */
static void note_writes(void)
{
	for (unsigned n = 0; n < 2; n++) {
		struct vm *vm = sides[n].pc->vm;

		mem_dirty_start(&vm->mem);
		vm->engine->flush_tlb(vm->vcpu[0]);
	}
}

static void collect(struct side *s, struct mem_slot *slot)
{
	size_t bytes = (slot->bytes / PAGE_SIZE + 63) / 64 * 8;

	s->dirty = realloc(s->dirty, bytes);
	memset(s->dirty, 0, bytes);
	mem_dirty_collect(&s->pc->vm->mem, slot, s->dirty);
}

/* All of it, or what was written since the last time. */
static void compare_memory(bool all)
{
	struct mem_slot *a = sides[0].pc->vm->mem.slots, *b = sides[1].pc->vm->mem.slots;

	for (; a && b; a = a->next, b = b->next) {
		if (a->bytes != b->bytes)
			break;
		collect(&sides[0], a);
		collect(&sides[1], b);
		for (uint64_t n = 0; n < a->bytes / PAGE_SIZE; n++) {
			uint64_t written = sides[0].dirty[n / 64] | sides[1].dirty[n / 64];

			if (!all && !(written >> n % 64 & 1))
				continue;
			compare_page(a, b, n * PAGE_SIZE);
			pages++;
		}
	}
	if (a || b)
		die("memory", "one machine has more");
	for (unsigned n = 0; n < 2; n++)
		sides[n].pc->vm->engine->flush_tlb(sides[n].pc->vm->vcpu[0]);
}

static void compare_hash(void)
{
	struct save_hash a = save_hash(sides[0].pc->vm), b = save_hash(sides[1].pc->vm);

	hashes++;
	if (a.low == b.low && a.high == b.high)
		return;
	printf("# after %" PRIu64 " instructions\n", now(&sides[0]));
	die("state hash", "interp and bt differ");
}

struct stream {
	uint8_t *data;
	size_t bytes, room;
};

static int sink(void *arg, const void *data, size_t bytes)
{
	struct stream *s = arg;

	if (s->bytes + bytes > s->room) {
		s->room = (s->bytes + bytes) * 2;
		s->data = realloc(s->data, s->room);
	}
	memcpy(s->data + s->bytes, data, bytes);
	s->bytes += bytes;
	return 0;
}

/* Each machine goes on from what the other saved. */
static void swap(void)
{
	struct stream saved[2] = { { 0 }, { 0 } };
	struct fail why = { 0, "" };

	for (unsigned n = 0; n < 2; n++)
		if (save_machine(sides[n].pc->vm, &(struct save_sink){ sink, &saved[n] }, &why))
			die("saving", why.text);
	if (saved[0].bytes != saved[1].bytes ||
	    memcmp(saved[0].data, saved[1].data, saved[0].bytes) != 0)
		die("saved machines", "interp's and bt's differ");
	for (unsigned n = 0; n < 2; n++)
		if (save_load(sides[n].pc->vm, saved[!n].data, saved[!n].bytes, &why))
			die("loading", why.text);
	free(saved[0].data);
	free(saved[1].data);
	swaps++;
}

/* Both go on by `count` instructions. true: the guest has ended. */
static bool advance(uint64_t count)
{
	enum vm_request ended[2];

	for (unsigned n = 0; n < 2; n++) {
		struct fail why = { 0, "" };
		int status;

		ended[n] = vm_run(sides[n].pc->vm, count, &status, &why);
		if (ended[n] == VM_STUCK || ended[n] == VM_CRASHED)
			die(sides[n].name, why.text[0] ? why.text : "the guest crashed");
	}
	if (ended[0] != ended[1])
		die("the end", "one guest ended, the other did not");
	return ended[0] != VM_NONE;
}

static bool go_in_slices(const struct options *o)
{
	uint64_t seed = 1;

	for (unsigned n = 1; now(&sides[0]) < o->slices; n++) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		if (advance(1 + (seed >> 33) % SLICE))
			return true;
		compare_cpu();
		if (n % MEMORIES == 0)
			compare_memory(false);
	}
	return false;
}

static bool due(uint64_t every, uint64_t before, uint64_t after)
{
	return every && before / every != after / every;
}

static void go(const struct options *o)
{
	bool ended, check;

	note_writes();
	ended = go_in_slices(o);
	while (!ended && (!o->to || now(&sides[0]) < o->to)) {
		uint64_t before = now(&sides[0]);

		ended = advance(o->every - before % o->every);
		check = ended || due(o->hash, before, now(&sides[0]));
		compare_cpu();
		compare_parts();
		compare_memory(check);
		whole++;
		if (check)
			compare_hash();
		if (!ended && due(o->swap, before, now(&sides[0])))
			swap();
	}
	if (sides[0].bytes != sides[1].bytes ||
	    memcmp(sides[0].text, sides[1].text, sides[0].bytes) != 0)
		die("the console", "the guests said different things");
	if (!o->to && !memmem(sides[0].text, sides[0].bytes, "Hypervisor: yes", 15))
		die("the guest", "did not introduce itself");
}

static unsigned parse_tortures(const char *text)
{
	static const char *const names[] = {
#define X(name, typed) typed,
		TORTURES(X)
#undef X
	};
	unsigned mask = 0;

	for (unsigned t = 0; t < TORTURE_COUNT; t++)
		if (strstr(text, names[t]))
			mask |= 1u << t;
	return mask;
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{"to",       1, NULL, 't'},
                { "every",   1, NULL, 'e'},
                { "hash",    1, NULL, 'h'},
		{ "slices",  1, NULL, 's'},
                { "swap",    1, NULL, 'w'},
                { "torture", 1, NULL, 'x'},
		{ NULL,      0, NULL, 0  },
	};
	bool quick = strstr(argv[0], "quick") != NULL;
	struct options o = { .every = MILLION,
			     .hash = (quick ? 500 : 100) * MILLION,
			     .slices = quick ? MILLION : 30 * MILLION,
			     .swap = (quick ? 400 : 200) * MILLION };
	int ch;

	while ((ch = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		switch (ch) {
		case 't': o.to = strtoull(optarg, NULL, 0); break;
		case 'e': o.every = strtoull(optarg, NULL, 0); break;
		case 'h': o.hash = strtoull(optarg, NULL, 0); break;
		case 's': o.slices = strtoull(optarg, NULL, 0); break;
		case 'w': o.swap = strtoull(optarg, NULL, 0); break;
		case 'x': o.torture = parse_tortures(optarg); break;
		default: exit(2);
		}
	}
	if (!o.every)
		exit(2);
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);

	setvbuf(stdout, NULL, _IOLBF, 0);
	sides[0].pc = open_pc(&sides[0], &interp_ops, 0);
	sides[1].pc = open_pc(&sides[1], &bt_ops, o.torture);
	go(&o);
	printf("ok - lockstep: %" PRIu64 " instructions, the CPU compared %" PRIu64
	       " times, everything %" PRIu64 " times (%" PRIu64 " pages), %" PRIu64
	       " hashes, %" PRIu64 " times saved and exchanged\n",
	       now(&sides[0]), comparisons, whole, pages, hashes, swaps);
	pc_close(sides[0].pc);
	pc_close(sides[1].pc);
	return 0;
}
