/*
 * counted.h - counted runs of a guest, to be compared: what it printed, its instructions, its
 * state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_COUNTED_H
#define TEST_GUEST_COUNTED_H

#include "test/guest/guest.h"

static char dir[] = "/tmp/trapeze-counted.XXXXXX"; /* mkdtemp() by main() */

struct run {
	char out[4200], stats[4200];
	char *text, *json;
};

/* A zero follows the bytes, whose number is not told if nobody asks. */
static inline char *read_all(const char *path, size_t *bytes)
{
	struct stat st;
	char *text;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	if (bytes)
		*bytes = (size_t)st.st_size;
	return text;
}

static inline void run(struct run *r, const char *name, const char *engine, const char *append,
		       const char *const extra[])
{
	const char *more[24] = { "--counted", "--stats", r->stats };

	for (unsigned n = 3; *extra; n++)
		more[n] = *extra++;
	snprintf(r->out, sizeof(r->out), "%s/%s.out", dir, name);
	snprintf(r->stats, sizeof(r->stats), "%s/%s.json", dir, name);
	session_engine = engine;
	guest_to_file(guest_command(append, more), r->out);
	r->text = read_all(r->out, NULL);
	r->json = read_all(r->stats, NULL);
}

/* The value after "name": as text. */
static inline char *member(const char *json, const char *name)
{
	char key[64], *at;

	snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(json, key);
	assert_non_null(at);
	at += strlen(key);
	return strndup(at, strcspn(at, ",\n"));
}

static inline void assert_same(const struct run *a, const struct run *b, const char *name)
{
	char *x = member(a->json, name), *y = member(b->json, name);

	assert_string_equal(x, y);
	free(x);
	free(y);
}

static inline void run_free(struct run *r)
{
	free(r->text);
	free(r->json);
}

static inline int remove_dir(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

#endif
