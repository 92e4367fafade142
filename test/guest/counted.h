/*
 * counted.h - counted runs of a guest, to be compared: what it printed, its instructions, its
 * state.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_COUNTED_H
#define TEST_GUEST_COUNTED_H

#include <fcntl.h>
#include <sys/stat.h>

#include "test/guest/session.h"

static char dir[] = "/tmp/trapeze-counted.XXXXXX"; /* mkdtemp() by main() */
static const char *guest_kernel;                   /* NULL: $GUEST/vmlinuz */

struct run {
	char out[4200], stats[4200];
	char *text, *json;
};

static inline char *read_all(const char *path)
{
	struct stat st;
	char *text;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	return text;
}

static inline void run(struct run *r, const char *name, const char *engine, char *const extra[])
{
	char kernel[4200], initrd[4200];
	char *argv[32] = { (char *)session_need("TRAPEZE"),
			   "run",
			   "--counted",
			   "--engine",
			   (char *)engine,
			   "--kernel",
			   kernel,
			   "--initrd",
			   initrd,
			   "--stats",
			   r->stats };
	unsigned n = 11;
	int status;
	pid_t pid;

	if (guest_kernel)
		snprintf(kernel, sizeof(kernel), "%s", guest_kernel);
	else
		snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	snprintf(r->out, sizeof(r->out), "%s/%s.out", dir, name);
	snprintf(r->stats, sizeof(r->stats), "%s/%s.json", dir, name);
	for (unsigned i = 0; extra[i]; i++)
		argv[n++] = extra[i];
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		int out = open(r->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int in = open("/dev/null", O_RDONLY);

		dup2(out, 1);
		dup2(in, 0);
		execv(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	r->text = read_all(r->out);
	r->json = read_all(r->stats);
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
