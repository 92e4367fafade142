/*
 * directory.h - a directory of a test program's own, and files in it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_DIRECTORY_H
#define TEST_DIRECTORY_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/cmocka.h"

static char directory[] = "/tmp/trapeze-test-XXXXXX";

/* A group's setup. */
static inline int directory_make(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

/* A group's teardown: fails when something was left. */
static inline int directory_remove(void **state)
{
	(void)state;
	return rmdir(directory);
}

/* The file `name` there is this text. */
__attribute__((format(printf, 2, 3))) static inline void directory_put(const char *name,
								       const char *fmt, ...)
{
	char path[200];
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	f = fopen(path, "w");
	assert_non_null(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	assert_int_equal(fclose(f), 0);
}

#endif
