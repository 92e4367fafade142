/*
 * load.c - libFuzzer target: hostile saved machines, loaded and then run.
 *
 * An input is a list of patches to a good stream (two bytes of offset, one of length, the
 * bytes), so that the fuzzer reaches any field in a few bytes; when its first bit is set it is
 * the stream itself. Checksums are put right, as an attacker would. A stream that loads
 * must give a machine that can be run, saved, and loaded again as the same.
 *
 * Run by `make fuzz-load`.
 * SPDX-License-Identifier: MIT
 */
#include <pthread.h>
#include <unistd.h>

#include "test/save/rig.h"
#include "test/save/stream.h"

#define BEFORE 20000 /* instructions of the guest whose stream is the good one */
#define AFTER  500   /* of what has been loaded */

static struct stream good;
static struct pc *victim, *second;

/*
 * A repeated string instruction may go on for 2^64 elements, as on a CPU, and is one instruction:
 * only another thread ends it. This one ends a run that it finds twice.
 */
static _Atomic unsigned running; /* number of the run, 0: none */

static void *watch(void *arg)
{
	unsigned seen = 0;

	for (;;) {
		unsigned now = running;

		if (now && now == seen)
			vm_request(victim->vm, VM_QUIT, 0);
		seen = now;
		usleep(200000);
	}
	return arg;
}

static void power_on(void)
{
	pthread_t thread;
	struct pc *pc = rig_open_guest();
	int status;

	vm_run(pc->vm, BEFORE, &status, NULL);
	good = stream_of(pc);
	pc_close(pc);
	victim = rig_open_empty();
	second = rig_open_empty();
	if (pthread_create(&thread, NULL, watch, NULL))
		abort();
}

static uint8_t *patched(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(good.bytes);

	if (!copy)
		abort();
	memcpy(copy, good.data, good.bytes);
	while (size > 3) {
		size_t at = (data[0] | (size_t)data[1] << 8) % good.bytes, n = data[2] % 32 + 1u;

		data += 3;
		size -= 3;
		if (n > size)
			n = size;
		if (n > good.bytes - at)
			n = good.bytes - at;
		memcpy(copy + at, data, n);
		data += n;
		size -= n;
	}
	return copy;
}

/* What was taken must be a machine like any other: it saves, and loads as itself. */
static void check_taken(void)
{
	struct stream s = stream_of(victim);
	struct save_hash a = save_hash(victim->vm), b;
	struct fail why;

	if (stream_load(&s, second, &why)) {
		fprintf(stderr, "cannot load what was just saved: %s\n", why.text);
		abort();
	}
	b = save_hash(second->vm);
	if (a.low != b.low || a.high != b.high) {
		fprintf(stderr, "loaded another machine than was saved\n");
		abort();
	}
	free(s.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned taken, runs;
	bool whole = size > 0 && data[0] & 1;
	size_t bytes;
	uint8_t *copy;

	if (!victim)
		power_on();
	if (size == 0)
		return 0;
	bytes = whole ? size - 1 : good.bytes;
	copy = whole ? malloc(bytes ? bytes : 1) : patched(data + 1, size - 1);
	if (!copy)
		abort();
	if (whole)
		memcpy(copy, data + 1, bytes);
	stream_fix(copy, bytes);
	if (save_load(victim->vm, copy, bytes, NULL) == 0) {
		running = ++runs;
		rig_run_anything(victim, AFTER);
		running = 0;
		if (taken++ % 16 == 0)
			check_taken();
	}
	free(copy);
	return 0;
}
