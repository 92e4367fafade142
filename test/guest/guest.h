/*
 * guest.h - the guest of most tests here: Debian's kernel with busybox, at a pseudo-terminal
 * (session.h) or with its output in a file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_H
#define TEST_GUEST_H

#include <fcntl.h>
#include <sys/stat.h>

#include "test/guest/session.h"

#ifndef GUEST_SECONDS
#define GUEST_SECONDS 300 /* a sanitizer build on a busy machine; a release build takes seconds */
#endif
#define GUEST_PROMPT "/root # "

/* In $GUEST, or an absolute path. */
static const char *guest_kernel = "vmlinuz", *guest_initrd = "initramfs.gz";

static inline char *guest_path(char path[4200], const char *name)
{
	snprintf(path, 4200, "%s%s%s", *name == '/' ? "" : session_need("GUEST"),
		 *name == '/' ? "" : "/", name);
	return path;
}

/* `trapeze run` of it, with `more` words, which NULL ends; good until the next one is asked for. */
static inline char **guest_command(const char *append, const char *const more[])
{
	static char kernel[4200], initrd[4200], *argv[40];
	const char *const first[] = { session_need("TRAPEZE"),
				      "run",
				      "--engine",
				      session_engine,
				      "--kernel",
				      guest_path(kernel, guest_kernel),
				      "--initrd",
				      guest_path(initrd, guest_initrd),
				      "--append",
				      append };
	unsigned n = sizeof(first) / sizeof(first[0]);

	memcpy(argv, first, sizeof(first));
	while (*more)
		argv[n++] = (char *)*more++;
	argv[n] = NULL;
	return argv;
}

#define GUEST_WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* Until its prompt, with the console on the serial line. */
static inline void guest_boot(struct session *s, const char *const more[])
{
	session_start(s, guest_command("console=ttyS0 quiet", more));
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
}

/* A line for its shell. */
static inline void guest_type(struct session *s, const char *line)
{
	session_type(s, line);
	session_type(s, "\r");
}

static inline void guest_poweroff(struct session *s)
{
	int status;

	guest_type(s, "poweroff -f");
	status = session_end(s, GUEST_SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_check_terminal(s);
	session_close(s);
}

/* Runs it to its end with no input and its output in a file; the status is 0. */
static inline void guest_to_file(char *const argv[], const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		dup2(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#endif
