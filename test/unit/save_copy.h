/*
 * save_copy.h - one machine saved, and loaded into another.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_SAVE_COPY_H
#define TEST_SAVE_COPY_H

#include <string.h>

#include "save/save.h"
#include "test/cmocka.h"

struct saved_bytes {
	uint8_t data[100000];
	size_t bytes;
};

static int saved_keep(void *arg, const void *data, size_t bytes)
{
	struct saved_bytes *to = arg;

	assert_true(to->bytes + bytes <= sizeof(to->data));
	memcpy(to->data + to->bytes, data, bytes);
	to->bytes += bytes;
	return 0;
}

static inline void save_copy(struct vm *from, struct vm *to)
{
	static struct saved_bytes saved;
	struct save_sink sink = { .write = saved_keep, .arg = &saved };

	saved.bytes = 0;
	assert_int_equal(save_machine(from, &sink, NULL), 0);
	assert_int_equal(save_load(to, saved.data, saved.bytes, NULL), 0);
}

#endif
