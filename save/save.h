/*
 * save.h - a whole machine as bytes, and back.
 *
 * The stream is a header, then sections. A section is a name, a version, and either
 * fields (read off a field table: cpu/field.h) or the pages of one memory slot that are
 * not zero. Each carries a checksum against accidents; against malice, loading
 * treats every byte as hostile: first the whole stream is checked against this machine's
 * tables, then it is applied, then each device range-checks what it got.
 *
 * The stream says nothing of the engine or the host: a machine saved under one
 * engine loads under another.
 *
 *	header   "TRAPEZE\0"  u32 format (1)  u32 zero
 *	section  u32 'SECT'  u16 version  u16 name bytes  u64 payload bytes
 *	         name  payload  u64 XXH3-64 of the section so far
 *	field    u8 name bytes  u8 width  u32 count  name  data   (repeated to the end)
 *	memory   u64 start  u64 bytes  u8 read-only, then  u64 page number  4096 bytes  (repeated)
 *	last     a section named "end" with no payload
 * All numbers are little-endian.
 *
 * Tested by test/save/. Fuzzed by fuzz/load.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef SAVE_SAVE_H
#define SAVE_SAVE_H

#include <stddef.h>
#include <stdint.h>

#include "host/fail.h"

struct vm;

struct save_sink {
	int (*write)(void *arg, const void *data, size_t bytes); /* 0 or -E* */
	void *arg;
};

/*
 * Writes the machine to `sink`. Between runs, on the thread that runs it. What the run loop
 * would do first is done now, input posted and alarms due taken, and the engine forgets its
 * caches, so that this machine and one loaded from the stream go on alike. A sink's error
 * ends it and is returned.
 */
int save_machine(struct vm *vm, const struct save_sink *sink, struct fail *why);

/*
 * Loads a stream into a machine built with the same parts (memory, vCPUs, devices). -EINVAL
 * with a sentence when it does not fit or is damaged; when a device refuses its state
 * the machine must be closed, as part of it is loaded.
 */
int save_load(struct vm *vm, const void *data, size_t bytes, struct fail *why);

/* 128 bits over everything save_machine would write; changes nothing. */
struct save_hash {
	uint64_t low, high;
};
struct save_hash save_hash(struct vm *vm);

#endif
