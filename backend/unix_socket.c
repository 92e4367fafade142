/*
 * unix_socket.c - a Unix socket of this process's, at a path of the user's (see unix_socket.h).
 *
 * A socket's file outlives its process, so one that is there may be in nobody's use: connecting
 * tells.
 *
 * Tested by test/unit/vsock.c, test/unit/crowded.c and test/guest/vconsole.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A socket that nobody listens on any more is in the way; anything else is somebody's. */
static int clear_path(const char *what, const struct sockaddr_un *at, struct fail *why)
{
	struct stat st;
	int fd, err;

	if (lstat(at->sun_path, &st) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return fail(why, -EEXIST, "%s: %s is there, and is no socket", what, at->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = fd < 0 || connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 ? 0 : errno;
	if (fd >= 0)
		close(fd);
	if (err != ECONNREFUSED)
		return fail(why, -EADDRINUSE, "%s: %s is in use", what, at->sun_path);
	unlink(at->sun_path);
	return 0;
}

int unix_listen(const char *what, const char *path, struct fail *why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd, err;

	_Static_assert(sizeof(at.sun_path) == UNIX_PATH_MOST + 1, "unix(7)");
	if (strlen(path) > UNIX_PATH_MOST)
		return fail(why, -ENAMETOOLONG, "%s: a socket's name has at most %u bytes", what,
			    UNIX_PATH_MOST);
	strcpy(at.sun_path, path);
	err = clear_path(what, &at, why);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
		if (listen(fd, 64) == 0)
			return fd;
		err = errno;
		unlink(path);
	} else {
		err = errno;
	}
	if (fd >= 0)
		close(fd);
	return fail(why, -err, "%s: %s: %s", what, path, strerror(err));
}

int unix_accept(int listener, bool *crowded)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	*crowded = fd < 0 &&
		   (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
	return fd;
}
