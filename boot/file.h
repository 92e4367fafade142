/*
 * file.h - a whole host file in memory, for the loaders.
 *
 * Spec: none. Tested by test/unit/flat.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_FILE_H
#define BOOT_FILE_H

#include <stdint.h>

#include "host/fail.h"

struct boot_file {
	char name[160];       /* for messages: the path, its end when it is long */
	const uint8_t *bytes; /* NULL: no file */
	uint64_t size;
};

/* Sets the name only. */
void boot_file_name(struct boot_file *f, const char *path);

/*
 * Reads a regular file of 1 to `limit` bytes; the caller closes. Anything else is
 * refused in one sentence, "FILE: reason": -ENOENT and friends from the host,
 * -EINVAL (not a regular file, empty), -EFBIG, -ENOMEM. Never blocks on a FIFO.
 */
int boot_file_open(struct boot_file *f, const char *path, uint64_t limit, struct fail *why);
void boot_file_close(struct boot_file *f);

#endif
