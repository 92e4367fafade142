/*
 * package.h - files out of Debian packages, fetched when a test first wants them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_PACKAGE_H
#define TEST_PACKAGE_H

#include "test/guest/session.h"

/* The path of `file` of `package`, below $GUEST; ends the program as skipped when there is no
 * network. `room` bytes at `path`. */
static inline void package_file(char *path, size_t room, const char *package, const char *file)
{
	const char *guest = session_need("GUEST");
	char command[4096];
	int status;

	snprintf(command, sizeof(command), "tools/guest/fetch-package %s '%s'", package, guest);
	fflush(stdout);
	status = system(command);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	assert_int_equal(status, 0);
	snprintf(path, room, "%s/%s/%s", guest, package, file);
}

#endif
