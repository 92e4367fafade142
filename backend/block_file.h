/*
 * block_file.h - the host file below an image: whole transfers, size, and the image locks.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_BLOCK_FILE_H
#define BACKEND_BLOCK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "host/fail.h"

/* All of it, or -E*. What lies beyond the end of the file reads as zero. */
int file_read(int fd, uint64_t offset, void *to, size_t bytes);
int file_write(int fd, uint64_t offset, const void *from, size_t bytes);
/* fdatasync. */
int file_sync(int fd);

/* Opens a regular file or a block device. -E* and a sentence. */
int file_open(const char *path, bool writable, uint64_t *bytes, struct fail *why);
/* The same file once more with O_DIRECT, and the alignment that asks of offsets, lengths and
 * addresses. -E* when its file system has no such thing. */
int file_open_direct(int fd, bool writable, uint32_t *align);

/*
 * Takes the image locks on an open file: open-file-description locks on the bytes that QEMU
 * uses, so both keep out of each other's images. A reader lets other readers in; a writer lets
 * nobody in. They end when the file is closed, however the process ends. -EBUSY and a
 * sentence with the owner's process number. File systems without locks: 0.
 */
int file_lock(int fd, const char *path, bool writer, struct fail *why);

#endif
