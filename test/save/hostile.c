/*
 * hostile.c - streams that were cut, damaged, or made to do harm.
 *
 * A checksum stops accidents; the tests that matter put the checksums right again. Whatever loads
 * is then run: a load may refuse with a sentence, or give a machine, but a machine that
 * harms its monitor later is what this looks for (most of all under asan and ubsan).
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/save/rig.h"
#include "test/save/stream.h"

#define RUN 200 /* instructions of whatever has been loaded */

static struct stream good;       /* of the rig's guest in its second round */
static unsigned refused, loaded; /* by load_and_run() */

/* Loaded into again and again. Each test opens it for itself: cmocka takes, at the start of a
 * test, the signals that an open engine needs. */
static struct pc *victim;

static int setup(void **state)
{
	struct pc *pc = rig_open_guest();
	int status;

	(void)state;
	vm_run(pc->vm, 20000, &status, NULL);
	good = stream_of(pc);
	pc_close(pc);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(good.data);
	return 0;
}

/* A copy on the heap of exactly this size, so that the sanitizers see a read past its end. */
static uint8_t *copy_of(const void *data, size_t bytes)
{
	uint8_t *copy = malloc(bytes ? bytes : 1);

	assert_non_null(copy);
	memcpy(copy, data, bytes);
	return copy;
}

/* After all that it has been through, the victim still takes a good stream. */
static void close_victim(void)
{
	struct pc *fresh = rig_open_empty();
	struct save_hash a, b;

	assert_int_equal(save_load(victim->vm, good.data, good.bytes, NULL), 0);
	assert_int_equal(save_load(fresh->vm, good.data, good.bytes, NULL), 0);
	a = save_hash(victim->vm);
	b = save_hash(fresh->vm);
	assert_true(a.low == b.low && a.high == b.high);
	pc_close(fresh);
	pc_close(victim);
}

static void load_and_run(const uint8_t *data, size_t bytes)
{
	struct fail why = { 0, "" };

	if (save_load(victim->vm, data, bytes, &why)) {
		refused++;
		assert_true(why.code < 0 && why.text[0] != '\0');
		return;
	}
	loaded++;
	rig_run_anything(victim, RUN);
	save_hash(victim->vm);
}

static void cut_at_every_length(void **state)
{
	struct fail why;

	(void)state;
	victim = rig_open_empty();
	for (size_t bytes = 0; bytes < good.bytes; bytes++) {
		uint8_t *cut = copy_of(good.data, bytes);

		why.text[0] = '\0';
		assert_int_equal(save_load(victim->vm, cut, bytes, &why), -EINVAL);
		assert_true(why.text[0] != '\0');
		free(cut);
	}
	pc_close(victim);
}

static void every_byte_changed(void **state)
{
	static const uint8_t flip[] = { 0x01, 0x80, 0xff };
	uint8_t *copy = copy_of(good.data, good.bytes);

	(void)state;
	victim = rig_open_empty();
	for (size_t i = 0; i < good.bytes; i++) {
		for (unsigned k = 0; k < sizeof(flip); k++) {
			copy[i] ^= flip[k];
			assert_int_equal(save_load(victim->vm, copy, good.bytes, NULL), -EINVAL);
			copy[i] ^= flip[k];
		}
	}
	free(copy);
	close_victim();
}

/* Most of the memory pages is the guest's own business: changing them is no attack. */
static size_t end_of_fields(void)
{
	size_t at = STREAM_HEADER;

	while (memcmp(good.data + at + SECTION_HEADER, "memory", 6) != 0)
		at += SECTION_HEADER + stream_section(good.data, good.bytes, at) + 8;
	return at + SECTION_HEADER + 64;
}

static void every_byte_changed_with_checksums(void **state)
{
	static const uint8_t flip[] = { 0x01, 0x10, 0x80, 0xff };
	uint8_t *copy = copy_of(good.data, good.bytes);
	size_t end = end_of_fields();

	(void)state;
	victim = rig_open_empty();
	refused = loaded = 0;
	for (size_t i = 0; i < end; i++) {
		memcpy(copy, good.data, good.bytes);
		copy[i] ^= flip[i % sizeof(flip)];
		stream_fix(copy, good.bytes);
		load_and_run(copy, good.bytes);
	}
	assert_true(refused > 1000 && loaded > 500);
	free(copy);
	close_victim();
}

static bool try_values(const struct place *p, void *arg)
{
	static const uint64_t value[] = { 0,    1,     2,          15,         16,
					  0x7f, 0x80,  0xff,       0x100,      0x7fff,
					  4096, 65535, 0x7fffffff, 0x80000000, 0xffffffff };
	static const uint64_t wide[] = { UINT64_C(1) << 32, UINT64_C(1) << 47, UINT64_C(1) << 62,
					 INT64_MAX,         UINT64_C(1) << 63, UINT64_MAX - 1,
					 UINT64_MAX };
	const unsigned values = sizeof(value) / sizeof(value[0]);
	const unsigned all = values + sizeof(wide) / sizeof(wide[0]);
	uint8_t *copy = arg;

	for (unsigned i = 0; i < all; i++) {
		uint64_t v = i < values ? value[i] : wide[i - values];

		memcpy(copy, good.data, good.bytes);
		for (size_t n = 0; n < p->elements; n++)
			memcpy(copy + p->at + n * p->width, &v, p->width);
		stream_fix(copy, good.bytes);
		load_and_run(copy, good.bytes);
	}
	return false;
}

static void every_field_at_its_limits(void **state)
{
	uint8_t *copy = copy_of(good.data, good.bytes);

	(void)state;
	victim = rig_open_empty();
	refused = loaded = 0;
	each_field(&good, try_values, copy);
	assert_true(refused > 100 && loaded > 1000);
	free(copy);
	close_victim();
}

static uint64_t random_next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static bool scatter(const struct place *p, void *arg)
{
	void **both = arg;
	uint8_t *copy = both[0];
	uint64_t *x = both[1];

	if (random_next(x) % 16 != 0)
		return false;
	for (size_t n = 0; n < p->width * p->elements; n++)
		if (random_next(x) % 2)
			copy[p->at + n] = (uint8_t)random_next(x);
	return false;
}

/* Several fields at once, so that those which are checked one against the other disagree. */
static void many_fields_at_random(void **state)
{
	uint8_t *copy = copy_of(good.data, good.bytes);
	uint64_t x = UINT64_C(88172645463325252);
	void *both[] = { copy, &x };

	(void)state;
	victim = rig_open_empty();
	for (unsigned i = 0; i < 1500; i++) {
		memcpy(copy, good.data, good.bytes);
		each_field(&good, scatter, both);
		stream_fix(copy, good.bytes);
		load_and_run(copy, good.bytes);
	}
	free(copy);
	close_victim();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_at_every_length),
		cmocka_unit_test(every_byte_changed),
		cmocka_unit_test(every_byte_changed_with_checksums),
		cmocka_unit_test(every_field_at_its_limits),
		cmocka_unit_test(many_fields_at_random),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
