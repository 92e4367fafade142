/*
 * unix_socket.h - a Unix socket of this process's, at a path of the user's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_UNIX_SOCKET_H
#define BACKEND_UNIX_SOCKET_H

#include <stdbool.h>

#include "host/fail.h"

#define UNIX_PATH_MOST 107u /* bytes of a socket's name */

/*
 * Listens at `path`, without waiting (SOCK_NONBLOCK). A socket there that nobody listens on any
 * more is replaced. The descriptor, and unlink() is the caller's; or -E* and a sentence that begins
 * with `what`: -EEXIST, it is there and no socket; -EADDRINUSE, somebody listens there.
 */
int unix_listen(const char *what, const char *path, struct fail *why);

#define UNIX_CROWDED_MS 100 /* after which it is worth asking again */

/*
 * The next who connected, without waiting; or -1. *crowded: because this process has no
 * descriptor for it. The listener stays readable then: who polls it must leave it out until
 * UNIX_CROWDED_MS have passed, or would spin.
 */
int unix_accept(int listener, bool *crowded);

#endif
