/*
 * ram.c - test of host_ram_open(): each kind of pages is zero, writable and aligned, can be given
 * back and is gone afterwards; what the host lacks is one sentence. And memory made ready ahead.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host.h"
#include "test/cmocka.h"

#define BYTES (UINT64_C(4) << 20)

static void check(struct host_ram *ram, bool discards)
{
	uint8_t byte = 1;

	assert_non_null(ram->at);
	assert_int_equal((uintptr_t)ram->at % (2 << 20), 0);
	assert_true(ram->bytes >= BYTES);
	for (uint64_t i = 0; i < ram->bytes; i += 4096)
		assert_int_equal(ram->at[i], 0);
	memset(ram->at, 0xaa, ram->bytes);
	if (ram->fd >= 0) { /* the file is the memory */
		assert_int_equal(pread(ram->fd, &byte, 1, 4096), 1);
		assert_int_equal(byte, 0xaa);
	}
	if (discards) {
		host_discard(ram->at + 4096, 8192);
		for (uint64_t i = 0; i < 16384; i++)
			assert_int_equal(ram->at[i], i >= 4096 && i < 12288 ? 0 : 0xaa);
	}
	host_ram_close(ram);
	assert_null(ram->at);
	host_ram_close(ram);
}

static void test_shared(void **state)
{
	struct host_ram ram;
	struct fail why;

	(void)state;
	assert_int_equal(host_ram_open(&ram, BYTES, HOST_PAGES_SHARED, &why), 0);
	assert_true(ram.fd >= 0);
	check(&ram, true);
}

static void test_large(void **state)
{
	static const enum host_pages kinds[] = { HOST_PAGES_TRANSPARENT, HOST_PAGES_RESERVED };
	struct host_ram usual;
	struct fail none;

	(void)state;
	assert_int_equal(host_ram_open(&usual, BYTES, HOST_PAGES_USUAL, &none), 0);
	assert_int_equal(usual.fd, -1);
	check(&usual, true);
	for (unsigned i = 0; i < 2; i++) {
		struct fail why = { 0 };
		struct host_ram ram;
		int err = host_ram_open(&ram, BYTES - 4096, kinds[i], &why);

		if (err) { /* the host has none of this kind */
			assert_true(err == -ENOTSUP || err == -ENOMEM);
			assert_non_null(strstr(why.text, "huge page"));
			assert_null(ram.at);
			continue;
		}
		assert_int_equal(ram.bytes, BYTES);
		check(&ram, kinds[i] == HOST_PAGES_TRANSPARENT);
	}
}

static void test_too_much(void **state)
{
	static const uint64_t much[] = { 0, UINT64_C(1) << 60, UINT64_MAX };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		for (int pages = HOST_PAGES_USUAL; pages <= HOST_PAGES_RESERVED; pages++) {
			struct fail why = { 0 };
			struct host_ram ram;

			assert_true(host_ram_open(&ram, much[i], (enum host_pages)pages, &why) < 0);
			assert_true(strlen(why.text) > 20);
			assert_null(ram.at);
		}
	}
}

static bool is_there(void *p)
{
	unsigned char there = 0;

	assert_int_equal(mincore(p, 4096, &there), 0);
	return there & 1;
}

/* Waits for it, if the host can do it at all. */
static void await(void *p, bool known)
{
	uint64_t end = host_monotonic_ns() + UINT64_C(10000000000);

	while (known && !is_there(p) && host_monotonic_ns() < end)
		host_yield();
	assert_int_equal(is_there(p), known);
}

/* What is to be touched soon has its memory soon, and nothing else has. */
static void test_ahead(void **state)
{
	struct host_ahead *a = host_ahead_new();
	size_t huge = (size_t)2 << 20;
	uint8_t *p = host_map(5 * huge), *second;
	bool known = madvise(p + 4 * huge, 4096, MADV_POPULATE_WRITE) == 0;

	(void)state;
	assert_non_null(a);
	second = p + (-(uintptr_t)p & (huge - 1)) + huge;
	host_ahead_filled(a, second - huge / 2 - 4096, 4095, p + 5 * huge); /* not yet */
	host_ahead_touch(a, p, 4096); /* one follows the other */
	await(p, known);
	assert_false(is_there(second));
	host_ahead_filled(a, second - huge / 2 - 4096, 4096, p + 5 * huge);
	await(second + huge - 4096, known);
	assert_false(is_there(second + huge));
	host_ahead_filled(a, second + huge / 2, 4096, second + huge); /* there is no more */
	host_ahead_settle(a);
	assert_false(is_there(second + huge));
	host_ahead_free(a);
	host_unmap(p, 5 * huge);
	host_ahead_touch(NULL, NULL, 0);
	host_ahead_settle(NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
