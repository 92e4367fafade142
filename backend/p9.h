/*
 * p9.h - a directory of the host, served to a guest in 9P2000.L.
 *
 * The words of --share: DIR:TAG[,readonly]. The guest mounts it by TAG (mount -t 9p TAG PLACE).
 *
 * The seam to the device is machine/p9.h. Tested by test/unit/p9*.c, test/guest/share.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_P9_H
#define BACKEND_P9_H

#include "host/fail.h"
#include "machine/p9.h"

struct p9;

/* Checks the words only: 0 or -EINVAL. */
int p9_check(const char *text, struct fail *why);
/* Opens the directory and starts the thread. NULL and *why on failure. */
struct p9 *p9_open(const char *text, struct fail *why);
const char *p9_tag(const struct p9 *share);
struct p9_backend p9_backend(struct p9 *share);
/* Call after the device is gone. NULL is allowed. */
void p9_close(struct p9 *share);

#endif
